//! All parts of a split model in one process, on the reference interpreter: a dry run, which counts
//! the bytes that cross links and those that devices hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::{Graph, Tensor};
use graph_opt_passes::analysis::{self, cost};
use graph_opt_passes::devices::files::{Manifest, PartFile, PlanFile, ReceiveRow};

use crate::codec::sent;
use crate::cpu::{Cpu, Prepared};
use crate::inputs::required;
use crate::{Executable, PrepareError, RunError};

/// Tensors by the names of values.
pub type Values = BTreeMap<String, Tensor>;

/// Why parts do not run.
#[derive(Debug, thiserror::Error)]
pub enum StagesError {
    /// The manifest does not fit together, or not with the files.
    #[error("{0}")]
    Manifest(String),
    /// A part cannot be made ready.
    #[error("{0}: {1}")]
    Prepare(String, PrepareError),
    /// A part of the split model failed: its name, and the error.
    #[error("{0}: {1}")]
    Run(String, RunError),
}

/// The parts of a model.
pub struct Stages {
    manifest: Manifest,
    graphs: Vec<Arc<Graph>>,
    prepared: Vec<Prepared>,
    /// Bytes of each part's constants.
    constants: Vec<u64>,
    /// Most bytes that each part's device held while it ran.
    held: Vec<u64>,
    /// Bytes that came to each part over links, in all frames.
    received: Vec<u64>,
}

/// What lies on a device.
#[derive(Default)]
struct Store<'p> {
    values: BTreeMap<&'p str, Tensor>,
    /// The last part that takes each, there or from there.
    until: BTreeMap<&'p str, usize>,
}

impl Store<'_> {
    /// Bytes of what lies there for parts after this one.
    fn after(&self, part: usize) -> u64 {
        let later = self.values.iter().filter(|(name, _)| self.until[*name] > part);
        later.map(|(_, t)| bytes(t)).sum()
    }
}

/// Bytes of a tensor.
pub fn bytes(t: &Tensor) -> u64 {
    t.ty().bytes().unwrap_or(0)
}

/// What a graph reads of these values: its inputs without a default, in order.
///
/// # Errors
/// With the value that is not there.
pub fn take(graph: &Graph, values: &Values) -> Result<Vec<Tensor>, String> {
    let one = |v| {
        let name = &*graph.value(v).name;
        values.get(name).cloned().ok_or_else(|| format!("nothing gives {name:?}"))
    };
    required(graph).into_iter().map(one).collect()
}

impl Stages {
    /// Makes the parts ready; graphs are those of the manifest's files, in order.
    ///
    /// # Errors
    /// If the manifest does not fit together or with the graphs, or a part cannot run.
    pub fn new(
        manifest: Manifest,
        graphs: Vec<Arc<Graph>>,
        cpu: &Cpu,
    ) -> Result<Self, StagesError> {
        manifest.check().map_err(|e| StagesError::Manifest(e.to_string()))?;
        let mut prepared = Vec::new();
        for (part, graph) in manifest.stages.iter().zip(&graphs) {
            if PartFile::of(part.file.clone(), graph) != *part {
                let why = format!("{} has other inputs or outputs than the manifest", part.file);
                return Err(StagesError::Manifest(why));
            }
            let failed = |e| StagesError::Prepare(part.file.clone(), e);
            prepared.push(cpu.prepared(graph.clone()).map_err(failed)?);
        }
        let constants = graphs.iter().map(|g| cost(g).constant_bytes).collect();
        let (held, received) = (vec![0; prepared.len()], vec![0; prepared.len()]);
        Ok(Self { manifest, graphs, prepared, constants, held, received })
    }

    /// The manifest from which the stages were read.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The graphs of the parts.
    pub fn graphs(&self) -> &[Arc<Graph>] {
        &self.graphs
    }

    /// Most bytes that each part's device held while it ran: constants of all its parts, activations
    /// as the allocator had them (with bodies or functions: as planned), what lay there for later parts, and, in a pipeline, a frame that
    /// comes in and one that goes out.
    pub fn held(&self) -> &[u64] {
        &self.held
    }

    /// Bytes that came to each part over links, in all frames.
    pub fn received(&self) -> &[u64] {
        &self.received
    }

