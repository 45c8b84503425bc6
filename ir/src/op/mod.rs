//! The table of operators: every operator that graph-opt models, with its attributes.
//!
//! An operator is one row of the table below. The row defines its typed form, its reader and writer of ONNX
//! attributes, and its [`Class`]; its shape rule is in [`crate::infer`] and its region rule in
//! [`crate::region`]. An operator that is not in the table is [`Op::Other`], which every pass treats as
//! opaque.
//!
//! Every row has a sample in `tests/operators/samples.rs`; `tests/operators.rs` checks the shapes, regions,
//! kernels and facts of each.

mod attr;
mod facts;
mod fit;
mod host;
pub(crate) mod schema;
mod windowed;

use std::sync::Arc;

use attr::Field;
pub use attr::{Attr, Attrs, Subgraph};
pub use facts::PartialSums;
pub(crate) use fit::{fits, repeated};
pub use host::{Host, Operator, adopt};
pub use windowed::{Kind, Windowed, WindowedMut};

/// The domain of the operators of ONNX itself, which files also write as "".
pub const ONNX: &str = "ai.onnx";
/// The domain of ONNX Runtime's own operators.
pub(crate) const MICROSOFT: &str = "com.microsoft";
/// The domain of ONNX's optimizers.
pub(crate) const TRAINING: &str = "ai.onnx.preview.training";
/// The domain of QONNX's quantizers.
pub(crate) const QONNX: &str = "qonnx.custom_op.general";
/// The domain of the same ones as Brevitas wrote them.
pub(crate) const BREVITAS: &str = "onnx.brevitas";
/// The domain of graph-opt's own operators.
pub(crate) const GRAPH_OPT: &str = "graph_opt";

/// The families of operators that share rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Each output element depends on the elements at the same place of the broadcast inputs.
    Pointwise,
    /// Slides a window over the spatial axes.
    Window,
    /// Reduces whole axes to one element, or removes them.
    Reduce,
    /// Moves elements without changing them.
    Layout,
    /// A matrix product, perhaps of batches.
    Matmul,
    /// Couples all elements along some axes (Softmax, normalisations).
    Coupled,
    /// Creates values without operands, or from shapes.
    Source,
    /// Control flow: runs the graphs in its attributes.
    Control,
    /// An operator with rules of its own.
    Special,
    /// An operator that is said as a small graph of others, from which all its rules follow
    /// ([`crate::definition`]).
    Composite,
}

/// An operator that is not in the table. Passes leave it unchanged, unless a host defines it.
#[derive(Clone, PartialEq, Debug)]
pub struct Other {
    /// Domain, `ai.onnx` for ONNX's own.
    pub domain: Arc<str>,
    /// Name within the domain.
    pub op_type: Arc<str>,
    /// The overload of the model's function that it calls; empty if the function has no overloads.
    pub overload: Arc<str>,
    /// All attributes of the node.
    pub attrs: Attrs,
    /// The host's definition, if there is one ([`adopt`]).
    pub host: Option<Host>,
}

impl Other {
    /// An operator of this name without an overload and a host.
    pub fn new(domain: &str, op_type: &str, attrs: Attrs) -> Self {
        Self {
            domain: domain.into(),
            op_type: op_type.into(),
            overload: "".into(),
            attrs,
            host: None,
        }
    }
}

/// An attribute is missing, or not of the kind that the operator defines.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AttrError {
    /// The attribute has another kind.
    #[error("expected {want} for attribute {name} of {op}, found {have}")]
    Kind {
        /// Name of the operator.
        op: &'static str,
        /// Name of the attribute.
        name: &'static str,
        /// Kind that the operator defines.
        want: &'static str,
        /// Kind in the file.
        have: &'static str,
    },
    /// A required attribute is absent.
    #[error("{op} needs the attribute {name}")]
    Missing {
        /// Name of the operator.
        op: &'static str,
        /// Name of the attribute.
        name: &'static str,
    },
}

