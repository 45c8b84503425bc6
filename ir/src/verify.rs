//! The verifier: the invariants that hold for every graph between edits, and for the bodies of its
//! control flow.
//!
//! - V01  every operand, result, capture, input and output of the graph exists
//! - V02  a value's definition and the results of the node agree
//! - V03  a value's readers are exactly the nodes that list it as an operand or a capture
//! - V04  every operand is defined before the node that reads it runs
//! - V05  no two values have the same name
//! - V06  the schedule visits every node once, in the order of the order keys
//! - V07  an output of the graph is marked as one
//! - V08  exactly the graph's inputs are defined as inputs
//! - V09  a constant's type is that of its tensor
//! - V10  a result's type agrees with the shape rule
//! - V11  a node's captures include everything that its subgraphs read from outside
//! - V12  names of nodes that edits added are unique over all bodies, if they are not empty
//!
//! In a body, a node may contradict its operator's definition: such a body does not run.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::graph::{Def, Graph, Use};
use crate::op_context::OpCtx;
use crate::{NodeId, ValueId, infer};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {}{message}", Scope(.scope))]
#[non_exhaustive]
pub struct Violation {
    /// The invariant: `V01` to `V12`, as the [module](self) lists them.
    pub code: &'static str,
    /// The body in which it is, as `NODE/ATTRIBUTE` from the outside in; empty for the main graph.
    pub scope: Vec<String>,
    /// The node or value, by its handle in the graph or body.
    pub place: Place,
    /// What does not hold, with the names of the nodes and values.
    pub message: String,
}

/// The part of a graph that breaks an invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The graph itself: its schedule, inputs or outputs.
    Graph,
    /// One node, or the operands and results that it lists.
    Node(NodeId),
    /// One value, or its definition.
    Value(ValueId),
}

/// A list of bodies, for messages.
struct Scope<'a>(&'a [String]);

impl fmt::Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|s| write!(f, "{s}: "))
    }
}

/// Checks all invariants.
///
/// # Errors
/// All violations; if V01 is broken in a graph, only those of V01 for this graph.
pub fn verify(graph: &Graph) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    Verifier { graph, inner: false, found: &mut found }.all();
    // The walk over all nodes needs valid handles and schedules.
    if found.iter().all(|v| v.code != "V01" && v.code != "V06") {
        Verifier { graph, inner: false, found: &mut found }.names();
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// The verifier of one graph.
struct Verifier<'a> {
    graph: &'a Graph,
    /// Whether the graph is a body.
    inner: bool,
    found: &'a mut Vec<Violation>,
}

impl<'a> Verifier<'a> {
    fn all(&mut self) {
        let before = self.found.len();
        self.handles();
        if self.found.len() > before {
            return;
        }
        self.links();
        self.order();
        self.values();
        self.types();
        self.captures();
        for id in self.nodes() {
            for (attr, graph) in self.graph.node(id).op.bodies() {
                let before = self.found.len();
                Verifier { graph, inner: true, found: self.found }.all();
                let scope = format!("{}/{attr}", self.graph.label(id));
                self.found[before..].iter_mut().for_each(|v| v.scope.insert(0, scope.clone()));
            }
        }
    }

    fn report(&mut self, code: &'static str, place: Place, message: String) {
        self.found.push(Violation { code, scope: Vec::new(), place, message });
    }

