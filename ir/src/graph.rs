//! The graph: nodes and values in arenas, and the schedule in which nodes run.
//!
//! A [`Graph`] is read freely; it is written through [`Builder`](crate::Builder) while it is made
//! and through [`Edit`](crate::Edit) afterwards.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::op::{Attrs, ONNX, Op};
use crate::sparse::Sparse;
use crate::tensor::{Bytes, Tensor};
use crate::{NodeId, Type, ValueId};

/// What defines a value.
#[derive(Clone, PartialEq, Debug)]
pub enum Def {
    /// An input of the graph, with the value that it takes if the caller gives none.
    Input(Option<Arc<Tensor>>),
    /// A constant (an initializer in ONNX).
    Const(Arc<Tensor>),
    /// An output of a node.
    Node(NodeId, usize),
    /// A value of the graph around this subgraph, found by its name.
    Outer,
    /// A sparse constant, which passes carry as it is.
    Sparse(Arc<Sparse>),
}

/// A use of a value: operand `index` of `node`. Values that a node's subgraphs capture are uses
/// too; their indices follow the node's inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Use {
    /// The reader.
    pub node: NodeId,
    /// Which of its inputs, or `inputs.len() + i` for its i-th capture.
    pub index: usize,
}

/// A value.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name, unique in the graph.
    pub name: Arc<str>,
    /// Type, as far as it is known.
    pub ty: Type,
    /// What defines it.
    pub def: Def,
    /// Who reads it.
    pub(crate) uses: BTreeSet<Use>,
    /// How many times it is an output of the graph.
    pub(crate) outputs: u32,
    /// Of a constant that is a part of one of the file's, the name of that.
    pub(crate) part_of: Option<Arc<str>>,
}

impl Value {
    /// Who reads it, in the order of node ids.
    pub fn uses(&self) -> impl ExactSizeIterator<Item = Use> + '_ {
        self.uses.iter().copied()
    }

    /// Whether it is an output of the graph.
    pub fn is_output(&self) -> bool {
        self.outputs > 0
    }

    /// The constant, if it is one.
    pub fn constant(&self) -> Option<&Arc<Tensor>> {
        match &self.def {
            Def::Const(t) => Some(t),
            _ => None,
        }
    }
}

/// What a node carries besides its meaning.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Meta {
    /// `doc_string`.
    pub doc: String,
    /// `metadata_props`.
    pub props: Vec<(String, String)>,
    /// Fields of the NodeProto that graph-opt does not read (device configurations, newer fields),
    /// as they were in the file.
    pub foreign: Bytes,
    /// The whole NodeProto as it was in the file, while the node is as it was in the file.
    pub(crate) verbatim: Option<Bytes>,
    /// The NodeProto from which the node came, even if it has changed since: the writer takes the
    /// spelling of what is unchanged (order of attributes, explicit defaults) from it.
    pub(crate) model: Option<Bytes>,
    /// Which edit made the node, such as `tile-conv conv1`; empty for nodes of the input file.
    pub origin: Arc<str>,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name; may be empty and, in files, may repeat.
    pub name: Arc<str>,
    /// Operator and attributes.
    pub op: Op,
    /// Attributes that the operator does not define, carried along.
    pub extra: Attrs,
    /// Operands; `None` where an optional one is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; `None` where an optional one is not wanted.
    pub outputs: Vec<Option<ValueId>>,
    /// Values of this graph that the node's subgraphs read.
    pub captures: Vec<ValueId>,
    /// What else it carries.
    pub meta: Meta,
    pub(crate) order: u64,
    pub(crate) prev: Option<NodeId>,
    pub(crate) next: Option<NodeId>,
}

/// A function that the model itself defines.
#[derive(Clone, Debug)]
pub struct Function {
    /// Names of its inputs, which are the inputs of `body`.
    pub inputs: Vec<Arc<str>>,
    /// Names of its outputs.
    pub outputs: Vec<Arc<str>>,
    /// Names of its attributes, and their defaults where they have one.
    pub attrs: Vec<(Arc<str>, Option<crate::op::Attr>)>,
    /// The body; references to the function's attributes stand as [`crate::op::Attr::Raw`].
    pub body: Arc<Graph>,
}

