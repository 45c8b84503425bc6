//! Checks a certificate against two models, without search and without an e-graph: the certificate
//! names the rule and the term of each step, the rule computes the other side, and a congruence closure
//! derives the equalities (Downey, Sethi and Tarjan, "Variations on the common subexpression problem", JACM
//! 1980).
//!
//! A certificate is a text; `#` begins a comment. A term is a value of a model, `original:"conv1"` or
//! `other:"y"`, or a number that a line gave it:
//!
//! ```text
//! graph-opt proof 1                      version of this form
//! claims                                 shapes that the original declares are believed
//! t0 = other:"x/slice" [:, :, 0:9]       a part, by a span for each axis
//! t1 = original:"y" . 2                  an operand
//! t2 = original:"y" ( t0, t1, _ )        the same operator over other operands
//! t3 = part-of-result t2                 what the rule makes of a term, which is equal to it
//! ```
//!
//! What has to be trusted: the reading of both models ([`super::terms`]), the rules
//! ([`super::rules`]) with the region and shape rules that they ask, BLAKE3, and this file.

use std::borrow::Cow;
use std::collections::HashMap;

use graph_opt_ir::definition::unconditional;
use graph_opt_ir::{Def, Graph, Span, Type, ValueId};

use super::error::{CertificateError, EqualityError};
use super::rules::{Rule, TABLE};
use super::terms::{Head, ReadOptions, Reading, TermId, Terms};

/// First line of every certificate.
pub const HEADER: &str = "graph-opt proof 1";
/// Line of certificates that assume the shapes that the original declares.
pub(crate) const CLAIMS: &str = "claims";

/// What a certificate proves.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Checked {
    /// Whether rounding may differ, as sums were taken in another order.
    pub reassociates: bool,
    /// Names of values of the original whose declared shapes the proof assumes.
    pub assumes: Vec<String>,
    /// How many rules were applied.
    pub steps: usize,
}

/// Two models as terms.
pub(super) struct Pair<'g> {
    pub terms: Terms,
    /// Both, with definitions in the place of nodes that have one, and both branches in that of an If.
    pub graphs: [Cow<'g, Graph>; 2],
    pub readings: [Reading; 2],
    /// Results of the other model that take a declared shape, each to be shown to be equal to one of
    /// the original of the same shape.
    pub claimed: Vec<TermId>,
    pub assumes: Vec<String>,
}

impl<'g> Pair<'g> {
    /// Reads both models. With `claims`, the original's declared shapes are believed where no rule tells
    /// them: of operators that are not modelled.
    ///
    /// # Errors
    /// If they have not the same inputs and as many outputs.
    pub fn read(
        original: &'g Graph,
        other: &'g Graph,
        claims: bool,
    ) -> Result<Self, EqualityError> {
        same_inputs(original, other)?;
        let whole = |g: &'g Graph| unconditional(g).map_or(Cow::Borrowed(g), Cow::Owned);
        let graphs = [whole(original), whole(other)];
        let [original, other] = [&*graphs[0], &*graphs[1]];
        let mut terms = Terms::default();
        let believe = |_, _, ty: &Type| if claims { ty.clone() } else { Type::Unknown };
        let how = ReadOptions { apply: true, claims: &believe };
        let a = Reading::with(original, &mut terms, &how);
        let known = |digest, output, ty: &Type| {
            let same = a.opaque.iter().any(|(_, d, o, t)| (*d, *o) == (digest, output) && t == ty);
            if claims && same { ty.clone() } else { Type::Unknown }
        };
        let b = Reading::with(other, &mut terms, &ReadOptions { apply: true, claims: &known });
        let shaped = |v: &ValueId, r: &Reading| {
            r.term(*v).filter(|t| claims && terms.ty(*t).extents().is_some())
        };
        let own: Vec<TermId> = a.opaque.iter().filter_map(|o| shaped(&o.0, &a)).collect();
        let claimed = b.opaque.iter().filter_map(|o| shaped(&o.0, &b));
        let claimed = claimed.filter(|t| !own.contains(t)).collect();
        let names = a.opaque.iter().filter(|o| shaped(&o.0, &a).is_some());
        let assumes = names.map(|o| original.value(o.0).name.to_string()).collect();
        Ok(Self { terms, graphs, readings: [a, b], claimed, assumes })
    }

