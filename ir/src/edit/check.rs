//! Checks before an edit is applied, so that applying it cannot fail.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Edit, EditError, EditFault, NewNode, Ref};
use crate::graph::{Def, Graph, Value};
use crate::op::Attr;
use crate::op_context::{OpCtx, Operand};
use crate::{NodeId, Type, ValueId, infer};

/// An edit that can be applied.
pub(super) struct CheckedEdit<'e> {
    pub edit: &'e Edit,
    /// The node in front of which the new nodes go; `None` for the end of the schedule.
    pub before: Option<NodeId>,
    /// Types of the results of each new node.
    pub types: Vec<Vec<Type>>,
}

/// Checks the edit against the graph.
pub(super) fn edit<'e>(graph: &Graph, edit: &'e Edit) -> Result<CheckedEdit<'e>, EditError> {
    check(graph, edit).map_err(|fault| fault.of(&edit.origin))
}

fn check<'e>(graph: &Graph, edit: &'e Edit) -> Result<CheckedEdit<'e>, EditFault> {
    for n in &edit.removes {
        graph.get_node(*n).ok_or(EditFault::Dangling)?;
    }
    let first = edit.removes.iter().min_by_key(|n| graph.position(**n));
    let before = edit.before.or(first.copied());
    if let Some(b) = before {
        graph.get_node(b).ok_or(EditFault::Dangling)?;
    }
    let consts = edit.consts.iter().map(|(_, t)| t.ty()).collect();
    let removed = edit.removes.iter().copied().collect();
    let mut c = Checker { graph, edit, before, consts, removed, types: Vec::new() };
    for (i, n) in edit.nodes.iter().enumerate() {
        let types = c.new_node(i, n)?;
        c.types.push(types);
    }
    c.replacements()?;
    c.operands()?;
    c.removals()?;
    c.parts()?;
    c.narrowed_inputs()?;
    Ok(CheckedEdit { edit, before, types: c.types })
}

struct Checker<'a> {
    graph: &'a Graph,
    edit: &'a Edit,
    before: Option<NodeId>,
    /// Types of the new constants.
    consts: Vec<Type>,
    removed: HashSet<NodeId>,
    /// Types of the results of the new nodes that were checked so far.
    types: Vec<Vec<Type>>,
}

