//! Running a graph: every value on the side where it was made, moved only when needed.

use std::sync::Arc;

use graph_opt_ir::{DType, Def, Graph, NodeId, Op, Tensor, ValueId};

use super::buffers::Pool;
use super::device::Gpu;
use super::ops::{self, Cx};
use super::stream::{Array, Stream};
use crate::schedule::{locate, missing, needed};
use crate::{RunError, Unsupported};

/// A value: on the host, on the device, or on both.
#[derive(Clone, Default)]
pub(super) struct Slot {
    pub host: Option<Tensor>,
    pub device: Option<Array>,
    /// Whether a device made it, rather than only holding a copy. Operators on such values run
    /// there; where a value was copied to is no reason, as that depends on what ran before.
    pub made_there: bool,
}

impl Slot {
    /// Element type and extents.
    pub fn ty(&self) -> Option<(DType, Vec<usize>)> {
        match (&self.device, &self.host) {
            (Some(a), _) => Some((a.dtype, a.dims.clone())),
            (None, Some(t)) => {
                let dims = t.dims().iter().map(|&d| usize::try_from(d).ok());
                Some((t.dtype(), dims.collect::<Option<_>>()?))
            }
            (None, None) => None,
        }
    }

    pub fn is_float(&self) -> bool {
        self.ty().is_some_and(|(t, _)| on_device(t))
    }
}

/// Whether tensors of this type can be on the device.
pub(super) fn on_device(t: DType) -> bool {
    matches!(t, DType::F32 | DType::F16 | DType::BF16)
}

/// The constants of a graph by value, and what was made of them on the device.
pub(super) struct Constants {
    slots: Vec<Slot>,
    /// Weights in a kernel's own order, by the value's index.
    pub packed: std::collections::BTreeMap<usize, Array>,
}

impl Constants {
    /// Forgets what a run that failed may have left unfinished.
    pub fn forget(&mut self) {
        self.packed.clear();
        for slot in &mut self.slots {
            slot.device = None;
        }
    }
}

pub(super) fn constants(graph: &Graph) -> Constants {
    let mut slots = vec![Slot::default(); graph.value_bound()];
    for (id, v) in graph.values() {
        if let Def::Const(t) | Def::Input(Some(t)) = &v.def {
            slots[id.index()].host = Some(t.as_ref().clone());
        }
    }
    Constants { slots, packed: Default::default() }
}

/// Every node that neither a kernel nor the host can run.
pub(super) fn unsupported(graph: &Graph) -> Vec<Unsupported> {
    let mut all = vec![];
    for id in graph.schedule() {
        let op = &graph.node(id).op;
        if ops::has_kernel(op) || on_host(graph, op) {
            continue;
        }
        let operator = match op.domain() {
            graph_opt_ir::op::ONNX => op.name().to_owned(),
            domain => format!("{domain}.{}", op.name()),
        };
        let why = match op {
            Op::If(_) | Op::Loop(_) | Op::Scan(_) | Op::SequenceMap(_) => "control flow",
            op if crate::cpu::ops::lists(op) => "sequences and optionals",
            Op::Other(_) => "no such operator here",
            _ => "no kernel",
        };
        all.push(Unsupported { node: graph.label(id).into(), operator, why: why.into() });
    }
    all
}

/// Whether the reference interpreter has the operator: without operands it complains of other
/// things then.
fn on_host(graph: &Graph, op: &Op) -> bool {
    match op {
        Op::Constant(_) => true,
        Op::If(_) | Op::Loop(_) | Op::Scan(_) | Op::SequenceMap(_) | Op::Other(_) => false,
        op if crate::cpu::ops::lists(op) => false,
        op => {
            let opset = graph.opsets.get(op.domain()).copied().unwrap_or(1);
            let none = format!("operator {}", op.name());
            match crate::cpu::evaluate(op, opset, &[], 0, 0) {
                Err(RunError::Unsupported(why)) => why != none,
                _ => true,
            }
        }
    }
}

