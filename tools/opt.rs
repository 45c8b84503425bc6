//! `graph-opt opt`

use std::sync::Arc;

use graph_opt_backends::Folder;
use graph_opt_backends::faults::repro::Case;
use graph_opt_ir::{Graph, text};
use graph_opt_passes::analysis::{
    Interpreter, MemoryModel, OnnxRuntime, OnnxRuntimeDefault, cost, model_named, plan_for,
};
use graph_opt_passes::registry::optimise;
use graph_opt_passes::schedule::Schedule;
use graph_opt_passes::simplify::Simplify;
use graph_opt_passes::tile::fuse_tiles::{FuseTiles, Planned};
use graph_opt_passes::tile::planner::{self, Limits};
use graph_opt_passes::{
    ByteSize, Data, Outcome, Pipeline, Remark, Report, Runner, SizedGraph, count,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::budget::Budget;
use crate::explain::Figures;
use crate::failure::{Failure, Result, does_not_fit, say, told_in, usage};
use crate::progress::Progress;
use crate::report::proof::ProofPicture;
use crate::report::{
    AxisRow, Document, Fact, FrontPicture, Marks, PointRow, Recorded, ReportFile, Trace,
};
use crate::rewrite::Start;
use crate::table::{rows, scaled};
use crate::verdict::Comparison;
use crate::verify::{BACKENDS, Checks, How, compare};
use crate::{answer, dims, measure, model as model_file, output, rewrite};

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
    /// Most bytes of activations that may be live at once: a size such as 12MiB, 12M or 12582912, a share
    /// of the model's own peak such as 50%, or auto for what this machine has left beside the weights. The
    /// tiles of least extra work that fit are found and used, after the passes (by default, simplify and
    /// schedule)
    #[arg(long, value_name = "SIZE", value_parser = Budget::parse)]
    memory: Option<Budget>,
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
    #[command(flatten)]
    report: ReportFile,
    /// Compare the result with the model, and write it only if they are equal: by a proof, or by
    /// runs where there is none; on backends that are named, the models run in any case
    #[arg(long, value_name = "BACKENDS", num_args = 0..=1, require_equals = true, value_delimiter = ',', value_parser = BACKENDS)]
    verify: Option<Vec<String>>,
    /// Write the extents given with --dim into the model, before the passes run; INPUT:AXIS=N fixes
    /// a dimension without a name
    #[arg(long)]
    fix_dims: bool,
    /// Stop after this many edits
    #[arg(long, help_heading = "Debugging", value_name = "N")]
    stop_after: Option<usize>,
    /// Print the IR text to standard error after each edit
    #[arg(long, help_heading = "Debugging")]
    print_after: bool,
    /// Verify the invariants of the graph after each edit, not only after each pass
    #[arg(long, help_heading = "Debugging")]
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
    let candidates: Vec<Arc<dyn MemoryModel>> = match (&args.runtime, &args.memory) {
        (Some(one), _) => vec![Arc::clone(one)],
        (None, None) => vec![Arc::new(Interpreter)],
        (None, Some(_)) => {
            vec![Arc::new(OnnxRuntimeDefault), Arc::new(OnnxRuntime), Arc::new(Interpreter)]
        }
    };
    let passes = passes(&args).map_err(usage)?;
    if let Some(name) = &args.output {
        output::probe_model(name, json)?;
    }
    args.report.probe()?;
    let start = Start::read(&args.model, args.fix_dims, &args.checks.dims)?;
    let mut opt = Opt { args: &args, verbose, passes, start };
    let mut refused = match opt.first_that_fits(&candidates)? {
        Ok(answer) => return Ok(answer),
        Err(refused) => refused,
    };
    // Tiles cut only axes that the model declares; with extents written into it, they can cut the others.
    if args.memory.is_some() && !args.fix_dims && !args.checks.dims.is_empty() {
        opt.start.fix(&args.checks.dims)?;
        opt.start.fixed = Some(args.checks.dims.text());
        match opt.first_that_fits(&candidates)? {
            Ok(answer) => return Ok(answer),
            Err(again) => refused = again,
        }
    }
    if let Some(last) = refused.last() {
        remarks(&last.said, verbose);
    }
    Err(does_not_fit(no_result(&refused)))
}

/// Key of the model's metadata with the extents that tiles were planned for.
const EXTENTS: &str = "graph_opt.extents";

