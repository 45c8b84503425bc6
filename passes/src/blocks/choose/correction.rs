//! Terms of pairs, where measured combinations deviate from the sum of losses.
//!
//! The loss of a combination is the sum of the losses of its candidates, each measured alone, as
//! LegoDNN assumes. Where measurements of combinations deviate by more than their standard error,
//! terms of pairs are fitted:
//!
//! 1. Of all pairs in scope, the one whose mean residual is most standard errors from zero is
//!    added, as in orthogonal matching pursuit.
//! 2. All terms are fitted again by ridge least squares, weighted by the standard errors.
//! 3. This ends when no pair deviates enough, or when the residuals with each measurement left out
//!    no longer fall. Those follow from the hat matrix, without fitting again.

use super::{Pair, Problem, ProblemError, Quantity};
use std::collections::BTreeMap;

/// A measured combination.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The candidate of each block.
    pub picks: Vec<usize>,
    /// Loss of the whole network, in the unit of the candidates' losses.
    pub loss: f64,
    /// Standard error of the loss, above zero.
    pub error: f64,
}

/// Which pairs may have terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Candidates of adjacent blocks.
    Adjacent,
    /// Candidates of any blocks, up to this many terms. They keep to what [`exact`](super::exact)
    /// can handle.
    Any(usize),
}

/// How to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Which pairs may have terms.
    pub scope: Scope,
    /// A residual deviates if it exceeds this many standard errors.
    pub errors: f64,
    /// Penalty on squared terms, relative to the mean weight of a term.
    pub ridge: f64,
}

impl Default for Fit {
    fn default() -> Self {
        Self { scope: Scope::Adjacent, errors: 3.0, ridge: 0.05 }
    }
}

/// Terms of pairs, and how well they explain the measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Correction {
    /// The terms, to be added to those of the problem.
    pub pairs: Vec<Pair>,
    /// How many measurements deviated from the problem.
    pub deviating: usize,
    /// Root mean square of the residuals of the problem as it was, in standard errors.
    pub before: f64,
    /// The same with the terms.
    pub after: f64,
    /// The same with the terms, each fitted without the measurement that it predicts.
    pub left_out: f64,
}

type Key = ((usize, usize), (usize, usize));

/// A weighted ridge regression of residuals on terms.
struct Regression {
    terms: Vec<f64>,
    /// Residuals in standard errors.
    residuals: Vec<f64>,
    /// The same, each with its measurement left out.
    left_out: Vec<f64>,
}

impl Correction {
    /// Fits terms to the deviations of measurements from a problem.
    ///
    /// # Errors
    /// [`ProblemError`] if the problem is malformed, a measurement has other blocks, or its standard
    /// error is not above zero.
    pub fn fit(p: &Problem, measured: &[Measurement], fit: Fit) -> Result<Self, ProblemError> {
        p.check()?;
        let mut residuals = Vec::new();
        for m in measured {
            if !m.loss.is_finite() || !m.error.is_finite() || m.error <= 0.0 {
                return Err(ProblemError::Number(Quantity::Loss));
            }
            residuals.push((m.loss - p.judge(&m.picks)?.loss) / m.error);
        }
        let deviates: Vec<bool> = residuals.iter().map(|r| r.abs() > fit.errors).collect();
        let members = members(measured, &deviates, fit.scope);
        let most = match fit.scope {
            Scope::Adjacent => measured.len() / 2,
            Scope::Any(n) => n.min(measured.len() / 2),
        };
        let mut chosen: Vec<Key> = Vec::new();
        let mut now = Regression {
            terms: Vec::new(),
            left_out: residuals.clone(),
            residuals: residuals.clone(),
        };
        while chosen.len() < most {
            let Some(next) = strongest(p, &members, &chosen, measured, &now, fit) else { break };
            chosen.push(next);
            let columns: Vec<&[usize]> = chosen.iter().map(|k| &members[k][..]).collect();
            let Some(new) = regress(&columns, measured, &residuals, fit.ridge) else { break };
            if rms(&new.left_out) >= rms(&now.left_out) {
                break;
            }
            now = new;
        }
        let pair = |(&(earlier, later), &loss): (&Key, &f64)| Pair { earlier, later, loss };
        let mut pairs: Vec<Pair> = chosen.iter().zip(&now.terms).map(pair).collect();
        pairs.sort_by_key(|p| (p.earlier, p.later));
        Ok(Self {
            pairs,
            deviating: deviates.iter().filter(|&&d| d).count(),
            before: rms(&residuals),
            after: rms(&now.residuals),
            left_out: rms(&now.left_out),
        })
    }

