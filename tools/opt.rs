//! `graph-opt opt`

use std::sync::Arc;

use comfy_table::{Table, presets};
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

use crate::failure::{Failure, Result, check, say, shown, usage};
use crate::progress::Progress;
use crate::verify::{Checks, How, compare, judge};
use crate::{measure, rewrite, verify};

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
    /// Compare the result with the model, and write it only if they are equal; on these backends
    /// besides the finite field
    #[arg(long, value_name = "BACKENDS", num_args = 0..=1, require_equals = true, default_missing_value = "cpu", value_delimiter = ',', value_parser = ["cpu", "wgpu"])]
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
    /// Show every remark, not only the first of each kind
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    checks: Checks,
}

pub fn main(args: Args) -> Result {
    let (original, start) = rewrite::start(&args.model, args.fix_dims, &args.checks.dims)?;
    let candidates: Vec<Arc<dyn MemoryModel>> = match (&args.runtime, &args.memory) {
        (Some(one), _) => vec![Arc::clone(one)],
        (None, None) => vec![Arc::new(Interpreter)],
        (None, Some(_)) => {
            vec![Arc::new(OnnxRuntimeDefault), Arc::new(OnnxRuntime), Arc::new(Interpreter)]
        }
    };
    let mut refused = None;
    for model in candidates {
        let (pipeline, budget) = pipeline(&args, &model).map_err(usage)?;
        let case = Case {
            pipeline,
            seed: args.checks.seed,
            verify_each: args.verify_each,
            stop_after: args.stop_after,
            verify: args.verify.is_some(),
        };
        let (graph, report) = passed(&args, &case, &start)?;
        match fits(&args, &start, &graph, &*model, budget, &report.remarks)? {
            Ok(warning) => {
                remarks(&report.remarks, args.verbose);
                warning.into_iter().for_each(say);
                return finish(&args, &case, &original, &start, graph, &*model, report.edits);
            }
            // The last one is the one that a plan is most likely for.
            Err(why) => refused = Some((why, report)),
        }
    }
    match refused {
        Some((why, report)) => {
            remarks(&report.remarks, args.verbose);
            Err(check(why))
        }
        None => Ok(()),
    }
}

