//! Backends of graph-opt: what executes graphs, to compare what passes made of them.

mod backend;
pub mod codec;
pub mod compare;
pub mod cpu;
mod evaluate;
pub mod faults;
mod geometry;
pub mod inputs;
mod outcomes;
#[cfg(feature = "scale")]
pub mod scale;
mod schedule;
pub mod stages;
pub mod tolerance;
pub mod watch;
#[cfg(feature = "wgpu")]
pub mod wgpu;
pub mod zoo;

pub use backend::{Backend, Executable, PrepareError, RunError, Unsupported};
pub use evaluate::Folder;
