//! Constants.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::lex::Token;
use super::{ParseError, Parser, Result};
use crate::graph::{Def, Graph};
use crate::op::Attr;
use crate::tensor::{Data, Tensor};
use crate::{DType, Type};

/// Constants by their content hash, for texts that name them so.
#[derive(Clone, Default, Debug)]
pub struct Constants(HashMap<u128, Arc<Tensor>>);

impl Constants {
    /// The constants of a graph and its subgraphs.
    pub fn of(graph: &Graph) -> Self {
        let mut all = Self::default();
        all.add(graph);
        all
    }

    /// All constants, in the order of their hashes.
    pub fn tensors(&self) -> Vec<&Arc<Tensor>> {
        let mut all: Vec<(&u128, &Arc<Tensor>)> = self.0.iter().collect();
        all.sort_by_key(|(hash, _)| **hash);
        all.into_iter().map(|(_, t)| t).collect()
    }

    fn add(&mut self, graph: &Graph) {
        for (_, v) in graph.values() {
            if let Def::Const(t) | Def::Input(Some(t)) = &v.def {
                self.0.insert(t.content_hash(), t.clone());
            }
        }
        for id in graph.schedule() {
            for (_, a) in graph.node(id).op.attrs() {
                match a {
                    Attr::Tensor(t) => drop(self.0.insert(t.content_hash(), t)),
                    Attr::Graph(g) => self.add(&g.0),
                    _ => {}
                }
            }
        }
    }
}

impl Parser<'_> {
    /// The elements of a constant and, after them, its type.
    pub(super) fn typed_tensor(&mut self) -> Result<Tensor> {
        let start = self.at;
        while !matches!(self.peek(), Token::Sign(':') | Token::End) {
            self.next();
        }
        self.sign(':')?;
        let ty = self.ty()?;
        let end = std::mem::replace(&mut self.at, start);
        let t = self.tensor(&ty)?;
        self.at = end;
        Ok(t)
    }

    /// The elements of a constant of this type.
    pub(super) fn tensor(&mut self, ty: &Type) -> Result<Tensor> {
        let (Some(dtype), Some(dims)) = (ty.dtype(), ty.extents()) else {
            return self
                .fail(format!("expected known extents for a constant, found the type {ty}"));
        };
        let line = self.line();
        let made = if self.eat_word("random") {
            self.sign('(')?;
            let seed = self.int()?;
            self.sign(')')?;
            Tensor::random(dtype, &dims, seed as u64)
        } else if self.eat_word("hex") {
            Tensor::from_bytes(dtype, dims, self.hex()?)
        } else if let Token::Word(w) = self.peek()
            && w.starts_with('#')
        {
            return self.by_hash(ty);
        } else if dtype == DType::String {
            let all = self.elements(|p| match p.scalar()? {
                Attr::Str(s) => Ok(s),
                other => {
                    Err(ParseError::new(line, format!("expected a string, found {}", other.kind())))
                }
            })?;
            Tensor::new(dtype, dims, Data::Strings(Arc::new(all)))
        } else {
            let all = self.elements(|p| p.number(dtype))?;
            Tensor::from_bytes(dtype, dims, all.concat())
        };
        made.map_err(|e| ParseError::new(line, e))
    }

    /// A list of elements, or one element alone.
    fn elements<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if self.eat('[') { self.list(']', item) } else { Ok(vec![item(self)?]) }
    }

    /// The little-endian bytes of one element.
    fn number(&mut self, dtype: DType) -> Result<Vec<u8>> {
        let whole = dtype.is_int() || dtype == DType::Bool;
        if !whole && !matches!(dtype, DType::F32 | DType::F64) {
            return self.expected(format!("hex\"…\" or a hash, as {dtype} has no other spelling"));
        }
        self.token(&format!("an element of type {dtype}"), |t| match (t, dtype) {
            (Token::Word(w), DType::F32) => Some(w.parse::<f32>().ok()?.to_le_bytes().to_vec()),
            (Token::Word(w), DType::F64) => Some(w.parse::<f64>().ok()?.to_le_bytes().to_vec()),
            (Token::Word(w), _) => {
                Some(w.parse::<i64>().ok()?.to_le_bytes()[..dtype.bits() / 8].to_vec())
            }
            _ => None,
        })
    }

    /// `#` and the content hash of a constant.
    fn by_hash(&mut self, ty: &Type) -> Result<Tensor> {
        let line = self.line();
        let (word, hash) = self.token("'#' and a hash in hexadecimal", |t| match t {
            Token::Word(w) => u128::from_str_radix(w.strip_prefix('#')?, 16).ok().map(|h| (w, h)),
            _ => None,
        })?;
        let fail = |what: String| Err(ParseError::new(line, what));
        match self.constants.0.get(&hash) {
            None => fail(format!(
                "no data for constant {word}; texts from `print_whole` have all data in them"
            )),
            Some(t) if t.ty() != *ty => {
                fail(format!("constant {word} is declared {ty}, but is {}", t.ty()))
            }
            Some(t) => Ok((**t).clone()),
        }
    }
}
