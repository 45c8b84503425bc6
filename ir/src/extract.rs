//! Extracts a part of a graph as a graph of its own.
//!
//! [`extract`] cuts at values, [`keep`] at nodes. The part keeps its names, types, metadata, operator
//! sets, functions and the constants that are still read. Handles stay valid.

use std::collections::HashSet;
use std::sync::Arc;

use crate::graph::{Def, Graph};
use crate::{NodeId, ValueId};

/// A part of a graph that cannot be extracted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// A handle is not one of the graph.
    #[error("refers to a node or value that is not in the graph")]
    Dangling,
    /// A value is listed as an input twice.
    #[error("expected each input once, found {0:?} twice")]
    Twice(Arc<str>),
    /// A value without a known element type cannot become an input.
    #[error(
        "{0:?} would become an input, but its element type is unknown; infer types first, or cut elsewhere"
    )]
    Untyped(Arc<str>),
    /// The part has no nodes.
    #[error("expected at least one node, found none")]
    Empty,
}

/// The part of the graph that computes `outputs` from `inputs`. Its inputs are `inputs` in that order, and
/// after them the inputs of the graph that it reads as well.
///
/// # Errors
/// If a handle dangles, an input is listed twice, or a type is missing.
pub fn extract(
    graph: &Graph,
    inputs: &[ValueId],
    outputs: &[ValueId],
) -> Result<Graph, ExtractError> {
    let mut cut: HashSet<ValueId> = HashSet::new();
    for &v in inputs {
        let value = graph.get_value(v).ok_or(ExtractError::Dangling)?;
        if value.ty.dtype().is_none() {
            return Err(ExtractError::Untyped(value.name.clone()));
        }
        if !cut.insert(v) {
            return Err(ExtractError::Twice(value.name.clone()));
        }
    }
    let mut values: HashSet<ValueId> = cut.clone();
    let mut nodes: HashSet<NodeId> = HashSet::new();
    let mut open = outputs.to_vec();
    while let Some(v) = open.pop() {
        let value = graph.get_value(v).ok_or(ExtractError::Dangling)?;
        if cut.contains(&v) {
            continue;
        }
        values.insert(v);
        if let Def::Node(p, _) = value.def
            && nodes.insert(p)
        {
            let n = graph.node(p);
            open.extend(n.inputs.iter().flatten().chain(&n.captures));
            values.extend(n.outputs.iter().flatten());
        }
    }
    let mut part = graph.clone();
    part.set_outputs(outputs.to_vec());
    for n in graph.schedule().filter(|n| !nodes.contains(n)) {
        part.remove_node(n);
    }
    for &v in inputs {
        let value = part.value(v);
        if let Def::Node(p, o) = value.def
            && part.get_node(p).is_some()
        {
            // The node stays for its other results: this one gets another name.
            let (name, ty) = (value.name.to_string(), value.ty.clone());
            let name = part.fresh(&name);
            let other = part.push_value(name, ty, Def::Node(p, o));
            let node = part.node_mut(p);
            node.outputs[o] = Some(other);
            node.meta.verbatim = None;
        }
        if !matches!(part.value(v).def, Def::Input(_)) {
            part.value_mut(v).def = Def::Input(None);
        }
    }
    part.inputs = inputs.to_vec();
    part.inputs
        .extend(graph.inputs().iter().filter(|v| values.contains(v) && !cut.contains(v)).copied());
    let gone: Vec<ValueId> =
        graph.values().map(|(id, _)| id).filter(|v| !values.contains(v)).collect();
    gone.into_iter().for_each(|v| part.remove_value(v));
    // The graph differs from the file now.
    part.edits += 1;
    Ok(part)
}

