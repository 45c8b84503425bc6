//! The interval over links that share a medium. A medium carries all transfers of a frame one after
//! the other, so its load is their sum.
//!
//! 1. Treat every link as independent: that plan's value is a lower bound.
//! 2. For a value U, ask for the plan with the least total traffic over media among stages shorter
//!    than U. This is a latency problem, solved by [`solve`]. If its traffic, divided by the number
//!    of media, is at least U, then no plan has an interval below U.
//! 3. Bisect on U for a few rounds, then descend from the best plan known.
//!
//! With one medium for all links, step 2 either proves the plan at hand optimal or finds a better
//! one. With several media, or links of their own, a gap may remain.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{Effort, solve};
use crate::devices::problem::{
    Costs, DevicePlan, Limits, Link, NoPlan, Objective, Problem, ProblemError,
};

/// Costs in which stages of at least `below` seconds are forbidden and all others take no time.
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

/// Whether the interval matters and links share media.
pub(super) fn applies(p: &Problem<'_>) -> bool {
    p.media.iter().flatten().count() > 0
        && (p.objective == Objective::Interval || p.limits.interval.is_some())
}

/// Rejects problems with shared media, for planners that treat links as independent.
pub(super) fn refuse(p: &Problem<'_>) -> Result<(), ProblemError> {
    if applies(p) { Err(ProblemError::SharedMedium) } else { Ok(()) }
}

/// A plan with its bound, or `None` if it is proved that none exists.
pub(super) fn plan(p: &Problem<'_>, effort: &Effort) -> Result<Option<DevicePlan>, NoPlan> {
    // Independent links are a relaxation.
    let apart = Problem { media: Vec::new(), ..p.clone() };
    let Some(alone) = solve(&apart, effort)? else { return Ok(None) };
    let known = p.judge(&alone.choices()).ok();
    let (found, bound) = match p.objective {
        Objective::Interval => least(p, known, alone.bound, effort),
        _ if known.is_some() => (known, alone.bound),
        // Decide whether any plan keeps the limit on the interval.
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

/// The plan with the least interval found, starting from `best`, and a lower bound in seconds.
fn least(
    p: &Problem<'_>,
    mut best: Option<DevicePlan>,
    mut lower: f64,
    effort: &Effort,
) -> (Option<DevicePlan>, f64) {
    /// Rounds of bisection before descending from the best plan known.
    const HALVINGS: usize = 8;
    const STEPS: usize = 64;
    // Values below this are decided, or were tried in vain.
    let mut tried = lower;
    for step in 0..STEPS {
        // Without a plan, start just above the limit.
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

/// Result of [`traffic`].
enum Traffic {
    /// No plan has all stages and the traffic below the value.
    None,
    /// A plan whose interval may be below the value.
    Plan(DevicePlan),
    /// Not decided within the effort.
    Unclear,
}

/// Looks for the plan with the least traffic over media among stages shorter than `below` seconds.
fn traffic(p: &Problem<'_>, below: f64, effort: &Effort) -> Result<Traffic, NoPlan> {
    let costs = QuickStages { costs: p.costs, below };
    // Independent links carry no traffic of a medium.
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
    // With several media, one carries at least an equal share.
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
