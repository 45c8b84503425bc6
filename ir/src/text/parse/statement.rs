//! Statements: constants and nodes.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::lex::Token;
use super::{ParseError, Parser, Result, Scope};
use crate::build::Builder;
use crate::graph::{Def, Meta, Node};
use crate::op::{Attr, Attrs, GRAPH_OPT, ONNX, Op, fits, repeated};
use crate::op_context::OpCtx;
use crate::tensor::Tensor;
use crate::{Type, ValueId, infer};

/// A graph while its statements are parsed.
pub(super) struct Body<'o> {
    pub builder: Builder,
    pub names: HashMap<String, ValueId>,
    /// The enclosing graphs of a subgraph.
    outer: Option<&'o Scope>,
    /// Names of the values of enclosing graphs that were read.
    pub captured: Vec<String>,
}

impl<'o> Body<'o> {
    pub fn new(builder: Builder, outer: Option<&'o Scope>) -> Self {
        Self { builder, names: HashMap::new(), outer, captured: Vec::new() }
    }

    /// The value of this name, in the graph or around it.
    pub(crate) fn lookup(&mut self, name: &str, line: usize) -> Result<ValueId> {
        if let Some(&v) = self.names.get(name) {
            return Ok(v);
        }
        match self.outer.and_then(|o| o.get(name)) {
            None => Err(ParseError::new(line, format!("%{name} is not defined"))),
            Some(ty) => {
                let id = self.define(name, ty.clone());
                self.captured.push(name.to_owned());
                Ok(id)
            }
        }
    }

    /// Adds a value that a node will define, or one of an enclosing graph.
    fn define(&mut self, name: &str, ty: Type) -> ValueId {
        let id = self.builder.graph_mut().push_value(name.into(), ty, Def::Outer);
        self.names.insert(name.to_owned(), id);
        id
    }

    /// The scope of subgraphs of this graph.
    fn scope(&self) -> Scope {
        let mut scope = self.outer.cloned().unwrap_or_default();
        let graph = self.builder.graph();
        scope.extend(self.names.iter().map(|(n, &v)| (n.clone(), graph.value(v).ty.clone())));
        scope
    }
}

/// The operator of a statement, as it is written.
struct Operator {
    domain: Option<String>,
    name: String,
    overload: Option<String>,
}

impl Operator {
    /// The operator, and the attributes that it does not define.
    fn read(self, attrs: Attrs, line: usize) -> Result<(Op, Attrs)> {
        let domain = self.domain.unwrap_or_else(|| {
            let own = crate::op::TABLE.iter().find(|(_, n, _)| *n == self.name);
            own.map_or(ONNX, |(d, ..)| if *d == GRAPH_OPT { d } else { ONNX }).to_owned()
        });
        let (mut op, extra) =
            Op::from_attrs(&domain, &self.name, attrs).map_err(|e| ParseError::new(line, e))?;
        match (&mut op, self.overload) {
            (_, None) => {}
            (Op::Other(o), Some(name)) => o.overload = name.as_str().into(),
            (op, Some(_)) => {
                let what = format!("{} has no overloads; remove the '@'", op.name());
                return Err(ParseError::new(line, what));
            }
        }
        Ok((op, extra))
    }
}

