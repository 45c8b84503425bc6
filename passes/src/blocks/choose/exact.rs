//! A best choice, by label setting.
//!
//! 1. Candidates that another dominates are dropped.
//! 2. The Lagrangian relaxation gives bounds and first choices, which exchanges of one candidate
//!    improve.
//! 3. Searches of growing width improve the choice, until one drops no label that could be better.
//! 4. If the effort does not suffice, labels that agree in each sum up to a grid are merged and the
//!    width stays limited. The bounds of all labels dropped then bound the gap.

use std::collections::BTreeSet;

use super::bounds::{Bounds, range};
use super::labels::Search;
use super::problem::order;
use super::space::Space;
use super::{Choice, NoChoice, Problem, Quantity, explain};

/// Widths of the first searches.
const WIDTHS: [usize; 2] = [200, 4000];

/// How many choices of the relaxation are improved by exchanges.
const IMPROVED: usize = 20;

/// Cell of the grid, relative to the range of each sum.
const EPSILON: f64 = 1e-4;

/// A best choice.
///
/// Its [`gap`](Choice::gap) is zero, unless the labels exceeded [`Problem::effort`].
///
/// # Errors
/// [`NoChoice::Infeasible`] says which limits cannot be met, [`NoChoice::Invalid`] what is malformed,
/// [`NoChoice::Undecided`] that the effort ended before any choice was found.
pub fn exact(p: &Problem) -> Result<Choice, NoChoice> {
    match solve(p)? {
        Some(choice) => Ok(choice),
        None => Err(explain::infeasible(p)?),
    }
}

/// A best choice, or `None` if there is none.
pub(super) fn solve(p: &Problem) -> Result<Option<Choice>, NoChoice> {
    let mut s = Space::new(p)?;
    if s.is_empty() {
        return Ok(None);
    }
    let mut dims = vec![p.objective];
    dims.extend(p.limits.limited().filter(|&q| q.is_sum() && q != p.objective));
    let ties = p.ties();
    s.reduce(&dims, &ties);
    let mut keys = dims[..1].to_vec();
    keys.extend(&ties);
    keys.push(Quantity::Peak);
    let (mut best, mut seen) = (None, BTreeSet::new());
    let bounds = Bounds::new(&s, &mut |picks| {
        let indices: Vec<usize> = picks.iter().zip(&s.blocks).map(|(&a, b)| b[a].index).collect();
        if !seen.insert(indices.clone()) {
            return None;
        }
        let mut choice = p.choice(indices, 0.0).ok()?;
        if seen.len() <= IMPROVED {
            choice = improve(&s, choice);
        }
        if !p.limits.allow(&choice.totals) {
            return None;
        }
        let value = choice.totals.get(p.objective);
        keep(&mut best, choice, &keys);
        Some(value)
    });
    let mut effort = p.effort;
    let search = |width, effort, grid| Search {
        s: &s,
        bounds: &bounds,
        dims: dims.clone(),
        ties: ties.clone(),
        width,
        effort,
        grid,
    };
    let most = |best: &Option<Choice>| {
        best.as_ref().map_or(f64::INFINITY, |b| b.totals.get(p.objective) + bounds.room)
    };
    let last = [(usize::MAX, false), (usize::MAX, true)];
    for (width, merge) in WIDTHS.into_iter().map(|w| (w, false)).chain(last) {
        // A merged search starts afresh, with as many labels as a row of such layers may have.
        let candidates: usize = s.blocks.iter().map(Vec::len).sum();
        let width = if merge { (p.effort / candidates.max(1)).max(1) } else { width };
        let grid = merge.then(|| dims.iter().map(|&q| EPSILON * spread(&s, q)).collect());
        let effort_here = if merge { usize::MAX } else { effort };
        let Some(found) = search(width, effort_here, grid).run(most(&best)) else { continue };
        effort = effort.saturating_sub(found.created);
        for (label, picks) in found.labels {
            if label.values[p.objective as usize] <= most(&best) {
                keep(&mut best, p.choice(picks, 0.0)?, &keys);
            }
        }
        if found.dropped > most(&best) || found.dropped == f64::INFINITY {
            return Ok(best);
        }
        if merge {
            let least = found.dropped - bounds.room;
            let gap = |b: &Choice| (b.totals.get(p.objective) - least).max(0.0);
            let best = best.map(|b| Choice { gap: gap(&b), ..b });
            return best.map(Some).ok_or(NoChoice::Undecided(p.effort));
        }
    }
    Err(NoChoice::Undecided(p.effort))
}

/// Difference between the largest and the least sum.
fn spread(s: &Space<'_>, q: Quantity) -> f64 {
    let (least, most, _) = range(s, q);
    most - least
}

fn keep(best: &mut Option<Choice>, choice: Choice, keys: &[Quantity]) {
    if best.as_ref().is_none_or(|b| order(keys, &choice, b).is_lt()) {
        *best = Some(choice);
    }
}

/// Exchanges single candidates: to keep the limits, and then to lower the objective.
fn improve(s: &Space<'_>, mut choice: Choice) -> Choice {
    let p = s.p;
    // How far limits are exceeded, each relative to itself; then the objective.
    let key = |c: &Choice| {
        let over = p.limits.limited().map(|q| {
            let limit = p.limits.of(q);
            (c.totals.get(q) - limit).max(0.0) / limit.abs().max(f64::MIN_POSITIVE)
        });
        (over.sum::<f64>(), c.totals.get(p.objective))
    };
    let mut now = key(&choice);
    for _ in 0..s.blocks.len() {
        let mut better = None;
        for (i, block) in s.blocks.iter().enumerate() {
            for item in block {
                let mut picks = choice.picks.clone();
                picks[i] = item.index;
                let Ok(other) = p.choice(picks, 0.0) else { continue };
                let value = key(&other);
                if value < now {
                    (now, better) = (value, Some(other));
                }
            }
        }
        match better {
            Some(other) => choice = other,
            None => break,
        }
    }
    choice
}