/// Why there is no result for a runtime.
struct Refused {
    runtime: String,
    /// The budget, if it is exceeded, and the peak of the model before and after the passes, in bytes.
    over: Option<(u64, u64, u64)>,
    why: String,
    /// What the passes had to say.
    said: Vec<Remark>,
}

/// Why there is no result for any of these runtimes, the one that comes nearest to its budget first, and
/// what to try.
fn no_result(refused: &[Refused]) -> String {
    let mut all: Vec<&Refused> = refused.iter().collect();
    all.sort_by_key(|r| r.over.map_or(u64::MAX, |(_, _, least)| least));
    let Some(first) = all.first() else { return String::new() };
    let Some((budget, ..)) = first.over else { return first.why.clone() };
    let mut text = format!("the model does not fit into {}\n", ByteSize(budget));
    for r in &all {
        let takes = r.over.map_or_else(String::new, |(_, takes, _)| {
            format!("it takes {};\n    ", ByteSize(takes))
        });
        // What sets the peak, and why, take lines of their own.
        let why = r.why.replacen(", set by", "\n    set by", 1).replacen("; no", "\n    no", 1);
        text.push_str(&format!("  {}: {takes}{why}\n", r.runtime));
    }
    // Rounded up, so that it does fit.
    let least = first.over.map_or(0, |(_, _, least)| least).div_ceil(1024);
    text + &format!(
        "try --memory {least}KiB --runtime {0}; or for as little as can be had,\n\
         -p 'fuse-tiles{{memory={budget}B runtime={0} best-effort=yes}}'",
        first.runtime
    )
}

/// What the passes made of the model.
struct Passed {
    graph: Graph,
    report: Report,
    /// What they did, if a report is asked for.
    recorded: Option<Recorded>,
}

/// A model to rewrite.
struct Opt<'a> {
    args: &'a Args,
    verbose: bool,
    /// The passes to run, without the planner; `None` for the default ones.
    passes: Option<Pipeline>,
    /// What they begin with.
    start: Start,
}

