//! Reductions over whole axes.

use graph_opt_ir::Op;
use graph_opt_ir::op_context::axis_of;

use super::{Cx, MAX_AXES, Outputs, merged, push_axes, strides};
use crate::wgpu::kernel::Kernel;
use crate::wgpu::stream::Params;

/// How the kernel folds.
pub(in crate::wgpu) fn fold(op: &Op) -> Option<[(&'static str, &'static str); 3]> {
    let (start, step, finish) = match op {
        Op::ReduceSum(_) => ("0.0 + e", "s + e", "s"),
        Op::ReduceMean(_) | Op::GlobalAveragePool(_) => ("0.0 + e", "s + e", "s / count"),
        Op::ReduceMax(_) | Op::GlobalMaxPool(_) => ("e", "larger(s, e)", "s"),
        Op::ReduceMin(_) => ("e", "smaller(s, e)", "s"),
        Op::ReduceProd(_) => ("e", "s * e", "s"),
        Op::ReduceL1(_) => ("0.0 + magnitude(e)", "s + magnitude(e)", "s"),
        Op::ReduceL2(_) => ("fma(e, e, 0.0)", "fma(e, e, s)", "sqrt(s)"),
        Op::ReduceSumSquare(_) => ("fma(e, e, 0.0)", "fma(e, e, s)", "s"),
        Op::ReduceLogSum(_) => ("0.0 + e", "s + e", "log_(s)"),
        Op::GlobalLpPool(o) if o.p == 1 => ("0.0 + magnitude(e)", "s + magnitude(e)", "s"),
        Op::GlobalLpPool(o) if o.p == 2 => ("fma(e, e, 0.0)", "fma(e, e, s)", "sqrt(s)"),
        _ => return None,
    };
    Some([("START", start), ("STEP", step), ("FINISH", finish)])
}

pub(super) fn reduce(cx: &mut Cx<'_, '_>) -> Outputs {
    macro_rules! parts {
        ($($op:ident $since:literal;)*) => {
            match cx.op {
                $(Op::$op(o) => {
                    (&o.axes, o.keepdims != 0, o.noop_with_empty_axes != 0, $since)
                })*
                _ => return Ok(None),
            }
        };
    }
    // Last, the version since which the axes are an operand.
    let (axes, keep, noop, since) = parts! {
        ReduceSum 13; ReduceMean 18; ReduceMax 18; ReduceMin 18; ReduceProd 18; ReduceL1 18;
        ReduceL2 18; ReduceSumSquare 18; ReduceLogSum 18;
    };
    let Some(dims) = cx.dims(0) else { return Ok(None) };
    let axes =
        if cx.opset < since { axes.clone() } else { cx.tensor(1)?.and_then(|t| t.to_i64s()) };
    let axes = axes.unwrap_or_default();
    let mut over = vec![axes.is_empty() && !noop; dims.len()];
    for x in axes {
        over[axis_of(x, dims.len())?] = true;
    }
    run(cx, &dims, &over, keep)
}

/// Pooling over all spatial axes.
pub(super) fn global(cx: &mut Cx<'_, '_>) -> Outputs {
    let Some(dims) = cx.dims(0).filter(|d| d.len() >= 2) else { return Ok(None) };
    let over: Vec<bool> = (0..dims.len()).map(|i| i >= 2).collect();
    run(cx, &dims, &over, true)
}

fn run(cx: &mut Cx<'_, '_>, dims: &[usize], over: &[bool], keep: bool) -> Outputs {
    let Some(fold) = fold(cx.op) else { return Ok(None) };
    let s = strides(dims);
    let of = |reduced: bool| {
        let axes = (0..dims.len()).filter(move |&i| over[i] == reduced);
        merged(axes.map(|i| (dims[i], [s[i] as i64])))
    };
    let (kept, mut reduced) = (of(false), of(true));
    let count: usize = reduced.iter().map(|a| a.0).product();
    // What reducing nothing gives is the host's to say.
    if count == 0 || kept.len() + reduced.len() >= MAX_AXES {
        return Ok(None);
    }
    if reduced.is_empty() {
        reduced.push((1, [0]));
    }
    let left = (0..dims.len()).filter_map(|i| match over[i] {
        true => keep.then_some(1),
        false => Some(dims[i]),
    });
    let out: Vec<usize> = left.collect();
    let x = cx.array(0)?;
    let y = cx.result(&out)?;
    let mut params = Params::new(&[y.len(), count, kept.len(), reduced.len()])?;
    push_axes(&mut params, &kept)?;
    push_axes(&mut params, &reduced)?;
    cx.run(&Kernel::reduce(&fold), params, &[&x], &y, y.len())?;
    cx.computed(vec![y])
}
