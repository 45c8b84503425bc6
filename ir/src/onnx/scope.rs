//! Reads one scope of names: the main graph, a subgraph, or the body of a function.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::check;
use super::error::{OnnxError, Result};
use super::file::File;
use super::names::Scope;
use super::node::{self, RawNode, Subgraphs, short};
use super::origin::Origin;
use super::parts::{self, Parts};
use super::sort;
use super::types::Info;
use super::{tensor, tensor::name_in};
use crate::graph::{Def, Functions, Graph, Meta, Node};
use crate::op::{Attr, Attrs, Op, Other, Subgraph, fits, repeated};
use crate::tensor::Tensor;
use crate::{Type, ValueId};

/// Versions of operator sets by domain.
pub(super) type Opsets = Arc<BTreeMap<Arc<str>, i64>>;
/// Domain, name and overload of a function.
pub(super) type Key = (String, String, String);

/// Reads the graphs of a model, and collects what concerns the model as a whole.
pub(super) struct Importer<'a> {
    pub file: &'a File,
    pub ir_version: i64,
    /// Numbers of inputs and outputs of the model's functions.
    pub calls: BTreeMap<Key, (usize, usize)>,
    pub functions: Arc<Functions>,
    pub remarks: Vec<String>,
    /// Functions that are called in the scope that is being read.
    pub called: BTreeSet<Key>,
    /// Whether parts that are only written unchanged refer to external data.
    pub pinned: bool,
    /// A shared empty string.
    pub nothing: Arc<str>,
}

/// A node that is complete except for its place in the schedule.
struct Ready {
    label: String,
    node: Node,
}

