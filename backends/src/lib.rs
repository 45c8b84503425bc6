//! Backends of graph-opt: what executes graphs, to compare what passes made of them.

mod backend;
pub mod cpu;
#[cfg(feature = "wgpu")]
pub mod wgpu;

pub use backend::{Backend, Executable, PrepareError, RunError, Unsupported};
