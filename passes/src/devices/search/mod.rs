//! Planners: each takes a [`Problem`] and gives a [`DevicePlan`] with what is proved about it.

mod explain;
mod label_setting;
#[cfg(feature = "milp")]
mod milp;
mod partition_and_place;
mod place;
mod row_shares;
mod shared_links;
#[cfg(test)]
mod tests;
mod threshold;

#[cfg(feature = "milp")]
pub use milp::milp;
pub use place::{Placement, least_traffic, place, place_greedily};
pub use row_shares::{RowShares, share_rows};

use crate::devices::problem::search_space::{Relaxation, SearchSpace};
use crate::devices::problem::{Choice, DevicePlan, NoPlan, Objective, Problem, ProblemError};
use label_setting::LabelSearch;
use partition_and_place::JointSearch;

/// How much to search before the best found is given with a gap. Not time: the answer is the same
/// on every machine.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Labels that are made, some 150 B each.
    pub labels: usize,
    /// Nodes of branch and bound.
    pub nodes: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { labels: 1_000_000, nodes: 1_000_000 }
    }
}

/// The latency–energy front.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// Plans that no other beats in both, latency ascending.
    pub plans: Vec<DevicePlan>,
    /// The front is whole for latencies below this, s; infinite if it is whole.
    pub whole_below: f64,
}

/// A best plan, or the best found.
///
/// # Errors
/// If there is none, with what would have to give; or none was found within the effort.
pub fn plan(p: &Problem<'_>, effort: &Effort) -> Result<DevicePlan, NoPlan> {
    p.check()?;
    match solve(p, effort)? {
        Some(plan) => Ok(plan),
        None => Err(NoPlan::Infeasible(explain::reasons(p, effort))),
    }
}

/// A plan with what is proved; none if there is none.
fn solve(p: &Problem<'_>, effort: &Effort) -> Result<Option<DevicePlan>, NoPlan> {
    if shared_links::applies(p) {
        return shared_links::plan(p, effort);
    }
    let s = SearchSpace::new(p);
    if threshold::applies(&s) {
        return threshold::plan(&s).map(|c| judged(p, &c, f64::INFINITY)).transpose();
    }
    // Sets of many different devices are not worth enumerating where there is a better way.
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

/// A good plan, if the beam comes through; as wide as some tens of millions of steps allow.
fn beam(
    search: &mut LabelSearch<'_, '_, '_>,
    s: &SearchSpace<'_, '_>,
) -> Result<Option<DevicePlan>, NoPlan> {
    let work = s.classes.len() * s.p.units() * s.p.units();
    let choices = search.beam((50_000_000 / work.max(1)).clamp(1, 32));
    choices.map(|c| judged(s.p, &c, 0.0)).transpose()
}

/// Partition and placement at once.
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

/// The partition of least traffic, placed.
fn least_traffic_placed(p: &Problem<'_>, effort: &Effort) -> Option<DevicePlan> {
    let cuts = least_traffic(p)?;
    let placed = place(p, &cuts, effort.nodes / 100)?;
    p.judge(&place::choices(p, &cuts, &placed.devices)?).ok()
}

/// The latency–energy front, for the problem's limits; its objective does not matter.
///
/// # Errors
/// As [`plan`].
pub fn front(p: &Problem<'_>, effort: &Effort) -> Result<Front, NoPlan> {
    p.check()?;
    let p = &Problem { objective: Objective::Latency, ..p.clone() };
    shared_links::refuse(p)?;
    let s = SearchSpace::new(p);
    let keys = [Objective::Latency, Objective::Energy];
    let mut search = search(&s, &keys)?;
    let found = search.run(f64::INFINITY, effort.labels);
    let mut plans = Vec::new();
    let mut least = f64::INFINITY;
    for choices in &found.plans {
        let plan = judged(p, choices, 0.0)?;
        // Sums that differ in rounding only may have come in the wrong order.
        if plan.total(Objective::Energy) < least {
            least = plan.total(Objective::Energy);
            plans.push(DevicePlan { bound: plan.value, ..plan });
        }
    }
    match (plans.is_empty(), found.complete) {
        (true, true) => Err(NoPlan::Infeasible(explain::reasons(p, effort))),
        (true, false) => Err(NoPlan::NotFound(found.bound)),
        (false, true) => Ok(Front { plans, whole_below: f64::INFINITY }),
        (false, false) => Ok(Front { plans, whole_below: found.bound }),
    }
}

/// The plan as it is judged, with a bound that is at most its value. Stages that follow each other on
/// a device in one mode are one, where that is as good.
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
        // But for rounding.
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

/// The fewest stages of a walk through the devices, if there is one.
fn fewest(p: &Problem<'_>) -> Option<usize> {
    let fewest = SearchSpace::new(p).lower_bounds(Relaxation::Stages).after(0, None);
    fewest.is_finite().then_some(fewest as usize)
}
