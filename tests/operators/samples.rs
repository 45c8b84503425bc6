//! The samples, by families of operators.

use super::Gpu::{self, Host, No};
use super::Regions::{self, Barred, Cut};
use super::Sample;

/// The whole table.
pub fn samples() -> Vec<Sample> {
    let families = [
        windows(),
        matrices(),
        unary(),
        broadcast(),
        channels(),
        coupled(),
        reductions(),
        layouts(),
        indexed(),
        sources(),
        recurrent(),
        control(),
        strings(),
        sequences(),
        variants(),
        trivial(),
        super::composites::composites(),
        bits(),
        selections(),
        sampled(),
        signals(),
        random(),
    ];
    families.into_iter().flatten().collect()
}

/// A sample of version 13 that runs on the device.
fn sample(inputs: &str, node: &str, regions: Regions) -> Sample {
    Sample {
        opset: 13,
        inputs: inputs.into(),
        constants: String::new(),
        node: node.into(),
        regions,
        gpu: Gpu::Device,
    }
}

const IMAGE: &str = "%x: f32[2,4,7,6]";
const ALL: Regions = Cut(&[0, 1, 2, 3]);
const OPAQUE: Regions = Barred("has no region rule");
const INSIDE: Regions = Barred("nothing is cut inside of the graphs");

fn windows() -> Vec<Sample> {
    let quantized =
        "%xs = const 0.5 : f32[] %xz = const 3 : u8[] %w = const random(1) : i8[4,2,3,3]
        %ws = const [0.5,0.25,0.125,1] : f32[4] %wz = const [0,1,0,2] : i8[4]
        %ys = const 2 : f32[] %yz = const 10 : u8[]";
    vec![
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,4,3,3], %b: f32[6]",
            "%y = Conv %x, %w, %b {pads=[1,1,1,1]} : f32[2,6,7,6]",
            ALL,
        ),
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,2,3,2]",
            "%y = Conv %x, %w {group=2, strides=[2,1], pads=[1,0,1,1]} : f32[2,6,4,6]",
            ALL,
        ),
        sample(
            "%x: f32[2,2,9], %w: f32[3,2,3]",
            "%y = Conv %x, %w {dilations=[2]} : f32[2,3,5]",
            Cut(&[0, 1, 2]),
        ),
        sample(
            "%x: f32[2,4,5,4], %w: f32[4,3,3,3], %b: f32[3]",
            "%y = ConvTranspose %x, %w, %b {strides=[2,2], pads=[1,1,1,1], output_padding=[1,0]}
               : f32[2,3,10,7]",
            ALL,
        ),
        sample(
            "%x: f32[2,4,5,4], %w: f32[4,2,2,2]",
            "%y = ConvTranspose %x, %w {group=2} : f32[2,4,6,5]",
            ALL,
        ),
        sample(
            "%x: u8[2,2,6,5]",
            "%y = ConvInteger %x, %w, %xz, %wz {pads=[1,1,1,1]} : i32[2,4,6,5]",
            ALL,
        )
        .with(
            "%w = const random(1) : i8[4,2,3,3]
             %xz = const 3 : u8[] %wz = const [0,1,0,2] : i8[4]",
        ),
        sample(
            "%x: u8[2,2,6,5]",
            "%y = QLinearConv %x, %xs, %xz, %w, %ws, %wz, %ys, %yz {pads=[1,1,1,1]} : u8[2,4,6,5]",
            ALL,
        )
        .with(quantized),
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,4,3,3], %b: f32[6], %z: f32[2,6,7,6]",
            "%y = com.microsoft::FusedConv %x, %w, %b, %z {activation=\"Relu\", pads=[1,1,1,1]}
               : f32[2,6,7,6]",
            ALL,
        ),
        sample(
            IMAGE,
            "%y = MaxPool %x {kernel_shape=[3,2], pads=[1,0,1,1], strides=[2,1]} : f32[2,4,4,6]",
            ALL,
        ),
        sample(
            IMAGE,
            "_, %y = MaxPool %x {kernel_shape=[2,2]} : _, i64[2,4,6,5]",
            Barred("Indices are positions in the whole tensor"),
        )
        .gpu(Host),
        sample(
            IMAGE,
            "%y = AveragePool %x {kernel_shape=[3,3], pads=[1,1,1,1]} : f32[2,4,7,6]",
            ALL,
        ),
        sample(
            IMAGE,
            "%y = LpPool %x {kernel_shape=[3,3], strides=[1,2], p=2} : f32[2,4,5,2]",
            ALL,
        ),
    ]
}

fn matrices() -> Vec<Sample> {
    let gemm = "Gemm %x, %w, %b {alpha=0.5, beta=2.0, transA=1, transB=1}";
    vec![
        sample(
            "%x: f32[2,6,5], %w: f32[2,5,4]",
            "%y = MatMul %x, %w : f32[2,6,4]",
            Cut(&[0, 1, 2]),
        ),
        sample(
            "%x: f32[5,6], %w: f32[4,5], %b: f32[4]",
            &format!("%y = {gemm} : f32[6,4]"),
            Cut(&[0, 1]),
        ),
        sample("%x: u8[6,5], %w: i8[5,4]", "%y = MatMulInteger %x, %w : i32[6,4]", Cut(&[0, 1])),
        sample(
            "%x: u8[6,5], %w: u8[5,4]",
            "%y = QLinearMatMul %x, %xs, %xz, %w, %ws, %wz, %ys, %yz : u8[6,4]",
            Cut(&[0, 1]),
        )
        .with(
            "%xs = const 0.5 : f32[] %xz = const 3 : u8[] %ws = const 0.25 : f32[]
             %wz = const 2 : u8[] %ys = const 2 : f32[] %yz = const 10 : u8[]",
        ),
    ]
}

/// Of one float operand, without attributes that they need.
const UNARY: &[(&str, Gpu)] = &[
    ("Relu", Gpu::Device),
    ("LeakyRelu", Gpu::Device),
    ("ThresholdedRelu", Gpu::Device),
    ("Elu", Gpu::Device),
    ("Selu", Gpu::Device),
    ("Celu", Gpu::Device),
    ("Sigmoid", Gpu::Device),
    ("HardSigmoid", Gpu::Device),
    ("HardSwish", Gpu::Device),
    ("Mish", Gpu::Device),
    ("Gelu", Gpu::Device),
    ("Softplus", Gpu::Device),
    ("Softsign", Gpu::Device),
    ("Tanh", Gpu::Device),
    ("Exp", Gpu::Device),
    ("Log", Gpu::Device),
    ("Sqrt", Gpu::Device),
    ("Reciprocal", Gpu::Device),
    ("Abs", Gpu::Device),
    ("Neg", Gpu::Device),
    ("Sign", Gpu::Device),
    ("Floor", Gpu::Device),
    ("Ceil", Gpu::Device),
    ("Round", Gpu::Device),
    ("Erf", Gpu::Device),
    ("Sin", Host),
    ("Cos", Host),
    ("Tan", Host),
    ("Asin", Host),
    ("Acos", Host),
    ("Atan", Host),
    ("Sinh", Host),
    ("Cosh", Host),
    ("Asinh", Host),
    ("Acosh", Host),
    ("Atanh", Host),
    ("Identity", Gpu::Device),
    ("Dropout", Gpu::Device),
    ("Affine", Gpu::Device),
];

