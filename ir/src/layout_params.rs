//! Parameters of layout operators (slices, pads, axes, splits, target shapes), read from attributes or
//! constant operands, as the version of the operator has them, and resolved against the extents of the
//! input.

use crate::infer::known;
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of, fail};
use crate::{Dim, Type};

/// The elements that a `Slice` takes along one axis: `start`, `start + step`, …, `count` of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Index of the first element.
    pub start: i64,
    /// Difference of consecutive indices; negative for reversed order.
    pub step: i64,
    /// Number of elements that are taken.
    pub count: i64,
}

/// What a `Slice` takes along each axis. An entry is `None` if the extent is unknown. The result is `None`
/// if starts, ends, axes or steps are computed at run time, or the rank is unknown.
///
/// # Errors
/// If the operands contradict the operator's definition.
pub fn slices(ctx: &OpCtx<'_>) -> Result<Option<Vec<Option<Taken>>>, RuleError> {
    let Some(bounds) = slice_bounds(ctx)? else { return Ok(None) };
    let Some(dims) = ctx.dims(0) else { return Ok(None) };
    let whole = |d: &Dim| known(d).map(|count| Taken { start: 0, step: 1, count });
    let mut out: Vec<Option<Taken>> = dims.iter().map(whole).collect();
    for (axis, start, end, step) in bounds {
        let axis = axis as usize;
        out[axis] = known(&dims[axis]).map(|n| take(n, start, end, step));
    }
    Ok(Some(out))
}

/// Axis, start, end and step of each axis that a `Slice` cuts, before clamping; `None` if they are
/// computed at run time, or the rank is unknown.
///
/// # Errors
/// If the operands contradict the operator's definition.
pub fn slice_bounds(ctx: &OpCtx<'_>) -> Result<Option<Vec<(i64, i64, i64, i64)>>, RuleError> {
    let Op::Slice(s) = ctx.op else { return Ok(None) };
    let Some(dims) = ctx.dims(0) else { return Ok(None) };
    let (starts, ends, axes, steps) = if let (Some(a), Some(b)) = (&s.starts, &s.ends) {
        (a.clone(), b.clone(), s.axes.clone(), None)
    } else {
        let optional = |i: usize| match ctx.input(i) {
            None => Some(None),
            Some(_) => ctx.ints(i).map(Some),
        };
        match (ctx.ints(1), ctx.ints(2), optional(3), optional(4)) {
            (Some(a), Some(b), Some(c), Some(d)) => (a, b, c, d),
            (.., Some(Some(steps))) if steps.contains(&0) => fail!("a step of Slice is 0"),
            _ => return Ok(None),
        }
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        fail!("starts, ends, axes and steps of Slice differ in length");
    }
    let mut seen = vec![false; dims.len()];
    let mut out = Vec::with_capacity(starts.len());
    for (((start, end), axis), step) in starts.into_iter().zip(ends).zip(axes).zip(steps) {
        let axis = axis_of(axis, dims.len())?;
        if std::mem::replace(&mut seen[axis], true) {
            fail!("Slice names axis {axis} twice");
        }
        if step == 0 || step == i64::MIN {
            fail!("a step of Slice is {step}");
        }
        out.push((axis as i64, start, end, step));
    }
    Ok(Some(out))
}

/// The axes that a `Slice` cuts; `None` if they are computed at run time, or the rank is unknown.
///
/// # Errors
/// If an axis is out of range.
pub fn slice_axes(ctx: &OpCtx<'_>) -> Result<Option<Vec<usize>>, RuleError> {
    let (Op::Slice(s), Some(rank)) = (ctx.op, ctx.ty(0).rank()) else { return Ok(None) };
    let given = if s.starts.is_some() {
        s.axes.clone()
    } else if ctx.input(3).is_some() {
        let Some(axes) = ctx.ints(3) else { return Ok(None) };
        Some(axes)
    } else {
        None
    };
    if let Some(axes) = given {
        return axes.into_iter().map(|a| axis_of(a, rank)).collect::<Result<_, _>>().map(Some);
    }
    let count = match &s.starts {
        Some(starts) => Some(starts.len() as u64),
        None => ctx.input(1).and_then(|o| o.ty.elements()),
    };
    let Some(count) = count else { return Ok(None) };
    (0..count as i64).map(|a| axis_of(a, rank)).collect::<Result<_, _>>().map(Some)
}