/// Functions of a model by domain, name and overload.
pub type Functions = BTreeMap<(Arc<str>, Arc<str>, Arc<str>), Function>;

/// A graph, or a subgraph in an attribute.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Version of each operator set by domain; ONNX's own is under [`ONNX`].
    pub opsets: Arc<BTreeMap<Arc<str>, i64>>,
    /// The model's functions.
    pub functions: Arc<Functions>,
    /// `ir_version` of the file.
    pub ir_version: i64,
    pub(crate) nodes: Vec<Option<Node>>,
    pub(crate) values: Vec<Option<Value>>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) first: Option<NodeId>,
    pub(crate) last: Option<NodeId>,
    pub(crate) live: usize,
    /// Every name of a node or value in this graph and its subgraphs; while an editor is in a body,
    /// the body has those of all scopes.
    pub(crate) names: HashSet<Arc<str>>,
    /// Number of edits applied since the graph was made.
    pub(crate) edits: usize,
    /// Whether extents of inputs became known, so that what the file declares is to follow.
    pub(crate) narrowed: bool,
    /// Configurations of devices, as fields of a ModelProto, if they are others than in the file.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code))]
    pub(crate) configurations: Option<Bytes>,
    /// What the reader of the file keeps for the writer.
    pub(crate) source: Option<Arc<dyn Source>>,
}

/// What a reader of a file keeps for the writer.
pub(crate) trait Source: Any + Send + Sync + std::fmt::Debug {
    /// Types that the file claims for values other than inputs.
    fn declared(&self) -> &[(ValueId, Type)];

    /// For the reader to recognise its own.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code))]
    fn as_any(&self) -> &dyn Any;
}

/// Distance of neighbours in the schedule's order keys after renumbering.
const GAP: u64 = 1 << 20;

impl Graph {
    /// The model's function that an operator calls, if it calls one.
    pub fn function(&self, op: &Op) -> Option<&Function> {
        let Op::Other(o) = op else { return None };
        self.functions.get(&(o.domain.clone(), o.op_type.clone(), o.overload.clone()))
    }

    /// Version of ONNX's own operator set; 1 where the file names none.
    pub fn opset(&self) -> i64 {
        self.opsets.get(ONNX).copied().unwrap_or(1)
    }

    /// The node.
    ///
    /// # Panics
    /// If it was removed, or belongs to another graph.
    pub fn node(&self, id: NodeId) -> &Node {
        match self.get_node(id) {
            Some(n) => n,
            None => missing("node", id.index()),
        }
    }