fn unary() -> Vec<Sample> {
    let x = "%x: f32[2,3,4]";
    let all = Cut(&[0, 1, 2]);
    let plain = UNARY
        .iter()
        .map(|(op, gpu)| sample(x, &format!("%y = {op} %x : f32[2,3,4]"), all).opset(20).gpu(*gpu));
    let rest = [
        sample("%x: bool[2,3,4]", "%y = Not %x : bool[2,3,4]", all),
        sample(x, "%y = IsNaN %x : bool[2,3,4]", all).gpu(Host),
        sample(x, "%y = IsInf %x : bool[2,3,4]", all).gpu(Host),
        sample(x, "%y = Cast %x {to=10} : f16[2,3,4]", all),
        sample(x, "%y = Cast %x {to=7} : i64[2,3,4]", all).gpu(Host),
        sample(x, "%y = Clip %x, %lo, %hi : f32[2,3,4]", all)
            .with("%lo = const 0.25 : f32[] %hi = const 0.75 : f32[]"),
        sample(x, "%y = Transfer %x {to=\"b\"} : f32[2,3,4]", all),
    ];
    plain.chain(rest).collect()
}

fn broadcast() -> Vec<Sample> {
    let all = Cut(&[0, 1, 2]);
    let two = |op: &str, gpu: Gpu| {
        let node = format!("%y = {op} %x, %z : f32[2,3,4]");
        sample("%x: f32[2,3,4], %z: f32[3,1]", &node, all).gpu(gpu)
    };
    let compared = |op: &str| {
        let node = format!("%y = {op} %x, %z : bool[2,3,4]");
        sample("%x: f32[2,3,4], %z: f32[3,1]", &node, all).opset(16).gpu(Host)
    };
    let logic = |op: &str| {
        let node = format!("%y = {op} %x, %z : bool[2,3,4]");
        sample("%x: bool[2,3,4], %z: bool[3,1]", &node, all)
    };
    let three = |op: &str| {
        let node = format!("%y = {op} %x, %z, %v : f32[2,3,4]");
        sample("%x: f32[2,3,4], %z: f32[3,1], %v: f32[4]", &node, all)
    };
    vec![
        two("Add", Gpu::Device),
        two("Sub", Gpu::Device),
        two("Mul", Gpu::Device),
        two("Div", Gpu::Device),
        two("PRelu", Gpu::Device),
        sample("%x: f32[2,3,4]", "%y = Pow %x, %e : f32[2,3,4]", all)
            .with("%e = const [2,3,-1,0.5] : f32[4]"),
        sample("%x: f32[2,3,4], %z: f32[3,1]", "%y = Mod %x, %z {fmod=1} : f32[2,3,4]", all)
            .gpu(Host),
        logic("And"),
        logic("Or"),
        logic("Xor"),
        compared("Equal"),
        compared("Less"),
        compared("LessOrEqual"),
        compared("Greater"),
        compared("GreaterOrEqual"),
        sample(
            "%c: bool[2,1,4], %x: f32[2,3,4], %z: f32[3,1]",
            "%y = Where %c, %x, %z : f32[2,3,4]",
            all,
        ),
        three("Sum"),
        three("Mean"),
        three("Max"),
        three("Min"),
    ]
}

fn channels() -> Vec<Sample> {
    let scales = "%s = const [0.1,0.2,0.5,1] : f32[4] %z = const [0,10,128,3] : u8[4]";
    vec![
        sample(
            "%x: f32[2,4,7,6], %s: f32[4], %b: f32[4], %m: f32[4]",
            "%y = BatchNormalization %x, %s, %b, %m, %v : f32[2,4,7,6]",
            ALL,
        )
        .with("%v = const [0.5,1,2,4] : f32[4]"),
        sample(
            IMAGE,
            "%y = ImageScaler %x {bias=[0.5,1.0,-2.0,0.25], scale=1.5} : f32[2,4,7,6]",
            ALL,
        )
        .opset(9),
        sample(IMAGE, "%y = QuantizeLinear %x, %s, %z {axis=1} : u8[2,4,7,6]", ALL)
            .with(scales)
            .gpu(Host),
        sample("%x: u8[2,4,7,6]", "%y = DequantizeLinear %x, %s, %z {axis=1} : f32[2,4,7,6]", ALL)
            .with(scales),
        sample(
            "%x: f32[2,4]",
            "%y, %s, %z = DynamicQuantizeLinear %x : u8[2,4], f32[], u8[]",
            Barred("its scale is that of all elements"),
        )
        .gpu(Host),
    ]
}

fn coupled() -> Vec<Sample> {
    let x = "%x: f32[2,3,4]";
    vec![
        sample(x, "%y = Softmax %x {axis=1} : f32[2,3,4]", Cut(&[0, 2])),
        sample(x, "%y = LogSoftmax %x : f32[2,3,4]", Cut(&[0, 1])),
        sample(x, "%y = Hardmax %x {axis=0} : f32[2,3,4]", Cut(&[1, 2])).gpu(Host),
        sample(
            "%x: f32[2,4,7,6], %s: f32[4], %b: f32[4]",
            "%y = InstanceNormalization %x, %s, %b : f32[2,4,7,6]",
            Cut(&[0, 1]),
        ),
        sample(
            "%x: f32[2,3,4], %s: f32[4], %b: f32[4]",
            "%y = LayerNormalization %x, %s, %b : f32[2,3,4]",
            Cut(&[0, 1]),
        )
        .opset(17),
        sample(x, "%y = LpNormalization %x {axis=1} : f32[2,3,4]", Cut(&[0, 2])).gpu(Host),
        sample(IMAGE, "%y = LRN %x {size=3} : f32[2,4,7,6]", Cut(&[0, 2, 3])),
        sample(x, "%y = CumSum %x, %a : f32[2,3,4]", Cut(&[0, 2]))
            .with("%a = const 1 : i64[]")
            .gpu(Host),
        sample(
            "%x: f32[2,3,4], %a: i64[]",
            "%y = CumSum %x, %a : f32[2,3,4]",
            Barred("CumSum sums along this axis"),
        )
        .gpu(Host),
        sample(
            "%x: f32[2,3,4], %s: f32[4]",
            "_, %m, %i = LayerNormalization %x, %s : _, f32[2,3,1], f32[2,3,1]",
            Cut(&[0, 1]),
        )
        .opset(17)
        .gpu(Host),
    ]
}

