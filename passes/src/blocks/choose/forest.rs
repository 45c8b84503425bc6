//! A growing set of points that is asked for one that dominates another.
//!
//! Static k-d trees whose sizes grow like powers of two (J. L. Bentley and J. B. Saxe, Decomposable
//! searching problems I, Journal of Algorithms 1, 1980). Each subtree knows the least coordinates of
//! its points, and is skipped if one exceeds that of the point asked for.

use super::Quantity;

/// Points of a leaf.
const LEAF: usize = 8;

type Point = [f64; 6];

/// A point and its number.
type Entry = (Point, usize);

/// Points, by the coordinates of some quantities.
#[derive(Default)]
pub(super) struct Forest {
    trees: Vec<Tree>,
}

struct Tree {
    entries: Vec<Entry>,
    /// Least coordinates of each subtree; the children of `k` are `2k + 1` and `2k + 2`.
    least: Vec<Point>,
}

impl Forest {
    /// Adds a point. Points that `keep` refuses may be dropped.
    pub fn insert(&mut self, entry: Entry, dims: &[Quantity], keep: &dyn Fn(usize) -> bool) {
        let mut entries = vec![entry];
        while self.trees.last().is_some_and(|t| t.entries.len() <= entries.len()) {
            let old = self.trees.pop().map(|t| t.entries).unwrap_or_default();
            entries.extend(old.into_iter().filter(|&(_, id)| keep(id)));
        }
        let mut tree = Tree { entries, least: Vec::new() };
        let end = tree.entries.len();
        tree.build(0, 0..end, 0, dims);
        self.trees.push(tree);
    }

    /// A point that `is` accepts, among those that exceed `point` in no coordinate.
    pub fn find(
        &self,
        point: &Point,
        dims: &[Quantity],
        is: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        let below = |a: &Point| dims.iter().all(|&q| a[q as usize] <= point[q as usize]);
        let all = |t: &Tree| t.find(0, 0..t.entries.len(), &below, is);
        self.trees.iter().find_map(all)
    }
}

impl Tree {
    fn build(&mut self, k: usize, range: std::ops::Range<usize>, depth: usize, dims: &[Quantity]) {
        let entries = &mut self.entries[range.clone()];
        let mut least = [f64::INFINITY; 6];
        for (point, _) in entries.iter() {
            least.iter_mut().zip(point).for_each(|(l, v)| *l = l.min(*v));
        }
        if self.least.len() <= k {
            self.least.resize(k + 1, [f64::INFINITY; 6]);
        }
        self.least[k] = least;
        if entries.len() > LEAF {
            let at = dims[depth % dims.len()] as usize;
            let half = entries.len() / 2;
            let by = |a: &Entry, b: &Entry| a.0[at].total_cmp(&b.0[at]).then(a.1.cmp(&b.1));
            entries.select_nth_unstable_by(half, by);
            let middle = range.start + half;
            self.build(2 * k + 1, range.start..middle, depth + 1, dims);
            self.build(2 * k + 2, middle..range.end, depth + 1, dims);
        }
    }

    fn find(
        &self,
        k: usize,
        range: std::ops::Range<usize>,
        below: &dyn Fn(&Point) -> bool,
        is: &dyn Fn(usize) -> bool,
    ) -> Option<usize> {
        if !below(&self.least[k]) {
            return None;
        }
        if range.len() <= LEAF {
            let mut entries = self.entries[range].iter();
            return entries.find(|(point, id)| below(point) && is(*id)).map(|&(_, id)| id);
        }
        let middle = range.start + range.len() / 2;
        let low = self.find(2 * k + 1, range.start..middle, below, is);
        low.or_else(|| self.find(2 * k + 2, middle..range.end, below, is))
    }
}
