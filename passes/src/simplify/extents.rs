//! Where the elements of small integer values come from: numbers, or extents of values, followed
//! through the arithmetic that exporters write. Extents are identified by the value and axis where they
//! first occur, never by the name of a dimension, as files use one name for several extents.

use std::collections::HashMap;

use graph_opt_ir::infer::infer;
use graph_opt_ir::op::{self, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{DType, Dim, Graph, NodeId, TensorType, Type, ValueId, layout_params};

/// One element of an integer value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    /// A number that is known.
    Known(i64),
    /// The extent of this axis of this value.
    Extent(ValueId, usize),
    /// Neither a known number nor a known extent.
    Other,
}

/// Values of more elements are not followed.
const LIMIT: u64 = 64;

/// Elements of the integer values of a graph, and the extents that are equal.
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
            let open = |v: &ValueId| graph.value(*v).ty.extents().is_none();
            if !node.outputs.iter().flatten().any(open) {
                continue;
            }
            let origins = match node.op {
                Op::Reshape(_) => all.target(graph, id).map(|axes| vec![axes]),
                _ => all.axes(graph, id),
            };
            for (y, axes) in node.outputs.iter().zip(origins.unwrap_or_default()) {
                let Some(y) = *y else { continue };
                let of = |(a, o): (usize, Option<(ValueId, usize)>)| o.unwrap_or((y, a));
                all.roots[y.index()] = Some(axes.into_iter().enumerate().map(of).collect());
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

    /// For each result of the node and each of its axes, the value and axis whose extent it has.
    ///
    /// Shape inference says so: every unknown extent of an operand gets a name of its own, and an extent
    /// of a result that has such a name is the same one.
    fn axes(&self, graph: &Graph, id: NodeId) -> Option<Vec<Vec<Option<(ValueId, usize)>>>> {
        let node = graph.node(id);
        let mut named: Vec<(ValueId, usize)> = Vec::new();
        let mut types: HashMap<ValueId, Type> = HashMap::new();
        for &v in node.inputs.iter().flatten() {
            let mut ty = graph.value(v).ty.clone();
            let Type::Tensor(TensorType { shape: Some(dims), .. }) = &mut ty else { continue };
            for (a, d) in dims.iter_mut().enumerate().filter(|(_, d)| d.known().is_none()) {
                let Entry::Extent(w, b) = self.extent(graph, v, a) else { continue };
                let name = named.iter().position(|n| *n == (w, b)).unwrap_or_else(|| {
                    named.push((w, b));
                    named.len() - 1
                });
                *d = Dim::Param(name.to_string().into());
            }
            types.insert(v, ty);
        }
        if named.is_empty() {
            return None;
        }
        let ctx = OpCtx::with(graph, id, &|v| types.get(&v).unwrap_or(&graph.value(v).ty));
        let found = infer(&ctx).ok()?;
        let origin = |d: &Dim| match d {
            Dim::Param(name) => named.get(name.parse::<usize>().ok()?).copied(),
            _ => None,
        };
        let dims = |ty: &Type| ty.dims().unwrap_or_default().iter().map(origin).collect();
        Some(found.iter().map(dims).collect())
    }

    /// The same of a Reshape, whose target names the extents.
    fn target(&self, graph: &Graph, id: NodeId) -> Option<Vec<Option<(ValueId, usize)>>> {
        let node = graph.node(id);
        let [Some(x), Some(shape)] = node.inputs[..] else { return None };
        let Op::Reshape(op::Reshape { allowzero: 0 }) = node.op else { return None };
        let rank = graph.value(x).ty.rank()?;
        let origin = |(a, e): (usize, &Entry)| match *e {
            Entry::Extent(v, b) => Some((v, b)),
            Entry::Known(0) if a < rank => match self.extent(graph, x, a) {
                Entry::Extent(v, b) => Some((v, b)),
                _ => None,
            },
            _ => None,
        };
        Some(self.entries(graph, shape)?.iter().enumerate().map(origin).collect())
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
