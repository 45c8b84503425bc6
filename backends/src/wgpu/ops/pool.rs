//! Pools, and the windows that they share with convolutions.

use graph_opt_ir::Op;
use graph_opt_ir::window::{Window, windows};

use super::{Cx, Outputs};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::stream::Params;

/// Windows along depth, height and width; axes that are missing are trivial.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub dilation: [usize; 3],
    pub begin: [usize; 3],
    pub end: [usize; 3],
}

impl Geometry {
    /// Of the operator over an input of these extents; `None` if it has more than three spatial
    /// axes, or none.
    pub fn new(op: &Op, x: &[usize], w: Option<&[usize]>) -> Result<Option<Self>, RunError> {
        if !(3..=5).contains(&x.len()) || w.is_some_and(|w| w.len() != x.len()) {
            return Ok(None);
        }
        let known =
            |d: &[usize]| -> Vec<_> { d[2..].iter().map(|&n| i64::try_from(n).ok()).collect() };
        let kernel = w.map(known);
        let all = windows(op, &known(x), kernel.as_deref())?;
        let one = [1; 3];
        let mut g = Self {
            input: one,
            output: one,
            kernel: one,
            stride: one,
            dilation: one,
            begin: [0; 3],
            end: [0; 3],
        };
        let skip = 5 - x.len();
        for (i, w) in all.into_iter().enumerate() {
            let Some(w): Option<Window> = w else { return Ok(None) };
            let (axis, n) = (skip + i, x[2 + i]);
            let out = match op {
                Op::ConvTranspose(_) => w.transposed_outputs(n as i64),
                _ => w.outputs(n as i64),
            };
            let extents = [out.unwrap_or(-1), w.kernel, w.stride, w.dilation, w.begin, w.end];
            let mut e = [0; 6];
            for (e, x) in e.iter_mut().zip(extents) {
                let Ok(x) = i32::try_from(x) else { return Ok(None) };
                let Ok(x) = usize::try_from(x) else { return Ok(None) };
                *e = x;
            }
            g.input[axis] = n;
            [
                g.output[axis],
                g.kernel[axis],
                g.stride[axis],
                g.dilation[axis],
                g.begin[axis],
                g.end[axis],
            ] = e;
        }
        Ok(Some(g))
    }
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
    let Some(g) = Geometry::new(cx.op, &x, None)? else { return Ok(None) };
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
