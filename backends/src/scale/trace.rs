//! A block that gets smaller step by step, and how its nodes and values correspond to the original ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::edit::NewNode;
use graph_opt_ir::{Edit, Editor, Graph, NodeId, Ref, Tensor, ValueId};
use graph_opt_passes::blocks::{Coupled, Reader, coupled, cut};

use super::error::ScaleError;
use crate::Executable;
use crate::cpu::{Cpu, Prepared};

/// A block on its way to a variant.
pub(super) struct Trace<'a> {
    /// The block as it was, and the same ready to run.
    pub original: &'a Graph,
    pub whole: Run,
    /// The block as it is now.
    pub graph: Graph,
    /// The node that each original node has become, and the reverse.
    now: BTreeMap<NodeId, NodeId>,
    was: BTreeMap<NodeId, NodeId>,
    /// By original value and axis: the original indices of the elements that are left.
    kept: BTreeMap<(ValueId, usize), Vec<usize>>,
}

/// A graph that is ready to run.
pub(super) struct Run {
    graph: Arc<Graph>,
    prepared: Prepared,
}

impl Run {
    pub fn new(graph: &Graph) -> Result<Self, ScaleError> {
        let graph = Arc::new(graph.clone());
        let prepared = Cpu::default().prepared(graph.clone())?;
        Ok(Self { graph, prepared })
    }

    /// The values, computed from the only input.
    pub fn run_one(&self, input: &Tensor, wanted: &[ValueId]) -> Result<Vec<Tensor>, ScaleError> {
        let constant = |v: &ValueId| self.graph.constant(*v);
        let computed: Vec<ValueId> =
            wanted.iter().copied().filter(|v| constant(v).is_none()).collect();
        let mut all = self.prepared.run(std::slice::from_ref(input), &computed)?.into_iter();
        let one = |v| match constant(v) {
            Some(t) => Some(Tensor::clone(&t)),
            None => all.next(),
        };
        Ok(wanted.iter().filter_map(one).collect())
    }
}

impl<'a> Trace<'a> {
    pub fn new(original: &'a Graph) -> Result<Self, ScaleError> {
        let same: BTreeMap<NodeId, NodeId> = original.schedule().map(|n| (n, n)).collect();
        Ok(Self {
            original,
            whole: Run::new(original)?,
            graph: original.clone(),
            now: same.clone(),
            was: same,
            kept: BTreeMap::new(),
        })
    }

    /// What the original node has become.
    pub fn now(&self, original: NodeId) -> Option<NodeId> {
        self.now.get(&original).copied()
    }

    /// What the node was originally.
    pub fn was(&self, now: NodeId) -> Option<NodeId> {
        self.was.get(&now).copied()
    }

    /// The original node as a reader of channels, in the block as it is now.
    pub fn reader(&self, original: NodeId) -> Option<Reader> {
        let groups = coupled(self.original);
        let reader = groups.iter().flat_map(|c| &c.readers).find(|r| r.node == original)?;
        Some(Reader { node: self.now(original)?, ..*reader })
    }

    /// The original of a value that a node computes.
    pub fn original_value(&self, v: ValueId) -> Option<ValueId> {
        let p = self.graph.producer(v)?;
        let at = self.graph.node(p).outputs.iter().position(|o| *o == Some(v))?;
        self.original.node(*self.was.get(&p)?).outputs.get(at).copied()?
    }

    /// The original indices along an axis of the node's result, which has `extent` elements now.
    pub fn kept(&self, node: NodeId, axis: usize, extent: usize) -> Vec<usize> {
        let result = self.graph.node(node).outputs.first().copied().flatten();
        let original = result.and_then(|v| self.original_value(v));
        let kept = original.and_then(|v| self.kept.get(&(v, axis)).cloned());
        kept.unwrap_or_else(|| (0..extent).collect())
    }

    /// The block as it is now, ready to run.
    pub fn prepare(&self) -> Result<Run, ScaleError> {
        Run::new(&self.graph)
    }

    /// Removes units, as [`cut`] does.
    pub fn cut(&mut self, coupled: &Coupled, keep: &[bool]) -> Result<(), ScaleError> {
        let mut kept = self.kept.clone();
        for a in &coupled.axes {
            let (Some(original), Some(stays)) =
                (self.original_value(a.value), coupled.kept(a.value, a.axis, keep))
            else {
                continue;
            };
            let old = kept.remove(&(original, a.axis));
            let old = old.unwrap_or_else(|| (0..stays.len()).collect());
            let left = old.into_iter().zip(&stays).filter(|(_, s)| **s).map(|(i, _)| i);
            kept.insert((original, a.axis), left.collect());
        }
        let replaced = cut(&mut self.graph, coupled, keep)?;
        self.kept = kept;
        self.replaced(&replaced);
        Ok(())
    }

    /// Gives the node other constants as operands.
    pub fn set(&mut self, node: NodeId, operands: Vec<(usize, Tensor)>) -> Result<(), ScaleError> {
        let graph = &self.graph;
        let old = graph.node(node);
        let label = graph.label(node);
        let mut edit = Edit::new(format!("refit {label}"));
        let mut inputs: Vec<Option<Ref>> = old.inputs.iter().map(|v| v.map(Ref::Value)).collect();
        for (i, t) in operands {
            inputs.resize(inputs.len().max(i + 1), None);
            let name = match old.inputs.get(i).copied().flatten() {
                Some(v) => graph.value(v).name.to_string(),
                None => format!("{label}/bias"),
            };
            inputs[i] = Some(edit.constant(&name, t));
        }
        edit.nodes.push(NewNode {
            name: old.name.to_string(),
            op: old.op.clone(),
            extra: old.extra.clone(),
            inputs,
            outputs: old.outputs.len(),
            absent: Vec::new(),
            like: vec![node],
        });
        for (o, v) in old.outputs.iter().enumerate() {
            if let Some(v) = *v {
                edit.define(graph, v, Ref::New(0, o));
            }
        }
        edit.removes.push(node);
        let new = Editor::new(&mut self.graph).apply(&edit)?.nodes;
        let replaced: Vec<(NodeId, NodeId)> = std::iter::once(node).zip(new).collect();
        self.replaced(&replaced);
        Ok(())
    }

    fn replaced(&mut self, pairs: &[(NodeId, NodeId)]) {
        for (old, new) in pairs {
            if let Some(original) = self.was.remove(old) {
                self.was.insert(*new, original);
                self.now.insert(original, *new);
            }
        }
    }
}
