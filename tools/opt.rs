//! `graph-opt opt`

use std::sync::Arc;

use graph_opt_backends::Folder;
use graph_opt_backends::faults::repro::Case;
use graph_opt_ir::{Graph, text};
use graph_opt_passes::analysis::{
    Interpreter, MemoryModel, OnnxRuntime, OnnxRuntimeDefault, cost, model_named, plan_for,
};
use graph_opt_passes::fix_dims::Symbolic;
use graph_opt_passes::registry::optimise;
use graph_opt_passes::schedule::Schedule;
use graph_opt_passes::simplify::Simplify;
use graph_opt_passes::tile::fuse_tiles::{FuseTiles, Planned};
use graph_opt_passes::{ByteSize, Data, Outcome, Pipeline, Remark, Report, Runner, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::explain::Figures;
use crate::failure::{Failure, Result, does_not_fit, say, told, usage};
use crate::progress::Progress;
use crate::verdict::Comparison;
use crate::verify::{Checks, How, compare};
use crate::{answer, measure, model as model_file, output, rewrite};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Passes to run, such as 'simplify,tile-conv{axis=h parts=4}'; '' for none
    #[arg(short, long, value_name = "PIPELINE", required_unless_present_any = ["memory", "optimise"])]
    passes: Option<String>,
    /// Remove all that can be removed in standard operators: simplify, and the fusions that round
    /// otherwise, until nothing changes; before the passes of --passes
    #[arg(short = 'O')]
    optimise: bool,
    /// Most bytes of activations that may be live at once, such as 12MiB: the tiles of least extra
    /// work that fit are found and used, after the passes (by default, simplify and schedule)
    #[arg(long, value_name = "BYTES")]
    memory: Option<String>,
    /// Memory model to count by: onnxruntime-default, a session of ONNX Runtime without options;
    /// onnxruntime, one with the options that are printed; or interpreter, this tool's own. With
    /// --memory, by default the first of them that has a plan
    #[arg(long, value_name = "RUNTIME", value_parser = model_named)]
    runtime: Option<Arc<dyn MemoryModel>>,
    /// Write the result even if it takes more memory than the model in the runtime that it is for
    #[arg(long)]
    force: bool,
    /// Run the model and the result in an installed ONNX Runtime (of python3, or of the Python in
    /// GRAPH_OPT_PYTHON), and print what they take and how long they run
    #[arg(long)]
    measure: bool,
    /// Where to write the result: .onnx, .gir, or "-"; without it nothing is written
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// Compare the result with the model, and write it only if they are equal: by a proof, or by
    /// runs where there is none; on backends that are named, the models run in any case
    #[arg(long, value_name = "BACKENDS", num_args = 0..=1, require_equals = true, value_delimiter = ',', value_parser = ["cpu", "wgpu"])]
    verify: Option<Vec<String>>,
    /// Write the extents given with --dim into the model, before the passes run; INPUT:AXIS=N fixes
    /// a dimension without a name
    #[arg(long)]
    fix_dims: bool,
    /// Stop after this many edits
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// Print the IR text to standard error after each edit
    #[arg(long)]
    print_after: bool,
    /// Verify the invariants of the graph after each edit, not only after each pass
    #[arg(long)]
    verify_each: bool,
    #[command(flatten)]
    checks: Checks,
}

/// What was done to a model.
#[derive(Serialize, JsonSchema)]
pub struct Optimised {
    /// Name of the memory model of all peaks: the runtime that the file is for.
    runtime: String,
    /// The model before the passes.
    before: Figures,
    /// The model after them.
    after: Figures,
    /// Number of edits.
    edits: usize,
    /// The budget of memory, in bytes; `null` without one.
    budget_bytes: Option<u64>,
    /// What the passes had to say.
    remarks: Vec<answer::Remark>,
    /// What the comparison with the original found; `null` if none was asked for.
    verify: Option<Comparison>,
    /// What model and result took in an installed ONNX Runtime; `null` if that was not asked for.
    measured: Option<measure::Measured>,
    /// The file that was written; `null` if none was.
    written: Option<String>,
}