impl Opt<'_> {
    /// The result for the first of these runtimes in which it keeps the budget.
    fn first_that_fits(
        &self,
        runtimes: &[Arc<dyn MemoryModel>],
    ) -> Result<std::result::Result<Answer, Vec<Refused>>> {
        let mut refused = Vec::new();
        for model in runtimes {
            let budget = self.budget(&**model)?;
            let case = Case {
                pipeline: self.pipeline(model, budget),
                seed: self.args.checks.seed,
                verify_each: self.args.verify_each,
                stop_after: self.args.stop_after,
                verify: self.args.verify.is_some(),
                assumed: self.start.assumed.clone(),
            };
            let (graph, report, recorded) = self.passed(&case)?;
            match self.fits(&graph, &**model, budget, &report.remarks)? {
                Ok(warning) => {
                    warning.into_iter().for_each(say);
                    let passed = Passed { graph, report, recorded };
                    return self.finish(&case, passed, model, budget).map(Ok);
                }
                Err((why, over)) => {
                    let runtime = model.name().to_owned();
                    refused.push(Refused { runtime, over, why, said: report.remarks });
                }
            }
        }
        Ok(Err(refused))
    }

    /// The graph with the extents that are assumed.
    fn sized<'g>(&self, graph: &'g Graph) -> Result<SizedGraph<'g>> {
        self.start.assumed.sized(graph, &Folder).map_err(usage)
    }

    /// The budget in bytes in this runtime.
    fn budget(&self, model: &dyn MemoryModel) -> Result<Option<u64>> {
        let Some(budget) = &self.args.memory else { return Ok(None) };
        let sized = self.sized(&self.start.graph)?;
        let plan = plan_for(&sized.graph, model);
        if let (Budget::Share(_), Err(why)) = (budget, &plan) {
            return Err(dims::no_size(why, &sized.graph));
        }
        let peak = || plan.as_ref().ok().map(|p| p.peak);
        let weights = || cost(&sized.graph).constant_bytes;
        let backends = self.args.verify.as_deref().unwrap_or_default();
        budget.bytes(&peak, &weights, backends).map(Some).map_err(usage)
    }

    /// The passes to run for a budget in this runtime.
    fn pipeline(&self, model: &Arc<dyn MemoryModel>, budget: Option<u64>) -> Pipeline {
        let Some(budget) = budget else { return self.passes.clone().unwrap_or_default() };
        let default = || Pipeline::default().then(Simplify).then(Schedule::default());
        let tiles = Planned::within(budget).memory_model(Arc::clone(model));
        self.passes.clone().unwrap_or_else(default).then(FuseTiles::from(tiles))
    }

    /// Runs the passes, and records what they do if a report is asked for.
    fn passed(&self, case: &Case) -> Result<(Graph, Report, Option<Recorded>)> {
        let mut graph = self.start.graph.clone();
        let trace = self.args.report.is_some().then(|| Trace::of(&graph));
        let sized = |g: &Graph| self.sized(g).ok().map(|s| s.graph.into_owned());
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
        if let Some(trace) = &trace {
            runner = trace.watch(runner, &sized);
        }
        let report = rewrite::run(case, runner, &mut graph)?;
        Ok((graph, report, trace.map(Trace::recorded)))
    }

    /// Whether the result keeps the budget and takes no more than the model did, in this runtime: a warning
    /// with --force, or else why not, with the budget that is exceeded and the peaks.
    fn fits(
        &self,
        graph: &Graph,
        model: &dyn MemoryModel,
        budget: Option<u64>,
        said: &[Remark],
    ) -> Result<std::result::Result<Option<String>, (String, Option<(u64, u64, u64)>)>> {
        let (start, sized) = (self.sized(&self.start.graph)?, self.sized(graph)?);
        let before = plan_for(&start.graph, model);
        let after = plan_for(&sized.graph, model);
        if let Some(budget) = budget {
            match &after {
                Ok(m) if m.peak <= budget => {}
                Ok(m) => {
                    let unmet = said.iter().rev().find_map(|r| match &r.data {
                        Data::Unmet { least, why } => Some((*least, format!(", {why}"))),
                        _ => None,
                    });
                    let (least, why) = unmet.unwrap_or((m.peak, String::new()));
                    let takes = before.map_or(m.peak, |b| b.peak);
                    let why = format!("the least peak that was found is {}{why}", ByteSize(least));
                    return Ok(Err((why, Some((budget, takes, least)))));
                }
                Err(why) => {
                    remarks(said, self.verbose);
                    return Err(dims::no_size(why, &sized.graph));
                }
            }
        }
        let asked = budget.is_some() || self.args.runtime.is_some();
        let (Ok(before), Ok(after), true) = (before, after, asked) else { return Ok(Ok(None)) };
        if after.peak <= before.peak {
            return Ok(Ok(None));
        }
        let (a, b) = (ByteSize(before.peak), ByteSize(after.peak));
        let name = model.name();
        let more = format!("in {name} the result takes {b}, more than the model, which takes {a}");
        Ok(match self.args.force {
            true => Ok(Some(format!("warning: {more}"))),
            false => Err((format!("{more}; --force writes it all the same"), None)),
        })
    }

    /// The choices of the planner, with the one that was taken: those that were listed, or for a budget the
    /// plans that the search finds, as it estimates them.
    fn fronts(
        &self,
        said: &[Remark],
        runtime: &Arc<dyn MemoryModel>,
        budget: Option<u64>,
    ) -> Vec<FrontPicture> {
        let axis = |name: &str, unit: &str| AxisRow { name: name.into(), unit: unit.into() };
        let point = |peak: u64, macs: u64, label: String, chosen| PointRow {
            x: peak as f64,
            y: macs as f64,
            label,
            chosen,
        };
        let mut points = Vec::new();
        let mut note = String::from("measured, each as a graph of its own");
        for r in said.iter().filter(|r| is_plan(r)) {
            if let Data::Cost { peak, macs, .. } = &r.data {
                points.push(point(peak.after, macs.after, r.message.clone(), false));
            }
        }
        let applied = said.iter().rev().find_map(|r| match &r.data {
            Data::Cost { peak, macs, .. } if r.outcome == Outcome::Applied => {
                Some(point(peak.after, macs.after, r.message.clone(), true))
            }
            _ => None,
        });
        if let (true, Some(applied), Some(_)) = (points.is_empty(), applied, budget) {
            let limits = Limits { model: Arc::clone(runtime), ..Limits::default() };
            let found = self.sized(&self.start.graph).ok();
            let found = found.and_then(|g| planner::front(&g.graph, &limits).ok());
            for plan in found.iter().flat_map(|f| &f.plans) {
                let label = match plan.groups.len() {
                    0 => "untiled".to_owned(),
                    n => count(n, "tiled group"),
                };
                points.push(point(plan.peak, plan.macs, label, false));
            }
            note =
                "the search's estimates for the model as it was read; the chosen plan as measured"
                    .into();
            points.push(applied);
        }
        if points.is_empty() {
            return Vec::new();
        }
        let title = "tiles: peak memory against work".to_owned();
        vec![FrontPicture {
            title,
            note,
            x: axis("peak of activations", "B"),
            y: axis("multiply-accumulates", ""),
            points,
        }]
    }

    /// Verifies the result, reports, measures and writes it.
    fn finish(
        &self,
        case: &Case,
        passed: Passed,
        runtime: &Arc<dyn MemoryModel>,
        budget: Option<u64>,
    ) -> Result<Answer> {
        let Self { args, verbose, start, .. } = self;
        let Passed { mut graph, report, recorded } = passed;
        let model = &**runtime;
        let tiled = |r: &Remark| r.outcome == Outcome::Applied && r.pass == "fuse-tiles";
        if report.remarks.iter().any(tiled) {
            let sized = self.sized(&graph)?;
            let extents = start.fixed.clone().unwrap_or_else(|| sized.text());
            if !extents.is_empty() {
                graph.notes.insert(EXTENTS.into(), extents);
            }
        }
        let graph = Arc::new(graph);
        let (mut found, mut proof, mut heat): (Option<Comparison>, _, _) = (None, None, Vec::new());
        if let Some(backends) = &args.verify {
            let how = How::on(backends);
            let original = Arc::new(start.graph.clone());
            let compared =
                rewrite::guard(case, &original, || compare(&original, &graph, &how, &args.checks))?;
            proof = compared.certificate.as_deref().map(ProofPicture::of);
            heat = compared.heat;
            found = Some(compared.found);
        }
        if let Some(found) = &found {
            told_in(found.tone(), found.text());
        }
        if let Some(fixed) = &self.start.fixed {
            say(format!("tiles need these extents, which the file declares now: {fixed}"));
        }
        let named = args.memory.is_some() || args.runtime.is_some();
        let (a, b) = (self.sized(&start.graph)?, self.sized(&graph)?);
        let (before, after) = (Figures::of(&a.graph, model), Figures::of(&b.graph, model));
        let place = named.then(|| model.name());
        say(changes(&before, &after, place, &b.text(), report.edits));
        remarks(&report.remarks, *verbose);
        if *verbose {
            say(operators(&start.graph, &graph));
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
                let (unit, name_of_unit) =
                    if size.len() < 1_000_000 { (1e3, "kB") } else { (1e6, "MB") };
                say(format!("wrote {name} ({:.1} {name_of_unit})", size.len() as f64 / unit));
            }
        }
        if failure.is_none() && model.name() == OnnxRuntime.name() {
            say(format!("these options of a session make it so:\n{}", measure::OPTIONS.trim_end()));
        }
        let mut measured = None;
        if args.measure && failure.is_none() {
            let figures = measure::measure(&a.graph, &b.graph, model)?;
            say(figures.text());
            measured = Some(figures);
        }
        args.report.write(|| {
            let mut document = Document::new(format!("opt {}", args.model));
            let recorded = recorded.unwrap_or_default();
            document.facts = facts(&before, &after, model.name());
            document.add(
                "before",
                &a.graph,
                &Marks { other: Some(&*b.graph), ..Marks::default() },
                model,
            );
            let marks =
                Marks { edits: recorded.made_by, other: Some(&*a.graph), ..Marks::default() };
            document.add("after", &b.graph, &marks, model);
            document.budget_bytes = budget;
            document.tilings = recorded.tilings;
            document.edits = recorded.edits;
            document.remarks = report.remarks.iter().map(answer::Remark::of).collect();
            document.fronts = self.fronts(&report.remarks, runtime, budget);
            (document.proof, document.heat) = (proof, heat);
            document.verdict = found.clone();
            document
        })?;
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
        Ok(Answer { failure, ..Answer::new(result, front(&report.remarks)) })
    }
}

