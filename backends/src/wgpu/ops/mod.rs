//! The operators that run on the device: each checks its operands, and records its kernels.

mod conv;
mod elementwise;
mod layout;
mod matmul;
mod norm;
mod pick;
mod pool;
mod reduce;

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::op_context::{OpCtx, Operand};
use graph_opt_ir::{DType, Op, Tensor, Type};

use super::buffers::Pooled;
use super::kernel::Kernel;
use super::run::{Slot, download, on_device, upload};
use super::stream::{Array, Params, Stream, groups};
use crate::RunError;

/// Results, or `None` where the operands are such that the host must compute them.
pub(super) type Outputs = Result<Option<Vec<Slot>>, RunError>;

/// What runs an operator.
type Runner = fn(&mut Cx<'_, '_>) -> Outputs;

/// One node at run time.
pub(super) struct Cx<'a, 's> {
    pub op: &'a Op,
    pub opset: i64,
    pub inputs: Vec<Option<Slot>>,
    pub outputs: usize,
    pub stream: &'a mut Stream<'s>,
    /// Constants in a kernel's own order, by what is in `ids`.
    pub packed: &'a mut BTreeMap<usize, Array>,
    /// For each operand, which constant it is, if it is one.
    pub ids: Vec<Option<usize>>,
}

/// Whether the operator has a kernel here.
pub(super) fn has_kernel(op: &Op) -> bool {
    runner(op).is_some()
}

/// Whether the operator is worth moving its operands for even where they do not depend on the
/// inputs of the graph.
pub(super) fn heavy(op: &Op) -> bool {
    use graph_opt_ir::op::Class;
    matches!(op.class(), Class::Window | Class::Matmul | Class::Coupled)
        || matches!(
            op,
            Op::BatchNormalization(_)
                | Op::GlobalAveragePool(_)
                | Op::GlobalMaxPool(_)
                | Op::GlobalLpPool(_)
        )
}

fn runner(op: &Op) -> Option<Runner> {
    Some(match op {
        Op::Conv(_) | Op::FusedConv(_) => conv::conv,
        Op::ConvTranspose(_) => conv::conv_transpose,
        Op::MaxPool(_) | Op::AveragePool(_) | Op::LpPool(_) => pool::pool,
        Op::MatMul(_) => matmul::matmul,
        Op::Gemm(_) => matmul::gemm,
        Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Div(_)
        | Op::Pow(_)
        | Op::PRelu(_)
        | Op::Sum(_)
        | Op::Mean(_)
        | Op::Max(_)
        | Op::Min(_) => elementwise::binary,
        Op::Where(_) => elementwise::choose,
        Op::Clip(_) => elementwise::clip,
        Op::Cast(_) => elementwise::cast,
        Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) | Op::GlobalLpPool(_) => reduce::global,
        Op::ReduceSum(_)
        | Op::ReduceMean(_)
        | Op::ReduceMax(_)
        | Op::ReduceMin(_)
        | Op::ReduceProd(_)
        | Op::ReduceL1(_)
        | Op::ReduceL2(_)
        | Op::ReduceSumSquare(_)
        | Op::ReduceLogSum(_) => reduce::reduce,
        Op::Identity(_) | Op::Transfer(_) | Op::Dropout(_) => layout::identity,
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => layout::reshape,
        Op::Shape(_) | Op::Size(_) => layout::shape,
        Op::Transpose(_)
        | Op::Expand(_)
        | Op::Tile(_)
        | Op::Slice(_)
        | Op::Crop(_)
        | Op::DepthToSpace(_)
        | Op::SpaceToDepth(_) => layout::view,
        Op::Concat(_) => layout::concat,
        Op::Split(_) => layout::split,
        Op::Pad(_) => pick::pad,
        Op::Gather(_) => pick::gather,
        Op::Resize(_) | Op::Upsample(_) => pick::resize,
        Op::BatchNormalization(_) | Op::ImageScaler(_) => norm::channels,
        Op::InstanceNormalization(_) => norm::instance,
        Op::LayerNormalization(_) => norm::layer,
        Op::Softmax(_) | Op::LogSoftmax(_) => norm::softmax,
        Op::LRN(_) => norm::lrn,
        op if elementwise::body(op).is_some() => elementwise::unary,
        _ => return None,
    })
}

