//! Fourier transforms, windows, n-grams, and random numbers.

use super::{dim, dtype_attr, known, same_type, typed};
use crate::layout_params;
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, fail};
use crate::{DType, Dim, Type};

pub(super) fn signals(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let one = |i: usize| ctx.ints(i).and_then(|v| <[i64; 1]>::try_from(v).ok()).map(|[x]| x);
    let made = |code: i64, dims: Vec<Dim>| -> Result<Vec<Type>, RuleError> {
        Ok(vec![typed(Some(dtype_attr(code)?), Some(dims))])
    };
    Ok(match ctx.op {
        Op::DFT(o) => vec![same_type(ctx, transformed(ctx, o.inverse != 0, o.onesided != 0)?)],
        Op::STFT(o) => vec![same_type(ctx, frames(ctx, o.onesided != 0))],
        Op::MelWeightMatrix(o) => {
            let bins = one(1).filter(|n| *n >= 0).map(|n| n / 2 + 1);
            made(o.output_datatype, vec![dim(bins), dim(one(0))])?
        }
        Op::HannWindow(o) => made(o.output_datatype, vec![dim(one(0))])?,
        Op::HammingWindow(o) => made(o.output_datatype, vec![dim(one(0))])?,
        Op::BlackmanWindow(o) => made(o.output_datatype, vec![dim(one(0))])?,
        Op::TfIdfVectorizer(o) => {
            let size = o.ngram_indexes.iter().max().and_then(|m| m.checked_add(1));
            let dims = match ctx.dims(0) {
                Some([] | [_]) => Some(vec![dim(size)]),
                Some([n, _]) => Some(vec![n.clone(), dim(size)]),
                Some(_) => fail!("expected rank 1 or 2 for TfIdfVectorizer, found {}", ctx.ty(0)),
                None => None,
            };
            vec![typed(Some(DType::F32), dims)]
        }
        _ => vec![Type::Unknown; ctx.outputs],
    })
}

/// The extent of an operand of one whole number, or what it is without the operand.
fn given(ctx: &OpCtx<'_>, i: usize, other: impl FnOnce() -> Option<i64>) -> Option<i64> {
    match ctx.input(i) {
        Some(_) => ctx.ints(i).and_then(|v| v.first().copied()),
        None => other(),
    }
}

fn transformed(
    ctx: &OpCtx<'_>,
    inverse: bool,
    onesided: bool,
) -> Result<Option<Vec<Dim>>, RuleError> {
    let Some(x) = ctx.dims(0) else { return Ok(None) };
    let mut out = x.to_vec();
    let Some(last) = x.len().checked_sub(1) else { fail!("expected a signal, found a scalar") };
    out[last] = Dim::Known(if inverse && onesided { 1 } else { 2 });
    let Some(axis) = layout_params::dft_axis(ctx)? else {
        out[..last].fill(Dim::Unknown);
        return Ok(Some(out));
    };
    let n = given(ctx, 1, || match (inverse && onesided, known(&x[axis])) {
        (true, n) => n?.checked_sub(1)?.checked_mul(2),
        (false, n) => n,
    });
    out[axis] = match (onesided && !inverse, ctx.input(1)) {
        (true, _) => dim(n.filter(|n| *n >= 0).map(|n| n / 2 + 1)),
        // As many as there are, even if it is unknown how many.
        (false, None) if !(inverse && onesided) => x[axis].clone(),
        _ => dim(n),
    };
    Ok(Some(out))
}

fn frames(ctx: &OpCtx<'_>, onesided: bool) -> Option<Vec<Dim>> {
    let Some([batch, length, _]) = ctx.dims(0) else { return None };
    let window = || match ctx.input(2) {
        Some(_) => ctx.dims(2).and_then(<[Dim]>::first).and_then(known),
        None => known(length),
    };
    let frame = given(ctx, 3, window).filter(|n| *n > 0);
    let step = given(ctx, 1, || None).filter(|n| *n > 0);
    let count = || Some((known(length)?.checked_sub(frame?)?) / step? + 1);
    let bins = frame.map(|n| if onesided { n / 2 + 1 } else { n });
    Some(vec![batch.clone(), dim(count()), dim(bins), Dim::Known(2)])
}

/// Types of operators that draw random numbers.
pub(super) fn drawn(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let of = |code: Option<i64>| match code {
        Some(code) => dtype_attr(code).map(Some),
        None => Ok(ctx.dtype(0)),
    };
    let made = |code: i64, shape: &[i64]| -> Result<Type, RuleError> {
        if shape.iter().any(|&n| n < 0) {
            fail!("expected extents of at least 0, found {shape:?}");
        }
        Ok(typed(of(Some(code))?, Some(shape.iter().map(|&n| dim(Some(n))).collect())))
    };
    let like = |code: Option<i64>| -> Result<Type, RuleError> {
        Ok(typed(of(code)?, ctx.dims(0).map(<[Dim]>::to_vec)))
    };
    Ok(vec![match ctx.op {
        Op::RandomUniform(o) => made(o.dtype, &o.shape)?,
        Op::RandomNormal(o) => made(o.dtype, &o.shape)?,
        Op::RandomUniformLike(o) => like(o.dtype)?,
        Op::RandomNormalLike(o) => like(o.dtype)?,
        Op::Bernoulli(o) => like(o.dtype)?,
        Op::Multinomial(o) => {
            let dims = ctx.dims(0).and_then(|x| x.first()).cloned();
            typed(of(Some(o.dtype))?, dims.map(|n| vec![n, dim(Some(o.sample_size))]))
        }
        _ => Type::Unknown,
    }])
}
