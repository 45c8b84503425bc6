//! The choice of units whose columns let the readers keep their outputs best, after refitting.
//!
//! Units are removed one after another. The loss that a removal adds, with all remaining weights
//! fitted again, is known in closed form: tr(W_Jᵀ [(H⁻¹)_JJ]⁻¹ W_J), with J the unit's columns and H the
//! Gram matrix plus the ridge. For least squares this is exact. It is the "optimal brain surgeon" of
//! Hassibi & Stork 1993, with the outputs of the layer as the error (He et al. 2017), and blocks of
//! columns in place of single weights. Then pairs are exchanged while the loss falls.

use super::normal::{Error, Normal, check_indices};
use super::sweep::{Entered, Sweep};

/// Units that may enter or leave before everything is computed from the sums again.
const REBUILD: usize = 64;
/// Units, by falling gain, that are tried at once as the entering half of a swap.
const SHORTLIST: usize = 16;
/// A swap must lower the loss by more than this share of it.
const LEAST: f64 = 1e-6;
/// And by more than this share of Σ‖y‖², below which differences are rounding.
const NOISE: f64 = 1e-12;

/// A layer that reads the units.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    /// Its sums.
    pub normal: &'a Normal,
    /// Columns of each unit; a unit may have none in this reader.
    pub units: Vec<Vec<usize>>,
    /// Columns that always stay, such as the bias. Columns that are named nowhere are left out.
    pub fixed: Vec<usize>,
    /// What a loss of 1 in this reader counts, such as 1 / [`Normal::spread`].
    pub weight: f64,
    /// Weights that the ridge pulls towards, width × outputs, row-major; 0 if there are none.
    pub prior: Option<&'a [f64]>,
}

/// How to choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Ridge relative to the mean of the Gram's diagonal over all columns of a reader, as in
    /// [`Normal::lambda`]. It is the same for all selections, so that their losses compare.
    pub ridge: f64,
    /// Most swaps from each start.
    pub swaps: usize,
}

/// Units to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Units, ascending.
    pub keep: Vec<usize>,
    /// Weighted sum of the readers' [`Fit::loss`](super::normal::Fit::loss), fitted from scratch.
    pub loss: f64,
}

/// Chooses units for each of `sizes`, in that order.
///
/// A selection's loss is at most that of each of the `candidates` of its size (lists of units, whose
/// sizes must be among those asked for), and at most that of the selections of smaller sizes. The loss
/// includes the ridge's charge; with a small ridge it is the residual.
///
/// All is deterministic; of equal units the first one leaves. With D columns it takes O(D³) time, and
/// memory of about three matrices of D × D for each reader beside its sums.
///
/// Fails if a shape, column, unit or size does not fit, a weight or the ridge is negative, or the sums
/// are too ill-conditioned.
pub fn select(
    readers: &[Reader<'_>],
    sizes: &[usize],
    candidates: &[Vec<usize>],
    options: &Options,
) -> Result<Vec<Selection>, Error> {
    let units = readers.first().map_or(0, |r| r.units.len());
    let mut order = sizes.to_vec();
    order.sort_unstable();
    order.dedup();
    if let Some(&size) = order.iter().find(|&&s| s > units) {
        return Err(Error::Size(size));
    }
    for candidate in candidates {
        check_indices("unit", candidate.iter().copied(), units)?;
        if !order.contains(&candidate.len()) {
            return Err(Error::Size(candidate.len()));
        }
    }
    let mut state = State::new(readers, units, options)?;
    let mut best: Vec<Option<Selection>> = vec![None; units + 1];
    for &size in order.iter().rev() {
        while state.count() > size {
            state.remove()?;
        }
        state.swap(options.swaps)?;
        record(&mut best, state.fitted(&state.kept())?);
    }
    for candidate in candidates {
        record(&mut best, state.fitted(candidate)?);
        state.set(candidate)?;
        state.swap(options.swaps)?;
        record(&mut best, state.fitted(&state.kept())?);
    }
    // More units never fit worse. Where a search found less, the smaller selection is extended.
    for pair in order.windows(2) {
        let (Some(small), Some(large)) = (&best[pair[0]], &best[pair[1]]) else { continue };
        if small.loss < large.loss {
            state.set(&small.keep.clone())?;
            while state.count() < pair[1] {
                state.insert()?;
            }
            state.swap(options.swaps)?;
            record(&mut best, state.fitted(&state.kept())?);
        }
    }
    Ok(sizes.iter().filter_map(|&size| best[size].clone()).collect())
}

fn record(best: &mut [Option<Selection>], new: Selection) {
    let place = &mut best[new.keep.len()];
    if place.as_ref().is_none_or(|old| new.loss < old.loss) {
        *place = Some(new);
    }
}

/// All readers, with the same units inside.
struct State<'a> {
    sweeps: Vec<Sweep<'a>>,
    inside: Vec<bool>,
    loss: f64,
    /// What a swap must save at least, beside its share of the loss.
    noise: f64,
    age: usize,
}

