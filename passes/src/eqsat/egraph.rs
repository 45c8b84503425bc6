//! The e-graph: terms that are equal share a class. This is the only file that names egg.

use std::collections::{HashMap, HashSet};

use egg::{Analysis, DidMerge, EGraph, Id, Language};
use graph_opt_ir::Type;

use super::rules::{Rule, as_part};
use super::terms::{TermId, Terms};

/// A class of equal terms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Class(Id);

/// A term over classes instead of terms.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Node {
    head: usize,
    children: Vec<Id>,
}

impl Language for Node {
    type Discriminant = usize;

    fn discriminant(&self) -> usize {
        self.head
    }

    fn matches(&self, other: &Self) -> bool {
        self.head == other.head && self.children.len() == other.children.len()
    }

    fn children(&self) -> &[Id] {
        &self.children
    }

    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// What all terms of a class have in common, and those of them that rules look for.
#[derive(Clone, Debug, Default)]
pub struct Data {
    ty: Type,
    /// The class's terms.
    pub terms: Vec<TermId>,
    /// Terms of the original that read this class, with the operand that they read it as.
    pub readers: Vec<(TermId, usize)>,
}

#[derive(Default)]
struct Types {
    /// Of the node that is being added.
    next: Data,
    /// Terms of different types were said to be equal.
    conflict: Option<String>,
}

impl Analysis<Node> for Types {
    type Data = Data;

    fn make(egraph: &mut EGraph<Node, Self>, _: &Node, _: Id) -> Data {
        std::mem::take(&mut egraph.analysis.next)
    }

    fn merge(&mut self, a: &mut Data, b: Data) -> DidMerge {
        if !agree(&a.ty, &b.ty) {
            self.conflict.get_or_insert_with(|| format!("{} and {} are not equal", a.ty, b.ty));
        }
        let more = !b.terms.is_empty() || !b.readers.is_empty();
        a.terms.extend(b.terms);
        a.readers.extend(b.readers);
        DidMerge(more, true)
    }
}

/// Whether a value may have both types.
fn agree(a: &Type, b: &Type) -> bool {
    if a.dtype().is_some() && b.dtype().is_some() && a.dtype() != b.dtype() {
        return false;
    }
    let (Some(p), Some(q)) = (a.dims(), b.dims()) else { return true };
    let same = |(p, q): (&graph_opt_ir::Dim, &graph_opt_ir::Dim)| match (p.known(), q.known()) {
        (Some(p), Some(q)) => p == q,
        _ => true,
    };
    p.len() == q.len() && p.iter().zip(q).all(same)
}

/// One use of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// The rule.
    pub rule: Rule,
    /// Its left side.
    pub left: TermId,
    /// Its right side.
    pub right: TermId,
}

/// Terms in classes, and the steps that joined them.
#[derive(Default)]
pub(crate) struct Classes {
    egraph: EGraph<Node, Types>,
    heads: HashMap<String, usize>,
    /// By term.
    ids: Vec<Option<Id>>,
    /// By term, the number of its head.
    head_of: Vec<usize>,
    /// What rules gave: a rule is a function of its left side.
    tried: HashMap<(Rule, TermId), Option<TermId>>,
    /// What was done, in order.
    pub steps: Vec<Step>,
    dirty: bool,
}

impl Classes {
    /// The class of a term, which is added with all below it.
    pub fn add(&mut self, terms: &Terms, t: TermId) -> Class {
        if self.ids.len() < terms.count() {
            self.ids.resize(terms.count(), None);
            self.head_of.resize(terms.count(), usize::MAX);
        }
        let mut todo = vec![t];
        while let Some(&at) = todo.last() {
            if self.ids[at.index()].is_some() {
                todo.pop();
                continue;
            }
            let term = terms.get(at);
            let below: Vec<TermId> =
                term.children.iter().copied().filter(|c| self.ids[c.index()].is_none()).collect();
            if !below.is_empty() {
                todo.extend(below);
                continue;
            }
            let next = self.heads.len();
            let head = *self.heads.entry(term.head.spelled()).or_insert(next);
            let children =
                term.children.iter().filter_map(|c| self.ids[c.index()]).collect::<Vec<_>>();
            self.egraph.analysis.next =
                Data { ty: terms.ty(at).clone(), terms: Vec::new(), readers: Vec::new() };
            let id = self.egraph.add(Node { head, children });
            // It may have been there.
            self.egraph.analysis.next = Data::default();
            self.egraph[id].data.terms.push(at);
            self.ids[at.index()] = Some(id);
            self.head_of[at.index()] = head;
            todo.pop();
        }
        self.class(t)
    }

