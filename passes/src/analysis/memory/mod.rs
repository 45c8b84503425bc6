//! The memory plan: which activations share storage, and how long each piece of storage lives.
//!
//! # Design
//! A [`Plan`] is made for one schedule. `place` decides who shares storage with whom: a slice is a
//! view of what it is cut from, an elementwise result takes over an operand that nobody reads any
//! more, and the operands of a `Concat` are written right where they belong in its result. What an
//! operator must be able to do for that is in one table, [`access`]; backends that execute by the
//! plan read the same table. `offsets` then packs the buffers into one arena.
//!
//! Constants are not activations and do not count, nor do inputs with a default.

pub mod access;
mod model;
mod offsets;
mod place;
#[cfg(test)]
pub(crate) mod tests;

use graph_opt_ir::{Def, Graph, NodeId, Op, Value, ValueId};
pub use model::{Interpreter, MemoryModel, OnnxRuntime, UnknownRuntime, model_named};
use place::Tried;
pub(crate) use place::{Alias, alias};

/// Offsets in the arena are multiples of so many bytes.
pub(crate) const ALIGNMENT: u64 = 64;

/// Where the elements of a value stand in its buffer: element `i` of the value is element
/// `offset + sum(i[a] * strides[a])` of the buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The first element, in elements.
    pub offset: u64,
    /// Distances of neighbours along each axis of the value, in elements.
    pub strides: Vec<u64>,
}

impl View {
    /// A whole tensor of these extents, row-major.
    pub fn whole(dims: &[u64]) -> Self {
        let mut strides = vec![1u64; dims.len()];
        for i in (1..dims.len()).rev() {
            strides[i - 1] = strides[i].saturating_mul(dims[i].max(1));
        }
        Self { offset: 0, strides }
    }

    /// The part of it from `starts` on.
    pub fn part(&self, starts: &[u64]) -> Self {
        let steps = starts.iter().zip(&self.strides);
        let offset = steps.fold(self.offset, |at, (a, s)| at.saturating_add(a.saturating_mul(*s)));
        Self { offset, strides: self.strides.clone() }
    }

    /// Whether a value of these extents has its elements side by side in row-major order.
    pub fn is_contiguous(&self, dims: &[u64]) -> bool {
        let mut next = 1;
        for (&n, &s) in dims.iter().zip(&self.strides).rev() {
            if n != 1 && s != next {
                return dims.contains(&0);
            }
            next = n.saturating_mul(next);
        }
        true
    }
}

/// The storage of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Index into [`Plan::buffers`].
    pub buffer: usize,
    /// Which elements of it.
    pub view: View,
}

/// Storage of one value, or of several that share it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: u64,
    /// Where it begins in the arena, in bytes.
    pub offset: u64,
    /// Index into [`Plan::steps`] of the step that it is first needed at.
    pub from: usize,
    /// The last step that needs it.
    pub to: usize,
}

/// Storage of all activations of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Nodes that run, in their order: those that an output of the graph depends on.
    pub steps: Vec<NodeId>,
    /// All storage.
    pub buffers: Vec<Buffer>,
    /// Bytes of the buffers that are alive at each step.
    pub timeline: Vec<u64>,
    /// Most bytes of buffers that are alive at once.
    pub peak: u64,
    /// The first step at which so many are.
    pub at: usize,
    /// Bytes of the arena that all buffers fit into at their offsets.
    pub arena: u64,
    places: Vec<Option<Place>>,
    views: Vec<bool>,
}

impl Plan {
    /// Storage of the value; `None` for constants and for what nothing needs.
    pub fn place(&self, v: ValueId) -> Option<&Place> {
        self.places.get(v.index())?.as_ref()
    }

    /// Whether the value is nothing but its maker's first operand, or a part of it, where that
    /// stands: its maker has nothing to do for it.
    pub fn is_view(&self, v: ValueId) -> bool {
        self.views.get(v.index()) == Some(&true)
    }
}

/// There is no memory plan because the size of a value is unknown.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the size of {name} ({ty}) is unknown; fix its extents (opt --dim NAME=N --fix-dims)")]
#[non_exhaustive]
pub struct UnknownSize {
    /// Name of the value.
    pub name: String,
    /// Type of the value as text, such as `f32[N,4]`.
    pub ty: String,
}

impl UnknownSize {
    pub(crate) fn of(value: &Value) -> Self {
        Self { name: value.name.to_string(), ty: value.ty.to_string() }
    }
}

/// Whether the value takes activation memory.
pub(crate) fn counts(graph: &Graph, v: ValueId) -> bool {
    match graph.value(v).def {
        Def::Input(None) => true,
        Def::Node(..) => graph.constant(v).is_none(),
        Def::Input(Some(_)) | Def::Const(_) | Def::Outer | Def::Sparse(_) => false,
    }
}

/// By index, the nodes that these values depend on.
pub fn needed(graph: &Graph, wanted: &[ValueId]) -> Vec<bool> {
    let mut needed = vec![false; graph.node_bound()];
    let mut todo: Vec<NodeId> = wanted.iter().filter_map(|&w| graph.producer(w)).collect();
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut needed[id.index()], true) {
            let n = graph.node(id);
            let reads = n.inputs.iter().flatten().chain(&n.captures);
            todo.extend(reads.filter_map(|&v| graph.producer(v)));
        }
    }
    needed
}

