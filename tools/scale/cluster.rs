//! Variants for a cluster: what a network takes as stages on its devices.

use std::path::{Path, PathBuf};

use graph_opt_ir::names::NodeNames;
use graph_opt_ir::{Graph, NodeId};
use graph_opt_passes::analysis::node_macs;
use graph_opt_passes::devices::cluster::{Cluster, Profile};
use graph_opt_passes::devices::files::PlanFile;
use graph_opt_passes::devices::graph::{Network, PlanRequest, PlanningError, choose_plan};
use graph_opt_passes::devices::{Effort, Limits, NoPlan, Objective};

use crate::failure::{Result, usage};
use crate::input;

/// The devices on which networks run as stages, and what they may take there.
pub struct Devices<'a> {
    cluster: Cluster,
    profiles: Vec<Option<Profile>>,
    request: PlanRequest,
    /// The model as it is, whose nodes the profiles time.
    model: &'a Graph,
}

impl<'a> Devices<'a> {
    /// Reads a cluster's file and the profiles beside it. Profiles time the nodes of `model`.
    pub fn read(file: &Path, limits: Limits, model: &'a Graph) -> Result<Self> {
        let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", file.display()));
        let text = input::text(file)?;
        let cluster = Cluster::parse(&text).map_err(|e| at(&e))?;
        let profiles = crate::plan::profiles(&cluster, file, model)?;
        // Of several limits, the plan is best in the first, and keeps the others.
        let objective = match &limits {
            l if l.latency.is_some() => Objective::Latency,
            l if l.interval.is_some() => Objective::Interval,
            l if l.energy.is_some() => Objective::Energy,
            _ => Objective::Memory,
        };
        let request = PlanRequest { objective, limits, ..PlanRequest::default() };
        Ok(Self { cluster, profiles, request, model })
    }

    /// The best plan of a network of known extents that keeps the limits; why there is none otherwise.
    pub fn plan(&self, graph: &Graph) -> Result<std::result::Result<PlanFile, String>> {
        let network = Network::of(graph).map_err(usage)?;
        let labels: Vec<&str> = network.nodes.iter().map(|&n| graph.label(n)).collect();
        let scaled = |p: &Option<Profile>| p.as_ref().map(|p| scaled(p, self.model, graph));
        let profiles: Vec<Option<Profile>> = self.profiles.iter().map(scaled).collect();
        let (cluster, request, effort) = (&self.cluster, &self.request, Effort::default());
        match choose_plan(graph, &network, cluster, &profiles, request, false, &effort) {
            Ok(plan) => Ok(Ok(plan)),
            Err(PlanningError::NoPlan(e @ (NoPlan::Infeasible(_) | NoPlan::NotFound(_)))) => {
                Ok(Err(e.describe(&|u| labels[u].to_owned()).replace('\n', "; ")))
            }
            Err(e) => Err(usage(e)),
        }
    }
}

/// The times of a profile for a network with smaller blocks: in proportion to the multiply-accumulates of each
/// node, or to the elements that it gives. Times of stretches hold no more.
fn scaled(profile: &Profile, model: &Graph, smaller: &Graph) -> Profile {
    let work = |g: &Graph, n: NodeId| -> Option<f64> {
        let given = || g.value(g.node(n).outputs.first().copied()??).ty.elements();
        node_macs(g, n).or_else(given).map(|w| w as f64)
    };
    let mut scaled = Profile { stretches: Vec::new(), ..profile.clone() };
    let (old, new) = (NodeNames::of_graph(model), NodeNames::of_graph(smaller));
    for time in &mut scaled.nodes {
        let of = |g: &Graph, names: &NodeNames| work(g, names.node(&time.name).ok()?);
        if let (Some(before), Some(now)) = (of(model, &old), of(smaller, &new))
            && before > 0.0
        {
            let share = now / before;
            time.seconds *= share;
            time.spread *= share;
            time.joules = time.joules.map(|j| j * share);
        }
    }
    scaled
}

/// Options that place the network on a cluster.
#[derive(clap::Args)]
pub struct OnCluster {
    /// Run the network as stages on the devices of this file: --latency, --interval, --energy and the devices'
    /// memory are then those of the best plan
    #[arg(long, value_name = "FILE.toml")]
    pub cluster: Option<PathBuf>,
    /// Longest time between frames on the cluster, such as 40ms
    #[arg(long, value_name = "TIME", requires = "cluster")]
    #[arg(value_parser = graph_opt_passes::devices::cluster::seconds)]
    pub interval: Option<f64>,
    /// Most energy a frame on the cluster, in J
    #[arg(long, value_name = "J", requires = "cluster")]
    pub energy: Option<f64>,
}
