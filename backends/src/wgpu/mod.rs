//! The backend for graphics cards, through wgpu.
//!
//! # Design
//! Floating-point tensors that depend on the graph's inputs are on the device as `f32`; whole
//! numbers, truth values and shapes are on the host, where the reference interpreter's operators
//! compute them. Data cross over only when an operator needs them on the other side. An operator
//! without a kernel here runs on the host, and [`Compiled::fallbacks`] tells so.
//!
//! Every output element is one left-to-right fold over its reduction in ascending order, in one
//! thread, with one pipeline per operator and kind of attributes; extents are data. So a tile has
//! the bits of the same part of the whole on the same adapter. Sums of products are written as
//! `fma`, which an adapter may fuse or not: [`Wgpu::fused`] tells, and with it which mode of the
//! reference interpreter has the same bits. The elementary functions are this crate's own
//! polynomials and within a few units in the last place of the reference interpreter's.

mod buffers;
mod device;
mod kernel;
mod ops;
mod probe;
mod run;
mod stream;

use std::sync::{Arc, Mutex, PoisonError};

use graph_opt_ir::{Graph, Tensor, ValueId};

use crate::{Backend, Executable, PrepareError, RunError};
use buffers::Pool;
use device::Gpu;
pub use probe::Fusion;

/// No adapter can be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no adapter{}{}; present: {}",
    .filter.as_ref().map_or(String::new(), |f| format!(" called {f:?}")),
    .reason.as_ref().map_or(String::new(), |r| format!(" can be used ({r})")),
    if .present.is_empty() { "none".to_owned() } else { .present.join(", ") })]
pub struct NoAdapter {
    /// Part of the name that was asked for.
    pub filter: Option<String>,
    /// Names of all adapters of the machine.
    pub present: Vec<String>,
    /// Why the adapter could not be opened.
    pub reason: Option<String>,
}

/// The backend. Copies share the device and its compiled pipelines.
#[derive(Clone)]
pub struct Wgpu {
    gpu: Arc<Gpu>,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wgpu").field("adapter", &self.adapter_name()).finish_non_exhaustive()
    }
}

impl Wgpu {
    /// Opens the most powerful adapter.
    ///
    /// # Errors
    /// If there is none that can compute.
    pub fn new() -> Result<Self, NoAdapter> {
        Self::with_adapter(None)
    }

    /// Opens the first adapter whose name contains `filter`, in upper or lower case.
    ///
    /// # Errors
    /// If there is none that can compute.
    pub fn with_adapter(filter: Option<&str>) -> Result<Self, NoAdapter> {
        Ok(Self { gpu: Arc::new(Gpu::open(filter)?), pool: Arc::default() })
    }

    /// The adapter's name, as its driver gives it.
    pub fn adapter_name(&self) -> &str {
        &self.gpu.info.name
    }

    /// Bytes of the largest value that the adapter takes: it is in one buffer, and bound whole.
    pub fn largest_value(&self) -> u64 {
        self.gpu.largest()
    }

    /// How the adapter rounds sums of products, found out by running one.
    ///
    /// # Errors
    /// If the device fails.
    pub fn fused(&self) -> Result<Fusion, RunError> {
        probe::fusion(&self.gpu, &self.pool)
    }

    /// As [`Backend::prepare`], keeping the type.
    ///
    /// # Errors
    /// As there.
    pub fn compile(&self, graph: Arc<Graph>) -> Result<Compiled, PrepareError> {
        let unsupported = run::unsupported(&graph);
        if !unsupported.is_empty() {
            return Err(PrepareError::Unsupported(unsupported));
        }
        let constants = run::constants(&graph);
        Ok(Compiled {
            wgpu: self.clone(),
            graph,
            constants: Mutex::new(constants),
            fallbacks: Mutex::default(),
        })
    }
}

impl Backend for Wgpu {
    fn name(&self) -> &str {
        "wgpu"
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Executable>, PrepareError> {
        Ok(Box::new(self.compile(graph)?))
    }
}

/// A graph that is ready to run on the device. Constants stay there from run to run.
pub struct Compiled {
    wgpu: Wgpu,
    graph: Arc<Graph>,
    constants: Mutex<run::Constants>,
    fallbacks: Mutex<Vec<(String, String)>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("wgpu", &self.wgpu).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Labels and operators of the nodes that ran on the host in the last run though an operand
    /// was on the device.
    pub fn fallbacks(&self) -> Vec<(String, String)> {
        self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Executable for Compiled {
    fn run(&self, inputs: &[Tensor], wanted: &[ValueId]) -> Result<Vec<Tensor>, RunError> {
        let mut constants = self.constants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut run = run::Run::new(&self.wgpu.gpu, &self.wgpu.pool);
        let out = run.graph(&self.graph, &mut constants, inputs, wanted);
        if out.is_err() {
            constants.forget();
        }
        let told = std::mem::take(&mut run.fallbacks);
        *self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner) = told;
        out
    }
}

#[cfg(test)]
mod tests;
