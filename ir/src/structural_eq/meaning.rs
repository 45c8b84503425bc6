//! The meaning of a node: the function that it computes of its operands. This is the one list of
//! everything on which a result depends. Structural equality, the terms of proofs and the search for common
//! subexpressions use it.
//!
//! A result depends on
//! - the operator: domain, name and overload, and the version that its scope's operator sets select (for
//!   other domains than ONNX's, the version that is imported);
//! - its attributes, those that the operator does not define included; defaults count as if they were
//!   written, and windows as they are resolved ([`normal_form`]);
//! - the number of its results, where that decides what they are;
//! - for a call, the function: its body, the operator sets that it imports, the defaults of its
//!   attributes;
//! - for control flow, the bodies, and the values that they capture;
//! - its operands, which are not part of its meaning here.
//!
//! Names of values and nodes, doc strings and metadata do not count. Neither do the types that a file
//! declares for results: only types that follow from the graph's inputs are used.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Structure;
use crate::graph::{Def, Function, Functions, Graph};
use crate::op::{Attr, Attrs, Class, ONNX, Op, schema};
use crate::op_context::OpCtx;
use crate::region::normal_form;
use crate::{Digest, Hasher, NodeId, Type, ValueId, infer};

/// The function that a node computes of its operands.
#[derive(Clone, PartialEq, Debug)]
pub struct Meaning {
    /// Digest of the function. Nodes with equal digests compute equal results from equal operands.
    pub digest: Digest,
    /// Values that the node's bodies read. They are operands as well, after the inputs.
    pub captures: Vec<ValueId>,
    /// Whether the operator is one of the table, without unknown attributes. Of other operators it is only
    /// known that equal operands give equal results.
    pub modelled: bool,
    /// Whether two runs may give different results. Two such nodes are never equal.
    pub random: bool,
}

/// Computes the meanings of the nodes of a model.
pub struct Meanings<'g> {
    functions: &'g Functions,
    /// The folder of the model's file.
    folder: Option<String>,
    /// Digests of functions that were computed already, as a function may be called from many nodes.
    known: RefCell<BTreeMap<Key, (Digest, bool)>>,
}

type Key = (Arc<str>, Arc<str>, Arc<str>);

impl<'g> Meanings<'g> {
    /// Meanings of the nodes of this graph and its bodies.
    pub fn of(graph: &'g Graph) -> Self {
        let folder = graph.source.as_deref().and_then(|s| s.folder());
        let folder = folder.map(|f| f.display().to_string());
        Self { functions: &graph.functions, folder, known: RefCell::default() }
    }

    /// The meaning of a node, where the graph's values have these types ([`infer::follow`]).
    pub fn node(&self, graph: &Graph, id: NodeId, types: &[Type]) -> Meaning {
        let n = graph.node(id);
        let ctx = OpCtx::with(graph, id, &|v| &types[v.index()]);
        let mut random = ctx.is_random();
        let attrs = n.op.attrs();
        let all = || attrs.iter().chain(&n.extra);
        let bodies: Vec<&Arc<Graph>> = all().filter_map(|(_, a)| graph_of(a)).collect();
        let function = self.function(&n.op);
        if function.is_none() && bodies.is_empty() && !matches!(n.op, Op::Other(_)) {
            let digest = modelled(&ctx, &n.extra);
            let modelled = n.extra.is_empty() && !random;
            return Meaning { digest, captures: Vec::new(), modelled, random };
        }
        let mut h = Hasher::new("application");
        operator(&mut h, &n.op, graph.opsets.get(n.op.domain()).copied());
        attributes(&mut h, all());
        h.int(n.outputs.len() as u64);
        if let Some((digest, draws)) = function {
            random |= draws;
            h.part(digest);
        }
        // External data that graph-opt does not read may differ between folders.
        if all().any(|(_, a)| matches!(a, Attr::Raw(b) if names_a_file(b))) {
            h.part(self.folder());
        }
        let mut names = Vec::new();
        bodies.iter().for_each(|b| read(b, &mut names));
        let capture = |name: &str| {
            let same = |c: &&ValueId| &*graph.value(**c).name == name;
            n.captures.iter().find(same).copied()
        };
        for body in bodies {
            let outer = |name: &str| {
                capture(name).map_or(Type::Unknown, |c: ValueId| types[c.index()].clone())
            };
            let types = infer::follow(body, Some(&outer));
            let number = |name: &str| {
                let i = names.iter().position(|n: &Arc<str>| &**n == name).unwrap_or(usize::MAX);
                Hasher::new("captured").int(i as u64).done()
            };
            let s = Structure::within(self, body, &types, Some(&number));
            random |= s.random;
            h.int(body.inputs().len() as u64).int(body.outputs().len() as u64);
            body.outputs().iter().for_each(|&v| _ = h.part(s.hash(v)));
        }
        let captures = names.iter().filter_map(|n| capture(n)).collect();
        Meaning { digest: h.done(), captures, modelled: false, random }
    }

    /// A digest of the folder in which the model's external data is; one of its own if that is not known.
    fn folder(&self) -> Digest {
        static UNKNOWN: AtomicU64 = AtomicU64::new(0);
        match &self.folder {
            Some(folder) => Hasher::new("folder").text(folder).done(),
            None => Hasher::new("unknown").int(UNKNOWN.fetch_add(1, Ordering::Relaxed)).done(),
        }
    }

