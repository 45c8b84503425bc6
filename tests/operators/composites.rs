//! Samples of operators that are said as graphs of others. The host runs them; where no operand is of a type
//! that the device holds, nothing has to be brought for that.

use super::Gpu::{Device, Host};
use super::Regions::{self, Barred, Cut};
use super::Sample;

fn onnx(opset: i64, inputs: &str, node: &str, regions: Regions) -> Sample {
    Sample {
        opset,
        inputs: inputs.into(),
        constants: String::new(),
        node: node.into(),
        regions,
        gpu: Host,
    }
}

fn microsoft(inputs: &str, node: &str, regions: Regions) -> Sample {
    let (results, rest) = node.split_once(" = ").unwrap();
    onnx(18, inputs, &format!("{results} = com.microsoft::{rest}"), regions)
}

fn qonnx(domain: &str, inputs: &str, node: &str) -> Sample {
    onnx(18, inputs, &format!("%y = {domain}::{node} : f32[2,5,6]"), THREE)
}

/// An optimizer over one tensor.
fn training(name: &str, state: &str, attrs: &str, results: usize) -> Sample {
    let others = ", _".repeat(results - 1);
    let mut s = onnx(
        18,
        "%r: f32[], %x: f32[4,5], %g: f32[4,5], %h: f32[4,5]",
        &format!(
            "%y{others} = ai.onnx.preview.training::{name} %r, %t, %x, %g, {state} {attrs} \
             : f32[4,5]{others}"
        ),
        Cut(&[0, 1]),
    );
    s.constants = "%t = const 3 : i64[]".into();
    s
}

const THREE: Regions = Cut(&[0, 1, 2]);

