//! `untile`: recognises tiled forms and gives back the whole.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                        : f32[8,3,3,3]
//!   %a = Slice %x [2: 0..9]                     : f32[1,3,9,16]
//!   %b = Conv %a, %W {pads=[1,1,0,1]}           : f32[1,8,8,16]    ; conv1/tile0of2
//!   %c = Slice %x [2: 7..16]                    : f32[1,3,9,16]
//!   %d = Conv %c, %W {pads=[0,1,1,1]}           : f32[1,8,8,16]    ; conv1/tile1of2
//!   %y = Concat %b, %d {axis=2}                 : f32[1,8,16,16]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                        : f32[8,3,3,3]
//!   %y = Conv %x, %W {pads=[1,1,1,1]}           : f32[1,8,16,16]    ; conv1
//! }
//! ```
//!
//! It guesses the whole from the first and last tile, tiles the guess with the very code that
//! writes tiles, and compares. Only what comes out the same is replaced, so a tile that is off by
//! one row stays as it is.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::region::whole_of;
use graph_opt_ir::structural_eq::modelled;
use graph_opt_ir::{
    Builder, Edit, EditError, Editor, Graph, NodeId, Ref, Span, Tensor, ValueId, layout_params,
};

use super::{Grid, Group, Reuse, build, slices};
use crate::options::{OptionError, Options};
use crate::pass::{Cx, Exactness, Outcome, Pass, PassInfo};

/// Its entry in the registry.
pub const INFO: PassInfo = PassInfo {
    name: "untile",
    summary: "recognises tiled convolutions, pools and matrix products and gives back the whole",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(Untile))
}

/// The pass `untile`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Untile;

impl Pass for Untile {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), EditError> {
        let mut done = 0;
        // Outer Concats of grids come after inner ones in the schedule.
        let all: Vec<NodeId> = cx.graph().schedule().collect();
        for id in all.into_iter().rev() {
            let graph = cx.graph();
            let Some(node) = graph.get_node(id) else { continue };
            if !matches!(node.op, Op::Concat(_)) || !cx.selected(id) || cx.is_done() {
                continue;
            }
            let label = graph.label(id).to_owned();
            if let Some(edit) = whole(graph, id) {
                cx.apply(&edit)?;
                done += 1;
                cx.say(label, Outcome::Applied, "tiles made whole");
            }
        }
        if done == 0 {
            cx.say("", Outcome::NoMatch, "no Concat of tiles");
        }
        Ok(())
    }
}

/// The edit that makes the tiles under this Concat whole, if they are tiles.
fn whole(graph: &Graph, concat: NodeId) -> Option<Edit> {
    let output = graph.node(concat).outputs.first().copied().flatten()?;
    // A grid of two axes is tried before the rows alone.
    [2, 1].into_iter().find_map(|depth| {
        let mut guess = Guess {
            graph,
            builder: Builder::new("guess", graph.opset()),
            outer: HashMap::new(),
            stands_for: HashMap::new(),
            joined: HashMap::new(),
            like: Vec::new(),
            seen: HashSet::new(),
            extents: graph
                .value(output)
                .ty
                .dims()
                .unwrap_or_default()
                .iter()
                .map(|d| d.known().map(|n| n as i64))
                .collect(),
        };
        let (grid, tiles) = guess.grid(concat, depth)?;
        let axes: Vec<Option<usize>> = grid.axes.iter().map(|a| Some(a.0)).collect();
        let result = guess.join(&tiles, &axes)?;
        let node = guess.builder.graph().producer(result)?;
        let class = guess.builder.graph().node(node).op.class();
        // Element-by-element operators alone are no tiles that anybody made.
        let quantize = matches!(guess.builder.graph().node(node).op, Op::QuantizeLinear(_));
        if !(quantize || matches!(class, Class::Window | Class::Matmul)) {
            return None;
        }
        guess.check(output, result, &grid)?;
        guess.edit(concat, output, result)
    })
}

