//! Block scaling on data: smaller variants of blocks, fitted to what the blocks computed.

pub mod dataset;
pub mod linear;
pub mod metric;
