//! Types that are known in a copy of a graph in which more is constant.

use std::sync::Arc;

use super::bodies::can_run;
use super::{Given, InferError, infer_from};
use crate::graph::{Def, Graph};
use crate::op::Op;
use crate::{NodeId, Type, ValueId};

/// Gives the results of nodes the types that they have in `folded`, a copy of the graph in which nodes were
/// replaced by their results, and infers what follows. In bodies, too; an If whose condition is constant in
/// `folded`, or of which only one branch can run at these extents, gets that branch in both places.
///
/// # Errors
/// If a node contradicts its operator's definition with these types. The graph may then be changed in part.
pub fn adopt(graph: &mut Graph, folded: &Graph) -> Result<(), InferError> {
    bodies(graph, folded);
    let known = known(graph, folded);
    let given = Given { known: &known, ..Given::default() };
    infer_from(graph, &given, 0)?;
    if one_branch(graph, 0) { infer_from(graph, &given, 0).map(drop) } else { Ok(()) }
}

/// Where only one branch of an If can run at these extents, puts it in the place of the other one, too. Returns
/// whether there is such an If.
fn one_branch(graph: &mut Graph, depth: usize) -> bool {
    let mut any = false;
    for id in graph.schedule().collect::<Vec<_>>() {
        let mut op = graph.node(id).op.clone();
        if op.bodies().is_empty() {
            continue;
        }
        let mut changed = false;
        for body in op.bodies_mut() {
            let mut inner = Graph::clone(body);
            if one_branch(&mut inner, depth + 1) {
                (*body, changed) = (Arc::new(inner), true);
            }
        }
        if let Op::If(i) = &mut op {
            let (a, b) = (i.then_branch.0.clone(), i.else_branch.0.clone());
            let runs = |g: &Graph| can_run(graph, id, g, depth);
            if !Arc::ptr_eq(&a, &b) && runs(&a) != runs(&b) {
                let only = if runs(&a) { a } else { b };
                (i.then_branch.0, i.else_branch.0) = (only.clone(), only);
                changed = true;
            }
        }
        if changed {
            graph.node_mut(id).op = op;
            any = true;
        }
    }
    any
}

/// Types of the results of nodes, the more precise ones of the two graphs.
fn known(graph: &Graph, folded: &Graph) -> Vec<(ValueId, Type)> {
    let of_node = graph.values().filter(|(_, v)| matches!(v.def, Def::Node(..)));
    let same = |v: ValueId, name: &str| folded.get_value(v).filter(|f| *f.name == *name);
    let both = |(v, value): (ValueId, &crate::Value)| {
        let met = same(v, &value.name).and_then(|f| f.ty.meet(&value.ty));
        (v, met.unwrap_or_else(|| value.ty.clone()))
    };
    of_node.map(both).collect()
}

fn bodies(graph: &mut Graph, folded: &Graph) {
    let alike = |graph: &Graph, n: NodeId| {
        let (a, b) = (graph.node(n), folded.get_node(n)?);
        (a.name == b.name && a.op.name() == b.op.name()).then_some(b)
    };
    for id in graph.schedule().collect::<Vec<_>>() {
        if graph.node(id).op.bodies().is_empty() {
            continue;
        }
        let Some(other) = alike(graph, id) else { continue };
        let mut op = graph.node(id).op.clone();
        for (body, (_, theirs)) in op.bodies_mut().into_iter().zip(other.op.bodies()) {
            let mut typed = Graph::clone(body);
            bodies(&mut typed, theirs);
            for (v, ty) in known(&typed, theirs) {
                typed.value_mut(v).ty = ty;
            }
            *body = Arc::new(typed);
        }
        let condition = other.inputs.first().copied().flatten();
        if let (Op::If(i), Some(c)) = (&mut op, condition.and_then(|c| folded.constant(c)))
            && let Some(taken) = i.taken(&c).cloned()
        {
            (i.then_branch.0, i.else_branch.0) = (taken.clone(), taken);
        }
        graph.node_mut(id).op = op;
    }
}
