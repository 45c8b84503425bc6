//! Writing graphs: fields in the order of the input, with changed ones in the same places.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::encode::Place;
use super::encode_node;
use super::error::Result;
use super::file;
use super::origin::Origin;
use super::proto::{
    attribute, attribute_type, function as function_field, graph as proto, node as node_field,
    sparse, tensor,
};
use super::rope::Rope;
use super::tensor::name_in;
use super::types;
use super::wire::{Field, fields, fields_in};
use crate::graph::{Def, Graph};
use crate::op::Op;
use crate::op_context::dequantized;
use crate::{Type, ValueId};

/// A GraphProto in an attribute.
pub(super) fn subgraph(g: &Graph, place: &Place<'_>) -> Result<Rope> {
    if g.edits() == 0
        && let Some(origin) = Origin::of(g)
        && !origin.graph.is_empty()
        && place.keeps_graph(g)
    {
        let mut out = Rope::default();
        for r in &origin.graph {
            out.share(&origin.slice(r.clone()));
        }
        return Ok(out);
    }
    write(g, place, true)
}

/// The GraphProto of a model.
pub(super) fn graph(g: &Graph, place: &Place<'_>) -> Result<Rope> {
    write(g, place, false)
}

/// The FunctionProto of a body that was edited; `old` is the function in the file.
pub(super) fn function(
    g: &Graph,
    place: &Place<'_>,
    origin: &Origin,
    old: &Range<usize>,
) -> Result<Rope> {
    let mut w = GraphWriter { node: function_field::NODE, ..GraphWriter::new(g, place, true) };
    let mut done = false;
    for f in fields_in(&origin.buf, old) {
        let f = f?;
        match (f.number, f.bytes()) {
            (function_field::NODE, _) if done => {}
            (function_field::NODE, _) => {
                w.nodes()?;
                done = true;
            }
            (function_field::VALUE_INFO, Some(r)) => {
                let name = types::read(&origin.buf[r.clone()], r.start)?.name;
                let stranger = w.origin.is_some_and(|o| o.strangers.contains(&name));
                if stranger || w.by_name.contains_key(&*name) {
                    w.out.share(&origin.slice(f.span));
                }
            }
            _ => w.out.share(&origin.slice(f.span)),
        }
    }
    Ok(w.out)
}

fn write(g: &Graph, place: &Place<'_>, inner: bool) -> Result<Rope> {
    let mut w = GraphWriter::new(g, place, inner);
    let mut old = Old::default();
    if let Some(origin) = w.origin {
        for f in fields(&origin.buf, &origin.graph) {
            old.add(f?);
        }
    }
    w.write(&old)?;
    Ok(w.out)
}

/// Fields of the GraphProto in the input.
#[derive(Default)]
struct Old {
    fields: Vec<Field>,
    inputs: Vec<Range<usize>>,
    outputs: Vec<Range<usize>>,
}

impl Old {
    fn add(&mut self, f: Field) {
        match (f.number, f.bytes()) {
            (proto::INPUT, Some(r)) => self.inputs.push(r),
            (proto::OUTPUT, Some(r)) => self.outputs.push(r),
            _ => {}
        }
        self.fields.push(f);
    }
}

struct GraphWriter<'a> {
    g: &'a Graph,
    /// Whether the graph is in an attribute or a function.
    inner: bool,
    /// The number of the field that holds nodes.
    node: u32,
    place: &'a Place<'a>,
    origin: Option<&'a Origin>,
    by_name: HashMap<&'a str, ValueId>,
    /// Whether extents are hidden from readers of the file.
    hides: bool,
    out: Rope,
    /// Constants that are written.
    constants: BTreeSet<ValueId>,
}

impl<'a> GraphWriter<'a> {
    fn new(g: &'a Graph, place: &'a Place<'a>, inner: bool) -> Self {
        Self {
            g,
            inner,
            node: proto::NODE,
            place,
            origin: Origin::of(g),
            by_name: g.values().map(|(id, v)| (&*v.name, id)).collect(),
            hides: hides_extents(g),
            out: Rope::default(),
            constants: BTreeSet::new(),
        }
    }

