//! Removes coupled channels: every value between the layers gets smaller, and the graph stays a standard
//! one, without masks.

use std::collections::{BTreeMap, BTreeSet};

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Need, Region};
use graph_opt_ir::{
    Edit, EditError, Editor, Graph, NodeId, Ref, Span, Tensor, ValueId, layout_params,
};

use super::coupled::Coupled;
use crate::tile::slices::gather_tensor;

/// Why units cannot be removed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// There must be one entry a unit.
    #[error("expected {units} entries that say which units stay, found {found}")]
    Units {
        /// Number of units.
        units: usize,
        /// Number of entries.
        found: usize,
    },
    /// An axis would lose all of its elements.
    #[error("axis {axis} of {value:?} would lose all of its elements; keep one of them")]
    Empty {
        /// Name of the value.
        value: String,
        /// The axis.
        axis: usize,
    },
    /// A node has no form for the smaller operands.
    #[error("{node:?} cannot be made smaller: {why}")]
    Node {
        /// Label of the node.
        node: String,
        /// Why not.
        why: String,
    },
    /// The smaller graph is not valid, which is a bug.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Removes the units that do not stay. `keep` has an entry for each unit. What the remaining channels
/// compute is unchanged; the layers that summed over the removed ones get less than before.
///
/// Returns the nodes that were replaced, with those that replace them.
///
/// # Errors
/// If an axis would lose all of its elements, or a node cannot be adjusted. The graph is then unchanged.
pub fn cut(
    graph: &mut Graph,
    coupled: &Coupled,
    keep: &[bool],
) -> Result<Vec<(NodeId, NodeId)>, CutError> {
    if keep.len() != coupled.units {
        return Err(CutError::Units { units: coupled.units, found: keep.len() });
    }
    if keep.iter().all(|&k| k) {
        return Ok(Vec::new());
    }
    let edit = cutting(graph, coupled, keep, BTreeMap::new(), "blocks")?;
    let new = Editor::new(graph).apply(&edit)?.nodes;
    // Identities, where a name needs one, come behind the nodes that replace others.
    Ok(edit.removes.into_iter().zip(new).collect())
}

/// Operands that a node gets instead of its own, by the node and the index of the operand.
pub(super) type Instead = BTreeMap<(NodeId, usize), Tensor>;

/// The edit that removes the units that do not stay, of which there must be some. `instead` are operands
/// of their final extents; `pass` is who proposes the edit.
///
/// # Errors
/// As [`cut`].
pub(super) fn cutting(
    graph: &Graph,
    coupled: &Coupled,
    keep: &[bool],
    instead: Instead,
    pass: &str,
) -> Result<Edit, CutError> {
    Cutter::new(graph, coupled, keep, instead, pass)?.edit()
}

struct Cutter<'a> {
    graph: &'a Graph,
    instead: Instead,
    /// Which elements stay along each axis that shrinks.
    stays: BTreeMap<(ValueId, usize), Vec<bool>>,
    /// What replaces the values of the graph.
    new: BTreeMap<ValueId, Ref>,
    edit: Edit,
}

impl<'a> Cutter<'a> {
    fn new(
        graph: &'a Graph,
        coupled: &Coupled,
        keep: &[bool],
        instead: Instead,
        pass: &str,
    ) -> Result<Self, CutError> {
        let mut stays = BTreeMap::new();
        for a in &coupled.axes {
            let kept: Vec<bool> = a.unit.iter().map(|u| u.is_none_or(|u| keep[u])).collect();
            if !kept.contains(&true) {
                let value = graph.value(a.value).name.to_string();
                return Err(CutError::Empty { value, axis: a.axis });
            }
            stays.insert((a.value, a.axis), kept);
        }
        let origin = format!("{pass} {}", graph.label(coupled.origin));
        Ok(Self { graph, instead, stays, new: BTreeMap::new(), edit: Edit::new(origin) })
    }

    fn shrinks(&self, v: ValueId) -> bool {
        self.stays.range((v, 0)..=(v, usize::MAX)).next().is_some()
    }

    /// Whether the node reads or computes something else than before.
    fn changes(&self, id: NodeId) -> bool {
        let n = self.graph.node(id);
        n.inputs.iter().chain(&n.outputs).flatten().any(|&v| self.shrinks(v))
            || self.instead.keys().any(|k| k.0 == id)
    }

