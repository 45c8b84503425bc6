//! Passes over the IR of graph-opt: what they are, how they are put together, and the passes
//! themselves.
//!
//! # Design
//! A pass reads the graph and proposes [edits](graph_opt_ir::Edit); it does no I/O, prints
//! nothing, reads no clock and no environment. What it has to say it returns as [`Remark`]s. No
//! pass knows what a convolution is: it asks the operator's [region rule](graph_opt_ir::region).
#![forbid(unsafe_code)]

pub mod analysis;
mod manager;
mod options;
mod pass;
mod pipeline;
pub mod registry;
pub mod simplify;
pub mod tile;

pub use manager::{Report, RunError, Runner};
pub use options::{OptionError, OptionInfo, Options, nearest};
pub use pass::{Cx, Evaluate, Exactness, NoEvaluator, Outcome, Pass, PassInfo, Remark};
pub use pipeline::{Pipeline, PipelineError, Step};
