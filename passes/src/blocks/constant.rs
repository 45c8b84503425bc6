//! Which channels are constant, whatever the inputs are.
//!
//! A channel is an index along an axis of a value. It is constant if all elements at this index are known to
//! be one and the same number. Starting from constants and from weights that are zero, node after node is
//! computed by the evaluator on what is known of its operands: for one channel of the result, its
//! [region rule](region::tile) says which parts of the operands it needs. If all of them are known, the
//! node is computed on them, and the channel is constant if all elements of the result are equal. So no
//! operator is listed here, and padding counts as the operator counts it.
//!
//! Terms of a sum with a factor of zero are left out, also where the other factor is unknown: it is taken to
//! be a finite number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use graph_opt_ir::op_context::{OpCtx, Operand as CtxOperand};
use graph_opt_ir::region::{self, Need, Region, Relation, Relations};
use graph_opt_ir::{DType, Dim, Graph, NodeId, Span, Tensor, Type, ValueId};

use crate::pass::Evaluate;
use crate::tile::slices::{gather_tensor, slice_tensor};

/// Most elements of an operand or a result that are computed at once to find a constant.
const ELEMENTS: u64 = 1 << 22;

/// The number that all elements of a channel are.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Constant {
    dtype: DType,
    bytes: Arc<[u8]>,
    /// The number, of `f32` and the types that it contains.
    number: Option<f32>,
}

impl Constant {
    /// The number that all elements of the tensor are; `None` if they differ, or are not finite.
    pub(super) fn of(t: &Tensor) -> Option<Self> {
        if !t.dtype().bits().is_multiple_of(8) {
            return None;
        }
        let (bytes, size) = (t.bytes().ok()?, t.dtype().bytes_of(1)? as usize);
        let first = bytes.get(..size).filter(|b| !b.is_empty())?;
        if !bytes.chunks_exact(size).all(|c| c == first) {
            return None;
        }
        let one = Tensor::from_bytes(t.dtype(), vec![1], first.to_vec()).ok()?;
        let float = one.to_f32s();
        if float.iter().flatten().any(|x| !x.is_finite()) {
            return None;
        }
        let number = float.filter(|_| is_summed(t.dtype())).map(|v| v[0]);
        Some(Self { dtype: t.dtype(), bytes: first.into(), number })
    }

    /// The number, if it is a float of a type that `f32` represents.
    pub(super) fn number(&self) -> Option<f32> {
        self.number
    }

    /// Whether it is the number 0, of either sign.
    pub(super) fn is_zero(&self) -> bool {
        self.number == Some(0.0)
    }
}

/// Whether sums of this type are followed: floats that `f32` represents.
fn is_summed(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// For each index along the axis, whether all elements at it are zero; `None` if the tensor is of a type
/// whose sums are not followed, or has elements that are not finite.
pub(super) fn zeros(t: &Tensor, axis: usize) -> Option<Vec<bool>> {
    let v = if is_summed(t.dtype()) { t.to_f32s()? } else { return None };
    let n = *t.dims().get(axis)? as usize;
    let inner = t.dims()[axis + 1..].iter().product::<u64>() as usize;
    let mut zero = vec![true; n];
    for (i, x) in v.iter().enumerate() {
        if !x.is_finite() {
            return None;
        }
        if *x != 0.0 {
            zero[i / inner % n] = false;
        }
    }
    Some(zero)
}

/// The constant channels of a graph.
pub(super) struct Constants<'a> {
    graph: &'a Graph,
    evaluator: &'a dyn Evaluate,
    /// By value and axis, with an entry for each index. Axes without a constant channel are left out.
    of: BTreeMap<(ValueId, usize), Vec<Option<Constant>>>,
}

/// Which terms of its sum a node is computed from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Terms<'a> {
    /// All, with what is added to the sum.
    All,
    /// Those at these indices of the axis that is summed over, and nothing else.
    At(&'a [usize]),
}

/// What is known of a part of an operand.
struct Operand {
    dtype: DType,
    ty: Type,
    known: Known,
}

enum Known {
    Tensor(Arc<Tensor>),
    /// For each index along an axis, the number there.
    Along(usize, Vec<Option<Constant>>),
    Nothing,
}

impl Operand {
    fn of_tensor(t: Arc<Tensor>) -> Self {
        Self { dtype: t.dtype(), ty: t.ty(), known: Known::Tensor(t) }
    }

