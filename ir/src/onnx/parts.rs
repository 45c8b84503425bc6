//! A scope of names, sorted into its parts but not yet understood.

use std::ops::Range;

use super::error::Result;
use super::file::{File, annotated};
use super::scope::Opsets;
use super::types::{self, Info};
use super::wire::fields;

/// What defines a scope, in pieces.
#[derive(Default)]
pub(super) struct Parts {
    /// For messages.
    pub what: String,
    pub name: String,
    pub opsets: Opsets,
    pub nodes: Vec<Range<usize>>,
    pub initializers: Vec<Range<usize>>,
    pub sparse: Vec<Range<usize>>,
    pub inputs: Vec<Info>,
    pub outputs: Vec<Info>,
    pub infos: Vec<Info>,
    /// Names of values with quantization annotations.
    pub annotated: Vec<String>,
    /// The GraphProto; empty for functions.
    pub graph: Vec<Range<usize>>,
    /// Whether names may refer to a scope around this one.
    pub inner: bool,
    /// Whether it is the main graph.
    pub main: bool,
}

/// Sorts the fields of a GraphProto.
pub(super) fn of_graph(file: &File, graph: Vec<Range<usize>>, what: &str) -> Result<Parts> {
    let mut p = Parts { what: what.into(), ..Parts::default() };
    for f in fields(&file.buf, &graph) {
        let f = f?;
        let Some(r) = f.bytes() else { continue };
        let info = |r: Range<usize>| types::read(&file.buf[r.clone()], r.start);
        match f.number {
            1 => p.nodes.push(r),
            2 => p.name = file.str(r)?.into(),
            5 => p.initializers.push(r),
            11 => p.inputs.push(info(r)?),
            12 => p.outputs.push(info(r)?),
            13 => p.infos.push(info(r)?),
            14 => p.annotated.extend(annotated(&file.buf, &r)?),
            15 => p.sparse.push(r),
            _ => {}
        }
    }
    p.graph = graph;
    Ok(p)
}
