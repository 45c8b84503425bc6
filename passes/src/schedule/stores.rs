//! Aliasing classes that hold for every schedule: the memory plan's rules that do not depend on the order.
//!
//! - A view aliases its operand. A part that is only joined to others, and is at most half of its
//!   operand, counts as a copy, and so does an output.
//! - A result overwrites its operand if the operator works in place and nothing else reads the operand.
//!   If other nodes read it, too, the order decides: the last reader may overwrite it.
//! - The operands of a `Concat` alias its result, or all of them are copied.

use std::collections::HashMap;

use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::{Graph, NodeId, Op, ValueId};

use crate::analysis::View;
use crate::analysis::memory::{Alias, access, alias, counts};

/// Storage of the values of a graph.
pub(super) struct Stores<'g> {
    graph: &'g Graph,
    /// By node, whether an output of the graph depends on it.
    needed: &'g [bool],
    /// By value, one that it shares storage with; itself at the end of the chain.
    parent: Vec<ValueId>,
    /// By value, the `Concat`'s result in which it stands, at the end of the chain.
    frame: Vec<Option<ValueId>>,
    /// By value, whether it is a view of its maker's first operand.
    view: Vec<bool>,
    /// By node, an operand and the result that may take over its storage if it runs after all other
    /// readers.
    pub overwrites: HashMap<NodeId, Vec<(ValueId, ValueId)>>,
}

impl<'g> Stores<'g> {
    /// With the operands of `Concat`s in place, or copied.
    pub fn new(graph: &'g Graph, nodes: &[NodeId], needed: &'g [bool], joined: bool) -> Self {
        let n = graph.value_bound();
        let mut s = Self {
            graph,
            needed,
            parent: (0..n).map(ValueId::new).collect(),
            frame: vec![None; n],
            view: vec![false; n],
            overwrites: HashMap::new(),
        };
        let run = || nodes.iter().copied().filter(|n| needed[n.index()]);
        if joined {
            run().rev().for_each(|n| s.join(n));
        }
        run().for_each(|n| s.views(n));
        run().rev().for_each(|n| s.in_place(n));
        s
    }

    /// The value that stands for the storage of this one.
    pub fn of(&self, mut v: ValueId) -> ValueId {
        while self.parent[v.index()] != v {
            v = self.parent[v.index()];
        }
        v
    }

    fn share(&mut self, v: ValueId, with: ValueId) {
        let (a, b) = (self.of(v), self.of(with));
        self.parent[a.index()] = b;
    }

    /// Reads by nodes that run.
    fn readers(&self, v: ValueId) -> impl Iterator<Item = graph_opt_ir::Use> {
        self.graph.value(v).uses().filter(|u| self.needed[u.node.index()])
    }

    /// Whether all readers can read the value from a strided place.
    fn tolerant(&self, v: ValueId) -> bool {
        let strided = |u: graph_opt_ir::Use| {
            let node = self.graph.node(u.node);
            u.index < node.inputs.len() && access::reads_strided(&node.op, u.index)
        };
        access::strided(&self.graph.value(v).ty) && self.readers(v).all(strided)
    }

    /// Whether the node can write its only result into a part of a larger buffer.
    fn writes(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let strided =
            |v: &Option<ValueId>| v.is_some_and(|v| access::strided(&self.graph.value(v).ty));
        access::writes_strided(&node.op)
            && node.outputs.len() == 1
            && node.outputs.iter().chain(node.inputs.first()).all(strided)
    }

    fn extents(&self, v: ValueId) -> Vec<u64> {
        self.graph.value(v).ty.extents().unwrap_or_default()
    }

    /// Puts the operands of a `Concat` into its result.
    fn join(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let (Op::Concat(c), [Some(y)]) = (&node.op, &node.outputs[..]) else { return };
        let frame = self.frame[y.index()].unwrap_or(*y);
        let whole = View::whole(&self.extents(frame));
        if axis_of(c.axis, whole.strides.len()).is_err() {
            return;
        }
        let sliced = |x: ValueId| {
            let maker = self.graph.producer(x);
            maker.map(|p| matches!(self.graph.node(p).op, Op::Slice(_)))
        };
        // Strips that were cut earlier stay apart where something else is computed.
        let computed = node.inputs.iter().flatten().any(|&x| sliced(x) == Some(false));
        for &x in node.inputs.iter().flatten() {
            let value = self.graph.value(x);
            let once = node.inputs.iter().filter(|i| **i == Some(x)).count() == 1;
            let fits = whole.is_contiguous(&self.extents(x)) || self.tolerant(x);
            let made = self.graph.producer(x).is_some_and(|p| self.writes(p));
            let apart = !counts(self.graph, x) || sliced(x) == Some(true) && computed;
            if once && made && fits && !apart && !value.is_output() && self.parent[x.index()] == x {
                self.frame[x.index()] = Some(frame);
                self.share(x, *y);
            }
        }
    }

