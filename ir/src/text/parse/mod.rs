//! Text → graph: graphs with their headers. Statements, types, constants and attributes have a file
//! each.

mod attributes;
mod constants;
mod statement;
mod types;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use super::lex::{Token, tokens};
use crate::build::Builder;
use crate::graph::{Def, Graph};
use crate::tensor::Tensor;
use crate::{Type, infer};

pub use constants::Constants;
use statement::Body;

/// A text that is not a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
#[non_exhaustive]
pub struct ParseError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What was expected there, and what was found.
    pub message: String,
}

impl ParseError {
    pub(super) fn new(line: usize, message: impl Display) -> Self {
        Self { line, message: message.to_string() }
    }
}

type Result<T, E = ParseError> = std::result::Result<T, E>;

/// Parses a text in which all constants are written out.
///
/// # Errors
/// With the line, if the text is not a well-formed, well-typed graph.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, &Constants::default())
}

/// Parses a text that names some constants by their hashes, which are looked up in `constants`.
///
/// # Errors
/// With the line, if the text is not a well-formed, well-typed graph, or a constant is missing.
pub fn parse_with(text: &str, constants: &Constants) -> Result<Graph, ParseError> {
    let mut p = Parser { tokens: tokens(text)?, at: 0, constants, depth: 0 };
    let mut graph = p.graph(None)?.0;
    if *p.peek() != Token::End {
        return p.expected("the end of the text after the graph");
    }
    // While parsing, nodes were inferred one at a time. Now values that are computed from shapes are known.
    infer::refine(&mut graph).map_err(|e| ParseError::new(p.line(), e))?;
    Ok(graph)
}

/// Deepest nesting of graphs. The parser recurses once for each level.
const MAX_DEPTH: usize = 50;

struct Parser<'a> {
    /// Tokens with their lines.
    tokens: Vec<(Token, usize)>,
    at: usize,
    constants: &'a Constants,
    depth: usize,
}

/// Names and types of the values of enclosing graphs.
type Scope = HashMap<String, Type>;

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn line(&self) -> usize {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let t = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        t
    }

    fn fail<T>(&self, message: impl Display) -> Result<T> {
        Err(ParseError::new(self.line(), message))
    }

    /// Fails with the next token as what was found.
    fn expected<T>(&self, what: impl Display) -> Result<T> {
        self.fail(format!("expected {what}, found {}", self.peek()))
    }

    /// Takes the next token if it is this one.
    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.next();
        }
        found
    }

    fn eat(&mut self, c: char) -> bool {
        self.take(&Token::Sign(c))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Token::Word(w) if w == word);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, token: &Token) -> Result<()> {
        if self.take(token) { Ok(()) } else { self.expected(token) }
    }

    fn sign(&mut self, c: char) -> Result<()> {
        self.expect(&Token::Sign(c))
    }

    /// Takes the next token if `f` accepts it, and returns what `f` makes of it.
    fn token<T>(&mut self, what: &str, f: impl FnOnce(Token) -> Option<T>) -> Result<T> {
        match f(self.peek().clone()) {
            Some(t) => {
                self.next();
                Ok(t)
            }
            None => self.expected(what),
        }
    }

    /// A word, bare or in quotes.
    fn name(&mut self, what: &str) -> Result<String> {
        self.token(what, |t| match t {
            Token::Word(w) | Token::Str(w) => Some(w),
            _ => None,
        })
    }

    /// The name after `%`.
    fn value_name(&mut self, what: &str) -> Result<String> {
        self.token(what, |t| if let Token::Value(v) = t { Some(v) } else { None })
    }

    fn int(&mut self) -> Result<i64> {
        self.token("a whole number", |t| match t {
            Token::Word(w) => w.parse().ok(),
            _ => None,
        })
    }

    /// Items separated by commas, up to and including `close`. A comma may follow the last item.
    fn list<T>(
        &mut self,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while !self.eat(close) {
            all.push(item(self)?);
            if !self.eat(',') && *self.peek() != Token::Sign(close) {
                return self.expected(format!("',' or '{close}'"));
            }
        }
        Ok(all)
    }

    /// One or more items, separated by commas.
    fn items<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut all = vec![item(self)?];
        while self.eat(',') {
            all.push(item(self)?);
        }
        Ok(all)
    }

    /// A graph, and the names of the values of enclosing graphs that it reads. `outer` is the scope of
    /// a subgraph, with the graph around it.
    fn graph(&mut self, outer: Option<(&Scope, &Graph)>) -> Result<(Graph, Vec<String>)> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail(format!("expected at most {MAX_DEPTH} graphs in one another"));
        }
        if !self.eat_word("graph") {
            return self.expected("'graph'");
        }
        let graph_name = |t| if let Token::Graph(n) = t { Some(n) } else { None };
        let name = self.token("'@' and a name", graph_name)?;
        self.sign('(')?;
        let inputs = self.list(')', Self::input)?;
        self.expect(&Token::Arrow)?;
        self.sign('(')?;
        let outputs = self.list(')', |p| Ok((p.line(), p.value_name("an output")?)))?;
        let builder = match outer {
            Some((_, g)) => Builder::over(Graph {
                name: name.as_str().into(),
                opsets: g.opsets.clone(),
                ir_version: g.ir_version,
                ..Graph::default()
            }),
            None => self.opsets(&name)?,
        };
        let mut body = Body::new(builder, outer.map(|o| o.0));
        for (line, name, ty, default) in inputs {
            if body.names.contains_key(&name) {
                return Err(ParseError::new(line, format!("%{name} is defined twice")));
            }
            body.input(name, ty, default);
        }
        self.sign('{')?;
        while !self.eat('}') {
            self.statement(&mut body)?;
        }
        for (line, name) in outputs {
            let v = body.lookup(&name, line)?;
            body.builder.output(v);
        }
        self.depth -= 1;
        Ok((body.builder.finish(), body.captured))
    }

    /// `%name: type`, perhaps with `= default`.
    fn input(&mut self) -> Result<(usize, String, Type, Option<Tensor>)> {
        let line = self.line();
        let name = self.value_name("an input")?;
        self.sign(':')?;
        let ty = self.ty()?;
        let default = if self.eat('=') { Some(self.tensor(&ty)?) } else { None };
        Ok((line, name, ty, default))
    }

    /// `opset VERSION`, and versions of other domains.
    fn opsets(&mut self, name: &str) -> Result<Builder> {
        if !self.eat_word("opset") {
            return self.expected("'opset'");
        }
        let version = self.int()?;
        let mut b = Builder::new(name, version);
        let mut all: BTreeMap<Arc<str>, i64> = (*b.graph().opsets).clone();
        while self.eat(',') {
            let domain = self.name("a domain")?;
            all.insert(domain.into(), self.int()?);
        }
        b.graph_mut().opsets = Arc::new(all);
        Ok(b)
    }
}

impl Body<'_> {
    fn input(&mut self, name: String, ty: Type, default: Option<Tensor>) {
        let id = self.builder.input(&name, ty);
        if let Some(t) = default {
            let g = self.builder.graph_mut();
            g.value_mut(id).def = Def::Input(Some(Arc::new(t)));
            // Before, an input with a value was a constant.
            g.ir_version = g.ir_version.max(4);
        }
        self.names.insert(name, id);
    }
}
