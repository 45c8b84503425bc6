//! Types of sequences and optionals.

use super::{dtype_attr, known};
use crate::op::Op;
use crate::op_context::{OpCtx, RuleError, axis_of, fail};
use crate::{DType, Dim, Type};

pub(super) fn sequences(ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError> {
    let first = ctx.ty(0);
    // What the sequence is made of, which the operand may still be unknown to be.
    let element = || match first {
        Type::Sequence(t) => Ok((**t).clone()),
        Type::Unknown => Ok(Type::Unknown),
        other => fail!("expected a sequence for {}, found {other}", ctx.op.name()),
    };
    // Types nest no deeper, whatever a file says.
    let nested = |i: usize| match (ctx.op, ctx.ty(i)) {
        (Op::Optional(_), Type::Sequence(_)) => false,
        (_, t) => t.inner().is_some(),
    };
    let mut tensors = match ctx.op {
        Op::SequenceConstruct(_) => 0..ctx.inputs.len(),
        Op::SequenceInsert(_) => 1..2,
        Op::Optional(_) => 0..1,
        _ => 0..0,
    };
    if let Some(i) = tensors.find(|&i| nested(i)) {
        fail!("expected tensors for {}, found {}", ctx.op.name(), ctx.ty(i));
    }
    Ok(vec![match ctx.op {
        Op::SequenceEmpty(o) => {
            let dtype = o.dtype.map_or(Ok(DType::F32), dtype_attr)?;
            Type::sequence(Type::unranked(dtype))
        }
        Op::SequenceConstruct(_) => {
            let rest = (1..ctx.inputs.len()).map(|i| ctx.ty(i));
            Type::sequence(rest.fold(first.clone(), |a, b| a.join(b)))
        }
        Op::SequenceInsert(_) => Type::sequence(element()?.join(ctx.ty(1))),
        Op::SequenceErase(_) => Type::sequence(element()?),
        Op::SequenceAt(_) => element()?,
        Op::SequenceLength(_) => {
            element()?;
            Type::tensor(DType::I64, &[])
        }
        Op::SplitToSequence(o) => {
            let part = match first.dims() {
                Some(x) => {
                    let axis = axis_of(o.axis, x.len())?;
                    let mut x = x.to_vec();
                    if ctx.input(1).is_some() {
                        x[axis] = part(ctx, known(&x[axis]));
                    } else if o.keepdims == 0 {
                        x.remove(axis);
                    } else {
                        x[axis] = Dim::Known(1);
                    }
                    Some(x)
                }
                None => None,
            };
            Type::sequence(super::same_type(ctx, part))
        }
        Op::ConcatFromSequence(o) => {
            let t = element()?;
            let dims = match t.dims() {
                Some(x) => {
                    let new = o.new_axis != 0;
                    let axis = axis_of(o.axis, x.len() + usize::from(new))?;
                    let mut x = x.to_vec();
                    if new {
                        x.insert(axis, Dim::Unknown);
                    } else {
                        x[axis] = Dim::Unknown;
                    }
                    Some(x)
                }
                None => None,
            };
            super::typed(t.dtype(), dims)
        }
        // Without an operand it is empty, and an attribute says of what.
        Op::Optional(_) => match ctx.input(0) {
            Some(x) => Type::Optional(Box::new(x.ty.clone())),
            None => Type::Optional(Box::default()),
        },
        Op::OptionalHasElement(_) => Type::tensor(DType::Bool, &[]),
        Op::OptionalGetElement(_) => match first {
            Type::Optional(t) => (**t).clone(),
            other => other.clone(),
        },
        _ => Type::Unknown,
    }])
}

/// The extent of all parts, if they have one.
fn part(ctx: &OpCtx<'_>, whole: Option<i64>) -> Dim {
    let Some(sizes) = ctx.ints(1) else { return Dim::Unknown };
    let scalar = ctx.ty(1).rank() == Some(0);
    let all = match (&sizes[..], whole) {
        (&[n], Some(w)) if scalar && n > 0 && w % n == 0 => Some(n),
        ([n, rest @ ..], _) if !scalar && rest.iter().all(|m| m == n) => Some(*n),
        _ => None,
    };
    super::dim(all)
}
