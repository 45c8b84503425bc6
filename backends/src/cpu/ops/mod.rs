//! Kernels of the operators, and what all of them share: types that are widened, and operands
//! that are taken into the finite field.

pub(crate) mod binary;
mod bits;
mod cast;
mod conv;
mod deform;
mod det;
mod detect;
mod einsum;
mod gather;
mod layout;
mod matmul;
mod norm;
mod pool;
pub(crate) mod quant;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod select;
mod sequences;
mod shapes;
mod signal;
mod stack;
mod strings;
mod tfidf;
mod unary;
mod unfold;
mod unpool;

use graph_opt_ir::op::Class;
use graph_opt_ir::{DType, Op};

pub(crate) use stack::{stack, stack_along};

use super::array::{Array, Buf};
use super::cx::{Cx, Env, Outputs, unsupported};
use super::field::Key;
use crate::RunError;

/// What runs an operator.
pub(crate) type Kernel = fn(&mut Cx<'_>) -> Outputs;

/// The kernel of the operator, if there is one.
pub(crate) fn kernel(op: &Op) -> Option<Kernel> {
    Some(match op {
        Op::Conv(_) | Op::FusedConv(_) => conv::conv,
        Op::ConvTranspose(_) => conv::conv_transpose,
        Op::MaxPool(_) => pool::max_pool,
        Op::AveragePool(_) => pool::average_pool,
        Op::LpPool(_) => pool::lp_pool,
        Op::GlobalAveragePool(_) | Op::GlobalMaxPool(_) | Op::GlobalLpPool(_) => reduce::global,
        Op::MatMul(_) => matmul::matmul,
        Op::Gemm(_) => matmul::gemm,
        Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Div(_)
        | Op::Pow(_)
        | Op::Mod(_)
        | Op::PRelu(_)
        | Op::Sum(_)
        | Op::Mean(_)
        | Op::Max(_)
        | Op::Min(_) => binary::arithmetic,
        Op::Equal(_)
        | Op::Less(_)
        | Op::LessOrEqual(_)
        | Op::Greater(_)
        | Op::GreaterOrEqual(_) => binary::compare,
        Op::And(_) | Op::Or(_) | Op::Xor(_) => binary::logic,
        Op::BitShift(_) | Op::BitwiseAnd(_) | Op::BitwiseOr(_) | Op::BitwiseXor(_) => bits::logic,
        Op::BitwiseNot(_) => bits::not,
        Op::BitCast(_) => bits::cast,
        Op::Where(_) => binary::choose,
        Op::BatchNormalization(_) | Op::ImageScaler(_) | Op::Affine(_) => norm::channels,
        Op::InstanceNormalization(_) => norm::instance,
        Op::LayerNormalization(_) => norm::layer,
        Op::LpNormalization(_) => norm::lp,
        Op::LRN(_) => norm::lrn,
        Op::Softmax(_) | Op::LogSoftmax(_) | Op::Hardmax(_) => norm::softmax,
        Op::ReduceSum(_)
        | Op::ReduceMean(_)
        | Op::ReduceMax(_)
        | Op::ReduceMin(_)
        | Op::ReduceProd(_)
        | Op::ReduceL1(_)
        | Op::ReduceL2(_)
        | Op::ReduceSumSquare(_)
        | Op::ReduceLogSum(_)
        | Op::ReduceLogSumExp(_) => reduce::reduce,
        Op::ArgMax(_) | Op::ArgMin(_) => reduce::arg,
        Op::CumSum(_) | Op::CumProd(_) => reduce::cumulate,
        Op::Identity(_) | Op::Transfer(_) => shapes::identity,
        Op::Dropout(_) => shapes::dropout,
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => shapes::reshape,
        Op::Shape(_) | Op::Size(_) => shapes::shape,
        Op::Constant(_) => shapes::constant,
        Op::ConstantOfShape(_) => shapes::constant_of_shape,
        Op::Range(_) => shapes::range,
        Op::EyeLike(_) => shapes::eye_like,
        Op::Transpose(_)
        | Op::Expand(_)
        | Op::Tile(_)
        | Op::Slice(_)
        | Op::Crop(_)
        | Op::DepthToSpace(_)
        | Op::SpaceToDepth(_) => layout::view,
        Op::Concat(_) => layout::concat,
        Op::Split(_) => layout::split,
        Op::Pad(_) => layout::pad,
        Op::Cast(_) => cast::cast,
        Op::Clip(_) => unary::clip,
        Op::Not(_) | Op::IsNaN(_) | Op::IsInf(_) => unary::test,
        Op::Relu(_)
        | Op::LeakyRelu(_)
        | Op::ThresholdedRelu(_)
        | Op::Elu(_)
        | Op::Selu(_)
        | Op::Celu(_)
        | Op::Sigmoid(_)
        | Op::HardSigmoid(_)
        | Op::HardSwish(_)
        | Op::Mish(_)
        | Op::Gelu(_)
        | Op::Softplus(_)
        | Op::Softsign(_)
        | Op::Tanh(_)
        | Op::Exp(_)
        | Op::Log(_)
        | Op::Sqrt(_)
        | Op::Reciprocal(_)
        | Op::Abs(_)
        | Op::Neg(_)
        | Op::Sign(_)
        | Op::Floor(_)
        | Op::Ceil(_)
        | Op::Round(_)
        | Op::Erf(_)
        | Op::Sin(_)
        | Op::Cos(_)
        | Op::Tan(_)
        | Op::Asin(_)
        | Op::Acos(_)
        | Op::Atan(_)
        | Op::Sinh(_)
        | Op::Cosh(_)
        | Op::Asinh(_)
        | Op::Acosh(_)
        | Op::Atanh(_) => unary::unary,
        Op::Gather(_) => gather::gather,
        Op::GatherElements(_) => gather::gather_elements,
        Op::GatherND(_) => gather::gather_nd,
        Op::ScatterElements(_) | Op::ScatterND(_) | Op::Scatter(_) => gather::scatter,
        Op::TensorScatter(_) => select::tensor_scatter,
        Op::Compress(_) => select::compress,
        Op::ReverseSequence(_) => select::reverse_sequence,
        Op::Unique(_) => select::unique,
        Op::MaxUnpool(_) => unpool::max_unpool,
        Op::Col2Im(_) => unpool::col2im,
        Op::GridSample(_) => sample::grid_sample,
        Op::RoiAlign(_) => detect::roi_align,
        Op::NonMaxSuppression(_) => detect::non_max_suppression,
        Op::DeformConv(_) => deform::deform_conv,
        Op::Det(_) => det::det,
        Op::DFT(_) => signal::dft,
        Op::STFT(_) => signal::stft,
        Op::MelWeightMatrix(_) => signal::mel_weights,
        Op::HannWindow(_) | Op::HammingWindow(_) | Op::BlackmanWindow(_) => signal::window,
        Op::TfIdfVectorizer(_) => tfidf::tfidf,
        Op::RandomUniform(_)
        | Op::RandomNormal(_)
        | Op::RandomUniformLike(_)
        | Op::RandomNormalLike(_)
        | Op::Bernoulli(_)
        | Op::Multinomial(_) => random::draw,
        Op::OneHot(_) => gather::one_hot,
        Op::NonZero(_) => gather::non_zero,
        Op::TopK(_) => gather::top_k,
        Op::Trilu(_) => gather::trilu,
        Op::Resize(_) | Op::Upsample(_) => resize::resize,
        Op::QuantizeLinear(_) => quant::quantize,
        Op::DequantizeLinear(_) => quant::dequantize,
        Op::DynamicQuantizeLinear(_) => quant::dynamic,
        Op::ConvInteger(_) | Op::QLinearConv(_) => quant::conv,
        Op::MatMulInteger(_) | Op::QLinearMatMul(_) => quant::matmul,
        Op::Einsum(_) => einsum::einsum,
        Op::LSTM(_) | Op::GRU(_) | Op::RNN(_) => recurrent::recurrent,
        Op::SequenceEmpty(_)
        | Op::SequenceConstruct(_)
        | Op::SequenceInsert(_)
        | Op::SequenceErase(_)
        | Op::SequenceAt(_)
        | Op::SequenceLength(_) => sequences::sequences,
        Op::SplitToSequence(_) => sequences::split,
        Op::ConcatFromSequence(_) => sequences::concat,
        Op::Optional(_) | Op::OptionalHasElement(_) | Op::OptionalGetElement(_) => {
            sequences::optionals
        }
        Op::StringConcat(_) => strings::concat,
        Op::StringSplit(_) => strings::split,
        Op::StringNormalizer(_) => strings::normalize,
        Op::RegexFullMatch(_) => strings::full_match,
        op if op.class() == Class::Composite => defined,
        _ => return None,
    })
}

/// An operator that is said as a graph of others.
fn defined(cx: &mut Cx<'_>) -> Outputs {
    let onnx = graph_opt_ir::definition::opset(cx.op, cx.opset);
    let inputs = std::mem::take(&mut cx.inputs);
    let model = (cx.opset, onnx, None);
    super::run::defined(cx.op, model, inputs, cx.outputs, cx.env, (0, cx.packs))
}

/// Whether the operator only moves elements, of whatever type.
fn moves(op: &Op) -> bool {
    op.class() == Class::Layout
        || matches!(
            op,
            Op::Identity(_)
                | Op::Transfer(_)
                | Op::Shape(_)
                | Op::Size(_)
                | Op::Where(_)
                | Op::Gather(_)
                | Op::GatherElements(_)
                | Op::GatherND(_)
                | Op::Constant(_)
                | Op::ConstantOfShape(_)
                | Op::Cast(_)
                | Op::OneHot(_)
                | Op::NonZero(_)
                | Op::EyeLike(_)
                | Op::Trilu(_)
                | Op::Dropout(_)
                | Op::BitCast(_)
                | Op::Scatter(_)
                | Op::TensorScatter(_)
                | Op::Compress(_)
                | Op::ReverseSequence(_)
                | Op::Unique(_)
        )
}

/// Whether the operator is one of sequences or optionals, of whatever elements.
pub(crate) fn lists(op: &Op) -> bool {
    use Op::*;
    let sequence = matches!(
        op,
        SequenceEmpty(_)
            | SequenceConstruct(_)
            | SequenceInsert(_)
            | SequenceErase(_)
            | SequenceAt(_)
            | SequenceLength(_)
            | SplitToSequence(_)
            | ConcatFromSequence(_)
    );
    sequence || matches!(op, Optional(_) | OptionalHasElement(_) | OptionalGetElement(_))
}

/// Whether every floating-point element of a result is one of an operand, or the negative of one.
pub(crate) fn keeps(op: &Op) -> bool {
    use Op::*;
    let picks = matches!(
        op,
        Relu(_)
            | Clip(_)
            | Max(_)
            | Min(_)
            | MaxPool(_)
            | GlobalMaxPool(_)
            | Neg(_)
            | Abs(_)
            | ReduceMax(_)
            | ReduceMin(_)
            | TopK(_)
            | Reshape(_)
            | Flatten(_)
            | Squeeze(_)
            | Unsqueeze(_)
            | Split(_)
    );
    let others =
        matches!(op, ConstantOfShape(_) | EyeLike(_) | Constant(_) | Dropout(_) | BitCast(_));
    picks || moves(op) && !others
}

/// Whether the results are numbers that the kernel makes, of the type that an attribute says.
fn makes(op: &Op) -> bool {
    op.is_random()
        || matches!(
            op,
            Op::MelWeightMatrix(_)
                | Op::HannWindow(_)
                | Op::HammingWindow(_)
                | Op::BlackmanWindow(_)
        )
}

/// What tells the random numbers of the node with this label from those of others, if it draws any.
pub(crate) fn draws(op: &Op, label: &str) -> Option<u64> {
    op.is_random().then(|| Key::new(0).named(label).bits)
}

/// The wider of two types of floats, if it holds all numbers of the other.
pub(crate) fn join(a: DType, b: DType) -> Option<DType> {
    let wider = if unary::within(a, b) { b } else { a };
    (unary::within(a, wider) && unary::within(b, wider)).then_some(wider)
}

/// Whether the operand must be a known number even where others are in the field.
fn stays_native(op: &Op, operand: usize) -> bool {
    match op {
        Op::Resize(_) => operand > 0,
        Op::Pow(_) | Op::Upsample(_) | Op::Dropout(_) => operand == 1,
        Op::OneHot(_) => operand < 2,
        _ => false,
    }
}

/// Whole numbers of fewer than 64 bits.
fn is_narrow(t: DType) -> bool {
    t.is_int() && t.bits() < 64
}

/// Least and greatest number of a narrow whole-number type.
fn limits(t: DType) -> (i64, i64) {
    let half = 1i64 << (t.bits().min(62) - 1);
    match t {
        DType::I8 | DType::I16 | DType::I32 => (-half, half - 1),
        _ => (0, 2 * half - 1),
    }
}

/// Whether the operator has its own way with narrow whole numbers.
fn reads_narrow(op: &Op) -> bool {
    matches!(
        op,
        Op::ConvInteger(_)
            | Op::QLinearConv(_)
            | Op::MatMulInteger(_)
            | Op::QLinearMatMul(_)
            | Op::Resize(_)
            | Op::Upsample(_)
    )
}

/// Whether the kernel widens and narrows on its own.
fn rounds_itself(op: &Op) -> bool {
    matches!(op, Op::QuantizeLinear(_) | Op::DequantizeLinear(_))
}

/// Runs one node on arrays.
pub(crate) fn evaluate(mut cx: Cx<'_>) -> Outputs {
    let Some(kernel) = kernel(cx.op) else {
        unsupported!("operator {}", cx.op.name());
    };
    // The operators of the definition see to their operands themselves.
    if cx.op.class() == Class::Composite {
        return kernel(&mut cx);
    }
    let inputs = || cx.inputs.iter().flatten();
    if inputs().any(|a| a.is_field()) {
        let (op, key) = (cx.op, cx.key());
        let room = inputs().map(|a| a.len() as u64).sum::<u64>().saturating_mul(8);
        if room > cx.env.room {
            return Err(RunError::TooLarge {
                what: "operand",
                elements: room / 8,
                left: cx.env.room,
            });
        }
        for (i, slot) in cx.inputs.iter_mut().enumerate() {
            if !stays_native(op, i) {
                *slot = slot.take().map(|a| a.embedded(key));
            }
        }
    }
    let list = cx.inputs.iter().flatten().any(|a| matches!(a.data, Buf::List(_)));
    if list && !lists(cx.op) && !matches!(cx.op, Op::Identity(_) | Op::Transfer(_)) {
        unsupported!("{} of sequences or optionals", cx.op.name());
    }
    if moves(cx.op) || lists(cx.op) || makes(cx.op) || rounds_itself(cx.op) {
        return kernel(&mut cx);
    }
    if let Some(a) = cx.inputs.iter().flatten().find(|a| !a.is_computable()) {
        unsupported!("arithmetic on {}", a.dtype);
    }
    // Whole numbers are computed in 64 bits and cut off after, which is the same but for overflow
    // within sums, where the low bits are the same.
    let first = cx.inputs.iter().flatten().next();
    let cut = first.map(|a| a.dtype).filter(|t| is_narrow(*t) && !reads_narrow(cx.op));
    if let Some(from) = cut {
        let env = cx.env;
        for slot in &mut cx.inputs {
            if let Some(a) = slot.take() {
                *slot = Some(if a.dtype == from { convert(a, DType::I64, env)? } else { a });
            }
        }
        let mut out = kernel(&mut cx)?;
        let typed = match cx.op {
            Op::ArgMax(_) | Op::ArgMin(_) => 0,
            Op::TopK(_) | Op::MaxPool(_) => 1,
            _ => out.len(),
        };
        let tail = out.split_off(typed.min(out.len()));
        // Only the greatest or least of no elements lies beyond the type, and means its limit.
        let clamped = matches!(cx.op, Op::ReduceMax(_) | Op::ReduceMin(_) | Op::MaxPool(_));
        let same = |a: Array| match &a.data {
            Buf::I64(v) if clamped => {
                let (lo, hi) = limits(from);
                let v = v.iter().map(|&x| x.clamp(lo, hi)).collect();
                convert(Array::new(a.dims, v), from, env)
            }
            Buf::I64(_) => convert(a, from, env),
            _ => Ok(a),
        };
        let out = out.into_iter().map(same).collect::<Result<Vec<_>, _>>()?;
        return Ok(out.into_iter().chain(tail).collect());
    }
    // Narrowed below, all results would get the type of the first operand.
    let mixed = cx.outputs > 1 && cx.opt(3).map(|a| a.dtype) != cx.opt(0).map(|a| a.dtype);
    if mixed && matches!(cx.op, Op::BatchNormalization(_)) {
        unsupported!("statistics of another type in training");
    }
    let half = |a: &&Array| matches!(a.dtype, DType::F16 | DType::BF16);
    let float = cx.inputs.iter().flatten().find(|a| a.dtype.is_float());
    let narrow = float.filter(half).map(|a| a.dtype);
    if cx.inputs.iter().flatten().any(|a| matches!(a.data, Buf::F16(_) | Buf::BF16(_))) {
        for slot in &mut cx.inputs {
            *slot = slot.take().map(|a| a.widened());
        }
    }
    let mut out = kernel(&mut cx)?;
    if let Some(to) = narrow {
        // Mean and deviation of LayerNormalization stay as wide as they were computed.
        let rounded = if matches!(cx.op, Op::LayerNormalization(_)) { 1 } else { out.len() };
        let tail = out.split_off(rounded.min(out.len()));
        out = out.into_iter().map(|a| a.narrowed(to)).chain(tail).collect();
    }
    Ok(out)
}

/// The elements in another type.
pub(crate) fn convert(a: Array, to: DType, env: Env) -> Result<Array, RunError> {
    let op = Op::from(graph_opt_ir::op::Identity {});
    unary::convert(
        &Cx {
            op: &op,
            opset: 13,
            inputs: vec![],
            outputs: 1,
            env,
            packs: None,
            target: None.into(),
        },
        a,
        to,
    )
}
