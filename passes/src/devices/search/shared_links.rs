//! Throughput where links share a medium: for each frame, it carries all transfers over it, one after
//! the other.
//!
//! A plan has an interval below U only if every stage takes less than U, and all that goes over a
//! medium together less than U. The least that must go over media, with stages of less than U only, is
//! a shortest path; where that is not below U, there is no such plan. With one medium for all links,
//! either that proves a plan at hand to be the best, or the path is a better one. With several, or links
//! of their own, neither need be, and the plan may be left with a gap.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Effort, solve};
use crate::devices::problem::{
    Costs, DevicePlan, Limits, Link, NoPlan, Objective, Problem, ProblemError,
};

/// Stages of less than so many seconds, which cost no time.
struct QuickStages<'a> {
    costs: &'a dyn Costs,
    below: f64,
}

impl Costs for QuickStages<'_> {
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
pub(super) fn refuse(p: &Problem<'_>) -> Result<(), ProblemError> {
    if applies(p) { Err(ProblemError::SharedMedium) } else { Ok(()) }
}

/// A plan with what is proved; none if there is none.
pub(super) fn plan(p: &Problem<'_>, effort: &Effort) -> Result<Option<DevicePlan>, NoPlan> {
    // As if every link were its own: no plan is better than that.
    let apart = Problem { media: Vec::new(), ..p.clone() };
    let Some(alone) = solve(&apart, effort)? else { return Ok(None) };
    let known = p.judge(&alone.choices()).ok();
    let (found, bound) = match p.objective {
        Objective::Interval => least(p, known, alone.bound, effort),
        _ if known.is_some() => (known, alone.bound),
        // The interval is limited: is there any plan that keeps to it?
        _ => match traffic(p, p.limit(Objective::Interval).next_up(), effort)? {
            Traffic::Plan(plan) => (Some(plan), alone.bound),
            Traffic::None => return Ok(None),
            Traffic::Unclear => (None, alone.bound),
        },
    };
    if p.objective == Objective::Interval && bound > p.limit(Objective::Interval) {
        return Ok(None);
    }
    match found {
        Some(best) => Ok(Some(DevicePlan { bound: bound.min(best.value), ..best })),
        None if bound == f64::INFINITY => Ok(None),
        None => Err(NoPlan::NotFound(bound)),
    }
}

/// The plan with the least interval that was found, from one that is known on, and what none is below.
fn least(
    p: &Problem<'_>,
    mut best: Option<DevicePlan>,
    mut lower: f64,
    effort: &Effort,
) -> (Option<DevicePlan>, f64) {
    /// Halvings of the range in which the least is, before steps down from what is known.
    const HALVINGS: usize = 8;
    const STEPS: usize = 64;
    // Below this it is decided, or was not to be.
    let mut tried = lower;
    for step in 0..STEPS {
        // Of what keeps to the limit.
        let upper = best.as_ref().map_or(p.limit(Objective::Interval).next_up(), |b| b.value);
        if lower >= upper {
            break;
        }
        let halve = (1..=HALVINGS).contains(&step) && upper.is_finite();
        let below = if halve { f64::midpoint(tried, upper) } else { upper };
        match traffic(p, below, effort) {
            Ok(Traffic::None) => lower = lower.max(below),
            Ok(Traffic::Plan(plan)) if plan.value < upper => best = Some(plan),
            _ if step <= HALVINGS => {}
            _ => break,
        }
        if halve {
            tried = tried.max(below);
        }
    }
    (best, lower)
}

/// What there is with stages and traffic of less than so many seconds.
enum Traffic {
    /// No plan.
    None,
    /// This one, if its interval is so.
    Plan(DevicePlan),
    /// Not decided.
    Unclear,
}

/// The plan for which media carry least, of stages of less than so many seconds.
fn traffic(p: &Problem<'_>, below: f64, effort: &Effort) -> Result<Traffic, NoPlan> {
    let costs = QuickStages { costs: p.costs, below };
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
    // One of several has at least its share.
    let media = p.links.iter().zip(&p.media).filter_map(|(l, m)| l.and(*m));
    let media = media.collect::<BTreeSet<_>>().len().max(1) as f64;
    match solve(&asked, effort) {
        Ok(None) => Ok(Traffic::None),
        Ok(Some(plan)) if plan.bound / media >= below => Ok(Traffic::None),
        Ok(Some(plan)) => Ok(p.judge(&plan.choices()).map_or(Traffic::Unclear, Traffic::Plan)),
        Err(NoPlan::NotFound(bound)) if bound / media >= below => Ok(Traffic::None),
        Err(NoPlan::NotFound(_)) => Ok(Traffic::Unclear),
        Err(e) => Err(e),
    }
}
