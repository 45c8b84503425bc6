//! Multiply-accumulates and parameters.

use std::collections::BTreeMap;

use graph_opt_ir::definition::{inferred, is_defined};
use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{DType, Def, Graph, NodeId};

/// Totals of a graph and of the bodies of its control flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Number of nodes, those of bodies included.
    pub nodes: usize,
    /// Number of nodes of each operator.
    pub operators: BTreeMap<String, usize>,
    /// Multiply-accumulates of nodes of known shape; for an If, those of the more expensive branch.
    pub macs: u64,
    /// Number of nodes with multiplications whose shapes, or whose number of loop iterations, are
    /// unknown.
    pub unknown_macs: usize,
    /// Elements of constants, without those of type `i64` (shapes and indices).
    pub parameters: u64,
    /// Bytes of all constants.
    pub constant_bytes: u64,
}

/// The totals of a graph, with the bodies of its control flow.
pub fn cost(graph: &Graph) -> Cost {
    let mut c = Cost { nodes: graph.len(), ..Cost::default() };
    for id in graph.schedule() {
        let op = &graph.node(id).op;
        *c.operators.entry(op.name().to_owned()).or_default() += 1;
        if multiplies(op) || is_defined(graph, op) {
            match node_macs(graph, id) {
                Some(m) => c.macs = c.macs.saturating_add(m),
                None => c.unknown_macs += 1,
            }
        }
        if let Op::Constant(k) = op
            && let Some(t) = graph_opt_ir::graph::constant_value(k)
        {
            add(&mut c, &t);
        }
        let bodies: Vec<Cost> = op.bodies().into_iter().map(|(_, g)| cost(g)).collect();
        if matches!(op, Op::If(_)) {
            let most = bodies.iter().map(|b| b.macs).max().unwrap_or(0);
            c.macs = c.macs.saturating_add(most);
        } else if !bodies.is_empty() {
            let multiplying = |g: &Graph, n| multiplies(&g.node(n).op);
            let mut count = |g: &Graph, n| {
                c.unknown_macs += usize::from(multiplying(g, n));
                false
            };
            op.bodies().into_iter().for_each(|(_, g)| _ = g.any_node(&mut count));
        }
        for b in bodies {
            c.nodes += b.nodes;
            c.unknown_macs += if matches!(op, Op::If(_)) { b.unknown_macs } else { 0 };
            c.parameters += b.parameters;
            c.constant_bytes += b.constant_bytes;
            for (name, n) in b.operators {
                *c.operators.entry(name).or_default() += n;
            }
        }
    }
    for (_, v) in graph.values() {
        // Inputs with a default are where older files have their weights.
        if let Def::Const(t) | Def::Input(Some(t)) = &v.def {
            add(&mut c, t);
        }
    }
    c
}

fn add(c: &mut Cost, t: &graph_opt_ir::Tensor) {
    if t.dtype() != DType::I64 {
        c.parameters += t.len() as u64;
    }
    c.constant_bytes += t.ty().bytes().unwrap_or(0);
}

fn multiplies(op: &Op) -> bool {
    op.class() == Class::Matmul
        || matches!(op, Op::DeformConv(_))
        || op.windowed().is_some_and(|w| !w.is_pool())
}

/// Multiply-accumulates of a convolution or matrix product, products with padding included, or of an
/// operator with a [definition](graph_opt_ir::definition); `None` for other operators and unknown shapes.
pub fn node_macs(graph: &Graph, id: NodeId) -> Option<u64> {
    let node = graph.node(id);
    if is_defined(graph, &node.op) {
        let inner = cost(&inferred(&OpCtx::of(graph, id)).ok()??);
        return (inner.unknown_macs == 0).then_some(inner.macs);
    }
    let extents = |i: usize| graph.value(node.inputs.get(i).copied()??).ty.extents();
    macs_of(&node.op, &extents, graph.value(node.outputs.first().copied()??).ty.elements()?)
}

/// As [`node_macs`], of an operator over operands of these extents with a result of `out` elements.
pub(crate) fn macs_of(
    op: &Op,
    extents: &dyn Fn(usize) -> Option<Vec<u64>>,
    out: u64,
) -> Option<u64> {
    if !multiplies(op) {
        return None;
    }
    let product = |v: &[u64]| v.iter().try_fold(1u64, |a, &b| a.checked_mul(b));
    if let Some(window) = op.windowed() {
        // Each output element meets each weight of its channel; transposed, each input element.
        let met = if window.is_transposed() { product(&extents(window.image)?)? } else { out };
        return met.checked_mul(product(&extents(window.weights?)?[1..])?);
    }
    match op {
        Op::Gemm(g) => out.checked_mul(extents(0)?[usize::from(g.transA == 0)]),
        Op::DeformConv(_) => out.checked_mul(product(extents(1)?.get(1..)?)?),
        _ => out.checked_mul(*extents(0)?.last()?),
    }
}