/// The figures for the head of a report.
pub fn facts(a: &Figures, b: &Figures, runtime: &str) -> Vec<Fact> {
    let peak = |f: &Figures| f.peak.map_or_else(|| "unknown".into(), |n| ByteSize(n).to_string());
    let mut peak = Fact::changed(&format!("peak in {runtime}"), peak(a), peak(b));
    peak.good = a.peak.zip(b.peak).filter(|(a, b)| a != b).map(|(a, b)| b < a);
    vec![
        peak,
        Fact::changed("MACs", macs(a), macs(b)),
        Fact::changed("nodes", a.nodes.to_string(), b.nodes.to_string()),
        Fact::changed("parameters", scaled(a.parameters), scaled(b.parameters)),
    ]
}

/// The passes that were asked for; `None` for the default ones.
fn passes(args: &Args) -> std::result::Result<Option<Pipeline>, String> {
    let given = args.passes.as_deref().map(Pipeline::parse).transpose();
    let given = given.map_err(|e| e.to_string())?;
    Ok(match (args.optimise, given) {
        (true, given) => Some(optimise().then_all(given.unwrap_or_default())),
        (false, given) => given,
    })
}

/// Whether the remark is a plan of a front that was asked for.
fn is_plan(r: &Remark) -> bool {
    r.outcome == Outcome::NoEffect && matches!(r.data, Data::Cost { .. })
}

