//! Throughput where links share a medium: for each frame, it carries all transfers over it, one after
//! the other.
//!
//! A plan has an interval below U only if every stage takes less than U, and all that goes over a
//! medium together less than U. The least that must go over media, with stages of less than U only, is
//! a shortest path; where that is not below U, there is no such plan. So either a plan at hand is
//! proved to be the best, or a better one is found.

use std::ops::Range;

use super::plan::{NoPlan, Plan};
use super::problem::{Choice, Costs, Limits, Link, Objective, Problem};
use super::{Effort, judged, solve};

/// Stages of less than so many seconds, which cost no time.
struct Quick<'a> {
    costs: &'a dyn Costs,
    below: f64,
}

impl Costs for Quick<'_> {
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64> {
        let seconds = self.costs.seconds(units, device, mode)?;
        (seconds < self.below).then_some(0.0)
    }

    fn joules(&self, units: Range<usize>, device: usize, mode: usize) -> f64 {
        self.costs.joules(units, device, mode)
    }

    fn memory(&self, units: Range<usize>, device: usize) -> u64 {
        self.costs.memory(units, device)
    }
}

/// Whether the time between frames matters, and links share media.
pub(super) fn applies(p: &Problem<'_>) -> bool {
    p.media.iter().flatten().count() > 0
        && (p.objective == Objective::Interval || p.limits.interval.is_some())
}

/// For planners that know links of their own only.
pub(super) fn refuse(p: &Problem<'_>) -> Result<(), String> {
    match applies(p) {
        true => {
            Err("links share a medium, so no interval between frames can be kept to here".into())
        }
        false => Ok(()),
    }
}

/// A plan with what is proved; none if there is none.
pub(super) fn plan(p: &Problem<'_>, effort: &Effort) -> Result<Option<Plan>, NoPlan> {
    // As if every link were its own: no plan is better than that.
    let apart = Problem { media: Vec::new(), ..p.clone() };
    let Some(alone) = solve(&apart, effort)? else { return Ok(None) };
    if let Ok(plan) = p.judge(&alone.choices())
        && plan.value <= alone.bound
    {
        return Ok(Some(Plan { bound: alone.bound, ..plan }));
    }
    let quickest = Problem { objective: Objective::Interval, ..p.clone() };
    let (found, bound) = least(&quickest, &alone, effort);
    if bound > p.limit(Objective::Interval) {
        return Ok(None);
    }
    let bound = if p.objective == Objective::Interval { bound } else { alone.bound };
    let known = p.judge(&alone.choices()).ok();
    let all = [known, found.and_then(|c| p.judge(&c).ok())].into_iter().flatten();
    match all.min_by(|a, b| a.value.total_cmp(&b.value)) {
        Some(best) => Ok(Some(judged(p, &best.choices(), bound)?)),
        None => Err(NoPlan::NotFound(bound)),
    }
}

/// The plan with the least interval that was found, and what none is below; `alone` is one for links
/// that share nothing.
fn least(p: &Problem<'_>, alone: &Plan, effort: &Effort) -> (Option<Vec<Choice>>, f64) {
    /// Halvings of the range in which the least is, before steps down from what is known.
    const HALVINGS: usize = 8;
    const STEPS: usize = 64;
    let media = p.media.iter().flatten().max().map_or(1, |m| m + 1) as f64;
    let interval = |choices: &[Choice]| {
        // Whether it keeps to the limit is asked later on.
        let free = Problem { limits: Limits { interval: None, ..p.limits.clone() }, ..p.clone() };
        free.judge(choices).ok().map(|plan| plan.total(Objective::Interval))
    };
    let choices = alone.choices();
    let (mut best, mut upper) = match interval(&choices) {
        Some(x) => (Some(choices), x),
        None => (None, f64::INFINITY),
    };
    let mut lower = 0.0;
    for step in 0..STEPS {
        let halve = step > 0 && step <= HALVINGS && upper.is_finite();
        let below = if halve { f64::midpoint(lower, upper) } else { upper };
        match traffic(p, below, effort) {
            // Nothing has stages that quick.
            Ok(None) => lower = below,
            // With such stages, media carry too much. With several, one of them has its share.
            Ok(Some(plan)) if plan.bound / media >= below => lower = below,
            Ok(Some(plan)) => {
                let choices = plan.choices();
                match interval(&choices) {
                    Some(x) if x < upper => (best, upper) = (Some(choices), x),
                    // Links of their own, or several media: not decided.
                    _ if halve => {}
                    _ => return (best, lower),
                }
            }
            Err(_) if halve => {}
            Err(_) => return (best, lower),
        }
        if lower >= upper {
            return (best, upper);
        }
    }
    (best, lower)
}

/// The plan for which media carry least, of stages of less than so many seconds.
fn traffic(p: &Problem<'_>, below: f64, effort: &Effort) -> Result<Option<Plan>, NoPlan> {
    let costs = Quick { costs: p.costs, below };
    // Links of their own carry nothing of it.
    let link = |(link, medium): (&Option<Link>, &Option<usize>)| match medium {
        Some(_) => *link,
        None => link.map(|_| Link::new(f64::INFINITY, 0.0)),
    };
    let asked = Problem {
        costs: &costs,
        links: p.links.iter().zip(&p.media).map(link).collect(),
        media: Vec::new(),
        objective: Objective::Latency,
        limits: Limits { latency: None, interval: None, ..p.limits.clone() },
        ..p.clone()
    };
    solve(&asked, effort)
}
