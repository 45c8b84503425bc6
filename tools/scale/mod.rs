//! `graph-opt scale`: chooses a variant of each block under limits, and writes the network.

mod cluster;
mod combinations;
mod refine;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_backends::scale::{self, Interpreter, Profiler};
use graph_opt_ir::Graph;
use graph_opt_passes::analysis::{Interpreter as Memory, MemoryModel, peak};
use graph_opt_passes::blocks::choose::{self, Choice, Costs, Limits, Problem, Quantity, k_best};
use graph_opt_passes::blocks::{Block, splice};
use graph_opt_passes::devices::cluster::seconds;
use graph_opt_passes::schedule::Schedule;
use graph_opt_passes::simplify::Simplify;
use graph_opt_passes::tile::fuse_tiles::{FuseTiles, Planned};
use graph_opt_passes::{ByteSize, Pipeline, Runner, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{self, Answer};
use crate::blocks::BATCH;
use crate::dataset;
use crate::explain::Figures;
use crate::failure::{Failure, Result, does_not_fit, internal, say, unsupported, usage};
use crate::judge::Judge;
use crate::library::{Library, Variant};
use crate::model;
use crate::opt::facts;
use crate::output;
use crate::pictures::Images;
use crate::plot;
use crate::progress::Progress;
use crate::report::graph::Kind;
use crate::report::{Document, Marks, ReportFile};
use crate::serve::{self, Service};
use crate::table::rows;
use crate::workshop::{How, failed, fixed, fixed_in};

use self::cluster::{Devices, OnCluster};

#[derive(clap::Args)]
pub struct Args {
    /// The folder that `graph-opt blocks MODEL --data … -o FOLDER` made
    folder: PathBuf,
    /// Most bytes of activations that may be live at once, such as 4MiB; where smaller variants do not reach
    /// it, blocks run tile by tile
    #[arg(long, value_name = "BYTES", value_parser = graph_opt_passes::bytes)]
    memory: Option<u64>,
    /// Most bytes of constants
    #[arg(long, value_name = "BYTES", value_parser = graph_opt_passes::bytes)]
    model_size: Option<u64>,
    /// Longest time of a run, such as 10ms: on the machine on which the variants were profiled, or with --cluster
    /// from a frame's input to its output
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    latency: Option<f64>,
    /// Most multiply-accumulates
    #[arg(long, value_name = "N")]
    macs: Option<u64>,
    /// Take the variants of this sparsity instead of choosing
    #[arg(long, value_name = "SHARE", conflicts_with_all = ["memory", "model_size", "latency", "macs"])]
    sparsity: Option<f64>,
    /// Do not run blocks tile by tile
    #[arg(long)]
    no_tiles: bool,
    /// Fit the chosen variants again in order, each on what the smaller blocks before it give: samples as for
    /// `blocks --data`
    #[arg(long, value_name = "FILE|DIR")]
    fit: Option<PathBuf>,
    /// Samples to measure losses of combinations and of new variants on, apart from those of --fit and --data
    #[arg(long, value_name = "FILE|DIR")]
    measure: Option<PathBuf>,
    /// Measure this many combinations of variants on --measure, correct the sum of losses by terms of pairs where
    /// they deviate from it, and take the best that was measured
    #[arg(long, value_name = "N", requires = "measure", conflicts_with_all = ["sparsity", "serve"])]
    combinations: Option<usize>,
    /// Refine sparsities around the choice in this many rounds: new variants halfway to the next ones are fitted to
    /// --fit, measured on --measure, and added to the folder
    #[arg(long, value_name = "ROUNDS", requires_all = ["measure", "fit"], conflicts_with_all = ["sparsity", "serve"])]
    refine: Option<usize>,
    #[command(flatten)]
    on: OnCluster,
    #[command(flatten)]
    how: How,
    /// Samples to measure the result on, apart from those of --fit and of `blocks`
    #[arg(long, value_name = "FILE|DIR")]
    data: Option<PathBuf>,
    /// Write the Pareto front of loss, latency, size and peak (.json), and a plot of it (.svg)
    #[arg(long, value_name = "FILE.json")]
    front: Option<PathBuf>,
    /// Most choices in the front
    #[arg(long, value_name = "N", default_value_t = 200)]
    points: usize,
    /// Run the network frame by frame on --data under the load that this script imposes, and switch blocks so
    /// that --latency is kept: lines of SECOND THREADS, from which second on how many threads keep the machine
    /// busy; the last line ends the run
    #[arg(long, value_name = "SCRIPT", requires_all = ["latency", "data"])]
    #[arg(conflicts_with_all = ["memory", "sparsity", "fit", "output"])]
    serve: Option<PathBuf>,
    /// Where --serve writes what each frame took (.json), with a plot beside it (.svg)
    #[arg(long, value_name = "FILE.json", requires = "serve")]
    log: Option<PathBuf>,
    /// Where to write the network
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    #[command(flatten)]
    report: ReportFile,
    #[command(flatten)]
    images: Images,
}

/// The network that was chosen.
#[derive(Serialize, JsonSchema)]
pub struct Scaled {
    /// What each block became.
    blocks: Vec<BlockRow>,
    /// Of all that is in no block.
    rest: CostRow,
    /// Of the whole network, by the sums that it was chosen by.
    predicted: CostRow,
    /// No choice has a loss lower by more than this.
    gap: f64,
    /// The network itself.
    network: NetworkRow,
    /// Its plan over the devices of `--cluster`, as `graph-opt plan` writes it; `null` without them.
    plan: Option<answer::Document>,
    /// Measured times of a sample; `null` without `--data`.
    seconds: Option<Times>,
    /// The metric on `--data`; `null` without it.
    metric: Option<MetricRow>,
    /// The file that it was written to; `null` if there is none.
    written: Option<String>,
}

/// What a block became.
#[derive(Serialize, JsonSchema)]
struct BlockRow {
    /// Its name.
    block: String,
    /// Sparsity of the variant, `original` or `imported`.
    variant: String,
    /// Whether it runs tile by tile.
    tiled: bool,
    /// What it costs.
    #[serde(flatten)]
    costs: CostRow,
}

/// What a part costs.
#[derive(Clone, Copy, Serialize, JsonSchema)]
struct CostRow {
    /// Bytes of constants.
    bytes: u64,
    /// Multiply-accumulates of a sample.
    macs: u64,
    /// Peak of activations while it runs, in bytes.
    peak: u64,
    /// Seconds a sample.
    seconds: f64,
    /// How much it lowers the metric.
    loss: f64,
}

impl CostRow {
    fn of(c: &Costs) -> Self {
        Self { bytes: c.bytes, macs: c.macs, peak: c.peak, seconds: c.latency, loss: c.loss }
    }

    fn cells(&self, name: &str, variant: String) -> [String; 7] {
        [
            name.to_owned(),
            variant,
            ByteSize(self.bytes).to_string(),
            self.macs.to_string(),
            ByteSize(self.peak).to_string(),
            format!("{:.3} ms", self.seconds * 1e3),
            format!("{:.4}", self.loss),
        ]
    }
}

/// Sizes of a network.
#[derive(Serialize, JsonSchema)]
struct NetworkRow {
    /// Bytes of constants.
    bytes: u64,
    /// Multiply-accumulates of a sample.
    macs: u64,
    /// Peak of activations, in bytes.
    peak: u64,
}

/// Seconds that a sample takes.
#[derive(Serialize, JsonSchema)]
struct Times {
    /// In the network.
    network: f64,
    /// In the model.
    model: f64,
}

/// A metric on samples.
#[derive(Serialize, JsonSchema)]
struct MetricRow {
    /// Which.
    name: String,
    /// Of the network.
    network: f64,
    /// Of the model.
    model: f64,
    /// How much worse the network is, over the same samples.
    loss: f64,
    /// On how many samples.
    samples: usize,
}

/// Most choices that are tried with the memory plan of the whole network.
const TRIES: usize = 64;

pub fn main(args: &Args, json: bool) -> Result<Answer> {
    if let Some(name) = &args.output {
        output::probe_model(name, json)?;
    }
    args.report.probe()?;
    let (library, graph) = Library::open(&args.folder)?;
    let blocks = library.blocks(&graph)?;
    let read = |path: &PathBuf| dataset::read(path, &graph, &args.images, BATCH);
    let fit = args.fit.as_ref().map(read).transpose()?;
    let measure = args.measure.as_ref().map(read).transpose()?;
    let one = fixed(&graph, &library.dims);
    let devices = match &args.on.cluster {
        Some(file) => Some(Devices::read(file, args.limits_on_cluster()?, &one)?),
        None => None,
    };
    let mut scaler = Scaler {
        args,
        manifest: library,
        graph: &graph,
        one: &one,
        blocks: &blocks,
        fit,
        devices,
        table: vec![],
        short: RefCell::default(),
    };
    let progress = Progress::new();
    let mut problem = scaler.problem()?;
    if let (Some(rounds), Some(measure)) = (args.refine, &measure) {
        problem = scaler.refine(problem, rounds, measure, &progress)?;
    }
    if let Some(file) = &args.front {
        scaler.front(&problem, file, &progress)?;
        if args.output.is_none() && args.data.is_none() && args.combinations.is_none() {
            return Ok(Answer::text(String::new()));
        }
    }
    if let Some(script) = &args.serve {
        drop(progress);
        return scaler.serve(problem, script).map(Answer::text);
    }
    let (choice, network) = match (args.sparsity, args.combinations, measure) {
        (Some(s), ..) => scaler.uniform(&problem, s)?,
        (None, Some(n), Some(measure)) => {
            let (corrected, found) = scaler.by_combinations(problem, n, measure, &progress)?;
            problem = corrected;
            found
        }
        _ => scaler.choose(&problem, &progress)?,
    };
    drop(progress);
    let (scaled, text) = scaler.report(&problem, &choice, &network)?;
    args.report.write(|| {
        let mut document = Document::new(format!("scale {}", args.folder.display()));
        let small = fixed(&network, &scaler.manifest.dims);
        let (before, after) = (Figures::of(&one, &Memory), Figures::of(&small, &Memory));
        document.facts = facts(&before, &after, Memory.name());
        let boxed = |(i, b): (usize, &Block)| {
            let label = format!("block {}", b.name);
            b.nodes.iter().map(|&n| (n, (Kind::Block, i, label.clone()))).collect::<Vec<_>>()
        };
        let boxes = blocks.iter().enumerate().flat_map(boxed).collect();
        let marks = Marks { other: Some(&small), boxes, ..Marks::default() };
        document.add("before", &one, &marks, &Memory);
        document.add("after", &small, &Marks { other: Some(&one), ..Marks::default() }, &Memory);
        document.budget_bytes = args.memory;
        document.text.clone_from(&text);
        document
    })?;
    if let Some(name) = &args.output {
        model::save(&network, name)?;
    }
    Ok(Answer::new(scaled, text))
}

impl Args {
    /// What a plan over the cluster has to keep.
    fn limits_on_cluster(&self) -> Result<graph_opt_passes::devices::Limits> {
        let limits = graph_opt_passes::devices::Limits {
            latency: self.latency,
            interval: self.on.interval,
            energy: self.on.energy,
            ..Default::default()
        };
        if self.sparsity.is_some() || self.serve.is_some() {
            return Err(usage(
                "--cluster: expected limits to choose by, found --sparsity or --serve",
            ));
        }
        Ok(limits)
    }
}

/// A candidate of a block.
#[derive(Clone, Copy)]
struct Candidate {
    /// Index of the variant.
    variant: usize,
    /// Whether it runs tile by tile.
    tiled: bool,
}

struct Scaler<'a> {
    args: &'a Args,
    manifest: Library,
    graph: &'a Graph,
    /// The graph for one sample.
    one: &'a Graph,
    blocks: &'a [Block],
    /// The samples of `--fit`.
    fit: Option<Dataset>,
    /// The devices of `--cluster`.
    devices: Option<Devices<'a>>,
    /// The candidates of each block, as the problem numbers them.
    table: Vec<Vec<Candidate>>,
    /// By what networks broke limits that only the whole network shows.
    short: RefCell<Short>,
}