/// One run of a graph: its buffers and the commands that were recorded.
pub(super) struct Run<'a> {
    stream: Stream<'a>,
    /// Labels and operators of nodes that ran on the host for want of a kernel.
    pub fallbacks: Vec<(String, String)>,
}

impl<'a> Run<'a> {
    pub fn new(gpu: &'a Gpu, pool: &Arc<Pool>) -> Self {
        Self { stream: Stream::new(gpu, pool), fallbacks: vec![] }
    }

    /// Runs the graph and gives the wanted values.
    pub fn graph(
        &mut self,
        graph: &Graph,
        constants: &mut Constants,
        inputs: &[Tensor],
        wanted: &[ValueId],
    ) -> Result<Vec<Tensor>, RunError> {
        let bound = graph.value_bound();
        let mut values = vec![Slot::default(); bound];
        let mut uses = vec![0usize; bound];
        for (id, v) in graph.values() {
            uses[id.index()] = v.uses().len();
        }
        for &w in wanted {
            if graph.get_value(w).is_none() {
                return Err(RunError::Invalid("a wanted value is not in the graph".into()));
            }
            uses[w.index()] += 1;
        }
        for (id, t) in bind(graph, inputs)? {
            let mut slot = Slot { host: Some(t), ..Slot::default() };
            if slot.is_float() {
                // From here on, what depends on it is computed on the device.
                upload(&mut self.stream, &mut slot)?;
                slot.made_there = true;
            }
            values[id.index()] = slot;
        }
        let needed = needed(graph, wanted);
        for id in graph.schedule() {
            let node = graph.node(id);
            if needed[id.index()] {
                let out = self.node(graph, id, constants, &mut values);
                let out = out.map_err(|e| locate(graph, id, e))?;
                for (v, slot) in node.outputs.iter().zip(out) {
                    if let Some(v) = v
                        && uses[v.index()] > 0
                    {
                        values[v.index()] = slot;
                    }
                }
            }
            for v in node.inputs.iter().flatten().chain(&node.captures) {
                let left = &mut uses[v.index()];
                *left = left.saturating_sub(1);
                if *left == 0 {
                    values[v.index()] = Slot::default();
                }
            }
        }
        wanted
            .iter()
            .map(|w| {
                let i = w.index();
                let slot = &mut values[i];
                if slot.ty().is_none() {
                    *slot = constants.slots[i].clone();
                }
                download(&mut self.stream, slot)?.ok_or_else(|| missing(graph, *w))
            })
            .collect()
    }

    /// Records the commands of one node.
    fn node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        constants: &mut Constants,
        values: &mut [Slot],
    ) -> Result<Vec<Slot>, RunError> {
        let node = graph.node(id);
        let op = &node.op;
        let opset = graph.opsets.get(op.domain()).copied().unwrap_or(1);
        let mut inputs = vec![];
        for v in &node.inputs {
            inputs.push(match v {
                Some(v) => {
                    let i = v.index();
                    let slot =
                        if values[i].ty().is_some() { &values[i] } else { &constants.slots[i] };
                    if slot.ty().is_none() {
                        return Err(missing(graph, *v));
                    }
                    Some(slot.clone())
                }
                None => None,
            });
        }
        let depends = inputs.iter().flatten().any(|s| s.made_there);
        let mut cx = Cx {
            op,
            opset,
            inputs,
            outputs: node.outputs.len(),
            stream: &mut self.stream,
            packed: &mut constants.packed,
            ids: node
                .inputs
                .iter()
                .map(|v| v.filter(|v| constants.slots[v.index()].host.is_some()))
                .map(|v| v.map(|v| v.index()))
                .collect(),
        };
        let out = if depends || (ops::heavy(op) && cx.inputs.iter().flatten().any(Slot::is_float)) {
            ops::run(&mut cx)?
        } else {
            None
        };
        // What was moved for this node stays where others may need it, too.
        let moved = std::mem::take(&mut cx.inputs);
        for (v, slot) in node.inputs.iter().zip(moved) {
            if let (Some(v), Some(slot)) = (v, slot) {
                let i = v.index();
                if values[i].ty().is_some() {
                    values[i] = slot;
                } else {
                    constants.slots[i] = slot;
                }
            }
        }
        if let Some(out) = out {
            return Ok(out);
        }
        let mut operands = vec![];
        for v in &node.inputs {
            operands.push(match v {
                Some(v) => {
                    let i = v.index();
                    let slot = if values[i].ty().is_some() {
                        &mut values[i]
                    } else {
                        &mut constants.slots[i]
                    };
                    download(&mut self.stream, slot)?
                }
                None => None,
            });
        }
        if depends {
            self.fallbacks.push((graph.label(id).to_owned(), op.name().to_owned()));
        }
        let most = crate::cpu::DEFAULT_MAX_BYTES;
        let label = Some(graph.label(id));
        let out = crate::cpu::evaluate_as(label, op, opset, &operands, node.outputs.len(), most)?;
        let mut slots = vec![];
        for t in out {
            let mut slot = Slot { host: Some(t), ..Slot::default() };
            if depends && slot.is_float() {
                upload(&mut self.stream, &mut slot)?;
                slot.made_there = true;
            }
            slots.push(slot);
        }
        Ok(slots)
    }
}

