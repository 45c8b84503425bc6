//! Passes over the IR of graph-opt: what they are, how they are put together, and the passes
//! themselves.
//!
//! # Design
//! A pass reads the graph and proposes [edits](graph_opt_ir::Edit); it does no I/O, prints
//! nothing, reads no clock and no environment. What it has to say it returns as [`Remark`]s. What
//! a part of a result needs of the operands it asks the operator's [region rule](graph_opt_ir::region).
//!
//! ```
//! use graph_opt_ir::text::{parse, print};
//! use graph_opt_passes::{Pipeline, Runner};
//!
//! let mut graph = parse(
//!     "graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!        %w = const random(1)              : f32[8,3,3,3]
//!        %y = Conv %x, %w {pads=[1,1,1,1]} : f32[1,8,16,16] ; conv1
//!      }",
//! )?;
//! let report = Runner::default().run(&mut graph, &Pipeline::parse("tile-conv{axis=h parts=2}")?)?;
//! assert_eq!(report.edits, 1);
//! assert!(print(&graph).contains("Slice %x [2: 7..16]"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod analysis;
mod assume;
pub mod blocks;
pub mod devices;
#[cfg(feature = "eqsat")]
pub mod eqsat;
pub mod fix_dims;
pub mod fuse;
mod inline_functions;
mod manager;
mod options;
mod pass;
mod pipeline;
pub mod registry;
pub mod schedule;
mod settle;
pub mod simplify;
pub mod tile;
mod units;

pub use assume::{Assumed, SizedGraph};
pub use fix_dims::fix_dims;
pub use graph_opt_ir::names::nearest;
pub use manager::{AfterPass, PassRun, Report, RunError, Runner};
pub use options::{OptionError, OptionInfo, Options, SizeError, bytes};
pub use pass::{
    Change, Data, Evaluate, EvaluateError, Exactness, NoEvaluator, Outcome, Pass, PassCtx,
    PassInfo, Remark, Tiled,
};
pub use pipeline::{Pipeline, PipelineError, Step};
pub use units::{ByteSize, count};