pub fn main(args: Args, json: bool, verbose: bool) -> Result<Answer> {
    if json && args.output.as_deref() == Some("-") {
        return Err(usage("--json and -o -: only one of them can have standard output"));
    }
    let candidates: Vec<Arc<dyn MemoryModel>> = match (&args.runtime, &args.memory) {
        (Some(one), _) => vec![Arc::clone(one)],
        (None, None) => vec![Arc::new(Interpreter)],
        (None, Some(_)) => {
            vec![Arc::new(OnnxRuntimeDefault), Arc::new(OnnxRuntime), Arc::new(Interpreter)]
        }
    };
    let candidates = candidates.into_iter().map(|model| {
        let (pipeline, budget) = pipeline(&args, &model).map_err(usage)?;
        Ok((model, pipeline, budget))
    });
    let candidates = candidates.collect::<Result<Vec<_>>>()?;
    if let Some(name) = &args.output {
        output::probe_model(name)?;
    }
    let (original, start) = rewrite::start(&args.model, args.fix_dims, &args.checks.dims)?;
    let opt = Opt { args: &args, verbose, original, start };
    let mut refused: Option<(String, Vec<Remark>)> = None;
    for (model, pipeline, budget) in candidates {
        let case = Case {
            pipeline,
            seed: args.checks.seed,
            verify_each: args.verify_each,
            stop_after: args.stop_after,
            verify: args.verify.is_some(),
        };
        let (graph, report) = opt.passed(&case)?;
        match opt.fits(&graph, &*model, budget, &report.remarks)? {
            Ok(warning) => {
                warning.into_iter().for_each(say);
                return opt.finish(&case, graph, &*model, budget, &report);
            }
            // The last one is the one that a plan is most likely for.
            Err(why) => refused = Some((why, report.remarks)),
        }
    }
    let (why, said) = refused.unwrap_or_default();
    remarks(&said, verbose);
    Err(does_not_fit(why))
}

/// A model to rewrite.
struct Opt<'a> {
    args: &'a Args,
    verbose: bool,
    /// The model as it was read.
    original: Arc<Graph>,
    /// What the passes begin with.
    start: Graph,
}

impl Opt<'_> {
    /// Runs the passes.
    fn passed(&self, case: &Case) -> Result<(Graph, Report)> {
        let mut graph = self.start.clone();
        let progress = Progress::new();
        let mut runner =
            Runner::default().evaluator(&Folder).progress(Box::new(|pass| progress.say(pass)));
        if self.args.print_after {
            runner = runner.observe(Box::new(|g, e| {
                let within = e.scope.join("/");
                let within = if within.is_empty() { within } else { format!(", in {within}") };
                say(format!("// edit {}: {}{within}\n{}", e.number, e.origin, text::print(g)));
                Ok(())
            }));
        }
        let report = rewrite::run(case, runner, &mut graph)?;
        Ok((graph, report))
    }

    /// Whether the result keeps the budget and takes no more than the model did, in this runtime: a warning
    /// with --force, or else why not.
    fn fits(
        &self,
        graph: &Graph,
        model: &dyn MemoryModel,
        budget: Option<u64>,
        said: &[Remark],
    ) -> Result<std::result::Result<Option<String>, String>> {
        let after = plan_for(graph, model);
        if let Some(budget) = budget {
            match &after {
                Ok(m) if m.peak <= budget => {}
                Ok(m) => {
                    let least = ByteSize(m.peak).to_string();
                    let unmet = |r: &&Remark| matches!(r.data, Data::Unmet(_));
                    let why = said.iter().rev().find(unmet);
                    let why = why.map_or_else(String::new, |r| format!(": {}", r.message));
                    return Ok(Err(format!(
                        "the model does not fit into {} (it takes {least}){why}",
                        ByteSize(budget)
                    )));
                }
                Err(_) => {
                    remarks(said, self.verbose);
                    let known = Symbolic::of(graph);
                    let hint = "fix them with --dim NAME=N --fix-dims";
                    let why = format!("extents of the model are not known; {hint}; {known}");
                    return Err(usage(why));
                }
            }
        }
        let asked = budget.is_some() || self.args.runtime.is_some();
        let (Ok(before), Ok(after), true) = (plan_for(&self.start, model), after, asked) else {
            return Ok(Ok(None));
        };
        if after.peak <= before.peak {
            return Ok(Ok(None));
        }
        let (a, b) = (ByteSize(before.peak), ByteSize(after.peak));
        let name = model.name();
        let more = format!("in {name} the result takes {b}, more than the model, which takes {a}");
        Ok(match self.args.force {
            true => Ok(Some(format!("warning: {more}"))),
            false => Err(format!("{more}; --force writes it all the same")),
        })
    }

    /// Verifies the result, reports, measures and writes it.
    fn finish(
        &self,
        case: &Case,
        graph: Graph,
        model: &dyn MemoryModel,
        budget: Option<u64>,
        report: &Report,
    ) -> Result<Answer> {
        let Self { args, verbose, original, start } = self;
        let graph = Arc::new(graph);
        let mut found: Option<Comparison> = None;
        if let Some(backends) = &args.verify {
            let how = How::on(backends);
            let compared =
                rewrite::guard(case, start, || compare(original, &graph, &how, &args.checks))?;
            found = Some(compared.0);
        }
        if let Some(found) = &found {
            told(found.text());
        }
        let named = args.memory.is_some() || args.runtime.is_some();
        let (before, after) = (Figures::of(original, model), Figures::of(&graph, model));
        say(changes(&before, &after, named.then(|| model.name()), report.edits));
        remarks(&report.remarks, *verbose);
        if *verbose {
            say(operators(original, &graph));
        }
        let failure = found.as_ref().and_then(Comparison::failure).map(|f| {
            let hint = if args.output.is_some() { "; nothing was written" } else { "" };
            Failure { message: format!("{}{hint}", f.message), ..f }
        });
        let target = args.output.as_ref().filter(|_| failure.is_none());
        if let Some(name) = target {
            model_file::save(&graph, name)?;
            // A pipe or a device has no size.
            let size = std::fs::metadata(name).ok().filter(std::fs::Metadata::is_file);
            if let Some(size) = size {
                say(format!("wrote {name} ({:.1} MB)", size.len() as f64 / 1e6));
            }
        }
        if failure.is_none() && model.name() == OnnxRuntime.name() {
            say(format!("these options of a session make it so:\n{}", measure::OPTIONS.trim_end()));
        }
        let mut measured = None;
        if args.measure && failure.is_none() {
            let figures = measure::measure(start, &graph, model)?;
            say(figures.text());
            measured = Some(figures);
        }
        let result = Optimised {
            runtime: model.name().to_owned(),
            before,
            after,
            edits: report.edits,
            budget_bytes: budget,
            remarks: report.remarks.iter().map(answer::Remark::of).collect(),
            verify: found,
            measured,
            written: target.cloned(),
        };
        Ok(Answer { failure, ..Answer::new(result, String::new()) })
    }
}

