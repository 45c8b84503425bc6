//! Operators that move elements.

use graph_opt_ir::{DType, Op};

use crate::RunError;
use crate::cpu::arena::Elements;
use crate::cpu::array::{Array, Element, on_any};
use crate::cpu::cx::{Cx, Outputs, axis_of, extent, invalid, strides};

/// Elements of `a` at `offset + sum(index * stride)`, for all indices below `dims`; the caller
/// guarantees that they exist.
pub(super) fn strided(
    cx: &Cx<'_>,
    a: &Array,
    dims: Vec<usize>,
    step: &[isize],
    offset: usize,
) -> Result<Array, RunError> {
    fn run<T: Element>(
        cx: &Cx<'_>,
        v: &Elements<T>,
        (dims, dtype): (&[usize], DType),
        step: &[isize],
        offset: usize,
    ) -> Result<Array, RunError> {
        let mut out = cx.output::<T>(dims, dtype)?;
        out.typed_mut::<T>()?.gather(dims, v, step, offset);
        Ok(out)
    }
    on_any!(&a.data, v => run(cx, v, (&dims, a.dtype), step, offset))
}

fn signed(s: Vec<usize>) -> Vec<isize> {
    s.into_iter().map(|x| x as isize).collect()
}

/// Operators whose result is a strided view of their operand.
pub(super) fn view(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    let s = signed(a.strides());
    let out = match cx.op {
        Op::Transpose(o) => {
            let perm = match &o.perm {
                Some(p) => {
                    p.iter().map(|&p| axis_of(p, a.rank())).collect::<Result<Vec<_>, _>>()?
                }
                None => (0..a.rank()).rev().collect(),
            };
            transpose(cx, a, &perm)?
        }
        Op::Expand(_) => {
            let to: Vec<usize> = cx.ints(1)?.into_iter().map(extent).collect::<Result<_, _>>()?;
            let dims = super::binary::broadcast(&a.dims, &to)?;
            super::binary::expand(cx, a, &dims)?
        }
        Op::Tile(_) => {
            let times: Vec<usize> =
                cx.ints(1)?.into_iter().map(extent).collect::<Result<_, _>>()?;
            if times.len() != a.rank() {
                invalid!("{} repeats for rank {}", times.len(), a.rank());
            }
            let (mut dims, mut step, mut last) = (vec![], vec![], vec![]);
            for i in 0..a.rank() {
                dims.extend([times[i], a.dims[i]]);
                step.extend([0, s[i]]);
                let Some(n) = times[i].checked_mul(a.dims[i]) else {
                    invalid!("{:?} repeated {times:?} times", a.dims);
                };
                last.push(n);
            }
            strided(cx, a, dims, &step, 0)?.reshaped(last)?
        }
        Op::Slice(_) => slice(cx)?,
        Op::Crop(o) => {
            let b: Vec<usize> = o
                .border
                .as_deref()
                .unwrap_or(&[0; 4])
                .iter()
                .map(|&x| extent(x))
                .collect::<Result<_, _>>()?;
            let ([.., h, w], [left, top, right, bottom]) = (&a.dims[..], &b[..]) else {
                invalid!("border {b:?} of {:?}", a.dims);
            };
            let (rows, cols) = match o.scale.as_deref() {
                Some(&[rows, cols]) => (extent(rows)?, extent(cols)?),
                Some(s) => invalid!("scale {s:?}"),
                None => match (h.checked_sub(top + bottom), w.checked_sub(left + right)) {
                    (Some(r), Some(c)) => (r, c),
                    _ => invalid!("border {b:?} of {:?}", a.dims),
                },
            };
            if top.saturating_add(rows) > *h || left.saturating_add(cols) > *w {
                invalid!("cropping {rows} by {cols} out of {h} by {w}");
            }
            let mut dims = a.dims.clone();
            let r = dims.len();
            (dims[r - 2], dims[r - 1]) = (rows, cols);
            let offset = top * w + left;
            strided(cx, a, dims, &s, offset)?
        }
        Op::DepthToSpace(o) => {
            let (&[n, c, h, w], b) = (&a.dims[..], extent(o.blocksize)?) else {
                invalid!("rank {} instead of 4", a.rank());
            };
            let d = c.checked_div(b.saturating_mul(b)).unwrap_or(0);
            if d.saturating_mul(b).saturating_mul(b) != c {
                invalid!("{c} channels in blocks of {b} by {b}");
            }
            let (split, perm) = match o.mode.as_str() {
                "CRD" => (vec![n, d, b, b, h, w], [0, 1, 4, 2, 5, 3]),
                "DCR" => (vec![n, b, b, d, h, w], [0, 3, 4, 1, 5, 2]),
                m => invalid!("mode {m:?}"),
            };
            let a = transpose(cx, &a.clone().reshaped(split)?, &perm)?;
            a.reshaped(vec![n, d, h * b, w * b])?
        }
        Op::SpaceToDepth(o) => {
            let (&[n, c, h, w], b) = (&a.dims[..], extent(o.blocksize)?) else {
                invalid!("rank {} instead of 4", a.rank());
            };
            if b == 0 || h % b != 0 || w % b != 0 {
                invalid!("{h} by {w} in blocks of {b}");
            }
            let a = a.clone().reshaped(vec![n, c, h / b, b, w / b, b])?;
            let perm = match o.mode.as_str() {
                "CRD" => [0, 1, 3, 5, 2, 4],
                "DCR" => [0, 3, 5, 1, 2, 4],
                m => invalid!("mode {m:?}"),
            };
            let a = transpose(cx, &a, &perm)?;
            a.reshaped(vec![n, c * b * b, h / b, w / b])?
        }
        _ => invalid!("{} is no view", cx.op.name()),
    };
    Ok(vec![out])
}

