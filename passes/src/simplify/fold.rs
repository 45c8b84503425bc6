//! Constants computed ahead of time, and values that follow from shapes alone.
//!
//! In `simplify`, neither ever grows the file: the new constant may take no more than what goes with the node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Attr, DType, Def, Edit, EditError, Graph, NodeId, Ref, Tensor, ValueId, infer};

use super::attempt;
use super::dead::has_effects;
use crate::pass::PassCtx;

/// What is folded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Folding {
    /// What makes the file no larger.
    Smaller,
    /// Whole numbers and truth values that may be parts of shapes, even if the file gets a little larger. What
    /// is computed of them stays, with its type.
    Shapes,
}

impl Folding {
    /// Bytes by which the file may grow with each constant.
    fn growth(self) -> u64 {
        match self {
            Self::Smaller => 0,
            Self::Shapes => 1024,
        }
    }

    fn takes(self, t: Option<DType>) -> bool {
        self == Self::Smaller || t.is_some_and(|t| t.is_int() || t == DType::Bool)
    }
}

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>, what: Folding) -> Result<usize, EditError> {
    Ok(shapes(cx, what)? + constants(cx, what)?)
}

fn foldable(graph: &Graph, id: NodeId) -> bool {
    let op = &graph.node(id).op;
    // Parts of a quantized unit belong together; a Constant is one already.
    let kept = matches!(op, Op::Constant(_) | Op::QuantizeLinear(_) | Op::DequantizeLinear(_));
    !kept
        && !prints(graph, id)
        && !matches!(op, Op::Other(_))
        && op.class() != Class::Control
        && !has_effects(graph, id)
        && !OpCtx::of(graph, id).is_random()
}

/// Whether the node prints numbers that runtimes print in several ways: all but whole ones.
fn prints(graph: &Graph, id: NodeId) -> bool {
    let to = i64::from(DType::String.to_onnx());
    let whole = || OpCtx::of(graph, id).dtype(0).is_some_and(DType::is_int);
    matches!(&graph.node(id).op, Op::Cast(c) if c.to == to) && !whole()
}

fn constants(cx: &mut PassCtx<'_, '_>, what: Folding) -> Result<usize, EditError> {
    let mut done = 0;
    let order: Vec<NodeId> = cx.graph().schedule().collect();
    for id in order {
        let graph = cx.graph();
        let node = graph.node(id);
        if !cx.selected(id) || !foldable(graph, id) || node.outputs.iter().any(Option::is_none) {
            continue;
        }
        if !node.outputs.iter().flatten().all(|v| what.takes(graph.value(*v).ty.dtype())) {
            continue;
        }
        let direct = node.inputs.iter().flatten().all(|&v| cx.constant(v).is_some());
        // What only the nodes before it make larger may be smaller again, such as parts that are joined.
        if !direct && what != Folding::Smaller || !computable(cx, id) {
            continue;
        }
        let room = freed(graph, id) + what.growth();
        let mut known = HashMap::new();
        let Some(operands) = operands(cx, id, room + INNER, &mut known) else { continue };
        let results =
            cx.evaluator.evaluate(&node.op, graph.opset(), &operands, node.outputs.len(), room);
        // What cannot be computed now is left to the runtime.
        let Ok(results) = results else { continue };
        let mut edit = Edit::new(format!("simplify fold {}", graph.label(id)));
        let mut need = 0;
        for (v, t) in node.outputs.iter().flatten().zip(results) {
            need += constant_cost(&graph.value(*v).name, &t);
            edit.consts.push((graph.value(*v).name.to_string(), Arc::new(t)));
            edit.replaces.push((*v, Ref::Const(edit.consts.len() - 1)));
        }
        if need > room {
            continue;
        }
        edit.removes.push(id);
        done += attempt(cx, &edit)?;
        if cx.is_done() {
            break;
        }
    }
    Ok(done)
}

/// Bytes of values that are computed on the way to a constant, beyond what it may take itself.
const INNER: u64 = 1 << 16;
/// Most nodes that are computed on the way to one constant.
const CONE: usize = 16;

/// Whether the node follows from constants, through foldable nodes.
fn computable(cx: &PassCtx<'_, '_>, id: NodeId) -> bool {
    let graph = cx.graph();
    let (mut open, mut seen) = (vec![id], HashSet::from([id]));
    while let Some(n) = open.pop() {
        let node = graph.node(n);
        // A node without operands makes a constant anew, or draws it.
        if node.inputs.iter().all(Option::is_none) {
            return false;
        }
        for &v in node.inputs.iter().flatten().filter(|&&v| cx.constant(v).is_none()) {
            let Def::Node(p, _) = graph.value(v).def else { return false };
            let whole = graph.node(p).outputs.iter().all(Option::is_some);
            if !whole || !cx.selected(p) || !foldable(graph, p) {
                return false;
            }
            if seen.insert(p) {
                open.push(p);
            }
        }
        if seen.len() > CONE {
            return false;
        }
    }
    true
}

