//! `graph-opt blocks`: the blocks of a network, and their smaller variants.

use std::path::{Path, PathBuf};

use graph_opt_backends::Folder as Evaluator;
use graph_opt_backends::scale::{self, dataset::Dataset};
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::node_macs;
use graph_opt_passes::blocks::{Block, Extractor, Stretches};
use graph_opt_passes::registry::optimise;
use graph_opt_passes::{ByteSize, Runner, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{Answer, Document};
use crate::dataset;
use crate::failure::{Result, internal, say, unsupported, usage};
use crate::folder::Folder;
use crate::library::{Entry, Library, MODEL};
use crate::pictures::Images;
use crate::progress::Progress;
use crate::table::rows;
use crate::workshop::{How, Made, Workshop, dims_of, failed, fixed};
use crate::{model, output, tensors};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Largest share of the network's parameters and multiply-accumulates in one block
    #[arg(long, value_name = "SHARE", default_value_t = 0.125)]
    max_share: f64,
    /// Samples to fit variants to: a .npz file, or a folder of arrays or images. Labels are not used
    #[arg(long, value_name = "FILE|DIR", requires = "target")]
    data: Option<PathBuf>,
    /// Samples to measure losses on, apart from those of --data; with labels the accuracy is measured,
    /// without them the distance from the model's outputs [default: those of --data]
    #[arg(long, value_name = "FILE|DIR", requires = "data")]
    measure: Option<PathBuf>,
    /// Folder to write the model, the variants and what they cost to
    #[arg(short, long = "output", value_name = "DIR", id = "target", requires = "data")]
    output: Option<PathBuf>,
    /// Shares of the channels inside of each block to remove; at 0 only those that others replace exactly
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "0,0.3,0.6,0.8")]
    sparsities: Vec<f64>,
    #[command(flatten)]
    how: How,
    /// Also write what each block reads and gives, as .npy files: for those who train variants elsewhere
    #[arg(long, value_name = "DIR", requires = "data")]
    export: Option<PathBuf>,
    /// Take variants that were trained elsewhere: BLOCK.onnx or BLOCK.ANYTHING.onnx in this folder
    #[arg(long, value_name = "DIR", requires = "data")]
    import: Option<PathBuf>,
    #[command(flatten)]
    images: Images,
}

/// Samples in a batch, where the model takes any number.
pub const BATCH: usize = 32;

/// The blocks of a model.
#[derive(Serialize, JsonSchema)]
pub struct Listed {
    /// The blocks, in the order in which they run.
    blocks: Vec<ListedBlock>,
}

/// A block.
#[derive(Serialize, JsonSchema)]
struct ListedBlock {
    /// Its name.
    name: String,
    /// Number of nodes.
    nodes: usize,
    /// Elements of its constants.
    parameters: u64,
    /// Multiply-accumulates for one sample.
    macs: u64,
    /// The tensor that it reads.
    input: String,
    /// The tensor that it gives.
    output: String,
    /// Number of units that can be removed, of each set of coupled channels.
    units: Vec<usize>,
}

pub fn main(args: &Args) -> Result<Answer> {
    let graph = prepared(&args.model)?;
    if !(args.max_share > 0.0 && args.max_share <= 1.0) {
        return Err(usage(format!("--max-share: expected 0 to 1, found {}", args.max_share)));
    }
    let blocks = Stretches { max_share: args.max_share }.blocks(&graph);
    match (&args.data, &args.output) {
        (Some(data), Some(output)) => make(args, &graph, &blocks, data, output),
        _ => list(args, &graph, &blocks),
    }
}

/// The model with constants folded and BatchNormalizations in the weights, so that few nodes are between
/// the layers.
fn prepared(name: &str) -> Result<Graph> {
    let mut graph = model::load(name)?;
    let frozen = graph.freeze_defaults();
    if frozen > 0 {
        let inputs = count(frozen, "input");
        say(format!("{inputs} with a default value became constants, as weights are made smaller"));
    }
    Runner::default().evaluator(&Evaluator).run(&mut graph, &optimise()).map_err(unsupported)?;
    Ok(graph)
}

fn list(args: &Args, graph: &Graph, blocks: &[Block]) -> Result<Answer> {
    let one = fixed(graph, &dims_of(graph, None));
    let macs = |b: &Block| -> u64 {
        b.nodes.iter().filter_map(|&n| node_macs(&one, n)).fold(0, u64::saturating_add)
    };
    let variants = args.sparsities.len().max(1);
    let combinations = blocks.len() as f64 * (variants as f64).log10();
    let mut table = rows(&["block", "nodes", "parameters", "MACs", "input", "units that can go"]);
    for b in blocks {
        let units: Vec<String> = b.units.iter().map(usize::to_string).collect();
        table.add_row([
            b.name.clone(),
            b.nodes.len().to_string(),
            b.parameters.to_string(),
            macs(b).to_string(),
            graph.value(b.input).ty.to_string(),
            units.join(" "),
        ]);
    }
    let of = count(variants, "variant");
    let text = format!(
        "{table}\n{}, 10^{combinations:.1} combinations with {of} each\n",
        count(blocks.len(), "block")
    );
    let one = |b: &Block| ListedBlock {
        name: b.name.clone(),
        nodes: b.nodes.len(),
        parameters: b.parameters,
        macs: macs(b),
        input: graph.value(b.input).name.to_string(),
        output: graph.value(b.output).name.to_string(),
        units: b.units.clone(),
    };
    Ok(Answer::new(Listed { blocks: blocks.iter().map(one).collect() }, text))
}