impl Importer<'_> {
    /// Reads the graph with these fields.
    pub fn build(&mut self, parts: Parts) -> Result<Graph> {
        let graph = Graph {
            name: parts.name.as_str().into(),
            opsets: Arc::clone(&parts.opsets),
            functions: Arc::clone(&self.functions),
            ir_version: self.ir_version,
            ..Graph::default()
        };
        let mut s = Scope { what: parts.what, inner: parts.inner, graph, by_name: HashMap::new() };
        let tensors = self.constants(&mut s, &parts.initializers, &parts.inputs)?;
        for r in &parts.sparse {
            let (name, sparse) = tensor::read_sparse(self.file, r)?;
            s.define(&name, sparse.ty(), Def::Sparse(Arc::new(sparse)))?;
            self.pinned |= tensor::is_sparse_external(self.file, r);
        }
        let mut raws = Vec::with_capacity(parts.nodes.len());
        for r in &parts.nodes {
            raws.push(node::read(self.file, r)?);
        }
        let mut outputs = Vec::with_capacity(raws.len());
        for raw in &raws {
            outputs.push(define_outputs(&mut s, raw)?);
        }
        let mut ready = Vec::with_capacity(raws.len());
        for (raw, outputs) in raws.iter().zip(outputs) {
            ready.push(self.ready(&mut s, raw, outputs)?);
        }
        drop(raws);
        self.schedule(&mut s, ready)?;
        let mut declared = Vec::new();
        let mut results = Vec::with_capacity(parts.outputs.len());
        for o in parts.outputs {
            let Some(v) = (!o.name.is_empty()).then(|| s.resolve(&o.name)).flatten() else {
                return s.fail(format!("nothing produces the output {:?}", short(&o.name)));
            };
            results.push(v);
            declared.push((v, o.ty));
        }
        s.graph.set_outputs(results);
        // Declarations of values that do not exist are common and harmless.
        let mut strangers: HashSet<String> = HashSet::new();
        for i in parts.infos {
            match s.by_name.get(&*i.name) {
                Some(&v) => declared.push((v, i.ty)),
                None => _ = strangers.insert(i.name),
            }
        }
        strangers.extend(parts.annotated.into_iter().filter(|n| !s.by_name.contains_key(&**n)));
        declared.retain(|(_, ty)| *ty != Type::Unknown);
        let mut graph = s.graph;
        graph.source = Some(Arc::new(Origin {
            buf: Arc::clone(&self.file.buf),
            dir: self.file.dir.clone(),
            main: parts.main,
            graph: parts.graph,
            ir_version: self.ir_version,
            opsets: parts.opsets,
            tensors,
            declared,
            strangers,
            pinned: self.pinned,
        }));
        Ok(graph)
    }

    /// Defines inputs and initializers, which may share names.
    fn constants(
        &mut self,
        s: &mut Scope,
        initializers: &[Range<usize>],
        inputs: &[Info],
    ) -> Result<HashMap<Arc<str>, Arc<Tensor>>> {
        let mut tensors: HashMap<Arc<str>, Arc<Tensor>> = HashMap::new();
        let mut order = Vec::with_capacity(initializers.len());
        for r in initializers {
            let r = std::slice::from_ref(r);
            let name: Arc<str> = name_in(&self.file.buf, r)?.into();
            let t = Arc::new(tensor::read(self.file, r, "without a name")?);
            if name.is_empty() {
                return s.fail("expected a name for each initializer, found none");
            }
            if tensors.insert(name.clone(), t).is_some() {
                return s.fail(format!("initializer {:?} is defined twice", short(&name)));
            }
            order.push(name);
        }
        for i in inputs {
            let default = tensors.get(&*i.name).cloned();
            if let Some(t) = &default
                && i.ty.meet(&t.ty()).is_none()
            {
                let what = format!(
                    "initializer {:?} is {}, but declared as {}",
                    short(&i.name),
                    t.ty(),
                    i.ty
                );
                if self.ir_version >= 4 || i.ty.dtype() != Some(t.dtype()) {
                    return s.fail(what);
                }
                self.remarks.push(what);
            }
            // Before IR version 4, initializers had to be inputs as well.
            if default.is_some() && self.ir_version < 4 {
                continue;
            }
            if let (Some(fault), false) = (&i.fault, s.inner || s.what.starts_with("function")) {
                return s.fail(format!("input {:?} {fault}", short(&i.name)));
            }
            let id = s.define(&i.name, i.ty.clone(), Def::Input(default))?;
            s.graph.inputs.push(id);
        }
        for name in order {
            let Some(t) = tensors.get(&name) else { continue };
            // Inputs that have a default are defined already.
            if !s.by_name.contains_key(&name) {
                s.define(&name, t.ty(), Def::Const(Arc::clone(t)))?;
            }
        }
        Ok(tensors)
    }

    fn ready(
        &mut self,
        s: &mut Scope,
        raw: &RawNode<'_>,
        outputs: Vec<Option<ValueId>>,
    ) -> Result<Ready> {
        let mut subs =
            SubReader { importer: self, opsets: Arc::clone(&s.graph.opsets), found: Vec::new() };
        let mut attrs = Attrs::with_capacity(raw.attrs.len());
        for a in &raw.attrs {
            if !a.reference.is_empty() && !s.what.starts_with("function") && !s.inner {
                return raw.fail(format!("attribute {} refers to a function's attribute", a.name));
            }
            let value = a.value(subs.importer.file, &mut subs).map_err(|e| within(raw, e))?;
            match value {
                Ok(v) => attrs.push((a.name.into(), v)),
                Err(what) => return raw.fail(what),
            }
        }
        let subs = subs.found;
        let referring = raw.attrs.iter().any(|a| !a.reference.is_empty());
        if let Some(name) = repeated(&attrs) {
            return raw.fail(format!("it has the attribute {name} twice"));
        }
        let (op, extra) = self.operator(s, raw, attrs, referring)?;
        let mut inputs = Vec::with_capacity(raw.inputs.len());
        for name in &raw.inputs {
            let v = match *name {
                "" => None,
                name => match s.resolve(name) {
                    Some(v) => Some(v),
                    None => {
                        return raw.fail(format!("nothing defines its input {:?}", short(name)));
                    }
                },
            };
            inputs.push(v);
        }
        let captures = self.captures(s, raw, &subs)?;
        if let Err(what) = fits(&op, &extra, raw.inputs.len(), raw.outputs.len()) {
            return raw.fail(what);
        }
        let bytes = self.file.bytes(raw.range.clone());
        let meta = Meta {
            doc: raw.doc.into(),
            props: raw.props.clone(),
            foreign: self.file.join(&raw.foreign),
            verbatim: Some(bytes.clone()),
            model: Some(bytes),
            origin: Arc::clone(&self.nothing),
        };
        let node = Node {
            name: raw.name.into(),
            op,
            extra,
            inputs,
            outputs,
            captures,
            meta,
            order: 0,
            prev: None,
            next: None,
        };
        Ok(Ready { label: raw.label(), node })
    }

    fn operator(
        &mut self,
        s: &Scope,
        raw: &RawNode<'_>,
        attrs: Attrs,
        referring: bool,
    ) -> Result<(Op, Attrs)> {
        let key = (raw.domain.to_owned(), raw.op_type.to_owned(), raw.overload.to_owned());
        let call = if self.calls.is_empty() { None } else { self.calls.get(&key).copied() };
        if let Some((most_in, most_out)) = call {
            self.called.insert(key);
            if raw.inputs.len() > most_in || raw.outputs.len() > most_out {
                return raw.fail("it has more inputs or outputs than the function that it calls");
            }
        } else if let Err(what) = check::arity(raw, &s.graph.opsets) {
            return raw.fail(what);
        }
        // In the body of a function, attributes may be those of the caller, which are unknown.
        if call.is_some() || referring {
            let other = Other {
                overload: raw.overload.into(),
                ..Other::new(raw.domain, raw.op_type, attrs)
            };
            return Ok((Op::Other(other), Attrs::new()));
        }
        let (mut op, extra) = match Op::from_attrs(raw.domain, raw.op_type, attrs) {
            Ok(x) => x,
            Err(e) => return raw.fail(e.to_string()),
        };
        if let Op::Other(o) = &mut op {
            o.overload = raw.overload.into();
        }
        Ok((op, extra))
    }

    /// Values of this scope that the node's subgraphs read.
    fn captures(
        &mut self,
        s: &mut Scope,
        raw: &RawNode<'_>,
        subs: &[Arc<Graph>],
    ) -> Result<Vec<ValueId>> {
        let mut captures = Vec::new();
        let mut seen = HashSet::new();
        for g in subs {
            s.graph.names.reserve(g.names.len());
            for (_, v) in g.values().filter(|(_, v)| v.def == Def::Outer) {
                match s.resolve(&v.name) {
                    Some(v) if seen.insert(v) => captures.push(v),
                    Some(_) => {}
                    None => {
                        let what = format!(
                            "nothing defines {:?}, which its subgraph reads",
                            short(&v.name)
                        );
                        return raw.fail(what);
                    }
                }
            }
            // A set of names does not depend on the order of insertion.
            #[allow(clippy::iter_over_hash_type)]
            for name in &g.names {
                s.graph.names.insert(name.clone());
            }
        }
        Ok(captures)
    }

    /// Adds the nodes to the graph, each after the producers of its operands.
    fn schedule(&mut self, s: &mut Scope, ready: Vec<Ready>) -> Result<()> {
        let mut made_by = vec![usize::MAX; s.graph.value_bound()];
        for (i, r) in ready.iter().enumerate() {
            for v in r.node.outputs.iter().flatten() {
                made_by[v.index()] = i;
            }
        }
        let needs: Vec<Vec<usize>> = ready
            .iter()
            .map(|r| {
                let read = r.node.inputs.iter().flatten().chain(&r.node.captures);
                read.map(|v| made_by[v.index()]).filter(|&p| p != usize::MAX).collect()
            })
            .collect();
        let order = match sort::sort(&needs) {
            Ok(order) => order,
            Err(cycle) => {
                let names: Vec<&str> =
                    cycle.iter().take(10).map(|&i| ready[i].label.as_str()).collect();
                let more = if cycle.len() > 10 { " → …" } else { "" };
                return s.fail(format!("nodes form a cycle: {}{more}", names.join(" → ")));
            }
        };
        if !order.is_sorted() {
            self.remarks.push(format!("{}: nodes were not in order and have been sorted", s.what));
        }
        let mut ready: Vec<Option<Ready>> = ready.into_iter().map(Some).collect();
        for i in order {
            if let Some(r) = ready[i].take() {
                s.graph.insert_node(r.node, None);
            }
        }
        Ok(())
    }
}