fn reductions() -> Vec<Sample> {
    let x = "%x: f32[2,3,4]";
    let reduce = |(op, gpu): (&str, Gpu)| {
        let node = format!("%y = {op} %x {{axes=[1], keepdims=0}} : f32[2,4]");
        sample(x, &node, Cut(&[0, 1])).opset(12).gpu(gpu)
    };
    let plain = [
        ("ReduceSum", Gpu::Device),
        ("ReduceMean", Gpu::Device),
        ("ReduceMax", Gpu::Device),
        ("ReduceMin", Gpu::Device),
        ("ReduceProd", Gpu::Device),
        ("ReduceL1", Gpu::Device),
        ("ReduceL2", Gpu::Device),
        ("ReduceSumSquare", Gpu::Device),
        ("ReduceLogSum", Gpu::Device),
        ("ReduceLogSumExp", Host),
    ];
    let rest = [
        sample(x, "%y = ReduceSum %x, %a : f32[2,1,1]", Cut(&[0]))
            .with("%a = const [1,2] : i64[2]"),
        sample(x, "%y = ArgMax %x {axis=1} : i64[2,1,4]", Cut(&[0, 2])).gpu(Host),
        sample(x, "%y = ArgMin %x {axis=2, keepdims=0} : i64[2,3]", Cut(&[0, 1])).gpu(Host),
        sample(IMAGE, "%y = GlobalAveragePool %x : f32[2,4,1,1]", Cut(&[0, 1])),
        sample(IMAGE, "%y = GlobalMaxPool %x : f32[2,4,1,1]", Cut(&[0, 1])),
        sample(IMAGE, "%y = GlobalLpPool %x : f32[2,4,1,1]", Cut(&[0, 1])),
    ];
    plain.into_iter().map(reduce).chain(rest).collect()
}

fn layouts() -> Vec<Sample> {
    let x = "%x: f32[2,5,6]";
    let resize = |attributes: &str, scales: &str, ty: &str, regions: Regions| {
        let node = format!("%y = Resize %x, _, %s {{{attributes}}} : {ty}");
        sample("%x: f32[2,2,3,4]", &node, regions).with(&format!("%s = const {scales} : f32[4]"))
    };
    vec![
        sample(x, "%y = Reshape %x, %s : f32[2,30]", Cut(&[0, 1]))
            .with("%s = const [2,-1] : i64[2]"),
        sample(x, "%y = Flatten %x : f32[2,30]", Cut(&[0, 1])),
        sample("%x: f32[2,1,6]", "%y = Squeeze %x, %a : f32[2,6]", Cut(&[0, 1]))
            .with("%a = const [1] : i64[1]"),
        sample("%x: f32[2,6]", "%y = Unsqueeze %x, %a : f32[2,1,6]", Cut(&[0, 2]))
            .with("%a = const [1] : i64[1]"),
        sample(x, "%y = Transpose %x {perm=[2,0,1]} : f32[6,2,5]", Cut(&[0, 1, 2])),
        sample("%x: f32[5,1]", "%y = Expand %x, %s : f32[2,5,6]", Cut(&[0, 1, 2]))
            .with("%s = const [2,5,6] : i64[3]"),
        sample(x, "%y = Tile %x, %r : f32[2,10,6]", Cut(&[0, 2]))
            .with("%r = const [1,2,1] : i64[3]"),
        sample(x, "%y = Slice %x [1: 1..4, 2: 5..0:-2] : f32[2,3,3]", Cut(&[0, 1, 2])),
        sample(IMAGE, "%y = Crop %x {border=[1,2,0,1]} : f32[2,4,4,5]", ALL).opset(9),
        sample(
            "%x: f32[2,5], %z: f32[2,3], %v: f32[2,4]",
            "%y = Concat %x, %z, %v {axis=1} : f32[2,12]",
            Cut(&[0, 1]),
        ),
        sample(x, "%y, _ = Split %x, %s {axis=1} : f32[2,2,6], _", Cut(&[0, 1, 2]))
            .with("%s = const [2,3] : i64[2]"),
        sample(x, "_, %y = Split %x, %s {axis=1} : _, f32[2,3,6]", Cut(&[0, 1, 2]))
            .with("%s = const [2,3] : i64[2]"),
        sample(x, "%y = Pad %x, %p : f32[2,6,7]", Cut(&[0, 1, 2]))
            .with("%p = const [0,1,-1,0,0,2] : i64[6]"),
        sample(x, "%y = Pad %x, %p {mode=\"reflect\"} : f32[2,8,6]", Cut(&[0, 1, 2]))
            .with("%p = const [0,1,0,0,2,0] : i64[6]"),
        sample("%x: f32[5,4]", "%y = Pad %x, %p {mode=\"edge\"} : f32[12,9]", Cut(&[0, 1]))
            .with("%p = const [4,2,3,3] : i64[4]"),
        sample("%x: f32[5,4]", "%y = Pad %x, %p {mode=\"reflect\"} : f32[12,9]", Cut(&[0, 1]))
            .with("%p = const [4,2,3,3] : i64[4]"),
        sample("%x: f32[5,4]", "%y = Pad %x, %p {mode=\"wrap\"} : f32[6,4]", Cut(&[1]))
            .with("%p = const [1,0,0,0] : i64[4]")
            .opset(19),
        sample(
            "%x: f32[2,8,3,2]",
            "%y = DepthToSpace %x {blocksize=2} : f32[2,2,6,4]",
            Cut(&[0, 2, 3]),
        ),
        sample(
            "%x: f32[2,3,4,6]",
            "%y = SpaceToDepth %x {blocksize=2} : f32[2,12,2,3]",
            Cut(&[0, 2, 3]),
        ),
        resize(
            "coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"",
            "[1,1,2,3]",
            "f32[2,2,6,12]",
            ALL,
        ),
        resize("mode=\"linear\"", "[1,1,2,4]", "f32[2,2,6,16]", ALL),
        resize("mode=\"linear\"", "[1,1,1.5,1]", "f32[2,2,4,4]", Cut(&[0, 1, 3])),
        sample("%x: f32[2,2,3,4]", "%y = Upsample %x, %s : f32[2,2,6,12]", ALL)
            .with("%s = const [1,1,2,3] : f32[4]")
            .opset(9),
    ]
}

