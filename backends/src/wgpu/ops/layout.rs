//! Operators that move elements, or only rename their places.

use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::{Op, layout_params};

use super::{Cx, MAX_AXES, Outputs, merged, moved, push_axes, spread, strides};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::run::Slot;
use crate::wgpu::stream::{Array, Params};

/// Copies elements: extents, distances of neighbours in operand and result, first places.
/// `None` if that takes too many axes.
pub(super) fn copy(
    cx: &mut Cx<'_, '_>,
    x: &Array,
    y: &Array,
    axes: impl Iterator<Item = (usize, [i64; 2])>,
    first: [usize; 2],
) -> Result<Option<()>, RunError> {
    let axes = merged(axes);
    let n: usize = axes.iter().map(|a| a.0).product();
    if axes.len() > MAX_AXES {
        return Ok(None);
    }
    if n > 0 {
        let mut params = Params::new(&[n, axes.len(), first[0], first[1]])?;
        push_axes(&mut params, &axes)?;
        cx.run(&Kernel::strided(&[]), params, &[x], y, n)?;
    }
    Ok(Some(()))
}

/// The view of `x` with these extents and distances of neighbours, as an array of its own.
fn viewed(
    cx: &mut Cx<'_, '_>,
    x: &Array,
    dims: &[usize],
    step: &[i64],
    first: usize,
) -> Result<Option<Array>, RunError> {
    let y = cx.stream.array(dims, x.dtype)?;
    let s = strides(dims);
    let axes = (0..dims.len()).map(|i| (dims[i], [step[i], s[i] as i64]));
    Ok(copy(cx, x, &y, axes, [first, 0])?.map(|()| y))
}

pub(super) fn identity(cx: &mut Cx<'_, '_>) -> Outputs {
    // With a mask, the host makes it.
    if cx.outputs != 1 || cx.dims(0).is_none() {
        return Ok(None);
    }
    let x = cx.array(0)?;
    moved(vec![x])
}

pub(super) fn reshape(cx: &mut Cx<'_, '_>) -> Outputs {
    if cx.dims(0).is_none() {
        return Ok(None);
    }
    let Some(shapes) = cx.shapes()? else { return Ok(None) };
    let x = cx.array(0)?;
    match &shapes[..] {
        [dims] if dims.iter().product::<usize>() == x.len() => {
            moved(vec![x.reshaped(dims.clone())])
        }
        _ => Ok(None),
    }
}

/// `Shape` and `Size` look at no elements.
pub(super) fn shape(cx: &mut Cx<'_, '_>) -> Outputs {
    let Some((_, dims)) = cx.ty(0) else { return Ok(None) };
    let dims: Vec<i64> = dims.iter().map(|&d| d as i64).collect();
    let t = match cx.op {
        Op::Shape(o) => {
            let r = dims.len() as i64;
            let at = |x: i64| (if x < 0 { x.saturating_add(r) } else { x }).clamp(0, r) as usize;
            let (lo, hi) = (at(o.start), at(o.end.unwrap_or(r)));
            graph_opt_ir::Tensor::i64s(&dims[lo..hi.max(lo)])
        }
        _ => graph_opt_ir::Tensor::i64s(&[dims.iter().product()]).reshaped(vec![])?,
    };
    Ok(Some(vec![Slot { host: Some(t), ..Slot::default() }]))
}

