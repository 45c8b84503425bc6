//! Applies edits that were checked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::check::{CheckedEdit, captures, keeps_name, merged_into};
use super::{Edit, NewNode, Ref};
use crate::graph::{Def, Graph, Meta, Node, Value};
use crate::{NodeId, Type, ValueId};

/// Applies the edit; returns the new nodes, and the labels of the removed ones. In a body (`inner`),
/// names of removed values stay taken, as another body may use them as well.
pub(super) fn apply(
    graph: &mut Graph,
    checked: CheckedEdit<'_>,
    inner: bool,
) -> (Vec<NodeId>, Vec<String>) {
    let CheckedEdit { edit, before, types } = checked;
    let consts = add_constants(graph, edit);
    let nodes = add_nodes(graph, edit, &consts, before, types);
    // Values that may be left without a definition, or without a reader.
    let mut orphans = consts.clone();
    replace_values(graph, edit, inner, &mut orphans);
    let removed = remove_nodes(graph, edit, &mut orphans);
    for v in orphans {
        let unread = |x: &Value| x.uses.is_empty() && !x.is_output();
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

fn add_constants(graph: &mut Graph, edit: &Edit) -> Vec<ValueId> {
    let add = |(name, t): &(String, Arc<_>)| {
        let name = graph.fresh(name);
        graph.push_value(name, crate::Tensor::ty(t), Def::Const(t.clone()))
    };
    let consts: Vec<ValueId> = edit.consts.iter().map(add).collect();
    for (index, whole) in &edit.parts {
        let whole = graph.value(*whole);
        let part_of = whole.part_of.clone().unwrap_or_else(|| whole.name.clone());
        graph.value_mut(consts[*index]).part_of = Some(part_of);
    }
    consts
}

fn add_nodes(
    graph: &mut Graph,
    edit: &Edit,
    consts: &[ValueId],
    before: Option<NodeId>,
    types: Vec<Vec<Type>>,
) -> Vec<NodeId> {
    // A new node may have the name of a removed one, unless another node of the file has it, too.
    let repeated = graph.repeated();
    let mut vacant: Vec<Arc<str>> = (edit.removes.iter())
        .map(|n| graph.node(*n).name.clone())
        .filter(|name| !repeated.contains(name))
        .collect();
    let mut results: HashMap<(usize, usize), ValueId> = HashMap::new();
    let mut nodes = Vec::new();
    for ((i, n), types) in edit.nodes.iter().enumerate().zip(types) {
        // A node of the file without a name stays without one.
        let name = match vacant.iter().position(|v| **v == *n.name) {
            _ if n.name.is_empty() => "".into(),
            Some(i) => vacant.swap_remove(i),
            None => graph.fresh(&n.name),
        };
        let mut result =
            |(o, ty): (usize, Type)| match edit.replaces.iter().find(|(_, r)| *r == Ref::New(i, o))
            {
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
            };
        let given = |(o, ty)| (!n.absent.contains(&o)).then(|| result((o, ty)));
        let outputs: Vec<Option<ValueId>> = types.into_iter().enumerate().map(given).collect();
        let resolve = |r: &Ref| match r {
            Ref::Value(v) => *v,
            Ref::New(n, o) => results[&(*n, *o)],
            Ref::Const(c) => consts[*c],
        };
        let inputs = n.inputs.iter().map(|r| r.as_ref().map(resolve)).collect();
        let mut captures = captures(graph, n, edit.moved.get(&i)).unwrap_or_default();
        let mut op = n.op.clone();
        if let Some(moved) = edit.moved.get(&i) {
            let here: Vec<(Arc<str>, ValueId)> =
                moved.iter().map(|(name, r)| (name.clone(), resolve(r))).collect();
            graph.move_bodies(&mut op, &here);
            let new = here.iter().map(|(_, v)| *v).filter(|v| !captures.contains(v));
            let new: BTreeSet<ValueId> = new.collect();
            captures.extend(new);
        }
        let node = Node {
            name,
            op,
            extra: n.extra.clone(),
            inputs,
            outputs: outputs.clone(),
            captures,
            meta: inherited(graph, n, &edit.origin),
            order: 0,
            prev: None,
            next: None,
        };
        results.extend(outputs.iter().enumerate().filter_map(|(o, v)| Some(((i, o), (*v)?))));
        nodes.push(graph.insert_node(node, before));
    }
    nodes
}

/// Redefines the values that the edit replaces. Those that new nodes define were their results from
/// the start.
fn replace_values(graph: &mut Graph, edit: &Edit, inner: bool, orphans: &mut Vec<ValueId>) {
    let mut merged: HashMap<ValueId, ValueId> = HashMap::new();
    for &(v, r) in &edit.replaces {
        match r {
            Ref::New(..) => {}
            Ref::Const(c) => {
                // The value itself becomes the constant, and the one that was added is not read.
                let t = edit.consts[c].1.clone();
                let value = graph.value_mut(v);
                value.ty = t.ty();
                value.def = Def::Const(t);
            }
            Ref::Value(w) => {
                let (gone, stays) = forward(graph, v, merged_into(&merged, w), inner);
                merged.insert(gone, stays);
                orphans.push(v);
            }
        }
    }
}

/// Removes the edit's nodes and returns their labels.
fn remove_nodes(graph: &mut Graph, edit: &Edit, orphans: &mut Vec<ValueId>) -> Vec<String> {
    let mut removed = Vec::new();
    for &n in &edit.removes {
        removed.push(graph.label(n).to_owned());
        if let Some(node) = graph.remove_node(n) {
            let defined = |v: &ValueId| {
                let value = graph.get_value(*v);
                value.is_some_and(|x| matches!(x.def, Def::Node(d, _) if d == n))
            };
            orphans.extend(node.outputs.iter().flatten().copied().filter(defined));
            orphans.extend(node.inputs.into_iter().flatten());
        }
    }
    removed
}

fn remove(graph: &mut Graph, v: ValueId, keep_name: bool) {
    let name = graph.value(v).name.clone();
    graph.remove_value(v);
    if keep_name {
        graph.names.insert(name);
    }
}

/// Makes every reader of `v` read `w`. If `v` must keep its name, the producer of `w` defines `v`
/// instead. Returns the value that is gone, and the one that stays.
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

/// The combined metadata of the nodes that the new one is [like](NewNode::like); the first one with an
/// entry wins.
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
