//! Finds nodes by name.

use std::collections::HashMap;

use crate::entity::NodeId;
use crate::graph::Graph;

/// A name that does not identify one node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No node or result has the name.
    #[error("there is no node or result named {name:?}{}", hint(.near.as_deref()))]
    Unknown {
        /// The name that was looked up.
        name: String,
        /// The most similar existing name, if one is similar.
        near: Option<String>,
    },
    /// More than one node has the name.
    #[error("{} nodes are named {name:?}; use the name of a result instead: {}", .results.len(), some(.results))]
    Ambiguous {
        /// The name that was looked up.
        name: String,
        /// The first result of each of them.
        results: Vec<String>,
    },
}

fn hint(near: Option<&str>) -> String {
    near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default()
}

/// The first few of these names.
fn some(names: &[String]) -> String {
    let shown = &names[..names.len().min(4)];
    let more = if shown.len() < names.len() { ", …" } else { "" };
    let shown: Vec<String> = shown.iter().map(|n| format!("{n:?}")).collect();
    format!("{}{more}", shown.join(", "))
}

/// An index of the nodes of a graph by name. A node is found by its [label](Graph::label), which need
/// not be unique, and by the names of its results, which are.
#[derive(Clone, Debug)]
pub struct NodeNames<'g> {
    graph: &'g Graph,
    labels: HashMap<&'g str, Vec<NodeId>>,
    results: HashMap<&'g str, NodeId>,
}

impl<'g> NodeNames<'g> {
    /// The index of this graph, without the bodies of its nodes.
    pub fn of_graph(graph: &'g Graph) -> Self {
        let mut labels: HashMap<&str, Vec<NodeId>> = HashMap::new();
        let mut results = HashMap::new();
        for n in graph.schedule() {
            labels.entry(graph.label(n)).or_default().push(n);
            for &v in graph.node(n).outputs.iter().flatten() {
                results.insert(&*graph.value(v).name, n);
            }
        }
        Self { graph, labels, results }
    }

    /// All nodes that match the name, in schedule order: those with this label, and the one with this
    /// result. If the latter has the label as well, only that one.
    pub fn all(&self, name: &str) -> Vec<NodeId> {
        let labelled = self.labels.get(name).map_or(&[][..], Vec::as_slice);
        match self.results.get(name) {
            Some(n) if labelled.contains(n) => vec![*n],
            Some(n) => {
                let mut all = labelled.to_vec();
                all.push(*n);
                all.sort_by_key(|&n| self.graph.position(n));
                all
            }
            None => labelled.to_vec(),
        }
    }

    /// The node of this name.
    ///
    /// # Errors
    /// If no node matches, or more than one.
    pub fn node(&self, name: &str) -> Result<NodeId, NameError> {
        match self.all(name)[..] {
            [n] => Ok(n),
            [] => {
                let known = self.graph.schedule().map(|n| self.graph.label(n));
                let near = nearest(name, known).map(str::to_owned);
                Err(NameError::Unknown { name: name.into(), near })
            }
            ref all => {
                let results = all.iter().filter_map(|&n| self.result(n)).map(str::to_owned);
                Err(NameError::Ambiguous { name: name.into(), results: results.collect() })
            }
        }
    }

    /// A name by which [`node`](Self::node) finds the node: its label if that is unique, else its first
    /// result.
    pub fn name(&self, node: NodeId) -> &'g str {
        let label = self.graph.label(node);
        match self.all(label)[..] {
            [one] if one == node => label,
            _ => self.result(node).unwrap_or(label),
        }
    }

    fn result(&self, node: NodeId) -> Option<&'g str> {
        self.graph.node(node).outputs.iter().flatten().next().map(|&v| &*self.graph.value(v).name)
    }
}

impl Graph {
    /// The node of this name: its label, or the name of one of its results. For many names, see
    /// [`NodeNames`].
    ///
    /// # Errors
    /// If no node matches, or more than one.
    pub fn node_named(&self, name: &str) -> Result<NodeId, NameError> {
        NodeNames::of_graph(self).node(name)
    }
}

/// The known name that is most similar to a mistyped one; `None` if more than a third of its characters
/// would have to change.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.into_iter().map(|k| (strsim::levenshtein(name, k), k)).min()?;
    (best.0 <= 1 + name.len() / 3).then_some(best.1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn typos_find_their_word() {
        assert_eq!(nearest("tile-cnov", ["simplify", "tile-conv"]), Some("tile-conv"));
        assert_eq!(nearest("zzz", ["simplify", "tile-conv"]), None);
    }

    #[test]
    fn nodes_are_named_by_label_or_result() {
        let g = parse(
            "graph @g(%x: f32[2]) -> (%y) opset 13 {
               %a = Neg %x        : f32[2] ; one
               %b = Neg %a        : f32[2] ; same
               %same = Neg %b     : f32[2] ; same
               %c, %d = Split %same : ?, ? ; cut
               %cut = Concat %c, %d {axis=0} : ?
               %e = Neg %cut      : ?      ; a
               %y = Neg %e        : ?
             }",
        )
        .unwrap();
        let n: Vec<NodeId> = g.schedule().collect();
        for (name, node) in [
            ("one", 0),
            ("b", 1),
            // The result of one of the nodes of this name.
            ("same", 2),
            ("c", 3),
            ("d", 3),
            ("cut", 4),
            ("e", 5),
            ("y", 6),
        ] {
            assert_eq!(g.node_named(name), Ok(n[node]), "{name}");
        }
        // A node's label, and another one's result.
        let e = g.node_named("a").unwrap_err().to_string();
        assert_eq!(e, "2 nodes are named \"a\"; use the name of a result instead: \"a\", \"e\"");
        let e = g.node_named("sane").unwrap_err().to_string();
        assert_eq!(e, "there is no node or result named \"sane\"; did you mean \"same\"?");
        let names = NodeNames::of_graph(&g);
        let all: Vec<&str> = n.iter().map(|&n| names.name(n)).collect();
        assert_eq!(all, ["one", "b", "same", "c", "cut", "e", "y"]);
    }
}
