//! A part of the model that is ready to run.

use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::stages::{Values, take};
use graph_opt_backends::{Backend, Executable};
use graph_opt_ir::{Graph, Type};

use crate::failure::{Result, differs, unsupported, usage};
use crate::model;
use crate::onnxruntime::{LEVELS, OnnxRuntime};

/// What computes.
#[derive(clap::Args, Clone, Debug)]
pub struct Engine {
    /// Where stages run. onnxruntime is the one of the Python that GRAPH_OPT_PYTHON names, or python3
    #[arg(long, default_value = "cpu", value_name = "NAME", value_parser = ["cpu", "wgpu", "onnxruntime"])]
    pub backend: String,
    /// What ONNX Runtime may optimize: its graph_optimization_level. With `disable`, stages have the bits of the
    /// whole model
    #[arg(long, default_value = "all", value_name = "LEVEL", value_parser = LEVELS)]
    pub ort_level: String,
    /// Threads of the CPU backend or of ONNX Runtime; 0 for as many as there are cores
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u16,
}

impl Engine {
    /// The backend.
    pub fn backend(&self) -> Result<Box<dyn Backend>> {
        match &*self.backend {
            "cpu" => {
                let all = Cpu::default();
                let threads = if self.threads == 0 { all.threads } else { self.threads.into() };
                Ok(Box::new(Cpu { threads, ..all }))
            }
            "onnxruntime" => {
                let level = self.ort_level.clone();
                Ok(Box::new(OnnxRuntime { level, threads: self.threads }))
            }
            #[cfg(feature = "wgpu")]
            "wgpu" => {
                let wgpu = graph_opt_backends::wgpu::Wgpu::new();
                Ok(Box::new(wgpu.map_err(|e| unsupported(format!("wgpu: {e}")))?))
            }
            other => Err(unsupported(format!(
                "this graph-opt-worker is built without the backend {other}; \
                 build it with --features {other}"
            ))),
        }
    }
}

/// A graph that is ready to run on values by name.
pub struct Stage {
    graph: Arc<Graph>,
    run: Box<dyn Executable>,
}

impl Stage {
    /// Loads a stage's file.
    pub fn load(path: &Path, engine: &Engine) -> Result<Self> {
        Self::of(model::load(&path.to_string_lossy())?, engine)
    }

    /// Makes a graph ready to run.
    pub fn of(graph: Graph, engine: &Engine) -> Result<Self> {
        let graph = Arc::new(graph);
        let run = engine.backend()?.prepare(graph.clone()).map_err(unsupported)?;
        Ok(Self { graph, run })
    }

    /// The type of a value that it reads.
    pub fn ty(&self, name: &str) -> Option<&Type> {
        let g = &self.graph;
        let mut inputs = g.inputs().iter().map(|&v| g.value(v));
        inputs.find(|v| *v.name == *name).map(|v| &v.ty)
    }

    /// Runs it on those of the values that it reads; gives what it makes.
    pub fn run(&self, values: &Values) -> Result<Values> {
        let g = &self.graph;
        let inputs = take(g, values).map_err(usage)?;
        let made = self.run.run(&inputs, g.outputs()).map_err(differs)?;
        let name = |&v: &graph_opt_ir::ValueId| g.value(v).name.to_string();
        Ok(g.outputs().iter().map(name).zip(made).collect())
    }
}
