//! NodeProto and AttributeProto.

use std::ops::Range;
use std::sync::Arc;

use super::error::{OnnxError, Result};
use super::file::File;
use super::tensor::{self, numbers};
use super::wire::{Payload, fields_in};
use crate::op::{Attr, Attrs, ONNX};
use crate::tensor::Data;

/// A NodeProto, its strings still in the file's buffer.
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
    /// Name and operator, for messages.
    pub fn label(&self) -> String {
        label(self.name, self.op_type, self.outputs.first().copied())
    }

    pub fn fail<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(OnnxError::Node { node: self.label(), offset: self.range.start, what: what.into() })
    }
}

/// A node in messages: its name, or its first output, and its operator.
pub(super) fn label(name: &str, op_type: &str, output: Option<&str>) -> String {
    match (name, output) {
        ("", Some(o)) => format!("{op_type} of {:?}", short(o)),
        ("", None) => op_type.to_owned(),
        _ => format!("{:?} ({op_type})", short(name)),
    }
}

/// Names in files may be of any length.
pub(super) fn short(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((i, _)) => format!("{}…", &name[..i]),
        None => name.to_owned(),
    }
}

/// An AttributeProto, in pieces.
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

/// Reads a NodeProto.
pub(super) fn read<'a>(file: &'a File, range: &Range<usize>) -> Result<RawNode<'a>> {
    let mut n = RawNode {
        name: "",
        op_type: "",
        domain: "",
        overload: "",
        inputs: Vec::new(),
        outputs: Vec::new(),
        attrs: Vec::new(),
        doc: "",
        props: Vec::new(),
        foreign: Vec::new(),
        range: range.clone(),
    };
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes()) {
            (1, Some(r)) => n.inputs.push(file.str(r)?),
            (2, Some(r)) => n.outputs.push(file.str(r)?),
            (3, Some(r)) => n.name = file.str(r)?,
            (4, Some(r)) => n.op_type = file.str(r)?,
            (5, Some(r)) => n.attrs.push(read_attr(file, &r)?),
            (6, Some(r)) => n.doc = file.str(r)?,
            (7, Some(r)) => n.domain = file.str(r)?,
            (9, Some(r)) => n.props.push(read_entry(file, &r)?),
            (number, bytes) => {
                if let (8, Some(r)) = (number, bytes) {
                    n.overload = file.str(r)?;
                }
                n.foreign.push(f.span);
            }
        }
    }
    if n.domain.is_empty() {
        n.domain = ONNX;
    }
    Ok(n)
}

/// Reads a StringStringEntryProto.
pub(super) fn read_entry(file: &File, range: &Range<usize>) -> Result<(String, String)> {
    let (mut key, mut value) = ("", "");
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes()) {
            (1, Some(r)) => key = file.str(r)?,
            (2, Some(r)) => value = file.str(r)?,
            _ => {}
        }
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads an AttributeProto.
pub(super) fn read_attr<'a>(file: &'a File, range: &Range<usize>) -> Result<RawAttr<'a>> {
    let mut a = RawAttr {
        name: "",
        reference: "",
        range: range.clone(),
        kind: 0,
        i: 0,
        f: 0.0,
        s: None,
        tensor: Vec::new(),
        graph: Vec::new(),
        floats: Vec::new(),
        ints: Vec::new(),
        strings: Vec::new(),
        tensors: Vec::new(),
        graphs: Vec::new(),
        sparse: Vec::new(),
    };
    // Files older than IR version 2 name no kind.
    let mut guess = 0;
    for f in fields_in(&file.buf, range) {
        let f = f?;
        let kind = match (f.number, &f.payload) {
            (1, Payload::Bytes(r)) => {
                a.name = file.str(r.clone())?;
                0
            }
            (2, Payload::Fixed32(v)) => {
                a.f = f32::from_bits(*v);
                1
            }
            (3, Payload::Varint(v)) => {
                a.i = *v as i64;
                2
            }
            (4, Payload::Bytes(r)) => {
                a.s = Some(r.clone());
                3
            }
            (5, Payload::Bytes(r)) => {
                a.tensor.push(r.clone());
                4
            }
            (6, Payload::Bytes(r)) => {
                a.graph.push(r.clone());
                5
            }
            (7, Payload::Fixed32(v)) => {
                a.floats.push(f32::from_bits(*v));
                6
            }
            (7, Payload::Bytes(r)) => {
                let b = &file.buf[r.clone()];
                let float = |c: &[u8]| c.try_into().map(f32::from_le_bytes).unwrap_or_default();
                a.floats.extend(b.chunks_exact(4).map(float));
                6
            }
            (8, _) => {
                numbers(&file.buf, &f, |v| a.ints.push(v as i64))?;
                7
            }
            (9, Payload::Bytes(r)) => {
                a.strings.push(r.clone());
                8
            }
            (10, Payload::Bytes(r)) => {
                a.tensors.push(r.clone());
                9
            }
            (11, Payload::Bytes(r)) => {
                a.graphs.push(r.clone());
                10
            }
            (20, Payload::Varint(v)) => {
                a.kind = *v as i64;
                0
            }
            (21, Payload::Bytes(r)) => {
                a.reference = file.str(r.clone())?;
                0
            }
            (22 | 23, Payload::Bytes(r)) => {
                a.sparse.push(r.clone());
                0
            }
            _ => 0,
        };
        if kind != 0 {
            guess = kind;
        }
    }
    if a.kind == 0 {
        a.kind = guess;
    }
    Ok(a)
}

