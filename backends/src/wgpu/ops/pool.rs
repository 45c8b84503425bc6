//! Pools, and the windows that they share with convolutions.

use graph_opt_ir::Op;

use super::{Cx, Outputs};
use crate::geometry::Geometry;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::stream::Params;

/// The windows of the operator, if they are such as a kernel can walk: it computes in `i32`.
pub(super) fn geometry(op: &Op, x: &[usize], w: Option<&[usize]>) -> Option<Geometry> {
    let g = Geometry::new(op, x, w).ok()?;
    let all = [g.input, g.output, g.kernel, g.stride, g.dilation, g.begin, g.end];
    all.as_flattened().iter().all(|&e| i32::try_from(e).is_ok()).then_some(g)
}

/// How the kernel folds: the first element, the next ones, and the end.
type Fold = [(&'static str, &'static str); 3];

/// The fold of the operator, and what a window without elements gives.
pub(in crate::wgpu) fn fold(op: &Op) -> Option<(Fold, f32)> {
    let of = |start, step, finish| [("START", start), ("STEP", step), ("FINISH", finish)];
    Some(match op {
        Op::MaxPool(_) => (of("e", "larger(s, e)", "s"), f32::NEG_INFINITY),
        Op::AveragePool(_) => (of("0.0 + e", "s + e", "s / count"), 0.0),
        Op::LpPool(o) => match o.p {
            1 => (of("magnitude(e)", "s + magnitude(e)", "s"), 0.0),
            2 => (of("e * e", "s + e * e", "sqrt(s)"), 0.0),
            _ => {
                let p = "power(magnitude(e), number(params.v[7].y))";
                let step = "s + power(magnitude(e), number(params.v[7].y))";
                (of(p, step, "power(s, number(params.v[7].z))"), 0.0)
            }
        },
        _ => return None,
    })
}

pub(super) fn pool(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Some(x), Some((fold, none))) = (cx.dims(0), fold(cx.op)) else { return Ok(None) };
    // Indices of maxima are whole numbers, and of the whole tensor.
    if cx.outputs != 1 {
        return Ok(None);
    }
    let Some(g) = geometry(cx.op, &x, None) else { return Ok(None) };
    let (mut counts, mut p) = (0, 0);
    if let Op::AveragePool(o) = cx.op {
        counts = usize::from(o.count_include_pad != 0);
    }
    if let Op::LpPool(o) = cx.op {
        p = o.p;
    }
    let mut dims = x[..2].to_vec();
    dims.extend_from_slice(&g.output[5 - x.len()..]);
    let x = cx.array(0)?;
    let y = cx.result(&dims)?;
    let mut params = Params::new(&[y.len()])?;
    g.output.into_iter().try_for_each(|w| params.push(w))?;
    for (three, one) in
        [(g.input, 0), (g.kernel, 0), (g.stride, 0), (g.dilation, 0), (g.begin, 0), (g.end, counts)]
    {
        three.into_iter().chain([one]).try_for_each(|w| params.push(w))?;
    }
    let params = params.float(none).float(p as f32).float((1.0 / p as f64) as f32);
    cx.run(&Kernel::pool(&fold), params, &[&x], &y, y.len())?;
    cx.computed(vec![y])
}
