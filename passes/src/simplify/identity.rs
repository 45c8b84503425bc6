//! Nodes whose result is their operand, bit for bit.

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{
    Dim, Edit, EditError, Graph, NodeId, Ref, Tensor, Type, ValueId, layout_params, resize,
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
    let result = &graph.value(node.outputs.first().copied()??).ty;
    node.inputs[unchanged(&OpCtx::of(graph, id), result)?]
}

/// Which operand is the first result, bit for bit, if one is; the result has this type.
pub(crate) fn unchanged(ctx: &OpCtx<'_>, result: &Type) -> Option<usize> {
    let same_extents = || {
        let out = result.extents()?;
        (Some(&out) == ctx.ty(0).extents().as_ref()).then_some(0)
    };
    let first = |same: bool| same.then_some(0);
    match ctx.op {
        // A Transfer stays: it moves its operand to another device.
        Op::Identity(_) | Op::Dropout(_) => first(ctx.is_identity(0)),
        Op::Cast(c) => {
            let to = graph_opt_ir::DType::from_onnx(c.to);
            first(to.is_some() && to == ctx.dtype(0))
        }
        Op::Transpose(_) => {
            let perm = layout_params::permutation(ctx, ctx.ty(0).rank()?).ok()?;
            first(perm.iter().enumerate().all(|(i, &p)| i == p))
        }
        Op::Concat(_) | Op::Sum(_) | Op::Mean(_) | Op::Max(_) | Op::Min(_) => {
            first(ctx.inputs.len() == 1)
        }
        // A dynamic dimension might still change: only known extents count.
        Op::Reshape(_) | Op::Flatten(_) | Op::Expand(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
            same_extents()
        }
        Op::Slice(_) => {
            let taken = layout_params::slices(ctx).ok()??;
            taken.iter().all(|t| t.is_some_and(|t| t.step == 1)).then(same_extents)?
        }
        Op::Pad(_) => {
            let pads = layout_params::pads(ctx).ok()??;
            first(pads.iter().all(|p| *p == (0, 0)))
        }
        Op::Tile(_) => first(ctx.ints(1)?.iter().all(|&r| r == 1)),
        Op::Upsample(_) | Op::Resize(_) => match resize::target(ctx).ok()?? {
            // Factors of 1 read every element at its own place, but where a region is read, and where
            // places are half an element off.
            resize::Target::Scales(s) if s.iter().all(|&s| s == 1.0) => {
                let moved = matches!(ctx.op, Op::Resize(r) if ctx.opset >= 11
                    && r.coordinate_transformation_mode.as_deref().is_some_and(|m| m.starts_with("tf_")));
                same_extents().filter(|_| !moved)
            }
            _ => None,
        },
        Op::Mul(_) => neutral(ctx, 1.0, true),
        Op::Div(_) => neutral(ctx, 1.0, false),
        // x - 0 is x; x + 0 is not: it turns -0 into +0.
        Op::Sub(_) => neutral(ctx, 0.0, false),
        _ => None,
    }
}

/// Which operand stands beside a constant that is neutral in the operation and does not broadcast it.
pub(crate) fn neutral(ctx: &OpCtx<'_>, element: f32, commutes: bool) -> Option<usize> {
    if ctx.inputs.len() != 2 {
        return None;
    }
    let is_neutral = |t: &Tensor| {
        let floats = t.len() <= 4096
            && t.to_f32s().is_some_and(|v| {
                !v.is_empty() && v.iter().all(|x| x.to_bits() == element.to_bits())
            });
        let ints = t.len() <= 4096
            && t.to_i64s().is_some_and(|v| !v.is_empty() && v.iter().all(|&x| x as f32 == element));
        floats || ints
    };
    let beside = |x: usize, c: usize| {
        let t = ctx.input(c)?.value.as_ref()?;
        let x_dims = ctx.dims(x)?;
        // Symbolic extents may be 1 when it runs, and be stretched.
        let tail = x_dims.len().checked_sub(t.dims().len())?;
        let kept = |(d, c): (&Dim, &u64)| *c == 1 || d.known() == Some(*c);
        let fits = x_dims[tail..].iter().zip(t.dims()).all(kept);
        (fits && is_neutral(t)).then_some(x)
    };
    beside(0, 1).or_else(|| if commutes { beside(1, 0) } else { None })
}
