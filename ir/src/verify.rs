//! The verifier: what is true of every graph between edits, and of the bodies of its control flow.
//!
//! - V01  every operand, result, capture, input and output of the graph exists
//! - V02  a value's definition and the node's list of results name each other
//! - V03  a value's readers are exactly the nodes that list it as operand or capture
//! - V04  every operand is defined before the node that reads it runs
//! - V05  no two values have one name
//! - V06  the schedule visits every node once, in the order of the order keys
//! - V07  an output of the graph is an input, a constant, a foreign value or a node's result
//! - V08  graph inputs, and only they, are defined as inputs
//! - V09  a constant's type is that of its tensor
//! - V10  a result's type is what the shape rule infers, or says more than it
//! - V11  a node's captures cover what its subgraphs read from outside
//! - V12  names of nodes that edits made are unique over all bodies, where they have one
//!
//! In a body, a node may contradict its operator's definition: such a body does not run.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::graph::{Def, Graph, Use};
use crate::rule::Ctx;
use crate::{NodeId, ValueId, infer};

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Violation {
    /// `V01` to `V12`.
    pub code: &'static str,
    /// Where and how.
    pub message: String,
}

/// A graph that the verifier has seen.
#[derive(Clone, Debug)]
pub struct Verified(Arc<Graph>);

impl Verified {
    /// Verifies the graph.
    ///
    /// # Errors
    /// All violations.
    pub fn new(graph: Arc<Graph>) -> Result<Self, Vec<Violation>> {
        verify(&graph)?;
        Ok(Self(graph))
    }

    /// The graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.0
    }
}

/// Checks all invariants.
///
/// # Errors
/// All violations that were found; where handles dangle, only those.
pub fn verify(graph: &Graph) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    scope(graph, false, &mut found);
    if found.iter().all(|v| v.code != "V01" && v.code != "V06") {
        names(graph, &mut found);
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

fn scope(graph: &Graph, inner: bool, found: &mut Vec<Violation>) {
    let before = found.len();
    handles(graph, found);
    if found.len() > before {
        return;
    }
    links(graph, found);
    order(graph, found);
    values(graph, found);
    types(graph, inner, found);
    for id in nodes(graph) {
        for (attr, g) in graph.node(id).op.bodies() {
            let before = found.len();
            scope(g, true, found);
            for v in &mut found[before..] {
                v.message = format!("{}/{attr}: {}", graph.label(id), v.message);
            }
        }
    }
}

fn report(found: &mut Vec<Violation>, code: &'static str, message: String) {
    found.push(Violation { code, message });
}

/// Nodes by id, whether or not the schedule reaches them.
fn nodes(graph: &Graph) -> impl Iterator<Item = NodeId> + '_ {
    (0..graph.node_bound()).map(NodeId::new).filter(|&n| graph.get_node(n).is_some())
}

fn handles(graph: &Graph, found: &mut Vec<Violation>) {
    let exists = |v: ValueId| graph.get_value(v).is_some();
    for id in nodes(graph) {
        let n = graph.node(id);
        let all = n.inputs.iter().chain(&n.outputs).flatten().chain(&n.captures);
        for v in all.filter(|&&v| !exists(v)) {
            report(found, "V01", format!("node {:?} names {v:?}, which does not exist", n.name));
        }
        for m in [n.prev, n.next].into_iter().flatten() {
            if graph.get_node(m).is_none() {
                report(found, "V01", format!("node {:?} is beside a removed node", n.name));
            }
        }
    }
    for v in graph.inputs().iter().chain(graph.outputs()).filter(|&&v| !exists(v)) {
        report(found, "V01", format!("the graph names {v:?}, which does not exist"));
    }
}