    /// The digest of the function that the operator calls, and whether it draws random numbers.
    fn function(&self, op: &Op) -> Option<(Digest, bool)> {
        let Op::Other(o) = op else { return None };
        let key = (o.domain.clone(), o.op_type.clone(), o.overload.clone());
        let f = self.functions.get(&key)?;
        if let Some(&known) = self.known.borrow().get(&key) {
            return Some(known);
        }
        // Importers refuse functions that call themselves. If one does, it equals no other.
        let unending = (Hasher::new("unending").done(), true);
        self.known.borrow_mut().insert(key.clone(), unending);
        let found = self.body(f);
        self.known.borrow_mut().insert(key, found);
        Some(found)
    }

    fn body(&self, f: &Function) -> (Digest, bool) {
        let mut h = Hasher::new("function");
        h.int(f.inputs.len() as u64).int(f.outputs.len() as u64).int(f.attrs.len() as u64);
        for (name, default) in &f.attrs {
            h.text(name).int(default.is_some().into());
            default.iter().for_each(|a| attribute(&mut h, a));
        }
        let types = infer::follow(&f.body, Some(&|_| Type::Unknown));
        let s = Structure::within(self, &f.body, &types, None);
        f.body.outputs().iter().for_each(|&v| _ = h.part(s.hash(v)));
        (h.done(), s.random)
    }
}

/// The digest of an operator of the table with these additional attributes. It needs no graph, as such an
/// operator has no bodies and calls no function.
pub fn modelled(ctx: &OpCtx<'_>, extra: &Attrs) -> Digest {
    let mut h = Hasher::new("operator");
    let op = normal_form(ctx);
    operator(&mut h, &op, Some(ctx.opset));
    let attrs = op.attrs();
    attributes(&mut h, attrs.iter().chain(extra));
    // The sizes of Split depend on the number of its results; before version 14, BatchNormalization with
    // more than one result is in training mode.
    if matches!(op, Op::Split(_) | Op::BatchNormalization(_)) || op.class() == Class::Control {
        h.int(ctx.outputs as u64);
    }
    h.done()
}

fn operator(h: &mut Hasher, op: &Op, opset: Option<i64>) {
    h.text(op.domain()).text(op.name());
    if let Op::Other(o) = op {
        h.text(&o.overload);
    }
    let meant = opset.filter(|_| op.domain() == ONNX).and_then(|v| schema::meant(op.name(), v));
    h.int(meant.or(opset).map_or(u64::MAX, |v| v as u64));
}

fn attributes<'a>(h: &mut Hasher, all: impl Iterator<Item = &'a (Arc<str>, Attr)>) {
    // Their order in the file has no meaning.
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    h.int(all.len() as u64);
    for (name, a) in all {
        h.text(name);
        attribute(h, a);
    }
}

fn attribute(h: &mut Hasher, a: &Attr) {
    h.text(a.kind());
    match a {
        Attr::Int(i) => _ = h.int(*i as u64),
        Attr::Float(x) => _ = h.int(x.to_bits().into()),
        Attr::Str(s) => _ = h.bytes(s),
        Attr::Tensor(t) => _ = h.part(t.digest()),
        // Bodies are hashed separately.
        Attr::Graph(_) => {}
        Attr::Ints(v) => _ = h.ints(v),
        Attr::Floats(v) => v.iter().for_each(|x| _ = h.int(x.to_bits().into())),
        Attr::Strs(v) => v.iter().for_each(|s| _ = h.bytes(s)),
        Attr::Raw(b) | Attr::Ref(_, b) => _ = h.bytes(b),
    }
}

fn graph_of(a: &Attr) -> Option<&Arc<Graph>> {
    match a {
        Attr::Graph(g) => Some(&g.0),
        _ => None,
    }
}

/// Whether an attribute that graph-opt does not read may refer to a file with external data.
fn names_a_file(b: &[u8]) -> bool {
    b.windows(8).any(|w| w == b"location")
}

/// Names of the values of enclosing graphs on which the results of a body depend. Their order is that of a
/// traversal from the results to the operands, and independent of names and the schedule.
fn read(body: &Graph, names: &mut Vec<Arc<str>>) {
    let mut seen: HashSet<ValueId> = HashSet::new();
    let mut todo: Vec<ValueId> = body.outputs().iter().rev().copied().collect();
    while let Some(v) = todo.pop() {
        if !seen.insert(v) {
            continue;
        }
        let value = body.value(v);
        match value.def {
            Def::Outer if !names.contains(&value.name) => names.push(value.name.clone()),
            Def::Node(id, _) => {
                let n = body.node(id);
                let mut operands: Vec<ValueId> = n.inputs.iter().flatten().copied().collect();
                let mut inner = Vec::new();
                let attrs = n.op.attrs();
                attrs
                    .iter()
                    .chain(&n.extra)
                    .filter_map(|(_, a)| graph_of(a))
                    .for_each(|g| read(g, &mut inner));
                let named = |name: &Arc<str>| {
                    n.captures.iter().find(|c| body.value(**c).name == *name).copied()
                };
                operands.extend(inner.iter().filter_map(named));
                todo.extend(operands.into_iter().rev());
            }
            _ => {}
        }
    }
}
