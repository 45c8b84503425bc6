//! Terms: what a value is computed from, written in one way.
//!
//! A term is a head and its children, which are terms. Equal terms are one term, so that a graph is
//! a set of terms in which every value is shared. Making a term puts it into normal form: windows
//! are spelled out, Reshape, Flatten, Squeeze and Unsqueeze are one operator with its extents, a
//! Slice is the span that it takes along each axis, and what changes nothing is not there. Each of
//! these is a rule of the table in `README.md`, and the soundness loop draws them like the others.

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::region::{self, Region};
use graph_opt_ir::rule::{Ctx, Operand};
use graph_opt_ir::{Graph, NodeId, Span, Tensor, Type, ValueId, infer, op, same, spec};

use crate::tile::slices::slice_tensor;

/// Number of a term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TermId(u32);

impl TermId {
    /// Its position among all terms.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a term does with its children.
#[derive(Clone, PartialEq, Debug)]
pub enum Head {
    /// An input of the graphs, by position; or a value that nothing is known of, by its structure.
    Leaf(u128),
    /// A constant, by its content.
    Const(u128),
    /// The spans of its only child; `None` for a whole axis.
    Slice(Region),
    /// A result of an operator in its normal form.
    Apply(Apply),
}

/// An operator, applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Apply {
    /// The operator.
    pub op: Arc<Op>,
    /// Its attributes in one number.
    key: u128,
    /// Version of its domain's operator set.
    pub opset: i64,
    /// Which result.
    pub output: usize,
    /// Number of results.
    pub outputs: usize,
    /// Which operands are there; the children are those.
    pub present: Vec<bool>,
}

impl Apply {
    /// What tells it apart from others, as text.
    pub fn spelled(&self) -> String {
        format!("{:x} {} {} {:?}", self.key, self.opset, self.output, self.present)
    }
}

/// A head and the terms below it.
#[derive(Clone, PartialEq, Debug)]
pub struct Term {
    /// What it does.
    pub head: Head,
    /// With what.
    pub children: Vec<TermId>,
}

/// All terms, each once.
#[derive(Default)]
pub struct Terms {
    all: Vec<Term>,
    types: Vec<Type>,
    values: Vec<Option<Arc<Tensor>>>,
    ids: HashMap<Key, TermId>,
}

/// What tells terms apart.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Leaf(u128),
    Const(u128),
    Slice(Region, TermId),
    Apply(u128, i64, usize, Vec<bool>, Vec<TermId>),
}

impl Terms {
    /// The term.
    pub fn get(&self, t: TermId) -> &Term {
        &self.all[t.index()]
    }

    /// Its type.
    pub fn ty(&self, t: TermId) -> &Type {
        &self.types[t.index()]
    }

    /// Its elements, if it is a constant.
    pub fn value(&self, t: TermId) -> Option<&Arc<Tensor>> {
        self.values[t.index()].as_ref()
    }

    /// Its extents, if all are known.
    pub fn extents(&self, t: TermId) -> Option<Vec<i64>> {
        self.ty(t).extents().map(|e| e.into_iter().map(|n| n as i64).collect())
    }

