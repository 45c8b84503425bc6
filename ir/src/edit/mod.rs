//! Edits, not mutation: a pass proposes an [`Edit`], or another order of the nodes. [`Editor`] checks
//! it against the graph, applies it completely or not at all, numbers it and calls the observers.

mod apply;
mod check;
mod error;
mod inline;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::graph::{Def, Graph};
use crate::op::{Attrs, Op};
use crate::tensor::Tensor;
use crate::{NodeId, Type, ValueId, infer};

use check::keeps_name;
pub use error::{EditError, EditFault};

/// An operand or a result of an edit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ref {
    /// A value that the graph already has.
    Value(ValueId),
    /// Result `.1` of the edit's new node `.0`, both counted from 0.
    New(usize, usize),
    /// The edit's new constant with this index.
    Const(usize),
}

/// A node that an edit adds.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Requested name. If it is taken, a number is appended.
    pub name: String,
    /// Operator with its attributes.
    pub op: Op,
    /// Attributes that the operator does not define. They are kept and written back.
    pub extra: Attrs,
    /// Operands; `None` for an absent optional one.
    pub inputs: Vec<Option<Ref>>,
    /// Number of results.
    pub outputs: usize,
    /// Results, by position, that the node does not give: nothing may read them.
    pub absent: Vec<usize>,
    /// Nodes whose metadata the new node inherits.
    pub like: Vec<NodeId>,
}

/// A change to a graph.
///
/// The nodes are inserted in order, in front of `before`. Then the values in `replaces` are
/// redefined. Last, the nodes in `removes` are removed, together with constants that nothing reads
/// any more.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Who proposes the edit and for which node, such as `tile-conv conv1`.
    pub origin: String,
    /// The node in front of which the new nodes go; if absent, the first removed node.
    pub before: Option<NodeId>,
    /// New constants with their requested names.
    pub consts: Vec<(String, Arc<Tensor>)>,
    /// New constants (by index in `consts`) that are parts of constants of the graph. They inherit
    /// the metadata of those.
    pub parts: Vec<(usize, ValueId)>,
    /// Nodes to add.
    pub nodes: Vec<NewNode>,
    /// New nodes (by index in `nodes`) whose bodies come from another graph, each with what the names that
    /// the bodies read from outside stand for here. The bodies get names of their own.
    pub moved: BTreeMap<usize, Vec<(Arc<str>, Ref)>>,
    /// Values that get a new definition and keep their name, type and readers.
    pub replaces: Vec<(ValueId, Ref)>,
    /// Nodes to remove.
    pub removes: Vec<NodeId>,
    /// Inputs of the graph with a more precise type: a symbolic extent becomes known.
    /// [`Editor::refine`] propagates it to the other values.
    pub narrows: Vec<(ValueId, Type)>,
}

impl Edit {
    /// An edit that changes nothing yet.
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), ..Self::default() }
    }

    /// Adds a constant. If the edit already has an equal one, that one is used.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Ref {
        if let Some(i) = self.consts.iter().position(|(_, t)| **t == tensor) {
            return Ref::Const(i);
        }
        self.consts.push((name.to_owned(), Arc::new(tensor)));
        Ref::Const(self.consts.len() - 1)
    }

    /// Adds a constant that is a part of the constant `of` of the graph.
    pub fn part(&mut self, name: String, tensor: Tensor, of: ValueId) -> Ref {
        let index = self.consts.len();
        self.consts.push((name, Arc::new(tensor)));
        self.parts.push((index, of));
        Ref::Const(index)
    }

    /// Adds a node with one result and returns the result.
    pub fn node(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: Vec<Option<Ref>>,
        like: &[NodeId],
    ) -> Ref {
        self.nodes.push(NewNode {
            name: name.into(),
            op: op.into(),
            extra: Vec::new(),
            inputs,
            outputs: 1,
            absent: Vec::new(),
            like: like.to_vec(),
        });
        Ref::New(self.nodes.len() - 1, 0)
    }

    /// Replaces the value by `by`. If `by` has a name of its own to keep, or replaces another value
    /// already, the value is replaced by an `Identity` of `by` instead.
    pub fn define(&mut self, graph: &Graph, v: ValueId, by: Ref) {
        let by = if self.may_name(graph, v, by) { by } else { self.copy(graph, v, by) };
        self.replaces.push((v, by));
    }

    /// Whether `by` can take the name of the value, if that has one to keep.
    pub fn may_name(&self, graph: &Graph, v: ValueId, by: Ref) -> bool {
        let taken = || self.replaces.iter().any(|r| r.1 == by);
        match by {
            Ref::Const(_) => true,
            Ref::New(..) => !taken(),
            Ref::Value(w) => {
                !keeps_name(graph, v)
                    || (!taken()
                        && graph.producer(w).is_some()
                        && !keeps_name(graph, w)
                        && !self.reads_by_name(by))
            }
        }
    }

    /// Whether the body of a new node reads it.
    fn reads_by_name(&self, r: Ref) -> bool {
        self.moved.values().flatten().any(|(_, read)| *read == r)
    }

    fn copy(&mut self, graph: &Graph, v: ValueId, of: Ref) -> Ref {
        let like = graph.producer(v);
        let name = like.map_or(&*graph.value(v).name, |n| graph.label(n));
        let name = format!("{name}/copy");
        self.node(name, crate::op::Identity {}, vec![Some(of)], &Vec::from_iter(like))
    }
}