    /// Of terms that do the same to equal terms, the first one.
    pub(crate) fn distinct(
        &self,
        terms: &Terms,
        all: impl IntoIterator<Item = TermId>,
    ) -> Vec<TermId> {
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        for t in all {
            // What was not added is like nothing else.
            let head = self.head_of.get(t.index()).copied().unwrap_or(usize::MAX);
            let children =
                || terms.get(t).children.iter().map(|&c| self.id(c)).collect::<Vec<Id>>();
            if head == usize::MAX || seen.insert((head, children())) {
                kept.push(t);
            }
        }
        kept
    }

    fn id(&self, t: TermId) -> Id {
        // Terms are added before they are asked for.
        let id = self.ids.get(t.index()).copied().flatten();
        self.egraph.find(id.unwrap_or_else(|| Id::from(0)))
    }

    /// The class of a term that was added.
    pub fn class(&self, t: TermId) -> Class {
        Class(self.id(t))
    }

    /// What is known of a class.
    pub fn data(&self, c: Class) -> &Data {
        &self.egraph[c.0].data
    }

    /// Notes that a term of the original reads its operands.
    pub(crate) fn note_reader(&mut self, terms: &Terms, t: TermId) {
        for (i, x) in terms.operands(t).into_iter().enumerate() {
            if let Some(x) = x {
                let id = self.id(x);
                self.egraph[id].data.readers.push((t, i));
            }
        }
    }

    /// Applies a rule to a term; returns whether it joined two classes.
    pub fn apply(&mut self, terms: &mut Terms, rule: Rule, left: TermId) -> bool {
        let found = self.tried.get(&(rule, left)).copied();
        let found = found.unwrap_or_else(|| {
            let right = rule.apply(terms, left);
            self.tried.insert((rule, left), right);
            right
        });
        let Some(right) = found else { return false };
        self.add(terms, left);
        self.add(terms, right);
        if self.id(left) == self.id(right) {
            return false;
        }
        self.steps.push(Step { rule, left, right });
        let (a, b) = (self.id(left), self.id(right));
        self.egraph.union_trusted(a, b, rule.row().name);
        self.dirty = true;
        true
    }

    /// Joins two terms without a rule.
    #[cfg(test)]
    pub fn plant(&mut self, a: TermId, b: TermId) {
        let (a, b) = (self.id(a), self.id(b));
        self.egraph.union(a, b);
        self.egraph.rebuild();
    }

    /// Draws the conclusions of what was joined: equal operators over equal operands are equal.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.egraph.rebuild();
        }
    }

    /// Whether the terms are in one class.
    pub(crate) fn are_equal(&self, a: TermId, b: TermId) -> bool {
        self.id(a) == self.id(b)
    }

    /// The terms of a term's class as parts: of what, and which.
    pub fn parts(&self, terms: &Terms, t: TermId) -> Vec<(TermId, graph_opt_ir::region::Region)> {
        let data = &self.egraph[self.id(t)].data;
        let all = self.distinct(terms, data.terms.iter().copied());
        all.into_iter().filter_map(|t| as_part(terms, t)).collect()
    }

    /// Why a rule must be wrong: it joined values of different types.
    pub(crate) fn conflict(&self) -> Option<&str> {
        self.egraph.analysis.conflict.as_deref()
    }

    /// All classes, those first whose terms were added first.
    pub fn all(&self) -> Vec<Class> {
        let mut all: Vec<(Option<TermId>, Class)> = self
            .egraph
            .classes()
            .map(|c| (c.data.terms.iter().min().copied(), Class(c.id)))
            .collect();
        all.sort_unstable();
        all.into_iter().map(|(_, c)| c).collect()
    }

    /// Number of e-nodes.
    pub fn nodes(&self) -> usize {
        self.egraph.total_number_of_nodes()
    }
}
