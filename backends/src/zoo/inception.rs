//! GoogLeNet (Inception v1), as in the paper.

use graph_opt_ir::{Graph, ValueId, op};

use super::net::{Conv, LINEAR, Layer, Net, Pool, conv, pool};
use super::{Size, ZooError};

/// Channels of an inception module: 1x1; 3x3 reduction and 3x3; 5x5 reduction and 5x5; projection
/// of the pooling.
type Module = (&'static str, [u64; 6]);

#[rustfmt::skip]
const STAGES: [&[Module]; 3] = [
    &[("3a", [64, 96, 128, 16, 32, 32]), ("3b", [128, 128, 192, 32, 96, 64])],
    &[
        ("4a", [192, 96, 208, 16, 48, 64]), ("4b", [160, 112, 224, 24, 64, 64]),
        ("4c", [128, 128, 256, 24, 64, 64]), ("4d", [112, 144, 288, 32, 64, 64]),
        ("4e", [256, 160, 320, 32, 128, 128]),
    ],
    &[("5a", [256, 160, 320, 32, 128, 128]), ("5b", [384, 192, 384, 48, 128, 128])],
];

/// MaxPool 3x3 with stride 2 between stages, rounding up.
const SHRINK: Pool = pool(3, 2).ceil();

/// GoogLeNet without the auxiliary classifiers, which only serve training.
pub(super) fn inception_v1(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("inception-v1", 13);
    let x = n.image(3, size);
    let x = n.conv_relu("conv1", "relu1", x, conv(64, 7).stride(2).pad(3))?;
    let x = n.max_pool("pool1", x, SHRINK)?;
    let x = n.node("norm1", lrn(), &[x])?;
    let x = n.conv_relu("conv2_reduce", "relu2_reduce", x, conv(64, 1))?;
    let x = n.conv_relu("conv2", "relu2", x, conv(192, 3).pad(1))?;
    let x = n.node("norm2", lrn(), &[x])?;
    let mut x = x;
    for (i, stage) in STAGES.iter().enumerate() {
        x = n.max_pool(&format!("pool{}", i + 2), x, SHRINK)?;
        for module in *stage {
            x = inception(&mut n, module, x)?;
        }
    }
    let x = n.pooled("avgpool", x)?;
    let x = n.linear("fc", x, 1000, LINEAR)?;
    let x = n.node("softmax", op::Softmax { axis: Some(1) }, &[x])?;
    Ok(n.finish(x))
}

fn lrn() -> op::LRN {
    op::LRN { alpha: 1e-4, beta: 0.75, bias: 1.0, size: 5 }
}

fn inception(n: &mut Net, &(name, c): &Module, x: ValueId) -> Layer {
    let name = format!("inception{name}");
    let mut part = |branch: &str, x, c: Conv| {
        let conv = format!("{name}.{branch}");
        n.conv_relu(&conv, &format!("{conv}.relu"), x, c)
    };
    let a = part("1x1", x, conv(c[0], 1))?;
    let b = part("3x3_reduce", x, conv(c[1], 1))?;
    let b = part("3x3", b, conv(c[2], 3).pad(1))?;
    let d = part("5x5_reduce", x, conv(c[3], 1))?;
    let d = part("5x5", d, conv(c[4], 5).pad(2))?;
    let e = n.max_pool(&format!("{name}.pool"), x, pool(3, 1).pad(1))?;
    let proj = format!("{name}.pool_proj");
    let e = n.conv_relu(&proj, &format!("{proj}.relu"), e, conv(c[5], 1))?;
    n.concat(&format!("{name}.concat"), &[a, b, d, e])
}
