//! Relations of a node, from those of its definition.

use std::collections::BTreeMap;

use super::inferred;
use crate::graph::{Def, Graph};
use crate::op::Op;
use crate::op_context::OpCtx;
use crate::region::{self, Barrier, Relation, Relations, barrier};
use crate::{Dim, ValueId};

/// What a part of the result needs along one axis of a value of the definition.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Tie {
    /// The same indices as along this axis of the result.
    Same(usize),
    /// All of it.
    Whole,
}

struct Ties {
    /// By value: one for each axis, if the value is needed.
    of: Vec<Option<Vec<Tie>>>,
    barriers: BTreeMap<usize, String>,
}

impl Ties {
    fn bar(&mut self, axis: usize, why: String) {
        self.barriers.entry(axis).or_insert(why);
    }

    /// Adds a need of a value. A node over a part must give that part, so that an axis must not be needed
    /// in two ways.
    fn need(&mut self, graph: &Graph, v: ValueId, ties: Vec<Tie>) {
        let one = |a: usize| {
            graph.value(v).ty.dims().and_then(|d| d.get(a)).is_some_and(|d| *d == Dim::Known(1))
        };
        let Some(before) = self.of[v.index()].clone() else {
            self.of[v.index()] = Some(ties);
            return;
        };
        let mut both = before.clone();
        for (a, (&x, &y)) in before.iter().zip(&ties).enumerate() {
            if x == y || one(a) {
                continue;
            }
            for t in [x, y] {
                if let Tie::Same(o) = t {
                    self.bar(
                        o,
                        "its definition reads this axis in parts and in another way".into(),
                    );
                }
            }
            both[a] = Tie::Whole;
        }
        self.of[v.index()] = Some(both);
    }
}

/// How the axes of the node's operands relate to those of result `output`. A tile of the node is the node
/// over parts of its operands, so that an axis of the result can be cut if the definition reads each value
/// along it either at the same indices or not at all.
///
/// # Errors
/// With the reason, if the definition or a rank is unknown.
pub(crate) fn relations(ctx: &OpCtx<'_>, output: usize) -> Result<Relations, Barrier> {
    let Some(graph) = inferred(ctx)? else {
        barrier!("types are unknown on which the definition of {} depends", ctx.op.name())
    };
    let Some(&result) = graph.outputs().get(output) else {
        barrier!("its definition has no result {output}");
    };
    let Some(rank) = graph.value(result).ty.rank() else {
        barrier!("the rank of its result is unknown");
    };
    let mut ties = Ties { of: vec![None; graph.value_bound()], barriers: BTreeMap::new() };
    ties.of[result.index()] = Some((0..rank).map(Tie::Same).collect());
    let order: Vec<_> = graph.schedule().collect();
    for &id in order.iter().rev() {
        let node = graph.node(id);
        for (o, v) in node.outputs.iter().enumerate() {
            let Some(needed) = v.and_then(|v| ties.of[v.index()].clone()) else { continue };
            if matches!(node.op, Op::Shape(_) | Op::Size(_)) {
                // Of a part, the extents would be others.
                (0..rank).for_each(|o| ties.bar(o, "its definition reads extents".into()));
            }
            back(&graph, id, o, &needed, &mut ties);
        }
    }
    let mut rel = Relations { operands: vec![Vec::new(); ctx.inputs.len()], barriers: Vec::new() };
    let mut follows = vec![false; rank];
    let mut inputs = graph.inputs().iter();
    for (i, operand) in ctx.inputs.iter().enumerate() {
        let Some(v) = operand.as_ref().and_then(|_| inputs.next()) else { continue };
        if ctx.outputs > 1 && ties.of[v.index()].is_none() {
            // The node computes all results, and the others may read a part of it.
            (0..rank).for_each(|o| ties.bar(o, format!("this result does not read operand {i}")));
        }
        let rank = graph.value(*v).ty.rank().unwrap_or(0);
        let needed = ties.of[v.index()].clone().unwrap_or_else(|| vec![Tie::Whole; rank]);
        rel.operands[i] = (needed.into_iter())
            .map(|t| match t {
                Tie::Same(o) => {
                    follows[o] = true;
                    Relation::Same(o)
                }
                Tie::Whole => Relation::Whole,
            })
            .collect();
    }
    for (v, value) in graph.values() {
        // Constants of the definition are as large as the whole.
        let own = matches!(value.def, Def::Const(_)) && !graph.inputs().contains(&v);
        let dims = value.ty.dims().unwrap_or_default();
        for (a, t) in ties.of[v.index()].clone().iter().flatten().enumerate().filter(|_| own) {
            if let Tie::Same(o) = t
                && dims.get(a) != Some(&Dim::Known(1))
            {
                ties.bar(*o, "its definition has a constant along this axis".into());
            }
        }
    }
    for (o, follows) in follows.into_iter().enumerate() {
        if !follows {
            ties.bar(o, "no operand has this axis".into());
        }
    }
    rel.barriers = ties.barriers.into_iter().collect();
    Ok(rel)
}

/// Adds what a node needs for this part of its result.
fn back(graph: &Graph, id: crate::NodeId, output: usize, needed: &[Tie], ties: &mut Ties) {
    let node = graph.node(id);
    let ctx = OpCtx::of(graph, id);
    let all = |ties: &mut Ties, why: &str| {
        for t in needed {
            if let Tie::Same(o) = t {
                ties.bar(*o, format!("its definition: {why}"));
            }
        }
    };
    let rel = match region::relations(&ctx, output) {
        Ok(r) => Some(r),
        Err(Barrier(why)) => {
            all(ties, &why);
            None
        }
    };
    for (axis, why) in rel.iter().flat_map(|r| &r.barriers) {
        if let Some(Tie::Same(o)) = needed.get(*axis) {
            ties.bar(*o, format!("its definition: {why}"));
        }
    }
    for (i, v) in node.inputs.iter().enumerate() {
        let Some(v) = *v else { continue };
        let rank = graph.value(v).ty.rank().unwrap_or(0);
        let own = rel.as_ref().and_then(|r| r.operands.get(i)).map_or(&[][..], Vec::as_slice);
        let mut mine = vec![Tie::Whole; rank];
        for (slot, r) in mine.iter_mut().zip(own) {
            let tie = r.output().and_then(|o| needed.get(o)).copied();
            match (r, tie) {
                (Relation::Same(_), Some(t)) => *slot = t,
                (_, Some(Tie::Same(o))) => {
                    ties.bar(o, "its definition shifts indices along this axis".into());
                }
                _ => {}
            }
        }
        ties.need(graph, v, mine);
    }
    for &v in &node.captures {
        let rank = graph.value(v).ty.rank().unwrap_or(0);
        ties.need(graph, v, vec![Tie::Whole; rank]);
    }
}
