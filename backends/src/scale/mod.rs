//! Block scaling on data: smaller variants of blocks, fitted to what the blocks computed.

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