pub(super) fn transpose(cx: &Cx<'_>, a: &Array, perm: &[usize]) -> Result<Array, RunError> {
    let mut seen = vec![false; a.rank()];
    perm.iter().for_each(|&p| seen[p] = true);
    if perm.len() != a.rank() || seen.contains(&false) {
        invalid!("{perm:?} does not permute {} axes", a.rank());
    }
    let s = a.strides();
    let dims = perm.iter().map(|&p| a.dims[p]).collect();
    let step: Vec<isize> = perm.iter().map(|&p| s[p] as isize).collect();
    strided(cx, a, dims, &step, 0)
}

fn slice(cx: &Cx<'_>) -> Result<Array, RunError> {
    let Op::Slice(o) = cx.op else { invalid!("not a Slice") };
    let a = cx.input(0)?;
    let (starts, ends, axes, steps) = if cx.opset < 10 {
        let (Some(s), Some(e)) = (&o.starts, &o.ends) else { invalid!("no starts or ends") };
        (s.clone(), e.clone(), o.axes.clone(), None)
    } else {
        (cx.ints(1)?, cx.ints(2)?, cx.opt_ints(3)?, cx.opt_ints(4)?)
    };
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        invalid!("starts, ends, axes and steps differ in length");
    }
    let mut dims = a.dims.clone();
    let mut step = signed(a.strides());
    let mut offset = 0;
    let mut seen = vec![false; a.rank()];
    for i in 0..starts.len() {
        let axis = axis_of(axes[i], a.rank())?;
        // ONNX leaves open what a repeated axis means; ONNX Runtime refuses it.
        if std::mem::replace(&mut seen[axis], true) {
            invalid!("axes {axes:?} name axis {axis} twice");
        }
        let n = a.dims[axis] as i64;
        let by = steps[i];
        let wrap = |x: i64| if x < 0 { x.saturating_add(n) } else { x };
        let (lo, hi, count);
        if by > 0 {
            (lo, hi) = (wrap(starts[i]).clamp(0, n), wrap(ends[i]).clamp(0, n));
            count = if hi > lo { (hi - lo - 1) / by + 1 } else { 0 };
        } else if by < 0 {
            // ONNX lets a start before the first element be the first, unlike Python.
            (lo, hi) = (wrap(starts[i]).min(n - 1).max(0), wrap(ends[i]).min(n - 1).max(-1));
            count = if n > 0 && lo > hi { (lo - hi - 1) / by.saturating_neg() + 1 } else { 0 };
        } else {
            invalid!("step 0");
        }
        dims[axis] = count as usize;
        offset += lo.max(0) as usize * step[axis] as usize;
        // A single element is not walked from, so the step does not matter then.
        step[axis] = step[axis].saturating_mul(isize::try_from(by).unwrap_or(0));
    }
    strided(cx, a, dims, &step, offset)
}

