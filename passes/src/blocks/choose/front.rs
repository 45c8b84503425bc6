//! The Pareto front, by the labels of [`exact`](super::exact) without an objective.

use super::bounds::{Bounds, range};
use super::dominance::{DIMS, Ranks, dominated};
use super::labels::Search;
use super::problem::order;
use super::space::Space;
use super::{Choice, NoChoice, Problem, ProblemError, Quantity, explain};

/// Resolutions of each axis, relative to its range, tried in turn if the labels exceed the effort.
const EPSILONS: [f64; 3] = [1e-3, 1e-2, 1e-1];

/// Choices of which none is at least as good as another on all axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Front {
    /// The choices, by the first axis ascending. Of choices that are equal on all axes there is
    /// one.
    pub choices: Vec<Choice>,
    /// How many choices of the front were left out to keep to the number of points.
    pub omitted: usize,
    /// Zero if the front is exact. Otherwise the labels exceeded [`Problem::effort`], and for each
    /// possible choice there was one that is worse on each axis by at most this share of the
    /// axis's range. Limits on other quantities count as axes there.
    pub epsilon: f64,
}

/// The whole Pareto front on these axes, among choices that keep the limits; at most `points` of
/// it: the best on each axis, and then repeatedly the one farthest from those taken.
///
/// # Errors
/// [`NoChoice::Infeasible`] and [`NoChoice::Invalid`] as for [`exact`](super::exact);
/// [`NoChoice::Undecided`] if even rounded labels exceed the effort.
pub fn front(p: &Problem, axes: &[Quantity], points: usize) -> Result<Front, NoChoice> {
    let twice = (1..axes.len()).any(|i| axes[..i].contains(&axes[i]));
    if axes.len() < 2 || twice || points < axes.len() {
        return Err(ProblemError::Axes.into());
    }
    let mut s = Space::new(p)?;
    if s.is_empty() {
        return Err(explain::infeasible(p)?);
    }
    let mut dims = axes.to_vec();
    dims.extend(p.limits.limited().filter(|q| q.is_sum() && !axes.contains(q)));
    let rest = [Quantity::Loss, Quantity::Latency, Quantity::Bytes];
    let rest = rest.into_iter().filter(|q| !axes.contains(q));
    let ties: Vec<Quantity> = axes[1..].iter().copied().chain(rest).collect();
    s.reduce(&dims, &ties);
    let bounds = Bounds::of_limits(&s);
    let search = |grid| Search {
        s: &s,
        bounds: &bounds,
        dims: dims.clone(),
        ties: ties.clone(),
        width: usize::MAX,
        effort: p.effort,
        grid,
    };
    let exact = search(None).run(f64::INFINITY).map(|found| (found, 0.0));
    let rounded = || {
        EPSILONS.into_iter().find_map(|epsilon| {
            let cells = dims.iter().map(|&q| cell(&s, q, epsilon)).collect();
            search(Some(cells)).run(f64::INFINITY).map(|found| (found, epsilon))
        })
    };
    let (found, epsilon) = exact.or_else(rounded).ok_or(NoChoice::Undecided(p.effort))?;
    let all = found.labels.into_iter().map(|(_, picks)| p.choice(picks, 0.0));
    let mut all = all.collect::<Result<Vec<Choice>, _>>()?;
    if all.is_empty() {
        // Rounded labels may have lost the last choice; the explanation then says so.
        return Err(explain::infeasible(p)?);
    }
    let mut keys = axes.to_vec();
    keys.extend(&ties[axes.len() - 1..]);
    keys.push(Quantity::Peak);
    all.sort_by(|a, b| order(&keys, a, b));
    let mut gone = beaten(&all, axes).into_iter();
    all.retain(|_| !gone.next().unwrap_or(false));
    let kept = spread(&all, axes, points);
    let omitted = all.len() - kept.len();
    let choices = kept.into_iter().map(|i| all[i].clone()).collect();
    Ok(Front { choices, omitted, epsilon })
}

/// Size of a cell of the grid: errors add up over the blocks where values do. Peaks stay exact.
fn cell(s: &Space<'_>, q: Quantity, epsilon: f64) -> f64 {
    let (least, most, _) = range(s, q);
    if q.is_sum() { epsilon * (most - least) / s.blocks.len() as f64 } else { 1.0 }
}

/// Which choices, given in order, another beats on these axes.
fn beaten(all: &[Choice], axes: &[Quantity]) -> Vec<bool> {
    let mut ranks: Vec<Ranks> = (0..all.len() as u32).map(|i| [i; DIMS]).collect();
    for (dim, &q) in axes.iter().enumerate().skip(1) {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| all[a].totals.get(q).total_cmp(&all[b].totals.get(q)));
        for (rank, i) in order.into_iter().enumerate() {
            ranks[i][dim] = rank as u32;
        }
    }
    dominated(&ranks, axes.len())
}

/// At most `points` positions, spread evenly over the ranges of the axes.
fn spread(all: &[Choice], axes: &[Quantity], points: usize) -> Vec<usize> {
    if all.len() <= points {
        return (0..all.len()).collect();
    }
    let value = |i: usize, q: Quantity| all[i].totals.get(q);
    let ends = axes.iter().map(|&q| {
        let values = || (0..all.len()).map(|i| value(i, q));
        let least = values().fold(f64::INFINITY, f64::min);
        (q, (values().fold(f64::NEG_INFINITY, f64::max) - least).max(f64::MIN_POSITIVE))
    });
    let ends: Vec<(Quantity, f64)> = ends.collect();
    let apart = |i: usize, j: usize| -> f64 {
        ends.iter().map(|&(q, range)| ((value(i, q) - value(j, q)) / range).powi(2)).sum()
    };
    let mut kept = Vec::new();
    let mut near = vec![f64::INFINITY; all.len()];
    let mut take = |i: usize, near: &mut Vec<f64>| {
        if near[i] > 0.0 {
            kept.push(i);
            near.iter_mut().enumerate().for_each(|(j, d)| *d = d.min(apart(i, j)));
        }
    };
    for &q in axes {
        let best = (0..all.len()).min_by(|&a, &b| value(a, q).total_cmp(&value(b, q)));
        take(best.unwrap_or(0), &mut near);
    }
    for _ in axes.len()..points {
        let far = (0..all.len()).rev().max_by(|&a, &b| near[a].total_cmp(&near[b]));
        take(far.unwrap_or(0), &mut near);
    }
    kept.sort_unstable();
    kept
}
