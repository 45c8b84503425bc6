//! The least memory of every device at which a network can be planned, rewriting included.

use super::chain::Network;
use super::choose_plan::choose_plan;
use super::pipeline::PlanRequest;
use crate::devices::Effort;
use crate::devices::cluster::{Cluster, Profile};
use crate::devices::files::PlanFile;
use crate::options::bytes;
use graph_opt_ir::Graph;

/// A memory of every device for which there is a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct LeastMemory {
    /// The size, such as `4.2MiB`, as `cluster.toml` takes it.
    pub size: String,
    /// The same in bytes.
    pub bytes: u64,
    /// A plan for it.
    pub plan: PlanFile,
}

/// The smallest size of two digits for which [`choose_plan`] finds a plan if every device has at
/// least that much, by bisection; `None` if there is no plan even if a device holds everything.
/// A smaller size may do that the bisection does not meet, as larger devices are not always
/// planned better.
pub fn least_memory(
    graph: &Graph,
    network: &Network,
    cluster: &Cluster,
    profiles: &[Option<Profile>],
    request: &PlanRequest,
    effort: &Effort,
) -> Option<LeastMemory> {
    let most = request.limits.memory.unwrap_or(u64::MAX);
    let plan = |at: usize| {
        let room = bytes(&size(at)).ok()?;
        let mut cluster = cluster.clone();
        cluster.devices.iter_mut().for_each(|d| d.memory = d.memory.max(room));
        let mut request = request.clone();
        request.limits.memory = request.limits.memory.map(|m| m.max(room));
        let found = choose_plan(graph, network, &cluster, profiles, &request, false, effort);
        found.ok().map(|plan| (at, plan))
    };
    let below =
        |room: u64| (0..SIZES).take_while(move |&i| bytes(&size(i)).is_ok_and(|b| b <= room));
    let has = cluster.devices.iter().map(|d| d.memory.min(most)).min().unwrap_or(0);
    let whole: u64 = network.weights.iter().sum::<u64>() + network.live.iter().max().unwrap_or(&0);
    // The first and last frame of a pipeline are on the device, too.
    let ends = network.cuts.first().unwrap_or(&0) + network.cuts.last().unwrap_or(&0);
    // No plan for sizes before `low`, one for that of `found`.
    let mut low = below(has).count();
    let mut found = plan(below(whole + ends).count().max(low))?;
    // Each question takes longer, the more nodes there are.
    let coarse = network.nodes.len() / 500;
    while low + coarse < found.0 {
        let middle = low.midpoint(found.0);
        match plan(middle) {
            Some(better) => found = better,
            None => low = middle + 1,
        }
    }
    let (size, plan) = (size(found.0), found.1);
    Some(LeastMemory { bytes: bytes(&size).ok()?, size, plan })
}

/// Number of sizes.
const SIZES: usize = 9 * 90;

/// Sizes of two digits in ascending order, from 1.0 KiB to 990 GiB.
fn size(at: usize) -> String {
    let (digits, power) = (10 + at % 90, at / 90);
    let unit = ["KiB", "MiB", "GiB"][(power / 3).min(2)];
    match power % 3 {
        0 => format!("{}.{}{unit}", digits / 10, digits % 10),
        1 => format!("{digits}{unit}"),
        _ => format!("{digits}0{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_ascend() {
        let all: Vec<u64> = (0..SIZES).map(|i| bytes(&size(i)).unwrap()).collect();
        assert!(all.is_sorted_by(|a, b| a < b));
        assert_eq!((&*size(0), &*size(302), &*size(SIZES - 1)), ("1.0KiB", "4.2MiB", "990GiB"));
    }
}
