//! What operators can do with operands and results that are parts of larger buffers. The plan
//! relies on it, and a backend that executes by the plan must do it.

use graph_opt_ir::op::Op;
use graph_opt_ir::{DType, Type};

/// Axes that a value in a strided place may have.
pub const MAX_RANK: usize = 5;

/// Whether values of this type may stand in strided places: with neighbours along the last axis
/// side by side, and any distances along the others. Only types that nobody converts on the way
/// qualify.
pub fn strided(ty: &Type) -> bool {
    matches!(ty.dtype(), Some(DType::F32 | DType::F64))
        && ty.rank().is_some_and(|r| (1..=MAX_RANK).contains(&r))
}

/// Operators of one operand, element by element, and those that scale channels.
fn maps(op: &Op) -> bool {
    matches!(
        op,
        Op::Relu(_)
            | Op::LeakyRelu(_)
            | Op::ThresholdedRelu(_)
            | Op::Elu(_)
            | Op::Selu(_)
            | Op::Celu(_)
            | Op::Sigmoid(_)
            | Op::HardSigmoid(_)
            | Op::HardSwish(_)
            | Op::Mish(_)
            | Op::Gelu(_)
            | Op::Softplus(_)
            | Op::Softsign(_)
            | Op::Tanh(_)
            | Op::Exp(_)
            | Op::Log(_)
            | Op::Sqrt(_)
            | Op::Reciprocal(_)
            | Op::Abs(_)
            | Op::Neg(_)
            | Op::Sign(_)
            | Op::Floor(_)
            | Op::Ceil(_)
            | Op::Round(_)
            | Op::Erf(_)
            | Op::Sin(_)
            | Op::Cos(_)
            | Op::Tan(_)
            | Op::Asin(_)
            | Op::Acos(_)
            | Op::Atan(_)
            | Op::Sinh(_)
            | Op::Cosh(_)
            | Op::Asinh(_)
            | Op::Acosh(_)
            | Op::Atanh(_)
            | Op::Clip(_)
            | Op::Affine(_)
            | Op::ImageScaler(_)
    ) || matches!(op, Op::BatchNormalization(b) if b.training_mode == 0)
}

/// Operators of several operands, element by element.
fn combines(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Mod(_))
        || matches!(op, Op::Sum(_) | Op::Max(_) | Op::Min(_) | Op::Mean(_) | Op::PRelu(_))
}

fn windows(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AveragePool(_))
}

/// Operands whose storage the result may take over, for a node of this many operands. They must
/// have the type of the result.
pub fn in_place(op: &Op, operands: usize) -> std::ops::Range<usize> {
    match op {
        Op::PRelu(_) => 0..1,
        // With more operands the first one is changed before the last one is read.
        op if combines(op) => 0..if operands == 2 { 2 } else { 1 },
        op if maps(op) => 0..1,
        _ => 0..0,
    }
}

/// Whether the operator reads this operand from a strided place.
pub fn reads_strided(op: &Op, operand: usize) -> bool {
    match op {
        Op::Concat(_) => true,
        op if combines(op) => true,
        Op::Slice(_) | Op::Split(_) => operand == 0,
        op => operand == 0 && (maps(op) || windows(op)),
    }
}

/// Whether the operator writes its only result into a part of a larger buffer.
pub fn writes_strided(op: &Op) -> bool {
    maps(op) || combines(op) || windows(op) || matches!(op, Op::Concat(_) | Op::Slice(_))
}
