//! Lower bounds on what the remaining blocks add, and first choices found on the way.
//!
//! 1. Of each limited sum: the least that the remaining blocks can add.
//! 2. Of the objective: the Lagrangian relaxation of the limits. For any multipliers λ ≥ 0, no
//!    completion has an objective below min Σ (objective + λ·use) − λ·limit, which falls apart into
//!    blocks; pairs of adjacent blocks are kept by dynamic programming along the row. The best
//!    multipliers give the bound of the linear relaxation; they are found by the subgradient
//!    method (Kellerer, Pferschy and Pisinger 2004, sections 3.8 and 11.2). Several vectors of
//!    multipliers are used, since a prefix may have used more or less than its share.

use super::Quantity;
use super::space::{Item, Space};

/// Relative tolerance where sums are compared that were added up in different orders.
pub(super) const ROOM: f64 = 1e-10;

/// Steps of the subgradient method.
const STEPS: usize = 400;

/// Least weighted sum of the blocks after a block, by its candidate.
struct Rest {
    weights: [f64; 6],
    /// Constant term.
    offset: f64,
    after: Vec<Vec<f64>>,
    /// Bound on everything.
    whole: f64,
}

impl Rest {
    fn new(s: &Space<'_>, weights: [f64; 6], offset: f64) -> Self {
        let n = s.blocks.len();
        let mut after: Vec<Vec<f64>> = s.blocks.iter().map(|b| vec![0.0; b.len()]).collect();
        for j in (1..n).rev() {
            let costs: Vec<f64> =
                s.blocks[j].iter().zip(&after[j]).map(|(b, r)| cost(&weights, b) + r).collect();
            let apart = costs.iter().copied().fold(f64::INFINITY, f64::min);
            let chained = s.has_adjacent(j);
            for (a, rest) in s.blocks[j - 1].iter().zip(&mut after[j - 1]) {
                *rest = if chained {
                    let loss = weights[Quantity::Loss as usize];
                    let pairs = s.blocks[j].iter().map(|b| loss * s.adjacent(j, a, b));
                    pairs.zip(&costs).map(|(p, c)| p + c).fold(f64::INFINITY, f64::min)
                } else {
                    apart
                };
            }
        }
        let first = s.blocks[0].iter().zip(&after[0]).map(|(b, r)| cost(&weights, b) + r);
        let base: f64 = weights.iter().zip(&s.base).map(|(w, b)| w * b).sum();
        let whole = first.fold(f64::INFINITY, f64::min) + base - offset;
        Self { weights, offset, after, whole }
    }

    fn bound(&self, values: &[f64; 6], block: usize, item: usize) -> f64 {
        let sum: f64 = self.weights.iter().zip(values).map(|(w, v)| w * v).sum();
        sum + self.after[block][item] - self.offset
    }

    /// The candidates at which the bound is attained, as positions in the space.
    fn picks(&self, s: &Space<'_>) -> Vec<usize> {
        let mut picks: Vec<usize> = Vec::with_capacity(s.blocks.len());
        for (j, block) in s.blocks.iter().enumerate() {
            let before = picks.last().map(|&a| &s.blocks[j - 1][a]);
            let key = |b: usize| {
                let pair = before.map_or(0.0, |a| s.adjacent(j, a, &block[b]));
                let loss = self.weights[Quantity::Loss as usize];
                cost(&self.weights, &block[b]) + self.after[j][b] + loss * pair
            };
            let least = (0..block.len()).min_by(|&a, &b| key(a).total_cmp(&key(b)));
            picks.push(least.unwrap_or(0));
        }
        picks
    }
}

fn cost(weights: &[f64; 6], item: &Item) -> f64 {
    let sum: f64 = weights.iter().zip(&item.values).map(|(w, v)| w * v).sum();
    sum + weights[Quantity::Loss as usize] * item.low
}

/// A limited sum.
struct Limited {
    at: usize,
    limit: f64,
    /// Difference between the largest and the least sum; a unit for multipliers.
    spread: f64,
    room: f64,
    rest: Rest,
}

pub(super) struct Bounds {
    limited: Vec<Limited>,
    lagrangian: Vec<Rest>,
    /// Tolerance in the objective.
    pub room: f64,
}

impl Bounds {
    /// Bounds from the limits alone.
    pub fn of_limits(s: &Space<'_>) -> Self {
        let sums = s.p.limits.limited().filter(|q| q.is_sum());
        let limited = sums.map(|q| {
            let (least, most, size) = range(s, q);
            let limit = s.p.limits.of(q);
            let rest = Rest::new(s, unit(q), 0.0);
            Limited { at: q as usize, limit, spread: most - least, room: ROOM * size, rest }
        });
        Self { limited: limited.collect(), lagrangian: Vec::new(), room: 0.0 }
    }

