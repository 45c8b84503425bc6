//! A graph as it is drawn: nodes and values in the order of the schedule, in boxes that fold.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::names::NodeNames;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::text::{attribute_text, slice_sugar};
use graph_opt_ir::{Attr, Def, Graph, NodeId, Op, ValueId, definition};
use graph_opt_passes::analysis::node_macs;
use graph_opt_passes::devices::files::PlanFile;
use schemars::JsonSchema;
use serde::Serialize;

use super::boxes::{self, Item};

/// A graph with its nodes in boxes. Nodes, values and groups are referred to by their positions here.
#[derive(Serialize, JsonSchema)]
pub struct GraphPicture {
    /// What it is, such as `before`.
    pub title: String,
    /// Name of the model.
    pub name: String,
    /// Version of ONNX's operators.
    pub opset: i64,
    /// Values that the graph reads.
    pub inputs: Vec<usize>,
    /// Values that it gives.
    pub outputs: Vec<usize>,
    /// All values, those of bodies and functions included.
    pub values: Vec<ValueRow>,
    /// All nodes in the order of the schedule, those of bodies and functions included; constants are no nodes.
    pub nodes: Vec<NodeRow>,
    /// The boxes, each after the one that it is in.
    pub groups: Vec<GroupRow>,
}

/// A value.
#[derive(Serialize, JsonSchema)]
pub struct ValueRow {
    /// Its name.
    pub name: String,
    /// Its type, such as `f32[1,3,8,8]`.
    pub r#type: String,
    /// Its size in bytes; `null` if an extent is unknown.
    pub bytes: Option<u64>,
    /// The node that makes it; `null` for inputs and constants.
    pub from: Option<usize>,
    /// Whether it is a constant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub constant: bool,
}

/// A node.
#[derive(Serialize, JsonSchema)]
pub struct NodeRow {
    /// Its label.
    pub name: String,
    /// Its operator, with its domain if that is not ONNX's own.
    pub op: String,
    /// Its operands; `null` for those that are absent.
    pub inputs: Vec<Option<usize>>,
    /// What its bodies read from outside, or give to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<usize>,
    /// Its results; `null` for those that are absent.
    pub outputs: Vec<Option<usize>>,
    /// Names and values of its attributes, and the bounds of a Slice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<(String, String)>,
    /// The pass and the place that made it; empty for nodes of the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Number of the edit that made it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edit: Option<usize>,
    /// The innermost box that it is in.
    pub group: Option<usize>,
    /// Its multiply-accumulates; `null` if they are unknown.
    pub macs: Option<u64>,
    /// Whether the other graph has no equal node.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// Its documentation in the file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub doc: String,
}

/// A box around nodes.
#[derive(Serialize, JsonSchema)]
pub struct GroupRow {
    /// What is in it.
    pub kind: Kind,
    /// Shown on it.
    pub label: String,
    /// The box that it is in.
    pub parent: Option<usize>,
    /// Number of nodes, those of boxes within included.
    pub nodes: usize,
    /// Number of the tile in its grid, row by row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<usize>,
}

/// What a box holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The tiles of a group of nodes.
    Tiling,
    /// One tile.
    Tile,
    /// Nodes that a device runs.
    Device,
    /// A call of a function of the model.
    Function,
    /// A node of control flow with its bodies.
    Control,
    /// A body of it.
    Body,
    /// A block that can be scaled.
    Block,
    /// Nodes that both graphs have.
    Unchanged,
    /// A stretch of the schedule, cut where few values are live.
    Section,
}

/// What is known of a graph's nodes besides the graph.
#[derive(Default)]
pub struct Marks<'a> {
    /// Numbers of the edits that made nodes.
    pub edits: HashMap<NodeId, usize>,
    /// The graph that it is compared with.
    pub other: Option<&'a Graph>,
    /// A box for a node: what it holds, a number that tells it from others, and its label.
    pub boxes: HashMap<NodeId, (Kind, usize, String)>,
}

impl Marks<'_> {
    /// A box for each stage of a plan of this graph.
    pub fn of_plan(graph: &Graph, plan: &PlanFile) -> Self {
        let names = NodeNames::of_graph(graph);
        let mut boxes = HashMap::new();
        for (i, s) in plan.stages.iter().enumerate() {
            let label = format!("stage {i} on {}", super::split::place(&s.device, &s.mode));
            let nodes = s.nodes.iter().filter_map(|n| names.node(n).ok());
            boxes.extend(nodes.map(|n| (n, (Kind::Device, i, label.clone()))));
        }
        Self { boxes, ..Self::default() }
    }
}

