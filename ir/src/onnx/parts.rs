//! The fields of a graph or function body, by kind, before they are read.

use std::ops::Range;

use super::error::Result;
use super::file::{File, annotated};
use super::proto::graph as proto;
use super::scope::Opsets;
use super::types::{self, Info};
use super::wire::fields;

/// The fields of a graph or function body; most as byte ranges of the file.
#[derive(Default)]
pub(super) struct Parts {
    /// A description of the graph for messages, such as `the graph`.
    pub what: String,
    pub name: String,
    pub opsets: Opsets,
    pub nodes: Vec<Range<usize>>,
    pub initializers: Vec<Range<usize>>,
    pub sparse: Vec<Range<usize>>,
    pub inputs: Vec<Info>,
    pub outputs: Vec<Info>,
    pub infos: Vec<Info>,
    /// Names in quantization annotations.
    pub annotated: Vec<String>,
    /// The GraphProto; empty for functions.
    pub graph: Vec<Range<usize>>,
    /// Whether names may refer to values of enclosing graphs.
    pub inner: bool,
    /// Whether it is the main graph.
    pub main: bool,
}

/// The fields of the GraphProto in these ranges.
pub(super) fn of_graph(file: &File, graph: Vec<Range<usize>>, what: &str) -> Result<Parts> {
    let mut p = Parts { what: what.into(), ..Parts::default() };
    for f in fields(&file.buf, &graph) {
        let f = f?;
        let Some(r) = f.bytes() else { continue };
        let info = |r: Range<usize>| types::read(&file.buf[r.clone()], r.start);
        match f.number {
            proto::NODE => p.nodes.push(r),
            proto::NAME => p.name = file.str(r)?.into(),
            proto::INITIALIZER => p.initializers.push(r),
            proto::INPUT => p.inputs.push(info(r)?),
            proto::OUTPUT => p.outputs.push(info(r)?),
            proto::VALUE_INFO => p.infos.push(info(r)?),
            proto::QUANTIZATION_ANNOTATION => p.annotated.extend(annotated(&file.buf, &r)?),
            proto::SPARSE_INITIALIZER => p.sparse.push(r),
            _ => {}
        }
    }
    p.graph = graph;
    Ok(p)
}
