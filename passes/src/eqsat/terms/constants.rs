//! Constants whose elements only move: what is computed of them is a constant, too.

use std::sync::Arc;

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{Tensor, Type, layout_params};

use crate::analysis::memory::View;
use crate::tile::slices::{element_bytes, join_tensors};

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
    let values: Vec<Arc<Tensor>> =
        values.map(|o| o.as_ref()?.value.clone()).collect::<Option<_>>()?;
    let (dims, dtype) = (ty.extents()?, ty.dtype()?);
    if ty.bytes()? > LIMIT {
        return None;
    }
    let n = ty.elements()? as usize;
    let bytes = match ctx.op {
        Op::Concat(c) => {
            return join_tensors(&values, axis_of(c.axis, dims.len()).ok()?).ok();
        }
        Op::Transpose(_) => {
            let own = View::whole(values[0].dims()).strides;
            let perm = layout_params::permutation(ctx, own.len()).ok()?;
            let strides: Vec<u64> = perm.iter().map(|&p| own[p]).collect();
            gathered(&values[0], &dims, &strides)?
        }
        Op::Expand(_) => {
            let (from, own) = (values[0].dims(), View::whole(values[0].dims()).strides);
            let skipped = dims.len().checked_sub(from.len())?;
            let stride = |a: usize| match a.checked_sub(skipped) {
                Some(a) if from[a] != 1 => own[a],
                _ => 0,
            };
            let strides: Vec<u64> = (0..dims.len()).map(stride).collect();
            gathered(&values[0], &dims, &strides)?
        }
        Op::ConstantOfShape(c) => match &c.value {
            Some(t) => t.bytes().ok()?.get(..element_bytes(t).ok()?)?.repeat(n),
            None => vec![0; n * (dtype.bits() / 8)],
        },
        _ => return values[0].reshaped(dims).ok(),
    };
    Tensor::from_bytes(dtype, dims, bytes).ok()
}

/// The elements of a result of these extents, which has these distances in the constant.
fn gathered(from: &Tensor, dims: &[u64], strides: &[u64]) -> Option<Vec<u8>> {
    let (size, all) = (element_bytes(from).ok()?, from.bytes().ok()?);
    let n: u64 = dims.iter().product();
    let mut out = Vec::with_capacity(n as usize * size);
    for i in 0..n {
        let (mut at, mut rest) = (0, i);
        for (&d, stride) in dims.iter().zip(strides).rev() {
            at += rest % d * stride;
            rest /= d;
        }
        out.extend_from_slice(all.get(at as usize * size..)?.get(..size)?);
    }
    Some(out)
}
