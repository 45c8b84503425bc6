//! Terms: what a value is computed from, written in one way.
//!
//! A term is a head and its children, which are terms. Equal terms are one term, so that a graph is
//! a set of terms in which every value is shared. Making a term puts it into normal form: windows
//! are spelled out, Reshape, Flatten, Squeeze and Unsqueeze are one operator with its extents, a
//! Slice is the span that it takes along each axis, and what changes nothing is not there. Each of
//! these is a rule of the table in `README.md`, and the soundness loop draws them like the others.

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_ir::infer::{follow, follow_with};
use graph_opt_ir::op::{Attrs, Op, Other};
use graph_opt_ir::op_context::{OpCtx, Operand};
use graph_opt_ir::region::{self, Region};
use graph_opt_ir::structural_eq::{self, Meaning, Meanings};
use graph_opt_ir::{
    Def, Digest, Graph, NodeId, Span, Tensor, Type, ValueId, infer, layout_params, op,
};

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
    Leaf(Digest),
    /// A constant, by its content.
    Const(Digest),
    /// The spans of its only child; `None` for a whole axis.
    Slice(Region),
    /// A result of an operator in its normal form.
    Apply(Apply),
}

impl Head {
    /// What tells it apart from others, as text.
    pub(super) fn spelled(&self) -> String {
        match self {
            Self::Leaf(d) => format!("leaf {d}"),
            Self::Const(d) => format!("constant {d}"),
            Self::Slice(r) => format!("slice {r:?}"),
            Self::Apply(a) => format!("apply {}", a.spelled()),
        }
    }
}

/// An operator, applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Apply {
    /// The operator; where `modelled` does not hold, one without attributes that has its name.
    pub op: Arc<Op>,
    /// What it computes of its operands.
    meaning: Digest,
    /// Version of its domain's operator set.
    pub opset: i64,
    /// Which result.
    pub output: usize,
    /// Number of results.
    pub outputs: usize,
    /// Which operands are there; the children are those.
    pub present: Vec<bool>,
    /// Whether the operator's rules may be asked; else it is only a function of its operands.
    pub modelled: bool,
}

impl Apply {
    /// The operator and which of its results, as text.
    pub(super) fn operator(&self) -> String {
        format!("{} {}", self.meaning, self.output)
    }

    /// What tells it apart from others, as text.
    pub fn spelled(&self) -> String {
        format!("{} {:?}", self.operator(), self.present)
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
    Leaf(Digest),
    Const(Digest),
    Slice(Region, TermId),
    Apply(Digest, usize, Vec<bool>, Vec<TermId>),
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
            Head::Apply(a) => Key::Apply(a.meaning, a.output, a.present.clone(), children.clone()),
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
    pub fn find_leaf(&self, number: Digest) -> Option<TermId> {
        self.ids.get(&Key::Leaf(number)).copied()
    }

    /// A leaf.
    pub fn leaf(&mut self, number: Digest, ty: Type) -> TermId {
        self.add(Head::Leaf(number), Vec::new(), ty)
    }

    /// A constant.
    pub fn constant(&mut self, tensor: &Arc<Tensor>) -> TermId {
        let id = self.add(Head::Const(tensor.digest()), Vec::new(), tensor.ty());
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
    ) -> OpCtx<'a> {
        let operand = |t: &Option<TermId>| {
            t.map(|t| Operand { ty: self.ty(t), value: self.value(t).cloned(), dims: None })
        };
        OpCtx { op, opset, inputs: inputs.iter().map(operand).collect(), outputs }
    }

    /// The operands of an application.
    pub fn operands(&self, t: TermId) -> Vec<Option<TermId>> {
        let term = self.get(t);
        let Head::Apply(a) = &term.head else { return Vec::new() };
        let mut children = term.children.iter();
        a.present.iter().map(|&p| if p { children.next().copied() } else { None }).collect()
    }

