//! Operators that move elements.

use super::{dim, known, same_dtype, same_type, shape_text, typed};
use crate::layout_params;
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of, fail};
use crate::{Dim, Type};

pub(super) fn layout(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let dims = match ctx.op {
        Op::Concat(c) => return concat(ctx, c.axis),
        Op::Split(s) => return split(ctx, s.axis),
        Op::Reshape(_) => match layout_params::reshape_target(ctx)? {
            Some(d) => Some(d),
            // The rank is the number of elements of the shape.
            None => match ctx.dims(1) {
                Some([n]) => known(n).filter(|&n| n < 64).map(|n| vec![Dim::Unknown; n as usize]),
                _ => None,
            },
        },
        Op::Expand(_) => expand(ctx)?,
        _ => match ctx.dims(0) {
            None => None,
            Some(x) => of_ranked(ctx, x)?,
        },
    };
    Ok(vec![same_type(ctx, dims)])
}

/// Extents of the result of an operator over an input of known rank.
fn of_ranked(ctx: &OpCtx<'_>, x: &[Dim]) -> Result<Option<Vec<Dim>>, RuleError> {
    let rank = x.len();
    Ok(match ctx.op {
        Op::Flatten(f) => {
            let a = if f.axis == rank as i64 { rank } else { axis_of(f.axis, rank.max(1))? };
            Some(vec![product(&x[..a]), product(&x[a..])])
        }
        Op::Squeeze(_) => squeeze(ctx, x)?,
        Op::Unsqueeze(u) => {
            let count = u.axes.as_ref().map(Vec::len);
            match count.or_else(|| ctx.ints(1).map(|a| a.len())) {
                None => None,
                Some(n) => Some(unsqueeze(ctx, x, n)?),
            }
        }
        Op::Transpose(_) => {
            let perm = layout_params::permutation(ctx, rank)?;
            Some(perm.iter().map(|&p| x[p].clone()).collect())
        }
        Op::Tile(_) => match ctx.ints(1) {
            None => Some(vec![Dim::Unknown; rank]),
            Some(r) if r.len() != rank || r.iter().any(|&r| r < 0) => {
                fail!(
                    "expected a repeat of at least 0 for each axis of {}, found {r:?}",
                    shape_text(x)
                )
            }
            Some(r) => Some(scaled(x, &r)),
        },
        Op::Slice(_) => {
            let axes = layout_params::slice_axes(ctx)?.unwrap_or_else(|| (0..rank).collect());
            let taken = layout_params::slices(ctx)?;
            let count = |i: usize| dim(taken.as_ref().and_then(|t| t[i]).map(|t| t.count));
            let all = x.iter().enumerate();
            // Axes that are not sliced keep their names.
            Some(all.map(|(i, d)| if axes.contains(&i) { count(i) } else { d.clone() }).collect())
        }
        Op::Pad(_) => match layout_params::pads(ctx)? {
            None => Some(vec![Dim::Unknown; rank]),
            Some(pads) => Some(padded(x, &pads)?),
        },
        Op::Crop(c) => Some(cropped(c, x)?),
        Op::DepthToSpace(d) => Some(blocks(x, d.blocksize, true)?),
        Op::SpaceToDepth(d) => Some(blocks(x, d.blocksize, false)?),
        _ => None,
    })
}

fn product(d: &[Dim]) -> Dim {
    if let [d] = d {
        return d.clone();
    }
    dim(d.iter().try_fold(1i64, |a, d| a.checked_mul(known(d)?)))
}

fn squeeze(ctx: &OpCtx<'_>, x: &[Dim]) -> Result<Option<Vec<Dim>>, RuleError> {
    Ok(match layout_params::squeeze_axes(ctx, x.len())? {
        Some(axes) => {
            if let Some(&a) = axes.iter().find(|&&a| known(&x[a]).is_some_and(|n| n != 1)) {
                fail!("expected extent 1 on axis {a} of Squeeze, found {}", shape_text(x));
            }
            Some(kept(x, |i| !axes.contains(&i)))
        }
        None if ctx.input(1).is_some() || x.iter().any(|d| d.known().is_none()) => None,
        None => Some(kept(x, |i| known(&x[i]) != Some(1))),
    })
}

/// `x` with `n` axes of extent 1 more.
fn unsqueeze(ctx: &OpCtx<'_>, x: &[Dim], n: usize) -> Result<Vec<Dim>, RuleError> {
    let axes = layout_params::squeeze_axes(ctx, x.len() + n)?.unwrap_or_default();
    let mut rest = x.iter().cloned();
    let pick = |i| if axes.contains(&i) { Some(Dim::Known(1)) } else { rest.next() };
    Ok((0..x.len() + n).filter_map(pick).collect())
}

fn padded(x: &[Dim], pads: &[(i64, i64)]) -> Result<Vec<Dim>, RuleError> {
    let mut out = Vec::with_capacity(x.len());
    for (d, &(b, e)) in x.iter().zip(pads) {
        out.push(match known(d) {
            _ if b == 0 && e == 0 => d.clone(),
            None => Dim::Unknown,
            Some(n) if n + b + e < 0 => {
                fail!("Pad by {b} and {e} cuts off more than the {n} elements of an axis")
            }
            Some(n) => dim(Some(n + b + e)),
        });
    }
    Ok(out)
}

