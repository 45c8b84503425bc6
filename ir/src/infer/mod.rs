//! Shape rules: from the types of a node's operands to the types of its results.
//!
//! Each family of operators has a file; [`infer`] dispatches. [`infer_graph`] infers a whole graph. It
//! evaluates small integer tensors symbolically, so that extents are known after a Reshape whose target is
//! computed with Shape, Gather and Concat.

mod adopt;
mod bodies;
mod broadcast;
mod declared;
mod layout;
mod matmul;
mod misc;
mod moved;
mod picks;
mod reduce;
mod sequences;
mod signals;
mod values;
mod windows;

use crate::op::Class;
use crate::op_context::{OpCtx, RuleError, fail};
use crate::{DType, Dim, Graph, Type, definition, op};

pub use adopt::adopt;
pub use bodies::can_run;
pub use broadcast::broadcast;
pub(crate) use misc::einsum_terms;
pub(crate) use reduce::reduction;

pub(crate) use declared::complete;
pub use moved::{Moved, moved};
pub use values::{
    Followed, InferError, follow, follow_with, infer_graph, symbolic_values, tensor_of,
};
pub(crate) use values::{Given, elements, infer_from, refine};

/// Infers the types of the results. If the shape of an operand is partly unknown, so may be theirs.
///
/// # Errors
/// If the operands contradict the operator's definition.
pub fn infer(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let mut types = match (ctx.op.host(), ctx.op.class()) {
        (Some(host), _) => host.0.infer(ctx)?,
        (None, Class::Pointwise) => broadcast::pointwise(ctx)?,
        (None, Class::Window) => windows::window(ctx)?,
        (None, Class::Matmul) => matmul::matmul(ctx)?,
        (None, Class::Reduce) => reduce::reduce(ctx)?,
        (None, Class::Layout) => layout::layout(ctx)?,
        (None, Class::Composite) => definition::infer(ctx)?.unwrap_or_default(),
        (None, Class::Coupled | Class::Source | Class::Control | Class::Special) => {
            misc::misc(ctx)?
        }
    };
    if matches!(ctx.op, crate::Op::Other(_)) && ctx.op.host().is_none() {
        types = definition::infer(ctx)?.unwrap_or(types);
    }
    types.resize(ctx.outputs, Type::Unknown);
    Ok(types)
}

/// The extent as an `i64`, if it is known.
pub(crate) fn known(d: &Dim) -> Option<i64> {
    d.known().and_then(|n| i64::try_from(n).ok())
}

/// A computed extent; `None`, or a negative one, is unknown.
pub(crate) fn dim(n: Option<i64>) -> Dim {
    n.and_then(|n| u64::try_from(n).ok()).map_or(Dim::Unknown, Dim::Known)
}

/// The first operand's element type with these extents.
fn same_type(ctx: &OpCtx<'_>, dims: Option<Vec<Dim>>) -> Type {
    typed(ctx.dtype(0), dims)
}

/// A tensor type whose element type or extents may be unknown.
pub(crate) fn typed(dtype: Option<DType>, dims: Option<Vec<Dim>>) -> Type {
    match (dtype, dims) {
        (Some(d), Some(dims)) => Type::with_dims(d, dims),
        (Some(d), None) => Type::unranked(d),
        (None, _) => Type::Unknown,
    }
}

/// Refuses operands of different element types.
fn same_dtype(ctx: &OpCtx<'_>, operands: impl IntoIterator<Item = usize>) -> Result<(), RuleError> {
    let mut first: Option<DType> = None;
    for i in operands {
        if let Some(d) = ctx.dtype(i) {
            match first {
                Some(f) if f != d => {
                    fail!("expected operands of one type for {}, found {f} and {d}", ctx.op.name())
                }
                _ => first = Some(d),
            }
        }
    }
    Ok(())
}

/// The element type with this number, as in a `dtype` attribute.
fn dtype_attr(code: i64) -> Result<DType, RuleError> {
    match DType::from_onnx(code) {
        Some(d) => Ok(d),
        None => fail!("element type {code} does not exist"),
    }
}

/// Extents in brackets, for messages.
pub(crate) fn shape_text(dims: &[Dim]) -> String {
    let parts: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// Types of the results of an If: those of the branch that is always taken, or what holds for both.
fn branches(ctx: &OpCtx<'_>, op: &op::If) -> Vec<Type> {
    let types =
        |g: &Graph| -> Vec<Type> { g.outputs().iter().map(|&v| g.value(v).ty.clone()).collect() };
    if let Some([Dim::Known(n)]) = ctx.symbolic(0).as_deref() {
        return types(if *n != 0 { &op.then_branch.0 } else { &op.else_branch.0 });
    }
    let (a, b) = (types(&op.then_branch.0), types(&op.else_branch.0));
    a.iter().zip(b).map(|(x, y)| x.join(&y)).collect()
}
