//! Edits, not mutation: a pass proposes an [`Edit`], or another order of the nodes; [`Editor`] checks
//! it against the graph, applies it whole or not at all, numbers it and tells the observers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::graph::{Def, Graph, Meta, Node};
use crate::op::{Attr, Attrs, Op};
use crate::rule::{Ctx, Operand, RuleError};
use crate::tensor::Tensor;
use crate::{NodeId, Type, ValueId, infer};

/// An operand or a result of an edit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ref {
    /// A value that the graph has.
    Value(ValueId),
    /// Result `.1` of the edit's node `.0`.
    New(usize, usize),
    /// The edit's constant of this index.
    Const(usize),
}

/// A node that an edit adds.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Name to ask for; made unique when it is taken.
    pub name: String,
    /// Operator.
    pub op: Op,
    /// Attributes that the operator does not define, carried along.
    pub extra: Attrs,
    /// Operands.
    pub inputs: Vec<Option<Ref>>,
    /// Number of results.
    pub outputs: usize,
    /// Nodes whose metadata it inherits.
    pub like: Vec<NodeId>,
}

/// A change of a graph. Nodes are added in order, before `before`; then the values of `replaces`
/// are taken over, then the nodes of `removes` go, with constants that nothing reads any more.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// Who made it and of what, such as `tile-conv conv1`.
    pub origin: String,
    /// Where the new nodes go; if absent, before the first removed node.
    pub before: Option<NodeId>,
    /// New constants with the names to ask for.
    pub consts: Vec<(String, Arc<Tensor>)>,
    /// Which of them are parts of which constants of the graph; they inherit what the file says of
    /// those, as nodes do.
    pub parts: Vec<(usize, ValueId)>,
    /// New nodes.
    pub nodes: Vec<NewNode>,
    /// Values that get a new definition, keeping name, type and readers.
    pub replaces: Vec<(ValueId, Ref)>,
    /// Nodes that go.
    pub removes: Vec<NodeId>,
    /// Inputs of the graph whose types become these, which say more: a symbolic extent is known
    /// from here on. What follows from it, [`Editor::refine`] finds out.
    pub narrows: Vec<(ValueId, Type)>,
}

impl Edit {
    /// An empty edit.
    pub fn new(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), ..Self::default() }
    }

    /// Adds a constant; an equal one that the edit already has serves again.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> Ref {
        if let Some(i) = self.consts.iter().position(|(_, t)| **t == tensor) {
            return Ref::Const(i);
        }
        self.consts.push((name.to_owned(), Arc::new(tensor)));
        Ref::Const(self.consts.len() - 1)
    }

    /// Adds a constant that is a part of a constant of the graph.
    pub fn part(&mut self, name: String, tensor: Tensor, of: ValueId) -> Ref {
        let index = self.consts.len();
        self.consts.push((name, Arc::new(tensor)));
        self.parts.push((index, of));
        Ref::Const(index)
    }

    /// Adds a node with one result and gives the result.
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
            like: like.to_vec(),
        });
        Ref::New(self.nodes.len() - 1, 0)
    }

    /// Replaces the value by `by`, or by a copy of it where `by` has a name of its own to keep, or
    /// has replaced another value already.
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
                    || (!taken() && graph.producer(w).is_some() && !keeps_name(graph, w))
            }
        }
    }

    fn copy(&mut self, graph: &Graph, v: ValueId, of: Ref) -> Ref {
        let like = graph.producer(v);
        let name = like.map_or(&*graph.value(v).name, |n| graph.label(n));
        let name = format!("{name}/copy");
        self.node(name, crate::op::Identity {}, vec![Some(of)], &Vec::from_iter(like))
    }
}