/// The passes to run, and the budget in bytes that they have to meet in this runtime.
fn pipeline(
    args: &Args,
    model: &Arc<dyn MemoryModel>,
) -> std::result::Result<(Pipeline, Option<u64>), String> {
    let given = args.passes.as_deref().map(Pipeline::parse).transpose();
    let given = given.map_err(|e| e.to_string())?;
    let passes = match (args.optimise, given) {
        (true, given) => Some(optimise().then_all(given.unwrap_or_default())),
        (false, given) => given,
    };
    let Some(memory) = &args.memory else {
        return Ok((passes.unwrap_or_default(), None));
    };
    let budget = graph_opt_passes::bytes(memory).map_err(|e| format!("--memory: {e}"))?;
    let tiles = FuseTiles::from(Planned::within(budget).memory_model(Arc::clone(model)));
    let before =
        passes.unwrap_or_else(|| Pipeline::default().then(Simplify).then(Schedule::default()));
    Ok((before.then(tiles), Some(budget)))
}

/// What the passes had to say: of each kind of message the first few.
fn remarks(all: &[Remark], verbose: bool) {
    let mut shown = std::collections::BTreeMap::new();
    for r in all {
        if r.outcome == Outcome::Applied && !r.node.is_empty() && !verbose {
            continue;
        }
        let n: &mut usize = shown.entry((r.pass.clone(), r.outcome)).or_default();
        *n += 1;
        if *n <= 5 || verbose {
            let text = r.to_string();
            // How to do it by hand takes a line of its own.
            let short = text.split_once("; by hand: ").map_or(&*text, |(short, _)| short);
            say(if verbose { &text } else { short });
        }
    }
    for ((pass, _), n) in shown {
        if n > 5 && !verbose {
            say(format!("{pass}: {} more such remarks; --verbose shows them", n - 5));
        }
    }
}

/// The figures that changed, a line each; the runtime of the peaks if it matters.
fn changes(a: &Figures, b: &Figures, runtime: Option<&str>, edits: usize) -> String {
    let peak = |f: &Figures| f.peak.map_or_else(|| "unknown".into(), |n| ByteSize(n).to_string());
    let rows = [
        ("nodes", a.nodes.to_string(), b.nodes.to_string()),
        ("MACs", macs(a), macs(b)),
        ("parameters", a.parameters.to_string(), b.parameters.to_string()),
        ("peak activations", peak(a), peak(b)),
    ];
    let changed = rows.iter().filter(|(_, before, after)| before != after);
    let line = |(what, before, after): &(&str, String, String)| {
        let place = runtime.filter(|_| what.starts_with("peak"));
        let place = place.map_or_else(String::new, |r| format!(" in {r}"));
        format!("{what:<18}{before} → {after}{place}\n")
    };
    changed.map(line).collect::<String>() + &count(edits, "edit")
}

/// How many nodes of each operator there are, where that changed.
fn operators(a: &Graph, b: &Graph) -> String {
    let (c, d) = (cost(a).operators, cost(b).operators);
    let names: std::collections::BTreeSet<&String> = c.keys().chain(d.keys()).collect();
    let line = |n: &String| {
        let of = |all: &std::collections::BTreeMap<String, usize>| all.get(n).copied().unwrap_or(0);
        (of(&c) != of(&d)).then(|| format!("  {n:<16}{} → {}", of(&c), of(&d)))
    };
    names.into_iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

fn macs(f: &Figures) -> String {
    let known = match f.macs {
        m if m >= 1_000_000_000 => format!("{:.3} G", m as f64 / 1e9),
        m if m >= 10_000_000 => format!("{:.2} M", m as f64 / 1e6),
        m => m.to_string(),
    };
    match f.unknown_macs {
        0 => known,
        n => format!("{known} and {} of unknown shape", count(n, "node")),
    }
}
