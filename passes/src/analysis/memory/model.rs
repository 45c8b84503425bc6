//! Memory models: what a runtime does in memory, which the memory plan counts by.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Graph, NodeId, Type, ValueId, window};

use super::session::{self, Session};
use super::{UnknownSize, access};

/// How a runtime uses memory for activations. A [plan](super::plan_for) is made for one model; the
/// planner of `fuse-tiles` judges its plans by one. A host states the rules of its own runtime by
/// implementing this trait; every default is the conservative choice: copies, no operator in place, and
/// inputs that the caller keeps. Nodes run in the order of the schedule, and buffers come and go with their
/// values, but for a runtime that has a [`session`](Self::session).
///
/// ```
/// use std::ops::Range;
/// use std::sync::Arc;
///
/// use graph_opt_ir::{Graph, NodeId, Op, text};
/// use graph_opt_passes::Pipeline;
/// use graph_opt_passes::analysis::{MemoryModel, plan_for};
/// use graph_opt_passes::tile::fuse_tiles::{FuseTiles, Planned};
///
/// /// Overwrites the operand of Relu, and needs 1 KiB for each node.
/// #[derive(Debug)]
/// struct Accelerator;
///
/// impl MemoryModel for Accelerator {
///     fn name(&self) -> &str {
///         "accelerator"
///     }
///
///     fn in_place(&self, graph: &Graph, node: NodeId) -> Range<usize> {
///         if matches!(graph.node(node).op, Op::Relu(_)) { 0..1 } else { 0..0 }
///     }
///
///     fn workspace(&self, _: &Graph, _: NodeId) -> u64 {
///         1024
///     }
/// }
///
/// let graph = text::parse(
///     "graph @main(%x: f32[1024]) -> (%y) opset 13 {
///        %a = Exp %x  : f32[1024]
///        %y = Relu %a : f32[1024]
///      }",
/// )?;
/// // The input, one buffer for %a and %y, and the workspace.
/// assert_eq!(plan_for(&graph, &Accelerator)?.peak, 4096 + 4096 + 1024);
///
/// let tiles = Planned::within(8 << 20).memory_model(Arc::new(Accelerator));
/// let pipeline = Pipeline::default().then(FuseTiles::from(tiles));
/// assert_eq!(pipeline.to_string(), "fuse-tiles{memory=8MiB runtime=accelerator}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait MemoryModel: fmt::Debug + Send + Sync {
    /// Name of the model, as in the option `runtime`; models of different rules have different names.
    fn name(&self) -> &str;

    /// Whether the runtime may overwrite and free the graph's inputs after their last reader. Otherwise
    /// they live as long as the run.
    fn owns_inputs(&self) -> bool {
        false
    }

    /// Whether Reshape, Flatten, Squeeze, Unsqueeze and the identity are views of their operand, which
    /// take no memory.
    fn shares_reshaped(&self) -> bool {
        true
    }

    /// Whether the results of Slice and Split are views of their operand, and the operands of a Concat
    /// are written right into its result, where [`reads_strided`](Self::reads_strided) and
    /// [`writes_strided`](Self::writes_strided) allow it.
    fn shares_parts(&self) -> bool {
        false
    }

    /// Positions of the operands whose buffer the node's result may take over, if nothing reads the
    /// operand later. They must have the type and the extents of the result.
    fn in_place(&self, graph: &Graph, node: NodeId) -> Range<usize> {
        let _ = (graph, node);
        0..0
    }

    /// Whether a value of this type may be a strided part of a larger buffer: contiguous along the last
    /// axis, with any distances along the others.
    fn strides(&self, ty: &Type) -> bool {
        let _ = ty;
        false
    }

    /// Whether the operator reads this operand where it is a strided part of a larger buffer.
    fn reads_strided(&self, op: &Op, operand: usize) -> bool {
        let _ = (op, operand);
        false
    }

    /// Whether the operator writes its only result into a strided part of a larger buffer.
    fn writes_strided(&self, op: &Op) -> bool {
        let _ = op;
        false
    }

    /// Bytes that the node's kernel takes beside operands and results while it runs.
    fn workspace(&self, graph: &Graph, node: NodeId) -> u64 {
        let _ = (graph, node);
        0
    }

    /// Bytes that the runtime keeps of each node as long as the graph runs, beside values and workspace.
    fn records(&self) -> u64 {
        0
    }

    /// What the runtime takes for the whole graph, if it orders the nodes and allocates by itself; the
    /// rules above then do not count.
    ///
    /// # Errors
    /// If the size of a value is not known.
    fn session(&self, graph: &Graph) -> Result<Option<Session>, UnknownSize> {
        let _ = graph;
        Ok(None)
    }

    /// The model that the planner searches plans by, of which it then takes the best by
    /// [`session`](Self::session); `None` if plans are searched by this model.
    fn searched_by(&self) -> Option<Arc<dyn MemoryModel>> {
        None
    }
}

/// The memory model of this name: `interpreter`, `onnxruntime` or `onnxruntime-default`.
///
/// # Errors
/// If there is no such model.
pub fn model_named(name: &str) -> Result<Arc<dyn MemoryModel>, UnknownRuntime> {
    let all: [Arc<dyn MemoryModel>; 3] =
        [Arc::new(Interpreter), Arc::new(OnnxRuntime), Arc::new(OnnxRuntimeDefault)];
    all.into_iter().find(|m| m.name() == name).ok_or_else(|| UnknownRuntime(name.into()))
}

/// No memory model has this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a runtime is interpreter, onnxruntime or onnxruntime-default, not {0:?}")]
pub struct UnknownRuntime(pub String);

/// The reference interpreter, which executes by the plan.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Interpreter;

