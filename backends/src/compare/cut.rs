//! Models with operators that the interpreter does not know: both are cut there. What such an operator
//! reads becomes an output, what it makes becomes an input; if all that it reads is equal in both, so
//! is what it makes, as it is a function of its operands.

use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_ir::infer::follow;
use graph_opt_ir::structural_eq::Meanings;
use graph_opt_ir::{Digest, Graph, NodeId, ValueId, extract};

use super::{Output, Report, Summary, Verdict};
use crate::cpu::is_supported;

/// Both models without the operators that cannot run.
pub(super) struct Cut {
    pub a: Arc<Graph>,
    pub b: Arc<Graph>,
    /// Labels of what was cut out.
    pub labels: Vec<String>,
    /// How many outputs the models have; operands of what was cut out follow them.
    outputs: usize,
    /// Whether an output depends on what was cut out.
    behind: Vec<bool>,
}

/// The nodes that cannot run, with what they compute; of what is drawn at random, nothing is known.
fn unknown(g: &Graph) -> Vec<(NodeId, Option<Digest>)> {
    let (meanings, types) = (Meanings::of(g), follow(g, None));
    let all = g.schedule().filter(|&n| !is_supported(g, n));
    let of = all.map(|n| (n, meanings.node(g, n, &types)));
    of.map(|(n, m)| (n, (!m.random).then_some(m.digest))).collect()
}

fn names(g: &Graph, n: NodeId) -> Vec<Option<&str>> {
    g.node(n).outputs.iter().map(|v| v.map(|v| &*g.value(v).name)).collect()
}

impl Cut {
    /// Cuts both models, if some operator cannot run and each has its counterpart.
    pub fn of(a: &Graph, b: &Graph) -> Option<Self> {
        let (p, q) = (unknown(a), unknown(b));
        if p.is_empty() || p.len() != q.len() {
            return None;
        }
        // Counterparts have results of the same names.
        let mut left: BTreeMap<Vec<Option<&str>>, (NodeId, Option<Digest>)> =
            q.into_iter().map(|(n, d)| (names(b, n), (n, d))).collect();
        let mut pairs = Vec::new();
        for (n, d) in p {
            let (m, e) = left.remove(&names(a, n))?;
            if d != e || d.is_none() {
                return None;
            }
            pairs.push((n, m));
        }
        let part = |g: &Graph, nodes: &[NodeId]| -> Option<Graph> {
            let mut inputs = Vec::new();
            let mut outputs = g.outputs().to_vec();
            for &n in nodes {
                let n = g.node(n);
                inputs.extend(n.outputs.iter().flatten().copied());
                outputs.extend(n.inputs.iter().flatten().chain(&n.captures).copied());
            }
            extract(g, &inputs, &outputs).ok()
        };
        let (mine, other): (Vec<NodeId>, Vec<NodeId>) = pairs.into_iter().unzip();
        let cut = Self {
            a: Arc::new(part(a, &mine)?),
            b: Arc::new(part(b, &other)?),
            labels: mine.iter().map(|&n| a.label(n).to_owned()).collect(),
            outputs: a.outputs().len(),
            behind: a.outputs().iter().map(|&v| depends(a, v, &mine)).collect(),
        };
        (cut.a.outputs().len() == cut.b.outputs().len()).then_some(cut)
    }

    /// What the comparison of the parts says of the models: of an output behind what was cut out, the
    /// worst of what is known of it and of all that was read there.
    pub fn joined(&self, part: &Report) -> Vec<(Vec<Verdict>, Summary)> {
        let (own, read) = part.outputs.split_at(self.outputs);
        let one = |(o, behind): (&Output, &bool)| {
            let reads = read.iter().filter(|_| *behind);
            let mut verdicts = o.verdicts.clone();
            let mut summary = o.summary.clone();
            for r in reads {
                for (i, v) in r.verdicts.iter().enumerate() {
                    match verdicts.get_mut(i) {
                        Some(w) if v.rank() > w.rank() => *w = v.clone(),
                        Some(_) => {}
                        None => verdicts.push(v.clone()),
                    }
                }
                if r.summary.rank() > summary.rank() {
                    summary = r.summary.clone();
                }
            }
            (verdicts, summary)
        };
        own.iter().zip(&self.behind).map(one).collect()
    }
}

/// Whether a value is computed from what one of the nodes makes.
fn depends(g: &Graph, v: ValueId, nodes: &[NodeId]) -> bool {
    let mut seen = vec![false; g.node_bound()];
    let mut todo = vec![v];
    while let Some(v) = todo.pop() {
        let Some(n) = g.producer(v) else { continue };
        if nodes.contains(&n) {
            return true;
        }
        if !std::mem::replace(&mut seen[n.index()], true) {
            let n = g.node(n);
            todo.extend(n.inputs.iter().flatten().chain(&n.captures));
        }
    }
    false
}
