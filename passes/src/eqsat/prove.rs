//! Whether two graphs are equal for all inputs and weights.
//!
//! Both graphs are read as terms of one e-graph. Saturating it would make parts of everything;
//! instead the candidate's values are taken in their order, and for each the rules are tried that
//! can say what part of the original it is: where its operands begin says where it would begin
//! (`lift`). So each value costs a few e-nodes, however many tiles there are. What was joined is kept
//! as steps, and checked once more by `replay`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use graph_opt_ir::op::Op;
use graph_opt_ir::region::{self, Region, Relation};
use graph_opt_ir::rule::axis_of;
use graph_opt_ir::{Graph, Span, Tensor, Type, op};

use super::egraph::{Classes, Step};
use super::lift::guesses;
use super::replay::replay;
use super::rules::Rule;
use super::terms::{Apply, Head, Reading, TermId, Terms};

/// A proof.
pub struct Proof {
    /// Rules that were used, each with how often.
    pub rules: Vec<(&'static str, usize)>,
    /// Whether rounding may differ, as sums were taken in another order.
    pub reassociates: bool,
    /// Number of e-nodes.
    pub nodes: usize,
    /// The steps, readable.
    pub certificate: String,
}

/// Proves that the graphs are equal.
///
/// # Errors
/// Why no proof was found. That is no proof of the contrary.
pub fn prove(original: &Graph, other: &Graph) -> Result<Proof, String> {
    let forth = one_way(original, other);
    // A part of a part is easier found from the side that has the whole.
    forth.or_else(|why| one_way(other, original).map_err(|_| why))
}

fn one_way(original: &Graph, other: &Graph) -> Result<Proof, String> {
    if original.inputs().len() != other.inputs().len()
        || original.outputs().len() != other.outputs().len()
    {
        return Err("the graphs have different numbers of inputs or outputs".into());
    }
    for (&a, &b) in original.inputs().iter().zip(other.inputs()) {
        let (a, b) = (original.value(a), other.value(b));
        if a.ty != b.ty {
            return Err(format!("input {} is {} in one and {} in the other", a.name, a.ty, b.ty));
        }
    }
    let mut terms = Terms::default();
    let a = Reading::of(original, &mut terms);
    let b = Reading::of(other, &mut terms);
    let mut p = Prover { terms, ..Prover::default() };
    p.read(&a);
    let mut unmatched = None;
    for &(node, _, t) in &b.made {
        if !p.place(t) && unmatched.is_none() {
            unmatched = Some(node);
        }
    }
    if let Some(why) = p.classes.conflict() {
        return Err(format!("a rule is wrong: {why}"));
    }
    let mut goals = Vec::new();
    for (&x, &y) in original.outputs().iter().zip(other.outputs()) {
        let (Some(s), Some(t)) = (a.term(x), b.term(y)) else {
            return Err(format!("output {} has no term", original.value(x).name));
        };
        p.classes.add(&p.terms, s);
        p.classes.add(&p.terms, t);
        if !p.classes.are_equal(s, t) {
            let name = &original.value(x).name;
            let node = unmatched.map_or(String::new(), |n| {
                let label = other.label(n);
                format!("; {} {label:?} is the first of no known part", other.node(n).op.name())
            });
            return Err(format!("no rule joins {name} with its counterpart{node}"));
        }
        goals.push((s, t));
    }
    let steps = std::mem::take(&mut p.classes.steps);
    replay(&mut p.terms, &steps, &goals)
        .map_err(|e| format!("the proof does not stand a second look: {e}"))?;
    let names = Names::of(&p.terms, [(original, &a), (other, &b)]);
    let certificate = names.certificate(&p.terms, &steps, &goals);
    let mut rules: Vec<(&str, usize)> = Vec::new();
    for s in &steps {
        let name = s.rule.row().name;
        match rules.iter_mut().find(|r| r.0 == name) {
            Some(r) => r.1 += 1,
            None => rules.push((name, 1)),
        }
    }
    let reassociates = steps.iter().any(|s| s.rule.row().reassociates);
    Ok(Proof { rules, reassociates, nodes: p.classes.nodes(), certificate })
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
                let along = |t: TermId| self.terms.extents(t).map(|e| e[axis]);
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
    pub fn siblings(&mut self, all: &[TermId]) -> Vec<Vec<TermId>> {
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
                let Some(n) = self.terms.extents(t) else { break };
                let mut region: Region = vec![None; n.len()];
                region[axis] = Some(Span::new(lo, lo + n[axis]));
                lo += n[axis];
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

/// What terms are called in a certificate.
struct Names(Vec<Option<String>>);

impl Names {
    fn of(terms: &Terms, graphs: [(&Graph, &Reading); 2]) -> Self {
        let mut names = vec![None; terms.count()];
        for (which, (graph, reading)) in ["original", "other"].iter().zip(graphs) {
            for (i, t) in reading.terms.iter().enumerate() {
                let Some(t) = t else { continue };
                let name = &graph.value(graph_opt_ir::ValueId::new(i)).name;
                names[t.index()].get_or_insert_with(|| format!("{which}:{name}"));
            }
        }
        Self(names)
    }

    fn term(&self, terms: &Terms, t: TermId, depth: usize) -> String {
        if let (Some(name), true) = (&self.0[t.index()], depth > 0) {
            return name.clone();
        }
        let term = terms.get(t);
        let below = |c: &TermId| self.term(terms, *c, depth + 1);
        match &term.head {
            Head::Leaf(_) => self.0[t.index()].clone().unwrap_or_else(|| format!("t{}", t.index())),
            Head::Const(h) => match terms.value(t).map(|v| Tensor::to_i64s(v)) {
                Some(Some(v)) if v.len() <= 8 => format!("{v:?}"),
                _ => format!("const#{:08x}", *h as u32),
            },
            Head::Slice(r) => {
                let span = |s: &Option<graph_opt_ir::Span>| {
                    s.map_or_else(|| ":".to_owned(), |s| format!("{}:{}", s.lo, s.hi))
                };
                let spans: Vec<String> = r.iter().map(span).collect();
                format!("{}[{}]", below(&term.children[0]), spans.join(", "))
            }
            Head::Apply(_) if depth > 1 => format!("t{}", t.index()),
            Head::Apply(a) => {
                let children: Vec<String> = term.children.iter().map(below).collect();
                format!("{}({})", a.op.name(), children.join(", "))
            }
        }
    }

    fn certificate(&self, terms: &Terms, steps: &[Step], goals: &[(TermId, TermId)]) -> String {
        let mut s = String::from("# Each line is a case of its rule; equal operators over equal\n");
        s.push_str("# operands are equal. NAME[a:b, :] is a part, t1 a term without a name.\n");
        for (i, step) in steps.iter().enumerate() {
            let (left, right) = (step.left, step.right);
            let name = |t: TermId| {
                let named = &self.0[t.index()];
                let text = self.term(terms, t, 0);
                named.as_ref().map_or_else(|| text.clone(), |n| format!("{n} = {text}"))
            };
            let _ = writeln!(
                s,
                "{:>6} {:<14} {} = {}",
                i + 1,
                step.rule.row().name,
                name(left),
                name(right)
            );
        }
        for (a, b) in goals {
            let name = |t: &TermId| self.0[t.index()].clone().unwrap_or_default();
            let _ = writeln!(s, "   so  {} = {}", name(a), name(b));
        }
        s
    }
}