/// Why an edit was not applied. The graph is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// A handle does not exist.
    #[error("{0}: names a node or value that does not exist")]
    Dangling(String),
    /// A new node contradicts its operator's definition.
    #[error("{origin}: new node {node:?}: {reason}")]
    Rule {
        /// The edit.
        origin: String,
        /// The new node.
        node: String,
        /// What is wrong.
        reason: RuleError,
    },
    /// A replacement has another type.
    #[error("{origin}: {value:?} is {old}, its replacement {new}")]
    Type {
        /// The edit.
        origin: String,
        /// The value.
        value: String,
        /// Its type.
        old: Type,
        /// The replacement's type.
        new: Type,
    },
    /// A new node would run before an operand, or after a reader.
    #[error("{origin}: {what} does not run before what reads it")]
    Order {
        /// The edit.
        origin: String,
        /// The value or node.
        what: String,
    },
    /// A removed node's result is still wanted.
    #[error("{origin}: {value:?} would lose its definition")]
    Undefined {
        /// The edit.
        origin: String,
        /// The value.
        value: String,
    },
    /// A value would be defined anew while the node that makes it stays.
    #[error("{origin}: {value:?} would have two definitions")]
    Twice {
        /// The edit.
        origin: String,
        /// The value.
        value: String,
    },
    /// A new order of the nodes leaves one out, or has it twice.
    #[error("{origin}: {node:?} does not stand in the new order once")]
    Permutation {
        /// The edit.
        origin: String,
        /// The node.
        node: String,
    },
    /// A value that must keep its name cannot be replaced by another that must keep its own.
    #[error("{origin}: {value:?} and its replacement must both keep their names")]
    Names {
        /// The edit.
        origin: String,
        /// The value.
        value: String,
    },
    /// An observer found the result wrong, or wants no more edits.
    #[error("{origin}: {reason}")]
    Refused {
        /// The edit.
        origin: String,
        /// The observer's reason.
        reason: String,
    },
}

/// What was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Number of the edit, from 1.
    pub number: usize,
    /// The body in which it was, as `NODE/ATTRIBUTE` from the outside in; empty for the main graph.
    pub scope: Vec<String>,
    /// The edit's origin.
    pub origin: String,
    /// The new nodes.
    pub nodes: Vec<NodeId>,
    /// Labels of the removed nodes.
    pub removed: Vec<String>,
}

/// Watches edits as they are applied, with the graph that was edited: the main one, or a body. An
/// error from it is passed on to the pass, which stops.
pub type Observer<'a> = Box<dyn FnMut(&Graph, &Applied) -> Result<(), String> + 'a>;

/// Applies edits to a graph and, [within](Editor::within) its nodes, to the bodies of control flow.
pub struct Editor<'a> {
    pub(crate) graph: &'a mut Graph,
    observers: Vec<Observer<'a>>,
    /// No more edits are applied once the graph has had this many.
    limit: usize,
    /// Number of edits so far, those in bodies among them.
    edits: usize,
    /// The bodies that the editor is in, from the outside in.
    pub(crate) scopes: Vec<String>,
}

impl<'a> Editor<'a> {
    /// An editor of this graph.
    pub fn new(graph: &'a mut Graph) -> Self {
        let edits = graph.edits;
        Self { graph, observers: Vec::new(), limit: usize::MAX, edits, scopes: Vec::new() }
    }

    /// Adds an observer.
    pub fn observe(&mut self, observer: Observer<'a>) {
        self.observers.push(observer);
    }

    /// Refuses further edits once the graph has had `limit`; how a bisection stops early.
    pub fn stop_after(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The graph as it is now; within a node, the body.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// The bodies that the editor is in, as `NODE/ATTRIBUTE` from the outside in.
    pub fn scope(&self) -> &[String] {
        &self.scopes
    }

    /// Number of edits that the main graph and its bodies have had.
    pub fn edits(&self) -> usize {
        self.edits
    }

    /// Infers the types of all results anew: what edits made constant may fix extents downstream.
    /// What is known already stays known.
    ///
    /// # Errors
    /// If a node contradicts its operator's definition, which edits do not let happen.
    pub fn refine(&mut self) -> Result<(), infer::InferError> {
        infer::refine(self.graph)
    }

    /// Whether the limit of edits is reached.
    pub fn is_done(&self) -> bool {
        self.edits >= self.limit
    }

    /// Applies the edit.
    ///
    /// # Errors
    /// If the edit would break the graph, which then stays as it was; or if an observer objects,
    /// after the edit.
    pub fn apply(&mut self, edit: &Edit) -> Result<Applied, EditError> {
        self.may_go_on(&edit.origin)?;
        let plan = check(self.graph, edit)?;
        let (nodes, removed) = apply(self.graph, edit, plan, !self.scopes.is_empty());
        self.applied(&edit.origin, nodes, removed)
    }

    /// Lets the nodes run in this order: all nodes of the graph, each once, and each after those
    /// that make what it reads. It counts as an edit.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn reorder(&mut self, origin: &str, order: &[NodeId]) -> Result<Applied, EditError> {
        self.may_go_on(origin)?;
        check_order(self.graph, origin, order)?;
        self.graph.set_schedule(order);
        self.applied(origin, Vec::new(), Vec::new())
    }

