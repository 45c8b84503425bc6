//! Which limits cannot be met.

use super::exact::solve;
use super::{Infeasible, Limits, NoChoice, Problem, Quantity, Shortfall};

/// The error for a problem without a choice.
///
/// Limits are tried alone, and then in sets of two, three, … until a set conflicts, so that the set
/// reported is a smallest one.
///
/// # Errors
/// [`NoChoice::Undecided`] if a search ran out of labels.
pub(super) fn infeasible(p: &Problem) -> Result<NoChoice, NoChoice> {
    let limited: Vec<Quantity> = p.limits.limited().collect();
    let mut alone = Vec::new();
    for &q in &limited {
        alone.extend(shortfall(p, &[q])?);
    }
    if !alone.is_empty() {
        return Ok(NoChoice::Infeasible(Infeasible::Alone(alone)));
    }
    for size in 2..=limited.len() {
        for limits in subsets(&limited, size) {
            if let Some(shortfall) = shortfall(p, &limits)? {
                return Ok(NoChoice::Infeasible(Infeasible::Together { limits, shortfall }));
            }
        }
    }
    Err(NoChoice::Undecided(p.effort))
}

/// Whether the first sum of `limits` cannot be met while the others are kept. They can be met
/// without it.
fn shortfall(p: &Problem, limits: &[Quantity]) -> Result<Option<Shortfall>, NoChoice> {
    let Some(&q) = limits.iter().find(|q| q.is_sum()) else {
        let peak = Quantity::Peak;
        let at = |c: &super::Costs| c.get(peak);
        let blocks = p.blocks.iter().map(|b| b.iter().map(at).fold(f64::INFINITY, f64::min));
        let least = blocks.fold(at(&p.base), f64::max);
        let limit = p.limits.of(peak);
        return Ok((least > limit).then_some(Shortfall { quantity: peak, limit, least }));
    };
    let others: Vec<Quantity> = limits.iter().copied().filter(|&o| o != q).collect();
    let relaxed = Problem { objective: q, limits: p.limits.only(&others), ..p.clone() };
    let Some(choice) = solve(&relaxed)? else { return Ok(None) };
    let (least, limit) = (choice.totals.get(q), p.limits.of(q));
    if least <= limit {
        return Ok(None);
    }
    if least - choice.gap <= limit {
        return Err(NoChoice::Undecided(p.effort));
    }
    Ok(Some(Shortfall { quantity: q, limit, least }))
}

/// All subsets of a size, in order.
fn subsets(all: &[Quantity], size: usize) -> Vec<Vec<Quantity>> {
    let Some(rest) = size.checked_sub(1) else { return vec![Vec::new()] };
    let mut found = Vec::new();
    for (i, &first) in all.iter().enumerate() {
        for mut tail in subsets(&all[i + 1..], rest) {
            tail.insert(0, first);
            found.push(tail);
        }
    }
    found
}

impl Problem {
    /// The same problem with other limits.
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits, ..self.clone() }
    }
}