/// Where the nodes and values of a graph are in its picture.
#[derive(Default)]
pub struct Index {
    pub nodes: HashMap<NodeId, usize>,
    pub values: HashMap<ValueId, usize>,
}

/// The picture of a graph, whose sizes should be known.
pub fn picture(title: &str, graph: &Graph, marks: &Marks<'_>) -> (GraphPicture, Index) {
    let mut p = Painter {
        picture: GraphPicture {
            title: title.into(),
            name: graph.name.to_string(),
            opset: graph.opset(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            values: Vec::new(),
            nodes: Vec::new(),
            groups: Vec::new(),
        },
        marks,
        other: marks.other.map(|g| g.schedule().map(|n| spelled(g, n)).collect()),
        scopes: Vec::new(),
    };
    let mut index = Index::default();
    let inputs: Vec<usize> =
        graph.inputs().iter().map(|&v| p.value(graph, v, &mut index)).collect();
    let items = p.graph(graph, true, &mut index);
    p.picture.inputs = inputs;
    p.picture.outputs = graph.outputs().iter().map(|&v| p.value(graph, v, &mut index)).collect();
    p.place(items, None);
    (p.picture, index)
}

/// All that determines a node and its place: nodes of two graphs that are spelled alike are shown as one.
fn spelled(g: &Graph, id: NodeId) -> String {
    let n = g.node(id);
    let name = |v: &Option<ValueId>| match v {
        None => String::new(),
        Some(v) => match g.constant(*v) {
            Some(t) => format!("#{:032x}", t.content_hash()),
            None => g.value(*v).name.to_string(),
        },
    };
    let all = |vs: &[Option<ValueId>]| vs.iter().map(name).collect::<Vec<_>>().join("\u{1}");
    let attrs: Vec<String> =
        n.op.attrs().iter().map(|(k, a)| format!("{k}={}", attribute_text(a))).collect();
    let (reads, makes) = (all(&n.inputs), all(&n.outputs));
    format!(
        "{}\u{2}{}\u{2}{}\u{2}{reads}\u{2}{makes}\u{2}{}",
        n.op.domain(),
        n.op.name(),
        n.name,
        attrs.join("\u{1}")
    )
}

struct Painter<'a> {
    picture: GraphPicture,
    marks: &'a Marks<'a>,
    /// How the nodes of the other graph are spelled.
    other: Option<HashSet<String>>,
    /// The values of the graphs around, by name.
    scopes: Vec<HashMap<String, usize>>,
}

