//! A guess at the whole that tiles were cut from.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::region::{relations, whole_of};
use graph_opt_ir::{
    Builder, Edit, Graph, NodeId, Ref, Span, Tensor, ValueId, layout_params, window,
};

use super::whole_name;
use crate::tile::{Grid, build, slices};

/// A guess at the whole: a small graph whose inputs and constants stand for values of the graph.
pub(super) struct Guess<'a> {
    pub graph: &'a Graph,
    pub builder: Builder,
    /// Values of the guess by the value of the graph that they stand for.
    outer: HashMap<ValueId, ValueId>,
    /// The inverse of `outer`.
    pub stands_for: HashMap<ValueId, ValueId>,
    /// Values of the guess by the tiles that they are the whole of.
    joined: HashMap<Vec<ValueId>, ValueId>,
    /// For each node of the guess, the node of a tile that it was made from.
    like: Vec<NodeId>,
    /// Nodes of the graph that the tiles consist of.
    seen: HashSet<NodeId>,
    /// Extents of the whole.
    extents: Vec<Option<i64>>,
}

impl<'a> Guess<'a> {
    /// A guess at the whole of which this value of the graph is put together; empty so far.
    pub fn new(graph: &'a Graph, output: ValueId) -> Self {
        let dims = graph.value(output).ty.dims().unwrap_or_default();
        Self {
            graph,
            builder: Builder::new("guess", graph.opset()),
            outer: HashMap::new(),
            stands_for: HashMap::new(),
            joined: HashMap::new(),
            like: Vec::new(),
            seen: HashSet::new(),
            extents: dims.iter().map(|d| d.known().map(|n| n as i64)).collect(),
        }
    }

    /// The grid of a Concat of tiles, or of Concats of tiles with `depth` 2, and the tiles in row-major
    /// order.
    pub fn grid(&mut self, concat: NodeId, depth: usize) -> Option<(Grid, Vec<ValueId>)> {
        let node = self.graph.node(concat);
        let Op::Concat(c) = &node.op else { return None };
        let rank = self.graph.value(node.outputs.first().copied()??).ty.rank()?;
        let axis = axis_of(c.axis, rank).ok()?;
        let parts: Vec<ValueId> = node.inputs.iter().copied().collect::<Option<_>>()?;
        if parts.len() < 2 {
            return None;
        }
        self.seen.insert(concat);
        let mut at = 0;
        let mut spans = Vec::new();
        for &p in &parts {
            let n = self.graph.value(p).ty.dims()?[axis].known()? as i64;
            spans.push(Span::new(at, at + n));
            at += n;
        }
        if depth == 1 {
            return Some((Grid { axes: vec![(axis, spans)] }, parts));
        }
        let mut inner = None;
        let mut tiles = Vec::new();
        for &p in &parts {
            let (g, t) = self.grid(self.graph.producer(p)?, depth - 1)?;
            if *inner.get_or_insert_with(|| g.clone()) != g {
                return None;
            }
            tiles.extend(t);
        }
        let mut axes = vec![(axis, spans)];
        axes.extend(inner?.axes);
        Some((Grid { axes }, tiles))
    }

    /// The input or constant of the guess that stands for a value of the graph.
    fn outer(&mut self, v: ValueId) -> ValueId {
        if let Some(&g) = self.outer.get(&v) {
            return g;
        }
        let value = self.graph.value(v);
        let g = match self.graph.constant(v) {
            Some(t) => self.builder.constant(&value.name, t),
            None => self.builder.input(&value.name, value.ty.clone()),
        };
        self.outer.insert(v, g);
        self.stands_for.insert(g, v);
        g
    }

    /// The value of the guess that has these parts. `axes` are its axes that the grid cuts; `None` where
    /// an axis of the grid cuts none of them.
    pub fn join(&mut self, tiles: &[ValueId], axes: &[Option<usize>]) -> Option<ValueId> {
        if let Some(&v) = self.joined.get(tiles) {
            return Some(v);
        }
        let graph = self.graph;
        let first = tiles[0];
        let v = if tiles.iter().all(|&t| t == first) {
            self.outer(first)
        } else if let Some(source) = self.source(tiles) {
            self.outer(source)
        } else if let Some(t) = concat_pieces(graph, tiles, axes) {
            let name = whole_name(&graph.value(first).name);
            self.builder.constant(&name, t)
        } else {
            self.join_nodes(tiles, axes)?
        };
        self.joined.insert(tiles.to_vec(), v);
        Some(v)
    }

    /// The value that all of these are Slices of; it may be among them itself, and padding may stand for
    /// a Slice.
    fn source(&mut self, tiles: &[ValueId]) -> Option<ValueId> {
        let mut source = None;
        let mut seen = Vec::new();
        for &t in tiles {
            let producer = self.graph.producer(t);
            let from = match producer.map(|p| &self.graph.node(p).op) {
                Some(Op::Slice(_)) => self.graph.node(producer?).inputs.first().copied()??,
                Some(Op::ConstantOfShape(_)) => {
                    seen.push(producer?);
                    continue;
                }
                _ => t,
            };
            seen.extend(producer.filter(|_| from != t));
            if *source.get_or_insert(from) != from {
                return None;
            }
        }
        self.seen.extend(seen);
        source
    }

