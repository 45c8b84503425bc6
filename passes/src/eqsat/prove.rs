//! Whether two graphs are equal for all inputs and weights.
//!
//! Both graphs are read as terms of one e-graph. Saturation would add parts of every value; instead the
//! candidate's values are visited in order, and for each the part of the original that it may be is
//! guessed from the parts that its operands are (`lift`), and the rules that could show this are applied.
//! So each value adds a few e-nodes, independent of the number of tiles. The steps are written as a
//! certificate, which is checked without the e-graph (`check`).

use std::collections::{BTreeMap, HashSet};

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::region::{self, Region, Relation};
use graph_opt_ir::{Graph, Span, Type, op};

use super::certificate;
use super::check::{Pair, check};
use super::egraph::Classes;
use super::error::NoProof;
use super::lift::guesses;
use super::rules::Rule;
use super::terms::{Apply, Head, Reading, TermId, Terms};

/// A proof that two graphs are equal.
#[derive(Debug)]
#[non_exhaustive]
pub struct Proof {
    /// The rules that were applied, each with the number of its uses.
    pub rules: Vec<(&'static str, usize)>,
    /// Whether rounding may differ, as sums were taken in another order.
    pub reassociates: bool,
    /// Values of the original whose declared shapes the proof believes: results of operators that are
    /// not modelled.
    pub assumes: Vec<String>,
    /// Size of the e-graph, in e-nodes.
    pub nodes: usize,
    /// The steps, which [`check`] can follow.
    pub certificate: String,
}

/// Proves that the graphs are equal.
///
/// # Errors
/// If no proof was found, which does not show that the graphs differ.
pub fn prove(original: &Graph, other: &Graph) -> Result<Proof, NoProof> {
    let first = match directed(Pair::read(original, other, false)?, 0, false) {
        Ok(proof) => return Ok(proof),
        Err(why) => why,
    };
    // A part of a part is easier found from the side that has the whole. Declared shapes are assumed
    // only if there is no proof without.
    for (claims, from) in [(false, 1), (true, 0), (true, 1)] {
        let pair = Pair::read(original, other, claims)?;
        if claims && pair.assumes.is_empty() {
            break;
        }
        if let Ok(proof) = directed(pair, from, claims) {
            return Ok(proof);
        }
    }
    Err(first)
}

/// Looks for the values of one graph among those of graph `from`.
fn directed(mut pair: Pair<'_>, from: usize, claims: bool) -> Result<Proof, NoProof> {
    let to = 1 - from;
    let mut p = Prover { terms: std::mem::take(&mut pair.terms), ..Prover::default() };
    p.read(&pair.readings[from]);
    let mut unmatched = None;
    for &(node, _, t) in &pair.readings[to].made {
        // What is computed of constants alone is a part of nothing.
        let fixed = |p: &Prover| {
            p.terms.operands(t).into_iter().flatten().all(|x| p.terms.value(x).is_some())
        };
        if !p.place(t) && unmatched.is_none() && !fixed(&p) {
            unmatched = Some(node);
        }
    }
    if let Some(why) = p.classes.conflict() {
        return Err(NoProof::UnsoundRule(why.to_owned()));
    }
    for (s, t) in pair.goals()? {
        p.classes.add(&p.terms, s);
        p.classes.add(&p.terms, t);
    }
    for &t in &pair.claimed {
        p.classes.add(&p.terms, t);
    }
    p.classes.close();
    let steps = std::mem::take(&mut p.classes.steps);
    pair.terms = p.terms;
    pair.concludes(|a, b| p.classes.are_equal(a, b)).map_err(|why| {
        let graph = &pair.graphs[to];
        let named = |n| format!("{} {:?}", graph.node(n).op.name(), graph.label(n));
        NoProof::Equality { why, unmatched: unmatched.map(named) }
    })?;
    let certificate = certificate::write(&pair, &steps, claims).map_err(NoProof::Unwritable)?;
    let [original, other] = &pair.graphs;
    let checked = check(&certificate, original, other)?;
    let mut rules: Vec<(&str, usize)> = Vec::new();
    for s in &steps {
        let name = s.rule.row().name;
        match rules.iter_mut().find(|r| r.0 == name) {
            Some(r) => r.1 += 1,
            None => rules.push((name, 1)),
        }
    }
    Ok(Proof {
        rules,
        reassociates: checked.reassociates,
        assumes: checked.assumes,
        nodes: p.classes.nodes(),
        certificate,
    })
}

/// Most Concats, each an operand of the next, through which a part is followed.
const CONCATS: usize = 4;

/// Terms in classes, and how rules are tried on them.
#[derive(Default)]
pub(super) struct Prover {
    pub terms: Terms,
    pub classes: Classes,
    /// Terms of the original.
    pub known: HashSet<TermId>,
    /// Whether rules are tried that a proof can do without.
    pub explore: bool,
}

impl Prover {
    fn read(&mut self, a: &Reading) {
        for &t in a.terms.iter().flatten() {
            self.classes.add(&self.terms, t);
            self.known.insert(t);
        }
        let mut seen = HashSet::new();
        for &(_, _, t) in &a.made {
            if seen.insert(t) {
                self.classes.note_reader(&self.terms, t);
            }
        }
    }