    fn write(&mut self, old: &Old) -> Result<()> {
        let mut done = BTreeSet::new();
        for f in &old.fields {
            match f.number {
                proto::NAME if done.insert(f.number) => self.name(true),
                proto::NAME => {}
                // Lists that may have been reordered are written at the place of the first item.
                proto::NODE | proto::INPUT | proto::OUTPUT => {
                    if done.insert(f.number) {
                        self.list(f.number, old)?;
                    }
                }
                _ => self.keep(f)?,
            }
        }
        if !done.contains(&proto::NAME) {
            self.name(false);
        }
        // Constants that become nodes are written with those, and not once more.
        if self.hosts_constants() && done.insert(proto::NODE) {
            self.list(proto::NODE, old)?;
        }
        self.new_constants()?;
        for number in [proto::NODE, proto::INPUT, proto::OUTPUT] {
            if !done.contains(&number) {
                self.list(number, old)?;
            }
        }
        Ok(())
    }

    fn list(&mut self, number: u32, old: &Old) -> Result<()> {
        match number {
            proto::NODE => self.nodes(),
            proto::INPUT => self.inputs(old),
            _ => self.outputs(old),
        }
    }

    fn name(&mut self, spelled: bool) {
        if spelled || !self.g.name.is_empty() {
            self.out.text(proto::NAME, self.g.name.as_bytes());
        }
    }

    /// Whether new constants become nodes. Before IR version 4, initializers must be inputs as well; branches have
    /// no inputs, and bodies of loops have only those of the loop. Functions have no initializers.
    fn hosts_constants(&self) -> bool {
        self.node != proto::NODE || self.inner && self.g.ir_version < 4
    }

    fn constants_as_nodes(&mut self) {
        let kept = |name: &str| self.origin.is_some_and(|o| o.tensors.contains_key(name));
        let new = |(_, v): &(ValueId, &crate::Value)| v.constant().is_some() && !kept(&v.name);
        let new: Vec<ValueId> = self.g.values().filter(new).map(|(id, _)| id).collect();
        for id in new {
            let value = self.g.value(id);
            let Some(t) = value.constant() else { continue };
            let mut attr = Rope::default();
            attr.text(attribute::NAME, b"value");
            attr.message(attribute::T, self.place.tensor("", t));
            attr.int(attribute::TYPE, attribute_type::TENSOR);
            let mut node = Rope::default();
            node.text(node_field::OUTPUT, value.name.as_bytes());
            node.text(node_field::OP_TYPE, b"Constant");
            node.message(node_field::ATTRIBUTE, attr);
            self.out.message(self.node, node);
            self.constants.insert(id);
        }
    }

    fn nodes(&mut self) -> Result<()> {
        if self.hosts_constants() {
            self.constants_as_nodes();
        }
        for id in self.g.schedule() {
            let n = self.g.node(id);
            match &n.meta.verbatim {
                Some(b) if self.place.keeps_node(n) => self.out.bytes(self.node, b),
                _ => {
                    let node = encode_node::node(self.g, n, self.place)?;
                    self.out.message(self.node, node);
                }
            }
        }
        Ok(())
    }

    /// Writes a field of the input other than nodes, inputs and outputs, unless it is obsolete.
    fn keep(&mut self, f: &Field) -> Result<()> {
        let Some(origin) = self.origin else { return Ok(()) };
        let Some(r) = f.bytes() else {
            self.out.share(&origin.slice(f.span.clone()));
            return Ok(());
        };
        let live = match f.number {
            // A reader would take the extents from here.
            proto::VALUE_INFO if self.hides => false,
            proto::VALUE_INFO if self.g.narrowed => return self.declaration(origin, f, &r),
            proto::INITIALIZER => return self.initializer(origin, f, &r),
            proto::VALUE_INFO => {
                let info = types::read(&origin.buf[r.clone()], r.start)?;
                match self.by_name.get(&*info.name) {
                    Some(&v) => self.g.value(v).ty.meet(&info.ty).is_some(),
                    None => origin.strangers.contains(&info.name),
                }
            }
            proto::QUANTIZATION_ANNOTATION => {
                let names = file::annotated(&origin.buf, &r)?;
                let stays =
                    |n: &String| self.by_name.contains_key(&**n) || origin.strangers.contains(n);
                names.iter().all(stays)
            }
            proto::SPARSE_INITIALIZER => {
                let mut values = 0..0;
                for f in fields_in(&origin.buf, &r) {
                    let f = f?;
                    if f.number == sparse::VALUES {
                        values = f.bytes().unwrap_or(values);
                    }
                }
                let name = name_in(&origin.buf, &[values])?;
                self.by_name.contains_key(name)
            }
            _ => true,
        };
        if live {
            self.out.share(&origin.slice(f.span.clone()));
        }
        Ok(())
    }

