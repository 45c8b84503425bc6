//! Both branches of If in its place.

use std::borrow::Cow;
use std::collections::HashSet;

use super::expand::{NODES, expanded};
use crate::graph::Graph;
use crate::infer::{self, Followed};
use crate::op::{self, Attrs, ONNX, Op, Other};
use crate::structural_eq::Meanings;
use crate::{Dim, Edit, Editor, NodeId, Type, ValueId};

/// Domain of the operator that stands for a choice between values that Where cannot choose between.
const DOMAIN: &str = "graph_opt.choice";

/// The graph as [`expanded`] gives it, with both branches of every If in its place: each result is a choice
/// between a value of the one and a value of the other branch. `None` if nothing changes.
///
/// The values are those of the model, so that what is shown of them holds for it. It is not for running:
/// branches that are not taken would be computed, too. An If that draws random numbers stays as it is, as do
/// those in the bodies of other operators.
pub fn unconditional(graph: &Graph) -> Option<Graph> {
    let mut all = expanded(graph).map_or(Cow::Borrowed(graph), Cow::Owned);
    let most = graph.len() + NODES;
    let mut tried: HashSet<NodeId> = HashSet::new();
    loop {
        let g = &*all;
        let open = |&n: &NodeId| matches!(g.node(n).op, Op::If(_)) && !tried.contains(&n);
        let todo: Vec<NodeId> = g.schedule().filter(open).collect();
        if todo.is_empty() || g.len() > most {
            break;
        }
        let followed = infer::follow_with(g, None, &|_| Type::Unknown);
        let meanings = Meanings::of(g);
        let mut edits: Vec<(NodeId, Edit)> = Vec::new();
        for n in todo {
            match replaced(g, n, &followed, &meanings) {
                Some(edit) => edits.push((n, edit)),
                None => _ = tried.insert(n),
            }
        }
        if edits.is_empty() {
            break;
        }
        let mut next = all.into_owned();
        let mut opsets = (*next.opsets).clone();
        opsets.insert(DOMAIN.into(), 1);
        next.opsets = opsets.into();
        let mut any = false;
        for (_, edit) in &edits {
            // An edit about results of an If that is gone by now is made anew.
            any |= Editor::new(&mut next).apply(edit).is_ok();
        }
        if !any {
            // What cannot be replaced stays.
            tried.extend(edits.iter().map(|e| e.0));
        }
        all = Cow::Owned(expanded(&next).unwrap_or(next));
    }
    match all {
        Cow::Owned(all) => Some(all),
        Cow::Borrowed(_) => None,
    }
}

/// The edit that puts both branches of an If in its place, or the one that is always taken.
fn replaced(
    graph: &Graph,
    node: NodeId,
    known: &Followed,
    meanings: &Meanings<'_>,
) -> Option<Edit> {
    let Op::If(i) = &graph.node(node).op else { return None };
    let types = &known.types;
    if meanings.node(graph, node, types).random {
        return None;
    }
    let condition = graph.node(node).inputs.first().copied()??;
    let constant = graph.constant(condition).or_else(|| Some(known.tensor(condition)?.into()));
    if let Some(branch) = constant.and_then(|c| i.taken(&c)) {
        return Edit::inline(graph, node, branch, &[], "branch of").ok();
    }
    let condition = types.get(condition.index())?;
    let outer = |name: &str| {
        let captures = graph.node(node).captures.iter();
        let found = captures.copied().find(|&v| &*graph.value(v).name == name);
        found.map_or(Type::Unknown, |v: ValueId| types[v.index()].clone())
    };
    let branches = [&i.then_branch.0, &i.else_branch.0];
    let followed = branches.map(|b| infer::follow(b, Some(&outer)));
    let version = graph.opsets.get(ONNX).copied().unwrap_or(0);
    let choice = |output: usize| {
        let ty = |b: usize| Some(&followed[b][branches[b].outputs().get(output)?.index()]);
        match (ty(0), ty(1)) {
            (Some(a), Some(b)) if version >= 9 && a == b && may_be_where(condition, a) => {
                op::Where {}.into()
            }
            _ => Op::Other(Other::new(DOMAIN, "Choice", Attrs::new())),
        }
    };
    Edit::both_branches(graph, node, branches.map(|b| &**b), &choice, "branches of").ok()
}

/// Whether Where with this condition gives one of two tensors of this type, without broadcasting either.
fn may_be_where(condition: &Type, ty: &Type) -> bool {
    let (Some(one), Some(dims)) = (condition.extents(), ty.dims()) else { return false };
    one.iter().all(|&n| n == 1) && one.len() <= dims.len() && !dims.contains(&Dim::Unknown)
}
