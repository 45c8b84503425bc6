//! Values of attributes.

use std::sync::Arc;

use super::super::lex::Token;
use super::{Parser, Result, Scope};
use crate::graph::Graph;
use crate::op::{Attr, Subgraph};

impl Parser<'_> {
    /// The value of an attribute. Names that a subgraph captures are added to `captured`.
    pub(super) fn attr(
        &mut self,
        scope: &Scope,
        outer: &Graph,
        captured: &mut Vec<String>,
    ) -> Result<Attr> {
        if matches!(self.peek(), Token::Word(w) if w == "graph") {
            let (g, names) = self.graph(Some((scope, outer)))?;
            captured.extend(names);
            return Ok(Attr::Graph(Subgraph(Arc::new(g))));
        }
        if self.eat_word("tensor") {
            self.sign('(')?;
            let t = self.typed_tensor()?;
            self.sign(')')?;
            return Ok(Attr::Tensor(Arc::new(t)));
        }
        if self.eat_word("raw") {
            return Ok(Attr::Raw(self.hex()?.into()));
        }
        if self.eat('[') {
            let items = self.list(']', Self::scalar)?;
            return self.of_one_kind(&items);
        }
        self.scalar()
    }

    /// The list attribute of these items, which must be of one kind.
    fn of_one_kind(&self, items: &[Attr]) -> Result<Attr> {
        macro_rules! all {
            ($variant:ident) => {
                items
                    .iter()
                    .map(|a| match a {
                        Attr::$variant(v) => Some(v.clone()),
                        _ => None,
                    })
                    .collect()
            };
        }
        let ints: Option<Vec<i64>> = all!(Int);
        let floats: Option<Vec<f32>> = all!(Float);
        let strs: Option<Vec<Vec<u8>>> = all!(Str);
        match (ints, floats, strs) {
            (Some(v), ..) => Ok(Attr::Ints(v)),
            (_, Some(v), _) => Ok(Attr::Floats(v)),
            (.., Some(v)) => Ok(Attr::Strs(v)),
            _ => self.fail("expected a list of ints, of floats or of strings, found a mixed one"),
        }
    }

    /// A number or a string.
    pub(super) fn scalar(&mut self) -> Result<Attr> {
        if self.eat_word("hex") {
            return Ok(Attr::Str(self.hex()?));
        }
        self.token("a number or a string", |t| match t {
            Token::Str(s) => Some(Attr::Str(s.into_bytes())),
            Token::Word(w) => match (w.parse(), w.parse()) {
                (Ok(i), _) => Some(Attr::Int(i)),
                (_, Ok(x)) => Some(Attr::Float(x)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Bytes in hexadecimal, after the word `hex` or `raw`.
    pub(super) fn hex(&mut self) -> Result<Vec<u8>> {
        let byte = |c: &[u8]| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok();
        self.token("hexadecimal digits in quotes", |t| match t {
            Token::Str(s) => s.as_bytes().chunks(2).map(byte).collect(),
            _ => None,
        })
    }
}