fn define_outputs(s: &mut Scope, raw: &RawNode<'_>) -> Result<Vec<Option<ValueId>>> {
    let mut ids = Vec::with_capacity(raw.outputs.len());
    for name in &raw.outputs {
        if name.is_empty() {
            ids.push(None);
        } else if s.by_name.contains_key(*name) {
            return raw.fail(format!("its output {:?} is defined already", short(name)));
        } else {
            // The node becomes the definition when it is scheduled.
            ids.push(Some(s.define(name, Type::Unknown, Def::Outer)?));
        }
    }
    Ok(ids)
}

fn within(raw: &RawNode<'_>, e: OnnxError) -> OnnxError {
    match e {
        e @ (OnnxError::Wire { .. }
        | OnnxError::Within { .. }
        | OnnxError::Graph { .. }
        | OnnxError::Node { .. }
        | OnnxError::Tensor { .. }) => OnnxError::Within { node: raw.label(), source: Box::new(e) },
        e => e,
    }
}

struct SubReader<'i, 'a> {
    importer: &'i mut Importer<'a>,
    opsets: Opsets,
    found: Vec<Arc<Graph>>,
}

impl Subgraphs for SubReader<'_, '_> {
    fn subgraph(&mut self, attr: &str, ranges: &[Range<usize>]) -> Result<Attr> {
        let mut parts =
            parts::of_graph(self.importer.file, ranges.to_vec(), &format!("subgraph {attr}"))?;
        parts.inner = true;
        parts.opsets = Arc::clone(&self.opsets);
        let graph = Arc::new(self.importer.build(parts)?);
        self.found.push(Arc::clone(&graph));
        Ok(Attr::Graph(Subgraph(graph)))
    }

    fn pin(&mut self) {
        self.importer.pinned = true;
    }
}
