//! `fuse-pad`: a Pad becomes padding of the Conv or pool that alone reads it.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,8,8]) -> (%y) opset 13 {
//!   %p = const [0,0,1,1,0,0,2,2]       : i64[8]
//!   %w = const random(1)               : f32[4,3,3,3]
//!   %a = Pad %x, %p                    : f32[1,3,11,11]
//!   %y = Conv %a, %w {strides=[2,2]}   : f32[1,4,5,5]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,3,8,8]) -> (%y) opset 13 {
//!   %w = const random(1)                              : f32[4,3,3,3]
//!   %y = Conv %x, %w {strides=[2,2], pads=[1,1,2,2]}  : f32[1,4,5,5]
//! }
//! ```
//!
//! Only where the padding means the same there: zeros into a Conv with finite weights; zeros into an
//! AveragePool that then counts padding, and whose windows all lie within; -inf into a MaxPool.

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{DType, Edit, EditError, Graph, NodeId, Ref, layout_params};

use super::{Candidate, only_producer, operands, result, sweep};
use crate::options::{OptionError, Options};
use crate::pass::{Exactness, Pass, PassCtx, PassInfo};

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "fuse-pad",
    summary: "a Pad becomes padding of the Conv, AveragePool or MaxPool after it",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(FusePad))
}

/// The pass `fuse-pad`, which merges a Pad into the windowed operator that reads it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FusePad;

impl Pass for FusePad {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        sweep(cx, "no Conv or pool follows a Pad", find)
    }
}

fn find(graph: &Graph, id: NodeId) -> Option<Candidate> {
    let x = graph.node(id).inputs.first().copied()??;
    let pad = graph.producer(x)?;
    let mut op = graph.node(id).op.clone();
    neutral(&op)?;
    if !matches!(graph.node(pad).op, Op::Pad(_)) {
        return None;
    }
    match fused(graph, id, pad, &mut op) {
        Err(why) => Some(Candidate::Blocked(why.into())),
        Ok(()) => {
            let mut edit = Edit::new(format!("fuse-pad {}", graph.label(id)));
            let mut inputs = operands(graph, id);
            inputs[0] = Some(Ref::Value(graph.node(pad).inputs.first().copied()??));
            let r = edit.node(graph.node(id).name.to_string(), op, inputs, &[id, pad]);
            edit.nodes[0].extra.clone_from(&graph.node(id).extra);
            edit.before = Some(id);
            edit.replaces.push((result(graph, id)?, r));
            edit.removes = vec![pad, id];
            Some(Candidate::Edit(edit, "pads by itself what was padded before it"))
        }
    }
}

/// The value that the operator pads with; `None` for operators that this pass leaves alone.
fn neutral(op: &Op) -> Option<f32> {
    match op {
        Op::Conv(_) | Op::AveragePool(_) => Some(0.0),
        Op::MaxPool(_) => Some(f32::NEG_INFINITY),
        _ => None,
    }
}

/// Puts the padding into the operator, or returns why it would mean something else there.
fn fused(graph: &Graph, id: NodeId, pad: NodeId, op: &mut Op) -> Result<(), &'static str> {
    let x = graph.node(id).inputs.first().copied().flatten();
    if x.and_then(|x| only_producer(graph, x)) != Some(pad) {
        return Err("what was padded is read elsewhere too, or is an output");
    }
    if result(graph, id).is_none() {
        return Err("indices of the maxima count the padding");
    }
    let (spatial, value) = padding(graph, pad)?;
    let windowed = op.windowed().ok_or("the operator has no windows")?;
    if Some(value) != neutral(op) {
        return Err("the operator pads with another value");
    }
    if windowed.ceil() {
        return Err("windows may reach beyond the padding");
    }
    if let Some(w) = windowed.weights {
        let w = graph.node(id).inputs.get(w).copied().flatten();
        let weights = w.and_then(|w| graph.constant(w)).and_then(|t| t.to_f32s());
        // A zero times inf is NaN, while padding is skipped.
        if !weights.is_some_and(|w| w.iter().all(|w| w.is_finite())) {
            return Err("the weights are not constant and finite");
        }
    }
    let own = windowed.pads.unwrap_or_default();
    if let Op::AveragePool(a) = &*op
        && a.count_include_pad == 0
        && own.iter().any(|p| *p != 0)
    {
        return Err("the pool's own padding is not counted");
    }
    if !matches!(windowed.auto_pad, "NOTSET" | "VALID" | "") {
        return Err("the operator chooses its own padding by the padded extents");
    }
    let n = spatial.len();
    let given = own.len() == 2 * n && windowed.auto_pad != "VALID";
    let mut pads = if given { own.to_vec() } else { vec![0; 2 * n] };
    for (i, (begin, end)) in spatial.iter().enumerate() {
        pads[i] += begin;
        pads[n + i] += end;
    }
    // Runtimes refuse pools whose padding holds a whole window.
    if let (true, Some(kernel)) = (windowed.is_pool(), windowed.kernel_shape) {
        let narrow = |(i, p): (usize, &i64)| *p < kernel[i % kernel.len().max(1)];
        if !pads.iter().enumerate().all(narrow) {
            return Err("the padding holds a whole window");
        }
    }
    if let Some(w) = op.windowed_mut() {
        *w.pads = Some(pads);
        *w.auto_pad = "NOTSET".into();
    }
    if let Op::AveragePool(a) = op {
        a.count_include_pad = 1;
    }
    Ok(())
}

/// What a Pad adds along each spatial axis, at the begin and at the end, and with which value.
fn padding(graph: &Graph, pad: NodeId) -> Result<(Vec<(i64, i64)>, f32), &'static str> {
    let ctx = OpCtx::of(graph, pad);
    let Ok(Some(pads)) = layout_params::pads(&ctx) else {
        return Err("the padding is not constant");
    };
    let Op::Pad(p) = ctx.op else { return Err("the operand is not padded") };
    if p.mode != "constant" {
        return Err("the padding repeats elements");
    }
    let value = match (ctx.input(2), graph.opset() < 11) {
        (_, true) => p.value,
        (None, _) => 0.0,
        (Some(_), _) => match ctx.floats(2).as_deref() {
            Some(&[v]) => v,
            _ => return Err("the value of the padding is not constant"),
        },
    };
    if !ctx.dtype(0).is_some_and(DType::is_float) {
        return Err("only the padding of floating-point values is fused");
    }
    let (outer, spatial) = pads.split_at(pads.len().min(2));
    if outer.iter().any(|p| *p != (0, 0)) || spatial.iter().any(|p| p.0 < 0 || p.1 < 0) {
        return Err("the padding cuts off elements, or adds to the batch or the channels");
    }
    Ok((spatial.to_vec(), value))
}