    /// The terms of each output of both.
    pub fn goals(&self) -> Result<Vec<(TermId, TermId)>, EqualityError> {
        let [a, b] = &self.readings;
        let pairs = self.graphs[0].outputs().iter().zip(self.graphs[1].outputs());
        let term = |r: &Reading, v: ValueId| r.term(v).ok_or(EqualityError::NoTerm);
        pairs.map(|(&p, &q)| Ok((term(a, p)?, term(b, q)?))).collect()
    }

    /// Whether the conclusions hold: outputs are equal, and declared shapes are those of the original.
    pub(crate) fn concludes(
        &self,
        mut equal: impl FnMut(TermId, TermId) -> bool,
    ) -> Result<(), EqualityError> {
        for (i, (p, q)) in self.goals()?.into_iter().enumerate() {
            if !equal(p, q) {
                let name = &self.graphs[0].value(self.graphs[0].outputs()[i]).name;
                return Err(EqualityError::Output(name.to_string()));
            }
        }
        let [a, _] = &self.readings;
        for &t in &self.claimed {
            let ty = self.terms.ty(t);
            let own = a.opaque.iter().filter_map(|o| a.term(o.0));
            if !own.into_iter().any(|s| self.terms.ty(s) == ty && equal(s, t)) {
                return Err(EqualityError::Shape(ty.clone()));
            }
        }
        Ok(())
    }
}

/// Whether the models take the same inputs and have as many outputs.
fn same_inputs(a: &Graph, b: &Graph) -> Result<(), EqualityError> {
    let required = |g: &Graph| -> Vec<ValueId> {
        let inputs = g.inputs().iter().copied();
        inputs.filter(|&v| matches!(g.value(v).def, Def::Input(None))).collect()
    };
    let (p, q) = (required(a), required(b));
    if p.len() != q.len() || a.outputs().len() != b.outputs().len() {
        return Err(EqualityError::Counts);
    }
    let optional = |g: &Graph, name: &str| {
        let found = g.inputs().iter().copied().find(|&v| &*g.value(v).name == name);
        found.filter(|&v| matches!(g.value(v).def, Def::Input(Some(_))))
    };
    let pairs = p.into_iter().zip(q).chain(a.inputs().iter().filter_map(|&v| {
        let name = &a.value(v).name;
        Some((optional(a, name)?, optional(b, name)?))
    }));
    for (v, w) in pairs {
        let (v, w) = (a.value(v), b.value(w));
        if v.ty != w.ty {
            let (original, other) = (v.ty.clone(), w.ty.clone());
            return Err(EqualityError::Input { name: v.name.to_string(), original, other });
        }
    }
    Ok(())
}

/// Checks that the certificate proves the models to be equal.
///
/// # Errors
/// With the line that is no step of a proof, or the output that does not follow.
pub fn check(
    certificate: &str,
    original: &Graph,
    other: &Graph,
) -> Result<Checked, CertificateError> {
    let text = |l: &'_ str| l.split(" #").next().unwrap_or("").trim().to_owned();
    let lines = certificate.lines().map(text).enumerate();
    let mut lines = lines.filter(|(_, l)| !l.is_empty() && !l.starts_with('#')).peekable();
    if lines.next().is_none_or(|(_, l)| l != HEADER) {
        return Err(CertificateError::Header);
    }
    let claims = lines.next_if(|(_, l)| l == CLAIMS).is_some();
    let pair = Pair::read(original, other, claims)?;
    let mut reader = Reader::new(pair);
    for (index, line) in lines {
        let number = index + 1;
        reader.line(&line).map_err(|reason| CertificateError::Step { number, reason })?;
    }
    let Reader { pair, steps, reassociates, .. } = reader;
    let mut closure = Closure::new(&pair.terms);
    for &(a, b) in &steps {
        closure.join(a.index(), b.index());
    }
    pair.concludes(|a, b| closure.root(a.index()) == closure.root(b.index()))?;
    Ok(Checked { reassociates, assumes: pair.assumes, steps: steps.len() })
}