    fn may_go_on(&self, origin: &str) -> Result<(), EditError> {
        if self.is_done() {
            let reason = format!("stopped after {} edits", self.limit);
            return Err(EditError::Refused { origin: origin.to_owned(), reason });
        }
        Ok(())
    }

    /// Counts an edit and tells the observers.
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
                .map_err(|reason| EditError::Refused { origin: applied.origin.clone(), reason })?;
        }
        Ok(applied)
    }
}

fn check_order(graph: &Graph, origin: &str, order: &[NodeId]) -> Result<(), EditError> {
    let mut at = vec![None; graph.node_bound()];
    let twice = |n: NodeId| EditError::Permutation {
        origin: origin.to_owned(),
        node: graph.label(n).to_owned(),
    };
    for (i, &n) in order.iter().enumerate() {
        graph.get_node(n).ok_or_else(|| EditError::Dangling(origin.to_owned()))?;
        if at[n.index()].replace(i).is_some() {
            return Err(twice(n));
        }
    }
    if let Some(n) = graph.schedule().find(|n| at[n.index()].is_none()) {
        return Err(twice(n));
    }
    for &n in order {
        let node = graph.node(n);
        for &v in node.inputs.iter().flatten().chain(&node.captures) {
            if graph.producer(v).is_some_and(|p| at[p.index()] >= at[n.index()]) {
                let what = graph.value(v).name.to_string();
                return Err(EditError::Order { origin: origin.to_owned(), what });
            }
        }
    }
    Ok(())
}

/// What [`check`] found out.
struct Plan {
    before: Option<NodeId>,
    types: Vec<Vec<Type>>,
}

fn check(graph: &Graph, edit: &Edit) -> Result<Plan, EditError> {
    let origin = || edit.origin.clone();
    let dangling = || EditError::Dangling(origin());
    for n in &edit.removes {
        graph.get_node(*n).ok_or_else(dangling)?;
    }
    let first = edit.removes.iter().min_by_key(|n| graph.node(**n).order);
    let before = edit.before.or(first.copied());
    if let Some(b) = before {
        graph.get_node(b).ok_or_else(dangling)?;
    }
    let runs_before = |producer: NodeId| match before {
        Some(b) => graph.node(producer).order < graph.node(b).order,
        None => true,
    };
    let mut types: Vec<Vec<Type>> = Vec::with_capacity(edit.nodes.len());
    for (i, n) in edit.nodes.iter().enumerate() {
        let mut inputs = Vec::with_capacity(n.inputs.len());
        for r in &n.inputs {
            inputs.push(match r {
                None => None,
                Some(Ref::Value(v)) => {
                    let value = graph.get_value(*v).ok_or_else(dangling)?;
                    if let Def::Node(p, _) = value.def
                        && !runs_before(p)
                    {
                        return Err(EditError::Order {
                            origin: origin(),
                            what: value.name.to_string(),
                        });
                    }
                    Some(Operand { ty: &value.ty, value: graph.constant(*v), dims: None })
                }
                Some(Ref::New(m, o)) => {
                    let ty = types.get(*m).and_then(|t| t.get(*o)).ok_or_else(dangling)?;
                    Some(Operand { ty, value: None, dims: None })
                }
                Some(Ref::Const(_)) => None,
            });
        }
        let consts: Vec<Option<(Type, Arc<Tensor>)>> = n
            .inputs
            .iter()
            .map(|r| match r {
                Some(Ref::Const(c)) => {
                    let (_, t) = edit.consts.get(*c).ok_or_else(dangling)?;
                    Ok(Some((t.ty(), t.clone())))
                }
                _ => Ok(None),
            })
            .collect::<Result<_, EditError>>()?;
        for (o, c) in inputs.iter_mut().zip(&consts) {
            if let Some((ty, t)) = c {
                *o = Some(Operand { ty, value: Some(t.clone()), dims: None });
            }
        }
        for v in
            captures(graph, n).map_err(|value| EditError::Undefined { origin: origin(), value })?
        {
            let new = edit.replaces.iter().find_map(|(r, new)| (*r == v).then_some(new));
            let early = match (new, graph.producer(v)) {
                (Some(Ref::New(m, _)), _) => *m < i,
                (_, Some(p)) => runs_before(p),
                _ => true,
            };
            if !early {
                let what = graph.value(v).name.to_string();
                return Err(EditError::Order { origin: origin(), what });
            }
        }
        let opset = graph.opsets.get(n.op.domain()).copied().unwrap_or(1);
        let ctx = Ctx { op: &n.op, opset, inputs, outputs: n.outputs };
        let t = infer::infer(&ctx).map_err(|reason| EditError::Rule {
            origin: origin(),
            node: edit.nodes[i].name.clone(),
            reason,
        })?;
        types.push(t);
    }
    check_replacements(graph, edit, before, &types)?;
    for (index, whole) in &edit.parts {
        graph.get_value(*whole).filter(|_| *index < edit.consts.len()).ok_or_else(dangling)?;
    }
    for (v, ty) in &edit.narrows {
        let value = graph.get_value(*v).ok_or_else(dangling)?;
        let Def::Input(default) = &value.def else { return Err(dangling()) };
        let fits = default.as_ref().is_none_or(|t| t.ty().meet(ty).is_some());
        if !fits || value.ty.meet(ty).as_ref() != Some(ty) {
            let (old, new, value) = (value.ty.clone(), ty.clone(), value.name.to_string());
            return Err(EditError::Type { origin: origin(), value, old, new });
        }
    }
    Ok(Plan { before, types })
}