/// The plan for the graph's schedule. A buffer lives from the step that first writes to it (that of
/// an input, from the start) to the last step that reads one of its values (that of an output, to
/// the end); operands and results of a node live together. Inputs are copied into buffers of the
/// plan, so that they may be overwritten after their last reader.
///
/// # Errors
/// If the size of a value is not known.
pub fn plan(graph: &Graph) -> Result<Plan, UnknownSize> {
    plan_for(graph, &Interpreter)
}

/// The same by the rules of another model. What kernels take for themselves is in the timeline
/// and the peak, and in no buffer.
///
/// # Errors
/// If the size of a value is not known.
pub fn plan_for(graph: &Graph, model: &dyn MemoryModel) -> Result<Plan, UnknownSize> {
    let order: Vec<NodeId> = graph.schedule().collect();
    let mut best = plan_in(graph, &order, model)?;
    best.arena = offsets::assign(&mut best.buffers);
    Ok(best)
}

/// The plan for the nodes in another order, in which each still runs after those that make what it
/// reads; without offsets.
///
/// # Errors
/// If the size of a value is not known.
pub(crate) fn plan_in(
    graph: &Graph,
    order: &[NodeId],
    model: &dyn MemoryModel,
) -> Result<Plan, UnknownSize> {
    let run = needed(graph, graph.outputs());
    let steps: Vec<NodeId> = order.iter().copied().filter(|n| run[n.index()]).collect();
    let mut tried = Tried::default();
    let mut best = lay_out(graph, &steps, &tried, model)?;
    let is_slice =
        |v: &ValueId| graph.producer(*v).is_some_and(|n| matches!(graph.node(n).op, Op::Slice(_)));
    if model.shares_parts() && graph.outputs().iter().any(is_slice) {
        let lent = Tried { lent: true, ..Tried::default() };
        let plan = lay_out(graph, &steps, &lent, model)?;
        if plan.peak < best.peak {
            (best, tried) = (plan, lent);
        }
    }
    // A `Concat` in place lives from its first part on. Where that sets the peak, it may be better
    // if it copies.
    for _ in 0..if model.shares_parts() { ROUNDS } else { 0 } {
        let later = steps.get(best.at + 1..).unwrap_or_default();
        let open: Vec<NodeId> = later
            .iter()
            .copied()
            .filter(|n| matches!(graph.node(*n).op, Op::Concat(_)) && !tried.copying.contains(n))
            .filter(|n| {
                let place =
                    graph.node(*n).outputs.first().copied().flatten().and_then(|v| best.place(v));
                place.is_some_and(|p| best.buffers[p.buffer].from <= best.at)
            })
            .collect();
        let tries = [open.iter().take(1), open.iter().take(usize::MAX)];
        let mut found = None;
        for more in tries.into_iter().take(open.len().min(2)) {
            let mut with = tried.clone();
            with.copying.extend(more);
            let plan = lay_out(graph, &steps, &with, model)?;
            if plan.peak < best.peak {
                best = plan;
                found = Some(with);
            }
        }
        match found {
            Some(with) => tried = with,
            None => break,
        }
    }
    Ok(best)
}

/// How often a plan is improved.
const ROUNDS: usize = 8;

/// A plan without offsets.
fn lay_out(
    graph: &Graph,
    steps: &[NodeId],
    tried: &Tried,
    model: &dyn MemoryModel,
) -> Result<Plan, UnknownSize> {
    let placed = place::assign(graph, steps, tried, model)?;
    let mut buffers: Vec<Buffer> = placed
        .bytes
        .into_iter()
        .map(|bytes| Buffer { bytes, offset: 0, from: usize::MAX, to: 0 })
        .collect();
    let mut touch = |v: ValueId, step: usize| {
        if let Some(p) = &placed.places[v.index()] {
            let b: &mut Buffer = &mut buffers[p.buffer];
            (b.from, b.to) = (b.from.min(step), b.to.max(step));
        }
    };
    graph.inputs().iter().for_each(|&v| touch(v, 0));
    for (step, &id) in steps.iter().enumerate() {
        let n = graph.node(id);
        let all = n.inputs.iter().chain(&n.outputs).flatten().chain(&n.captures);
        all.for_each(|&v| touch(v, step));
    }
    let end = steps.len().saturating_sub(1);
    graph.outputs().iter().for_each(|&v| touch(v, end));
    if !model.owns_inputs() {
        graph.inputs().iter().for_each(|&v| touch(v, end));
    }
    let mut change = vec![0i128; end + 2];
    for b in &buffers {
        change[b.from] += i128::from(b.bytes);
        change[b.to + 1] -= i128::from(b.bytes);
    }
    let mut live = 0;
    let sum = |c: &i128| {
        live += c;
        u64::try_from(live).unwrap_or(u64::MAX)
    };
    let mut timeline: Vec<u64> = change[..=end].iter().map(sum).collect();
    for (bytes, &id) in timeline.iter_mut().zip(steps) {
        *bytes += model.workspace(graph, id);
    }
    let peak = timeline.iter().copied().max().unwrap_or(0);
    let at = timeline.iter().position(|&b| b == peak).unwrap_or(0);
    let (places, views) = (placed.places, placed.views);
    let steps = steps.to_vec();
    Ok(Plan { steps, buffers, timeline, peak, at, arena: 0, places, views })
}

/// The most bytes of activations that are live at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes.
    pub peak: u64,
    /// The node that runs then.
    pub at: Option<NodeId>,
}

/// Peak of the [`plan`] of the graph's schedule. `None` if an extent is unknown.
pub fn peak(graph: &Graph) -> Option<Memory> {
    let plan = plan(graph).ok()?;
    Some(Memory { peak: plan.peak, at: plan.steps.get(plan.at).copied() })
}
