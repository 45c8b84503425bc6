//! Definitions of ONNX's operators.

use super::source::Source;
use super::{attention, microsoft, norms, qonnx, training};
use crate::DType;
use crate::op::Op;
use crate::op_context::{RuleError, axis_of, fail};

/// What a definition depends on is unknown.
pub(super) const UNKNOWN: Written = Ok(false);
/// Whether the definition was written.
pub(super) type Written = Result<bool, RuleError>;

/// The value, or the end of a definition that cannot be written without it.
macro_rules! known {
    ($value:expr) => {
        match $value {
            Some(v) => v,
            None => return $crate::definition::onnx::UNKNOWN,
        }
    };
}
pub(super) use known;

/// Writes the definition of the node's operator.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    match s.ctx.op {
        Op::CastLike(c) => {
            s.names(&["x", "like"], &["y"]);
            let to = known!(s.dtype("like")).to_onnx();
            let mode = if c.round_mode == "up" {
                String::new()
            } else {
                format!(", round_mode={:?}", c.round_mode)
            };
            s.text(&format!("%y = Cast %x {{to={to}, saturate={}{mode}}}", c.saturate));
        }
        Op::Swish(o) => {
            s.names(&["x"], &["y"]);
            swish(s, "x", "y", o.alpha);
        }
        Op::SwiGLU(o) => {
            s.names(&["a", "b"], &["y"]);
            swish(s, "a", "gate", o.alpha);
            s.text("%y = Mul %gate, %b");
        }
        Op::Shrink(o) => {
            s.names(&["x"], &["y"]);
            let t = known!(s.dtype("x"));
            let (bias, low, high) = (o.bias, -o.lambd, o.lambd);
            if !t.is_float() {
                let [bias, low, high] = [bias, low, high].map(|v| v as i64);
                if [bias as f32, high as f32] != [o.bias, o.lambd] || !t.is_int() {
                    // Whole numbers are compared with the bounds themselves.
                    fail!("expected whole numbers for lambd and bias of Shrink of {t}");
                }
                let low = if matches!(t, DType::I8 | DType::I16 | DType::I32 | DType::I64) {
                    low
                } else {
                    0
                };
                shrink(
                    s,
                    t,
                    &format!("const {bias}"),
                    &format!("const {low}"),
                    &format!("const {high}"),
                );
                return Ok(true);
            }
            shrink(
                s,
                t,
                &format!("const {bias:?}"),
                &format!("const {low:?}"),
                &format!("const {high:?}"),
            );
        }
        Op::MeanVarianceNormalization(o) => {
            s.names(&["x"], &["y"]);
            let (t, axes) = (known!(s.dtype("x")), &o.axes);
            s.text(&format!(
                "%mean = ReduceMean %x {{axes={axes:?}}}
                 %two = const 2 : {t}[]
                 %sq = Mul %x, %x
                 %mean_sq = ReduceMean %sq {{axes={axes:?}}}
                 %sq_mean = Mul %mean, %mean
                 %var = Sub %mean_sq, %sq_mean
                 %dev = Sqrt %var
                 %eps = const 1e-9 : {t}[]
                 %low = Add %dev, %eps
                 %centred = Sub %x, %mean
                 %y = Div %centred, %low"
            ));
        }
        Op::RMSNormalization(_) | Op::GroupNormalization(_) => return norms::write(s),
        Op::NegativeLogLikelihoodLoss(o) => {
            s.names(&["x", "target", "weight"], &["loss"]);
            return nll(s, "loss", ["x", "target", "weight"], &o.reduction, o.ignore_index);
        }
        Op::SoftmaxCrossEntropyLoss(o) => {
            s.names(&["scores", "labels", "weights"], &["loss", "log_prob"]);
            s.text("%log_prob = LogSoftmax %scores {axis=1}");
            return nll(s, "loss", ["log_prob", "labels", "weights"], &o.reduction, o.ignore_index);
        }
        Op::AffineGrid(o) => {
            s.names(&["theta", "size"], &["grid"]);
            let n = match s.extent("size", 0) {
                Some(n @ (4 | 5)) => n as usize - 2,
                Some(n) => fail!("expected a size of 4 or 5 extents for AffineGrid, found {n}"),
                None => return UNKNOWN,
            };
            affine_grid(s, known!(s.dtype("theta")), n, o.align_corners != 0);
        }
        Op::CenterCropPad(o) => return center_crop_pad(s, o.axes.as_deref()),
        Op::RotaryEmbedding(o) => {
            s.names(&["x", "cos", "sin", "position_ids"], &["y"]);
            let (heads, dim) = (o.num_heads.unwrap_or(0), o.rotary_embedding_dim);
            let at = s.has("position_ids").then_some("position_ids");
            return attention::rotary(s, ("x", at, "y"), heads, dim, o.interleaved != 0);
        }
        Op::Attention(_) => return attention::attention(s),
        Op::LinearAttention(_) => return attention::linear(s),
        Op::CausalConvWithState(o) => {
            s.names(&["x", "weight", "bias", "past"], &["y", "present"]);
            let (channels, k) = (known!(s.extent("weight", 0)), known!(s.extent("weight", 2)));
            let keep = k - 1;
            if s.has("past") {
                s.text("%padded = Concat %past, %x {axis=2}");
            } else {
                s.text(&format!(
                    "%pads = const [0,0,{keep},0,0,0] : i64[6]
                     %padded = Pad %x, %pads"
                ));
            }
            let bias = if s.has("bias") { ", %bias" } else { "" };
            let last = if keep == 0 { i64::MAX } else { -keep };
            s.text(&format!(
                "%conv = Conv %padded, %weight{bias} {{group={channels}}}
                 %present = Slice %padded [2: {last}..{}]",
                i64::MAX
            ));
            match &*o.activation {
                "none" => s.text("%y = Identity %conv"),
                "silu" | "swish" => swish(s, "conv", "y", 1.0),
                other => fail!("expected none, silu or swish as activation, found {other:?}"),
            }
        }
        Op::Adagrad(_) | Op::Adam(_) | Op::Momentum(_) => return training::write(s),
        Op::Quant(_) | Op::BrevitasQuant(_) | Op::BipolarQuant(_) | Op::BrevitasBipolarQuant(_) => {
            return qonnx::write(s);
        }
        _ => return microsoft::write(s),
    }
    Ok(true)
}