fn check_replacements(
    graph: &Graph,
    edit: &Edit,
    before: Option<NodeId>,
    types: &[Vec<Type>],
) -> Result<(), EditError> {
    let origin = || edit.origin.clone();
    let dangling = || EditError::Dangling(origin());
    let removed: HashSet<NodeId> = edit.removes.iter().copied().collect();
    // Values by the value that takes them over, and results that have the name of another by now.
    let mut merged: HashMap<ValueId, ValueId> = HashMap::new();
    let mut named: HashSet<Ref> = HashSet::new();
    let mut seen: HashSet<ValueId> = HashSet::new();
    for (v, r) in &edit.replaces {
        let value = graph.get_value(*v).ok_or_else(dangling)?;
        let name = || value.name.to_string();
        if !seen.insert(*v) {
            return Err(EditError::Twice { origin: origin(), value: name() });
        }
        let new = match r {
            Ref::Value(w) => &graph.get_value(*w).ok_or_else(dangling)?.ty,
            Ref::New(n, o) => types.get(*n).and_then(|t| t.get(*o)).ok_or_else(dangling)?,
            Ref::Const(c) => &edit.consts.get(*c).ok_or_else(dangling)?.1.ty(),
        };
        if value.ty.meet(new).is_none() {
            let (old, new) = (value.ty.clone(), new.clone());
            return Err(EditError::Type { origin: origin(), value: name(), old, new });
        }
        let defines = match r {
            Ref::New(..) | Ref::Const(_) => true,
            Ref::Value(_) => keeps_name(graph, *v),
        };
        if let (true, Def::Node(p, _)) = (defines, &value.def)
            && !removed.contains(p)
        {
            return Err(EditError::Twice { origin: origin(), value: name() });
        }
        match r {
            Ref::New(..) => {
                if !named.insert(*r) {
                    return Err(EditError::Names { origin: origin(), value: name() });
                }
                // Readers that stay must run after the new nodes.
                for u in value.uses() {
                    let after =
                        before.is_none_or(|b| graph.node(u.node).order < graph.node(b).order);
                    if !removed.contains(&u.node) && after {
                        return Err(EditError::Order { origin: origin(), what: name() });
                    }
                }
            }
            Ref::Value(w) => {
                let w = merged_into(&merged, *w);
                let keeps = |v| keeps_name(graph, v);
                let maker = graph.producer(w);
                let lost = maker.is_some_and(|p| removed.contains(&p));
                if keeps(*v) && (w == *v || keeps(w) || maker.is_none() || lost) {
                    return Err(EditError::Names { origin: origin(), value: name() });
                }
                if lost && !edit.replaces.iter().any(|(r, _)| *r == w) {
                    let value = graph.value(w).name.to_string();
                    return Err(EditError::Undefined { origin: origin(), value });
                }
                let mut staying = value.uses().filter(|u| !removed.contains(&u.node));
                if let Some(p) = maker.filter(|_| !lost)
                    && staying.any(|u| graph.node(u.node).order <= graph.node(p).order)
                {
                    return Err(EditError::Order { origin: origin(), what: name() });
                }
                let (gone, stays) = if keeps(*v) { (w, *v) } else { (*v, w) };
                merged.insert(gone, stays);
            }
            Ref::Const(_) => {}
        }
    }
    let read = edit.nodes.iter().flat_map(|n| n.inputs.iter().flatten());
    for v in read.filter_map(|r| if let Ref::Value(v) = r { Some(*v) } else { None }) {
        let lost = graph.producer(v).is_some_and(|p| removed.contains(&p));
        if lost && !edit.replaces.iter().any(|(r, _)| *r == v) {
            let value = graph.value(v).name.to_string();
            return Err(EditError::Undefined { origin: origin(), value });
        }
    }
    for n in &edit.removes {
        for v in graph.node(*n).outputs.iter().flatten() {
            let value = graph.value(*v);
            let wanted = value.is_output() || value.uses().any(|u| !removed.contains(&u.node));
            if wanted && !edit.replaces.iter().any(|(r, _)| r == v) {
                let value = value.name.to_string();
                return Err(EditError::Undefined { origin: origin(), value });
            }
        }
    }
    Ok(())
}

