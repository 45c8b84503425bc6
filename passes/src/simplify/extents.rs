//! Where the elements of small whole-number values come from: numbers, or extents of values, followed
//! through the arithmetic that exporters write. Extents are told apart by the value and axis that they
//! were first seen at, never by the name of a dimension, which files give wrongly.

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{DType, Dim, Graph, NodeId, ValueId, layout_params};

/// One element of a whole-number value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// This number.
    Known(i64),
    /// The extent of this axis of this value.
    Extent(ValueId, usize),
    /// Something else.
    Other,
}

/// Longest value that is followed.
const LIMIT: u64 = 64;

/// What is known of all values of a graph.
pub(super) struct Extents {
    entries: Vec<Option<Vec<Entry>>>,
    /// For each axis the value and axis whose extent it has; absent where it is its own.
    roots: Vec<Option<Vec<(ValueId, usize)>>>,
}

impl Extents {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut all = Self {
            entries: vec![None; graph.value_bound()],
            roots: vec![None; graph.value_bound()],
        };
        for id in graph.schedule() {
            let node = graph.node(id);
            if let Some(Some(y)) = node.outputs.first() {
                all.entries[y.index()] = all.elements(graph, id, *y);
            }
            for &y in node.outputs.iter().flatten() {
                all.roots[y.index()] = all.axes(graph, id, y);
            }
        }
        all
    }

    /// Elements of the value, if it is a small whole-number one of at most one axis.
    pub(super) fn entries(&self, graph: &Graph, v: ValueId) -> Option<Vec<Entry>> {
        if let Some(e) = self.entries.get(v.index()).cloned().flatten() {
            return Some(e);
        }
        let t = graph.constant(v)?;
        let small = t.dims().len() <= 1 && t.len() as u64 <= LIMIT;
        Some(t.to_i64s().filter(|_| small)?.into_iter().map(Entry::Known).collect())
    }

    /// The extent of an axis, as a number or by where it was first seen.
    pub(super) fn extent(&self, graph: &Graph, v: ValueId, axis: usize) -> Entry {
        if let Some(n) = graph.value(v).ty.dims().and_then(|d| d.get(axis)).and_then(Dim::known) {
            return i64::try_from(n).map_or(Entry::Other, Entry::Known);
        }
        let root = self.roots.get(v.index()).and_then(Option::as_ref).and_then(|r| r.get(axis));
        let (v, axis) = root.copied().unwrap_or((v, axis));
        Entry::Extent(v, axis)
    }

    fn elements(&self, graph: &Graph, id: NodeId, y: ValueId) -> Option<Vec<Entry>> {
        let ctx = OpCtx::of(graph, id);
        let inputs = &graph.node(id).inputs;
        let ty = &graph.value(y).ty;
        let whole = matches!(ty.dtype(), Some(DType::I64 | DType::I32 | DType::Bool));
        let count = ty.elements().filter(|&n| n <= LIMIT)?;
        if !whole || ty.rank()? > 1 {
            return None;
        }
        let of = |i: usize| self.entries(graph, inputs.get(i).copied().flatten()?);
        let found: Vec<Entry> = match ctx.op {
            Op::Shape(_) => {
                // The result's length says where the range ends.
                let x = inputs.first().copied().flatten()?;
                let (Op::Shape(s), rank) = (ctx.op, graph.value(x).ty.rank()? as i64) else {
                    return None;
                };
                let start = if s.start < 0 { s.start + rank } else { s.start }.clamp(0, rank);
                let axes = start as usize..start as usize + count as usize;
                axes.map(|a| self.extent(graph, x, a)).collect()
            }
            Op::Identity(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Reshape(_) => of(0)?,
            Op::Cast(_) if matches!(ctx.dtype(0), Some(DType::I64 | DType::I32)) => {
                if ty.dtype() == Some(DType::Bool) {
                    return None;
                }
                of(0)?
            }
            Op::Concat(_) => (0..inputs.len())
                .map(of)
                .collect::<Option<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect(),
            Op::Gather(_) => {
                let x = of(0)?;
                let at = |i: i64| if i < 0 { i + x.len() as i64 } else { i };
                let pick = |i: i64| x.get(usize::try_from(at(i)).ok()?).copied();
                ctx.ints(1)?.into_iter().map(pick).collect::<Option<_>>()?
            }
            Op::Slice(_) => {
                let (x, taken) = (of(0)?, layout_params::slices(&ctx).ok()??);
                let [Some(t)] = taken[..] else { return None };
                let pick = |i: i64| x.get(usize::try_from(t.start + i * t.step).ok()?).copied();
                (0..t.count).map(pick).collect::<Option<_>>()?
            }
            Op::Mul(_) | Op::Equal(_) => {
                let (a, b) = (of(0)?, of(1)?);
                let at =
                    |v: &[Entry], i: u64| v.get(if v.len() == 1 { 0 } else { i as usize }).copied();
                let both = |i| Some((at(&a, i)?, at(&b, i)?));
                let each = |i| both(i).map(|(a, b)| apply(ctx.op, a, b));
                (0..count).map(each).collect::<Option<_>>()?
            }
            Op::Where(_) => {
                let (c, a, b) = (of(0)?, of(1)?, of(2)?);
                let at =
                    |v: &[Entry], i: u64| v.get(if v.len() == 1 { 0 } else { i as usize }).copied();
                let pick = |i| match at(&c, i)? {
                    Entry::Known(0) => at(&b, i),
                    Entry::Known(_) => at(&a, i),
                    _ => Some(Entry::Other),
                };
                (0..count).map(pick).collect::<Option<_>>()?
            }
            _ => return None,
        };
        (found.len() as u64 == count).then_some(found)
    }

    /// Which extents of the result are those of operands.
    fn axes(&self, graph: &Graph, id: NodeId, y: ValueId) -> Option<Vec<(ValueId, usize)>> {
        let rank = graph.value(y).ty.rank()?;
        let node = graph.node(id);
        let ctx = OpCtx::of(graph, id);
        let x = node.inputs.first().copied().flatten()?;
        let x_rank = graph.value(x).ty.rank()?;
        let own = (y, 0);
        let root = |v: ValueId, a: usize| match self.extent(graph, v, a) {
            Entry::Extent(v, a) => Some((v, a)),
            _ => None,
        };
        let from = |map: &dyn Fn(usize) -> Option<(ValueId, usize)>| -> Vec<(ValueId, usize)> {
            let of = |a| map(a).and_then(|(v, b)| root(v, b)).unwrap_or((own.0, a));
            (0..rank).map(of).collect()
        };
        let same = |a: usize| (x_rank == rank).then_some((x, a));
        Some(match &node.op {
            Op::Transpose(_) => {
                let perm = layout_params::permutation(&ctx, rank).ok()?;
                from(&|a| Some((x, perm[a])))
            }
            Op::Conv(_) | Op::ConvTranspose(_) => from(&|a| same(a).filter(|_| a == 0)),
            Op::MaxPool(_)
            | Op::AveragePool(_)
            | Op::GlobalAveragePool(_)
            | Op::GlobalMaxPool(_) => from(&|a| same(a).filter(|_| a < 2)),
            Op::BatchNormalization(_) | Op::Dropout(_) => from(&same),
            Op::Concat(c) => {
                let axis = axis_of(c.axis, rank).ok()?;
                from(&|a| same(a).filter(|_| a != axis))
            }
            Op::Split(s) => {
                let axis = axis_of(s.axis, rank).ok()?;
                from(&|a| same(a).filter(|_| a != axis))
            }
            Op::Slice(_) => {
                let cut = layout_params::slice_axes(&ctx).ok()??;
                from(&|a| same(a).filter(|_| !cut.contains(&a)))
            }
            Op::Unsqueeze(_) => {
                let axes = layout_params::squeeze_axes(&ctx, rank).ok()??;
                let kept: Vec<usize> = (0..rank).filter(|a| !axes.contains(a)).collect();
                from(&|a| kept.iter().position(|k| *k == a).map(|i| (x, i)))
            }
            Op::Squeeze(_) => {
                let axes = layout_params::squeeze_axes(&ctx, x_rank).ok()??;
                let kept: Vec<usize> = (0..x_rank).filter(|a| !axes.contains(a)).collect();
                from(&|a| kept.get(a).map(|&k| (x, k)))
            }
            Op::Gather(g) => {
                let axis = axis_of(g.axis, x_rank).ok()?;
                let indices = (rank + 1).checked_sub(x_rank)?;
                from(&|a| match a {
                    a if a < axis => Some((x, a)),
                    a if a >= axis + indices => Some((x, a + 1 - indices)),
                    a => Some(((*node.inputs.get(1)?)?, a - axis)),
                })
            }
            Op::MatMul(_) => {
                let w = (*node.inputs.get(1)?)?;
                let plain = graph.value(w).ty.rank()? == 2 && x_rank >= 2;
                let at = |a| if a + 1 == rank { (w, 1) } else { (x, a) };
                from(&|a| plain.then_some(at(a)))
            }
            Op::Gemm(g) => {
                let w = (*node.inputs.get(1)?)?;
                from(&|a| match a {
                    0 => Some((x, usize::from(g.transA != 0))),
                    _ => Some((w, usize::from(g.transB == 0))),
                })
            }
            Op::Reshape(r) if r.allowzero == 0 => {
                let target = self.entries(graph, (*node.inputs.get(1)?)?)?;
                let of = |a: usize| match target.get(a) {
                    Some(&Entry::Extent(v, b)) => Some((v, b)),
                    Some(Entry::Known(0)) if a < x_rank => Some((x, a)),
                    _ => None,
                };
                from(&of)
            }
            op if op.class() == Class::Coupled => from(&same),
            op if op.class() == Class::Pointwise && ctx.opset >= 7 => {
                from(&|a| self.broadcast(graph, &node.inputs, rank, a))
            }
            _ => return None,
        })
    }

    /// The operand's axis that alone decides the extent of an axis of an elementwise result.
    fn broadcast(
        &self,
        graph: &Graph,
        inputs: &[Option<ValueId>],
        rank: usize,
        axis: usize,
    ) -> Option<(ValueId, usize)> {
        let mut found: Option<(Entry, ValueId, usize)> = None;
        for &v in inputs.iter().flatten() {
            let lacks = rank - graph.value(v).ty.rank()?.min(rank);
            if axis < lacks {
                continue;
            }
            let e = self.extent(graph, v, axis - lacks);
            match &found {
                _ if e == Entry::Known(1) => {}
                Some((f, ..)) if *f == e => {}
                // One of two may be 1 when it runs.
                Some(_) => return None,
                None => found = Some((e, v, axis - lacks)),
            }
        }
        found.map(|(_, v, a)| (v, a))
    }
}

fn apply(op: &Op, a: Entry, b: Entry) -> Entry {
    match (op, a, b) {
        (Op::Mul(_), Entry::Known(1), x) | (Op::Mul(_), x, Entry::Known(1)) => x,
        (Op::Mul(_), Entry::Known(x), Entry::Known(y)) => {
            x.checked_mul(y).map_or(Entry::Other, Entry::Known)
        }
        (Op::Equal(_), Entry::Known(x), Entry::Known(y)) => Entry::Known((x == y).into()),
        // An extent is never negative.
        (Op::Equal(_), Entry::Extent(..), Entry::Known(x))
        | (Op::Equal(_), Entry::Known(x), Entry::Extent(..))
            if x < 0 =>
        {
            Entry::Known(0)
        }
        _ => Entry::Other,
    }
}