    /// The nodes that change, and those between them that read their results.
    fn nodes(&self) -> Vec<NodeId> {
        let graph = self.graph;
        let all: Vec<NodeId> = graph.schedule().collect();
        let last = all.iter().rposition(|&id| self.changes(id)).map_or(0, |i| i + 1);
        let mut results: BTreeSet<ValueId> = BTreeSet::new();
        let mut nodes = Vec::new();
        for &id in &all[..last] {
            let n = graph.node(id);
            let mut reads = n.inputs.iter().flatten().chain(&n.captures);
            if reads.any(|v| results.contains(v)) || self.changes(id) {
                results.extend(n.outputs.iter().flatten());
                nodes.push(id);
            }
        }
        nodes
    }

    fn edit(mut self) -> Result<Edit, CutError> {
        let graph = self.graph;
        let nodes = self.nodes();
        for &id in &nodes {
            self.node(id)?;
        }
        for &v in nodes.iter().flat_map(|&id| graph.node(id).outputs.iter().flatten()) {
            if let Some(&by) = self.new.get(&v).filter(|_| !self.shrinks(v)) {
                self.edit.define(graph, v, by);
            }
        }
        // Where the last of the old ones was, all operands are there.
        self.edit.before = nodes.last().copied();
        self.edit.removes = nodes;
        Ok(self.edit)
    }

    /// The operand, made smaller.
    fn operand(&mut self, v: ValueId, node: NodeId) -> Result<Ref, CutError> {
        if let Some(&r) = self.new.get(&v) {
            return Ok(r);
        }
        let graph = self.graph;
        let Some(tensor) = graph.value(v).constant().filter(|_| self.shrinks(v)) else {
            return Ok(Ref::Value(v));
        };
        let mut tensor = Tensor::clone(tensor);
        for ((_, axis), stays) in self.stays.range((v, 0)..=(v, usize::MAX)) {
            tensor = gather_tensor(&tensor, *axis, &indices(stays))
                .map_err(|e| fault(graph, node, e.0))?;
        }
        let r = self.edit.part(graph.value(v).name.to_string(), tensor, v);
        self.new.insert(v, r);
        Ok(r)
    }

    fn node(&mut self, id: NodeId) -> Result<(), CutError> {
        let graph = self.graph;
        let node = graph.node(id);
        let changes = self.changes(id);
        let (op, instead) =
            if changes { self.adjusted(id)? } else { (node.op.clone(), Vec::new()) };
        let bias = self.instead.range((id, 0)..=(id, usize::MAX)).map(|(k, t)| (k.1, t.clone()));
        let instead: Vec<(usize, Tensor)> = instead.into_iter().chain(bias).collect();
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for v in &node.inputs {
            inputs.push(v.map(|v| self.operand(v, id)).transpose()?);
        }
        for (i, t) in instead {
            let name = format!("{}/{i}", graph.label(id));
            let constant = self.edit.constant(&name, t);
            inputs.resize(inputs.len().max(i + 1), None);
            inputs[i] = Some(constant);
        }
        let at = self.edit.nodes.len();
        self.edit.nodes.push(graph_opt_ir::edit::NewNode {
            name: node.name.to_string(),
            op,
            extra: node.extra.clone(),
            inputs,
            outputs: node.outputs.len(),
            absent: Vec::new(),
            like: vec![id],
        });
        for (o, v) in node.outputs.iter().enumerate() {
            self.new.extend(v.map(|v| (v, Ref::New(at, o))));
        }
        Ok(())
    }

