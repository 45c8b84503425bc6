//! Text → graph.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::lex::{Token, tokens};
use crate::build::Builder;
use crate::graph::{Def, Graph, Meta, Node};
use crate::op::{Attr, Attrs, GRAPH_OPT, ONNX, Op, Subgraph};
use crate::rule::Ctx;
use crate::tensor::{Data, Tensor};
use crate::{DType, Dim, Type, ValueId, infer};

/// The text is not a graph.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl ParseError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Constants that a text names by their hash.
#[derive(Clone, Default, Debug)]
pub struct Constants(HashMap<u128, Arc<Tensor>>);

impl Constants {
    /// Those of a graph and its subgraphs.
    pub fn of(graph: &Graph) -> Self {
        let mut all = Self::default();
        all.add(graph);
        all
    }

    /// All of them, in the order of their hashes.
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

/// Parses a text without named constants.
///
/// # Errors
/// With the line, if the text is not a well-formed, well-typed graph.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, &Constants::default())
}

/// Parses a text, looking up constants by their hashes.
///
/// # Errors
/// With the line, if the text is not a well-formed, well-typed graph.
pub fn parse_with(text: &str, constants: &Constants) -> Result<Graph, ParseError> {
    let mut p = Parser { tokens: tokens(text)?, at: 0, constants, depth: 0 };
    let mut graph = p.graph(None)?.0;
    if *p.peek() != Token::End {
        return p.fail("text after the graph");
    }
    // Line by line only single nodes were looked at.
    infer::refine(&mut graph).map_err(|e| ParseError::new(p.line(), e.to_string()))?;
    Ok(graph)
}

/// A tensor of pseudo-random elements: floats in [-1, 1), whole numbers in 0..8, by splitmix64.
///
/// # Errors
/// If the type has no such elements.
pub fn random_tensor(dtype: DType, dims: &[u64], seed: u64) -> Result<Tensor, String> {
    let n = dims.iter().try_fold(1u64, |a, &b| a.checked_mul(b)).filter(|&n| n < 1 << 28);
    let n = n.ok_or("the constant is too large")?;
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    let mut unit = || (next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    let mut bytes = Vec::new();
    for _ in 0..n {
        let x = unit();
        let i = ((x + 1.0) * 4.0) as u8;
        match dtype {
            DType::F32 => bytes.extend(x.to_le_bytes()),
            DType::F64 => bytes.extend(f64::from(x).to_le_bytes()),
            DType::F16 => bytes.extend(half::f16::from_f32(x).to_le_bytes()),
            DType::BF16 => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
            DType::I8 | DType::U8 => bytes.push(i),
            DType::Bool => bytes.push(i & 1),
            DType::I32 => bytes.extend(i32::from(i).to_le_bytes()),
            DType::I64 => bytes.extend(i64::from(i).to_le_bytes()),
            other => return Err(format!("no random tensors of {other}")),
        }
    }
    Tensor::from_bytes(dtype, dims.to_vec(), bytes).map_err(|e| e.to_string())
}

struct Parser<'a> {
    tokens: Vec<(Token, usize)>,
    at: usize,
    constants: &'a Constants,
    depth: usize,
}