/// The least that networks needed which broke a limit.
#[derive(Default)]
struct Short {
    /// Peak of activations, in bytes.
    peak: Option<u64>,
    /// Why the last one had no plan over the cluster.
    plan: Option<String>,
}

impl Scaler<'_> {
    /// Variants as candidates; those above the limit of memory in tiles as well, if that reaches it.
    fn problem(&mut self) -> Result<Problem> {
        self.table.clear();
        let limit = self.args.memory.filter(|_| !self.args.no_tiles);
        let mut all = Vec::with_capacity(self.blocks.len());
        for entry in &self.manifest.blocks {
            let (mut costs, mut candidates) = (Vec::new(), Vec::new());
            for (variant, v) in entry.variants.iter().enumerate() {
                let whole = Costs {
                    loss: v.loss.value,
                    latency: v.costs.seconds,
                    bytes: v.costs.bytes,
                    energy: 0.0,
                    macs: v.costs.macs,
                    peak: entry.beside + v.costs.peak,
                };
                costs.push(whole);
                candidates.push(Candidate { variant, tiled: false });
                if let Some(limit) = limit.filter(|&l| whole.peak > l)
                    && let Some((macs, peak)) = self.tiled(all.len(), v, limit, entry.beside)?
                {
                    // Tiles take longer in proportion to the work that they repeat.
                    let slower = macs as f64 / whole.macs.max(1) as f64;
                    costs.push(Costs { latency: whole.latency * slower, macs, peak, ..whole });
                    candidates.push(Candidate { variant, tiled: true });
                }
            }
            all.push(costs);
            self.table.push(candidates);
        }
        let model = &self.manifest.model;
        let sum = |f: fn(&Variant) -> f64| -> f64 {
            self.manifest.blocks.iter().map(|b| f(&b.variants[0])).sum()
        };
        let rest = |whole: f64, blocks: f64| (whole - blocks).max(0.0);
        let between = self.manifest.peak_between;
        let base = Costs {
            loss: 0.0,
            latency: rest(model.seconds, sum(|v| v.costs.seconds)),
            bytes: rest(model.bytes as f64, sum(|v| v.costs.bytes as f64)) as u64,
            energy: 0.0,
            macs: rest(model.macs as f64, sum(|v| v.costs.macs as f64)) as u64,
            // What runs between blocks can be tiled as well: the plan of the whole network decides.
            peak: limit.map_or(between, |l| between.min(l)),
        };
        let limits = Limits {
            // On a cluster, the plan of the whole network decides.
            latency: self.args.latency.filter(|_| self.devices.is_none()),
            bytes: self.args.model_size,
            macs: self.args.macs,
            peak: self.args.memory,
            ..Limits::default()
        };
        Ok(Problem::new(all, base).with_limits(limits))
    }

    /// Multiply-accumulates and peak of a variant in tiles within the limit; `None` if no tiles reach it.
    fn tiled(&self, b: usize, v: &Variant, limit: u64, beside: u64) -> Result<Option<(u64, u64)>> {
        // Extents are those of the network's inputs, so the variant is tried in its place.
        let graph = self.one_sample(b, v)?;
        let Some(within) = limit.checked_sub(beside) else { return Ok(None) };
        let Some(tiled) = in_tiles(&graph, within)? else { return Ok(None) };
        let size = scale::size(&tiled);
        Ok((size.peak <= within).then_some((size.macs, beside + size.peak)))
    }

    /// A variant of a block with the extents of one sample.
    fn one_sample(&self, b: usize, v: &Variant) -> Result<Graph> {
        let block = &self.blocks[b];
        match v.graph(&self.args.folder)? {
            Some(g) => Ok(fixed_in(self.one, block, &g)),
            None => block.part(self.one).map_err(unsupported),
        }
    }

    /// The Pareto front of loss and work, at most so many choices without a limit on the peak.
    fn by_work(&self, problem: &Problem, most: usize) -> Result<Vec<Choice>> {
        let limits = Limits { peak: None, ..problem.limits };
        let free = problem.clone().with_limits(limits);
        let front = choose::front(&free, &[Quantity::Loss, Quantity::Macs], most);
        Ok(front.map_err(does_not_fit)?.choices)
    }

    /// The best choice that keeps the limits, and its network.
    fn choose(&self, problem: &Problem, progress: &Progress) -> Result<(Choice, Graph)> {
        let mut tried = 0;
        let mut found: Option<(Choice, Graph)> = None;
        let mut attempt = |choice: Choice| -> Result<Option<(Choice, Graph)>> {
            tried += 1;
            progress.say(&format!("choice {tried}"));
            Ok(self.keeps_limits(&choice.picks)?.map(|network| (choice, network)))
        };
        // Tiles may run across blocks, and stages may, which a sum over blocks does not see. So there the choices on
        // the Pareto front of loss and work are tried first, by ascending loss.
        if self.devices.is_some() || self.args.memory.is_some() && !self.args.no_tiles {
            let mut choices = self.by_work(problem, TRIES)?;
            choices.sort_by(|a, b| a.totals.loss.total_cmp(&b.totals.loss));
            for choice in choices {
                found = attempt(choice)?;
                if found.is_some() {
                    break;
                }
            }
        }
        let better = |c: &Choice, found: &Option<(Choice, Graph)>| {
            found.as_ref().is_none_or(|(f, _)| c.totals.loss < f.totals.loss)
        };
        let mut infeasible = None;
        // A plan over a cluster takes long, and near the least loss all break the same limit.
        let most = if self.devices.is_some() { 0 } else { TRIES };
        for choice in k_best(problem).map_err(does_not_fit)?.take(most) {
            let choice = match choice {
                Ok(choice) if better(&choice, &found) => choice,
                Ok(_) => break,
                Err(e) => {
                    infeasible = Some(e);
                    break;
                }
            };
            if let Some(kept) = attempt(choice)? {
                return Ok(kept);
            }
        }
        if let (None, Some(e)) = (&found, infeasible) {
            return Err(does_not_fit(e));
        }
        found.ok_or_else(|| self.none_keeps_limits(tried))
    }

    fn none_keeps_limits(&self, tried: usize) -> Failure {
        let short = self.short.borrow();
        let peak =
            short.peak.map_or_else(String::new, |l| format!(", the least peak {}", ByteSize(l)));
        let plan =
            short.plan.as_ref().map_or_else(String::new, |why| format!("; on the cluster: {why}"));
        let tried = count(tried, "choice");
        does_not_fit(format!(
            "no choice keeps the limits once its network is put together: {tried} tried{peak}{plan}; raise the \
             limits, or give `blocks` larger --sparsities"
        ))
    }

    /// The network of a choice, in tiles if it has to be, if it keeps the limits. Sums over blocks only predict: the
    /// peak is a bound from blocks taken alone, and constants that blocks share count once. So the network as a
    /// whole has the last word.
    fn keeps_limits(&self, picks: &[usize]) -> Result<Option<Graph>> {
        let network = self.assemble(picks)?;
        let fixed = fixed(&network, &self.manifest.dims);
        let size = scale::size(&fixed);
        if self.args.model_size.is_some_and(|m| size.bytes > m) {
            return Ok(None);
        }
        let now = peak(&fixed).map(|m| m.peak);
        let (network, whole, macs) = match self.args.memory {
            Some(limit) if now.is_none_or(|p| p > limit) => {
                let least = &mut self.short.borrow_mut().peak;
                *least = least.iter().copied().chain(now).min();
                let tiled = if self.args.no_tiles { None } else { in_tiles(&fixed, limit)? };
                let Some(tiled) = tiled else { return Ok(None) };
                let macs = scale::size(&tiled).macs;
                (tiled.clone(), tiled, macs)
            }
            _ => (network, fixed, size.macs),
        };
        if self.args.macs.is_some_and(|m| macs > m) {
            return Ok(None);
        }
        if let Some(devices) = &self.devices
            && let Err(why) = devices.plan(&whole)?
        {
            self.short.borrow_mut().plan = Some(why);
            return Ok(None);
        }
        Ok(Some(network))
    }

    fn uniform(&self, problem: &Problem, sparsity: f64) -> Result<(Choice, Graph)> {
        let mut picks = Vec::with_capacity(self.blocks.len());
        for (entry, candidates) in self.manifest.blocks.iter().zip(&self.table) {
            let at =
                |c: &Candidate| !c.tiled && entry.variants[c.variant].sparsity == Some(sparsity);
            let found = candidates.iter().position(at).or_else(|| (sparsity == 0.0).then_some(0));
            picks.push(found.ok_or_else(|| {
                let all: Vec<String> = entry
                    .variants
                    .iter()
                    .filter_map(|v| v.sparsity)
                    .map(|s| s.to_string())
                    .collect();
                let (name, all) = (&entry.name, all.join(", "));
                usage(format!("block {name:?} has no variant of sparsity {sparsity}, only {all}"))
            })?);
        }
        let totals = problem.judge(&picks).map_err(usage)?;
        let network = self.assemble(&picks)?;
        Ok((Choice { picks, totals, gap: 0.0 }, network))
    }

    fn variant(&self, block: usize, pick: usize) -> &Variant {
        &self.manifest.blocks[block].variants[self.table[block][pick].variant]
    }

    /// The network with the picked variants.
    fn assemble(&self, picks: &[usize]) -> Result<Graph> {
        let picked = || picks.iter().enumerate().map(|(b, &p)| self.variant(b, p));
        if let Some(data) = &self.fit {
            let sparsities: Vec<Option<f64>> = picked().map(|v| v.sparsity).collect();
            let mut network = self
                .args
                .how
                .maker(|m| scale::in_order(self.graph, self.blocks, &sparsities, m, &data.inputs))
                .map_err(failed)?
                .0;
            for (block, v) in self.blocks.iter().zip(picked()) {
                if let (None, Some(graph)) = (v.sparsity, v.graph(&self.args.folder)?) {
                    say(format!("{} was imported, and is not fitted again", block.name));
                    splice(&mut network, block, &graph).map_err(usage)?;
                }
            }
            return Ok(network);
        }
        self.spliced(picks)
    }

    /// The network with the picked variants as they are in the folder.
    fn spliced(&self, picks: &[usize]) -> Result<Graph> {
        let mut network = self.graph.clone();
        let picked = picks.iter().enumerate().map(|(b, &p)| self.variant(b, p));
        for (block, v) in self.blocks.iter().zip(picked) {
            if let Some(graph) = v.graph(&self.args.folder)? {
                splice(&mut network, block, &graph).map_err(usage)?;
            }
        }
        Ok(network)
    }

    fn report(
        &self,
        problem: &Problem,
        choice: &Choice,
        network: &Graph,
    ) -> Result<(Scaled, String)> {
        let mut table = rows(&["block", "variant", "bytes", "MACs", "peak", "time", "loss"]);
        let mut blocks = Vec::new();
        for (b, &p) in choice.picks.iter().enumerate() {
            let tiled = self.table[b][p].tiled;
            let mut variant = match self.variant(b, p) {
                Variant { sparsity: Some(s), .. } => s.to_string(),
                Variant { file: None, .. } => "original".into(),
                _ => "imported".into(),
            };
            let block = self.manifest.blocks[b].name.clone();
            let costs = CostRow::of(&problem.blocks[b][p]);
            blocks.push(BlockRow { block, variant: variant.clone(), tiled, costs });
            if tiled {
                variant += ", in tiles";
            }
            table.add_row(costs.cells(&self.manifest.blocks[b].name, variant));
        }
        let (rest, predicted) = (CostRow::of(&problem.base), CostRow::of(&choice.totals));
        table.add_row(rest.cells("the rest", String::new()));
        table.add_row(predicted.cells("predicted", String::new()));
        let mut text = format!("{table}\n");
        if choice.gap > 0.0 {
            text += &format!("no choice has a loss lower by more than {:.2e}\n", choice.gap);
        }
        let one = fixed(network, &self.manifest.dims);
        let scale::Profile { bytes, macs, peak, .. } = scale::size(&one);
        text += &format!(
            "the network: {} of constants, {macs} MACs, peak {}\n",
            ByteSize(bytes),
            ByteSize(peak)
        );
        let network_size = NetworkRow { bytes, macs, peak };
        let mut plan = None;
        if let Some(devices) = &self.devices
            && let Ok(found) = devices.plan(&one)?
        {
            text += &crate::plan::shown(&found);
            plan = Some(answer::Document(serde_json::to_value(&found).map_err(internal)?));
        }
        let (mut seconds, mut metric) = (None, None);
        if let Some(path) = &self.args.data {
            let data = dataset::read(path, self.graph, &self.args.images, BATCH)?;
            if let Some(sample) = data.first_sample(self.graph) {
                let pair = [(self.graph, &sample[..]), (network, &sample[..])];
                let measured = Interpreter::default().seconds(&pair).map_err(failed)?;
                let [model, network] = [measured[0], measured[1]];
                text += &format!(
                    "time: {:.3} ms measured, the model {:.3} ms\n",
                    network * 1e3,
                    model * 1e3
                );
                seconds = Some(Times { network, model });
            }
            let judge = Judge::new(self.graph, data)?;
            let (name, model) = judge.of_model();
            // Tiles need the extents of one sample, and change no result.
            let tiled = !fits_batches(network, self.graph);
            let whole = if tiled { &self.assemble(&choice.picks)? } else { network };
            let (now, loss) = judge.judge(whole)?;
            let samples = judge.samples();
            let on = count(samples, "sample");
            text += &format!("{name}: {now}, the model {model}, loss {loss}, on {on}\n");
            metric = Some(MetricRow {
                name,
                network: now.value,
                model: model.value,
                loss: loss.value,
                samples,
            });
        }
        let scaled = Scaled {
            blocks,
            rest,
            predicted,
            gap: choice.gap,
            network: network_size,
            plan,
            seconds,
            metric,
            written: self.args.output.clone(),
        };
        Ok((scaled, text))
    }

    fn serve(&self, problem: Problem, script: &Path) -> Result<String> {
        let (Some(limit), Some(data)) = (self.args.latency, &self.args.data) else {
            return Err(usage("--serve needs --latency and --data"));
        };
        let data = dataset::read(data, self.graph, &self.args.images, 1)?;
        let mut variants = Vec::with_capacity(self.blocks.len());
        for (b, candidates) in self.table.iter().enumerate() {
            let one = |c: &Candidate| {
                self.one_sample(b, &self.manifest.blocks[b].variants[c.variant]).map(Arc::new)
            };
            variants.push(candidates.iter().map(one).collect::<Result<Vec<_>>>()?);
        }
        let service = Service {
            graph: self.one,
            blocks: self.blocks,
            // The monitor holds the limit of latency, at the speed that it measures.
            problem: problem
                .with_limits(Limits { bytes: self.args.model_size, ..Limits::default() }),
            limit,
            variants,
            metric: self.manifest.metric.clone(),
        };
        serve::serve(service, &data, script, self.args.log.as_deref())
    }

    /// Writes the front of loss, latency, size and peak, and its plot; on a cluster, of loss, work and size, with the
    /// plan of each choice.
    fn front(&self, problem: &Problem, file: &Path, progress: &Progress) -> Result {
        let here = [Quantity::Loss, Quantity::Latency, Quantity::Bytes, Quantity::Peak];
        let there = [Quantity::Loss, Quantity::Macs, Quantity::Bytes];
        let axes = if self.devices.is_some() { &there[..] } else { &here[..] };
        let front = choose::front(problem, axes, self.args.points).map_err(does_not_fit)?;
        let shares = |picks: &[usize]| -> Vec<Option<f64>> {
            picks.iter().enumerate().map(|(b, &p)| self.variant(b, p).sparsity).collect()
        };
        let (mut choices, mut points) = (Vec::new(), Vec::new());
        let percent = |b: u64| b as f64 / self.manifest.model.bytes.max(1) as f64 * 100.0;
        for (i, c) in front.choices.iter().enumerate() {
            let mut row = serde_json::json!({
                "sparsities": shares(&c.picks), "loss": c.totals.loss, "seconds": c.totals.latency,
                "bytes": c.totals.bytes, "macs": c.totals.macs, "peak": c.totals.peak,
            });
            let mut seconds = c.totals.latency;
            if let Some(devices) = &self.devices {
                progress.say(&format!("plan {} of {}", i + 1, front.choices.len()));
                let network = fixed(&self.spliced(&c.picks)?, &self.manifest.dims);
                let Ok(plan) = devices.plan(&network)? else { continue };
                seconds = plan.latency_s;
                row["plan"] = serde_json::json!({
                    "latency": plan.latency_s, "interval": plan.interval_s, "energy": plan.energy_j,
                    "stages": plan.stages.len(),
                    "memory": plan.stages.iter().map(|s| s.memory_bytes).max(),
                });
            }
            choices.push(row);
            points.push(plot::Point {
                x: seconds * 1e3,
                y: c.totals.loss,
                error: 0.0,
                shade: percent(c.totals.bytes),
                name: String::new(),
                front: true,
            });
        }
        if choices.is_empty() {
            return Err(self.none_keeps_limits(front.choices.len()));
        }
        let written = choices.len();
        let json = serde_json::json!({
            "blocks": self.manifest.blocks.iter().map(|b| &b.name).collect::<Vec<_>>(),
            "metric": self.manifest.metric,
            "omitted": front.omitted,
            "epsilon": front.epsilon,
            "choices": choices,
        });
        output::whole(file, format!("{json:#}\n").as_bytes())?;
        let axis = |name: &str, unit: &str| plot::Axis { name: name.into(), unit: unit.into() };
        let time = if self.devices.is_some() { "latency on the cluster" } else { "predicted time" };
        let svg = plot::front(&plot::Front {
            title: format!("{written} choices of variants"),
            x: axis(time, "ms"),
            y: axis(&format!("loss of {}", self.manifest.metric), ""),
            shade: Some(axis("size", "% of the model")),
            points,
        });
        let picture = file.with_extension("svg");
        output::whole(&picture, svg.as_bytes())?;
        say(format!(
            "{} in {} and {}",
            count(written, "choice"),
            file.display(),
            picture.display()
        ));
        Ok(())
    }
}

/// Whether the network takes batches as the model does.
fn fits_batches(network: &Graph, model: &Graph) -> bool {
    let types =
        |g: &Graph| -> Vec<_> { g.inputs().iter().map(|&v| g.value(v).ty.clone()).collect() };
    types(network) == types(model)
}

/// The graph for one sample in tiles within this many bytes; `None` if none are found.
fn in_tiles(one_sample: &Graph, bytes: u64) -> Result<Option<Graph>> {
    let mut tiled = one_sample.clone();
    let tiles = FuseTiles::from(Planned::within(bytes));
    let passes = Pipeline::default().then(Simplify).then(Schedule::default()).then(tiles);
    let report = Runner::default().evaluator(&graph_opt_backends::Folder).run(&mut tiled, &passes);
    report.map_err(unsupported)?;
    Ok(peak(&tiled).is_some_and(|m| m.peak <= bytes).then_some(tiled))
}