/// A guess at the whole: a small graph whose inputs stand for values of the graph.
struct Guess<'a> {
    graph: &'a Graph,
    builder: Builder,
    /// Values of the guess by the value of the graph that they stand for, and the other way round.
    outer: HashMap<ValueId, ValueId>,
    stands_for: HashMap<ValueId, ValueId>,
    joined: HashMap<Vec<ValueId>, ValueId>,
    /// For each node of the guess, a tile that it was made from.
    like: Vec<NodeId>,
    /// Nodes of the graph that the tiles consist of.
    seen: HashSet<NodeId>,
    /// Extents of the whole.
    extents: Vec<Option<i64>>,
}

impl Guess<'_> {
    /// The grid that a Concat of (Concats of) tiles spans, and the tiles row by row.
    fn grid(&mut self, concat: NodeId, depth: usize) -> Option<(Grid, Vec<ValueId>)> {
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

    /// The value of which these are parts; `axes` are its axes along which the grid runs.
    fn join(&mut self, tiles: &[ValueId], axes: &[Option<usize>]) -> Option<ValueId> {
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

    /// The one value of which these are Slices (or itself, or padding in its place).
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
        let rel = graph_opt_ir::region::relations(&OpCtx::of(graph, nodes[0]), 0).ok()?;
        let grouped = first.op.windowed().is_some_and(|w| w.is_transposed())
            && first.inputs.first().copied().flatten().and_then(|x| graph.producer(x)).is_some_and(
                |p| {
                    let taken = layout_params::slices(&OpCtx::of(graph, p)).ok().flatten();
                    let channels = graph.node(p).inputs.first().copied().flatten();
                    let whole = channels.and_then(|v| graph.value(v).ty.dims()?.get(1)?.known());
                    let taken = taken.and_then(|t| t.get(1).copied().flatten());
                    taken.is_some_and(|t| Some(t.count as u64) != whole)
                },
            );
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
        let (x, w) = graph_opt_ir::window::operands(&first.op);
        let dim = |b: &Builder, i: usize, a: usize| {
            let v = inputs.get(i).copied().flatten()?;
            b.graph().value(v).ty.dims()?.get(a)?.known()
        };
        let groups = match (&first.op, w) {
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
                _ => first.op.windowed().map_or(1, |w| w.groups()),
            },
            _ => 1,
        };
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

    /// Pads of a transposed convolution: inputs that only make outputs that are cut off again are
    /// not in its tiles, so the pads follow from where the first tile starts and from the extents.
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

    /// Tiles the guess and compares the result with the tiles that are there.
    fn check(&self, output: ValueId, result: ValueId, grid: &Grid) -> Option<()> {
        let mut builder = self.builder.graph().clone();
        if builder.value(result).ty.extents() != self.graph.value(output).ty.extents() {
            return None;
        }
        let group = Group { nodes: builder.schedule().collect(), outputs: vec![result] };
        let edit = build::tile_group(&builder, &group, grid, Reuse::Recompute, "untile").ok()?;
        Editor::new(&mut builder).apply(&edit).ok()?;
        let mut compare = Compare {
            actual: self.graph,
            tiled: &builder,
            stands_for: &self.stands_for,
            done: HashSet::new(),
        };
        compare.same(output, result).then_some(())
    }

    fn edit(&self, concat: NodeId, output: ValueId, result: ValueId) -> Option<Edit> {
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

/// Compares tiles that are there with tiles that were just made.
struct Compare<'a> {
    actual: &'a Graph,
    tiled: &'a Graph,
    stands_for: &'a HashMap<ValueId, ValueId>,
    done: HashSet<(ValueId, ValueId)>,
}

impl Compare<'_> {
    fn same(&mut self, a: ValueId, t: ValueId) -> bool {
        if self.stands_for.get(&t) == Some(&a) || self.done.contains(&(a, t)) {
            return true;
        }
        let same = match (self.actual.constant(a), self.tiled.constant(t)) {
            (Some(p), Some(q)) => p == q,
            // A constant that others read too is sliced by a node.
            (None, Some(q)) => self.sliced_constant(a).is_some_and(|p| p == *q),
            (_, None) => self.same_nodes(a, t),
        };
        if same {
            self.done.insert((a, t));
        }
        same
    }

    fn sliced_constant(&self, a: ValueId) -> Option<Tensor> {
        let p = self.actual.producer(a)?;
        let source = self.actual.constant(self.actual.node(p).inputs.first().copied()??)?;
        let taken = layout_params::slices(&OpCtx::of(self.actual, p)).ok()??;
        let cuts: Vec<(usize, Span)> = taken
            .iter()
            .enumerate()
            .map(|(i, t)| {
                t.filter(|t| t.step == 1).map(|t| (i, Span::new(t.start, t.start + t.count)))
            })
            .collect::<Option<_>>()?;
        slices::slice_tensor(&source, &cuts).ok()
    }

    fn same_nodes(&mut self, a: ValueId, t: ValueId) -> bool {
        let (Some(p), Some(q)) = (self.actual.producer(a), self.tiled.producer(t)) else {
            return false;
        };
        let (m, n) = (self.actual.node(p), self.tiled.node(q));
        let (c, d) = (OpCtx::of(self.actual, p), OpCtx::of(self.tiled, q));
        let operands = match (&m.op, &n.op) {
            (Op::Slice(_), Op::Slice(_)) => {
                if layout_params::slices(&c) != layout_params::slices(&d) {
                    return false;
                }
                1
            }
            _ if c.is_random()
                || !m.captures.is_empty()
                || modelled(&c, &m.extra) != modelled(&d, &n.extra)
                || m.inputs.len() != n.inputs.len() =>
            {
                return false;
            }
            _ => m.inputs.len(),
        };
        let pairs: Vec<_> =
            m.inputs.iter().copied().zip(n.inputs.iter().copied()).take(operands).collect();
        pairs.into_iter().all(|pair| match pair {
            (None, None) => true,
            (Some(a), Some(t)) => self.same(a, t),
            _ => false,
        })
    }
}