/// The plans of a front, a row each; empty if none was asked for.
fn front(all: &[Remark]) -> String {
    let mut t = rows(&["peak", "MACs", "more", "tiles"]);
    let mut found = false;
    for r in all.iter().filter(|r| is_plan(r)) {
        let Data::Cost { peak, macs, .. } = &r.data else { continue };
        let more = (macs.after as f64 / macs.before.max(1) as f64 - 1.0) * 100.0;
        let tiles = r.message.split_once(": ").map_or("", |(_, tiles)| tiles);
        let peak = ByteSize(peak.after).to_string();
        t.add_row([peak, scaled(macs.after), format!("{more:+.2} %"), tiles.replace("; ", "\n")]);
        found = true;
    }
    if found { format!("{t}\n") } else { String::new() }
}

/// What the passes had to say: of each kind of message the first few.
fn remarks(all: &[Remark], verbose: bool) {
    let mut shown = std::collections::BTreeMap::new();
    for r in all.iter().filter(|r| !is_plan(r)) {
        // What is done to a node is in the figures, and a budget that is not met in the error.
        let told = r.outcome == Outcome::Applied && !r.node.is_empty();
        if (told || matches!(r.data, Data::Unmet { .. })) && !verbose {
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

/// The figures that changed, a line each; the runtime of the peaks if it matters, and the extents that were
/// assumed for them.
fn changes(a: &Figures, b: &Figures, runtime: Option<&str>, assumed: &str, edits: usize) -> String {
    let peak = |f: &Figures| f.peak.map_or_else(|| "unknown".into(), |n| ByteSize(n).to_string());
    let rows = [
        ("nodes", a.nodes.to_string(), b.nodes.to_string()),
        ("MACs", macs(a), macs(b)),
        ("parameters", scaled(a.parameters), scaled(b.parameters)),
        ("peak activations", peak(a), peak(b)),
    ];
    let changed = rows.iter().filter(|(_, before, after)| before != after);
    let line = |(what, before, after): &(&str, String, String)| {
        let place = runtime.filter(|_| what.starts_with("peak"));
        let mut place = place.map_or_else(String::new, |r| format!(" in {r}"));
        if what.starts_with("peak") && !assumed.is_empty() {
            place.push_str(&format!(" for {assumed}"));
        }
        format!("{what:<18}{before} → {after}{place}\n")
    };
    changed.map(line).collect::<String>() + &count(edits, "edit")
}

/// How many nodes of each operator there are, where that changed.
fn operators(a: &Graph, b: &Graph) -> String {
    let (c, d) = (cost(a).operators, cost(b).operators);
    let names: std::collections::BTreeSet<&String> = c.keys().chain(d.keys()).collect();
    let width = names.iter().map(|n| n.len()).max().unwrap_or(0);
    let line = |n: &String| {
        let of = |all: &std::collections::BTreeMap<String, usize>| all.get(n).copied().unwrap_or(0);
        (of(&c) != of(&d)).then(|| format!("  {n:<width$}  {} → {}", of(&c), of(&d)))
    };
    names.into_iter().filter_map(line).collect::<Vec<_>>().join("\n")
}

fn macs(f: &Figures) -> String {
    let known = scaled(f.macs);
    match f.unknown_macs {
        0 => known,
        n => format!("{known} and {} of unknown shape", count(n, "node")),
    }
}