pub(super) fn concat(cx: &mut Cx<'_>) -> Outputs {
    let Op::Concat(o) = cx.op else { invalid!("not a Concat") };
    let first = cx.input(0)?;
    let axis = axis_of(o.axis, first.rank())?;
    let all: Vec<&Array> = cx.inputs.iter().flatten().collect();
    let mut dims = first.dims.clone();
    dims[axis] = 0;
    for a in &all {
        let fits = a.rank() == dims.len()
            && (0..dims.len()).all(|i| i == axis || a.dims[i] == first.dims[i]);
        if !fits {
            invalid!("{:?} and {:?} along axis {axis}", first.dims, a.dims);
        }
        dims[axis] = dims[axis].saturating_add(a.dims[axis]);
    }
    fn run<T: Element>(
        cx: &Cx<'_>,
        _: &Elements<T>,
        all: &[&Array],
        (dims, dtype): (&[usize], DType),
        axis: usize,
    ) -> Result<Array, RunError> {
        let mut out = cx.output::<T>(dims, dtype)?;
        let strides = out.strides();
        let step = signed(strides.clone());
        let mut at = 0;
        for a in all {
            // Operands that were made where they belong stay there.
            if !out.part(a.dims.clone(), at * strides[axis], &strides).stands_at(a) {
                let from = signed(a.strides());
                let out = out.typed_mut::<T>()?;
                out.scatter(&a.dims, (&step, at * strides[axis]), a.typed::<T>()?, &from);
            }
            at += a.dims[axis];
        }
        Ok(out)
    }
    Ok(vec![on_any!(&first.data, v => run(cx, v, &all, (&dims, first.dtype), axis))?])
}

pub(super) fn split(cx: &mut Cx<'_>) -> Outputs {
    let Op::Split(o) = cx.op else { invalid!("not a Split") };
    let a = cx.input(0)?;
    let axis = axis_of(o.axis, a.rank())?;
    let n = a.dims[axis];
    let given = if cx.opset < 13 { o.split.clone() } else { cx.opt_ints(1)? };
    let parts: Vec<usize> = match given {
        Some(p) => p.into_iter().map(extent).collect::<Result<_, _>>()?,
        None => {
            let count = match o.num_outputs {
                Some(c) => extent(c)?,
                None => cx.outputs,
            };
            if count == 0 || count > cx.outputs.max(1) {
                invalid!("{count} parts for {} results", cx.outputs);
            }
            let each = n.div_ceil(count);
            (0..count).map(|i| each.min(n.saturating_sub(i * each))).collect()
        }
    };
    if parts.iter().fold(0usize, |a, &b| a.saturating_add(b)) != n {
        invalid!("parts {parts:?} of an axis of {n}");
    }
    let s = a.strides();
    let step = signed(s.clone());
    let mut at = 0;
    parts
        .into_iter()
        .map(|p| {
            let mut dims = a.dims.clone();
            dims[axis] = p;
            let part = strided(cx, a, dims, &step, at * s[axis]);
            at += p;
            part
        })
        .collect()
}