    /// Runs a frame: every part sees what was sent to its device, and nothing else. Gives the outputs
    /// of the whole.
    ///
    /// # Errors
    /// If an input is missing, or a part fails.
    pub fn run(&mut self, inputs: &Values) -> Result<Values, StagesError> {
        let plan = &self.manifest.plan;
        let missing = StagesError::Manifest;
        let mut frame = Frame::new(plan);
        let mut peaks = Vec::new();
        frame.send(None, inputs).map_err(missing)?;
        for (i, (part, row)) in self.manifest.stages.iter().zip(&plan.stages).enumerate() {
            let store = frame.stores.entry(&row.device).or_default();
            let mut values = Values::new();
            for name in row.receives.iter().flat_map(|r| &r.values) {
                let t = store.values.get(&**name);
                let t = t.ok_or_else(|| missing(format!("nothing sends {name:?}")))?;
                values.insert(name.clone(), t.clone());
            }
            let lacks = |e| missing(format!("{}: {e}", part.file));
            let read = take(&self.graphs[i], &values).map_err(lacks)?;
            let failed = |e| StagesError::Run(part.file.clone(), e);
            let (made, peak) = ran(&self.graphs[i], &self.prepared[i], &read).map_err(failed)?;
            peaks.push(peak + store.after(i));
            store.values.retain(|name, _| store.until[name] > i);
            values.extend(part.outputs.iter().cloned().zip(made));
            frame.send(Some(i), &values).map_err(missing)?;
        }
        for (i, row) in plan.stages.iter().enumerate() {
            let here = plan.stages.iter().zip(&self.constants).filter(|s| s.0.device == row.device);
            let buffers = if plan.pipelined { frame.buffers.get(&*row.device) } else { None };
            let held = here.map(|s| s.1).sum::<u64>() + peaks[i] + buffers.unwrap_or(&0);
            self.held[i] = self.held[i].max(held);
            self.received[i] += frame.received[i];
        }
        Ok(frame.outputs)
    }
}

/// The outputs of a part, and the bytes that it held: what the allocator had or, of a part with bodies or
/// functions, which run without a plan, what they would have by one.
fn ran(graph: &Graph, part: &Prepared, inputs: &[Tensor]) -> Result<(Vec<Tensor>, u64), RunError> {
    let plan = || analysis::plan(graph).map(|p| p.peak);
    match part.run_measured(inputs) {
        Ok((made, measured)) => Ok((made, measured.peak)),
        Err(e @ RunError::Unsupported(_)) => {
            let peak = plan().map_err(|_| e)?;
            Ok((part.run(inputs, graph.outputs())?, peak))
        }
        Err(e) => Err(e),
    }
}

/// A frame on its way.
struct Frame<'p> {
    plan: &'p PlanFile,
    /// Values that each device holds, by the device's name.
    stores: BTreeMap<&'p str, Store<'p>>,
    /// Bytes that went to and from each device over links.
    buffers: BTreeMap<&'p str, u64>,
    outputs: Values,
    /// Bytes that came to each part over links.
    received: Vec<u64>,
}

impl<'p> Frame<'p> {
    fn new(plan: &'p PlanFile) -> Self {
        let mut stores: BTreeMap<&str, Store<'_>> = BTreeMap::new();
        for (to, there, r) in takes(plan) {
            let here = r.from.map(|f| &*plan.stages[f].device);
            for d in here.into_iter().chain(there) {
                let until = &mut stores.entry(d).or_default().until;
                until.extend(r.values.iter().map(|v| (&**v, to)));
            }
        }
        let received = vec![0; plan.stages.len()];
        Self { plan, stores, buffers: BTreeMap::new(), outputs: Values::new(), received }
    }

    /// What goes out from a part, or from the source, when it has run. It stays where it was as well,
    /// until the part runs that takes it.
    fn send(&mut self, from: Option<usize>, values: &Values) -> Result<(), String> {
        let here = from.map(|f| &*self.plan.stages[f].device);
        for (to, there, r) in takes(self.plan).filter(|t| t.2.from == from) {
            for name in &r.values {
                let t = values.get(name).ok_or_else(|| format!("nothing makes {name:?}"))?;
                let (arrived, crossed) = sent(r.codecs.get(name).copied(), t)?;
                let ends = [here.map(|d| (d, t)), there.map(|d| (d, &*arrived))];
                for (d, t) in ends.into_iter().flatten() {
                    self.stores.entry(d).or_default().values.insert(name, t.clone());
                    if r.over.is_some() {
                        *self.buffers.entry(d).or_default() += bytes(t);
                    }
                }
                match self.received.get_mut(to) {
                    Some(n) if r.over.is_some() => *n += crossed,
                    Some(_) => {}
                    None => drop(self.outputs.insert(name.clone(), arrived.into_owned())),
                }
            }
        }
        Ok(())
    }
}

/// Who takes what: the part and its device; the network's end has the number after the last part, and
/// no device. Later ones come later.
fn takes(plan: &PlanFile) -> impl Iterator<Item = (usize, Option<&str>, &ReceiveRow)> {
    let parts = plan.stages.iter().map(|s| (Some(&*s.device), &s.receives));
    let all = parts.chain([(None, &plan.outputs)]).enumerate();
    all.flat_map(|(to, (there, receives))| receives.iter().map(move |r| (to, there, r)))
}
