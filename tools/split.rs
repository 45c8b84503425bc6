//! `graph-opt split`

use std::collections::HashMap;
use std::path::Path;

use graph_opt_ir::onnx::devices::{Configuration, annotate};
use graph_opt_ir::{Graph, NodeId, onnx};
use graph_opt_passes::devices::file::PlanFile;
use graph_opt_passes::devices::network::Network;
use serde::{Deserialize, Serialize};

use crate::failure::{Result, check, out, unsupported, usage};
use crate::folder::Folder;
use crate::opt::size;
use crate::{model, triton};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// The plan, as `graph-opt plan` wrote it for this model
    #[arg(long, value_name = "FILE.json")]
    plan: String,
    /// The folder to make: an ONNX file for each stage, manifest.json, and annotated.onnx, the whole
    /// model with the stages as ONNX's own multi-device annotations
    #[arg(short, long, value_name = "DIR")]
    output: String,
    /// Another folder to make: a model repository for Triton Inference Server, with a model for each
    /// stage and an ensemble that wires them
    #[arg(long, value_name = "DIR")]
    triton: Option<String>,
}

/// What the folder holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format: 1.
    pub version: u32,
    /// The plan.
    pub plan: PlanFile,
    /// Inputs of the whole, in order.
    pub inputs: Vec<String>,
    /// Outputs of the whole, in order.
    pub outputs: Vec<String>,
    /// Stages, in order, as in the plan.
    pub stages: Vec<Part>,
}

/// A stage's file, and what it takes and gives.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The file, in the same folder.
    pub file: String,
    /// Values that the file's graph reads, in the order of its inputs.
    pub inputs: Vec<String>,
    /// Values that it makes, in the order of its outputs.
    pub outputs: Vec<String>,
    /// Values that it receives and hands on, whether it reads them or not.
    pub passes: Vec<String>,
    /// Values that go on to the next stage, or out.
    pub sends: Vec<String>,
}

/// Reads JSON.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|e| usage(format!("{}: {e}", path.display())))?;
    serde_json::from_str(&text).map_err(|e| usage(format!("{}: {e}", path.display())))
}

pub fn main(args: &Args) -> Result {
    let graph = model::load(&args.model)?;
    let plan: PlanFile = json(Path::new(&args.plan))?;
    let network = Network::of(&graph).map_err(usage)?;
    let units = plan.units(&graph, &network).map_err(usage)?;
    let folder = Folder::begin(Path::new(&args.output))?;
    let repository = args.triton.as_ref().map(|t| Folder::begin(Path::new(t))).transpose()?;
    let names = |g: &Graph, v: &[graph_opt_ir::ValueId]| -> Vec<String> {
        v.iter().map(|&v| g.value(v).name.to_string()).collect()
    };
    let mut stages = Vec::new();
    let mut graphs = Vec::new();
    let mut lines = String::new();
    for (i, u) in units.iter().enumerate() {
        let stage = network.stage(&graph, u.clone()).map_err(|e| check(e.to_string()))?;
        let file = format!("stage{i}.onnx");
        onnx::save(&stage, folder.path().join(&file)).map_err(unsupported)?;
        let (inputs, outputs) = (names(&stage, stage.inputs()), names(&stage, stage.outputs()));
        let sends = names(&graph, &network.crossing[u.end]);
        let receives = names(&graph, &network.crossing[u.start]);
        let passes = receives.into_iter().filter(|r| sends.contains(r)).collect();
        let row = &plan.stages[i];
        lines.push_str(&format!(
            "{file}: {} nodes on {}, sends {} values, {}\n",
            stage.len(),
            row.device,
            sends.len(),
            size(network.cuts[u.end])
        ));
        stages.push(Part { file, inputs, outputs, passes, sends });
        graphs.push(stage);
    }
    let annotated = annotated(&graph, &plan, &network, &units)?;
    onnx::save(&annotated, folder.path().join("annotated.onnx")).map_err(unsupported)?;
    let manifest = Manifest {
        version: 1,
        inputs: names(&graph, &network.crossing[0]),
        outputs: names(&graph, graph.outputs()),
        plan,
        stages,
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(|e| check(e.to_string()))?;
    model::whole(&folder.path().join("manifest.json"), format!("{text}\n").as_bytes())?;
    if let Some(repository) = repository {
        triton::write(repository.path(), &triton::name(&args.model), &graph, &graphs)?;
        repository.finish()?;
    }
    folder.finish()?;
    out(lines)
}

/// The model with the stages of a plan as ONNX's own annotations.
fn annotated(
    graph: &Graph,
    plan: &PlanFile,
    network: &Network,
    units: &[std::ops::Range<usize>],
) -> Result<Graph> {
    let devices: Vec<String> = plan.stages.iter().map(|s| s.device.clone()).collect();
    let configuration =
        Configuration { name: "graph-opt".into(), count: devices.len() as i64, devices };
    let of = |(stage, range): (usize, &std::ops::Range<usize>)| {
        network.nodes[range.clone()].iter().map(move |&n| (n, stage))
    };
    let stages: HashMap<NodeId, usize> = units.iter().enumerate().flat_map(of).collect();
    annotate(graph, &configuration, &|n| stages.get(&n).copied()).map_err(check)
}
