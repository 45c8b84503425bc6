//! Matrix products.

use super::{broadcast, known, same_dtype, shape_text, typed};
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, fail};
use crate::{DType, Dim, Type};

pub(super) fn matmul(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let (b, dtype) = match ctx.op {
        Op::Gemm(g) => return gemm(ctx, g),
        Op::MatMulInteger(_) => (1, Some(DType::I32)),
        Op::QLinearMatMul(_) => (3, ctx.dtype(7)),
        _ => {
            same_dtype(ctx, 0..2)?;
            (1, ctx.dtype(0).or(ctx.dtype(1)))
        }
    };
    let (Some(x), Some(y)) = (ctx.dims(0), ctx.dims(b)) else {
        return Ok(vec![typed(dtype, None)]);
    };
    if x.is_empty() || y.is_empty() {
        fail!("expected operands with axes for {}, found a scalar", ctx.op.name());
    }
    let (k, l) = (&x[x.len() - 1], &y[y.len().saturating_sub(2)]);
    if let (Some(k), Some(l)) = (known(k), known(l))
        && k != l
    {
        fail!(
            "expected equal inner extents for {}, found {} and {}",
            ctx.op.name(),
            shape_text(x),
            shape_text(y)
        );
    }
    let batch = [&x[..x.len().saturating_sub(2)], &y[..y.len().saturating_sub(2)]];
    let mut out = broadcast(&batch)?;
    if x.len() >= 2 {
        out.push(x[x.len() - 2].clone());
    }
    if y.len() >= 2 {
        out.push(y[y.len() - 1].clone());
    }
    Ok(vec![typed(dtype, Some(out))])
}

fn gemm(ctx: &OpCtx<'_>, g: &crate::op::Gemm) -> Result<Vec<Type>, RuleError> {
    same_dtype(ctx, 0..3)?;
    let dtype = ctx.dtype(0).or(ctx.dtype(1));
    let (Some(a), Some(b)) = (ctx.dims(0), ctx.dims(1)) else {
        return Ok(vec![typed(dtype, None)]);
    };
    if a.len() != 2 || b.len() != 2 {
        fail!("expected matrices for Gemm, found {} and {}", shape_text(a), shape_text(b));
    }
    let (m, k) = if g.transA != 0 { (&a[1], &a[0]) } else { (&a[0], &a[1]) };
    let (l, n) = if g.transB != 0 { (&b[1], &b[0]) } else { (&b[0], &b[1]) };
    if let (Some(k), Some(l)) = (known(k), known(l))
        && k != l
    {
        fail!("expected equal inner extents for Gemm, found {k} and {l}");
    }
    let out = vec![m.clone(), n.clone()];
    if let Some(c) = ctx.dims(2) {
        let all = broadcast(&[&out, c])?;
        let grew =
            |(a, b): (&Dim, &Dim)| matches!((known(a), known(b)), (Some(a), Some(b)) if a != b);
        if all.len() != 2 || all.iter().zip(&out).any(grew) {
            fail!("expected a C that broadcasts to {}, found {}", shape_text(&out), shape_text(c));
        }
    }
    Ok(vec![typed(dtype, Some(out))])
}
