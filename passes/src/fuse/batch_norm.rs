//! `fold-batch-norm`: scales and shifts by channel go into the weights and the bias before them.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,1,4,4]) -> (%y) opset 15 {
//!   %w = const [1,2]                              : f32[2,1,1,1]
//!   %s = const [2,4]                              : f32[2]
//!   %b = const [1,1]                              : f32[2]
//!   %m = const [0,1]                              : f32[2]
//!   %v = const [4,16]                             : f32[2]
//!   %c = Conv %x, %w                              : f32[1,2,4,4]
//!   %n = BatchNormalization %c, %s, %b, %m, %v {epsilon=0.0} : f32[1,2,4,4]
//!   %y = Relu %n                                  : f32[1,2,4,4]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,1,4,4]) -> (%y) opset 15 {
//!   %w = const [1,2]                              : f32[2,1,1,1]
//!   %b = const [1,0]                              : f32[2]
//!   %n = Conv %x, %w, %b                          : f32[1,2,4,4]
//!   %y = Relu %n                                  : f32[1,2,4,4]
//! }
//! ```
//!
//! What stands before is Conv, ConvTranspose or Gemm with constant weights that nothing else reads;
//! what follows is BatchNormalization of known statistics, or Mul, Div, Add or Sub by a constant that
//! differs at most by channel. The new weights are computed in `f64` and rounded once.

use std::sync::Arc;

use graph_opt_ir::op::Op;
use graph_opt_ir::{DType, Edit, EditError, Graph, NodeId, Ref, Tensor, ValueId};

use super::{Candidate, only_producer, operands, result, sweep};
use crate::options::{OptionError, Options};
use crate::pass::{Exactness, Pass, PassCtx, PassInfo};
use crate::simplify::fold::freed;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "fold-batch-norm",
    summary: "BatchNormalization, and Mul, Div, Add, Sub by channel, into the weights of the Conv, \
              ConvTranspose or Gemm before",
    exactness: Exactness::RoundsWeights,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(FoldBatchNorm))
}

/// The pass `fold-batch-norm`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoldBatchNorm;

impl Pass for FoldBatchNorm {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::RoundsWeights
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        sweep(cx, "no scale or shift by channel follows a Conv, ConvTranspose or Gemm", find)
    }
}

/// `y = scale * x + shift` for every channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