impl Checker<'_> {
    fn value(&self, v: ValueId) -> Result<&Value, EditFault> {
        self.graph.get_value(v).ok_or(EditFault::Dangling)
    }

    fn name(&self, v: ValueId) -> String {
        self.graph.value(v).name.to_string()
    }

    fn undefined(&self, v: ValueId) -> EditFault {
        EditFault::Undefined { value: self.name(v) }
    }

    /// Whether the node runs before the new ones.
    fn runs_before(&self, node: NodeId) -> bool {
        self.before.is_none_or(|b| self.graph.runs_before(node, b))
    }

    fn is_replaced(&self, v: ValueId) -> bool {
        self.edit.replaces.iter().any(|(r, _)| *r == v)
    }

    /// Whether the node that computes the value is removed.
    fn loses_producer(&self, v: ValueId) -> bool {
        self.graph.producer(v).is_some_and(|p| self.removed.contains(&p))
    }

    /// Type of an operand or a replacement.
    fn ty(&self, r: Ref) -> Result<&Type, EditFault> {
        match r {
            Ref::Value(v) => self.value(v).map(|v| &v.ty),
            Ref::New(n, o) if self.edit.nodes.get(n).is_none_or(|n| n.absent.contains(&o)) => {
                Err(EditFault::Dangling)
            }
            Ref::New(n, o) => self.types.get(n).and_then(|t| t.get(o)).ok_or(EditFault::Dangling),
            Ref::Const(c) => self.consts.get(c).ok_or(EditFault::Dangling),
        }
    }

    /// Types of the results of new node `i`, whose operands and captures run before it.
    fn new_node(&self, i: usize, n: &NewNode) -> Result<Vec<Type>, EditFault> {
        let operand = |r: &Option<Ref>| r.map(|r| self.operand(r)).transpose();
        let inputs = n.inputs.iter().map(operand).collect::<Result<_, _>>()?;
        for r in self.edit.moved.get(&i).into_iter().flatten().map(|(_, r)| *r) {
            self.operand(r)?;
        }
        let read = captures(self.graph, n, self.edit.moved.get(&i));
        for v in read.map_err(|value| EditFault::Undefined { value })? {
            let new = self.edit.replaces.iter().find_map(|(r, new)| (*r == v).then_some(new));
            let early = match (new, self.graph.producer(v)) {
                (Some(Ref::New(m, _)), _) => *m < i,
                (_, Some(p)) => self.runs_before(p),
                _ => true,
            };
            if !early {
                return Err(EditFault::Order { value: self.name(v) });
            }
        }
        let opset = self.graph.opsets.get(n.op.domain()).copied().unwrap_or(1);
        let (onnx, functions) = (self.graph.opset(), Some(&self.graph.functions));
        let ctx = OpCtx { op: &n.op, opset, onnx, functions, inputs, outputs: n.outputs };
        infer::infer(&ctx).map_err(|reason| EditFault::Rule { node: n.name.clone(), reason })
    }

    fn operand(&self, r: Ref) -> Result<Operand<'_>, EditFault> {
        let ty = self.ty(r)?;
        let value = match r {
            Ref::Value(v) => {
                if self.graph.producer(v).is_some_and(|p| !self.runs_before(p)) {
                    return Err(EditFault::Order { value: self.name(v) });
                }
                self.graph.constant(v)
            }
            Ref::New(..) => None,
            Ref::Const(c) => self.edit.consts.get(c).map(|(_, t)| t.clone()),
        };
        Ok(Operand { ty, value, dims: None })
    }

    fn replacements(&self) -> Result<(), EditFault> {
        // Values by the value that takes them over, and results that have the name of another by now.
        let mut merged: HashMap<ValueId, ValueId> = HashMap::new();
        let mut named: HashSet<Ref> = HashSet::new();
        let mut seen: HashSet<ValueId> = HashSet::new();
        for &(v, r) in &self.edit.replaces {
            let value = self.value(v)?;
            let name = || value.name.to_string();
            if !seen.insert(v) {
                return Err(EditFault::Twice { value: name() });
            }
            let new = self.ty(r)?;
            if value.ty.meet(new).is_none() {
                let (old, new) = (value.ty.clone(), new.clone());
                return Err(EditFault::Type { value: name(), old, new });
            }
            let defines = match r {
                Ref::New(..) | Ref::Const(_) => true,
                Ref::Value(_) => keeps_name(self.graph, v),
            };
            if let (true, Def::Node(p, _)) = (defines, &value.def)
                && !self.removed.contains(p)
            {
                return Err(EditFault::Twice { value: name() });
            }
            match r {
                Ref::New(..) => {
                    if !named.insert(r) {
                        return Err(EditFault::Names { value: name() });
                    }
                    self.readers_run_after_new_nodes(value)?;
                }
                Ref::Value(w) => {
                    let w = merged_into(&merged, w);
                    self.takes_over(v, w)?;
                    let (gone, stays) = if keeps_name(self.graph, v) { (w, v) } else { (v, w) };
                    merged.insert(gone, stays);
                }
                Ref::Const(_) => {}
            }
        }
        Ok(())
    }

    /// Readers that stay must run after the new nodes.
    fn readers_run_after_new_nodes(&self, value: &Value) -> Result<(), EditFault> {
        let early = |u: NodeId| !self.removed.contains(&u) && self.runs_before(u);
        if value.uses().any(|u| early(u.node)) {
            return Err(EditFault::Order { value: value.name.to_string() });
        }
        Ok(())
    }

    /// Whether value `w` of the graph can take the place of `v`.
    fn takes_over(&self, v: ValueId, w: ValueId) -> Result<(), EditFault> {
        let keeps = |v| keeps_name(self.graph, v) || self.edit.reads_by_name(Ref::Value(v));
        let producer = self.graph.producer(w);
        let lost = self.loses_producer(w);
        if keeps(v) && (w == v || keeps(w) || producer.is_none() || lost) {
            return Err(EditFault::Names { value: self.name(v) });
        }
        if lost && !self.is_replaced(w) {
            return Err(self.undefined(w));
        }
        let mut staying = self.graph.value(v).uses().filter(|u| !self.removed.contains(&u.node));
        if let Some(p) = producer.filter(|_| !lost)
            && staying.any(|u| self.graph.position(u.node) <= self.graph.position(p))
        {
            return Err(EditFault::Order { value: self.name(v) });
        }
        Ok(())
    }

    /// What the new nodes read must still be defined.
    fn operands(&self) -> Result<(), EditFault> {
        let operands = self.edit.nodes.iter().flat_map(|n| n.inputs.iter().flatten());
        let moved = self.edit.moved.values().flatten().map(|(_, r)| r);
        for r in operands.chain(moved) {
            if let Ref::Value(v) = *r
                && self.loses_producer(v)
                && !self.is_replaced(v)
            {
                return Err(self.undefined(v));
            }
        }
        Ok(())
    }

    /// What removed nodes computed must not be needed any more, or be replaced.
    fn removals(&self) -> Result<(), EditFault> {
        for n in &self.edit.removes {
            for &v in self.graph.node(*n).outputs.iter().flatten() {
                let value = self.graph.value(v);
                let read = value.uses().any(|u| !self.removed.contains(&u.node));
                if (value.is_output() || read) && !self.is_replaced(v) {
                    return Err(self.undefined(v));
                }
            }
        }
        Ok(())
    }

    fn parts(&self) -> Result<(), EditFault> {
        for &(index, whole) in &self.edit.parts {
            self.value(whole)?;
            self.ty(Ref::Const(index))?;
        }
        Ok(())
    }

    fn narrowed_inputs(&self) -> Result<(), EditFault> {
        for (v, ty) in &self.edit.narrows {
            let value = self.value(*v)?;
            let Def::Input(default) = &value.def else { return Err(EditFault::Dangling) };
            let fits = default.as_ref().is_none_or(|t| t.ty().meet(ty).is_some());
            if !fits || value.ty.meet(ty).as_ref() != Some(ty) {
                let (old, new, value) = (value.ty.clone(), ty.clone(), value.name.to_string());
                return Err(EditFault::Type { value, old, new });
            }
        }
        Ok(())
    }
}

