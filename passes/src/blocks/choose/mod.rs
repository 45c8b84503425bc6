//! Choice of one candidate for each block of a network, exactly.
//!
//! A network is a row of blocks, each of which has candidates (variants). One candidate of each
//! block is chosen so that the total loss is least and limits on resources are kept. This is a
//! multiple-choice knapsack with several constraints (H. Kellerer, U. Pferschy and D. Pisinger,
//! Knapsack Problems, Springer 2004, chapter 11), the integer program of LegoDNN (R. Han et al.,
//! LegoDNN: Block-grained Scaling of Deep Neural Networks for Mobile Vision, MobiCom 2021).
//!
//! | function | result |
//! |---|---|
//! | [`exact`] | a best choice, by label setting with Lagrangian bounds |
//! | `milp` | the same by integer programming, as an independent check |
//! | [`front`] | the Pareto front in two or more quantities |
//! | [`k_best`] | choices by ascending objective, one by one |
//! | [`Correction`] | terms of pairs of candidates, where measurements deviate from the sum |
//!
//! Nothing here knows graphs or files. Times are in seconds, energies in joules, sizes in bytes.
//! Results do not depend on a clock or on the order of a hash table.

mod best;
mod bounds;
mod correction;
mod dominance;
mod error;
mod exact;
mod explain;
mod forest;
mod front;
mod labels;
#[cfg(feature = "milp")]
mod milp;
mod problem;
mod quantity;
mod space;

pub use best::{KBest, k_best};
pub use correction::{Correction, Fit, Measurement, Scope};
pub use error::{Infeasible, NoChoice, ProblemError, Shortfall};
pub use exact::exact;
pub use front::{Front, front};
#[cfg(feature = "milp")]
pub use milp::milp;
pub use problem::{Choice, Pair, Problem};
pub use quantity::{Costs, Limits, Quantity};

/// What chooses a candidate of each block.
pub trait Chooser {
    /// The choice of least objective that keeps the limits.
    ///
    /// # Errors
    /// If the problem is invalid, no choice keeps the limits, or none was found.
    fn choose(&self, problem: &Problem) -> Result<Choice, NoChoice>;
}

/// Chooses by label setting, as [`exact`] does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelSetting;

impl Chooser for LabelSetting {
    fn choose(&self, problem: &Problem) -> Result<Choice, NoChoice> {
        exact(problem)
    }
}

/// Chooses by integer programming, as [`milp`](fn@milp) does.
#[cfg(feature = "milp")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntegerProgram;

#[cfg(feature = "milp")]
impl Chooser for IntegerProgram {
    fn choose(&self, problem: &Problem) -> Result<Choice, NoChoice> {
        milp(problem)
    }
}

#[cfg(test)]
mod tests;
