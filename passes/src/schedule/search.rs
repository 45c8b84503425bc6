//! Search over sets of nodes that ran. The live bytes after them and the nodes that may run next depend
//! on the set alone, so that only the best order of each set is kept (B. H. Ahn et al.,
//! Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired Neural Networks for Edge Devices,
//! MLSys 2020).
//!
//! [`exact`] expands the set of the smallest peak first, the larger one where peaks are equal, so that
//! the first complete order is an optimal one. [`beam`] expands some sets of each size.
//!
//! If a node can run without a new peak and without growing the live bytes, no other node is tried:
//! running it now is dominated by no other order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::section::{Section, cost};

/// A set of nodes that ran, a bit a node.
type Set = Box<[u64]>;

fn has(set: &[u64], n: usize) -> bool {
    set[n / 64] >> (n % 64) & 1 == 1
}

fn with(set: &[u64], n: usize) -> Set {
    let mut set: Set = set.into();
    set[n / 64] |= 1 << (n % 64);
    set
}

/// A set of nodes that ran, with the best order that is known for it.
#[derive(Clone)]
struct State {
    set: Set,
    /// Nodes that may run next.
    ready: Vec<u32>,
    live: u64,
    peak: u64,
    /// The state before, and the node that ran since.
    from: Option<(usize, usize)>,
    done: bool,
}

/// A step from a state: the node, and what is live while it runs and after it.
struct Step {
    node: usize,
    during: u64,
    after: u64,
}

fn start(section: &Section, least: u64) -> State {
    let free = |n: &usize| section.needs[*n].is_empty();
    State {
        set: vec![0; section.len().div_ceil(64)].into(),
        ready: (0..section.len()).filter(free).map(|n| n as u32).collect(),
        live: section.live,
        peak: section.live.max(least),
        from: None,
        done: false,
    }
}

/// Steps from a state that keep the peak under `below`.
fn steps(section: &Section, s: &State, below: u64) -> Vec<Step> {
    let mut all = Vec::with_capacity(s.ready.len());
    for &n in &s.ready {
        let node = n as usize;
        let touches = |i: usize| section.stores[i].touches.iter();
        let begun = |i: usize| section.stores[i].begun || touches(i).any(|&t| has(&s.set, t));
        let others = |i: usize| touches(i).all(|&t| t == node || has(&s.set, t));
        let last = |i: usize| !section.stores[i].stays && others(i);
        let (during, after) = cost(section, node, s.live, begun, last);
        if after <= s.live && during <= s.peak {
            return vec![Step { node, during, after }];
        }
        if during < below {
            all.push(Step { node, during, after });
        }
    }
    all
}

fn follow(section: &Section, s: &State, step: &Step, from: usize, set: Set) -> State {
    let mut ready: Vec<u32> =
        s.ready.iter().copied().filter(|&n| n as usize != step.node).collect();
    let waits = |n: &usize| section.needs[*n].iter().all(|&p| has(&set, p));
    ready.extend(section.readers[step.node].iter().filter(|n| waits(n)).map(|&n| n as u32));
    let peak = s.peak.max(step.during);
    State { set, ready, live: step.after, peak, from: Some((from, step.node)), done: false }
}

fn order(states: &[State], mut at: usize) -> Vec<usize> {
    let mut order = Vec::new();
    while let Some((from, node)) = states[at].from {
        order.push(node);
        at = from;
    }
    order.reverse();
    order
}

/// The result of an exact search.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SearchResult {
    /// An order of the smallest possible peak, or of one that is small enough.
    Best(Vec<usize>),
    /// No order has a peak below the bound.
    None,
    /// The search stopped at its limit of sets.
    Unknown,
}

