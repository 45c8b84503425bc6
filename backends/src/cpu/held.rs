//! Which values hold only numbers of a narrower type than their own: what was widened, and only
//! moved or picked since. Rounding such values to that type is the identity.

use std::collections::HashMap;

use graph_opt_ir::{DType, Graph, NodeId, Op, ValueId};

use super::ops;

/// Types of floats that hold all elements of values and are narrower than the values' own.
#[derive(Default)]
pub(super) struct Held(HashMap<ValueId, DType>);

impl Held {
    fn of(&self, graph: &Graph, v: ValueId) -> Option<DType> {
        self.0.get(&v).copied().or_else(|| graph.value(v).ty.dtype()).filter(|t| t.is_float())
    }

    /// Of the node's first operand.
    pub fn first(&self, graph: &Graph, id: NodeId) -> Option<DType> {
        self.0.get(graph.node(id).inputs.first()?.as_ref()?).copied()
    }

    /// Takes note of the node's results.
    pub fn after(&mut self, graph: &Graph, id: NodeId) {
        let node = graph.node(id);
        // A conversion at most widens what it holds; what only moves or picks holds all of it.
        let casts = matches!(node.op, Op::Cast(_));
        if !casts && (self.0.is_empty() || !ops::keeps(&node.op)) {
            return;
        }
        let mut all = node.inputs.iter().flatten().filter_map(|&v| self.of(graph, v));
        let Some(first) = all.next() else { return };
        let Some(all) = all.try_fold(first, ops::join) else { return };
        for &v in node.outputs.iter().flatten() {
            if let Some(own) = graph.value(v).ty.dtype()
                && own != all
                && ops::join(all, own) == Some(own)
            {
                self.0.insert(v, all);
            }
        }
    }
}