    /// The node, if it (still) exists.
    pub fn get_node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())?.as_ref()
    }

    /// The value.
    ///
    /// # Panics
    /// If it was removed, or belongs to another graph.
    pub fn value(&self, id: ValueId) -> &Value {
        match self.get_value(id) {
            Some(v) => v,
            None => missing("value", id.index()),
        }
    }

    /// The value, if it (still) exists.
    pub fn get_value(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id.index())?.as_ref()
    }

    /// Nodes in the order in which they run.
    pub fn schedule(&self) -> Schedule<'_> {
        Schedule { graph: self, next: self.first, left: self.live }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether it has no nodes.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Values in the order of their ids.
    pub fn values(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        let live = |(i, v): (usize, &'_ Option<Value>)| v.is_some().then(|| ValueId::new(i));
        self.values.iter().enumerate().filter_map(live).map(|id| (id, self.value(id)))
    }

    /// One more than the largest index of a value, for side tables.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// One more than the largest index of a node, for side tables.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs in order; a value may stand here more than once.
    pub fn outputs(&self) -> &[ValueId] {
        &self.outputs
    }

    /// Number of edits applied since the graph was made.
    pub fn edits(&self) -> usize {
        self.edits
    }

    /// A key that sorts nodes by when they run.
    pub fn position(&self, node: NodeId) -> u64 {
        self.node(node).order
    }

    /// Whether `a` runs before `b`.
    pub fn runs_before(&self, a: NodeId, b: NodeId) -> bool {
        self.node(a).order < self.node(b).order
    }

    /// The node that makes the value, if one does.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        match self.value(value).def {
            Def::Node(n, _) => Some(n),
            _ => None,
        }
    }

    /// What is statically known of the value's elements: an initializer, or the result of a
    /// `Constant` node.
    pub fn constant(&self, value: ValueId) -> Option<Arc<Tensor>> {
        match &self.value(value).def {
            Def::Const(t) => Some(t.clone()),
            Def::Node(n, 0) => match &self.node(*n).op {
                Op::Constant(c) => constant_value(c),
                _ => None,
            },
            _ => None,
        }
    }

    /// Value of this name; looks at every value.
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.values().find(|(_, v)| &*v.name == name).map(|(id, _)| id)
    }

    /// A node's name for messages: its own, else that of its first output.
    pub fn label(&self, node: NodeId) -> &str {
        let n = self.node(node);
        if !n.name.is_empty() {
            return &n.name;
        }
        match n.outputs.iter().flatten().next() {
            Some(&v) => &self.value(v).name,
            None => n.op.name(),
        }
    }

    /// A name that nothing in this graph or its subgraphs has: `base`, or `base_2`, `base_3`, …
    pub(crate) fn fresh(&mut self, base: &str) -> Arc<str> {
        let base = if base.is_empty() { "value" } else { base };
        let mut name: Arc<str> = base.into();
        let mut i = 2u32;
        while self.names.contains(&name) {
            name = format!("{base}_{i}").into();
            i += 1;
        }
        self.names.insert(name.clone());
        name
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        match self.nodes.get_mut(id.index()).and_then(Option::as_mut) {
            Some(n) => n,
            None => missing("node", id.index()),
        }
    }

    pub(crate) fn value_mut(&mut self, id: ValueId) -> &mut Value {
        match self.values.get_mut(id.index()).and_then(Option::as_mut) {
            Some(v) => v,
            None => missing("value", id.index()),
        }
    }

    pub(crate) fn push_value(&mut self, name: Arc<str>, ty: Type, def: Def) -> ValueId {
        let id = ValueId::new(self.values.len());
        self.names.insert(name.clone());
        self.values.push(Some(Value {
            name,
            ty,
            def,
            uses: BTreeSet::new(),
            outputs: 0,
            part_of: None,
        }));
        id
    }

    /// Adds a node before `before`, or at the end; its outputs become defined by it.
    pub(crate) fn insert_node(&mut self, mut node: Node, before: Option<NodeId>) -> NodeId {
        let id = NodeId::new(self.nodes.len());
        let prev = match before {
            Some(b) => self.node(b).prev,
            None => self.last,
        };
        node.order = self.key_between(prev, before);
        (node.prev, node.next) = (prev, before);
        for (index, v) in node.inputs.iter().enumerate() {
            if let Some(v) = v {
                self.value_mut(*v).uses.insert(Use { node: id, index });
            }
        }
        for (i, v) in node.captures.iter().enumerate() {
            let index = node.inputs.len() + i;
            self.value_mut(*v).uses.insert(Use { node: id, index });
        }
        for (i, v) in node.outputs.iter().enumerate() {
            if let Some(v) = v {
                self.value_mut(*v).def = Def::Node(id, i);
            }
        }
        if !node.name.is_empty() {
            self.names.insert(node.name.clone());
        }
        for (_, g) in node.op.bodies() {
            self.names.extend(g.names.iter().cloned());
        }
        self.nodes.push(Some(node));
        match prev {
            Some(p) => self.node_mut(p).next = Some(id),
            None => self.first = Some(id),
        }
        match before {
            Some(b) => self.node_mut(b).prev = Some(id),
            None => self.last = Some(id),
        }
        self.live += 1;
        id
    }

    /// Removes a node; its outputs stay as values without a definition until the caller redefines
    /// or removes them.
    pub(crate) fn remove_node(&mut self, id: NodeId) -> Option<Node> {
        let node = self.nodes.get_mut(id.index())?.take()?;
        match node.prev {
            Some(p) => self.node_mut(p).next = node.next,
            None => self.first = node.next,
        }
        match node.next {
            Some(n) => self.node_mut(n).prev = node.prev,
            None => self.last = node.prev,
        }
        let operands = node.inputs.iter().copied().chain(node.captures.iter().map(|&v| Some(v)));
        for (index, v) in operands.enumerate() {
            if let Some(v) = v {
                self.value_mut(v).uses.remove(&Use { node: id, index });
            }
        }
        self.live -= 1;
        Some(node)
    }

    pub(crate) fn remove_value(&mut self, id: ValueId) {
        if let Some(v) = self.values[id.index()].take() {
            self.names.remove(&v.name);
        }
    }

    pub(crate) fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        for v in std::mem::take(&mut self.outputs) {
            self.value_mut(v).outputs -= 1;
        }
        for &v in &outputs {
            self.value_mut(v).outputs += 1;
        }
        self.outputs = outputs;
    }

    /// Links the nodes in this order, which has all of them.
    pub(crate) fn set_schedule(&mut self, order: &[NodeId]) {
        let (mut prev, mut key) = (None, GAP);
        for (i, &id) in order.iter().enumerate() {
            let n = self.node_mut(id);
            (n.prev, n.next, n.order) = (prev, order.get(i + 1).copied(), key);
            (prev, key) = (Some(id), key + GAP);
        }
        (self.first, self.last) = (order.first().copied(), order.last().copied());
    }

    fn key_between(&mut self, prev: Option<NodeId>, next: Option<NodeId>) -> u64 {
        let key = |g: &Self| {
            let lo = prev.map_or(0, |p| g.node(p).order);
            match next {
                None => lo.checked_add(GAP),
                Some(n) => {
                    let hi = g.node(n).order;
                    (hi - lo > 1).then(|| lo + (hi - lo) / 2)
                }
            }
        };
        if let Some(k) = key(self) {
            return k;
        }
        let (mut at, mut order) = (self.first, GAP);
        while let Some(id) = at {
            let n = self.node_mut(id);
            n.order = order;
            order += GAP;
            at = n.next;
        }
        key(self).unwrap_or(order)
    }
}