/// `%y = %x · sigmoid(alpha · %x)`.
pub(super) fn swish(s: &mut Source<'_>, x: &str, y: &str, alpha: f32) {
    if alpha == 1.0 {
        s.text(&format!("%{y}_sigmoid = Sigmoid %{x}"));
    } else {
        let t = s.dtype(x).unwrap_or(DType::F32);
        s.text(&format!(
            "%{y}_alpha = const {alpha:?} : {t}[]
             %{y}_scaled = Mul %{x}, %{y}_alpha
             %{y}_sigmoid = Sigmoid %{y}_scaled"
        ));
    }
    s.text(&format!("%{y} = Mul %{x}, %{y}_sigmoid"));
}

fn shrink(s: &mut Source<'_>, t: DType, bias: &str, low: &str, high: &str) {
    s.text(&format!(
        "%bias = {bias} : {t}[]
         %low = {low} : {t}[]
         %high = {high} : {t}[]
         %zero = const 0 : {t}[]
         %more = Add %x, %bias
         %less = Sub %x, %bias
         %below = Less %x, %low
         %above = Greater %x, %high
         %upper = Where %above, %less, %zero
         %y = Where %below, %more, %upper"
    ));
}

fn nll(
    s: &mut Source<'_>,
    loss: &str,
    [x, target, weight]: [&str; 3],
    reduction: &str,
    ignore: Option<i64>,
) -> Written {
    let t = known!(s.ctx.dtype(0));
    let index = known!(s.dtype(target));
    let weighted = s.has(weight);
    match ignore {
        Some(i) => s.text(&format!(
            "%ignored = const {i} : {index}[]
             %none = const 0 : {index}[]
             %is_ignored = Equal %{target}, %ignored
             %class = Where %is_ignored, %none, %{target}"
        )),
        None => s.text(&format!("%class = Identity %{target}")),
    }
    s.text(&format!(
        "%at = Unsqueeze %class {{axes=[1]}}
         %picked = GatherElements %{x}, %at {{axis=1}}
         %one_column = Neg %picked
         %each = Squeeze %one_column {{axes=[1]}}"
    ));
    match (weighted, ignore) {
        (true, None) => s.text(&format!("%factor = Gather %{weight}, %class")),
        (true, Some(_)) => s.text(&format!(
            "%nothing = const 0 : {t}[]
             %own = Gather %{weight}, %class
             %factor = Where %is_ignored, %nothing, %own"
        )),
        (false, Some(_)) => s.text(&format!(
            "%nothing = const 0 : {t}[]
             %one = const 1 : {t}[]
             %factor = Where %is_ignored, %nothing, %one"
        )),
        (false, None) => {}
    }
    let plain = !weighted && ignore.is_none();
    let each = if plain { "each" } else { "scaled" };
    if !plain {
        s.text("%scaled = Mul %each, %factor");
    }
    match reduction {
        "none" => s.text(&format!("%{loss} = Identity %{each}")),
        "sum" => s.text(&format!("%{loss} = ReduceSum %{each} {{keepdims=0}}")),
        "mean" if plain => s.text(&format!("%{loss} = ReduceMean %{each} {{keepdims=0}}")),
        "mean" => s.text(&format!(
            "%sum = ReduceSum %{each} {{keepdims=0}}
             %weights_sum = ReduceSum %factor {{keepdims=0}}
             %{loss} = Div %sum, %weights_sum"
        )),
        other => fail!("expected none, sum or mean as reduction, found {other:?}"),
    }
    Ok(true)
}

