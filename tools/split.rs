//! `graph-opt split`

use std::collections::HashMap;
use std::path::Path;

use graph_opt_ir::onnx::devices::{Configuration, annotate};
use graph_opt_ir::{Graph, NodeId, ValueId};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::devices::files::dataflow::{self, Options};
use graph_opt_passes::devices::files::{Manifest, PartFile, PlanFile};
use graph_opt_passes::devices::graph::{Split, is_sent};
use graph_opt_passes::{ByteSize, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Result, internal, say, usage};
use crate::folder::Folder;
use crate::output::failed;
use crate::plan::rewritten;
use crate::{input, model, output, triton};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// The plan, as `graph-opt plan` wrote it for this model
    #[arg(long, value_name = "FILE.json")]
    plan: String,
    /// The folder to make: an ONNX file for each part, manifest.json, run.py, which runs the parts in
    /// ONNX Runtime and compares with the whole model, dataflow.yml for dora-rs, and annotated.onnx, the
    /// whole model with the parts as ONNX's own multi-device annotations
    #[arg(short, long, value_name = "DIR")]
    output: String,
    /// Another folder to make: a model repository for Triton Inference Server, with a model for each
    /// stage and an ensemble that wires them
    #[arg(long, value_name = "DIR")]
    triton: Option<String>,
}

/// The script that runs the parts in ONNX Runtime, in Python.
const RUN: &str = include_str!("run_stages.py");

/// Reads a JSON file into its type.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = input::text(path)?;
    serde_json::from_str(&text).map_err(|e| usage(format!("{}: {e}", path.display())))
}

/// The parts of a model.
#[derive(Serialize, JsonSchema)]
pub struct Parts {
    /// The folder.
    folder: String,
    /// The model repository for Triton; `null` if none was asked for.
    triton: Option<String>,
    /// The parts, in the order in which they run.
    parts: Vec<Part>,
}

/// A part.
#[derive(Serialize, JsonSchema)]
struct Part {
    /// The file in the folder.
    file: String,
    /// The device that it runs on.
    device: String,
    /// Number of nodes.
    nodes: usize,
    /// Bytes that it receives over links, for a frame.
    receives_bytes: u64,
    /// Bytes that it holds.
    memory_bytes: u64,
}

pub fn main(args: &Args) -> Result<Answer> {
    let folder = Folder::begin(Path::new(&args.output))?;
    let repository = args.triton.as_ref().map(|t| Folder::begin(Path::new(t))).transpose()?;
    let graph = model::load(&args.model)?;
    let file: PlanFile = json(Path::new(&args.plan))?;
    let graph = rewritten(graph, &file.rewrite)?;
    let nodes = plan(&graph).map_err(usage)?.steps;
    let split = file.split(&graph, &nodes).map_err(usage)?;
    let names = |g: &Graph, v: &[ValueId]| -> Vec<String> {
        v.iter().map(|&v| g.value(v).name.to_string()).collect()
    };
    let mut stages = Vec::new();
    let mut graphs = Vec::new();
    let mut lines = String::new();
    let mut parts = Vec::new();
    for (i, row) in file.stages.iter().enumerate() {
        let part = split.graph(&graph, i).map_err(internal)?;
        let name = format!("stage{i}.onnx");
        model::save_onnx(&part, &folder.path().join(&name))?;
        let crossing: u64 = row.receives.iter().map(|r| r.sent()).sum();
        lines.push_str(&format!(
            "{name}: {} on {}, receives {} over links, holds {}\n",
            count(part.len(), "node"),
            row.device,
            ByteSize(crossing),
            ByteSize(row.memory_bytes)
        ));
        parts.push(Part {
            file: name.clone(),
            device: row.device.clone(),
            nodes: part.len(),
            receives_bytes: crossing,
            memory_bytes: row.memory_bytes,
        });
        stages.push(PartFile::of(name, &part));
        graphs.push(part);
    }
    let annotated = annotated(&graph, &file, &split)?;
    model::save_onnx(&annotated, &folder.path().join("annotated.onnx"))?;
    let read = |v: &ValueId| graph.value(*v).uses().next().is_some() || graph.value(*v).is_output();
    let sent = |v: &ValueId| is_sent(&graph, *v);
    let inputs: Vec<ValueId> = graph.inputs().iter().copied().filter(read).filter(sent).collect();
    let manifest = Manifest {
        version: 1,
        plan: file,
        inputs: names(&graph, &inputs),
        outputs: names(&graph, graph.outputs()),
        stages,
    };
    manifest.check().map_err(usage)?;
    let text = serde_json::to_string_pretty(&manifest).map_err(internal)?;
    output::whole(&folder.path().join("manifest.json"), format!("{text}\n").as_bytes())?;
    output::whole(&folder.path().join("run.py"), RUN.as_bytes())?;
    // The machines have the folder where it is here, until `graph-opt worker` is told otherwise.
    let target = Path::new(&args.output);
    let at = std::path::absolute(target).map_err(|e| failed(target, &e))?;
    match dataflow::text(&manifest, &Options::new(at.to_string_lossy().into_owned())) {
        Ok(flow) => output::whole(&folder.path().join("dataflow.yml"), flow.as_bytes())?,
        Err(e) => say(format!("there is no dataflow.yml: {e}")),
    }
    if let Some(repository) = repository {
        if !manifest.plan.codecs().is_empty() {
            say("Triton sends all values as they are, without the plan's codecs");
        }
        triton::write(repository.path(), &triton::name(&args.model), &graph, &graphs)?;
        repository.finish()?;
    }
    folder.finish()?;
    let (folder, triton) = (args.output.clone(), args.triton.clone());
    Ok(Answer::new(Parts { folder, triton, parts }, lines))
}

/// The model with the parts of a plan as pipeline stages in ONNX's own annotations.
fn annotated(graph: &Graph, plan: &PlanFile, split: &Split) -> Result<Graph> {
    let devices: Vec<String> = plan.stages.iter().map(|s| s.device.clone()).collect();
    let configuration =
        Configuration { name: "graph-opt".into(), count: devices.len() as i64, devices };
    let of = |(stage, part): (usize, &graph_opt_passes::devices::graph::SplitPart)| {
        part.nodes.iter().map(|&n| (n, stage)).collect::<Vec<_>>()
    };
    let stages: HashMap<NodeId, usize> = split.parts.iter().enumerate().flat_map(of).collect();
    annotate(graph, &configuration, &|n| stages.get(&n).copied()).map_err(internal)
}