fn indexed() -> Vec<Sample> {
    let rows = "%x: f32[8,4], %i: i64[3]";
    vec![
        sample(rows, "%y = Gather %x, %i : f32[3,4]", Cut(&[0, 1])),
        sample("%x: f32[8,2], %i: i64[3,2]", "%y = GatherElements %x, %i : f32[3,2]", Cut(&[0, 1]))
            .gpu(Host),
        sample(
            "%x: f32[5,4,6], %i: i64[3,7,6]",
            "%y = GatherElements %x, %i {axis=-2} : f32[3,7,6]",
            Cut(&[0, 1, 2]),
        )
        .gpu(Host),
        sample("%x: f32[8,8,2], %i: i64[3,2]", "%y = GatherND %x, %i : f32[3,2]", Cut(&[0, 1]))
            .gpu(Host),
        sample(
            "%x: f32[3,8,4,5], %i: i64[3,2,6,1]",
            "%y = GatherND %x, %i {batch_dims=1} : f32[3,2,6,4,5]",
            Cut(&[0, 1, 2, 3, 4]),
        )
        .gpu(Host),
        sample(
            "%x: f32[8,2], %i: i64[3,2], %u: f32[3,2]",
            "%y = ScatterElements %x, %i, %u : f32[8,2]",
            Cut(&[1]),
        )
        .gpu(Host),
        sample(
            "%x: f32[4,8,5], %i: i64[4,3,2], %u: f32[4,3,2]",
            "%y = ScatterElements %x, %i, %u {axis=1, reduction=\"add\"} : f32[4,8,5]",
            Cut(&[0]),
        )
        .opset(18)
        .gpu(Host),
        sample(
            "%x: f32[8,2], %i: i64[3,1], %u: f32[3,2]",
            "%y = ScatterND %x, %i, %u : f32[8,2]",
            Cut(&[1]),
        )
        .gpu(Host),
        sample(
            "%x: f32[8,6], %i: i64[3,2], %u: f32[3]",
            "%y = ScatterND %x, %i, %u : f32[8,6]",
            Barred("writes anywhere along this axis"),
        )
        .gpu(Host),
        sample("%i: i64[3]", "%y = OneHot %i, %d, %v : f32[3,8]", Cut(&[0]))
            .with("%d = const 8 : i64[] %v = const [0.5,2] : f32[2]"),
        sample("%i: i64[3,4]", "%y = OneHot %i, %d, %v {axis=1} : f32[3,8,4]", Cut(&[0, 2]))
            .with("%d = const 8 : i64[] %v = const [0.5,2] : f32[2]"),
        sample("%x: f32[3,4]", "%y = NonZero %x : i64[2,?]", Barred("how many results")).gpu(Host),
        sample("%x: f32[3,4]", "%y, %i = TopK %x, %k : f32[3,2], i64[3,2]", Cut(&[0]))
            .with("%k = const [2] : i64[1]")
            .gpu(Host),
        sample("%x: f32[3,7,4]", "_, %i = TopK %x, %k {axis=1} : _, i64[3,2,4]", Cut(&[0, 2]))
            .with("%k = const [2] : i64[1]")
            .gpu(Host),
        sample("%x: f32[3,4]", "%y = Trilu %x : f32[3,4]", Cut(&[0, 1])).opset(14).gpu(Host),
        sample("%x: f32[2,5,6]", "%y = Trilu %x, %k {upper=0} : f32[2,5,6]", Cut(&[0, 1, 2]))
            .with("%k = const -1 : i64[]")
            .opset(14)
            .gpu(Host),
        sample("%x: f32[2,5,6], %k: i64[]", "%y = Trilu %x, %k : f32[2,5,6]", Cut(&[0]))
            .opset(14)
            .gpu(Host),
        sample(
            "%x: f32[3,4], %z: f32[4,5]",
            "%y = Einsum %x, %z {equation=\"ij,jk->ik\"} : f32[3,5]",
            Cut(&[0, 1]),
        )
        .gpu(Host),
        sample(
            "%x: f32[2,3,4], %z: f32[2,1,5], %a: f32[4]",
            "%y = Einsum %x, %z, %a {equation=\"bij,bik,j->kbi\"} : f32[5,2,3]",
            Cut(&[0, 1, 2]),
        )
        .gpu(Host),
        sample(
            "%x: f32[4,4]",
            "%y = Einsum %x {equation=\"ii->i\"} : f32[4]",
            Barred("takes a diagonal"),
        )
        .gpu(Host),
    ]
}

fn sources() -> Vec<Sample> {
    vec![
        sample("", "%y = Constant {value_floats=[1.5,2.5]} : f32[2]", OPAQUE),
        sample(
            "",
            "%y = ConstantOfShape %s {value=tensor([1.5] : f32[1])} : f32[4,6]",
            Cut(&[0, 1]),
        )
        .with("%s = const [4,6] : i64[2]"),
        sample("%x: f32[2,3]", "%y = Shape %x : i64[2]", OPAQUE),
        sample("%x: f32[2,3]", "%y = Size %x : i64[]", OPAQUE),
        sample("", "%y = Range %a, %b, %d : i64[3]", OPAQUE)
            .with("%a = const 1 : i64[] %b = const 7 : i64[] %d = const 2 : i64[]"),
        sample("%x: f32[3,4]", "%y = EyeLike %x {k=1} : f32[3,4]", Cut(&[0, 1])).gpu(Host),
    ]
}