/// A name without the `/tile…` that tiling added.
fn whole_name(name: &str) -> String {
    let tile = |s: &str| {
        let s = s.strip_prefix("tile")?;
        let (i, n) = s.split_once("of")?;
        (i.parse::<u64>().is_ok() && n.split('_').all(|n| n.parse::<u64>().is_ok())).then_some(())
    };
    match name.rsplit_once('/') {
        Some((base, last)) if tile(last).is_some() => base.to_owned(),
        _ => name.to_owned(),
    }
}

/// The constant of which these constants are the pieces, along the grid's axis in it.
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
    let first = pieces.first()?;
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    for p in &pieces {
        let alike = p.dims().len() == dims.len()
            && p.dtype() == first.dtype()
            && p.dims().iter().zip(first.dims()).enumerate().all(|(i, (a, b))| i == axis || a == b);
        if !alike || p.dtype().bits() % 8 != 0 {
            return None;
        }
        dims[axis] += p.dims()[axis];
    }
    let size = first.dtype().bits() / 8;
    let rows: u64 = dims[..axis].iter().product();
    let inner: u64 = dims[axis + 1..].iter().product();
    let bytes: Vec<_> = pieces.iter().map(|p| p.bytes().ok()).collect::<Option<_>>()?;
    let mut out = Vec::new();
    for row in 0..rows as usize {
        for (p, b) in pieces.iter().zip(&bytes) {
            let run = (p.dims()[axis] * inner) as usize * size;
            out.extend_from_slice(&b[row * run..(row + 1) * run]);
        }
    }
    Tensor::from_bytes(first.dtype(), dims, out).ok()
}