fn find(graph: &Graph, id: NodeId) -> Option<Candidate> {
    // Before opset 7 BatchNormalization trains unless told otherwise, and operators broadcast by
    // attributes.
    if graph.opset() < 7 {
        return None;
    }
    let (x, other) = data(graph, id)?;
    let before = graph.producer(x)?;
    let first = graph.node(before);
    if !matches!(first.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm(_)) {
        return None;
    }
    let blocked = |why: &str| Some(Candidate::Blocked(why.into()));
    let w = first.inputs.get(1).copied().flatten()?;
    let Some(weights) = graph.constant(w) else {
        return blocked("the weights before it are not constant");
    };
    let (channels, layout) = channels(&first.op, weights.dims())?;
    let affine = match affine(graph, id, x, other, channels) {
        Ok(a) => a?,
        Err(why) => return Some(Candidate::Blocked(why)),
    };
    if only_producer(graph, x).is_none() {
        return blocked("what it normalises is read elsewhere too, or is an output");
    }
    if weights.dtype() != DType::F32 {
        return blocked("only weights of f32 are folded");
    }
    if graph.value(w).uses().len() > 1 || graph.value(w).is_output() {
        return blocked("the weights before it are read elsewhere too: the file would grow");
    }
    let bias = first.inputs.get(2).copied().flatten();
    let beta = if let Op::Gemm(g) = &first.op { f64::from(g.beta) } else { 1.0 };
    let old = match bias.map(|b| graph.constant(b)) {
        None => vec![0.0; channels],
        Some(t) => match t.as_deref().and_then(|t| by_channel(t, channels, false)) {
            Some(b) => b.into_iter().map(|b| b * beta).collect(),
            None => return blocked("the bias before it is not constant, or not by channel"),
        },
    };
    let (new_weights, new_bias) = folded(&weights, &layout, &old, &affine)?;
    let finite = |t: &Tensor| t.to_f32s().is_some_and(|v| v.iter().all(|x| x.is_finite()));
    if !finite(&new_weights) || !finite(&new_bias) {
        return blocked("the folded weights are not finite");
    }
    // The weights are as large as before; the bias may be new, or longer.
    let only_bias = bias.filter(|&b| graph.value(b).uses().len() == 1);
    let was = only_bias.and_then(|b| graph.constant(b)).map_or(0, |t| t.len());
    if 4 * channels.saturating_sub(was) as u64 > freed(graph, id) {
        return blocked("a bias for every channel would make the file grow");
    }
    let mut edit = Edit::new(format!("fold-batch-norm {}", graph.label(id)));
    let name = |v: Option<ValueId>, what: &str| match v {
        Some(v) => graph.value(v).name.to_string(),
        None => format!("{}/{what}", graph.label(before)),
    };
    edit.consts.push((name(Some(w), ""), Arc::new(new_weights)));
    edit.consts.push((name(bias, "bias"), Arc::new(new_bias)));
    let mut inputs = operands(graph, before);
    inputs.resize(3, None);
    (inputs[1], inputs[2]) = (Some(Ref::Const(0)), Some(Ref::Const(1)));
    let mut op = first.op.clone();
    if let Op::Gemm(g) = &mut op {
        g.beta = 1.0;
    }
    let r = edit.node(first.name.to_string(), op, inputs, &[before, id]);
    edit.nodes[0].extra.clone_from(&first.extra);
    edit.replaces.push((result(graph, id)?, r));
    edit.removes = vec![before, id];
    Some(Candidate::Edit(edit, "folded into the weights before it"))
}

/// The operand that the node scales or shifts, and the constant beside it.
fn data(graph: &Graph, id: NodeId) -> Option<(ValueId, Option<ValueId>)> {
    let node = graph.node(id);
    result(graph, id)?;
    let [Some(a), Some(b), ..] = node.inputs[..] else { return None };
    match &node.op {
        Op::BatchNormalization(o) => (o.training_mode == 0 && o.spatial != 0).then_some((a, None)),
        Op::Mul(_) | Op::Add(_) | Op::Sub(_) if graph.constant(a).is_some() => Some((b, Some(a))),
        Op::Mul(_) | Op::Add(_) | Op::Sub(_) | Op::Div(_) => {
            graph.constant(b).map(|_| (a, Some(b)))
        }
        _ => None,
    }
}

/// Number of output channels, and the channel of a weight by its index.
fn channels(op: &Op, dims: &[u64]) -> Option<(usize, Box<dyn Fn(usize) -> usize>)> {
    let size = |d: &[u64]| d.iter().product::<u64>().max(1) as usize;
    let outer = *dims.first()? as usize;
    let inner = *dims.get(1)? as usize;
    let block = size(&dims[1..]);
    Some(match op {
        Op::Conv(_) => (outer, Box::new(move |i| i / block)),
        Op::ConvTranspose(c) => {
            // The second axis counts the outputs of one group; the first has the inputs of all.
            let group =
                usize::try_from(c.group).ok().filter(|g| *g > 0 && outer.is_multiple_of(*g))?;
            let (taps, per_group) = (size(&dims[2..]), (outer / group).max(1));
            let channel = move |i: usize| i / block / per_group * inner + i / taps % inner;
            (inner * group, Box::new(channel))
        }
        Op::Gemm(g) if g.transB != 0 => (outer, Box::new(move |i| i / inner.max(1))),
        Op::Gemm(_) => (inner, Box::new(move |i| i % inner.max(1))),
        _ => return None,
    })
}

