//! Operators of sequences and optionals.

use std::sync::Arc;

use graph_opt_ir::Op;

use super::layout;
use crate::RunError;
use crate::cpu::array::{Array, Item};
use crate::cpu::cx::{Cx, Outputs, axis_of, extent, invalid};

/// A sequence of these, in room for so many.
fn list(cx: &Cx<'_>, all: Vec<Item>) -> Outputs {
    cx.room::<Item>(&[all.len()])?;
    Ok(vec![Array::new(vec![all.len()], all)])
}

fn item(a: Array) -> Result<Item, RunError> {
    if a.items().is_some() || a.is_absent() {
        invalid!("a sequence of sequences or optionals");
    }
    Ok(Item(Some(Arc::new(a.contiguous()))))
}

fn items<'a>(cx: &'a Cx<'_>) -> Result<&'a [Item], RunError> {
    match cx.input(0)?.items() {
        Some(v) => Ok(v),
        None => invalid!("a {} where a sequence was expected", cx.input(0)?.dtype),
    }
}

/// The position that an operand says, or the last one, among `n`.
fn position(cx: &Cx<'_>, i: usize, n: usize) -> Result<usize, RunError> {
    match cx.opt(i) {
        Some(_) => {
            let at = cx.int(i)?;
            axis_of(at, n).or_else(|_| invalid!("position {at} in a sequence of {n}"))
        }
        None => n.checked_sub(1).ok_or_else(|| RunError::Invalid("an empty sequence".into())),
    }
}

pub(super) fn sequences(cx: &mut Cx<'_>) -> Outputs {
    match cx.op {
        Op::SequenceEmpty(_) => list(cx, vec![]),
        Op::SequenceConstruct(_) => {
            let all = (0..cx.inputs.len()).map(|i| item(cx.take(i)?)).collect::<Result<_, _>>()?;
            list(cx, all)
        }
        Op::SequenceInsert(_) => {
            let new = item(cx.take(1)?)?;
            let mut all = items(cx)?.to_vec();
            // It may go after the last one, too.
            let n = all.len();
            let at = match cx.opt(2) {
                Some(_) if cx.int(2)? == n as i64 => n,
                Some(_) => position(cx, 2, n)?,
                None => n,
            };
            all.insert(at, new);
            list(cx, all)
        }
        Op::SequenceErase(_) => {
            let mut all = items(cx)?.to_vec();
            all.remove(position(cx, 1, all.len())?);
            list(cx, all)
        }
        Op::SequenceAt(_) => {
            let all = items(cx)?;
            match &all[position(cx, 1, all.len())?].0 {
                Some(a) => Ok(vec![(**a).clone()]),
                None => invalid!("an element that is absent"),
            }
        }
        Op::SequenceLength(_) => Ok(vec![Array::new(vec![], vec![items(cx)?.len() as i64])]),
        _ => invalid!("{} is no operator of sequences", cx.op.name()),
    }
}

pub(super) fn optionals(cx: &mut Cx<'_>) -> Outputs {
    let full = cx.opt(0).is_some_and(|a| !a.is_absent());
    match cx.op {
        Op::Optional(_) if cx.opt(0).is_none() => Ok(vec![Array::absent()]),
        Op::OptionalHasElement(_) => Ok(vec![Array::new(vec![], vec![full])]),
        Op::OptionalGetElement(_) if !full => invalid!("an optional that holds nothing"),
        _ => Ok(vec![cx.take(0)?]),
    }
}

/// `SplitToSequence`: parts along an axis, of one element if no sizes are given.
pub(super) fn split(cx: &mut Cx<'_>) -> Outputs {
    let Op::SplitToSequence(o) = cx.op else { invalid!("not a SplitToSequence") };
    let a = cx.input(0)?;
    let axis = axis_of(o.axis, a.rank())?;
    let n = a.dims[axis];
    let sizes: Vec<usize> = match cx.opt(1) {
        Some(s) if s.rank() == 0 => {
            let size = extent(cx.int(1)?)?;
            if size == 0 {
                invalid!("parts of 0 elements");
            }
            cx.room_of(&[n.div_ceil(size)], 256)?;
            (0..n.div_ceil(size)).map(|i| size.min(n - i * size)).collect()
        }
        Some(_) => cx.ints(1)?.into_iter().map(extent).collect::<Result<_, _>>()?,
        None => {
            cx.room_of(&[n], 256)?;
            vec![1; n]
        }
    };
    if sizes.iter().try_fold(0usize, |a, &b| a.checked_add(b)) != Some(n) {
        invalid!("parts of {sizes:?} of {n} elements");
    }
    // Parts are copied, so that none keeps the whole.
    cx.room_of(&a.dims, 16)?;
    let whole = a.clone().contiguous();
    let strides = whole.strides();
    let (mut all, mut at) = (Vec::with_capacity(sizes.len()), 0);
    for size in sizes {
        let mut dims = whole.dims.clone();
        dims[axis] = size;
        let mut part = whole.part(dims, at * strides[axis], &strides).copied();
        if cx.opt(1).is_none() && o.keepdims == 0 {
            let mut dims = part.dims.clone();
            dims.remove(axis);
            part = part.reshaped(dims)?;
        }
        all.push(item(part)?);
        at += size;
    }
    list(cx, all)
}

/// `ConcatFromSequence`, by the kernel of Concat.
pub(super) fn concat(cx: &mut Cx<'_>) -> Outputs {
    let Op::ConcatFromSequence(o) = cx.op else { invalid!("not a ConcatFromSequence") };
    let all = items(cx)?;
    let field = all.iter().any(|i| i.0.as_ref().is_some_and(|a| a.is_field()));
    let Some(Item(Some(first))) = all.first() else { invalid!("an empty sequence") };
    let (rank, dtype) = (first.rank() + usize::from(o.new_axis != 0), first.dtype);
    let axis = axis_of(o.axis, rank)?;
    let mut inputs = vec![];
    let mut elements = 0usize;
    for i in all {
        let Some(a) = &i.0 else { invalid!("an element that is absent") };
        if a.dtype != dtype || a.rank() != first.rank() {
            invalid!("elements of {dtype} and {}, rank {} and {}", a.dtype, first.rank(), a.rank());
        }
        elements = elements.saturating_add(a.len());
        let mut a = (**a).clone();
        if field {
            a = a.embedded(cx.key());
        }
        if o.new_axis != 0 {
            let mut dims = a.dims.clone();
            dims.insert(axis, 1);
            a = a.reshaped(dims)?;
        }
        inputs.push(Some(a));
    }
    cx.room_of(&[elements], 16)?;
    let op = Op::from(graph_opt_ir::op::Concat { axis: axis as i64 });
    let (env, target) = (cx.env, None.into());
    layout::concat(&mut Cx { op: &op, opset: 13, inputs, outputs: 1, env, packs: None, target })
}
