//! What can be wrong with a file.

use std::path::PathBuf;

use super::wire::WireError;

/// Why a model could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The output could not be written.
    #[error("cannot write the model: {0}")]
    Write(#[from] std::io::Error),
    /// Not an ONNX model at all.
    #[error("not an ONNX model: {0}")]
    NotOnnx(&'static str),
    /// Not the wire format of protocol buffers.
    #[error("broken file, at byte {offset}: {what}")]
    Wire {
        /// Where in the file.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Something in the header or the graph as a whole.
    #[error("{0}")]
    Model(String),
    /// A graph, a subgraph or a function.
    #[error("{graph}: {what}")]
    Graph {
        /// Which one.
        graph: String,
        /// What is wrong.
        what: String,
    },
    /// A node.
    #[error("node {node}, at byte {offset}: {what}")]
    Node {
        /// Its name and operator.
        node: String,
        /// Where in the file.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// A tensor.
    #[error("tensor {tensor:?}, at byte {offset}: {what}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Where in the file.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// A graph, subgraph or function nested in a node.
    #[error("in node {node}: {source}")]
    Within {
        /// Name and operator of the node.
        node: String,
        /// What is wrong inside.
        source: Box<OnnxError>,
    },
    /// The file would exceed what protocol buffers can hold.
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
