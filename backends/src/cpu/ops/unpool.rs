//! Operators that place elements of windows into an image.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::array::{Array, Element, on_any, on_number};
use crate::cpu::cx::{Cx, Outputs, extent, invalid, strides, unsupported};
use crate::cpu::scalar::Scalar;

/// An attribute with a number for each of `n`, or this one for all.
fn each(attr: &Option<Vec<i64>>, n: usize, other: i64) -> Result<Vec<i64>, RunError> {
    match attr {
        None => Ok(vec![other; n]),
        Some(v) if v.len() == n => Ok(v.clone()),
        Some(v) => invalid!("{} numbers in an attribute instead of {n}", v.len()),
    }
}

/// A sum that is an extent.
fn sum(terms: impl IntoIterator<Item = i128>) -> Result<usize, RunError> {
    let all = terms.into_iter().fold(0i128, i128::saturating_add);
    usize::try_from(all).map_err(|_| RunError::Invalid(format!("{all} cannot be an extent")))
}

pub(super) fn max_unpool(cx: &mut Cx<'_>) -> Outputs {
    let Op::MaxUnpool(o) = cx.op else { invalid!("not a MaxUnpool") };
    let (a, i) = (cx.input(0)?, cx.input(1)?);
    let rank = o.kernel_shape.len();
    if a.rank() != rank + 2 || i.dims != a.dims {
        invalid!("elements {:?} at {:?} with {rank} spatial axes", a.dims, i.dims);
    }
    let (strides_, pads) = (each(&o.strides, rank, 1)?, each(&o.pads, 2 * rank, 0)?);
    let mut whole = a.dims[..2].to_vec();
    for d in 0..rank {
        let steps = (a.dims[2 + d] as i128 - 1) * i128::from(strides_[d]);
        let pad = i128::from(pads[d]) + i128::from(pads[rank + d]);
        whole.push(sum([steps, -pad, i128::from(o.kernel_shape[d])])?);
    }
    let dims = match cx.opt_ints(2)? {
        None => whole.clone(),
        Some(given) => given.into_iter().map(extent).collect::<Result<Vec<_>, _>>()?,
    };
    if dims.len() != whole.len() || whole.iter().zip(&dims).any(|(w, d)| w > d) {
        invalid!("{whole:?} does not fit into {dims:?}");
    }
    let n = cx.room::<u64>(&whole)?;
    cx.room::<u64>(&dims)?;
    // Indices are those of the tensor that the windows were taken from.
    let (sw, sd) = (strides(&whole), strides(&dims));
    let mut to = Vec::with_capacity(a.len());
    for i in cx.ints(1)? {
        let Some(at) = usize::try_from(i).ok().filter(|&at| at < n) else {
            invalid!("index {i} is out of range for {n} elements")
        };
        to.push((0..whole.len()).map(|d| at / sw[d] % whole[d] * sd[d]).sum::<usize>());
    }
    fn place<T: Element>(
        cx: &Cx<'_>,
        v: &[T],
        to: &[usize],
        dims: &[usize],
    ) -> Result<Vec<T>, RunError> {
        let mut out = cx.zeros::<T>(dims)?;
        to.iter().zip(v).for_each(|(&to, x)| out[to] = x.clone());
        Ok(out)
    }
    let data = on_any!(&a.data, v => Element::wrap(place(cx, v, &to, &dims)?));
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}

pub(super) fn col2im(cx: &mut Cx<'_>) -> Outputs {
    let Op::Col2Im(o) = cx.op else { invalid!("not a Col2Im") };
    let a = cx.input(0)?;
    let &[n, c, l] = &a.dims[..] else { invalid!("rank {} instead of 3", a.rank()) };
    let sizes = |i: usize| -> Result<Vec<usize>, RunError> {
        cx.ints(i)?.into_iter().map(extent).collect()
    };
    let (image, block) = (sizes(1)?, sizes(2)?);
    let rank = image.len();
    if rank == 0 || block.len() != rank {
        invalid!("blocks {block:?} of an image {image:?}");
    }
    let (steps, gaps) = (each(&o.strides, rank, 1)?, each(&o.dilations, rank, 1)?);
    let pads = each(&o.pads, 2 * rank, 0)?;
    if steps.iter().chain(&gaps).any(|&s| s < 1) {
        invalid!("strides {steps:?} and dilations {gaps:?}");
    }
    // Blocks along each axis.
    let mut counts = vec![];
    for d in 0..rank {
        let pad = i128::from(pads[d]) + i128::from(pads[rank + d]);
        let reach = i128::from(gaps[d]).saturating_mul(block[d] as i128 - 1);
        let room = sum([image[d] as i128, pad, -reach, -1])?;
        counts.push(room / extent(steps[d])? + 1);
    }
    cx.room::<u8>(&image)?;
    let taps = cx.room::<u8>(&block)?;
    let places = cx.room::<u8>(&counts)?;
    if taps == 0 || !c.is_multiple_of(taps) || places != l {
        invalid!("{:?} for {places} blocks of {taps} elements", a.dims);
    }
    // Where each element of each block lies in the image.
    cx.room::<[u64; 2]>(&[taps, places])?;
    let (sb, sc, si) = (strides(&block), strides(&counts), strides(&image));
    let mut to = Vec::with_capacity(taps * places);
    for (t, p) in (0..taps).flat_map(|t| (0..places).map(move |p| (t, p))) {
        let along = |d: usize| {
            let (t, p) = ((t / sb[d] % block[d]) as i128, (p / sc[d] % counts[d]) as i128);
            let at = p * i128::from(steps[d]) - i128::from(pads[d]) + t * i128::from(gaps[d]);
            usize::try_from(at).ok().filter(|&at| at < image[d]).map(|at| at * si[d])
        };
        to.push((0..rank).map(along).sum::<Option<usize>>());
    }
    let mut dims = vec![n, c / taps];
    dims.extend(&image);
    fn add<T: Scalar>(
        cx: &Cx<'_>,
        v: &[T],
        to: &[Option<usize>],
        dims: &[usize],
    ) -> Result<Vec<T>, RunError> {
        let mut out = cx.zeros::<T>(dims)?;
        let size: usize = dims[2..].iter().product();
        for (out, v) in out.chunks_exact_mut(size.max(1)).zip(v.chunks_exact(to.len().max(1))) {
            for (x, to) in v.iter().zip(to) {
                if let Some(to) = *to {
                    out[to] = out[to].plus(*x);
                }
            }
        }
        Ok(out)
    }
    let data = on_number!(&a.data, v => Element::wrap(add(cx, v, &to, &dims)?), else {
        unsupported!("Col2Im of {}", a.dtype)
    });
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}
