//! A quantized network: MNIST-8's topology in DequantizeLinear–Conv–QuantizeLinear units.

use graph_opt_ir::{DType, Graph, Tensor, ValueId, op};

use super::net::{Layer, Net, pool};
use super::{ZooError, weights};

const NAME: &str = "mnist-qdq";

/// What quantized values stand for: scale, and whether they are signed (zero point 0 both ways).
#[derive(Clone, Copy)]
struct Quant {
    scale: f32,
    dtype: DType,
}

/// Quantization of images with values in 0..=1.
const PIXELS: Quant = Quant { scale: 1.0 / 255.0, dtype: DType::U8 };
/// Activations after Relu; the ranges are those that the seeded weights give, rounded up.
const FIRST: Quant = Quant { scale: 2.0 / 255.0, dtype: DType::U8 };
const SECOND: Quant = Quant { scale: 2.0 / 255.0, dtype: DType::U8 };
/// Scores, of both signs.
const SCORES: Quant = Quant { scale: 2.0 / 127.0, dtype: DType::I8 };

/// The classifier: activations per tensor in u8, weights per channel in i8, biases in i32.
pub(super) fn mnist_qdq() -> Result<Graph, ZooError> {
    let mut n = Net::new(NAME, 13);
    let x = n.input(&[1, 1, 28, 28]);
    let x = quantize(&mut n, "input", x, PIXELS)?;
    let x = conv(&mut n, "conv1", x, 8, FIRST)?;
    let x = n.max_pool("pool1", x.value, pool(2, 2))?;
    let x = quantize(&mut n, "pool1", x, FIRST)?;
    let x = conv(&mut n, "conv2", x, 16, SECOND)?;
    let x = n.max_pool("pool2", x.value, pool(3, 3))?;
    let x = quantize(&mut n, "pool2", x, SECOND)?;
    let x = Quantized { value: n.node("flatten", op::Flatten { axis: 1 }, &[x.value])?, ..x };
    let x = fc(&mut n, x)?;
    Ok(n.finish(x))
}

/// A value that has just been dequantized.
#[derive(Clone, Copy)]
struct Quantized {
    value: ValueId,
    quant: Quant,
}

/// QuantizeLinear and DequantizeLinear, per tensor.
fn quantize(n: &mut Net, name: &str, x: ValueId, quant: Quant) -> Result<Quantized, ZooError> {
    let scale = n.scalar(&format!("{name}.scale"), quant.scale)?;
    let zero = Tensor::from_bytes(quant.dtype, Vec::new(), vec![0])?;
    let zero = n.constant(&format!("{name}.zero_point"), zero);
    let q =
        op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: 0, saturate: 1, precision: 0 };
    let x = n.node(&format!("{name}.quantize"), q, &[x, scale, zero])?;
    let value = n.node(&format!("{name}.dequantize"), DEQUANTIZE, &[x, scale, zero])?;
    Ok(Quantized { value, quant })
}

const DEQUANTIZE: op::DequantizeLinear =
    op::DequantizeLinear { axis: 1, block_size: 0, output_dtype: 0 };

/// An i8 weight with a scale per output channel (axis 0), and its i32 bias in the scale of the
/// sums, both dequantized.
fn weight(
    n: &mut Net,
    name: &str,
    dims: &[u64],
    input: Quant,
) -> Result<(ValueId, ValueId), ZooError> {
    let fan_in: u64 = dims[1..].iter().product();
    let bound = (6.0 / fan_in as f32).sqrt();
    let seed = |part: &str| weights::seed(NAME, &format!("{name}.{part}"));
    let zeros = |width: usize| vec![0u8; dims[0] as usize * width];
    // As if calibrated: the largest weight of a channel is 127 steps, and channels differ.
    let n_out = dims[0] as usize;
    let steps = weights::uniform(seed("scale"), n_out, bound * 0.75 / 127.0, bound / 127.0);
    let scales = Tensor::from_bytes(DType::F32, vec![dims[0]], steps)?;
    let sums: Vec<f32> = scales.to_f32s().unwrap_or_default();
    let sums: Vec<f32> = sums.into_iter().map(|s| s * input.scale).collect();
    let axis0 = op::DequantizeLinear { axis: 0, ..DEQUANTIZE };

    let count = dims.iter().product::<u64>() as usize;
    let values = weights::integers(seed("weight"), count, 127);
    let bytes = values.iter().flat_map(|&v| (v as i8).to_le_bytes()).collect();
    let w =
        n.constant(&format!("{name}.weight"), Tensor::from_bytes(DType::I8, dims.to_vec(), bytes)?);
    let scale = n.constant(&format!("{name}.weight.scale"), scales);
    let zero = Tensor::from_bytes(DType::I8, vec![dims[0]], zeros(1))?;
    let zero = n.constant(&format!("{name}.weight.zero_point"), zero);
    let w = n.node(&format!("{name}.weight.dequantize"), axis0.clone(), &[w, scale, zero])?;

    // Up to 0.1, like the biases of the other networks.
    let values = weights::integers(seed("bias"), n_out, 1000);
    let steps = values.iter().zip(&sums).map(|(&v, s)| (v as f32 * 1e-4 / s).round() as i32);
    let bytes = steps.flat_map(i32::to_le_bytes).collect();
    let b =
        n.constant(&format!("{name}.bias"), Tensor::from_bytes(DType::I32, vec![dims[0]], bytes)?);
    let scale = n.constant(&format!("{name}.bias.scale"), Tensor::f32s(&[dims[0]], &sums)?);
    let zero = Tensor::from_bytes(DType::I32, vec![dims[0]], zeros(4))?;
    let zero = n.constant(&format!("{name}.bias.zero_point"), zero);
    let b = n.node(&format!("{name}.bias.dequantize"), axis0, &[b, scale, zero])?;
    Ok((w, b))
}

/// A 5x5 convolution that keeps the size, Relu, and quantization of the result.
fn conv(n: &mut Net, name: &str, x: Quantized, out: u64, to: Quant) -> Result<Quantized, ZooError> {
    let cin = n.channels(x.value)?;
    let (w, b) = weight(n, name, &[out, cin, 5, 5], x.quant)?;
    let op = op::Conv {
        auto_pad: "NOTSET".into(),
        dilations: None,
        group: 1,
        kernel_shape: Some(vec![5, 5]),
        pads: Some(vec![2; 4]),
        strides: None,
    };
    let y = n.node(name, op, &[x.value, w, b])?;
    let y = n.relu(&format!("{name}.relu"), y)?;
    quantize(n, name, y, to)
}

/// The fully connected layer.
fn fc(n: &mut Net, x: Quantized) -> Layer {
    let cin = n.channels(x.value)?;
    let (w, b) = weight(n, "fc", &[10, cin], x.quant)?;
    let op = op::Gemm { alpha: 1.0, beta: 1.0, transA: 0, transB: 1, broadcast: 0 };
    let y = n.node("fc", op, &[x.value, w, b])?;
    Ok(quantize(n, "fc", y, SCORES)?.value)
}
