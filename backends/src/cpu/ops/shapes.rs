//! Operators that change only the shape, and those that make values from shapes or nothing.

use graph_opt_ir::{DType, Op};

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, on_any, on_number};
use crate::cpu::cx::{Cx, Outputs, axis_of, dtype_of, extent, invalid, unsupported};
use crate::cpu::scalar::Scalar;

/// Dropout: the identity, since what it drops in training is random.
pub(super) fn dropout(cx: &mut Cx<'_>) -> Outputs {
    let training = cx.opset >= 12 && cx.opt_ints(2)?.is_some_and(|t| t != [0]);
    // Where no ratio is given it is one half.
    let ratio = cx.opt(1).map(|r| r.tensor()).transpose()?.and_then(|r| r.to_f32s());
    if training && ratio.is_none_or(|r| r != [0.0]) {
        unsupported!("Dropout in training");
    }
    let a = cx.take(0)?;
    if cx.outputs < 2 {
        return Ok(vec![a]);
    }
    let n = cx.room::<bool>(&a.dims)?;
    let mask = Array::new(a.dims.clone(), vec![true; n]);
    // In earlier versions the mask is of the type of what it masks.
    let mask = match cx.opset {
        ..10 if a.is_field() => {
            Array { dtype: a.dtype, ..super::convert(mask, DType::F32, cx.env)?.embedded(cx.key()) }
        }
        ..10 => super::convert(mask, a.dtype, cx.env)?,
        _ => mask,
    };
    Ok(vec![a, mask])
}

/// Identity and Transfer, whose result is the operand.
pub(super) fn identity(cx: &mut Cx<'_>) -> Outputs {
    Ok(vec![cx.take(0)?])
}

/// Reshape, Flatten, Squeeze, Unsqueeze.
pub(super) fn reshape(cx: &mut Cx<'_>) -> Outputs {
    let dims = cx.input(0)?.dims.clone();
    let axes = |attr: &Option<Vec<i64>>| match attr {
        Some(a) if cx.opset < 13 => Ok(Some(a.clone())),
        _ => cx.opt_ints(1),
    };
    let to = match cx.op {
        Op::Flatten(o) => {
            let r = dims.len() as i64;
            let axis = if o.axis < 0 { o.axis.saturating_add(r) } else { o.axis };
            if !(0..=r).contains(&axis) {
                invalid!("axis {axis} for rank {r}");
            }
            let (a, b) = dims.split_at(axis as usize);
            vec![a.iter().product(), b.iter().product()]
        }
        Op::Squeeze(o) => {
            let axes: Option<Vec<usize>> = match axes(&o.axes)? {
                Some(a) => {
                    Some(a.into_iter().map(|x| axis_of(x, dims.len())).collect::<Result<_, _>>()?)
                }
                None => None,
            };
            if let Some(bad) = axes.iter().flatten().find(|&&i| dims[i] != 1) {
                invalid!("axis {bad} of {dims:?} is not 1");
            }
            let keep = |&(i, &d): &(usize, &usize)| match &axes {
                Some(a) => !a.contains(&i),
                None => d != 1,
            };
            dims.iter().enumerate().filter(keep).map(|(_, &d)| d).collect()
        }
        Op::Unsqueeze(o) => {
            let Some(axes) = axes(&o.axes)? else { invalid!("no axes") };
            let rank = dims.len() + axes.len();
            let mut new = vec![false; rank];
            for a in axes {
                let a = axis_of(a, rank)?;
                if std::mem::replace(&mut new[a], true) {
                    invalid!("axis {a} twice");
                }
            }
            let mut rest = dims.iter();
            new.into_iter().map(|n| if n { 1 } else { *rest.next().unwrap_or(&1) }).collect()
        }
        Op::Reshape(o) => reshaped(&dims, &cx.ints(1)?, o.allowzero != 0)?,
        _ => invalid!("{} is no reshape", cx.op.name()),
    };
    Ok(vec![cx.take(0)?.reshaped(to)?])
}

fn reshaped(from: &[usize], to: &[i64], allow_zero: bool) -> Result<Vec<usize>, RunError> {
    let mut dims = Vec::with_capacity(to.len());
    let mut open = None;
    for (i, &d) in to.iter().enumerate() {
        dims.push(match d {
            -1 if open.is_none() => {
                open = Some(i);
                1
            }
            0 if !allow_zero => match from.get(i) {
                Some(&n) => n,
                None => invalid!("0 at position {i} for {from:?}"),
            },
            d => extent(d)?,
        });
    }
    if let Some(i) = open {
        let known = dims.iter().try_fold(1usize, |a, &b| a.checked_mul(b)).unwrap_or(0);
        let n: usize = from.iter().product();
        match n.checked_div(known) {
            Some(q) if q * known == n => dims[i] = q,
            _ => invalid!("{from:?} does not fit {to:?}"),
        }
    }
    Ok(dims)
}

