//! Label setting, block by block.
//!
//! A label is a choice for a prefix of the blocks. It is dropped if it breaks a limit in every
//! completion, if its bound exceeds the best choice known, or if another label of the same state
//! is at least as good in the objective and in every limited sum (it is dominated; Kellerer,
//! Pferschy and Pisinger 2004, section 11.5). All sums are exact in `f64`: nothing is rounded to a
//! grid unless [`Search::grid`] says so.
//!
//! Rounding a sum keeps its order, so a dominating prefix stays at least as good to the last bit.

use std::cmp::Ordering;

use super::Quantity;
use super::bounds::Bounds;
use super::dominance::{DIMS, Ranks, dominated};
use super::space::{Space, State};

/// A choice for the blocks up to one.
#[derive(Clone)]
pub(super) struct Label {
    pub values: [f64; 6],
    pub bound: f64,
    pub state: State,
    from: u32,
    item: u16,
}

/// How to search.
pub(super) struct Search<'a, 'p> {
    pub s: &'a Space<'p>,
    pub bounds: &'a Bounds,
    /// Quantities that decide dominance: the objective first.
    pub dims: Vec<Quantity>,
    /// Quantities that break ties in the first of `dims`, before peak and picks.
    pub ties: Vec<Quantity>,
    /// Follow at most this many labels of each block, those of the least bounds.
    pub width: usize,
    /// Create at most this many labels.
    pub effort: usize,
    /// Merge labels whose `dims` fall into one cell of these sizes.
    pub grid: Option<Vec<f64>>,
}

/// What a search found.
pub(super) struct Found {
    /// Complete labels with their picks, numbered as in the problem, in lexicographic order.
    pub labels: Vec<(Label, Vec<usize>)>,
    /// Least bound of the labels that the width or the grid dropped.
    pub dropped: f64,
    /// Labels created.
    pub created: usize,
}

impl Search<'_, '_> {
    /// Complete labels whose objective is at most `most`; `None` if the effort does not suffice.
    /// Labels are in lexicographic order of their picks at all times.
    pub fn run(&self, most: f64) -> Option<Found> {
        let mut trace: Vec<Vec<(u32, u16)>> = Vec::new();
        let root = Label { values: self.s.base, bound: 0.0, state: 0, from: 0, item: 0 };
        let mut layer = vec![root];
        let (mut dropped, mut created) = (f64::INFINITY, 0);
        for j in 0..self.s.blocks.len() {
            let mut next = self.extend(&layer, j, most, self.effort - created)?;
            created += next.len();
            self.drop_dominated(&mut next);
            dropped = self.merge(&mut next).min(self.narrow(&mut next)).min(dropped);
            trace.push(next.iter().map(|l| (l.from, l.item)).collect());
            layer = next;
        }
        let picks = |last: usize| {
            let mut picks = vec![0; trace.len()];
            let mut at = last;
            for (j, layer) in trace.iter().enumerate().rev() {
                let (from, item) = layer[at];
                picks[j] = self.s.blocks[j][usize::from(item)].index;
                at = from as usize;
            }
            picks
        };
        let labels = layer.into_iter().enumerate().map(|(i, l)| (l, picks(i))).collect();
        Some(Found { labels, dropped, created })
    }

    fn extend(&self, layer: &[Label], j: usize, most: f64, effort: usize) -> Option<Vec<Label>> {
        let mut next = Vec::new();
        for (from, label) in layer.iter().enumerate() {
            for (at, item) in self.s.blocks[j].iter().enumerate() {
                let (values, state) = self.s.extend(&label.values, label.state, j, item);
                if !self.bounds.allow(&values, j, at) {
                    continue;
                }
                let bound = self.bounds.objective(&values, j, at, most);
                if bound > most {
                    continue;
                }
                if next.len() >= effort {
                    return None;
                }
                next.push(Label { values, bound, state, from: from as u32, item: at as u16 });
            }
        }
        Some(next)
    }

