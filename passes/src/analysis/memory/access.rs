//! What operators can do with operands and results that are parts of larger buffers. The plan
//! relies on it, and a backend that executes by the plan must do it. Other runtimes do less; what
//! they do is here, too.

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{DType, Graph, NodeId, Type, window};

/// By whose rules storage is shared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Runtime {
    /// The reference interpreter, which executes by the plan.
    #[default]
    Interpreter,
    /// ONNX Runtime's CPU provider, one thread, with `enable_mem_reuse = False` and the nodes in the
    /// order of the file, as measured with version 1.31 (`tests/python/memory.py`): parts and wholes
    /// are copies, few operators work in place, the caller's inputs live as long as the run, and
    /// kernels take working memory.
    OnnxRuntime,
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interpreter => "interpreter",
            Self::OnnxRuntime => "onnxruntime",
        })
    }
}

impl std::str::FromStr for Runtime {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "interpreter" => Ok(Self::Interpreter),
            "onnxruntime" => Ok(Self::OnnxRuntime),
            _ => Err(format!("a runtime is interpreter or onnxruntime, not {name:?}")),
        }
    }
}

impl Runtime {
    /// Whether parts of values are views, and a `Concat` is put together in place.
    pub fn shares_parts(self) -> bool {
        self == Self::Interpreter
    }

    /// Whether inputs are storage like any other, free after their last reader.
    pub fn owns_inputs(self) -> bool {
        self == Self::Interpreter
    }

    /// Operands whose storage the result may take over.
    pub fn in_place(self, graph: &Graph, node: NodeId) -> std::ops::Range<usize> {
        let n = graph.node(node);
        let range = in_place(&n.op, n.inputs.len());
        match self {
            Self::OnnxRuntime if !few_in_place(graph, node) => 0..0,
            Self::OnnxRuntime => 0..range.end.min(1),
            Self::Interpreter => range,
        }
    }

    /// Bytes that the node's kernel takes for itself while it runs.
    pub fn workspace(self, graph: &Graph, node: NodeId) -> u64 {
        if self == Self::Interpreter {
            return 0;
        }
        let n = graph.node(node);
        let extents = |v: Option<graph_opt_ir::ValueId>| graph.value(v?).ty.extents();
        let (x, y) = (
            extents(n.inputs.first().copied().flatten()),
            extents(n.outputs.first().copied().flatten()),
        );
        let (Some(x), Some(y)) = (x, y) else { return 0 };
        match &n.op {
            // The square sum and three more of the size of the operand.
            Op::LRN(_) => 4 * 4 * x.iter().product::<u64>(),
            Op::Conv(c) => {
                let Some(w) = extents(n.inputs.get(1).copied().flatten()) else { return 0 };
                let pixels: u64 = y.iter().skip(2).product();
                let taps: u64 = w.iter().skip(1).product();
                let windows = window::resolved(&OpCtx::of(graph, node)).ok().flatten();
                let plain =
                    |w: &window::Window| (w.stride, w.begin, w.end) == (1, 0, 0) && w.extent() == 1;
                let direct = windows.is_some_and(|all| all.iter().all(plain));
                let depthwise = c.group > 1 && w.get(1) == Some(&1);
                let filters = w[0] / c.group.max(1) as u64;
                // MLAS lays the windows out as a matrix: in blocks, or whole where it divides the
                // filters among the threads.
                if direct || depthwise || filters <= pixels { 0 } else { 4 * taps * pixels }
            }
            _ => 0,
        }
    }
}

/// Axes that a value in a strided place may have.
pub const MAX_RANK: usize = 5;

/// Whether values of this type may stand in strided places: with neighbours along the last axis
/// side by side, and any distances along the others. Only types that nobody converts on the way
/// qualify.
pub fn strided(ty: &Type) -> bool {
    matches!(ty.dtype(), Some(DType::F32 | DType::F64))
        && ty.rank().is_some_and(|r| (1..=MAX_RANK).contains(&r))
}

/// Whether ONNX Runtime does the node in place, or as a part of the convolution before it.
fn few_in_place(graph: &Graph, node: NodeId) -> bool {
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

/// Operators of one operand, element by element, and those that scale channels.
fn maps(op: &Op) -> bool {
    match op {
        Op::BatchNormalization(b) => b.training_mode == 0,
        Op::ImageScaler(_) => true,
        _ => op.class() == Class::Pointwise && !combines(op) && !makes_anew(op),
    }
}

/// Elementwise operators whose kernels write a new array, and those that give their operand itself.
fn makes_anew(op: &Op) -> bool {
    matches!(
        op,
        Op::Cast(_)
            | Op::Not(_)
            | Op::IsNaN(_)
            | Op::IsInf(_)
            | Op::And(_)
            | Op::Or(_)
            | Op::Xor(_)
            | Op::Equal(_)
            | Op::Less(_)
            | Op::LessOrEqual(_)
            | Op::Greater(_)
            | Op::GreaterOrEqual(_)
            | Op::Where(_)
            | Op::Pow(_)
            | Op::Identity(_)
            | Op::Transfer(_)
            | Op::Dropout(_)
    )
}

/// Operators of several operands, element by element.
fn combines(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_) | Op::Mod(_))
        || matches!(op, Op::Sum(_) | Op::Max(_) | Op::Min(_) | Op::Mean(_) | Op::PRelu(_))
}

fn windows(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::MaxPool(_) | Op::AveragePool(_))
}

/// Operands whose storage the result may take over, for a node of this many operands. They must
/// have the type of the result.
pub fn in_place(op: &Op, operands: usize) -> std::ops::Range<usize> {
    match op {
        Op::PRelu(_) => 0..1,
        // With more operands the first one is changed before the last one is read.
        op if combines(op) => 0..if operands == 2 { 2 } else { 1 },
        op if maps(op) => 0..1,
        _ => 0..0,
    }
}

/// Whether the operator reads this operand from a strided place.
pub fn reads_strided(op: &Op, operand: usize) -> bool {
    match op {
        Op::Concat(_) => true,
        op if combines(op) => true,
        Op::Slice(_) | Op::Split(_) => operand == 0,
        op => operand == 0 && (maps(op) || windows(op)),
    }
}

/// Whether the operator writes its only result into a part of a larger buffer.
pub fn writes_strided(op: &Op) -> bool {
    maps(op) || combines(op) || windows(op) || matches!(op, Op::Concat(_) | Op::Slice(_))
}
