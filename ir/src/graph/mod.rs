//! The graph: nodes and values in arenas, and the schedule in which nodes run.
//!
//! A [`Graph`] is read freely; it is written through [`Builder`](crate::Builder) while it is made
//! and through [`Edit`](crate::Edit) afterwards.

mod mutate;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::op::{Attrs, ONNX, Op};
use crate::sparse::Sparse;
use crate::tensor::{Bytes, Tensor};
use crate::{NodeId, Type, ValueId};

/// What defines a value.
#[derive(Clone, PartialEq, Debug)]
pub enum Def {
    /// An input of the graph, with its default value if it has one.
    Input(Option<Arc<Tensor>>),
    /// A constant (an initializer in ONNX).
    Const(Arc<Tensor>),
    /// An output of a node.
    Node(NodeId, usize),
    /// In a subgraph: a value of an enclosing graph, identified by its name.
    Outer,
    /// A sparse constant. Passes leave it unchanged.
    Sparse(Arc<Sparse>),
}

/// A use of a value: operand `index` of `node`. Values that a node's subgraphs capture are uses
/// too; their indices follow the node's inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Use {
    /// The node that reads the value.
    pub node: NodeId,
    /// Which of its inputs, or `inputs.len() + i` for its i-th capture.
    pub index: usize,
}

/// A value of a graph: a tensor at run time.
#[derive(Clone, Debug)]
pub struct Value {
    /// Name, unique in the graph.
    pub name: Arc<str>,
    /// Type, as far as it is known.
    pub ty: Type,
    /// The node, input or constant that defines it.
    pub def: Def,
    /// Its readers.
    pub(crate) uses: BTreeSet<Use>,
    /// How many times it is an output of the graph.
    pub(crate) outputs: u32,
    /// If the value is a part of a constant of the file, the name of that constant.
    pub(crate) part_of: Option<Arc<str>>,
}

impl Value {
    /// Its readers, in the order of node ids.
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

/// Metadata of a node: what does not affect its results.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Meta {
    /// ONNX's `doc_string`.
    pub doc: String,
    /// ONNX's `metadata_props`: pairs of key and value.
    pub props: Vec<(String, String)>,
    /// Fields of the NodeProto that graph-opt does not read (device configurations, newer fields),
    /// as they were in the file.
    pub foreign: Bytes,
    /// The whole NodeProto as it was in the file, while the node is as it was in the file.
    pub(crate) verbatim: Option<Bytes>,
    /// The NodeProto from which the node came, even if it has changed since: the writer takes the
    /// spelling of what is unchanged (order of attributes, explicit defaults) from it.
    pub(crate) model: Option<Bytes>,
    /// [Origin](crate::Edit::origin) of the edit that added the node, such as `tile-conv conv1`; empty
    /// for nodes of the input file.
    pub origin: Arc<str>,
}

/// A node of a graph: an operator applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name. It may be empty and, in files, need not be unique.
    pub name: Arc<str>,
    /// Operator with its attributes.
    pub op: Op,
    /// Attributes that the operator does not define. They are kept and written back.
    pub extra: Attrs,
    /// Operands; `None` where an optional one is absent.
    pub inputs: Vec<Option<ValueId>>,
    /// Results; `None` where an optional one is omitted.
    pub outputs: Vec<Option<ValueId>>,
    /// Values of this graph that the node's subgraphs read.
    pub captures: Vec<ValueId>,
    /// Metadata, such as its doc string.
    pub meta: Meta,
    pub(crate) order: u64,
    pub(crate) prev: Option<NodeId>,
    pub(crate) next: Option<NodeId>,
}

/// A function that the model defines (ONNX, FunctionProto).
#[derive(Clone, Debug)]
pub struct Function {
    /// Names of its inputs, which are the inputs of `body`.
    pub inputs: Vec<Arc<str>>,
    /// Names of its outputs.
    pub outputs: Vec<Arc<str>>,
    /// Names of its attributes, and their defaults where they have one.
    pub attrs: Vec<(Arc<str>, Option<crate::op::Attr>)>,
    /// The body. References to the function's attributes are [`crate::op::Attr::Ref`].
    pub body: Arc<Graph>,
}