/// The axis of a `DFT`: since version 20 an operand. `None` if it is computed at run time, or the rank is
/// unknown.
///
/// # Errors
/// If it is out of range, or the last, along which real and imaginary parts lie.
pub fn dft_axis(ctx: &OpCtx<'_>) -> Result<Option<usize>, RuleError> {
    let (Op::DFT(o), Some(rank)) = (ctx.op, ctx.ty(0).rank()) else { return Ok(None) };
    let axis = match ctx.input(2) {
        _ if ctx.opset < 20 => Some(o.axis),
        Some(_) => ctx.ints(2).and_then(|v| v.first().copied()),
        None => Some(-2),
    };
    let Some(axis) = axis.map(|a| axis_of(a, rank)).transpose()? else { return Ok(None) };
    if axis + 1 == rank {
        fail!("expected an axis of DFT before the last, found {axis}");
    }
    Ok(Some(axis))
}

/// Clamps start and end to an axis of `n` elements (ONNX, operator Slice).
fn take(n: i64, start: i64, end: i64, step: i64) -> Taken {
    let wrap = |x: i64| if x < 0 { x.saturating_add(n) } else { x };
    let (start, end) = (wrap(start), wrap(end));
    if n == 0 {
        return Taken { start: 0, step, count: 0 };
    }
    let (start, end) = if step > 0 {
        (start.clamp(0, n), end.clamp(0, n))
    } else {
        (start.clamp(0, n - 1), end.clamp(-1, n - 1))
    };
    let distance = if step > 0 { end - start } else { start - end };
    let step_abs = step.abs();
    let count = if distance <= 0 { 0 } else { (distance - 1) / step_abs + 1 };
    Taken { start, step, count }
}

/// Padding of a `Pad` before and after each axis (negative: elements cut off); `None` if it is computed at
/// run time.
///
/// # Errors
/// If the operands contradict the operator's definition.
pub fn pads(ctx: &OpCtx<'_>) -> Result<Option<Vec<(i64, i64)>>, RuleError> {
    let Op::Pad(p) = ctx.op else { return Ok(None) };
    let Some(rank) = ctx.ty(0).rank() else { return Ok(None) };
    let given = match &p.pads {
        Some(p) => p.clone(),
        None => match ctx.ints(1) {
            Some(p) => p,
            None => return Ok(None),
        },
    };
    let axes: Vec<usize> = match ctx.input(3) {
        None => (0..rank).collect(),
        Some(_) => match ctx.ints(3) {
            Some(a) => a.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?,
            None => return Ok(None),
        },
    };
    if given.len() != 2 * axes.len() {
        fail!("expected {} pads for {} axes, found {}", 2 * axes.len(), axes.len(), given.len());
    }
    if let Some(bad) = given.iter().find(|p| p.unsigned_abs() > 1 << 48) {
        fail!("expected pads of at most 2^48, found {bad}");
    }
    let mut out = vec![(0, 0); rank];
    for (i, &a) in axes.iter().enumerate() {
        out[a] = (given[i], given[axes.len() + i]);
    }
    Ok(Some(out))
}

/// The axes of a `Squeeze` or `Unsqueeze` as ascending indices into a shape of this rank; `None` if they
/// are computed at run time or, for `Squeeze`, if it removes all axes of extent 1.
///
/// # Errors
/// If an axis is out of range or repeated.
pub fn squeeze_axes(ctx: &OpCtx<'_>, rank: usize) -> Result<Option<Vec<usize>>, RuleError> {
    let attr = match ctx.op {
        Op::Squeeze(s) => s.axes.clone(),
        Op::Unsqueeze(s) => s.axes.clone(),
        _ => None,
    };
    let Some(axes) = attr.or_else(|| ctx.ints(1)) else { return Ok(None) };
    let mut axes: Vec<usize> = axes.iter().map(|&a| axis_of(a, rank)).collect::<Result<_, _>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|w| w[0] == w[1]) {
        fail!("{} names an axis twice", ctx.op.name());
    }
    Ok(Some(axes))
}