pub(super) fn shape(cx: &mut Cx<'_>) -> Outputs {
    let dims = &cx.input(0)?.dims;
    let r = dims.len() as i64;
    Ok(vec![match cx.op {
        Op::Shape(o) => {
            let at = |x: i64| (if x < 0 { x.saturating_add(r) } else { x }).clamp(0, r) as usize;
            let (lo, hi) = (at(o.start), at(o.end.unwrap_or(r)));
            let v: Vec<i64> = dims[lo..hi.max(lo)].iter().map(|&d| d as i64).collect();
            Array::new(vec![v.len()], v)
        }
        _ => Array::new(vec![], vec![cx.input(0)?.len() as i64]),
    }])
}

pub(super) fn constant(cx: &mut Cx<'_>) -> Outputs {
    let Op::Constant(o) = cx.op else { invalid!("not a Constant") };
    match graph_opt_ir::graph::constant_value(o) {
        Some(t) => Ok(vec![Array::of(&t)?]),
        None => unsupported!("a constant of this kind"),
    }
}

pub(super) fn constant_of_shape(cx: &mut Cx<'_>) -> Outputs {
    let Op::ConstantOfShape(o) = cx.op else { invalid!("not a ConstantOfShape") };
    let dims: Vec<usize> = cx.ints(0)?.into_iter().map(extent).collect::<Result<_, _>>()?;
    let value = match &o.value {
        Some(t) => Array::of(t)?,
        None => Array::new(vec![1], vec![0f32]),
    };
    fn fill<T: Element>(cx: &Cx<'_>, v: &[T], dims: &[usize]) -> Result<Vec<T>, RunError> {
        let [x] = v else { invalid!("a value of {} elements", v.len()) };
        Ok(vec![x.clone(); cx.room::<T>(dims)?])
    }
    let data = on_any!(&value.data, v => Element::wrap(fill(cx, v, &dims)?));
    Ok(vec![Array { dims, dtype: value.dtype, data }])
}

pub(super) fn range(cx: &mut Cx<'_>) -> Outputs {
    let (a, b, s) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    if [a.len(), b.len(), s.len()] != [1; 3] {
        invalid!("operands are not scalars");
    }
    if matches!(a.data, Buf::Field(_)) {
        return Err(RunError::NotInField("Range of inputs".into()));
    }
    fn run<T: Scalar>(cx: &Cx<'_>, v: &[T], s: &Array, n: usize) -> Result<Vec<T>, RunError> {
        cx.room::<T>(&[n])?;
        let s = s.get::<T>()?[0];
        let k = cx.key();
        Ok((0..n).map(|i| v[0].plus(T::of(i as f64, k).times(s))).collect())
    }
    let count = match a.dtype {
        DType::F32 | DType::F64 => {
            let (a, b, s) = (a.to_f64s()?[0], b.to_f64s()?[0], s.to_f64s()?[0]);
            ((b - a) / s).ceil()
        }
        _ => {
            let (a, b, s) = (cx.int(0)?, cx.int(1)?, cx.int(2)?);
            if s == 0 {
                invalid!("step 0");
            }
            let d = i128::from(b) - i128::from(a);
            let s = i128::from(s);
            let n = if (d > 0) == (s > 0) { (d.abs() + s.abs() - 1) / s.abs() } else { 0 };
            n as f64
        }
    };
    if count.is_nan() {
        invalid!("the number of elements is not a number");
    }
    let n = count.max(0.0) as usize;
    let data = on_number!(&a.data, v => Element::wrap(run(cx, v, s, n)?), else {
        invalid!("Range of {}", a.dtype)
    });
    Ok(vec![Array { dims: vec![n], dtype: a.dtype, data }])
}

pub(super) fn eye_like(cx: &mut Cx<'_>) -> Outputs {
    let Op::EyeLike(o) = cx.op else { invalid!("not an EyeLike") };
    let a = cx.input(0)?;
    let &[h, w] = &a.dims[..] else { invalid!("rank {} instead of 2", a.rank()) };
    let to = match o.dtype {
        Some(d) => dtype_of(d)?,
        None => a.dtype,
    };
    let mut v = cx.zeros::<f32>(&[h, w])?;
    for i in 0..h {
        if let Some(j) = (i as i64).checked_add(o.k).and_then(|j| usize::try_from(j).ok())
            && j < w
        {
            v[i * w + j] = 1.0;
        }
    }
    Ok(vec![super::unary::convert(cx, Array::new(vec![h, w], v), to)?])
}