fn cropped(c: &crate::op::Crop, x: &[Dim]) -> Result<Vec<Dim>, RuleError> {
    let Some(&[left, top, right, bottom]) = c.border.as_deref() else {
        fail!("expected 4 entries in the border of Crop");
    };
    let [batch, channels, height, width] = x else {
        fail!("expected an input of rank 4 for Crop, found {}", shape_text(x));
    };
    let scale = c.scale.as_deref();
    let cut = |i: usize, d: &Dim, b: i64, e: i64| match scale.and_then(|s| s.get(i).copied()) {
        Some(n) => Some(n),
        None => known(d).and_then(|n| n.checked_sub(b)?.checked_sub(e)),
    };
    Ok(vec![
        batch.clone(),
        channels.clone(),
        dim(cut(0, height, top, bottom)),
        dim(cut(1, width, left, right)),
    ])
}

fn kept(x: &[Dim], keep: impl Fn(usize) -> bool) -> Vec<Dim> {
    x.iter().enumerate().filter(|(i, _)| keep(*i)).map(|(_, d)| d.clone()).collect()
}

fn scaled(x: &[Dim], by: &[i64]) -> Vec<Dim> {
    let times = |(d, &r): (&Dim, &i64)| match r {
        1 => d.clone(),
        _ => dim(known(d).and_then(|n| n.checked_mul(r))),
    };
    x.iter().zip(by).map(times).collect()
}

fn blocks(x: &[Dim], block: i64, to_space: bool) -> Result<Vec<Dim>, RuleError> {
    if x.len() != 4 || !(1..=1 << 16).contains(&block) {
        fail!(
            "expected an input of rank 4 and blocks of 1 to 65536, found {} and {block}",
            shape_text(x)
        );
    }
    let square = block * block;
    let (mul, div): (&[usize], &[usize]) = if to_space { (&[2, 3], &[1]) } else { (&[1], &[2, 3]) };
    let mut out = x.to_vec();
    for &i in mul {
        let f = if to_space { block } else { square };
        out[i] = dim(known(&x[i]).and_then(|n| n.checked_mul(f)));
    }
    for &i in div {
        let f = if to_space { square } else { block };
        if known(&x[i]).is_some_and(|n| n % f != 0) {
            fail!("expected a multiple of {f} on axis {i}, found {}", x[i]);
        }
        out[i] = dim(known(&x[i]).map(|n| n / f));
    }
    Ok(out)
}

fn expand(ctx: &OpCtx<'_>) -> Result<Option<Vec<Dim>>, RuleError> {
    let Some(x) = ctx.dims(0) else { return Ok(None) };
    match ctx.symbolic(1) {
        Some(target) => Ok(Some(super::broadcast(&[x, &target])?)),
        None if ctx.ints(1).is_some_and(|t| t.iter().any(|&n| n < 0)) => {
            fail!("expected extents of at least 0 for Expand, found a negative one")
        }
        None => Ok(None),
    }
}

fn concat(ctx: &OpCtx<'_>, axis: i64) -> Result<Vec<Type>, RuleError> {
    let n = ctx.inputs.len();
    if n == 0 {
        fail!("expected at least one input for Concat, found none");
    }
    same_dtype(ctx, 0..n)?;
    let dtype = (0..n).find_map(|i| ctx.dtype(i));
    let shapes: Vec<&[Dim]> = (0..n).filter_map(|i| ctx.dims(i)).collect();
    let Some(first) = shapes.first() else { return Ok(vec![typed(dtype, None)]) };
    if first.is_empty() {
        fail!("expected inputs with axes for Concat, found scalars");
    }
    let axis = axis_of(axis, first.len())?;
    let mut out = first.to_vec();
    let mut total = Some(0i64);
    for s in &shapes {
        if s.len() != out.len() {
            fail!(
                "expected inputs of one rank for Concat, found {} and {}",
                shape_text(first),
                shape_text(s)
            );
        }
        for (i, d) in s.iter().enumerate().filter(|(i, _)| *i != axis) {
            match (known(&out[i]), known(d)) {
                (Some(a), Some(b)) if a != b => {
                    fail!(
                        "expected equal extents off axis {axis} for Concat, found {} and {}",
                        shape_text(first),
                        shape_text(s)
                    )
                }
                (None, Some(_)) => out[i] = d.clone(),
                _ => {}
            }
        }
        total = total.and_then(|t| t.checked_add(known(&s[axis])?));
    }
    if shapes.len() < n {
        total = None;
    }
    out[axis] = if n == 1 { first[axis].clone() } else { dim(total) };
    Ok(vec![typed(dtype, Some(out))])
}

fn split(ctx: &OpCtx<'_>, axis: i64) -> Result<Vec<Type>, RuleError> {
    let Some(x) = ctx.dims(0) else { return Ok(vec![same_type(ctx, None); ctx.outputs]) };
    let axis = axis_of(axis, x.len())?;
    let sizes = layout_params::split_sizes(ctx)?;
    Ok((0..ctx.outputs)
        .map(|i| {
            let mut dims = x.to_vec();
            dims[axis] = dim(sizes.as_ref().map(|(_, s)| s[i]));
            same_type(ctx, Some(dims))
        })
        .collect())
}