/// Values that the node's bodies read.
///
/// # Errors
/// With a name that the graph does not have.
fn captures(graph: &Graph, n: &NewNode) -> Result<Vec<ValueId>, String> {
    let mut all = Vec::new();
    let extra = n.extra.iter().filter_map(|(_, a)| match a {
        Attr::Graph(g) => Some(g.0.clone()),
        _ => None,
    });
    for body in n.op.subgraphs().into_iter().chain(extra) {
        let read = |v: &crate::Value| v.def == Def::Outer && (!v.uses.is_empty() || v.is_output());
        for (_, v) in body.values().filter(|(_, v)| read(v)) {
            let here = graph.find_value(&v.name).ok_or_else(|| v.name.to_string())?;
            if !all.contains(&here) {
                all.push(here);
            }
        }
    }
    Ok(all)
}

/// The value that took this one over, by way of others.
fn merged_into(merged: &HashMap<ValueId, ValueId>, v: ValueId) -> ValueId {
    // Each step leads to a value that was not taken over yet when the step was added.
    std::iter::successors(Some(v), |v| merged.get(v).copied()).last().unwrap_or(v)
}

/// Whether something outside of the graph's own nodes knows the value by its name.
pub fn keeps_name(graph: &Graph, v: ValueId) -> bool {
    let value = graph.value(v);
    value.is_output() || value.uses().any(|u| u.index >= graph.node(u.node).inputs.len())
}

