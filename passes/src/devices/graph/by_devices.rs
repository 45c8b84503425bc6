//! What more devices bring: the best plan on 1, 2, … devices, and the cost of a second one.

use graph_opt_ir::Graph;

use super::chain::Network;
use super::error::PlanningError;
use super::pipeline::{PlanRequest, pipeline};
use crate::devices::cluster::Cluster;
use crate::devices::files::{DeviceCount, PlanFile, SecondDevice};
use crate::devices::problem::{Choice, Costs, Limits, Objective};
use crate::devices::{Effort, NoPlan};

/// Most devices of a table.
const MOST_DEVICES: usize = 8;

/// The best plan on at most 1, 2, … devices, as far as each device more helps. On one device it is
/// the best for the objective; on several for the interval, as a frame alone gains nothing from
/// more devices; unless the objective is memory.
///
/// # Errors
/// Those of [`pipeline()`] other than that there is no plan on so many devices.
pub fn by_devices(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    costs: &dyn Costs,
    request: &PlanRequest,
    effort: &Effort,
) -> Result<Vec<DeviceCount>, PlanningError> {
    let mut rows: Vec<DeviceCount> = Vec::new();
    let most = request.limits.stages.unwrap_or(MOST_DEVICES).min(MOST_DEVICES);
    for devices in 1..=cluster.devices.len().min(most) {
        let objective = match request.objective {
            Objective::Latency | Objective::Energy if devices > 1 => Objective::Interval,
            objective => objective,
        };
        let limits = Limits { stages: Some(devices), ..request.limits.clone() };
        let request = PlanRequest { objective, limits, reuse: false, ..request.clone() };
        match pipeline(graph, network, cluster, costs, &request, effort) {
            Ok((_, plan)) if plan.stages.len() < devices => break,
            Ok((_, plan)) => rows.push(DeviceCount::of(&plan)),
            Err(PlanningError::NoPlan(NoPlan::Infeasible(_) | NoPlan::NotFound(_))) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(rows)
}

/// Most pairs of stages that are compared.
const MOST_PAIRS: usize = 200_000;

/// The best plan with stages on two devices, where the plan has one stage; `None` if there is no
/// such plan, or there are too many to compare.
pub fn on_two_devices(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    costs: &dyn Costs,
    request: &PlanRequest,
    plan: &PlanFile,
) -> Option<SecondDevice> {
    let [stage] = &plan.stages[..] else { return None };
    let (n, devices) = (network.nodes.len(), cluster.devices.len());
    let problem = network.problem(graph, cluster, costs, request);
    let at = cluster.devices.iter().position(|d| d.name == stage.device)?;
    let mode = |d: usize| {
        let modes = &cluster.devices[d].modes;
        let speed = |m: &usize| modes[*m].speed;
        (0..modes.len()).max_by(|a, b| speed(a).total_cmp(&speed(b))).unwrap_or(0)
    };
    if n * devices * 2 > MOST_PAIRS {
        return None;
    }
    let others = (0..devices).filter(|&d| d != at);
    let pairs = others.flat_map(|d| [(at, d), (d, at)]);
    let both = pairs.flat_map(|pair| (1..n).map(move |cut| (cut, pair)));
    let judged = both.filter_map(|(cut, (a, b))| {
        let part = |units, device| Choice { units, device, mode: mode(device) };
        let found = problem.judge(&[part(0..cut, a), part(cut..n, b)]).ok()?;
        Some(SecondDevice { value: found.value, receives_bytes: network.cuts[cut] })
    });
    judged.min_by(|a, b| a.value.total_cmp(&b.value))
}
