//! Causes of infeasibility, found by solving relaxed problems.
//!
//! 1. Units that run on no device, or of which every stage exceeds every device allowed for them.
//! 2. Without limits on totals: if the problem is still infeasible, the number of stages, and the
//!    least capacity for all devices (by bisection) at which it becomes feasible.
//! 3. With limits: the least value that each limited objective reaches while the other limits hold.

use super::{Effort, fewest, solve};
use crate::devices::problem::{Limits, Objective, Problem, Reason};

/// Causes, for a problem that has no plan. At least one is returned.
pub(super) fn reasons(p: &Problem<'_>, effort: &Effort) -> Vec<Reason> {
    let alone = units(p);
    if !alone.is_empty() {
        return alone;
    }
    // Bisection asks about fifty times, so each question gets a tenth of the effort.
    let some = Effort { labels: effort.labels / 10, nodes: effort.nodes / 10 };
    let feasible = |p: &Problem<'_>| matches!(solve(p, &some), Ok(Some(_)));
    let infeasible = |p: &Problem<'_>| matches!(solve(p, effort), Ok(None));
    let unlimited =
        Limits { latency: None, interval: None, energy: None, stages: None, ..p.limits.clone() };
    let free = Problem { limits: unlimited, objective: Objective::Latency, ..p.clone() };
    if infeasible(&free) {
        if infeasible(&with_memory(&free, u64::MAX)) {
            return vec![stages(&free).unwrap_or(Reason::NoRoute)];
        }
        let mut reasons: Vec<Reason> = stages(&free).into_iter().collect();
        // Bisection: `high` is feasible, below `low` no plan was found.
        let (mut low, mut high) =
            (0, (0..p.devices.len()).map(|d| p.most_held(d)).max().unwrap_or(0));
        if !feasible(&with_memory(&free, high)) {
            return if reasons.is_empty() { vec![Reason::Unclear] } else { reasons };
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if feasible(&with_memory(&free, middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        reasons.push(Reason::Capacity(high));
        return reasons;
    }
    let mut reasons: Vec<Reason> = stages(p).into_iter().collect();
    let limited = [Objective::Latency, Objective::Interval, Objective::Energy];
    let least = |what: Objective, limits: &Limits| {
        let mut limits = limits.clone();
        match what {
            Objective::Latency => limits.latency = None,
            Objective::Interval => limits.interval = None,
            _ => limits.energy = None,
        }
        let asked = Problem { limits, objective: what, ..p.clone() };
        solve(&asked, effort).ok().flatten().map(|plan| plan.bound)
    };
    for limits in [&p.limits, &free.limits] {
        for what in limited.into_iter().filter(|&o| p.limit(o).is_finite()) {
            let limit = p.limit(what);
            match least(what, limits) {
                // Limits that conflict only together may each be reachable alone.
                Some(least) if least > limit || reasons.is_empty() => {
                    reasons.push(Reason::Limit { objective: what, limit, least });
                }
                _ => {}
            }
        }
        if !reasons.is_empty() {
            break;
        }
    }
    if reasons.is_empty() { vec![Reason::Unclear] } else { reasons }
}

/// Units that no allowed device can run, or of which every stage exceeds every allowed device.
fn units(p: &Problem<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let needed: Vec<Vec<u64>> = (0..p.devices.len()).fold(Vec::new(), |mut all, d| {
        let like = (0..d).find(|&e| same_memory(p, d, e));
        all.push(like.map_or_else(|| least_needed(p, d), |e: usize| all[e].clone()));
        all
    });
    let needs = |d: usize, u: usize| needed[d][u];
    for u in 0..p.units() {
        let may = |d: &usize| p.pin(u).is_none_or(|pin| pin == *d);
        let runs = |d: &usize| {
            (0..p.devices[*d].modes).any(|m| p.costs.seconds(u..u + 1, *d, m).is_some())
        };
        let devices: Vec<usize> = (0..p.devices.len()).filter(may).filter(runs).collect();
        let Some(least) = devices.iter().map(|&d| needs(d, u)).min() else {
            reasons.push(Reason::Unit(u));
            continue;
        };
        if devices.iter().all(|&d| needs(d, u) > p.capacity(d)) {
            let has = devices.iter().map(|&d| p.capacity(d)).max().unwrap_or(0);
            reasons.push(Reason::TooLarge { unit: u, needs: least, has });
        }
    }
    reasons
}

/// Whether two devices hold the same in every stage.
fn same_memory(p: &Problem<'_>, a: usize, b: usize) -> bool {
    let ends = [p.source, p.sink];
    p.devices[a].kind == p.devices[b].kind && !ends.contains(&Some(a)) && !ends.contains(&Some(b))
}

/// Bytes that the smallest stage with each unit needs on a device. It need not be the unit alone:
/// longer stages may have smaller buffers at their ends.
fn least_needed(p: &Problem<'_>, device: usize) -> Vec<u64> {
    let n = p.units();
    let mut least: Vec<u64> = (0..n).map(|u| p.costs.memory(u..u + 1, device)).collect();
    if least.iter().all(|&m| m <= p.capacity(device)) {
        return least;
    }
    for i in 0..n {
        let mut stage = u64::MAX;
        for j in (i + 1..=n).rev() {
            stage = stage.min(p.costs.memory(i..j, device));
            least[j - 1] = least[j - 1].min(stage);
        }
    }
    least
}

/// Whether a plan needs more stages than are allowed.
fn stages(p: &Problem<'_>) -> Option<Reason> {
    let devices = if p.reuse { usize::MAX } else { p.devices.len() };
    let has = devices.min(p.limits.stages.unwrap_or(usize::MAX));
    let needs = fewest(p)?;
    (needs > has).then_some(Reason::Stages { needs, has })
}

/// The problem with at least `bytes` of memory on every device.
fn with_memory<'a>(p: &Problem<'a>, bytes: u64) -> Problem<'a> {
    let mut p = p.clone();
    for d in &mut p.devices {
        d.memory = d.memory.max(bytes);
    }
    p.limits.memory = p.limits.memory.map(|m| m.max(bytes));
    p
}
