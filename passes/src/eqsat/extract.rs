//! Extraction: the cheapest choice of one term for each class.
//!
//! Costs add up over the terms that are used, each counted once however often it is read, or are
//! the largest of them. The choice is greedy, class by class from the leaves on, and carries the set
//! of what it uses, so that what is shared counts once (the "greedy DAG" extraction of egg's users).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use graph_opt_ir::op::{Class as OpClass, Op};

use super::egraph::{Class, Classes};
use super::terms::{Head, TermId, Terms};
use crate::analysis::macs_of;

/// The cost that a choice minimizes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The largest working set of a node.
    WorkingSet,
    /// Multiply-accumulates, then the number of launches.
    Macs,
    /// Bytes that nodes write, then multiply-accumulates.
    Bytes,
    /// Nodes that are not views, then multiply-accumulates.
    Launches,
}

impl Order {
    const SUMS: [Self; 3] = [Self::Macs, Self::Bytes, Self::Launches];
}

/// The chosen term of each class that is used.
pub(crate) type Choice = HashMap<Class, TermId>;

/// Chooses terms for the classes of some roots.
pub(crate) struct Extractor<'a> {
    terms: &'a Terms,
    classes: &'a Classes,
    roots: &'a [TermId],
    own: Vec<Own>,
}

impl<'a> Extractor<'a> {
    /// Extracts terms for the classes of these roots.
    pub fn new(terms: &'a Terms, classes: &'a Classes, roots: &'a [TermId]) -> Self {
        let own = terms.ids().map(|t| own(terms, t)).collect();
        Self { terms, classes, roots, own }
    }

    fn find(
        &self,
        order: Order,
        limit: u64,
        forced: &Choice,
        without: &Without,
    ) -> Option<Extraction> {
        let Self { terms, classes, own, .. } = self;
        let search = Search { terms, classes, own, order, limit, without };
        search.choose(self.roots, forced)
    }

    /// Each sum at its smallest, with any working set, and with the smallest possible one and some
    /// between. Terms of `together` pay only if all of a group are chosen, which a choice class by
    /// class does not find; so each group is tried.
    pub fn front(&self, together: &[Vec<TermId>]) -> Vec<Choice> {
        let (none, all) = (Choice::new(), Without::new());
        let Some((_, (least, ..))) = self.find(Order::WorkingSet, u64::MAX, &none, &all) else {
            return Vec::new();
        };
        let own = self.own.iter().map(|o| o.working);
        let mut limits: Vec<u64> = own.filter(|w| *w > least).collect();
        limits.sort_unstable();
        limits.dedup();
        let step = limits.len().div_ceil(LIMITS).max(1);
        let between = limits.into_iter().step_by(step);
        let mut found: Vec<Choice> = Vec::new();
        for limit in std::iter::once(least).chain(between).chain([u64::MAX]) {
            for order in Order::SUMS {
                let Some((mut best, mut cost)) = self.find(order, limit, &none, &all) else {
                    continue;
                };
                let mut forced = Choice::new();
                for group in together {
                    let mut more = forced.clone();
                    more.extend(group.iter().map(|&t| (self.classes.class(t), t)));
                    let other = self.find(order, limit, &more, &all);
                    if let Some((choice, less)) = other.filter(|c| c.1 < cost) {
                        (best, cost, forced) = (choice, less, more);
                    }
                }
                if !found.contains(&best) {
                    found.push(best);
                }
            }
        }
        found
    }

    /// Choices that do without these classes: what reads parts of them computes those parts.
    pub fn without(&self, classes: &Without) -> Vec<Choice> {
        let none = Choice::new();
        let one = |order| self.find(order, u64::MAX, &none, classes).map(|f| f.0);
        Order::SUMS.into_iter().filter_map(one).collect()
    }

    /// Whole values that only parts are read of, perhaps: other Concats than the roots, the largest
    /// first.
    pub(crate) fn joints(&self) -> Vec<Class> {
        let mut found: Vec<(u64, Class)> = Vec::new();
        let roots: HashSet<Class> = self.roots.iter().map(|&r| self.classes.class(r)).collect();
        for c in self.classes.all() {
            let joins = |t: &&TermId| match &self.terms.get(**t).head {
                Head::Apply(a) => matches!(&*a.op, Op::Concat(_)),
                _ => false,
            };
            let concat = self.classes.data(c).terms.iter().find(joins);
            if let (Some(&t), false) = (concat, roots.contains(&c)) {
                found.push((self.terms.ty(t).bytes().unwrap_or(0), c));
            }
        }
        found.sort_by_key(|f| (std::cmp::Reverse(f.0), f.1));
        found.into_iter().map(|f| f.1).collect()
    }
}

/// Classes that may not be used.
pub type Without = HashSet<Class>;

type Extraction = (Choice, Cost);

/// Limits of the working set between the least and none.
const LIMITS: usize = 4;

/// What one term costs.
#[derive(Clone, Copy, Default, Debug)]
struct Own {
    macs: u64,
    bytes: u64,
    launches: u64,
    working: u64,
}

