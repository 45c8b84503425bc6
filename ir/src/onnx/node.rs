//! NodeProto and AttributeProto.

use std::ops::Range;
use std::sync::Arc;

use super::error::{OnnxError, Result};
use super::file::File;
use super::proto::{attribute, attribute_type as kind, entry, node};
use super::tensor::{self, numbers};
use super::wire::{Payload, fields_in};
use crate::op::{Attr, ONNX};
use crate::tensor::Data;

/// A NodeProto. Its strings are in the file's buffer.
#[derive(Default)]
pub(super) struct RawNode<'a> {
    pub name: &'a str,
    pub op_type: &'a str,
    /// `ai.onnx` for ONNX's own.
    pub domain: &'a str,
    pub overload: &'a str,
    pub inputs: Vec<&'a str>,
    pub outputs: Vec<&'a str>,
    pub attrs: Vec<RawAttr<'a>>,
    pub doc: &'a str,
    pub props: Vec<(String, String)>,
    /// Spans of the fields that are not read.
    pub foreign: Vec<Range<usize>>,
    pub range: Range<usize>,
}

impl RawNode<'_> {
    /// Name, or first output, and operator, for messages.
    pub fn label(&self) -> String {
        label(self.name, self.op_type, self.outputs.first().copied())
    }

    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(OnnxError::Node { node: self.label(), offset: self.range.start, what: what.into() })
    }
}

/// The label of a node in messages: its name, or its first output, and its operator.
pub(super) fn label(name: &str, op_type: &str, output: Option<&str>) -> String {
    match (name, output) {
        ("", Some(o)) => format!("{op_type} of {:?}", short(o)),
        ("", None) => op_type.to_owned(),
        _ => format!("{:?} ({op_type})", short(name)),
    }
}

/// A name for messages: names in files may be of any length.
pub(super) fn short(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((i, _)) => format!("{}…", &name[..i]),
        None => name.to_owned(),
    }
}

/// An AttributeProto: its fields, or where they are in the file.
#[derive(Default)]
pub(super) struct RawAttr<'a> {
    pub name: &'a str,
    pub reference: &'a str,
    pub range: Range<usize>,
    kind: i64,
    i: i64,
    f: f32,
    s: Option<Range<usize>>,
    tensor: Vec<Range<usize>>,
    graph: Vec<Range<usize>>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    strings: Vec<Range<usize>>,
    tensors: Vec<Range<usize>>,
    graphs: Vec<Range<usize>>,
    sparse: Vec<Range<usize>>,
}

/// Reads a NodeProto, without the tensors and graphs in its attributes.
pub(super) fn read<'a>(file: &'a File, range: &Range<usize>) -> Result<RawNode<'a>> {
    let mut n = RawNode { range: range.clone(), ..RawNode::default() };
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes()) {
            (node::INPUT, Some(r)) => n.inputs.push(file.str(r)?),
            (node::OUTPUT, Some(r)) => n.outputs.push(file.str(r)?),
            (node::NAME, Some(r)) => n.name = file.str(r)?,
            (node::OP_TYPE, Some(r)) => n.op_type = file.str(r)?,
            (node::ATTRIBUTE, Some(r)) => n.attrs.push(read_attr(file, &r)?),
            (node::DOC_STRING, Some(r)) => n.doc = file.str(r)?,
            (node::DOMAIN, Some(r)) => n.domain = file.str(r)?,
            (node::METADATA_PROPS, Some(r)) => n.props.push(read_entry(file, &r)?),
            (node::OVERLOAD, Some(r)) => n.overload = file.str(r)?,
            _ => n.foreign.push(f.span),
        }
    }
    if n.domain.is_empty() {
        n.domain = ONNX;
    }
    Ok(n)
}

/// Reads a StringStringEntryProto: a key and a value.
pub(super) fn read_entry(file: &File, range: &Range<usize>) -> Result<(String, String)> {
    let (mut key, mut value) = ("", "");
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes()) {
            (entry::KEY, Some(r)) => key = file.str(r)?,
            (entry::VALUE, Some(r)) => value = file.str(r)?,
            _ => {}
        }
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The kind of attribute whose value this field holds.
fn kind_of(field: u32) -> Option<i64> {
    Some(match field {
        attribute::F => kind::FLOAT,
        attribute::I => kind::INT,
        attribute::S => kind::STRING,
        attribute::T => kind::TENSOR,
        attribute::G => kind::GRAPH,
        attribute::FLOATS => kind::FLOATS,
        attribute::INTS => kind::INTS,
        attribute::STRINGS => kind::STRINGS,
        attribute::TENSORS => kind::TENSORS,
        attribute::GRAPHS => kind::GRAPHS,
        _ => return None,
    })
}

