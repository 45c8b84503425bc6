//! Normal form of data movements: a Slice does not read a Slice or Concat, a Concat has no operands that
//! are Concats along its axis or neighbouring Slices, adjacent Transposes or Reshapes are merged.

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref, Span, Tensor, ValueId, layout_params};

use super::{attempt, strides};
use crate::pass::PassCtx;
use crate::tile::slices;

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let mut done = 0;
    let order: Vec<NodeId> = cx.graph().schedule().collect();
    for id in order {
        let graph = cx.graph();
        if graph.get_node(id).is_none() || !cx.selected(id) {
            continue;
        }
        let edit = match &graph.node(id).op {
            Op::Slice(_) => slice(graph, id).or_else(|| strides::slice(graph, id)),
            Op::Gather(_) => strides::gather(graph, id),
            Op::Concat(_) => concat(graph, id),
            Op::Transpose(_) => transpose(graph, id),
            Op::Reshape(_) => reshape(graph, id).or_else(|| strides::split(graph, id)),
            _ => None,
        };
        if let Some(e) = edit {
            done += attempt(cx, &e)?;
            if cx.is_done() {
                break;
            }
        }
    }
    Ok(done)
}

pub(super) fn output(graph: &Graph, id: NodeId) -> Option<ValueId> {
    match graph.node(id).outputs[..] {
        [Some(v)] => Some(v),
        _ => None,
    }
}

/// The operand of a Slice with step 1, and the spans along the axes that it cuts.
fn cuts(graph: &Graph, id: NodeId) -> Option<(ValueId, Vec<(usize, Span)>)> {
    let ctx = OpCtx::of(graph, id);
    let dims = ctx.dims(0)?;
    let taken = layout_params::slices(&ctx).ok()??;
    let named = layout_params::slice_axes(&ctx).ok()??;
    let mut out = Vec::new();
    for (a, (t, d)) in taken.iter().zip(dims).enumerate() {
        let Some(t) = t else {
            // Of unknown extent. That the result has a dimension of the same name proves nothing.
            if named.contains(&a) {
                return None;
            }
            continue;
        };
        if t.step != 1 {
            return None;
        }
        if t.start != 0 || Some(t.count as u64) != d.known() {
            out.push((a, Span::new(t.start, t.start + t.count)));
        }
    }
    Some((graph.node(id).inputs.first().copied()??, out))
}

pub(super) fn replace(mut edit: Edit, graph: &Graph, id: NodeId, with: Ref) -> Option<Edit> {
    edit.replaces.push((output(graph, id)?, with));
    edit.removes.push(id);
    Some(edit)
}

fn slice(graph: &Graph, id: NodeId) -> Option<Edit> {
    let (x, outer) = cuts(graph, id)?;
    let producer = graph.producer(x)?;
    let mut edit = Edit::new(format!("simplify slice {}", graph.label(id)));
    let name = graph.node(id).name.to_string();
    match &graph.node(producer).op {
        Op::Slice(_) => {
            let (source, inner) = cuts(graph, producer)?;
            let mut all = inner;
            for (a, s) in outer {
                match all.iter_mut().find(|(b, _)| *b == a) {
                    Some((_, t)) => *t = Span::new(t.lo + s.lo, t.lo + s.hi),
                    None => all.push((a, s)),
                }
            }
            all.sort_unstable();
            let r = slices::slice(&mut edit, graph, Ref::Value(source), &all, &name, id);
            replace(edit, graph, id, r)
        }
        Op::Concat(c) => {
            let axis = axis_of(c.axis, graph.value(x).ty.rank()?).ok()?;
            let &(_, s) = outer.iter().find(|(a, _)| *a == axis)?;
            let mut at = 0;
            for v in &graph.node(producer).inputs {
                let n = graph.value((*v)?).ty.dims()?[axis].known()? as i64;
                let here = Span::new(at, at + n);
                if here.contains(s) {
                    let mut rest = outer.clone();
                    rest.retain(|(a, _)| *a != axis);
                    if s != here {
                        rest.push((axis, Span::new(s.lo - at, s.hi - at)));
                        rest.sort_unstable();
                    }
                    let r = slices::slice(&mut edit, graph, Ref::Value((*v)?), &rest, &name, id);
                    return replace(edit, graph, id, r);
                }
                at += n;
            }
            None
        }
        _ => None,
    }
}

fn concat(graph: &Graph, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let Op::Concat(c) = &node.op else { return None };
    let rank = graph.value(output(graph, id)?).ty.rank()?;
    let axis = axis_of(c.axis, rank).ok()?;
    let mut edit = Edit::new(format!("simplify concat {}", graph.label(id)));
    let (parts, inner) = flattened(graph, id, axis, rank)?;
    let joined = joined(graph, &parts, axis);
    if inner.is_empty() && joined.len() == parts.len() {
        return None;
    }
    edit.removes = inner;
    let mut inputs = Vec::new();
    for (i, part) in joined.into_iter().enumerate() {
        inputs.push(match part {
            Part::Joined(x, mut cuts) => {
                let n = graph.value(x).ty.dims()?[axis].known()? as i64;
                cuts.retain(|(a, s)| *a != axis || *s != Span::whole(n));
                let name = format!("{}/slice{i}", graph.label(id));
                slices::slice(&mut edit, graph, Ref::Value(x), &cuts, &name, id)
            }
            Part::Slice(v, ..) | Part::Other(v) => Ref::Value(v),
        });
    }
    let result = match inputs[..] {
        [one] => one,
        _ => {
            let all = inputs.into_iter().map(Some).collect();
            edit.node(node.name.to_string(), op::Concat { axis: c.axis }, all, &[id])
        }
    };
    edit.before = Some(id);
    replace(edit, graph, id, result)
}

