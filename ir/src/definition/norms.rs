//! Definitions of normalisations.

use super::onnx::{UNKNOWN, Written, known};
use super::source::Source;
use crate::DType;
use crate::op::Op;
use crate::op_context::{axis_of, fail};

/// Writes the definition of RMSNormalization or GroupNormalization.
pub(super) fn write(s: &mut Source<'_>) -> Written {
    match s.ctx.op {
        Op::RMSNormalization(o) => {
            s.names(&["x", "scale"], &["y"]);
            let t = known!(s.dtype("x"));
            let stash = dtype(o.stash_type)?;
            let rank = known!(s.rank("x"));
            rms(s, "x", axis_of(o.axis, rank)?..rank, o.epsilon, stash);
            s.text(&format!(
                "%norm = Cast %wide_norm {{to={}}}
                 %y = Mul %norm, %scale",
                t.to_onnx()
            ));
            Ok(true)
        }
        Op::GroupNormalization(o) => {
            s.names(&["x", "scale", "bias"], &["y"]);
            let t = known!(s.dtype("x"));
            let stash = if o.stash_type == 0 { DType::F32 } else { dtype(o.stash_type)? };
            // Before version 21, scale and bias are of groups.
            let by_group = s.ctx.opset < 21;
            group(s, o.num_groups, o.epsilon, (t, stash), by_group)
        }
        _ => UNKNOWN,
    }
}

fn dtype(code: i64) -> Result<DType, crate::op_context::RuleError> {
    match DType::from_onnx(code) {
        Some(t) if t.is_float() => Ok(t),
        _ => fail!("expected a floating-point type to compute in, found {code}"),
    }
}

/// Defines `%wide_norm`, `%x` over its root mean square along the axes, and `%inverse`, the reciprocal of
/// that.
pub(super) fn rms(
    s: &mut Source<'_>,
    x: &str,
    axes: std::ops::Range<usize>,
    epsilon: f32,
    wide: DType,
) {
    let axes: Vec<usize> = axes.collect();
    s.text(&format!(
        "%wide = Cast %{x} {{to={}}}
         %sq = Mul %wide, %wide
         %mean_sq = ReduceMean %sq {{axes={axes:?}}}
         %eps = const {epsilon:?} : {wide}[]
         %more = Add %mean_sq, %eps
         %root = Sqrt %more
         %inverse = Reciprocal %root
         %wide_norm = Mul %wide, %inverse",
        wide.to_onnx()
    ));
}

/// Defines `%y`, normalised over groups of channels, from `%x` of shape `[N, C, …]`.
pub(super) fn group(
    s: &mut Source<'_>,
    groups: i64,
    epsilon: f32,
    (t, wide): (DType, DType),
    by_group: bool,
) -> Written {
    let rank = known!(s.rank("x"));
    if rank < 2 {
        fail!("expected an input of rank 2 or more, found {rank}");
    }
    let channels = s.extent("x", 1).or_else(|| s.extent("scale", 0).filter(|_| !by_group));
    let channels = known!(channels);
    if groups <= 0 || channels % groups != 0 {
        fail!("expected a number of groups that divides {channels} channels, found {groups}");
    }
    s.text(&format!(
        "%wide = Cast %x {{to={}}}
         %by_group = const [0,{groups},-1] : i64[3]
         %grouped = Reshape %wide, %by_group
         %mean = ReduceMean %grouped {{axes=[2]}}
         %centred = Sub %grouped, %mean
         %sq = Mul %centred, %centred
         %var = ReduceMean %sq {{axes=[2]}}
         %eps = const {epsilon:?} : {wide}[]
         %more = Add %var, %eps
         %dev = Sqrt %more
         %wide_norm = Div %centred, %dev
         %norm = Cast %wide_norm {{to={}}}",
        wide.to_onnx(),
        t.to_onnx()
    ));
    let of = if by_group {
        s.text("%ordered = Identity %norm");
        groups
    } else {
        s.text(&format!(
            "%by_channel = const [0,{channels},-1] : i64[3]
             %ordered = Reshape %norm, %by_channel"
        ));
        channels
    };
    s.text(&format!(
        "%column = const [{of},1] : i64[2]
         %scales = Reshape %scale, %column
         %biases = Reshape %bias, %column
         %scaled = Mul %ordered, %scales
         %shifted = Add %scaled, %biases"
    ));
    known!(s.shape("form", "x", 1));
    s.text("%y = Reshape %shifted, %form");
    Ok(true)
}
