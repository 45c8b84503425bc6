//! What the networks are written in: layers that bring their own weights.

use graph_opt_ir::{
    Builder, DType, Dim, Graph, Op, Tensor, Type, ValueId, op, op_context::RuleError,
};

use super::{Size, ZooError, weights};

/// Result of adding a layer.
pub(super) type Layer = Result<ValueId, ZooError>;

/// A network in the making.
pub(super) struct Net {
    b: Builder,
    name: &'static str,
}

/// A convolution, or a transposed one.
#[derive(Clone, Copy)]
pub(super) struct Conv {
    out: u64,
    kernel: u64,
    stride: i64,
    pad: i64,
    group: u64,
    bias: bool,
    gain: f32,
}

/// Gain of the variance that a Relu after the layer makes up for (He).
pub(super) const RELU: f32 = 2.0;
/// Gain for layers with no activation after them.
pub(super) const LINEAR: f32 = 1.0;
/// Gain for the last layer of a residual branch: sums of many branches grow slowly.
pub(super) const BRANCH: f32 = 0.25;

/// `out` channels, a square kernel, stride 1, no padding, with bias.
pub(super) const fn conv(out: u64, kernel: u64) -> Conv {
    Conv { out, kernel, stride: 1, pad: 0, group: 1, bias: true, gain: RELU }
}

impl Conv {
    /// The same convolution with this stride along both axes.
    pub(super) const fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    /// With this padding on all sides.
    pub(super) const fn pad(self, pad: i64) -> Self {
        Self { pad, ..self }
    }

    /// With this many groups.
    pub(super) const fn group(self, group: u64) -> Self {
        Self { group, ..self }
    }

    /// Without a bias, because a BatchNormalization follows.
    pub(super) const fn bare(self) -> Self {
        Self { bias: false, ..self }
    }

    /// The same with its weights scaled by this gain.
    pub(super) const fn gain(self, gain: f32) -> Self {
        Self { gain, ..self }
    }
}

impl Net {
    pub(super) fn new(name: &'static str, opset: i64) -> Self {
        Self { b: Builder::new(name, opset), name }
    }

    /// The network's f32 input.
    pub(super) fn input(&mut self, dims: &[u64]) -> ValueId {
        self.b.input("input", Type::tensor(DType::F32, dims))
    }

    /// An NCHW input: this many channels of this size.
    pub(super) fn image(&mut self, channels: u64, size: Size) -> ValueId {
        self.input(&[1, channels, size.h, size.w])
    }

    /// The graph with this value as its only output.
    pub(super) fn finish(mut self, output: ValueId) -> Graph {
        self.b.output(output);
        self.b.finish()
    }

    /// Extents of a value; the zoo makes none that are unknown.
    pub(super) fn dims(&self, x: ValueId) -> Result<Vec<u64>, ZooError> {
        let dims = self.b.graph().value(x).ty.dims();
        let dims = dims.and_then(|d| d.iter().map(Dim::known).collect::<Option<Vec<u64>>>());
        dims.ok_or_else(|| {
            let name = &self.b.graph().value(x).name;
            self.fault(name, RuleError("its shape is not known".into()))
        })
    }

    /// Extent of axis 1 of the value.
    pub(super) fn channels(&self, x: ValueId) -> Result<u64, ZooError> {
        Ok(self.dims(x)?.get(1).copied().unwrap_or(1))
    }

    /// Why the node of this name cannot be built.
    pub(super) fn fault(&self, node: &str, source: RuleError) -> ZooError {
        ZooError::Build { network: self.name, node: node.into(), source }
    }

    /// A node without weights.
    pub(super) fn node(&mut self, name: &str, op: impl Into<Op>, inputs: &[ValueId]) -> Layer {
        self.b.node(name, op, inputs).map_err(|e| self.fault(name, e))
    }

    /// A node with several results.
    pub(super) fn nodes(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[ValueId],
        outputs: usize,
    ) -> Result<Vec<ValueId>, ZooError> {
        let inputs = inputs.iter().map(|&v| Some(v)).collect();
        self.b.node_with(name, op.into(), inputs, outputs).map_err(|e| self.fault(name, e))
    }

