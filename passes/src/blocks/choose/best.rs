//! Choices by ascending objective, one by one.
//!
//! For callers that have a judge more exact than the sum: measured accuracy, a planner for devices.
//! They take choices until the next one cannot be better.
//!
//! A* over prefixes of the blocks, with the bounds of [`exact`](super::exact). A dominated prefix is
//! set aside: each of its completions follows the same completion of the prefix that dominates it,
//! so that it is taken up when the first completion of that prefix has been returned (the lazy form
//! of dominance for k shortest paths).

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap};

use super::bounds::Bounds;
use super::forest::Forest;
use super::problem::order;
use super::space::{Space, State};
use super::{Choice, NoChoice, Problem, Quantity, explain};

/// A choice for the first `depth` blocks.
struct Node {
    values: [f64; 6],
    state: State,
    depth: usize,
    item: usize,
    from: usize,
    /// Whether a completion was returned.
    returned: bool,
    /// Dominated nodes that wait for a completion of this one.
    waiting: Vec<usize>,
}

/// Iterator over choices by ascending objective. See [`k_best`].
pub struct KBest<'p> {
    s: Space<'p>,
    bounds: Bounds,
    dims: Vec<Quantity>,
    keys: Vec<Quantity>,
    nodes: Vec<Node>,
    /// By bound, then the deepest, then the oldest.
    queue: BinaryHeap<Reverse<(i64, usize, usize)>>,
    /// Nodes that can dominate others, by depth and state.
    active: BTreeMap<(usize, State), Forest>,
    /// Complete nodes, in reverse order.
    complete: Vec<(Choice, usize)>,
    returned: usize,
    ended: bool,
}

/// All choices that keep the limits, by ascending objective, ties as in [`Problem::objective`]. They
/// are found when asked for; `k_best(&p)?.take(k)` gives the best `k`.
///
/// The iterator ends with an error if there is no choice at all ([`NoChoice::Infeasible`]), or if
/// the labels of all items together exceed [`Problem::effort`] ([`NoChoice::Undecided`]).
///
/// # Errors
/// [`NoChoice::Invalid`] if the problem is malformed.
pub fn k_best(p: &Problem) -> Result<KBest<'_>, NoChoice> {
    let s = Space::new(p)?;
    let bounds = match s.is_empty() {
        true => Bounds::of_limits(&s),
        false => Bounds::new(&s, &mut |_| None),
    };
    let mut dims = vec![p.objective];
    dims.extend(p.limits.limited().filter(|&q| q.is_sum() && q != p.objective));
    let mut keys = vec![p.objective];
    keys.extend(p.ties());
    keys.push(Quantity::Peak);
    let mut best = KBest {
        s,
        bounds,
        dims,
        keys,
        nodes: Vec::new(),
        queue: BinaryHeap::new(),
        active: BTreeMap::new(),
        complete: Vec::new(),
        returned: 0,
        ended: false,
    };
    if !best.s.is_empty() {
        let values = best.s.base;
        best.push(Node {
            values,
            state: 0,
            depth: 0,
            item: 0,
            from: 0,
            returned: false,
            waiting: Vec::new(),
        });
    }
    Ok(best)
}

impl Iterator for KBest<'_> {
    type Item = Result<Choice, NoChoice>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.advance();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

