//! `graph-opt inspect`

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::ValueId;
use graph_opt_passes::ByteSize;
use graph_opt_passes::analysis::{
    MemoryModel, MemoryPlan, Untileable, cost, model_named, node_macs, plan_for, untileable,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::Result;
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// List the nodes with their multiply-accumulates and the bytes of activations that are live
    /// while each runs
    #[arg(long)]
    nodes: bool,
    /// Memory model to count by: interpreter, onnxruntime or onnxruntime-default
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = model_named)]
    runtime: Arc<dyn MemoryModel>,
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
    /// Peak of live activations, in bytes; `null` if extents are unknown.
    peak_activation_bytes: Option<u64>,
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
    /// Nodes that prevent tiling.
    untileable: Vec<Blocker>,
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

/// A node that prevents tiling.
#[derive(Serialize, JsonSchema)]
struct Blocker {
    /// Its label.
    name: String,
    /// Its operator.
    operator: String,
    /// Why it cannot be cut.
    reason: String,
}

pub fn main(args: &Args) -> Result<Answer> {
    let graph = model::load(&args.model)?;
    let c = cost(&graph);
    let memory = plan_for(&graph, &*args.runtime).ok();
    let at = memory.as_ref().and_then(|m| m.steps.get(m.at).copied());
    let blocked = untileable(&graph);
    let label = |n| graph.label(n).to_owned();
    let mut s = String::new();
    let mut line = |k: &str, v: String| s.push_str(&format!("{k:<18}{v}\n"));
    for &v in graph.inputs() {
        line("input", format!("{}: {}", graph.value(v).name, graph.value(v).ty));
    }
    for &v in graph.outputs() {
        line("output", format!("{}: {}", graph.value(v).name, graph.value(v).ty));
    }
    line("opset", graph.opset().to_string());
    line("nodes", c.nodes.to_string());
    let ops: Vec<String> = c.operators.iter().map(|(n, k)| format!("{n} {k}")).collect();
    line("operators", ops.join(", "));
    line("MACs", c.macs.to_string());
    if c.unknown_macs > 0 {
        line("", format!("and {} nodes of unknown shape", c.unknown_macs));
    }
    line("parameters", format!("{} ({})", c.parameters, ByteSize(c.constant_bytes)));
    match &memory {
        Some(m) => {
            let at = at.map(|n| format!(" at {}", label(n))).unwrap_or_default();
            line("peak activations", format!("{}{at}", ByteSize(m.peak)));
            line("arena", ByteSize(m.arena).to_string());
        }
        None => line("peak activations", "unknown: some extents are symbolic".into()),
    }
    line("not tileable", if blocked.is_empty() { "nothing".into() } else { String::new() });
    for u in &blocked {
        line("", format!("{} ({}): {}", label(u.node), graph.node(u.node).op.name(), u.reason));
    }
    if let (true, Some(m)) = (args.nodes, &memory) {
        for (&n, &bytes) in m.steps.iter().zip(&m.timeline) {
            let macs = node_macs(&graph, n).unwrap_or(0);
            let op = graph.node(n).op.name();
            line(
                &ByteSize(bytes).to_string(),
                format!("{:<40} {op:<20} {macs:>14} MACs", label(n)),
            );
        }
    }
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
            macs: node_macs(&graph, n).unwrap_or(0),
            live_bytes,
        };
        m.steps.iter().zip(&m.timeline).map(one).collect()
    };
    let blocker = |u: &Untileable| Blocker {
        name: label(u.node),
        operator: operator(u.node),
        reason: u.reason.clone(),
    };
    let result = Inspected {
        nodes: c.nodes,
        operators: c.operators.clone(),
        parameters: c.parameters,
        constant_bytes: c.constant_bytes,
        macs: c.macs,
        nodes_of_unknown_macs: c.unknown_macs,
        peak_activation_bytes: memory.as_ref().map(|m| m.peak),
        peak_at: at.map(label),
        arena_bytes: memory.as_ref().map(|m| m.arena),
        timeline: memory.as_ref().map(steps),
        inputs: values(graph.inputs()),
        outputs: values(graph.outputs()),
        opset: graph.opset(),
        ir_version: graph.ir_version,
        untileable: blocked.iter().map(blocker).collect(),
    };
    Ok(Answer::new(result, s))
}