fn affine_grid(s: &mut Source<'_>, t: DType, n: usize, align: bool) {
    let to = t.to_onnx();
    s.text(&format!(
        "%start = const 0 : i64[]
         %step = const 1 : i64[]
         %one = const 1 : {t}[]
         %two = const 2 : {t}[]"
    ));
    for a in 0..n {
        let at = a + 2;
        s.text(&format!(
            "%place{a} = const {at} : i64[]
             %n{a} = Gather %size, %place{a}
             %float{a} = Cast %n{a} {{to={to}}}
             %range{a} = Range %start, %n{a}, %step
             %index{a} = Cast %range{a} {{to={to}}}
             %twice{a} = Mul %index{a}, %two"
        ));
        if align {
            s.text(&format!(
                "%last{a} = Sub %float{a}, %one
                 %gaps{a} = Max %last{a}, %one
                 %part{a} = Div %twice{a}, %gaps{a}
                 %flat{a} = Sub %part{a}, %one"
            ));
        } else {
            s.text(&format!(
                "%odd{a} = Add %twice{a}, %one
                 %part{a} = Div %odd{a}, %float{a}
                 %flat{a} = Sub %part{a}, %one"
            ));
        }
        let mut extents = vec!["1"; n + 1];
        extents[a] = "-1";
        s.text(&format!(
            "%form{a} = const [{}] : i64[{}]
             %axis{a} = Reshape %flat{a}, %form{a}",
            extents.join(","),
            n + 1
        ));
    }
    let spatial: Vec<String> = (0..n).map(|a| format!("%list_n{a}")).collect();
    for a in 0..n {
        s.text(&format!("%list_n{a} = Unsqueeze %n{a} {{axes=[0]}}"));
    }
    s.text(&format!(
        "%single = const [1] : i64[1]
         %plane = Concat {}, %single {{axis=0}}
         %ones = Expand %one, %plane",
        spatial.join(", ")
    ));
    // The last axis holds x, y and, in space, z: the coordinates from the innermost axis outwards.
    let mut parts = Vec::new();
    for a in (0..n).rev() {
        s.text(&format!("%wide{a} = Expand %axis{a}, %plane"));
        parts.push(format!("%wide{a}"));
    }
    let homogeneous = n + 1;
    s.text(&format!(
        "%points = Concat {}, %ones {{axis=-1}}
         %rows = const [-1,{homogeneous}] : i64[2]
         %flat = Reshape %points, %rows
         %turned = Transpose %theta {{perm=[0,2,1]}}
         %moved = MatMul %flat, %turned
         %first = const [0] : i64[1]
         %batch = Gather %size, %first
         %width = const [{n}] : i64[1]
         %full = Concat %batch, {}, %width {{axis=0}}
         %grid = Reshape %moved, %full",
        parts.join(", "),
        spatial.join(", ")
    ));
}

fn center_crop_pad(s: &mut Source<'_>, axes: Option<&[i64]>) -> Written {
    s.names(&["x", "shape"], &["y"]);
    let rank = known!(s.rank("x"));
    let wanted = known!(s.ints("shape"));
    let axes: Vec<usize> = match axes {
        Some(a) => a.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if axes.len() != wanted.len() {
        fail!("expected {} extents for CenterCropPad, found {}", axes.len(), wanted.len());
    }
    let (mut cuts, mut pads) = (Vec::new(), vec![0; 2 * rank]);
    for (&a, &n) in axes.iter().zip(&wanted) {
        if n < 0 {
            fail!("expected extents of at least 0 for CenterCropPad, found {n}");
        }
        let have = known!(s.extent("x", a));
        if n < have {
            let from = (have - n) / 2;
            cuts.push(format!("{a}: {from}..{}", from + n));
        }
        let more = (n - have).max(0);
        (pads[a], pads[rank + a]) = (more / 2, more - more / 2);
    }
    match cuts[..] {
        [] => s.text("%cut = Identity %x"),
        _ => s.text(&format!("%cut = Slice %x [{}]", cuts.join(", "))),
    }
    s.text(&format!(
        "%pads = const {pads:?} : i64[{}]
         %y = Pad %cut, %pads",
        2 * rank
    ));
    Ok(true)
}