impl Painter<'_> {
    /// The position of a value of this graph.
    fn value(&mut self, graph: &Graph, v: ValueId, index: &mut Index) -> usize {
        if let Some(&i) = index.values.get(&v) {
            return i;
        }
        let value = graph.value(v);
        let outer = match value.def {
            Def::Outer => self.scopes.iter().rev().find_map(|s| s.get(&*value.name).copied()),
            _ => None,
        };
        let at = outer.unwrap_or_else(|| {
            self.picture.values.push(ValueRow {
                name: value.name.to_string(),
                r#type: value.ty.to_string(),
                bytes: value.ty.bytes(),
                from: None,
                constant: graph.constant(v).is_some(),
            });
            self.picture.values.len() - 1
        });
        index.values.insert(v, at);
        at
    }

    /// The nodes of a graph, in boxes. Edits and marks are of the main graph.
    fn graph(&mut self, graph: &Graph, main: bool, index: &mut Index) -> Vec<Item> {
        let mut nodes = Vec::new();
        let mut tilings = boxes::Tilings::default();
        for id in graph.schedule() {
            if matches!(graph.node(id).op, Op::Constant(_)) {
                continue;
            }
            let mut path = Vec::new();
            if let Some((kind, key, label)) = self.marks.boxes.get(&id).filter(|_| main) {
                path.push(boxes::Key::new(*kind, *key, label.clone()));
            }
            let edit = self.marks.edits.get(&id).copied().filter(|_| main);
            path.extend(tilings.path(graph.label(id), edit, &graph.node(id).meta.origin));
            let item = self.node(graph, id, edit, main, index);
            nodes.push((item, path));
        }
        let same = self.other.is_some() && main;
        let items = boxes::nested(nodes);
        let items = if same { boxes::unchanged(items, &self.picture) } else { items };
        boxes::sections(items, &self.picture)
    }

    /// A node, or the box of what it stands for.
    fn node(
        &mut self,
        graph: &Graph,
        id: NodeId,
        edit: Option<usize>,
        main: bool,
        index: &mut Index,
    ) -> Item {
        let n = graph.node(id);
        let call = graph.function(&n.op).is_some();
        let body =
            if call { definition::inferred(&OpCtx::of(graph, id)).ok().flatten() } else { None };
        if let Some(body) = body {
            return self.call(graph, id, &body, index);
        }
        let label = graph.label(id).to_owned();
        let mut within = Vec::new();
        let mut reads: Vec<usize> =
            n.captures.iter().map(|&v| self.value(graph, v, index)).collect();
        for (attr, body) in n.op.bodies() {
            let names = index.values.iter().map(|(&v, &i)| (graph.value(v).name.to_string(), i));
            self.scopes.push(names.collect());
            let mut inner = Index::default();
            let items = self.graph(body, false, &mut inner);
            reads.extend(body.outputs().iter().map(|&v| self.value(body, v, &mut inner)));
            self.scopes.pop();
            within.push(Item::of(Kind::Body, attr, items));
        }
        let inputs = n.inputs.iter().map(|v| v.map(|v| self.value(graph, v, index))).collect();
        let outputs: Vec<Option<usize>> =
            n.outputs.iter().map(|v| v.map(|v| self.value(graph, v, index))).collect();
        let at = self.picture.nodes.len();
        outputs.iter().flatten().for_each(|&v| self.picture.values[v].from = Some(at));
        let changed =
            main && self.other.as_ref().is_some_and(|all| !all.contains(&spelled(graph, id)));
        let mut attributes: Vec<(String, String)> = Vec::new();
        if let Some(bounds) = slice_sugar(graph, id) {
            attributes.push(("bounds".into(), bounds));
        }
        let graphs = |a: &Attr| matches!(a, Attr::Graph(_));
        let all = n.op.attrs();
        let shown = all.iter().chain(&n.extra).filter(|(_, a)| !graphs(a));
        attributes.extend(shown.map(|(k, a)| (k.to_string(), attribute_text(a))));
        self.picture.nodes.push(NodeRow {
            name: label.clone(),
            op: operator(&n.op),
            inputs,
            reads,
            outputs,
            attributes,
            origin: n.meta.origin.to_string(),
            edit,
            group: None,
            macs: node_macs(graph, id),
            changed,
            doc: n.meta.doc.clone(),
        });
        index.nodes.insert(id, at);
        if within.is_empty() {
            return Item::Node(at);
        }
        within.push(Item::Node(at));
        Item::of(Kind::Control, &format!("{label}: {}", n.op.name()), within)
    }

    /// A call, as the body of the function that reads and makes the call's own values.
    fn call(&mut self, graph: &Graph, id: NodeId, body: &Graph, index: &mut Index) -> Item {
        let n = graph.node(id);
        let mut inner = Index::default();
        for (&v, &operand) in body.inputs().iter().zip(n.inputs.iter().flatten()) {
            let at = self.value(graph, operand, index);
            inner.values.insert(v, at);
        }
        for (&v, result) in body.outputs().iter().zip(&n.outputs) {
            if let Some(result) = *result
                && !inner.values.contains_key(&v)
            {
                let at = self.value(graph, result, index);
                inner.values.insert(v, at);
            }
        }
        let first = self.picture.nodes.len();
        let items = self.graph(body, false, &mut inner);
        index.nodes.insert(id, first);
        Item::of(Kind::Function, &format!("{}: {}", graph.label(id), n.op.name()), items)
    }

    /// Writes the boxes down.
    fn place(&mut self, items: Vec<Item>, parent: Option<usize>) {
        for item in items {
            match item {
                Item::Node(n) => self.picture.nodes[n].group = parent,
                Item::Group { kind, label, tile, items } => {
                    let nodes = items.iter().map(Item::count).sum();
                    self.picture.groups.push(GroupRow { kind, label, parent, nodes, tile });
                    let at = self.picture.groups.len() - 1;
                    self.place(items, Some(at));
                }
            }
        }
    }
}

/// An operator with its domain, if that is not ONNX's own.
pub fn operator(op: &Op) -> String {
    match op.domain() {
        "" | "ai.onnx" => op.name().to_owned(),
        domain => format!("{domain}::{}", op.name()),
    }
}
