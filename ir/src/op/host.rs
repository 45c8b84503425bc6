//! Operators of a host compiler. The host defines for its own operators what the table defines for ONNX's:
//! shape rule, region rule and kernel. Tiling, fusing, splitting and comparisons then support them.

use std::fmt;
use std::sync::Arc;

use super::{Attrs, ONNX, Op};
use crate::infer::{InferError, infer_graph};
use crate::op_context::{OpCtx, RuleError};
use crate::region::{Barrier, Region, Relation, Relations, barrier};
use crate::{Graph, Tensor, Type, ValueId};

/// The definition of an operator by a host. Every default is conservative: with it, passes do less, but
/// nothing wrong.
///
/// In an [`OpCtx`], `op.attrs()` are the node's attributes.
pub trait Operator: fmt::Debug + Send + Sync {
    /// Domain; `ai.onnx` for ONNX's own.
    fn domain(&self) -> &str;

    /// Name within the domain.
    fn name(&self) -> &str;

    /// The shape rule: types of the results from those of the operands.
    ///
    /// # Errors
    /// If operands or attributes contradict the operator's definition.
    fn infer(&self, ctx: &OpCtx<'_>) -> Result<Vec<Type>, RuleError>;

    /// The region rule: how each axis of each operand relates to the axes of result `output`.
    ///
    /// # Errors
    /// With the reason, if the result cannot be cut.
    fn relations(&self, _ctx: &OpCtx<'_>, _output: usize) -> Result<Relations, Barrier> {
        barrier!("{} has no region rule", self.name())
    }

    /// The attributes with which the operator computes this region of the result from the regions of its
    /// operands; `None` for those of the node. `None` is refused if an axis has a relation other than
    /// `Same`, `Broadcast`, `Whole` and `Contract`.
    ///
    /// # Errors
    /// With the reason, if the region cannot be computed exactly.
    fn on_region(
        &self,
        _ctx: &OpCtx<'_>,
        _output: usize,
        _region: &Region,
    ) -> Result<Option<Attrs>, Barrier> {
        Ok(None)
    }

    /// Whether two runs with the same operands may differ. Such nodes are not cut, merged or folded.
    fn is_random(&self) -> bool {
        true
    }

    /// Computes the results for the interpreter; `None` if there is no kernel. An error is a message for the
    /// user.
    fn evaluate(
        &self,
        _attrs: &Attrs,
        _inputs: &[Option<Tensor>],
    ) -> Option<Result<Vec<Tensor>, String>> {
        None
    }
}

/// A shared [`Operator`]. All compare equal, as nodes are compared by domain, name and attributes.
#[derive(Clone, Debug)]
pub struct Host(pub Arc<dyn Operator>);

impl PartialEq for Host {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Attaches the host's definitions to the nodes of the graph and its bodies that use these operators, and
/// infers types again; declared types complete those that the rules leave open. Returns the number of nodes
/// with a definition.
///
/// # Errors
/// At the first node whose operands contradict its operator's definition; the graph is then unchanged.
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
    /// The host's relations, checked against the ranks of operands and result.
    pub(crate) fn relations(&self, ctx: &OpCtx<'_>, output: usize) -> Result<Relations, Barrier> {
        let rel = self.0.relations(ctx, output)?;
        let name = self.0.name();
        let types = crate::infer::infer(ctx)?;
        let Some(rank) = types.get(output).and_then(Type::rank) else {
            barrier!("the rank of result {output} is unknown")
        };
        if rel.operands.len() != ctx.inputs.len() {
            barrier!(
                "expected relations of {} operands from {name}, found {}",
                ctx.inputs.len(),
                rel.operands.len()
            );
        }
        for (i, axes) in rel.operands.iter().enumerate() {
            if !axes.is_empty() && ctx.ty(i).rank() != Some(axes.len()) {
                barrier!(
                    "expected a relation for each axis of operand {i} from {name}, a {}, found {}",
                    ctx.ty(i),
                    axes.len()
                );
            }
            if let Some(o) = axes.iter().filter_map(Relation::output).find(|&o| o >= rank) {
                barrier!(
                    "expected an axis below {rank} in the relations of operand {i} from {name}, found {o}"
                );
            }
        }
        if rel.barriers.iter().any(|b| b.0 >= rank) {
            barrier!("expected axes below {rank} in the barriers from {name}");
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
            _ => barrier!("{} does not define attributes for a region (on_region)", self.0.name()),
        }
        Ok(op)
    }
}