    /// A weight, uniform in `lo..=hi`.
    pub(super) fn uniform(&mut self, name: &str, dims: &[u64], lo: f32, hi: f32) -> Layer {
        let n = dims.iter().product::<u64>() as usize;
        let bytes = weights::uniform(weights::seed(self.name, name), n, lo, hi);
        Ok(self.b.constant(name, Tensor::from_bytes(DType::F32, dims.to_vec(), bytes)?))
    }

    /// A weight that keeps the variance of what it is applied to, but for the gain.
    pub(super) fn weight(&mut self, name: &str, dims: &[u64], fan_in: u64, gain: f32) -> Layer {
        let bound = (3.0 * gain / fan_in as f32).sqrt();
        self.uniform(name, dims, -bound, bound)
    }

    /// A constant of n small random numbers.
    pub(super) fn bias(&mut self, name: &str, n: u64) -> Layer {
        self.uniform(name, &[n], -0.1, 0.1)
    }

    /// A constant of rank 0 with this value.
    pub(super) fn scalar(&mut self, name: &str, value: f32) -> Layer {
        Ok(self.b.constant(name, Tensor::f32s(&[], &[value])?))
    }

    /// A constant with the elements of the tensor.
    pub(super) fn constant(&mut self, name: &str, tensor: Tensor) -> ValueId {
        self.b.constant(name, tensor)
    }

    /// A list of whole numbers.
    pub(super) fn ints(&mut self, name: &str, values: &[i64]) -> ValueId {
        self.b.constant(name, Tensor::i64s(values))
    }

    /// A convolution with random weights, and a bias where it has one.
    pub(super) fn conv(&mut self, name: &str, x: ValueId, c: Conv) -> Layer {
        let cin = self.channels(x)? / c.group;
        let k = c.kernel;
        let w = self.weight(&format!("{name}.weight"), &[c.out, cin, k, k], cin * k * k, c.gain)?;
        let mut inputs = vec![x, w];
        if c.bias {
            inputs.push(self.bias(&format!("{name}.bias"), c.out)?);
        }
        let op = op::Conv {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: c.group as i64,
            kernel_shape: Some(vec![k as i64; 2]),
            pads: (c.pad != 0).then(|| vec![c.pad; 4]),
            strides: (c.stride != 1).then(|| vec![c.stride; 2]),
        };
        self.node(name, op, &inputs)
    }

    /// A transposed convolution with random weights.
    pub(super) fn conv_transpose(&mut self, name: &str, x: ValueId, c: Conv) -> Layer {
        let cin = self.channels(x)?;
        let k = c.kernel;
        // Each output sums over the input's channels and the taps that fall on it.
        let taps = (k * k).div_ceil((c.stride * c.stride) as u64);
        let w = self.weight(&format!("{name}.weight"), &[cin, c.out, k, k], cin * taps, c.gain)?;
        let bias = self.bias(&format!("{name}.bias"), c.out)?;
        let op = op::ConvTranspose {
            auto_pad: "NOTSET".into(),
            dilations: None,
            group: 1,
            kernel_shape: Some(vec![k as i64; 2]),
            output_padding: None,
            output_shape: None,
            pads: (c.pad != 0).then(|| vec![c.pad; 4]),
            strides: (c.stride != 1).then(|| vec![c.stride; 2]),
        };
        self.node(name, op, &[x, w, bias])
    }

    /// Convolution, then Relu named `act`.
    pub(super) fn conv_relu(&mut self, name: &str, act: &str, x: ValueId, c: Conv) -> Layer {
        let x = self.conv(name, x, c)?;
        self.relu(act, x)
    }

    /// Convolution without bias, then BatchNormalization named `norm`.
    pub(super) fn conv_norm(&mut self, name: &str, norm: &str, x: ValueId, c: Conv) -> Layer {
        let x = self.conv(name, x, c.bare())?;
        self.norm(norm, x)
    }