impl Parser<'_> {
    /// `results = operator operands {attributes} : types ; label`, or `name = const elements : type`.
    pub(super) fn statement(&mut self, body: &mut Body<'_>) -> Result<()> {
        let line = self.line();
        let results = self.items(|p| p.optional("a result"))?;
        for (i, n) in results.iter().enumerate() {
            let Some(n) = n else { continue };
            if body.names.contains_key(n) || results[..i].iter().flatten().any(|r| r == n) {
                return Err(ParseError::new(line, format!("%{n} is defined twice")));
            }
        }
        self.sign('=')?;
        let op = self.name("an operator")?;
        if op == "const" {
            let tensor = self.typed_tensor()?;
            let [Some(name)] = &results[..] else {
                return Err(ParseError::new(line, "expected one name for a constant"));
            };
            body.names.insert(name.clone(), body.builder.constant(name, tensor));
            return Ok(());
        }
        let op = self.operator(op)?;
        let mut inputs = self.operands(body)?;
        let mut attrs: Attrs = Vec::new();
        if op.name == "Slice" && self.eat('[') {
            self.slice_sugar(&mut body.builder, &mut inputs, &mut attrs)?;
        }
        let mut inner: Vec<String> = Vec::new();
        if self.eat('{') {
            let scope = body.scope();
            let graph = body.builder.graph();
            attrs.extend(self.list('}', |p| {
                let name = p.name("an attribute")?;
                p.sign('=')?;
                Ok((name.into(), p.attr(&scope, graph, &mut inner)?))
            })?);
        }
        self.sign(':')?;
        let types = self.items(|p| if p.eat_word("_") { Ok(Type::Unknown) } else { p.ty() })?;
        let label = match self.peek().clone() {
            Token::Label(l) => {
                self.next();
                l
            }
            _ => String::new(),
        };
        if let Some(name) = repeated(&attrs) {
            return Err(ParseError::new(line, format!("it has the attribute {name} twice")));
        }
        let (op, extra) = op.read(attrs, line)?;
        fits(&op, &extra, inputs.len(), results.len()).map_err(|e| ParseError::new(line, e))?;
        let mut captures = Vec::new();
        for n in inner {
            let v = body.lookup(&n, line)?;
            if !captures.contains(&v) {
                captures.push(v);
            }
        }
        let define = |n: &Option<String>| n.as_ref().map(|n| body.define(n, Type::Unknown));
        let outputs: Vec<Option<ValueId>> = results.iter().map(define).collect();
        let node = Node {
            name: label.into(),
            op,
            extra,
            inputs,
            outputs,
            captures,
            meta: Meta::default(),
            order: 0,
            prev: None,
            next: None,
        };
        add(&mut body.builder, node, types, line)
    }

    /// `%name`, or `_` for an absent operand or result.
    fn optional(&mut self, what: &str) -> Result<Option<String>> {
        if self.eat_word("_") { Ok(None) } else { self.value_name(what).map(Some) }
    }

    /// The rest of an operator that starts with this word: `::name` after a domain, and `@overload`.
    fn operator(&mut self, word: String) -> Result<Operator> {
        // One colon ends an operator without operands.
        let colons = self.tokens[self.at..].iter().take_while(|t| t.0 == Token::Sign(':')).count();
        let (domain, name) = if colons >= 2 {
            self.sign(':')?;
            self.sign(':')?;
            (Some(word), self.name("an operator")?)
        } else {
            (None, word)
        };
        let overload = match self.peek().clone() {
            Token::Graph(name) => {
                self.next();
                Some(name)
            }
            _ => None,
        };
        Ok(Operator { domain, name, overload })
    }

    fn operands(&mut self, body: &mut Body<'_>) -> Result<Vec<Option<ValueId>>> {
        let mut inputs = Vec::new();
        while matches!(self.peek(), Token::Value(_))
            || matches!(self.peek(), Token::Word(w) if w == "_")
        {
            let line = self.line();
            let name = self.optional("an operand")?;
            inputs.push(name.map(|n| body.lookup(&n, line)).transpose()?);
            if !self.eat(',') {
                break;
            }
        }
        Ok(inputs)
    }

    /// `axis: from..to[:step]`, …`]`: the bounds of a Slice, as attributes or constant operands.
    fn slice_sugar(
        &mut self,
        b: &mut Builder,
        inputs: &mut Vec<Option<ValueId>>,
        attrs: &mut Attrs,
    ) -> Result<()> {
        let cuts = self.list(']', |p| {
            let axis = p.int()?;
            p.sign(':')?;
            let start = p.int()?;
            p.expect(&Token::DotDot)?;
            let end = p.int()?;
            Ok([axis, start, end, if p.eat(':') { p.int()? } else { 1 }])
        })?;
        let [axes, starts, ends, steps] =
            [0, 1, 2, 3].map(|i| cuts.iter().map(|c| c[i]).collect::<Vec<i64>>());
        let stepped = steps.iter().any(|&s| s != 1);
        if b.graph().opset() < 10 {
            if stepped {
                return self.fail("expected steps of 1, as Slice has no steps before opset 10");
            }
            let all = [("axes", axes), ("starts", starts), ("ends", ends)];
            attrs.extend(all.into_iter().map(|(k, v)| (Arc::from(k), Attr::Ints(v))));
            return Ok(());
        }
        let mut lists = vec![("starts", starts), ("ends", ends), ("axes", axes)];
        if stepped {
            lists.push(("steps", steps));
        }
        for (n, v) in lists {
            let id = b.constant(n, Tensor::i64s(&v));
            inputs.push(Some(id));
        }
        Ok(())
    }
}

/// Adds the node, whose results must have the types that the text declares.
fn add(b: &mut Builder, node: Node, declared: Vec<Type>, line: usize) -> Result<()> {
    let outputs = node.outputs.clone();
    let g = b.graph_mut();
    let id = g.insert_node(node, None);
    let ctx = OpCtx::of(g, id);
    let inferred = infer::infer(&ctx).map_err(|e| ParseError::new(line, e))?;
    let completed = declared.iter().zip(inferred).map(|(declared, ty)| {
        infer::complete(&ctx, &ty, declared).ok_or_else(|| {
            ParseError::new(line, format!("the result is declared {declared}, but is {ty}"))
        })
    });
    let completed: Vec<Type> = completed.collect::<Result<_>>()?;
    for (v, ty) in outputs.iter().zip(completed) {
        if let Some(v) = v {
            g.value_mut(*v).ty = ty;
        }
    }
    Ok(())
}
