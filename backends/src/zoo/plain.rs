//! Networks without residuals: AlexNet, VGG, SqueezeNet, and the example of tiling tutorials.

use graph_opt_ir::{Graph, Tensor, ValueId, op};

use super::net::{Conv, LINEAR, Layer, Net, RELU, conv, pool};
use super::{Size, ZooError};

/// The four layers of Aidge's tutorial on tiling, on a batch of four.
pub(super) fn aidge_tutorial(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("aidge-tutorial", 13);
    let x = n.input(&[4, 3, size.h, size.w]);
    let x = n.node("leakyrelu0", op::LeakyRelu { alpha: 0.01 }, &[x])?;
    let x = n.conv("conv0", x, conv(32, 3))?;
    let x = n.norm("batchnorm0", x)?;
    let x = n.relu("relu0", x)?;
    Ok(n.finish(x))
}

/// AlexNet in the form of 'One weird trick', as torchvision has it.
pub(super) fn alexnet(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("alexnet", 13);
    let x = n.image(3, size);
    let x = n.conv_relu("features.0", "features.1", x, conv(64, 11).stride(4).pad(2))?;
    let x = n.max_pool("features.2", x, pool(3, 2))?;
    let x = n.conv_relu("features.3", "features.4", x, conv(192, 5).pad(2))?;
    let x = n.max_pool("features.5", x, pool(3, 2))?;
    let x = n.conv_relu("features.6", "features.7", x, conv(384, 3).pad(1))?;
    let x = n.conv_relu("features.8", "features.9", x, conv(256, 3).pad(1))?;
    let x = n.conv_relu("features.10", "features.11", x, conv(256, 3).pad(1))?;
    let x = n.max_pool("features.12", x, pool(3, 2))?;
    let x = adaptive(&mut n, "avgpool", x, 6)?;
    let x = n.node("flatten", op::Flatten { axis: 1 }, &[x])?;
    let x = n.linear("classifier.1", x, 4096, RELU)?;
    let x = n.relu("classifier.2", x)?;
    let x = n.linear("classifier.4", x, 4096, RELU)?;
    let x = n.relu("classifier.5", x)?;
    let x = n.linear("classifier.6", x, 1000, LINEAR)?;
    Ok(n.finish(x))
}

