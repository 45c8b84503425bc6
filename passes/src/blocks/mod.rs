//! Block scaling: smaller variants of the blocks of a network.
//!
//! # Design
//! A [`Block`] is a stretch of a graph with one tensor in and one out, so that any variant of one block fits
//! any variants of the others. [`coupled`] says which channels inside of a block go together, from the
//! relations of the operators, and [`cut`] removes some of them. What remains is fitted to what the block
//! computed before (on data, so in the backends), and a variant for each block is chosen by [`choose`]. The
//! variants are other functions on purpose: no pipeline makes them.
//!
//! [`coupled`]: coupled()
//! [`cut`]: cut()

pub mod choose;
mod constant;
mod coupled;
mod cut;
pub mod dead;
mod extract;
mod splice;

pub use coupled::{Coupled, CoupledAxis, Reader, coupled};
pub use cut::{CutError, cut};
pub use extract::{Block, Extractor, Stretches};
pub use splice::{SpliceError, splice};