    /// The problem with the terms added to its own.
    pub fn apply(&self, p: &Problem) -> Problem {
        let mut corrected = p.clone();
        for new in &self.pairs {
            let same = |o: &&mut Pair| (o.earlier, o.later) == (new.earlier, new.later);
            match corrected.pairs.iter_mut().find(same) {
                Some(old) => old.loss += new.loss,
                None => corrected.pairs.push(*new),
            }
        }
        corrected
    }
}

/// The measurements that contain each pair in scope, if one of them deviates.
fn members(measured: &[Measurement], deviates: &[bool], scope: Scope) -> BTreeMap<Key, Vec<usize>> {
    let mut members: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
    for (at, m) in measured.iter().enumerate() {
        for (i, &a) in m.picks.iter().enumerate() {
            let end = match scope {
                Scope::Adjacent => (i + 2).min(m.picks.len()),
                Scope::Any(_) => m.picks.len(),
            };
            for (j, &b) in m.picks.iter().enumerate().take(end).skip(i + 1) {
                members.entry(((i, a), (j, b))).or_default().push(at);
            }
        }
    }
    members.retain(|_, all| all.iter().any(|&m| deviates[m]));
    members
}

/// The pair whose mean residual is most standard errors from zero, if enough.
fn strongest(
    p: &Problem,
    members: &BTreeMap<Key, Vec<usize>>,
    chosen: &[Key],
    measured: &[Measurement],
    now: &Regression,
    fit: Fit,
) -> Option<Key> {
    let mut best = (fit.errors, None);
    for (&key, all) in members.iter().filter(|(k, _)| !chosen.contains(k)) {
        let sum: f64 = all.iter().map(|&m| now.residuals[m] / measured[m].error).sum();
        let weight: f64 = all.iter().map(|&m| measured[m].error.powi(-2)).sum();
        let score = sum.abs() / weight.sqrt();
        if score > best.0 && can_add(p, chosen, key) {
            best = (score, Some(key));
        }
    }
    best.1
}

/// Whether the searches can handle one more pair.
fn can_add(p: &Problem, chosen: &[Key], key: Key) -> bool {
    let own = p.pairs.iter().map(|p| (p.earlier, p.later));
    let all: Vec<Key> = own.chain(chosen.iter().copied()).chain([key]).collect();
    (0..p.blocks.len()).all(|border| {
        let open = all.iter().filter(|(e, l)| e.0 <= border && border < l.0).map(|(e, _)| e.0);
        open.collect::<std::collections::BTreeSet<usize>>().len() <= super::space::OPEN
    })
}

/// Fits terms; `None` if the equations are singular.
fn regress(
    columns: &[&[usize]],
    measured: &[Measurement],
    residuals: &[f64],
    ridge: f64,
) -> Option<Regression> {
    let n = columns.len();
    let rows: Vec<Vec<f64>> = measured
        .iter()
        .enumerate()
        .map(|(m, of)| {
            let entry = |c: &&[usize]| if c.contains(&m) { 1.0 / of.error } else { 0.0 };
            columns.iter().map(entry).collect()
        })
        .collect();
    let mut normal = vec![vec![0.0; n]; n];
    let mut right = vec![0.0; n];
    for (row, r) in rows.iter().zip(residuals) {
        for i in 0..n {
            right[i] += row[i] * r;
            for j in 0..n {
                normal[i][j] += row[i] * row[j];
            }
        }
    }
    let mean = (0..n).map(|i| normal[i][i]).sum::<f64>() / n as f64;
    (0..n).for_each(|i| normal[i][i] += ridge * mean);
    let factor = cholesky(normal)?;
    let terms = solve(&factor, &right);
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let rest: Vec<f64> = rows.iter().zip(residuals).map(|(row, r)| r - dot(row, &terms)).collect();
    let leverage = rows.iter().map(|row| dot(row, &solve(&factor, row)));
    let left_out = rest.iter().zip(leverage).map(|(r, h)| r / (1.0 - h).max(1e-9)).collect();
    Some(Regression { terms, residuals: rest, left_out })
}

/// Lower triangle L with L·Lᵀ = `a`; `None` unless `a` is positive definite.
fn cholesky(mut a: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    for i in 0..a.len() {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - sum;
            if i != j {
                a[i][j] = rest / a[j][j];
            } else if rest > 0.0 {
                a[i][i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    Some(a)
}

/// Solves L·Lᵀ·x = `right`.
fn solve(l: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut x = right.to_vec();
    for i in 0..x.len() {
        let sum: f64 = (0..i).map(|k| l[i][k] * x[k]).sum();
        x[i] = (x[i] - sum) / l[i][i];
    }
    for i in (0..x.len()).rev() {
        let sum: f64 = (i + 1..x.len()).map(|k| l[k][i] * x[k]).sum();
        x[i] = (x[i] - sum) / l[i][i];
    }
    x
}

/// Root mean square; zero of nothing.
fn rms(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().map(|v| v * v).sum();
    (sum / values.len().max(1) as f64).sqrt()
}
