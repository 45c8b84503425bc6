//! Definitions of ONNX Runtime's own operators (domain com.microsoft), after its documentation of contrib
//! operators.

use super::onnx::{UNKNOWN, Written, known, swish};
use super::source::Source;
use super::{masked, norms, quantized};
use crate::op::{FusedGemm, Op};
use crate::op_context::{axis_of, fail};

/// Writes the definition of the node's operator.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    match s.ctx.op {
        Op::MsGelu(_) => {
            s.names(&["x"], &["y"]);
            return gelu(s, "x");
        }
        Op::BiasGelu(_) => {
            s.names(&["a", "bias"], &["y"]);
            s.text("%x = Add %a, %bias");
            return gelu(s, "x");
        }
        Op::FastGelu(_) => {
            s.names(&["a", "bias"], &["y"]);
            let t = known!(s.dtype("a"));
            match s.has("bias") {
                true => s.text("%x = Add %a, %bias"),
                false => s.text("%x = Identity %a"),
            }
            s.text(&format!(
                "%b = const 0.797884560802865355 : {t}[]
                 %c = const 0.035677408136300125 : {t}[]
                 %half = const 0.5 : {t}[]
                 %sq = Mul %x, %x
                 %c_sq = Mul %sq, %c
                 %slope = Add %c_sq, %b
                 %inner = Mul %x, %slope
                 %tanh = Tanh %inner
                 %half_tanh = Mul %tanh, %half
                 %part = Add %half_tanh, %half
                 %y = Mul %x, %part"
            ));
        }
        Op::QuickGelu(o) => {
            s.names(&["x"], &["y"]);
            known!(s.dtype("x"));
            swish(s, "x", "y", o.alpha);
        }
        Op::SkipLayerNormalization(o) => {
            s.names(&["x", "skip", "gamma", "beta", "bias"], &["y", "mean", "inverse", "sum"]);
            let rank = known!(s.rank("x"));
            let t = known!(s.dtype("x"));
            skip_sum(s);
            layer(s, rank - 1, o.epsilon, t);
        }
        Op::SkipSimplifiedLayerNormalization(o) => {
            s.names(&["x", "skip", "gamma", "bias"], &["y", "mean", "inverse", "sum"]);
            let rank = known!(s.rank("x"));
            let t = known!(s.dtype("x"));
            skip_sum(s);
            norms::rms(s, "sum", rank - 1..rank, o.epsilon, crate::DType::F32);
            s.text(&format!(
                "%mean = Identity %mean_sq
                 %norm = Cast %wide_norm {{to={}}}
                 %y = Mul %norm, %gamma",
                t.to_onnx()
            ));
        }
        Op::SimplifiedLayerNormalization(o) => {
            s.names(&["x", "scale"], &["y", "inverse"]);
            let (rank, t) = (known!(s.rank("x")), known!(s.dtype("scale")));
            norms::rms(s, "x", axis_of(o.axis, rank)?..rank, o.epsilon, crate::DType::F32);
            s.text(&format!(
                "%norm = Cast %wide_norm {{to={}}}
                 %y = Mul %norm, %scale",
                t.to_onnx()
            ));
        }
        Op::EmbedLayerNormalization(o) => return embed(s, o.epsilon, o.mask_index_type),
        Op::BiasDropout(_) => {
            s.names(&["x", "bias", "residual", "ratio", "training"], &["y", "mask"]);
            if s.has("training") || s.gives("mask") {
                return UNKNOWN;
            }
            s.text("%biased = Add %x, %bias");
            match s.has("residual") {
                true => s.text("%y = Add %biased, %residual"),
                false => s.text("%y = Identity %biased"),
            }
        }
        Op::FusedGemm(o) => return fused_gemm(s, o),
        Op::FusedMatMul(o) => {
            let batches = [o.transBatchA != 0, o.transBatchB != 0];
            return fused_matmul(s, o.alpha, [o.transA != 0, o.transB != 0], batches);
        }
        Op::TransposeMatMul(o) => {
            return fused_matmul(s, o.alpha, [o.transA != 0, o.transB != 0], [false; 2]);
        }
        Op::MsRotaryEmbedding(o) => {
            s.names(&["x", "position_ids", "cos", "sin"], &["y"]);
            if o.is_packed_batching != 0 {
                return UNKNOWN;
            }
            return masked::rotary(s, o);
        }
        Op::MsAttention(_) | Op::MultiHeadAttention(_) | Op::QAttention(_) => {
            return masked::write(s);
        }
        Op::GroupQueryAttention(o) => return masked::grouped(s, o),
        _ => return quantized::write(s),
    }
    Ok(true)
}

fn gelu(s: &mut Source<'_>, x: &str) -> Written {
    let t = known!(s.ctx.dtype(0));
    s.text(&format!(
        "%root = const 1.41421356237309505 : {t}[]
         %half = const 0.5 : {t}[]
         %one = const 1 : {t}[]
         %scaled = Div %{x}, %root
         %erf = Erf %scaled
         %more = Add %erf, %one
         %twice = Mul %{x}, %more
         %y = Mul %twice, %half"
    ));
    Ok(true)
}

