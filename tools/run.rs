//! `graph-opt run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::required;
use graph_opt_backends::{Backend, PrepareError, RunError};
use graph_opt_ir::{Datum, Graph, Tensor, ValueId};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::dims::Dims;
use crate::failure::{Failure, Result, does_not_fit, name, unsupported, usage};
use crate::inputs::Inputs;
use crate::progress::Progress;
use crate::top::{Scores, TopRow};
use crate::verify::{BACKENDS, backend};
use crate::{model, output, tensors};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Where to run it
    #[arg(long, default_value = "cpu", value_name = "NAME", value_parser = BACKENDS)]
    backend: String,
    /// Folder for the outputs, NAME.npy each, or a folder NAME for a sequence; "/" in a name becomes "_"
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Seed of random inputs
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    #[command(flatten)]
    dims: Dims,
    #[command(flatten)]
    inputs: Inputs,
    #[command(flatten)]
    scores: Scores,
}

/// The outputs of a run.
#[derive(Serialize, JsonSchema)]
pub struct Outputs {
    /// One for each output.
    outputs: Vec<OutputRow>,
}

/// An output.
#[derive(Serialize, JsonSchema)]
struct OutputRow {
    /// Its name.
    name: String,
    /// Its type, such as `f32[1,1000]`.
    r#type: String,
    /// Its numbers; `null` for other types, or without elements.
    values: Option<Values>,
    /// Its highest scores, row by row; `null` without `--top`, or if it has none.
    top: Option<Vec<TopRow>>,
    /// The file that it was written to; `null` without one.
    file: Option<String>,
}

/// The numbers of a tensor.
#[derive(Clone, Copy, Serialize, JsonSchema)]
struct Values {
    /// The least.
    min: f32,
    /// The largest.
    max: f32,
    /// Their mean.
    mean: f64,
}

pub fn main(args: &Args) -> Result<Answer> {
    if let Some(dir) = &args.output {
        output::probe_folder(dir)?;
    }
    let graph = Arc::new(model::load(&args.model)?);
    let extents = args.dims.extents();
    let given = args.inputs.read_data(&graph, &extents)?;
    let labels = args.scores.labels()?;
    let inputs = tensors::data(&graph, &given, &extents, args.seed)?;
    let backend = backend(&args.backend)?;
    let files = match &args.output {
        Some(dir) => files(dir, &graph)?,
        None => Vec::new(),
    };
    let progress = Progress::new();
    progress.say("preparing");
    let executable = backend.prepare(graph.clone()).map_err(prepare_failure)?;
    progress.say("running");
    let results = executable.run_data(&inputs, graph.outputs()).map_err(run_failure)?;
    drop(progress);
    let named: Vec<_> = graph.outputs().iter().map(|&v| &*graph.value(v).name).collect();
    let tensors: Vec<_> = named.into_iter().zip(results.iter().map(Datum::tensor)).collect();
    let top = args.scores.of(&tensors, labels.as_deref())?;
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).map_err(|e| output::failed(dir, &e))?;
    }
    let (mut text, mut outputs) = (String::new(), Vec::new());
    for (i, ((&v, t), top)) in graph.outputs().iter().zip(&results).zip(top).enumerate() {
        let values = t.tensor().and_then(Values::of);
        let summary = values.map(|v| v.to_string()).unwrap_or_default();
        text.push_str(&format!("{}: {}{summary}\n", name(&graph.value(v).name), t.ty()));
        text.push_str(&top.as_deref().map(|all| args.scores.table(all)).unwrap_or_default());
        let file = files.get(i).map(|file| tensors::write_datum(t, file)).transpose()?.flatten();
        outputs.push(OutputRow {
            name: graph.value(v).name.to_string(),
            r#type: t.ty().to_string(),
            values,
            top,
            file: file.map(|f| f.display().to_string()),
        });
    }
    Ok(Answer::new(Outputs { outputs }, text))
}

/// The outputs of a model on these inputs, which must be all that it takes, by name.
pub fn on(
    graph: &Graph,
    inputs: &[(String, Tensor)],
    threads: usize,
) -> Result<Vec<(String, Tensor)>> {
    let wanted = required(graph);
    tensors::known(graph, &wanted, inputs.iter().map(|i| &*i.0))?;
    let given = |&v: &ValueId| {
        let value = graph.value(v);
        let found = inputs.iter().find(|i| *i.0 == *value.name);
        let lacks = || usage(format!("input {:?} is missing: {}", value.name, value.ty));
        found.map(|i| i.1.clone()).ok_or_else(lacks)
    };
    let inputs = wanted.iter().map(given).collect::<Result<Vec<_>>>()?;
    let cpu = Cpu::default();
    let cpu = Cpu { threads: if threads == 0 { cpu.threads } else { threads }, ..cpu };
    let ready = cpu.prepare(Arc::new(graph.clone())).map_err(prepare_failure)?;
    let outputs = ready.run(&inputs, graph.outputs()).map_err(run_failure)?;
    let name = |&v: &ValueId| graph.value(v).name.to_string();
    Ok(graph.outputs().iter().map(name).zip(outputs).collect())
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

impl Values {
    fn of(t: &Tensor) -> Option<Self> {
        let v = t.to_f32s().filter(|v| !v.is_empty())?;
        let (min, max) =
            v.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &x| (a.min(x), b.max(x)));
        let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
        Some(Self { min, max, mean })
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, ", {} to {}, mean {:.6}", self.min, self.max, self.mean)
    }
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