/// An edit that was applied, as [observers](Observer) see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Applied {
    /// Number of the edit, from 1. Edits in bodies count as well.
    pub number: usize,
    /// The body in which it was, as `NODE/ATTRIBUTE` or `function DOMAIN.NAME` from the outside in; empty for
    /// the main graph.
    pub scope: Vec<String>,
    /// The edit's [origin](Edit::origin).
    pub origin: String,
    /// The nodes that were added.
    pub nodes: Vec<NodeId>,
    /// Labels of the nodes that were removed.
    pub removed: Vec<String>,
}

/// Called after every edit with the graph that was edited: the main one, or a body. An error goes to
/// the pass as [`EditFault::Refused`] and stops it.
pub type Observer<'a> = Box<dyn FnMut(&Graph, &Applied) -> Result<(), String> + 'a>;

/// Applies edits to a graph and, [within](Editor::within) its nodes, to the bodies of control flow.
pub struct Editor<'a> {
    pub(crate) graph: &'a mut Graph,
    observers: Vec<Observer<'a>>,
    /// Number of edits of the graph after which further ones are refused.
    limit: usize,
    /// Number of edits so far, including those in bodies.
    edits: usize,
    /// The bodies that the editor is in, from the outside in.
    pub(crate) scopes: Vec<String>,
    /// For each of them, the constants that it reads from outside, by name.
    pub(crate) captured: Vec<HashMap<Arc<str>, Arc<Tensor>>>,
    /// Whether the outermost of `scopes` is a function.
    pub(crate) in_function: bool,
}

impl<'a> Editor<'a> {
    /// An editor of this graph, without observers and without a limit.
    pub fn new(graph: &'a mut Graph) -> Self {
        let edits = graph.edits;
        let (scopes, captured) = (Vec::new(), Vec::new());
        let (observers, limit, in_function) = (Vec::new(), usize::MAX, false);
        Self { graph, observers, limit, edits, scopes, captured, in_function }
    }

    /// Adds an observer, which is called after those that were added before.
    pub fn observe(&mut self, observer: Observer<'a>) {
        self.observers.push(observer);
    }

    /// Refuses further edits once the graph has had `limit`. Bisection stops early this way.
    pub fn stop_after(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The graph as it is now; [within](Editor::within) a node, the body.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The value's elements, if it is a constant of the graph, or of a graph around the body.
    pub fn constant(&self, v: ValueId) -> Option<Arc<Tensor>> {
        let value = self.graph.get_value(v)?;
        match value.def {
            Def::Outer => self.captured.last()?.get(&value.name).cloned(),
            _ => self.graph.constant(v),
        }
    }

    /// The bodies that the editor is in, as `NODE/ATTRIBUTE` from the outside in.
    pub fn scope(&self) -> &[String] {
        &self.scopes
    }

    /// Whether the graph is the body of a function, [within](Editor::within_function) which the editor is.
    pub fn is_function(&self) -> bool {
        self.in_function && self.scopes.len() == 1
    }

    /// Number of edits that the main graph and its bodies have had.
    pub fn edits(&self) -> usize {
        self.edits
    }

    /// Infers the types of all results again: a value that an edit made constant may determine
    /// extents downstream. Known types stay known.
    ///
    /// # Errors
    /// If a node contradicts its operator's definition. Edits do not let this happen.
    pub fn refine(&mut self) -> Result<(), infer::InferError> {
        infer::refine(self.graph)
    }

    /// Whether the limit of [`stop_after`](Self::stop_after) is reached.
    pub fn is_done(&self) -> bool {
        self.edits >= self.limit
    }

    /// Checks the edit and applies it.
    ///
    /// # Errors
    /// If the edit would break the graph, or the limit is reached; the graph is then unchanged. If an
    /// observer objects; the edit is then applied.
    pub fn apply(&mut self, edit: &Edit) -> Result<Applied, EditError> {
        self.check_edit_limit(&edit.origin)?;
        let checked = check::edit(self.graph, edit)?;
        let (nodes, removed) = apply::apply(self.graph, checked, !self.scopes.is_empty());
        self.applied(&edit.origin, nodes, removed)
    }

    /// Reorders the schedule. `order` lists every node of the graph once, each after the producers of
    /// its operands. The reordering counts as an edit.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn reorder(&mut self, origin: &str, order: &[NodeId]) -> Result<Applied, EditError> {
        self.check_edit_limit(origin)?;
        check::order(self.graph, order).map_err(|fault| fault.of(origin))?;
        self.graph.set_schedule(order);
        self.applied(origin, Vec::new(), Vec::new())
    }

    fn check_edit_limit(&self, origin: &str) -> Result<(), EditError> {
        if self.is_done() {
            let reason = format!("stopped after {} edits", self.limit);
            return Err(EditFault::Refused(reason).of(origin));
        }
        Ok(())
    }

    /// Counts an edit and calls the observers.
    fn applied(
        &mut self,
        origin: &str,
        nodes: Vec<NodeId>,
        removed: Vec<String>,
    ) -> Result<Applied, EditError> {
        self.graph.edits += 1;
        self.edits += 1;
        let (origin, scope) = (origin.to_owned(), self.scopes.clone());
        let applied = Applied { number: self.edits, scope, origin, nodes, removed };
        for o in &mut self.observers {
            o(self.graph, &applied)
                .map_err(|reason| EditFault::Refused(reason).of(&applied.origin))?;
        }
        Ok(applied)
    }
}