/// Runs the passes.
fn passed(args: &Args, case: &Case, start: &Graph) -> Result<(Graph, Report)> {
    let mut graph = start.clone();
    let progress = Progress::new();
    let mut runner =
        Runner::default().evaluator(&Folder).progress(Box::new(|pass| progress.say(pass)));
    if args.print_after {
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
    args: &Args,
    start: &Graph,
    graph: &Graph,
    model: &dyn MemoryModel,
    budget: Option<u64>,
    remarks: &[Remark],
) -> Result<std::result::Result<Option<String>, String>> {
    let after = plan_for(graph, model);
    if let Some(budget) = budget {
        match &after {
            Ok(m) if m.peak <= budget => {}
            Ok(m) => {
                let least = ByteSize(m.peak).to_string();
                let unmet = |r: &&Remark| matches!(r.data, Data::Unmet(_));
                let why = remarks.iter().rev().find(unmet);
                let why = why.map_or_else(String::new, |r| format!(": {}", r.message));
                return Ok(Err(format!(
                    "the model does not fit into {} (it takes {least}){why}",
                    ByteSize(budget)
                )));
            }
            Err(_) => {
                let known = Symbolic::of(graph);
                let hint = "fix them with --dim NAME=N --fix-dims";
                return Err(usage(format!("extents of the model are not known; {hint}; {known}")));
            }
        }
    }
    let asked = budget.is_some() || args.runtime.is_some();
    let (Ok(before), Ok(after), true) = (plan_for(start, model), after, asked) else {
        return Ok(Ok(None));
    };
    if after.peak <= before.peak {
        return Ok(Ok(None));
    }
    let (a, b) = (ByteSize(before.peak), ByteSize(after.peak));
    let more =
        format!("in {} the result takes {b}, more than the model, which takes {a}", model.name());
    Ok(match args.force {
        true => Ok(Some(format!("warning: {more}"))),
        false => Err(format!("{more}; --force writes it all the same")),
    })
}

/// Verifies the result, reports, measures and writes it.
fn finish(
    args: &Args,
    case: &Case,
    original: &Arc<Graph>,
    start: &Graph,
    graph: Graph,
    model: &dyn MemoryModel,
    edits: usize,
) -> Result {
    let graph = Arc::new(graph);
    let mut verdict = String::new();
    let mut failed: Option<Failure> = None;
    if let Some(backends) = &args.verify {
        let how = How::all(backends);
        let found = rewrite::guard(case, start, || compare(original, &graph, &how, &args.checks))?;
        verdict = verify::text(&found);
        failed = judge(&found).err();
    }
    let named = args.memory.is_some() || args.runtime.is_some();
    eprint!("{}", shown(&table(original, &graph, (model, named), edits, &verdict)));
    if let Some(f) = failed {
        let hint = if args.output.is_some() { "; nothing was written" } else { "" };
        return Err(Failure { message: format!("{}{hint}", f.message), ..f });
    }
    if let Some(name) = &args.output {
        crate::model::save(&graph, name)?;
    }
    if model.name() == OnnxRuntime.name() {
        eprint!("These options of a session make it so:\n{}", measure::OPTIONS);
    }
    if args.measure {
        eprint!("{}", measure::measure(start, &graph, model)?);
    }
    Ok(())
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
            say(format!("{r}"));
        }
    }
    for ((pass, _), n) in shown {
        if n > 5 && !verbose {
            say(format!("{pass}: {} more such remarks; --verbose shows them", n - 5));
        }
    }
}

/// A table with this header.
pub fn rows(header: &[&str]) -> Table {
    let mut t = Table::new();
    t.load_style(presets::UTF8_HORIZONTAL_ONLY);
    t.set_header(header);
    t
}

/// The table of figures before and after the passes; whether the memory model is named.
fn table(
    a: &Graph,
    b: &Graph,
    (model, named): (&dyn MemoryModel, bool),
    edits: usize,
    verdict: &str,
) -> String {
    let (c, d) = (cost(a), cost(b));
    let mut t = rows(&["", "before", "after"]);
    let mut row = |what: &str, p: String, q: String| {
        t.add_row([what.to_owned(), p, q]);
    };
    row("nodes", c.nodes.to_string(), d.nodes.to_string());
    let names: std::collections::BTreeSet<&String> =
        c.operators.keys().chain(d.operators.keys()).collect();
    for n in names {
        let (p, q) = (c.operators.get(n).unwrap_or(&0), d.operators.get(n).unwrap_or(&0));
        if p != q {
            row(&format!("  {n}"), p.to_string(), q.to_string());
        }
    }
    row("MACs", macs(&c), macs(&d));
    row("parameters", c.parameters.to_string(), d.parameters.to_string());
    let memory = |g: &Graph| {
        plan_for(g, model).map_or_else(|_| "unknown".into(), |m| ByteSize(m.peak).to_string())
    };
    let what = match named {
        false => "peak activations".to_owned(),
        true => format!("peak in {}", model.name()),
    };
    row(&what, memory(a), memory(b));
    let mut s = format!("{t}\n{}\n", count(edits, "edit"));
    if !verdict.is_empty() {
        s.push_str(verdict);
    }
    s
}

fn macs(c: &graph_opt_passes::analysis::Cost) -> String {
    let known = match c.macs {
        m if m >= 10_000_000_000 => format!("{:.2} G", m as f64 / 1e9),
        m if m >= 10_000_000 => format!("{:.2} M", m as f64 / 1e6),
        m => m.to_string(),
    };
    match c.unknown_macs {
        0 => known,
        n => format!("{known} and {} of unknown shape", count(n, "node")),
    }
}
