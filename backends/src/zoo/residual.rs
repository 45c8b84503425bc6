//! Networks of residual blocks: ResNet and MobileNetV2, as torchvision has them.

use graph_opt_ir::{Graph, ValueId, op};

use super::net::{BRANCH, Conv, LINEAR, Layer, Net, conv, pool};
use super::{Size, ZooError};

/// ResNet-18 (He et al. 2016), with random weights.
pub(super) fn resnet18(size: Size) -> Result<Graph, ZooError> {
    resnet("resnet18", &[2, 2, 2, 2], basic, size)
}

/// ResNet-50, with the stride on the 3x3 convolution.
pub(super) fn resnet50(size: Size) -> Result<Graph, ZooError> {
    resnet("resnet50", &[3, 4, 6, 3], bottleneck, size)
}

/// A residual block: name, input, width, stride.
type Block = fn(&mut Net, &str, ValueId, u64, i64) -> Layer;

fn resnet(
    name: &'static str,
    depths: &[usize; 4],
    block: Block,
    size: Size,
) -> Result<Graph, ZooError> {
    let mut n = Net::new(name, 13);
    let x = n.image(3, size);
    let x = n.conv_norm("conv1", "bn1", x, conv(64, 7).stride(2).pad(3))?;
    let x = n.relu("relu", x)?;
    let mut x = n.max_pool("maxpool", x, pool(3, 2).pad(1))?;
    for (stage, &depth) in depths.iter().enumerate() {
        for i in 0..depth {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            let name = format!("layer{}.{i}", stage + 1);
            x = block(&mut n, &name, x, 64 << stage, stride)?;
        }
    }
    let x = n.pooled("avgpool", x)?;
    let x = n.linear("fc", x, 1000, LINEAR)?;
    Ok(n.finish(x))
}

fn basic(n: &mut Net, name: &str, x: ValueId, width: u64, stride: i64) -> Layer {
    let part = |s: &str| format!("{name}.{s}");
    let y = n.conv_norm(&part("conv1"), &part("bn1"), x, conv(width, 3).stride(stride).pad(1))?;
    let y = n.relu(&part("relu1"), y)?;
    let y = n.conv_norm(&part("conv2"), &part("bn2"), y, conv(width, 3).pad(1).gain(BRANCH))?;
    joined(n, name, x, y, stride)
}

fn bottleneck(n: &mut Net, name: &str, x: ValueId, width: u64, stride: i64) -> Layer {
    let part = |s: &str| format!("{name}.{s}");
    let y = n.conv_norm(&part("conv1"), &part("bn1"), x, conv(width, 1))?;
    let y = n.relu(&part("relu1"), y)?;
    let y = n.conv_norm(&part("conv2"), &part("bn2"), y, conv(width, 3).stride(stride).pad(1))?;
    let y = n.relu(&part("relu2"), y)?;
    let y = n.conv_norm(&part("conv3"), &part("bn3"), y, conv(4 * width, 1).gain(BRANCH))?;
    joined(n, name, x, y, stride)
}

/// The sum of a block's input, projected where the shapes differ, and its branch; then Relu.
fn joined(n: &mut Net, name: &str, x: ValueId, branch: ValueId, stride: i64) -> Layer {
    let width = n.channels(branch)?;
    let x = if stride != 1 || n.channels(x)? != width {
        let projection = conv(width, 1).stride(stride).gain(LINEAR);
        let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
        n.conv_norm(&conv, &norm, x, projection)?
    } else {
        x
    };
    let x = n.add(&format!("{name}.add"), branch, x)?;
    n.relu(&format!("{name}.relu"), x)
}

/// Rows of MobileNetV2's table: expansion, channels, repeats, first stride.
const MOBILENETV2: [(u64, u64, usize, i64); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// MobileNetV2 of width 1.0.
pub(super) fn mobilenetv2(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("mobilenetv2", 13);
    let x = n.image(3, size);
    let relu6 = [n.scalar("relu6.min", 0.0)?, n.scalar("relu6.max", 6.0)?];
    let mut m = Mobile { n, relu6 };
    let mut x = m.unit("features.0", x, conv(32, 3).stride(2).pad(1))?;
    let mut i = 1;
    for (expansion, channels, repeats, first) in MOBILENETV2 {
        for r in 0..repeats {
            let stride = if r == 0 { first } else { 1 };
            x = m.block(&format!("features.{i}"), x, expansion, channels, stride)?;
            i += 1;
        }
    }
    let x = m.unit("features.18", x, conv(1280, 1))?;
    let mut n = m.n;
    let x = n.pooled("avgpool", x)?;
    let x = n.linear("classifier.1", x, 1000, LINEAR)?;
    Ok(n.finish(x))
}

struct Mobile {
    n: Net,
    relu6: [ValueId; 2],
}

impl Mobile {
    /// A layer of convolution, batch normalisation and Relu6.
    fn unit(&mut self, name: &str, x: ValueId, c: Conv) -> Layer {
        let x = self.n.conv_norm(&format!("{name}.0"), &format!("{name}.1"), x, c)?;
        let clip = op::Clip { min: None, max: None };
        self.n.node(&format!("{name}.2"), clip, &[x, self.relu6[0], self.relu6[1]])
    }

    /// Inverted residual: wide inside, narrow outside, linear at its end.
    fn block(&mut self, name: &str, x: ValueId, expansion: u64, out: u64, stride: i64) -> Layer {
        let cin = self.n.channels(x)?;
        let wide = cin * expansion;
        let mut i = 0;
        let mut y = x;
        if expansion != 1 {
            y = self.unit(&format!("{name}.conv.{i}"), y, conv(wide, 1))?;
            i += 1;
        }
        let depthwise = conv(wide, 3).stride(stride).pad(1).group(wide);
        y = self.unit(&format!("{name}.conv.{i}"), y, depthwise)?;
        let residual = stride == 1 && cin == out;
        let last = conv(out, 1).gain(if residual { BRANCH } else { LINEAR });
        let (conv, norm) = (format!("{name}.conv.{}", i + 1), format!("{name}.conv.{}", i + 2));
        y = self.n.conv_norm(&conv, &norm, y, last)?;
        if residual { self.n.add(&format!("{name}.add"), x, y) } else { Ok(y) }
    }
}
