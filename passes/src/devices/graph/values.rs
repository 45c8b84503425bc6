//! Values.

use graph_opt_ir::{Def, Graph, NodeId, ValueId};

/// What a node reads that is no constant.
pub(super) fn read(graph: &Graph, n: NodeId) -> impl Iterator<Item = ValueId> {
    let node = graph.node(n);
    let all = node.inputs.iter().flatten().chain(&node.captures).copied();
    all.filter(|&v| is_sent(graph, v))
}

/// Whether a value is made by a node or given from outside: constants, and inputs with a default, are
/// with every part that reads them.
pub fn is_sent(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.value(v).def, Def::Node(..) | Def::Input(None)) && graph.constant(v).is_none()
}

/// Bytes of a value; 0 where that is not known.
pub(crate) fn value_bytes(graph: &Graph, v: ValueId) -> u64 {
    graph.value(v).ty.bytes().unwrap_or(0)
}
