//! Terms: hash-consed expressions, one for each value.
//!
//! A term is a head and its children, which are terms. Equal terms are one term, so that a graph is
//! a set of terms in which every value is shared. Terms are made in normal form (`normal_form`); a graph
//! is read as terms by [`Reading`].

mod constants;
mod normal_form;
mod reading;

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_ir::op::{Attrs, Op, Other};
use graph_opt_ir::op_context::{OpCtx, Operand};
use graph_opt_ir::region::Region;
use graph_opt_ir::{DType, Digest, Dim, Hasher, Span, Tensor, Type};

use crate::tile::slices::slice_tensor;
pub(crate) use reading::ReadOptions;
pub use reading::Reading;

/// Identifies a term among those of one [`Terms`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TermId(u32);

impl TermId {
    /// Position of the term, in the order in which terms were made: children come first.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The function that a term applies to its children.
#[derive(Clone, PartialEq, Debug)]
pub enum Head {
    /// An input of the graphs, by position; or an opaque value, by the digest of its structure.
    Leaf(Digest),
    /// A constant, by its content.
    Const(Digest),
    /// The part of its only child within these spans; `None` for a whole axis.
    Slice(Region),
    /// One result of an operator in its normal form.
    Apply(Apply),
}

impl Head {
    /// The head as text; equal heads have equal texts.
    pub(in crate::eqsat) fn spelled(&self) -> String {
        match self {
            Self::Leaf(d) => format!("leaf {d}"),
            Self::Const(d) => format!("constant {d}"),
            Self::Slice(r) => format!("slice {r:?}"),
            Self::Apply(a) => format!("apply {}", a.spelled()),
        }
    }
}

/// One result of an operator applied to operands.
#[derive(Clone, PartialEq, Debug)]
pub struct Apply {
    /// The operator; if it is not `modelled`, one of its name without attributes.
    pub op: Arc<Op>,
    /// Digest of the function that it computes of its operands.
    meaning: Digest,
    /// Version of its domain's operator set.
    pub opset: i64,
    /// Position of the result among those of the operator.
    pub output: usize,
    /// Number of results of the operator.
    pub outputs: usize,
    /// Which operands are present; the children are those that are.
    pub present: Vec<bool>,
    /// Whether the operator's shape and region rules apply; otherwise only equal operands give equal
    /// results.
    pub modelled: bool,
}

impl Apply {
    /// The operator and the position of the result, as text.
    pub(in crate::eqsat) fn operator(&self) -> String {
        format!("{} {}", self.meaning, self.output)
    }

    /// The application as text; equal ones have equal texts.
    pub fn spelled(&self) -> String {
        format!("{} {:?}", self.operator(), self.present)
    }
}

/// An expression: a function and the terms that it is applied to.
#[derive(Clone, PartialEq, Debug)]
pub struct Term {
    /// The function that is applied.
    pub head: Head,
    /// The arguments of the function.
    pub children: Vec<TermId>,
}

/// A set of terms, each stored once, with their types and the values of constants.
#[derive(Default)]
pub struct Terms {
    all: Vec<Term>,
    types: Vec<Type>,
    values: Vec<Option<Arc<Tensor>>>,
    /// The elements of leaves that stand for extents.
    extents: HashMap<TermId, Vec<Dim>>,
    ids: HashMap<Key, TermId>,
}

/// The identity of a term.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Leaf(Digest),
    Const(Digest),
    Slice(Region, TermId),
    Apply(Digest, usize, Vec<bool>, Vec<TermId>),
}

impl Terms {
    /// The head and the children of a term.
    pub fn get(&self, t: TermId) -> &Term {
        &self.all[t.index()]
    }

    /// Type of the value that the term stands for.
    pub fn ty(&self, t: TermId) -> &Type {
        &self.types[t.index()]
    }

    /// The constant that the term stands for; `None` for other terms.
    pub fn value(&self, t: TermId) -> Option<&Arc<Tensor>> {
        self.values[t.index()].as_ref()
    }

