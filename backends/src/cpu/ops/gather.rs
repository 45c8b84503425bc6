//! Operators that pick or place elements by indices that are computed at run time.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, on_any, on_number};
use crate::cpu::cx::{Cx, Outputs, axis_of, extent, invalid, strides, unsupported};
use crate::cpu::field::Key;
use crate::cpu::scalar::Scalar;

/// An index from a tensor; negative ones count from the end.
fn index(i: i64, n: usize) -> Result<usize, RunError> {
    let at = if i < 0 { i.saturating_add(n as i64) } else { i };
    match usize::try_from(at) {
        Ok(at) if at < n => Ok(at),
        _ => invalid!("index {i} is out of range for {n} elements"),
    }
}

/// Blocks of `size` elements from these places.
pub(super) fn blocks<T: Element>(v: &[T], from: &[usize], size: usize) -> Vec<T> {
    from.iter().flat_map(|&at| &v[at..at + size]).cloned().collect()
}

pub(super) fn gather(cx: &mut Cx<'_>) -> Outputs {
    let Op::Gather(o) = cx.op else { invalid!("not a Gather") };
    let (a, i) = (cx.input(0)?, cx.input(1)?);
    let axis = axis_of(o.axis, a.rank())?;
    let n = a.dims[axis];
    let places = cx.ints(1)?.into_iter().map(|i| index(i, n)).collect::<Result<Vec<_>, _>>()?;
    let mut dims = a.dims[..axis].to_vec();
    dims.extend(&i.dims);
    dims.extend(&a.dims[axis + 1..]);
    let outer: usize = a.dims[..axis].iter().product();
    let size: usize = a.dims[axis + 1..].iter().product();
    cx.room::<u64>(&dims)?;
    let from: Vec<usize> =
        (0..outer).flat_map(|o| places.iter().map(move |p| (o * n + p) * size)).collect();
    let data = on_any!(&a.data, v => Element::wrap(blocks(v, &from, size)));
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}

/// For every element of `dims`, where it stands in a tensor of `whole`, with its index along
/// `axis` replaced.
fn along(
    places: &[i64],
    dims: &[usize],
    whole: &[usize],
    axis: usize,
) -> Result<Vec<usize>, RunError> {
    let fits =
        dims.len() == whole.len() && (0..dims.len()).all(|i| i == axis || dims[i] <= whole[i]);
    if !fits {
        invalid!("indices of shape {dims:?} into {whole:?}");
    }
    let (si, sw) = (strides(dims), strides(whole));
    places
        .iter()
        .enumerate()
        .map(|(at, &i)| {
            let mut to = index(i, whole[axis])? * sw[axis];
            for d in (0..dims.len()).filter(|&d| d != axis) {
                to += at / si[d] % dims[d] * sw[d];
            }
            Ok(to)
        })
        .collect()
}

pub(super) fn gather_elements(cx: &mut Cx<'_>) -> Outputs {
    let Op::GatherElements(o) = cx.op else { invalid!("not a GatherElements") };
    let (a, i) = (cx.input(0)?, cx.input(1)?);
    let axis = axis_of(o.axis, a.rank())?;
    cx.room::<u64>(&i.dims)?;
    let from = along(&cx.ints(1)?, &i.dims, &a.dims, axis)?;
    let data = on_any!(&a.data, v => Element::wrap(blocks(v, &from, 1)));
    Ok(vec![Array { dims: i.dims.clone(), dtype: a.dtype, data }])
}

/// Where the blocks start that rows of indices point to.
fn points(rows: &[i64], width: usize, whole: &[usize]) -> Result<Vec<usize>, RunError> {
    let s = strides(whole);
    let at = |row: &[i64]| {
        row.iter().enumerate().try_fold(0, |at, (d, &i)| Ok(at + index(i, whole[d])? * s[d]))
    };
    if width == 0 {
        return Ok(vec![0; rows.len().max(1)]);
    }
    rows.chunks_exact(width).map(at).collect()
}

pub(super) fn gather_nd(cx: &mut Cx<'_>) -> Outputs {
    let Op::GatherND(o) = cx.op else { invalid!("not a GatherND") };
    let (a, i) = (cx.input(0)?, cx.input(1)?);
    let batch = extent(o.batch_dims)?;
    let Some(&width) = i.dims.last() else { invalid!("indices are a scalar") };
    if batch >= i.rank()
        || batch.saturating_add(width) > a.rank()
        || a.dims[..batch] != i.dims[..batch]
    {
        invalid!("indices of shape {:?} into {:?} with {batch} batch axes", i.dims, a.dims);
    }
    let mut dims = i.dims[..i.rank() - 1].to_vec();
    dims.extend(&a.dims[batch + width..]);
    cx.room::<u64>(&dims)?;
    let batches: usize = a.dims[..batch].iter().product();
    let inner: usize = a.dims[batch..].iter().product();
    let size: usize = a.dims[batch + width..].iter().product();
    let each: usize = i.dims[batch..].iter().product();
    let rows = cx.ints(1)?;
    let mut from = vec![];
    for b in 0..batches {
        let p = points(&rows[b * each..(b + 1) * each], width, &a.dims[batch..])?;
        from.extend(p.into_iter().map(|p| b * inner + p));
    }
    let data = on_any!(&a.data, v => Element::wrap(blocks(v, &from, size)));
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}

