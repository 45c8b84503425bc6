//! Which values parts exchange, and their sizes.

use graph_opt_ir::{Def, Graph, NodeId, ValueId};

/// Values that a node reads, except constants.
pub(super) fn read(graph: &Graph, n: NodeId) -> impl Iterator<Item = ValueId> {
    let node = graph.node(n);
    let all = node.inputs.iter().flatten().chain(&node.captures).copied();
    all.filter(|&v| is_sent(graph, v))
}

/// Whether a value is sent between parts: made by a node, or an input without a default. Constants
/// are copied to each part that reads them.
pub fn is_sent(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.value(v).def, Def::Node(..) | Def::Input(None)) && graph.constant(v).is_none()
}

/// Size of a value in bytes; 0 if unknown.
pub(crate) fn value_bytes(graph: &Graph, v: ValueId) -> u64 {
    graph.value(v).ty.bytes().unwrap_or(0)
}