/// Graphs in attributes, for whoever reads them.
pub(super) trait Subgraphs {
    fn subgraph(&mut self, attr: &str, ranges: &[Range<usize>]) -> Result<Attr>;
    /// Tells that the attribute refers to external data and is not looked into later.
    fn pin(&mut self);
}

/// For attributes that cannot be graphs.
pub(super) struct NoSubgraphs;

impl Subgraphs for NoSubgraphs {
    fn subgraph(&mut self, attr: &str, _: &[Range<usize>]) -> Result<Attr> {
        Err(OnnxError::Model(format!("attribute {attr} cannot be a graph here")))
    }

    fn pin(&mut self) {}
}

impl RawAttr<'_> {
    /// Where its graph lies.
    pub fn graph_ranges(&self) -> &[Range<usize>] {
        &self.graph
    }

    /// The value; subgraphs are read by `subgraphs`.
    pub fn value(
        &self,
        file: &File,
        subgraphs: &mut dyn Subgraphs,
    ) -> Result<std::result::Result<Attr, String>> {
        let what = format!("attribute {}", self.name);
        let copy = |r: &Range<usize>| file.buf[r.clone()].to_vec();
        if !self.reference.is_empty() {
            return Ok(Ok(Attr::Raw(file.bytes(self.range.clone()))));
        }
        Ok(Ok(match self.kind {
            1 => Attr::Float(self.f),
            2 => Attr::Int(self.i),
            3 => Attr::Str(self.s.as_ref().map_or_else(Vec::new, copy)),
            4 if self.tensor.is_empty() => return Ok(Err(format!("{what} has no tensor"))),
            4 => Attr::Tensor(Arc::new(tensor::read(file, &self.tensor, &what)?)),
            5 if self.graph.is_empty() => return Ok(Err(format!("{what} has no graph"))),
            5 => subgraphs.subgraph(self.name, &self.graph)?,
            6 => Attr::Floats(self.floats.clone()),
            7 => Attr::Ints(self.ints.clone()),
            8 => Attr::Strs(self.strings.iter().map(copy).collect()),
            0 | 9..=14 => {
                // Carried as they are, but whatever they contain must be sound, too.
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
            k => return Ok(Err(format!("{what} is of kind {k}, which does not exist"))),
        }))
    }
}

/// The name of an attribute that is given twice.
pub(super) fn repeated(attrs: &Attrs) -> Option<&str> {
    let again =
        |(i, (name, _)): &(usize, &(Arc<str>, Attr))| attrs[..*i].iter().any(|a| a.0 == *name);
    attrs.iter().enumerate().find(again).map(|(_, a)| &*a.0)
}
