//! The reference interpreter.
//!
//! # Design
//! Every output element is one left-to-right fold over its reduction, in ascending order, from
//! +0, one rounding step at a time: `fma(a, b, acc)`, or `acc + a * b` in the unfused mode. So a
//! tile has the bits of the same part of the whole, and the number of threads and the kind of
//! machine do not matter. Kernels are written once over the type of the elements; one type is
//! the finite field of integers modulo 2^61 - 1 ([`run_field`]), in which there is no rounding at
//! all.

pub(crate) mod arena;
pub(crate) mod array;
mod constants;
pub(crate) mod cx;
mod draw;
mod field;
mod gemm;
mod held;
mod list;
mod math;
pub(crate) mod ops;
mod packs;
mod planned;
mod run;
mod scalar;
mod simd;
pub(crate) mod small;
mod spare;
mod threads;

use std::sync::Arc;

use graph_opt_ir::{DType, Datum, Graph, Op, Tensor, ValueId};

use crate::backend::{data, tensors};
use crate::watch::Watch;
use crate::{Backend, Executable, PrepareError, RunError};
use array::{Array, Buf};
use constants::Constants;
use cx::{Cx, Env};
pub use field::{Fp, Key};
use packs::Packs;
use planned::Planned;
use simd::Level;

/// Bytes that a run may hold at once unless told otherwise: 4 GiB.
pub const DEFAULT_MAX_BYTES: u64 = 4 << 30;

/// The reference interpreter, with its number of threads and its limit of memory.
#[derive(Clone, Debug)]
pub struct Cpu {
    /// Threads of an operator. Results do not depend on it.
    pub threads: usize,
    /// Whether sums of products round once a step (`fma`) or twice.
    pub fused: bool,
    /// Bytes that the tensors of a run may take together.
    pub max_bytes: u64,
    /// Bytes of large external constants that stay in memory from run to run. Nodes read the others from
    /// their files, in each run.
    pub keep: u64,
}

impl Default for Cpu {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, fused: true, max_bytes: DEFAULT_MAX_BYTES, keep: u64::MAX }
    }
}

impl Cpu {
    /// Makes the graph ready to run.
    ///
    /// # Errors
    /// As [`Backend::prepare`].
    pub fn prepared(&self, graph: Arc<Graph>) -> Result<Prepared, PrepareError> {
        self.prepared_with(graph, None)
    }

    /// The same with floating-point initializers of more than few bits replaced by others of like
    /// magnitude, drawn by their bits under the key: what rounding hides behind a weight that is
    /// tiny shows itself.
    ///
    /// # Errors
    /// As [`Backend::prepare`].
    pub fn prepared_with(
        &self,
        graph: Arc<Graph>,
        key: Option<u64>,
    ) -> Result<Prepared, PrepareError> {
        let unsupported = run::unsupported(&graph);
        if !unsupported.is_empty() {
            return Err(PrepareError::Unsupported(unsupported));
        }
        let constants = Constants::new(&graph, self.max_bytes, self.keep, key)?;
        let packs = Packs::new(&constants, self.max_bytes / 2);
        let planned = Planned::new(&graph, &constants);
        Ok(Prepared { graph, constants, packs, env: self.env(), planned })
    }

    fn env(&self) -> Env<'static> {
        Env {
            threads: self.threads.max(1),
            fused: self.fused,
            level: Level::best(),
            key: Key::new(0),
            field: false,
            held: None,
            watch: None,
            turns: None,
            draws: None,
            room: self.max_bytes,
        }
    }
}

impl Backend for Cpu {
    fn name(&self) -> &str {
        "cpu"
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Executable>, PrepareError> {
        Ok(Box::new(self.prepared(graph)?))
    }
}

/// A graph that is ready to run. With known shapes and without control flow, it runs by the
/// [memory plan](graph_opt_passes::analysis::plan) of its schedule.
pub struct Prepared {
    graph: Arc<Graph>,
    constants: Constants,
    packs: Packs,
    env: Env<'static>,
    planned: Result<Planned, String>,
}

/// Bytes that a run took for activations. Kernels have their own memory beside it, which does not
/// grow with the tensors for convolutions by matrix product, pools and elementwise operators on
/// `f32`; nor do copies of the results count, which are made when all else has ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// The most at once.
    pub peak: u64,
    /// At each step of the plan.
    pub by_step: Vec<u64>,
    /// Seconds that each step took.
    pub seconds: Vec<f64>,
}