/// These nodes, and the `Constant` nodes that they read, as a graph. Values that other nodes compute become
/// inputs. Outputs are the outputs of the graph that the nodes compute, and their results that none of
/// them reads.
///
/// # Errors
/// As [`extract`], and if there are no nodes.
pub fn keep(graph: &Graph, nodes: &[NodeId]) -> Result<Graph, ExtractError> {
    let kept: HashSet<NodeId> = nodes.iter().copied().collect();
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut seen: HashSet<ValueId> = HashSet::new();
    let ours = |v: ValueId| graph.producer(v).is_some_and(|p| kept.contains(&p));
    for &id in nodes {
        let n = graph.get_node(id).ok_or(ExtractError::Dangling)?;
        for &v in n.inputs.iter().flatten().chain(&n.captures) {
            let made = graph.producer(v).is_some() && graph.constant(v).is_none();
            if made && !ours(v) && seen.insert(v) {
                inputs.push(v);
            }
        }
    }
    outputs.extend(graph.outputs().iter().copied().filter(|&v| ours(v)));
    for id in graph.schedule().filter(|n| kept.contains(n)) {
        let results = || graph.node(id).outputs.iter().flatten().copied();
        let wanted = |v: ValueId| {
            let v = graph.value(v);
            v.is_output() || v.uses().any(|u| kept.contains(&u.node))
        };
        if !results().any(wanted) {
            outputs.extend(results());
        }
    }
    if outputs.is_empty() {
        return Err(ExtractError::Empty);
    }
    extract(graph, &inputs, &outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{parse, print};
    use crate::verify::verify;

    fn graph() -> Graph {
        parse(
            "graph @g(%c: bool[], %x: f32[4,2]) -> (%y, %q) opset 13 {
               %k = const [1,2] : f32[2]
               %a = Relu %x     : f32[4,2] ; a
               %p, %q = Split %a : f32[2,2], f32[2,2] ; split
               %b = Add %p, %k  : f32[2,2] ; b
               %y = If %c {then_branch=graph @t() -> (%s) {
                 %s = Mul %b, %p : ?
               }, else_branch=graph @e() -> (%t) {
                 %t = Neg %b : ?
               }} : f32[2,2] ; if
             }",
        )
        .unwrap()
    }

    fn part(inputs: &[&str], outputs: &[&str]) -> Graph {
        let g = graph();
        let find = |names: &[&str]| -> Vec<ValueId> {
            names.iter().map(|n| g.find_value(n).unwrap()).collect()
        };
        let part = extract(&g, &find(inputs), &find(outputs)).unwrap();
        assert_eq!(verify(&part), Ok(()), "{}", print(&part));
        part
    }

    #[test]
    fn cuts_at_values() {
        let t = print(&part(&["a"], &["b"]));
        let want = "graph @g(%a: f32[4,2]) -> (%b) opset 13 {
  %p, %q = Split %a : f32[2,2], f32[2,2]    ; split
  %k = const [1,2]  : f32[2]
  %b = Add %p, %k   : f32[2,2]    ; b
}
";
        assert_eq!(t, want);
        // What a body captures is needed, and may become an input.
        let t = print(&part(&["b"], &["y"]));
        assert!(t.starts_with("graph @g(%b: f32[2,2], %c: bool[], %x: f32[4,2]) -> (%y)"), "{t}");
        let t = print(&part(&["p", "b"], &["y"]));
        assert!(t.starts_with("graph @g(%p: f32[2,2], %b: f32[2,2], %c: bool[]) -> (%y)"), "{t}");
        assert!(!t.contains("Split"), "{t}");
        // One result of a node becomes an input, the other is still computed.
        let t = print(&part(&["p"], &["b", "q"]));
        assert!(t.contains("%p_2, %q = Split"), "{t}");
    }

    #[test]
    fn keeps_nodes() {
        let g = graph();
        let nodes: Vec<NodeId> = g.schedule().collect();
        let one = keep(&g, &nodes[2..3]).unwrap();
        assert_eq!(verify(&one), Ok(()));
        assert!(print(&one).starts_with("graph @g(%p: f32[2,2]) -> (%b)"), "{}", print(&one));
        let two = keep(&g, &[nodes[0], nodes[3]]).unwrap();
        assert_eq!(verify(&two), Ok(()));
        assert_eq!((two.len(), two.inputs().len(), two.outputs().len()), (2, 4, 2));
        assert_eq!(keep(&g, &[]).err(), Some(ExtractError::Empty));
        assert!(crate::structural_eq::identical(&g, &keep(&g, &nodes).unwrap()));
    }

    #[test]
    fn refuses_what_is_not_there() {
        let g = graph();
        let (a, none) = (g.find_value("a").unwrap(), ValueId::new(99));
        assert_eq!(extract(&g, &[none], &[a]).err(), Some(ExtractError::Dangling));
        assert_eq!(extract(&g, &[a], &[none]).err(), Some(ExtractError::Dangling));
        assert_eq!(extract(&g, &[a, a], &[a]).err(), Some(ExtractError::Twice("a".into())));
    }
}
