//! What the commands that run a pipeline share.

use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::faults::repro::{self, Case, Fault};
use graph_opt_ir::{Graph, onnx};
use graph_opt_passes::fix_dims::{Symbolic, fix_dims};
use graph_opt_passes::{Pipeline, Report, RunError, Runner};

use crate::failure::{self, Failure, Result, unsupported, usage};
use crate::{guard, model};

/// A model and the passes to run over it.
#[derive(clap::Args)]
pub struct Source {
    /// The model
    model: String,
    /// Passes to run, such as 'simplify,tile-conv{axis=h parts=4}'
    #[arg(short, long, value_name = "PIPELINE")]
    passes: String,
    /// Write the extents given with --dim into the model before the passes run
    #[arg(long)]
    fix_dims: bool,
}

impl Source {
    /// The passes, the model, and the graph that they begin with.
    pub fn read(&self, dims: &[(String, u64)]) -> Result<(Pipeline, Arc<Graph>, Graph)> {
        let pipeline = Pipeline::parse(&self.passes).map_err(usage)?;
        let (original, graph) = start(&self.model, self.fix_dims, dims)?;
        Ok((pipeline, original, graph))
    }
}

/// The model, and the graph that passes begin with: the same, or with these extents written into it.
pub fn start(name: &str, fix: bool, dims: &[(String, u64)]) -> Result<(Arc<Graph>, Graph)> {
    let original = Arc::new(model::load(name)?);
    let mut graph = (*original).clone();
    if fix {
        if dims.is_empty() {
            let known = Symbolic::of(&graph);
            return Err(usage(format!("--fix-dims needs --dim NAME=N; {known}")));
        }
        fix_dims(&mut graph, dims).map_err(usage)?;
    }
    Ok((original, graph))
}

/// Runs the case. An internal error leaves a reproducer in the working folder.
pub fn run(case: &Case, runner: Runner<'_>, graph: &mut Graph) -> Result<Report> {
    let before = graph.clone();
    repro::caught(case.set(runner), graph, &case.pipeline).map_err(|fault| match fault {
        Fault::Run(e) if is_of_model(&e) => failure(e),
        fault => internal(case, &before, &fault),
    })
}

/// Whether the model is at fault, rather than a pass.
fn is_of_model(e: &RunError) -> bool {
    matches!(e, RunError::Contradiction { .. } | RunError::Unsettled { .. })
}

/// A pipeline that broke off, where no reproducer is written.
pub fn failure(e: RunError) -> Failure {
    match e {
        e @ RunError::Contradiction { .. } => usage(e),
        e @ RunError::Unsettled { .. } => unsupported(e),
        e => failure::internal(e),
    }
}

/// Calls `f`, which works on what the case made of the graph. A panic leaves a reproducer, too.
pub fn guard<T>(case: &Case, before: &Graph, f: impl FnOnce() -> Result<T>) -> Result<T> {
    repro::no_panic(f).map_err(|fault| internal(case, before, &fault))?
}

fn internal(case: &Case, graph: &Graph, fault: &Fault) -> Failure {
    let place = if matches!(fault, Fault::Panic(_)) { guard::place() } else { String::new() };
    let save = |g: &Graph, p: &Path| onnx::save(g, p).map_err(|e| e.to_string());
    let written = quietly(|| repro::write(case, graph, fault, Path::new(""), &save));
    let file = match written {
        Ok(path) => format!("{0} reproduces it: graph-opt repro {0}", path.display()),
        Err(e) => format!("no reproducer could be written: {e}"),
    };
    failure::internal(format!("{fault}{place}\n{file}"))
}

/// Without what panics print: the panic that is reproduced was shown already.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = f();
    std::panic::set_hook(hook);
    result
}