type Names = HashMap<String, ValueId>;
/// Names and types of an enclosing graph's values.
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

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.line(), message))
    }

    fn eat(&mut self, c: char) -> bool {
        let found = *self.peek() == Token::Sign(c);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), ParseError> {
        if self.eat(c) {
            Ok(())
        } else {
            self.fail(format!("expected {c:?}, found {:?}", self.peek()))
        }
    }

    fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        match self.peek() {
            Token::Word(w) if w == word => {
                self.next();
                Ok(())
            }
            other => self.fail(format!("expected {word:?}, found {other:?}")),
        }
    }

    fn int(&mut self) -> Result<i64, ParseError> {
        match self.next() {
            Token::Word(w) => match w.parse() {
                Ok(n) => Ok(n),
                Err(_) => self.fail(format!("expected a whole number, found {w:?}")),
            },
            other => self.fail(format!("expected a whole number, found {other:?}")),
        }
    }

    fn graph(
        &mut self,
        outer: Option<(&Scope, &Graph)>,
    ) -> Result<(Graph, Vec<String>), ParseError> {
        self.depth += 1;
        if self.depth > 50 {
            return self.fail("graphs nested too deeply");
        }
        self.keyword("graph")?;
        let Token::Graph(name) = self.next() else { return self.fail("expected @ and a name") };
        self.expect('(')?;
        let mut inputs = Vec::new();
        while !self.eat(')') {
            let Token::Value(v) = self.next() else { return self.fail("expected an input") };
            self.expect(':')?;
            let ty = self.ty()?;
            let default = if self.eat('=') { Some(self.tensor(&ty)?) } else { None };
            inputs.push((v, ty, default));
            if !self.eat(',') && *self.peek() != Token::Sign(')') {
                return self.fail("expected ',' or ')'");
            }
        }
        if self.next() != Token::Arrow {
            return self.fail("expected ->");
        }
        self.expect('(')?;
        let mut outputs = Vec::new();
        while !self.eat(')') {
            let Token::Value(v) = self.next() else { return self.fail("expected an output") };
            outputs.push((v, self.line()));
            if !self.eat(',') && *self.peek() != Token::Sign(')') {
                return self.fail("expected ',' or ')'");
            }
        }
        let mut builder = match outer {
            Some((_, g)) => Builder::over(Graph {
                name: name.as_str().into(),
                opsets: g.opsets.clone(),
                ir_version: g.ir_version,
                ..Graph::default()
            }),
            None => {
                self.keyword("opset")?;
                let opset = self.int()?;
                let mut b = Builder::new(&name, opset);
                let mut all: BTreeMap<Arc<str>, i64> = (*b.graph().opsets).clone();
                while self.eat(',') {
                    let (Token::Word(d) | Token::Str(d)) = self.next() else {
                        return self.fail("expected a domain");
                    };
                    all.insert(d.into(), self.int()?);
                }
                b.graph_mut().opsets = Arc::new(all);
                b
            }
        };
        let mut names = Names::new();
        for (n, ty, default) in inputs {
            let id = builder.input(&n, ty);
            if let Some(t) = default {
                builder.graph_mut().value_mut(id).def = Def::Input(Some(Arc::new(t)));
            }
            names.insert(n, id);
        }
        self.expect('{')?;
        let mut captured = Vec::new();
        while !self.eat('}') {
            self.statement(&mut builder, &mut names, outer.map(|o| o.0), &mut captured)?;
        }
        for (n, line) in outputs {
            let v =
                self.lookup(&n, line, &mut builder, &mut names, outer.map(|o| o.0), &mut captured)?;
            builder.output(v);
        }
        self.depth -= 1;
        Ok((builder.finish(), captured))
    }

    fn lookup(
        &self,
        name: &str,
        line: usize,
        b: &mut Builder,
        names: &mut Names,
        outer: Option<&Scope>,
        captured: &mut Vec<String>,
    ) -> Result<ValueId, ParseError> {
        if let Some(&v) = names.get(name) {
            return Ok(v);
        }
        match outer.and_then(|o| o.get(name)) {
            None => Err(ParseError::new(line, format!("%{name} is not defined"))),
            Some(ty) => {
                let id = b.graph_mut().push_value(name.into(), ty.clone(), Def::Outer);
                names.insert(name.to_owned(), id);
                captured.push(name.to_owned());
                Ok(id)
            }
        }
    }

    fn statement(
        &mut self,
        b: &mut Builder,
        names: &mut Names,
        outer: Option<&Scope>,
        captured: &mut Vec<String>,
    ) -> Result<(), ParseError> {
        let line = self.line();
        let mut outs: Vec<Option<String>> = Vec::new();
        loop {
            outs.push(match self.next() {
                Token::Value(v) => Some(v),
                Token::Word(w) if w == "_" => None,
                other => return self.fail(format!("expected a result, found {other:?}")),
            });
            if !self.eat(',') {
                break;
            }
        }
        for n in outs.iter().flatten() {
            if names.contains_key(n) {
                return Err(ParseError::new(line, format!("%{n} is defined twice")));
            }
        }
        self.expect('=')?;
        let (Token::Word(mut op) | Token::Str(mut op)) = self.next() else {
            return self.fail("expected an operator");
        };
        if op == "const" {
            let start = self.at;
            self.skip_to_type();
            self.expect(':')?;
            let ty = self.ty()?;
            let end = self.at;
            self.at = start;
            let t = self.tensor(&ty)?;
            self.at = end;
            let [Some(n)] = &outs[..] else { return self.fail("a constant is one value") };
            names.insert(n.clone(), b.constant(n, t));
            return Ok(());
        }
        let mut domain = None;
        if self.eat(':') {
            self.expect(':')?;
            let (Token::Word(o) | Token::Str(o)) = self.next() else {
                return self.fail("expected an operator");
            };
            domain = Some(std::mem::replace(&mut op, o));
        }
        let mut overload = None;
        if let Token::Graph(name) = self.peek().clone() {
            self.next();
            overload = Some(name);
        }
        let mut inputs: Vec<Option<ValueId>> = Vec::new();
        loop {
            match self.peek().clone() {
                Token::Value(v) => {
                    let at = self.line();
                    self.next();
                    inputs.push(Some(self.lookup(&v, at, b, names, outer, captured)?));
                }
                Token::Word(w) if w == "_" => {
                    self.next();
                    inputs.push(None);
                }
                _ => break,
            }
            if !self.eat(',') {
                break;
            }
        }
        let mut attrs: Attrs = Vec::new();
        let mut inner: Vec<String> = Vec::new();
        if op == "Slice" && self.eat('[') {
            self.slice_sugar(b, &mut inputs, &mut attrs)?;
        }
        if self.eat('{') {
            let mut scope = outer.cloned().unwrap_or_default();
            scope.extend(names.iter().map(|(n, &v)| (n.clone(), b.graph().value(v).ty.clone())));
            while !self.eat('}') {
                let (Token::Word(k) | Token::Str(k)) = self.next() else {
                    return self.fail("expected an attribute");
                };
                self.expect('=')?;
                let a = self.attr(&scope, b.graph(), &mut inner)?;
                attrs.push((k.into(), a));
                if !self.eat(',') && *self.peek() != Token::Sign('}') {
                    return self.fail("expected ',' or '}'");
                }
            }
        }
        self.expect(':')?;
        let mut types = Vec::new();
        loop {
            types.push(match self.peek() {
                Token::Word(w) if w == "_" => {
                    self.next();
                    Type::Unknown
                }
                _ => self.ty()?,
            });
            if !self.eat(',') {
                break;
            }
        }
        let mut label = String::new();
        if let Token::Label(l) = self.peek().clone() {
            self.next();
            label = l;
        }
        let domain = domain.unwrap_or_else(|| {
            let own = crate::op::TABLE.iter().find(|(_, n, _)| *n == op);
            own.map_or(ONNX, |(d, ..)| if *d == GRAPH_OPT { d } else { ONNX }).to_owned()
        });
        let (mut op, extra) = Op::from_attrs(&domain, &op, attrs)
            .map_err(|e| ParseError::new(line, e.to_string()))?;
        match (&mut op, overload) {
            (_, None) => {}
            (Op::Other(o), Some(name)) => o.overload = name.as_str().into(),
            (op, Some(_)) => {
                return Err(ParseError::new(line, format!("{} has no overloads", op.name())));
            }
        }
        let mut captures = Vec::new();
        for n in inner {
            let v = self.lookup(&n, line, b, names, outer, captured)?;
            if !captures.contains(&v) {
                captures.push(v);
            }
        }
        let outputs: Vec<Option<ValueId>> = outs
            .iter()
            .map(|n| {
                n.as_ref().map(|n| {
                    let id = b.graph_mut().push_value(n.as_str().into(), Type::Unknown, Def::Outer);
                    names.insert(n.clone(), id);
                    id
                })
            })
            .collect();
        let node = Node {
            name: label.into(),
            op,
            extra,
            inputs,
            outputs: outputs.clone(),
            captures,
            meta: Meta::default(),
            order: 0,
            prev: None,
            next: None,
        };
        let g = b.graph_mut();
        let id = g.insert_node(node, None);
        let inferred = infer::infer(&Ctx::of(g, id));
        let inferred = inferred.map_err(|e| ParseError::new(line, e.0))?;
        for ((v, declared), ty) in outputs.iter().zip(types).zip(inferred) {
            let Some(v) = v else { continue };
            let Some(meet) = ty.meet(&declared) else {
                return Err(ParseError::new(line, format!("the result is {ty}, not {declared}")));
            };
            g.value_mut(*v).ty = meet;
        }
        Ok(())
    }

    /// `axis: from..to[:step]`, …`]`
    fn slice_sugar(
        &mut self,
        b: &mut Builder,
        inputs: &mut Vec<Option<ValueId>>,
        attrs: &mut Attrs,
    ) -> Result<(), ParseError> {
        let (mut axes, mut starts, mut ends, mut steps) = (vec![], vec![], vec![], vec![]);
        while !self.eat(']') {
            axes.push(self.int()?);
            self.expect(':')?;
            starts.push(self.int()?);
            if self.next() != Token::DotDot {
                return self.fail("expected ..");
            }
            ends.push(self.int()?);
            steps.push(if self.eat(':') { self.int()? } else { 1 });
            if !self.eat(',') && *self.peek() != Token::Sign(']') {
                return self.fail("expected ',' or ']'");
            }
        }
        if b.graph().opset() < 10 {
            if steps.iter().any(|&s| s != 1) {
                return self.fail("Slice has no steps before opset 10");
            }
            let all = [("axes", axes), ("starts", starts), ("ends", ends)];
            attrs.extend(all.into_iter().map(|(k, v)| (Arc::from(k), Attr::Ints(v))));
            return Ok(());
        }
        let mut lists = vec![("starts", starts), ("ends", ends), ("axes", axes)];
        if steps.iter().any(|&s| s != 1) {
            lists.push(("steps", steps));
        }
        for (n, v) in lists {
            let id = b.constant(n, Tensor::i64s(&v));
            inputs.push(Some(id));
        }
        Ok(())
    }

    fn skip_to_type(&mut self) {
        while !matches!(self.peek(), Token::Sign(':') | Token::End) {
            self.next();
        }
    }

    fn ty(&mut self) -> Result<Type, ParseError> {
        let word = match self.next() {
            Token::Sign('?') => return Ok(Type::Unknown),
            Token::Word(w) => w,
            other => return self.fail(format!("expected a type, found {other:?}")),
        };
        if word == "other" {
            return Ok(Type::Other);
        }
        let Some(dtype) = DType::from_name(&word) else {
            return self.fail(format!("{word:?} is no type"));
        };
        self.expect('[')?;
        if *self.peek() == Token::DotDot {
            self.next();
            self.expect(']')?;
            return Ok(Type::unranked(dtype));
        }
        let mut dims = Vec::new();
        while !self.eat(']') {
            dims.push(match self.next() {
                Token::Sign('?') => Dim::Unknown,
                Token::Str(s) => Dim::Param(s.into()),
                Token::Word(w) => match w.parse::<u64>() {
                    Ok(n) => Dim::Known(n),
                    Err(_) => Dim::Param(w.into()),
                },
                other => return self.fail(format!("expected an extent, found {other:?}")),
            });
            if !self.eat(',') && *self.peek() != Token::Sign(']') {
                return self.fail("expected ',' or ']'");
            }
        }
        Ok(Type::with_dims(dtype, dims))
    }

    fn tensor(&mut self, ty: &Type) -> Result<Tensor, ParseError> {
        let (Some(dtype), Some(dims)) = (ty.dtype(), ty.extents()) else {
            return self.fail(format!("a constant of type {ty}"));
        };
        let line = self.line();
        let err = |m: String| ParseError::new(line, m);
        let mut items = Vec::new();
        match self.next() {
            Token::Word(w) if w.starts_with('#') => {
                let hash =
                    u128::from_str_radix(&w[1..], 16).map_err(|e| err(format!("{w}: {e}")))?;
                let t = self.constants.0.get(&hash);
                let t = t.ok_or_else(|| err(format!("no data for constant {w}")))?;
                if t.ty() != *ty {
                    return Err(err(format!("constant {w} is {}, not {ty}", t.ty())));
                }
                return Ok((**t).clone());
            }
            Token::Word(w) if w == "random" => {
                self.expect('(')?;
                let seed = self.int()?;
                self.expect(')')?;
                return random_tensor(dtype, &dims, seed as u64).map_err(err);
            }
            Token::Word(w) if w == "hex" => {
                let bytes = self.hex()?;
                return Tensor::from_bytes(dtype, dims, bytes).map_err(|e| err(e.to_string()));
            }
            Token::Sign('[') if dtype == DType::String => {
                let mut all = Vec::new();
                while !self.eat(']') {
                    all.push(match self.scalar()? {
                        Attr::Str(s) => s,
                        other => return Err(err(format!("expected a string, found {other:?}"))),
                    });
                    if !self.eat(',') && *self.peek() != Token::Sign(']') {
                        return self.fail("expected ',' or ']'");
                    }
                }
                let data = Data::Strings(Arc::new(all));
                return Tensor::new(dtype, dims, data).map_err(|e| err(e.to_string()));
            }
            Token::Sign('[') => {
                while !self.eat(']') {
                    items.push(self.next());
                    if !self.eat(',') && *self.peek() != Token::Sign(']') {
                        return self.fail("expected ',' or ']'");
                    }
                }
            }
            other => items.push(other),
        }
        if dtype == DType::String {
            let strings = items.into_iter().map(|t| match t {
                Token::Str(s) => Ok(s.into_bytes()),
                other => Err(err(format!("expected a string, found {other:?}"))),
            });
            let data = Data::Strings(Arc::new(strings.collect::<Result<_, _>>()?));
            return Tensor::new(dtype, dims, data).map_err(|e| err(e.to_string()));
        }
        let mut bytes = Vec::new();
        for t in items {
            let Token::Word(w) = &t else {
                return Err(err(format!("expected a number, found {t:?}")));
            };
            let bad = || err(format!("{w:?} is no {dtype}"));
            let int = || w.parse::<i64>().map_err(|_| bad());
            match dtype {
                DType::F32 => bytes.extend(w.parse::<f32>().map_err(|_| bad())?.to_le_bytes()),
                DType::F64 => bytes.extend(w.parse::<f64>().map_err(|_| bad())?.to_le_bytes()),
                d if d.is_int() || d == DType::Bool => {
                    bytes.extend_from_slice(&int()?.to_le_bytes()[..d.bits() / 8]);
                }
                other => {
                    let why = format!("constants of {other} stand as hex\"…\", or by their hash");
                    return Err(err(why));
                }
            }
        }
        Tensor::from_bytes(dtype, dims, bytes).map_err(|e| err(e.to_string()))
    }

    fn attr(
        &mut self,
        scope: &Scope,
        outer: &Graph,
        inner: &mut Vec<String>,
    ) -> Result<Attr, ParseError> {
        match self.peek().clone() {
            Token::Word(w) if w == "graph" => {
                let (g, captured) = self.graph(Some((scope, outer)))?;
                inner.extend(captured);
                Ok(Attr::Graph(Subgraph(Arc::new(g))))
            }
            Token::Word(w) if w == "tensor" => {
                self.next();
                self.expect('(')?;
                let start = self.at;
                self.skip_to_type();
                self.expect(':')?;
                let ty = self.ty()?;
                let end = self.at;
                self.at = start;
                let t = self.tensor(&ty)?;
                self.at = end;
                self.expect(')')?;
                Ok(Attr::Tensor(Arc::new(t)))
            }
            Token::Word(w) if w == "raw" => {
                self.next();
                Ok(Attr::Raw(self.hex()?.into()))
            }
            Token::Sign('[') => {
                self.next();
                let mut items = Vec::new();
                // Lists in lists do not exist.
                while !self.eat(']') {
                    items.push(self.scalar()?);
                    if !self.eat(',') && *self.peek() != Token::Sign(']') {
                        return self.fail("expected ',' or ']'");
                    }
                }
                self.list(items)
            }
            _ => self.scalar(),
        }
    }

    fn list(&self, items: Vec<Attr>) -> Result<Attr, ParseError> {
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
            _ => self.fail("a list of several kinds"),
        }
    }

    fn scalar(&mut self) -> Result<Attr, ParseError> {
        match self.next() {
            Token::Str(s) => Ok(Attr::Str(s.into_bytes())),
            Token::Word(w) if w == "hex" => Ok(Attr::Str(self.hex()?)),
            Token::Word(w) => match (w.parse::<i64>(), w.parse::<f32>()) {
                (Ok(i), _) => Ok(Attr::Int(i)),
                (_, Ok(x)) => Ok(Attr::Float(x)),
                _ => self.fail(format!("{w:?} is no attribute")),
            },
            other => self.fail(format!("expected an attribute, found {other:?}")),
        }
    }

    fn hex(&mut self) -> Result<Vec<u8>, ParseError> {
        let Token::Str(s) = self.next() else { return self.fail("expected hexadecimal digits") };
        let byte = |c: &[u8]| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok();
        match s.as_bytes().chunks(2).map(byte).collect() {
            Some(v) => Ok(v),
            None => self.fail("expected hexadecimal digits"),
        }
    }
}
