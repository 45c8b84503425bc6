//! Operators whose elements come from computed places: Pad, Gather, Resize.

use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::resize::{Target, target};
use graph_opt_ir::{Op, Tensor, layout_params, op};

use super::{Cx, MAX_AXES, Outputs, moved, strides};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::stream::{Array, Params};

pub(super) fn pad(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Op::Pad(o), Some(dims)) = (cx.op, cx.dims(0)) else { return Ok(None) };
    let mode = match o.mode.as_str() {
        "constant" => 0,
        "edge" => 1,
        "reflect" => 2,
        "wrap" => 3,
        _ => return Ok(None),
    };
    let pads = cx.with_rules(layout_params::pads)?;
    let Some(Ok(Some(pads))) = pads else { return Ok(None) };
    let value = match cx.tensor(2)? {
        Some(t) => match t.to_f32s().as_deref() {
            Some(&[x]) => x,
            _ => return Ok(None),
        },
        None if cx.opset < 11 => o.value,
        None => 0.0,
    };
    let mut out = vec![];
    for (&n, (b, e)) in dims.iter().zip(&pads) {
        let m = (n as i64).saturating_add(*b).saturating_add(*e);
        match usize::try_from(m) {
            Ok(m) if n > 0 || mode == 0 => out.push(m),
            _ => return Ok(None),
        }
    }
    if dims.len() > MAX_AXES {
        return Ok(None);
    }
    let x = cx.array(0)?;
    let y = cx.result(&out)?;
    let params = Params::new(&[y.len(), dims.len(), mode])?;
    let mut params = params.float(value);
    for (i, s) in strides(&dims).into_iter().enumerate() {
        // Negative where elements are cut off.
        let begin = (pads[i].0 as u32) as usize;
        [out[i], dims[i], begin, s].into_iter().try_for_each(|w| params.push(w))?;
    }
    cx.run(&Kernel::pad(&[]), params, &[&x], &y, y.len())?;
    moved(vec![y])
}

/// Elements of `x` along the axis at these indices.
fn picked(cx: &mut Cx<'_, '_>, x: &Array, axis: usize, picks: &[u32]) -> Result<Array, RunError> {
    let table = cx.stream.upload(bytemuck::cast_slice(picks))?;
    let mut dims = x.dims.clone();
    dims[axis] = picks.len();
    let y = cx.stream.array(&dims, x.dtype)?;
    let inner = dims[axis + 1..].iter().product();
    let params = Params::new(&[y.len(), picks.len(), inner, x.dims[axis]])?;
    let table = Array { buffer: table, dims: vec![], dtype: x.dtype };
    cx.run(&Kernel::gather(&[]), params, &[x, &table], &y, y.len())?;
    Ok(y)
}

/// `Gather` of floats at indices from the host.
pub(super) fn gather(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Op::Gather(o), Some(dims), Some((_, at))) = (cx.op, cx.dims(0), cx.ty(1)) else {
        return Ok(None);
    };
    let axis = axis_of(o.axis, dims.len())?;
    let n = dims[axis] as i64;
    let Some(indices) = cx.tensor(1)?.and_then(|t| t.to_i64s()) else { return Ok(None) };
    let wrap = |i: i64| u32::try_from(if i < 0 { i + n } else { i }).ok();
    let picks: Option<Vec<u32>> =
        indices.into_iter().map(|i| wrap(i).filter(|&i| i64::from(i) < n)).collect();
    // The host reports indices that are out of range.
    let Some(picks) = picks else { return Ok(None) };
    let x = cx.array(0)?;
    let y = picked(cx, &x, axis, &picks)?;
    let out: Vec<usize> = [&dims[..axis], &at[..], &dims[axis + 1..]].concat();
    moved(vec![y.reshaped(out)])
}

/// Most entries of the matrix that [`taps`] looks at.
const MATRIX: usize = 1 << 24;

/// Weights of the inputs of each output along an axis.
type Taps = Vec<Vec<(u32, f32)>>;

