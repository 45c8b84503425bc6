//! Planners. Each takes a [`Problem`] and returns a [`DevicePlan`] with a lower bound.
//!
//! [`plan()`] picks the planner by the shape of the problem:
//!
//! 1. Links share media and the interval matters: `shared_links`.
//! 2. The objective is a maximum (interval, memory), no sum is limited, and the device classes are
//!    few: `threshold`, which is exact.
//! 3. The objective is the interval and there are many different devices: `partition_and_place`.
//! 4. Otherwise: `label_setting`, started from the plan of a beam search.

mod explain;
mod label_setting;
#[cfg(feature = "milp")]
mod milp;
mod partition_and_place;
mod place;
#[cfg(any(test, feature = "cluster"))]
mod row_shares;
mod shared_links;
#[cfg(test)]
mod tests;
mod threshold;

#[cfg(feature = "milp")]
pub use milp::milp;
use place::least_traffic;
pub use place::{Placement, place, place_greedily};
#[cfg(feature = "cluster")]
pub(crate) use row_shares::share_rows;

use crate::devices::problem::search_space::{Relaxation, SearchSpace};
use crate::devices::problem::{Choice, DevicePlan, NoPlan, Objective, Problem, ProblemError};
use label_setting::LabelSearch;
use partition_and_place::JointSearch;

/// Search effort, after which the best plan found is returned with its gap. Effort is counted in
/// steps and not in time, so that the answer is the same on every machine.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Labels created by the label-setting search, about 150 B each.
    pub labels: usize,
    /// Nodes of branch and bound.
    pub nodes: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { labels: 1_000_000, nodes: 1_000_000 }
    }
}

/// The Pareto front of latency and energy.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// Plans that are not dominated, latency ascending.
    pub plans: Vec<DevicePlan>,
    /// The front is complete for latencies below this, in seconds; infinite if it is complete.
    pub whole_below: f64,
}

/// Finds an optimal plan, or the best within the effort.
///
/// # Errors
/// [`NoPlan::Invalid`] if the problem is malformed, [`NoPlan::Infeasible`] with the causes if no
/// plan exists, [`NoPlan::NotFound`] with a lower bound if the effort ran out first.
pub fn plan(p: &Problem<'_>, effort: &Effort) -> Result<DevicePlan, NoPlan> {
    p.check()?;
    match solve(p, effort)? {
        Some(plan) => Ok(plan),
        None => Err(NoPlan::Infeasible(explain::reasons(p, effort))),
    }
}

/// A plan with its bound, or `None` if it is proved that none exists.
fn solve(p: &Problem<'_>, effort: &Effort) -> Result<Option<DevicePlan>, NoPlan> {
    if shared_links::applies(p) {
        return shared_links::plan(p, effort);
    }
    let s = SearchSpace::new(p);
    if threshold::applies(&s) {
        return threshold::plan(&s).map(|c| judged(p, &c, f64::INFINITY)).transpose();
    }
    // Enumerating sets of many different devices costs more than the joint search.
    let sets = s.classes.iter().map(|m| (m.len() + 1) as f64).product::<f64>();
    if JointSearch::applies(p) && sets > 1e4 {
        return jointly(&s, effort);
    }
    let keys = [p.objective];
    let mut search = search(&s, &keys)?;
    let known = beam(&mut search, &s)?;
    let found = search.run(known.as_ref().map_or(f64::INFINITY, |k| k.value), effort.labels);
    match (found.plans.first(), known) {
        (Some(choices), _) => Ok(Some(judged(p, choices, found.bound)?)),
        (None, Some(known)) => {
            Ok(Some(DevicePlan { bound: found.bound.min(known.value), ..known }))
        }
        (None, None) if found.complete => Ok(None),
        (None, None) => Err(NoPlan::NotFound(found.bound)),
    }
}

fn search<'s, 'p, 'c>(
    s: &'s SearchSpace<'p, 'c>,
    keys: &'s [Objective],
) -> Result<LabelSearch<'s, 'p, 'c>, NoPlan> {
    LabelSearch::new(s, keys).ok_or(NoPlan::Invalid(ProblemError::TooManyDevices))
}

/// A plan by beam search, if it reaches the end. The width keeps the work near 50 million steps.
fn beam(
    search: &mut LabelSearch<'_, '_, '_>,
    s: &SearchSpace<'_, '_>,
) -> Result<Option<DevicePlan>, NoPlan> {
    let work = s.classes.len() * s.p.units() * s.p.units();
    let choices = search.beam((50_000_000 / work.max(1)).clamp(1, 32));
    choices.map(|c| judged(s.p, &c, 0.0)).transpose()
}