/// Reads an AttributeProto, except for the tensors and graphs in it.
pub(super) fn read_attr<'a>(file: &'a File, range: &Range<usize>) -> Result<RawAttr<'a>> {
    let mut a = RawAttr { range: range.clone(), ..RawAttr::default() };
    // Files older than IR version 2 name no kind: it follows from the last value.
    let mut implied = kind::UNDEFINED;
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, &f.payload) {
            (attribute::NAME, Payload::Bytes(r)) => a.name = file.str(r.clone())?,
            (attribute::F, Payload::Fixed32(v)) => a.f = f32::from_bits(*v),
            (attribute::I, Payload::Varint(v)) => a.i = *v as i64,
            (attribute::S, Payload::Bytes(r)) => a.s = Some(r.clone()),
            (attribute::T, Payload::Bytes(r)) => a.tensor.push(r.clone()),
            (attribute::G, Payload::Bytes(r)) => a.graph.push(r.clone()),
            (attribute::FLOATS, Payload::Fixed32(v)) => a.floats.push(f32::from_bits(*v)),
            (attribute::FLOATS, Payload::Bytes(r)) => {
                let b = &file.buf[r.clone()];
                let float = |c: &[u8]| c.try_into().map(f32::from_le_bytes).unwrap_or_default();
                a.floats.extend(b.chunks_exact(4).map(float));
            }
            (attribute::INTS, _) => numbers(&file.buf, &f, |v| a.ints.push(v as i64))?,
            (attribute::STRINGS, Payload::Bytes(r)) => a.strings.push(r.clone()),
            (attribute::TENSORS, Payload::Bytes(r)) => a.tensors.push(r.clone()),
            (attribute::GRAPHS, Payload::Bytes(r)) => a.graphs.push(r.clone()),
            (attribute::TYPE, Payload::Varint(v)) => a.kind = *v as i64,
            (attribute::REF_ATTR_NAME, Payload::Bytes(r)) => a.reference = file.str(r.clone())?,
            (attribute::SPARSE_TENSOR | attribute::SPARSE_TENSORS, Payload::Bytes(r)) => {
                a.sparse.push(r.clone());
            }
            _ => continue,
        }
        implied = kind_of(f.number).unwrap_or(implied);
    }
    if a.kind == kind::UNDEFINED {
        a.kind = implied;
    }
    Ok(a)
}

/// The reader of the graphs in attributes.
pub(super) trait Subgraphs {
    fn subgraph(&mut self, attr: &str, ranges: &[Range<usize>]) -> Result<Attr>;
    /// Notes that the attribute refers to external data and is not read any further.
    fn pin(&mut self);
}

/// A reader for attributes that must not be graphs.
pub(super) struct NoSubgraphs;

impl Subgraphs for NoSubgraphs {
    fn subgraph(&mut self, attr: &str, _: &[Range<usize>]) -> Result<Attr> {
        Err(OnnxError::Model(format!("attribute {attr} must not be a graph here")))
    }

    fn pin(&mut self) {}
}

impl RawAttr<'_> {
    /// The place of its graph in the file.
    pub fn graph_ranges(&self) -> &[Range<usize>] {
        &self.graph
    }

    /// The value of the attribute. Graphs are read by `subgraphs`. The inner error is a message about the
    /// attribute itself.
    pub fn value(
        &self,
        file: &File,
        subgraphs: &mut dyn Subgraphs,
    ) -> Result<std::result::Result<Attr, String>> {
        let what = format!("attribute {}", self.name);
        let copy = |r: &Range<usize>| file.buf[r.clone()].to_vec();
        if !self.reference.is_empty() {
            return Ok(Ok(Attr::Ref(self.reference.into(), file.bytes(self.range.clone()))));
        }
        Ok(Ok(match self.kind {
            kind::FLOAT => Attr::Float(self.f),
            kind::INT => Attr::Int(self.i),
            kind::STRING => Attr::Str(self.s.as_ref().map_or_else(Vec::new, copy)),
            kind::TENSOR if self.tensor.is_empty() => {
                return Ok(Err(format!("{what} has no tensor")));
            }
            kind::TENSOR => Attr::Tensor(Arc::new(tensor::read(file, &self.tensor, &what)?)),
            kind::GRAPH if self.graph.is_empty() => return Ok(Err(format!("{what} has no graph"))),
            kind::GRAPH => subgraphs.subgraph(self.name, &self.graph)?,
            kind::FLOATS => Attr::Floats(self.floats.clone()),
            kind::INTS => Attr::Ints(self.ints.clone()),
            kind::STRINGS => Attr::Strs(self.strings.iter().map(copy).collect()),
            kind::UNDEFINED | kind::TENSORS..=kind::TYPE_PROTOS => {
                // Kept as they are, but the tensors and graphs in them must be valid.
                for r in &self.tensors {
                    let t = tensor::read(file, std::slice::from_ref(r), &what)?;
                    if matches!(t.data(), Data::External { .. }) {
                        subgraphs.pin();
                    }
                }
                for r in &self.sparse {
                    tensor::read_sparse(file, r)?;
                    if tensor::is_sparse_external(file, r) {
                        subgraphs.pin();
                    }
                }
                for r in &self.graphs {
                    subgraphs.subgraph(self.name, std::slice::from_ref(r))?;
                }
                Attr::Raw(file.bytes(self.range.clone()))
            }
            k => {
                return Ok(Err(format!(
                    "{what} is of kind {k}, expected 0 to {}",
                    kind::TYPE_PROTOS
                )));
            }
        }))
    }
}
