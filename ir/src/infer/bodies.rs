//! Types in bodies, which follow from the types of captured values and of the node's operands.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Given, infer_from};
use crate::graph::{Def, Graph};
use crate::op::Op;
use crate::op_context::{RuleError, fail};
use crate::{Dim, NodeId, Tensor, Type, ValueId};

/// Largest number of times that the body of a loop is inferred until the types of its states are stable.
/// With [`DEPTH`], it bounds the work for any file.
const TURNS: usize = 8;
/// Deepest nesting at which the types of a loop's states are iterated.
const DEPTH: usize = 3;

/// Infers the types in the node's bodies, which are at this depth of nesting. A body that contradicts its
/// operators stays as it is: it does not run at these extents. If only one branch of an If runs, the types of its
/// results are returned: those of the If, wherever there are any.
///
/// # Errors
/// If neither branch of an If runs.
pub(super) fn infer(
    graph: &mut Graph,
    id: NodeId,
    depth: usize,
) -> Result<Option<Vec<Type>>, RuleError> {
    let node = graph.node(id);
    if node.op.bodies().is_empty() {
        return Ok(None);
    }
    let outer = captured(graph, id);
    let ty = |v: &Option<ValueId>| v.map_or(Type::Unknown, |v| graph.value(v).ty.clone());
    let opset = graph.opset();
    let found: Vec<Option<Graph>> = (node.op.bodies().into_iter())
        .map(|(_, body)| {
            // Sequences grow in loops, by elements of other extents.
            let state = |v: &Option<ValueId>| match ty(v) {
                t if t.inner().is_some() => t.without_extents(),
                t => t,
            };
            let (skip, initial, scanned): (usize, Vec<Type>, Vec<Type>) = match &node.op {
                // The condition is a state, too.
                Op::Loop(_) => (1, node.inputs.iter().skip(1).map(state).collect(), Vec::new()),
                // Before version 9, operands also have an axis for the batch.
                Op::Scan(s) if opset >= 9 => {
                    let carried = super::misc::carried(s, node.inputs.len());
                    let axis = |i: usize| super::misc::nth(&s.scan_input_axes, i);
                    let scanned = node.inputs[carried..].iter().enumerate();
                    let initial = node.inputs[..carried].iter().map(state).collect();
                    (0, initial, scanned.map(|(i, v)| element(&ty(v), axis(i))).collect())
                }
                // One element of each sequence, of any extents; other operands as they are.
                Op::SequenceMap(_) => {
                    let inputs = body.inputs().iter().zip(&node.inputs);
                    let one = |v| match ty(v) {
                        Type::Sequence(t) => t.without_extents(),
                        t => t,
                    };
                    let typed: Vec<_> = inputs.map(|(&b, v)| (b, one(v))).collect();
                    return attempt(body, &outer, &typed, false, depth);
                }
                _ => return attempt(body, &outer, &[], true, depth),
            };
            states(body, &outer, (skip, &initial), &scanned, depth)
        })
        .collect();
    let only = match (&node.op, &found[..]) {
        (Op::If(_), [Some(one), None] | [None, Some(one)]) => {
            Some(one.outputs().iter().map(|&v| one.value(v).ty.clone()).collect())
        }
        (Op::If(_), [None, None]) => {
            fail!("expected a branch that runs at these extents, found none")
        }
        _ => None,
    };
    for (slot, body) in graph.node_mut(id).op.bodies_mut().into_iter().zip(found) {
        if let Some(body) = body.filter(|b| differ(b, slot)) {
            *slot = Arc::new(body);
        }
    }
    Ok(only)
}

/// Types of captured values by name, and those that are constants.
type Outer<'a> = HashMap<&'a str, (&'a Type, Option<Arc<Tensor>>)>;

fn captured(graph: &Graph, id: NodeId) -> Outer<'_> {
    let captures = graph.node(id).captures.iter();
    captures.map(|&v| (&*graph.value(v).name, (&graph.value(v).ty, graph.constant(v)))).collect()
}

/// Whether a branch of the If can run with operands of the types that they have: no node contradicts its
/// operator's definition, neither here nor in both branches of an If in the branch. `depth` is that of the If: 0 in the
/// main graph.
pub fn can_run(graph: &Graph, id: NodeId, branch: &Graph, depth: usize) -> bool {
    depth > DEPTH || attempt(branch, &captured(graph, id), &[], true, depth + 1).is_some()
}

/// Type of what a Scan takes of a value of this type in one turn.
fn element(ty: &Type, axis: i64) -> Type {
    let dims = ty.dims().and_then(|d| {
        let mut d = d.to_vec();
        d.remove(crate::op_context::axis_of(axis, d.len()).ok()?);
        Some(d)
    });
    super::typed(ty.dtype(), dims)
}

