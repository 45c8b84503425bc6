//! `drop-zero-add`: `x + 0` is `x`, but for the sign of a zero.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[2,3]) -> (%y) opset 13 {
//!   %z = const [0,0,0]        : f32[3]
//!   %a = Add %x, %z           : f32[2,3]
//!   %y = Relu %a              : f32[2,3]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[2,3]) -> (%y) opset 13 {
//!   %y = Relu %x              : f32[2,3]
//! }
//! ```
//!
//! It is no part of `simplify` because it turns the sum of -0 and +0, which is +0, back into -0.

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref};

use super::{Candidate, result, sweep};
use crate::options::{OptionError, Options};
use crate::pass::{Exactness, Pass, PassCtx, PassInfo};
use crate::simplify::identity::neutral;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "drop-zero-add",
    summary: "additions of 0, which change at most the sign of a zero",
    exactness: Exactness::Reassociates,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(DropZeroAdd))
}

/// The pass `drop-zero-add`, which removes additions of zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropZeroAdd;

impl Pass for DropZeroAdd {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::Reassociates
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        sweep(cx, "nothing adds 0", find)
    }
}

fn find(graph: &Graph, id: NodeId) -> Option<Candidate> {
    let node = graph.node(id);
    let (Op::Add(_), 7..) = (&node.op, graph.opset()) else { return None };
    let ctx = OpCtx::of(graph, id);
    let x = neutral(&ctx, 0.0, true).or_else(|| neutral(&ctx, -0.0, true))?;
    let x = node.inputs[x]?;
    let mut edit = Edit::new(format!("drop-zero-add {}", graph.label(id)));
    edit.replaces.push((result(graph, id)?, Ref::Value(x)));
    edit.removes.push(id);
    Some(Candidate::Edit(edit, "adds nothing"))
}
