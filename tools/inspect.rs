//! `graph-opt inspect`

use std::sync::Arc;

use graph_opt_passes::ByteSize;
use graph_opt_passes::analysis::{MemoryModel, cost, model_named, node_macs, plan_for, untileable};

use crate::failure::{Result, out};
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// List the nodes with their multiply-accumulates and the bytes of activations that are live
    /// while each runs
    #[arg(long)]
    nodes: bool,
    /// Memory model to count by: interpreter, onnxruntime or onnxruntime-default
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = model_named)]
    runtime: Arc<dyn MemoryModel>,
}

pub fn main(args: &Args) -> Result {
    let graph = model::load(&args.model)?;
    let c = cost(&graph);
    let memory = plan_for(&graph, &*args.runtime).ok();
    let at = memory.as_ref().and_then(|m| m.steps.get(m.at).copied());
    let blocked = untileable(&graph);
    let label = |n| graph.label(n).to_owned();
    if args.json {
        let values = |ids: &[graph_opt_ir::ValueId]| -> Vec<_> {
            let one = |&v| {
                let v = graph.value(v);
                serde_json::json!({ "name": &*v.name, "type": v.ty.to_string() })
            };
            ids.iter().map(one).collect()
        };
        let json = serde_json::json!({
            "nodes": c.nodes,
            "operators": c.operators,
            "parameters": c.parameters,
            "constant_bytes": c.constant_bytes,
            "macs": c.macs,
            "nodes_of_unknown_macs": c.unknown_macs,
            "peak_activation_bytes": memory.as_ref().map(|m| m.peak),
            "peak_at": at.map(label),
            "arena_bytes": memory.as_ref().map(|m| m.arena),
            "timeline": memory.as_ref().map(|m| {
                let steps = m.steps.iter().zip(&m.timeline);
                let one = |(&n, &bytes): (&_, &u64)| serde_json::json!({
                    "name": label(n), "operator": graph.node(n).op.name(),
                    "macs": node_macs(&graph, n).unwrap_or(0), "live_bytes": bytes,
                });
                steps.map(one).collect::<Vec<_>>()
            }),
            "inputs": values(graph.inputs()),
            "outputs": values(graph.outputs()),
            "opset": graph.opset(),
            "ir_version": graph.ir_version,
            "untileable": blocked.iter().map(|u| serde_json::json!({
                "name": label(u.node), "operator": graph.node(u.node).op.name(), "reason": u.reason,
            })).collect::<Vec<_>>(),
        });
        return out(format!("{json:#}\n"));
    }
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
    out(s)
}