    /// Number of terms.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    fn add(&mut self, head: Head, children: Vec<TermId>, ty: Type) -> TermId {
        let key = match &head {
            Head::Leaf(n) => Key::Leaf(*n),
            Head::Const(n) => Key::Const(*n),
            Head::Slice(r) => Key::Slice(r.clone(), children[0]),
            Head::Apply(a) => {
                Key::Apply(a.key, a.opset, a.output, a.present.clone(), children.clone())
            }
        };
        if let Some(&t) = self.ids.get(&key) {
            return t;
        }
        let id = TermId(self.all.len() as u32);
        self.ids.insert(key, id);
        self.all.push(Term { head, children });
        self.types.push(ty);
        self.values.push(None);
        id
    }

    /// The leaf of this number, if there is one.
    pub fn find_leaf(&self, number: u128) -> Option<TermId> {
        self.ids.get(&Key::Leaf(number)).copied()
    }

    /// A leaf.
    pub fn leaf(&mut self, number: u128, ty: Type) -> TermId {
        self.add(Head::Leaf(number), Vec::new(), ty)
    }

    /// A constant.
    pub fn constant(&mut self, tensor: &Arc<Tensor>) -> TermId {
        let id = self.add(Head::Const(tensor.content_hash()), Vec::new(), tensor.ty());
        self.values[id.index()] = Some(tensor.clone());
        id
    }

    /// A part of a term just as it says, without the normal form.
    pub fn raw_slice(&mut self, x: TermId, region: Region) -> Option<TermId> {
        let region = self.spans(x, region)?;
        let mut ty = self.ty(x).clone();
        if let Type::Tensor(t) = &mut ty
            && let Some(dims) = &mut t.shape
        {
            for (d, r) in dims.iter_mut().zip(&region) {
                *d = r.map_or(d.clone(), |s| (s.len() as u64).into());
            }
        }
        Some(self.add(Head::Slice(region), vec![x], ty))
    }

    /// Spans of a part with whole axes as what they are; `None` if it is no part.
    fn spans(&self, x: TermId, region: Region) -> Option<Region> {
        let dims = self.ty(x).dims()?;
        if region.len() != dims.len() {
            return None;
        }
        let one = |(r, d): (Option<Span>, &graph_opt_ir::Dim)| match (r, d.known()) {
            (None, _) => Some(None),
            (Some(s), Some(n)) => {
                let whole = Span::whole(n as i64);
                (whole.contains(s) && !s.is_empty()).then_some((s != whole).then_some(s))
            }
            (Some(_), None) => None,
        };
        region.into_iter().zip(dims).map(one).collect()
    }

    /// A part of a term; `None` if it lies outside, or the extents are unknown.
    pub fn slice(&mut self, x: TermId, region: Region) -> Option<TermId> {
        let region = self.spans(x, region)?;
        if region.iter().all(Option::is_none) {
            return Some(x);
        }
        let term = self.get(x);
        if let Head::Slice(inner) = &term.head {
            let both = compose(inner, &region);
            let base = term.children[0];
            return self.slice(base, both);
        }
        if let Some(t) = self.value(x).cloned() {
            let cuts: Vec<(usize, Span)> =
                region.iter().enumerate().filter_map(|(a, r)| r.map(|r| (a, r))).collect();
            if let Ok(part) = slice_tensor(&t, &cuts) {
                return Some(self.constant(&Arc::new(part)));
            }
        }
        self.raw_slice(x, region)
    }

    /// What the rules are told of an operator over these operands.
    pub fn ctx<'a>(
        &'a self,
        op: &'a Op,
        opset: i64,
        inputs: &[Option<TermId>],
        outputs: usize,
    ) -> Ctx<'a> {
        let operand = |t: &Option<TermId>| {
            t.map(|t| Operand { ty: self.ty(t), value: self.value(t).cloned(), dims: None })
        };
        Ctx { op, opset, inputs: inputs.iter().map(operand).collect(), outputs }
    }

    /// The operands of an application.
    pub fn operands(&self, t: TermId) -> Vec<Option<TermId>> {
        let term = self.get(t);
        let Head::Apply(a) = &term.head else { return Vec::new() };
        let mut children = term.children.iter();
        a.present.iter().map(|&p| if p { children.next().copied() } else { None }).collect()
    }

    /// The context of an application.
    pub fn ctx_of(&self, t: TermId) -> Option<Ctx<'_>> {
        let Head::Apply(a) = &self.get(t).head else { return None };
        Some(self.ctx(&a.op, a.opset, &self.operands(t), a.outputs))
    }

    /// A result of an operator, in its normal form; `declared` where the operands say too little.
    pub fn apply(
        &mut self,
        op: &Op,
        opset: i64,
        inputs: &[Option<TermId>],
        (output, outputs): (usize, usize),
        declared: &Type,
    ) -> Option<TermId> {
        let last = inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let inputs = &inputs[..last];
        let ctx = self.ctx(op, opset, inputs, outputs);
        let inferred = infer::infer(&ctx)
            .ok()
            .and_then(|mut all| (output < all.len()).then(|| all.swap_remove(output)));
        let ty = match inferred {
            Some(t) if t.extents().is_some() || declared.extents().is_none() => t,
            _ => declared.clone(),
        };
        if let Some(t) = self.simpler(op, opset, inputs, output, &ty) {
            return Some(t);
        }
        let ctx = self.ctx(op, opset, inputs, outputs);
        let normal = region::normal_form(&ctx);
        let key = same::op_hash(&normal)?;
        let apply = Apply {
            op: Arc::new(normal),
            key,
            opset,
            output,
            outputs,
            present: inputs.iter().map(Option::is_some).collect(),
        };
        Some(self.add(Head::Apply(apply), inputs.iter().flatten().copied().collect(), ty))
    }

    /// The same with less, if the operator moves nothing or only names a part.
    fn simpler(
        &mut self,
        op: &Op,
        opset: i64,
        inputs: &[Option<TermId>],
        output: usize,
        ty: &Type,
    ) -> Option<TermId> {
        let x = inputs.first().copied().flatten()?;
        let ctx = self.ctx(op, opset, inputs, output + 1);
        match op {
            Op::Identity(_) | Op::Transfer(_) => Some(x),
            // Without a training flag it passes its operand on.
            Op::Dropout(_) if output == 0 && inputs.len() < 3 => Some(x),
            Op::Slice(_) => {
                let taken = spec::slices(&ctx).ok()??;
                let span = |t: &Option<spec::Taken>| {
                    let t = (*t)?;
                    (t.step == 1).then(|| Span::new(t.start, t.start + t.count))
                };
                let region: Region =
                    taken.iter().map(|t| span(t).map(Some)).collect::<Option<_>>()?;
                self.slice(x, region)
            }
            Op::Split(_) => {
                let (axis, sizes) = spec::split_sizes(&ctx).ok()??;
                let lo: i64 = sizes[..output].iter().sum();
                let mut region = vec![None; self.ty(x).rank()?];
                region[axis] = Some(Span::new(lo, lo + sizes[output]));
                self.slice(x, region)
            }
            Op::Concat(c) => {
                let rank = ty.rank()? as i64;
                match inputs {
                    [one] => *one,
                    _ if c.axis < 0 => {
                        let op = op::Concat { axis: c.axis + rank };
                        self.apply(&op.into(), opset, inputs, (0, 1), ty)
                    }
                    _ => None,
                }
            }
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                self.reshaped(x, opset, ty)
            }
            Op::Transpose(_) => {
                let rank = self.ty(x).rank()?;
                let mut perm = spec::permutation(&ctx, rank).ok()?;
                if perm.iter().enumerate().all(|(i, &p)| i == p) {
                    return Some(x);
                }
                let Head::Apply(Apply { op: inner, .. }) = &self.get(x).head else { return None };
                let Op::Transpose(_) = &**inner else { return None };
                let below = self.ctx_of(x)?;
                let first = spec::permutation(&below, rank).ok()?;
                perm.iter_mut().for_each(|p| *p = first[*p]);
                let base = self.get(x).children[0];
                let perm = Some(perm.iter().map(|&p| p as i64).collect());
                self.apply(&op::Transpose { perm }.into(), opset, &[Some(base)], (0, 1), ty)
            }
            Op::Pad(_) => {
                let pads = spec::pads(&ctx).ok()??;
                pads.iter().all(|p| *p == (0, 0)).then_some(x)
            }
            Op::Cast(_) => (self.ty(x).dtype() == ty.dtype()).then_some(x),
            _ => None,
        }
    }

    fn reshaped(&mut self, x: TermId, opset: i64, ty: &Type) -> Option<TermId> {
        let want = ty.extents()?;
        let mut base = x;
        if let Head::Apply(a) = &self.get(x).head
            && let Op::Reshape(_) = &*a.op
        {
            base = self.get(x).children[0];
        }
        if self.ty(base).extents().as_ref() == Some(&want) {
            return Some(base);
        }
        let shape: Vec<i64> = want.iter().map(|&n| n as i64).collect();
        let shape = self.constant(&Arc::new(Tensor::i64s(&shape)));
        let op: Op = op::Reshape { allowzero: 0 }.into();
        let apply = Apply {
            key: same::op_hash(&op)?,
            op: Arc::new(op),
            // As an operator with a shape operand, whatever the file's version.
            opset: opset.max(5),
            output: 0,
            outputs: 1,
            present: vec![true; 2],
        };
        Some(self.add(Head::Apply(apply), vec![base, shape], ty.clone()))
    }
}

