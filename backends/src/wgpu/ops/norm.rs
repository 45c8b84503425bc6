//! Normalisations and Softmax.

use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::{DType, Op, Tensor};

use super::elementwise::{apply, zip};
use super::{Cx, Outputs};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::run::{Slot, upload};
use crate::wgpu::stream::{Array, Params};

/// What `normalize` does, and which scale it takes, for either operator.
pub(in crate::wgpu) const INSTANCE: [(&str, &str); 2] =
    [("BODY", "(x - mean) * (r * s)"), ("AT", "row % p.z")];
pub(in crate::wgpu) const LAYER: [(&str, &str); 2] =
    [("BODY", "(x - mean) * r * s"), ("AT", "i % p.y")];

fn constant(cx: &mut Cx<'_, '_>, v: &[f32]) -> Result<Array, RunError> {
    let t = Tensor::f32s(&[v.len() as u64], v)?;
    upload(cx.stream, &mut Slot { host: Some(t), ..Slot::default() })
}

/// Scale and bias by channel.
pub(super) fn channels(cx: &mut Cx<'_, '_>) -> Outputs {
    let Some(dims) = cx.dims(0) else { return Ok(None) };
    let c = *dims.get(1).unwrap_or(&1);
    let inner: usize = dims.iter().skip(2).product();
    let (mean, scale, bias) = match cx.op {
        Op::ImageScaler(o) => {
            let bias = o.bias.as_deref().unwrap_or(&[]);
            if bias.len() != c {
                return Ok(None);
            }
            (constant(cx, &vec![0.0; c])?, constant(cx, &vec![o.scale; c])?, constant(cx, bias)?)
        }
        Op::BatchNormalization(o) => {
            let per_channel = (1..5).all(|i| cx.dims(i).is_some_and(|d| d == [c]));
            if o.training_mode != 0 || o.spatial == 0 || cx.outputs > 1 || !per_channel {
                return Ok(None);
            }
            let variance = cx.array(4)?;
            let deviation = apply(cx, SHIFTED_ROOT, &[o.epsilon], &variance)?;
            let scale = cx.array(1)?;
            let Some(scale) = zip(cx, "x / y", &scale, &deviation)? else { return Ok(None) };
            (cx.array(3)?, scale, cx.array(2)?)
        }
        _ => return Ok(None),
    };
    let x = cx.array(0)?;
    let y = cx.result(&dims)?;
    let params = Params::new(&[y.len(), inner, c])?;
    cx.run(&Kernel::channels(&[]), params, &[&x, &mean, &scale, &bias], &y, y.len())?;
    cx.computed(vec![y])
}

/// Deviation from variance and epsilon.
pub(in crate::wgpu) const SHIFTED_ROOT: &str = "sqrt(x + a)";

/// Normalises rows of `inner` elements.
fn normalized(
    cx: &mut Cx<'_, '_>,
    slots: &[(&'static str, &str)],
    inner: usize,
    channels: usize,
    epsilon: f32,
    (scale, bias): (Array, Option<Array>),
) -> Outputs {
    let x = cx.array(0)?;
    let rows = x.len().checked_div(inner).unwrap_or(0);
    let moments = cx.stream.array(&[rows, 2], DType::F32)?;
    let params = Params::new(&[rows, inner])?.float(epsilon);
    cx.run(&Kernel::moments(&[]), params, &[&x], &moments, rows)?;
    let dims = x.dims.clone();
    let y = cx.result(&dims)?;
    let params = Params::new(&[y.len(), inner, channels, usize::from(bias.is_some())])?;
    let bias = bias.unwrap_or_else(|| scale.clone());
    let inputs = [&x, &moments, &scale, &bias];
    cx.run(&Kernel::normalize(slots), params, &inputs, &y, y.len())?;
    cx.computed(vec![y])
}

pub(super) fn instance(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Op::InstanceNormalization(o), Some(dims)) = (cx.op, cx.dims(0)) else { return Ok(None) };
    let c = *dims.get(1).unwrap_or(&1);
    if [1, 2].iter().any(|&i| cx.dims(i).is_none_or(|d| d != [c])) {
        return Ok(None);
    }
    let inner = dims.iter().skip(2).product();
    let both = (cx.array(1)?, Some(cx.array(2)?));
    normalized(cx, &INSTANCE, inner, c, o.epsilon, both)
}

pub(super) fn layer(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Op::LayerNormalization(o), Some(dims)) = (cx.op, cx.dims(0)) else { return Ok(None) };
    // Mean and deviation as results, and scales that are broadcast, are the host's.
    let axis = axis_of(o.axis, dims.len())?;
    let whole = |cx: &Cx<'_, '_>, i| cx.dims(i).is_some_and(|d| d == dims[axis..]);
    if cx.outputs != 1 || !whole(cx, 1) || (cx.present(2) && !whole(cx, 2)) {
        return Ok(None);
    }
    let inner = dims[axis..].iter().product();
    let bias = if cx.present(2) { Some(cx.array(2)?) } else { None };
    let both = (cx.array(1)?, bias);
    normalized(cx, &LAYER, inner, 1, o.epsilon, both)
}

pub(super) fn softmax(cx: &mut Cx<'_, '_>) -> Outputs {
    let (axis, log) = match cx.op {
        Op::Softmax(o) => (o.axis, false),
        Op::LogSoftmax(o) => (o.axis, true),
        _ => return Ok(None),
    };
    let Some(dims) = cx.dims(0).filter(|d| !d.is_empty()) else { return Ok(None) };
    let rank = dims.len();
    let axis = match axis {
        None if cx.opset < 13 => axis_of(1.min(rank as i64 - 1), rank)?,
        axis => axis_of(axis.unwrap_or(-1), rank)?,
    };
    // Before opset 13, all axes from this one on are one.
    let (n, inner) = match cx.opset < 13 {
        true => (dims[axis..].iter().product(), 1),
        false => (dims[axis], dims[axis + 1..].iter().product::<usize>()),
    };
    let x = cx.array(0)?;
    let y = cx.result(&dims)?;
    let lines = x.len().checked_div(n).unwrap_or(0);
    let params = Params::new(&[lines, n, inner, usize::from(log)])?;
    cx.run(&Kernel::softmax(&[]), params, &[&x], &y, lines)?;
    cx.computed(vec![y])
}

pub(super) fn lrn(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Op::LRN(o), Some(dims)) = (cx.op, cx.dims(0)) else { return Ok(None) };
    let size = match usize::try_from(o.size) {
        Ok(n) if n > 0 && n < 1 << 24 && dims.len() >= 2 => n,
        _ => return Ok(None),
    };
    let inner = dims[2..].iter().product();
    let x = cx.array(0)?;
    let y = cx.result(&dims)?;
    let params = Params::new(&[y.len(), inner, dims[1], 0])?;
    let mut params = params;
    for w in [(size - 1) / 2, (size - 1).div_ceil(2), 0, 0] {
        params.push(w)?;
    }
    let params = params.float(o.alpha / size as f32).float(o.bias).float(o.beta);
    cx.run(&Kernel::lrn(&[]), params, &[&x], &y, y.len())?;
    cx.computed(vec![y])
}