/// Defines `%sum`: the input, what skips, and the bias.
fn skip_sum(s: &mut Source<'_>) {
    if s.has("bias") {
        s.text(
            "%biased = Add %x, %bias
             %sum = Add %biased, %skip",
        );
    } else {
        s.text("%sum = Add %x, %skip");
    }
}

/// Defines `%y`, `%sum` normalised along one axis, with `%mean` and `%inverse`.
fn layer(s: &mut Source<'_>, axis: usize, epsilon: f32, t: crate::DType) {
    s.text(&format!(
        "%wide = Cast %sum {{to=1}}
         %mean = ReduceMean %wide {{axes=[{axis}]}}
         %centred = Sub %wide, %mean
         %sq = Mul %centred, %centred
         %var = ReduceMean %sq {{axes=[{axis}]}}
         %eps = const {epsilon:?} : f32[]
         %more = Add %var, %eps
         %root = Sqrt %more
         %inverse = Reciprocal %root
         %wide_norm = Mul %centred, %inverse
         %norm = Cast %wide_norm {{to={}}}
         %scaled = Mul %norm, %gamma",
        t.to_onnx()
    ));
    match s.has("beta") {
        true => s.text("%y = Add %scaled, %beta"),
        false => s.text("%y = Identity %scaled"),
    }
}

fn embed(s: &mut Source<'_>, epsilon: f32, mask_type: i64) -> Written {
    s.names(
        &["ids", "segments", "words", "positions", "segment_table", "gamma", "beta", "mask", "at"],
        &["y", "mask_index", "sum"],
    );
    let t = known!(s.dtype("words"));
    s.text("%word = Gather %words, %ids");
    if s.has("at") {
        s.text("%position = Gather %positions, %at");
    } else {
        s.size("length", "ids", 1);
        s.text(
            "%start = const 0 : i64[]
             %step = const 1 : i64[]
             %range = Range %start, %length, %step
             %position = Gather %positions, %range",
        );
    }
    s.text("%placed = Add %word, %position");
    if s.has("segments") {
        s.text(
            "%segment = Gather %segment_table, %segments
             %sum = Add %placed, %segment",
        );
    } else {
        s.text("%sum = Identity %placed");
    }
    layer(s, 2, epsilon, t);
    if s.gives("mask_index") {
        match (s.has("mask"), mask_type) {
            (true, 0 | 1) => s.text("%mask_index = ReduceSum %mask {axes=[1], keepdims=0}"),
            (true, _) => return UNKNOWN,
            (false, _) => s.text(
                "%batch = Shape %ids {start=0, end=1}
                 %mask_index = ConstantOfShape %batch {value=tensor([0] : i32[1])}",
            ),
        }
    }
    Ok(true)
}

fn fused_gemm(s: &mut Source<'_>, o: &FusedGemm) -> Written {
    s.names(&["a", "b", "c"], &["y"]);
    let c = if s.has("c") { ", %c" } else { "" };
    s.text(&format!(
        "%product = Gemm %a, %b{c} {{alpha={:?}, beta={:?}, transA={}, transB={}}}",
        o.alpha, o.beta, o.transA, o.transB
    ));
    let mut attrs = Vec::new();
    let mut give = |name: &str, value: Option<f32>| {
        attrs.extend(value.map(|v| format!("{name}={v:?}")));
    };
    match &*o.activation {
        "LeakyRelu" | "Elu" | "ThresholdedRelu" | "Celu" => give("alpha", o.activation_alpha),
        "HardSigmoid" => {
            give("alpha", o.activation_alpha);
            give("beta", o.activation_beta);
        }
        "Selu" => {
            give("alpha", o.activation_alpha);
            give("gamma", o.activation_gamma);
        }
        "Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Softsign" => {}
        other => fail!("FusedGemm has no activation {other:?} here"),
    }
    s.text(&format!("%y = {} %product {{{}}}", o.activation, attrs.join(", ")));
    Ok(true)
}

fn fused_matmul(s: &mut Source<'_>, alpha: f32, trans: [bool; 2], batch: [bool; 2]) -> Written {
    s.names(&["a", "b"], &["y"]);
    let t = known!(s.dtype("a"));
    for (x, (trans, batch)) in ["a", "b"].into_iter().zip(trans.into_iter().zip(batch)) {
        let rank = known!(s.rank(x));
        let mut perm: Vec<usize> = (0..rank).collect();
        if batch && rank > 2 {
            // The first axis becomes the last but one.
            let first = perm.remove(0);
            perm.insert(rank - 2, first);
        }
        if trans && rank > 1 {
            perm.swap(rank - 2, rank - 1);
        }
        s.text(&format!("%{x}_turned = Transpose %{x} {{perm={perm:?}}}"));
    }
    s.text("%product = MatMul %a_turned, %b_turned");
    match alpha {
        1.0 => s.text("%y = Identity %product"),
        _ => s.text(&format!(
            "%alpha = const {alpha:?} : {t}[]
             %y = Mul %product, %alpha"
        )),
    }
    Ok(true)
}