    fn value(&self) -> Option<Arc<Tensor>> {
        match &self.known {
            Known::Tensor(t) => Some(t.clone()),
            _ => None,
        }
    }

    /// For each index along the axis, whether all elements at it are zero; `None` if sums of it are not
    /// followed.
    fn zeros(&self, axis: usize) -> Option<Vec<bool>> {
        let n = self.ty.dims()?.get(axis)?.known()? as usize;
        let zero = |c: &Option<Constant>| c.as_ref().is_some_and(Constant::is_zero);
        match &self.known {
            Known::Tensor(t) => zeros(t, axis),
            _ if !is_summed(self.dtype) => None,
            Known::Along(a, c) if *a == axis => Some(c.iter().map(zero).collect()),
            Known::Along(_, c) => Some(vec![c.iter().all(zero); n]),
            Known::Nothing => Some(vec![false; n]),
        }
    }

    /// All elements; with `at`, those at these indices of an axis.
    fn tensor(&self, at: Option<(usize, &[usize])>) -> Option<Arc<Tensor>> {
        let (axis, constants) = match &self.known {
            Known::Tensor(t) => {
                return match at {
                    Some((axis, at)) => gather_tensor(t, axis, at).ok().map(Arc::new),
                    None => Some(t.clone()),
                };
            }
            Known::Along(axis, constants) => (*axis, constants),
            Known::Nothing => return None,
        };
        let mut dims = self.ty.extents()?;
        let mut chosen: Vec<&Constant> = Vec::new();
        match at {
            Some((a, at)) if a == axis => {
                for &i in at {
                    chosen.push(constants.get(i)?.as_ref()?);
                }
            }
            _ => chosen = constants.iter().map(Option::as_ref).collect::<Option<_>>()?,
        }
        if let Some((axis, at)) = at {
            *dims.get_mut(axis)? = at.len() as u64;
        }
        let inner = dims[axis + 1..].iter().product::<u64>() as usize;
        let rows = dims[..axis].iter().product::<u64>() as usize;
        filled(self.dtype, dims, || {
            let rows = std::iter::repeat_n(&chosen, rows).flatten();
            rows.flat_map(|c| std::iter::repeat_n(&*c.bytes, inner).flatten().copied()).collect()
        })
    }

    /// Zeros in the operand's place, with these extents along some axes.
    fn zeroed(&self, extents: &[(usize, usize)]) -> Option<Arc<Tensor>> {
        let mut dims = self.ty.dims()?.to_vec();
        for &(axis, n) in extents {
            *dims.get_mut(axis)? = Dim::Known(n as u64);
        }
        let dims: Vec<u64> = dims.iter().map(Dim::known).collect::<Option<_>>()?;
        let bytes = self.dtype.bytes_of(dims.iter().try_fold(1u64, |a, &b| a.checked_mul(b))?)?;
        filled(self.dtype, dims, || vec![0; bytes as usize])
    }
}

/// A tensor of these bytes, unless it would be too large.
fn filled(dtype: DType, dims: Vec<u64>, bytes: impl FnOnce() -> Vec<u8>) -> Option<Arc<Tensor>> {
    let elements = dims.iter().try_fold(1u64, |a, &b| a.checked_mul(b))?;
    let small = elements <= ELEMENTS;
    small.then(|| Tensor::from_bytes(dtype, dims, bytes()).ok().map(Arc::new))?
}

impl<'a> Constants<'a> {
    /// The constant channels along these axes.
    pub(super) fn of(
        graph: &'a Graph,
        evaluator: &'a dyn Evaluate,
        axes: &BTreeSet<(ValueId, usize)>,
    ) -> Self {
        let mut all = Self { graph, evaluator, of: BTreeMap::new() };
        for id in graph.schedule() {
            for (o, out) in graph.node(id).outputs.iter().enumerate() {
                let Some(out) = *out else { continue };
                for &(_, axis) in axes.range((out, 0)..=(out, usize::MAX)) {
                    let found = all.channels(id, o, out, axis).unwrap_or_default();
                    if found.iter().any(Option::is_some) {
                        all.of.insert((out, axis), found);
                    }
                }
            }
        }
        all
    }

