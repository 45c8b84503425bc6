//! The problem as the searches see it: candidates that can matter, and pairs by block.

use super::{Costs, Problem, ProblemError, Quantity};

/// Most blocks that may have pairs with later blocks, at any block border.
pub(super) const OPEN: usize = 3;

/// Bits of a candidate in a [`State`].
const BITS: usize = 16;

/// Candidates of the open blocks, plus 1; 0 where no later pair names the candidate.
pub(super) type State = u64;

/// A candidate that can be part of an answer.
pub(super) struct Item {
    /// Its number in the problem.
    pub index: usize,
    pub values: [f64; 6],
    /// Lower bound on the loss of its pairs with earlier blocks other than the one before.
    pub low: f64,
}

/// Pairs of a block with one earlier block.
struct Link {
    earlier: usize,
    /// Where the state before this block keeps the earlier block's candidate.
    place: usize,
    /// Loss by the earlier candidate plus 1, and the later one.
    extra: Vec<Vec<f64>>,
}

impl Link {
    fn loss(&self, state: State, index: usize) -> f64 {
        self.extra[code(state, self.place)][index]
    }
}

fn code(state: State, place: usize) -> usize {
    ((state >> (BITS * place)) & ((1 << BITS) - 1)) as usize
}

pub(super) struct Space<'p> {
    pub p: &'p Problem,
    pub base: [f64; 6],
    pub blocks: Vec<Vec<Item>>,
    links: Vec<Vec<Link>>,
    /// Blocks up to this one that have pairs with later ones.
    open: Vec<Vec<usize>>,
    /// The latest block that a candidate has a pair with; at least its own.
    last: Vec<Vec<usize>>,
}

impl<'p> Space<'p> {
    /// A limit on the peak excludes candidates. A block may be left without any.
    pub fn new(p: &'p Problem) -> Result<Self, ProblemError> {
        p.check()?;
        let n = p.blocks.len();
        let mut last: Vec<Vec<usize>> =
            p.blocks.iter().enumerate().map(|(i, b)| vec![i; b.len()]).collect();
        for pair in &p.pairs {
            let (i, a) = pair.earlier;
            last[i][a] = last[i][a].max(pair.later.0);
        }
        let is_open = |i: usize, j: usize| last[i].iter().any(|&l| l > j);
        let open: Vec<Vec<usize>> =
            (0..n).map(|j| (0..=j).filter(|&i| is_open(i, j)).collect()).collect();
        if let Some(block) = (0..n).find(|&j| open[j].len() > OPEN) {
            let open = open[block].len();
            return Err(ProblemError::Open { block, open, most: OPEN });
        }
        let peak = p.limits.of(Quantity::Peak);
        let items = |b: &Vec<Costs>| {
            let all = b.iter().map(Costs::values).enumerate();
            let fits = all.filter(|(_, v)| v[Quantity::Peak as usize] <= peak);
            fits.map(|(index, values)| Item { index, values, low: 0.0 }).collect()
        };
        let blocks = p.blocks.iter().map(items).collect();
        let links = (0..n).map(|_| Vec::new()).collect();
        let mut space = Self { p, base: p.base.values(), blocks, links, open, last };
        space.link();
        Ok(space)
    }

    fn link(&mut self) {
        for j in 1..self.blocks.len() {
            for (place, &i) in self.open[j - 1].iter().enumerate() {
                let later = self.p.blocks[j].len();
                let mut extra = vec![vec![0.0; later]; self.p.blocks[i].len() + 1];
                let here = |p: &&super::Pair| p.earlier.0 == i && p.later.0 == j;
                let mut any = false;
                for pair in self.p.pairs.iter().filter(here) {
                    extra[pair.earlier.1 + 1][pair.later.1] = pair.loss;
                    any = true;
                }
                if !any {
                    continue;
                }
                if i + 1 < j {
                    let (front, back) = self.blocks.split_at_mut(j);
                    for item in &mut back[0] {
                        let losses = front[i].iter().map(|a| extra[a.index + 1][item.index]);
                        let least = losses.fold(f64::INFINITY, f64::min);
                        item.low += if least.is_finite() { least } else { 0.0 };
                    }
                }
                self.links[j].push(Link { earlier: i, place, extra });
            }
        }
    }