/// Runs the node on the device, if it can.
pub(super) fn run(cx: &mut Cx<'_, '_>) -> Outputs {
    match runner(cx.op) {
        Some(f) => f(cx),
        None => Ok(None),
    }
}

impl Cx<'_, '_> {
    pub fn present(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// Element type and extents of the operand.
    pub fn ty(&self, i: usize) -> Option<(DType, Vec<usize>)> {
        self.inputs.get(i)?.as_ref()?.ty()
    }

    /// Extents of the operand, if it is of floating-point numbers that can be on the device.
    pub fn dims(&self, i: usize) -> Option<Vec<usize>> {
        self.ty(i).filter(|(t, _)| on_device(*t)).map(|(_, d)| d)
    }

    /// The operand on the device.
    pub fn array(&mut self, i: usize) -> Result<Array, RunError> {
        match self.inputs.get_mut(i) {
            Some(Some(slot)) => upload(self.stream, slot),
            _ => Err(RunError::Invalid(format!("operand {i} is missing"))),
        }
    }

    /// The operand on the host.
    pub fn tensor(&mut self, i: usize) -> Result<Option<Tensor>, RunError> {
        match self.inputs.get_mut(i) {
            Some(Some(slot)) => download(self.stream, slot),
            _ => Ok(None),
        }
    }

    /// An array for a result of operand 0's type.
    pub fn result(&mut self, dims: &[usize]) -> Result<Array, RunError> {
        let dtype = self.ty(0).map_or(DType::F32, |t| t.0);
        self.stream.array(dims, dtype)
    }

    /// Records a kernel with one thread for each of `threads`.
    pub fn run(
        &mut self,
        kernel: &Kernel,
        params: Params,
        inputs: &[&Array],
        output: &Array,
        threads: usize,
    ) -> Result<(), RunError> {
        let inputs: Vec<&Pooled> = inputs.iter().map(|a| &*a.buffer).collect();
        self.stream.run(kernel, params, &inputs, &output.buffer, groups(threads)?)
    }

    /// Calls the function with the node as the rules of the IR see it: whole-number operands are
    /// known, others only by type.
    pub fn with_rules<T>(
        &mut self,
        f: impl FnOnce(&OpCtx<'_>) -> T,
    ) -> Result<Option<T>, RunError> {
        let mut types = vec![];
        for i in 0..self.inputs.len() {
            types.push(match self.ty(i) {
                Some((t, dims)) => {
                    let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
                    // Numbers that other operands than the first hold are small: scales, bounds.
                    let small = i > 0
                        && (!on_device(t) || matches!(self.op, Op::Resize(_) | Op::Upsample(_)));
                    let value = if small { self.tensor(i)?.map(Arc::new) } else { None };
                    Some((Type::tensor(t, &dims), value))
                }
                None if self.present(i) => return Ok(None),
                None => None,
            });
        }
        let operand = |t: &'_ Option<(Type, Option<Arc<Tensor>>)>| t.clone();
        let owned: Vec<_> = types.iter().map(operand).collect();
        let inputs = types
            .iter()
            .zip(owned)
            .map(|(t, v)| {
                let (ty, _) = t.as_ref()?;
                Some(Operand { ty, value: v.and_then(|v| v.1), dims: None })
            })
            .collect();
        let onnx = graph_opt_ir::definition::opset(self.op, self.opset);
        let (op, opset, outputs) = (self.op, self.opset, self.outputs);
        let ctx = OpCtx { op, opset, onnx, functions: None, inputs, outputs };
        Ok(Some(f(&ctx)))
    }

    /// Extents of the results, by the operator's shape rule; `None` if that does not know.
    pub fn shapes(&mut self) -> Result<Option<Vec<Vec<usize>>>, RunError> {
        let types = self.with_rules(graph_opt_ir::infer::infer)?;
        // What the rule refuses, the host refuses with its own words, or runs.
        let Some(Ok(types)) = types else { return Ok(None) };
        let dims = |t: &Type| -> Option<Vec<usize>> {
            t.extents()?.into_iter().map(|d| usize::try_from(d).ok()).collect()
        };
        Ok(types.iter().map(dims).collect())
    }

    /// The results, computed arrays of operand 0's type: rounded if that is narrower than what
    /// kernels compute in.
    pub fn computed(&mut self, arrays: Vec<Array>) -> Outputs {
        let mut out = vec![];
        for a in arrays {
            out.push(elementwise::rounded(self, a)?);
        }
        moved(out)
    }
}

/// Results whose elements are those of operands.
pub(super) fn moved(arrays: Vec<Array>) -> Outputs {
    let slot = |a| Slot { host: None, device: Some(a), made_there: true };
    Ok(Some(arrays.into_iter().map(slot).collect()))
}

/// Distances in memory of neighbours along each axis, row-major.
pub(super) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut s = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        s[i - 1] = s[i].saturating_mul(dims[i]);
    }
    s
}

