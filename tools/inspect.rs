//! `graph-opt inspect`

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::{Graph, ValueId};
use graph_opt_passes::analysis::{
    Cost, MemoryModel, MemoryPlan, UnknownSize, Untileable, WholeAxis, cost, model_named,
    node_macs, plan_for, uncut,
};
use graph_opt_passes::{ByteSize, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::dims::{self, Dims};
use crate::failure::{Result, name};
use crate::model;
use crate::table::{rows, scaled};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// List the nodes with their results, multiply-accumulates, and the bytes of activations that are live
    /// while each runs
    #[arg(long)]
    nodes: bool,
    /// Memory model to count by: interpreter, onnxruntime or onnxruntime-default
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = model_named)]
    runtime: Arc<dyn MemoryModel>,
    #[command(flatten)]
    dims: Dims,
}

/// What a model is and takes.
#[derive(Serialize, JsonSchema)]
pub struct Inspected {
    /// Number of nodes, those of bodies included.
    nodes: usize,
    /// Number of nodes of each operator.
    operators: BTreeMap<String, usize>,
    /// Elements of constants, without those of type `i64`.
    parameters: u64,
    /// Bytes of all constants.
    constant_bytes: u64,
    /// Multiply-accumulates of nodes of known shape.
    macs: u64,
    /// Number of nodes whose multiply-accumulates are unknown.
    nodes_of_unknown_macs: usize,
    /// Extents of symbolic dimensions that sizes and work are given for.
    assumed_extents: BTreeMap<String, u64>,
    /// Peak of live activations, in bytes; `null` if extents are unknown.
    peak_activation_bytes: Option<u64>,
    /// How the peak grows with the batch; `null` if the batch is fixed, or the peak does not grow so.
    peak_bytes_by_batch: Option<Growth>,
    /// Label of the first node at the peak.
    peak_at: Option<String>,
    /// Size of an arena that holds all buffers, in bytes.
    arena_bytes: Option<u64>,
    /// The nodes in the order of the schedule, with what is live while each runs.
    timeline: Option<Vec<Step>>,
    /// The inputs.
    inputs: Vec<ValueRow>,
    /// The outputs.
    outputs: Vec<ValueRow>,
    /// Version of ONNX's operators.
    opset: i64,
    /// Version of ONNX's format.
    ir_version: i64,
    /// Nodes that cannot be cut along any axis.
    untileable: Vec<Blocker>,
    /// Axes along which nodes cannot be cut that can be cut along others.
    whole_axes: Vec<BlockedAxis>,
}

/// Bytes as a function of the batch.
#[derive(Serialize, JsonSchema)]
struct Growth {
    /// Bytes for each element of the batch.
    per_batch: u64,
    /// Bytes beside those.
    constant: u64,
}

/// A node of the schedule.
#[derive(Serialize, JsonSchema)]
struct Step {
    /// Its label.
    name: String,
    /// Its operator.
    operator: String,
    /// Its multiply-accumulates.
    macs: u64,
    /// Bytes of activations that are live while it runs.
    live_bytes: u64,
}

/// An input or output.
#[derive(Serialize, JsonSchema)]
struct ValueRow {
    /// Its name.
    name: String,
    /// Its type, such as `f32[1,3,h,w]`.
    r#type: String,
}

/// A node that cannot be cut.
#[derive(Serialize, JsonSchema)]
struct Blocker {
    /// Its label.
    name: String,
    /// Its operator.
    operator: String,
    /// Why it cannot be cut.
    reason: String,
}

/// An axis of a node's first result that cannot be cut.
#[derive(Serialize, JsonSchema)]
struct BlockedAxis {
    /// Label of the node.
    name: String,
    /// Its operator.
    operator: String,
    /// The axis, counted from 0.
    axis: usize,
    /// Number of elements along it.
    extent: u64,
    /// Why it cannot be cut.
    reason: String,
}

