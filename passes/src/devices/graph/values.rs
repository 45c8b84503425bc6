//! Which values parts exchange, and their sizes.

use graph_opt_ir::{Graph, NodeId, ValueId};

use crate::analysis::is_sent;

/// Values that a node reads, except constants.
pub(super) fn read(graph: &Graph, n: NodeId) -> impl Iterator<Item = ValueId> {
    let node = graph.node(n);
    let all = node.inputs.iter().flatten().chain(&node.captures).copied();
    all.filter(|&v| is_sent(graph, v))
}

/// Size of a value in bytes; 0 if unknown.
pub(crate) fn value_bytes(graph: &Graph, v: ValueId) -> u64 {
    graph.value(v).ty.bytes().unwrap_or(0)
}