macro_rules! ops {
    ($($(#[$doc:meta])* $domain:ident $class:ident $name:ident $(as $onnx:literal)? {
        $($field:ident: $ty:ty $(= $default:expr)?),* $(,)?
    })*) => {
        $(
            $(#[$doc])*
            #[doc = concat!("Attributes of `", stringify!($name), "`, as ONNX names them.")]
            #[derive(Clone, PartialEq, Debug)]
            #[allow(missing_docs, non_snake_case)] // The names are ONNX's.
            pub struct $name { $(pub $field: $ty),* }

            impl From<$name> for Op {
                fn from(op: $name) -> Self { Self::$name(op) }
            }

            impl $name {
                #[allow(unused_mut, unused_variables)]
                fn read(attrs: &mut Attrs) -> Result<Self, AttrError> {
                    Ok(Self { $($field: match take(attrs, stringify!($field)) {
                        Some(attr) => {
                            let have = attr.kind();
                            <$ty as Field>::read(attr).ok_or(AttrError::Kind {
                                op: stringify!($name),
                                name: stringify!($field),
                                want: <$ty as Field>::KIND,
                                have,
                            })?
                        }
                        None => ops!(@default $name $field $ty $(= $default)?),
                    }),* })
                }

                #[allow(unused_variables, unused_mut, clippy::vec_init_then_push)]
                fn write(&self) -> Attrs {
                    let mut attrs = Attrs::new();
                    $(
                        if !ops!(@is_default self.$field, $ty $(, $default)?)
                            && let Some(a) = self.$field.write()
                        {
                            attrs.push((stringify!($field).into(), a));
                        }
                    )*
                    attrs
                }
            }
        )*

        /// An operator with its attributes.
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs)]
        pub enum Op {
            $($name($name),)*
            /// An operator that is not in the table.
            Other(Other),
        }

        impl Op {
            /// The operator of this name with these attributes, and the attributes that it does not
            /// define.
            ///
            /// # Errors
            /// If an attribute is of the wrong kind, or a required one is missing.
            pub fn from_attrs(
                domain: &str,
                op_type: &str,
                mut attrs: Attrs,
            ) -> Result<(Self, Attrs), AttrError> {
                let domain = if domain.is_empty() { ONNX } else { domain };
                let op = match (domain, op_type) {
                    $(($domain, ops!(@name $name $($onnx)?)) => Self::$name($name::read(&mut attrs)?),)*
                    _ => {
                        let attrs = std::mem::take(&mut attrs);
                        Self::Other(Other::new(domain, op_type, attrs))
                    }
                };
                Ok((op, attrs))
            }

            /// Attributes that differ from the operator's defaults, in the table's order.
            pub fn attrs(&self) -> Attrs {
                match self {
                    $(Self::$name(op) => op.write(),)*
                    Self::Other(op) => op.attrs.clone(),
                }
            }

            /// Name within its domain.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$name(_) => ops!(@name $name $($onnx)?),)*
                    Self::Other(op) => &op.op_type,
                }
            }

            /// Domain, `ai.onnx` for ONNX's own.
            pub fn domain(&self) -> &str {
                match self {
                    $(Self::$name(_) => $domain,)*
                    Self::Other(op) => &op.domain,
                }
            }

            /// The family of operators that share its rules.
            pub fn class(&self) -> Class {
                match self {
                    $(Self::$name(_) => Class::$class,)*
                    Self::Other(_) => Class::Special,
                }
            }
        }

        /// Domain, name and class of every operator in the table.
        pub const TABLE: &[(&str, &str, Class)] =
            &[$(($domain, ops!(@name $name $($onnx)?), Class::$class),)*];
    };
    (@name $name:ident $onnx:literal) => { $onnx };
    (@name $name:ident) => { stringify!($name) };
    (@default $op:ident $field:ident $ty:ty = $default:expr) => {{ let d: $ty = $default; d }};
    (@default $op:ident $field:ident $ty:ty) => {
        return Err(AttrError::Missing { op: stringify!($op), name: stringify!($field) })
    };
    (@is_default $value:expr, $ty:ty, $default:expr) => { $value == { let d: $ty = $default; d } };
    (@is_default $value:expr, $ty:ty) => { false };
}

fn take(attrs: &mut Attrs, name: &str) -> Option<Attr> {
    // Attributes must be unique. If a file repeats one, the last one counts, as in protobuf.
    let i = attrs.iter().rposition(|(n, _)| &**n == name)?;
    Some(attrs.remove(i).1)
}

type Ints = Option<Vec<i64>>;