/// Brings the value to the device, if it is there not yet.
pub(super) fn upload(stream: &mut Stream<'_>, slot: &mut Slot) -> Result<Array, RunError> {
    if let Some(a) = &slot.device {
        return Ok(a.clone());
    }
    let (Some(t), Some((dtype, dims))) = (&slot.host, slot.ty()) else {
        return Err(RunError::Invalid("a value is nowhere".into()));
    };
    let buffer = if t.dtype() == DType::F32 && cfg!(target_endian = "little") {
        stream.upload(&t.bytes()?)?
    } else {
        let v = t
            .to_f32s()
            .ok_or_else(|| RunError::Unsupported(format!("{dtype} elements on the device")))?;
        stream.upload(bytemuck::cast_slice(&v))?
    };
    let array = Array { buffer, dims, dtype };
    slot.device = Some(array.clone());
    Ok(array)
}

/// Brings the value to the host, if it is there not yet; `None` if it is nowhere.
pub(super) fn download(
    stream: &mut Stream<'_>,
    slot: &mut Slot,
) -> Result<Option<Tensor>, RunError> {
    if let (None, Some(a)) = (&slot.host, &slot.device) {
        let v = stream.read(a)?;
        let dims = a.dims.iter().map(|&d| d as u64).collect();
        let bytes: Vec<u8> = match a.dtype {
            DType::F16 => v.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect(),
            DType::BF16 => v.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect(),
            _ => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        slot.host = Some(Tensor::from_bytes(a.dtype, dims, bytes)?);
    }
    Ok(slot.host.clone())
}

/// The inputs of a run by value: all of the graph's inputs, or those without a default.
fn bind(graph: &Graph, given: &[Tensor]) -> Result<Vec<(ValueId, Tensor)>, RunError> {
    let all = graph.inputs();
    let required = |v: &ValueId| matches!(graph.value(*v).def, Def::Input(None));
    let needed: Vec<ValueId> = all.iter().copied().filter(required).collect();
    let ids = match given.len() {
        n if n == all.len() => all,
        n if n == needed.len() => &needed,
        n => {
            let (a, b) = (all.len(), needed.len());
            return Err(RunError::Invalid(format!(
                "{n} inputs given to a graph of {a} ({b} needed)"
            )));
        }
    };
    let one = |(&id, t): (&ValueId, &Tensor)| {
        let v = graph.value(id);
        if v.ty.meet(&t.ty()).is_none() {
            let why = format!("{} given for {}", t.ty(), v.ty);
            return Err(RunError::Input { name: v.name.to_string(), why });
        }
        Ok((id, t.clone()))
    };
    ids.iter().zip(given).map(one).collect()
}