/// What the node does to each channel; an error where it is known to be no such thing.
fn affine(
    graph: &Graph,
    id: NodeId,
    x: ValueId,
    other: Option<ValueId>,
    channels: usize,
) -> Result<Option<Affine>, String> {
    let node = graph.node(id);
    let rank = graph.value(x).ty.rank();
    if let Op::BatchNormalization(o) = &node.op {
        let parameter = |i: usize| {
            let t = node.inputs.get(i).copied().flatten().and_then(|v| graph.constant(v));
            t.filter(|t| t.dims() == [channels as u64]).and_then(|t| floats(&t))
        };
        let [Some(s), Some(b), Some(m), Some(v)] = [1, 2, 3, 4].map(parameter) else {
            return Err("its parameters are not constants of f32, one for every channel".into());
        };
        let root = |v: &f64| (v + f64::from(o.epsilon)).sqrt();
        let scale: Vec<f64> = s.iter().zip(&v).map(|(s, v)| s / root(v)).collect();
        let shift = (0..channels).map(|c| b[c] - m[c] * scale[c]).collect();
        return Ok(Some(Affine { scale, shift }));
    }
    let (Some(rank), Some(c)) = (rank, other.and_then(|v| graph.constant(v))) else {
        return Ok(None);
    };
    // Along the other axes it must not differ, nor may it add axes or stretch the channels.
    let dims = c.dims();
    let channel = (dims.len() + 1).checked_sub(rank);
    let plain = |(i, d): (usize, &u64)| *d == 1 || channel == Some(i) && *d == channels as u64;
    if dims.len() > rank || !dims.iter().enumerate().all(plain) {
        return Ok(None);
    }
    let Some(c) = by_channel(&c, channels, true) else { return Ok(None) };
    let ones = vec![1.0; channels];
    let zeros = vec![0.0; channels];
    let reversed = node.inputs.first().copied().flatten() == other;
    Ok(Some(match node.op {
        Op::Mul(_) => Affine { scale: c, shift: zeros },
        Op::Div(_) => Affine { scale: c.iter().map(|c| 1.0 / c).collect(), shift: zeros },
        Op::Add(_) => Affine { scale: ones, shift: c },
        Op::Sub(_) if reversed => Affine { scale: vec![-1.0; channels], shift: c },
        Op::Sub(_) => Affine { scale: ones, shift: c.iter().map(|c| -c).collect() },
        _ => return Ok(None),
    }))
}

fn floats(t: &Tensor) -> Option<Vec<f64>> {
    let f32s = if t.dtype() == DType::F32 { t.to_f32s() } else { None };
    Some(f32s?.into_iter().map(f64::from).collect())
}

/// One number for every channel, from as many or from one; `any` if its shape was looked at before.
fn by_channel(t: &Tensor, channels: usize, any: bool) -> Option<Vec<f64>> {
    let v = floats(t)?;
    let shaped = any || matches!(t.dims(), [] | [_] | [1, _]);
    match v[..] {
        _ if !shaped => None,
        [one] => Some(vec![one; channels]),
        _ if v.len() == channels => Some(v),
        _ => None,
    }
}

fn folded(
    weights: &Tensor,
    channel: &dyn Fn(usize) -> usize,
    bias: &[f64],
    a: &Affine,
) -> Option<(Tensor, Tensor)> {
    let w = weights.to_f32s()?;
    let scaled = w.iter().enumerate().map(|(i, w)| (f64::from(*w) * a.scale[channel(i)]) as f32);
    let shifted = bias.iter().zip(&a.scale).zip(&a.shift).map(|((b, s), t)| (b * s + t) as f32);
    let (scaled, shifted): (Vec<f32>, Vec<f32>) = (scaled.collect(), shifted.collect());
    let new = Tensor::f32s(weights.dims(), &scaled).ok()?;
    Some((new, Tensor::f32s(&[bias.len() as u64], &shifted).ok()?))
}
