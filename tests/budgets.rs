//! Networks and real models in half, and in a quarter, of the memory that they need.

use std::sync::Arc;
use std::time::{Duration, Instant};

use graph_opt_backends::compare::{Compare, Report, Verdict};
use graph_opt_backends::cpu::{Cpu, Prepared};
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::zoo;
use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::{cost, peak, plan};
use graph_opt_passes::eqsat::NoProof;
use graph_opt_passes::eqsat::prove::{Proof, prove};
use graph_opt_passes::tile::planner::{self, ChosenPlan, Goal, Limits};

use crate::models::{at_least, convolutional, draws, extents, is_quick, settled};

fn all_models() -> bool {
    std::env::var("GRAPH_OPT_ALL_MODELS").is_ok_and(|v| v == "1")
}

/// How large a graph is to be compared, and how.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    /// Proved, over the field, and in bits.
    Exact,
    /// Proved, or over the field where there is no proof; and in bits.
    Proved,
    /// By its plan alone.
    Plan,
}

/// What a row of the table says.
struct Row {
    /// Whether the budget was met.
    fits: bool,
    /// Whether there is a plan, of the budget or of the least.
    planned: bool,
    /// Whether what was planned has the same bits.
    verdict: bool,
}

/// Plans a budget, or the least that is possible where that is more; checks the answer, and what
/// the interpreter holds at each step against the plan; prints a row of a table.
fn row(name: &str, g: &Graph, x: &Extents, (share, part): (&str, u64), depth: Depth) -> Row {
    let (before, macs) = (peak(g).unwrap().peak, cost(g).macs);
    let start = Instant::now();
    let met = planner::best(g, Goal::Memory(before / part), &Limits::default());
    let seconds = start.elapsed().as_secs_f64();
    let fits = met.is_ok();
    let why = met.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let best =
        met.or_else(|_| planner::best(g, Goal::ExtraMacs(f64::INFINITY), &Limits::default()));
    let Ok(ChosenPlan { plan: chosen, peak: after, macs: work, .. }) = best else {
        println!("| {name} | {share} | {:.1} | no plan: {why}", before as f64 / 1024.0);
        return Row { fits, planned: false, verdict: false };
    };
    let t = planner::realise(g, &chosen).unwrap();
    let more = (work as f64 / macs.max(1) as f64 - 1.0) * 100.0;
    let tiles: usize = chosen.groups.iter().map(|f| f.grid.len()).sum();
    let kib = |n: u64| n as f64 / 1024.0;
    let planned = format!(
        "| {name} | {share}{} | {:.1} | {:.1} | {more:+.2} % | {tiles} | {seconds:.2} |",
        if fits { "" } else { ", least" },
        kib(before),
        kib(after),
    );
    assert!(after < before, "{name}");
    if depth == Depth::Plan {
        println!("{planned} planned only");
        return Row { fits, planned: true, verdict: false };
    }
    let cpu = Cpu::default();
    let (g, t) = (Arc::new(g.clone()), Arc::new(t));
    // A proof is for all inputs; the field takes long where there are many multiplications.
    let proof = prove(&g, &t);
    let exact = proof.is_err() || depth == Depth::Exact;
    let extents = x.clone();
    let c = Compare { exact, backends: vec![&cpu], extents, seed: 7, ..Compare::default() };
    let verdicts = verdicts(name, &c.run(&g, &t).unwrap(), proof);
    let timeline = plan(&t).unwrap();
    let inputs = draw(&t, x, 3).unwrap();
    let new = cpu.prepared(t.clone()).unwrap();
    let (out, measured) = new.run_measured(&inputs).unwrap();
    let held = if measured.by_step.is_empty() {
        // Types that run without a plan.
        "not measured".into()
    } else {
        assert_eq!(measured.by_step, timeline.timeline, "{name}");
        assert_eq!(measured.peak, after, "{name}");
        format!("{:.1} measured", kib(measured.peak))
    };
    let old = cpu.prepared(g.clone()).unwrap();
    assert_eq!(out, old.run_measured(&inputs).unwrap().0, "{name}");
    let (a, b) = (time(&old, &inputs), time(&new, &inputs));
    println!("{planned} {held} | {:.1} to {:.1} ms, {:.2} | {verdicts} |", a * 1e3, b * 1e3, b / a);
    Row { fits, planned: true, verdict: true }
}

