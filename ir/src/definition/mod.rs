//! Operators that are said as small graphs of others.
//!
//! A [`definition`] is the graph that a node stands for: the body of the model's function that it calls, or,
//! for an operator of [`Class::Composite`], a graph that is written once, as text, in this module. The rules
//! of the node follow from it: types by inference of the definition, regions by following its relations
//! (`regions.rs`), execution by running it, costs, coverage and proofs by looking into it. A kernel of its
//! own may stand beside it.

mod attention;
mod branches;
mod call;
mod expand;
mod masked;
mod microsoft;
mod norms;
mod onnx;
mod qonnx;
mod quantized;
mod regions;
mod source;
mod training;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::Type;
use crate::graph::{Def, Graph};
use crate::infer::{Given, infer_from};
use crate::op::{Class, ONNX, Op};
use crate::op_context::{OpCtx, RuleError, fail};

pub use branches::unconditional;
pub use expand::{expanded, in_place};
pub(crate) use regions::relations;
use source::Source;

/// Version of ONNX's operator set in which the definition of an operator of another domain is written, where
/// the model's is not known.
const VERSION: i64 = 18;
/// The oldest version in which definitions are written.
const OLDEST: i64 = 13;
/// Most nodes of definitions that are inferred for one node, those of definitions within included.
const NODES: usize = 1 << 14;
/// How deep definitions may nest.
const DEPTH: usize = 32;
/// Most definitions that are kept.
const KEPT: usize = 1 << 10;

/// Version of ONNX's operator set in which to write the definition of an operator, if only the version of
/// its own domain is known.
pub fn opset(op: &Op, version: i64) -> i64 {
    if op.domain() == ONNX { version } else { VERSION }
}

/// The graph that the node stands for. Its inputs are the node's operands that are present, in order; its
/// outputs are the node's results. `None` if the operator is neither a call nor a composite.
///
/// # Errors
/// If the node contradicts its operator's definition, or a type is unknown that the definition depends on.
pub fn definition(ctx: &OpCtx<'_>) -> Result<Option<Arc<Graph>>, RuleError> {
    if let Some(body) = call::body(ctx)? {
        return Ok(Some(body));
    }
    if ctx.op.class() != Class::Composite {
        return Ok(None);
    }
    let mut source = Source::new(ctx);
    if onnx::write(&mut source)? { source.graph().map(Some) } else { Ok(None) }
}

/// Whether the operator may have a [`definition`].
pub fn is_defined(graph: &Graph, op: &Op) -> bool {
    op.class() == Class::Composite || graph.function(op).is_some()
}

/// The definition with the types that follow from the node's operands. Operands that are constants are
/// constants there, too, although they stay among the inputs.
///
/// # Errors
/// If the operands contradict the definition.
pub fn inferred(ctx: &OpCtx<'_>) -> Result<Option<Graph>, RuleError> {
    let Some(body) = definition(ctx)? else { return Ok(None) };
    thread_local! {
        /// Nodes that are left to infer, and how deep; `None` outside of definitions.
        static LEFT: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
    }
    let outer = LEFT.get();
    let (left, depth) = outer.unwrap_or((NODES, 0));
    let Some(left) = left.checked_sub(body.len() + 1).filter(|_| depth < DEPTH) else {
        return Ok(None);
    };
    LEFT.set(Some((left, depth + 1)));
    let mut graph = (*body).clone();
    let mut seeds = Vec::new();
    for (v, operand) in body.inputs().iter().zip(ctx.inputs.iter().flatten()) {
        let value = graph.value_mut(*v);
        value.ty = operand.ty.clone();
        if let Some(t) = &operand.value {
            value.def = Def::Const(t.clone());
        }
        if let Some(dims) = &operand.dims {
            seeds.push((*v, dims.clone()));
        }
    }
    let result = infer_from(&mut graph, &Given { elements: &seeds, ..Given::default() }, 0);
    LEFT.set(outer.and(LEFT.get()).map(|(left, _)| (left, depth)));
    match result {
        Ok(_) => Ok(Some(graph)),
        Err(e) => fail!("{}: {}", e.label, e.reason),
    }
}

/// Types of the node's results; `None` if it has no definition, or the types of its operands do not say.
pub(crate) fn infer(ctx: &OpCtx<'_>) -> Result<Option<Vec<Type>>, RuleError> {
    let is_call = ctx.op.class() != Class::Composite;
    match inferred(ctx) {
        Ok(graph) => {
            Ok(graph.map(|g| g.outputs().iter().map(|&v| g.value(v).ty.clone()).collect()))
        }
        // A function that cannot run on these operands is the model's affair, as long as it does not run.
        Err(_) if is_call => Ok(None),
        Err(e) => Err(e),
    }
}

/// A definition that was written as this text before, or is read from it.
fn parsed(op: &str, text: String) -> Result<Arc<Graph>, RuleError> {
    static ALL: LazyLock<Mutex<HashMap<String, Arc<Graph>>>> = LazyLock::new(Mutex::default);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(g) = all.get(&text) {
        return Ok(g.clone());
    }
    let graph = match crate::text::parse(&text) {
        Ok(g) => Arc::new(g),
        Err(e) => fail!("the definition of {op} cannot be read: {e}"),
    };
    if all.len() >= KEPT {
        all.clear();
    }
    all.insert(text, graph.clone());
    Ok(graph)
}
