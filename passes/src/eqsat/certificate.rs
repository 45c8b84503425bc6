//! Writes down a proof so that [`super::check`] can follow it.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::check::{CLAIMS, HEADER, Pair, quoted};
use super::egraph::Step;
use super::terms::{Head, TermId, Terms};

/// The certificate of these steps.
///
/// # Errors
/// If a step is about a term that cannot be named.
pub(super) fn write(pair: &Pair<'_>, steps: &[Step], claims: bool) -> Result<String, String> {
    let mut w = Writer {
        terms: &pair.terms,
        names: HashMap::new(),
        within: HashMap::new(),
        heads: HashMap::new(),
        numbered: 0,
        out: format!("{HEADER}\n"),
    };
    if claims {
        let _ = writeln!(w.out, "{CLAIMS}");
    }
    for (i, which) in ["original", "other"].iter().enumerate() {
        for (v, value) in pair.graphs[i].values() {
            if let Some(t) = pair.readings[i].term(v) {
                w.name(t, format!("{which}:{}", quoted(&value.name)));
            }
        }
    }
    for s in steps {
        let left = w.reference(s.left)?;
        let comment = w.says(s.right);
        w.line(s.right, &format!("{} {left}", s.rule.row().name), &comment);
    }
    let [a, b] = &pair.graphs;
    for (&p, &q) in a.outputs().iter().zip(b.outputs()) {
        let (p, q) = (quoted(&a.value(p).name), quoted(&b.value(q).name));
        let _ = writeln!(w.out, "# so original:{p} = other:{q}");
    }
    Ok(w.out)
}

struct Writer<'a> {
    terms: &'a Terms,
    names: HashMap<TermId, String>,
    /// Terms below named ones: of which they are which operand.
    within: HashMap<TermId, (TermId, usize)>,
    /// A named term by its operator.
    heads: HashMap<String, TermId>,
    numbered: usize,
    out: String,
}

impl Writer<'_> {
    fn name(&mut self, t: TermId, name: String) {
        if self.names.contains_key(&t) {
            return;
        }
        self.names.insert(t, name);
        let mut todo = vec![t];
        while let Some(t) = todo.pop() {
            let term = self.terms.get(t);
            if let Head::Apply(a) = &term.head {
                self.heads.entry(a.operator()).or_insert(t);
            }
            for (i, &c) in term.children.iter().enumerate() {
                if !self.names.contains_key(&c) && !self.within.contains_key(&c) {
                    self.within.insert(c, (t, i));
                    todo.push(c);
                }
            }
        }
    }

    fn line(&mut self, t: TermId, text: &str, comment: &str) {
        let number = format!("t{}", self.numbered);
        let _ = writeln!(self.out, "{number} = {text}{comment}");
        self.numbered += 1;
        self.name(t, number);
    }

    /// How the term is referred to, after lines that define it.
    fn reference(&mut self, t: TermId) -> Result<String, String> {
        if let Some(name) = self.names.get(&t) {
            return Ok(name.clone());
        }
        let text = if let Some(&(parent, i)) = self.within.get(&t) {
            format!("{} . {i}", self.reference(parent)?)
        } else {
            match &self.terms.get(t).head {
                Head::Slice(r) => {
                    let base = self.reference(self.terms.get(t).children[0])?;
                    let span = |s: &Option<graph_opt_ir::Span>| {
                        s.map_or_else(|| ":".to_owned(), |s| format!("{}:{}", s.lo, s.hi))
                    };
                    let spans: Vec<String> = r.iter().map(span).collect();
                    format!("{base} [{}]", spans.join(", "))
                }
                Head::Apply(a) => {
                    let like = self.heads.get(&a.operator()).copied();
                    let like = like.ok_or_else(|| format!("a new operator {}", a.op.name()))?;
                    let like = self.reference(like)?;
                    let mut operands = Vec::new();
                    for x in self.terms.operands(t) {
                        operands.push(match x {
                            Some(x) => self.reference(x)?,
                            None => "_".to_owned(),
                        });
                    }
                    format!("{like} ( {} )", operands.join(", "))
                }
                Head::Leaf(_) | Head::Const(_) => return Err("a value of neither model".into()),
            }
        };
        self.line(t, &text, "");
        Ok(self.names[&t].clone())
    }

    /// A comment for readers: the term by the names of what it is made of.
    fn says(&self, t: TermId) -> String {
        if let Some(name) = self.names.get(&t) {
            return format!("    # is {name}");
        }
        let name = |c: &TermId| self.names.get(c).map_or("…", |n| n.as_str());
        let term = self.terms.get(t);
        let children: Vec<&str> = term.children.iter().map(name).collect();
        match &term.head {
            Head::Apply(a) => format!("    # is {}({})", a.op.name(), children.join(", ")),
            Head::Slice(_) => format!("    # is a part of {}", children.join(", ")),
            Head::Leaf(_) | Head::Const(_) => String::new(),
        }
    }
}
