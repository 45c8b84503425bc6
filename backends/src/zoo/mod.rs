//! Networks that graph-opt builds itself, so that everything can be tried on a fresh machine.
//!
//! The architectures are those of the papers, or of torchvision where the two differ; the weights
//! are drawn from a seed, the same on every machine, and scaled so that activations neither die
//! out nor explode.
//!
//! ```
//! use graph_opt_backends::zoo;
//! let g = zoo::build("superres@32x48")?;
//! assert_eq!(g.value(g.outputs()[0]).ty.to_string(), "f32[1,1,96,144]");
//! # Ok::<(), zoo::ZooError>(())
//! ```

mod densenet;
mod inception;
mod net;
mod pixels;
mod plain;
mod quantized;
mod residual;
mod vit;
mod weights;
mod yolo;

use graph_opt_ir::Graph;
use graph_opt_ir::op_context::RuleError;
use graph_opt_ir::tensor::TensorError;

/// Names and one-line descriptions of all networks.
pub const NAMES: &[(&str, &str)] = &[
    ("aidge-tutorial", "activation, convolution, batch normalisation, activation on 4x3x66x66"),
    ("alexnet", "AlexNet as torchvision has it, 3x224x224, 1000 classes"),
    ("vgg11", "VGG-A, 3x224x224, 1000 classes"),
    ("vgg16", "VGG-D, 3x224x224, 1000 classes"),
    ("vgg16-features", "the convolutions and poolings of VGG-D, 3x224x224"),
    ("resnet18", "ResNet-18: basic residual blocks, 3x224x224, 1000 classes"),
    ("resnet50", "ResNet-50: bottleneck residual blocks, 3x224x224, 1000 classes"),
    ("mobilenetv2", "MobileNetV2 1.0: inverted residuals, depthwise, 3x224x224, 1000 classes"),
    ("squeezenet", "SqueezeNet 1.1: fire modules, 3x224x224, 1000 classes"),
    ("yolov2", "YOLOv2: Darknet-19 and detection head with passthrough, 3x608x608, 80 classes"),
    ("yolov2-first16", "the first 16 layers of YOLOv2, as DeepThings divides them, 3x608x608"),
    ("unet", "U-Net, padded, 3x256x256, 2 classes a pixel"),
    ("inception-v1", "GoogLeNet with LRN, without auxiliary heads, 3x224x224, 1000 classes"),
    ("densenet121", "DenseNet-121: concatenating blocks, 3x224x224, 1000 classes"),
    ("vit-b16", "ViT-B/16: vision transformer, 3x224x224, 1000 classes"),
    ("mnist-qdq", "digit classifier, quantized per channel, 1x28x28"),
    ("superres", "ESPCN: super-resolution by 3 with depth-to-space, 1x224x224"),
];

/// Largest height or width that a name may ask for.
const MAX_SIDE: u64 = 1 << 16;

/// A network cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ZooError {
    /// No network has this name.
    #[error("the zoo has no network {name}; {hint}")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// What follows `@` is not a size.
    #[error("{0:?} is not a size: HEIGHTxWIDTH, each from 1 to {MAX_SIDE}")]
    Size(String),
    /// The network exists in one size only.
    #[error("{0} has a fixed size")]
    Fixed(&'static str),
    /// A layer does not fit; the size is too small, or not the multiple that the network needs.
    #[error("{network} cannot have this size: {node}: {source}")]
    Build {
        /// Name of the network that was built.
        network: &'static str,
        /// Name of the layer that cannot be built.
        node: String,
        /// What its shape rule says.
        source: RuleError,
    },
    /// A weight does not fit into memory's address space.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Height and width of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Size {
    h: u64,
    w: u64,
}

impl Size {
    /// The size that `HEIGHTxWIDTH` names.
    fn parse(text: &str) -> Result<Self, ZooError> {
        let side = |s: &str| s.parse().ok().filter(|n| (1..=MAX_SIDE).contains(n));
        let sides = text.split_once('x').and_then(|(h, w)| Some((side(h)?, side(w)?)));
        let (h, w) = sides.ok_or_else(|| ZooError::Size(text.into()))?;
        Ok(Self { h, w })
    }

    const fn square(side: u64) -> Self {
        Self { h: side, w: side }
    }
}

/// Builds the network of this name, or of this name and size: `vgg16`, `vgg16@1080x1920`. The
/// weights do not depend on the size, but for the position embeddings of `vit-b16`.
///
/// # Errors
/// If the zoo has no such network, or the network cannot have the size.
pub fn build(name: &str) -> Result<Graph, ZooError> {
    let (base, size) = match name.split_once('@') {
        Some((base, size)) => (base, Some(Size::parse(size)?)),
        None => (name, None),
    };
    let Some(&(base, _)) = NAMES.iter().find(|(n, _)| *n == base) else {
        return Err(unknown(base));
    };
    let sized = |side| size.unwrap_or(Size::square(side));
    match base {
        "aidge-tutorial" => plain::aidge_tutorial(sized(66)),
        "alexnet" => plain::alexnet(sized(224)),
        "vgg11" => plain::vgg(base, &plain::VGG11, sized(224)),
        "vgg16" => plain::vgg(base, &plain::VGG16, sized(224)),
        "vgg16-features" => plain::vgg_features(base, &plain::VGG16, sized(224)),
        "resnet18" => residual::resnet18(sized(224)),
        "resnet50" => residual::resnet50(sized(224)),
        "mobilenetv2" => residual::mobilenetv2(sized(224)),
        "squeezenet" => plain::squeezenet(sized(224)),
        "yolov2" => yolo::yolov2(sized(608)),
        "yolov2-first16" => yolo::yolov2_first16(sized(608)),
        "unet" => pixels::unet(sized(256)),
        "superres" => pixels::superres(sized(224)),
        "inception-v1" => inception::inception_v1(sized(224)),
        "densenet121" => densenet::densenet121(sized(224)),
        "vit-b16" => vit::vit_b16(sized(224)),
        "mnist-qdq" if size.is_none() => quantized::mnist_qdq(),
        _ => Err(ZooError::Fixed(base)),
    }
}

fn unknown(name: &str) -> ZooError {
    let names = || NAMES.iter().map(|&(n, _)| n);
    let hint = match graph_opt_passes::nearest(name, names()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
    };
    ZooError::Unknown { name: name.into(), hint }
}

#[cfg(test)]
mod tests;
