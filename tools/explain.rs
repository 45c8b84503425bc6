//! `graph-opt explain`

use std::cell::RefCell;
use std::sync::Arc;

use graph_opt_backends::Folder;
use graph_opt_backends::faults::repro::Case;
use graph_opt_ir::Graph;
use graph_opt_passes::analysis::{MemoryModel, cost, model_named, plan_for};
use graph_opt_passes::tile::fuse_tiles::FuseTiles;
use graph_opt_passes::{ByteSize, Change, Data, Outcome, Pipeline, Remark, Runner, count};

use crate::failure::{Result, out};
use crate::progress::Progress;
use crate::rewrite::{self, Source};
use crate::tensors;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Extent of a symbolic dimension, such as height=480
    #[arg(long = "dim", value_name = "NAME=N", value_parser = tensors::parse_dim, requires = "fix_dims")]
    dims: Vec<(String, u64)>,
    /// Memory model to count by: interpreter, onnxruntime or onnxruntime-default
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = model_named)]
    runtime: Arc<dyn MemoryModel>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One run of a pass.
struct Entry {
    pass: String,
    only: Option<String>,
    edits: Vec<Made>,
    remarks: Vec<Remark>,
    after: Figures,
}

/// An edit, as the JSON report shows it.
struct Made {
    number: usize,
    origin: String,
    scope: String,
    added: usize,
    removed: usize,
}

#[derive(Clone, PartialEq)]
struct Figures {
    nodes: usize,
    macs: u64,
    unknown_macs: usize,
    peak: Option<u64>,
}

impl Figures {
    fn of(graph: &Graph, model: &dyn MemoryModel) -> Self {
        let c = cost(graph);
        let peak = plan_for(graph, model).ok().map(|m| m.peak);
        Self { nodes: c.nodes, macs: c.macs, unknown_macs: c.unknown_macs, peak }
    }

    fn text(&self) -> String {
        let peak = self.peak.map_or_else(|| "unknown".to_owned(), |n| ByteSize(n).to_string());
        let unknown = match self.unknown_macs {
            0 => String::new(),
            n => format!(" and {} of unknown shape", count(n, "node")),
        };
        let nodes = count(self.nodes, "node");
        format!("{nodes}, {} MACs{unknown}, peak activations {peak}", self.macs)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "nodes": self.nodes, "macs": self.macs, "nodes_of_unknown_macs": self.unknown_macs,
            "peak_activation_bytes": self.peak,
        })
    }
}

pub fn main(args: &Args) -> Result {
    let (pipeline, _, mut graph) = args.source.read(&args.dims)?;
    let before = Figures::of(&graph, &*args.runtime);
    let (made, entries) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let progress = Progress::new();
    let runner = Runner::default()
        .evaluator(&Folder)
        .progress(Box::new(|pass| progress.say(pass)))
        .observe(Box::new(|_, e| {
            made.borrow_mut().push(Made {
                number: e.number,
                origin: e.origin.clone(),
                scope: e.scope.join("/"),
                added: e.nodes.len(),
                removed: e.removed.len(),
            });
            Ok(())
        }))
        .after_pass(Box::new(|g, run| {
            entries.borrow_mut().push(Entry {
                pass: run.step.to_string(),
                only: run.only.map(ToString::to_string),
                edits: made.take(),
                remarks: run.remarks.to_vec(),
                after: Figures::of(g, &*args.runtime),
            });
        }));
    let case = Case { pipeline, seed: 0, verify_each: false, stop_after: None, verify: false };
    let report = rewrite::run(&case, runner, &mut graph)?;
    drop(progress);
    let entries = entries.take();
    // What was said between passes, such as that no node has a name, belongs to none.
    let said: Vec<&Remark> = entries.iter().flat_map(|e| &e.remarks).collect();
    let others: Vec<&Remark> = report.remarks.iter().filter(|r| !said.contains(r)).collect();
    out(if args.json { json(&before, &entries, &others) } else { text(&before, &entries, &others) })
}