/// Gives the new nodes, and the labels of the removed ones. In a body, names of what goes stay
/// taken: another body may have them, too.
fn apply(graph: &mut Graph, edit: &Edit, plan: Plan, inner: bool) -> (Vec<NodeId>, Vec<String>) {
    let consts: Vec<ValueId> = edit
        .consts
        .iter()
        .map(|(name, t)| {
            // A constant that is about to take over a value needs no name of its own.
            let name = graph.fresh(name);
            graph.push_value(name, t.ty(), Def::Const(t.clone()))
        })
        .collect();
    for (index, whole) in &edit.parts {
        let whole = graph.value(*whole);
        let part_of = whole.part_of.clone().unwrap_or_else(|| whole.name.clone());
        graph.value_mut(consts[*index]).part_of = Some(part_of);
    }
    // What takes the place of a node takes its name, too.
    let mut vacant: Vec<Arc<str>> =
        edit.removes.iter().map(|n| graph.node(*n).name.clone()).collect();
    let mut results: Vec<Vec<ValueId>> = Vec::new();
    let mut nodes = Vec::new();
    for ((i, n), types) in edit.nodes.iter().enumerate().zip(plan.types) {
        // A node of the file without a name stays without one.
        let name = match vacant.iter().position(|v| **v == *n.name) {
            _ if n.name.is_empty() => "".into(),
            Some(i) => vacant.swap_remove(i),
            None => graph.fresh(&n.name),
        };
        let outputs: Vec<ValueId> = types
            .into_iter()
            .enumerate()
            .map(|(o, ty)| match edit.replaces.iter().find(|(_, r)| *r == Ref::New(i, o)) {
                Some((v, _)) => {
                    let value = graph.value_mut(*v);
                    value.ty = value.ty.meet(&ty).unwrap_or(ty);
                    *v
                }
                None => {
                    let base =
                        if o == 0 { format!("{name}_out") } else { format!("{name}_out{o}") };
                    let base = graph.fresh(&base);
                    graph.push_value(base, ty, Def::Outer)
                }
            })
            .collect();
        let resolve = |r: &Ref| match r {
            Ref::Value(v) => *v,
            Ref::New(n, o) => results[*n][*o],
            Ref::Const(c) => consts[*c],
        };
        let inputs = n.inputs.iter().map(|r| r.as_ref().map(resolve)).collect();
        let node = Node {
            name,
            op: n.op.clone(),
            extra: n.extra.clone(),
            inputs,
            outputs: outputs.iter().map(|&v| Some(v)).collect(),
            captures: captures(graph, n).unwrap_or_default(),
            meta: inherited(graph, n, &edit.origin),
            order: 0,
            prev: None,
            next: None,
        };
        results.push(outputs);
        nodes.push(graph.insert_node(node, plan.before));
    }
    let mut orphans = consts.clone();
    let mut merged: HashMap<ValueId, ValueId> = HashMap::new();
    for (v, r) in &edit.replaces {
        match r {
            Ref::New(..) => {}
            Ref::Const(c) => {
                // The value itself becomes the constant.
                let t = edit.consts[*c].1.clone();
                let value = graph.value_mut(*v);
                value.ty = t.ty();
                value.def = Def::Const(t);
            }
            Ref::Value(w) => {
                let (gone, stays) = forward(graph, *v, merged_into(&merged, *w), inner);
                merged.insert(gone, stays);
                orphans.push(*v);
            }
        }
    }
    let mut removed = Vec::new();
    for n in &edit.removes {
        removed.push(graph.label(*n).to_owned());
        if let Some(node) = graph.remove_node(*n) {
            for v in node.outputs.into_iter().flatten() {
                if graph.get_value(v).is_some_and(|x| x.def_is(*n)) {
                    orphans.push(v);
                }
            }
            orphans.extend(node.inputs.into_iter().flatten());
        }
    }
    for v in orphans {
        let unread = |x: &crate::Value| x.uses.is_empty() && !x.is_output();
        let gone = graph.get_value(v).is_some_and(|x| match &x.def {
            Def::Const(_) => unread(x),
            Def::Node(n, _) => graph.get_node(*n).is_none(),
            _ => false,
        });
        if gone {
            remove(graph, v, inner && !consts.contains(&v));
        }
    }
    for (v, ty) in &edit.narrows {
        graph.value_mut(*v).ty = ty.clone();
        graph.narrowed = true;
    }
    (nodes, removed)
}

fn remove(graph: &mut Graph, v: ValueId, keep_name: bool) {
    let name = graph.value(v).name.clone();
    graph.remove_value(v);
    if keep_name {
        graph.names.insert(name);
    }
}

/// Makes every reader of `v` read `w`. If `v` must keep its name, `w`'s node defines `v` instead.
/// Gives the value that is gone, and the one that stays.
fn forward(graph: &mut Graph, v: ValueId, w: ValueId, inner: bool) -> (ValueId, ValueId) {
    let (from, to) = if keeps_name(graph, v) { (w, v) } else { (v, w) };
    for u in std::mem::take(&mut graph.value_mut(from).uses) {
        let node = graph.node_mut(u.node);
        node.inputs[u.index] = Some(to);
        node.meta.verbatim = None;
        graph.value_mut(to).uses.insert(u);
    }
    let ty = graph.value(from).ty.meet(&graph.value(to).ty);
    if let Some(ty) = ty {
        graph.value_mut(to).ty = ty;
    }
    if from == w
        && let Def::Node(p, o) = graph.value(w).def
    {
        let node = graph.node_mut(p);
        node.outputs[o] = Some(v);
        node.meta.verbatim = None;
        graph.value_mut(v).def = Def::Node(p, o);
        remove(graph, w, inner);
    }
    (from, to)
}

/// The union of the origins' metadata.
fn inherited(graph: &Graph, n: &NewNode, origin: &str) -> Meta {
    let mut meta = Meta { origin: origin.into(), ..Meta::default() };
    for id in &n.like {
        let Some(node) = graph.get_node(*id) else { continue };
        for (k, v) in &node.meta.props {
            if !meta.props.iter().any(|(l, _)| l == k) {
                meta.props.push((k.clone(), v.clone()));
            }
        }
        if meta.doc.is_empty() {
            meta.doc.clone_from(&node.meta.doc);
        }
        if meta.foreign.is_empty() {
            meta.foreign = node.meta.foreign.clone();
        }
    }
    meta
}

impl crate::Value {
    fn def_is(&self, n: NodeId) -> bool {
        matches!(self.def, Def::Node(d, _) if d == n)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