    /// Puts views into what they are views of.
    fn views(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let Some(Some(x)) = node.inputs.first().copied() else { return };
        let ty = |v: ValueId| &self.graph.value(v).ty;
        let whole = ty(x).dtype().is_some_and(|t| t.bits().is_multiple_of(8));
        if !whole || !counts(self.graph, x) {
            return;
        }
        for (i, v) in node.outputs.iter().enumerate() {
            let Some(v) = *v else { continue };
            if self.parent[v.index()] != v || !counts(self.graph, v) {
                continue;
            }
            let Some(alias) = alias(self.graph, id, i) else { continue };
            let copied = match alias {
                Alias::Same | Alias::Reshaped => false,
                Alias::Part(_) => {
                    let value = self.graph.value(v);
                    let joins =
                        |u: graph_opt_ir::Use| matches!(self.graph.node(u.node).op, Op::Concat(_));
                    let small = ty(v).bytes() <= ty(x).bytes().map(|b| b / 2);
                    let waits = small && self.readers(v).all(joins);
                    let slice = matches!(node.op, Op::Slice(_));
                    let side = View::whole(&self.extents(x)).is_contiguous(&self.extents(v));
                    slice && (value.is_output() || waits) || !(side || self.tolerant(v))
                }
            };
            if !copied {
                self.view[v.index()] = true;
                self.share(v, x);
            }
        }
    }

    /// Lets a result take over its operand.
    fn in_place(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let [Some(y)] = node.outputs[..] else { return };
        if !counts(self.graph, y) || self.view[y.index()] {
            return;
        }
        let mut later = Vec::new();
        for i in access::in_place(&node.op, node.inputs.len()) {
            let Some(Some(x)) = node.inputs.get(i).copied() else { continue };
            let ty = |v: ValueId| (self.graph.value(v).ty.dtype(), self.extents(v));
            let Some(root) = self.whole_of(x).filter(|_| ty(x) == ty(y)) else { continue };
            if !counts(self.graph, root) || self.parent[root.index()] != root {
                continue;
            }
            if self.is_last(root, id) {
                let writes = || self.graph.producer(x).is_some_and(|p| self.writes(p));
                if self.frame[y.index()].is_none() || root == x && writes() {
                    self.frame[root.index()] = self.frame[y.index()];
                    self.share(root, y);
                    return;
                }
            } else if self.frame[y.index()].is_none() {
                later.push((x, y));
            }
        }
        if !later.is_empty() {
            self.overwrites.insert(id, later);
        }
    }

    /// What the value is a view of and the whole of.
    fn whole_of(&self, mut v: ValueId) -> Option<ValueId> {
        let bytes = self.graph.value(v).ty.bytes();
        while self.view[v.index()] {
            let maker = self.graph.producer(v)?;
            v = self.graph.node(maker).inputs.first().copied()??;
        }
        (self.graph.value(v).ty.bytes() == bytes).then_some(v)
    }

    /// Whether this node alone reads the value, once, or views of it.
    fn is_last(&self, v: ValueId, id: NodeId) -> bool {
        let mut reads = 0;
        let mut todo = vec![v];
        while let Some(v) = todo.pop() {
            if self.graph.value(v).is_output() {
                return false;
            }
            for u in self.readers(v) {
                let made = self.graph.node(u.node).outputs.iter().flatten();
                let views = made.copied().filter(|w| u.index == 0 && self.view[w.index()]);
                let before = todo.len();
                todo.extend(views);
                if todo.len() == before {
                    reads += 1;
                    if u.node != id || reads > 1 {
                        return false;
                    }
                }
            }
        }
        true
    }
}