struct Reader<'g> {
    pair: Pair<'g>,
    values: [HashMap<String, TermId>; 2],
    numbered: Vec<TermId>,
    steps: Vec<(TermId, TermId)>,
    reassociates: bool,
}

impl<'g> Reader<'g> {
    fn new(pair: Pair<'g>) -> Self {
        let values = [0, 1].map(|i| {
            let (graph, reading): (&Graph, &Reading) = (&pair.graphs[i], &pair.readings[i]);
            let named = |(v, value): (ValueId, &graph_opt_ir::Value)| {
                Some((value.name.to_string(), reading.term(v)?))
            };
            graph.values().filter_map(named).collect()
        });
        Self { pair, values, numbered: Vec::new(), steps: Vec::new(), reassociates: false }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (number, rest) = line.split_once(" = ").ok_or("expected `tN = …`")?;
        if number != format!("t{}", self.numbered.len()) {
            return Err(format!("expected t{}, found {number}", self.numbered.len()));
        }
        let word = rest.split(' ').next().unwrap_or_default();
        let made = match TABLE.iter().find(|r| r.name == word) {
            Some(row) => self.step(row.rule, &rest[word.len()..])?,
            None => self.term(rest)?,
        };
        self.numbered.push(made);
        Ok(())
    }

    fn step(&mut self, rule: Rule, left: &str) -> Result<TermId, String> {
        let left = self.whole_reference(left)?;
        let made = rule.apply(&mut self.pair.terms, left);
        let right = made.ok_or_else(|| format!("{} does not apply", rule.row().name))?;
        self.reassociates |= rule.row().reassociates;
        self.steps.push((left, right));
        Ok(right)
    }

    fn term(&mut self, text: &str) -> Result<TermId, String> {
        let (base, rest) = self.reference(text)?;
        let rest = rest.trim();
        let terms = &mut self.pair.terms;
        if let Some(spans) = rest.strip_prefix('[').and_then(|s| s.strip_suffix(']')) {
            let region = spans.split(',').map(span).collect::<Result<_, _>>()?;
            return terms.raw_slice(base, region).ok_or_else(|| "it is no part".to_owned());
        }
        if let Some(i) = rest.strip_prefix('.') {
            let i: usize = i.trim().parse().map_err(|_| "expected the number of an operand")?;
            return terms.get(base).children.get(i).copied().ok_or_else(|| "no operand".to_owned());
        }
        let Some(mut list) = rest.strip_prefix('(').and_then(|s| s.strip_suffix(')')) else {
            return Err("expected a part, an operand or a list of operands".into());
        };
        let Head::Apply(a) = self.pair.terms.get(base).head.clone() else {
            return Err("only an operator has operands".into());
        };
        if !a.modelled {
            return Err("nothing is known of the operator".into());
        }
        let mut operands = Vec::new();
        while !list.trim().is_empty() {
            if let Some(rest) = list.trim_start().strip_prefix('_') {
                operands.push(None);
                list = rest;
            } else {
                let (t, rest) = self.reference(list)?;
                operands.push(Some(t));
                list = rest;
            }
            list = list.trim_start().strip_prefix(',').unwrap_or(list);
        }
        let of = (a.output, a.outputs);
        let made = self.pair.terms.apply(&a.op, a.opset, &operands, of, &Type::Unknown);
        made.ok_or_else(|| "the operator does not take these operands".to_owned())
    }

    /// A term, and nothing after it.
    fn whole_reference(&self, text: &str) -> Result<TermId, String> {
        match self.reference(text)? {
            (t, rest) if rest.trim().is_empty() => Ok(t),
            (_, rest) => Err(format!("expected the end of the line, found {rest:?}")),
        }
    }

    /// The term that the text begins with, and what follows it.
    fn reference<'t>(&self, text: &'t str) -> Result<(TermId, &'t str), String> {
        let text = text.trim_start();
        for (i, which) in ["original:", "other:"].iter().enumerate() {
            let Some(quoted) = text.strip_prefix(which) else { continue };
            let (name, rest) = unquoted(quoted).ok_or("expected a name in quotes")?;
            let t = self.values[i].get(&name).ok_or_else(|| format!("no value {which}{name:?}"))?;
            return Ok((*t, rest));
        }
        let digits = text.strip_prefix('t').ok_or_else(|| format!("no term: {text:?}"))?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let number: usize = digits[..end].parse().map_err(|_| format!("no term: {text:?}"))?;
        let t = self.numbered.get(number).ok_or_else(|| format!("t{number} comes later"))?;
        Ok((*t, &digits[end..]))
    }
}