pub(super) fn resize(cx: &mut Cx<'_, '_>) -> Outputs {
    let Some(dims) = cx.dims(0) else { return Ok(None) };
    let simple = |mode: &str| op::Resize {
        antialias: 0,
        axes: None,
        coordinate_transformation_mode: Some("asymmetric".into()),
        cubic_coeff_a: -0.75,
        exclude_outside: 0,
        extrapolation_value: 0.0,
        keep_aspect_ratio_policy: "stretch".into(),
        mode: mode.into(),
        nearest_mode: "floor".into(),
    };
    let plain = match cx.op {
        Op::Upsample(o) => simple(&o.mode),
        Op::Resize(o) if cx.opset < 11 => simple(&o.mode),
        Op::Resize(o) => op::Resize { axes: None, ..o.clone() },
        _ => return Ok(None),
    };
    let crops = plain.coordinate_transformation_mode.as_deref() == Some("tf_crop_and_resize");
    if crops || plain.keep_aspect_ratio_policy != "stretch" || dims.contains(&0) {
        return Ok(None);
    }
    let Some(Ok(Some(target))) = cx.with_rules(target)? else { return Ok(None) };
    let x = cx.array(0)?;
    let mut y = x;
    // From the last axis to the first, as the reference interpreter does.
    for (axis, &n) in dims.iter().enumerate().rev() {
        let taps = match &target {
            Target::Scales(s) => taps(&plain, n, Ok(s[axis]))?,
            Target::Sizes(d) => match d[axis].known() {
                Some(m) => taps(&plain, n, Err(m))?,
                None => return Ok(None),
            },
        };
        let Some(taps) = taps else { return Ok(None) };
        y = along(cx, y, axis, &taps)?;
    }
    cx.computed(vec![y])
}

/// The operator's weights along an axis of `n` inputs, by a factor or to an extent: what the
/// reference interpreter makes of the unit vectors. So both have the same weights.
fn taps(plain: &op::Resize, n: usize, to: Result<f32, u64>) -> Result<Option<Taps>, RunError> {
    let out = match to {
        Ok(s) => (n as f64 * f64::from(s)).floor() as u64,
        Err(m) => m,
    };
    let Ok(m) = usize::try_from(out) else { return Ok(None) };
    if to == Ok(1.0) || (to.is_err() && m == n && plain.mode == "nearest") {
        return Ok(Some((0..n as u32).map(|i| vec![(i, 1.0)]).collect()));
    }
    if m == 0 || n.saturating_mul(n.max(m)) > MATRIX {
        return Ok(None);
    }
    let mut unit = vec![0f32; n * n];
    (0..n).for_each(|i| unit[i * n + i] = 1.0);
    let unit = Tensor::f32s(&[n as u64; 2], &unit)?;
    let none = Some(Tensor::f32s(&[0], &[])?);
    let (scales, sizes) = match to {
        Ok(s) => (Some(Tensor::f32s(&[2], &[1.0, s])?), None),
        Err(m) => (none.clone(), Some(Tensor::i64s(&[n as i64, m as i64]))),
    };
    let op = Op::from(plain.clone());
    let inputs = [Some(unit), none, scales, sizes];
    let matrix = crate::cpu::evaluate(&op, 19, &inputs, 1, crate::cpu::DEFAULT_MAX_BYTES)?;
    let matrix = matrix.first().and_then(Tensor::to_f32s);
    let Some(matrix) = matrix.filter(|v| v.len() == n * m) else { return Ok(None) };
    let weight = |o: usize, i: usize| matrix[i * m + o];
    let of = |o: usize| {
        let all = (0..n).map(move |i| (i as u32, weight(o, i)));
        all.filter(|t| t.1 != 0.0).collect()
    };
    Ok(Some((0..m).map(of).collect()))
}

/// Sums along one axis.
fn along(cx: &mut Cx<'_, '_>, x: Array, axis: usize, taps: &Taps) -> Result<Array, RunError> {
    let n = x.dims[axis];
    let single: Option<Vec<u32>> =
        taps.iter().map(|t| if let [(i, 1.0)] = t[..] { Some(i) } else { None }).collect();
    if let Some(picks) = single {
        if picks.iter().copied().eq(0..n as u32) {
            return Ok(x);
        }
        return picked(cx, &x, axis, &picks);
    }
    let (mut table, mut at) = (vec![], 0u32);
    for t in taps {
        table.push(at);
        at += t.len() as u32;
    }
    table.push(at);
    for (i, w) in taps.iter().flatten() {
        table.extend([*i, w.to_bits()]);
    }
    let mut dims = x.dims.clone();
    dims[axis] = taps.len();
    let y = cx.stream.array(&dims, x.dtype)?;
    let table = cx.stream.upload(bytemuck::cast_slice(&table))?;
    let table = Array { buffer: table, dims: vec![], dtype: x.dtype };
    let inner = dims[axis + 1..].iter().product();
    let params = Params::new(&[y.len(), taps.len(), inner, n])?;
    cx.run(&Kernel::taps(&[]), params, &[&x, &table], &y, y.len())?;
    Ok(y)
}
