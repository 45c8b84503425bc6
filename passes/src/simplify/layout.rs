//! Normal form of data movements: a Slice reads a value that is no Slice or Concat, a Concat holds
//! no Concat of its own axis and no neighbouring Slices, two Transposes or Reshapes are one.

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref, Span, Tensor, ValueId, layout_params};

use super::{attempt, strides};
use crate::pass::Cx;
use crate::tile::slices;

pub(super) fn sweep(cx: &mut Cx<'_, '_>) -> Result<usize, EditError> {
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

/// What a Slice with step 1 takes along the axes that it cuts, and of what.
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
    let mut changed = false;
    // Flatten Concats that nothing else reads.
    let mut parts: Vec<ValueId> = Vec::new();
    for v in &node.inputs {
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
                edit.removes.push(p);
                changed = true;
            }
            None => parts.push(v),
        }
    }
    // Join neighbouring Slices of one value.
    let mut joined: Vec<(ValueId, Option<Vec<(usize, Span)>>)> = Vec::new();
    for v in parts {
        let own = graph.producer(v).and_then(|p| match graph.node(p).op {
            Op::Slice(_) => cuts(graph, p),
            _ => None,
        });
        let Some((x, now)) = own else {
            joined.push((v, None));
            continue;
        };
        if let Some((y, Some(before))) = joined.last_mut() {
            let along = |c: &[(usize, Span)]| c.iter().find(|(a, _)| *a == axis).map(|c| c.1);
            let rest = |c: &[(usize, Span)]| {
                c.iter().filter(|(a, _)| *a != axis).copied().collect::<Vec<_>>()
            };
            let source = graph.producer(*y).and_then(|p| cuts(graph, p)).map(|c| c.0);
            if let (Some(p), Some(q)) = (along(before), along(&now))
                && source == Some(x)
                && p.hi == q.lo
                && rest(before) == rest(&now)
            {
                for (a, s) in before.iter_mut() {
                    if *a == axis {
                        s.hi = q.hi;
                    }
                }
                changed = true;
                continue;
            }
        }
        joined.push((v, Some(now)));
    }
    if !changed {
        return None;
    }
    let mut inputs = Vec::new();
    for (i, (v, c)) in joined.iter().enumerate() {
        let slice = graph.producer(*v).filter(|_| c.is_some());
        let own = slice.and_then(|p| cuts(graph, p));
        inputs.push(match (own, c) {
            (Some((x, was)), Some(now)) if was != *now => {
                let n = graph.value(x).ty.dims()?[axis].known()? as i64;
                let now: Vec<_> = now
                    .iter()
                    .copied()
                    .filter(|(a, s)| *a != axis || *s != Span::whole(n))
                    .collect();
                let name = format!("{}/slice{i}", graph.label(id));
                slices::slice(&mut edit, graph, Ref::Value(x), &now, &name, id)
            }
            _ => Ref::Value(*v),
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
