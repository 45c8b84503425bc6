//! Writing tensors and attributes.

use std::cell::RefCell;
use std::path::{Component, Path};

use super::encode_graph;
use super::error::Result;
use super::proto::{attribute, attribute_type as kind, data_location, tensor};
use super::rope::Rope;
use super::wire::fields_in;
use crate::graph::{Graph, Node};
use crate::op::{Attr, Attrs};
use crate::tensor::{Bytes, Data, Tensor};

/// The output of the writer, which determines how external data is written.
#[derive(Default)]
pub(super) struct Place<'a> {
    /// The folder of the output, as a canonical path.
    pub dir: Option<&'a Path>,
    /// Whether references in the bytes of the input are valid from that folder.
    pub same: bool,
    /// The data file beside the model for large tensors, if there is one.
    pub spill: Option<RefCell<Spill>>,
}

/// A data file that is being written.
pub(super) struct Spill {
    pub name: String,
    pub data: Rope,
}

/// Size in bytes from which tensors go into the data file.
const SPILL_FROM: u64 = 1024;
/// Alignment of tensors in the data file, in bytes: runtimes map it into memory by pages.
const ALIGN: u64 = 4096;

impl Place<'_> {
    /// The path of a file relative to the output's folder; `None` if it is not below it.
    fn location(&self, path: &Path) -> Option<String> {
        let rest = path.strip_prefix(self.dir?).ok()?;
        let name = |c: Component<'_>| match c {
            Component::Normal(n) => n.to_str().filter(|n| !n.contains('\\')).map(str::to_owned),
            _ => None,
        };
        let parts: Option<Vec<String>> = rest.components().map(name).collect();
        parts.filter(|p| !p.is_empty()).map(|p| p.join("/"))
    }

    /// Whether the bytes of this tensor in the input can be written unchanged.
    pub fn keeps(&self, t: &Tensor) -> bool {
        match t.data() {
            Data::External { .. } => self.same,
            Data::Bytes(b) => self.spill.is_none() || (b.len() as u64) < SPILL_FROM,
            Data::Strings(_) => true,
        }
    }

    /// Whether the bytes of a node with these attributes can be written unchanged.
    fn keeps_attrs(&self, attrs: &Attrs) -> bool {
        attrs.iter().all(|(_, a)| match a {
            Attr::Tensor(t) => self.keeps(t),
            Attr::Graph(g) => self.keeps_graph(&g.0),
            _ => true,
        })
    }

    /// Whether the bytes of a subgraph can be written unchanged.
    pub fn keeps_graph(&self, g: &Graph) -> bool {
        (self.same && self.spill.is_none())
            || (g.values().all(|(_, v)| v.constant().is_none_or(|t| self.keeps(t)))
                && g.schedule().all(|n| self.keeps_node(g.node(n))))
    }

    /// Whether the bytes of a node that did not change can be written unchanged.
    pub fn keeps_node(&self, n: &Node) -> bool {
        (self.same && self.spill.is_none())
            || (self.keeps_attrs(&n.op.attrs()) && self.keeps_attrs(&n.extra))
    }

    /// Writes the elements into a TensorProto.
    fn elements(&self, out: &mut Rope, data: &Data) {
        match data {
            Data::Strings(s) => {
                for v in s.iter() {
                    out.text(tensor::STRING_DATA, v);
                }
            }
            Data::Bytes(b) => match &self.spill {
                Some(s) if b.len() as u64 >= SPILL_FROM => {
                    let mut s = s.borrow_mut();
                    let at = s.place();
                    s.data.share(b);
                    refer(out, &s.name, at, b.len() as u64);
                }
                _ => out.bytes(tensor::RAW_DATA, b),
            },
            Data::External { path, offset, len } => {
                if let Some(location) = self.location(path) {
                    refer(out, &location, *offset, *len);
                } else if let Some(s) = &self.spill {
                    let mut s = s.borrow_mut();
                    let at = s.place();
                    s.data.file(path.clone(), *offset, *len);
                    refer(out, &s.name, at, *len);
                } else {
                    out.head(tensor::RAW_DATA, *len);
                    out.file(path.clone(), *offset, *len);
                }
            }
        }
    }

    /// The TensorProto of a tensor.
    pub fn tensor(&self, name: &str, t: &Tensor) -> Rope {
        let mut out = Rope::default();
        for &d in t.dims() {
            out.int(tensor::DIMS, d as i64);
        }
        out.int(tensor::DATA_TYPE, t.dtype().to_onnx().into());
        if !name.is_empty() {
            out.text(tensor::NAME, name.as_bytes());
        }
        self.elements(&mut out, t.data());
        out
    }

    /// The TensorProto `proto` with its elements in another place. Other fields stay.
    pub fn moved(&self, proto: &Bytes, t: &Tensor) -> Result<Rope> {
        let mut out = Rope::default();
        for f in fields_in(proto, &(0..proto.len())) {
            let f = f?;
            let elements = matches!(
                f.number,
                tensor::FLOAT_DATA
                    | tensor::INT32_DATA
                    | tensor::STRING_DATA
                    | tensor::INT64_DATA
                    | tensor::RAW_DATA
                    | tensor::DOUBLE_DATA
                    | tensor::UINT64_DATA
                    | tensor::EXTERNAL_DATA
                    | tensor::DATA_LOCATION
            );
            if !elements {
                out.copy(&proto[f.span]);
            }
        }
        self.elements(&mut out, t.data());
        Ok(out)
    }

    /// The AttributeProto of an attribute.
    pub fn attr(&self, name: &str, a: &Attr) -> Result<Rope> {
        let mut out = Rope::default();
        if let Attr::Raw(b) | Attr::Ref(_, b) = a {
            out.share(b);
            return Ok(out);
        }
        out.text(attribute::NAME, name.as_bytes());
        let kind = match a {
            Attr::Float(v) => {
                out.float(attribute::F, *v);
                kind::FLOAT
            }
            Attr::Int(v) => {
                out.int(attribute::I, *v);
                kind::INT
            }
            Attr::Str(s) => {
                out.text(attribute::S, s);
                kind::STRING
            }
            Attr::Tensor(t) => {
                out.message(attribute::T, self.tensor("", t));
                kind::TENSOR
            }
            Attr::Graph(g) => {
                out.message(attribute::G, encode_graph::subgraph(&g.0, self)?);
                kind::GRAPH
            }
            Attr::Floats(v) => {
                v.iter().for_each(|&v| out.float(attribute::FLOATS, v));
                kind::FLOATS
            }
            Attr::Ints(v) => {
                v.iter().for_each(|&v| out.int(attribute::INTS, v));
                kind::INTS
            }
            Attr::Strs(v) => {
                v.iter().for_each(|v| out.text(attribute::STRINGS, v));
                kind::STRINGS
            }
            Attr::Raw(_) | Attr::Ref(..) => kind::UNDEFINED,
        };
        out.int(attribute::TYPE, kind);
        Ok(out)
    }
}

impl Spill {
    /// Adds zeros up to the next aligned offset, and returns it.
    fn place(&mut self) -> u64 {
        let gap = self.data.len().next_multiple_of(ALIGN) - self.data.len();
        self.data.copy(&vec![0; gap as usize]);
        self.data.len()
    }
}

/// Adds a reference to another file to a TensorProto.
fn refer(out: &mut Rope, location: &str, offset: u64, len: u64) {
    out.entry(tensor::EXTERNAL_DATA, "location", location);
    out.entry(tensor::EXTERNAL_DATA, "offset", &offset.to_string());
    out.entry(tensor::EXTERNAL_DATA, "length", &len.to_string());
    out.int(tensor::DATA_LOCATION, data_location::EXTERNAL);
}
