//! `fuse-matmul-add`: a product of two matrices and the addition of a bias are one Gemm.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[N,4]) -> (%y) opset 13 {
//!   %w = const random(1)      : f32[4,3]
//!   %b = const random(2)      : f32[3]
//!   %p = MatMul %x, %w        : f32[N,3]
//!   %y = Add %b, %p           : f32[N,3]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[N,4]) -> (%y) opset 13 {
//!   %w = const random(1)      : f32[4,3]
//!   %b = const random(2)      : f32[3]
//!   %y = Gemm %x, %w, %b      : f32[N,3]
//! }
//! ```
//!
//! Gemm may add the bias before the products, so this counts as reassociating.

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::{DType, Dim, Edit, EditError, Graph, NodeId, Ref};

use super::{Candidate, only_producer, result, sweep};
use crate::options::{OptionError, Options};
use crate::pass::{Exactness, Pass, PassCtx, PassInfo};

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "fuse-matmul-add",
    summary: "MatMul of two matrices and Add of a bias become Gemm",
    exactness: Exactness::Reassociates,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(FuseMatMulAdd))
}

/// The pass `fuse-matmul-add`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuseMatMulAdd;

impl Pass for FuseMatMulAdd {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::Reassociates
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        sweep(cx, "no Add of a bias follows a MatMul of two matrices", find)
    }
}

fn find(graph: &Graph, id: NodeId) -> Option<Candidate> {
    let node = graph.node(id);
    // Before opset 7 Gemm broadcasts by an attribute.
    let (Op::Add(_), [Some(a), Some(b)], 7..) = (&node.op, &node.inputs[..], graph.opset()) else {
        return None;
    };
    let product = |v| graph.producer(v).filter(|&p| matches!(graph.node(p).op, Op::MatMul(_)));
    let (x, bias) = match (product(*a), product(*b)) {
        (Some(_), None) => (*a, *b),
        (None, Some(_)) => (*b, *a),
        _ => return None,
    };
    let p = graph.producer(x)?;
    let [Some(l), Some(r)] = graph.node(p).inputs[..] else { return None };
    let rank = |v| graph.value(v).ty.rank();
    let dtype = graph.value(x).ty.dtype();
    if rank(l) != Some(2)
        || rank(r) != Some(2)
        || !matches!(dtype, Some(DType::F32 | DType::F16 | DType::F64))
    {
        return None;
    }
    if only_producer(graph, x).is_none() {
        return Some(Candidate::Blocked(
            "the product is read elsewhere too, or is an output".into(),
        ));
    }
    // The bias may be stretched to the product, never the product to the bias.
    let n = graph.value(x).ty.dims()?.get(1)?.known();
    let fits = match graph.value(bias).ty.dims()? {
        [] => true,
        [d] => d.known() == Some(1) || n.is_some() && d.known() == n,
        [Dim::Known(1), d] => d.known() == Some(1) || n.is_some() && d.known() == n,
        _ => false,
    };
    if !fits {
        return None;
    }
    let mut edit = Edit::new(format!("fuse-matmul-add {}", graph.label(id)));
    let gemm = op::Gemm { alpha: 1.0, beta: 1.0, transA: 0, transB: 0, broadcast: 0 };
    let inputs = [l, r, bias].map(|v| Some(Ref::Value(v))).to_vec();
    let r = edit.node(graph.node(p).name.to_string(), gemm, inputs, &[p, id]);
    edit.before = Some(id);
    edit.replaces.push((result(graph, id)?, r));
    edit.removes = vec![p, id];
    Some(Candidate::Edit(edit, "one Gemm with the MatMul before it"))
}
