//! Live activations over the schedule.

use graph_opt_ir::{Def, Graph, NodeId, ValueId};

/// The most bytes of activations that are live at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes.
    pub peak: u64,
    /// The node that runs then.
    pub at: Option<NodeId>,
}

/// Peak of live activations in the order of the schedule: a value lives from the node that makes
/// it (an input, from the start) to its last reader (an output, to the end), and a node's operands
/// and results live together. Constants do not count, nor do views and results in place of
/// operands save anything here. `None` if an extent is unknown.
pub fn peak(graph: &Graph) -> Option<Memory> {
    let counts = |v: ValueId| match &graph.value(v).def {
        Def::Const(_) => false,
        _ => graph.constant(v).is_none(),
    };
    let bytes = |v: ValueId| if counts(v) { graph.value(v).ty.bytes() } else { Some(0) };
    let mut left: Vec<usize> = vec![0; graph.value_bound()];
    for (id, v) in graph.values() {
        left[id.index()] = v.uses().len() + usize::from(v.is_output());
    }
    let mut live = 0u64;
    for &v in graph.inputs() {
        live = live.checked_add(bytes(v)?)?;
    }
    let mut most = Memory { peak: live, at: None };
    for id in graph.schedule() {
        let node = graph.node(id);
        for v in node.outputs.iter().flatten() {
            live = live.checked_add(bytes(*v)?)?;
        }
        if live > most.peak {
            most = Memory { peak: live, at: Some(id) };
        }
        for &v in node.inputs.iter().flatten().chain(&node.captures) {
            left[v.index()] -= 1;
            if left[v.index()] == 0 {
                live -= bytes(v)?;
            }
        }
        for &v in node.outputs.iter().flatten() {
            if left[v.index()] == 0 {
                live -= bytes(v)?;
            }
        }
    }
    Some(most)
}
