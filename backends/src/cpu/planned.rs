//! Running a graph by its memory plan: buffers exist from their first to their last step, views are
//! not computed, and results are written where they belong.

use std::collections::BTreeSet;
use std::time::Instant;

use graph_opt_ir::infer::infer_graph;
use graph_opt_ir::op::Class;
use graph_opt_ir::op_context::axis_of;
use graph_opt_ir::{Def, Graph, Node, NodeId, Op, Tensor, ValueId};
use graph_opt_passes::analysis::memory::access;
use graph_opt_passes::analysis::{MemoryPlan, Place, plan};

use super::array::{Array, Element};
use super::constants::Constants;
use super::cx::{Cx, Env};
use super::ops;
use super::packs::Packs;
use super::spare;
use crate::RunError;
use crate::schedule::{locate, missing};

/// A graph whose plan is known.
pub(super) struct Planned {
    pub plan: MemoryPlan,
    /// By value, results of `Constant` nodes included.
    constants: Constants,
    /// By step, the buffers that end with it.
    ends: Vec<Vec<usize>>,
    claims: Vec<ValueId>,
}

/// The storage of a run.
struct Store<'a> {
    graph: &'a Graph,
    planned: &'a Planned,
    /// By buffer, as a tensor of one axis.
    buffers: Vec<Option<Array>>,
    live: u64,
}

fn dims(graph: &Graph, v: ValueId) -> Vec<usize> {
    let extents = graph.value(v).ty.extents().unwrap_or_default();
    extents.into_iter().map(|n| n as usize).collect()
}

fn usizes(v: &[u64]) -> Vec<usize> {
    v.iter().map(|&n| n as usize).collect()
}

/// Values whose extents do not follow from the inputs: the file claims them, and only the data will
/// tell.
fn claims(graph: &Graph) -> Result<Vec<ValueId>, String> {
    let mut bare = graph.clone();
    infer_graph(&mut bare, &[]).map_err(|e| e.to_string())?;
    let same = |v: ValueId| {
        let (known, inferred) = (&graph.value(v).ty, &bare.value(v).ty);
        (known.dtype(), known.extents()) == (inferred.dtype(), inferred.extents())
    };
    let results = graph.schedule().flat_map(|n| graph.node(n).outputs.iter().flatten());
    Ok(results.copied().filter(|v| !same(*v)).collect())
}

impl Planned {
    /// # Errors
    /// With the reason if the graph cannot run by a plan.
    pub fn new(graph: &Graph, constants: &Constants) -> Result<Self, String> {
        let plan = plan(graph).map_err(|e| e.to_string())?;
        let claims = claims(graph)?;
        let mut constants = constants.clone();
        // They are unpacked here, which takes more than the plan says.
        let packed = |v: &graph_opt_ir::Value| v.ty.dtype().is_none_or(|t| t.bits() < 8);
        let mut all = graph.values();
        if let Some((_, v)) = all.find(|(id, v)| plan.place(*id).is_some() && packed(v)) {
            return Err(format!("elements of {} are packed", v.name));
        }
        for &id in &plan.steps {
            let node = graph.node(id);
            if node.op.class() == Class::Control || matches!(node.op, Op::Other(_)) {
                return Err(format!("{} runs other graphs", graph.label(id)));
            }
            for &v in node.outputs.iter().flatten() {
                if let Some(a) = graph.constant(v).and_then(|t| Array::of(&t).ok()) {
                    constants.set(v, a);
                }
            }
        }
        let mut ends = vec![vec![]; plan.timeline.len()];
        plan.buffers.iter().enumerate().for_each(|(i, b)| ends[b.to].push(i));
        Ok(Self { plan, constants, ends, claims })
    }

    /// Values whose shapes are only declared: a run by the plan must find them true first.
    pub fn claims(&self) -> &[ValueId] {
        &self.claims
    }

    /// Whether a run with these inputs and results goes by the plan.
    pub fn covers(&self, graph: &Graph, inputs: &[(ValueId, Array)], wanted: &[ValueId]) -> bool {
        let set = |v: &[ValueId]| v.iter().copied().collect::<BTreeSet<_>>();
        inputs.iter().all(|(v, _)| graph.value(*v).def == Def::Input(None))
            && set(wanted) == set(graph.outputs())
    }