fn recurrent() -> Vec<Sample> {
    let one = |op: &str, gates: u64, states: &str, types: &str| {
        let rows = gates * 5;
        let inputs = format!(
            "%x: f32[3,2,4], %w: f32[1,{rows},4], %r: f32[1,{rows},5], %b: f32[1,{}]",
            2 * rows
        );
        let node = format!(
            "%y, %h{states} = {op} %x, %w, %r, %b {{hidden_size=5}} : f32[3,1,2,5], f32[1,2,5]{types}"
        );
        sample(&inputs, &node, Cut(&[2])).gpu(Host)
    };
    let two = |op: &str, gates: u64, operands: (&str, &str), attributes: &str| {
        let rows = gates * 5;
        let inputs = format!(
            "%x: f32[3,4,4], %w: f32[2,{rows},4], %r: f32[2,{rows},5], %b: f32[2,{}],
             %h0: f32[2,4,5]{}",
            2 * rows,
            operands.0
        );
        let node = format!(
            "%y, %h = {op} %x, %w, %r, %b, %l, %h0{} {{hidden_size=5, direction=\"bidirectional\"{attributes}}}
             : f32[3,2,4,5], f32[2,4,5]",
            operands.1
        );
        let lengths = "%l = const [3,1,2,3] : i32[4]";
        sample(&inputs, &node, Cut(&[1, 2])).with(lengths).gpu(Host)
    };
    let parameters = ", activations=[\"LeakyRelu\",\"Tanh\"], activation_alpha=[0.5,0.25]";
    let activations =
        ", activations=[\"Sigmoid\",\"Tanh\",\"Sigmoid\",\"Relu\"], linear_before_reset=1";
    let lstm = (", %c0: f32[2,4,5], %p: f32[2,15]", ", %c0, %p");
    vec![
        one("LSTM", 4, ", %c", ", f32[1,2,5]"),
        one("GRU", 3, "", ""),
        one("RNN", 1, "", ""),
        two("LSTM", 4, lstm, ", clip=2.0"),
        two("GRU", 3, ("", ""), activations),
        Sample { regions: Cut(&[2]), ..two("RNN", 1, ("", ""), parameters) },
        // The batch first, and only the last state.
        sample(
            "%x: f32[4,3,2], %w: f32[2,20,2], %r: f32[2,20,5], %h0: f32[4,2,5]",
            "_, %h, %c = LSTM %x, %w, %r, _, _, %h0 {hidden_size=5, layout=1, direction=\"bidirectional\"}
             : _, f32[4,2,5], f32[4,2,5]",
            Cut(&[0, 1]),
        )
        .opset(14)
        .gpu(Host),
        sample(
            "%x: f32[4,3,2], %w: f32[1,15,2], %r: f32[1,15,5]",
            "%y, %h = GRU %x, %w, %r {hidden_size=5, layout=1, direction=\"reverse\"}
             : f32[4,3,1,5], f32[4,1,5]",
            Cut(&[0]),
        )
        .opset(14)
        .gpu(Host),
    ]
}

fn control() -> Vec<Sample> {
    vec![
        sample(
            "%c: bool[], %x: f32[2,3]",
            "%y = If %c {then_branch=graph @t() -> (%a) { %a = Neg %x : ? },
               else_branch=graph @e() -> (%b) { %b = Abs %x : ? }} : f32[2,3]",
            INSIDE,
        )
        .gpu(No("control flow")),
        sample(
            "%n: i64[], %x: f32[2,3]",
            "%y = Loop %n, _, %x {body=graph @b(%i: i64[], %c: bool[], %s: f32[2,3]) -> (%d, %t) {
               %d = Identity %c : ? %t = Add %s, %s : ? }} : f32[2,3]",
            INSIDE,
        )
        .gpu(No("control flow")),
        sample(
            "%x: f32[2], %z: f32[3,2]",
            "%y, %all = Scan %x, %z {num_scan_inputs=1, scan_output_axes=[1],
               body=graph @b(%s: f32[2], %e: f32[2]) -> (%t, %u) {
               %t = Add %s, %e : ? %u = Neg %t : ? }} : f32[2], f32[2,3]",
            INSIDE,
        )
        .gpu(No("control flow")),
    ]
}

fn strings() -> Vec<Sample> {
    let of = |inputs, node, regions| sample(inputs, node, regions).opset(20);
    let longest = Barred("the string with the most parts");
    vec![
        of(
            "%x: string[2,3], %z: string[3]",
            "%y = StringConcat %x, %z : string[2,3]",
            Cut(&[0, 1]),
        ),
        of(
            "%x: string[2]",
            "%y, %n = StringSplit %x {delimiter=\"a\"} : string[2,?], i64[2]",
            longest,
        ),
        of("%x: string[2]", "_, %n = StringSplit %x {delimiter=\"a\"} : _, i64[2]", Cut(&[0])),
        of(
            "%x: string[1,3]",
            "%y = StringNormalizer %x {case_change_action=\"UPPER\", stopwords=[\"a0\"]}
               : string[1,?]",
            OPAQUE,
        ),
        of(
            "%x: string[2,3]",
            "%y = RegexFullMatch %x {pattern=\"a[0-3]\"} : bool[2,3]",
            Cut(&[0, 1]),
        ),
        sample("", "%y = Constant {value_strings=[\"a\",\"b\"]} : string[2]", OPAQUE),
    ]
}

fn sequences() -> Vec<Sample> {
    let of = |inputs, node| {
        let regions = Barred("region rule");
        sample(inputs, node, regions).opset(18).gpu(No("sequences and optionals"))
    };
    let from =
        |inputs, node| Sample { regions: Barred("the rank of operand 0"), ..of(inputs, node) };
    let list = "%s: sequence(f32[2,3])";
    let index = "%i = const 1 : i64[]";
    vec![
        of("", "%y = SequenceEmpty {dtype=7} : sequence(i64[..])"),
        of("%x: f32[2,3], %z: f32[2,4]", "%y = SequenceConstruct %x, %z : sequence(f32[2,?])"),
        from(
            "%s: sequence(f32[2,3]), %x: f32[2,3]",
            "%y = SequenceInsert %s, %x, %i : sequence(f32[2,3])",
        )
        .with(index),
        from(list, "%y = SequenceErase %s, %i : sequence(f32[2,3])").with(index),
        from(list, "%y = SequenceAt %s, %i : f32[2,3]").with(index),
        from(list, "%y = SequenceLength %s : i64[]"),
        Sample {
            regions: INSIDE,
            ..of(
                list,
                "%y = SequenceMap %s {body=graph @b(%e: f32[2,3]) -> (%n) { %n = Neg %e : ? }} \
                 : sequence(f32[..])",
            )
            .gpu(No("control flow"))
        },
        of("%x: f32[4,3]", "%y = SplitToSequence %x : sequence(f32[1,3])"),
        of("%x: f32[4,3]", "%y = SplitToSequence %x, %n {axis=-1} : sequence(f32[4,?])")
            .with("%n = const [1,2] : i64[2]"),
        from(list, "%y = ConcatFromSequence %s {axis=1} : f32[2,?]"),
        of("%x: f32[2,3]", "%y = Optional %x : optional(f32[2,3])"),
        from("%o: optional(f32[2,3])", "%y = OptionalHasElement %o : bool[]"),
        from("%o: optional(f32[2,3])", "%y = OptionalGetElement %o : f32[2,3]"),
    ]
}