    /// The number at this index of the axis of a result, if the channel is constant.
    pub(super) fn at(&self, v: ValueId, axis: usize, index: usize) -> Option<&Constant> {
        self.of.get(&(v, axis))?.get(index)?.as_ref()
    }

    /// Whether no channel is constant.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    fn channels(
        &self,
        id: NodeId,
        o: usize,
        out: ValueId,
        axis: usize,
    ) -> Option<Vec<Option<Constant>>> {
        let node = self.graph.node(id);
        let known = |v: ValueId| self.of.range((v, 0)..=(v, usize::MAX)).next().is_some();
        let computed =
            || node.inputs.iter().flatten().copied().filter(|&v| self.graph.constant(v).is_none());
        // Weights of zero make a channel constant although nothing else is known.
        let sums = node.op.partial_sums().is_some();
        if !sums && computed().next().is_some() && !computed().any(known) {
            return None;
        }
        let n = self.graph.value(out).ty.dims()?.get(axis)?.known()? as i64;
        let ctx = OpCtx::of(self.graph, id);
        let rel = region::relations(&ctx, o).ok()?;
        let mut region = self.one_of_many(id, &rel, out)?;
        let channel = |i| {
            region[axis] = Some(Span::new(i, i + 1));
            Constant::of(&self.compute(&ctx, id, o, &region, Terms::All)?)
        };
        Some((0..n).map(channel).collect())
    }

    /// The region of one index along each axis of the result along which all of them are computed from the
    /// same numbers: the operands along it are results of nodes, and channels of those are constant. Other
    /// axes are whole.
    pub(super) fn one_of_many(&self, id: NodeId, rel: &Relations, out: ValueId) -> Option<Region> {
        let inputs = &self.graph.node(id).inputs;
        let rank = self.graph.value(out).ty.rank()?;
        let one = |o: usize| {
            let along = inputs.iter().zip(&rel.operands).flat_map(|(v, axes)| {
                let constant = v.is_none_or(|v| self.graph.constant(v).is_some());
                axes.iter().filter(|r| r.output() == Some(o)).map(move |r| (constant, r))
            });
            let mut same = along.map(|(c, r)| !c && matches!(r, Relation::Same(_))).peekable();
            same.peek().is_some() && same.all(|s| s) && rel.barriers.iter().all(|b| b.0 != o)
        };
        Some((0..rank).map(|o| one(o).then_some(Span::new(0, 1))).collect())
    }

    /// Computes a region of result `o` of the node; `None` if what it is computed from is not known, or
    /// the evaluator cannot.
    pub(super) fn compute(
        &self,
        ctx: &OpCtx<'_>,
        id: NodeId,
        o: usize,
        region: &Region,
        terms: Terms<'_>,
    ) -> Option<Tensor> {
        let tile = region::tile(ctx, o, region).ok()?;
        let from = region::operands_of(ctx, &tile);
        let inputs = &self.graph.node(id).inputs;
        let mut operands: Vec<Option<Operand>> = Vec::new();
        for (need, from) in tile.needs.iter().zip(from) {
            let operand = match need {
                Need::Nothing => None,
                Need::Instead(t) => Some(Operand::of_tensor(Arc::new(t.clone()))),
                Need::Region(r) => Some(self.operand(inputs[from?]?, r)?),
                Need::Zeros(..) => return None,
            };
            operands.push(operand);
        }
        let inside = OpCtx {
            op: &tile.op,
            opset: ctx.opset,
            onnx: ctx.onnx,
            functions: None,
            inputs: operands
                .iter()
                .map(|p| p.as_ref().map(|p| CtxOperand { ty: &p.ty, value: p.value(), dims: None }))
                .collect(),
            outputs: tile.output + 1,
        };
        let sum = sum(&inside, &operands, terms);
        if sum.is_none() && terms != Terms::All {
            return None;
        }
        let addend = tile.op.partial_sums().and_then(|s| s.addend);
        let mut values = Vec::with_capacity(operands.len());
        for (i, operand) in operands.iter().enumerate() {
            let factor = sum.as_ref().and_then(|s| {
                let axis = s.axes.iter().find(|a| a.0 == i)?.1;
                Some((axis, s))
            });
            values.push(match (operand, factor) {
                (None, _) => None,
                (Some(_), None) if terms != Terms::All && addend == Some(i) => None,
                (Some(p), Some((axis, s))) if s.is_empty && p.value().is_none() => {
                    // No term is left, so that any extents along the windows give the same sum.
                    let windows = s.windows.iter().filter(|w| w.0 == i).map(|w| (w.1, w.2));
                    let extents: Vec<_> = windows.chain([(axis, 1)]).collect();
                    Some(p.zeroed(&extents)?)
                }
                (Some(p), factor) => Some(p.tensor(factor.map(|(axis, s)| (axis, &*s.at)))?),
            });
        }
        let limit = ELEMENTS * 8;
        let results = tile.output + 1;
        self.evaluator.evaluate(&tile.op, self.graph.opset(), &values, results, limit).ok()?.pop()
    }

    /// What is known of a region of the value.
    fn operand(&self, v: ValueId, region: &Region) -> Option<Operand> {
        let cuts: Vec<(usize, Span)> =
            region.iter().enumerate().filter_map(|(a, s)| Some((a, (*s)?))).collect();
        if let Some(t) = self.graph.constant(v) {
            let t = if cuts.is_empty() { t } else { Arc::new(slice_tensor(&t, &cuts).ok()?) };
            return Some(Operand::of_tensor(t));
        }
        let ty = &self.graph.value(v).ty;
        let mut dims = ty.dims()?.to_vec();
        for (a, s) in &cuts {
            dims[*a] = Dim::Known(s.len() as u64);
        }
        let along = |(&(_, axis), all): (&(ValueId, usize), &Vec<Option<Constant>>)| {
            let span = region[axis].unwrap_or(Span::whole(all.len() as i64));
            (axis, all[span.lo as usize..span.hi as usize].to_vec())
        };
        let mut axes: Vec<_> = self.of.range((v, 0)..=(v, usize::MAX)).map(along).collect();
        // The axis along which most is known.
        axes.sort_by_key(|(_, c)| c.iter().filter(|c| c.is_none()).count());
        let known = match axes.into_iter().next() {
            Some((axis, constants)) => Known::Along(axis, constants),
            None => Known::Nothing,
        };
        let dtype = ty.dtype()?;
        Some(Operand { dtype, ty: Type::with_dims(dtype, dims), known })
    }
}