pub fn main(args: &Args) -> Result<Answer> {
    let graph = model::load(&args.model)?;
    let sized = args.dims.sized(&graph)?;
    let growth = dims::growth(&sized, &graph, &*args.runtime);
    let assumed = sized.text();
    // The same nodes and values, with more extents known.
    let known = &*sized.graph;
    let c = cost(known);
    let memory = plan_for(known, &*args.runtime);
    let (blocked, whole) = uncut(known);
    let text = Shown { graph: &graph, known, args, assumed: &assumed, growth }.text(
        &c,
        memory.as_ref(),
        &blocked,
        &whole,
    );
    let memory = memory.ok();
    let at = memory.as_ref().and_then(|m| m.steps.get(m.at).copied());
    let label = |n| graph.label(n).to_owned();
    let values = |ids: &[ValueId]| -> Vec<ValueRow> {
        let one = |&v| {
            let v = graph.value(v);
            ValueRow { name: v.name.to_string(), r#type: v.ty.to_string() }
        };
        ids.iter().map(one).collect()
    };
    let operator = |n| graph.node(n).op.name().to_owned();
    let steps = |m: &MemoryPlan| -> Vec<Step> {
        let one = |(&n, &live_bytes)| Step {
            name: label(n),
            operator: operator(n),
            macs: node_macs(known, n).unwrap_or(0),
            live_bytes,
        };
        m.steps.iter().zip(&m.timeline).map(one).collect()
    };
    let blocker = |u: &Untileable| Blocker {
        name: label(u.node),
        operator: operator(u.node),
        reason: u.reason.clone(),
    };
    let blocked_axis = |w: &WholeAxis| BlockedAxis {
        name: label(w.node),
        operator: operator(w.node),
        axis: w.axis,
        extent: w.extent,
        reason: w.reason.clone(),
    };
    let result = Inspected {
        nodes: c.nodes,
        operators: c.operators.clone(),
        parameters: c.parameters,
        constant_bytes: c.constant_bytes,
        macs: c.macs,
        nodes_of_unknown_macs: c.unknown_macs,
        assumed_extents: sized.extents.iter().cloned().collect(),
        peak_activation_bytes: memory.as_ref().map(|m| m.peak),
        peak_bytes_by_batch: growth.map(|(per_batch, constant)| Growth { per_batch, constant }),
        peak_at: at.map(label),
        arena_bytes: memory.as_ref().map(|m| m.arena),
        timeline: memory.as_ref().map(steps),
        inputs: values(graph.inputs()),
        outputs: values(graph.outputs()),
        opset: graph.opset(),
        ir_version: graph.ir_version,
        untileable: blocked.iter().map(blocker).collect(),
        whole_axes: whole.iter().map(blocked_axis).collect(),
    };
    Ok(Answer::new(result, text))
}

/// What is shown to people.
struct Shown<'a> {
    graph: &'a Graph,
    /// The graph with assumed extents.
    known: &'a Graph,
    args: &'a Args,
    assumed: &'a str,
    growth: Option<(u64, u64)>,
}

/// Nodes of one reason that are named.
const NAMED: usize = 3;
/// Columns of the chart of live bytes.
const COLUMNS: usize = 60;