/// The permutation of a `Transpose`: output axis `i` is input axis `perm[i]`.
///
/// # Errors
/// If `perm` is not a permutation of the axes.
pub fn permutation(ctx: &OpCtx<'_>, rank: usize) -> Result<Vec<usize>, RuleError> {
    let Op::Transpose(t) = ctx.op else { fail!("expected Transpose, found {}", ctx.op.name()) };
    let Some(perm) = &t.perm else { return Ok((0..rank).rev().collect()) };
    let p: Vec<usize> = perm.iter().filter_map(|&a| usize::try_from(a).ok()).collect();
    let mut sorted = p.clone();
    sorted.sort_unstable();
    if p.len() != perm.len() || sorted != (0..rank).collect::<Vec<_>>() {
        fail!("expected a permutation of {rank} axes, found {perm:?}");
    }
    Ok(p)
}

/// The axis of a `Softmax`, `LogSoftmax` or `Hardmax`, as it is spelled; `None` for other operators.
/// Before version 13 it is the first of the axes that the operator flattens to one.
pub(crate) fn softmax_axis(ctx: &OpCtx<'_>) -> Option<i64> {
    let axis = match ctx.op {
        Op::Softmax(s) => s.axis,
        Op::LogSoftmax(s) => s.axis,
        Op::Hardmax(s) => s.axis,
        _ => return None,
    };
    Some(axis.unwrap_or(if ctx.opset < 13 { 1 } else { -1 }))
}

/// The axis of a `Split`, and the sizes of its outputs along it; `None` if they are computed at run time
/// or the extent is unknown.
///
/// # Errors
/// If the sizes do not add up to the extent of the axis, or do not match the number of outputs.
pub fn split_sizes(ctx: &OpCtx<'_>) -> Result<Option<(usize, Vec<i64>)>, RuleError> {
    let Op::Split(s) = ctx.op else { return Ok(None) };
    let Some(dims) = ctx.dims(0) else { return Ok(None) };
    let axis = axis_of(s.axis, dims.len())?;
    let given = s.split.clone().or_else(|| ctx.ints(1));
    let n = known(&dims[axis]);
    if let Some(sizes) = given {
        let total = sizes.iter().try_fold(0i64, |a, &b| a.checked_add(b));
        if sizes.len() != ctx.outputs
            || sizes.iter().any(|&s| s < 0)
            || n.is_some_and(|n| total != Some(n))
        {
            fail!("Split of {} into {sizes:?} for {} outputs", dims[axis], ctx.outputs);
        }
        return Ok(Some((axis, sizes)));
    }
    let (Some(n), None) = (n, ctx.input(1)) else { return Ok(None) };
    let parts = s.num_outputs.unwrap_or(ctx.outputs as i64);
    if parts != ctx.outputs as i64 || parts < 1 {
        fail!("num_outputs is {parts}, but the node has {} outputs", ctx.outputs);
    }
    if s.num_outputs.is_none() && n % parts != 0 {
        fail!("expected an extent that is a multiple of {parts} for equal parts, found {n}");
    }
    let each = n / parts + i64::from(n % parts != 0);
    let sizes = (0..parts).map(|i| (n - i * each).clamp(0, each)).collect();
    Ok(Some((axis, sizes)))
}