/// Operators whose result is a strided view of their operand.
pub(super) fn view(cx: &mut Cx<'_, '_>) -> Outputs {
    let Some(dims) = cx.dims(0) else { return Ok(None) };
    let Some(shapes) = cx.shapes()? else { return Ok(None) };
    let [out] = &shapes[..] else { return Ok(None) };
    let out = out.clone();
    let x = cx.array(0)?;
    let s: Vec<i64> = strides(&dims).iter().map(|&s| s as i64).collect();
    let rank = dims.len();
    let y = match cx.op {
        Op::Transpose(_) => {
            let perm = cx.with_rules(|ctx| layout_params::permutation(ctx, rank))?;
            let Some(Ok(perm)) = perm else { return Ok(None) };
            let step: Vec<i64> = perm.iter().map(|&p| s[p]).collect();
            viewed(cx, &x, &out, &step, 0)?
        }
        Op::Expand(_) => {
            let step: Vec<i64> = spread(&dims, &out).iter().map(|&s| s as i64).collect();
            viewed(cx, &x, &out, &step, 0)?
        }
        Op::Tile(_) => {
            let (mut split, mut step) = (vec![], vec![]);
            for i in 0..rank {
                let Some(times) = out[i].checked_div(dims[i]) else { return Ok(None) };
                split.extend([times, dims[i]]);
                step.extend([0, s[i]]);
            }
            viewed(cx, &x, &split, &step, 0)?.map(|y| y.reshaped(out))
        }
        Op::Slice(_) => {
            let taken = cx.with_rules(layout_params::slices)?;
            let Some(Ok(Some(taken))) = taken else { return Ok(None) };
            let mut step = vec![];
            let mut first = 0i64;
            for (t, s) in taken.iter().zip(&s) {
                let Some(t) = t else { return Ok(None) };
                // A single element is not walked from.
                step.push(if t.count > 1 { t.step * s } else { 0 });
                first += t.start * s;
            }
            viewed(cx, &x, &out, &step, first as usize)?
        }
        Op::Crop(o) => {
            let border = o.border.as_deref().unwrap_or(&[0; 4]);
            let (&[left, top, ..], true) = (border, rank >= 2) else { return Ok(None) };
            let first = top * s[rank - 2] + left;
            viewed(cx, &x, &out, &s, first as usize)?
        }
        Op::DepthToSpace(o) => {
            let (&[n, c, h, w], Ok(b)) = (&dims[..], usize::try_from(o.blocksize)) else {
                return Ok(None);
            };
            let d = c.checked_div(b * b).unwrap_or(0);
            let (split, perm) = match o.mode.as_str() {
                "CRD" => ([n, d, b, b, h, w], [0, 1, 4, 2, 5, 3]),
                "DCR" => ([n, b, b, d, h, w], [0, 3, 4, 1, 5, 2]),
                _ => return Ok(None),
            };
            permuted(cx, &x, split, perm)?.map(|y| y.reshaped(out))
        }
        Op::SpaceToDepth(o) => {
            let (&[n, c, h, w], Ok(b)) = (&dims[..], usize::try_from(o.blocksize)) else {
                return Ok(None);
            };
            if b == 0 {
                return Ok(None);
            }
            let split = [n, c, h / b, b, w / b, b];
            let perm = match o.mode.as_str() {
                "CRD" => [0, 1, 3, 5, 2, 4],
                "DCR" => [0, 3, 5, 1, 2, 4],
                _ => return Ok(None),
            };
            permuted(cx, &x, split, perm)?.map(|y| y.reshaped(out))
        }
        _ => None,
    };
    match y {
        Some(y) => moved(vec![y]),
        None => Ok(None),
    }
}

fn permuted(
    cx: &mut Cx<'_, '_>,
    x: &Array,
    split: [usize; 6],
    perm: [usize; 6],
) -> Result<Option<Array>, RunError> {
    let s = strides(&split);
    let dims = perm.map(|p| split[p]);
    let step = perm.map(|p| s[p] as i64);
    viewed(cx, x, &dims, &step, 0)
}

pub(super) fn concat(cx: &mut Cx<'_, '_>) -> Outputs {
    let Op::Concat(o) = cx.op else { return Ok(None) };
    let count = cx.inputs.len();
    if (0..count).any(|i| cx.dims(i).is_none()) {
        return Ok(None);
    }
    let Some(shapes) = cx.shapes()? else { return Ok(None) };
    let [dims] = &shapes[..] else { return Ok(None) };
    let axis = axis_of(o.axis, dims.len())?;
    let y = cx.result(dims)?;
    let s = strides(dims);
    let mut at = 0;
    for i in 0..count {
        let x = cx.array(i)?;
        let from = strides(&x.dims);
        let axes = (0..dims.len()).map(|d| (x.dims[d], [from[d] as i64, s[d] as i64]));
        if copy(cx, &x, &y, axes, [0, at * s[axis]])?.is_none() {
            return Ok(None);
        }
        at += x.dims[axis];
    }
    moved(vec![y])
}

pub(super) fn split(cx: &mut Cx<'_, '_>) -> Outputs {
    if cx.dims(0).is_none() {
        return Ok(None);
    }
    let sizes = cx.with_rules(layout_params::split_sizes)?;
    let Some(Ok(Some((axis, sizes)))) = sizes else { return Ok(None) };
    let x = cx.array(0)?;
    let s: Vec<i64> = strides(&x.dims).iter().map(|&s| s as i64).collect();
    let (mut out, mut at) = (vec![], 0);
    for n in sizes {
        let mut dims = x.dims.clone();
        dims[axis] = n as usize;
        let Some(y) = viewed(cx, &x, &dims, &s, (at * s[axis]) as usize)? else {
            return Ok(None);
        };
        out.push(y);
        at += n;
    }
    moved(out)
}
