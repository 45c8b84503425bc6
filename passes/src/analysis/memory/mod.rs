//! The memory plan: which activations share buffers, and how long each buffer lives.
//!
//! # Design
//! A [`MemoryPlan`] is made for one schedule. `place` assigns buffers by the rules of a [`MemoryModel`]: in
//! the interpreter a slice is a view of its operand, an elementwise result overwrites an operand that is
//! not read later, and the operands of a `Concat` are written right into its result. [`access`] is the
//! table of what the interpreter's kernels can do; the backend that executes the plan reads it, too.
//! `offsets` packs the buffers into one arena.
//!
//! Constants are not activations and do not count, nor do inputs with a default.

pub mod access;
mod model;
mod offsets;
mod place;
mod session;
#[cfg(test)]
pub(crate) mod tests;

use graph_opt_ir::{Def, Graph, NodeId, Op, Value, ValueId};
pub use model::{
    Interpreter, MemoryModel, OnnxRuntime, OnnxRuntimeDefault, UnknownRuntime, model_named,
};
use place::Candidate;
pub(crate) use place::{Alias, alias};
pub use session::Session;

/// Alignment of buffers in the arena, in bytes.
pub(crate) const ALIGNMENT: u64 = 64;

/// The position of a value's elements in its buffer: element `i` of the value is element
/// `offset + sum(i[a] * strides[a])` of the buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Position of the first element, in elements.
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

    /// Whether a value of these extents is contiguous in row-major order.
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
    /// Index into [`MemoryPlan::buffers`].
    pub buffer: usize,
    /// The value's elements in the buffer.
    pub view: View,
}

/// Storage of one value, or of several that share it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: u64,
    /// Offset in the arena, in bytes.
    pub offset: u64,
    /// Index into [`MemoryPlan::steps`] of the step that it is first needed at.
    pub from: usize,
    /// Index of the last step that it is needed at.
    pub to: usize,
}

/// Storage of all activations of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryPlan {
    /// The nodes that an output depends on, in the order of the schedule; for a runtime with a
    /// [`session`](MemoryModel::session), those that it executes, in its order.
    pub steps: Vec<NodeId>,
    /// All buffers.
    pub buffers: Vec<Buffer>,
    /// Bytes of the buffers that are alive at each step.
    pub timeline: Vec<u64>,
    /// Maximum of the timeline, in bytes; for a session, its growth.
    pub peak: u64,
    /// Index of the first step at the maximum of the timeline.
    pub at: usize,
    /// Size of the arena that holds all buffers at their offsets, in bytes.
    pub arena: u64,
    places: Vec<Option<Place>>,
    views: Vec<bool>,
}

impl MemoryPlan {
    /// The place of a value; `None` for constants and values that no output depends on.
    pub fn place(&self, v: ValueId) -> Option<&Place> {
        self.places.get(v.index())?.as_ref()
    }

    /// Whether the value aliases its node's first operand or a part of it, so that the node has nothing
    /// to do.
    pub fn is_view(&self, v: ValueId) -> bool {
        self.views.get(v.index()) == Some(&true)
    }
}

/// There is no memory plan because the size of a value is unknown.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the size of {name} ({ty}) is unknown; give its extents with --dim NAME=N")]
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

/// Whether each node, by its index, is one that these values depend on.
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
pub fn plan(graph: &Graph) -> Result<MemoryPlan, UnknownSize> {
    plan_for(graph, &Interpreter)
}

/// As [`plan`], by the rules of another memory model. The workspace of kernels is in the timeline and
/// the peak, but in no buffer. The plan of a [`session`](MemoryModel::session) has no buffers.
///
/// # Errors
/// If the size of a value is not known.
pub fn plan_for(graph: &Graph, model: &dyn MemoryModel) -> Result<MemoryPlan, UnknownSize> {
    if let Some(Session { steps, timeline, growth }) = model.session(graph)? {
        let most = timeline.iter().copied().max().unwrap_or(0);
        let at = timeline.iter().position(|&b| b == most).unwrap_or(0);
        let (buffers, places, views) = (Vec::new(), Vec::new(), Vec::new());
        return Ok(MemoryPlan {
            steps,
            buffers,
            timeline,
            peak: growth,
            at,
            arena: growth,
            places,
            views,
        });
    }
    let order: Vec<NodeId> = graph.schedule().collect();
    let mut best = plan_in(graph, &order, model)?;
    best.arena = offsets::assign(&mut best.buffers);
    let records = model.records() * best.steps.len() as u64;
    best.timeline.iter_mut().for_each(|live| *live += records);
    best.peak += records;
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
) -> Result<MemoryPlan, UnknownSize> {
    let run = needed(graph, graph.outputs());
    let steps: Vec<NodeId> = order.iter().copied().filter(|n| run[n.index()]).collect();
    let mut candidate = Candidate::default();
    let mut best = lay_out(graph, &steps, &candidate, model)?;
    let is_slice =
        |v: &ValueId| graph.producer(*v).is_some_and(|n| matches!(graph.node(n).op, Op::Slice(_)));
    if model.shares_parts() && graph.outputs().iter().any(is_slice) {
        let lent = Candidate { lent: true, ..Candidate::default() };
        let plan = lay_out(graph, &steps, &lent, model)?;
        if plan.peak < best.peak {
            (best, candidate) = (plan, lent);
        }
    }
    // A `Concat` in place lives from its first part on. Where that sets the peak, it may be better
    // if it copies.
    for _ in 0..if model.shares_parts() { ROUNDS } else { 0 } {
        let later = steps.get(best.at + 1..).unwrap_or_default();
        let open: Vec<NodeId> = later
            .iter()
            .copied()
            .filter(|n| {
                matches!(graph.node(*n).op, Op::Concat(_)) && !candidate.copying.contains(n)
            })
            .filter(|n| {
                let place =
                    graph.node(*n).outputs.first().copied().flatten().and_then(|v| best.place(v));
                place.is_some_and(|p| best.buffers[p.buffer].from <= best.at)
            })
            .collect();
        let tries = [open.iter().take(1), open.iter().take(usize::MAX)];
        let mut found = None;
        for more in tries.into_iter().take(open.len().min(2)) {
            let mut with = candidate.clone();
            with.copying.extend(more);
            let plan = lay_out(graph, &steps, &with, model)?;
            if plan.peak < best.peak {
                best = plan;
                found = Some(with);
            }
        }
        match found {
            Some(with) => candidate = with,
            None => break,
        }
    }
    Ok(best)
}

/// Maximum number of improvements of a plan.
const ROUNDS: usize = 8;

/// A plan without offsets.
fn lay_out(
    graph: &Graph,
    steps: &[NodeId],
    candidate: &Candidate,
    model: &dyn MemoryModel,
) -> Result<MemoryPlan, UnknownSize> {
    let placed = place::assign(graph, steps, candidate, model)?;
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
    Ok(MemoryPlan { steps, buffers, timeline, peak, at, arena: 0, places, views })
}

/// The peak of live activations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Live activations at the peak, in bytes.
    pub peak: u64,
    /// The first node at the peak; `None` if no node runs.
    pub at: Option<NodeId>,
}

/// Peak of the [`plan`] of the graph's schedule. `None` if an extent is unknown.
pub fn peak(graph: &Graph) -> Option<Memory> {
    let plan = plan(graph).ok()?;
    Some(Memory { peak: plan.peak, at: plan.steps.get(plan.at).copied() })
}
