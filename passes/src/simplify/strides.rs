//! Data movements that read along strides: Slices with steps, a Gather of one place of a Transpose,
//! and a Reshape that only splits what a Transpose moved.

use graph_opt_ir::layout_params::Taken;
use graph_opt_ir::op::{self, Op};
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{Edit, Graph, NodeId, Ref, Tensor, ValueId, layout_params};

use super::data_movement::{output, replace};

/// A Slice of a Slice of known extents, whose steps may be larger than 1.
pub(super) fn slice(graph: &Graph, id: NodeId) -> Option<Edit> {
    let x = graph.node(id).inputs.first().copied()??;
    let inner = graph.producer(x)?;
    if graph.opset() < 10 || !matches!(graph.node(inner).op, Op::Slice(_)) {
        return None;
    }
    let taken = |n: NodeId| -> Option<Vec<Taken>> {
        layout_params::slices(&OpCtx::of(graph, n)).ok()??.into_iter().collect()
    };
    let source = graph.node(inner).inputs.first().copied()??;
    let full = graph.value(source).ty.extents()?;
    let (first, second) = (taken(inner)?, taken(id)?);
    let [mut starts, mut ends, mut axes, mut steps] = [const { Vec::new() }; 4];
    for (a, (t, s)) in first.iter().zip(&second).enumerate() {
        if t.step < 1 || s.step < 1 || s.count < 1 {
            return None;
        }
        let (start, step) = (t.start + s.start * t.step, t.step.checked_mul(s.step)?);
        if start == 0 && step == 1 && s.count as u64 == full[a] {
            continue;
        }
        starts.push(start);
        // Just behind the last element: larger ends are not the same everywhere.
        ends.push(start + (s.count - 1).checked_mul(step)? + 1);
        axes.push(a as i64);
        steps.push(step);
    }
    let mut edit = Edit::new(format!("simplify slice {}", graph.label(id)));
    let mut inputs = vec![Some(Ref::Value(source))];
    for (what, v) in [("starts", starts), ("ends", ends), ("axes", axes), ("steps", steps)] {
        let name = format!("{}/{what}", graph.label(id));
        inputs.push(Some(edit.constant(&name, Tensor::i64s(&v))));
    }
    let op = op::Slice { starts: None, ends: None, axes: None };
    let r = edit.node(graph.node(id).name.to_string(), op, inputs, &[id]);
    replace(edit, graph, id, r)
}

/// One place along an axis of a Transpose, where the other axes stay in their order, is the same
/// place along the axis that was moved.
pub(super) fn gather(graph: &Graph, id: NodeId) -> Option<Edit> {
    let Op::Gather(g) = &graph.node(id).op else { return None };
    let [Some(x), Some(index)] = graph.node(id).inputs[..] else { return None };
    let inner = graph.producer(x)?;
    let rank = graph.value(x).ty.rank()?;
    if !matches!(graph.node(inner).op, Op::Transpose(_)) || graph.value(index).ty.rank() != Some(0)
    {
        return None;
    }
    let perm = layout_params::permutation(&OpCtx::of(graph, inner), rank).ok()?;
    let axis = axis_of(g.axis, rank).ok()?;
    let rest: Vec<usize> = (0..rank).filter(|a| *a != axis).map(|a| perm[a]).collect();
    if !rest.is_sorted() {
        return None;
    }
    let mut edit = Edit::new(format!("simplify gather {}", graph.label(id)));
    let source = graph.node(inner).inputs.first().copied()??;
    let inputs = vec![Some(Ref::Value(source)), Some(Ref::Value(index))];
    let op = op::Gather { axis: perm[axis] as i64 };
    let r = edit.node(graph.node(id).name.to_string(), op, inputs, &[id]);
    edit.before = Some(id);
    replace(edit, graph, id, r)
}

/// Reshape, Transpose, Reshape, of which the last only splits axes: the first may split them.
pub(super) fn split(graph: &Graph, id: NodeId) -> Option<Edit> {
    let only = |v: ValueId| crate::fuse::only_producer(graph, v);
    let x = graph.node(id).inputs.first().copied()??;
    let moved = only(x).filter(|&n| matches!(graph.node(n).op, Op::Transpose(_)))?;
    let y = graph.node(moved).inputs.first().copied()??;
    let first = only(y).filter(|&n| matches!(graph.node(n).op, Op::Reshape(_)))?;
    let extents = |v: ValueId| graph.value(v).ty.extents().filter(|e| !e.contains(&0));
    let (before, after) = (extents(x)?, extents(output(graph, id)?)?);
    let perm = layout_params::permutation(&OpCtx::of(graph, moved), before.len()).ok()?;
    // Which of the last axes each axis of the Transpose becomes.
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut next = 0;
    for (i, &n) in before.iter().enumerate() {
        let (start, mut product) = (next, 1);
        let last = i + 1 == before.len();
        while next < after.len() && (product < n || last) {
            product *= after[next];
            next += 1;
        }
        if product != n {
            return None;
        }
        parts.push((start..next).collect());
    }
    // The same axes in the order in which they were before the Transpose.
    let mut order: Vec<usize> = Vec::new();
    for axis in 0..perm.len() {
        order.extend(&parts[perm.iter().position(|p| *p == axis)?]);
    }
    let target: Vec<i64> = order.iter().map(|&a| after[a] as i64).collect();
    let back: Option<Vec<i64>> =
        (0..after.len()).map(|a| Some(order.iter().position(|o| *o == a)? as i64)).collect();
    let mut edit = Edit::new(format!("simplify split {}", graph.label(id)));
    let source = Ref::Value(graph.node(first).inputs.first().copied()??);
    let shape = edit.constant(&format!("{}/shape", graph.label(id)), Tensor::i64s(&target));
    let op = graph.node(first).op.clone();
    let (name, inputs) = (graph.node(first).name.to_string(), vec![Some(source), Some(shape)]);
    let r = edit.node(name, op, inputs, &[first, id]);
    let name = graph.node(moved).name.to_string();
    let r = edit.node(name, op::Transpose { perm: Some(back?) }, vec![Some(r)], &[moved]);
    edit.before = Some(id);
    edit.removes.extend([first, moved]);
    replace(edit, graph, id, r)
}
