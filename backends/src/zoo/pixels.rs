//! Networks from images to images: U-Net and ESPCN.

use graph_opt_ir::{Graph, ValueId, op};

use super::net::{LINEAR, Layer, Net, conv, pool};
use super::{Size, ZooError};

/// U-Net with the channels of the paper, for colour images. Its convolutions are padded, as in
/// most implementations since, so that nothing need be cropped where a skip joins.
pub(super) fn unet(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("unet", 13);
    let mut x = n.image(3, size);
    let mut skips = Vec::new();
    for level in 0..4 {
        x = double(&mut n, &format!("down{level}"), x, 64 << level)?;
        skips.push(x);
        x = n.max_pool(&format!("down{level}.pool"), x, pool(2, 2))?;
    }
    x = double(&mut n, "bottom", x, 1024)?;
    for (level, skip) in skips.into_iter().enumerate().rev() {
        let (name, channels) = (format!("up{level}"), 64 << level);
        let up = conv(channels, 2).stride(2).gain(LINEAR);
        x = n.conv_transpose(&format!("{name}.upconv"), x, up)?;
        x = n.concat(&format!("{name}.concat"), &[skip, x])?;
        x = double(&mut n, &name, x, channels)?;
    }
    let x = n.conv("out", x, conv(2, 1).gain(LINEAR))?;
    Ok(n.finish(x))
}

fn double(n: &mut Net, name: &str, x: ValueId, channels: u64) -> Layer {
    let part = |s: &str| format!("{name}.{s}");
    let c = conv(channels, 3).pad(1);
    let x = n.conv_relu(&part("conv1"), &part("relu1"), x, c)?;
    n.conv_relu(&part("conv2"), &part("relu2"), x, c)
}

/// ESPCN in the form of PyTorch's example: luminance, enlarged by 3.
pub(super) fn superres(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("superres", 13);
    let x = n.image(1, size);
    let x = n.conv_relu("conv1", "relu1", x, conv(64, 5).pad(2))?;
    let x = n.conv_relu("conv2", "relu2", x, conv(64, 3).pad(1))?;
    let x = n.conv_relu("conv3", "relu3", x, conv(32, 3).pad(1))?;
    let x = n.conv("conv4", x, conv(9, 3).pad(1).gain(LINEAR))?;
    let shuffle = op::DepthToSpace { blocksize: 3, mode: "CRD".into() };
    let x = n.node("pixel_shuffle", shuffle, &[x])?;
    Ok(n.finish(x))
}