    /// Whether the term is known to be a part of a value of the original.
    fn is_placed(&self, t: TermId) -> bool {
        let known = |x: &TermId| self.known.contains(x);
        let of_known = |x: TermId| self.classes.data(self.classes.class(x)).terms.iter().any(known);
        self.terms.value(t).is_some()
            || of_known(t)
            || self.classes.parts(&self.terms, t).iter().any(|(x, _)| of_known(*x))
    }

    /// Finds out what part of the original a term is.
    fn place(&mut self, t: TermId) -> bool {
        self.classes.add(&self.terms, t);
        if self.is_placed(t) {
            return true;
        }
        self.local(t);
        self.classes.close();
        if self.is_placed(t) {
            return true;
        }
        if self.guess(t) {
            return true;
        }
        // Part of an operand of a Concat, it may be read as a part of the Concat.
        for _ in 0..CONCATS {
            let operands = self.terms.operands(t);
            let mut new = false;
            for x in operands.into_iter().flatten() {
                new |= self.raise(x);
            }
            if !new {
                break;
            }
            if self.guess(t) {
                return true;
            }
        }
        self.is_placed(t)
    }

    /// Tries what the term may be a part of.
    fn guess(&mut self, t: TermId) -> bool {
        for (y, region) in guesses(&self.terms, &self.classes, t) {
            let Some(part) = self.terms.raw_slice(y, region) else { continue };
            self.classes.apply(&mut self.terms, Rule::PartOfResult, part);
            self.classes.close();
            if self.classes.class(part) == self.classes.class(t) {
                return true;
            }
        }
        self.is_placed(t)
    }

    /// Finds parts of Concats of the original that are equal to the term because an operand is;
    /// returns whether there are new ones.
    fn raise(&mut self, x: TermId) -> bool {
        let mut new = false;
        for (base, part) in self.classes.parts(&self.terms, x) {
            let readers = self.classes.data(self.classes.class(base)).readers.clone();
            for (y, j) in readers {
                let Head::Apply(a) = &self.terms.get(y).head else { continue };
                let (Op::Concat(c), Some(rank)) = (&*a.op, self.terms.ty(y).rank()) else {
                    continue;
                };
                let Ok(axis) = axis_of(c.axis, rank) else { continue };
                let along = |t: TermId| self.terms.extent(t, axis);
                let operands = &self.terms.get(y).children;
                let before: Option<i64> = operands[..j].iter().map(|&o| along(o)).sum();
                let (Some(before), Some(n)) = (before, along(base)) else { continue };
                let mut region = part.clone();
                let own = part[axis].unwrap_or(Span::whole(n));
                region[axis] = Some(Span::new(before + own.lo, before + own.hi));
                if let Some(raised) = self.terms.raw_slice(y, region) {
                    new |= self.classes.apply(&mut self.terms, Rule::PartOfResult, raised);
                }
            }
        }
        self.classes.close();
        new
    }

