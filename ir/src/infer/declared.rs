//! What a file declares of a result, beside what is inferred.

use crate::op::{Class, Op};
use crate::op_context::OpCtx;
use crate::shape::TensorType;
use crate::{Dim, Type};

/// The inferred type of one of the node's results, completed by the one that a file declares for it; `None` if they
/// contradict each other.
///
/// Exporters declare the extents of the one run that they saw. So a number that is declared counts only where the
/// extent is the same in every run: not where it depends on free extents, on a branch, or on the elements of
/// operands.
pub(crate) fn complete(ctx: &OpCtx<'_>, inferred: &Type, declared: &Type) -> Option<Type> {
    let both = inferred.meet(declared)?;
    // Nothing is known of operators without a shape rule, except what is declared.
    if *inferred == Type::Unknown || !may_differ(ctx) {
        return Some(both);
    }
    let Type::Tensor(TensorType { dtype, shape: Some(dims) }) = both else { return Some(both) };
    let own = inferred.dims();
    let believed = |(i, d): (usize, Dim)| match (own.map(|own| &own[i]), d) {
        (Some(d), Dim::Known(_)) => d.clone(),
        (None, Dim::Known(_)) => Dim::Unknown,
        (_, d) => d,
    };
    Some(Type::with_dims(dtype, dims.into_iter().enumerate().map(believed).collect()))
}

/// Whether extents that are not inferred may differ from run to run.
fn may_differ(ctx: &OpCtx<'_>) -> bool {
    let free = |ty: &Type| match ty {
        Type::Tensor(t) => t.shape.as_ref().is_none_or(|s| s.iter().any(|d| d.known().is_none())),
        _ => false,
    };
    let by_elements = matches!(
        ctx.op,
        Op::Compress(_) | Op::NonMaxSuppression(_) | Op::NonZero(_) | Op::Unique(_)
    );
    let mut operands = ctx.inputs.iter().flatten();
    by_elements || ctx.op.class() == Class::Control || operands.any(|o| free(o.ty))
}