    /// Runs the graph; also the bytes of activations that were alive at each step, and its seconds.
    pub fn run(
        &self,
        graph: &Graph,
        inputs: Vec<(ValueId, Array)>,
        wanted: &[ValueId],
        env: Env,
        packs: &Packs,
    ) -> Result<(Vec<Tensor>, Vec<(u64, f64)>), RunError> {
        let buffers = vec![None; self.plan.buffers.len()];
        let mut store = Store { graph, planned: self, buffers, live: 0 };
        for (v, a) in inputs {
            if let Some(p) = self.plan.place(v) {
                store.put(p.buffer, a)?;
            }
        }
        let mut by_step = Vec::with_capacity(self.plan.steps.len());
        for (step, &id) in self.plan.steps.iter().enumerate() {
            let start = Instant::now();
            store.node(id, env, packs).map_err(|e| locate(graph, id, e))?;
            debug_assert_eq!(store.live, self.plan.timeline[step], "at {}", graph.label(id));
            by_step.push((store.live, start.elapsed().as_secs_f64()));
            // What the last step needs is what the results are made of.
            if step + 1 < self.plan.steps.len() {
                self.ends[step].iter().for_each(|&b| store.free(b));
            }
        }
        if self.plan.steps.is_empty() {
            by_step.push((store.live, 0.0));
        }
        Ok((store.results(wanted)?, by_step))
    }
}

