//! Tiling: computing a value part by part.
//!
//! [`build`] is the only code that writes tiles; the passes decide which nodes, and where to cut.

pub mod build;
pub mod parts;
pub mod tile_conv;
pub mod untile;