pub(super) fn pad(cx: &mut Cx<'_>) -> Outputs {
    let Op::Pad(o) = cx.op else { invalid!("not a Pad") };
    let a = cx.input(0)?;
    let rank = a.rank();
    let pads = match &o.pads {
        Some(p) if cx.opset < 11 => p.clone(),
        _ => cx.ints(1)?,
    };
    let axes: Vec<usize> = match cx.opt_ints(3)? {
        Some(axes) => axes.into_iter().map(|x| axis_of(x, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        invalid!("{} pads for {} axes", pads.len(), axes.len());
    }
    let (mut begin, mut dims) = (vec![0i64; rank], a.dims.clone());
    for (i, &axis) in axes.iter().enumerate() {
        let (b, e) = (pads[i], pads[axes.len() + i]);
        let n = (a.dims[axis] as i64).checked_add(b).and_then(|n| n.checked_add(e));
        let Some(n) = n.and_then(|n| usize::try_from(n).ok()) else {
            invalid!("pads {b} and {e} on an axis of {}", a.dims[axis]);
        };
        (begin[axis], dims[axis]) = (b, n);
    }
    // Where along each axis an element comes from.
    let mut from: Vec<Vec<Option<usize>>> = Vec::new();
    for axis in 0..rank {
        let n = a.dims[axis] as i64;
        // Two words for each index.
        cx.room::<u64>(&[dims[axis], 2])?;
        let source = |i: usize| -> Result<Option<usize>, RunError> {
            let i = i as i64 - begin[axis];
            if (0..n).contains(&i) {
                return Ok(Some(i as usize));
            }
            if n == 0 && o.mode != "constant" {
                invalid!("mode {:?} of an empty axis", o.mode);
            }
            Ok(match o.mode.as_str() {
                "constant" => None,
                "edge" => Some(i.clamp(0, n - 1) as usize),
                "reflect" if n == 1 => Some(0),
                "reflect" => {
                    let r = i.rem_euclid(2 * n - 2);
                    Some(r.min(2 * n - 2 - r) as usize)
                }
                "wrap" => Some(i.rem_euclid(n) as usize),
                m => invalid!("mode {m:?}"),
            })
        };
        from.push((0..dims[axis]).map(source).collect::<Result<_, _>>()?);
    }
    let value = cx.opt(2).cloned();
    let k = cx.key();
    fn run<T: Element>(
        cx: &Cx<'_>,
        v: &[T],
        dims: &[usize],
        from: &[Vec<Option<usize>>],
        s: &[usize],
        fill: T,
    ) -> Result<Vec<T>, RunError> {
        let n = cx.room::<T>(dims)?;
        let mut out = vec![fill; n];
        let Some((inner, outer)) = from.split_last() else {
            out.clone_from_slice(v);
            return Ok(out);
        };
        let len = inner.len();
        if n == 0 {
            return Ok(out);
        }
        let mut index = vec![0; outer.len()];
        for row in out.chunks_exact_mut(len) {
            let base = (0..outer.len()).try_fold(0, |at, i| Some(at + outer[i][index[i]]? * s[i]));
            if let Some(base) = base {
                for (o, f) in row.iter_mut().zip(inner) {
                    if let Some(f) = f {
                        o.clone_from(&v[base + f]);
                    }
                }
            }
            for i in (0..index.len()).rev() {
                index[i] += 1;
                if index[i] < dims[i] {
                    break;
                }
                index[i] = 0;
            }
        }
        Ok(out)
    }
    let s = strides(&a.dims);
    fn first<T: Element>(_: &[T], value: Option<&Array>) -> Result<T, RunError> {
        match value {
            Some(v) => match v.get::<T>()? {
                [x] => Ok(x.clone()),
                v => invalid!("a padding value of {} elements", v.len()),
            },
            None => Ok(T::default()),
        }
    }
    let value = match value {
        None if cx.opset < 11 && o.value != 0.0 => {
            let x = Array::new(vec![], vec![o.value]);
            let x = super::unary::convert(cx, x, a.dtype)?;
            Some(if a.is_field() { x.embedded(k) } else { x })
        }
        v => v,
    };
    let data = on_any!(&a.data, v => {
        Element::wrap(run(cx, v, &dims, &from, &s, first(v, value.as_ref())?)?)
    });
    Ok(vec![Array { dtype: a.dtype, dims, data }])
}