impl MemoryModel for Interpreter {
    fn name(&self) -> &str {
        "interpreter"
    }

    fn owns_inputs(&self) -> bool {
        true
    }

    fn shares_parts(&self) -> bool {
        true
    }

    fn in_place(&self, graph: &Graph, node: NodeId) -> Range<usize> {
        let n = graph.node(node);
        access::in_place(&n.op, n.inputs.len())
    }

    fn strides(&self, ty: &Type) -> bool {
        access::strided(ty)
    }

    fn reads_strided(&self, op: &Op, operand: usize) -> bool {
        access::reads_strided(op, operand)
    }

    fn writes_strided(&self, op: &Op) -> bool {
        access::writes_strided(op)
    }
}

/// ONNX Runtime's CPU provider, one thread, with `enable_mem_reuse = False` and the nodes in the order
/// of the file, as measured with version 1.31 (`tests/python/memory.py`): parts and wholes are copies,
/// few operators work in place, the caller's inputs live as long as the run, kernels take workspace, and
/// something is kept of each node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OnnxRuntime;

impl MemoryModel for OnnxRuntime {
    fn name(&self) -> &str {
        "onnxruntime"
    }

    fn in_place(&self, graph: &Graph, node: NodeId) -> Range<usize> {
        match works_in_place(graph, node) {
            true => 0..Interpreter.in_place(graph, node).end.min(1),
            false => 0..0,
        }
    }

    fn records(&self) -> u64 {
        session::RECORDS
    }

    fn workspace(&self, graph: &Graph, node: NodeId) -> u64 {
        let n = graph.node(node);
        let extents = |v: Option<ValueId>| graph.value(v?).ty.extents();
        let (x, y) = (
            extents(n.inputs.first().copied().flatten()),
            extents(n.outputs.first().copied().flatten()),
        );
        let (Some(x), Some(y)) = (x, y) else { return 0 };
        match &n.op {
            // The sum of squares, and three more tensors of the operand's size.
            Op::LRN(_) => 4 * 4 * x.iter().product::<u64>(),
            Op::Conv(c) => {
                let Some(w) = extents(n.inputs.get(1).copied().flatten()) else { return 0 };
                let pixels: u64 = y.iter().skip(2).product();
                let taps: u64 = w.iter().skip(1).product();
                let windows = window::resolved(&OpCtx::of(graph, node)).ok().flatten();
                let plain =
                    |w: &window::Window| (w.stride, w.begin, w.end) == (1, 0, 0) && w.extent() == 1;
                let direct = windows.is_some_and(|all| all.iter().all(plain));
                let filters = w[0] / c.group.max(1) as u64;
                // MLAS lays out the windows as a matrix (im2col): a part at a time, or as a whole where it
                // divides the filters among the threads.
                match direct {
                    true => 0,
                    false if filters <= pixels => IM2COL,
                    false => 4 * taps * pixels,
                }
            }
            _ => 0,
        }
    }
}

/// ONNX Runtime's CPU provider, one thread, in a session with its default options: arena and memory
/// pattern, its own order, all optimisations. The peak is what a process grows by over its runs, without
/// the caller's inputs; with AVX2 or with AVX-512, where it takes more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OnnxRuntimeDefault;

impl MemoryModel for OnnxRuntimeDefault {
    fn name(&self) -> &str {
        "onnxruntime-default"
    }

    fn session(&self, graph: &Graph) -> Result<Option<Session>, UnknownSize> {
        session::of(graph).map(Some)
    }

    fn searched_by(&self) -> Option<Arc<dyn MemoryModel>> {
        Some(Arc::new(DefaultEstimate))
    }
}

/// The rules that plans for [`OnnxRuntimeDefault`] are searched by: those of [`OnnxRuntime`], but convolutions compute in
/// blocks, without an im2col, and nodes count for more.
#[derive(Debug)]
struct DefaultEstimate;

impl MemoryModel for DefaultEstimate {
    fn name(&self) -> &str {
        OnnxRuntimeDefault.name()
    }

    fn in_place(&self, graph: &Graph, node: NodeId) -> Range<usize> {
        OnnxRuntime.in_place(graph, node)
    }

    /// What a session holds for values of other nodes grows with their number. Not measured: among plans of the same
    /// work it prefers the coarse ones.
    fn records(&self) -> u64 {
        300
    }

    fn workspace(&self, graph: &Graph, node: NodeId) -> u64 {
        match graph.node(node).op {
            Op::Conv(_) | Op::FusedConv(_) => 0,
            _ => OnnxRuntime.workspace(graph, node),
        }
    }
}

/// Bytes of the part of an im2col that MLAS holds for each thread (`MLAS_CONV_WORKING_BUFFER_SIZE_PER_THREAD`).
const IM2COL: u64 = 64 << 10;

/// Whether ONNX Runtime executes the node in place, or fuses it into the convolution before it.
fn works_in_place(graph: &Graph, node: NodeId) -> bool {
    let n = graph.node(node);
    match &n.op {
        Op::Relu(_) | Op::LeakyRelu(_) | Op::Clip(_) | Op::Sigmoid(_) | Op::HardSigmoid(_) => true,
        // Its basic optimisations fold these into the weights.
        Op::BatchNormalization(_) | Op::Add(_) | Op::Mul(_) => {
            let [Some(x), rest @ ..] = &n.inputs[..] else { return false };
            let x = *x;
            let made = graph.producer(x).is_some_and(|p| matches!(graph.node(p).op, Op::Conv(_)));
            let constant = |v: &Option<_>| v.is_some_and(|v| graph.constant(v).is_some());
            made && graph.value(x).uses().len() == 1 && rest.iter().all(constant)
        }
        _ => false,
    }
}
