//! Einsum: sums of products over named axes.

use graph_opt_ir::Op;

use crate::RunError;
use crate::cpu::array::{Array, Element, on_number};
use crate::cpu::cx::{Cx, Outputs, invalid, strides, unsupported};
use crate::cpu::scalar::Scalar;

/// An axis: a letter, or the i-th from the end of those that an ellipsis stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Broadcast(std::cmp::Reverse<usize>),
    Letter(char),
}

fn labels(term: &str, rank: Option<usize>, most: usize) -> Result<Vec<Label>, RunError> {
    let letters = |s: &str| s.chars().map(Label::Letter).collect::<Vec<_>>();
    let (before, after) = match term.split_once("...") {
        Some((b, a)) => (letters(b), Some(letters(a))),
        None => (letters(term), None),
    };
    if !term.replace("...", "").chars().all(|c| c.is_ascii_alphabetic()) {
        invalid!("term {term:?}");
    }
    let Some(after) = after else { return Ok(before) };
    let hidden = match rank {
        Some(r) => match r.checked_sub(before.len() + after.len()) {
            Some(h) => h,
            None => invalid!("term {term:?} for rank {r}"),
        },
        None => most,
    };
    let broadcast = (0..hidden).rev().map(|i| Label::Broadcast(std::cmp::Reverse(i)));
    Ok(before.into_iter().chain(broadcast).chain(after).collect())
}

pub(super) fn einsum(cx: &mut Cx<'_>) -> Outputs {
    let Op::Einsum(o) = cx.op else { invalid!("not an Einsum") };
    let text: String = o.equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match text.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (text.as_str(), None),
    };
    let operands: Vec<&Array> = cx.inputs.iter().flatten().collect();
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != operands.len() || operands.is_empty() {
        invalid!("{} terms for {} operands", terms.len(), operands.len());
    }
    let terms = terms.iter().zip(&operands).map(|(t, a)| labels(t, Some(a.rank()), 0));
    let terms = terms.collect::<Result<Vec<_>, _>>()?;
    let mut all: Vec<(Label, usize)> = vec![];
    for (t, a) in terms.iter().zip(&operands) {
        if t.len() != a.rank() {
            invalid!("{} axes named for rank {}", t.len(), a.rank());
        }
        for (&l, &n) in t.iter().zip(&a.dims) {
            match all.iter_mut().find(|(m, _)| *m == l) {
                Some((_, m)) if *m == n || n == 1 => {}
                Some((_, m)) if *m == 1 => *m = n,
                Some((_, m)) => invalid!("an axis of both {m} and {n}"),
                None => all.push((l, n)),
            }
        }
    }
    let hidden = all.iter().filter(|(l, _)| matches!(l, Label::Broadcast(_))).count();
    let result = match right {
        Some(r) => labels(r, None, hidden)?,
        None => {
            let count = |l: Label| terms.iter().flatten().filter(|&&m| m == l).count();
            let once = |l: &Label| matches!(l, Label::Broadcast(_)) || count(*l) == 1;
            let mut r: Vec<Label> = all.iter().map(|x| x.0).filter(once).collect();
            r.sort();
            r
        }
    };
    // Axes of the result first, then the summed ones in the order of their appearance.
    let mut order = vec![];
    for &l in &result {
        match all.iter().find(|(m, _)| *m == l) {
            Some(&x) if !order.contains(&x) => order.push(x),
            _ => invalid!("the result's axes in {text:?}"),
        }
    }
    let kept = order.len();
    let summed: Vec<_> = all.iter().filter(|x| !order.contains(x)).copied().collect();
    order.extend(summed);
    let steps: Vec<Vec<usize>> = terms
        .iter()
        .zip(&operands)
        .map(|(t, a)| {
            let s = strides(&a.dims);
            let of = |l: Label| -> usize {
                let own = t.iter().enumerate().filter(|(i, m)| **m == l && a.dims[*i] != 1);
                own.map(|(i, _)| s[i]).sum()
            };
            order.iter().map(|&(l, _)| of(l)).collect()
        })
        .collect();
    let extents: Vec<usize> = order.iter().map(|x| x.1).collect();
    let dims = extents[..kept].to_vec();
    fn run<T: Scalar>(
        cx: &Cx<'_>,
        _: &[T],
        operands: &[&Array],
        steps: &[Vec<usize>],
        extents: &[usize],
        kept: usize,
    ) -> Result<Vec<T>, RunError> {
        let mut out = cx.zeros::<T>(&extents[..kept])?;
        let v: Vec<&[T]> = operands.iter().map(|a| a.get::<T>()).collect::<Result<_, _>>()?;
        let inner: usize = extents[kept..].iter().product();
        let mut index = vec![0; extents.len()];
        let mut at = vec![0; v.len()];
        for o in &mut out {
            let mut sum = T::ZERO;
            for _ in 0..inner.max(usize::from(extents.len() == kept)) {
                let product =
                    v.iter().zip(&at).skip(1).fold(v[0][at[0]], |p, (v, &i)| p.times(v[i]));
                sum = sum.plus(product);
                for d in (kept..extents.len()).rev() {
                    index[d] += 1;
                    at.iter_mut().zip(steps).for_each(|(a, s)| *a += s[d]);
                    if index[d] < extents[d] {
                        break;
                    }
                    at.iter_mut().zip(steps).for_each(|(a, s)| *a -= s[d] * extents[d]);
                    index[d] = 0;
                }
            }
            *o = sum;
            for d in (0..kept).rev() {
                index[d] += 1;
                at.iter_mut().zip(steps).for_each(|(a, s)| *a += s[d]);
                if index[d] < extents[d] {
                    break;
                }
                at.iter_mut().zip(steps).for_each(|(a, s)| *a -= s[d] * extents[d]);
                index[d] = 0;
            }
        }
        Ok(out)
    }
    let a = operands[0];
    let data = on_number!(&a.data, v => {
        Element::wrap(run(cx, v, &operands, &steps, &extents, kept)?)
    }, else unsupported!("Einsum of {}", a.dtype));
    Ok(vec![Array { dims, dtype: a.dtype, data }])
}