/// Value of a `Constant` node; `None` for the kinds that graph-opt only carries.
pub fn constant_value(c: &crate::op::Constant) -> Option<Arc<Tensor>> {
    if let Some(t) = &c.value {
        return Some(t.clone());
    }
    let scalar = |t: Tensor| t.reshaped(Vec::new()).ok();
    let t = if let Some(x) = c.value_float {
        Tensor::f32s(&[], &[x]).ok()
    } else if let Some(x) = &c.value_floats {
        Tensor::f32s(&[x.len() as u64], x).ok()
    } else if let Some(x) = c.value_int {
        scalar(Tensor::i64s(&[x]))
    } else {
        c.value_ints.as_deref().map(Tensor::i64s)
    };
    t.map(Arc::new)
}

// A handle of another graph is a bug of the caller, like an index out of bounds.
#[allow(clippy::panic)]
fn missing(what: &str, index: usize) -> ! {
    panic!("{what} {index} is not in this graph")
}

/// Iterator over the nodes of a graph in the order in which they run.
pub struct Schedule<'a> {
    graph: &'a Graph,
    next: Option<NodeId>,
    left: usize,
}

impl Iterator for Schedule<'_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        let id = self.next?;
        self.next = self.graph.node(id).next;
        self.left -= 1;
        Some(id)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Schedule<'_> {}