/// Extents of a `Reshape` of `input` to `target`, whose entries may be unknown. With `zero_copies`, an
/// entry of 0 means the extent of the input.
///
/// # Errors
/// If the numbers of elements differ.
pub(crate) fn reshaped(
    input: &Type,
    target: &[Dim],
    zero_copies: bool,
) -> Result<Vec<Dim>, RuleError> {
    let mut out = Vec::with_capacity(target.len());
    for (i, d) in target.iter().enumerate() {
        out.push(match d {
            Dim::Known(0) if zero_copies => match input.dims() {
                None => Dim::Unknown,
                Some(x) if i < x.len() => x[i].clone(),
                Some(_) => fail!("entry {i} of the shape is 0, but the input has fewer axes"),
            },
            d => d.clone(),
        });
    }
    let Some(n) = input.elements() else { return Ok(out) };
    let all: Option<Vec<u64>> = out.iter().map(Dim::known).collect();
    if let Some(all) = all
        && all.iter().try_fold(1u64, |a, &b| a.checked_mul(b)) != Some(n)
    {
        fail!("expected a shape of {n} elements, found {all:?}");
    }
    Ok(out)
}

/// Target extents of a `Reshape`, as far as they are known. An entry of -1 is resolved if possible; the
/// result is `None` if the rank is unknown.
///
/// # Errors
/// If it contradicts the operator's definition.
pub(crate) fn reshape_target(ctx: &OpCtx<'_>) -> Result<Option<Vec<Dim>>, RuleError> {
    let Op::Reshape(r) = ctx.op else { return Ok(None) };
    let zero_copies = r.allowzero == 0;
    let ints = ctx.ints(1);
    let Some(symbolic) = (match &ints {
        Some(v) => {
            Some(v.iter().map(|&n| u64::try_from(n).map_or(Dim::Unknown, Dim::Known)).collect())
        }
        None => ctx.input(1).and_then(|o| o.dims.clone()),
    }) else {
        return Ok(None);
    };
    let wild: Vec<usize> = match &ints {
        Some(v) => v.iter().enumerate().filter(|(_, n)| **n < 0).map(|(i, _)| i).collect(),
        None => Vec::new(),
    };
    if let Some(v) = &ints
        && (wild.len() > 1 || v.iter().any(|&n| n < -1))
    {
        fail!("expected a shape with at most one -1, found {v:?}");
    }
    let mut out = reshaped(ctx.ty(0), &symbolic, zero_copies)?;
    let unknown: Vec<usize> =
        out.iter().enumerate().filter(|(_, d)| d.known().is_none()).map(|(i, _)| i).collect();
    if let ([i], Some(n)) = (&unknown[..], ctx.ty(0).elements()) {
        let rest = out.iter().filter_map(Dim::known).try_fold(1u64, u64::checked_mul);
        match rest {
            Some(r) if r > 0 && n % r == 0 => out[*i] = Dim::Known(n / r),
            Some(0) if n == 0 => {}
            _ => {
                fail!("expected a shape of {n} elements, found {}", crate::infer::shape_text(&out))
            }
        }
    } else if let (&[i], Some(x)) = (&wild[..], ctx.dims(0)) {
        // Symbolic extents that occur on both sides cancel.
        let mut left: Vec<Dim> = x.to_vec();
        let others = out.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, d)| d.clone());
        let mut known_rest = 1u64;
        let mut cancelled = true;
        for d in others {
            match (&d, left.iter().position(|l| l == &d && !matches!(d, Dim::Unknown))) {
                (_, Some(p)) => drop(left.remove(p)),
                (Dim::Known(n), None) => known_rest = known_rest.saturating_mul(*n),
                _ => cancelled = false,
            }
        }
        let product = left.iter().map(Dim::known).try_fold(1u64, |a, b| a.checked_mul(b?));
        if cancelled {
            match (product, &left[..]) {
                (Some(p), _) if known_rest > 0 && p % known_rest == 0 => {
                    out[i] = Dim::Known(p / known_rest);
                }
                (None, [d]) if known_rest == 1 => out[i] = d.clone(),
                _ => {}
            }
        }
    }
    Ok(Some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_clamp_as_onnx_says() {
        assert_eq!(take(10, -3, i64::MAX, 1), Taken { start: 7, step: 1, count: 3 });
        assert_eq!(take(10, -1, i64::MIN, -2), Taken { start: 9, step: -2, count: 5 });
        assert_eq!(take(10, 20, 30, 1).count, 0);
        assert_eq!(take(0, 0, 5, 1).count, 0);
    }
}