    /// Rules about the term itself.
    pub fn local(&mut self, t: TermId) {
        let term = self.terms.get(t).clone();
        match &term.head {
            Head::Slice(r) => {
                let same = self.classes.data(self.classes.class(term.children[0])).terms.clone();
                let same = self.classes.distinct(&self.terms, same);
                for s in same {
                    let rule = match &self.terms.get(s).head {
                        Head::Slice(_) => Rule::PartOfPart,
                        Head::Apply(a) if self.explore || matches!(&*a.op, Op::Concat(_)) => {
                            Rule::PartOfResult
                        }
                        _ => continue,
                    };
                    if let Some(left) = self.terms.raw_slice(s, r.clone()) {
                        self.classes.add(&self.terms, left);
                        self.classes.apply(&mut self.terms, rule, left);
                    }
                }
            }
            Head::Apply(a) => match &*a.op {
                Op::Concat(_) => {
                    self.joined(t, a, &term.children);
                    self.flat(t, a, &term.children);
                    if self.explore {
                        self.tiles(t, a, &term.children);
                    }
                }
                // What is explored stays equal in its bits.
                Op::Add(_) | Op::Sum(_) if !self.explore => {
                    self.classes.apply(&mut self.terms, Rule::SumOfParts, t);
                }
                _ => {}
            },
            Head::Leaf(_) | Head::Const(_) => {}
        }
    }

    /// A Concat whose operands are equal to tiles of something.
    fn tiles(&mut self, t: TermId, a: &Apply, children: &[TermId]) {
        self.classes.apply(&mut self.terms, Rule::WholeOfTiles, t);
        // An operand may be equal to a tile in one way, and to a Concat of smaller ones in another.
        let ways = |p: &Self, c: TermId| -> Vec<(String, TermId)> {
            let all = p.classes.data(p.classes.class(c)).terms.iter().copied();
            let named = |s: TermId| match &p.terms.get(s).head {
                Head::Apply(b) if !matches!(&*b.op, Op::Concat(_)) => {
                    Some((b.op.name().to_owned(), s))
                }
                _ => None,
            };
            p.classes.distinct(&p.terms, all).into_iter().filter_map(named).collect()
        };
        let all: Vec<Vec<(String, TermId)>> = children.iter().map(|&c| ways(self, c)).collect();
        let Some((first, rest)) = all.split_first() else { return };
        for (name, tile) in first {
            let alike = |w: &Vec<(String, TermId)>| w.iter().find(|x| x.0 == *name).map(|x| x.1);
            let Some(others) = rest.iter().map(alike).collect::<Option<Vec<_>>>() else { continue };
            let tiles: Vec<TermId> = std::iter::once(*tile).chain(others).collect();
            self.rewritten(t, a, &tiles, Rule::WholeOfTiles);
        }
    }

    /// Tries a rule on the term written over other operands, which are equal to its own; returns
    /// whether it joined two classes.
    fn rewritten(&mut self, t: TermId, a: &Apply, operands: &[TermId], rule: Rule) -> bool {
        let inputs: Vec<Option<TermId>> = operands.iter().map(|&x| Some(x)).collect();
        let ty = self.terms.ty(t).clone();
        let Some(left) = self.terms.apply(&a.op, a.opset, &inputs, (0, 1), &ty) else {
            return false;
        };
        self.classes.add(&self.terms, left);
        self.classes.close();
        self.classes.apply(&mut self.terms, rule, left)
    }