/// A sum that a node computes, and the terms of it that count.
struct Sum {
    /// The two operands whose products are summed, each with its axis.
    axes: [(usize, usize); 2],
    /// Indices of the terms; one of them without effect if no term counts.
    at: Vec<usize>,
    /// Whether no term counts.
    is_empty: bool,
    /// Operands and axes along which a window slides, with an extent that has room for it.
    windows: Vec<(usize, usize, usize)>,
}

/// The node's sum; `None` if it is not a sum of products that is followed.
fn sum(ctx: &OpCtx<'_>, operands: &[Option<Operand>], terms: Terms<'_>) -> Option<Sum> {
    ctx.op.partial_sums()?;
    let rel = region::relations(ctx, 0).ok()?;
    let axes: Vec<(usize, usize)> = summed(&rel).collect();
    let axes: [(usize, usize); 2] = axes.try_into().ok()?;
    let zeros = |(i, axis): (usize, usize)| operands.get(i)?.as_ref()?.zeros(axis);
    let (a, b) = (zeros(axes[0])?, zeros(axes[1])?);
    let mut at: Vec<usize> = match terms {
        Terms::All => (0..a.len().min(b.len())).filter(|&k| !a[k] && !b[k]).collect(),
        Terms::At(at) => at.to_vec(),
    };
    let is_empty = at.is_empty();
    if is_empty {
        at.push(0);
    }
    let mut windows = Vec::new();
    for (i, r) in rel.operands.iter().enumerate() {
        for (axis, r) in r.iter().enumerate() {
            if let Relation::Window(_, w) = r {
                windows.push((i, axis, usize::try_from(w.extent()).ok()?));
            }
        }
    }
    Some(Sum { axes, at, is_empty, windows })
}

/// The operands that are summed over, with the axes.
pub(super) fn summed(rel: &Relations) -> impl Iterator<Item = (usize, usize)> + '_ {
    let axis = |r: &Vec<Relation>| r.iter().position(|r| matches!(r, Relation::Contract(_)));
    rel.operands.iter().enumerate().filter_map(move |(i, r)| Some((i, axis(r)?)))
}
