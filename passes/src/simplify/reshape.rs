//! Targets of Reshape that are computed from shapes, and data movements that only rename axes.

use std::sync::Arc;

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref, Tensor, ValueId, layout_params};

use super::attempt;
use super::data_movement::{output, replace};
use super::extents::{Entry, Extents};
use super::fold::{constant_cost, freed};
use crate::pass::PassCtx;

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let graph = cx.graph();
    let rank_changes = |n: NodeId| {
        matches!(
            graph.node(n).op,
            Op::Reshape(_) | Op::Resize(_) | Op::Where(_) | Op::Squeeze(_) | Op::Unsqueeze(_)
        )
    };
    let order: Vec<NodeId> = graph.schedule().filter(|&n| rank_changes(n)).collect();
    if order.is_empty() {
        return Ok(0);
    }
    let mut done = 0;
    // What edits of this sweep add, the next sweep knows.
    let known = Extents::of(graph);
    for id in order {
        let graph = cx.graph();
        if graph.get_node(id).is_none() || !cx.selected(id) {
            continue;
        }
        let edit = match graph.node(id).op {
            Op::Reshape(_) => same_extents(graph, &known, id).or_else(|| target(graph, &known, id)),
            Op::Resize(_) => factors(graph, &known, id),
            Op::Where(_) => chosen(graph, &known, id),
            _ => undone(graph, id),
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

/// Removes a Reshape to the shape that its operand already has. Its extents need not be known: it is enough that
/// both shapes take them from the same extents of the same values.
fn same_extents(graph: &Graph, known: &Extents, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let (x, shape) = (node.inputs.first().copied()??, node.inputs.get(1).copied()??);
    let Op::Reshape(op::Reshape { allowzero: 0 }) = node.op else { return None };
    let entries = known.entries(graph, shape)?;
    // An extent of 0 is taken from the operand, as 0 says.
    let same = |(i, e): (usize, &Entry)| match e {
        Entry::Known(0) => true,
        Entry::Known(_) | Entry::Extent(..) => known.extent(graph, x, i) == *e,
        Entry::Other => false,
    };
    let all = entries.iter().enumerate().all(same);
    let edit = Edit::new(format!("simplify reshape {}", graph.label(id)));
    (all && graph.value(x).ty.rank() == Some(entries.len()))
        .then(|| replace(edit, graph, id, Ref::Value(x)))?
}

/// A computed target becomes a constant: numbers stay, extents that the operand has at the same axis
/// are copied (0), and one that is left is found from the rest (-1).
fn target(graph: &Graph, known: &Extents, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let (x, shape) = (node.inputs.first().copied()??, node.inputs.get(1).copied()??);
    let Op::Reshape(op::Reshape { allowzero: 0 }) = node.op else { return None };
    let producer = graph.producer(shape).filter(|_| graph.constant(shape).is_none())?;
    let entries = known.entries(graph, shape)?;
    let rank = graph.value(x).ty.rank()?;
    let mut open = Vec::new();
    let mut ints = Vec::new();
    for (i, e) in entries.iter().enumerate() {
        ints.push(match e {
            // Arithmetic on shapes may go below -1, which is no target.
            Entry::Known(n) if *n < -1 => return None,
            Entry::Known(n) => *n,
            e @ Entry::Extent(..) if i < rank && known.extent(graph, x, i) == *e => 0,
            _ => {
                open.push(i);
                -1
            }
        });
    }
    // Beside an extent that may be 0 when it runs, -1 would have no meaning.
    let settled = |i: usize| open.contains(&i) || ints[i] > 0;
    match open[..] {
        [] => {}
        [_] if (0..ints.len()).all(settled) => {}
        _ => return None,
    }
    let value = graph.value(shape);
    let only_here = |n: NodeId| matches!(graph.node(n).op, Op::Reshape(_));
    let tensor = Tensor::i64s(&ints);
    // The file grows where the arithmetic stays for the sake of others.
    if value.is_output()
        || !value.uses().all(|u| only_here(u.node))
        || constant_cost(&value.name, &tensor) > freed(graph, producer)
    {
        return None;
    }
    let mut edit = Edit::new(format!("simplify target {}", graph.label(id)));
    edit.consts.push((value.name.to_string(), Arc::new(tensor)));
    let inputs = vec![Some(Ref::Value(x)), Some(Ref::Const(0))];
    let r = edit.node(node.name.to_string(), node.op.clone(), inputs, &[id]);
    edit.nodes[0].extra.clone_from(&node.extra);
    replace(edit, graph, id, r)
}

/// Computed sizes of a Resize become constant factors where each is the extent of the operand, or a known
/// multiple of a known one: runtimes divide sizes by extents to the same factors.
fn factors(graph: &Graph, known: &Extents, id: NodeId) -> Option<Edit> {
    let node = graph.node(id);
    let (x, sizes) = (node.inputs.first().copied()??, node.inputs.get(3).copied()??);
    let Op::Resize(r) = &node.op else { return None };
    let producer = graph.producer(sizes).filter(|_| graph.constant(sizes).is_none())?;
    let rank = graph.value(x).ty.rank()?;
    let entries = known.entries(graph, sizes)?;
    if entries.len() != rank || r.axes.is_some() || r.keep_aspect_ratio_policy != "stretch" {
        return None;
    }
    let factor = |(axis, e): (usize, &Entry)| match (known.extent(graph, x, axis), e) {
        (Entry::Known(n), Entry::Known(m)) => {
            let whole = n > 0 && *m > 0 && m % n == 0 && m / n < 1 << 24;
            whole.then(|| (m / n) as f32)
        }
        (e @ Entry::Extent(..), f) if e == *f => Some(1.0),
        _ => None,
    };
    let factors: Vec<f32> = entries.iter().enumerate().map(factor).collect::<Option<_>>()?;
    let tensor = Tensor::f32s(&[rank as u64], &factors).ok()?;
    let value = graph.value(sizes);
    let only_here = |n: NodeId| matches!(graph.node(n).op, Op::Resize(_));
    if value.is_output()
        || !value.uses().all(|u| only_here(u.node))
        || constant_cost(&value.name, &tensor) > freed(graph, producer)
    {
        return None;
    }
    let mut edit = Edit::new(format!("simplify factors {}", graph.label(id)));
    edit.consts.push((value.name.to_string(), Arc::new(tensor)));
    let region = node.inputs.get(1).copied().flatten().map(Ref::Value);
    let inputs = vec![Some(Ref::Value(x)), region, Some(Ref::Const(0))];
    let y = edit.node(node.name.to_string(), node.op.clone(), inputs, &[id]);
    edit.nodes[0].extra.clone_from(&node.extra);
    replace(edit, graph, id, y)
}

/// A Where over shapes whose condition is known.
fn chosen(graph: &Graph, known: &Extents, id: NodeId) -> Option<Edit> {
    let [Some(c), Some(a), Some(b)] = graph.node(id).inputs[..] else { return None };
    let c = known.entries(graph, c)?;
    let first = *c.first()?;
    let Entry::Known(n) = first else { return None };
    let x = if n != 0 { a } else { b };
    let y = output(graph, id)?;
    let same = graph.value(x).ty.extents()? == graph.value(y).ty.extents()?;
    if !same || c.iter().any(|e| !matches!(e, Entry::Known(m) if (*m != 0) == (n != 0))) {
        return None;
    }
    let edit = Edit::new(format!("simplify where {}", graph.label(id)));
    replace(edit, graph, id, Ref::Value(x))
}

/// Merges two adjacent Squeezes or Unsqueezes, and removes a Squeeze next to an Unsqueeze of the same
/// axes.
fn undone(graph: &Graph, id: NodeId) -> Option<Edit> {
    let x = graph.node(id).inputs.first().copied()??;
    let inner = graph.producer(x)?;
    let source = graph.node(inner).inputs.first().copied()??;
    let y = output(graph, id)?;
    let ranks = [source, x, y].map(|v| graph.value(v).ty.rank());
    let [Some(r0), Some(r1), Some(r2)] = ranks else { return None };
    // Axes as the longer of both sides numbers them.
    let axes =
        |n: NodeId, rank: usize| layout_params::squeeze_axes(&OpCtx::of(graph, n), rank).ok()?;
    let outer = axes(id, r1.max(r2))?;
    let first = axes(inner, r0.max(r1))?;
    let edit = Edit::new(format!("simplify axes {}", graph.label(id)));
    match (&graph.node(inner).op, &graph.node(id).op) {
        (Op::Unsqueeze(_), Op::Squeeze(_)) | (Op::Squeeze(_), Op::Unsqueeze(_)) => {
            (first == outer).then_some(())?;
            replace(edit, graph, id, Ref::Value(source))
        }
        (Op::Unsqueeze(_), Op::Unsqueeze(_)) => {
            // The inner axes move up past those that the outer adds.
            let rest: Vec<usize> = (0..r2).filter(|a| !outer.contains(a)).collect();
            let all = first.iter().map(|&a| rest[a]).chain(outer.iter().copied()).collect();
            one(edit, graph, id, source, all)
        }
        (Op::Squeeze(_), Op::Squeeze(_)) => {
            let rest: Vec<usize> = (0..r0).filter(|a| !first.contains(a)).collect();
            let all = outer.iter().map(|&a| rest[a]).chain(first.iter().copied()).collect();
            one(edit, graph, id, source, all)
        }
        _ => None,
    }
}

/// The node over all these axes at once, in the form of the graph's opset.
fn one(
    mut edit: Edit,
    graph: &Graph,
    id: NodeId,
    x: ValueId,
    mut axes: Vec<usize>,
) -> Option<Edit> {
    axes.sort_unstable();
    let axes: Vec<i64> = axes.into_iter().map(|a| a as i64).collect();
    let node = graph.node(id);
    let mut inputs = vec![Some(Ref::Value(x))];
    let attribute = if graph.opset() < 13 {
        Some(axes)
    } else {
        let name = format!("{}/axes", graph.label(id));
        inputs.push(Some(edit.constant(&name, Tensor::i64s(&axes))));
        None
    };
    let op: Op = match node.op {
        Op::Squeeze(_) => op::Squeeze { axes: attribute }.into(),
        _ => op::Unsqueeze { axes: attribute }.into(),
    };
    let r = edit.node(node.name.to_string(), op, inputs, &[id]);
    replace(edit, graph, id, r)
}
