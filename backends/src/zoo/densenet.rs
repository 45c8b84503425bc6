//! DenseNet-121, as torchvision has it.

use graph_opt_ir::{Graph, ValueId};

use super::net::{LINEAR, Layer, Net, conv, pool};
use super::{Size, ZooError};

/// Layers of the four dense blocks.
const DEPTHS: [usize; 4] = [6, 12, 24, 16];
/// Channels that a layer adds.
const GROWTH: u64 = 32;

/// DenseNet-121 (Huang et al. 2017), with random weights.
pub(super) fn densenet121(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("densenet121", 13);
    let x = n.image(3, size);
    let stem = conv(64, 7).stride(2).pad(3);
    let x = n.conv_norm("features.conv0", "features.norm0", x, stem)?;
    let x = n.relu("features.relu0", x)?;
    let mut x = n.max_pool("features.pool0", x, pool(3, 2).pad(1))?;
    for (i, &depth) in DEPTHS.iter().enumerate() {
        let block = format!("features.denseblock{}", i + 1);
        // Each layer reads everything that the block has made so far.
        let mut made = vec![x];
        for layer in 1..=depth {
            let y = dense(&mut n, &format!("{block}.denselayer{layer}"), &made)?;
            made.push(y);
        }
        x = n.concat(&format!("{block}.concat"), &made)?;
        if i + 1 < DEPTHS.len() {
            x = transition(&mut n, &format!("features.transition{}", i + 1), x)?;
        }
    }
    let x = n.norm("features.norm5", x)?;
    let x = n.relu("relu", x)?;
    let x = n.pooled("avgpool", x)?;
    let x = n.linear("classifier", x, 1000, LINEAR)?;
    Ok(n.finish(x))
}

fn dense(n: &mut Net, name: &str, made: &[ValueId]) -> Layer {
    let part = |s: &str| format!("{name}.{s}");
    let x = match made {
        [x] => *x,
        _ => n.concat(&part("concat"), made)?,
    };
    let x = n.norm(&part("norm1"), x)?;
    let x = n.relu(&part("relu1"), x)?;
    let x = n.conv_norm(&part("conv1"), &part("norm2"), x, conv(4 * GROWTH, 1))?;
    let x = n.relu(&part("relu2"), x)?;
    n.conv(&part("conv2"), x, conv(GROWTH, 3).pad(1).bare())
}

/// Halves the channels and the image.
fn transition(n: &mut Net, name: &str, x: ValueId) -> Layer {
    let half = n.channels(x)? / 2;
    let x = n.norm(&format!("{name}.norm"), x)?;
    let x = n.relu(&format!("{name}.relu"), x)?;
    let x = n.conv(&format!("{name}.conv"), x, conv(half, 1).bare())?;
    n.mean_pool(&format!("{name}.pool"), x, [2, 2])
}
