//! One term for each class: the choice that costs least.
//!
//! Costs add up over the terms that are used, each counted once however often it is read, or are
//! the largest of them. The choice is greedy, class by class from the leaves on, and carries the set
//! of what it uses, so that what is shared counts once (the "greedy DAG" extraction of egg's users).

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use graph_opt_ir::op::Op;

use super::egraph::{Class, Classes};
use super::terms::{Head, TermId, Terms};
use crate::analysis::macs_of;

/// What is to be small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Objective {
    /// The largest working set of a node, then the work.
    Memory,
    /// Multiply-accumulates, then nodes.
    Macs,
    /// Bytes that nodes write, then work.
    Bytes,
    /// Nodes that run, then work.
    Launches,
}

/// What one term costs.
#[derive(Clone, Copy, Default, Debug)]
struct Own {
    macs: u64,
    bytes: u64,
    nodes: u64,
    working: u64,
}

/// What is used to compute a class: each class with its term and that term's cost.
type Used = BTreeMap<Class, (TermId, Own)>;

/// The terms that are chosen, by class, for these roots; none if a root has no choice.
pub fn choose(
    terms: &Terms,
    classes: &Classes,
    roots: &[TermId],
    objective: Objective,
) -> Option<HashMap<Class, TermId>> {
    let all: Vec<Class> = classes.all();
    let mut best: HashMap<Class, (Rc<Used>, (u64, u64, u64))> = HashMap::new();
    // Children come first in most cases; the rest takes another round.
    for _ in 0..ROUNDS {
        let mut changed = false;
        for &c in &all {
            for &t in &classes.data(c).terms {
                let children = &terms.get(t).children;
                let below: Option<Vec<&Rc<Used>>> =
                    children.iter().map(|&x| Some(&best.get(&classes.class(x))?.0)).collect();
                let Some(below) = below else { continue };
                if below.iter().any(|u| u.contains_key(&c)) {
                    continue;
                }
                let mut used: Used = match below.iter().max_by_key(|u| u.len()) {
                    Some(u) => (***u).clone(),
                    None => Used::new(),
                };
                for u in &below {
                    for (k, v) in u.iter() {
                        used.entry(*k).or_insert(*v);
                    }
                }
                used.insert(c, (t, own(terms, t)));
                let cost = total(&used, objective);
                if best.get(&c).is_none_or(|b| cost < b.1) {
                    best.insert(c, (Rc::new(used), cost));
                    changed = true;
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut choice = HashMap::new();
    for &r in roots {
        let (used, _) = best.get(&classes.class(r))?;
        for (c, (t, _)) in used.iter() {
            choice.entry(*c).or_insert(*t);
        }
    }
    Some(choice)
}

/// Rounds over all classes at most.
const ROUNDS: usize = 12;

fn total(used: &Used, objective: Objective) -> (u64, u64, u64) {
    let (mut sum, mut working) = (Own::default(), 0);
    for (_, o) in used.values() {
        sum.macs += o.macs;
        sum.bytes += o.bytes;
        sum.nodes += o.nodes;
        working = working.max(o.working);
    }
    match objective {
        Objective::Memory => (working, sum.macs, sum.nodes),
        Objective::Macs => (sum.macs, sum.nodes, sum.bytes),
        Objective::Bytes => (sum.bytes, sum.macs, sum.nodes),
        Objective::Launches => (sum.nodes, sum.macs, sum.bytes),
    }
}

fn own(terms: &Terms, t: TermId) -> Own {
    let size = |x: TermId| match terms.value(x) {
        Some(_) => 0,
        None => terms.ty(x).bytes().unwrap_or(0),
    };
    let term = terms.get(t);
    match &term.head {
        Head::Leaf(_) | Head::Const(_) => Own::default(),
        // A view.
        Head::Slice(_) => Own { nodes: 1, working: size(t), ..Own::default() },
        Head::Apply(a) => {
            let bytes = size(t);
            let read: u64 = match &*a.op {
                // Put together in place.
                Op::Concat(_) => 0,
                _ => term.children.iter().map(|&c| size(c)).sum(),
            };
            let operands = terms.operands(t);
            let extents = |i: usize| terms.ty(operands.get(i).copied()??).extents();
            let out = terms.ty(t).elements().unwrap_or(0);
            let macs = macs_of(&a.op, &extents, out).unwrap_or(0);
            Own { macs, bytes, nodes: 1, working: bytes + read }
        }
    }
}