/// The body with inferred types, if its inputs have these types; `None` if they contradict it. If `sound`,
/// types that are known or declared already are kept.
fn attempt(
    body: &Graph,
    outer: &Outer<'_>,
    inputs: &[(ValueId, Type)],
    sound: bool,
    depth: usize,
) -> Option<Graph> {
    let mut g = body.clone();
    let captured: Vec<ValueId> =
        g.values().filter(|(_, v)| v.def == Def::Outer).map(|(id, _)| id).collect();
    for &v in &captured {
        let value = g.value_mut(v);
        if let Some((ty, constant)) = outer.get(&*value.name) {
            value.ty = value.ty.meet(ty)?;
            // While types are inferred, extents may follow from it.
            if let Some(t) = constant {
                value.def = Def::Const(t.clone());
            }
        }
    }
    for (v, ty) in inputs {
        g.value_mut(*v).ty = ty.clone();
    }
    let of_node = g.values().filter(|(_, v)| sound && matches!(v.def, Def::Node(..)));
    let known: Vec<(ValueId, Type)> = of_node.map(|(id, v)| (id, v.ty.clone())).collect();
    let declared = g.source.iter().flat_map(|s| s.declared()).filter(|_| sound);
    let declared: Vec<(ValueId, Type)> = declared.cloned().collect();
    let given = Given { known: &known, declared: &declared, elements: &[] };
    infer_from(&mut g, &given, depth).ok()?;
    captured.into_iter().for_each(|v| g.value_mut(v).def = Def::Outer);
    Some(g)
}

/// The body of a loop, whose states follow `skip` other inputs: the count of a Loop. Each state is assumed to
/// have the type of its initial value in every iteration. Parts of the type that the body does not preserve become
/// unknown, and the body is inferred again.
fn states(
    body: &Graph,
    outer: &Outer<'_>,
    (skip, initial): (usize, &[Type]),
    scanned: &[Type],
    depth: usize,
) -> Option<Graph> {
    let all = body.inputs().iter().skip(skip).copied();
    let inputs: Vec<ValueId> = all.clone().take(initial.len()).collect();
    let scanned = all.skip(initial.len()).zip(scanned).map(|(v, t)| {
        let declared = &body.value(v).ty;
        (v, declared.meet(t).unwrap_or_else(|| declared.clone()))
    });
    let scanned: Vec<(ValueId, Type)> = scanned.collect();
    let declared: Vec<Type> = inputs.iter().map(|&v| body.value(v).ty.clone()).collect();
    let pairs = declared.iter().zip(initial);
    let mut types: Vec<Type> = pairs.map(|(d, i)| d.meet(i).unwrap_or(d.clone())).collect();
    let turns = if depth > DEPTH { 0 } else { TURNS };
    for turn in 0..turns {
        let given = inputs.iter().copied().zip(types.iter().cloned());
        let given: Vec<_> = given.chain(scanned.iter().cloned()).collect();
        // After the first turn the assumption was wrong, and so may be types that followed from it.
        let g = attempt(body, outer, &given, turn == 0, depth)?;
        let after = g.outputs().iter().map(|&v| &g.value(v).ty);
        let next: Vec<Type> =
            types.iter().zip(after).zip(&declared).map(|((t, a), d)| kept(t, a, d)).collect();
        if next[..] == types[..next.len()] {
            return Some(g);
        }
        types[..next.len()].clone_from_slice(&next);
    }
    let any = types.iter().map(Type::without_extents);
    let given: Vec<_> = inputs.iter().copied().zip(any).chain(scanned).collect();
    attempt(body, outer, &given, false, depth)
}

/// The part of a state's type that an iteration preserves, if the state has the type `after` then and the
/// file declares `declared`.
fn kept(ty: &Type, after: &Type, declared: &Type) -> Type {
    let Some((dims, dtype)) = ty.dims().zip(ty.dtype()) else {
        return if ty.inner().is_some() { ty.join(after) } else { ty.clone() };
    };
    let claimed = declared.dims().filter(|d| d.len() == dims.len());
    let dims = match after.dims() {
        Some(a) if a.len() != dims.len() => None,
        None if claimed.is_none() => None,
        a => Some(
            (0..dims.len())
                .map(|i| match a.map_or(&Dim::Unknown, |a| &a[i]) {
                    d if *d == dims[i] => d.clone(),
                    Dim::Known(_) => Dim::Unknown,
                    _ if claimed.is_some_and(|c| c[i] == dims[i]) => dims[i].clone(),
                    _ => Dim::Unknown,
                })
                .collect(),
        ),
    };
    super::typed(Some(dtype), dims)
}

/// Whether a value has another type, or a node another body.
fn differ(a: &Graph, b: &Graph) -> bool {
    let types = a.values().zip(b.values()).any(|((_, x), (_, y))| x.ty != y.ty);
    types
        || a.schedule().zip(b.schedule()).any(|(m, n)| {
            let inner = a.node(m).op.bodies().into_iter().zip(b.node(n).op.bodies());
            inner.into_iter().any(|((_, x), (_, y))| !Arc::ptr_eq(x, y))
        })
}