    /// The node of the guess of which the nodes that compute these parts are tiles.
    fn join_nodes(&mut self, tiles: &[ValueId], axes: &[Option<usize>]) -> Option<ValueId> {
        let graph = self.graph;
        let nodes: Vec<NodeId> = tiles.iter().map(|&t| graph.producer(t)).collect::<Option<_>>()?;
        let (first, last) = (graph.node(nodes[0]), graph.node(nodes[nodes.len() - 1]));
        let same = |n: &NodeId| {
            let n = graph.node(*n);
            n.op.name() == first.op.name()
                && n.op.domain() == first.op.domain()
                && n.inputs.len() == first.inputs.len()
                && n.outputs.len() == 1
                && n.extra == first.extra
        };
        if !nodes.iter().all(same) || !first.op.subgraphs().is_empty() {
            return None;
        }
        let rel = relations(&OpCtx::of(graph, nodes[0]), 0).ok()?;
        let grouped = first.op.windowed().is_some_and(|w| w.is_transposed())
            && self.slices_channels(nodes[0]).unwrap_or(false);
        let mut inputs = Vec::new();
        for k in 0..first.inputs.len() {
            let all: Vec<Option<ValueId>> =
                nodes.iter().map(|&n| graph.node(n).inputs[k]).collect();
            if all.iter().all(Option::is_none) {
                inputs.push(None);
                continue;
            }
            let all: Vec<ValueId> = all.into_iter().collect::<Option<_>>()?;
            let along: Vec<Option<usize>> = axes
                .iter()
                .map(|a| match (k, a) {
                    // Groups of a transposed convolution are cut along its weights' first axis.
                    (1, Some(1)) if grouped => Some(0),
                    _ => rel.operands[k].iter().position(|r| a.is_some() && r.output() == *a),
                })
                .collect();
            inputs.push(Some(self.join(&all, &along)?));
        }
        let groups = self.groups(&nodes, tiles, &inputs, axes)?;
        let mut op = whole_of(&first.op, &last.op, groups);
        if let Op::ConvTranspose(c) = &mut op {
            self.transposed_pads(c, nodes[0], &inputs, axes)?;
        }
        let name = whole_name(&first.name);
        let out = self.builder.node_with(&name, op, inputs, 1).ok()?;
        self.like.push(nodes[0]);
        self.seen.extend(nodes);
        Some(out[0])
    }

    /// Whether the node's first operand is a Slice of some of the channels of a value.
    fn slices_channels(&self, node: NodeId) -> Option<bool> {
        let graph = self.graph;
        let slice = graph.producer(graph.node(node).inputs.first().copied()??)?;
        let source = graph.node(slice).inputs.first().copied()??;
        let taken = (*layout_params::slices(&OpCtx::of(graph, slice)).ok()??.get(1)?)?;
        let whole = graph.value(source).ty.dims().and_then(|d| d.get(1)?.known());
        Some(Some(taken.count as u64) != whole)
    }

    /// Groups of the whole, if the nodes that compute these tiles are convolutions; 1 otherwise.
    fn groups(
        &self,
        nodes: &[NodeId],
        tiles: &[ValueId],
        inputs: &[Option<ValueId>],
        axes: &[Option<usize>],
    ) -> Option<i64> {
        let graph = self.graph;
        let op = &graph.node(nodes[0]).op;
        let (x, w) = window::operands(op);
        let dim = |b: &Builder, i: usize, a: usize| {
            let v = inputs.get(i).copied().flatten()?;
            b.graph().value(v).ty.dims()?.get(a)?.known()
        };
        Some(match (op, w) {
            (Op::ConvTranspose(_), Some(w)) => {
                // Output channels follow from the grid where it cuts them, else from a tile.
                let per_group = dim(&self.builder, w, 1)?;
                let channels = |t: ValueId| graph.value(t).ty.dims()?.get(1)?.known();
                let out = if axes.contains(&Some(1)) {
                    // Tiles that differ along other axes share their weights.
                    let mut seen = HashSet::new();
                    let own = nodes
                        .iter()
                        .zip(tiles)
                        .filter(|(n, _)| seen.insert(graph.node(**n).inputs[w]));
                    own.map(|(_, &t)| channels(t)).sum::<Option<u64>>()?
                } else {
                    channels(tiles[0])?
                };
                (out / per_group.max(1)) as i64
            }
            (_, Some(w)) => match (dim(&self.builder, x, 1), dim(&self.builder, w, 1)) {
                (Some(c), Some(per_group)) => (c / per_group.max(1)) as i64,
                // Unknown channels are not cut: the tile has the groups of the whole.
                _ => op.windowed().map_or(1, |w| w.groups()),
            },
            _ => 1,
        })
    }