/// Fails unless every output is proved or exact, and equal in bits; which.
fn verdicts(name: &str, r: &Report, proof: Result<Proof, NoProof>) -> String {
    let mut all = Vec::new();
    match proof {
        Ok(p) => {
            assert!(!p.reassociates, "{name}");
            all.push("proved".to_owned());
        }
        Err(why) => all.push(format!("not proved ({why})")),
    }
    for v in r.outputs.iter().flat_map(|o| &o.verdicts) {
        match v {
            Verdict::Identical | Verdict::Exact(_) | Verdict::BitExact(..) => {}
            Verdict::Unknown(by, _) if by.contains("field") => {}
            other => panic!("{name}: {other}"),
        }
    }
    let reached = |w: fn(&Verdict) -> bool| r.outputs.iter().all(|o| o.verdicts.iter().any(w));
    if reached(|v| matches!(v, Verdict::Exact(_))) {
        all.push("exact".into());
    }
    assert!(reached(|v| matches!(v, Verdict::BitExact(..) | Verdict::Identical)), "{name}: {r:?}");
    all.push("bit-exact".into());
    all.join(", ")
}

/// Seconds of the faster of two runs, after one that warms up; of one if it takes long.
fn time(p: &Prepared, inputs: &[Tensor]) -> f64 {
    let once = || {
        let start = Instant::now();
        p.run_measured(inputs).unwrap();
        start.elapsed()
    };
    let first = once();
    let best = if first < Duration::from_secs(5) { first.min(once()) } else { first };
    best.as_secs_f64()
}

const SHARES: [(&str, u64); 2] = [("half", 2), ("quarter", 4)];

/// Every network of the zoo that has images, at small sizes; with `GRAPH_OPT_ALL_MODELS=1` also at
/// their own. Networks of 200 million MACs and more run over the field only if they are not proved.
#[test]
fn networks_of_the_zoo() {
    let small = [
        "vgg16-features@64x64",
        "resnet18@64x64",
        "resnet50@64x64",
        "mobilenetv2@64x64",
        "squeezenet@64x64",
        "yolov2@96x96",
        "unet@64x64",
        "inception-v1@64x64",
        "densenet121@64x64",
        "superres@32x48",
    ];
    let full = [
        "alexnet",
        "vgg11",
        "vgg16",
        "resnet18",
        "resnet50",
        "mobilenetv2",
        "squeezenet",
        "yolov2",
        "unet",
        "inception-v1",
        "densenet121",
        "superres@720x1280",
        "mnist-qdq",
    ];
    let full = full.iter().filter(|_| all_models());
    let (mut rows, mut verdicts) = (0, 0);
    for name in small.iter().chain(full) {
        let g = zoo::build(name).unwrap();
        for share in SHARES {
            let light = small.contains(name) && cost(&g).macs < 200_000_000;
            let depth = if light { Depth::Exact } else { Depth::Proved };
            let r = row(name, &g, &Extents::default(), share, depth);
            rows += 1;
            verdicts += usize::from(r.verdict);
            if !r.fits {
                break;
            }
        }
    }
    assert_eq!(verdicts, rows);
    assert!(rows >= 19, "{rows} rows, at least 19 expected");
}

/// The convolutional models of `../shared/models`; the large ones with `GRAPH_OPT_ALL_MODELS=1`
/// only, in CI just planned.
#[test]
fn real_models() {
    let (mut planned, mut verdicts) = (0, 0);
    for (name, original) in convolutional() {
        let g = settled(&name, &original);
        if let Err(unknown) = plan(&g) {
            println!("| {name} | {unknown} |");
            continue;
        }
        let depth = match is_quick(&g) {
            // Runs of random numbers say nothing of others.
            _ if draws(&g) => Depth::Plan,
            true => Depth::Exact,
            false if all_models() => Depth::Proved,
            false => Depth::Plan,
        };
        for share in SHARES {
            let r = row(&name, &g, &extents(&name), share, depth);
            planned += usize::from(r.planned);
            verdicts += usize::from(r.verdict);
            if !r.fits {
                break;
            }
        }
    }
    at_least(52, planned, "rows with a plan");
    at_least(22, verdicts, "rows with a verdict");
}
