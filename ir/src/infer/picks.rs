//! Operators that pick, place and sample elements by what other operands say.

use super::{dim, known, same_dtype, same_type, shape_text, typed};
use crate::op::{self, Op};
use crate::op_context::{OpCtx, RuleError, axis_of, fail};
use crate::{DType, Dim, Type};

pub(super) fn picks(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    Ok(match ctx.op {
        Op::Compress(o) => vec![same_type(ctx, compressed(ctx, o.axis)?)],
        Op::ReverseSequence(o) => {
            if let Some(rank) = ctx.ty(0).rank()
                && axis_of(o.batch_axis, rank)? == axis_of(o.time_axis, rank)?
            {
                fail!("expected different axes of batch and time for ReverseSequence");
            }
            vec![ctx.ty(0).clone()]
        }
        Op::TensorScatter(o) => {
            same_dtype(ctx, 0..2)?;
            if let Some(rank) = ctx.ty(0).rank()
                && axis_of(o.axis, rank)? == 0
            {
                fail!("expected an axis other than the batch for TensorScatter, found {}", o.axis);
            }
            vec![ctx.ty(0).clone()]
        }
        Op::Unique(o) => unique(ctx, o.axis)?,
        Op::MaxUnpool(o) => vec![same_type(ctx, unpooled(ctx, o)?)],
        Op::Col2Im(_) => vec![same_type(ctx, image(ctx))],
        Op::Det(_) => {
            let dims = match ctx.dims(0) {
                None => None,
                Some([batch @ .., h, w]) => {
                    if known(h).zip(known(w)).is_some_and(|(h, w)| h != w) {
                        fail!("expected square matrices for Det, found {}", ctx.ty(0));
                    }
                    Some(batch.to_vec())
                }
                Some(_) => fail!("expected matrices for Det, found {}", ctx.ty(0)),
            };
            vec![same_type(ctx, dims)]
        }
        Op::GridSample(_) => vec![same_type(ctx, sampled(ctx)?)],
        Op::RoiAlign(o) => {
            let rois = ctx.dims(1).or(ctx.dims(2)).and_then(<[Dim]>::first);
            let of = |x: &[Dim]| {
                let channels = x.get(1).cloned().unwrap_or(Dim::Unknown);
                let rois = rois.cloned().unwrap_or(Dim::Unknown);
                vec![rois, channels, dim(Some(o.output_height)), dim(Some(o.output_width))]
            };
            vec![same_type(ctx, ctx.dims(0).map(of))]
        }
        Op::NonMaxSuppression(_) => {
            vec![Type::with_dims(DType::I64, vec![Dim::Unknown, Dim::Known(3)])]
        }
        Op::DeformConv(_) => {
            let dims = match (ctx.dims(0), ctx.dims(1), ctx.dims(2)) {
                (Some([n, ..]), Some([m, ..]), Some([_, _, spatial @ ..])) => {
                    Some([n.clone(), m.clone()].iter().chain(spatial).cloned().collect())
                }
                _ => None,
            };
            vec![same_type(ctx, dims)]
        }
        _ => vec![Type::Unknown; ctx.outputs],
    })
}

fn compressed(ctx: &OpCtx<'_>, axis: Option<i64>) -> Result<Option<Vec<Dim>>, RuleError> {
    let count = ctx.ints(1).map(|c| c.iter().filter(|&&b| b != 0).count() as i64);
    Ok(match (axis, ctx.dims(0)) {
        (None, _) => Some(vec![dim(count)]),
        (Some(_), None) => None,
        (Some(axis), Some(x)) => {
            let mut out = x.to_vec();
            out[axis_of(axis, x.len())?] = dim(count);
            Some(out)
        }
    })
}

/// Types of the values, of where each was first, of which each element is, and of their counts.
fn unique(ctx: &OpCtx<'_>, axis: Option<i64>) -> Result<Vec<Type>, RuleError> {
    let list = |n: Dim| typed(Some(DType::I64), Some(vec![n]));
    let (values, all) = match (axis, ctx.dims(0)) {
        (None, _) => {
            let all = ctx.ty(0).elements().map_or(Dim::Unknown, Dim::Known);
            (Some(vec![Dim::Unknown]), all)
        }
        (Some(_), None) => (None, Dim::Unknown),
        (Some(axis), Some(x)) => {
            let a = axis_of(axis, x.len())?;
            let mut out = x.to_vec();
            let all = std::mem::replace(&mut out[a], Dim::Unknown);
            (Some(out), all)
        }
    };
    Ok(vec![same_type(ctx, values), list(Dim::Unknown), list(all), list(Dim::Unknown)])
}

fn unpooled(ctx: &OpCtx<'_>, o: &op::MaxUnpool) -> Result<Option<Vec<Dim>>, RuleError> {
    if ctx.input(2).is_some() {
        return Ok(ctx.symbolic(2));
    }
    let Some(x) = ctx.dims(0) else { return Ok(None) };
    let rank = o.kernel_shape.len();
    if x.len() != rank + 2 {
        fail!("expected {rank} spatial axes for MaxUnpool, found shape {}", shape_text(x));
    }
    let at = |v: &Option<Vec<i64>>, i: usize, other: i64| match v {
        Some(v) => v.get(i).copied(),
        None => Some(other),
    };
    let mut out = x[..2].to_vec();
    for (i, d) in x[2..].iter().enumerate() {
        let extent = || -> Option<i64> {
            let begin = at(&o.pads, i, 0)?.checked_add(at(&o.pads, rank + i, 0)?)?;
            let steps = known(d)?.checked_sub(1)?.checked_mul(at(&o.strides, i, 1)?)?;
            steps.checked_sub(begin)?.checked_add(o.kernel_shape[i])
        };
        out.push(dim(extent()));
    }
    Ok(Some(out))
}

/// Extents of the image of a Col2Im.
fn image(ctx: &OpCtx<'_>) -> Option<Vec<Dim>> {
    let [n, c, _] = ctx.dims(0)? else { return None };
    let block = ctx.ints(2).and_then(|b| b.iter().try_fold(1i64, |a, &b| a.checked_mul(b)));
    let channels = known(c).zip(block).and_then(|(c, b)| c.checked_div(b));
    let spatial = match (ctx.symbolic(1), ctx.dims(1)) {
        (Some(s), _) => s,
        (None, Some([r])) => {
            vec![Dim::Unknown; known(r).filter(|&r| (0..64).contains(&r))? as usize]
        }
        _ => return None,
    };
    Some([n.clone(), dim(channels)].into_iter().chain(spatial).collect())
}

fn sampled(ctx: &OpCtx<'_>) -> Result<Option<Vec<Dim>>, RuleError> {
    let (Some(x), Some(grid)) = (ctx.dims(0), ctx.dims(1)) else { return Ok(None) };
    let ([n, c, spatial @ ..], [batch, places @ .., axes]) = (x, grid) else {
        fail!("expected an image and a grid for GridSample, found {} and {}", ctx.ty(0), ctx.ty(1));
    };
    let r = spatial.len();
    let batches = known(n).zip(known(batch)).is_none_or(|(a, b)| a == b);
    if places.len() != r || known(axes).is_some_and(|a| a != r as i64) || !batches {
        fail!("expected a grid of {r} axes for GridSample, found {} for {}", ctx.ty(1), ctx.ty(0));
    }
    Ok(Some([n.clone(), c.clone()].iter().chain(places).cloned().collect()))
}
