//! A layer that reads units, as a linear map: which values of its image make a row, and where the
//! coefficients stand in its weights.

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Relation};
use graph_opt_ir::window::{self, Window};
use graph_opt_ir::{Graph, NodeId, Op, Tensor, ValueId};
use graph_opt_passes::blocks::Reader;

/// Where the constant term of a layer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bias {
    /// The layer's own operand of this index, which may be absent so far. Every output has its element.
    Operand(usize),
    /// This operand of an Add that follows: a constant with an element for each output.
    Added(NodeId, usize),
    /// It cannot have one.
    Nowhere,
}

/// A layer y = W·x + b. A *row* is x at one position of the result, an *output* is an element of y there.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The node.
    pub node: NodeId,
    /// What it reads the units from.
    pub image: ValueId,
    /// Its result.
    pub result: ValueId,
    /// Index of the operand with the weights.
    pub weights: usize,
    /// Columns of a row for each channel of the image: the taps of the kernel.
    pub taps: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// Axis of the result with the outputs.
    pub output_axis: usize,
    /// Where the constant term is.
    pub bias: Bias,
    /// By what the products are multiplied (`alpha` of Gemm).
    pub alpha: f64,
    /// By what the bias is multiplied (`beta` of Gemm).
    pub beta: f64,
    /// Axis of the image with the channels.
    image_axis: usize,
    /// Extents of the weights.
    weight_dims: Vec<usize>,
    /// Axes of the weights with the channels, and with the outputs.
    weight_axes: (usize, usize),
    /// Windows along the spatial axes, and whether they are transposed; none for a matrix product.
    windows: (Vec<Window>, bool),
}

impl Layer {
    /// The layer; `None` if its weights have batches, its operands are not of `f32`, or a shape is unknown.
    pub fn of(graph: &Graph, reader: &Reader) -> Option<Self> {
        let node = graph.node(reader.node);
        let ctx = OpCtx::of(graph, reader.node);
        let image = node.inputs.get(reader.image).copied()??;
        let result = node.outputs.first().copied()??;
        let weights = graph.constant(node.inputs.get(reader.weights).copied()??)?;
        let weight_dims: Vec<usize> = weights.dims().iter().map(|&d| d as usize).collect();
        let rel = region::relations(&ctx, 0).ok()?;
        let outputs_at = |r: &Relation| match r {
            Relation::Same(o) => Some(*o),
            _ => None,
        };
        let (made_axis, output_axis) = rel.operands[reader.weights]
            .iter()
            .enumerate()
            .find_map(|(a, r)| Some((a, outputs_at(r)?)))?;
        let windowed = node.op.windowed();
        let windows = match windowed {
            Some(w) => (window::resolved(&ctx).ok()??, w.is_transposed()),
            None if weight_dims.len() == 2 => (Vec::new(), false),
            None => return None,
        };
        let taps = windows.0.iter().map(|w| w.kernel as usize).product();
        let (alpha, beta) = match &node.op {
            Op::Gemm(g) => (f64::from(g.alpha), f64::from(g.beta)),
            _ => (1.0, 1.0),
        };
        let outputs = weight_dims[made_axis];
        let mut layer = Self {
            node: reader.node,
            image,
            result,
            weights: reader.weights,
            taps,
            channels: weight_dims[reader.weights_axis],
            outputs,
            output_axis,
            bias: Bias::Nowhere,
            alpha,
            beta,
            image_axis: reader.image_axis,
            weight_dims,
            weight_axes: (reader.weights_axis, made_axis),
            windows,
        };
        layer.bias = layer.find_bias(graph);
        (alpha != 0.0).then_some(layer)
    }

