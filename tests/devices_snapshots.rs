//! Snapshots of plans over devices, of the graph with Transfers, and of manifests, in `snapshots/`.

use std::fmt::Write;

use graph_opt_backends::zoo;
use graph_opt_ir::Graph;
use graph_opt_ir::text::{parse, print};
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::files::{Manifest, PlanFile, ReceiveRow};
use graph_opt_passes::devices::graph::PlanRequest;
use graph_opt_passes::devices::{Limits, Objective};

use crate::devices::{manifest, plan_of};
use crate::support::{optimise, snapshots};

/// A camera, a box with two modes and a server.
const CLUSTER: &str = r#"
    source = "camera"
    [[device]]
    name = "camera"
    memory = "4MiB"
    macs-per-second = 2e8
    per-node = "20us"
    watts = 4
    [[device]]
    name = "box"
    memory = "16MiB"
    macs-per-second = 1e9
    mode = [{ name = "fast", speed = 1, watts = 10 }, { name = "slow", speed = 0.5, watts = 4 }]
    [[device]]
    name = "server"
    memory = "64MiB"
    macs-per-second = 4e9
    watts = 60
    [default-link]
    bandwidth = "100Mbit/s"
    latency = "1ms"
    watts = 1.2
"#;

/// A residual block: the skip crosses two convolutions.
const SMALL: &str = "graph @small(%x: f32[1,3,32,32]) -> (%y) opset 13 {
  %w1 = const random(1)                : f32[16,3,3,3]
  %w2 = const random(2)                : f32[16,16,3,3]
  %w3 = const random(3)                : f32[16,16,3,3]
  %a = Conv %x, %w1 {pads=[1,1,1,1]}   : f32[1,16,32,32] ; stem
  %b = Relu %a                         : f32[1,16,32,32] ; relu
  %c = Conv %b, %w2 {pads=[1,1,1,1]}   : f32[1,16,32,32] ; first
  %d = Conv %c, %w3 {pads=[1,1,1,1]}   : f32[1,16,32,32] ; second
  %e = Add %b, %d                      : f32[1,16,32,32] ; skip
  %y = GlobalAveragePool %e            : f32[1,16,1,1]   ; pool
}";

#[test]
fn a_small_network_over_devices() {
    let g = parse(SMALL).unwrap();
    let limits = Limits { run: Some(2), ..Limits::default() };
    snapshot("devices_small", &g, limits, "a residual block, two nodes a stage,");
}

#[test]
fn a_zoo_network_over_devices() {
    let g = zoo::build("squeezenet@64x64").unwrap();
    snapshot("devices_squeezenet", &g, Limits::default(), "squeezenet@64x64");
}

/// The plan for throughput, the graph as `split-devices` makes it, and the manifest.
fn snapshot(name: &str, g: &Graph, limits: Limits, what: &str) {
    let request = PlanRequest { objective: Objective::Interval, limits, ..PlanRequest::default() };
    let plan = plan_of(g, &Cluster::parse(CLUSTER).unwrap(), &request, false);
    assert!(plan.stages.len() > 1 && plan.rewrite.is_empty());
    let text = format!(
        "{}\n{}\n{}",
        plan_text(&plan),
        transfers(g, &plan),
        manifest_text(&manifest(g, g, plan.clone()).0)
    );
    snapshots(format!("{what} over three devices, for throughput"))
        .bind(|| insta::assert_snapshot!(name, text));
}

fn plan_text(p: &PlanFile) -> String {
    let ms = |s: f64| format!("{:.3} ms", s * 1e3);
    let proof = if p.proved { "optimal" } else { "not proved" };
    let mut text = format!(
        "{} {} (lower bound {}, {proof}), latency {}, {:.4} J a frame\n",
        p.objective,
        ms(p.value),
        ms(p.bound),
        ms(p.latency_s),
        p.energy_j
    );
    let receive = |text: &mut String, r: &ReceiveRow| {
        let from = r.from.map_or("the source".into(), |f| format!("stage {f}"));
        let over = r.over.as_deref().unwrap_or("no link");
        let (values, seconds) = (r.values.join(", "), ms(r.seconds));
        writeln!(text, "  from {from}: {values} ({} B over {over}, {seconds})", r.bytes).unwrap();
    };
    for (i, s) in p.stages.iter().enumerate() {
        let (first, last) = (&s.nodes[0], &s.nodes[s.nodes.len() - 1]);
        writeln!(
            text,
            "stage {i} on {} ({}): {first} to {last}, {} nodes, {}, {:.4} J, {} B",
            s.device,
            s.mode,
            s.nodes.len(),
            ms(s.compute_s),
            s.compute_j,
            s.memory_bytes
        )
        .unwrap();
        s.receives.iter().for_each(|r| receive(&mut text, r));
    }
    text.push_str("the sink\n");
    p.outputs.iter().for_each(|r| receive(&mut text, r));
    text
}

/// The Transfers of the graph in stages, and the nodes that read them.
fn transfers(g: &Graph, p: &PlanFile) -> String {
    let stages: Vec<String> =
        p.stages.iter().map(|s| format!("{}:{}", s.nodes[0], s.device)).collect();
    let (split, _) = optimise(g, &format!("split-devices{{stages=[{}]}}", stages.join(",")));
    let text = print(&split);
    let crossing = text.lines().filter(|l| l.contains("/to/"));
    crossing.map(|l| format!("{}\n", l.trim())).collect()
}

fn manifest_text(m: &Manifest) -> String {
    let mut text = format!("manifest of {} to {}\n", m.inputs.join(", "), m.outputs.join(", "));
    for s in &m.stages {
        let (inputs, outputs) = (s.inputs.join(", "), s.outputs.join(", "));
        writeln!(text, "{}: {inputs} to {outputs}", s.file).unwrap();
    }
    text
}