/// Other forms of the same operators: older versions, other attributes and operands.
fn variants() -> Vec<Sample> {
    let x = "%x: f32[2,5,6]";
    vec![
        sample(x, "%y = Cast %x {to=17, saturate=0} : f8e4m3fn[2,5,6]", Cut(&[0, 1, 2]))
            .opset(19)
            .gpu(Host),
        sample(x, "%y = QuantizeLinear %x, %s {output_dtype=19} : f8e5m2[2,5,6]", Cut(&[0, 1, 2]))
            .opset(21)
            .with("%s = const 0.5 : f32[]")
            .gpu(Host),
        sample(
            "%x: f32[2,3,4], %s: f32[3], %b: f32[3], %m: f32[3], %v: f32[3]",
            "%y, %n, %w = BatchNormalization %x, %s, %b, %m, %v {training_mode=1}
               : f32[2,3,4], f32[3], f32[3]",
            Barred("training mode"),
        )
        .opset(15)
        .gpu(Host),
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,4,3,3]",
            "%y = Conv %x, %w {auto_pad=\"SAME_LOWER\", strides=[2,3]} : f32[2,6,4,2]",
            ALL,
        ),
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,4,3,3]",
            "%y = com.microsoft::FusedConv %x, %w
               {activation=\"Clip\", activation_params=[0.0,1.0]} : f32[2,6,5,4]",
            ALL,
        ),
        sample(
            "%x: u8[2,4,6,5], %w: u8[4,2,3,3]",
            "%y = ConvInteger %x, %w {group=2} : i32[2,4,4,3]",
            ALL,
        ),
        sample(
            "%x: f32[2,4,5,4], %w: f32[4,3,3,3]",
            "%y = ConvTranspose %x, %w {strides=[2,2], output_shape=[10,8]} : f32[2,3,10,8]",
            ALL,
        ),
        sample(
            "%x: f32[2,4,5,4], %w: f32[4,3,3,3]",
            "%y = ConvTranspose %x, %w {strides=[2,2], auto_pad=\"SAME_UPPER\"} : f32[2,3,10,8]",
            ALL,
        ),
        sample(
            IMAGE,
            "%y = MaxPool %x {kernel_shape=[2,2], strides=[2,2], ceil_mode=1} : f32[2,4,4,3]",
            ALL,
        ),
        sample(
            IMAGE,
            "%y = AveragePool %x {kernel_shape=[3,3], auto_pad=\"SAME_UPPER\", strides=[2,2],
               count_include_pad=1} : f32[2,4,4,3]",
            ALL,
        ),
        sample(
            IMAGE,
            "%y = AveragePool %x {kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2], ceil_mode=1,
               count_include_pad=1} : f32[2,4,4,4]",
            ALL,
        ),
        sample(
            "%x: f32[2,4,9]",
            "%y = LpPool %x {kernel_shape=[3], p=1} : f32[2,4,7]",
            Cut(&[0, 1, 2]),
        ),
        sample("%x: f32[5], %w: f32[2,5,4]", "%y = MatMul %x, %w : f32[2,4]", Cut(&[0, 1])),
        sample("%x: f32[3,1,6,5], %w: f32[2,5,4]", "%y = MatMul %x, %w : f32[3,2,6,4]", ALL),
        sample("%x: f32[6,5], %w: f32[5]", "%y = MatMul %x, %w : f32[6]", Cut(&[0])),
        sample(
            "%x: f32[6,5], %w: f32[5,4], %b: f32[6,1]",
            "%y = Gemm %x, %w, %b : f32[6,4]",
            Cut(&[0, 1]),
        ),
        sample(
            "%x: f32[6,5], %w: f32[5,4], %b: f32[4]",
            "%y = Gemm %x, %w, %b {broadcast=1} : f32[6,4]",
            Cut(&[0, 1]),
        )
        .opset(6),
        sample(
            "%x: u8[6,5], %w: i8[5,4], %z: u8[6], %t: i8[4]",
            "%y = MatMulInteger %x, %w, %z, %t : i32[6,4]",
            Cut(&[0, 1]),
        ),
        sample("%x: i64[2,3], %z: i64[3]", "%y = Add %x, %z : i64[2,3]", Cut(&[0, 1])),
        sample(x, "%y = Max %x : f32[2,5,6]", Cut(&[0, 1, 2])),
        sample(x, "%y = Clip %x {min=0.25, max=0.75} : f32[2,5,6]", Cut(&[0, 1, 2])).opset(6),
        sample(x, "%y = Gelu %x {approximate=\"tanh\"} : f32[2,5,6]", Cut(&[0, 1, 2])).opset(20),
        sample(x, "%y = Cast %x {to=9} : bool[2,5,6]", Cut(&[0, 1, 2])).gpu(Host),
        sample(x, "_, %m = Dropout %x : _, bool[2,5,6]", Cut(&[0, 1, 2])).gpu(Host),
        sample(x, "%y = QuantizeLinear %x, %s : u8[2,5,6]", Cut(&[0, 1, 2]))
            .with("%s = const 0.1 : f32[]")
            .gpu(Host),
        sample(
            "%x: i8[2,5,6]",
            "%y = DequantizeLinear %x, %s {axis=-1} : f32[2,5,6]",
            Cut(&[0, 1, 2]),
        )
        .with("%s = const [0.1,0.2,0.5,1,2,4] : f32[6]"),
        sample(x, "%y = Softmax %x {axis=1} : f32[2,5,6]", Cut(&[0])).opset(11),
        sample(
            "%x: f32[2,5,6], %s: f32[5,6]",
            "%y = LayerNormalization %x, %s {axis=1} : f32[2,5,6]",
            Cut(&[0]),
        )
        .opset(17),
        sample(x, "%y = LpNormalization %x {p=1} : f32[2,5,6]", Cut(&[0, 1])).gpu(Host),
        sample(x, "%y = LRN %x {size=2} : f32[2,5,6]", Cut(&[0, 2])),
        sample(x, "%y = ReduceMean %x, %a {keepdims=0} : f32[5]", Cut(&[0]))
            .with("%a = const [0,-1] : i64[2]")
            .opset(18),
        sample(x, "%y = ReduceMax %x {noop_with_empty_axes=1} : f32[2,5,6]", Cut(&[0, 1, 2]))
            .opset(18),
        sample(x, "%y = ArgMax %x {axis=-1, select_last_index=1} : i64[2,5,1]", Cut(&[0, 1]))
            .gpu(Host),
        sample("%x: f32[2,5,6]", "%y = Reshape %x, %s : f32[2,2,3,5]", Cut(&[0]))
            .with("%s = const [0,2,3,5] : i64[4]"),
        sample("%x: f32[4,6,5]", "%y = Reshape %x, %s : f32[4,2,3,5]", Cut(&[0, 1, 3]))
            .with("%s = const [0,2,3,5] : i64[4]"),
        sample("%x: f32[2,1,6]", "%y = Squeeze %x {axes=[1]} : f32[2,6]", Cut(&[0, 1])).opset(11),
        sample("%x: f32[2,6]", "%y = Unsqueeze %x {axes=[0,3]} : f32[1,2,6,1]", Cut(&[1, 2]))
            .opset(11),
        sample(x, "%y = Transpose %x : f32[6,5,2]", Cut(&[0, 1, 2])),
        sample(x, "%y = Slice %x [1: 1..4] : f32[2,3,6]", Cut(&[0, 1, 2])).opset(9),
        sample(x, "%y, _ = Split %x {axis=1, split=[2,3]} : f32[2,2,6], _", Cut(&[0, 1, 2]))
            .opset(11),
        sample(x, "_, %y = Split %x {axis=2, num_outputs=2} : _, f32[2,5,3]", Cut(&[0, 1, 2]))
            .opset(18),
        sample(
            "%x: f32[5,2], %z: f32[3,2]",
            "%y = Concat %x, %z {axis=-2} : f32[8,2]",
            Cut(&[0, 1]),
        ),
        sample(x, "%y = Pad %x {pads=[0,1,0,0,1,1], value=2.5} : f32[2,7,7]", Cut(&[0, 1, 2]))
            .opset(10),
        sample(x, "%y = Pad %x, %p, %v, %a {mode=\"constant\"} : f32[2,7,6]", Cut(&[0, 1, 2]))
            .with("%p = const [1,1] : i64[2] %v = const 2.5 : f32[] %a = const [-2] : i64[1]")
            .opset(18),
        sample(
            "%x: f32[2,8,3,2]",
            "%y = DepthToSpace %x {blocksize=2, mode=\"CRD\"} : f32[2,2,6,4]",
            ALL,
        ),
        sample("%x: f32[2,2,3,4]", "%y = Resize %x, %s : f32[2,2,6,8]", ALL)
            .with("%s = const [1,1,2,2] : f32[4]")
            .opset(10),
        sample(
            "%x: f32[2,2,3,4]",
            "%y = Resize %x, _, _, %n {axes=[3,2], mode=\"cubic\"} : f32[2,2,6,8]",
            ALL,
        )
        .with("%n = const [8,6] : i64[2]")
        .opset(18),
        sample(
            "%x: f32[2,2,3,4]",
            "%y = Upsample %x {mode=\"linear\", scales=[1.0,1.0,2.0,2.0]} : f32[2,2,6,8]",
            ALL,
        )
        .opset(7),
        sample("%x: f32[2,8,3], %i: i64[2,3]", "%y = Gather %x, %i {axis=1} : f32[2,2,3,3]", ALL),
    ]
}

