//! What the kernels of the reference interpreter do in memory: which results overwrite an operand, and
//! which operands and results may be strided parts of larger buffers. [`Interpreter`](super::Interpreter)
//! plans by these tables, and the backend that executes the plan reads them, too.

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::{DType, Type};

/// Maximum rank of a strided value.
const MAX_RANK: usize = 5;

/// Whether values of this type may be strided parts of larger buffers: contiguous along the last axis,
/// with any distances along the others. Only floating-point types that kernels do not convert qualify.
pub fn strided(ty: &Type) -> bool {
    matches!(ty.dtype(), Some(DType::F32 | DType::F64))
        && ty.rank().is_some_and(|r| (1..=MAX_RANK).contains(&r))
}

/// Elementwise operators of one operand, and those that scale channels.
fn maps(op: &Op) -> bool {
    match op {
        Op::BatchNormalization(b) => b.training_mode == 0,
        Op::ImageScaler(_) => true,
        _ => op.class() == Class::Pointwise && !combines(op) && !makes_anew(op),
    }
}

/// Operators whose kernels write a new array, or return their operand itself.
fn makes_anew(op: &Op) -> bool {
    matches!(
        op,
        Op::Cast(_)
            | Op::Not(_)
            | Op::IsNaN(_)
            | Op::IsInf(_)
            | Op::And(_)
            | Op::Or(_)
            | Op::Xor(_)
            | Op::Equal(_)
            | Op::Less(_)
            | Op::LessOrEqual(_)
            | Op::Greater(_)
            | Op::GreaterOrEqual(_)
            | Op::BitShift(_)
            | Op::BitwiseAnd(_)
            | Op::BitwiseOr(_)
            | Op::BitwiseXor(_)
            | Op::BitwiseNot(_)
            | Op::BitCast(_)
            | Op::Where(_)
            | Op::Pow(_)
            | Op::Identity(_)
            | Op::Transfer(_)
            | Op::Dropout(_)
            | Op::FusedConv(_)
            | Op::LpPool(_)
    )
}

/// Elementwise operators of several operands.
fn combines(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Mod(_))
        || matches!(op, Op::Sum(_) | Op::Max(_) | Op::Min(_) | Op::Mean(_) | Op::PRelu(_))
}

/// Positions of the operands that the result may overwrite, of `operands` ones. They must have the type
/// and the extents of the result.
pub fn in_place(op: &Op, operands: usize) -> std::ops::Range<usize> {
    match op {
        Op::PRelu(_) => 0..1,
        // With more operands the kernel changes the first one before it reads the last one.
        op if combines(op) => 0..if operands == 2 { 2 } else { 1 },
        op if maps(op) => 0..1,
        _ => 0..0,
    }
}

/// Whether the operator's kernel reads this operand where it is a strided part of a larger buffer.
pub fn reads_strided(op: &Op, operand: usize) -> bool {
    match op {
        Op::Concat(_) => true,
        op if combines(op) => true,
        Op::Slice(_) | Op::Split(_) => operand == 0,
        op => match op.windowed() {
            Some(w) => operand == w.image,
            None => operand == 0 && maps(op),
        },
    }
}

/// Whether the operator's kernel writes its only result into a strided part of a larger buffer.
pub fn writes_strided(op: &Op) -> bool {
    let windows = op.windowed().is_some() && !makes_anew(op);
    maps(op) || combines(op) || windows || matches!(op, Op::Concat(_) | Op::Slice(_))
}
