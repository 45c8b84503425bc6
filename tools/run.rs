//! `graph-opt run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_backends::inputs::Extents;
use graph_opt_backends::{PrepareError, RunError};
use graph_opt_ir::{Graph, Tensor};

use crate::failure::{Failure, Result, does_not_fit, name, out, unsupported, usage};
use crate::progress::Progress;
use crate::verify::backend;
use crate::{model, output, tensors};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Where to run it
    #[arg(long, default_value = "cpu", value_name = "NAME", value_parser = ["cpu", "wgpu"])]
    backend: String,
    /// An input from a .npy file or a TensorProto (.pb); others are drawn at random
    #[arg(long, value_name = "NAME=FILE", value_parser = tensors::parse_input)]
    input: Vec<(String, PathBuf)>,
    /// Folder for the outputs, NAME.npy each; "/" in a name becomes "_"
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Extent of a symbolic dimension
    #[arg(long = "dim", value_name = "NAME=N", value_parser = tensors::parse_dim)]
    dims: Vec<(String, u64)>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
}

pub fn main(args: &Args) -> Result {
    if let Some(dir) = &args.output {
        output::probe_folder(dir)?;
    }
    let graph = Arc::new(model::load(&args.model)?);
    let given: Vec<(String, Tensor)> = args
        .input
        .iter()
        .map(|(n, f)| Ok((n.clone(), tensors::read_input(&graph, n, f)?)))
        .collect::<Result<_>>()?;
    let extents = Extents(args.dims.iter().cloned().collect());
    let inputs = tensors::inputs(&graph, &given, &extents, args.seed)?;
    let backend = backend(&args.backend)?;
    let files = match &args.output {
        Some(dir) => files(dir, &graph)?,
        None => Vec::new(),
    };
    let progress = Progress::new();
    progress.say("preparing");
    let executable = backend.prepare(graph.clone()).map_err(prepare_failure)?;
    progress.say("running");
    let results = executable.run(&inputs, graph.outputs()).map_err(run_failure)?;
    drop(progress);
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).map_err(|e| output::failed(dir, &e))?;
    }
    for (i, (&v, t)) in graph.outputs().iter().zip(&results).enumerate() {
        out(format!("{}: {}{}\n", name(&graph.value(v).name), t.ty(), summary(t)))?;
        if let Some(file) = files.get(i) {
            tensors::write(t, file)?;
        }
    }
    Ok(())
}

/// The file of each output. Two outputs whose names meet in one file are refused before anything runs.
fn files(dir: &Path, graph: &Graph) -> Result<Vec<PathBuf>> {
    let mut taken: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let mut all = Vec::new();
    for &v in graph.outputs() {
        let output: &str = &graph.value(v).name;
        let file = dir.join(format!("{}.npy", output.replace('/', "_")));
        if let Some(other) = taken.insert(file.clone(), output).filter(|o| *o != output) {
            return Err(usage(format!(
                "outputs {other:?} and {output:?} would both be written to {}; rename one of them",
                file.display()
            )));
        }
        all.push(file);
    }
    Ok(all)
}

fn summary(t: &Tensor) -> String {
    let Some(v) = t.to_f32s().filter(|v| !v.is_empty()) else { return String::new() };
    let (min, max) =
        v.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
    let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    format!(", {min} to {max}, mean {mean:.6}")
}

/// What a backend cannot prepare is unsupported.
pub fn prepare_failure(e: PrepareError) -> Failure {
    match e {
        PrepareError::Constant { .. } => usage(e),
        e => unsupported(e),
    }
}

/// What a run fails by decides the exit code.
pub fn run_failure(e: RunError) -> Failure {
    fn inner(e: &RunError) -> &RunError {
        match e {
            RunError::Node { source, .. } => inner(source),
            e => e,
        }
    }
    match inner(&e) {
        RunError::Unsupported(_) | RunError::NotInField(_) => unsupported(e),
        RunError::Input { .. } => usage(e),
        RunError::TooLarge { .. } => does_not_fit(e),
        _ => usage(e),
    }
}