/// The elements with blocks of `size` updates in their places.
pub(super) fn place<T: Element>(
    cx: &Cx<'_>,
    v: &[T],
    u: &Array,
    to: &[usize],
    size: usize,
) -> Result<Vec<T>, RunError> {
    cx.room::<T>(&[v.len()])?;
    let mut out = v.to_vec();
    for (&to, u) in to.iter().zip(u.get::<T>()?.chunks_exact(size.max(1))) {
        out[to..to + size].clone_from_slice(u);
    }
    Ok(out)
}

pub(super) fn scatter(cx: &mut Cx<'_>) -> Outputs {
    let (a, i, u) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let elements = |axis: i64| {
        let axis = axis_of(axis, a.rank())?;
        if u.dims != i.dims {
            invalid!("updates {:?} for indices {:?}", u.dims, i.dims);
        }
        along(&cx.ints(1)?, &i.dims, &a.dims, axis)
    };
    let (to, size, reduction) = match cx.op {
        Op::ScatterElements(o) => (elements(o.axis)?, 1, o.reduction.as_str()),
        Op::Scatter(o) => (elements(o.axis)?, 1, "none"),
        Op::ScatterND(o) => {
            let Some(&width) = i.dims.last() else { invalid!("indices are a scalar") };
            let mut dims = i.dims[..i.rank() - 1].to_vec();
            let Some(rest) = a.dims.get(width..) else {
                invalid!("indices of {width} axes into {:?}", a.dims);
            };
            dims.extend(rest);
            if u.dims != dims {
                invalid!("updates {:?} instead of {dims:?}", u.dims);
            }
            let to = points(&cx.ints(1)?, width, &a.dims)?;
            (to, rest.iter().product(), o.reduction.as_str())
        }
        _ => invalid!("{} is no scatter", cx.op.name()),
    };
    fn merge<T: Scalar>(
        cx: &Cx<'_>,
        v: &[T],
        u: &Array,
        to: &[usize],
        size: usize,
        f: &dyn Fn(T, T) -> T,
    ) -> Result<Vec<T>, RunError> {
        cx.room::<T>(&[v.len()])?;
        let mut out = v.to_vec();
        let u = u.get::<T>()?;
        for (&to, u) in to.iter().zip(u.chunks_exact(size.max(1))) {
            out[to..to + size].iter_mut().zip(u).for_each(|(o, &u)| *o = f(*o, u));
        }
        Ok(out)
    }
    let k = cx.key();
    fn of<'k, T: Scalar>(name: &str, k: Key<'k>) -> Result<Box<dyn Fn(T, T) -> T + 'k>, RunError> {
        Ok(match name {
            "add" => Box::new(|a: T, b: T| a.plus(b)),
            "mul" => Box::new(|a: T, b: T| a.times(b)),
            "max" => Box::new(move |a: T, b: T| a.larger(b, k)),
            "min" => Box::new(move |a: T, b: T| a.smaller(b, k)),
            other => invalid!("reduction {other:?}"),
        })
    }
    let data = match reduction {
        "none" => on_any!(&a.data, v => Element::wrap(place(cx, v, u, &to, size)?)),
        name => on_number!(&a.data, v => {
            Element::wrap(merge(cx, v, u, &to, size, &*of(name, k)?)?)
        }, else unsupported!("reduction of {}", a.dtype)),
    };
    Ok(vec![Array { dims: a.dims.clone(), dtype: a.dtype, data }])
}

pub(super) fn one_hot(cx: &mut Cx<'_>) -> Outputs {
    let Op::OneHot(o) = cx.op else { invalid!("not a OneHot") };
    let (i, values) = (cx.input(0)?, cx.input(2)?);
    let depth = match cx.input(1)?.to_f64s()?[..] {
        [d] => extent(d as i64)?,
        _ => invalid!("the depth is not a scalar"),
    };
    let axis = axis_of(o.axis, i.rank() + 1)?;
    let mut dims = i.dims.clone();
    dims.insert(axis, depth);
    cx.room::<u64>(&dims)?;
    let inner: usize = i.dims[axis..].iter().product();
    let hot: Vec<i64> = i.to_f64s()?.into_iter().map(|x| x as i64).collect();
    let mut pick = Vec::with_capacity(hot.len().saturating_mul(depth));
    for block in hot.chunks_exact(inner.max(1)) {
        for d in 0..depth as i64 {
            // Indices out of range select nothing.
            let is = |&i: &i64| (if i < 0 { i.saturating_add(depth as i64) } else { i }) == d;
            pick.extend(block.iter().map(|i| usize::from(is(i))));
        }
    }
    if values.len() != 2 {
        invalid!("{} values instead of 2", values.len());
    }
    let data = on_any!(&values.data, v => Element::wrap(blocks(v, &pick, 1)));
    Ok(vec![Array { dims, dtype: values.dtype, data }])
}

