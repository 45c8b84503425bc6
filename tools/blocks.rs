//! `graph-opt blocks`: the blocks of a network, and their smaller variants.

use std::path::{Path, PathBuf};

use graph_opt_backends::Folder as Evaluator;
use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_backends::scale::{
    self, Activation, Interpreter, L1, L2, Maker, Profiler, Refitter, Residual, Ridge, ScaleError,
    Selector, Unchanged,
};
use graph_opt_ir::{Graph, Tensor, ValueId};
use graph_opt_passes::analysis::{node_macs, plan};
use graph_opt_passes::blocks::{Block, Extractor, Stretches, splice};
use graph_opt_passes::fix_dims;
use graph_opt_passes::registry::optimise;
use graph_opt_passes::{ByteSize, Runner, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{Answer, Document};
use crate::dataset::{self, Images};
use crate::failure::{Failure, Result, internal, say, unsupported, usage};
use crate::folder::Folder;
use crate::judge::{Judge, Measured};
use crate::library::{Entry, Library, MODEL, Variant};
use crate::progress::Progress;
use crate::table::rows;
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

/// How variants are made.
#[derive(clap::Args)]
pub struct How {
    /// What chooses the channels that stay
    #[arg(long, value_name = "SELECTOR", default_value = "residual")]
    #[arg(value_parser = ["residual", "l1", "l2", "activation"])]
    selector: String,
    /// Leave the weights that stay as they are, instead of fitting them again
    #[arg(long)]
    no_refit: bool,
}

impl How {
    /// Calls `f` with what these options name.
    pub fn maker<T>(&self, f: impl FnOnce(&Maker<'_>) -> T) -> T {
        let ridge = Ridge::default();
        let selector: &dyn Selector = match self.selector.as_str() {
            "l1" => &L1,
            "l2" => &L2,
            "activation" => &Activation,
            _ => &Residual,
        };
        let refitter: &dyn Refitter = if self.no_refit { &Unchanged } else { &ridge };
        f(&Maker { selector, refitter })
    }
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

/// A failure of scaling.
pub fn failed(e: ScaleError) -> Failure {
    match e {
        ScaleError::Prepare(_) | ScaleError::Cut(_) => unsupported(e),
        e => usage(e),
    }
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
    let judge = Judge::new(graph, measure)?;
    save(graph, &folder.path().join(MODEL))?;
    let one = OneSample::new(graph, &fit)?;
    let mut library = Library::new(one.costs(graph, graph, None)?.into());
    (library.metric, library.value) = judge.of_model();
    (library.fitted_on, library.measured_on) = (fit.samples, judge.samples());
    library.dims = one.dims.clone();
    let (beside, between) = one.beside(graph, blocks);
    library.peak_between = between;
    for (i, block) in blocks.iter().enumerate() {
        progress.say(&format!("{} ({} of {})", block.name, i + 1, blocks.len()));
        let mut entry = Entry {
            name: block.name.clone(),
            input: graph.value(block.input).name.to_string(),
            output: graph.value(block.output).name.to_string(),
            beside: beside[i],
            variants: Vec::new(),
        };
        let made = args
            .how
            .maker(|m| scale::variants(graph, block, &args.sparsities, m, &fit.inputs))
            .map_err(failed)?;
        let mut made: Vec<Made> = args
            .sparsities
            .iter()
            .zip(made)
            // Sparsity 0 removes nothing where no channel can be replaced exactly.
            .filter(|(s, v)| **s > 0.0 || v.units != block.units)
            .map(|(s, v)| Made {
                sparsity: Some(*s),
                name: format!("{i:02}-s{s}"),
                graph: v.graph,
                fitted: v.fitted,
                unfitted: v.unfitted,
            })
            .collect();
        if let Some(from) = &args.import {
            made.extend(imported(from, block, i)?);
        }
        let part = block.part(graph).map_err(unsupported)?;
        let mut graphs = vec![&part];
        graphs.extend(made.iter().map(|m| &m.graph));
        let costs = one.of_block(graph, block, &graphs)?;
        entry.variants.push(Variant {
            sparsity: None,
            file: None,
            costs: costs[0].into(),
            loss: Measured::default(),
            fitted: vec![],
            unfitted: vec![],
        });
        for (m, costs) in made.into_iter().zip(&costs[1..]) {
            let mut whole = graph.clone();
            splice(&mut whole, block, &m.graph).map_err(|e| usage(format!("{}: {e}", m.name)))?;
            let (_, loss) = judge.judge(&whole)?;
            let file = format!("{}.onnx", m.name);
            save(&m.graph, &folder.path().join(&file))?;
            entry.variants.push(Variant {
                sparsity: m.sparsity,
                file: Some(file),
                costs: (*costs).into(),
                loss,
                fitted: m.fitted,
                unfitted: m.unfitted,
            });
        }
        if let Some(to) = &args.export {
            export(graph, block, &fit, to)?;
        }
        library.blocks.push(entry);
    }
    drop(progress);
    library.write(folder.path())?;
    folder.finish()?;
    report(&library)
}

/// A variant in the making.
struct Made {
    sparsity: Option<f64>,
    name: String,
    graph: Graph,
    fitted: Vec<(String, f64)>,
    unfitted: Vec<String>,
}

fn save(graph: &Graph, file: &Path) -> Result {
    model::save_onnx(graph, file)
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

/// Extents of the symbolic dimensions of the graph's inputs, as `INPUT:AXIS`, when it runs on these inputs;
/// without inputs, on batches of one.
fn dims_of(graph: &Graph, inputs: Option<&[Tensor]>) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = Vec::new();
    for (i, &v) in graph.inputs().iter().enumerate() {
        let value = graph.value(v);
        for (axis, dim) in value.ty.dims().unwrap_or_default().iter().enumerate() {
            let extent = match inputs {
                Some(t) => t.get(i).and_then(|t| t.dims().get(axis)).copied(),
                None => (axis == 0).then_some(1),
            };
            if dim.known().is_none() {
                all.extend(extent.map(|n| (format!("{}:{axis}", value.name), n)));
            }
        }
    }
    all
}

/// The graph with these extents of its inputs.
pub fn fixed(graph: &Graph, dims: &[(String, u64)]) -> Graph {
    let mut fixed = graph.clone();
    // Dimensions that stay unknown only leave sizes unknown.
    if !dims.is_empty() && fix_dims(&mut fixed, dims).is_err() {
        return graph.clone();
    }
    fixed
}

/// Costs for one sample, whatever batches the model takes.
struct OneSample {
    dims: Vec<(String, u64)>,
    inputs: Vec<Tensor>,
}

impl OneSample {
    fn new(graph: &Graph, data: &Dataset) -> Result<Self> {
        let inputs = data.first_sample(graph).ok_or_else(|| usage("the data has no sample"))?;
        Ok(Self { dims: dims_of(graph, Some(&inputs)), inputs })
    }

    fn costs(&self, whole: &Graph, of: &Graph, input: Option<ValueId>) -> Result<scale::Profile> {
        let inputs = self.inputs_of(whole, input)?;
        let seconds = Interpreter::default().seconds(&[(of, &inputs)]).map_err(failed)?;
        let one = fixed(of, &dims_of(of, Some(&inputs)));
        Ok(scale::Profile { seconds: seconds[0], ..scale::size(&one) })
    }

    /// What a part of the model that reads this value gets; the model's inputs without one.
    fn inputs_of(&self, whole: &Graph, input: Option<ValueId>) -> Result<Vec<Tensor>> {
        match input {
            None => Ok(self.inputs.clone()),
            Some(v) => {
                let all = scale::values(whole, std::slice::from_ref(&self.inputs), &[v]);
                Ok(all.map_err(failed)?.into_iter().flatten().collect())
            }
        }
    }

    /// The costs of a block's variants, measured in turns.
    fn of_block(
        &self,
        whole: &Graph,
        block: &Block,
        all: &[&Graph],
    ) -> Result<Vec<scale::Profile>> {
        let inputs = self.inputs_of(whole, Some(block.input))?;
        let graphs: Vec<(&Graph, &[Tensor])> = all.iter().map(|g| (*g, &inputs[..])).collect();
        let seconds = Interpreter::default().seconds(&graphs).map_err(failed)?;
        let one = |(g, seconds): (&&Graph, f64)| scale::Profile {
            seconds,
            ..scale::size(&fixed(g, &dims_of(g, Some(&inputs))))
        };
        Ok(all.iter().zip(seconds).map(one).collect())
    }

    /// For each block, the bytes that are live beside it; and the peak while no block runs.
    fn beside(&self, graph: &Graph, blocks: &[Block]) -> (Vec<u64>, u64) {
        let fixed = fixed(graph, &self.dims);
        let Ok(plan) = plan(&fixed) else { return (vec![0; blocks.len()], 0) };
        let at = |b: &Block| {
            let steps = plan.steps.iter().zip(&plan.timeline);
            steps.filter(|(n, _)| b.nodes.contains(n)).map(|(_, bytes)| *bytes).max().unwrap_or(0)
        };
        let alone = |b: &Block| b.part(&fixed).map_or(0, |g| scale::size(&g).peak);
        let beside = blocks.iter().map(|b| at(b).saturating_sub(alone(b))).collect();
        let steps = plan.steps.iter().zip(&plan.timeline);
        let ours = |n| blocks.iter().any(|b| b.nodes.contains(n));
        let between = steps.filter(|(n, _)| !ours(n)).map(|(_, bytes)| *bytes).max().unwrap_or(0);
        (beside, between)
    }
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
