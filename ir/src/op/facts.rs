//! Facts about single operators that more than one pass asks for. What is not stated has the
//! conservative answer.

use super::Op;

/// That an operator is linear in its contracted axes: results of parts of them add up to the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialSums {
    /// The operand that is added to the sum, and so belongs to one part only.
    pub addend: Option<usize>,
}

impl Op {
    /// Whether results over parts of the contracted axes ([`crate::region::Relation::Contract`]) add
    /// up to the result over all of them.
    pub fn partial_sums(&self) -> Option<PartialSums> {
        match self {
            Self::Conv(_) | Self::ConvTranspose(_) | Self::Gemm(_) => {
                Some(PartialSums { addend: Some(2) })
            }
            Self::MatMul(_) | Self::MatMulInteger(_) | Self::ConvInteger(_) => {
                Some(PartialSums { addend: None })
            }
            // The others round or clamp their sums, or sum nothing.
            _ => None,
        }
    }
}
