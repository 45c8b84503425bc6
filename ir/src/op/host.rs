//! Operators of a host compiler: it states of its own operators what the table's rows state of
//! ONNX's, and gets tiles, fusing, splits and comparisons for them.

use std::fmt;
use std::sync::Arc;

use super::{Attrs, ONNX, Op};
use crate::infer::{InferError, infer_graph};
use crate::op_context::{OpCtx, RuleError};
use crate::region::{Barrier, Region, Relation, Relations, barrier};
use crate::{Graph, Tensor, Type, ValueId};

/// What graph-opt asks of an operator. Every default is conservative: slow or refused, never wrong.
///
/// In a [`OpCtx`], `op.attrs()` are the node's attributes.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Domain; `ai.onnx` for ONNX's own.
    fn domain(&self) -> &str;

    /// Name within the domain.
    fn name(&self) -> &str;

    /// Types of the results, from those of the operands.
    ///
    /// # Errors
    /// If operands or attributes contradict the operator's definition.
    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError>;

    /// How each axis of each operand relates to the axes of result `output`.
    ///
    /// # Errors
    /// With the reason why the result cannot be cut.
    fn relations(&self, _ctx: &OpCtx<'_>, _output: usize) -> Result<Relations, Barrier> {
        barrier!("{} states no relations", self.name())
    }

    /// The attributes with which it computes this region of the result from what the relations say
    /// that the region needs; `None` for the same as the node's, which only relations of whole axes
    /// and of equal indices allow.
    ///
    /// # Errors
    /// With the reason, if it cannot compute the region exactly.
    fn on_region(
        &self,
        _ctx: &OpCtx<'_>,
        _output: usize,
        _region: &Region,
    ) -> Result<Option<Attrs>, Barrier> {
        Ok(None)
    }

    /// Whether two runs on the same operands may differ. Such nodes are not cut, merged or folded.
    fn is_random(&self) -> bool {
        true
    }

    /// Runs it on the interpreter; `None` where it has no kernel there.
    fn evaluate(
        &self,
        _attrs: &Attrs,
        _inputs: &[Option<Tensor>],
    ) -> Option<Result<Vec<Tensor>, String>> {
        None
    }
}

/// A shared [`Operator`]. Nodes are compared by domain, name and attributes, so all are equal.
#[derive(Clone, Debug)]
pub struct Host(pub Arc<dyn Operator>);

impl PartialEq for Host {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Makes the host's operators known to the nodes of the graph that call them, in bodies too, and
/// infers types anew: what the file declares stays where the rules leave it open. Gives the number of
/// nodes.
///
/// # Errors
/// At the first node whose operands contradict its operator; the graph is then as it was.
pub fn adopt(graph: &mut Graph, hosts: &[Arc<dyn Operator>]) -> Result<usize, InferError> {
    let mut new = graph.clone();
    let count = mark(&mut new, hosts);
    let declared: Vec<(ValueId, Type)> = new.values().map(|(v, x)| (v, x.ty.clone())).collect();
    infer_graph(&mut new, &declared)?;
    *graph = new;
    Ok(count)
}

fn mark(graph: &mut Graph, hosts: &[Arc<dyn Operator>]) -> usize {
    let order: Vec<_> = graph.schedule().collect();
    let mut count = 0;
    for id in order {
        let called = graph.function(&graph.node(id).op).is_some();
        let op = &mut graph.node_mut(id).op;
        if let Op::Other(o) = op
            && !called
        {
            let same = |h: &&Arc<dyn Operator>| {
                let domain = if h.domain().is_empty() { ONNX } else { h.domain() };
                domain == &*o.domain && h.name() == &*o.op_type
            };
            if let Some(h) = hosts.iter().find(same) {
                o.host = Some(Host(h.clone()));
                count += 1;
            }
        }
        for body in op.bodies_mut() {
            count += mark(Arc::make_mut(body), hosts);
        }
    }
    count
}

impl Host {
    /// The host's relations, once they are found to fit the node.
    pub(crate) fn relations(&self, ctx: &OpCtx<'_>, output: usize) -> Result<Relations, Barrier> {
        let rel = self.0.relations(ctx, output)?;
        let name = self.0.name();
        let types = crate::infer::infer(ctx)?;
        let Some(rank) = types.get(output).and_then(Type::rank) else {
            barrier!("the rank of result {output} is unknown")
        };
        if rel.operands.len() != ctx.inputs.len() {
            barrier!("{name} relates {} operands of {}", rel.operands.len(), ctx.inputs.len());
        }
        for (i, axes) in rel.operands.iter().enumerate() {
            if !axes.is_empty() && ctx.ty(i).rank() != Some(axes.len()) {
                barrier!("{name} relates {} axes of operand {i}, a {}", axes.len(), ctx.ty(i));
            }
            if let Some(o) = axes.iter().filter_map(Relation::output).find(|&o| o >= rank) {
                barrier!("{name} relates operand {i} to axis {o} of a result of rank {rank}");
            }
        }
        if rel.barriers.iter().any(|b| b.0 >= rank) {
            barrier!("{name} names an axis beyond its result's rank, {rank}");
        }
        Ok(rel)
    }

    /// The operator of a tile.
    pub(crate) fn on_region(
        &self,
        ctx: &OpCtx<'_>,
        output: usize,
        region: &Region,
        rel: &Relations,
    ) -> Result<Op, Barrier> {
        let mut op = ctx.op.clone();
        let plain = |r: &Relation| {
            matches!(
                r,
                Relation::Same(_) | Relation::Broadcast | Relation::Whole | Relation::Contract(_)
            )
        };
        match (self.0.on_region(ctx, output, region)?, &mut op) {
            (Some(attrs), Op::Other(o)) => o.attrs = attrs,
            _ if rel.operands.iter().flatten().all(plain) => {}
            _ => barrier!("{} does not say how it computes a region", self.0.name()),
        }
        Ok(op)
    }
}