    /// Pads of a transposed convolution. Tiles leave out inputs that only contribute to outputs that
    /// pads cut off, so the pads follow from where the first tile starts and from the extents.
    fn transposed_pads(
        &self,
        c: &mut graph_opt_ir::op::ConvTranspose,
        first: NodeId,
        inputs: &[Option<ValueId>],
        axes: &[Option<usize>],
    ) -> Option<()> {
        let dims = |v: ValueId| self.builder.graph().value(v).ty.dims().map(<[_]>::to_vec);
        let (x, w) = (dims(inputs.first().copied()??)?, dims(inputs.get(1).copied()??)?);
        let rank = x.len() - 2;
        let at = |v: &Option<Vec<i64>>, i: usize, or: i64| v.as_ref().map_or(or, |v| v[i]);
        let mut pads: Vec<i64> = (0..2 * rank).map(|i| at(&c.pads, i, 0)).collect();
        let mut extra: Vec<i64> = (0..rank).map(|i| at(&c.output_padding, i, 0)).collect();
        let slice = self
            .graph
            .node(first)
            .inputs
            .first()
            .copied()
            .flatten()
            .and_then(|v| self.graph.producer(v));
        let taken =
            slice.and_then(|s| layout_params::slices(&OpCtx::of(self.graph, s)).ok().flatten());
        for i in (0..rank).filter(|i| axes.contains(&Some(2 + i))) {
            let lo = taken.as_ref().and_then(|t| *t.get(2 + i)?).map_or(0, |t| t.start);
            let (stride, dilation) = (at(&c.strides, i, 1), at(&c.dilations, i, 1));
            let n = x[2 + i].known()? as i64;
            let extent = dilation * (w[2 + i].known()? as i64 - 1) + 1;
            pads[i] += lo * stride;
            let surplus =
                (n - 1) * stride + extent - pads[i] - self.extents.get(2 + i).copied()??;
            (pads[rank + i], extra[i]) = (surplus.max(0), (-surplus).max(0));
        }
        c.pads = (c.pads.is_some() || pads.iter().any(|&p| p != 0)).then_some(pads);
        let spelled = c.output_padding.is_some() || extra.iter().any(|&p| p != 0);
        c.output_padding = spelled.then_some(extra);
        Some(())
    }

    /// The edit that replaces the output by the guess's result.
    pub fn edit(&self, concat: NodeId, output: ValueId, result: ValueId) -> Option<Edit> {
        let (graph, guess) = (self.graph, self.builder.graph());
        let base = whole_name(graph.label(concat).trim_end_matches("/concat"));
        let mut edit = Edit::new(format!("untile {base}"));
        edit.before = Some(concat);
        let mut refs: HashMap<ValueId, Ref> = HashMap::new();
        for (id, like) in guess.schedule().zip(&self.like) {
            let node = guess.node(id);
            let mut inputs = Vec::new();
            for v in &node.inputs {
                inputs.push(v.map(|v| {
                    if let Some(&outer) = self.stands_for.get(&v) {
                        return Ref::Value(outer);
                    }
                    if let Some(&r) = refs.get(&v) {
                        return r;
                    }
                    let value = guess.value(v);
                    // Only joined constants are neither outer values nor results.
                    let t = value.constant().cloned().unwrap_or_else(|| Tensor::i64s(&[]).into());
                    edit.consts.push((value.name.to_string(), t));
                    let r = Ref::Const(edit.consts.len() - 1);
                    refs.insert(v, r);
                    r
                }));
            }
            let r = edit.node(node.name.to_string(), node.op.clone(), inputs, &[*like]);
            if let Ref::New(n, _) = r {
                edit.nodes[n].extra = graph.node(*like).extra.clone();
            }
            refs.insert(node.outputs.first().copied()??, r);
        }
        edit.define(graph, output, *refs.get(&result)?);
        // Tiles that nothing else reads go.
        let mut nodes: Vec<NodeId> = self.seen.iter().copied().collect();
        nodes.sort_by_key(|&n| graph.position(n));
        edit.removes = build::removable(graph, &nodes, &HashSet::new(), &[output]);
        Some(edit)
    }
}

/// The constant that these constants are parts of, if the grid cuts it along one axis.
fn concat_pieces(graph: &Graph, tiles: &[ValueId], axes: &[Option<usize>]) -> Option<Tensor> {
    let mut axes = axes.iter().flatten();
    let (Some(&axis), None) = (axes.next(), axes.next()) else { return None };
    let mut distinct: Vec<ValueId> = Vec::new();
    for t in tiles {
        if !distinct.contains(t) {
            distinct.push(*t);
        }
    }
    let pieces: Vec<_> =
        distinct.iter().map(|&t| graph.value(t).constant().cloned()).collect::<Option<_>>()?;
    slices::join_tensors(&pieces, axis).ok()
}