    fn drop_dominated(&self, labels: &mut Vec<Label>) {
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        let label = |i: u32| &labels[i as usize];
        order.sort_by(|&a, &b| {
            let (a, b) = (label(a), label(b));
            a.state.cmp(&b.state).then_with(|| self.compare(a, b)).then_with(|| peak(a, b))
        });
        let mut gone = vec![false; labels.len()];
        for group in order.chunk_by(|&a, &b| label(a).state == label(b).state) {
            for (&i, is) in group.iter().zip(self.dominated(labels, group)) {
                gone[i as usize] = is;
            }
        }
        retain(labels, &gone);
    }

    /// Which labels of a group, given in order, are dominated.
    fn dominated(&self, labels: &[Label], group: &[u32]) -> Vec<bool> {
        let label = |i: usize| &labels[group[i] as usize];
        let mut points: Vec<Ranks> = (0..group.len() as u32).map(|i| [i; DIMS]).collect();
        let mut dim = 1;
        let mut rank = |compare: &dyn Fn(usize, usize) -> Ordering| {
            let mut order: Vec<usize> = (0..group.len()).collect();
            order.sort_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
            for (rank, i) in order.into_iter().enumerate() {
                points[i][dim] = rank as u32;
            }
            dim += 1;
        };
        for &q in &self.dims[1..] {
            let at = q as usize;
            rank(&|a, b| label(a).values[at].total_cmp(&label(b).values[at]));
        }
        // A lower peak does not stay lower, so it must not beat lower picks: where all else is
        // equal, both must be in order.
        let equal = |i: usize| {
            self.compare(label(i), label(i + 1)).is_eq() && peak(label(i), label(i + 1)).is_ne()
        };
        if !self.dims.contains(&Quantity::Peak) && (0..group.len().saturating_sub(1)).any(equal) {
            let picks = |a: usize, b: usize| group[a].cmp(&group[b]);
            rank(&|a, b| self.compare(label(a), label(b)).then(picks(a, b)));
        }
        dominated(&points, dim)
    }

    /// By objective and ties.
    fn compare(&self, a: &Label, b: &Label) -> Ordering {
        let all = self.dims[..1].iter().chain(&self.ties).map(|&q| q as usize);
        let all = all.map(|at| a.values[at].total_cmp(&b.values[at]));
        all.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Merges labels of one cell into that of the least bound; returns the least bound dropped.
    fn merge(&self, labels: &mut Vec<Label>) -> f64 {
        let Some(grid) = &self.grid else { return f64::INFINITY };
        let cell = |l: &Label| {
            let mut cell = [0; 6];
            for ((to, q), size) in cell.iter_mut().zip(&self.dims).zip(grid) {
                *to = if *size > 0.0 { (l.values[*q as usize] / size).floor() as i64 } else { 0 };
            }
            (l.state, cell)
        };
        let cells: Vec<_> = labels.iter().map(cell).collect();
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by(|&a, &b| {
            let bound = labels[a].bound.total_cmp(&labels[b].bound);
            cells[a].cmp(&cells[b]).then(bound).then(a.cmp(&b))
        });
        let mut gone = vec![false; labels.len()];
        let mut dropped = f64::INFINITY;
        for w in order.windows(2).filter(|w| cells[w[0]] == cells[w[1]]) {
            gone[w[1]] = true;
            dropped = dropped.min(labels[w[1]].bound);
        }
        retain(labels, &gone);
        dropped
    }

    /// Drops labels beyond the width; returns the least bound dropped.
    fn narrow(&self, labels: &mut Vec<Label>) -> f64 {
        if labels.len() <= self.width {
            return f64::INFINITY;
        }
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by(|&a, &b| labels[a].bound.total_cmp(&labels[b].bound).then(a.cmp(&b)));
        let mut gone = vec![false; labels.len()];
        let mut dropped = f64::INFINITY;
        for &i in &order[self.width..] {
            gone[i] = true;
            dropped = dropped.min(labels[i].bound);
        }
        retain(labels, &gone);
        dropped
    }
}

fn peak(a: &Label, b: &Label) -> Ordering {
    let at = Quantity::Peak as usize;
    a.values[at].total_cmp(&b.values[at])
}

fn retain(labels: &mut Vec<Label>, gone: &[bool]) {
    let mut gone = gone.iter();
    labels.retain(|_| !gone.next().copied().unwrap_or(false));
}
