//! What backends share that walk the schedule of a graph.

use graph_opt_ir::{Graph, NodeId, ValueId};
pub(crate) use graph_opt_passes::analysis::needed;

use crate::RunError;

/// A value that nothing gave.
pub(crate) fn missing(graph: &Graph, id: ValueId) -> RunError {
    RunError::Invalid(format!("{} has no value here", graph.value(id).name))
}

/// The error, at the node.
pub(crate) fn locate(graph: &Graph, id: NodeId, e: RunError) -> RunError {
    RunError::Node {
        node: graph.label(id).to_owned(),
        operator: graph.node(id).op.name().to_owned(),
        source: Box::new(e),
    }
}
