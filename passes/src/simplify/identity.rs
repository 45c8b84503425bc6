//! Nodes whose result is their operand, bit for bit.

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{
    Dim, Edit, EditError, Graph, NodeId, Ref, Tensor, ValueId, layout_params, resize,
};

use super::attempt;
use crate::pass::PassCtx;

pub(super) fn sweep(cx: &mut PassCtx<'_, '_>) -> Result<usize, EditError> {
    let mut done = 0;
    let order: Vec<NodeId> = cx.graph().schedule().collect();
    for id in order {
        let graph = cx.graph();
        let Some(node) = graph.get_node(id) else { continue };
        let (Some(x), true) = (operand(graph, id), cx.selected(id)) else { continue };
        let Some(Some(out)) = node.outputs.first().copied() else { continue };
        // Other results (the mask of Dropout) must not be wanted.
        let wanted = |v: &ValueId| graph.value(*v).is_output() || graph.value(*v).uses().len() > 0;
        if node.outputs.iter().skip(1).flatten().any(wanted) {
            continue;
        }
        // Operands of no type that ONNX allows here leave the result as the file declares it.
        if graph.value(out).ty.meet(&graph.value(x).ty).is_none() {
            continue;
        }
        let mut edit = Edit::new(format!("simplify identity {}", graph.label(id)));
        edit.replaces.push((out, Ref::Value(x)));
        edit.removes.push(id);
        done += attempt(cx, &edit)?;
        if cx.is_done() {
            break;
        }
    }
    Ok(done)
}

/// The operand that the node gives back unchanged, if it does.
fn operand(graph: &Graph, id: NodeId) -> Option<ValueId> {
    let node = graph.node(id);
    let ctx = OpCtx::of(graph, id);
    let first = node.inputs.first().copied().flatten();
    let same_extents = || {
        let out = graph.value(node.outputs.first().copied()??).ty.extents()?;
        (Some(&out) == ctx.ty(0).extents().as_ref()).then_some(())
    };
    match &node.op {
        // A Transfer stays: it moves its operand to another device.
        Op::Identity(_) | Op::Dropout(_) => first.filter(|_| ctx.is_identity(0)),
        Op::Cast(c) => {
            let to = graph_opt_ir::DType::from_onnx(c.to);
            first.filter(|_| to.is_some() && to == ctx.dtype(0))
        }
        Op::Transpose(_) => {
            let perm = layout_params::permutation(&ctx, ctx.ty(0).rank()?).ok()?;
            first.filter(|_| perm.iter().enumerate().all(|(i, &p)| i == p))
        }
        Op::Concat(_) if node.inputs.len() == 1 => first,
        Op::Sum(_) | Op::Mean(_) | Op::Max(_) | Op::Min(_) if node.inputs.len() == 1 => first,
        Op::Reshape(_) | Op::Flatten(_) | Op::Expand(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
            // A dynamic dimension might still change: only known extents count.
            same_extents().and(first)
        }
        Op::Slice(_) => {
            let taken = layout_params::slices(&ctx).ok()??;
            taken.iter().all(|t| t.is_some_and(|t| t.step == 1)).then_some(())?;
            same_extents().and(first)
        }
        Op::Pad(_) => {
            let pads = layout_params::pads(&ctx).ok()??;
            first.filter(|_| pads.iter().all(|p| *p == (0, 0)))
        }
        Op::Tile(_) => ctx.ints(1)?.iter().all(|&r| r == 1).then_some(first)?,
        Op::Upsample(_) | Op::Resize(_) => match resize::target(&ctx).ok()?? {
            // Factors of 1 read every element at its own place, but where a region is read, and where
            // places are half an element off.
            resize::Target::Scales(s) if s.iter().all(|&s| s == 1.0) => {
                let moved = matches!(&node.op, Op::Resize(r) if ctx.opset >= 11
                    && r.coordinate_transformation_mode.as_deref().is_some_and(|m| m.starts_with("tf_")));
                same_extents().and(first).filter(|_| !moved)
            }
            _ => None,
        },
        Op::Mul(_) => neutral(graph, &node.inputs, 1.0, true),
        Op::Div(_) => neutral(graph, &node.inputs, 1.0, false),
        // x - 0 is x; x + 0 is not: it turns -0 into +0.
        Op::Sub(_) => neutral(graph, &node.inputs, 0.0, false),
        _ => None,
    }
}

/// The operand beside a constant that is neutral in the operation and does not broadcast it.
pub(crate) fn neutral(
    graph: &Graph,
    inputs: &[Option<ValueId>],
    element: f32,
    commutes: bool,
) -> Option<ValueId> {
    let [Some(a), Some(b)] = inputs[..] else { return None };
    let is_neutral = |t: &Tensor| {
        let floats = t.len() <= 4096
            && t.to_f32s().is_some_and(|v| {
                !v.is_empty() && v.iter().all(|x| x.to_bits() == element.to_bits())
            });
        let ints = t.len() <= 4096
            && t.to_i64s().is_some_and(|v| !v.is_empty() && v.iter().all(|&x| x as f32 == element));
        floats || ints
    };
    let try_one = |x: ValueId, c: ValueId| {
        let t = graph.constant(c)?;
        let x_dims = graph.value(x).ty.dims()?;
        // Symbolic extents may be 1 when it runs, and be stretched.
        let tail = x_dims.len().checked_sub(t.dims().len())?;
        let kept = |(d, c): (&Dim, &u64)| *c == 1 || d.known() == Some(*c);
        let fits = x_dims[tail..].iter().zip(t.dims()).all(kept);
        (fits && is_neutral(&t)).then_some(x)
    };
    try_one(a, b).or_else(|| if commutes { try_one(b, a) } else { None })
}