/// Other constants in the place of these.
fn redrawn(a: &mut Array, key: Key<'_>) {
    let Buf::F32(v) = &a.data else { return };
    let one = |&x: &f32| {
        let kept = !x.is_finite() || (x * 16.0).fract() == 0.0;
        // From 1/2 to 2.
        let m =
            || 0.5 + (key.with_f64(f64::from(x.abs())).bits >> 40) as f32 * (1.5 / 16_777_216.0);
        if kept { x } else { m().copysign(x) }
    };
    let v = v.iter().map(one).collect();
    *a = Array::new(std::mem::take(&mut a.dims), v);
}

impl Prepared {
    fn run_in(
        &self,
        inputs: &[Datum],
        wanted: &[ValueId],
        env: Env<'_>,
    ) -> Result<Vec<Datum>, RunError> {
        let inputs = run::bind(&self.graph, inputs)?;
        if let Ok(p) = &self.planned
            && p.claims().is_empty()
            && p.covers(&self.graph, &inputs, wanted)
        {
            let out = p.run(&self.graph, inputs, wanted, env, &self.packs)?.0;
            return Ok(out.into_iter().map(Datum::Tensor).collect());
        }
        let out = run::graph(&self.graph, &self.constants, inputs, wanted, env, Some(&self.packs))?;
        out.iter().map(Array::datum).collect()
    }

    fn run_tensors(
        &self,
        inputs: &[Tensor],
        wanted: &[ValueId],
        env: Env<'_>,
    ) -> Result<Vec<Tensor>, RunError> {
        tensors(self.run_in(&data(inputs), wanted, env)?)
    }

    /// Runs the graph by its plan and gives its outputs. `inputs` are those without a default.
    ///
    /// # Errors
    /// As [`Executable::run`], and if the graph has no plan.
    pub fn run_measured(&self, inputs: &[Tensor]) -> Result<(Vec<Tensor>, Measured), RunError> {
        let wanted = self.graph.outputs();
        let planned = self.planned.as_ref().map_err(|e| RunError::Unsupported(e.clone()))?;
        let inputs = run::bind(&self.graph, &data(inputs))?;
        if !planned.covers(&self.graph, &inputs, wanted) {
            return Err(RunError::Unsupported("inputs with a default are given".into()));
        }
        if !planned.claims().is_empty() {
            // A run that takes extents from the data finds out whether the file is right.
            let (g, claims) = (&self.graph, planned.claims());
            let packs = Some(&self.packs);
            let found = run::graph(g, &self.constants, inputs.clone(), claims, self.env, packs)?;
            for (&v, a) in claims.iter().zip(found) {
                let (value, found) = (g.value(v), a.tensor()?.ty());
                if value.ty.meet(&found).is_none() {
                    let what = format!("{} is declared {}, but is {found}", value.name, value.ty);
                    return Err(RunError::Invalid(what));
                }
            }
        }
        let (out, steps) = planned.run(&self.graph, inputs, wanted, self.env, &self.packs)?;
        let (by_step, seconds): (Vec<u64>, Vec<f64>) = steps.into_iter().unzip();
        let peak = by_step.iter().copied().max().unwrap_or(0);
        Ok((out, Measured { peak, by_step, seconds }))
    }
}

impl Executable for Prepared {
    fn run(&self, inputs: &[Tensor], wanted: &[ValueId]) -> Result<Vec<Tensor>, RunError> {
        self.run_tensors(inputs, wanted, self.env)
    }

    fn run_data(&self, inputs: &[Datum], wanted: &[ValueId]) -> Result<Vec<Datum>, RunError> {
        self.run_in(inputs, wanted, self.env)
    }

    fn run_watched(
        &self,
        inputs: &[Tensor],
        wanted: &[ValueId],
        watch: &Watch,
    ) -> Result<Vec<Tensor>, RunError> {
        self.run_tensors(inputs, wanted, Env { watch: Some(watch), ..self.env })
    }

    fn watches(&self) -> bool {
        true
    }
}

/// An input of a run in the finite field.
#[derive(Clone, Debug)]
pub enum FieldInput {
    /// Drawn by the key and the input's name, in the shape that the graph declares.
    Declared,
    /// Drawn likewise, in this shape.
    Shaped(Vec<usize>),
    /// Drawn likewise, with zeros, ties, and numbers of all magnitudes among the elements.
    Mixed(Vec<usize>),
    /// Numbers of few bits, of which many are 0 or tie.
    Small(Vec<usize>),
    /// These elements; of floating-point types, embedded.
    Given(Tensor),
}

/// Elements of a result of a run in the finite field.
#[derive(Clone, PartialEq, Debug)]
pub enum FieldData {
    /// It depends on floating-point inputs.
    Field(Vec<Fp>),
    /// It does not, or it is of a type that stays as it is.
    Native(Tensor),
}

