//! `graph-opt explain`

use std::cell::RefCell;
use std::sync::Arc;

use graph_opt_backends::Folder;
use graph_opt_backends::faults::repro::Case;
use graph_opt_ir::Graph;
use graph_opt_ir::edit::Applied;
use graph_opt_passes::analysis::{MemoryModel, cost, model_named, plan_for};
use graph_opt_passes::{ByteSize, Outcome, Remark, Runner, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::{self, Answer, outcome as outcome_name};
use crate::dims::Dims;
use crate::failure::Result;
use crate::progress::Progress;
use crate::report::{bars, tilings};
use crate::rewrite::{self, Source, Start};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    dims: Dims,
    /// Memory model to count by: interpreter, onnxruntime or onnxruntime-default
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = model_named)]
    runtime: Arc<dyn MemoryModel>,
}

/// One run of a pass.
struct Entry {
    pass: String,
    only: Option<String>,
    edits: Vec<Made>,
    remarks: Vec<Remark>,
    after: Figures,
    /// What its tiles need, as bars.
    tiles: Vec<String>,
}

/// An edit.
#[derive(Serialize, JsonSchema)]
pub struct Made {
    /// Its number, from 1.
    number: usize,
    /// The pass and the place.
    origin: String,
    /// The bodies around it, with `/` between them; empty in the main graph.
    #[serde(rename = "in")]
    scope: String,
    /// Number of new nodes.
    #[serde(rename = "new_nodes")]
    added: usize,
    /// Number of removed nodes.
    #[serde(rename = "removed_nodes")]
    removed: usize,
}

/// What a model takes.
#[derive(Clone, PartialEq, Serialize, JsonSchema)]
pub struct Figures {
    /// Number of nodes.
    pub nodes: usize,
    /// Multiply-accumulates of nodes of known shape.
    pub macs: u64,
    /// Number of nodes whose multiply-accumulates are unknown.
    #[serde(rename = "nodes_of_unknown_macs")]
    pub unknown_macs: usize,
    /// Elements of constants, without those of type `i64`.
    pub parameters: u64,
    /// Peak of live activations, in bytes; `null` if extents are unknown.
    #[serde(rename = "peak_activation_bytes")]
    pub peak: Option<u64>,
}

/// What each pass of a pipeline did.
#[derive(Serialize, JsonSchema)]
pub struct Explained {
    /// The model before the first pass.
    before: Figures,
    /// The runs of passes.
    passes: Vec<PassRun>,
    /// What was said between passes.
    remarks: Vec<answer::Remark>,
}

/// A run of a pass.
#[derive(Serialize, JsonSchema)]
struct PassRun {
    /// The pass with its options.
    pass: String,
    /// The pattern of the nodes that it was restricted to; `null` if it was not.
    only: Option<String>,
    /// Its edits.
    edits: Vec<Made>,
    /// Its remarks.
    remarks: Vec<answer::Remark>,
    /// The model before it.
    before: Figures,
    /// The model after it.
    after: Figures,
}

impl Made {
    /// Of an edit that was applied.
    pub fn of(e: &Applied) -> Self {
        Self {
            number: e.number,
            origin: e.origin.clone(),
            scope: e.scope.join("/"),
            added: e.nodes.len(),
            removed: e.removed.len(),
        }
    }
}

impl Figures {
    /// Of a graph, with memory by this model.
    pub fn of(graph: &Graph, model: &dyn MemoryModel) -> Self {
        let c = cost(graph);
        let peak = plan_for(graph, model).ok().map(|m| m.peak);
        Self {
            nodes: c.nodes,
            macs: c.macs,
            unknown_macs: c.unknown_macs,
            parameters: c.parameters,
            peak,
        }
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
}

pub fn main(args: &Args) -> Result<Answer> {
    let (pipeline, start) = args.source.read(&args.dims)?;
    let Start { mut graph, assumed, .. } = start;
    let figures = |graph: &Graph| {
        let sized = assumed.sized(graph, &Folder).ok();
        Figures::of(sized.as_ref().map_or(graph, |s| &s.graph), &*args.runtime)
    };
    let before = figures(&graph);
    let sized = |g: &Graph| assumed.sized(g, &Folder).ok().map(|s| s.graph.into_owned());
    let (made, entries) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
    let last = RefCell::new(graph.clone());
    let progress = Progress::new();
    let runner = Runner::default()
        .evaluator(&Folder)
        .progress(Box::new(|pass| progress.say(pass)))
        .observe(Box::new(|_, e| {
            made.borrow_mut().push(Made::of(e));
            Ok(())
        }))
        .after_pass(Box::new(|g, run| {
            let tiled = tilings(&last.borrow(), run.remarks, &sized);
            *last.borrow_mut() = g.clone();
            entries.borrow_mut().push(Entry {
                pass: run.step.to_string(),
                only: run.only.map(ToString::to_string),
                edits: made.take(),
                remarks: run.remarks.to_vec(),
                after: figures(g),
                tiles: tiled.iter().map(bars).collect(),
            });
        }));
    let case = Case {
        pipeline,
        seed: 0,
        verify_each: false,
        stop_after: None,
        verify: false,
        assumed: assumed.clone(),
    };
    let report = rewrite::run(&case, runner, &mut graph)?;
    drop(progress);
    let entries = entries.take();
    // What was said between passes, such as that no node has a name, belongs to none.
    let said: Vec<&Remark> = entries.iter().flat_map(|e| &e.remarks).collect();
    let others: Vec<&Remark> = report.remarks.iter().filter(|r| !said.contains(r)).collect();
    let text = text(&before, &entries, &others);
    let mut last = before.clone();
    let passes = entries.into_iter().map(|e| {
        let Entry { pass, only, edits, remarks, after, .. } = e;
        let remarks = remarks.iter().map(answer::Remark::of).collect();
        let before = std::mem::replace(&mut last, after.clone());
        PassRun { pass, only, edits, remarks, before, after }
    });
    let passes = passes.collect();
    let remarks = others.into_iter().map(answer::Remark::of).collect();
    Ok(Answer::new(Explained { before, passes, remarks }, text))
}

/// Most groups of tiles of a pass that are shown as bars.
const TILED: usize = 4;

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
        s.extend(e.tiles.iter().take(TILED).map(String::as_str));
        if e.tiles.len() > TILED {
            s.push_str(&format!("    and {} more groups of tiles\n", e.tiles.len() - TILED));
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
    let mut s = format!("  {} ({})\n", outcome_name(outcome), of_kind.len());
    for (message, mut nodes) in groups {
        nodes.retain(|n| !n.is_empty());
        s.push_str(&format!("    {message}\n"));
        if !nodes.is_empty() {
            s.push_str(&format!("      {}\n", nodes.join(", ")));
        }
    }
    s
}