/// Whether the nodes can run in this order: all of them, each once and after the producers of its
/// operands.
pub(super) fn order(graph: &Graph, order: &[NodeId]) -> Result<(), EditFault> {
    let mut at = vec![None; graph.node_bound()];
    let not_once = |n: NodeId| EditFault::Permutation { node: graph.label(n).to_owned() };
    for (i, &n) in order.iter().enumerate() {
        graph.get_node(n).ok_or(EditFault::Dangling)?;
        if at[n.index()].replace(i).is_some() {
            return Err(not_once(n));
        }
    }
    if let Some(n) = graph.schedule().find(|n| at[n.index()].is_none()) {
        return Err(not_once(n));
    }
    for &n in order {
        let node = graph.node(n);
        for &v in node.inputs.iter().flatten().chain(&node.captures) {
            if graph.producer(v).is_some_and(|p| at[p.index()] >= at[n.index()]) {
                return Err(EditFault::Order { value: graph.value(v).name.to_string() });
            }
        }
    }
    Ok(())
}

/// Values that the bodies of a new node read by the names that these have in the graph. Names that stand for
/// operands of the edit are left out.
///
/// # Errors
/// With a name that the graph does not have.
pub(super) fn captures(
    graph: &Graph,
    n: &NewNode,
    moved: Option<&Vec<(Arc<str>, Ref)>>,
) -> Result<Vec<ValueId>, String> {
    let mut all = Vec::new();
    let extra = n.extra.iter().filter_map(|(_, a)| match a {
        Attr::Graph(g) => Some(g.0.clone()),
        _ => None,
    });
    for body in n.op.subgraphs().into_iter().chain(extra) {
        let stands = |v: &Value| moved.is_some_and(|m| m.iter().any(|(n, _)| *n == v.name));
        let read =
            |v: &Value| v.def == Def::Outer && (!v.uses.is_empty() || v.is_output()) && !stands(v);
        for (_, v) in body.values().filter(|(_, v)| read(v)) {
            let here = graph.find_value(&v.name).ok_or_else(|| v.name.to_string())?;
            if !all.contains(&here) {
                all.push(here);
            }
        }
    }
    Ok(all)
}

/// The value that took this one over, directly or through others.
pub(super) fn merged_into(merged: &HashMap<ValueId, ValueId>, v: ValueId) -> ValueId {
    // Each step leads to a value that was not taken over yet when the step was added.
    std::iter::successors(Some(v), |v| merged.get(v).copied()).last().unwrap_or(v)
}

/// Whether something other than the operands of the graph's own nodes refers to the value by its name:
/// the graph's outputs, or a subgraph.
pub(super) fn keeps_name(graph: &Graph, v: ValueId) -> bool {
    let value = graph.value(v);
    value.is_output() || value.uses().any(|u| u.index >= graph.node(u.node).inputs.len())
}