/// A part of a part.
pub fn compose(inner: &Region, outer: &Region) -> Region {
    let one = |(i, o): (&Option<Span>, &Option<Span>)| match (i, o) {
        (Some(i), Some(o)) => Some(Span::new(i.lo + o.lo, i.lo + o.hi)),
        (i, o) => (*i).or(*o),
    };
    inner.iter().zip(outer).map(one).collect()
}

/// The terms of a graph's values.
pub struct Reading {
    /// By value.
    pub terms: Vec<Option<TermId>>,
    /// Results of nodes in the order of the schedule.
    pub made: Vec<(NodeId, ValueId, TermId)>,
}

impl Reading {
    /// Reads a graph. Inputs are leaves by position; what has no rule is one by its structure.
    pub fn of(graph: &Graph, terms: &mut Terms) -> Self {
        let structure = same::Structure::of(graph);
        let mut at = vec![None; graph.value_bound()];
        for (i, &v) in graph.inputs().iter().enumerate() {
            at[v.index()] = Some(terms.leaf(i as u128, graph.value(v).ty.clone()));
        }
        let mut made = Vec::new();
        for id in graph.schedule() {
            let node = graph.node(id);
            let opset = graph.opsets.get(node.op.domain()).copied().unwrap_or(1);
            let opaque = matches!(node.op, Op::Other(_))
                || node.op.class() == Class::Control
                || node.op.is_random()
                || !node.captures.is_empty()
                || !node.extra.is_empty();
            let inputs: Vec<Option<Option<TermId>>> = node
                .inputs
                .iter()
                .map(|v| v.map(|v| known(graph, terms, &mut at, &structure, v)))
                .collect();
            for (o, v) in node.outputs.iter().enumerate() {
                let Some(v) = *v else { continue };
                let ty = &graph.value(v).ty;
                let inputs: Option<Vec<Option<TermId>>> =
                    inputs.iter().map(|i| (*i).map_or(Some(None), |t| t.map(Some))).collect();
                let term = match (graph.constant(v), inputs) {
                    (Some(t), _) => Some(terms.constant(&t)),
                    (None, Some(inputs)) if !opaque => {
                        let of = (o, node.outputs.len());
                        terms.apply(&node.op, opset, &inputs, of, ty)
                    }
                    _ => None,
                };
                let term = term.unwrap_or_else(|| opaque_leaf(terms, &structure, v, ty));
                at[v.index()] = Some(term);
                made.push((id, v, term));
            }
        }
        for &v in graph.outputs() {
            known(graph, terms, &mut at, &structure, v);
        }
        Self { terms: at, made }
    }

    /// The value's term.
    pub fn term(&self, v: ValueId) -> Option<TermId> {
        self.terms.get(v.index()).copied().flatten()
    }
}

fn opaque_leaf(terms: &mut Terms, s: &same::Structure, v: ValueId, ty: &Type) -> TermId {
    // Positions of inputs are small numbers.
    terms.leaf(s.hash(v) | 1 << 127, ty.clone())
}

fn known(
    graph: &Graph,
    terms: &mut Terms,
    at: &mut [Option<TermId>],
    s: &same::Structure,
    v: ValueId,
) -> Option<TermId> {
    if at[v.index()].is_none() {
        let ty = &graph.value(v).ty;
        at[v.index()] = Some(match graph.constant(v) {
            Some(t) => terms.constant(&t),
            None => opaque_leaf(terms, s, v, ty),
        });
    }
    at[v.index()]
}

impl Terms {
    /// Numbers of all terms.
    pub fn ids(&self) -> impl Iterator<Item = TermId> + use<> {
        (0..self.all.len() as u32).map(TermId)
    }

    /// All terms, children before what reads them.
    pub fn iter(&self) -> impl Iterator<Item = &Term> {
        self.all.iter()
    }
}