fn make(
    args: &Args,
    graph: &Graph,
    blocks: &[Block],
    data: &Path,
    output: &Path,
) -> Result<Answer> {
    if blocks.is_empty() {
        return Err(unsupported("the model has no block with channels of its own to remove"));
    }
    if let Some(s) = args.sparsities.iter().find(|s| !(0.0..1.0).contains(*s)) {
        return Err(usage(format!("--sparsities: expected shares from 0 to below 1, found {s}")));
    }
    let folder = Folder::begin(output)?;
    let progress = Progress::new();
    let fit = dataset::read(data, graph, &args.images, BATCH)?;
    let measure = match &args.measure {
        Some(path) => dataset::read(path, graph, &args.images, BATCH)?,
        None => fit.clone(),
    };
    model::save_onnx(graph, &folder.path().join(MODEL))?;
    let workshop = Workshop::new(graph, fit, measure, &args.how)?;
    let one = &workshop.one;
    let mut library = Library::new(one.costs(graph)?.into());
    (library.metric, library.value) = workshop.judge.of_model();
    (library.fitted_on, library.measured_on) = (workshop.fit.samples, workshop.judge.samples());
    library.dims = one.dims.clone();
    let (beside, between) = one.beside(graph, blocks);
    library.peak_between = between;
    for (i, block) in blocks.iter().enumerate() {
        progress.say(&format!("{} ({} of {})", block.name, i + 1, blocks.len()));
        let mut made = workshop.made(i, block, &args.sparsities)?;
        if let Some(from) = &args.import {
            made.extend(imported(from, block, i)?);
        }
        library.blocks.push(Entry {
            name: block.name.clone(),
            input: graph.value(block.input).name.to_string(),
            output: graph.value(block.output).name.to_string(),
            beside: beside[i],
            variants: workshop.variants(block, made, folder.path())?,
        });
        if let Some(to) = &args.export {
            export(graph, block, &workshop.fit, to)?;
        }
    }
    drop(progress);
    library.write(folder.path())?;
    folder.finish()?;
    report(&library)
}

/// A block's name as the name of a file.
fn file_name(block: &str) -> String {
    block.trim_start_matches('/').replace(['/', '\\', ':'], "_")
}

fn imported(from: &Path, block: &Block, index: usize) -> Result<Vec<Made>> {
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", from.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(from).map_err(|e| at(&e))? {
        let path = entry.map_err(|e| at(&e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = file_name(&block.name);
        let rest = name.strip_prefix(&stem).and_then(|r| r.strip_suffix(".onnx"));
        if rest.is_some_and(|r| r.is_empty() || r.starts_with('.')) {
            files.push(path);
        }
    }
    files.sort();
    let one = |(k, path): (usize, &PathBuf)| {
        let graph = model::load(&path.to_string_lossy())?;
        let name = format!("{index:02}-imported{k}");
        Ok(Made { sparsity: None, name, graph, fitted: vec![], unfitted: vec![] })
    };
    files.iter().enumerate().map(one).collect()
}

/// Writes what a block reads and gives, sample after sample, as `BLOCK.input.npy` and `BLOCK.output.npy`.
fn export(graph: &Graph, block: &Block, data: &Dataset, to: &Path) -> Result {
    std::fs::create_dir_all(to).map_err(|e| output::failed(to, &e))?;
    for (v, what) in [(block.input, "input"), (block.output, "output")] {
        let all = scale::values(graph, &data.inputs, &[v]).map_err(failed)?;
        let all: Vec<Tensor> = all.into_iter().flatten().collect();
        let joined = joined(&all).ok_or_else(|| unsupported("batches of different shapes"))?;
        tensors::write(&joined, &to.join(format!("{}.{what}.npy", file_name(&block.name))))?;
    }
    Ok(())
}

/// Tensors joined along their first axis.
fn joined(all: &[Tensor]) -> Option<Tensor> {
    let mut dims = all.first()?.dims().to_vec();
    *dims.first_mut()? = all.iter().map(|t| t.dims()[0]).sum();
    let mut bytes = Vec::new();
    for t in all {
        bytes.extend_from_slice(&t.bytes().ok()?);
    }
    Tensor::from_bytes(all[0].dtype(), dims, bytes).ok()
}

fn report(library: &Library) -> Result<Answer> {
    let mut table = rows(&["block", "sparsity", "bytes", "MACs", "peak", "time", "loss"]);
    for b in &library.blocks {
        for (i, v) in b.variants.iter().enumerate() {
            let sparsity = match v.sparsity {
                Some(s) => s.to_string(),
                None if i == 0 => "original".into(),
                None => "imported".into(),
            };
            let time = 1.0 - v.costs.seconds / b.variants[0].costs.seconds.max(f64::MIN_POSITIVE);
            table.add_row([
                if i == 0 { b.name.clone() } else { String::new() },
                sparsity,
                ByteSize(v.costs.bytes).to_string(),
                v.costs.macs.to_string(),
                ByteSize(v.costs.peak).to_string(),
                format!("{:.3} ms ({:+.0} %)", v.costs.seconds * 1e3, -100.0 * time),
                v.loss.to_string(),
            ]);
        }
    }
    let text = format!(
        "{table}\n{} of the model: {}, on {}\n",
        library.metric,
        library.value,
        count(library.measured_on, "sample")
    );
    let document = Document(serde_json::to_value(library).map_err(internal)?);
    Ok(Answer::new(document, text))
}