    fn find_bias(&self, graph: &Graph) -> Bias {
        let node = graph.node(self.node);
        let by_output = |v: ValueId| {
            let fits = |t: &Tensor| {
                t.dims().len() == 1 && t.len() == self.outputs && t.to_f32s().is_some()
            };
            graph.value(v).constant().is_some_and(|t| fits(t)) && graph.value(v).uses().len() == 1
        };
        if let Some(i) = node.op.partial_sums().and_then(|p| p.addend) {
            return match node.inputs.get(i).copied().flatten() {
                // An operand may be left out before version 11 of Gemm only with care: it was required.
                None if matches!(node.op, Op::Gemm(_)) && graph.opset() < 11 => Bias::Nowhere,
                None => Bias::Operand(i),
                Some(v) if by_output(v) && self.beta != 0.0 => Bias::Operand(i),
                Some(_) => Bias::Nowhere,
            };
        }
        let value = graph.value(self.result);
        let mut uses = value.uses();
        let (Some(u), None, false) = (uses.next(), uses.next(), value.is_output()) else {
            return Bias::Nowhere;
        };
        let add = graph.node(u.node);
        let other = add.inputs.get(1 - u.index.min(1)).copied().flatten();
        let last = value.ty.rank() == Some(self.output_axis + 1);
        match other {
            Some(v) if matches!(add.op, Op::Add(_)) && by_output(v) && last => {
                Bias::Added(u.node, 1 - u.index)
            }
            _ => Bias::Nowhere,
        }
    }

    /// Whether rows at the border have zeros for what lies outside of the image.
    pub fn pads(&self) -> bool {
        self.windows.1 || self.windows.0.iter().any(|w| w.begin > 0 || w.end > 0)
    }

    /// Number of columns of a row, without the bias.
    pub fn columns(&self) -> usize {
        self.channels * self.taps
    }

    /// Where the coefficient of a column for an output stands in the weights.
    pub fn weight_at(&self, column: usize, output: usize) -> usize {
        let (channel, mut tap) = (column / self.taps, column % self.taps);
        let (c, o) = self.weight_axes;
        let mut at = 0;
        let mut stride = 1;
        for (axis, &n) in self.weight_dims.iter().enumerate().rev() {
            let i = match axis {
                _ if axis == c => channel,
                _ if axis == o => output,
                _ => {
                    let i = tap % n;
                    tap /= n;
                    i
                }
            };
            at += i * stride;
            stride *= n;
        }
        at
    }

    /// Number of rows of a result of these extents.
    pub fn rows(&self, result: &[u64]) -> usize {
        result.iter().map(|&d| d as usize).product::<usize>() / self.outputs.max(1)
    }

    /// Index of output `output` of a row in a result of these extents, and in tensors of the same extents
    /// but for the axis of outputs, which has `extent` elements there.
    pub fn result_at(&self, result: &[u64], extent: usize, row: usize, output: usize) -> usize {
        let inner: usize = result[self.output_axis + 1..].iter().map(|&d| d as usize).product();
        (row / inner * extent + output) * inner + row % inner
    }

    /// Writes the row of this number, as it stands in an image and a result of these extents.
    pub fn row(&self, image: &[f32], dims: &[u64], result: &[u64], row: usize, out: &mut [f32]) {
        let extent = |a: usize| dims[a] as usize;
        if self.windows.0.is_empty() {
            let inner: usize = (self.image_axis + 1..dims.len()).map(extent).product();
            let start = row / inner * self.channels * inner + row % inner;
            out.iter_mut().enumerate().for_each(|(c, x)| *x = image[start + c * inner]);
            return;
        }
        let (windows, transposed) = (&self.windows.0, self.windows.1);
        let positions: usize = result[2..].iter().map(|&d| d as usize).product();
        let (sample, mut rest) = (row / positions, row % positions);
        let mut at = vec![0i64; windows.len()];
        for (a, p) in at.iter_mut().enumerate().rev() {
            let n = result[2 + a] as usize;
            *p = (rest % n) as i64;
            rest /= n;
        }
        let plane: usize = (2..dims.len()).map(extent).product();
        let start = sample * self.channels * plane;
        for tap in 0..self.taps {
            let (mut rest, mut index, mut stride) = (tap, Some(0usize), 1usize);
            for (a, w) in windows.iter().enumerate().rev() {
                let k = (rest % w.kernel as usize) as i64;
                rest /= w.kernel as usize;
                let n = extent(2 + a);
                let i = match transposed {
                    false => Some(at[a] * w.stride - w.begin + k * w.dilation),
                    true => {
                        let i = at[a] + w.begin - k * w.dilation;
                        (i.rem_euclid(w.stride) == 0).then(|| i.div_euclid(w.stride))
                    }
                };
                let i = i.and_then(|i| usize::try_from(i).ok()).filter(|&i| i < n);
                index = index.zip(i).map(|(index, i)| index + i * stride);
                stride *= n;
            }
            for c in 0..self.channels {
                out[c * self.taps + tap] = index.map_or(0.0, |i| image[start + c * plane + i]);
            }
        }
    }
}