    /// Nodes by id, including those that the schedule does not reach.
    fn nodes(&self) -> impl Iterator<Item = NodeId> + use<'a> {
        let graph = self.graph;
        (0..graph.node_bound()).map(NodeId::new).filter(|&n| graph.get_node(n).is_some())
    }

    /// V01: handles are those of the graph.
    fn handles(&mut self) {
        let graph = self.graph;
        let exists = |v: ValueId| graph.get_value(v).is_some();
        for id in self.nodes() {
            let n = graph.node(id);
            let all = n.inputs.iter().chain(&n.outputs).flatten().chain(&n.captures);
            for v in all.filter(|&&v| !exists(v)) {
                let what = format!("node {:?} refers to {v:?}, which does not exist", n.name);
                self.report("V01", Place::Node(id), what);
            }
            for m in [n.prev, n.next].into_iter().flatten() {
                if graph.get_node(m).is_none() {
                    let what = format!("node {:?} is linked to {m:?}, which was removed", n.name);
                    self.report("V01", Place::Node(id), what);
                }
            }
        }
        for v in graph.inputs().iter().chain(graph.outputs()).filter(|&&v| !exists(v)) {
            let what = format!("the graph refers to {v:?}, which does not exist");
            self.report("V01", Place::Graph, what);
        }
    }

    /// V02 and V03: definitions and readers of values.
    fn links(&mut self) {
        let graph = self.graph;
        let mut uses: Vec<BTreeSet<Use>> = vec![BTreeSet::new(); graph.value_bound()];
        for id in self.nodes() {
            let n = graph.node(id);
            for (i, v) in n.outputs.iter().enumerate() {
                if let Some(v) = v
                    && graph.value(*v).def != Def::Node(id, i)
                {
                    let (name, label) = (&graph.value(*v).name, graph.label(id));
                    let what = format!("{name:?} is a result of {label:?}, but not defined by it");
                    self.report("V02", Place::Value(*v), what);
                }
            }
            let captures = n.captures.iter().map(|&v| Some(v));
            for (index, v) in n.inputs.iter().copied().chain(captures).enumerate() {
                if let Some(v) = v {
                    uses[v.index()].insert(Use { node: id, index });
                }
            }
        }
        for (id, v) in graph.values() {
            if let Def::Node(n, o) = v.def
                && graph.get_node(n).and_then(|n| n.outputs.get(o).copied()).flatten() != Some(id)
            {
                let what = format!("{:?} is defined by a node that does not list it", v.name);
                self.report("V02", Place::Value(id), what);
            }
            if v.uses != uses[id.index()] {
                let what = format!("the nodes that read {:?} are not those it lists", v.name);
                self.report("V03", Place::Value(id), what);
            }
        }
    }

    /// V04 and V06: the schedule.
    fn order(&mut self) {
        let graph = self.graph;
        let mut seen = HashSet::new();
        let (mut at, mut last) = (graph.first, 0);
        while let Some(id) = at {
            let Some(n) = graph.get_node(id) else { break };
            if !seen.insert(id) {
                self.report("V06", Place::Graph, "the schedule has a cycle".to_owned());
                return;
            }
            if n.order <= last && seen.len() > 1 {
                let what = format!("the order key of node {:?} is not ascending", n.name);
                self.report("V06", Place::Node(id), what);
            }
            last = n.order;
            at = n.next;
        }
        let count = self.nodes().count();
        if seen.len() != graph.len() || seen.len() != count {
            let what = format!("the schedule visits {} of {count} nodes", seen.len());
            self.report("V06", Place::Graph, what);
            return;
        }
        for id in graph.schedule() {
            let n = graph.node(id);
            for v in n.inputs.iter().flatten().chain(&n.captures) {
                if let Def::Node(p, _) = graph.value(*v).def
                    && graph.node(p).order >= n.order
                {
                    let (label, name) = (graph.label(id), &graph.value(*v).name);
                    let what = format!("{label:?} reads {name:?} before it is defined");
                    self.report("V04", Place::Node(id), what);
                }
            }
        }
    }

    /// V05 and V07 to V09: values by themselves.
    fn values(&mut self) {
        let graph = self.graph;
        let mut names: HashSet<&str> = HashSet::new();
        let inputs: HashSet<ValueId> = graph.inputs().iter().copied().collect();
        for (id, v) in graph.values() {
            let place = Place::Value(id);
            if !names.insert(&v.name) {
                self.report("V05", place, format!("two values are named {:?}", v.name));
            }
            match (&v.def, inputs.contains(&id)) {
                (Def::Input(_), false) => {
                    let what = format!("{:?} is defined as an input that the graph lacks", v.name);
                    self.report("V08", place, what);
                }
                (Def::Input(_), true) | (_, false) => {}
                (_, true) => {
                    let what = format!("{:?} is an input, but not defined as one", v.name);
                    self.report("V08", place, what);
                }
            }
            if let Def::Const(t) = &v.def
                && v.ty != t.ty()
            {
                let what = format!("{:?} has type {}, but its tensor {}", v.name, v.ty, t.ty());
                self.report("V09", place, what);
            }
        }
        for &id in graph.outputs() {
            let v = graph.value(id);
            if !v.is_output() {
                let what = format!("{:?} is an output, but not marked as one", v.name);
                self.report("V07", Place::Value(id), what);
            }
        }
    }

    /// V10: types of results.
    fn types(&mut self) {
        let graph = self.graph;
        for id in graph.schedule() {
            let types = match infer::infer(&OpCtx::of(graph, id)) {
                Ok(types) => types,
                Err(_) if self.inner => continue,
                Err(e) => {
                    self.report("V10", Place::Node(id), format!("{:?}: {e}", graph.label(id)));
                    continue;
                }
            };
            for (v, ty) in graph.node(id).outputs.iter().zip(types) {
                let Some(v) = v else { continue };
                let value = graph.value(*v);
                if value.ty.meet(&ty).is_none() {
                    let what = format!("{:?} has type {}, expected {ty}", value.name, value.ty);
                    self.report("V10", Place::Value(*v), what);
                }
            }
        }
    }

    /// V11: captures of subgraphs.
    fn captures(&mut self) {
        let graph = self.graph;
        for id in graph.schedule() {
            let n = graph.node(id);
            for g in n.op.subgraphs() {
                for (_, v) in g.values().filter(|(_, v)| v.def == Def::Outer) {
                    let here = n.captures.iter().any(|&c| graph.value(c).name == v.name);
                    if !here && !v.uses.is_empty() {
                        let (label, name) = (graph.label(id), &v.name);
                        let what = format!("a subgraph of {label:?} reads {name:?}, not a capture");
                        self.report("V11", Place::Node(id), what);
                    }
                }
            }
        }
    }

    /// V12: names of nodes over all bodies.
    fn names(&mut self) {
        let mut all: Vec<(Arc<str>, bool)> = Vec::new();
        self.graph.any_node(&mut |g, id| {
            let n = g.node(id);
            all.push((n.name.clone(), !n.meta.origin.is_empty()));
            false
        });
        let mut seen: HashSet<&str> = HashSet::new();
        // Names of the file's own nodes first: a new node must not repeat them either.
        for pass in [false, true] {
            for (name, made) in all.iter().filter(|(_, made)| *made == pass) {
                if !name.is_empty() && !seen.insert(name) && *made {
                    self.report("V12", Place::Graph, format!("two nodes are named {name:?}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Tensor, Type, text};

    fn graph() -> Graph {
        text::parse(
            "graph @g(%x: f32[2]) -> (%y) opset 13 {
               %c = const [1,2] : f32[2]
               %a = Relu %x     : f32[2] ; a
               %b = Add %a, %c  : f32[2] ; b
               %y = Neg %b      : f32[2] ; y
             }",
        )
        .unwrap()
    }

    fn codes(graph: &Graph) -> Vec<&'static str> {
        verify(graph).err().unwrap_or_default().into_iter().map(|v| v.code).collect()
    }

    fn value(g: &Graph, name: &str) -> ValueId {
        g.find_value(name).unwrap()
    }

    fn node(g: &Graph, i: usize) -> NodeId {
        g.schedule().nth(i).unwrap()
    }

    #[test]
    fn accepts_a_good_graph() {
        assert_eq!(verify(&graph()), Ok(()));
    }

    /// One graph for each code, broken in just that way.
    #[test]
    fn each_invariant_is_checked() {
        let broken: Vec<(&str, fn(&mut Graph))> = vec![
            ("V01", |g| {
                let v = value(g, "c");
                g.values[v.index()] = None;
            }),
            ("V02", |g| {
                let (v, n) = (value(g, "a"), node(g, 2));
                g.value_mut(v).def = Def::Node(n, 0);
            }),
            ("V03", |g| {
                let v = value(g, "a");
                g.value_mut(v).uses.clear();
            }),
            ("V04", |g| {
                let (a, b) = (node(g, 0), node(g, 1));
                let (p, q) = (g.node(a).order, g.node(b).order);
                (g.node_mut(a).order, g.node_mut(b).order) = (q, p);
            }),
            ("V05", |g| {
                let v = value(g, "a");
                g.value_mut(v).name = "b".into();
            }),
            ("V06", |g| {
                let b = node(g, 1);
                g.node_mut(b).next = None;
            }),
            ("V07", |g| {
                let v = value(g, "y");
                g.value_mut(v).outputs = 0;
            }),
            ("V08", |g| g.inputs.clear()),
            ("V09", |g| {
                let v = value(g, "c");
                g.value_mut(v).def = Def::Const(Arc::new(Tensor::i64s(&[1])));
            }),
            ("V10", |g| {
                let v = value(g, "y");
                g.value_mut(v).ty = Type::tensor(DType::F32, &[3]);
            }),
            ("V12", |g| {
                let (b, y) = (node(g, 1), node(g, 2));
                let name = g.node(b).name.clone();
                g.node_mut(y).name = name;
                g.node_mut(y).meta.origin = "test".into();
            }),
        ];
        for (code, break_it) in broken {
            let mut g = graph();
            break_it(&mut g);
            assert!(codes(&g).contains(&code), "{code}: {:?}", verify(&g));
        }
    }

    /// Relu or Neg of an input, in the branches of an If.
    fn choice() -> Graph {
        text::parse(
            "graph @g(%c: bool[], %x: f32[2]) -> (%y) opset 13 {
               %y = If %c {then_branch=graph @t() -> (%a) {
                 %a = Relu %x : f32[2]
               }, else_branch=graph @e() -> (%b) {
                 %b = Neg %x : f32[2]
               }} : f32[2] ; choose
             }",
        )
        .unwrap()
    }

    #[test]
    fn violations_say_where() {
        let mut g = graph();
        let v = value(&g, "y");
        g.value_mut(v).ty = Type::tensor(DType::F32, &[3]);
        let found = verify(&g).unwrap_err();
        assert_eq!((&found[0].scope[..], found[0].place), (&[][..], Place::Value(v)));
        assert_eq!(found[0].to_string(), "V10: \"y\" has type f32[3], expected f32[2]");
        let mut g = choice();
        let n = node(&g, 0);
        let body = Arc::make_mut(g.node_mut(n).op.bodies_mut().remove(1));
        let b = value(body, "b");
        body.value_mut(b).ty = Type::tensor(DType::F32, &[3]);
        let found = verify(&g).unwrap_err();
        assert_eq!((&*found[0].scope[0], found[0].place), ("choose/else_branch", Place::Value(b)));
        assert!(found[0].to_string().starts_with("V10: choose/else_branch: "), "{}", found[0]);
    }

    #[test]
    fn captures_are_checked() {
        let mut g = choice();
        assert_eq!(verify(&g), Ok(()));
        let n = node(&g, 0);
        g.node_mut(n).captures.clear();
        let x = value(&g, "x");
        g.value_mut(x).uses.clear();
        assert_eq!(codes(&g), ["V11", "V11"]);
    }
}