    /// Joins operators over one operand and constants of their own, such as the convolutions of
    /// several branches, into one over all the constants. Each is then a part of it; returns those
    /// parts, which pay only together.
    pub(crate) fn siblings(&mut self, all: &[TermId]) -> Vec<Vec<TermId>> {
        let mut together = Vec::new();
        let mut groups: BTreeMap<_, Vec<TermId>> = BTreeMap::new();
        for &t in all {
            if let (Head::Apply(a), [Some(x), rest @ ..]) =
                (&self.terms.get(t).head, &self.terms.operands(t)[..])
                && a.outputs == 1
                && !rest.is_empty()
                && self.terms.value(*x).is_none()
                && rest.iter().flatten().all(|c| self.terms.value(*c).is_some())
            {
                groups.entry((self.classes.class(*x), a.spelled())).or_default().push(t);
            }
        }
        for group in groups.into_values().filter(|g| g.len() > 1) {
            let Some((left, axis)) = self.beside(&group) else { continue };
            if !self.classes.apply(&mut self.terms, Rule::WholeOfTiles, left) {
                continue;
            }
            let mut lo = 0;
            let mut parts = Vec::new();
            for t in group {
                let (Some(n), Some(rank)) = (self.terms.extent(t, axis), self.terms.ty(t).rank())
                else {
                    break;
                };
                let mut region: Region = vec![None; rank];
                region[axis] = Some(Span::new(lo, lo + n));
                lo += n;
                if let Some(part) = self.terms.raw_slice(left, region) {
                    self.classes.apply(&mut self.terms, Rule::PartOfResult, part);
                    parts.push(part);
                }
            }
            together.push(parts);
        }
        self.classes.close();
        together
    }

    /// The Concat of the terms along the axis that they have from their constants alone.
    fn beside(&mut self, group: &[TermId]) -> Option<(TermId, usize)> {
        let Head::Apply(a) = &self.terms.get(group[0]).head else { return None };
        let opset = a.opset;
        let rel = region::relations(&self.terms.ctx_of(group[0])?, a.output).ok()?;
        let along = |i: usize, axis: usize| {
            rel.operands.get(i).is_some_and(|r| r.contains(&Relation::Same(axis)))
        };
        let rank = self.terms.ty(group[0]).rank()?;
        let axis = (0..rank).find(|&axis| along(1, axis) && !along(0, axis))?;
        let inputs: Vec<Option<TermId>> = group.iter().map(|&t| Some(t)).collect();
        let concat = op::Concat { axis: axis as i64 }.into();
        let left = self.terms.apply(&concat, opset, &inputs, (0, 1), &Type::Unknown)?;
        Some((left, axis))
    }

    /// A Concat whose operands are Concats, or equal to some.
    fn flat(&mut self, t: TermId, a: &Apply, children: &[TermId]) {
        let concat = |p: &Self, c: TermId| {
            let all = &p.classes.data(p.classes.class(c)).terms;
            let same =
                |s: &&TermId| matches!(&p.terms.get(**s).head, Head::Apply(b) if b.op == a.op);
            all.iter().find(same).copied().unwrap_or(c)
        };
        let operands: Vec<TermId> = children.iter().map(|&c| concat(self, c)).collect();
        self.rewritten(t, a, &operands, Rule::FlatConcat);
    }

    /// A Concat whose operands are neighbouring parts of one value.
    fn joined(&mut self, t: TermId, a: &Apply, children: &[TermId]) {
        let all: Vec<Vec<(TermId, Region)>> =
            children.iter().map(|&c| self.classes.parts(&self.terms, c)).collect();
        let Some((first, rest)) = all.split_first() else { return };
        let Op::Concat(c) = &*a.op else { return };
        let rank = self.terms.ty(t).rank().unwrap_or(0);
        let Ok(axis) = axis_of(c.axis, rank) else { return };
        for (x, r) in first {
            let mut parts = vec![self.terms.raw_slice(*x, r.clone())];
            let mut end = r[axis].map(|s| s.hi);
            for other in rest {
                // A value that stands at several places of another is several parts of it.
                let next = |r: &Region| r[axis].map(|s| s.lo) == end;
                let same = |p: &&(TermId, Region)| self.classes.are_equal(*x, p.0) && next(&p.1);
                let found = other.iter().find(same);
                end = found.and_then(|(_, r)| r[axis]).map(|s| s.hi);
                parts.push(found.and_then(|(_, r)| self.terms.raw_slice(*x, r.clone())));
            }
            let Some(parts) = parts.into_iter().collect::<Option<Vec<TermId>>>() else { continue };
            if self.rewritten(t, a, &parts, Rule::JoinedParts) {
                return;
            }
        }
    }
}