impl KBest<'_> {
    fn advance(&mut self) -> Option<Result<Choice, NoChoice>> {
        loop {
            let least = self.queue.peek().map_or(f64::INFINITY, |Reverse((b, ..))| value(*b));
            if let Some((choice, _)) = self.complete.last()
                && choice.totals.get(self.s.p.objective) + self.bounds.room < least
            {
                let (choice, at) = self.complete.pop()?;
                self.release(at);
                self.returned += 1;
                return Some(Ok(choice));
            }
            let Some(Reverse((_, _, at))) = self.queue.pop() else {
                let none = self.returned == 0;
                return none.then(|| explain::infeasible(self.s.p).and_then(Err));
            };
            if self.nodes.len() > self.s.p.effort {
                return Some(Err(NoChoice::Undecided(self.s.p.effort)));
            }
            if !self.enter(at) {
                continue;
            }
            if self.nodes[at].depth == self.s.blocks.len() {
                let choice = match self.s.p.choice(self.picks(at), 0.0) {
                    Ok(choice) => choice,
                    Err(e) => return Some(Err(e)),
                };
                let after = |(c, _): &(Choice, usize)| order(&self.keys, c, &choice).is_gt();
                let place = self.complete.partition_point(after);
                self.complete.insert(place, (choice, at));
            } else {
                self.expand(at);
            }
        }
    }

    fn expand(&mut self, from: usize) {
        let j = self.nodes[from].depth;
        for item in 0..self.s.blocks[j].len() {
            let Node { values, state, .. } = &self.nodes[from];
            let (values, state) = self.s.extend(values, *state, j, &self.s.blocks[j][item]);
            if self.bounds.allow(&values, j, item) {
                let (returned, waiting) = (false, Vec::new());
                self.push(Node { values, state, depth: j + 1, item, from, returned, waiting });
            }
        }
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.queue(self.nodes.len() - 1);
    }

    fn queue(&mut self, at: usize) {
        let Node { values, depth, item, .. } = &self.nodes[at];
        let bound = match depth.checked_sub(1) {
            Some(block) => self.bounds.objective(values, block, *item, f64::INFINITY),
            None => f64::NEG_INFINITY,
        };
        self.queue.push(Reverse((bits(bound), self.s.blocks.len() - depth, at)));
    }

    /// Makes a node active, unless one dominates it: then it waits for that one.
    fn enter(&mut self, at: usize) -> bool {
        let key = (self.nodes[at].depth, self.nodes[at].state);
        let mut active = self.active.remove(&key).unwrap_or_default();
        let values = self.nodes[at].values;
        let waits = |o: usize| !self.nodes[o].returned;
        let by = active.find(&values, &self.dims, &|o| waits(o) && self.precedes(o, at));
        if by.is_none() {
            active.insert((values, at), &self.dims, &waits);
        }
        self.active.insert(key, active);
        if let Some(o) = by {
            self.nodes[o].waiting.push(at);
        }
        by.is_none()
    }

    /// After a completion was returned: takes up what waited for its prefixes.
    fn release(&mut self, mut at: usize) {
        let mut waiting = Vec::new();
        loop {
            self.nodes[at].returned = true;
            waiting.append(&mut self.nodes[at].waiting);
            if self.nodes[at].depth == 0 {
                break;
            }
            at = self.nodes[at].from;
        }
        waiting.sort_unstable();
        for at in waiting {
            self.queue(at);
        }
    }

    /// Whether each completion of `a` precedes that of `b`, if it keeps the limits.
    fn precedes(&self, a: usize, b: usize) -> bool {
        let [x, y] = [a, b].map(|n| &self.nodes[n].values);
        let peak = Quantity::Peak as usize;
        let sums = self.keys.iter().filter(|q| q.is_sum()).map(|&q| q as usize);
        match sums.map(|q| x[q].total_cmp(&y[q])).find(|o| o.is_ne()) {
            Some(o) => o == Ordering::Less,
            None => x[peak] <= y[peak] && self.picks(a) < self.picks(b),
        }
    }

    /// Candidates of a node, numbered as in the problem.
    fn picks(&self, mut at: usize) -> Vec<usize> {
        let mut picks = Vec::new();
        while let Some(block) = self.nodes[at].depth.checked_sub(1) {
            picks.push(self.s.blocks[block][self.nodes[at].item].index);
            at = self.nodes[at].from;
        }
        picks.reverse();
        picks
    }
}

/// An integer in the order of the number.
fn bits(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The number of an integer.
fn value(bits: i64) -> f64 {
    f64::from_bits((if bits < 0 { bits ^ i64::MAX } else { bits }) as u64)
}
