//! Why a problem is malformed, or no choice available.

use std::fmt;

use super::Quantity;

/// A [`Problem`](super::Problem) that contradicts itself. Found by
/// [`Problem::check`](super::Problem::check).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemError {
    /// There are no blocks.
    #[error("expected at least one block, found none")]
    NoBlocks,
    /// A block has no or too many candidates.
    #[error("expected 1 to 65534 candidates for block {block}, found {found}")]
    Candidates {
        /// Number of the block.
        block: usize,
        /// Number of its candidates.
        found: usize,
    },
    /// A number is infinite, not a number, or negative where only losses may be.
    #[error("{0} of a candidate, base, limit or pair is negative or not a finite number")]
    Number(Quantity),
    /// Bytes or MACs exceed the integers that `f64` represents exactly.
    #[error("{0} can exceed 2^53 in total, beyond which sums are not exact")]
    Large(Quantity),
    /// The peak cannot be the objective, since it is a maximum.
    #[error("the peak is a maximum and cannot be the objective; limit it, or take a front")]
    Objective,
    /// A pair names a block or candidate that does not exist, or blocks out of order.
    #[error(
        "expected an earlier and a later block and their candidates in pair {0}, found numbers out \
         of range or order"
    )]
    Pair(usize),
    /// Two pairs name the same candidates.
    #[error("pairs {0} and {1} name the same two candidates; merge them")]
    Duplicate(usize, usize),
    /// Too many blocks have pairs that reach over one block border.
    #[error(
        "{open} blocks up to block {block} have pairs with later blocks; at most {most} can be \
         handled. Keep to pairs of adjacent blocks, or use `milp`"
    )]
    Open {
        /// Block after which too many are open.
        block: usize,
        /// Number of open blocks.
        open: usize,
        /// Largest number allowed.
        most: usize,
    },
    /// Picks do not name one candidate of each block.
    #[error("expected a candidate of each of {blocks} blocks, found others in {picks:?}")]
    Picks {
        /// Number of blocks.
        blocks: usize,
        /// The picks given.
        picks: Vec<usize>,
    },
    /// A front needs at least two different axes and two points.
    #[error("expected at least two different axes and two points for a front")]
    Axes,
}

/// A limit that no choice meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortfall {
    /// The limited quantity.
    pub quantity: Quantity,
    /// Its limit.
    pub limit: f64,
    /// The least value that is possible.
    pub least: f64,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quantity: q, limit, least } = *self;
        write!(f, "the least {q} is {}, above the limit of {}", q.show(least), q.show(limit))
    }
}

/// Why no choice keeps all limits.
#[derive(Clone, Debug, PartialEq)]
pub enum Infeasible {
    /// Each of these limits cannot be met, even alone.
    Alone(Vec<Shortfall>),
    /// Fewer limits than these can be met together, and each of them alone.
    Together {
        /// A smallest set of limits that conflict.
        limits: Vec<Quantity>,
        /// The least value of one of them while the others are kept.
        shortfall: Shortfall,
    },
}

impl fmt::Display for Infeasible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone(all) => {
                let all: Vec<String> = all.iter().map(Shortfall::to_string).collect();
                f.write_str(&all.join("; "))
            }
            Self::Together { limits, shortfall } => {
                let names: Vec<String> = limits.iter().map(Quantity::to_string).collect();
                let others: Vec<String> = limits
                    .iter()
                    .filter(|&&q| q != shortfall.quantity)
                    .map(Quantity::to_string)
                    .collect();
                let (names, others) = (names.join(" and "), others.join(" and "));
                write!(f, "limits on {names} conflict: with {others} kept, {shortfall}")
            }
        }
    }
}

/// Why no choice is available.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NoChoice {
    /// The problem is malformed.
    #[error(transparent)]
    Invalid(#[from] ProblemError),
    /// No choice keeps all limits.
    #[error("no choice keeps all limits: {0}")]
    Infeasible(Infeasible),
    /// The labels ran out before a choice was found or excluded.
    #[error("undecided after {0} labels; raise `Problem::effort` or relax the limits")]
    Undecided(usize),
    /// The integer-programming solver failed.
    #[error("solver failed: {0}")]
    Solver(String),
}