impl Shown<'_> {
    fn text(
        &self,
        c: &Cost,
        memory: std::result::Result<&MemoryPlan, &UnknownSize>,
        blocked: &[Untileable],
        whole: &[WholeAxis],
    ) -> String {
        let Self { graph, known, args, assumed, growth } = self;
        let mut s = String::new();
        let mut line = |k: &str, v: String| {
            s.push_str(&format!("{k:<18}{v}"));
            s.truncate(s.trim_end().len());
            s.push('\n');
        };
        for (what, values) in [("input", graph.inputs()), ("output", graph.outputs())] {
            for &v in values {
                let v = graph.value(v);
                line(what, format!("{}: {}", name(&v.name), v.ty));
            }
        }
        line("opset", graph.opset().to_string());
        let mut ops: Vec<(&String, &usize)> = c.operators.iter().collect();
        ops.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let ops: Vec<String> = ops.into_iter().map(|(n, k)| format!("{k} {n}")).collect();
        for (i, row) in wrapped(&ops, 60).into_iter().enumerate() {
            match i {
                0 => line("nodes", format!("{}: {row}", c.nodes)),
                _ => line("", row),
            }
        }
        let unknown = match c.unknown_macs {
            0 => String::new(),
            n => format!(", and {} of unknown shape", count(n, "node")),
        };
        let of = if assumed.is_empty() { String::new() } else { format!(" for {assumed}") };
        line("MACs", format!("{}{of}{unknown}", scaled(c.macs)));
        line("parameters", format!("{} ({})", scaled(c.parameters), ByteSize(c.constant_bytes)));
        match memory {
            Ok(m) => {
                let at = m.steps.get(m.at).map(|&n| format!(" at {}", graph.label(n)));
                let peak = match growth {
                    Some(_) => dims::peak_text(m.peak, *growth),
                    None => format!("{}{of}", ByteSize(m.peak)),
                };
                line("peak activations", format!("{peak}{}", at.unwrap_or_default()));
                line("arena", ByteSize(m.arena).to_string());
                line("live bytes", sparkline(&m.timeline, COLUMNS));
            }
            Err(why) => {
                let hint = dims::unknown(known);
                let UnknownSize { name, ty, .. } = why;
                line("peak activations", format!("unknown: {name:?} is {ty}; {hint}"));
            }
        }
        if blocked.is_empty() {
            line("not tileable", "nothing".into());
        }
        let of = |n, reason| (graph.node(n).op.name(), reason, graph.label(n));
        let nodes = blocked.iter().map(|u| of(u.node, u.reason.clone()));
        let axes = whole.iter().map(|w| of(w.node, format!("axis {}: {}", w.axis, w.reason)));
        for (key, rows) in [("not tileable", grouped(nodes)), ("whole axes", grouped(axes))] {
            for (i, (what, nodes)) in rows.into_iter().enumerate() {
                line(if i == 0 { key } else { "" }, what);
                line("", format!("  {nodes}"));
            }
        }
        if let (true, Ok(m)) = (args.nodes, memory) {
            let mut t = rows(&["node", "operator", "result", "MACs", "live"]);
            for (&n, &bytes) in m.steps.iter().zip(&m.timeline) {
                let node = known.node(n);
                let made = node.outputs.iter().flatten().next();
                t.add_row([
                    graph.label(n).to_owned(),
                    node.op.name().to_owned(),
                    made.map(|&v| known.value(v).ty.to_string()).unwrap_or_default(),
                    scaled(node_macs(known, n).unwrap_or(0)),
                    ByteSize(bytes).to_string(),
                ]);
            }
            s.push_str(&format!("\n{t}\n"));
        }
        s
    }
}

/// Operators with the same reason: how many there are of each, and the first of them.
fn grouped<'a>(all: impl Iterator<Item = (&'a str, String, &'a str)>) -> Vec<(String, String)> {
    let mut reasons: BTreeMap<(&str, String), Vec<&str>> = BTreeMap::new();
    for (op, reason, label) in all {
        reasons.entry((op, reason)).or_default().push(label);
    }
    let row = |((op, reason), nodes): ((&str, String), Vec<&str>)| {
        let more = if nodes.len() > NAMED { ", …" } else { "" };
        let some = nodes[..nodes.len().min(NAMED)].join(", ");
        (format!("{} {op}: {reason}", nodes.len()), format!("{some}{more}"))
    };
    reasons.into_iter().map(row).collect()
}

/// The words in rows of at most this many characters.
fn wrapped(words: &[String], width: usize) -> Vec<String> {
    let mut rows: Vec<String> = vec![String::new()];
    for (i, word) in words.iter().enumerate() {
        let comma = if i + 1 < words.len() { "," } else { "" };
        let last = rows.len() - 1;
        if !rows[last].is_empty() && rows[last].len() + 1 + word.len() + comma.len() > width {
            rows.push(String::new());
        }
        let last = rows.len() - 1;
        let space = if rows[last].is_empty() { "" } else { " " };
        rows[last].push_str(&format!("{space}{word}{comma}"));
    }
    rows
}

/// A chart of these figures over at most so many columns, each the largest of its steps.
fn sparkline(all: &[u64], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = all.iter().copied().max().unwrap_or(0).max(1);
    let n = all.len().min(columns);
    let column = |i: usize| {
        let steps = &all[i * all.len() / n..(i + 1) * all.len() / n];
        let x = steps.iter().copied().max().unwrap_or(0);
        BARS[((x as f64 / most as f64) * 7.0).round() as usize]
    };
    (0..n).map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_show_the_peak_of_each_column() {
        assert_eq!(sparkline(&[0, 7, 3], 60), "▁█▄");
        assert_eq!(sparkline(&[0, 0, 7, 0, 1, 0], 3), "▁█▂");
        assert_eq!(sparkline(&[], 3), "");
    }

    #[test]
    fn rows_are_as_long_as_they_may_be() {
        let words: Vec<String> = ["aa", "bb", "cc"].map(String::from).to_vec();
        assert_eq!(wrapped(&words, 7), ["aa, bb,", "cc"]);
        assert_eq!(wrapped(&[], 7), [""]);
    }
}