fn links(graph: &Graph, found: &mut Vec<Violation>) {
    let mut uses: Vec<BTreeSet<Use>> = vec![BTreeSet::new(); graph.value_bound()];
    for id in nodes(graph) {
        let n = graph.node(id);
        for (i, v) in n.outputs.iter().enumerate() {
            if let Some(v) = v
                && graph.value(*v).def != Def::Node(id, i)
            {
                let name = &graph.value(*v).name;
                report(found, "V02", format!("{name:?} does not know the node that lists it"));
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
            report(
                found,
                "V02",
                format!("{:?} is defined by a node that does not list it", v.name),
            );
        }
        if v.uses != uses[id.index()] {
            report(found, "V03", format!("the readers of {:?} are not those listed", v.name));
        }
    }
}

fn order(graph: &Graph, found: &mut Vec<Violation>) {
    let mut seen = HashSet::new();
    let (mut at, mut last) = (graph.first, 0);
    while let Some(id) = at {
        let Some(n) = graph.get_node(id) else { break };
        if !seen.insert(id) {
            report(found, "V06", "the schedule runs in a circle".to_owned());
            return;
        }
        if n.order <= last && seen.len() > 1 {
            report(found, "V06", format!("node {:?} is out of order", n.name));
        }
        last = n.order;
        at = n.next;
    }
    let count = nodes(graph).count();
    if seen.len() != graph.len() || seen.len() != count {
        report(found, "V06", format!("the schedule visits {} of {count} nodes", seen.len()));
        return;
    }
    for id in graph.schedule() {
        let n = graph.node(id);
        for v in n.inputs.iter().flatten().chain(&n.captures) {
            if let Def::Node(p, _) = graph.value(*v).def
                && graph.node(p).order >= n.order
            {
                let name = &graph.value(*v).name;
                report(
                    found,
                    "V04",
                    format!("{:?} reads {name:?} before it is defined", graph.label(id)),
                );
            }
        }
    }
}

fn values(graph: &Graph, found: &mut Vec<Violation>) {
    let mut names: HashSet<&str> = HashSet::new();
    let inputs: HashSet<ValueId> = graph.inputs().iter().copied().collect();
    for (id, v) in graph.values() {
        if !names.insert(&v.name) {
            report(found, "V05", format!("two values are named {:?}", v.name));
        }
        if matches!(v.def, Def::Input(_)) != inputs.contains(&id) {
            report(found, "V08", format!("{:?} is not what the graph's inputs say", v.name));
        }
        if let Def::Const(t) = &v.def
            && v.ty != t.ty()
        {
            report(found, "V09", format!("{:?} is {}, its tensor {}", v.name, v.ty, t.ty()));
        }
    }
    for &v in graph.outputs() {
        let v = graph.value(v);
        if !v.is_output() {
            report(found, "V07", format!("{:?} does not know that it is an output", v.name));
        }
    }
}

fn types(graph: &Graph, inner: bool, found: &mut Vec<Violation>) {
    for id in graph.schedule() {
        match infer::infer(&Ctx::of(graph, id)) {
            Err(_) if inner => {}
            Err(e) => report(found, "V10", format!("{:?}: {e}", graph.label(id))),
            Ok(types) => {
                for (v, ty) in graph.node(id).outputs.iter().zip(types) {
                    let Some(v) = v else { continue };
                    let v = graph.value(*v);
                    if v.ty.meet(&ty).is_none() {
                        report(
                            found,
                            "V10",
                            format!("{:?} is {}, but {ty} is inferred", v.name, v.ty),
                        );
                    }
                }
            }
        }
        let n = graph.node(id);
        for g in n.op.subgraphs() {
            for (_, v) in g.values().filter(|(_, v)| v.def == Def::Outer) {
                let here = n.captures.iter().any(|&c| graph.value(c).name == v.name);
                if !here && !v.uses.is_empty() {
                    report(
                        found,
                        "V11",
                        format!("{:?} reads {:?} unlisted", graph.label(id), v.name),
                    );
                }
            }
        }
    }
}

fn names(graph: &Graph, found: &mut Vec<Violation>) {
    let mut all: Vec<(Arc<str>, bool)> = Vec::new();
    graph.any_node(&mut |g, id| {
        let n = g.node(id);
        all.push((n.name.clone(), !n.meta.origin.is_empty()));
        false
    });
    let mut seen: HashSet<&str> = HashSet::new();
    // Names of the file's own nodes first: a made one must not repeat them either.
    for pass in [false, true] {
        for (name, made) in all.iter().filter(|(_, made)| *made == pass) {
            if !name.is_empty() && !seen.insert(name) && *made {
                report(found, "V12", format!("{name:?} names two nodes"));
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

    #[test]
    fn captures_are_checked() {
        let mut g = text::parse(
            "graph @g(%c: bool[], %x: f32[2]) -> (%y) opset 13 {
               %y = If %c {then_branch=graph @t() -> (%a) {
                 %a = Relu %x : f32[2]
               }, else_branch=graph @e() -> (%b) {
                 %b = Neg %x : f32[2]
               }} : f32[2]
             }",
        )
        .unwrap();
        assert_eq!(verify(&g), Ok(()));
        let n = node(&g, 0);
        g.node_mut(n).captures.clear();
        let x = value(&g, "x");
        g.value_mut(x).uses.clear();
        assert_eq!(codes(&g), ["V11", "V11"]);
    }
}
