//! Greedy orders, node by node.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::section::{Run, Section};

/// The order in which the operands of a node are computed, each with all that it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operands {
    /// In the order of the operands.
    First,
    /// First the operands whose computation takes the most memory beyond their results, which is optimal
    /// for trees (J. W. H. Liu, On the Storage Requirement in the Out-of-Core Multifrontal Method for
    /// Sparse Factorization, 1986; for registers R. Sethi and J. D. Ullman, 1970).
    Largest,
    /// The reverse of [`Largest`](Self::Largest).
    Last,
}

/// Depth first from the nodes without readers. A node that can run without a new peak and without
/// growing the live bytes runs at once.
pub(super) fn depth_first(section: &Section, operands: Operands) -> Vec<usize> {
    let n = section.len();
    let mut needs = section.needs.clone();
    let mut ends: Vec<usize> = (0..n).filter(|&i| section.readers[i].is_empty()).collect();
    match operands {
        Operands::First => {}
        Operands::Last => {
            needs.iter_mut().for_each(|p| p.reverse());
            ends.reverse();
        }
        Operands::Largest => {
            let spare = spare(section, &mut needs);
            ends.sort_by_key(|&i| Reverse(spare[i]));
        }
    }
    let mut run = Run::new(section);
    let mut ran = vec![false; n];
    // Those that come first are on top.
    let mut todo: Vec<(usize, usize)> = ends.into_iter().rev().map(|i| (i, 0)).collect();
    while let Some((i, at)) = todo.pop() {
        if ran[i] {
            continue;
        }
        if let Some(&p) = needs[i].get(at) {
            todo.push((i, at + 1));
            if !ran[p] {
                todo.push((p, 0));
            }
            continue;
        }
        run.step(i);
        ran[i] = true;
        let mut next: Vec<usize> = touched(section, &run, &ran, i).collect();
        while let Some(m) = next.pop() {
            let (during, after) = run.cost(m);
            if !ran[m] && run.waits[m] == 0 && after <= run.live && during <= run.peak {
                run.step(m);
                ran[m] = true;
                next.extend(touched(section, &run, &ran, m));
            }
        }
    }
    run.order
}

/// Nodes that wait for less, or are the last to touch something, since node `i` ran.
fn touched<'a>(
    section: &'a Section,
    run: &'a Run<'_>,
    ran: &'a [bool],
    i: usize,
) -> impl Iterator<Item = usize> + 'a {
    let alone = section.touched[i].iter().filter(|&&s| run.left[s] == 1);
    let last = alone.flat_map(|&s| &section.stores[s].touches);
    section.readers[i].iter().chain(last).copied().filter(|&m| !ran[m])
}

/// By node, bytes that making it takes beyond what its results keep, were the graph a tree; sorts
/// the operands by it.
fn spare(section: &Section, needs: &mut [Vec<usize>]) -> Vec<u64> {
    let n = section.len();
    let mut spare = vec![0u64; n];
    let mut keeps = vec![0u64; n];
    for i in 0..n {
        let made = |s: &&usize| {
            let s = &section.stores[**s];
            !s.begun && s.touches.first() == Some(&i)
        };
        let made: u64 =
            section.touched[i].iter().filter(made).map(|&s| section.stores[s].bytes).sum();
        needs[i].sort_by_key(|&p| Reverse(spare[p]));
        let (mut held, mut peak) = (0u64, 0u64);
        for &p in &needs[i] {
            peak = peak.max(held.saturating_add(spare[p]).saturating_add(keeps[p]));
            held = held.saturating_add(keeps[p]);
        }
        keeps[i] = made;
        spare[i] = peak.max(held.saturating_add(made)) - made;
    }
    spare
}

/// Always the node that adds least, then the one that needs least meanwhile, then the one that
/// became ready last.
pub(super) fn smallest_first(section: &Section) -> Vec<usize> {
    let n = section.len();
    let mut run = Run::new(section);
    let mut ran = vec![false; n];
    let mut queue: BinaryHeap<(Reverse<(i128, i128)>, usize, Reverse<usize>)> = BinaryHeap::new();
    let key = |run: &Run<'_>, i: usize| {
        let (during, after) = run.cost(i);
        let live = i128::from(run.live);
        Reverse((i128::from(after) - live, i128::from(during) - live))
    };
    let mut since = vec![0; n];
    for i in (0..n).filter(|&i| section.needs[i].is_empty()) {
        queue.push((key(&run, i), 0, Reverse(i)));
    }
    while let Some((k, age, Reverse(i))) = queue.pop() {
        if ran[i] {
            continue;
        }
        // What other nodes did may have changed what it adds.
        let now = key(&run, i);
        if k != now {
            queue.push((now, age, Reverse(i)));
            continue;
        }
        // Storage that it begins costs the others nothing.
        let begins = section.touched[i].iter().filter(|&&s| !run.begun[s]);
        let mut changed: Vec<usize> =
            begins.flat_map(|&s| &section.stores[s].touches).copied().collect();
        run.step(i);
        ran[i] = true;
        changed.extend(touched(section, &run, &ran, i));
        for m in changed.into_iter().filter(|&m| run.waits[m] == 0 && !ran[m]) {
            if since[m] == 0 {
                since[m] = run.order.len(); // From 1.
            }
            queue.push((key(&run, m), since[m], Reverse(m)));
        }
    }
    run.order
}