/// Operators that have nothing to do: their results still are where they belong.
fn trivial() -> Vec<Sample> {
    let x = "%x: f32[2,5,6]";
    let all = Cut(&[0, 1, 2]);
    let of = |node: &str| sample(x, &format!("%y = {node} : f32[2,5,6]"), all);
    vec![
        of("Sum %x"),
        of("Mean %x"),
        of("Min %x"),
        of("Clip %x"),
        of("Cast %x {to=1}"),
        of("Concat %x {axis=1}"),
        of("Transpose %x {perm=[0,1,2]}"),
        of("Expand %x, %s").with("%s = const [1,5,1] : i64[3]"),
        of("Tile %x, %s").with("%s = const [1,1,1] : i64[3]"),
        of("Pad %x, %s").with("%s = const [0,0,0,0,0,0] : i64[6]"),
        of("Slice %x [1: 0..5]"),
        of("Reshape %x, %s").with("%s = const [0,0,6] : i64[3]"),
        of("Resize %x, _, %s").with("%s = const [1,1,1] : f32[3]"),
        of("Split %x {axis=1}"),
        of("ReduceSum %x {noop_with_empty_axes=1}"),
    ]
}

fn bits() -> Vec<Sample> {
    let all = Cut(&[0, 1, 2]);
    let two = |op: &str| {
        let node = format!("%y = {op} %x, %z : i32[2,3,4]");
        sample("%x: i32[2,3,4], %z: i32[3,1]", &node, all).opset(18)
    };
    vec![
        two("BitwiseAnd"),
        two("BitwiseOr"),
        two("BitwiseXor"),
        sample("%x: i8[2,3,4]", "%y = BitwiseNot %x : i8[2,3,4]", all).opset(18),
        sample(
            "%x: u8[2,3,4], %z: u8[3,1]",
            "%y = BitShift %x, %z {direction=\"LEFT\"} : u8[2,3,4]",
            all,
        ),
        sample(
            "%x: i64[2,3,4], %z: i64[3,1]",
            "%y = BitShift %x, %z {direction=\"RIGHT\"} : i64[2,3,4]",
            all,
        )
        .opset(28),
        sample("%x: i32[2,3,4]", "%y = BitCast %x {to=12} : u32[2,3,4]", all).opset(26),
    ]
}

fn selections() -> Vec<Sample> {
    let x = "%x: f32[2,5,6]";
    let chosen = "%c = const [1,0,1,1] : bool[4]";
    vec![
        sample(x, "%y = CumProd %x, %a {reverse=1} : f32[2,5,6]", Cut(&[0, 2]))
            .with("%a = const 1 : i64[]")
            .opset(26)
            .gpu(Host),
        sample(x, "%y = Compress %x, %c {axis=1} : f32[2,3,6]", Cut(&[0, 2]))
            .with(chosen)
            .gpu(Host),
        sample(x, "%y = Compress %x, %c : f32[3]", Barred("all axes as one"))
            .with(chosen)
            .gpu(Host),
        sample(
            "%x: f32[8,3,4], %l: i64[3]",
            "%y = ReverseSequence %x, %l : f32[8,3,4]",
            Cut(&[1, 2]),
        )
        .gpu(Host),
        sample(
            "%x: f32[8,2], %i: i64[3,2], %u: f32[3,2]",
            "%y = Scatter %x, %i, %u : f32[8,2]",
            Cut(&[1]),
        )
        .opset(10)
        .gpu(Host),
        sample(
            "%x: f32[2,3,12,4], %u: f32[2,3,2,4], %i: i64[2]",
            "%y = TensorScatter %x, %u, %i {mode=\"circular\"} : f32[2,3,12,4]",
            Cut(&[0, 1, 3]),
        )
        .opset(24)
        .gpu(Host),
        sample(
            "%x: f32[2,12,3], %u: f32[2,2,3]",
            "%y = TensorScatter %x, %u : f32[2,12,3]",
            Cut(&[0, 2]),
        )
        .opset(24)
        .gpu(Host),
        sample(x, "%y, %i = Unique %x {axis=1} : f32[2,?,6], i64[?]", OPAQUE).gpu(Host),
        sample(
            "%x: f32[2,2,3,4], %i: i64[2,2,3,4]",
            "%y = MaxUnpool %x, %i {kernel_shape=[2,2], strides=[2,2]} : f32[2,2,6,8]",
            Barred("Indices are positions in the whole tensor"),
        )
        .gpu(Host),
        sample("%x: f32[2,12,9]", "%y = Col2Im %x, %s, %b : f32[2,3,4,4]", Cut(&[0, 1]))
            .with("%s = const [4,4] : i64[2] %b = const [2,2] : i64[2]")
            .opset(18)
            .gpu(Host),
        sample("%x: f32[2,5,3,3]", "%y = Det %x : f32[2,5]", Cut(&[0, 1])).gpu(Host),
    ]
}

