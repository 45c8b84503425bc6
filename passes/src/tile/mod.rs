//! Tiling: computing a value part by part.
//!
//! [`build`] writes the tiles, but for the partial sums of `tile_conv`; the passes decide which nodes, and where to cut.

pub mod build;
mod cost_model;
pub mod fuse_tiles;
mod grid;
mod group;
pub mod hide_extents;
mod partial_sums;
pub mod parts;
pub mod planner;
pub(crate) mod slices;
mod spans;
mod survey;
pub mod tile_conv;
pub mod untile;

pub use grid::{Grid, Reuse};
pub use group::{Group, GroupError};
pub use survey::{TileNeeds, region_bytes, survey};
