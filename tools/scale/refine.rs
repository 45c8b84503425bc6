//! New variants around a choice.

use graph_opt_backends::scale::dataset::Dataset;
use graph_opt_passes::blocks::choose::Problem;

use super::Scaler;
use crate::failure::{Result, usage};
use crate::progress::Progress;
use crate::workshop::Workshop;

/// Sparsities that are nearer to each other are not told apart.
const NEAREST: f64 = 0.02;

impl Scaler<'_> {
    /// Adds variants halfway between the chosen sparsity of each block and the next ones, in rounds, until the choice
    /// has none that are farther apart. They stay in the folder.
    pub(super) fn refine(
        &mut self,
        mut problem: Problem,
        rounds: usize,
        measure: &Dataset,
        progress: &Progress,
    ) -> Result<Problem> {
        let Some(fit) = &self.fit else { return Err(usage("--refine needs --fit")) };
        let workshop = Workshop::new(self.graph, fit.clone(), measure.clone(), &self.args.how)?;
        for round in 0..rounds {
            let (choice, _) = self.choose(&problem, progress)?;
            let mut added = 0;
            for (b, &pick) in choice.picks.iter().enumerate() {
                let known: Vec<f64> =
                    self.manifest.blocks[b].variants.iter().filter_map(|v| v.sparsity).collect();
                let at = self.variant(b, pick).sparsity.unwrap_or(0.0);
                let new = between(at, &known);
                if new.is_empty() {
                    continue;
                }
                progress.say(&format!("round {}, block {}", round + 1, b + 1));
                let block = &self.blocks[b];
                let made = workshop.made(b, block, &new)?;
                let mut variants = workshop.variants(block, made, &self.args.folder)?;
                let entry = &mut self.manifest.blocks[b];
                // Times are measured beside the block as it is, which may be slower today.
                let today = variants.remove(0).costs.seconds.max(f64::MIN_POSITIVE);
                for mut v in variants {
                    v.costs.seconds *= entry.variants[0].costs.seconds / today;
                    entry.variants.push(v);
                    added += 1;
                }
            }
            if added == 0 {
                break;
            }
            self.manifest.write(&self.args.folder)?;
            problem = self.problem()?;
        }
        Ok(problem)
    }
}

/// Sparsities halfway from this one to the next known ones on both sides, to three digits.
fn between(at: f64, known: &[f64]) -> Vec<f64> {
    let below = known.iter().copied().filter(|s| *s < at).fold(0.0, f64::max);
    let above = known.iter().copied().filter(|s| *s > at).fold(1.0, f64::min);
    let half = |to: f64| ((at + to) * 500.0).round() / 1000.0;
    let far = |to: &f64| (at - to).abs() > NEAREST && *to < 1.0;
    [below, above].into_iter().filter(far).map(half).collect()
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn sparsities_are_halved_on_both_sides() {
        assert_eq!(between(0.3, &[0.0, 0.3, 0.6, 0.8]), [0.15, 0.45]);
        assert_eq!(between(0.0, &[0.0, 0.3]), [0.15]);
        assert_eq!(between(0.8, &[0.0, 0.6, 0.8]), [0.7]);
        assert_eq!(between(0.31, &[0.3, 0.31, 0.32]), [0.0; 0]);
    }
}
