//! Nodes that compute the same from the same, and constants that are equal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use graph_opt_ir::infer::follow;
use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::structural_eq::Meanings;
use graph_opt_ir::{Def, Digest, Edit, EditError, Graph, NodeId, Ref, Type, ValueId};

use super::attempt;
use crate::pass::PassCtx;

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let mut done = constants(cx)?;
    let mut seen: HashMap<(Digest, Vec<Option<ValueId>>, usize), NodeId> = HashMap::new();
    for (id, meaning) in meanings(cx.graph()) {
        let graph = cx.graph();
        let node = graph.node(id);
        match seen.entry((meaning, node.inputs.clone(), node.outputs.len())) {
            Entry::Vacant(e) => drop(e.insert(id)),
            Entry::Occupied(e) if cx.selected(id) => {
                let first = graph.node(*e.get());
                let mut edit = Edit::new(format!("simplify merge {}", graph.label(id)));
                let pairs = node.outputs.iter().flatten().zip(first.outputs.iter().flatten());
                edit.replaces = pairs.map(|(&v, &w)| (v, Ref::Value(w))).collect();
                edit.removes.push(id);
                done += attempt(cx, &edit)?;
                if cx.is_done() {
                    return Ok(done);
                }
            }
            Entry::Occupied(_) => {}
        }
    }
    Ok(done)
}

/// What nodes compute that may be merged. What is not modelled may have effects, or give other results
/// each time.
fn meanings(graph: &Graph) -> Vec<(NodeId, Digest)> {
    let types: Vec<Type> = follow(graph, None);
    let all = Meanings::of(graph);
    let mergeable = |id: &NodeId| {
        let node = graph.node(*id);
        let opaque = matches!(node.op, Op::Other(_)) || node.op.class() == Class::Control;
        !opaque && node.captures.is_empty() && node.outputs.iter().all(Option::is_some)
    };
    let found = graph.schedule().filter(mergeable).map(|id| (id, all.node(graph, id, &types)));
    found.filter(|(_, m)| !m.random).map(|(id, m)| (id, m.digest)).collect()
}

fn constants(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let mut seen: HashMap<Digest, ValueId> = HashMap::new();
    let mut edit = Edit::new("simplify equal constants");
    for (id, v) in cx.graph().values() {
        let Def::Const(t) = &v.def else { continue };
        if v.uses().len() == 0 || v.is_output() {
            continue;
        }
        match seen.entry(t.digest()) {
            Entry::Vacant(e) => drop(e.insert(id)),
            Entry::Occupied(e) => {
                let captured = v.uses().any(|u| u.index >= cx.graph().node(u.node).inputs.len());
                let selected = v.uses().all(|u| cx.selected(u.node));
                if !captured && selected && cx.graph().value(*e.get()).ty == v.ty {
                    edit.replaces.push((id, Ref::Value(*e.get())));
                }
            }
        }
    }
    let n = edit.replaces.len();
    if n > 0 {
        cx.apply(&edit)?;
    }
    Ok(n)
}
