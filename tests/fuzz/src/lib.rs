//! What the fuzz targets assert: readers refuse a file or read it rightly, and passes keep what graphs compute.
//!
//! Each module is one target. A broken promise panics, which ends the fuzzer with the input that did it.

pub mod cluster;
pub mod import;
pub mod pipeline;
pub mod plan_files;
pub mod read;
pub mod seeds;
pub mod text;
