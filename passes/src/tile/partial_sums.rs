//! Partial sums: a node cut along the axis that it contracts, with the parts added up.
//!
//! The results of the parts are of the whole's extents, so that they are summed rather than joined;
//! only their operands are cut.

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Barrier, Relation};
use graph_opt_ir::{Edit, Graph, NodeId, Op, Ref, Span, Tensor, ValueId, op};

use super::parts::PartsError;
use super::slices;

/// The edit that computes the node as a sum over parts of the axis that it contracts, and their
/// number. `spans` divides the extent of this axis.
///
/// # Errors
/// If the operator is not linear along a contracted axis, if the extent of this axis is unknown or
/// cannot be divided, or if the result is not used.
pub(super) fn partial_sums(
    graph: &Graph,
    id: NodeId,
    spans: &dyn Fn(i64) -> Result<Vec<Span>, PartsError>,
    origin: &str,
) -> Result<(Edit, usize), Barrier> {
    let node = graph.node(id);
    let Some(sums) = node.op.partial_sums() else {
        let name = node.op.name();
        let why = "does not reduce over input channels, so partial sums do not apply";
        return Err(Barrier(format!("{name} {why}")));
    };
    let Some(Some(output)) = node.outputs.first() else {
        return Err(Barrier("its result is not used".into()));
    };
    let (contracted, extent) = contracted(graph, id)?;
    let spans = spans(extent)?;
    let mut edit = Edit::new(origin);
    let base = graph.label(id).to_owned();
    let mut sum: Option<Ref> = None;
    for (i, s) in spans.iter().enumerate() {
        let name = format!("{base}/tile{i}of{}", spans.len());
        let mut inputs = Vec::new();
        for (k, v) in node.inputs.iter().enumerate() {
            inputs.push(match *v {
                None => None,
                Some(v) if Some(k) == sums.addend && i > 0 => no_addend(&mut edit, graph, id, v)?,
                Some(v) => Some(match contracted.get(k).copied().flatten() {
                    None => Ref::Value(v),
                    Some(axis) => {
                        let value = graph.value(v);
                        let cut = value.uses().len() == 1 && !value.is_output();
                        slices::part(&mut edit, graph, v, &[(axis, *s)], cut, &name, id)?
                    }
                }),
            });
        }
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        let mut tile = node.op.clone();
        if i > 0
            && let Op::Gemm(g) = &mut tile
        {
            g.beta = 1.0;
            // Before version 7 broadcasting has to be asked for.
            g.broadcast = i64::from(graph.opset() < 7);
        }
        let part = edit.node(&name, tile, inputs, &[id]);
        sum = Some(match sum {
            None => part,
            Some(s) => {
                let add = op::Add { axis: None, broadcast: 0 };
                edit.node(format!("{name}/sum"), add, vec![Some(s), Some(part)], &[id])
            }
        });
    }
    edit.replaces.extend(sum.map(|sum| (*output, sum)));
    edit.removes.push(id);
    Ok((edit, spans.len()))
}

/// The contracted axis of each operand that has one, and its extent.
fn contracted(graph: &Graph, id: NodeId) -> Result<(Vec<Option<usize>>, i64), Barrier> {
    let node = graph.node(id);
    let rel = region::relations(&OpCtx::of(graph, id), 0)?;
    let contracted: Vec<Option<usize>> = rel
        .operands
        .iter()
        .map(|axes| axes.iter().position(|r| matches!(r, Relation::Contract(_))))
        .collect();
    let operands = || {
        let all = node.inputs.iter().zip(&contracted).enumerate();
        all.filter_map(|(k, (v, a))| Some((k, (*v)?, (*a)?)))
    };
    let extent = |v: ValueId, a: usize| graph.value(v).ty.dims()?[a].known().map(|n| n as i64);
    let Some(n) = operands().find_map(|(_, v, a)| extent(v, a)) else {
        let why = "it sums over groups of channels, or their number is unknown";
        return Err(Barrier(why.into()));
    };
    // Runtimes assume that Slices of an axis of unknown extent are as long as the axis.
    if let Some((k, ..)) = operands().find(|&(_, v, a)| extent(v, a).is_none()) {
        let why = format!("the extent of operand {k} that it sums over is unknown");
        return Err(Barrier(why));
    }
    Ok((contracted, n))
}

/// What stands for the addend in all parts but the first: nothing, or for Gemm, which requires C
/// before version 11, a zero.
fn no_addend(
    edit: &mut Edit,
    graph: &Graph,
    id: NodeId,
    addend: ValueId,
) -> Result<Option<Ref>, Barrier> {
    if !matches!(graph.node(id).op, Op::Gemm(_)) || graph.opset() >= 11 {
        return Ok(None);
    }
    let value = graph.value(addend);
    let Some(dtype) = value.ty.dtype() else {
        return Err(Barrier(format!("the element type of {} is unknown", value.name)));
    };
    let bytes = dtype.bytes_of(1).unwrap_or(0) as usize;
    let zero = Tensor::from_bytes(dtype, vec![1], vec![0; bytes]);
    let zero = zero.map_err(|e| Barrier(e.to_string()))?;
    Ok(Some(edit.constant(&format!("{}/zero", graph.label(id)), zero)))
}
