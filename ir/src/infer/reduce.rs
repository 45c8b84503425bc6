//! Reductions over whole axes.

use super::typed;
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of};
use crate::{DType, Dim, Type};

/// The axes of a reduction.
pub(crate) struct Reduction {
    /// Reduced axes, ascending; `None` if they are computed at run time, or the operator is not a
    /// reduction.
    pub axes: Option<Vec<usize>>,
    /// Whether reduced axes are kept with extent 1.
    pub keepdims: bool,
}

/// The axes that the node reduces, for an input of this rank.
pub(crate) fn reduction(ctx: &OpCtx<'_>, rank: usize) -> Result<Reduction, RuleError> {
    macro_rules! axes {
        ($r:expr) => {
            ($r.axes.clone(), $r.keepdims != 0, $r.noop_with_empty_axes != 0)
        };
    }
    let (attr, keepdims, noop) = match ctx.op {
        Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) | Op::GlobalLpPool(_) => {
            return Ok(Reduction { axes: Some((2..rank).collect()), keepdims: true });
        }
        Op::ArgMax(r) => (Some(vec![r.axis]), r.keepdims != 0, false),
        Op::ArgMin(r) => (Some(vec![r.axis]), r.keepdims != 0, false),
        Op::ReduceSum(r) => axes!(r),
        Op::ReduceMean(r) => axes!(r),
        Op::ReduceMax(r) => axes!(r),
        Op::ReduceMin(r) => axes!(r),
        Op::ReduceProd(r) => axes!(r),
        Op::ReduceL1(r) => axes!(r),
        Op::ReduceL2(r) => axes!(r),
        Op::ReduceSumSquare(r) => axes!(r),
        Op::ReduceLogSum(r) => axes!(r),
        Op::ReduceLogSumExp(r) => axes!(r),
        _ => return Ok(Reduction { axes: None, keepdims: false }),
    };
    let given = match (attr, ctx.input(1)) {
        (Some(a), _) => Some(a),
        (None, Some(_)) => match ctx.ints(1) {
            Some(a) => Some(a),
            None => return Ok(Reduction { axes: None, keepdims }),
        },
        (None, None) => None,
    };
    let given = given.unwrap_or_default();
    let axes = if given.is_empty() {
        if noop { Vec::new() } else { (0..rank).collect() }
    } else {
        let mut axes: Vec<usize> =
            given.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        axes
    };
    Ok(Reduction { axes: Some(axes), keepdims })
}

pub(super) fn reduce(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let dtype = match ctx.op {
        Op::ArgMax(_) | Op::ArgMin(_) => Some(DType::I64),
        _ => ctx.dtype(0),
    };
    let Some(x) = ctx.dims(0) else { return Ok(vec![typed(dtype, None)]) };
    let r = reduction(ctx, x.len())?;
    let dims = match r.axes {
        None if r.keepdims => Some(vec![Dim::Unknown; x.len()]),
        None => None,
        Some(axes) => Some(
            x.iter()
                .enumerate()
                .filter_map(|(i, d)| match (axes.contains(&i), r.keepdims) {
                    (true, true) => Some(Dim::Known(1)),
                    (true, false) => None,
                    (false, _) => Some(d.clone()),
                })
                .collect(),
        ),
    };
    Ok(vec![typed(dtype, dims)])
}
