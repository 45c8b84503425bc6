//! YOLOv2 as in Darknet's yolov2.cfg (COCO).

use graph_opt_ir::{Graph, ValueId, op};

use super::net::{Conv, LINEAR, Layer, Net, conv, pool};
use super::{Size, ZooError};

/// Slope of Darknet's LeakyRelu.
const LEAK: f32 = 0.1;

/// A layer of the backbone: filters and kernel, or a pooling.
enum Dark {
    Conv(u64, u64),
    Pool,
}

/// Layers 0 to 16 of the configuration; the passthrough starts from the last.
#[rustfmt::skip]
const STEM: [Dark; 17] = [
    Dark::Conv(32, 3), Dark::Pool,
    Dark::Conv(64, 3), Dark::Pool,
    Dark::Conv(128, 3), Dark::Conv(64, 1), Dark::Conv(128, 3), Dark::Pool,
    Dark::Conv(256, 3), Dark::Conv(128, 1), Dark::Conv(256, 3), Dark::Pool,
    Dark::Conv(512, 3), Dark::Conv(256, 1), Dark::Conv(512, 3), Dark::Conv(256, 1),
    Dark::Conv(512, 3),
];

/// Layers 17 to 24: the rest of Darknet-19 without its classifier, and two of the head.
#[rustfmt::skip]
const DEEP: [Dark; 8] = [
    Dark::Pool,
    Dark::Conv(1024, 3), Dark::Conv(512, 1), Dark::Conv(1024, 3), Dark::Conv(512, 1),
    Dark::Conv(1024, 3),
    Dark::Conv(1024, 3), Dark::Conv(1024, 3),
];

/// YOLOv2; layers have the numbers that they have in the configuration. The passthrough is ONNX's
/// SpaceToDepth, which moves the same elements as Darknet's reorg to other channels.
pub(super) fn yolov2(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("yolov2", 13);
    let mut x = n.image(3, size);
    for (i, layer) in STEM.iter().enumerate() {
        x = dark(&mut n, i, x, layer)?;
    }
    let fine = x;
    for (i, layer) in DEEP.iter().enumerate() {
        x = dark(&mut n, STEM.len() + i, x, layer)?;
    }
    let fine = unit(&mut n, 26, fine, conv(64, 1))?;
    let fine = n.node("reorg27", op::SpaceToDepth { blocksize: 2, mode: "DCR".into() }, &[fine])?;
    let x = n.concat("route28", &[fine, x])?;
    let x = unit(&mut n, 29, x, conv(1024, 3).pad(1))?;
    // Five anchors, each with a box, an objectness and 80 classes.
    let x = n.conv("conv30", x, conv(5 * (4 + 1 + 80), 1).gain(LINEAR))?;
    Ok(n.finish(x))
}

/// The first 16 layers of YOLOv2, the part that DeepThings divides.
pub(super) fn yolov2_first16(size: Size) -> Result<Graph, ZooError> {
    let mut n = Net::new("yolov2-first16", 13);
    let mut x = n.image(3, size);
    for (i, layer) in STEM.iter().enumerate().take(16) {
        x = dark(&mut n, i, x, layer)?;
    }
    Ok(n.finish(x))
}

fn dark(n: &mut Net, i: usize, x: ValueId, layer: &Dark) -> Layer {
    match *layer {
        Dark::Conv(out, kernel) => unit(n, i, x, conv(out, kernel).pad(kernel as i64 / 2)),
        Dark::Pool => n.max_pool(&format!("pool{i}"), x, pool(2, 2)),
    }
}

/// A layer of convolution, batch normalisation and LeakyRelu.
fn unit(n: &mut Net, i: usize, x: ValueId, c: Conv) -> Layer {
    let gain = 2.0 / (1.0 + LEAK * LEAK);
    let x = n.conv_norm(&format!("conv{i}"), &format!("bn{i}"), x, c.gain(gain))?;
    n.node(&format!("leaky{i}"), op::LeakyRelu { alpha: LEAK }, &[x])
}
