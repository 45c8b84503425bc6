//! Attacks on `verify`: rewritings that are right, with one small wrong edit each, and pairs of models
//! that are equal by construction. No mutant may be called identical, proved or exact; no equal pair
//! may be said to differ.
//!
//! `MUTANTS=5000 cargo test --release --test suite -- mutants::wrong --nocapture` plants so many and
//! prints the table of kinds and rungs; `EQUALS=2000 … mutants::equal` does the same for equal pairs.
//! Without these, some hundreds are tried. `MUTANT=N` looks at one of them alone.

mod argument;
mod edits;
mod equals;

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Report, Summary};
use graph_opt_backends::cpu::{Cpu, Key};
use graph_opt_ir::text::parse;
use graph_opt_ir::{Graph, infer, onnx};
use graph_opt_passes::registry::OPTIMISE;
use graph_opt_passes::{Pipeline, Runner};
use onnx_protobuf::{Message, ModelProto};

/// Random numbers, the same in every run.
pub struct Rng(u64);

impl Rng {
    fn new(seed: u64) -> Self {
        Self(Key::new(seed).named("mutants").bits)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = Key::new(self.0).with(1).bits;
        (self.0 >> 8) as usize % n
    }
}

macro_rules! nets {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("nets/", $name, ".gir")))),*]
    };
}

/// Small networks that have of everything.
const NETS: &[(&str, &str)] = nets!(
    "attention" "batch" "branches" "choices" "custom" "decoder" "dilated" "embedding" "inception"
    "layout" "loop" "mlp" "mobile" "norms" "pools" "quantized" "recurrent" "residual" "upsample"
    "volume" "whole"
);

/// Rewritings to plant edits into. LAST is the last node that can be the end of a group.
const PIPELINES: &[&str] = &[
    "",
    "simplify",
    OPTIMISE,
    "inline-functions{operators=yes}",
    "tile-conv{axis=h parts=2}",
    "tile-conv{axis=w parts=3}",
    "tile-conv{axis=c-out parts=2}",
    "tile-conv{axis=n parts=2}",
    "tile-conv{axis=hxw parts=2x2}",
    "tile-conv{axis=c-in parts=2}",
    "tile-conv{axis=h parts=2},untile",
    "fuse-tiles{grid=2x2 to=LAST}",
    "fuse-tiles{grid=3 to=LAST}",
    "fuse-tiles{grid=2x2 reuse=rows to=LAST}",
    "fuse-tiles{grid=2x2 reuse=checkerboard to=LAST}",
    "fuse-tiles{grid=2x2 reuse=exchange to=LAST}",
    "tile-conv{axis=h parts=2},eqsat{objective=memory}",
    "eqsat{objective=launches}",
    "schedule",
    "drop-dead-channels{constants=yes}",
];

pub fn read(m: &ModelProto) -> Option<Graph> {
    let bytes = m.write_to_bytes().ok()?;
    let onnx::Imported { mut graph, declared, .. } = onnx::import(bytes, None).ok()?;
    infer::infer_graph(&mut graph, &declared).ok()?;
    Some(graph)
}

pub fn written(g: &Graph) -> ModelProto {
    let mut bytes = Vec::new();
    onnx::export(g, &mut bytes).unwrap();
    ModelProto::parse_from_bytes(&bytes).unwrap()
}

fn rewritten(g: &Graph, pipeline: &str) -> Option<Graph> {
    if pipeline.contains("LAST") {
        let labels: Vec<&str> = g.schedule().map(|n| g.label(n)).collect();
        return labels.into_iter().rev().find_map(|l| rewritten(g, &pipeline.replace("LAST", l)));
    }
    let mut out = g.clone();
    let pipeline = Pipeline::parse(pipeline).unwrap();
    let folder = graph_opt_backends::Folder;
    Runner::default().evaluator(&folder).run(&mut out, &pipeline).ok()?;
    (out.edits() > 0).then_some(out)
}

/// The network as a file. Results of operators that nobody knows are declared, as exporters do it.
pub fn file(name: &str, g: &Graph) -> ModelProto {
    let mut m = written(g);
    if name == "custom" {
        let declared = equals::value("b", 1, &[1, 4, 10, 8]);
        m.graph.mut_or_insert_default().value_info.push(declared);
    }
    m
}

/// All originals with what is right of them.
fn rewritings() -> Vec<(String, Graph, ModelProto)> {
    let mut all = Vec::new();
    for (name, text) in NETS {
        let g = parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        // As a file has it, with what its importer makes of it.
        let plain = file(name, &g);
        let more = equals::dressed(&plain);
        for (what, m) in [("", plain)].into_iter().chain(more) {
            let g = read(&m).unwrap_or_else(|| panic!("{name} {what}"));
            for p in PIPELINES {
                let t = if p.is_empty() { Some(g.clone()) } else { rewritten(&g, p) };
                all.extend(t.map(|t| (format!("{name}{what} {p}"), g.clone(), written(&t))));
            }
        }
    }
    all
}

pub fn verdicts(a: &Graph, b: &Graph) -> Result<Report, String> {
    let cpu = Cpu { threads: 1, ..Cpu::default() };
    let c = Compare { prove: true, backends: vec![&cpu], cpu: cpu.clone(), ..Compare::default() };
    let (a, b) = (Arc::new(a.clone()), Arc::new(b.clone()));
    let run = std::panic::AssertUnwindSafe(|| c.run(&a, &b).map_err(|e| e.to_string()));
    std::panic::catch_unwind(run).unwrap_or_else(|_| Err("panic".into()))
}

