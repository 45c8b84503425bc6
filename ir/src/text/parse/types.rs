//! Types.

use super::super::lex::Token;
use super::{Parser, Result};
use crate::{DType, Dim, Type};

impl Parser<'_> {
    /// `?`, `other`, `sequence(type)`, `optional(type)`, `dtype[..]` or `dtype[extents]`.
    pub(super) fn ty(&mut self) -> Result<Type> {
        if self.eat('?') {
            return Ok(Type::Unknown);
        }
        if self.eat_word("other") {
            return Ok(Type::Other);
        }
        let kinds: [(&str, fn(Box<Type>) -> Type); 2] =
            [("sequence", Type::Sequence), ("optional", Type::Optional)];
        for (word, of) in kinds {
            if self.eat_word(word) {
                self.depth += 1;
                if self.depth > super::MAX_DEPTH {
                    return self.fail("types nest too deeply".to_owned());
                }
                self.sign('(')?;
                let inner = self.ty()?;
                self.sign(')')?;
                self.depth -= 1;
                return Ok(of(Box::new(inner)));
            }
        }
        let dtype = self.token("a type such as f32[1,3]", |t| match t {
            Token::Word(w) => DType::from_name(&w),
            _ => None,
        })?;
        self.sign('[')?;
        if self.take(&Token::DotDot) {
            self.sign(']')?;
            return Ok(Type::unranked(dtype));
        }
        let dims = self.list(']', |p| {
            p.token("an extent", |t| match t {
                Token::Sign('?') => Some(Dim::Unknown),
                Token::Str(s) => Some(Dim::Param(s.into())),
                Token::Word(w) => Some(w.parse::<u64>().map_or(Dim::Param(w.into()), Dim::Known)),
                _ => None,
            })
        })?;
        Ok(Type::with_dims(dtype, dims))
    }
}
