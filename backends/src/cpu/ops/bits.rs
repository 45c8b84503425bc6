//! Operators on the bits of elements.

use std::ops::{BitAnd, BitOr, BitXor};

use graph_opt_ir::{DType, Op, Tensor};

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element};
use crate::cpu::cx::{Cx, Outputs, dtype_of, invalid, unsupported};

/// BitShift, BitwiseAnd, BitwiseOr and BitwiseXor. Narrow types are 64 bits wide here, whose low bits
/// are the result.
pub(super) fn logic(cx: &mut Cx<'_>) -> Outputs {
    let (a, b) = (cx.take(0)?, cx.take(1)?);
    fn run<T>(cx: &Cx<'_>, a: Array, b: &Array, shift: fn(T, T, bool) -> T) -> Outputs
    where
        T: Element + Copy + BitAnd<Output = T> + BitOr<Output = T> + BitXor<Output = T>,
    {
        use super::binary::zip;
        Ok(vec![match cx.op {
            Op::BitwiseAnd(_) => zip(cx, a, b, |x: T, y: T| x & y)?,
            Op::BitwiseOr(_) => zip(cx, a, b, |x: T, y: T| x | y)?,
            Op::BitwiseXor(_) => zip(cx, a, b, |x: T, y: T| x ^ y)?,
            Op::BitShift(o) => {
                let left = match o.direction.as_str() {
                    "LEFT" => true,
                    "RIGHT" => false,
                    d => invalid!("direction {d:?}"),
                };
                zip(cx, a, b, |x: T, y: T| shift(x, y, left))?
            }
            op => invalid!("{} has no bits", op.name()),
        }])
    }
    match &a.data {
        Buf::I64(_) => {
            run::<i64>(cx, a, &b, |x, y, left| match u32::try_from(y).ok().filter(|&y| y < 64) {
                Some(y) if left => x << y,
                Some(y) => x >> y,
                None if !left && x < 0 => -1,
                None => 0,
            })
        }
        Buf::U64(_) => {
            run::<u64>(cx, a, &b, |x, y, left| match u32::try_from(y).ok().filter(|&y| y < 64) {
                Some(y) if left => x << y,
                Some(y) => x >> y,
                None => 0,
            })
        }
        _ => unsupported!("{} of {}", cx.op.name(), a.dtype),
    }
}

pub(super) fn not(cx: &mut Cx<'_>) -> Outputs {
    let a = cx.input(0)?;
    cx.room::<u64>(&a.dims)?;
    let dims = a.dims.clone();
    Ok(vec![match &a.data {
        Buf::I64(v) => Array::new(dims, v.iter().map(|x| !x).collect()),
        Buf::U64(v) => Array::new(dims, v.iter().map(|x| !x).collect()),
        _ => unsupported!("{} of {}", cx.op.name(), a.dtype),
    }])
}

/// The same bits as elements of another type.
pub(super) fn cast(cx: &mut Cx<'_>) -> Outputs {
    let Op::BitCast(o) = cx.op else { invalid!("not a BitCast") };
    let to = dtype_of(o.to)?;
    let a = cx.take(0)?;
    if a.dtype == to {
        return Ok(vec![a]);
    }
    if a.is_field() {
        return Err(RunError::NotInField("bits of an element".into()));
    }
    if a.dtype.bits() != to.bits() || [a.dtype, to].contains(&DType::String) {
        invalid!("BitCast from {} to {to}", a.dtype);
    }
    let t = a.tensor()?;
    let t = Tensor::new(to, t.dims().to_vec(), t.data().clone())?;
    Ok(vec![Array::of(&t)?])
}