    /// Bounds from the limits and the objective. `take` is given choices that the relaxation
    /// proposes, as positions in the space.
    pub fn new(s: &Space<'_>, take: &mut dyn FnMut(&[usize]) -> Option<f64>) -> Self {
        let mut bounds = Self::of_limits(s);
        let objective = s.p.objective;
        let (least, most, size) = range(s, objective);
        let start = vec![0.0; bounds.limited.len()];
        let plain = bounds.relax(s, &start);
        let mut best = (plain.whole, start.clone());
        let mut upper = take(&plain.picks(s)).unwrap_or(f64::INFINITY);
        let (mut at, mut rate, mut idle) = (start, 1.0, 0);
        bounds.lagrangian.push(plain);
        for _ in 0..STEPS {
            let rest = bounds.relax(s, &at);
            let picks = rest.picks(s);
            upper = upper.min(take(&picks).unwrap_or(f64::INFINITY));
            idle += 1;
            if rest.whole > best.0 {
                best = (rest.whole, at.clone());
                idle = 0;
            }
            if idle > 12 {
                (rate, idle) = (rate / 2.0, 0);
                at.clone_from(&best.1);
                continue;
            }
            let excess: Vec<f64> = bounds.limited.iter().map(|l| l.excess(s, &picks)).collect();
            let norm: f64 = excess.iter().map(|e| e * e).sum();
            let target = if upper.is_finite() { upper } else { rest.whole + (most - least) };
            let distance = (target - rest.whole).max(1e-6 * (most - least));
            if norm == 0.0 || distance <= 0.0 {
                break;
            }
            for (at, e) in at.iter_mut().zip(&excess) {
                *at = (*at + rate * distance / norm * e).max(0.0);
            }
        }
        let mut all = vec![best.1.clone()];
        for i in 0..best.1.len() {
            for factor in [0.5, 0.8, 1.25, 2.0] {
                let mut near = best.1.clone();
                near[i] *= factor;
                all.push(near);
            }
        }
        all.retain(|m| m.iter().any(|&m| m > 0.0));
        all.dedup();
        for m in all {
            let rest = bounds.relax(s, &m);
            bounds.lagrangian.push(rest);
        }
        let offsets = bounds.lagrangian.iter().map(|r| r.offset.abs());
        bounds.room = ROOM * (size + offsets.fold(0.0, f64::max));
        bounds
    }

    /// The relaxation at multipliers in units of each spread.
    fn relax(&self, s: &Space<'_>, multipliers: &[f64]) -> Rest {
        let mut weights = unit(s.p.objective);
        let mut offset = 0.0;
        for (l, m) in self.limited.iter().zip(multipliers).filter(|(l, _)| l.spread > 0.0) {
            weights[l.at] += m / l.spread;
            offset += m / l.spread * l.limit;
        }
        Rest::new(s, weights, offset)
    }

    /// Whether a prefix that ends with this candidate may keep all limits. Exact for the last block.
    pub fn allow(&self, values: &[f64; 6], block: usize, item: usize) -> bool {
        self.limited.iter().all(|l| {
            let room = if block + 1 == l.rest.after.len() { 0.0 } else { l.room };
            l.rest.bound(values, block, item) <= l.limit + room
        })
    }

    /// Lower bound on the objective of a prefix that ends with this candidate; may stop early at
    /// any bound above `enough`.
    pub fn objective(&self, values: &[f64; 6], block: usize, item: usize, enough: f64) -> f64 {
        let mut bound = f64::NEG_INFINITY;
        for rest in &self.lagrangian {
            bound = bound.max(rest.bound(values, block, item));
            if bound > enough {
                break;
            }
        }
        bound
    }
}

impl Limited {
    /// How far picks exceed the limit, in units of the spread.
    fn excess(&self, s: &Space<'_>, picks: &[usize]) -> f64 {
        if self.spread <= 0.0 {
            return 0.0;
        }
        let chosen = s.blocks.iter().zip(picks).map(|(b, &a)| b[a].values[self.at]);
        (chosen.sum::<f64>() + s.base[self.at] - self.limit) / self.spread
    }
}

fn unit(q: Quantity) -> [f64; 6] {
    let mut weights = [0.0; 6];
    weights[q as usize] = 1.0;
    weights
}

/// Least and largest sum without pairs, and the sum of magnitudes with them.
pub(super) fn range(s: &Space<'_>, q: Quantity) -> (f64, f64, f64) {
    let at = q as usize;
    let mut found = (s.base[at], s.base[at], s.base[at].abs());
    for block in &s.blocks {
        let values = || block.iter().map(|i| i.values[at]);
        found.0 += values().fold(f64::INFINITY, f64::min);
        found.1 += values().fold(f64::NEG_INFINITY, f64::max);
        found.2 += values().map(f64::abs).fold(0.0, f64::max);
    }
    if q == Quantity::Loss {
        found.2 += s.p.pairs.iter().map(|p| p.loss.abs()).sum::<f64>();
    }
    found
}
