//! `graph-opt split`

use std::path::Path;

use graph_opt_ir::{Graph, ValueId, onnx};
use graph_opt_passes::analysis::plan;
use graph_opt_passes::devices::dataflow::{self, Options};
use graph_opt_passes::devices::file::{Manifest, PartFile, PlanFile};

use crate::failure::{Result, check, out, unsupported, usage};
use crate::model;
use crate::opt::size;
use crate::plan::rewritten;

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// The plan, as `graph-opt plan` wrote it for this model
    #[arg(long, value_name = "FILE.json")]
    plan: String,
    /// The folder to make: an ONNX file for each part, manifest.json, and dataflow.yml
    /// for dora-rs
    #[arg(short, long, value_name = "DIR")]
    output: String,
}

/// Reads JSON.
pub fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|e| usage(format!("{}: {e}", path.display())))?;
    serde_json::from_str(&text).map_err(|e| usage(format!("{}: {e}", path.display())))
}

pub fn main(args: &Args) -> Result {
    let graph = model::load(&args.model)?;
    let file: PlanFile = json(Path::new(&args.plan))?;
    let graph = rewritten(graph, &file.rewrite)?;
    let nodes = plan(&graph).map_err(usage)?.steps;
    let split = file.split(&graph, &nodes).map_err(usage)?;
    let target = Path::new(&args.output);
    if target.exists() {
        return Err(usage(format!("{} is there already", target.display())));
    }
    // It appears whole or not at all.
    let beside = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |e: std::io::Error| usage(format!("{}: {e}", target.display()));
    let folder = tempfile::tempdir_in(beside).map_err(failed)?;
    let names = |g: &Graph, v: &[ValueId]| -> Vec<String> {
        v.iter().map(|&v| g.value(v).name.to_string()).collect()
    };
    let mut stages = Vec::new();
    let mut lines = String::new();
    for (i, row) in file.stages.iter().enumerate() {
        let part = split.graph(&graph, i).map_err(|e| check(e.to_string()))?;
        let name = format!("stage{i}.onnx");
        onnx::save(&part, folder.path().join(&name)).map_err(unsupported)?;
        let crossing: u64 = row.receives.iter().map(|r| r.bytes).sum();
        lines.push_str(&format!(
            "{name}: {} nodes on {}, receives {} over links, holds {}\n",
            part.len(),
            row.device,
            size(crossing),
            size(row.memory_bytes)
        ));
        let (inputs, outputs) = (names(&part, part.inputs()), names(&part, part.outputs()));
        stages.push(PartFile { file: name, inputs, outputs });
    }
    let read = |v: &ValueId| graph.value(*v).uses().next().is_some() || graph.value(*v).is_output();
    let inputs: Vec<ValueId> = graph.inputs().iter().copied().filter(read).collect();
    let manifest = Manifest {
        version: 1,
        plan: file,
        inputs: names(&graph, &inputs),
        outputs: names(&graph, graph.outputs()),
        stages,
    };
    let text = serde_json::to_string_pretty(&manifest).map_err(|e| check(e.to_string()))?;
    model::whole(&folder.path().join("manifest.json"), format!("{text}\n").as_bytes())?;
    // The machines have the folder where it is here, until `graph-opt worker` is told otherwise.
    let at = std::path::absolute(target).map_err(failed)?;
    match dataflow::text(&manifest, &Options::new(at.to_string_lossy().into_owned())) {
        Ok(flow) => model::whole(&folder.path().join("dataflow.yml"), flow.as_bytes())?,
        Err(e) => eprintln!("there is no dataflow.yml: {e}"),
    }
    // Folders for a single user's eyes become ordinary ones.
    let made = folder.keep();
    readable(&made).and_then(|()| std::fs::rename(&made, target)).map_err(|e| {
        let _ = std::fs::remove_dir_all(&made);
        failed(e)
    })?;
    out(lines)
}

#[cfg(unix)]
fn readable(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn readable(_: &Path) -> std::io::Result<()> {
    Ok(())
}