fn text(before: &Figures, entries: &[Entry], others: &[&Remark]) -> String {
    let mut s = format!("model: {}\n", before.text());
    let mut last = before;
    for (i, e) in entries.iter().enumerate() {
        let only = e.only.as_ref().map(|r| format!(" on nodes that match {r}")).unwrap_or_default();
        let edits = match e.edits.len() {
            0 => "no edits".to_owned(),
            n => count(n, "edit"),
        };
        s.push_str(&format!("\n{}. {}{only}: {edits}\n", i + 1, e.pass));
        for outcome in [Outcome::Applied, Outcome::NoMatch, Outcome::NoEffect, Outcome::Blocked] {
            s.push_str(&remarks(&e.remarks, outcome));
        }
        // Passes that do many small things say only how many of each kind.
        let told = e.remarks.iter().filter(|r| r.outcome == Outcome::Applied && !r.node.is_empty());
        if e.edits.len() > told.count() {
            s.push_str("  edits\n");
            e.edits.iter().for_each(|m| s.push_str(&edit(m)));
        }
        if e.after != *last {
            s.push_str(&format!("  after: {}\n", e.after.text()));
        }
        last = &e.after;
    }
    for r in others {
        s.push_str(&format!("\n{r}\n"));
    }
    s
}

fn edit(m: &Made) -> String {
    let within = if m.scope.is_empty() { String::new() } else { format!(", in {}", m.scope) };
    let (removed, added) = (m.removed, m.added);
    format!("    {}: {}{within}: {} out, {added} in\n", m.number, m.origin, count(removed, "node"))
}

/// All remarks of this outcome, those of one message together.
fn remarks(all: &[Remark], outcome: Outcome) -> String {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    let of_kind: Vec<&Remark> = all.iter().filter(|r| r.outcome == outcome).collect();
    for r in &of_kind {
        match groups.iter_mut().find(|(m, _)| *m == r.message) {
            Some((_, nodes)) => nodes.push(&r.node),
            None => groups.push((&r.message, vec![&r.node])),
        }
    }
    if groups.is_empty() {
        return String::new();
    }
    let mut s = format!("  {} ({})\n", name(outcome), of_kind.len());
    for (message, mut nodes) in groups {
        nodes.retain(|n| !n.is_empty());
        s.push_str(&format!("    {message}\n"));
        if !nodes.is_empty() {
            s.push_str(&format!("      {}\n", nodes.join(", ")));
        }
    }
    s
}

fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::NoMatch => "no match",
        Outcome::NoEffect => "no effect",
        Outcome::Blocked => "blocked",
    }
}

/// The figures of a remark; null if there are none.
fn figures(data: &Data) -> serde_json::Value {
    let both = |c: &Change| serde_json::json!({ "before": c.before, "after": c.after });
    match data {
        Data::Parts(n) => serde_json::json!({ "parts": n }),
        Data::Tiles { nodes, grid, reuse } => {
            serde_json::json!({ "nodes": nodes, "grid": grid, "reuse": reuse.name() })
        }
        Data::Cost { peak, macs, by_hand } => {
            let passes = by_hand.iter().cloned().map(FuseTiles::from);
            let passes = passes.fold(Pipeline::default(), Pipeline::then).to_string();
            serde_json::json!({
                "peak_bytes": both(peak), "macs": both(macs), "by_hand": passes,
            })
        }
        Data::Order { peak, moved } => {
            serde_json::json!({ "peak_bytes": both(peak), "moved": moved })
        }
        Data::Nodes(nodes) => serde_json::json!({ "nodes": both(nodes) }),
        Data::Left(bytes) => serde_json::json!({ "left_bytes": bytes }),
        Data::Unmet(bytes) => serde_json::json!({ "least_peak_bytes": bytes }),
        _ => serde_json::Value::Null,
    }
}

fn json(before: &Figures, entries: &[Entry], others: &[&Remark]) -> String {
    let remark = |r: &Remark| {
        serde_json::json!({
            "pass": r.pass, "node": r.node, "outcome": name(r.outcome), "message": r.message,
            "data": figures(&r.data),
        })
    };
    let mut last = before;
    let mut passes = Vec::new();
    for e in entries {
        let edits = e.edits.iter().map(|m| {
            serde_json::json!({
                "number": m.number, "origin": m.origin, "in": m.scope, "new_nodes": m.added,
                "removed_nodes": m.removed,
            })
        });
        passes.push(serde_json::json!({
            "pass": e.pass, "only": e.only, "edits": edits.collect::<Vec<_>>(),
            "remarks": e.remarks.iter().map(remark).collect::<Vec<_>>(),
            "before": last.json(), "after": e.after.json(),
        }));
        last = &e.after;
    }
    let others: Vec<_> = others.iter().map(|r| remark(r)).collect();
    let all = serde_json::json!({ "before": before.json(), "passes": passes, "remarks": others });
    format!("{all:#}\n")
}