/// Domain, name and overload of a function.
pub type FunctionKey = (Arc<str>, Arc<str>, Arc<str>);

/// Functions of a model by domain, name and overload.
pub type Functions = BTreeMap<FunctionKey, Function>;

/// A graph, or a subgraph in an attribute.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name; may be empty.
    pub name: Arc<str>,
    /// Version of each operator set by domain; ONNX's own is under [`ONNX`].
    pub opsets: Arc<BTreeMap<Arc<str>, i64>>,
    /// The functions that the model defines.
    pub functions: Arc<Functions>,
    /// `ir_version` of the file.
    pub ir_version: i64,
    /// Entries for the metadata of the model (`metadata_props`). They replace those of the file that have the
    /// same key, once the graph has been edited.
    pub notes: BTreeMap<String, String>,
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
    /// Names that several nodes of the file have, once an edit asked for them.
    pub(crate) repeated: Option<Arc<HashSet<Arc<str>>>>,
    /// Number of edits applied since the graph was made.
    pub(crate) edits: usize,
    /// Whether an edit made extents of inputs known, so that types which the file declares are
    /// rewritten.
    pub(crate) narrowed: bool,
    /// Configurations of devices, as fields of a ModelProto, if they differ from the file's.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code))]
    pub(crate) configurations: Option<Bytes>,
    /// The file from which the graph was read, for the writer.
    pub(crate) source: Option<Arc<dyn Source>>,
}

/// The file from which a graph was read: the writer takes from it everything that did not change.
pub(crate) trait Source: Any + Send + Sync + std::fmt::Debug {
    /// Types that the file declares for values other than inputs.
    fn declared(&self) -> &[(ValueId, Type)];

    /// The folder of the file, if it is known.
    fn folder(&self) -> Option<&Path>;

    /// For a downcast to the reader's own type.
    #[cfg_attr(not(feature = "onnx"), allow(dead_code))]
    fn as_any(&self) -> &dyn Any;
}

impl Graph {
    /// The function of the model that the operator calls; `None` for other operators.
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

    /// Number of nodes, without those in bodies.
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

    /// One more than the largest index of a value: the length of a side table over values.
    pub fn value_bound(&self) -> usize {
        self.values.len()
    }

    /// One more than the largest index of a node: the length of a side table over nodes.
    pub fn node_bound(&self) -> usize {
        self.nodes.len()
    }

    /// Inputs in the order of the file, including those with a default.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// Outputs in order. A value may be listed more than once.
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

    /// The node that computes the value; `None` for inputs, constants and values of enclosing graphs.
    pub fn producer(&self, value: ValueId) -> Option<NodeId> {
        match self.value(value).def {
            Def::Node(n, _) => Some(n),
            _ => None,
        }
    }

    /// The value's elements, if it is an initializer or the result of a `Constant` node.
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

    /// The value of this name. Takes time linear in the number of values.
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
}

/// Elements of a `Constant` node; `None` for the kinds that graph-opt does not read (strings, sparse
/// tensors).
pub fn constant_value(c: &crate::op::Constant) -> Option<Arc<Tensor>> {
    if let Some(t) = &c.value {
        return Some(t.clone());
    }
    let scalar = |t: Tensor| t.reshaped(Vec::new()).ok();
    let strings = |dims, all: Vec<Vec<u8>>| {
        let data = crate::tensor::Data::Strings(Arc::new(all));
        Tensor::new(crate::DType::String, dims, data).ok()
    };
    let t = if let Some(x) = c.value_float {
        Tensor::f32s(&[], &[x]).ok()
    } else if let Some(x) = &c.value_floats {
        Tensor::f32s(&[x.len() as u64], x).ok()
    } else if let Some(x) = c.value_int {
        scalar(Tensor::i64s(&[x]))
    } else if let Some(s) = &c.value_string {
        strings(Vec::new(), vec![s.clone()])
    } else if let Some(all) = &c.value_strings {
        strings(vec![all.len() as u64], all.clone())
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
