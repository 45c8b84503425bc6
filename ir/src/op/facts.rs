//! Facts about operators that more than one pass needs. Operators that are not listed get the conservative
//! answer.

use super::Op;

/// An operator whose result is a sum over its contracted axes: the results over parts of these axes add up
/// to the whole result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialSums {
    /// The operand that is added to the sum (a bias), which only one part may have.
    pub addend: Option<usize>,
}

impl Op {
    /// How results over parts of the contracted axes ([`crate::region::Relation::Contract`]) add up to the
    /// whole result; `None` if they do not.
    pub fn partial_sums(&self) -> Option<PartialSums> {
        match self {
            Self::Conv(_) | Self::ConvTranspose(_) | Self::Gemm(_) => {
                Some(PartialSums { addend: Some(2) })
            }
            Self::MatMul(_) | Self::MatMulInteger(_) | Self::ConvInteger(_) => {
                Some(PartialSums { addend: None })
            }
            // The others round or clamp their sums, or have no contracted axes.
            _ => None,
        }
    }
}