    /// Writes the declaration of a value, with the extents that became known.
    fn declaration(&mut self, origin: &Origin, f: &Field, r: &Range<usize>) -> Result<()> {
        let info = types::read(&origin.buf[r.clone()], r.start)?;
        let now = self.by_name.get(&*info.name).map(|&v| &self.g.value(v).ty);
        match now {
            Some(ty) if *ty != info.ty && *ty != Type::Unknown => {
                self.out.text(proto::VALUE_INFO, &types::rewrite(&origin.buf[r.clone()], ty)?);
            }
            Some(_) => self.out.share(&origin.slice(f.span.clone())),
            None if origin.strangers.contains(&info.name) => {
                self.out.share(&origin.slice(f.span.clone()));
            }
            None => {}
        }
        Ok(())
    }

    fn initializer(&mut self, origin: &Origin, f: &Field, r: &Range<usize>) -> Result<()> {
        let name = name_in(&origin.buf, std::slice::from_ref(r))?;
        let Some(&v) = self.by_name.get(name) else { return Ok(()) };
        let (Def::Const(t) | Def::Input(Some(t))) = &self.g.value(v).def else { return Ok(()) };
        self.constants.insert(v);
        let same = origin.tensors.get(name).is_some_and(|o| Arc::ptr_eq(o, t) || o == t);
        if same && self.place.keeps(t) {
            self.out.share(&origin.slice(f.span.clone()));
        } else if same {
            let moved = self.place.moved(&origin.slice(r.clone()), t)?;
            self.out.message(proto::INITIALIZER, moved);
        } else {
            self.out.message(proto::INITIALIZER, self.place.tensor(name, t));
        }
        Ok(())
    }

    fn new_constants(&mut self) -> Result<()> {
        for (id, v) in self.g.values() {
            if let Def::Const(t) | Def::Input(Some(t)) = &v.def
                && self.constants.insert(id)
            {
                let mut tensor = self.place.tensor(&v.name, t);
                if let (Some(origin), Some(whole)) = (self.origin, &v.part_of) {
                    inherit(&mut tensor, origin, whole)?;
                }
                self.out.message(proto::INITIALIZER, tensor);
            }
        }
        Ok(())
    }

    fn inputs(&mut self, old: &Old) -> Result<()> {
        let Some(origin) = self.origin else {
            for &v in self.g.inputs() {
                self.declare(proto::INPUT, v)?;
            }
            return self.constants_as_inputs(&BTreeSet::new());
        };
        let mut protos = HashMap::new();
        let mut slots = Vec::new();
        for r in &old.inputs {
            let info = types::read(&origin.buf[r.clone()], r.start)?;
            let v = self.by_name.get(&*info.name).copied();
            match v.map(|v| (v, &self.g.value(v).def)) {
                // Before IR version 4, constants are listed as inputs. Since then, listed values are not
                // constants.
                Some((v, Def::Const(_))) if self.g.ir_version < 4 => {
                    slots.push(Some((v, r.clone())));
                }
                Some((_, Def::Const(_))) => {}
                _ => slots.push(None),
            }
            protos.insert(info.name, (r.clone(), info.ty));
        }
        let mut inputs = self.g.inputs().iter();
        let mut listed = BTreeSet::new();
        for slot in slots {
            match slot {
                Some((v, r)) => {
                    listed.insert(v);
                    self.out.bytes(proto::INPUT, &origin.slice(r));
                }
                None => {
                    if let Some(&v) = inputs.next() {
                        self.input(origin, &protos, v)?;
                    }
                }
            }
        }
        for &v in inputs {
            self.input(origin, &protos, v)?;
        }
        self.constants_as_inputs(&listed)
    }

