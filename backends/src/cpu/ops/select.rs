//! Operators that select, reorder and overwrite slices.

use std::cmp::Ordering;

use graph_opt_ir::Op;

use super::gather::blocks;
use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, on_any};
use crate::cpu::cx::{Cx, Outputs, axis_of, extent, invalid, strides, unsupported};

/// How many rows of slices there are (none if they are empty), how many slices in each, and their size.
fn around(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    let outer = if dims.contains(&0) { 0 } else { dims[..axis].iter().product() };
    (outer, dims[axis], dims[axis + 1..].iter().product())
}

pub(super) fn compress(cx: &mut Cx<'_>) -> Outputs {
    let Op::Compress(o) = cx.op else { invalid!("not a Compress") };
    let (a, chosen) = (cx.input(0)?, cx.input(1)?.get::<bool>()?);
    let axis = o.axis.map(|x| axis_of(x, a.rank())).transpose()?;
    let (outer, n, size) = axis.map_or((1, a.len(), 1), |x| around(&a.dims, x));
    let places: Vec<usize> = (0..chosen.len()).filter(|&i| chosen[i]).collect();
    if let Some(last) = places.last().filter(|&&l| l >= n) {
        invalid!("element {last} is chosen of {n}");
    }
    let mut dims = a.dims.clone();
    match axis {
        Some(x) => dims[x] = places.len(),
        None => dims = vec![places.len()],
    }
    cx.room::<u64>(&dims)?;
    let from: Vec<usize> =
        (0..outer).flat_map(|o| places.iter().map(move |p| (o * n + p) * size)).collect();
    let data = on_any!(&a.data, v => Element::wrap(blocks(v, &from, size)));
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}

pub(super) fn reverse_sequence(cx: &mut Cx<'_>) -> Outputs {
    let Op::ReverseSequence(o) = cx.op else { invalid!("not a ReverseSequence") };
    let a = cx.input(0)?;
    let (batch, time) = (axis_of(o.batch_axis, a.rank())?, axis_of(o.time_axis, a.rank())?);
    let lens: Vec<usize> = cx.ints(1)?.into_iter().map(extent).collect::<Result<_, _>>()?;
    if batch == time || lens.len() != a.dims[batch] {
        invalid!("{} lengths along axis {batch} of {:?}", lens.len(), a.dims);
    }
    if let Some(bad) = lens.iter().find(|&&l| l > a.dims[time]) {
        invalid!("the first {bad} of {} elements", a.dims[time]);
    }
    let n = cx.room::<u64>(&a.dims)?;
    let s = strides(&a.dims);
    let source = |at: usize| {
        let len = lens[at / s[batch] % a.dims[batch]];
        let t = at / s[time] % a.dims[time];
        if t < len { at - t * s[time] + (len - 1 - t) * s[time] } else { at }
    };
    let from: Vec<usize> = (0..n).map(source).collect();
    let data = on_any!(&a.data, v => Element::wrap(blocks(v, &from, 1)));
    Ok(vec![Array { dims: a.dims.clone(), dtype: a.dtype, data }])
}

pub(super) fn tensor_scatter(cx: &mut Cx<'_>) -> Outputs {
    let Op::TensorScatter(o) = cx.op else { invalid!("not a TensorScatter") };
    let (a, u) = (cx.input(0)?, cx.input(1)?);
    let axis = axis_of(o.axis, a.rank())?;
    let fits = a.rank() == u.rank()
        && (0..a.rank()).all(|i| a.dims[i] == u.dims[i] || i == axis && u.dims[i] < a.dims[i]);
    if axis == 0 || !fits {
        invalid!("an update {:?} along axis {axis} of {:?}", u.dims, a.dims);
    }
    let circular = match o.mode.as_str() {
        "circular" => true,
        "linear" => false,
        m => invalid!("mode {m:?}"),
    };
    let starts = cx.opt_ints(2)?.unwrap_or_else(|| vec![0; a.dims[0]]);
    if starts.len() != a.dims[0] {
        invalid!("{} places for a batch of {}", starts.len(), a.dims[0]);
    }
    let (outer, n, size) = around(&a.dims, axis);
    let (len, each) = (u.dims[axis], outer / a.dims[0].max(1));
    // Where each slice of the update goes.
    cx.room::<u64>(&[outer, len])?;
    let mut to = Vec::with_capacity(outer * len);
    for p in 0..outer {
        for s in 0..len as i64 {
            let at = starts[p / each].saturating_add(s);
            let at = if circular { at.rem_euclid(n as i64) } else { at };
            match usize::try_from(at) {
                Ok(at) if at < n => to.push((p * n + at) * size),
                _ => invalid!("place {at} of {n}"),
            }
        }
    }
    let data = on_any!(&a.data, v => Element::wrap(super::gather::place(cx, v, u, &to, size)?));
    Ok(vec![Array { dims: a.dims.clone(), dtype: a.dtype, data }])
}

