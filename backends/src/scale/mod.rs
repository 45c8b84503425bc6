//! Block scaling on data: smaller variants of blocks, fitted to what the blocks computed.
//!
//! A [`Maker`] makes a variant: a [`Selector`] chooses the channels that stay, a [`Refitter`] fits the layers that
//! read them. [`variants`] and [`in_order`] do that within a network, a [`Profiler`] measures, a
//! [`Chooser`](graph_opt_passes::blocks::choose::Chooser) chooses, and a [`Switchable`] exchanges blocks between two
//! runs. Each of the traits can have other implementations:
//!
//! ```
//! use graph_opt_backends::scale::{Maker, Ridge, ScaleError, Selector, Site, variants};
//! use graph_opt_ir::{DType, Tensor, text::parse};
//! use graph_opt_passes::blocks::{Extractor, Stretches};
//!
//! /// Keeps the first units.
//! struct First;
//!
//! impl Selector for First {
//!     fn name(&self) -> &'static str {
//!         "first"
//!     }
//!
//!     fn select(&self, _: &Site<'_>, count: usize) -> Result<Vec<usize>, ScaleError> {
//!         Ok((0..count).collect())
//!     }
//! }
//!
//! let graph = parse(
//!     "graph @main(%x: f32[4,3,16,16]) -> (%y) opset 13 {
//!        %w1 = const random(1) : f32[8,3,3,3]
//!        %w2 = const random(2) : f32[4,8,3,3]
//!        %a  = Conv %x, %w1    : f32[4,8,14,14] ; a
//!        %r  = Relu %a         : f32[4,8,14,14]
//!        %y  = Conv %r, %w2    : f32[4,4,12,12] ; y
//!      }",
//! )?;
//! let block = &Stretches { max_share: 1.0 }.blocks(&graph)[0];
//! let data = vec![vec![Tensor::random(DType::F32, &[4, 3, 16, 16], 1)?]];
//! let maker = Maker { selector: &First, refitter: &Ridge::default() };
//! let made = variants(&graph, block, &[0.5], &maker, &data)?;
//! assert_eq!(made[0].units, [4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod dataset;
mod error;
mod layer;
pub mod linear;
pub mod metric;
mod network;
mod profile;
mod select;
mod sums;
mod switch;
mod trace;
mod variant;

pub use error::ScaleError;
pub use network::{in_order, values, variants};
pub use profile::{Interpreter, Profile, Profiler, size};
pub use select::{Activation, L1, L2, Residual, Selector, Site};
pub use sums::Sums;
pub use switch::{Monitor, Switchable};
pub use variant::{Maker, Refitter, Ridge, Unchanged, Variant};
