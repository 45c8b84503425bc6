//! Convolutions.

use graph_opt_ir::Op;

use super::{Cx, Outputs, elementwise};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::ops::pool::geometry;
use crate::wgpu::stream::{Array, GROUP, Params};

/// Places that a thread computes.
pub(in crate::wgpu) const PIXELS: &str = "4";
const PIXELS_N: usize = 4;

pub(super) fn conv(cx: &mut Cx<'_, '_>) -> Outputs {
    let group = match cx.op {
        Op::Conv(o) => o.group,
        Op::FusedConv(o) => o.group,
        _ => return Ok(None),
    };
    let (Some(x), Some(w), Ok(groups)) = (cx.dims(0), cx.dims(1), usize::try_from(group)) else {
        return Ok(None);
    };
    let Some(g) = geometry(cx.op, &x, Some(&w)) else { return Ok(None) };
    let m = w[0];
    let fits = groups > 0
        && m % groups == 0
        && w[1].checked_mul(groups) == Some(x[1])
        && (!cx.present(2) || cx.dims(2).is_some_and(|b| b == [m]));
    if !fits {
        return Ok(None);
    }
    let (cin, cout) = (w[1], m / groups);
    let taps: usize = g.kernel.iter().product();
    let mut dims = vec![x[0], m];
    dims.extend_from_slice(&g.output[5 - x.len()..]);
    let eight = groups == 1 || cout >= 8;
    let blocks = if eight { cout.div_ceil(8) } else { cout };
    let weights = match eight {
        true => packed(cx, groups * blocks * 8 * cin * taps, cin * taps, cout, blocks)?,
        false => cx.array(1)?,
    };
    let x = cx.array(0)?;
    let bias = if cx.present(2) { Some(cx.array(2)?) } else { None };
    let y = cx.result(&dims)?;
    let plane: usize = g.output.iter().product();
    let mut p = Params::new(&[plane, g.output[1], g.output[2], m])?;
    for (three, one) in [
        (g.input, cin),
        (g.kernel, cout),
        (g.stride, blocks),
        (g.dilation, usize::from(bias.is_some())),
        (g.begin, groups),
    ] {
        three.into_iter().chain([one]).try_for_each(|w| p.push(w))?;
    }
    let slots = [("PIXELS", PIXELS)];
    let kernel = if eight { Kernel::conv_eight(&slots) } else { Kernel::conv_one(&slots) };
    let inputs = [&*x.buffer, &*weights.buffer, &*bias.as_ref().unwrap_or(&x).buffer];
    let count =
        |n: usize| u32::try_from(n).map_err(|_| RunError::Unsupported(format!("{n} workgroups")));
    let grid = [count(plane.div_ceil(GROUP * PIXELS_N))?, count(groups * blocks)?, count(dims[0])?];
    if y.len() > 0 {
        cx.stream.run(&kernel, p, &inputs, &y.buffer, grid)?;
    }
    let Op::FusedConv(o) = cx.op else { return cx.computed(vec![y]) };
    // ONNX Runtime: the sum before the activation.
    let y = if cx.present(3) {
        let z = cx.array(3)?;
        match elementwise::zip(cx, "x + y", &y, &z)? {
            Some(y) => y,
            None => return Ok(None),
        }
    } else {
        y
    };
    match activated(cx, &o.activation, o.activation_params.as_deref(), &y)? {
        Some(y) => cx.computed(vec![y]),
        None => Ok(None),
    }
}

/// The activation of a fused operator.
fn activated(
    cx: &mut Cx<'_, '_>,
    name: &str,
    params: Option<&[f32]>,
    a: &Array,
) -> Result<Option<Array>, RunError> {
    use graph_opt_ir::op;
    let p = |i: usize| params.and_then(|p| p.get(i).copied());
    let op: Op = match name {
        "" => return Ok(Some(a.clone())),
        "Relu" => op::Relu {}.into(),
        "Sigmoid" => op::Sigmoid {}.into(),
        "Tanh" => op::Tanh {}.into(),
        "LeakyRelu" => op::LeakyRelu { alpha: p(0).unwrap_or(0.01) }.into(),
        "HardSigmoid" => {
            op::HardSigmoid { alpha: p(0).unwrap_or(0.2), beta: p(1).unwrap_or(0.5) }.into()
        }
        "Clip" => return elementwise::clipped(cx, [p(0), p(1)], a).map(Some),
        _ => return Ok(None),
    };
    let Some((body, numbers)) = elementwise::body(&op) else { return Ok(None) };
    elementwise::apply(cx, body, &numbers, a).map(Some)
}

/// The weights in the order in which the kernel reads them; kept if they are a constant.
fn packed(
    cx: &mut Cx<'_, '_>,
    elements: usize,
    taps: usize,
    cout: usize,
    blocks: usize,
) -> Result<Array, RunError> {
    let id = cx.ids.get(1).copied().flatten();
    if let Some(a) = id.and_then(|id| cx.packed.get(&id))
        && a.dims == [elements, cout]
    {
        return Ok(a.clone());
    }
    let w = cx.array(1)?;
    let mut a = cx.stream.array(&[elements], w.dtype)?;
    let params = Params::new(&[elements, taps, cout, blocks])?;
    cx.run(&Kernel::pack(&[]), params, &[&w], &a, elements)?;
    // Two convolutions may read the same weights in different groups.
    a.dims = vec![elements, cout];
    if let Some(id) = id {
        cx.packed.insert(id, a.clone());
        // The kernel reads only the packed ones.
        if let Some(Some(slot)) = cx.inputs.get_mut(1)
            && slot.host.is_some()
        {
            slot.device = None;
        }
    }
    Ok(a)
}

pub(super) fn conv_transpose(cx: &mut Cx<'_, '_>) -> Outputs {
    let Op::ConvTranspose(o) = cx.op else { return Ok(None) };
    let (Some(x), Some(w), Ok(groups)) = (cx.dims(0), cx.dims(1), usize::try_from(o.group)) else {
        return Ok(None);
    };
    let Some(g) = geometry(cx.op, &x, Some(&w)) else { return Ok(None) };
    let fits = groups > 0 && x[1] % groups == 0 && w[0] == x[1];
    let m = w[1].saturating_mul(groups);
    if !fits || (cx.present(2) && cx.dims(2).is_none_or(|b| b != [m])) {
        return Ok(None);
    }
    let mut dims = vec![x[0], m];
    dims.extend_from_slice(&g.output[5 - x.len()..]);
    let y = cx.result(&dims)?;
    let bias = if cx.present(2) { Some(cx.array(2)?) } else { None };
    let (x, weights) = (cx.array(0)?, cx.array(1)?);
    let plane: usize = g.output.iter().product();
    let mut p = Params::new(&[plane, g.output[1], g.output[2], m])?;
    for (three, one) in [
        (g.input, w[0] / groups),
        (g.kernel, w[1]),
        (g.stride, y.len()),
        (g.dilation, usize::from(bias.is_some())),
        (g.begin, groups),
    ] {
        three.into_iter().chain([one]).try_for_each(|w| p.push(w))?;
    }
    let b = bias.as_ref().unwrap_or(&x);
    cx.run(&Kernel::conv_transpose(&[]), p, &[&x, &weights, b], &y, y.len())?;
    cx.computed(vec![y])
}
