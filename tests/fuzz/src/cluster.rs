//! Bytes as a `cluster.toml`, or as positions of wireless nodes.

use std::fmt::Write;
use std::sync::OnceLock;

use graph_opt_ir::{Graph, text};
use graph_opt_passes::devices::cluster::{Cluster, DeviceSpec, Speed, cluster_at};
use graph_opt_passes::devices::files::Timeline;
use graph_opt_passes::devices::graph::{
    Network, PlanRequest, PlanningError, ProfiledCosts, pipeline,
};
use graph_opt_passes::devices::{Choice, Effort, NoPlan, Objective};

/// Most devices and modes of clusters that are planned for.
const DEVICES: usize = 4;
/// Search effort of a plan.
const EFFORT: Effort = Effort { labels: 2_000, nodes: 2_000 };

/// Reads the text as a cluster. One that is accepted is read back from its parts as text; plans over it for
/// a small network keep the rules, for every objective, and are planned by their files. Positions that are
/// accepted make such a text.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(made) = cluster_at(text, "1MiB", 1e9) {
        Cluster::parse(&made).unwrap_or_else(|e| panic!("{e}\n{made}"));
    }
    let Ok(cluster) = Cluster::parse(text) else { return };
    let again = written(&cluster);
    assert_eq!(Cluster::parse(&again).as_ref(), Ok(&cluster), "{again}");
    let modes = cluster.devices.iter().map(|d| d.modes.len()).max().unwrap_or(0);
    if cluster.devices.len() <= DEVICES && modes <= DEVICES {
        Objective::ALL.iter().for_each(|o| plan(&cluster, *o));
    }
}

/// The small network that is planned for, as a graph and as a chain.
pub fn chain() -> &'static (Graph, Network) {
    static CHAIN: OnceLock<(Graph, Network)> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let graph = text::parse(include_str!("graphs/chain.gir")).expect("it is ours");
        let network = Network::of(&graph).expect("its shapes are known");
        (graph, network)
    })
}

fn plan(cluster: &Cluster, objective: Objective) {
    let (graph, network) = chain();
    let Ok(costs) = ProfiledCosts::new(graph, network, cluster, &[]) else { return };
    let request = PlanRequest { objective, ..PlanRequest::default() };
    let (plan, file) = match pipeline(graph, network, cluster, &costs, &request, &EFFORT) {
        Ok(found) => found,
        Err(PlanningError::NoPlan(NoPlan::Violation(_) | NoPlan::Solver(_)))
        | Err(PlanningError::Split(_) | PlanningError::File(_) | PlanningError::Rewriting(_)) => {
            panic!("{objective:?}: planning broke a rule over {cluster:?}")
        }
        Err(_) => return,
    };
    let problem = network.problem(graph, cluster, &costs, &request);
    let choice = |s: &graph_opt_passes::devices::Stage| Choice {
        units: s.units.clone(),
        device: s.device,
        mode: s.mode,
    };
    let choices: Vec<Choice> = plan.stages.iter().map(choice).collect();
    let judged = problem.judge(&choices).unwrap_or_else(|e| panic!("{e}\n{cluster:?}\n{plan:?}"));
    assert!(plan.bound <= plan.value, "{plan:?}");
    assert!(judged.value <= plan.value, "{judged:?}\n{plan:?}");
    file.split(graph, &network.nodes).unwrap_or_else(|e| panic!("{e}\n{file:?}"));
    let _ = Timeline::of(&file, 3);
}

/// The cluster as text, all that it says written out.
fn written(c: &Cluster) -> String {
    let mut text = String::new();
    let quoted = |s: &str| serde_json::Value::from(s).to_string();
    let named = |at: Option<usize>| at.map(|d| quoted(&c.devices[d].name));
    for (key, device) in [("source", c.source), ("sink", c.sink)] {
        named(device).iter().for_each(|d| _ = writeln!(text, "{key} = {d}"));
    }
    for d in &c.devices {
        device(&mut text, d, &quoted);
    }
    let n = c.devices.len();
    for (i, link) in c.links.iter().enumerate() {
        // Links are the same in both directions.
        let (Some(link), true) = (link, i / n <= i % n) else { continue };
        let ends = [i / n, i % n].map(|d| quoted(&c.devices[d].name)).join(", ");
        let (bandwidth, latency, watts) = (link.bandwidth, link.latency, link.watts);
        _ = writeln!(text, "[[link]]\nbetween = [{ends}]\nbandwidth = \"{bandwidth}bit/s\"");
        _ = writeln!(text, "latency = \"{latency}s\"\nwatts = {watts:?}");
        c.media[i].iter().for_each(|m| _ = writeln!(text, "medium = {}", quoted(m)));
    }
    text
}

fn device(text: &mut String, d: &DeviceSpec, quoted: &dyn Fn(&str) -> String) {
    let (name, memory) = (quoted(&d.name), d.memory);
    _ = writeln!(text, "[[device]]\nname = {name}\nmemory = \"{memory}\"");
    _ = match &d.speed {
        Speed::Macs { per_second, per_node } => {
            writeln!(text, "macs-per-second = {per_second:?}\nper-node = \"{per_node}s\"")
        }
        Speed::Profile(file) => writeln!(text, "profile = {}", quoted(file)),
    };
    for m in &d.modes {
        let (name, speed, watts) = (quoted(&m.name), m.speed, m.watts);
        _ = writeln!(text, "[[device.mode]]\nname = {name}\nspeed = {speed:?}\nwatts = {watts:?}");
    }
}