type Order<'a> = Box<dyn Fn(usize, usize) -> Ordering + 'a>;

/// The order of elements by their places; NaN is the greatest, and equals itself.
fn ascending<T: PartialOrd>(v: &[T]) -> Order<'_> {
    let nan = |i: usize| v[i].partial_cmp(&v[i]).is_none();
    Box::new(move |i, j| v[i].partial_cmp(&v[j]).unwrap_or_else(|| nan(i).cmp(&nan(j))))
}

/// The order that says which elements are the same, and one that tells different ones of these apart:
/// in the field, many elements stand for the same number.
fn orders<'a>(cx: &Cx<'a>, a: &'a Array) -> Result<(Order<'a>, Order<'a>), RunError> {
    let k = cx.key();
    macro_rules! by_type {
        ($($t:ident)*) => {
            match &a.data {
                $(Buf::$t(v) => ascending(v),)*
                Buf::Field(v) => {
                    let real = move |i: usize| k.real(v[i]) + 0.0;
                    let order = move |i: usize, j: usize| real(i).total_cmp(&real(j));
                    let tie = |i: usize, j: usize| v[i].centred().cmp(&v[j].centred());
                    return Ok((Box::new(order), Box::new(tie)));
                }
                Buf::List(_) => unsupported!("Unique of sequences"),
            }
        };
    }
    if !a.is_computable() {
        unsupported!("Unique of {}", a.dtype);
    }
    let order = by_type!(F32 F64 F16 BF16 I8 I16 I32 I64 U8 U16 U32 U64 Bool Str);
    Ok((order, Box::new(|_, _| Ordering::Equal)))
}

pub(super) fn unique(cx: &mut Cx<'_>) -> Outputs {
    let Op::Unique(o) = cx.op else { invalid!("not a Unique") };
    let a = cx.input(0)?;
    let axis = o.axis.map(|x| axis_of(x, a.rank())).transpose()?;
    let (outer, n, size) = axis.map_or((1, a.len(), 1), |x| around(&a.dims, x));
    cx.room::<[u64; 12]>(&[n])?;
    let (order, tie) = orders(cx, a)?;
    // Slices are compared element by element.
    let by = |order: &Order<'_>, i: usize, j: usize| {
        let rows = (0..outer).flat_map(|o| (0..size).map(move |r| (o * n * size, r)));
        let mut each = rows.map(|(o, r)| order(o + i * size + r, o + j * size + r));
        each.find(|c| c.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut sorted: Vec<usize> = (0..n).collect();
    sorted.sort_by(|&i, &j| by(&order, i, j).then_with(|| by(&tie, i, j)));
    // Of each group of equals: who stands for it, the first of it, and all.
    let mut groups: Vec<(usize, usize, Vec<usize>)> = vec![];
    for i in sorted {
        match groups.last_mut() {
            Some((one, first, all)) if by(&order, *one, i).is_eq() => {
                *first = i.min(*first);
                all.push(i);
            }
            _ => groups.push((i, i, vec![i])),
        }
    }
    if o.sorted == 0 {
        groups.sort_by_key(|g| g.1);
    }
    let mut inverse = vec![0i64; n];
    for (g, (_, _, all)) in groups.iter().enumerate() {
        all.iter().for_each(|&i| inverse[i] = g as i64);
    }
    let list = |f: fn(&(usize, usize, Vec<usize>)) -> i64| {
        Array::new(vec![groups.len()], groups.iter().map(f).collect::<Vec<i64>>())
    };
    let mut dims = a.dims.clone();
    match axis {
        Some(x) => dims[x] = groups.len(),
        None => dims = vec![groups.len()],
    }
    let from: Vec<usize> =
        (0..outer).flat_map(|o| groups.iter().map(move |g| (o * n + g.0) * size)).collect();
    let data = on_any!(&a.data, v => Element::wrap(blocks(v, &from, size)));
    let (first, counts) = (list(|g| g.1 as i64), list(|g| g.2.len() as i64));
    let values = Array { dims, dtype: a.dtype, data };
    Ok(vec![values, first, Array::new(vec![n], inverse), counts])
}
