//! Losses of combinations as they are measured, where those of blocks do not add up.

use std::collections::BTreeMap;

use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_ir::Graph;
use graph_opt_passes::blocks::choose::{
    Choice, Correction, Fit, Measurement, Pair, Problem, Quantity,
};
use graph_opt_passes::count;

use super::{Candidate, Scaler};
use crate::failure::{Result, does_not_fit, say, usage};
use crate::judge::Judge;
use crate::progress::Progress;

/// Most choices of a corrected problem that are measured, too, because they have not been.
const ROUNDS: usize = 16;

/// Combinations that were measured.
struct Table<'a> {
    judge: Judge,
    scaler: &'a Scaler<'a>,
    /// Loss with its standard error, by the picks.
    losses: BTreeMap<Vec<usize>, (f64, f64)>,
}

impl Table<'_> {
    /// Measures a combination, if it has not been yet.
    fn measure(&mut self, picks: &[usize]) -> Result {
        if !self.losses.contains_key(picks) {
            let (_, loss) = self.judge.judge(&self.scaler.spliced(picks)?)?;
            self.losses.insert(picks.to_vec(), (loss.value, loss.error.unwrap_or(0.0)));
        }
        Ok(())
    }

    /// Terms of pairs that explain what was measured.
    fn correction(&self, problem: &Problem) -> Result<Correction> {
        // Where no sample changes its answer, the standard error is not zero: one could have.
        let most = self.losses.values().map(|(l, _)| l.abs()).fold(f64::MIN_POSITIVE, f64::max);
        let least = most / self.judge.samples().max(1) as f64;
        let one = |(picks, &(loss, error)): (&Vec<usize>, &(f64, f64))| Measurement {
            picks: picks.clone(),
            loss,
            error: error.max(least),
        };
        let all: Vec<Measurement> = self.losses.iter().map(one).collect();
        Correction::fit(problem, &all, Fit::default()).map_err(usage)
    }

    /// The problem with terms of pairs, which hold for candidates in tiles, too.
    fn corrected(&self, problem: &Problem, correction: &Correction) -> Problem {
        let mut all = correction.clone();
        let twins = |(b, p): (usize, usize)| {
            let table = &self.scaler.table[b];
            (0..table.len()).filter(move |&q| table[q].variant == table[p].variant)
        };
        all.pairs.clear();
        for pair in &correction.pairs {
            for p in twins(pair.earlier) {
                for q in twins(pair.later) {
                    let (earlier, later) = ((pair.earlier.0, p), (pair.later.0, q));
                    all.pairs.push(Pair { earlier, later, loss: pair.loss });
                }
            }
        }
        all.apply(problem)
    }
}

impl Scaler<'_> {
    /// Measures combinations, corrects the problem by them, measures what is best then, and so on until the best has
    /// been measured. Gives the corrected problem, and the best that was measured and keeps the limits.
    pub(super) fn by_combinations(
        &self,
        problem: Problem,
        most: usize,
        data: Dataset,
        progress: &Progress,
    ) -> Result<(Problem, (Choice, Graph))> {
        let judge = Judge::new(self.graph, data)?;
        let mut table = Table { judge, scaler: self, losses: BTreeMap::new() };
        let drawn = self.drawn(&problem, most)?;
        for (i, picks) in drawn.iter().enumerate() {
            progress.say(&format!("combination {} of {}", i + 1, drawn.len()));
            table.measure(picks)?;
        }
        let mut correction = table.correction(&problem)?;
        let mut corrected = table.corrected(&problem, &correction);
        for _ in 0..ROUNDS {
            let (choice, _) = self.choose(&corrected, progress)?;
            let picks = self.untiled(&choice.picks);
            if table.losses.contains_key(&picks) {
                break;
            }
            table.measure(&picks)?;
            correction = table.correction(&problem)?;
            corrected = table.corrected(&problem, &correction);
        }
        say(format!(
            "{} measured: {} deviate from the sum of losses by more than {} standard errors; residuals {:.2} standard \
             errors, {:.2} with {} of pairs ({:.2} where left out)",
            count(table.losses.len(), "combination"),
            correction.deviating,
            Fit::default().errors,
            correction.before,
            correction.after,
            count(correction.pairs.len(), "term"),
            correction.left_out,
        ));
        let mut all: Vec<(f64, Vec<usize>)> =
            table.losses.into_iter().map(|(picks, (loss, _))| (loss, picks)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (loss, picks) in all {
            let totals = corrected.judge(&picks).map_err(usage)?;
            // The peak is that of the whole network, perhaps in tiles.
            let mut all = Quantity::ALL.into_iter().zip(totals.values());
            if all.any(|(q, value)| q.is_sum() && value > problem.limits.of(q)) {
                continue;
            }
            if let Some(network) = self.keeps_limits(&picks)? {
                let predicted = totals.loss;
                say(format!(
                    "the best measured that keeps the limits loses {loss:.4}, predicted {predicted:.4}"
                ));
                return Ok((corrected, (Choice { picks, totals, gap: 0.0 }, network)));
            }
        }
        Err(does_not_fit(
            "none of the combinations that were measured keeps the limits; raise --combinations",
        ))
    }

    /// The same variants, none in tiles, which change no result.
    fn untiled(&self, picks: &[usize]) -> Vec<usize> {
        let one = |(table, &p): (&Vec<Candidate>, &usize)| {
            let same = |c: &Candidate| !c.tiled && c.variant == table[p].variant;
            table.iter().position(same).unwrap_or(p)
        };
        self.table.iter().zip(picks).map(one).collect()
    }

    /// Combinations to measure: all, if there are no more than asked for; else the front of loss and work, and the
    /// rest at random.
    fn drawn(&self, problem: &Problem, most: usize) -> Result<Vec<Vec<usize>>> {
        let whole = |b: usize| -> Vec<usize> {
            (0..self.table[b].len()).filter(|&p| !self.table[b][p].tiled).collect()
        };
        let picks: Vec<Vec<usize>> = (0..self.table.len()).map(whole).collect();
        let all = picks.iter().try_fold(1usize, |n, p| n.checked_mul(p.len()));
        if let Some(all) = all.filter(|&n| n <= most) {
            let nth = |mut n: usize| -> Vec<usize> {
                let digit = |p: &Vec<usize>| {
                    let pick = p[n % p.len()];
                    n /= p.len();
                    pick
                };
                picks.iter().map(digit).collect()
            };
            return Ok((0..all).map(nth).collect());
        }
        let front = self.by_work(problem, (most / 2).max(2))?;
        let mut drawn: Vec<Vec<usize>> = front.iter().map(|c| self.untiled(&c.picks)).collect();
        let mut draw = fastrand::Rng::with_seed(0);
        while drawn.len() < most {
            drawn.push(picks.iter().map(|p| p[draw.usize(..p.len())]).collect());
        }
        Ok(drawn)
    }
}