pub fn composites() -> Vec<Sample> {
    let x = "%x: f32[2,5,6]";
    let qkv = "%q: f32[2,4,3,8], %k: f32[2,2,5,8], %v: f32[2,2,5,6]";
    let rows = "%q: f32[2,3,8], %k: f32[2,5,8], %v: f32[2,5,8]";
    vec![
        onnx(19, "%x: f32[2,5,6], %z: f64[1]", "%y = CastLike %x, %z : f64[2,5,6]", THREE),
        onnx(24, x, "%y = Swish %x {alpha=0.5} : f32[2,5,6]", THREE),
        onnx(28, "%a: f32[2,5], %b: f32[2,5]", "%y = SwiGLU %a, %b : f32[2,5]", Cut(&[0, 1])),
        onnx(13, x, "%y = Shrink %x {lambd=0.7, bias=0.25} : f32[2,5,6]", THREE),
        onnx(13, "%x: f32[2,3,4,5]", "%y = MeanVarianceNormalization %x : f32[2,3,4,5]", Cut(&[1])),
        onnx(
            23,
            "%x: f32[2,5,6], %s: f32[6]",
            "%y = RMSNormalization %x, %s : f32[2,5,6]",
            Cut(&[0, 1]),
        ),
        onnx(
            23,
            "%x: f32[2,5,6], %s: f32[5,6]",
            "%y = RMSNormalization %x, %s {axis=1} : f32[2,5,6]",
            Cut(&[0]),
        ),
        onnx(
            21,
            "%x: f32[2,6,4,3], %s: f32[6], %b: f32[6]",
            "%y = GroupNormalization %x, %s, %b {num_groups=3} : f32[2,6,4,3]",
            Cut(&[0]),
        ),
        onnx(
            18,
            "%x: f32[2,6,5], %s: f32[2], %b: f32[2]",
            "%y = GroupNormalization %x, %s, %b {num_groups=2} : f32[2,6,5]",
            Cut(&[0]),
        ),
        onnx(
            13,
            "%x: f32[3,5,4], %t: i64[3,4]",
            "%y = NegativeLogLikelihoodLoss %x, %t {reduction=\"none\"} : f32[3,4]",
            Cut(&[0, 1]),
        ),
        onnx(
            13,
            "%x: f32[3,5], %t: i64[3], %w: f32[5]",
            "%y = SoftmaxCrossEntropyLoss %x, %t, %w {ignore_index=2, reduction=\"none\"} : f32[3]",
            Cut(&[0]),
        ),
        onnx(20, "%t: f32[2,2,3]", "%y = AffineGrid %t, %s : f32[2,4,5,2]", Barred(""))
            .with("%s = const [2,3,4,5] : i64[4]"),
        onnx(18, x, "%y = CenterCropPad %x, %s {axes=[1,2]} : f32[2,3,9]", Cut(&[0]))
            .with("%s = const [3,9] : i64[2]"),
        onnx(
            23,
            "%x: f32[2,3,8], %c: f32[2,3,2], %s: f32[2,3,2]",
            "%y = RotaryEmbedding %x, %c, %s {num_heads=2} : f32[2,3,8]",
            Cut(&[0, 1]),
        ),
        onnx(
            23,
            "%x: f32[2,4,3,8], %c: f32[10,2], %s: f32[10,2], %p: i64[2,3]",
            "%y = RotaryEmbedding %x, %c, %s, %p {rotary_embedding_dim=4, interleaved=1} : f32[2,4,3,8]",
            Cut(&[0, 1, 2]),
        ),
        onnx(23, qkv, "%y = Attention %q, %k, %v : f32[2,4,3,6]", Cut(&[0, 2, 3])),
        onnx(
            23,
            rows,
            "%y = Attention %q, %k, %v {q_num_heads=2, kv_num_heads=2, is_causal=1} : f32[2,3,8]",
            Cut(&[0]),
        ),
        onnx(
            27,
            "%q: f32[2,3,8], %k: f32[2,3,8], %v: f32[2,3,8], %d: f32[2,3,2], %b: f32[2,3,2]",
            "%y, _ = LinearAttention %q, %k, %v, _, %d, %b {q_num_heads=2, kv_num_heads=2} : f32[2,3,8], _",
            Barred(""),
        ),
        onnx(
            27,
            "%x: f32[2,4,7], %w: f32[4,1,3], %b: f32[4]",
            "%y, _ = CausalConvWithState %x, %w, %b {activation=\"silu\"} : f32[2,4,7], _",
            Cut(&[0]),
        ),
        onnx(
            17,
            "%x: f32[2,5,6], %s: f32[6]",
            "%y = SimplifiedLayerNormalization %x, %s : f32[2,5,6]",
            Cut(&[0, 1]),
        ),
        training("Adagrad", "%h", "{decay_factor=0.1}", 2),
        training("Adam", "%h, %h", "{norm_coefficient=0.01}", 3),
        training(
            "Momentum",
            "%h",
            "{alpha=0.9, beta=0.5, mode=\"nesterov\", norm_coefficient=0.01}",
            2,
        ),
        qonnx(
            "qonnx.custom_op.general",
            "%x: f32[2,5,6], %s: f32[5,1], %z: f32[], %b: f32[]",
            "Quant %x, %s, %z, %b {signed=1, narrow=1}",
        ),
        qonnx(
            "onnx.brevitas",
            "%x: f32[2,5,6], %s: f32[], %z: f32[6], %b: f32[1]",
            "Quant %x, %s, %z, %b {signed=0, narrow=0, rounding_mode=\"HALF_UP\"}",
        ),
        qonnx("qonnx.custom_op.general", "%x: f32[2,5,6], %s: f32[5,1]", "BipolarQuant %x, %s"),
        qonnx("onnx.brevitas", "%x: f32[2,5,6], %s: f32[]", "BipolarQuant %x, %s"),
        microsoft(x, "%y = Gelu %x : f32[2,5,6]", THREE),
        microsoft("%x: f32[2,5,6], %b: f32[6]", "%y = FastGelu %x, %b : f32[2,5,6]", THREE),
        microsoft("%x: f32[2,5,6], %b: f32[6]", "%y = BiasGelu %x, %b : f32[2,5,6]", THREE),
        microsoft(x, "%y = QuickGelu %x : f32[2,5,6]", THREE),
        microsoft(
            "%x: f32[2,5,6], %s: f32[2,5,6], %g: f32[6], %b: f32[6]",
            "%y, _, _, _ = SkipLayerNormalization %x, %s, %g, %b : f32[2,5,6], _, _, _",
            Cut(&[0, 1]),
        ),
        microsoft(
            "%x: f32[2,5,6], %s: f32[2,5,6], %g: f32[6]",
            "%y = SkipSimplifiedLayerNormalization %x, %s, %g : f32[2,5,6]",
            Cut(&[0, 1]),
        ),
        microsoft(
            "%i: i32[2,5], %g: f32[6], %b: f32[6]",
            "%y, _ = EmbedLayerNormalization %i, _, %w, %p, _, %g, %b : f32[2,5,6], _",
            Cut(&[0]),
        )
        .with("%w = const random(1) : f32[11,6] %p = const random(2) : f32[8,6]"),
        microsoft(
            "%x: f32[2,5,6], %b: f32[6], %r: f32[2,5,6]",
            "%y = BiasDropout %x, %b, %r : f32[2,5,6]",
            THREE,
        ),
        microsoft(
            "%a: f32[4,5], %b: f32[6,5], %c: f32[6]",
            "%y = FusedGemm %a, %b, %c {transB=1, activation=\"Relu\"} : f32[4,6]",
            Cut(&[0, 1]),
        ),
        microsoft(
            "%a: f32[2,5,4], %b: f32[2,5,3]",
            "%y = FusedMatMul %a, %b {transA=1, alpha=0.5} : f32[2,4,3]",
            THREE,
        ),
        microsoft(
            "%a: f32[4,5], %b: f32[3,5]",
            "%y = TransposeMatMul %a, %b {transB=1} : f32[4,3]",
            Cut(&[0, 1]),
        ),
        microsoft(
            "%a: f32[2,3,20]",
            "%y = MatMulNBits %a, %b, %s {K=20, N=4, bits=4, block_size=16} : f32[2,3,4]",
            Cut(&[0, 1]),
        )
        .with("%b = const random(1) : u8[4,2,8] %s = const random(2) : f32[8]"),
        microsoft("%a: f32[3,5]", "%y = DynamicQuantizeMatMul %a, %b, %s : f32[3,4]", Cut(&[1]))
            .with("%b = const random(1) : i8[5,4] %s = const 0.5 : f32[]"),
        microsoft(
            "%a: u8[3,5]",
            "%y = MatMulIntegerToFloat %a, %b, %s, %s : f32[3,4]",
            Cut(&[0, 1]),
        )
        .with("%b = const random(1) : i8[5,4] %s = const 0.5 : f32[]")
        .gpu(Device),
        microsoft("%a: u8[3,5]", "%y = QGemm %a, %s, %z, %b, %s, %z8 : f32[3,4]", Cut(&[0, 1]))
            .with(
                "%b = const random(1) : i8[5,4] %s = const 0.5 : f32[] %z = const 7 : u8[]
             %z8 = const 1 : i8[]",
            )
            .gpu(Device),
        quantized("%y = QLinearAdd %x, %s, %z, %x2, %s, %z, %s, %z : u8[2,3,4,5]", ALL),
        quantized("%y = QLinearMul %x, %s, %z, %x2, %s, %z, %s, %z : u8[2,3,4,5]", ALL),
        quantized("%y = QLinearSigmoid %x, %s, %z, %s, %z : u8[2,3,4,5]", ALL),
        quantized("%y = QLinearLeakyRelu %x, %s, %z, %s, %z : u8[2,3,4,5]", ALL),
        quantized(
            "%y = QLinearSoftmax %x, %s, %z, %s, %z {axis=1, opset=13} : u8[2,3,4,5]",
            Cut(&[0, 2, 3]),
        ),
        quantized(
            "%y = QLinearAveragePool %x, %s, %z, %s, %z {kernel_shape=[2,2]} : u8[2,3,3,4]",
            Cut(&[0, 1]),
        ),
        quantized("%y = QLinearGlobalAveragePool %x, %s, %z, %s, %z : u8[2,3,1,1]", Cut(&[0, 1])),
        quantized(
            "%y = QLinearConcat %s, %z, %x, %s, %z, %x2, %s, %z {axis=1} : u8[2,6,4,5]",
            Cut(&[0, 2, 3]),
        ),
        quantized(
            "%y = QLinearReduceMean %x, %s, %z, %s, %z {axes=[2]} : u8[2,3,1,5]",
            Cut(&[0, 1, 3]),
        ),
        onnx(
            18,
            "%c: bool[2,5], %a: u8[2,5], %b: u8[2,5]",
            "%y = com.microsoft::QLinearWhere %c, %a, %s, %z, %b, %s, %z, %s, %z : u8[2,5]",
            Cut(&[0, 1]),
        )
        .with("%s = const 0.5 : f32[] %z = const 7 : u8[]")
        .gpu(Device),
        microsoft(
            "%x: f32[2,3,8], %p: i64[2,3], %c: f32[10,2], %s: f32[10,2]",
            "%y = RotaryEmbedding %x, %p, %c, %s {num_heads=2} : f32[2,3,8]",
            Cut(&[0, 1]),
        ),
        microsoft(
            "%x: f32[2,3,6], %w: f32[6,24], %b: f32[24]",
            "%y = Attention %x, %w, %b {num_heads=2} : f32[2,3,8]",
            Cut(&[0]),
        ),
        microsoft(
            "%x: u8[2,3,6], %b: f32[24]",
            "%y = QAttention %x, %w, %b, %s, %s {num_heads=2} : f32[2,3,8]",
            Cut(&[0]),
        )
        .with("%w = const random(1) : i8[6,24] %s = const 0.125 : f32[]"),
        microsoft(
            rows,
            "%y = MultiHeadAttention %q, %k, %v {num_heads=2} : f32[2,3,8]",
            Cut(&[0, 1]),
        ),
        microsoft(
            "%q: f32[2,3,8], %k: f32[2,3,4], %v: f32[2,3,4]",
            "%y, _, _ = GroupQueryAttention %q, %k, %v, _, _, %l, %t {num_heads=2, kv_num_heads=1} \
             : f32[2,3,8], _, _",
            Cut(&[0]),
        )
        .with("%l = const [2,2] : i32[2] %t = const 3 : i32[]"),
    ]
}

const ALL: Regions = Cut(&[0, 1, 2, 3]);

/// A quantized operator over images.
fn quantized(node: &str, regions: Regions) -> Sample {
    microsoft("%x: u8[2,3,4,5], %x2: u8[2,3,4,5]", node, regions)
        .with("%s = const 0.5 : f32[] %z = const 7 : u8[]")
        .gpu(Device)
}
