//! AllowedCodecs: forms in which a value crosses a link, other than as it is.
//!
//! `graph-opt profile --codecs` measures on the model what each comes to: bytes, seconds of encoding
//! and decoding together, and by how much the network's outputs change where that is not 0. A transfer
//! then sends each of its values in the form that arrives soonest over that link.
//!
//! What is left out: encoding counts to the transfer, not to the devices that do it, and takes as long on
//! all of them as where it was measured, no energy, and no memory.

use serde::{Deserialize, Serialize};

/// A form that is not the value as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Without loss: the first bytes of all elements, then the second ones, and so on (as Blosc's
    /// shuffle), as a block of LZ4.
    Lz4,
    /// Elements as IEEE 754 halves, rounded to the nearest.
    F16,
    /// Elements as 8 bits, with a scale and a zero point for the tensor: ONNX's
    /// `DynamicQuantizeLinear`.
    Int8,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Lz4, Self::F16, Self::Int8];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The codec of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Whether what is decoded has the bits of what was encoded.
    pub fn is_lossless(self) -> bool {
        self == Self::Lz4
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a codec makes of a value, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecMeasurement {
    /// The codec.
    pub codec: Codec,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Seconds to encode and to decode it: the median.
    pub seconds: f64,
    /// The largest change of an element of the network's outputs when this value alone was sent so,
    /// as a share of the largest element of that output; 0 without loss.
    pub error: f64,
}

/// What codecs make of a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueCodecs {
    /// The value.
    pub name: String,
    /// Its bytes as it is.
    pub bytes: u64,
    /// Those codecs that apply to it.
    pub codecs: Vec<CodecMeasurement>,
}
