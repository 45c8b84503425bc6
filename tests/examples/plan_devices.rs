//! A network over several devices, from Rust: which device runs what, with a proven bound, and the parts as graphs.
//!
//!     cargo run --example plan_devices
//!
//! See docs/devices.md for clusters and objectives.
#![allow(clippy::print_stdout)] // An example.

use std::error::Error;

use graph_opt_backends::zoo;
use graph_opt_passes::ByteSize;
use graph_opt_passes::analysis;
use graph_opt_passes::devices::cluster::Cluster;
use graph_opt_passes::devices::files::PlanFile;
use graph_opt_passes::devices::graph::{Network, PlanRequest, choose_plan};
use graph_opt_passes::devices::{Effort, Objective};

/// Three devices, of which none holds ResNet-18, with its 45 MiB of weights, alone.
const CLUSTER: &str = r#"
    source = "camera"

    [[device]]
    name = "camera"
    memory = "16MiB"
    macs-per-second = 1.5e9

    [[device]]
    name = "box"
    memory = "24MiB"
    macs-per-second = 4e9

    [[device]]
    name = "server"
    memory = "40MiB"
    macs-per-second = 2e10

    [default-link]
    bandwidth = "100Mbit/s"
    latency = "1ms"
"#;

/// Plans for two objectives.
///
/// # Errors
/// If it does not work.
pub fn main() -> Result<(), Box<dyn Error>> {
    let graph = zoo::build("resnet18")?;
    let cluster = Cluster::parse(CLUSTER)?;
    // The graph as a chain of units, between which it can be cut. Without profiles, times follow from the work.
    let network = Network::of(&graph)?;
    let profiles = vec![None; cluster.devices.len()];
    let plan = |objective| -> Result<PlanFile, Box<dyn Error>> {
        let request = PlanRequest { objective, ..PlanRequest::default() };
        let effort = Effort::default();
        Ok(choose_plan(&graph, &network, &cluster, &profiles, &request, false, &effort)?)
    };

    let (soonest, fastest) = (plan(Objective::Latency)?, plan(Objective::Interval)?);
    for p in [&soonest, &fastest] {
        let (latency, interval) = (p.latency_s * 1e3, p.interval_s * 1e3);
        println!("{}: {latency:.1} ms a frame, one every {interval:.1} ms", p.objective);
        println!("  at most {:.1} % above the lower bound of all plans", 100.0 * p.gap);
        for s in &p.stages {
            println!("  {:<8}{:>3} nodes, {}", s.device, s.nodes.len(), ByteSize(s.memory_bytes));
        }
    }
    // Each is best at what it was asked for, and both are known to be optimal.
    assert!(soonest.latency_s <= fastest.latency_s && fastest.interval_s <= soonest.interval_s);
    assert!(soonest.proved && fastest.proved && soonest.stages.len() > 1);
    for stage in soonest.stages.iter().chain(&fastest.stages) {
        let device = cluster.devices.iter().find(|d| d.name == stage.device);
        let device = device.ok_or("a device of the plan is unknown")?;
        assert!(stage.memory_bytes <= device.memory, "{} holds too much", device.name);
    }

    // The parts as graphs, which together have all nodes once.
    let nodes = analysis::plan(&graph)?.steps;
    let split = fastest.split(&graph, &nodes)?;
    let parts = (0..split.parts.len()).map(|i| split.graph(&graph, i));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), graph.len());
    Ok(())
}