/// The operands of a node that is [`computable`]; `known` has what was computed of them.
fn operands(
    cx: &PassCtx<'_, '_>,
    id: NodeId,
    limit: u64,
    known: &mut HashMap<ValueId, Arc<Tensor>>,
) -> Option<Vec<Option<Arc<Tensor>>>> {
    let graph = cx.graph();
    let mut all = Vec::new();
    for v in &graph.node(id).inputs {
        let Some(v) = *v else {
            all.push(None);
            continue;
        };
        if let Some(t) = cx.constant(v).or_else(|| known.get(&v).cloned()) {
            all.push(Some(t));
            continue;
        }
        let Def::Node(p, _) = graph.value(v).def else { return None };
        let from = operands(cx, p, limit, known)?;
        let node = graph.node(p);
        let made = cx.evaluator.evaluate(&node.op, graph.opset(), &from, node.outputs.len(), limit);
        let results = node.outputs.iter().flatten().copied();
        known.extend(results.zip(made.ok()?.into_iter().map(Arc::new)));
        all.push(Some(known.get(&v)?.clone()));
    }
    Some(all)
}

/// Whole-number values that are known because they are computed from known extents.
fn shapes(cx: &mut PassCtx<'_, '_>, what: Folding) -> Result<usize, EditError> {
    let values = infer::symbolic_values(cx.graph());
    let graph = cx.graph();
    let known = |v: ValueId| {
        infer::tensor_of(&graph.value(v).ty, values.get(v.index())?.as_ref()?)
            .filter(|t| what.takes(Some(t.dtype())))
    };
    let mut edits = Vec::new();
    for id in graph.schedule() {
        let node = graph.node(id);
        let (&[Some(v)], true) = (&node.outputs[..], foldable(graph, id) && cx.selected(id)) else {
            continue;
        };
        let Some(t) = known(v) else { continue };
        // Only where the value leaves the arithmetic: what comes before dies with it.
        let value = graph.value(v);
        let inner = |u: NodeId| match graph.node(u).outputs[..] {
            [Some(w)] => known(w).is_some() && foldable(graph, u),
            _ => false,
        };
        if !value.is_output() && value.uses().all(|u| inner(u.node)) {
            continue;
        }
        if constant_cost(&value.name, &t) > freed(graph, id) + what.growth() {
            continue;
        }
        let mut edit = Edit::new(format!("simplify shape {}", graph.label(id)));
        edit.consts.push((value.name.to_string(), Arc::new(t)));
        edit.replaces.push((v, Ref::Const(0)));
        edit.removes.push(id);
        edits.push(edit);
    }
    let mut done = 0;
    for e in &edits {
        done += attempt(cx, e)?;
        if cx.is_done() {
            break;
        }
    }
    Ok(done)
}

/// Bytes that a constant takes in the file, to within the few of its headers.
pub(super) fn constant_cost(name: &str, t: &Tensor) -> u64 {
    t.ty().bytes().unwrap_or(u64::MAX / 4) + name.len() as u64 + 8 + 2 * t.dims().len() as u64
}

/// Most nodes that are looked at behind one.
const BEHIND: usize = 64;

/// Bytes that leave the file with the node: its own, and those of what only it and they read.
pub(crate) fn freed(graph: &Graph, id: NodeId) -> u64 {
    let mut gone: HashSet<NodeId> = HashSet::from([id]);
    let mut total = own(graph, id);
    let mut open: Vec<ValueId> = graph.node(id).inputs.iter().flatten().copied().collect();
    loop {
        open.sort_unstable();
        open.dedup();
        let unread = |v: &ValueId| {
            let value = graph.value(*v);
            !value.is_output() && value.uses().all(|u| gone.contains(&u.node))
        };
        let (dead, left): (Vec<ValueId>, Vec<ValueId>) = open.iter().partition(|v| unread(v));
        if dead.is_empty() {
            return total;
        }
        open = left;
        for v in dead {
            let value = graph.value(v);
            match &value.def {
                Def::Const(t) => total += constant_cost(&value.name, t),
                Def::Node(p, _) if gone.len() < BEHIND => {
                    let only = graph.node(*p).outputs.iter().flatten().all(|w| *w == v);
                    if only && !has_effects(graph, *p) && gone.insert(*p) {
                        total += own(graph, *p);
                        open.extend(graph.node(*p).inputs.iter().flatten());
                    }
                }
                _ => {}
            }
        }
    }
}

/// Bytes of the node itself in the file, to within a few.
fn own(graph: &Graph, id: NodeId) -> u64 {
    let node = graph.node(id);
    let mut total = 8 + node.name.len() as u64 + node.op.name().len() as u64;
    for (k, a) in node.op.attrs().iter().chain(&node.extra) {
        total += 6 + k.len() as u64;
        total += match a {
            Attr::Tensor(t) => t.ty().bytes().unwrap_or(0),
            Attr::Ints(v) => v.len() as u64,
            Attr::Floats(v) => 4 * v.len() as u64,
            Attr::Str(s) => s.len() as u64,
            _ => 4,
        };
    }
    let values = node.inputs.iter().chain(&node.outputs).flatten();
    total + values.map(|v| 2 + graph.value(*v).name.len() as u64).sum::<u64>()
}
