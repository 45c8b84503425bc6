//! Graphs read as terms.

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_ir::infer::{follow, follow_with};
use graph_opt_ir::op_context::dequantized;
use graph_opt_ir::structural_eq::{self, Meaning, Meanings};
use graph_opt_ir::{Def, Digest, Graph, Hasher, NodeId, Tensor, Type, ValueId};

use super::{TermId, Terms};

/// How a graph is read.
pub(crate) struct ReadOptions<'a> {
    /// Whether an operator that is not modelled is an application, equal to another one over equal
    /// operands, or a leaf by its structure.
    pub apply: bool,
    /// Types of results of operators that are not modelled, from the operator's digest, the position of
    /// the result, and the type that the file declares.
    pub claims: &'a dyn Fn(Digest, usize, &Type) -> Type,
}

/// The terms of the values of one graph.
pub struct Reading {
    /// The term of each value, by the value's index.
    pub terms: Vec<Option<TermId>>,
    /// Results of nodes in the order of the schedule.
    pub made: Vec<(NodeId, ValueId, TermId)>,
    /// Results of operators that are not modelled: the operator's digest, the position of the result, and
    /// its declared type.
    pub opaque: Vec<(ValueId, Digest, usize, Type)>,
}

impl Reading {
    /// Reads a graph with operators that are not modelled as leaves, trusting no declared types.
    pub fn of(graph: &Graph, terms: &mut Terms) -> Self {
        Self::with(graph, terms, &ReadOptions { apply: false, claims: &|_, _, _| Type::Unknown })
    }

    /// Reads a graph. Inputs are leaves: those without a default by position.
    pub(crate) fn with(graph: &Graph, terms: &mut Terms, how: &ReadOptions<'_>) -> Self {
        let meanings = Meanings::of(graph);
        let plain = follow(graph, None);
        let mut opaque: HashMap<NodeId, Meaning> = HashMap::new();
        for id in graph.schedule() {
            let m = meanings.node(graph, id, &plain);
            if !m.modelled {
                opaque.insert(id, m);
            }
        }
        let claimed = |v: ValueId| match graph.value(v).def {
            Def::Node(n, o) => match opaque.get(&n) {
                Some(m) => (how.claims)(m.digest, o, &graph.value(v).ty),
                None => Type::Unknown,
            },
            _ => Type::Unknown,
        };
        let followed = follow_with(graph, None, &claimed);
        let structure = structural_eq::Structure::with(&meanings, graph, &plain);
        let mut r =
            Self { terms: vec![None; graph.value_bound()], made: Vec::new(), opaque: Vec::new() };
        let mut position = 0;
        for &v in graph.inputs() {
            let leaf = structural_eq::input(graph, v, position);
            position += u64::from(matches!(graph.value(v).def, Def::Input(None)));
            r.terms[v.index()] = Some(terms.leaf(leaf, graph.value(v).ty.clone()));
        }
        let mut draws = 0;
        for id in graph.schedule() {
            let node = graph.node(id);
            let opset = graph.opsets.get(node.op.domain()).copied().unwrap_or(1);
            let mut operands: Vec<Option<TermId>> = Vec::with_capacity(node.inputs.len());
            for v in &node.inputs {
                operands.push(v.map(|v| r.known(graph, terms, &structure, v)));
            }
            let opaque = opaque.get(&id);
            for &v in opaque.iter().flat_map(|m| &m.captures) {
                operands.push(Some(r.known(graph, terms, &structure, v)));
            }
            for (o, v) in node.outputs.iter().enumerate() {
                let Some(v) = *v else { continue };
                let ty = &followed.types[v.index()];
                let of = (o, node.outputs.len());
                let hidden = || dequantized(graph, v).map(|all| Arc::new(Tensor::i64s(&all)));
                let computed = || followed.tensor(v).map(Arc::new);
                let constant = graph.constant(v).or_else(hidden).or_else(computed);
                let term = match (constant, opaque) {
                    (Some(t), _) => Some(terms.constant(&t)),
                    (None, None) => terms.apply(&node.op, opset, &operands, of, ty),
                    (None, Some(m)) => {
                        r.opaque.push((v, m.digest, o, graph.value(v).ty.clone()));
                        // The k-th node of each model that draws random numbers draws the same ones.
                        let meaning = match m.random {
                            true => Hasher::new("draw").part(m.digest).int(draws).done(),
                            false => m.digest,
                        };
                        let opaque = || terms.opaque(&node.op, meaning, opset, &operands, of, ty);
                        how.apply.then(opaque)
                    }
                };
                let term = term.unwrap_or_else(|| terms.leaf(structure.hash(v), ty.clone()));
                r.terms[v.index()] = Some(term);
                r.made.push((id, v, term));
            }
            draws += u64::from(opaque.is_some_and(|m| m.random));
        }
        for &v in graph.outputs() {
            r.known(graph, terms, &structure, v);
        }
        r
    }

    /// The term of a value; `None` if it is not read.
    pub fn term(&self, v: ValueId) -> Option<TermId> {
        self.terms.get(v.index()).copied().flatten()
    }

    fn known(
        &mut self,
        graph: &Graph,
        terms: &mut Terms,
        structure: &structural_eq::Structure,
        v: ValueId,
    ) -> TermId {
        let (terms, at) = (terms, &mut self.terms[v.index()]);
        *at.get_or_insert_with(|| match graph.constant(v) {
            Some(t) => terms.constant(&t),
            None => terms.leaf(structure.hash(v), graph.value(v).ty.clone()),
        })
    }
}
