//! What the commands that run a pipeline share.

use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::Folder;
use graph_opt_backends::faults::repro::{self, Case, Fault};
use graph_opt_ir::{Graph, onnx};
use graph_opt_passes::fix_dims::{Symbolic, fix_dims};
use graph_opt_passes::{Assumed, Pipeline, Report, RunError, Runner};

use crate::dims::Dims;
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

/// What passes begin with.
pub struct Start {
    /// The model as it was read.
    pub original: Arc<Graph>,
    /// The same, or with extents written into it.
    pub graph: Graph,
    /// Extents that are assumed where sizes are needed.
    pub assumed: Assumed,
    /// Extents that were only to be assumed, but are written into the graph because passes need them.
    pub fixed: Option<String>,
}

impl Source {
    /// The passes, and what they begin with.
    pub fn read(&self, dims: &Dims) -> Result<(Pipeline, Start)> {
        let pipeline = Pipeline::parse(&self.passes).map_err(usage)?;
        Ok((pipeline, Start::read(&self.model, self.fix_dims, dims)?))
    }
}

impl Start {
    /// The model, with these extents written into it or assumed.
    pub fn read(name: &str, fix: bool, dims: &Dims) -> Result<Self> {
        let original = Arc::new(model::load(name)?);
        let mut start =
            Self { graph: (*original).clone(), original, assumed: dims.assumed(), fixed: None };
        if fix {
            if dims.is_empty() {
                let known = Symbolic::of(&start.graph);
                return Err(usage(format!("--fix-dims needs --dim NAME=N; {known}")));
            }
            start.fix(dims)?;
        }
        // Names that are not there are found before work starts.
        start.assumed.sized(&start.graph, &Folder).map_err(usage)?;
        Ok(start)
    }

    /// Writes these extents into the graph.
    pub fn fix(&mut self, dims: &Dims) -> Result {
        fix_dims(&mut self.graph, &dims.all()).map_err(usage)?;
        self.assumed = Assumed::default();
        Ok(())
    }
}

/// Runs the case. An internal error leaves a reproducer in the working folder.
pub fn run(case: &Case, runner: Runner<'_>, graph: &mut Graph) -> Result<Report> {
    let before = graph.clone();
    repro::caught(case.set(runner), graph, &case.pipeline).map_err(|fault| match fault {
        Fault::Run(e) if is_of_user(&e) => failure(e),
        fault => internal(case, &before, &fault),
    })
}

/// Whether the model or the pipeline is at fault, rather than a pass.
fn is_of_user(e: &RunError) -> bool {
    matches!(
        e,
        RunError::Contradiction { .. } | RunError::Unsettled { .. } | RunError::UnknownName { .. }
    )
}

/// A pipeline that broke off, where no reproducer is written.
pub fn failure(e: RunError) -> Failure {
    match e {
        e @ (RunError::Contradiction { .. } | RunError::UnknownName { .. }) => usage(e),
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
