//! Reading and writing ONNX files.
//!
//! The reader indexes the file by byte ranges and does not copy weights, so a model takes little more memory
//! than its file. The writer writes the original bytes of everything that did not change.

mod check;
mod datum;
pub mod devices;
mod encode;
mod encode_graph;
mod encode_node;
mod error;
mod export;
mod external;
mod file;
mod import;
mod names;
mod node;
mod origin;
mod parts;
mod proto;
mod rope;
mod save;
mod scan;
mod scope;
mod sort;
mod tensor;
mod types;
mod wire;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::OnnxError;

use crate::graph::{Def, Graph};
use crate::op::Attr;
use crate::tensor::{Data, Tensor};
use crate::{Type, ValueId};

/// A model that was read from a file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The main graph. Types of results are unknown until [`infer_graph`](crate::infer::infer_graph) infers
    /// them.
    pub graph: Graph,
    /// Types that the file declares for results of nodes and outputs. They may be wrong.
    pub declared: Vec<(ValueId, Type)>,
    /// Remarks for the user, such as that nodes had to be sorted.
    pub remarks: Vec<String>,
}

/// Reads a model. External data must be in `dir`, the folder of the model; without `dir` it is refused.
///
/// # Errors
/// If the bytes are not a valid model.
pub fn import(bytes: Vec<u8>, dir: Option<&Path>) -> Result<Imported, OnnxError> {
    import::import(bytes, dir)
}

/// Reads a model from a file.
///
/// # Errors
/// If the file cannot be read, or is not a valid model.
pub fn load(path: impl AsRef<Path>) -> Result<Imported, OnnxError> {
    let path = path.as_ref();
    let bytes = read_file(path).map_err(|source| OnnxError::Io { path: path.into(), source })?;
    import(bytes, Some(path.parent().unwrap_or(Path::new("."))))
}

/// The bytes of the file. A file that is too large for a model is not read to its end.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    let meta = file.metadata()?;
    #[cfg(unix)]
    let pipe = std::os::unix::fs::FileTypeExt::is_fifo(&meta.file_type());
    #[cfg(not(unix))]
    let pipe = false;
    let fail = |kind: std::io::ErrorKind, what: &str| Err(std::io::Error::new(kind, what));
    if !meta.is_file() && !pipe {
        return fail(std::io::ErrorKind::InvalidInput, "not a regular file");
    }
    let mut bytes = Vec::with_capacity(meta.len().min(export::LIMIT) as usize);
    file.take(export::LIMIT).read_to_end(&mut bytes)?;
    if bytes.len() as u64 >= export::LIMIT {
        return fail(std::io::ErrorKind::FileTooLarge, "2 GiB or more, which no ONNX file can be");
    }
    Ok(bytes)
}

/// Reads one tensor, a serialized TensorProto such as ONNX's test data holds. Its elements must be
/// in the file itself.
///
/// # Errors
/// If the bytes are not a valid tensor.
pub fn tensor(bytes: Vec<u8>) -> Result<Tensor, OnnxError> {
    let whole = 0..bytes.len();
    let file = file::File { buf: std::sync::Arc::new(bytes), dir: None, data: Default::default() };
    tensor::read(&file, std::slice::from_ref(&whole), "the tensor")
}

/// Reads a file of a value of this type: a TensorProto, SequenceProto or OptionalProto.
///
/// # Errors
/// If the bytes are not a valid one, or of another kind.
pub fn datum(bytes: Vec<u8>, ty: &crate::Type) -> Result<crate::Datum, OnnxError> {
    let file = file::File { buf: std::sync::Arc::new(bytes), dir: None, data: Default::default() };
    datum::read(&file, ty)
}

/// Writes a model. A graph that did not change since it was read is written with its original bytes.
/// References to external data stay relative to the folder from which the model was read.
///
/// # Errors
/// If writing fails, or the model exceeds the 2 GiB of an ONNX file.
pub fn export(graph: &Graph, out: &mut dyn std::io::Write) -> Result<(), OnnxError> {
    export::export(graph, out)
}

/// Writes a model to a file. A temporary file in the same folder is written first and then renamed, so that
/// the file is never incomplete. External data in the output's folder is referred to. Other external data is
/// written into the file, or into a new `.data` file beside it if the model would exceed 2 GiB. Files with
/// data of the model are never overwritten.
///
/// # Errors
/// If writing fails, or the model exceeds the 2 GiB of an ONNX file.
pub fn save(graph: &Graph, path: impl AsRef<Path>) -> Result<(), OnnxError> {
    save::save(graph, path.as_ref())
}

/// Types that the file declares for values of this graph or subgraph other than inputs.
pub(crate) fn declared(graph: &Graph) -> &[(ValueId, Type)] {
    origin::Origin::of(graph).map_or(&[], |o| &o.declared)
}

/// Calls `f` with every tensor of the graph and its subgraphs.
fn each_tensor(graph: &Graph, f: &mut dyn FnMut(&Tensor)) {
    for (_, v) in graph.values() {
        if let Def::Const(t) | Def::Input(Some(t)) = &v.def {
            f(t);
        }
    }
    for n in graph.schedule() {
        let n = graph.node(n);
        for (_, a) in n.op.attrs().iter().chain(&n.extra) {
            match a {
                Attr::Tensor(t) => f(t),
                Attr::Graph(g) => each_tensor(&g.0, f),
                _ => {}
            }
        }
    }
}

/// Whether a tensor of the graph or its subgraphs is in another file.
fn external_anywhere(graph: &Graph) -> bool {
    let mut found = false;
    each_tensor(graph, &mut |t| found |= matches!(t.data(), Data::External { .. }));
    found
}
