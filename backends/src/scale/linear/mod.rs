//! Least squares for structured pruning: sums, refits, choice of units, and exact dependencies.

mod dependent;
mod normal;
mod select;
mod sweep;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use dependent::{Dependency, Factor};
pub use normal::{Error, Fit, Normal};
pub use select::{Options, Reader, Selection, select};
