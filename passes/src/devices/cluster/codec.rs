//! Codecs: encoded forms in which a value can cross a link.
//!
//! `graph-opt profile --codecs` measures for each value and codec the encoded size, the time to
//! encode and decode, and the change of the network's outputs. A transfer then sends each value in
//! the form that arrives first over its link.
//!
//! Not modelled: coding time is charged to the link, not the device; it is assumed equal on all
//! devices; its energy and memory are ignored.

use serde::{Deserialize, Serialize};

/// An encoding of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Lossless: bytes shuffled by significance (as Blosc's shuffle), then one LZ4 block.
    Lz4,
    /// Lossy: IEEE 754 half precision, rounded to nearest.
    F16,
    /// Lossy: 8 bits with one scale and zero point a tensor, as ONNX `DynamicQuantizeLinear`.
    Int8,
}

impl Codec {
    /// All codecs.
    pub const ALL: [Self; 3] = [Self::Lz4, Self::F16, Self::Int8];

    /// Name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// The codec with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Whether decoding restores the exact bits.
    pub fn is_lossless(self) -> bool {
        self == Self::Lz4
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Measured effect of one codec on one value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecMeasurement {
    /// Codec that was applied.
    pub codec: Codec,
    /// Encoded size in bytes.
    pub bytes: u64,
    /// Median seconds to encode and decode.
    pub seconds: f64,
    /// Largest change of an output element when only this value is encoded, relative to the largest
    /// element of that output; 0 if lossless.
    pub error: f64,
}

/// Measurements of all codecs on one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueCodecs {
    /// Name of the value.
    pub name: String,
    /// Size without encoding, in bytes.
    pub bytes: u64,
    /// Measurements of the codecs that apply.
    pub codecs: Vec<CodecMeasurement>,
}
