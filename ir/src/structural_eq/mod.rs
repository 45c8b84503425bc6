//! Structural equality: whether two graphs are the same up to names and equivalent spellings.

mod meaning;

pub use meaning::{Meaning, Meanings, modelled};

use crate::graph::{Def, Graph};
use crate::op::Op;
use crate::op_context::OpCtx;
use crate::{Digest, Hasher, NodeId, Tensor, Type, ValueId, infer, layout_params};

/// A digest for every value of a graph. It depends on how the value is computed rather than on names:
/// required inputs are identified by their position, constants by their elements, results by the
/// [`Meaning`] and the operands of their node.
#[derive(Clone, Debug)]
pub struct Structure {
    digests: Vec<Digest>,
    /// Whether a node of the graph draws random numbers.
    random: bool,
}

impl Structure {
    /// The digests of all values of the graph.
    pub fn of(graph: &Graph) -> Self {
        Self::with(&Meanings::of(graph), graph, &infer::follow(graph, None))
    }

    /// As [`of`](Self::of), with meanings and types ([`infer::follow`]) that are known already.
    pub fn with(meanings: &Meanings<'_>, graph: &Graph, types: &[Type]) -> Self {
        Self::within(meanings, graph, types, None)
    }

    /// The digests of all values of a graph or body, which have these types. For a body, `outer` gives the
    /// digests of values of enclosing graphs.
    fn within(
        meanings: &Meanings<'_>,
        graph: &Graph,
        types: &[Type],
        outer: Option<&dyn Fn(&str) -> Digest>,
    ) -> Self {
        let mut digests = vec![Hasher::new("nothing").done(); graph.value_bound()];
        let mut required = 0;
        for &v in graph.inputs() {
            digests[v.index()] = input(graph, v, required);
            required += u64::from(matches!(graph.value(v).def, Def::Input(None)));
        }
        for (id, v) in graph.values() {
            digests[id.index()] = match &v.def {
                Def::Const(t) => constant(t),
                Def::Sparse(s) => Hasher::new("constant").part(s.digest()).done(),
                Def::Outer => match outer {
                    Some(outer) => outer(&v.name),
                    None => Hasher::new("outer").text(&v.name).done(),
                },
                Def::Input(_) | Def::Node(..) => continue,
            };
        }
        let mut draws = 0;
        for id in graph.schedule() {
            let n = graph.node(id);
            let m = meanings.node(graph, id, types);
            let mut h = Hasher::new("node");
            // A Slice is identified by the elements that it takes: bounds have many spellings.
            let taken = taken(graph, id, types);
            match &taken {
                Some(t) => _ = h.text(t),
                None => _ = h.part(m.digest),
            }
            // Nodes that draw random numbers are never equal: they are numbered in the order in which they run.
            h.int(if m.random { draws } else { u64::MAX });
            draws += u64::from(m.random);
            let count = if taken.is_some() { 1 } else { n.inputs.len() };
            // Absent operands at the end may be omitted.
            let last = n.inputs[..count].iter().rposition(Option::is_some).map_or(0, |i| i + 1);
            for v in &n.inputs[..last] {
                match v {
                    Some(v) => _ = h.int(1).part(digests[v.index()]),
                    None => _ = h.int(0),
                }
            }
            m.captures.iter().for_each(|v| _ = h.int(2).part(digests[v.index()]));
            let base = h.done();
            for (o, v) in n.outputs.iter().enumerate() {
                let Some(v) = v else { continue };
                // The result of a Constant node equals an initializer with these elements.
                digests[v.index()] = match (o, &n.op, graph.constant(*v)) {
                    (0, Op::Constant(_), Some(t)) => constant(&t),
                    _ => Hasher::new("result").part(base).int(o as u64).done(),
                };
            }
        }
        Self { digests, random: draws > 0 }
    }

    /// The digest of a value. Equal digests mean equal values for all inputs.
    pub fn hash(&self, v: ValueId) -> Digest {
        self.digests[v.index()]
    }
}

/// The digest of an input of a graph: of `position`, its index among the required inputs; or, if it has a
/// default, of its name and default.
pub fn input(graph: &Graph, v: ValueId, position: u64) -> Digest {
    let value = graph.value(v);
    match &value.def {
        Def::Input(Some(t)) => Hasher::new("default").text(&value.name).part(t.digest()).done(),
        _ => Hasher::new("input").int(position).done(),
    }
}

fn constant(t: &Tensor) -> Digest {
    Hasher::new("constant").part(t.digest()).done()
}

/// The elements that a Slice takes, as text; `None` for other nodes, or if an axis is unknown.
fn taken(graph: &Graph, id: NodeId, types: &[Type]) -> Option<String> {
    let ctx = OpCtx::with(graph, id, &|v| &types[v.index()]);
    let taken = layout_params::slices(&ctx).ok()??;
    let all: Vec<layout_params::Taken> = taken.into_iter().collect::<Option<_>>()?;
    Some(format!("slice {all:?}"))
}

/// Whether the graphs are the same up to names and spelling: they have required inputs of the same types,
/// and outputs with equal digests.
pub fn identical(a: &Graph, b: &Graph) -> bool {
    let required = |g: &Graph| -> Vec<Type> {
        let inputs = g.inputs().iter().map(|&v| g.value(v));
        inputs.filter(|v| matches!(v.def, Def::Input(None))).map(|v| v.ty.clone()).collect()
    };
    if required(a) != required(b) || a.outputs().len() != b.outputs().len() {
        return false;
    }
    let (s, t) = (Structure::of(a), Structure::of(b));
    a.outputs().iter().zip(b.outputs()).all(|(&p, &q)| s.hash(p) == t.hash(q))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    fn graph(body: &str) -> Graph {
        parse(&format!("graph @g(%x: f32[1,1,4,4]) -> (%y) opset 13 {{\n{body}\n}}")).unwrap()
    }

    #[test]
    fn names_and_spelling_do_not_count() {
        let a = graph(
            "%w = const random(1) : f32[1,1,3,3]\n%y = Conv %x, %w {auto_pad=\"SAME_UPPER\"} : ?",
        );
        let b = graph(
            "%v = const random(1) : f32[1,1,3,3]\n%y = Conv %x, %v {pads=[1,1,1,1], strides=[1,1]} : ?",
        );
        let c = graph("%v = const random(2) : f32[1,1,3,3]\n%y = Conv %x, %v {pads=[1,1,1,1]} : ?");
        assert!(identical(&a, &b));
        assert!(!identical(&a, &c));
    }

    #[test]
    fn draws_count_by_their_order() {
        let draw = |n: &str| format!("%{n} = RandomUniformLike %x : ?\n");
        let a = graph(&format!("{}%s = Relu %x : ?\n%y = Add %r, %s : ?", draw("r")));
        let b = graph(&format!("%s = Relu %x : ?\n{}%y = Add %r, %s : ?", draw("r")));
        assert!(identical(&a, &b));
        let two = |y: &str| graph(&format!("{}{}%y = {y} : ?", draw("r"), draw("s")));
        assert!(!identical(&two("Sub %r, %s"), &two("Sub %s, %r")));
    }

    #[test]
    fn attributes_count() {
        let a = graph("%y = LeakyRelu %x {alpha=0.1} : ?");
        let b = graph("%y = LeakyRelu %x {alpha=0.2} : ?");
        assert!(!identical(&a, &b));
    }
}