    /// The operator for the smaller operands, and the parameters that change with it.
    fn adjusted(&self, id: NodeId) -> Result<(Op, Vec<(usize, Tensor)>), CutError> {
        let graph = self.graph;
        let node = graph.node(id);
        let ctx = OpCtx::of(graph, id);
        let along = |v: Option<ValueId>, axis: usize| self.stays.get(&(v?, axis));
        let failed = |e: graph_opt_ir::op_context::RuleError| fault(graph, id, e.0);
        match &node.op {
            // Its operands say how long the parts are.
            Op::Concat(_) => Ok((node.op.clone(), Vec::new())),
            Op::Split(s) => {
                let Some((axis, _)) = layout_params::split_sizes(&ctx).map_err(failed)? else {
                    return Err(fault(graph, id, "its sizes are computed at run time".into()));
                };
                if along(node.inputs[0], axis).is_none() {
                    return Ok((node.op.clone(), Vec::new()));
                }
                let size = |v: &Option<ValueId>| {
                    let kept = along(*v, axis).map(|k| k.iter().filter(|k| **k).count());
                    let whole = || graph.value((*v)?).ty.dims()?.get(axis)?.known();
                    kept.map(|n| n as u64).or_else(whole).map(|n| n as i64)
                };
                let sizes: Option<Vec<i64>> = node.outputs.iter().map(size).collect();
                let sizes = sizes
                    .ok_or_else(|| fault(graph, id, "one of its results is not read".into()))?;
                let by_operand = ctx.opset >= 13;
                let mut s = s.clone();
                s.split = (!by_operand).then(|| sizes.clone());
                s.num_outputs = None;
                let operand = by_operand.then(|| (1, Tensor::i64s(&sizes)));
                Ok((s.into(), Vec::from_iter(operand)))
            }
            Op::Slice(_) => self.slice(&ctx, id),
            _ => {
                let out = node.outputs.first().copied().flatten();
                let rank = out.and_then(|v| graph.value(v).ty.rank()).unwrap_or(0);
                let span = |axis| {
                    let kept = along(out, axis)?.iter().filter(|k| **k).count();
                    Some(Span::whole(kept as i64))
                };
                // A tile of the first elements has the attributes of any elements as many.
                let region: Region = (0..rank).map(span).collect();
                if region.iter().all(Option::is_none) {
                    return Ok((node.op.clone(), Vec::new()));
                }
                let tile = region::tile(&ctx, 0, &region).map_err(|e| fault(graph, id, e.0))?;
                if std::mem::discriminant(&tile.op) != std::mem::discriminant(&node.op) {
                    let why = format!("its form for fewer elements is {}", tile.op.name());
                    return Err(fault(graph, id, why));
                }
                let instead = |(i, need)| match need {
                    Need::Instead(t) => Some((i, t)),
                    Need::Nothing | Need::Region(_) | Need::Zeros(..) => None,
                };
                Ok((tile.op, tile.needs.into_iter().enumerate().filter_map(instead).collect()))
            }
        }
    }

    /// A `Slice` whose bounds count what stays.
    fn slice(&self, ctx: &OpCtx<'_>, id: NodeId) -> Result<(Op, Vec<(usize, Tensor)>), CutError> {
        let graph = self.graph;
        let node = graph.node(id);
        let failed = |e: graph_opt_ir::op_context::RuleError| fault(graph, id, e.0);
        let unknown = || fault(graph, id, "its bounds are computed at run time".into());
        let bounds = layout_params::slice_bounds(ctx).map_err(failed)?.ok_or_else(unknown)?;
        let taken = layout_params::slices(ctx).map_err(failed)?.ok_or_else(unknown)?;
        let mut new = Vec::new();
        for (axis, start, end, step) in bounds {
            let stays = node.inputs[0].and_then(|v| self.stays.get(&(v, axis as usize)));
            let Some(stays) = stays else {
                new.push((axis, start, end, step));
                continue;
            };
            let Some(t) = taken.get(axis as usize).copied().flatten().filter(|t| t.step == 1)
            else {
                return Err(fault(graph, id, format!("it takes axis {axis} in steps")));
            };
            let before = |n: i64| stays[..n as usize].iter().filter(|k| **k).count() as i64;
            new.push((axis, before(t.start), before(t.start + t.count), 1));
        }
        let list = |f: fn(&(i64, i64, i64, i64)) -> i64| new.iter().map(f).collect::<Vec<_>>();
        let (starts, ends, axes) = (list(|s| s.1), list(|s| s.2), list(|s| s.0));
        if ctx.opset < 10 {
            let op = op::Slice { starts: Some(starts), ends: Some(ends), axes: Some(axes) };
            return Ok((op.into(), Vec::new()));
        }
        let all = [starts, ends, axes, list(|s| s.3)];
        let operands = all.iter().enumerate().map(|(i, v)| (i + 1, Tensor::i64s(v)));
        Ok((node.op.clone(), operands.collect()))
    }
}

/// Indices of the elements that stay.
pub(super) fn indices(stays: &[bool]) -> Vec<usize> {
    (0..stays.len()).filter(|&i| stays[i]).collect()
}

fn fault(graph: &Graph, node: NodeId, why: String) -> CutError {
    CutError::Node { node: graph.label(node).to_owned(), why }
}
