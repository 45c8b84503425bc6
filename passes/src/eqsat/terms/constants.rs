//! Constants whose elements only move: what is computed of them is a constant, too.

use graph_opt_ir::infer::moved;
use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Tensor, Type};

use crate::tile::slices::element_bytes;

/// Most elements of such a result.
const LIMIT: usize = 1 << 22;

/// The result, of this type, of an operator that only moves the elements of constants; `None` for other operators, and
/// for results of more than `LIMIT` elements.
pub(super) fn constant(ctx: &OpCtx<'_>, ty: &Type) -> Option<Tensor> {
    let data = match ctx.op {
        Op::Concat(_) => ctx.inputs.len(),
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => 1,
        Op::Transpose(_) | Op::Expand(_) => 1,
        Op::ConstantOfShape(_) => 0,
        _ => return None,
    };
    let values = ctx.inputs.iter().take(data);
    let values: Vec<&Tensor> =
        values.map(|o| o.as_ref()?.value.as_deref()).collect::<Option<_>>()?;
    let whole = |dims: &[u64]| dims.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>();
    let (dims, dtype, n) = (ty.extents()?, ty.dtype()?, usize::try_from(ty.elements()?).ok()?);
    if n > LIMIT {
        return None;
    }
    let bytes = match ctx.op {
        Op::ConstantOfShape(c) => match &c.value {
            Some(t) => t.bytes().ok()?.get(..element_bytes(t).ok()?)?.repeat(n),
            None => vec![0; n * (dtype.bits() / 8)],
        },
        Op::Concat(_) | Op::Transpose(_) | Op::Expand(_) => {
            let size = element_bytes(values.first()?).ok()?;
            let extents = |i: usize| whole(values.get(i)?.dims());
            let found = moved(ctx, &extents, whole(&dims), LIMIT)?;
            let parts: Vec<_> = values.iter().map(|t| t.bytes().ok()).collect::<Option<_>>()?;
            let all: Vec<u8> = parts.iter().flat_map(|b| b.iter().copied()).collect();
            let mut bytes = Vec::with_capacity(n * size);
            for i in found.from {
                bytes.extend_from_slice(all.get(i * size..)?.get(..size)?);
            }
            bytes
        }
        _ => return values[0].reshaped(dims).ok(),
    };
    Tensor::from_bytes(dtype, dims, bytes).ok()
}