    /// Extent of the term's value along an axis, if it is known; others may be symbolic.
    pub fn extent(&self, t: TermId, axis: usize) -> Option<i64> {
        self.ty(t).dims()?.get(axis)?.known().map(|n| n as i64)
    }

    /// How many terms there are.
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

    /// The leaf of this digest, if it was made before.
    pub(crate) fn find_leaf(&self, number: Digest) -> Option<TermId> {
        self.ids.get(&Key::Leaf(number)).copied()
    }

    /// The leaf of this digest, which is made if there is none.
    pub(crate) fn leaf(&mut self, number: Digest, ty: Type) -> TermId {
        self.add(Head::Leaf(number), Vec::new(), ty)
    }

    /// The term of a whole-number tensor with these extents as its elements.
    fn extents(&mut self, elements: Vec<Dim>) -> TermId {
        let mut h = Hasher::new("extents");
        elements.iter().for_each(|d| _ = h.text(&format!("{d:?}")));
        let ty = Type::tensor(DType::I64, &[elements.len() as u64]);
        let id = self.leaf(h.done(), ty);
        self.extents.insert(id, elements);
        id
    }

    /// The term of a constant.
    pub fn constant(&mut self, tensor: &Arc<Tensor>) -> TermId {
        let id = self.add(Head::Const(tensor.digest()), Vec::new(), tensor.ty());
        self.values[id.index()] = Some(tensor.clone());
        id
    }

    /// A part of a term as a Slice, not in normal form; `None` if it lies outside, or extents are
    /// unknown.
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

    /// The region with whole axes as `None`; `None` if it lies outside of the term's value.
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

    /// A part of a term in normal form; `None` if it lies outside, or extents are unknown.
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

    /// An operator over these operands, as its rules see it.
    pub fn ctx<'a>(
        &'a self,
        op: &'a Op,
        opset: i64,
        inputs: &[Option<TermId>],
        outputs: usize,
    ) -> OpCtx<'a> {
        let operand = |t: &Option<TermId>| {
            t.map(|t| Operand {
                ty: self.ty(t),
                value: self.value(t).cloned(),
                dims: self.extents.get(&t).cloned(),
            })
        };
        let inputs = inputs.iter().map(operand).collect();
        let onnx = graph_opt_ir::definition::opset(op, opset);
        OpCtx { op, opset, onnx, functions: None, inputs, outputs }
    }

    /// The operands of an application; empty for other terms.
    pub fn operands(&self, t: TermId) -> Vec<Option<TermId>> {
        let term = self.get(t);
        let Head::Apply(a) = &term.head else { return Vec::new() };
        let mut children = term.children.iter();
        a.present.iter().map(|&p| if p { children.next().copied() } else { None }).collect()
    }

    /// An application as the rules of its operator see it; `None` for other terms and operators that are
    /// not modelled.
    pub(crate) fn ctx_of(&self, t: TermId) -> Option<OpCtx<'_>> {
        let Head::Apply(a) = &self.get(t).head else { return None };
        let ctx = || self.ctx(&a.op, a.opset, &self.operands(t), a.outputs);
        a.modelled.then(ctx)
    }

    /// A result of an operator that is not modelled, a function of its operands.
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

    /// The identifiers of all terms, children first.
    pub fn ids(&self) -> impl Iterator<Item = TermId> + use<> {
        (0..self.all.len() as u32).map(TermId)
    }

    /// All terms, children first.
    pub fn iter(&self) -> impl Iterator<Item = &Term> {
        self.all.iter()
    }
}

/// The region of a whole that the region `outer` of its part `inner` is.
pub(crate) fn compose(inner: &Region, outer: &Region) -> Region {
    let one = |(i, o): (&Option<Span>, &Option<Span>)| match (i, o) {
        (Some(i), Some(o)) => Some(Span::new(i.lo + o.lo, i.lo + o.hi)),
        (i, o) => (*i).or(*o),
    };
    inner.iter().zip(outer).map(one).collect()
}