    /// Whether a block has no candidate left, or the fixed part alone breaks the peak.
    pub fn is_empty(&self) -> bool {
        let floor = Quantity::Peak as usize;
        self.base[floor] > self.p.limits.of(Quantity::Peak) || self.blocks.iter().any(Vec::is_empty)
    }

    /// Drops candidates that another of the same block dominates, which has no pairs either
    /// (P. Sinha and A. A. Zoltners, The multiple-choice knapsack problem, Operations Research 27,
    /// 1979). `dims` are the objective and the limited sums, `ties` break ties.
    pub fn reduce(&mut self, dims: &[Quantity], ties: &[Quantity]) {
        let paired: Vec<Vec<bool>> = (0..self.blocks.len())
            .map(|i| {
                let names = |a: usize| {
                    self.p.pairs.iter().any(|p| p.earlier == (i, a) || p.later == (i, a))
                };
                (0..self.p.blocks[i].len()).map(names).collect()
            })
            .collect();
        for (block, paired) in self.blocks.iter_mut().zip(paired) {
            let beaten = |b: &Item| {
                !paired[b.index]
                    && block.iter().any(|a| !paired[a.index] && beats(a, b, dims, ties))
            };
            let gone: Vec<bool> = block.iter().map(beaten).collect();
            let mut gone = gone.into_iter();
            block.retain(|_| !gone.next().unwrap_or(false));
        }
    }

    /// Adds a candidate of block `j` to a prefix of the blocks.
    pub fn extend(
        &self,
        values: &[f64; 6],
        state: State,
        j: usize,
        item: &Item,
    ) -> ([f64; 6], State) {
        let mut sums = *values;
        for (q, (sum, v)) in Quantity::ALL.into_iter().zip(sums.iter_mut().zip(item.values)) {
            *sum = q.join(*sum, v);
        }
        for link in &self.links[j] {
            sums[Quantity::Loss as usize] += link.loss(state, item.index);
        }
        (sums, self.state(state, j, item.index))
    }

    fn state(&self, before: State, j: usize, index: usize) -> State {
        let mut state = 0;
        for (place, &i) in self.open[j].iter().enumerate() {
            let code = match j.checked_sub(1) {
                _ if i == j => index + 1,
                Some(b) => self.open[b].iter().position(|&o| o == i).map_or(0, |p| code(before, p)),
                None => 0,
            };
            let lives = code > 0 && self.last[i][code - 1] > j;
            state |= (if lives { code as State } else { 0 }) << (BITS * place);
        }
        state
    }

    /// Loss of the pair of two candidates of blocks `j - 1` and `j`.
    pub fn adjacent(&self, j: usize, a: &Item, b: &Item) -> f64 {
        let link = self.links[j].iter().find(|l| l.earlier + 1 == j);
        link.map_or(0.0, |l| l.extra[a.index + 1][b.index])
    }

    /// Whether block `j` has pairs with the block before.
    pub fn has_adjacent(&self, j: usize) -> bool {
        self.links[j].iter().any(|l| l.earlier + 1 == j)
    }
}

/// Whether `a` can replace `b` in every choice without making it worse.
fn beats(a: &Item, b: &Item, dims: &[Quantity], ties: &[Quantity]) -> bool {
    let at = |i: &Item, q: Quantity| i.values[q as usize];
    if dims.iter().any(|&q| at(a, q) > at(b, q)) {
        return false;
    }
    let order = dims[..1].iter().chain(ties).map(|&q| at(a, q).total_cmp(&at(b, q)));
    match order.into_iter().find(|o| o.is_ne()) {
        Some(o) => o.is_lt(),
        None => at(a, Quantity::Peak) <= at(b, Quantity::Peak) && a.index < b.index,
    }
}