impl<'a> State<'a> {
    /// With all units inside.
    fn new(readers: &'a [Reader<'a>], units: usize, options: &Options) -> Result<Self, Error> {
        let sweeps: Vec<_> = readers
            .iter()
            .map(|r| Sweep::new(r, units, options.ridge))
            .collect::<Result<_, _>>()?;
        let noise = readers.iter().map(|r| NOISE * r.weight * r.normal.squares()).sum();
        let mut state = Self { sweeps, inside: vec![false; units], loss: 0.0, noise, age: 0 };
        state.set(&(0..units).collect::<Vec<_>>())?;
        Ok(state)
    }

    fn kept(&self) -> Vec<usize> {
        (0..self.inside.len()).filter(|&u| self.inside[u]).collect()
    }

    fn count(&self) -> usize {
        self.inside.iter().filter(|&&i| i).count()
    }

    /// The selection with its loss, fitted from scratch.
    fn fitted(&self, keep: &[usize]) -> Result<Selection, Error> {
        let mut keep = keep.to_vec();
        keep.sort_unstable();
        let mut loss = 0.0;
        for sweep in &self.sweeps {
            let reader = sweep.reader;
            let mut columns = reader.fixed.clone();
            keep.iter().for_each(|&u| columns.extend(&reader.units[u]));
            loss += reader.weight
                * reader.normal.solve_with(&columns, &sweep.ridge, reader.prior)?.loss;
        }
        Ok(Selection { keep, loss })
    }

    /// Starts again with these units inside.
    fn set(&mut self, keep: &[usize]) -> Result<(), Error> {
        self.inside.fill(false);
        keep.iter().for_each(|&u| self.inside[u] = true);
        self.loss = self.fitted(keep)?.loss;
        self.rebuild()
    }

    fn rebuild(&mut self) -> Result<(), Error> {
        self.age = 0;
        self.sweeps.iter_mut().try_for_each(|s| s.rebuild(&self.inside))
    }

    /// Lets a unit enter or leave.
    fn toggle(&mut self, unit: usize) -> Result<(), Error> {
        let enters = !self.inside[unit];
        for sweep in &mut self.sweeps {
            let change = sweep.toggle(unit, enters)?;
            self.loss = (self.loss + sweep.reader.weight * change).max(0.0);
        }
        self.inside[unit] = enters;
        self.age += 1;
        if self.age >= REBUILD { self.rebuild() } else { Ok(()) }
    }

    /// How much the loss rises if a unit that is inside leaves, or falls if one outside enters; after
    /// the changes in `after`, one for each reader. None if rounding spoiled the unit's block.
    fn change(&self, unit: usize, after: &[Entered]) -> Option<f64> {
        let enters = !self.inside[unit];
        let each = self.sweeps.iter().enumerate().map(|(i, sweep)| {
            Some(sweep.reader.weight * sweep.change(unit, enters, after.get(i))?)
        });
        each.sum()
    }

    /// Changes of all units that are inside or outside, ascending; equal ones by number.
    fn changes(&self, inside: bool, after: &[Entered]) -> Vec<(f64, usize)> {
        let units = (0..self.inside.len()).filter(|&u| self.inside[u] == inside);
        let mut all: Vec<_> = units.filter_map(|u| Some((self.change(u, after)?, u))).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all
    }

    /// Removes the unit that costs least.
    fn remove(&mut self) -> Result<(), Error> {
        let all = self.changes(true, &[]);
        self.toggle(all.first().ok_or(Error::Singular)?.1)
    }

    /// Inserts the unit that gains most.
    fn insert(&mut self) -> Result<(), Error> {
        let all = self.changes(false, &[]);
        self.toggle(all.last().ok_or(Error::Singular)?.1)
    }

    /// Exchanges pairs while the loss falls, at most `limit` of them.
    fn swap(&mut self, limit: usize) -> Result<(), Error> {
        for _ in 0..limit {
            let Some((enters, leaves)) = self.best_swap()? else { break };
            self.toggle(enters)?;
            self.toggle(leaves)?;
        }
        Ok(())
    }

    /// The best swap among the first entering units that have one worth making.
    fn best_swap(&self) -> Result<Option<(usize, usize)>, Error> {
        let least = LEAST * self.loss + self.noise;
        let mut gains = self.changes(false, &[]);
        // A swap saves less than the unit that enters gains.
        gains.retain(|g| g.0 > least);
        gains.reverse();
        for some in gains.chunks(SHORTLIST) {
            let mut best = (least, None);
            for &(gain, enters) in some {
                let entered: Result<Vec<_>, _> =
                    self.sweeps.iter().map(|s| s.entered(enters)).collect();
                let Some(&(cost, leaves)) = self.changes(true, &entered?).first() else { continue };
                if gain - cost > best.0 {
                    best = (gain - cost, Some((enters, leaves)));
                }
            }
            if best.1.is_some() {
                return Ok(best.1);
            }
        }
        Ok(None)
    }
}