/// Shape of broadcast operands, if they fit: ONNX, "Multidirectional Broadcasting".
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |d: &[usize], i: usize| (i + d.len()).checked_sub(rank).map_or(1, |j| d[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Distances of an operand's neighbours within the broadcast shape: 0 along axes that it is
/// repeated over.
pub(super) fn spread(from: &[usize], to: &[usize]) -> Vec<usize> {
    let s = strides(from);
    let skip = to.len().saturating_sub(from.len());
    let stride = |i: usize| if from[i] == 1 { 0 } else { s[i] };
    (0..to.len()).map(|i| if i < skip { 0 } else { stride(i - skip) }).collect()
}

/// An axis that kernels walk: its extent, and the distance of neighbours in each array.
pub(super) type Axis<const N: usize> = (usize, [i64; N]);

/// The same walk with as few axes as can be: those that all arrays walk evenly count as one.
pub(super) fn merged<const N: usize>(axes: impl Iterator<Item = Axis<N>>) -> Vec<Axis<N>> {
    let mut out: Vec<Axis<N>> = vec![];
    for (n, s) in axes {
        match out.last_mut() {
            _ if n == 1 => {}
            Some((m, t)) if (0..N).all(|i| t[i] == s[i] * n as i64) => {
                *m *= n;
                *t = s;
            }
            _ => out.push((n, s)),
        }
    }
    out
}

/// Adds axes to the parameters, four words each.
pub(super) fn push_axes<const N: usize>(
    params: &mut Params,
    axes: &[Axis<N>],
) -> Result<(), RunError> {
    for (n, s) in axes {
        params.push(*n)?;
        for i in 0..3 {
            // Modulo 2^32, in which sums of negative distances come out right.
            params.push(s.get(i).map_or(0, |&s| (s as u32) as usize))?;
        }
    }
    Ok(())
}

/// Most axes whose parameters fit beside one row of others.
pub(super) const MAX_AXES: usize = 15;

/// The kernels that the operator may use, besides those that need none to be filled in.
#[cfg(test)]
pub(super) fn kernels_of(op: &Op) -> Vec<Kernel> {
    let mut all = vec![];
    if let Some((body, _)) = elementwise::body(op) {
        all.push(Kernel::unary(&[("BODY", body)]));
    }
    if let Some(body) = elementwise::pair(op) {
        all.push(Kernel::binary(&[("BODY", body)]));
    }
    if let Some((fold, _)) = pool::fold(op) {
        all.push(Kernel::pool(&fold));
    }
    if let Some(fold) = reduce::fold(op) {
        all.push(Kernel::reduce(&fold));
    }
    all
}

/// The kernels that no attribute changes.
#[cfg(test)]
pub(super) fn fixed_kernels() -> Vec<Kernel> {
    let pixels = [("PIXELS", conv::PIXELS)];
    let mut all = vec![
        Kernel::select(&[]),
        Kernel::strided(&[]),
        Kernel::pack(&[]),
        Kernel::probe(&[]),
        Kernel::conv_transpose(&[]),
        Kernel::channels(&[]),
        Kernel::moments(&[]),
        Kernel::normalize(&norm::INSTANCE),
        Kernel::normalize(&norm::LAYER),
        Kernel::softmax(&[]),
        Kernel::lrn(&[]),
        Kernel::pad(&[]),
        Kernel::gather(&[]),
        Kernel::taps(&[]),
        Kernel::conv_eight(&pixels),
        Kernel::conv_one(&pixels),
    ];
    for (rows, columns) in matmul::SHAPES {
        all.push(Kernel::matmul(&[("ROWS", rows), ("COLUMNS", columns)]));
    }
    for body in elementwise::OTHER_BODIES {
        all.push(Kernel::unary(&[("BODY", body)]));
    }
    all
}
