//! Errors of reading and writing.

use std::path::PathBuf;

use super::wire::WireError;

/// A model cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The output could not be written.
    #[error("cannot write the model: {0}")]
    Write(#[from] std::io::Error),
    /// The file is not an ONNX model. What it is instead, and what to do.
    #[error("not an ONNX model: {0}")]
    NotOnnx(&'static str),
    /// The bytes do not follow the wire format of protocol buffers.
    #[error("broken file, at byte {offset}: {what}")]
    Wire {
        /// Offset in the file, in bytes.
        offset: usize,
        /// What is wrong at this offset.
        what: &'static str,
    },
    /// The header of the model, or the model as a whole, is wrong.
    #[error("{0}")]
    Model(String),
    /// A graph, a subgraph or a function is wrong.
    #[error("{graph}: {what}")]
    Graph {
        /// The graph, such as `subgraph body` or `function d.f`.
        graph: String,
        /// What was expected, and what was found.
        what: String,
    },
    /// A node is wrong.
    #[error("node {node}, at byte {offset}: {what}")]
    Node {
        /// Name, or first output, and operator of the node.
        node: String,
        /// Offset in the file, in bytes.
        offset: usize,
        /// What was expected, and what was found.
        what: String,
    },
    /// A tensor is wrong.
    #[error("tensor {tensor:?}, at byte {offset}: {what}")]
    Tensor {
        /// Name of the tensor, or its role if it has none.
        tensor: String,
        /// Offset in the file, in bytes.
        offset: usize,
        /// What was expected, and what was found.
        what: String,
    },
    /// A graph in an attribute of a node is wrong.
    #[error("in node {node}: {source}")]
    Within {
        /// Name and operator of the node.
        node: String,
        /// The error in that graph.
        source: Box<OnnxError>,
    },
    /// The model would have this many bytes, more than an ONNX file can hold.
    #[error("the model would be {0} bytes, more than the 2 GiB that an ONNX file can hold")]
    TooLarge(u64),
}

impl From<WireError> for OnnxError {
    fn from(e: WireError) -> Self {
        Self::Wire { offset: e.offset, what: e.what }
    }
}

/// Shorthand for results of this module.
pub(super) type Result<T> = std::result::Result<T, OnnxError>;
