//! Constants whose elements only move: what is computed of them is a constant, too.

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{DType, Tensor, Type, layout_params};

/// Most bytes of such a result.
const LIMIT: u64 = 1 << 24;

/// The result of a data movement whose operands are constants; `ty` is its type. `None` for other operators, and for
/// results of more than `LIMIT` bytes.
pub(super) fn moved(ctx: &OpCtx<'_>, ty: &Type) -> Option<Tensor> {
    let operands = match ctx.op {
        Op::Concat(_) => ctx.inputs.len(),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => 1,
        Op::Transpose(_) | Op::Expand(_) => 1,
        Op::ConstantOfShape(_) => 0,
        _ => return None,
    };
    let values = ctx.inputs.iter().take(operands);
    let values: Vec<&Tensor> =
        values.map(|o| o.as_ref()?.value.as_deref()).collect::<Option<_>>()?;
    let (dims, dtype) = (ty.extents()?, ty.dtype()?);
    let size = match dtype.bits() {
        bits if bits.is_multiple_of(8) && dtype != DType::String => bits / 8,
        _ => return None,
    };
    if ty.bytes()? > LIMIT {
        return None;
    }
    let n = ty.elements()? as usize;
    let bytes = match ctx.op {
        Op::Concat(c) => joined(&values, axis_of(c.axis, dims.len()).ok()?, n * size)?,
        Op::Transpose(_) => {
            let own = strides(values[0].dims());
            let perm = layout_params::permutation(ctx, own.len()).ok()?;
            let strides: Vec<usize> = perm.iter().map(|&p| own[p]).collect();
            gathered(&values[0].bytes().ok()?, &dims, &strides, size)?
        }
        Op::Expand(_) => {
            let (from, own) = (values[0].dims(), strides(values[0].dims()));
            let skipped = dims.len().checked_sub(from.len())?;
            let stride = |a: usize| match a.checked_sub(skipped) {
                Some(a) if from[a] != 1 => own[a],
                _ => 0,
            };
            let strides: Vec<usize> = (0..dims.len()).map(stride).collect();
            gathered(&values[0].bytes().ok()?, &dims, &strides, size)?
        }
        Op::ConstantOfShape(c) => match &c.value {
            Some(t) => t.bytes().ok()?.get(..size)?.repeat(n),
            None => vec![0; n * size],
        },
        _ => return values[0].reshaped(dims).ok(),
    };
    Tensor::from_bytes(dtype, dims, bytes).ok()
}

/// Row-major distances of neighbours, in elements.
fn strides(dims: &[u64]) -> Vec<usize> {
    let mut all = vec![1; dims.len()];
    for a in (1..dims.len()).rev() {
        all[a - 1] = all[a] * dims[a] as usize;
    }
    all
}

/// The elements of a result with these distances in its operand.
fn gathered(from: &[u8], dims: &[u64], strides: &[usize], size: usize) -> Option<Vec<u8>> {
    let n: usize = dims.iter().product::<u64>() as usize;
    let mut out = Vec::with_capacity(n * size);
    for i in 0..n {
        let (mut at, mut rest) = (0, i);
        for (&d, stride) in dims.iter().zip(strides).rev() {
            at += rest % d as usize * stride;
            rest /= d as usize;
        }
        out.extend_from_slice(from.get(at * size..)?.get(..size)?);
    }
    Some(out)
}

/// Concat of the values along an axis.
fn joined(values: &[&Tensor], axis: usize, bytes: usize) -> Option<Vec<u8>> {
    let all: Vec<_> = values.iter().map(|t| t.bytes().ok()).collect::<Option<_>>()?;
    let outer: usize = values.first()?.dims().get(..axis)?.iter().product::<u64>() as usize;
    let mut out = Vec::with_capacity(bytes);
    for o in 0..outer {
        for b in &all {
            let row = b.len() / outer;
            out.extend_from_slice(b.get(o * row..)?.get(..row)?);
        }
    }
    Some(out)
}
