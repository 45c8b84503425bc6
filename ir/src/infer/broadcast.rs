//! Pointwise operators and broadcasting.

use super::{dtype_attr, known, same_dtype, shape_text, typed};
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, fail};
use crate::{DType, Dim, Type};

/// Extents of the multidirectional broadcast of these shapes (ONNX, `Broadcasting.md`).
///
/// # Errors
/// If two known extents differ and neither is 1.
pub fn broadcast(shapes: &[&[Dim]]) -> Result<Vec<Dim>, RuleError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Dim::Known(1); rank];
    for s in shapes {
        let pad = rank - s.len();
        for (i, d) in s.iter().enumerate() {
            let o = &mut out[pad + i];
            *o = match (&*o, d) {
                (Dim::Known(1), d) => d.clone(),
                (o, Dim::Known(1)) => o.clone(),
                (Dim::Known(a), Dim::Known(b)) if a == b => Dim::Known(*a),
                (Dim::Known(_), Dim::Known(_)) => {
                    let all: Vec<String> = shapes.iter().map(|s| shape_text(s)).collect();
                    fail!("shapes {} do not broadcast", all.join(" and "));
                }
                (Dim::Known(a), _) => Dim::Known(*a),
                (_, Dim::Known(b)) => Dim::Known(*b),
                (Dim::Param(a), Dim::Param(b)) if a == b => Dim::Param(a.clone()),
                _ => Dim::Unknown,
            };
        }
    }
    Ok(out)
}

pub(super) fn pointwise(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    use Op::*;
    if ctx.inputs.is_empty() {
        fail!("expected at least one input for {}, found none", ctx.op.name());
    }
    if matches!(ctx.op, Identity(_) | Transfer(_)) {
        return Ok(vec![ctx.ty(0).clone()]);
    }
    // The other operands of these are parameters, which do not broadcast.
    if matches!(ctx.op, Clip(_) | Dropout(_)) {
        let ty = ctx.ty(0).clone();
        if matches!(ctx.op, Clip(_)) {
            same_dtype(ctx, 0..ctx.inputs.len())?;
            for i in 1..3 {
                if ctx.ty(i).elements().is_some_and(|n| n != 1) {
                    fail!("expected scalar bounds for Clip, found {}", ctx.ty(i));
                }
            }
            return Ok(vec![ty]);
        }
        let mask = if ctx.opset >= 10 { Some(DType::Bool) } else { ctx.dtype(0) };
        return Ok(vec![ty.clone(), typed(mask, ty.dims().map(<[Dim]>::to_vec))]);
    }
    let dtype = match ctx.op {
        Cast(c) => Some(dtype_attr(c.to)?),
        BitCast(c) => {
            let to = dtype_attr(c.to)?;
            if let Some(from) = ctx.dtype(0)
                && (from.bits() != to.bits() || (from == DType::String) != (to == DType::String))
            {
                fail!("expected a type of {} bits for BitCast, found {to}", from.bits());
            }
            Some(to)
        }
        BitShift(_) | BitwiseAnd(_) | BitwiseOr(_) | BitwiseXor(_) | BitwiseNot(_) => {
            let all = 0..ctx.inputs.len();
            same_dtype(ctx, all.clone())?;
            let dtype = all.clone().find_map(|i| ctx.dtype(i));
            if let Some(d) = dtype.filter(|d| !d.is_int()) {
                fail!("expected whole numbers for {}, found {d}", ctx.op.name());
            }
            dtype
        }
        Equal(_) | Less(_) | LessOrEqual(_) | Greater(_) | GreaterOrEqual(_) => {
            same_dtype(ctx, 0..2)?;
            Some(DType::Bool)
        }
        And(_) | Or(_) | Xor(_) | Not(_) => {
            if let Some(d) =
                (0..ctx.inputs.len()).filter_map(|i| ctx.dtype(i)).find(|d| *d != DType::Bool)
            {
                fail!("expected bool operands for {}, found {d}", ctx.op.name());
            }
            Some(DType::Bool)
        }
        IsNaN(_) | IsInf(_) => Some(DType::Bool),
        Where(_) => {
            if ctx.dtype(0).is_some_and(|d| d != DType::Bool) {
                fail!("expected a bool condition for Where, found {}", ctx.ty(0));
            }
            same_dtype(ctx, 1..3)?;
            ctx.dtype(1).or(ctx.dtype(2))
        }
        // The exponent may be of another type.
        Pow(_) => ctx.dtype(0),
        _ => {
            same_dtype(ctx, 0..ctx.inputs.len())?;
            (0..ctx.inputs.len()).find_map(|i| ctx.dtype(i))
        }
    };
    if dtype == Some(DType::Bool) && matches!(ctx.op, Add(_) | Sub(_) | Mul(_) | Div(_)) {
        fail!("expected numbers for {}, found bool", ctx.op.name());
    }
    let shapes: Option<Vec<&[Dim]>> = (0..ctx.inputs.len()).map(|i| ctx.dims(i)).collect();
    let dims = match shapes {
        Some(s) => Some(broadcast(&s)?),
        None => None,
    };
    // The standard demands a slope that broadcasts to the input; ONNX Runtime accepts any.
    let wide =
        matches!((ctx.op, ctx.dims(0), &dims), (PRelu(_), Some(x), Some(d)) if x.len() != d.len());
    Ok(vec![typed(dtype, dims.filter(|_| !wide))])
}

/// Refuses operand `i` if it is not a vector of `n` elements, as far as is known.
pub(super) fn vector_of(
    ctx: &OpCtx<'_>,
    i: usize,
    n: Option<i64>,
    what: &str,
) -> Result<(), RuleError> {
    let Some(dims) = ctx.dims(i) else { return Ok(()) };
    match (dims, n) {
        ([d], Some(n)) if known(d).is_some_and(|d| d != n) => {
            fail!("expected {n} elements in {what}, found {d}")
        }
        ([_], _) => Ok(()),
        _ => fail!("expected a vector for {what}, found shape {}", shape_text(dims)),
    }
}