/// A result of a run in the finite field.
#[derive(Clone, PartialEq, Debug)]
pub struct FieldTensor {
    /// Element type in the graph.
    pub dtype: DType,
    /// Extents of the tensor, outermost axis first.
    pub dims: Vec<usize>,
    /// Elements in row-major order.
    pub data: FieldData,
}

impl FieldTensor {
    /// Its elements in the field: floating-point constants are embedded as they are where they
    /// meet inputs.
    ///
    /// # Errors
    /// If the elements are external and cannot be read.
    pub fn embedded(&self, key: u64) -> Result<Self, RunError> {
        let FieldData::Native(t) = &self.data else { return Ok(self.clone()) };
        let a = Array::of(t)?.embedded(Key::new(key));
        match a.data {
            Buf::Field(v) => Ok(Self { data: FieldData::Field(v.to_vec()), ..self.clone() }),
            _ => Ok(self.clone()),
        }
    }
}

/// Runs the graph over the finite field of integers modulo 2^61 - 1. Floating-point inputs are
/// drawn at random, as are the functions that are not rational (by `key`); whole-number inputs are
/// drawn small, or given. `inputs` go with [`Graph::inputs`]; those beyond its end are drawn
/// as declared, or take their default.
///
/// Two graphs that are the same rational function of their inputs (and of such functions) have
/// equal results for every key; two that are not differ but for a chance of about
/// degree / 2^61.
///
/// # Errors
/// If a shape is unknown, an operator has no meaning in the field or rejects its operands, or the
/// tensors would take more than `max_bytes` together.
pub fn run_field(
    graph: &Graph,
    key: u64,
    inputs: &[FieldInput],
    wanted: &[ValueId],
    cpu: &Cpu,
) -> Result<Vec<FieldTensor>, RunError> {
    run_field_watched(graph, Key::new(key), inputs, wanted, cpu, None)
}

/// As [`run_field`], by a key that may have marks, telling what is reached.
///
/// # Errors
/// As [`run_field`].
pub(crate) fn run_field_watched(
    graph: &Graph,
    key: Key<'_>,
    inputs: &[FieldInput],
    wanted: &[ValueId],
    cpu: &Cpu,
    watch: Option<&Watch>,
) -> Result<Vec<FieldTensor>, RunError> {
    if let Some(u) = run::unsupported(graph).into_iter().next() {
        return Err(RunError::Unsupported(u.to_string()));
    }
    let env = Env { key, field: true, watch, ..cpu.env() };
    let constants = Constants::new(graph, cpu.max_bytes, cpu.keep, None)
        .map_err(|e| RunError::Invalid(e.to_string()))?;
    let inputs = draw::draw(graph, inputs, env)?;
    let out = run::graph(graph, &constants, inputs, wanted, env, None)?;
    out.into_iter()
        .map(|a| {
            Ok(FieldTensor {
                dtype: a.dtype,
                dims: a.dims.clone(),
                data: match &a.data {
                    Buf::Field(v) => FieldData::Field(v.to_vec()),
                    _ => FieldData::Native(a.tensor()?),
                },
            })
        })
        .collect()
}

/// Whether the node, and what its bodies run, has a kernel here.
pub fn is_supported(graph: &Graph, node: graph_opt_ir::NodeId) -> bool {
    run::is_supported(graph, node)
}

/// Runs one node on tensors, exactly as a run of a graph does. `max_bytes` limits each result.
///
/// # Errors
/// If the operator is not supported here (control flow never is), rejects its operands, or its
/// results would exceed the limit.
pub fn evaluate(
    op: &Op,
    opset: i64,
    inputs: &[Option<Tensor>],
    outputs: usize,
    max_bytes: u64,
) -> Result<Vec<Tensor>, RunError> {
    evaluate_as(None, op, opset, inputs, outputs, max_bytes)
}

/// As [`evaluate`], of the node with this label.
pub(crate) fn evaluate_as(
    label: Option<&str>,
    op: &Op,
    opset: i64,
    inputs: &[Option<Tensor>],
    outputs: usize,
    max_bytes: u64,
) -> Result<Vec<Tensor>, RunError> {
    let of = |t: &Option<Tensor>| t.as_ref().map(Array::of).transpose();
    let inputs = inputs.iter().map(of).collect::<Result<_, _>>()?;
    let env = Cpu { threads: 1, max_bytes, ..Cpu::default() }.env();
    let env = Env { draws: label.and_then(|l| ops::draws(op, l)), ..env };
    let out =
        ops::evaluate(Cx { op, opset, inputs, outputs, env, packs: None, target: None.into() })?;
    out.iter().map(Array::tensor).collect()
}

#[cfg(test)]
mod tests;