fn span(text: &str) -> Result<Option<Span>, String> {
    let text = text.trim();
    if text == ":" {
        return Ok(None);
    }
    let ends = text.split_once(':').and_then(|(a, b)| a.parse().ok().zip(b.parse().ok()));
    let (lo, hi): (i64, i64) = ends.ok_or_else(|| format!("no span: {text:?}"))?;
    if lo < 0 || hi <= lo {
        return Err(format!("{text:?} is empty"));
    }
    Ok(Some(Span::new(lo, hi)))
}

/// A name in quotes. Quotes and backslashes have a backslash before them, `\u{n}` is a character.
pub(super) fn quoted(name: &str) -> String {
    let mut s = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => s.extend(['\\', c]),
            c if c.is_control() || c == '#' => s.push_str(&format!("\\u{{{:x}}}", c as u32)),
            c => s.push(c),
        }
    }
    s.push('"');
    s
}

fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.strip_prefix('"')?.chars();
    loop {
        match chars.next()? {
            '"' => return Some((name, chars.as_str())),
            '\\' => match chars.next()? {
                'u' => {
                    let (hex, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    name.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
                    chars = rest.chars();
                }
                c => name.push(c),
            },
            c => name.push(c),
        }
    }
}

/// Classes of equal terms.
struct Closure {
    parent: Vec<usize>,
    /// Heads by number, and children, of each term.
    heads: Vec<usize>,
    children: Vec<Vec<usize>>,
    /// By root: terms that read the class.
    readers: Vec<Vec<usize>>,
    /// Terms by head and the roots of their children.
    table: HashMap<(usize, Vec<usize>), usize>,
}

impl Closure {
    fn new(terms: &Terms) -> Self {
        let n = terms.count();
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut c = Self {
            parent: (0..n).collect(),
            heads: Vec::with_capacity(n),
            children: Vec::with_capacity(n),
            readers: vec![Vec::new(); n],
            table: HashMap::new(),
        };
        // Children come before what reads them.
        for (i, t) in terms.iter().enumerate() {
            let next = names.len();
            c.heads.push(*names.entry(t.head.spelled()).or_insert(next));
            let below: Vec<usize> = t.children.iter().map(|x| x.index()).collect();
            below.iter().for_each(|&x| c.readers[x].push(i));
            c.table.insert((c.heads[i], below.clone()), i);
            c.children.push(below);
        }
        c
    }

    fn root(&mut self, mut x: usize) -> usize {
        while self.parent[x] != x {
            self.parent[x] = self.parent[self.parent[x]];
            x = self.parent[x];
        }
        x
    }

    fn join(&mut self, a: usize, b: usize) {
        let mut todo = vec![(a, b)];
        while let Some((a, b)) = todo.pop() {
            let (a, b) = (self.root(a), self.root(b));
            if a == b {
                continue;
            }
            let (small, large) =
                if self.readers[a].len() < self.readers[b].len() { (a, b) } else { (b, a) };
            self.parent[small] = large;
            for r in std::mem::take(&mut self.readers[small]) {
                let roots: Vec<usize> =
                    self.children[r].clone().into_iter().map(|x| self.root(x)).collect();
                let other = *self.table.entry((self.heads[r], roots)).or_insert(r);
                if other != r {
                    todo.push((other, r));
                }
                self.readers[large].push(r);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_were() {
        for name in ["x", "a b", "a\"b", "a\\b", "\n\u{1b}[0m", "a # b", "é/tile0of4", ""] {
            let text = format!("{} rest", quoted(name));
            assert_eq!(unquoted(&text), Some((name.to_owned(), " rest")));
            assert!(!quoted(name).contains(['#', '\n']));
        }
        for text in ["x", "\"x", "\"\\", "\"\\u{}\"", "\"\\u{110000}\""] {
            assert_eq!(unquoted(text), None, "{text}");
        }
    }
}