pub(super) fn non_zero(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    fn test<T: Element>(v: &[T]) -> Vec<usize> {
        let zero = T::default();
        v.iter().enumerate().filter(|(_, x)| **x != zero).map(|(i, _)| i).collect()
    }
    let k = cx.key();
    let at = match &a.data {
        Buf::Field(v) => {
            let not_zero = |(i, &x)| (k.real(x) != 0.0).then_some(i);
            v.iter().enumerate().filter_map(not_zero).collect()
        }
        data => on_any!(data, v => test(v)),
    };
    let s = strides(&a.dims);
    cx.room::<i64>(&[a.rank(), at.len()])?;
    let mut out = vec![];
    for (s, n) in s.iter().zip(&a.dims) {
        out.extend(at.iter().map(|i| (i / s % n) as i64));
    }
    Ok(vec![Array::new(vec![a.rank(), at.len()], out)])
}

fn sorted(n: usize, order: &dyn Fn(usize, usize) -> std::cmp::Ordering) -> Vec<usize> {
    let mut all: Vec<usize> = (0..n).collect();
    all.sort_by(|&x, &y| order(x, y));
    all
}

pub(super) fn top_k(cx: &mut Cx<'_>) -> Outputs {
    let Op::TopK(o) = cx.op else { invalid!("not a TopK") };
    let a = cx.input(0)?;
    let axis = axis_of(o.axis, a.rank())?;
    let count = match o.k {
        Some(k) if cx.opset < 10 => extent(k)?,
        _ => extent(cx.int(1)?)?,
    };
    let n = a.dims[axis];
    if count > n {
        invalid!("the {count} greatest of {n}");
    }
    let mut dims = a.dims.clone();
    dims[axis] = count;
    cx.room::<u64>(&dims)?;
    let inner: usize = a.dims[axis + 1..].iter().product();
    fn run<T: Scalar>(
        v: &[T],
        n: usize,
        inner: usize,
        count: usize,
        largest: bool,
        k: Key<'_>,
    ) -> (Vec<T>, Vec<i64>) {
        let blocks = v.len() / (n * inner).max(1);
        let mut out = vec![T::ZERO; blocks * count * inner];
        let mut at = vec![0; out.len()];
        for b in 0..blocks {
            for i in 0..inner {
                let get = |j: usize| v[(b * n + j) * inner + i];
                // NaN counts as the greatest. Of equals the first comes first.
                let order = sorted(n, &|x, y| {
                    let (x, y) = (get(x), get(y));
                    let less = |x: T, y: T| x.less(y, k) || (y.is_nan() && !x.is_nan());
                    let (a, b) = if largest { (y, x) } else { (x, y) };
                    less(b, a).cmp(&less(a, b))
                });
                for (j, &o) in order[..count].iter().enumerate() {
                    out[(b * count + j) * inner + i] = get(o);
                    at[(b * count + j) * inner + i] = o as i64;
                }
            }
        }
        (out, at)
    }
    let (k, largest) = (cx.key(), o.largest != 0);
    let (data, at) = on_number!(&a.data, v => {
        let (v, at) = run(v, n, inner, count, largest, k);
        (Element::wrap(v), at)
    }, else unsupported!("TopK of {}", a.dtype));
    let at = Array::new(dims.clone(), at);
    Ok(vec![Array { dims, dtype: a.dtype, data }, at])
}

pub(super) fn trilu(cx: &mut Cx<'_>) -> Outputs {
    let Op::Trilu(o) = cx.op else { invalid!("not a Trilu") };
    let k = match cx.opt(1) {
        Some(_) => cx.int(1)?,
        None => 0,
    };
    let a = cx.input(0)?;
    let &[.., h, w] = &a.dims[..] else { invalid!("rank {}", a.rank()) };
    fn run<T: Element>(
        cx: &Cx<'_>,
        v: &[T],
        h: usize,
        w: usize,
        keep: &dyn Fn(usize, usize) -> bool,
    ) -> Result<Vec<T>, RunError> {
        cx.room::<T>(&[v.len()])?;
        let one =
            |(i, x): (usize, &T)| if keep(i / w % h, i % w) { x.clone() } else { T::default() };
        Ok(v.iter().enumerate().map(one).collect())
    }
    let keep = |i: usize, j: usize| {
        let d = (j as i64 - i as i64).saturating_sub(k);
        if o.upper != 0 { d >= 0 } else { d <= 0 }
    };
    let data = on_any!(&a.data, v => Element::wrap(run(cx, v, h, w, &keep)?));
    Ok(vec![Array { dims: a.dims.clone(), dtype: a.dtype, data }])
}