impl Store<'_> {
    fn put(&mut self, buffer: usize, a: Array) -> Result<(), RunError> {
        let n = a.len();
        let mut a = a.reshaped(vec![n])?;
        if !a.is_alone() {
            // It belongs to another buffer, which may end or be overwritten.
            a = a.copied();
        }
        self.free(buffer);
        self.live += a.bytes();
        self.buffers[buffer] = Some(a);
        Ok(())
    }

    fn free(&mut self, buffer: usize) {
        self.live -= self.take(buffer).map_or(0, |a| a.bytes());
    }

    fn take(&mut self, buffer: usize) -> Option<Array> {
        self.buffers[buffer].take()
    }

    /// The value where it stands.
    fn value(&self, v: ValueId) -> Result<Array, RunError> {
        let missing = || missing(self.graph, v);
        let Some(p) = self.planned.plan.place(v) else {
            return self.planned.constants.get(v)?.ok_or_else(missing);
        };
        let a = self.buffers[p.buffer].as_ref().ok_or_else(missing)?;
        let dtype = self.graph.value(v).ty.dtype().unwrap_or(a.dtype);
        let dims = dims(self.graph, v);
        Ok(Array { dtype, ..a.part(dims, p.view.offset as usize, &usizes(&p.view.strides)) })
    }

    /// Whether the value is all of its buffer.
    fn is_whole(&self, v: ValueId, p: &Place) -> bool {
        let ty = &self.graph.value(v).ty;
        let dense = ty.extents().is_some_and(|d| p.view.is_contiguous(&d));
        dense && ty.bytes() == Some(self.planned.plan.buffers[p.buffer].bytes)
    }

    fn node(&mut self, id: NodeId, env: Env, packs: &Packs) -> Result<(), RunError> {
        let (graph, plan) = (self.graph, &self.planned.plan);
        let node = graph.node(id);
        let computed = |v: &&ValueId| plan.place(**v).is_some() && !plan.is_view(**v);
        let results: Vec<ValueId> =
            node.outputs.iter().flatten().filter(computed).copied().collect();
        let Some(&result) = results.first() else { return Ok(()) };
        let mut inputs = vec![];
        for v in &node.inputs {
            inputs.push(v.map(|v| self.value(v)).transpose()?);
        }
        let place = plan.place(result).ok_or_else(|| missing(graph, result))?;
        let draws = ops::draws(&node.op, graph.label(id));
        let env = Env { room: env.room.saturating_sub(self.live), draws, ..env };
        let in_place = access::in_place(&node.op, inputs.len());
        let mut target = None;
        if self.is_whole(result, place) {
            // The kernel finds that the operand is nobody else's, and changes it.
            let same = |i: &usize| node.inputs[*i].and_then(|v| plan.place(v)) == Some(place);
            if let Some(i) = in_place.clone().filter(|&i| i < inputs.len()).find(same)
                && let Some(a) = self.take(place.buffer)
            {
                self.live -= a.bytes();
                inputs[i] = Some(a.reshaped(dims(graph, result))?);
            }
        }
        if !self.is_whole(result, place) || self.buffers[place.buffer].is_some() {
            if self.buffers[place.buffer].is_none() {
                self.allocate(place.buffer, result, env.room)?;
            }
            target = Some(self.target(node, result, &inputs)?);
        }
        if let Some(w) = env.watch {
            w.reads(graph, id, &inputs, env.key);
        }
        let opset = graph.opsets.get(node.op.domain()).copied().unwrap_or(1);
        let outputs = node.outputs.len();
        let placed = target.is_some();
        let (op, packs, target) = (&node.op, Some(packs), target.into());
        let out = ops::evaluate(Cx { op, opset, inputs, outputs, env, packs, target })?;
        if placed {
            return match &out[..] {
                // What has no elements stands anywhere.
                [a] if a.len() == 0 && a.dims == dims(graph, result) => Ok(()),
                [a] if a.stands_at(&self.value(result)?) => Ok(()),
                _ => Err(RunError::Invalid("its result is not where it was planned".into())),
            };
        }
        for (v, a) in node.outputs.iter().zip(out) {
            if let Some(v) = v.filter(|v| results.contains(v))
                && let Some(p) = plan.place(v)
            {
                let planned = dims(graph, v);
                if a.dims != planned {
                    let name = &graph.value(v).name;
                    let why = format!("{name} is {:?}, and was planned as {planned:?}", a.dims);
                    return Err(RunError::Invalid(why));
                }
                let bytes = plan.buffers[p.buffer].bytes;
                if self.is_whole(v, p) && a.bytes() != bytes {
                    let (name, ty, found) = (&graph.value(v).name, &graph.value(v).ty, a.dtype);
                    let why = format!("{name} is {found}, and was planned as {ty}");
                    return Err(RunError::Invalid(why));
                }
                self.put(p.buffer, a)?;
            }
        }
        Ok(())
    }

    fn allocate(&mut self, buffer: usize, v: ValueId, room: u64) -> Result<(), RunError> {
        fn zeros<T: Element>(bytes: u64) -> Array {
            let n = bytes as usize / size_of::<T>();
            Array::new(vec![n], spare::zeros::<T>(n))
        }
        let bytes = self.planned.plan.buffers[buffer].bytes;
        if bytes > room {
            return Err(RunError::TooLarge { what: "buffer", elements: bytes, left: room });
        }
        let a = match self.graph.value(v).ty.dtype() {
            Some(graph_opt_ir::DType::F32) => zeros::<f32>(bytes),
            Some(graph_opt_ir::DType::F64) => zeros::<f64>(bytes),
            t => return Err(RunError::Invalid(format!("parts of {t:?}"))),
        };
        self.put(buffer, a)
    }

    /// Where the node writes its result, having checked that it overwrites nothing that it reads.
    #[allow(unsafe_code)] // A node writes where other values stand.
    fn target(
        &self,
        node: &Node,
        result: ValueId,
        inputs: &[Option<Array>],
    ) -> Result<Array, RunError> {
        let at = self.value(result)?;
        let strides = at.strides();
        let in_place = access::in_place(&node.op, inputs.len());
        let mut start = 0;
        let mut read = vec![];
        for (i, a) in inputs.iter().enumerate() {
            let Some(a) = a else { continue };
            if let Op::Concat(c) = &node.op {
                let axis = axis_of(c.axis, at.rank())?;
                let part = at.part(a.dims.clone(), start * strides[axis], &strides);
                start += a.dims[axis];
                if part.stands_at(a) {
                    continue;
                }
            }
            read.push((a, in_place.contains(&i)));
        }
        let overlaps = || RunError::Invalid("it would overwrite what it reads".into());
        // SAFETY: nodes run one after another, and this one reads nothing but its operands, which are
        // all here (those of a Concat that stand in their place already are not read). The result is
        // the only target, until its node has ended.
        unsafe { at.target(&read) }.ok_or_else(overlaps)
    }

    /// Copies of the results, made one by one as their buffers end.
    fn results(mut self, wanted: &[ValueId]) -> Result<Vec<Tensor>, RunError> {
        let all = wanted.iter().map(|&w| self.value(w)).collect::<Result<Vec<_>, _>>()?;
        self.buffers.clear();
        all.into_iter().map(|a| a.contiguous().tensor()).collect()
    }
}