    /// BatchNormalization as it is after training.
    pub(super) fn norm(&mut self, name: &str, x: ValueId) -> Layer {
        let n = [self.channels(x)?];
        // Scales a little below 1: the mean of 1 / variance is ln 3, and without a correction a
        // hundred layers would amplify by a hundred.
        let scale = self.uniform(&format!("{name}.weight"), &n, 0.85, 1.05)?;
        let bias = self.bias(&format!("{name}.bias"), n[0])?;
        let mean = self.bias(&format!("{name}.running_mean"), n[0])?;
        let var = self.uniform(&format!("{name}.running_var"), &n, 0.5, 1.5)?;
        let op =
            op::BatchNormalization { epsilon: 1e-5, momentum: 0.9, spatial: 1, training_mode: 0 };
        self.node(name, op, &[x, scale, bias, mean, var])
    }

    /// The node Relu of this name.
    pub(super) fn relu(&mut self, name: &str, x: ValueId) -> Layer {
        self.node(name, op::Relu {}, &[x])
    }

    /// Sum of two values.
    pub(super) fn add(&mut self, name: &str, a: ValueId, b: ValueId) -> Layer {
        self.node(name, op::Add { axis: None, broadcast: 0 }, &[a, b])
    }

    /// A Concat of the parts along axis 1.
    pub(super) fn concat(&mut self, name: &str, parts: &[ValueId]) -> Layer {
        self.node(name, op::Concat { axis: 1 }, parts)
    }

    /// Maxima of square windows.
    pub(super) fn max_pool(&mut self, name: &str, x: ValueId, p: Pool) -> Layer {
        let op = op::MaxPool {
            auto_pad: "NOTSET".into(),
            ceil_mode: p.ceil.into(),
            dilations: None,
            kernel_shape: vec![p.kernel; 2],
            pads: (p.pad != 0).then(|| vec![p.pad; 4]),
            storage_order: 0,
            strides: (p.stride != 1).then(|| vec![p.stride; 2]),
        };
        self.node(name, op, &[x])
    }

    /// Means of windows that tile the input.
    pub(super) fn mean_pool(&mut self, name: &str, x: ValueId, window: [i64; 2]) -> Layer {
        let op = op::AveragePool {
            auto_pad: "NOTSET".into(),
            ceil_mode: 0,
            count_include_pad: 0,
            dilations: None,
            kernel_shape: window.to_vec(),
            pads: None,
            strides: Some(window.to_vec()),
        };
        self.node(name, op, &[x])
    }

    /// Mean over the image, as a matrix of one row per image.
    pub(super) fn pooled(&mut self, name: &str, x: ValueId) -> Layer {
        let x = self.node(name, op::GlobalAveragePool {}, &[x])?;
        self.node("flatten", op::Flatten { axis: 1 }, &[x])
    }

    /// Fully connected layer, with its weights as PyTorch keeps them.
    pub(super) fn linear(&mut self, name: &str, x: ValueId, out: u64, gain: f32) -> Layer {
        let n = self.channels(x)?;
        let w = self.weight(&format!("{name}.weight"), &[out, n], n, gain)?;
        let bias = self.bias(&format!("{name}.bias"), out)?;
        let op = op::Gemm { alpha: 1.0, beta: 1.0, transA: 0, transB: 1, broadcast: 0 };
        self.node(name, op, &[x, w, bias])
    }
}

/// A pooling window: kernel, stride, padding, rounding.
#[derive(Clone, Copy)]
pub(super) struct Pool {
    kernel: i64,
    stride: i64,
    pad: i64,
    ceil: bool,
}

/// A square window, without padding.
pub(super) const fn pool(kernel: i64, stride: i64) -> Pool {
    Pool { kernel, stride, pad: 0, ceil: false }
}

impl Pool {
    /// With this padding on all sides.
    pub(super) const fn pad(self, pad: i64) -> Self {
        Self { pad, ..self }
    }

    /// With a last window that may be cut off.
    pub(super) const fn ceil(self) -> Self {
        Self { ceil: true, ..self }
    }
}
