//! Which of many points are dominated, by divide and conquer over the dimensions.
//!
//! O(n logᵈ⁻² n) for n points of d dimensions (H. T. Kung, F. Luccio and F. P. Preparata, On
//! finding the maxima of a set of vectors, Journal of the ACM 22, 1975).

/// Largest number of dimensions.
pub(super) const DIMS: usize = 8;

/// Sets of at most this many points are compared point by point.
const SMALL: usize = 16;

/// A rank in each dimension, different for all points.
pub(super) type Ranks = [u32; DIMS];

/// Marks each point that another one precedes in all of the first `dims` dimensions.
pub(super) fn dominated(points: &[Ranks], dims: usize) -> Vec<bool> {
    let mut all: Vec<u32> = (0..points.len() as u32).collect();
    all.sort_unstable_by_key(|&i| points[i as usize][0]);
    let mut search = Search { points, gone: vec![false; points.len()] };
    search.within(&all, dims.saturating_sub(1));
    search.gone
}

struct Search<'p> {
    points: &'p [Ranks],
    gone: Vec<bool>,
}

impl Search<'_> {
    fn rank(&self, i: u32, dim: usize) -> u32 {
        self.points[i as usize][dim]
    }

    /// Marks within a set, sorted by dimension 0, by dimensions up to `dim`.
    fn within(&mut self, set: &[u32], dim: usize) {
        match dim {
            0 => set.iter().skip(1).for_each(|&i| self.gone[i as usize] = true),
            1 => {
                let mut least = u32::MAX;
                for &i in set {
                    let rank = self.rank(i, 1);
                    self.gone[i as usize] |= rank > least;
                    least = least.min(rank);
                }
            }
            _ if set.len() <= SMALL => {
                for (k, &b) in set.iter().enumerate() {
                    let before = set[..k].iter();
                    let mut gone = before.filter(|&&a| !self.gone[a as usize]);
                    let gone = gone.any(|&a| (1..=dim).all(|d| self.rank(a, d) < self.rank(b, d)));
                    self.gone[b as usize] |= gone;
                }
            }
            _ => {
                let middle = self.median(set.iter().copied(), dim);
                let (low, high) = self.split(set, dim, middle);
                self.within(&low, dim);
                self.within(&high, dim);
                self.between(&low, &high, dim - 1);
            }
        }
    }

    /// Marks points of `high` that points of `low` dominate by dimensions up to `dim`. Every point
    /// of `low` precedes every point of `high` in the further dimensions.
    fn between(&mut self, low: &[u32], high: &[u32], dim: usize) {
        // Points already marked have a dominator that is not marked.
        let alive = |set: &[u32]| -> Vec<u32> {
            set.iter().copied().filter(|&i| !self.gone[i as usize]).collect()
        };
        let (low, high) = (alive(low), alive(high));
        if low.is_empty() || high.is_empty() {
            return;
        }
        if dim <= 1 {
            let mut least = u32::MAX;
            let mut lows = low.iter().peekable();
            for &h in &high {
                while let Some(&l) = lows.next_if(|&&l| self.rank(l, 0) < self.rank(h, 0)) {
                    least = least.min(if dim == 0 { 0 } else { self.rank(l, 1) });
                }
                let rank = if dim == 0 { 1 } else { self.rank(h, 1) };
                self.gone[h as usize] |= rank > least;
            }
        } else if low.len().min(high.len()) <= 4 || low.len() + high.len() <= SMALL {
            for &h in &high {
                let by = |&l: &u32| (0..=dim).all(|d| self.rank(l, d) < self.rank(h, d));
                let gone = low.iter().any(by);
                self.gone[h as usize] |= gone;
            }
        } else {
            let middle = self.median(low.iter().chain(&high).copied(), dim);
            let (low_low, low_high) = self.split(&low, dim, middle);
            let (high_low, high_high) = self.split(&high, dim, middle);
            self.between(&low_low, &high_low, dim);
            self.between(&low_high, &high_high, dim);
            self.between(&low_low, &high_high, dim - 1);
        }
    }

    fn median(&self, set: impl Iterator<Item = u32>, dim: usize) -> u32 {
        let mut ranks: Vec<u32> = set.map(|i| self.rank(i, dim)).collect();
        let middle = ranks.len() / 2;
        *ranks.select_nth_unstable(middle).1
    }

    /// Points whose rank is below the median, and the others; each in the order of the set.
    fn split(&self, set: &[u32], dim: usize, middle: u32) -> (Vec<u32>, Vec<u32>) {
        set.iter().partition(|&&i| self.rank(i, dim) < middle)
    }
}