/// Channels of VGG's convolutions, stage by stage; each stage ends in a pooling.
type Stages = [&'static [u64]; 5];

/// Channels of each stage of VGG-11, configuration A of Simonyan and Zisserman 2015.
pub(super) const VGG11: Stages = [&[64], &[128], &[256, 256], &[512, 512], &[512, 512]];
/// Channels of each stage of VGG-16, configuration D of Simonyan and Zisserman 2015.
pub(super) const VGG16: Stages =
    [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// The convolutions and poolings of VGG, numbered as torchvision numbers them.
fn features(n: &mut Net, stages: &Stages, size: Size) -> Layer {
    let mut x = n.image(3, size);
    let mut i = 0..;
    let mut layer = || format!("features.{}", i.next().unwrap_or(0));
    for stage in stages {
        for &channels in *stage {
            x = n.conv_relu(&layer(), &layer(), x, conv(channels, 3).pad(1))?;
        }
        x = n.max_pool(&layer(), x, pool(2, 2))?;
    }
    Ok(x)
}

/// VGG without its classifier.
pub(super) fn vgg_features(
    name: &'static str,
    stages: &Stages,
    size: Size,
) -> Result<Graph, ZooError> {
    let mut n = Net::new(name, 13);
    let x = features(&mut n, stages, size)?;
    Ok(n.finish(x))
}

/// VGG of these stages, with the three layers of its classifier.
pub(super) fn vgg(name: &'static str, stages: &Stages, size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new(name, 13);
    let x = features(&mut n, stages, size)?;
    let x = adaptive(&mut n, "avgpool", x, 7)?;
    let x = n.node("flatten", op::Flatten { axis: 1 }, &[x])?;
    let x = n.linear("classifier.0", x, 4096, RELU)?;
    let x = n.relu("classifier.1", x)?;
    let x = n.linear("classifier.3", x, 4096, RELU)?;
    let x = n.relu("classifier.4", x)?;
    let x = n.linear("classifier.6", x, 1000, LINEAR)?;
    Ok(n.finish(x))
}

/// PyTorch's adaptive mean pooling to `to` by `to`. ONNX has no such operator: where the windows
/// are equal it is an AveragePool, and else two products with constant matrices.
fn adaptive(n: &mut Net, name: &str, x: ValueId, to: u64) -> Layer {
    let dims = n.dims(x)?;
    let (h, w) = (dims[2], dims[3]);
    if (h, w) == (to, to) {
        return Ok(x);
    }
    if h % to == 0 && w % to == 0 {
        return n.mean_pool(name, x, [(h / to) as i64, (w / to) as i64]);
    }
    let rows = n.constant(&format!("{name}.rows"), Tensor::f32s(&[to, h], &means(h, to, false))?);
    let cols = n.constant(&format!("{name}.cols"), Tensor::f32s(&[w, to], &means(w, to, true))?);
    let x = n.node(&format!("{name}.h"), op::MatMul {}, &[rows, x])?;
    n.node(&format!("{name}.w"), op::MatMul {}, &[x, cols])
}

/// The matrix [`to`, `n`] whose row i takes the mean of the i-th window; transposed if asked.
fn means(n: u64, to: u64, transposed: bool) -> Vec<f32> {
    let mut m = vec![0.0; (n * to) as usize];
    for i in 0..to {
        let window = i * n / to..((i + 1) * n).div_ceil(to);
        let share = 1.0 / (window.end - window.start) as f32;
        for j in window {
            m[if transposed { j * to + i } else { i * n + j } as usize] = share;
        }
    }
    m
}

/// SqueezeNet 1.1 (Iandola et al. 2016), with random weights.
pub(super) fn squeezenet(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("squeezenet", 13);
    let x = n.image(3, size);
    let x = n.conv_relu("features.0", "features.1", x, conv(64, 3).stride(2))?;
    let x = n.max_pool("features.2", x, pool(3, 2).ceil())?;
    let x = fire(&mut n, 3, x, 16, 64)?;
    let x = fire(&mut n, 4, x, 16, 64)?;
    let x = n.max_pool("features.5", x, pool(3, 2).ceil())?;
    let x = fire(&mut n, 6, x, 32, 128)?;
    let x = fire(&mut n, 7, x, 32, 128)?;
    let x = n.max_pool("features.8", x, pool(3, 2).ceil())?;
    let x = fire(&mut n, 9, x, 48, 192)?;
    let x = fire(&mut n, 10, x, 48, 192)?;
    let x = fire(&mut n, 11, x, 64, 256)?;
    let x = fire(&mut n, 12, x, 64, 256)?;
    let x = n.conv_relu("classifier.1", "classifier.2", x, conv(1000, 1))?;
    let x = n.pooled("classifier.3", x)?;
    Ok(n.finish(x))
}

/// Squeezes to a few channels, and expands them by two convolutions side by side.
fn fire(n: &mut Net, i: usize, x: ValueId, squeeze: u64, expand: u64) -> Layer {
    let mut part = |name: &str, x, c: Conv| {
        let name = format!("features.{i}.{name}");
        n.conv_relu(&name, &format!("{name}_activation"), x, c)
    };
    let x = part("squeeze", x, conv(squeeze, 1))?;
    let a = part("expand1x1", x, conv(expand, 1))?;
    let b = part("expand3x3", x, conv(expand, 3).pad(1))?;
    n.concat(&format!("features.{i}.concat"), &[a, b])
}

#[cfg(test)]
mod tests {
    use super::means;

    #[test]
    fn adaptive_windows_are_those_of_pytorch() {
        // adaptive_avg_pool1d of 5 to 3: [0..2], [1..4], [3..5].
        let third = 1.0 / 3.0;
        let rows = [0.5, 0.5, 0., 0., 0., 0., third, third, third, 0., 0., 0., 0., 0.5, 0.5];
        assert_eq!(means(5, 3, false), rows);
        // Of 2 to 3 elements repeat: [0..1], [0..2], [1..2].
        assert_eq!(means(2, 3, false), [1., 0., 0.5, 0.5, 0., 1.]);
        assert_eq!(means(2, 3, true), [1., 0.5, 0., 0., 0.5, 1.]);
    }
}
