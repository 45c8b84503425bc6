//! Structural identity: whether two graphs are the same up to names and spelling.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::graph::{Def, Graph};
use crate::op::Attr;
use crate::op::Op;
use crate::region::normal_form;
use crate::rule::Ctx;
use crate::{NodeId, ValueId, spec};

/// A hash for every value that depends on what computes it, not on names: inputs count by their
/// position, constants by their content, operators in their normal form.
#[derive(Clone, Debug)]
pub struct Structure(Vec<u128>);

impl Structure {
    /// Hashes of all values of the graph.
    pub fn of(graph: &Graph) -> Self {
        let mut hashes = vec![0u128; graph.value_bound()];
        let positions: std::collections::HashMap<ValueId, usize> =
            graph.inputs().iter().enumerate().map(|(i, &v)| (v, i)).collect();
        for (id, v) in graph.values() {
            let mut h = Xxh3::new();
            match &v.def {
                Def::Const(t) => constant(&mut h, t),
                Def::Input(_) => {
                    h.update(b"input");
                    h.update(
                        &(positions.get(&id).copied().unwrap_or(usize::MAX) as u64).to_le_bytes(),
                    );
                }
                Def::Outer | Def::Foreign => {
                    h.update(b"name");
                    h.update(v.name.as_bytes());
                }
                Def::Node(..) => continue,
            }
            hashes[id.index()] = h.digest128();
        }
        let mut draws = 0;
        for id in graph.schedule() {
            let base = node(graph, id, draws, &hashes);
            draws += usize::from(graph.node(id).op.is_random());
            for (o, v) in graph.node(id).outputs.iter().enumerate() {
                let Some(v) = v else { continue };
                // A Constant node is the constant that it makes.
                if let (0, Op::Constant(_), Some(t)) = (o, &graph.node(id).op, graph.constant(*v)) {
                    let mut h = Xxh3::new();
                    constant(&mut h, &t);
                    hashes[v.index()] = h.digest128();
                    continue;
                }
                let mut h = Xxh3::new();
                h.update(&base.to_le_bytes());
                h.update(&(o as u64).to_le_bytes());
                hashes[v.index()] = h.digest128();
            }
        }
        Self(hashes)
    }

    /// The value's hash.
    pub fn hash(&self, v: ValueId) -> u128 {
        self.0.get(v.index()).copied().unwrap_or(0)
    }
}

fn constant(h: &mut Xxh3, t: &Arc<crate::Tensor>) {
    h.update(b"const");
    h.update(&t.content_hash().to_le_bytes());
}

/// The operator with all its attributes in one number; `None` if it has subgraphs, which name values
/// outside of it.
pub fn op_hash(op: &Op) -> Option<u128> {
    let mut h = Xxh3::new();
    h.update(op.domain().as_bytes());
    h.update(op.name().as_bytes());
    for (k, a) in &op.attrs() {
        h.update(k.as_bytes());
        attribute(&mut h, a)?;
    }
    Some(h.digest128())
}

/// `None` for a subgraph.
fn attribute(h: &mut Xxh3, a: &Attr) -> Option<()> {
    match a {
        Attr::Graph(_) => return None,
        Attr::Tensor(t) => h.update(&t.content_hash().to_le_bytes()),
        Attr::Raw(b) => h.update(b),
        other => h.update(format!("{other:?}").as_bytes()),
    }
    Some(())
}

fn node(graph: &Graph, id: NodeId, draw: usize, hashes: &[u128]) -> u128 {
    let n = graph.node(id);
    let ctx = Ctx::of(graph, id);
    let mut h = Xxh3::new();
    h.update(n.op.domain().as_bytes());
    h.update(n.op.name().as_bytes());
    let op = normal_form(&ctx);
    let mut operands = n.inputs.len();
    // Bounds of a Slice count by what they take, however they are written.
    let slice = match (&op, spec::slices(&ctx)) {
        (Op::Slice(_), Ok(Some(taken))) if taken.iter().all(Option::is_some) => Some(taken),
        _ => None,
    };
    if let Some(taken) = slice {
        h.update(format!("{taken:?}").as_bytes());
        operands = 1;
    } else {
        for (k, a) in op.attrs().iter().chain(&n.extra) {
            h.update(k.as_bytes());
            match a {
                Attr::Graph(g) => {
                    let inner = Structure::of(&g.0);
                    for &v in g.0.outputs() {
                        h.update(&inner.hash(v).to_le_bytes());
                    }
                    // The subgraph names outer values; their definitions count, too.
                    for &c in &n.captures {
                        h.update(graph.value(c).name.as_bytes());
                        h.update(&hashes[c.index()].to_le_bytes());
                    }
                }
                other => {
                    attribute(&mut h, other);
                }
            }
        }
    }
    if n.op.is_random() {
        // Two random nodes are two draws, in their order.
        h.update(&(draw as u64).to_le_bytes());
    }
    for v in n.inputs.iter().take(operands) {
        h.update(&v.map_or(u128::MAX, |v| hashes[v.index()]).to_le_bytes());
    }
    h.digest128()
}

/// Whether the graphs are the same up to names and spelling: as many inputs, and outputs that are
/// computed alike.
pub fn identical(a: &Graph, b: &Graph) -> bool {
    if a.inputs().len() != b.inputs().len() || a.outputs().len() != b.outputs().len() {
        return false;
    }
    let same_inputs =
        a.inputs().iter().zip(b.inputs()).all(|(&p, &q)| a.value(p).ty == b.value(q).ty);
    let (s, t) = (Structure::of(a), Structure::of(b));
    same_inputs && a.outputs().iter().zip(b.outputs()).all(|(&p, &q)| s.hash(p) == t.hash(q))
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