    /// The context of an application.
    pub fn ctx_of(&self, t: TermId) -> Option<OpCtx<'_>> {
        let Head::Apply(a) = &self.get(t).head else { return None };
        let ctx = || self.ctx(&a.op, a.opset, &self.operands(t), a.outputs);
        a.modelled.then(ctx)
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
        if let Some(t) = self.simpler(op, opset, inputs, (output, outputs), &ty) {
            return Some(t);
        }
        let ctx = self.ctx(op, opset, inputs, outputs);
        let apply = Apply {
            meaning: structural_eq::modelled(&ctx, &Attrs::new()),
            op: Arc::new(region::normal_form(&ctx)),
            modelled: true,
            opset,
            output,
            outputs,
            present: inputs.iter().map(Option::is_some).collect(),
        };
        Some(self.add(Head::Apply(apply), inputs.iter().flatten().copied().collect(), ty))
    }

    /// A result of what is not modelled: a function of its operands, of which nothing else is known.
    fn opaque(
        &mut self,
        op: &Op,
        meaning: Digest,
        opset: i64,
        operands: &[Option<TermId>],
        (output, outputs): (usize, usize),
        ty: &Type,
    ) -> TermId {
        let apply = Apply {
            op: Arc::new(Op::Other(Other::new(op.domain(), op.name(), Attrs::new()))),
            meaning,
            opset,
            output,
            outputs,
            present: operands.iter().map(Option::is_some).collect(),
            modelled: false,
        };
        self.add(Head::Apply(apply), operands.iter().flatten().copied().collect(), ty.clone())
    }

    /// The same with less, if the operator moves nothing or only names a part.
    fn simpler(
        &mut self,
        op: &Op,
        opset: i64,
        inputs: &[Option<TermId>],
        (output, outputs): (usize, usize),
        ty: &Type,
    ) -> Option<TermId> {
        let x = inputs.first().copied().flatten()?;
        let ctx = self.ctx(op, opset, inputs, outputs);
        match op {
            _ if ctx.is_identity(output) => Some(x),
            Op::Slice(_) => {
                let taken = layout_params::slices(&ctx).ok()??;
                let span = |t: &Option<layout_params::Taken>| {
                    let t = (*t)?;
                    (t.step == 1).then(|| Span::new(t.start, t.start + t.count))
                };
                let region: Region =
                    taken.iter().map(|t| span(t).map(Some)).collect::<Option<_>>()?;
                self.slice(x, region)
            }
            Op::Split(_) => {
                let (axis, sizes) = layout_params::split_sizes(&ctx).ok()??;
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
                let mut perm = layout_params::permutation(&ctx, rank).ok()?;
                if perm.iter().enumerate().all(|(i, &p)| i == p) {
                    return Some(x);
                }
                let Head::Apply(Apply { op: inner, .. }) = &self.get(x).head else { return None };
                let Op::Transpose(_) = &**inner else { return None };
                let below = self.ctx_of(x)?;
                let first = layout_params::permutation(&below, rank).ok()?;
                perm.iter_mut().for_each(|p| *p = first[*p]);
                let base = self.get(x).children[0];
                let perm = Some(perm.iter().map(|&p| p as i64).collect());
                self.apply(&op::Transpose { perm }.into(), opset, &[Some(base)], (0, 1), ty)
            }
            Op::Pad(_) => {
                let pads = layout_params::pads(&ctx).ok()??;
                pads.iter().all(|p| *p == (0, 0)).then_some(x)
            }
            Op::Cast(_) => {
                let same = self.ty(x).dtype().is_some_and(|d| ty.dtype() == Some(d));
                same.then_some(x)
            }
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
        // As an operator with a shape operand, whatever the file's version.
        let opset = opset.max(7);
        let ctx = self.ctx(&op, opset, &[Some(base), Some(shape)], 1);
        let apply = Apply {
            meaning: structural_eq::modelled(&ctx, &Attrs::new()),
            op: Arc::new(op),
            modelled: true,
            opset,
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

/// How a graph is read.
pub struct How<'a> {
    /// Whether what is not modelled is an application, equal to another one over equal operands, or a
    /// leaf by its structure.
    pub apply: bool,
    /// Types of the results of what is not modelled, by what makes them and which result they are.
    /// They are what a file declares.
    pub claims: &'a dyn Fn(Digest, usize, &Type) -> Type,
}

/// The terms of a graph's values.
pub struct Reading {
    /// By value.
    pub terms: Vec<Option<TermId>>,
    /// Results of nodes in the order of the schedule.
    pub made: Vec<(NodeId, ValueId, TermId)>,
    /// Results of what is not modelled: what makes them, and their type as it was claimed.
    pub opaque: Vec<(ValueId, Digest, usize, Type)>,
}

impl Reading {
    /// Reads a graph of which no claims are believed, and what is not modelled is a leaf.
    pub fn of(graph: &Graph, terms: &mut Terms) -> Self {
        Self::with(graph, terms, &How { apply: false, claims: &|_, _, _| Type::Unknown })
    }

    /// Reads a graph. Inputs are leaves: those without a default by position.
    pub fn with(graph: &Graph, terms: &mut Terms, how: &How<'_>) -> Self {
        let meanings = Meanings::of(graph);
        let plain = follow(graph, None);
        let mut opaque: HashMap<NodeId, Meaning> = HashMap::new();
        for id in graph.schedule() {
            let m = meanings.node(graph, id, &plain);
            if !m.modelled {
                opaque.insert(id, m);
            }
        }
        let claimed = |v: ValueId| match graph.value(v).def {
            Def::Node(n, o) => match opaque.get(&n) {
                Some(m) => (how.claims)(m.digest, o, &graph.value(v).ty),
                None => Type::Unknown,
            },
            _ => Type::Unknown,
        };
        let types = follow_with(graph, None, &claimed);
        let structure = structural_eq::Structure::with(&meanings, graph, &plain);
        let mut r =
            Self { terms: vec![None; graph.value_bound()], made: Vec::new(), opaque: Vec::new() };
        let mut position = 0;
        for &v in graph.inputs() {
            let leaf = structural_eq::input(graph, v, position);
            position += u64::from(matches!(graph.value(v).def, Def::Input(None)));
            r.terms[v.index()] = Some(terms.leaf(leaf, graph.value(v).ty.clone()));
        }
        for id in graph.schedule() {
            let node = graph.node(id);
            let opset = graph.opsets.get(node.op.domain()).copied().unwrap_or(1);
            let mut operands: Vec<Option<TermId>> = Vec::with_capacity(node.inputs.len());
            for v in &node.inputs {
                operands.push(v.map(|v| r.known(graph, terms, &structure, v)));
            }
            let opaque = opaque.get(&id);
            for &v in opaque.iter().flat_map(|m| &m.captures) {
                operands.push(Some(r.known(graph, terms, &structure, v)));
            }
            for (o, v) in node.outputs.iter().enumerate() {
                let Some(v) = *v else { continue };
                let ty = &types[v.index()];
                let of = (o, node.outputs.len());
                let term = match (graph.constant(v), opaque) {
                    (Some(t), _) => Some(terms.constant(&t)),
                    (None, None) => terms.apply(&node.op, opset, &operands, of, ty),
                    (None, Some(m)) => {
                        r.opaque.push((v, m.digest, o, graph.value(v).ty.clone()));
                        let function = how.apply && !m.random;
                        function.then(|| terms.opaque(&node.op, m.digest, opset, &operands, of, ty))
                    }
                };
                let term = term.unwrap_or_else(|| terms.leaf(structure.hash(v), ty.clone()));
                r.terms[v.index()] = Some(term);
                r.made.push((id, v, term));
            }
        }
        for &v in graph.outputs() {
            r.known(graph, terms, &structure, v);
        }
        r
    }

    /// The value's term.
    pub fn term(&self, v: ValueId) -> Option<TermId> {
        self.terms.get(v.index()).copied().flatten()
    }

    fn known(
        &mut self,
        graph: &Graph,
        terms: &mut Terms,
        structure: &structural_eq::Structure,
        v: ValueId,
    ) -> TermId {
        let (terms, at) = (terms, &mut self.terms[v.index()]);
        *at.get_or_insert_with(|| match graph.constant(v) {
            Some(t) => terms.constant(&t),
            None => terms.leaf(structure.hash(v), graph.value(v).ty.clone()),
        })
    }
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
