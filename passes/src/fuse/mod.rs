//! Fusions that peers do beside simplifying, each a pass of its own that says how safe it is.

pub mod batch_norm;
pub mod matmul_add;
pub mod pad;
pub mod zero_add;

use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref, ValueId};

use crate::pass::{Outcome, PassCtx};
use crate::simplify::attempt;

/// What became of one place.
enum Candidate {
    /// The edit, and what it does.
    Edit(Edit, &'static str),
    /// Why it cannot be done.
    Blocked(String),
}

/// Tries every node once, in the order in which they run, and says what became of each.
fn sweep(
    cx: &mut PassCtx<'_, '_>,
    none: &str,
    find: fn(&Graph, NodeId) -> Option<Candidate>,
) -> Result<(), EditError> {
    let order: Vec<NodeId> = cx.graph().schedule().collect();
    let mut matched = false;
    for id in order {
        if cx.is_done() {
            return Ok(());
        }
        if cx.graph().get_node(id).is_none() || !cx.selected(id) {
            continue;
        }
        let label = cx.graph().label(id).to_owned();
        match find(cx.graph(), id) {
            None => continue,
            Some(Candidate::Blocked(why)) => cx.remark_on(label, Outcome::Blocked, why),
            Some(Candidate::Edit(edit, what)) => {
                if attempt(cx, &edit)? > 0 {
                    cx.remark_on(label, Outcome::Applied, what);
                }
            }
        }
        matched = true;
    }
    if !matched {
        cx.remark_on("", Outcome::NoMatch, none);
    }
    Ok(())
}

/// The node that makes the value for one reader alone.
pub(crate) fn only_producer(graph: &Graph, v: ValueId) -> Option<NodeId> {
    let value = graph.value(v);
    graph.producer(v).filter(|_| value.uses().len() == 1 && !value.is_output())
}

/// The node's single result.
fn result(graph: &Graph, id: NodeId) -> Option<ValueId> {
    match graph.node(id).outputs[..] {
        [Some(v)] => Some(v),
        _ => None,
    }
}

/// Operands as they are.
fn operands(graph: &Graph, id: NodeId) -> Vec<Option<Ref>> {
    graph.node(id).inputs.iter().map(|v| v.map(Ref::Value)).collect()
}
