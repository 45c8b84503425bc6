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

use super::{Found, only_producer, operands, result, sweep};
use crate::options::{OptionError, Options};
use crate::pass::{Cx, Exactness, Pass, PassInfo};

/// Its entry in the registry.
pub const INFO: PassInfo = PassInfo {
    name: "fuse-pad",
    summary: "a Pad becomes padding of the Conv, AveragePool or MaxPool after it",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(FusePad))
}

/// The pass `fuse-pad`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FusePad;

impl Pass for FusePad {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), EditError> {
        sweep(cx, "no Conv or pool follows a Pad", find)
    }
}

fn find(graph: &Graph, id: NodeId) -> Option<Found> {
    let x = graph.node(id).inputs.first().copied()??;
    let inner = graph.producer(x)?;
    let mut op = graph.node(id).op.clone();
    let known = matches!(op, Op::Conv(_) | Op::AveragePool(_) | Op::MaxPool(_));
    if !known || !matches!(graph.node(inner).op, Op::Pad(_)) {
        return None;
    }
    match fused(graph, id, inner, &mut op) {
        Err(why) => Some(Found::Blocked(why.into())),
        Ok(()) => {
            let mut edit = Edit::new(format!("fuse-pad {}", graph.label(id)));
            let mut inputs = operands(graph, id);
            inputs[0] = Some(Ref::Value(graph.node(inner).inputs.first().copied()??));
            let r = edit.node(graph.node(id).name.to_string(), op, inputs, &[id, inner]);
            edit.nodes[0].extra.clone_from(&graph.node(id).extra);
            edit.before = Some(id);
            edit.replaces.push((result(graph, id)?, r));
            edit.removes = vec![inner, id];
            Some(Found::Edit(edit, "pads by itself what was padded before it"))
        }
    }
}

/// Puts the padding into the operator, or says why it would mean something else there.
fn fused(graph: &Graph, id: NodeId, pad: NodeId, op: &mut Op) -> Result<(), &'static str> {
    let x = graph.node(id).inputs.first().copied().flatten();
    if x.and_then(|x| only_producer(graph, x)) != Some(pad) {
        return Err("what was padded is read elsewhere too, or is an output");
    }
    if result(graph, id).is_none() {
        return Err("indices of the maxima count the padding");
    }
    let ctx = OpCtx::of(graph, pad);
    let Ok(Some(pads)) = layout_params::pads(&ctx) else {
        return Err("the padding is not constant");
    };
    let Op::Pad(p) = ctx.op else { return Err("it is no Pad") };
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
        return Err("only floating-point values are padded so");
    }
    let (outer, spatial) = pads.split_at(pads.len().min(2));
    if outer.iter().any(|p| *p != (0, 0)) || spatial.iter().any(|p| p.0 < 0 || p.1 < 0) {
        return Err("the padding cuts off elements, or adds to the batch or the channels");
    }
    let add = |old: &mut Option<Vec<i64>>, auto: &mut String| {
        if !matches!(&**auto, "NOTSET" | "VALID" | "") {
            return Err("the operator chooses its own padding by the padded extents");
        }
        let n = spatial.len();
        let given = |o: &Vec<i64>| o.len() == 2 * n && *auto != "VALID";
        let mut all = old.take().filter(given).unwrap_or_else(|| vec![0; 2 * n]);
        for (i, (begin, end)) in spatial.iter().enumerate() {
            all[i] += begin;
            all[n + i] += end;
        }
        *old = Some(all);
        *auto = "NOTSET".into();
        Ok(())
    };
    // Runtimes refuse pools whose padding holds a whole window.
    let narrow = |pads: &Option<Vec<i64>>, kernel: &[i64]| {
        let n = kernel.len();
        let fits = |p: &Vec<i64>| p.iter().enumerate().all(|(i, p)| *p < kernel[i % n.max(1)]);
        if pads.as_ref().is_some_and(fits) {
            Ok(())
        } else {
            Err("the padding holds a whole window")
        }
    };
    let none = |p: &Option<Vec<i64>>| p.as_ref().is_none_or(|p| p.iter().all(|p| *p == 0));
    match op {
        Op::Conv(c) => {
            let w = graph.node(id).inputs.get(1).copied().flatten();
            let weights = w.and_then(|w| graph.constant(w)).and_then(|t| t.to_f32s());
            // A zero times inf is NaN, while padding is skipped.
            if !weights.is_some_and(|w| w.iter().all(|w| w.is_finite())) {
                return Err("the weights are not constant and finite");
            }
            if value != 0.0 {
                return Err("the padding is not 0");
            }
            add(&mut c.pads, &mut c.auto_pad)
        }
        Op::AveragePool(a) => {
            if value != 0.0 || a.ceil_mode != 0 {
                return Err("the padding is not 0, or windows may reach beyond it");
            }
            if a.count_include_pad == 0 && !none(&a.pads) {
                return Err("the pool's own padding is not counted");
            }
            add(&mut a.pads, &mut a.auto_pad)?;
            a.count_include_pad = 1;
            narrow(&a.pads, &a.kernel_shape)
        }
        Op::MaxPool(m) => {
            if value != f32::NEG_INFINITY || m.ceil_mode != 0 {
                return Err("the padding is not -inf, or windows may reach beyond it");
            }
            add(&mut m.pads, &mut m.auto_pad)?;
            narrow(&m.pads, &m.kernel_shape)
        }
        _ => Err("it does not pad"),
    }
}