/// What is used to compute a class: each class with its term and that term's cost.
type Used = BTreeMap<Class, (TermId, Own)>;

/// A cost in lexicographic order, the primary one first.
type Cost = (u64, u64, u64);

struct Search<'a> {
    terms: &'a Terms,
    classes: &'a Classes,
    own: &'a [Own],
    order: Order,
    /// Largest working set of a term.
    limit: u64,
    without: &'a Without,
}

impl Search<'_> {
    /// The terms that are chosen, by class, for these roots, and what all of them cost; none if a
    /// root has no choice.
    fn choose(&self, roots: &[TermId], forced: &Choice) -> Option<(Choice, Cost)> {
        let class = |t: TermId| self.classes.class(t);
        let mut best: HashMap<Class, (Rc<Used>, Cost)> = HashMap::new();
        let all = self.classes.all();
        let mut changed_in: HashMap<Class, usize> = HashMap::new();
        // Children come first in most cases; the rest takes another round.
        for round in 0..ROUNDS {
            let mut changed = false;
            for &c in all.iter().filter(|c| !self.without.contains(c)) {
                let only = forced.get(&c);
                for &t in &self.classes.data(c).terms {
                    let own = self.own[t.index()];
                    if own.working > self.limit || only.is_some_and(|&only| only != t) {
                        continue;
                    }
                    let children = &self.terms.get(t).children;
                    let news = |&x: &TermId| {
                        changed_in.get(&class(x)).is_some_and(|&when| when + 1 >= round)
                    };
                    if round > 0 && !children.iter().any(news) {
                        continue;
                    }
                    let below: Option<Vec<&Rc<Used>>> =
                        children.iter().map(|&x| Some(&best.get(&class(x))?.0)).collect();
                    let Some(below) = below else { continue };
                    if below.iter().any(|u| u.contains_key(&c)) {
                        continue;
                    }
                    let mut used = union(&below);
                    used.insert(c, (t, own));
                    let cost = total(&used, self.order);
                    if best.get(&c).is_none_or(|b| cost < b.1) {
                        best.insert(c, (Rc::new(used), cost));
                        changed_in.insert(c, round);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        let below: Option<Vec<&Rc<Used>>> =
            roots.iter().map(|&r| Some(&best.get(&class(r))?.0)).collect();
        let used = union(&below?);
        let cost = total(&used, self.order);
        Some((used.into_iter().map(|(c, (t, _))| (c, t)).collect(), cost))
    }
}

/// All that is used; a class that is used in two ways is computed in the first.
fn union(all: &[&Rc<Used>]) -> Used {
    let mut used: Used = match all.iter().max_by_key(|u| u.len()) {
        Some(u) => (***u).clone(),
        None => Used::new(),
    };
    for u in all {
        for (k, v) in u.iter() {
            used.entry(*k).or_insert(*v);
        }
    }
    used
}

/// Rounds over all classes at most.
const ROUNDS: usize = 12;

fn total(used: &Used, order: Order) -> Cost {
    let (mut sum, mut working) = (Own::default(), 0);
    for (_, o) in used.values() {
        sum.macs += o.macs;
        sum.bytes += o.bytes;
        sum.launches += o.launches;
        working = working.max(o.working);
    }
    match order {
        Order::WorkingSet => (working, sum.macs, sum.launches),
        Order::Macs => (sum.macs, sum.launches, sum.bytes),
        Order::Bytes => (sum.bytes, sum.macs, sum.launches),
        Order::Launches => (sum.launches, sum.macs, sum.bytes),
    }
}

/// Whether the node computes or copies, rather than being a view of its operand.
pub fn is_launch(op: &Op) -> bool {
    let view = matches!(
        op,
        Op::Slice(_)
            | Op::Reshape(_)
            | Op::Flatten(_)
            | Op::Squeeze(_)
            | Op::Unsqueeze(_)
            | Op::Identity(_)
            | Op::Split(_)
    );
    !view
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
        Head::Slice(_) => Own { working: size(t), ..Own::default() },
        Head::Apply(a) => {
            let bytes = size(t);
            let read: u64 = match &*a.op {
                // Put together in place.
                Op::Concat(_) => 0,
                op => {
                    let all = term.children.iter().map(|&c| size(c));
                    // One operand of the result's size may be overwritten by it.
                    let mut same = all.clone().filter(|&n| n == bytes);
                    let kept = match op.class() {
                        OpClass::Pointwise => same.next().unwrap_or(0),
                        _ => 0,
                    };
                    all.sum::<u64>() - kept
                }
            };
            let operands = terms.operands(t);
            let extents = |i: usize| terms.ty(operands.get(i).copied()??).extents();
            let out = terms.ty(t).elements().unwrap_or(0);
            let macs = macs_of(&a.op, &extents, out).unwrap_or(0);
            Own { macs, bytes, launches: is_launch(&a.op).into(), working: bytes + read }
        }
    }
}
