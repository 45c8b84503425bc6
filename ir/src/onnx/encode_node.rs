//! Writing nodes.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

use super::encode::Place;
use super::error::Result;
use super::file::File;
use super::node::{NoSubgraphs, RawAttr, read_attr};
use super::origin::Origin;
use super::proto::node as proto;
use super::rope::Rope;
use super::wire::{Field, fields_in};
use crate::graph::{Graph, Node};
use crate::op::{Attr, Attrs, ONNX, Op};
use crate::tensor::Bytes;

/// Key of the metadata with the origin of a node.
const ORIGIN: &str = "graph_opt.origin";

/// Fields of a NodeProto that are written from the node, in the order in which new ones are written.
/// Others are written as they were read.
const FIELDS: [u32; 9] = [
    proto::INPUT,
    proto::OUTPUT,
    proto::NAME,
    proto::OP_TYPE,
    proto::ATTRIBUTE,
    proto::DOC_STRING,
    proto::DOMAIN,
    proto::OVERLOAD,
    proto::METADATA_PROPS,
];

/// The NodeProto of a node. Fields that did not change keep the spelling of the input.
pub(super) fn node(g: &Graph, n: &Node, place: &Place<'_>) -> Result<Rope> {
    let old = n.meta.model.clone().unwrap_or_default();
    let mut old_fields = Vec::new();
    for f in fields_in(&old, &(0..old.len())) {
        old_fields.push(f?);
    }
    let w = Writer { g, n, place, old: &old, fields: &old_fields };
    let mut out = Rope::default();
    let mut done = HashSet::new();
    for f in &old_fields {
        // All attributes are written at the place of the first one, so that new ones follow them.
        if done.insert(f.number) {
            w.part(&mut out, f.number)?;
        }
    }
    for number in FIELDS {
        if done.insert(number) {
            w.part(&mut out, number)?;
        }
    }
    out.share(&n.meta.foreign);
    Ok(out)
}

struct Writer<'a> {
    g: &'a Graph,
    n: &'a Node,
    place: &'a Place<'a>,
    old: &'a Bytes,
    fields: &'a [Field],
}

impl Writer<'_> {
    /// Writes all fields with this number.
    fn part(&self, out: &mut Rope, number: u32) -> Result<()> {
        let n = self.n;
        match number {
            proto::INPUT | proto::OUTPUT => {
                for v in if number == proto::INPUT { &n.inputs } else { &n.outputs } {
                    out.text(number, v.map_or("", |v| &self.g.value(v).name).as_bytes());
                }
            }
            proto::NAME => self.text(out, number, &n.name),
            proto::OP_TYPE => self.text(out, number, n.op.name()),
            proto::ATTRIBUTE => self.attrs(out)?,
            proto::DOC_STRING => self.text(out, number, &self.doc()),
            proto::DOMAIN => {
                let own = n.op.domain();
                let old = self
                    .old_text(number)
                    .filter(|d| *d == own.as_bytes() || own == ONNX && d.is_empty());
                match old {
                    Some(d) => out.text(number, d),
                    None if own == ONNX => {}
                    None => out.text(number, own.as_bytes()),
                }
            }
            proto::OVERLOAD => {
                let own = match &n.op {
                    Op::Other(o) => o.overload.as_bytes(),
                    _ => b"",
                };
                match self.old_text(number) {
                    _ if !own.is_empty() => out.text(number, own),
                    Some(old) => out.text(number, old),
                    None => {}
                }
            }
            proto::METADATA_PROPS => {
                for (k, v) in &n.meta.props {
                    out.entry(number, k, v);
                }
                let there = n.meta.props.iter().any(|(k, _)| k == ORIGIN);
                if self.has_props() && !n.meta.origin.is_empty() && !there {
                    out.entry(number, ORIGIN, &n.meta.origin);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether this version of the format has metadata of nodes.
    fn has_props(&self) -> bool {
        self.g.ir_version >= 10
    }

    fn doc(&self) -> Cow<'_, str> {
        let m = &self.n.meta;
        if m.doc.is_empty() && !self.has_props() && !m.origin.is_empty() {
            return format!("{ORIGIN}: {}", m.origin).into();
        }
        m.doc.as_str().into()
    }

    fn old_text(&self, number: u32) -> Option<&[u8]> {
        let f = self.fields.iter().rfind(|f| f.number == number)?;
        f.bytes().map(|r| &self.old[r])
    }

    fn text(&self, out: &mut Rope, number: u32, s: &str) {
        if !s.is_empty() || self.old_text(number).is_some() {
            out.text(number, s.as_bytes());
        }
    }

    fn attrs(&self, out: &mut Rope) -> Result<()> {
        let n = self.n;
        let mut now = n.op.attrs();
        // The axis has a default only before version 4. Since then it is required.
        if let Op::Concat(c) = &n.op
            && self.g.opset() >= 4
            && now.is_empty()
        {
            now.push(("axis".into(), Attr::Int(c.axis)));
        }
        now.extend(n.extra.iter().cloned());
        let mut done = HashSet::new();
        let same_op = self.old_text(proto::OP_TYPE) == Some(n.op.name().as_bytes());
        for f in self.fields.iter().filter(|f| same_op && f.number == proto::ATTRIBUTE) {
            let Some(bytes) = f.bytes().and_then(|r| self.old.slice(r)) else { continue };
            let (buf, range) = bytes.parts();
            let file = File {
                buf: Arc::clone(buf),
                dir: Origin::of(self.g).and_then(|o| o.dir.clone()),
                data: RefCell::default(),
            };
            let old = read_attr(&file, &range)?;
            if done.contains(old.name) {
                continue;
            }
            match now.iter().find(|(k, _)| **k == *old.name) {
                Some((_, a)) if self.unchanged(&file, &old, a) => {
                    out.bytes(proto::ATTRIBUTE, &bytes)
                }
                Some((_, a)) => out.message(proto::ATTRIBUTE, self.place.attr(old.name, a)?),
                None if self.is_default(&file, &old, &now) => out.bytes(proto::ATTRIBUTE, &bytes),
                None => continue,
            }
            done.insert(old.name.to_owned());
        }
        for (name, a) in &now {
            if done.insert(name.to_string()) {
                out.message(proto::ATTRIBUTE, self.place.attr(name, a)?);
            }
        }
        Ok(())
    }

    /// Whether the attribute equals the one in the input, and its bytes can be written unchanged.
    fn unchanged(&self, file: &File, old: &RawAttr<'_>, now: &Attr) -> bool {
        match now {
            Attr::Graph(g) => {
                let origin = Origin::of(&g.0);
                let from_here =
                    |o: &Origin| Arc::ptr_eq(&o.buf, &file.buf) && o.graph == old.graph_ranges();
                g.0.edits() == 0 && origin.is_some_and(from_here) && self.place.keeps_graph(&g.0)
            }
            Attr::Tensor(t) => self.place.keeps(t) && self.value(file, old).as_ref() == Some(now),
            now => self.value(file, old).as_ref() == Some(now),
        }
    }

    /// Whether the attribute in the input has its default value.
    fn is_default(&self, file: &File, old: &RawAttr<'_>, now: &Attrs) -> bool {
        let n = self.n;
        let Some(value) = self.value(file, old) else { return false };
        let mut with = now.clone();
        with.push((old.name.into(), value));
        Op::from_attrs(n.op.domain(), n.op.name(), with)
            .is_ok_and(|(op, extra)| op == n.op && extra.len() == n.extra.len())
    }

    fn value(&self, file: &File, old: &RawAttr<'_>) -> Option<Attr> {
        old.value(file, &mut NoSubgraphs).ok()?.ok()
    }
}
