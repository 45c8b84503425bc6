//! Nodes that compute the same from the same, and constants that are equal.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::{Def, Edit, EditError, NodeId, Ref, ValueId};

use super::attempt;
use crate::pass::Cx;

pub(super) fn sweep(cx: &mut Cx<'_, '_>) -> Result<usize, EditError> {
    let mut done = constants(cx)?;
    let mut seen: HashMap<String, NodeId> = HashMap::new();
    let order: Vec<NodeId> = cx.graph().schedule().collect();
    for id in order {
        let graph = cx.graph();
        let node = graph.node(id);
        // What is not modelled may have effects, or give other results each time.
        let opaque = matches!(node.op, Op::Other(_)) || node.op.class() == Class::Control;
        if opaque || node.op.is_random() || node.outputs.iter().any(Option::is_none) {
            continue;
        }
        let key =
            format!("{:?}|{:?}|{:?}|{}", node.op, node.extra, node.inputs, node.outputs.len());
        match seen.entry(key) {
            Entry::Vacant(e) => drop(e.insert(id)),
            Entry::Occupied(e) if cx.selected(id) => {
                let first = graph.node(*e.get());
                // The key has only a part of the hash of tensors among the attributes.
                if first.op != node.op || first.extra != node.extra {
                    continue;
                }
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

fn constants(cx: &mut Cx<'_, '_>) -> Result<usize, EditError> {
    let mut seen: HashMap<u128, ValueId> = HashMap::new();
    let mut edit = Edit::new("simplify equal constants");
    for (id, v) in cx.graph().values() {
        let Def::Const(t) = &v.def else { continue };
        if v.uses().len() == 0 || v.is_output() {
            continue;
        }
        match seen.entry(t.content_hash()) {
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