/// The operands of a Concat, with those of Concats along the same axis that nothing else reads in
/// place of their results; and these Concats.
fn flattened(
    graph: &Graph,
    id: NodeId,
    axis: usize,
    rank: usize,
) -> Option<(Vec<ValueId>, Vec<NodeId>)> {
    let (mut parts, mut removed) = (Vec::new(), Vec::new());
    for v in &graph.node(id).inputs {
        let v = (*v)?;
        let inner = graph.producer(v).filter(|&p| {
            let value = graph.value(v);
            let same =
                matches!(&graph.node(p).op, Op::Concat(d) if axis_of(d.axis, rank) == Ok(axis));
            same && value.uses().len() == 1 && !value.is_output()
        });
        match inner {
            Some(p) => {
                parts.extend(graph.node(p).inputs.iter().copied().collect::<Option<Vec<_>>>()?);
                removed.push(p);
            }
            None => parts.push(v),
        }
    }
    Some((parts, removed))
}

/// Spans along the axes that a Slice cuts.
type Cuts = Vec<(usize, Span)>;

/// An operand of a Concat.
enum Part {
    Other(ValueId),
    /// A Slice: its result, what it is cut from, and the spans.
    Slice(ValueId, ValueId, Cuts),
    /// Several neighbouring Slices of one value: this value, and the spans that they cover together.
    Joined(ValueId, Cuts),
}

/// The operands of a Concat along this axis, with neighbouring Slices of one value joined.
fn joined(graph: &Graph, parts: &[ValueId], axis: usize) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for &v in parts {
        let slice = graph.producer(v).and_then(|p| match graph.node(p).op {
            Op::Slice(_) => cuts(graph, p),
            _ => None,
        });
        let Some((x, now)) = slice else {
            joined.push(Part::Other(v));
            continue;
        };
        let both = match joined.last() {
            Some(Part::Slice(_, y, before) | Part::Joined(y, before)) if *y == x => {
                neighbours(before, &now, axis)
            }
            _ => None,
        };
        match (both, joined.last_mut()) {
            (Some(both), Some(last)) => *last = Part::Joined(x, both),
            _ => joined.push(Part::Slice(v, x, now)),
        }
    }
    joined
}

/// The spans that two parts of one value cover together, if the second one follows the first along
/// this axis.
fn neighbours(first: &Cuts, second: &Cuts, axis: usize) -> Option<Cuts> {
    let along = |c: &Cuts| c.iter().find(|(a, _)| *a == axis).map(|c| c.1);
    let rest = |c: &Cuts| c.iter().filter(|(a, _)| *a != axis).copied().collect::<Cuts>();
    let (p, q) = (along(first)?, along(second)?);
    if p.hi != q.lo || rest(first) != rest(second) {
        return None;
    }
    let mut both = first.clone();
    both.iter_mut().filter(|(a, _)| *a == axis).for_each(|(_, s)| s.hi = q.hi);
    Some(both)
}

fn transpose(graph: &Graph, id: NodeId) -> Option<Edit> {
    let x = graph.node(id).inputs.first().copied()??;
    let inner = graph.producer(x)?;
    if !matches!(graph.node(inner).op, Op::Transpose(_)) {
        return None;
    }
    let rank = graph.value(x).ty.rank()?;
    let outer = layout_params::permutation(&OpCtx::of(graph, id), rank).ok()?;
    let first = layout_params::permutation(&OpCtx::of(graph, inner), rank).ok()?;
    let perm = outer.iter().map(|&p| first[p] as i64).collect();
    let mut edit = Edit::new(format!("simplify transpose {}", graph.label(id)));
    let source = Ref::Value(graph.node(inner).inputs.first().copied()??);
    let op = op::Transpose { perm: Some(perm) };
    let r = edit.node(graph.node(id).name.to_string(), op, vec![Some(source)], &[id]);
    replace(edit, graph, id, r)
}

fn reshape(graph: &Graph, id: NodeId) -> Option<Edit> {
    let x = graph.node(id).inputs.first().copied()??;
    let inner = graph.producer(x)?;
    let renames = |n: NodeId| {
        matches!(
            graph.node(n).op,
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_)
        )
    };
    if !renames(inner) {
        return None;
    }
    let mut edit = Edit::new(format!("simplify reshape {}", graph.label(id)));
    let source = Ref::Value(graph.node(inner).inputs.first().copied()??);
    let given = graph.node(id).inputs.get(1).copied().flatten();
    // Zeros of the target refer to the inner result, so they are moved only as known extents.
    let plain = given.filter(|v| {
        let ints = graph.constant(*v).and_then(|t| t.to_i64s());
        ints.is_some_and(|t| !t.contains(&0))
    });
    let shape = match (plain, graph.value(output(graph, id)?).ty.extents()) {
        (Some(v), _) => Ref::Value(v),
        (None, Some(e)) if !e.contains(&0) => {
            let target: Vec<i64> = e.iter().map(|&e| e as i64).collect();
            edit.constant(&format!("{}/shape", graph.label(id)), Tensor::i64s(&target))
        }
        _ => return None,
    };
    let op = graph.node(id).op.clone();
    let inputs = vec![Some(source), Some(shape)];
    let r = edit.node(graph.node(id).name.to_string(), op, inputs, &[id]);
    replace(edit, graph, id, r)
}