/// Partition and placement at once, started from the partition of least traffic.
fn jointly(s: &SearchSpace<'_, '_>, effort: &Effort) -> Result<Option<DevicePlan>, NoPlan> {
    let p = s.p;
    let mut best = least_traffic_placed(p, effort);
    let below = best.as_ref().map_or(f64::INFINITY, |b| b.value);
    let (choices, bound) = JointSearch::new(p).best(below, effort.nodes);
    if let Some(choices) = choices {
        return Ok(Some(judged(p, &choices, bound)?));
    }
    if best.is_none() && bound.is_finite() {
        best = beam(&mut search(s, &[Objective::Interval])?, s)?;
    }
    match best {
        Some(best) => Ok(Some(DevicePlan { bound: bound.min(best.value), ..best })),
        None if bound.is_finite() => Err(NoPlan::NotFound(bound)),
        None => Ok(None),
    }
}

/// The partition of least traffic, placed optimally.
fn least_traffic_placed(p: &Problem<'_>, effort: &Effort) -> Option<DevicePlan> {
    let cuts = least_traffic(p)?;
    let placed = place(p, &cuts, effort.nodes / 100)?;
    p.judge(&place::choices(p, &cuts, &placed.devices)?).ok()
}

/// Computes the Pareto front of latency and energy within the problem's limits. The problem's
/// objective is ignored.
///
/// # Errors
/// Those of [`plan()`].
pub fn front(p: &Problem<'_>, effort: &Effort) -> Result<Front, NoPlan> {
    p.check()?;
    let p = &Problem { objective: Objective::Latency, ..p.clone() };
    shared_links::refuse(p)?;
    let s = SearchSpace::new(p);
    let keys = [Objective::Latency, Objective::Energy];
    let mut search = search(&s, &keys)?;
    let found = search.run(f64::INFINITY, effort.labels);
    let mut plans: Vec<DevicePlan> = Vec::new();
    // What is better by rounding only is not better: such plans may also arrive in the wrong order.
    let below = |a: f64, b: f64| a < b * (1.0 - 1e-9);
    for choices in &found.plans {
        let plan = judged(p, choices, 0.0)?;
        let energy = |p: &DevicePlan| p.total(Objective::Energy);
        if plans.last().is_some_and(|l| !below(energy(&plan), energy(l))) {
            continue;
        }
        while plans.last().is_some_and(|l| !below(l.value, plan.value)) {
            plans.pop();
        }
        plans.push(DevicePlan { bound: plan.value, ..plan });
    }
    match (plans.is_empty(), found.complete) {
        (true, true) => Err(NoPlan::Infeasible(explain::reasons(p, effort))),
        (true, false) => Err(NoPlan::NotFound(found.bound)),
        (false, true) => Ok(Front { plans, whole_below: f64::INFINITY }),
        (false, false) => Ok(Front { plans, whole_below: found.bound }),
    }
}

/// Costs a planner's choices, merges consecutive stages of one device and mode where that is no
/// worse, and caps the bound at the value.
fn judged(p: &Problem<'_>, choices: &[Choice], bound: f64) -> Result<DevicePlan, NoPlan> {
    let mut plan = p.judge(choices)?;
    let mut at = 1;
    while at < plan.stages.len() {
        let mut fewer = plan.choices();
        let next = fewer.remove(at);
        let last = &mut fewer[at - 1];
        let same = (last.device, last.mode) == (next.device, next.mode);
        last.units.end = next.units.end;
        let joined = if same { p.judge(&fewer).ok() } else { None };
        // Up to rounding.
        let as_good = |j: &DevicePlan| {
            j.totals.iter().zip(&plan.totals).all(|(a, b)| *a <= b * (1.0 + 1e-12))
        };
        match joined.filter(as_good) {
            Some(joined) => plan = joined,
            None => at += 1,
        }
    }
    Ok(DevicePlan { bound: bound.min(plan.value), ..plan })
}

/// Fewest stages of a plan that may use each device any number of times, if there is one.
fn fewest(p: &Problem<'_>) -> Option<usize> {
    let fewest = SearchSpace::new(p).lower_bounds(Relaxation::Stages).after(0, None);
    fewest.is_finite().then_some(fewest as usize)
}
