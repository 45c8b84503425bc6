//! What variants cost: size and work exactly, latency as measured.

use std::sync::Arc;
use std::time::Instant;

use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::{cost, peak};

use super::error::ScaleError;
use crate::Executable;
use crate::cpu::Cpu;

/// What a block or network costs.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Profile {
    /// Elements of its constants, without shapes and indices.
    pub parameters: u64,
    /// Bytes of its constants.
    pub bytes: u64,
    /// Multiply-accumulates of a run.
    pub macs: u64,
    /// Most bytes of activations that are live at once, those that enter and leave included.
    pub peak: u64,
    /// Seconds of a run: the median.
    pub seconds: f64,
}

/// What measures the latency of graphs.
pub trait Profiler {
    /// Seconds of one run of each graph on its inputs: the medians. The graphs are alternatives for each other,
    /// so they are run in turns, that a change of the machine's speed affects all of them alike.
    ///
    /// # Errors
    /// If a graph cannot be prepared or run.
    fn seconds(&self, graphs: &[(&Graph, &[Tensor])]) -> Result<Vec<f64>, ScaleError>;
}

/// Latencies of the reference interpreter on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interpreter {
    /// Number of threads.
    pub threads: usize,
    /// Runs of each graph after one that warms up.
    pub runs: usize,
}

impl Default for Interpreter {
    fn default() -> Self {
        Self { threads: 1, runs: 5 }
    }
}

impl Profiler for Interpreter {
    fn seconds(&self, graphs: &[(&Graph, &[Tensor])]) -> Result<Vec<f64>, ScaleError> {
        let cpu = Cpu { threads: self.threads, ..Cpu::default() };
        let mut prepared = Vec::with_capacity(graphs.len());
        for (graph, _) in graphs {
            prepared.push(cpu.prepared(Arc::new((*graph).clone()))?);
        }
        let mut times = vec![Vec::with_capacity(self.runs); graphs.len()];
        for turn in 0..=self.runs {
            for ((p, (graph, inputs)), times) in prepared.iter().zip(graphs).zip(&mut times) {
                let start = Instant::now();
                p.run(inputs, graph.outputs())?;
                if turn > 0 {
                    times.push(start.elapsed().as_secs_f64());
                }
            }
        }
        let median = |mut t: Vec<f64>| {
            t.sort_by(f64::total_cmp);
            t.get(t.len() / 2).copied().unwrap_or(0.0)
        };
        Ok(times.into_iter().map(median).collect())
    }
}

/// The profile of a graph of known extents, without its latency. A peak that cannot be planned is 0.
pub fn size(graph: &Graph) -> Profile {
    let c = cost(graph);
    Profile {
        parameters: c.parameters,
        bytes: c.constant_bytes,
        macs: c.macs,
        peak: peak(graph).map_or(0, |m| m.peak),
        seconds: 0.0,
    }
}