    fn input(
        &mut self,
        origin: &Origin,
        protos: &HashMap<String, (Range<usize>, Type)>,
        v: ValueId,
    ) -> Result<()> {
        let value = self.g.value(v);
        match protos.get(&*value.name) {
            None => self.declare(proto::INPUT, v),
            // In subgraphs, types of inputs are often absent, and known types are inferred.
            Some((r, ty)) if value.ty == *ty || *ty == Type::Unknown || self.inner => {
                self.out.bytes(proto::INPUT, &origin.slice(r.clone()));
                Ok(())
            }
            Some((r, _)) => {
                self.out.text(proto::INPUT, &types::rewrite(&origin.buf[r.clone()], &value.ty)?);
                Ok(())
            }
        }
    }

    /// Before IR version 4, every constant of the main graph must be listed as an input as well.
    fn constants_as_inputs(&mut self, listed: &BTreeSet<ValueId>) -> Result<()> {
        if self.g.ir_version >= 4 || self.inner {
            return Ok(());
        }
        // Files of these versions exist whose constants are not listed. Those constants stay so.
        let known = |name: &str| self.origin.is_some_and(|o| o.tensors.contains_key(name));
        let new: Vec<ValueId> = self
            .g
            .values()
            .filter(|(id, v)| v.constant().is_some() && !listed.contains(id) && !known(&v.name))
            .map(|(id, _)| id)
            .collect();
        new.into_iter().try_for_each(|v| self.declare(proto::INPUT, v))
    }

    fn outputs(&mut self, old: &Old) -> Result<()> {
        let mut protos = HashMap::new();
        if let Some(origin) = self.origin {
            for r in &old.outputs {
                let info = types::read(&origin.buf[r.clone()], r.start)?;
                protos.insert(info.name, (origin.slice(r.clone()), info.ty));
            }
        }
        for &v in self.g.outputs() {
            let value = self.g.value(v);
            match protos.get(&*value.name) {
                // Symbolic extents are kept even if they are known.
                Some((b, ty))
                    if value.ty == *ty || (!self.g.narrowed && value.ty.meet(ty).is_some()) =>
                {
                    self.out.bytes(proto::OUTPUT, b);
                }
                Some((b, _)) => self.out.text(proto::OUTPUT, &types::rewrite(b, &value.ty)?),
                None => self.declare(proto::OUTPUT, v)?,
            }
        }
        Ok(())
    }

    fn declare(&mut self, number: u32, v: ValueId) -> Result<()> {
        let v = self.g.value(v);
        self.out.text(number, &types::write(&v.name, &v.ty)?);
        Ok(())
    }
}

/// Adds the doc string and the metadata of an initializer in the file.
fn inherit(out: &mut Rope, origin: &Origin, name: &str) -> Result<()> {
    for f in fields(&origin.buf, &origin.graph) {
        let f = f?;
        let (proto::INITIALIZER, Some(r)) = (f.number, f.bytes()) else { continue };
        if name_in(&origin.buf, std::slice::from_ref(&r))? != name {
            continue;
        }
        for f in fields_in(&origin.buf, &r) {
            let f = f?;
            if matches!(f.number, tensor::DOC_STRING | tensor::METADATA_PROPS) {
                out.share(&origin.slice(f.span));
            }
        }
        return Ok(());
    }
    Ok(())
}

/// Whether a Slice of the graph cuts where only this crate knows: see [`dequantized`].
fn hides_extents(graph: &Graph) -> bool {
    graph.schedule().any(|id| {
        let node = graph.node(id);
        let hidden = |v: &Option<ValueId>| v.is_some_and(|v| dequantized(graph, v).is_some());
        matches!(node.op, Op::Slice(_)) && node.inputs.iter().skip(1).any(hidden)
    })
}