/// How many are tried: as many as the variable says.
fn count(variable: &str, quick: usize) -> usize {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(quick)
}

#[derive(Default)]
struct Table(BTreeMap<&'static str, BTreeMap<&'static str, usize>>);

impl Table {
    fn add(&mut self, kind: &'static str, rung: &'static str) {
        *self.0.entry(kind).or_default().entry(rung).or_default() += 1;
    }

    fn total(&self, rung: &str) -> usize {
        self.0.values().filter_map(|r| r.get(rung)).sum()
    }

    fn print(&self, rungs: &[&str]) {
        println!("| kind | {} |", rungs.join(" | "));
        println!("|---|{}", "---|".repeat(rungs.len()));
        let row = |kind: &str, of: &dyn Fn(&str) -> usize| {
            let cells: Vec<String> = rungs.iter().map(|r| of(r).to_string()).collect();
            println!("| {kind} | {} |", cells.join(" | "));
        };
        for (kind, by) in &self.0 {
            row(kind, &|r| by.get(r).copied().unwrap_or(0));
        }
        row("all", &|r| self.total(r));
    }
}

/// The verdict that the outputs have in common: that of the worst.
pub fn rung(r: &Report) -> &'static str {
    let of = |s: &Summary| match s {
        Summary::Identical => (0, "identical"),
        Summary::Proved | Summary::ProvedAt(_) => (1, "proved"),
        Summary::Exact => (2, "exact"),
        Summary::BitExact(_) => (3, "bit-exact"),
        Summary::Close(_) => (4, "close"),
        Summary::Unknown(_) => (5, "unknown"),
        Summary::Differs(_) => (6, "differs"),
    };
    r.outputs.iter().map(|o| of(&o.summary)).max().map_or("unknown", |r| r.1)
}

const RUNGS: &[&str] =
    &["identical", "proved", "exact", "bit-exact", "close", "differs", "unknown", "refused"];

#[test]
fn wrong_ones_are_never_called_equal() {
    let all = rewritings();
    let nets: std::collections::BTreeSet<&str> =
        all.iter().filter_map(|r| r.0.split([' ', '+']).next()).collect();
    assert!(nets.len() >= 12 && all.len() >= 200, "{} of {nets:?}", all.len());
    let mut table = Table::default();
    let (mut wrong, mut equal): (Vec<String>, BTreeMap<&str, usize>) = Default::default();
    let alone: Option<usize> = std::env::var("MUTANT").ok().and_then(|v| v.parse().ok());
    let total = count("MUTANTS", 300);
    let (mut made, mut undecidable) = (0, 0);
    let first = count("MUTANTS_FROM", 0);
    for seed in first..first + total * 20 {
        if made == total {
            break;
        }
        let mut r = Rng::new(seed as u64);
        let (name, g, right) = &all[r.below(all.len())];
        let (kind, edit) = edits::KINDS[r.below(edits::KINDS.len())];
        let mut m = right.clone();
        let Some(what) = edit(&mut m, &mut r) else { continue };
        if m == *right {
            continue;
        }
        let Some(mutant) = read(&m) else {
            table.add(kind, "refused");
            continue;
        };
        made += 1;
        if alone.is_some_and(|a| a != seed) {
            continue;
        }
        let report = match verdicts(g, &mutant) {
            Ok(r) => r,
            Err(why) => {
                if why == "panic" {
                    wrong.push(format!("MUTANT={seed} panic: {name}: {kind}: {what}"));
                }
                table.add(kind, "refused");
                continue;
            }
        };
        let rung = rung(&report);
        if alone.is_some() {
            println!("{name}: {kind}: {what}\n{report:#?}");
            println!("{}\n{}", graph_opt_ir::text::print(g), graph_opt_ir::text::print(&mutant));
        }
        table.add(kind, rung);
        undecidable += usize::from(rung == "unknown" && name.starts_with("custom"));
        if std::env::var("MUTANTS_SHOW").is_ok_and(|v| v == rung) {
            let all: Vec<String> = report.all().map(ToString::to_string).collect();
            let last = report.outputs.iter().map(|o| o.summary.to_string());
            let last: Vec<String> = last.collect();
            println!("{seed}: {name}: {kind}: {what}: {} <= {}", last.join(", "), all.join(", "));
        }
        if matches!(rung, "identical" | "proved" | "exact") {
            match argument::argument(right, &m) {
                Some(why) => *equal.entry(why).or_default() += 1,
                None => wrong.push(format!("MUTANT={seed} {rung}: {name}: {kind}: {what}")),
            }
        }
    }
    table.print(RUNGS);
    println!("equal after all:");
    equal.iter().for_each(|(why, n)| println!("  {n}: {why}"));
    assert!(wrong.is_empty(), "{} of {made} called equal:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(made, total);
    // Of an operator that cannot run, nothing but unknown is right.
    let unknown = table.total("unknown") - undecidable;
    assert!(unknown * 50 <= made, "{unknown} of {made} are unknown, and {undecidable} rightly");
}