/// An order of the smallest peak, if that is below `below` bytes; a peak of `enough` need not be
/// improved. Visits at most `states` sets of nodes, and subtracts the visited ones.
pub(super) fn exact(
    section: &Section,
    below: u64,
    enough: u64,
    states: &mut usize,
) -> SearchResult {
    let mut all = vec![start(section, enough.max(least(section)))];
    let mut known: HashMap<Set, usize> = HashMap::new();
    known.insert(all[0].set.clone(), 0);
    let mut queue = BinaryHeap::from([(Reverse(all[0].peak), 0, Reverse(0))]);
    while let Some((Reverse(peak), ran, Reverse(at))) = queue.pop() {
        if peak >= below {
            break;
        }
        if ran == section.len() {
            return SearchResult::Best(order(&all, at));
        }
        if std::mem::replace(&mut all[at].done, true) {
            continue;
        }
        for step in steps(section, &all[at], below) {
            let peak = peak.max(step.during);
            let set = with(&all[at].set, step.node);
            let i = match known.get(&set) {
                Some(&i) if all[i].done || all[i].peak <= peak => continue,
                Some(&i) => {
                    (all[i].peak, all[i].from) = (peak, Some((at, step.node)));
                    i
                }
                None => {
                    if *states == 0 {
                        return SearchResult::Unknown;
                    }
                    *states -= 1;
                    known.insert(set.clone(), all.len());
                    let next = follow(section, &all[at], &step, at, set);
                    all.push(next);
                    all.len() - 1
                }
            };
            queue.push((Reverse(peak), ran + 1, Reverse(i)));
        }
    }
    SearchResult::None
}

/// A good order with a peak under `below`: of all sets of a size, `width` are followed.
pub(super) fn beam(section: &Section, below: u64, enough: u64, width: usize) -> Option<Vec<usize>> {
    let mut all = vec![start(section, enough)];
    let mut level = 0..1;
    for _ in 0..section.len() {
        let mut next: Vec<(u64, u64, usize, Step)> = Vec::new();
        for at in level.clone() {
            for step in steps(section, &all[at], below) {
                next.push((all[at].peak.max(step.during), step.after, at, step));
            }
        }
        next.sort_by_key(|n| (n.0, n.1, n.2, n.3.node));
        let mut seen: HashSet<Set> = HashSet::new();
        let first = all.len();
        for (_, _, at, step) in next {
            let set = with(&all[at].set, step.node);
            if seen.insert(set.clone()) {
                let state = follow(section, &all[at], &step, at, set);
                all.push(state);
                if all.len() - first == width {
                    break;
                }
            }
        }
        // What was followed is only needed for the way back.
        for s in &mut all[level] {
            (s.set, s.ready) = (Box::default(), Vec::new());
        }
        level = first..all.len();
        if level.is_empty() {
            return None;
        }
    }
    Some(order(&all, level.start))
}

/// A peak that no order is under: while a node runs, its operands and results are live, and what
/// nodes before it in every order begin for nodes that are after it in every order.
pub(super) fn least(section: &Section) -> u64 {
    let n = section.len();
    let words = n.div_ceil(64);
    let closure = |all: &[Vec<usize>], nodes: &mut dyn Iterator<Item = usize>| {
        let mut sets = vec![0u64; n * words];
        for i in nodes {
            sets[i * words + i / 64] |= 1 << (i % 64);
            for &j in &all[i] {
                for w in 0..words {
                    sets[i * words + w] |= sets[j * words + w];
                }
            }
        }
        sets
    };
    let before = closure(&section.needs, &mut (0..n));
    let after = closure(&section.readers, &mut (0..n).rev());
    let touched: u64 = section.stores.iter().filter(|s| s.begun).map(|s| s.bytes).sum();
    // Live all along.
    let around = section.live - touched;
    let live = |i: usize| {
        let (before, after) = (&before[i * words..][..words], &after[i * words..][..words]);
        let during = |s: &&super::section::Store| {
            (s.begun || s.touches.iter().any(|&t| has(before, t)))
                && (s.stays || s.touches.iter().any(|&t| has(after, t)))
        };
        let live: u64 = section.stores.iter().filter(during).map(|s| s.bytes).sum();
        let over = section.overwrites[i].iter().map(|&(x, _)| section.stores[x].bytes).max();
        around + live - over.unwrap_or(0)
    };
    (0..n).map(live).fold(section.live, u64::max)
}
