//! The problem: blocks, candidates, limits, pairs; and the sum that judges a choice.

use super::{Costs, Limits, NoChoice, ProblemError, Quantity};

/// Sums of whole numbers stay below this, so that they are exact in `f64`.
const EXACT: u64 = 1 << 53;

/// Extra loss where two candidates of different blocks are chosen together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The earlier block, and its candidate.
    pub earlier: (usize, usize),
    /// The later block, and its candidate.
    pub later: (usize, usize),
    /// Loss added; may be negative.
    pub loss: f64,
}

/// One candidate of each block, and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The candidate of each block.
    pub picks: Vec<usize>,
    /// What the whole network costs, by [`Problem::judge`].
    pub totals: Costs,
    /// No choice has an objective below this one's by more than `gap`, in the objective's unit.
    /// Zero for a proven optimum.
    pub gap: f64,
}

/// Which candidate of each block to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The candidates of each block.
    pub blocks: Vec<Vec<Costs>>,
    /// What the fixed part of the network costs; its peak is that of the fixed stretches.
    pub base: Costs,
    /// Upper limits.
    pub limits: Limits,
    /// Deviations from the additive model of loss.
    pub pairs: Vec<Pair>,
    /// The sum to minimize. Ties are broken by loss, latency, bytes, peak, and the picks in
    /// lexicographic order.
    pub objective: Quantity,
    /// Most labels that a search creates.
    pub effort: usize,
}

impl Problem {
    /// Default for [`effort`](Self::effort): seconds of search, hundreds of MB.
    pub const EFFORT: usize = 4_000_000;

    /// Least loss without limits.
    pub fn new(blocks: Vec<Vec<Costs>>, base: Costs) -> Self {
        Self {
            blocks,
            base,
            limits: Limits::default(),
            pairs: Vec::new(),
            objective: Quantity::Loss,
            effort: Self::EFFORT,
        }
    }

    /// Checks that the problem is well formed.
    ///
    /// # Errors
    /// [`ProblemError`] says what is wrong.
    pub fn check(&self) -> Result<(), ProblemError> {
        if self.blocks.is_empty() {
            return Err(ProblemError::NoBlocks);
        }
        if !self.objective.is_sum() {
            return Err(ProblemError::Objective);
        }
        for (block, candidates) in self.blocks.iter().enumerate() {
            let found = candidates.len();
            if found == 0 || found >= usize::from(u16::MAX) {
                return Err(ProblemError::Candidates { block, found });
            }
        }
        for costs in self.blocks.iter().flatten().chain([&self.base]) {
            for (q, v) in Quantity::ALL.into_iter().zip(costs.values()) {
                if !v.is_finite() || (v < 0.0 && q != Quantity::Loss) {
                    return Err(ProblemError::Number(q));
                }
            }
        }
        for q in Quantity::ALL {
            let limit = self.limits.of(q);
            if limit.is_nan() || limit == f64::NEG_INFINITY {
                return Err(ProblemError::Number(q));
            }
        }
        self.check_sums()?;
        self.check_pairs()
    }

    fn check_sums(&self) -> Result<(), ProblemError> {
        let sum = |of: fn(&Costs) -> u64| {
            let largest = self.blocks.iter().map(|b| b.iter().map(of).max().unwrap_or(0));
            largest.fold(of(&self.base), u64::saturating_add)
        };
        for (q, of) in
            [(Quantity::Bytes, (|c| c.bytes) as fn(&Costs) -> u64), (Quantity::Macs, |c| c.macs)]
        {
            if sum(of) >= EXACT {
                return Err(ProblemError::Large(q));
            }
        }
        let peaks = self.blocks.iter().flatten().chain([&self.base]).map(|c| c.peak);
        if peaks.max().is_some_and(|p| p >= EXACT) {
            return Err(ProblemError::Large(Quantity::Peak));
        }
        Ok(())
    }

    fn check_pairs(&self) -> Result<(), ProblemError> {
        let exists = |(i, a): (usize, usize)| self.blocks.get(i).is_some_and(|b| a < b.len());
        for (at, pair) in self.pairs.iter().enumerate() {
            if !pair.loss.is_finite() {
                return Err(ProblemError::Number(Quantity::Loss));
            }
            if pair.earlier.0 >= pair.later.0 || !exists(pair.earlier) || !exists(pair.later) {
                return Err(ProblemError::Pair(at));
            }
        }
        let mut sorted: Vec<usize> = (0..self.pairs.len()).collect();
        let key = |at: usize| (self.pairs[at].earlier, self.pairs[at].later);
        sorted.sort_by_key(|&at| key(at));
        match sorted.windows(2).find(|w| key(w[0]) == key(w[1])) {
            Some(w) => Err(ProblemError::Duplicate(w[0], w[1])),
            None => Ok(()),
        }
    }

    /// What a choice costs. Every total in this module comes from here.
    ///
    /// # Errors
    /// [`ProblemError::Picks`] if the picks do not name one candidate of each block.
    pub fn judge(&self, picks: &[usize]) -> Result<Costs, ProblemError> {
        let wrong = || ProblemError::Picks { blocks: self.blocks.len(), picks: picks.to_vec() };
        if picks.len() != self.blocks.len() {
            return Err(wrong());
        }
        let mut totals = self.base;
        let chosen = |(i, a): (usize, usize)| picks.get(i) == Some(&a);
        let mut pairs: Vec<&Pair> =
            self.pairs.iter().filter(|p| chosen(p.earlier) && chosen(p.later)).collect();
        pairs.sort_by_key(|p| (p.later, p.earlier));
        let mut pairs = pairs.into_iter().peekable();
        // Sums are taken in the order of the search, so that they are equal to the last bit.
        for (i, (block, &pick)) in self.blocks.iter().zip(picks).enumerate() {
            totals = totals.join(block.get(pick).ok_or_else(wrong)?);
            while let Some(pair) = pairs.next_if(|p| p.later.0 == i) {
                totals.loss += pair.loss;
            }
        }
        Ok(totals)
    }

    /// A choice with these picks.
    pub(super) fn choice(&self, picks: Vec<usize>, gap: f64) -> Result<Choice, NoChoice> {
        let totals = self.judge(&picks)?;
        Ok(Choice { picks, totals, gap })
    }

    /// Quantities that break ties, after the objective and before peak and picks.
    pub(super) fn ties(&self) -> Vec<Quantity> {
        let order = [Quantity::Loss, Quantity::Latency, Quantity::Bytes];
        order.into_iter().filter(|&q| q != self.objective).collect()
    }
}

/// Order of two choices: by these quantities, and then the picks.
pub(super) fn order(by: &[Quantity], a: &Choice, b: &Choice) -> std::cmp::Ordering {
    let values = by.iter().map(|&q| a.totals.get(q).total_cmp(&b.totals.get(q)));
    let first = values.into_iter().find(|o| o.is_ne());
    first.unwrap_or_else(|| a.picks.cmp(&b.picks))
}
