//! Reading and writing ONNX files.
//!
//! The reader indexes the file by byte ranges and leaves weights where they are, so a model costs
//! little more than its file. The writer puts back the bytes of everything that did not change.

mod check;
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

/// A model that was read.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The main graph. Types of node results are unknown until they are inferred.
    pub graph: Graph,
    /// Types that the file claims for results of nodes and outputs; they may be wrong.
    pub declared: Vec<(ValueId, Type)>,
    /// What the user should know, such as that nodes had to be sorted.
    pub remarks: Vec<String>,
}

/// Reads a model. External data is looked for in `dir`, the model's folder, and refused without it.
///
/// # Errors
/// If the bytes are no sound model.
pub fn import(bytes: Vec<u8>, dir: Option<&Path>) -> Result<Imported, OnnxError> {
    import::import(bytes, dir)
}

/// Reads a model from a file.
///
/// # Errors
/// If the file cannot be read, or is no sound model.
pub fn load(path: impl AsRef<Path>) -> Result<Imported, OnnxError> {
    let path = path.as_ref();
    let bytes = read_file(path).map_err(|source| OnnxError::Io { path: path.into(), source })?;
    import(bytes, Some(path.parent().unwrap_or(Path::new("."))))
}

/// The file's bytes; a file that no model can be is not read to its end.
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
/// If the bytes are no sound tensor.
pub fn tensor(bytes: Vec<u8>) -> Result<Tensor, OnnxError> {
    let whole = 0..bytes.len();
    let file = file::File { buf: std::sync::Arc::new(bytes), dir: None, data: Default::default() };
    tensor::read(&file, std::slice::from_ref(&whole), "the tensor")
}

/// Writes a model. A graph that did not change since it was read is written as it was. References to
/// external data stay what they are, relative to the folder that the model was read from.
///
/// # Errors
/// If writing fails, or the model would not fit into an ONNX file.
pub fn export(graph: &Graph, out: &mut dyn std::io::Write) -> Result<(), OnnxError> {
    export::export(graph, out)
}

/// Writes a model to a file: beside it first, then in one step to its place. External data is
/// referred to where it lies below the output's folder, and otherwise becomes part of the file, or
/// of a fresh `.data` file beside it where the whole would exceed 2 GiB. Files that hold
/// data of the model are never written to.
///
/// # Errors
/// If writing fails, or the model would not fit into an ONNX file.
pub fn save(graph: &Graph, path: impl AsRef<Path>) -> Result<(), OnnxError> {
    save::save(graph, path.as_ref())
}

/// Types that the file claims for values of this graph or subgraph, other than its inputs.
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

/// Whether anything in the graph or its subgraphs lies in another file.
fn external_anywhere(graph: &Graph) -> bool {
    let mut found = false;
    each_tensor(graph, &mut |t| found |= matches!(t.data(), Data::External { .. }));
    found
}
