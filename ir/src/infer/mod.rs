//! The first of an operator's two functions: input types → output types.
//!
//! One file per family of operators; [`infer`] only dispatches. [`infer_graph`] runs it over a
//! graph, following small whole-number tensors symbolically, so that chains of Shape, Gather and
//! Concat in front of a Reshape do not lose the extents.

mod bodies;
mod broadcast;
mod layout;
mod matmul;
mod misc;
mod reduce;
mod values;
mod windows;

use crate::op::Class;
use crate::op_context::{OpCtx, RuleError, fail};
use crate::{DType, Dim, Graph, Type};

pub use broadcast::broadcast;
pub(crate) use reduce::reduction;

use values::infer_at;
pub(crate) use values::refine;
pub use values::{InferError, follow, follow_with, infer_graph, symbolic_values};

/// Types of the results. Where the operands' types say too little, the results' types do, too.
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
        (None, Class::Coupled | Class::Source | Class::Control | Class::Special) => {
            misc::misc(ctx)?
        }
    };
    types.resize(ctx.outputs, Type::Unknown);
    Ok(types)
}

/// The known extent as an `i64`.
pub(crate) fn known(d: &Dim) -> Option<i64> {
    d.known().and_then(|n| i64::try_from(n).ok())
}

/// An extent that was computed; `None` becomes unknown.
pub(crate) fn dim(n: Option<i64>) -> Dim {
    n.and_then(|n| u64::try_from(n).ok()).map_or(Dim::Unknown, Dim::Known)
}

/// The first operand's element type with these extents.
fn same_type(ctx: &OpCtx<'_>, dims: Option<Vec<Dim>>) -> Type {
    typed(ctx.dtype(0), dims)
}

/// A tensor type of which parts may be unknown.
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
                Some(f) if f != d => fail!("{} of {f} and {d}", ctx.op.name()),
                _ => first = Some(d),
            }
        }
    }
    Ok(())
}

/// Element type that a `Cast` or a `dtype` attribute names.
fn dtype_attr(code: i64) -> Result<DType, RuleError> {
    match DType::from_onnx(code) {
        Some(d) => Ok(d),
        None => fail!("element type {code} does not exist"),
    }
}

/// Extents of a graph's value as far as they are known, for messages.
pub(crate) fn shape_text(dims: &[Dim]) -> String {
    let parts: Vec<String> = dims.iter().map(ToString::to_string).collect();
    format!("[{}]", parts.join(","))
}

/// Results of a node that runs subgraphs: what both branches say together.
fn branches(a: &Graph, b: &Graph) -> Vec<Type> {
    let types =
        |g: &Graph| -> Vec<Type> { g.outputs().iter().map(|&v| g.value(v).ty.clone()).collect() };
    types(a)
        .into_iter()
        .zip(types(b))
        .map(|(x, y)| match (&x, &y) {
            _ if x == y => x,
            (Type::Tensor(s), Type::Tensor(t)) if s.dtype == t.dtype => {
                let dims = match (&s.shape, &t.shape) {
                    (Some(p), Some(q)) if p.len() == q.len() => Some(
                        p.iter()
                            .zip(q)
                            .map(|(m, n)| if m == n { m.clone() } else { Dim::Unknown })
                            .collect(),
                    ),
                    _ => None,
                };
                typed(Some(s.dtype), dims)
            }
            _ => Type::Unknown,
        })
        .collect()
}