/// Operators that read images at places that are computed.
fn sampled() -> Vec<Sample> {
    let grid = |attributes: &str| {
        let node = format!("%y = GridSample %x, %g {{{attributes}}} : f32[2,4,3,5]");
        sample("%x: f32[2,4,7,6], %g: f32[2,3,5,2]", &node, ALL).opset(20).gpu(Host)
    };
    vec![
        grid("mode=\"linear\""),
        grid("mode=\"cubic\", padding_mode=\"border\""),
        grid("mode=\"nearest\", padding_mode=\"reflection\", align_corners=1"),
        grid("mode=\"bilinear\", padding_mode=\"reflection\"").opset(16),
        sample(
            "%x: f32[2,3,4,5,3], %g: f32[2,3,2,4,3]",
            "%y = GridSample %x, %g {align_corners=1} : f32[2,3,3,2,4]",
            Cut(&[0, 1, 2, 3, 4]),
        )
        .opset(22)
        .gpu(Host),
        sample(
            "%x: f32[8,4,7,6], %r: f32[3,4], %i: i64[3]",
            "%y = RoiAlign %x, %r, %i {output_height=2, output_width=2, spatial_scale=2.0}
               : f32[3,4,2,2]",
            Cut(&[0, 1]),
        )
        .opset(16)
        .gpu(Host),
        sample(
            "%x: f32[8,4,7,6], %r: f32[3,4], %i: i64[3]",
            "%y = RoiAlign %x, %r, %i {mode=\"max\", sampling_ratio=2, output_width=3}
               : f32[3,4,1,3]",
            Cut(&[0, 1]),
        )
        .gpu(Host),
        sample(
            "%b: f32[2,6,4], %s: f32[2,3,6]",
            "%y = NonMaxSuppression %b, %s, %n, %t : i64[?,3]",
            OPAQUE,
        )
        .with("%n = const 4 : i64[] %t = const 0.25 : f32[]")
        .gpu(Host),
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,4,3,3], %o: f32[2,18,5,4], %b: f32[6], %m: f32[2,9,5,4]",
            "%y = DeformConv %x, %w, %o, %b, %m : f32[2,6,5,4]",
            Cut(&[0, 1]),
        )
        .opset(19)
        .gpu(Host),
        sample(
            "%x: f32[2,4,7,6], %w: f32[6,2,3,3], %o: f32[2,36,4,3]",
            "%y = DeformConv %x, %w, %o {group=2, offset_group=2, strides=[2,2], pads=[1,1,1,1]}
               : f32[2,6,4,3]",
            Cut(&[0]),
        )
        .opset(19)
        .gpu(Host),
    ]
}

fn signals() -> Vec<Sample> {
    let window = |op: &str| {
        let node = format!("%y = {op} %n : f32[10]");
        sample("", &node, OPAQUE).with("%n = const 10 : i64[]").opset(17)
    };
    vec![
        sample("%x: f32[2,5,6,1]", "%y = DFT %x {axis=2} : f32[2,5,6,2]", Cut(&[0, 1]))
            .opset(17)
            .gpu(Host),
        sample("%x: f32[2,5,6,1]", "%y = DFT %x, %n, %a {onesided=1} : f32[2,5,6,2]", Cut(&[0, 2]))
            .with("%n = const 8 : i64[] %a = const 1 : i64[]")
            .opset(20)
            .gpu(Host),
        sample("%x: f32[2,6,2]", "%y = DFT %x {inverse=1, onesided=1} : f32[2,10,1]", Cut(&[0]))
            .opset(20)
            .gpu(Host),
        sample("%x: f32[2,16,1], %w: f32[8]", "%y = STFT %x, %s, %w : f32[2,3,5,2]", Cut(&[0]))
            .with("%s = const 4 : i64[]")
            .opset(17)
            .gpu(Host),
        sample("", "%y = MelWeightMatrix %n, %l, %r, %a, %b : f32[9,8]", OPAQUE)
            .with(
                "%n = const 8 : i64[] %l = const 16 : i64[] %r = const 8192 : i64[]
                 %a = const 0 : f32[] %b = const 4096 : f32[]",
            )
            .opset(17),
        window("HannWindow"),
        window("HammingWindow"),
        window("BlackmanWindow"),
        sample(
            "%x: i64[3,7]",
            "%y = TfIdfVectorizer %x {max_gram_length=2, max_skip_count=1, min_gram_length=1,
               mode=\"TF\", ngram_counts=[0,3], ngram_indexes=[0,1,2,3,4],
               pool_int64s=[1,2,3,1,2,3,4]} : f32[3,5]",
            Cut(&[0]),
        ),
    ]
}

fn random() -> Vec<Sample> {
    let drawn = Barred("draws random numbers");
    let like = |node: &str| {
        sample("%x: f32[2,3]", &format!("%y = {node} : f32[2,3]"), drawn).opset(15).gpu(Host)
    };
    vec![
        sample("", "%y = RandomUniform {shape=[2,3], low=-1.0} : f32[2,3]", drawn),
        sample("", "%y = RandomNormal {shape=[2,3], dtype=11} : f64[2,3]", drawn),
        like("RandomUniformLike %x {seed=2.0}"),
        like("RandomNormalLike %x"),
        like("Bernoulli %x"),
        sample("%x: f32[2,3]", "%y = Multinomial %x {sample_size=4} : i32[2,4]", drawn).gpu(Host),
    ]
}