ops! {
    // Windows.
    ONNX Window Conv { auto_pad: String = "NOTSET".into(), dilations: Ints = None, group: i64 = 1, kernel_shape: Ints = None, pads: Ints = None, strides: Ints = None }
    ONNX Window ConvTranspose { auto_pad: String = "NOTSET".into(), dilations: Ints = None, group: i64 = 1, kernel_shape: Ints = None, output_padding: Ints = None, output_shape: Ints = None, pads: Ints = None, strides: Ints = None }
    ONNX Window ConvInteger { auto_pad: String = "NOTSET".into(), dilations: Ints = None, group: i64 = 1, kernel_shape: Ints = None, pads: Ints = None, strides: Ints = None }
    ONNX Window QLinearConv { auto_pad: String = "NOTSET".into(), dilations: Ints = None, group: i64 = 1, kernel_shape: Ints = None, pads: Ints = None, strides: Ints = None }
    /// Written by ONNX Runtime's optimiser: a convolution, an optional sum and an activation.
    MICROSOFT Window FusedConv { activation: String = "".into(), activation_params: Option<Vec<f32>> = None, auto_pad: String = "NOTSET".into(), dilations: Ints = None, group: i64 = 1, kernel_shape: Ints = None, pads: Ints = None, strides: Ints = None }
    ONNX Window MaxPool { auto_pad: String = "NOTSET".into(), ceil_mode: i64 = 0, dilations: Ints = None, kernel_shape: Vec<i64>, pads: Ints = None, storage_order: i64 = 0, strides: Ints = None }
    ONNX Window AveragePool { auto_pad: String = "NOTSET".into(), ceil_mode: i64 = 0, count_include_pad: i64 = 0, dilations: Ints = None, kernel_shape: Vec<i64>, pads: Ints = None, strides: Ints = None }
    ONNX Window LpPool { auto_pad: String = "NOTSET".into(), ceil_mode: i64 = 0, dilations: Ints = None, kernel_shape: Vec<i64>, p: i64 = 2, pads: Ints = None, strides: Ints = None }
    ONNX Reduce GlobalAveragePool {}
    ONNX Reduce GlobalMaxPool {}
    ONNX Reduce GlobalLpPool { p: i64 = 2 }

    // Matrices.
    ONNX Matmul MatMul {}
    ONNX Matmul Gemm { alpha: f32 = 1.0, beta: f32 = 1.0, transA: i64 = 0, transB: i64 = 0, broadcast: i64 = 0 }
    ONNX Matmul MatMulInteger {}
    ONNX Matmul QLinearMatMul {}

    // One input, element by element.
    ONNX Pointwise Relu {}
    ONNX Pointwise LeakyRelu { alpha: f32 = 0.01 }
    ONNX Pointwise ThresholdedRelu { alpha: f32 = 1.0 }
    ONNX Pointwise Elu { alpha: f32 = 1.0 }
    ONNX Pointwise Selu { alpha: f32 = 1.673_263_2, gamma: f32 = 1.050_701 }
    ONNX Pointwise Celu { alpha: f32 = 1.0 }
    ONNX Pointwise Sigmoid {}
    ONNX Pointwise HardSigmoid { alpha: f32 = 0.2, beta: f32 = 0.5 }
    ONNX Pointwise HardSwish {}
    ONNX Pointwise Mish {}
    ONNX Pointwise Gelu { approximate: String = "none".into() }
    ONNX Pointwise Softplus {}
    ONNX Pointwise Softsign {}
    ONNX Pointwise Tanh {}
    ONNX Pointwise Exp {}
    ONNX Pointwise Log {}
    ONNX Pointwise Sqrt {}
    ONNX Pointwise Reciprocal {}
    ONNX Pointwise Abs {}
    ONNX Pointwise Neg {}
    ONNX Pointwise Sign {}
    ONNX Pointwise Floor {}
    ONNX Pointwise Ceil {}
    ONNX Pointwise Round {}
    ONNX Pointwise Erf {}
    ONNX Pointwise Sin {}
    ONNX Pointwise Cos {}
    ONNX Pointwise Tan {}
    ONNX Pointwise Asin {}
    ONNX Pointwise Acos {}
    ONNX Pointwise Atan {}
    ONNX Pointwise Sinh {}
    ONNX Pointwise Cosh {}
    ONNX Pointwise Asinh {}
    ONNX Pointwise Acosh {}
    ONNX Pointwise Atanh {}
    ONNX Pointwise Not {}
    ONNX Pointwise IsNaN {}
    ONNX Pointwise IsInf { detect_negative: i64 = 1, detect_positive: i64 = 1 }
    ONNX Pointwise Identity {}
    ONNX Pointwise Cast { to: i64, saturate: i64 = 1, round_mode: String = "up".into() }
    ONNX Pointwise BitCast { to: i64 }
    ONNX Pointwise BitwiseNot {}
    ONNX Pointwise Clip { min: Option<f32> = None, max: Option<f32> = None }
    ONNX Pointwise Dropout { ratio: f32 = 0.5, seed: Option<i64> = None }

    // Several inputs, element by element, broadcast against each other.
    ONNX Pointwise Add { axis: Option<i64> = None, broadcast: i64 = 0 }
    ONNX Pointwise Sub { axis: Option<i64> = None, broadcast: i64 = 0 }
    ONNX Pointwise Mul { axis: Option<i64> = None, broadcast: i64 = 0 }
    ONNX Pointwise Div { axis: Option<i64> = None, broadcast: i64 = 0 }
    ONNX Pointwise Pow { axis: Option<i64> = None, broadcast: i64 = 0 }
    ONNX Pointwise Mod { fmod: i64 = 0 }
    ONNX Pointwise PRelu {}
    ONNX Pointwise And {}
    ONNX Pointwise Or {}
    ONNX Pointwise Xor {}
    ONNX Pointwise BitShift { direction: String }
    ONNX Pointwise BitwiseAnd {}
    ONNX Pointwise BitwiseOr {}
    ONNX Pointwise BitwiseXor {}
    ONNX Pointwise Equal {}
    ONNX Pointwise Less {}
    ONNX Pointwise LessOrEqual {}
    ONNX Pointwise Greater {}
    ONNX Pointwise GreaterOrEqual {}
    ONNX Pointwise Where {}
    ONNX Pointwise Sum {}
    ONNX Pointwise Mean {}
    ONNX Pointwise Max {}
    ONNX Pointwise Min {}

    // Per channel, element by element: scale and bias along one axis.
    ONNX Special BatchNormalization { epsilon: f32 = 1e-5, momentum: f32 = 0.9, spatial: i64 = 1, training_mode: i64 = 0 }
    ONNX Special ImageScaler { bias: Option<Vec<f32>> = None, scale: f32 = 1.0 }
    ONNX Pointwise Affine { alpha: f32 = 1.0, beta: f32 = 0.0 }
    ONNX Special QuantizeLinear { axis: i64 = 1, block_size: i64 = 0, output_dtype: i64 = 0, saturate: i64 = 1, precision: i64 = 0 }
    ONNX Special DequantizeLinear { axis: i64 = 1, block_size: i64 = 0, output_dtype: i64 = 0 }
    ONNX Special DynamicQuantizeLinear {}

    // Coupled along axes.
    ONNX Coupled Softmax { axis: Option<i64> = None }
    ONNX Coupled LogSoftmax { axis: Option<i64> = None }
    ONNX Coupled Hardmax { axis: Option<i64> = None }
    ONNX Coupled InstanceNormalization { epsilon: f32 = 1e-5 }
    ONNX Coupled LayerNormalization { axis: i64 = -1, epsilon: f32 = 1e-5, stash_type: i64 = 1 }
    ONNX Coupled LpNormalization { axis: i64 = -1, p: i64 = 2 }
    ONNX Coupled LRN { alpha: f32 = 1e-4, beta: f32 = 0.75, bias: f32 = 1.0, size: i64 }
    ONNX Coupled CumSum { exclusive: i64 = 0, reverse: i64 = 0 }
    ONNX Coupled CumProd { exclusive: i64 = 0, reverse: i64 = 0 }

    // Reductions.
    ONNX Reduce ReduceSum { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceMean { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceMax { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceMin { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceProd { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceL1 { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceL2 { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceSumSquare { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceLogSum { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ReduceLogSumExp { axes: Ints = None, keepdims: i64 = 1, noop_with_empty_axes: i64 = 0 }
    ONNX Reduce ArgMax { axis: i64 = 0, keepdims: i64 = 1, select_last_index: i64 = 0 }
    ONNX Reduce ArgMin { axis: i64 = 0, keepdims: i64 = 1, select_last_index: i64 = 0 }

    // Layout.
    ONNX Layout Reshape { allowzero: i64 = 0 }
    ONNX Layout Flatten { axis: i64 = 1 }
    ONNX Layout Squeeze { axes: Ints = None }
    ONNX Layout Unsqueeze { axes: Ints = None }
    ONNX Layout Transpose { perm: Ints = None }
    ONNX Layout Expand {}
    ONNX Layout Tile {}
    ONNX Layout Slice { starts: Ints = None, ends: Ints = None, axes: Ints = None }
    ONNX Layout Crop { border: Ints = None, scale: Ints = None }
    ONNX Layout Concat { axis: i64 = 1 }
    ONNX Layout Split { axis: i64 = 0, split: Ints = None, num_outputs: Option<i64> = None }
    ONNX Layout Pad { mode: String = "constant".into(), pads: Ints = None, value: f32 = 0.0 }
    ONNX Layout DepthToSpace { blocksize: i64, mode: String = "DCR".into() }
    ONNX Layout SpaceToDepth { blocksize: i64, mode: String = "DCR".into() }
    ONNX Special Resize { antialias: i64 = 0, axes: Ints = None, coordinate_transformation_mode: Option<String> = None, cubic_coeff_a: f32 = -0.75, exclude_outside: i64 = 0, extrapolation_value: f32 = 0.0, keep_aspect_ratio_policy: String = "stretch".into(), mode: String = "nearest".into(), nearest_mode: String = "round_prefer_floor".into() }
    ONNX Special Upsample { mode: String = "nearest".into(), scales: Option<Vec<f32>> = None }
    ONNX Special Gather { axis: i64 = 0 }
    ONNX Special GatherElements { axis: i64 = 0 }
    ONNX Special GatherND { batch_dims: i64 = 0 }
    ONNX Special ScatterElements { axis: i64 = 0, reduction: String = "none".into() }
    ONNX Special ScatterND { reduction: String = "none".into() }
    ONNX Special Scatter { axis: i64 = 0 }
    ONNX Special TensorScatter { axis: i64 = -2, mode: String = "linear".into() }
    ONNX Special Compress { axis: Option<i64> = None }
    ONNX Special ReverseSequence { batch_axis: i64 = 1, time_axis: i64 = 0 }
    ONNX Special Unique { axis: Option<i64> = None, sorted: i64 = 1 }
    ONNX Special MaxUnpool { kernel_shape: Vec<i64>, pads: Ints = None, strides: Ints = None }
    ONNX Special Col2Im { dilations: Ints = None, pads: Ints = None, strides: Ints = None }

    // Samples and regions of images.
    ONNX Special GridSample { align_corners: i64 = 0, mode: String = "linear".into(), padding_mode: String = "zeros".into() }
    ONNX Special RoiAlign { coordinate_transformation_mode: String = "half_pixel".into(), mode: String = "avg".into(), output_height: i64 = 1, output_width: i64 = 1, sampling_ratio: i64 = 0, spatial_scale: f32 = 1.0 }
    ONNX Special NonMaxSuppression { center_point_box: i64 = 0 }
    ONNX Special DeformConv { dilations: Ints = None, group: i64 = 1, kernel_shape: Ints = None, offset_group: i64 = 1, pads: Ints = None, strides: Ints = None }

    // Signals.
    ONNX Special DFT { axis: i64 = 1, inverse: i64 = 0, onesided: i64 = 0 }
    ONNX Special STFT { onesided: i64 = 1 }
    ONNX Source MelWeightMatrix { output_datatype: i64 = 1 }
    ONNX Source HannWindow { output_datatype: i64 = 1, periodic: i64 = 1 }
    ONNX Source HammingWindow { output_datatype: i64 = 1, periodic: i64 = 1 }
    ONNX Source BlackmanWindow { output_datatype: i64 = 1, periodic: i64 = 1 }
    ONNX Special TfIdfVectorizer { max_gram_length: i64, max_skip_count: i64, min_gram_length: i64, mode: String, ngram_counts: Vec<i64>, ngram_indexes: Vec<i64>, pool_int64s: Ints = None, pool_strings: Option<Vec<String>> = None, weights: Option<Vec<f32>> = None }

    // Random numbers.
    ONNX Source RandomUniform { dtype: i64 = 1, high: f32 = 1.0, low: f32 = 0.0, seed: Option<f32> = None, shape: Vec<i64> }
    ONNX Source RandomNormal { dtype: i64 = 1, mean: f32 = 0.0, scale: f32 = 1.0, seed: Option<f32> = None, shape: Vec<i64> }
    ONNX Source RandomUniformLike { dtype: Option<i64> = None, high: f32 = 1.0, low: f32 = 0.0, seed: Option<f32> = None }
    ONNX Source RandomNormalLike { dtype: Option<i64> = None, mean: f32 = 0.0, scale: f32 = 1.0, seed: Option<f32> = None }
    ONNX Special Bernoulli { dtype: Option<i64> = None, seed: Option<f32> = None }
    ONNX Special Multinomial { dtype: i64 = 6, sample_size: i64 = 1, seed: Option<f32> = None }

    // Sources and shapes.
    ONNX Source Constant { value: Option<Arc<crate::tensor::Tensor>> = None, value_float: Option<f32> = None, value_floats: Option<Vec<f32>> = None, value_int: Option<i64> = None, value_ints: Ints = None, value_string: Option<Vec<u8>> = None, value_strings: Option<Vec<Vec<u8>>> = None }
    ONNX Source ConstantOfShape { value: Option<Arc<crate::tensor::Tensor>> = None }
    ONNX Source Shape { start: i64 = 0, end: Option<i64> = None }
    ONNX Source Size {}
    ONNX Source Range {}
    ONNX Source EyeLike { dtype: Option<i64> = None, k: i64 = 0 }

    // The rest.
    ONNX Special NonZero {}
    ONNX Special OneHot { axis: i64 = -1 }
    ONNX Special TopK { axis: i64 = -1, k: Option<i64> = None, largest: i64 = 1, sorted: i64 = 1 }
    ONNX Special Trilu { upper: i64 = 1 }
    ONNX Special Det {}
    ONNX Special Einsum { equation: String }
    ONNX Special LSTM { activation_alpha: Option<Vec<f32>> = None, activation_beta: Option<Vec<f32>> = None, activations: Option<Vec<String>> = None, clip: Option<f32> = None, direction: String = "forward".into(), hidden_size: Option<i64> = None, input_forget: i64 = 0, layout: i64 = 0 }
    ONNX Special GRU { activation_alpha: Option<Vec<f32>> = None, activation_beta: Option<Vec<f32>> = None, activations: Option<Vec<String>> = None, clip: Option<f32> = None, direction: String = "forward".into(), hidden_size: Option<i64> = None, layout: i64 = 0, linear_before_reset: i64 = 0 }
    ONNX Special RNN { activation_alpha: Option<Vec<f32>> = None, activation_beta: Option<Vec<f32>> = None, activations: Option<Vec<String>> = None, clip: Option<f32> = None, direction: String = "forward".into(), hidden_size: Option<i64> = None, layout: i64 = 0 }

    // Strings.
    ONNX Special StringConcat {}
    ONNX Special StringSplit { delimiter: Option<Vec<u8>> = None, maxsplit: Option<i64> = None }
    ONNX Special StringNormalizer { case_change_action: String = "NONE".into(), is_case_sensitive: i64 = 0, locale: Option<String> = None, stopwords: Option<Vec<String>> = None }
    ONNX Special RegexFullMatch { pattern: Option<String> = None }

    // Sequences and optionals.
    ONNX Source SequenceEmpty { dtype: Option<i64> = None }
    ONNX Special SequenceConstruct {}
    ONNX Special SequenceInsert {}
    ONNX Special SequenceErase {}
    ONNX Special SequenceAt {}
    ONNX Special SequenceLength {}
    ONNX Special SplitToSequence { axis: i64 = 0, keepdims: i64 = 1 }
    ONNX Special ConcatFromSequence { axis: i64, new_axis: i64 = 0 }
    ONNX Special Optional {}
    ONNX Special OptionalHasElement {}
    ONNX Special OptionalGetElement {}

    // Control flow.
    ONNX Control If { then_branch: Subgraph, else_branch: Subgraph }
    ONNX Control Loop { body: Subgraph }
    ONNX Control Scan { body: Subgraph, directions: Ints = None, num_scan_inputs: i64, scan_input_axes: Ints = None, scan_input_directions: Ints = None, scan_output_axes: Ints = None, scan_output_directions: Ints = None }
    ONNX Control SequenceMap { body: Subgraph }

    // Said as graphs of others, in `crate::definition`.
    ONNX Composite CastLike { saturate: i64 = 1, round_mode: String = "up".into() }
    ONNX Composite Swish { alpha: f32 = 1.0 }
    ONNX Composite SwiGLU { alpha: f32 = 1.0 }
    ONNX Composite Shrink { bias: f32 = 0.0, lambd: f32 = 0.5 }
    ONNX Composite MeanVarianceNormalization { axes: Vec<i64> = vec![0, 2, 3] }
    ONNX Composite RMSNormalization { axis: i64 = -1, epsilon: f32 = 1e-5, stash_type: i64 = 1 }
    ONNX Composite GroupNormalization { epsilon: f32 = 1e-5, num_groups: i64, stash_type: i64 = 1 }
    ONNX Composite NegativeLogLikelihoodLoss { ignore_index: Option<i64> = None, reduction: String = "mean".into() }
    ONNX Composite SoftmaxCrossEntropyLoss { ignore_index: Option<i64> = None, reduction: String = "mean".into() }
    ONNX Composite AffineGrid { align_corners: i64 = 0 }
    ONNX Composite CenterCropPad { axes: Ints = None }
    ONNX Composite RotaryEmbedding { interleaved: i64 = 0, num_heads: Option<i64> = None, rotary_embedding_dim: i64 = 0 }
    ONNX Composite Attention { is_causal: i64 = 0, kv_num_heads: Option<i64> = None, left_window_size: i64 = -1, q_num_heads: Option<i64> = None, qk_matmul_output_mode: i64 = 0, right_window_size: i64 = -1, scale: Option<f32> = None, softcap: f32 = 0.0, softmax_precision: Option<i64> = None }
    ONNX Composite LinearAttention { chunk_size: i64 = 64, kv_num_heads: Option<i64> = None, q_num_heads: Option<i64> = None, scale: f32 = 0.0, update_rule: String = "gated_delta".into() }
    ONNX Composite CausalConvWithState { activation: String = "none".into() }
    /// ONNX Runtime's, in ONNX's domain.
    ONNX Composite SimplifiedLayerNormalization { axis: i64 = -1, epsilon: f32 = 1e-5, stash_type: i64 = 1 }
    TRAINING Composite Adagrad { decay_factor: f32 = 0.0, epsilon: f32 = 1e-6, norm_coefficient: f32 = 0.0 }
    TRAINING Composite Adam { alpha: f32 = 0.9, beta: f32 = 0.999, epsilon: f32 = 1e-6, norm_coefficient: f32 = 0.0, norm_coefficient_post: f32 = 0.0 }
    TRAINING Composite Momentum { alpha: f32, beta: f32, mode: String, norm_coefficient: f32 }
    MICROSOFT Composite MsGelu as "Gelu" {}
    MICROSOFT Composite FastGelu {}
    MICROSOFT Composite BiasGelu {}
    MICROSOFT Composite QuickGelu { alpha: f32 = 1.702 }
    MICROSOFT Composite SkipLayerNormalization { epsilon: f32 = 1e-12 }
    MICROSOFT Composite SkipSimplifiedLayerNormalization { epsilon: f32 = 1e-12 }
    MICROSOFT Composite EmbedLayerNormalization { epsilon: f32 = 1e-12, mask_index_type: i64 = 0 }
    MICROSOFT Composite BiasDropout { seed: Option<i64> = None }
    MICROSOFT Composite FusedGemm { activation: String = "".into(), activation_alpha: Option<f32> = None, activation_beta: Option<f32> = None, activation_gamma: Option<f32> = None, alpha: f32 = 1.0, beta: f32 = 1.0, transA: i64 = 0, transB: i64 = 0 }
    MICROSOFT Composite FusedMatMul { alpha: f32 = 1.0, transA: i64 = 0, transB: i64 = 0, transBatchA: i64 = 0, transBatchB: i64 = 0 }
    MICROSOFT Composite TransposeMatMul { alpha: f32 = 1.0, transA: i64 = 0, transB: i64 = 0 }
    MICROSOFT Composite MatMulNBits { K: i64, N: i64, accuracy_level: i64 = 0, bits: i64 = 4, block_size: i64 }
    MICROSOFT Composite DynamicQuantizeMatMul {}
    MICROSOFT Composite MatMulIntegerToFloat {}
    MICROSOFT Composite QGemm { alpha: f32 = 1.0, transA: i64 = 0, transB: i64 = 0 }
    MICROSOFT Composite QLinearAdd {}
    MICROSOFT Composite QLinearMul {}
    MICROSOFT Composite QLinearSigmoid {}
    MICROSOFT Composite QLinearLeakyRelu { alpha: f32 = 0.01 }
    MICROSOFT Composite QLinearSoftmax { axis: i64 = -1, opset: i64 }
    MICROSOFT Composite QLinearAveragePool { auto_pad: String = "NOTSET".into(), ceil_mode: i64 = 0, channels_last: i64 = 0, count_include_pad: i64 = 0, kernel_shape: Vec<i64>, pads: Ints = None, strides: Ints = None }
    MICROSOFT Composite QLinearGlobalAveragePool { channels_last: i64 = 0 }
    MICROSOFT Composite QLinearConcat { axis: i64 }
    MICROSOFT Composite QLinearReduceMean { axes: Ints = None, keepdims: i64 = 1 }
    MICROSOFT Composite QLinearWhere {}
    MICROSOFT Composite MsRotaryEmbedding as "RotaryEmbedding" { interleaved: i64 = 0, is_packed_batching: i64 = 0, num_heads: i64 = 0, rotary_embedding_dim: i64 = 0, scale: f32 = 1.0 }
    MICROSOFT Composite MsAttention as "Attention" { do_rotary: i64 = 0, mask_filter_value: f32 = -10000.0, num_heads: i64, past_present_share_buffer: i64 = 0, qkv_hidden_sizes: Ints = None, rotary_embedding_dim: i64 = 0, scale: f32 = 0.0, unidirectional: i64 = 0 }
    MICROSOFT Composite QAttention { do_rotary: i64 = 0, mask_filter_value: f32 = -10000.0, num_heads: i64, past_present_share_buffer: i64 = 0, scale: f32 = 0.0, unidirectional: i64 = 0 }
    MICROSOFT Composite MultiHeadAttention { mask_filter_value: f32 = -10000.0, num_heads: i64, scale: f32 = 0.0, unidirectional: i64 = 0 }
    MICROSOFT Composite GroupQueryAttention { do_rotary: i64 = 0, k_quant_type: String = "NONE".into(), kv_cache_bit_width: i64 = 0, kv_num_heads: i64, local_window_size: i64 = -1, num_heads: i64, qk_output: i64 = 0, rotary_interleaved: i64 = 0, scale: f32 = 0.0, smooth_softmax: i64 = 0, softcap: f32 = 0.0, v_quant_type: String = "NONE".into() }
    QONNX Composite Quant { narrow: i64 = 0, rounding_mode: String = "ROUND".into(), signed: i64 = 1 }
    QONNX Composite BipolarQuant {}
    BREVITAS Composite BrevitasQuant as "Quant" { narrow: i64 = 0, rounding_mode: String = "ROUND".into(), signed: i64 = 1 }
    BREVITAS Composite BrevitasBipolarQuant as "BipolarQuant" {}

    /// Moves a value to another device; the identity in value.
    GRAPH_OPT Pointwise Transfer { to: String }
}

impl Op {
    /// Whether it draws random numbers with any operands.
    /// [`OpCtx::is_random`](crate::op_context::OpCtx::is_random) also covers operators for which it depends
    /// on the operands: Dropout draws only in training.
    pub fn is_random(&self) -> bool {
        matches!(
            self,
            Self::RandomNormal(_)
                | Self::RandomNormalLike(_)
                | Self::RandomUniform(_)
                | Self::RandomUniformLike(_)
                | Self::Multinomial(_)
                | Self::Bernoulli(_)
        )
    }

    /// The host's definition, if a host defines it.
    pub(crate) fn host(&self) -> Option<&Host> {
        match self {
            Self::Other(o) => o.host.as_ref(),
            _ => None,
        }
    }

    /// The graphs in its attributes, in the order of the attributes.
    pub fn subgraphs(&self) -> Vec<Arc<crate::Graph>> {
        self.attrs()
            .into_iter()
            .filter_map(|(_, a)| match a {
                Attr::Graph(g) => Some(g.0),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_omits_defaults() {
        let attrs: Attrs = vec![
            ("group".into(), Attr::Int(2)),
            ("auto_pad".into(), Attr::Str(b"NOTSET".to_vec())),
            ("extra".into(), Attr::Float(1.0)),
        ];
        let (op, rest) = Op::from_attrs("", "Conv", attrs).unwrap();
        assert_eq!(rest.len(), 1);
        assert_eq!(op.attrs(), vec![("group".into(), Attr::Int(2))]);
        assert!(matches!(&op, Op::Conv(c) if c.group == 2));
    }

    #[test]
    fn names_the_attribute_of_the_wrong_kind() {
        let attrs: Attrs = vec![("kernel_shape".into(), Attr::Str(b"3x3".to_vec()))];
        let e = Op::from_attrs("ai.onnx", "Conv", attrs).unwrap_err();
        assert_eq!(
            e.to_string(),
            "expected a list of ints for attribute kernel_shape of Conv, found a string"
        );
    }

    #[test]
    fn unknown_operators_keep_all_attributes() {
        let attrs: Attrs = vec![("n".into(), Attr::Int(3))];
        let (op, rest) = Op::from_attrs("my.domain", "Conv", attrs.clone()).unwrap();
        assert!(rest.is_empty());
        assert_eq!((op.name(), op.domain(), op.attrs()), ("Conv", "my.domain", attrs));
    }
}
