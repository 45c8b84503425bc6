//! Types that are known in a copy of a graph in which more is constant.

use std::sync::Arc;

use super::{InferError, infer_graph};
use crate::graph::{Def, Graph};
use crate::op::Op;
use crate::{NodeId, Type, ValueId};

/// Gives the results of nodes the types that they have in `folded`, a copy of the graph in which nodes were
/// replaced by their results, and infers what follows. In bodies, too; an If whose condition is constant in
/// `folded` gets the branch that is taken as both of its branches.
///
/// # Errors
/// If a node contradicts its operator's definition with these types. The graph may then be changed in part.
pub fn adopt(graph: &mut Graph, folded: &Graph) -> Result<(), InferError> {
    bodies(graph, folded);
    let known = known(graph, folded);
    infer_graph(graph, &known).map(drop)
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
