//! Writes tiles as nodes: Slice, the operators over parts, Concat. Only partial sums are written
//! elsewhere.
//!
//! A group of nodes is computed part by part: the region rules of its nodes determine what each part of
//! the outputs needs (`grid`), and the nodes are repeated over these regions. A value with several
//! readers is computed over the hull of their needs, and each reader crops. Strips that a tile takes over
//! are sliced in the tile that computes them, as soon as they exist, and joined to what the tile
//! computes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::region::{self, Barrier, Need, Region, Tile};
use graph_opt_ir::{Def, Edit, Graph, NodeId, Op, Ref, Span, Tensor, ValueId, op};

use super::grid::{self, Grid, Reuse, Strip, TileLayout};
use super::group::{Group, GroupValue};
use super::slices::{part, slice};

/// What a tile needs of its operands, with the values that they are parts of.
pub(super) fn operands<'t>(
    graph: &Graph,
    id: NodeId,
    tile: &'t Tile,
) -> Vec<(Option<ValueId>, &'t Need)> {
    let inputs = &graph.node(id).inputs;
    let which = region::operands_of(&OpCtx::of(graph, id), tile);
    let value = |i: Option<usize>| i.and_then(|i| inputs.get(i).copied().flatten());
    which.into_iter().map(value).zip(&tile.needs).collect()
}

/// The computation of one value of one tile.
pub(super) struct Job<'l> {
    pub tile: usize,
    pub node: NodeId,
    pub made: &'l GroupValue,
    /// The region of the result that the tile needs.
    pub need: Region,
    /// The region that the tile computes, and how; `None` if it takes over everything.
    pub computed: Option<(Region, Tile)>,
}

/// The edit that computes the outputs of a group part by part.
///
/// # Errors
/// With the node and the reason, if a part cannot be computed exactly.
pub fn tile_group(
    graph: &Graph,
    group: &Group,
    grid: &Grid,
    reuse: Reuse,
    origin: &str,
) -> Result<Edit, (NodeId, Barrier)> {
    let last = group.nodes[group.nodes.len() - 1];
    refuse_early_readers(graph, group, last)?;
    let layout = grid::layout(graph, group, grid, reuse)?;
    let order = layout.order();
    let (mut jobs, kept) = jobs(graph, &layout, &order)?;
    if reuse == Reuse::Exchange {
        // Node by node, not tile by tile; the order of nodes and of tiles stays.
        let steps = layout.table.steps.iter().flat_map(|s| &s.results).enumerate();
        let at: HashMap<ValueId, usize> = steps.map(|(i, m)| (m.value, i)).collect();
        jobs.sort_by_key(|j| at[&j.made.value]);
    }
    let mut b = Build {
        graph,
        layout: &layout,
        made: layout.table.made().map(|m| (m.value, m)).collect(),
        edit: Edit::new(origin),
        have: HashMap::new(),
        slices: HashMap::new(),
        pieces: pieces(graph, &jobs, group, &kept),
        several: (layout.table.steps.iter())
            .map(|s| (s.node, s.results.iter().map(|m| m.index).collect()))
            .filter(|(_, read): &(_, Vec<usize>)| read[..] != [0])
            .collect(),
        runs: Vec::new(),
        handed: HashMap::new(),
        of: order.len(),
    };
    b.edit.before = Some(last);
    if reuse == Reuse::Exchange {
        let mut rest = &jobs[..];
        while let Some(first) = rest.first() {
            let n = rest.iter().take_while(|j| j.made.value == first.made.value).count();
            b.exchange(&rest[..n], &order).map_err(|e| (first.node, e))?;
            rest = &rest[n..];
        }
    } else {
        for job in &jobs {
            let strips = layout.strips(job.made, &order[job.tile]).map_err(|e| (job.node, e))?;
            for s in strips {
                b.handed.entry((job.made.value, s.from)).or_default().push(s.region);
            }
        }
    }
    let mut parts = HashMap::new();
    for job in &jobs {
        let tile = &order[job.tile];
        let fail = |e: Barrier| (job.node, e);
        let own = match group.outputs.contains(&job.made.value) {
            true => layout.output_share(job.made, tile).map_err(fail)?,
            false => None,
        };
        if let Some(part) = b.run(job, tile, own.as_ref()).map_err(fail)? {
            parts.insert((job.made.value, tile.clone()), part);
        }
    }
    b.join_outputs(group, &parts, &kept)?;
    Ok(b.edit)
}

/// The outputs of a group are complete where its last node stood, so that no other node may read one
/// before that.
fn refuse_early_readers(
    graph: &Graph,
    group: &Group,
    last: NodeId,
) -> Result<(), (NodeId, Barrier)> {
    for &v in &group.outputs {
        let early = |n: &NodeId| graph.runs_before(*n, last) && !group.nodes.contains(n);
        if let Some(n) = graph.value(v).uses().map(|u| u.node).find(early) {
            let why = format!(
                "it reads {} before the group ends; end the group before it, or take it in",
                graph.value(v).name
            );
            return Err((n, Barrier(why)));
        }
    }
    Ok(())
}

/// The computations of all tiles, in order; and the nodes that stay as they are because every tile needs
/// their whole result.
pub(super) fn jobs<'l>(
    graph: &Graph,
    layout: &'l TileLayout,
    order: &[Vec<usize>],
) -> Result<(Vec<Job<'l>>, HashSet<NodeId>), (NodeId, Barrier)> {
    let (mut jobs, mut kept) = (Vec::new(), HashSet::new());
    for (i, tile) in order.iter().enumerate() {
        for step in &layout.table.steps {
            let fail = |b: Barrier| (step.node, b);
            for made in &step.results {
                let Some(need) = layout.need(made, tile).map_err(fail)? else { continue };
                if layout.is_shared(made, tile) {
                    kept.insert(step.node);
                    continue;
                }
                let computed = match layout.computed_here(made, tile).map_err(fail)? {
                    None => None,
                    Some(r) => {
                        let ctx = OpCtx::followed(graph, step.node);
                        let t = region::tile(&ctx, made.index, &r).map_err(fail)?;
                        Some((r, t))
                    }
                };
                jobs.push(Job { tile: i, node: step.node, made, need, computed });
            }
        }
    }
    Ok((jobs, kept))
}

/// Nodes of the group that can be removed once tiles define its outputs: neither shared nor read outside.
pub(super) fn removable(
    graph: &Graph,
    nodes: &[NodeId],
    shared: &HashSet<NodeId>,
    outputs: &[ValueId],
) -> Vec<NodeId> {
    let mut gone: HashSet<NodeId> = HashSet::new();
    for &id in nodes.iter().rev().filter(|id| !shared.contains(id)) {
        let free = graph.node(id).outputs.iter().flatten().all(|&v| {
            let value = graph.value(v);
            outputs.contains(&v)
                || (!value.is_output() && value.uses().all(|u| gone.contains(&u.node)))
        });
        if free {
            gone.insert(id);
        }
    }
    nodes.iter().copied().filter(|id| gone.contains(id)).collect()
}

/// Constants that can be cut into initializers without growing the file: only the group reads them, and
/// the distinct parts together are no larger than the whole.
fn pieces(
    graph: &Graph,
    jobs: &[Job<'_>],
    group: &Group,
    kept: &HashSet<NodeId>,
) -> HashSet<ValueId> {
    let mut regions: HashMap<ValueId, HashSet<&Region>> = HashMap::new();
    let members: HashSet<NodeId> =
        group.nodes.iter().copied().filter(|n| !kept.contains(n)).collect();
    for job in jobs {
        let Some((_, tile)) = &job.computed else { continue };
        for (v, need) in operands(graph, job.node, tile) {
            if let (Some(v), Need::Region(r)) = (v, need)
                && matches!(graph.value(v).def, Def::Const(_))
            {
                regions.entry(v).or_default().insert(r);
            }
        }
    }
    let fits = |v: &ValueId, all: &HashSet<&Region>| {
        let value = graph.value(*v);
        let Some(dims) = value.ty.dims() else { return false };
        let size = |r: &Region| region::extents(r, dims).iter().flatten().product::<i64>();
        let whole: i64 = size(&vec![None; dims.len()]);
        value.uses().all(|u| members.contains(&u.node))
            && !value.is_output()
            && all.iter().map(|r| size(r)).sum::<i64>() <= whole
    };
    regions.into_iter().filter(|(v, all)| fits(v, all)).map(|(v, _)| v).collect()
}

struct Build<'a> {
    graph: &'a Graph,
    layout: &'a TileLayout,
    made: HashMap<ValueId, &'a GroupValue>,
    edit: Edit,
    /// Regions of the group's values that have been computed.
    have: HashMap<(ValueId, Region), Ref>,
    /// Slices of values from outside of the group, which tiles share.
    slices: HashMap<(ValueId, Region), Ref>,
    pieces: HashSet<ValueId>,
    /// The results that are read, of nodes of which others than the first are.
    several: HashMap<NodeId, Vec<usize>>,
    /// New nodes that compute these, by node, tile, and what they are made from.
    runs: Vec<(NodeId, Vec<usize>, Tile, usize)>,
    /// Regions of a value that a tile keeps for other tiles.
    handed: HashMap<(ValueId, Vec<usize>), Vec<Region>>,
    of: usize,
}

impl Build<'_> {
    /// Computes what a tile needs of a value; returns the tile's part of the whole output, if it
    /// contributes one.
    fn run(
        &mut self,
        job: &Job<'_>,
        tile: &[usize],
        own: Option<&Region>,
    ) -> Result<Option<Ref>, Barrier> {
        let v = job.made.value;
        let name = self.name(job, tile);
        if !self.have.contains_key(&(v, job.need.clone())) {
            let computed = match &job.computed {
                None => None,
                Some((region, t)) => {
                    let x = self.compute(job, tile, t, &name)?;
                    let x = self.crop(x, &t.computes, region, &format!("{name}/crop"), job.node);
                    self.have.insert((v, region.clone()), x);
                    Some(x)
                }
            };
            let whole = self.join(job, tile, computed, &name)?;
            self.have.insert((v, job.need.clone()), whole);
        }
        let whole = self.have[&(v, job.need.clone())];
        let handed = self.handed.remove(&(v, tile.to_vec())).unwrap_or_default();
        for (i, r) in handed.into_iter().enumerate() {
            if !self.have.contains_key(&(v, r.clone())) {
                let kept = self.crop(whole, &job.need, &r, &format!("{name}/keep{i}"), job.node);
                self.have.insert((v, r), kept);
            }
        }
        let Some(own) = own else { return Ok(None) };
        if let Some(&r) = self.have.get(&(v, own.clone())) {
            return Ok(Some(r));
        }
        // From what the tile computes itself, where that is enough.
        let within = |outer: &Region| {
            outer.iter().zip(own).all(|(o, i)| o.is_none_or(|o| i.is_some_and(|i| o.contains(i))))
        };
        let computed = job.computed.as_ref().map(|f| &f.0).filter(|r| within(r));
        let computed = computed.and_then(|r| Some((*self.have.get(&(v, r.clone()))?, r)));
        let (from, region) = computed.unwrap_or((whole, &job.need));
        Ok(Some(self.crop(from, region, own, &format!("{name}/part"), job.node)))
    }

    fn name(&self, job: &Job<'_>, tile: &[usize]) -> String {
        format!("{}/tile{}of{}", self.graph.label(job.node), self.number(tile), self.of)
    }

    /// Number of a tile, row by row.
    fn number(&self, tile: &[usize]) -> usize {
        let axes = self.layout.grid.axes.iter().zip(tile);
        axes.fold(0, |n, ((_, spans), i)| n * spans.len() + i)
    }

    fn compute(
        &mut self,
        job: &Job<'_>,
        tile: &[usize],
        t: &Tile,
        name: &str,
    ) -> Result<Ref, Barrier> {
        let same = |r: &&(NodeId, Vec<usize>, Tile, usize)| {
            (r.0, &r.1[..]) == (job.node, tile) && (&r.2.op, &r.2.needs) == (&t.op, &t.needs)
        };
        if let Some(run) = self.runs.iter().find(same) {
            return Ok(Ref::New(run.3, t.output));
        }
        let mut inputs = Vec::new();
        for (v, need) in operands(self.graph, job.node, t) {
            inputs.push(match (v, need) {
                (_, Need::Nothing) | (None, Need::Region(_) | Need::Zeros(..)) => None,
                (_, Need::Instead(t)) => {
                    Some(self.edit.constant(&format!("{name}/shape"), t.clone()))
                }
                (Some(v), Need::Zeros(_, extents)) => Some(self.zeros(name, v, extents, job.node)?),
                (Some(v), Need::Region(r)) => Some(match self.made.get(&v) {
                    Some(made) => self.inner(made, tile, r, name, job.node)?,
                    None => self.outer(v, r, name, job.node)?,
                }),
            });
        }
        let node = self.graph.node(job.node);
        let identity = matches!(t.op, Op::Identity(_)) && !matches!(node.op, Op::Identity(_));
        if let ([Some(x)], true) = (&inputs[..], identity) {
            return Ok(*x);
        }
        let new = self.edit.nodes.len();
        self.edit.node(name, t.op.clone(), inputs, &[job.node]);
        self.edit.nodes[new].extra = node.extra.clone();
        if let Some(read) = self.several.get(&job.node).filter(|_| !identity) {
            let outputs = read.iter().map(|i| i + 1).max().unwrap_or(1);
            self.edit.nodes[new].outputs = outputs;
            self.edit.nodes[new].absent = (0..outputs).filter(|i| !read.contains(i)).collect();
            self.runs.push((job.node, tile.to_vec(), t.clone(), new));
        }
        Ok(Ref::New(new, t.output))
    }

    /// A region of a value that the group computes.
    fn inner(
        &mut self,
        made: &GroupValue,
        tile: &[usize],
        r: &Region,
        name: &str,
        like: NodeId,
    ) -> Result<Ref, Barrier> {
        let v = made.value;
        let need = self.layout.need(made, tile)?.unwrap_or_default();
        let from = match self.layout.is_shared(made, tile) {
            true => Some(Ref::Value(v)),
            false => self.have.get(&(v, need.clone())).copied(),
        };
        let Some(from) = from else {
            return Err(Barrier(format!("{} is not there yet", self.graph.value(v).name)));
        };
        Ok(self.crop(from, &need, r, &format!("{name}/crop"), like))
    }

    /// One value in all tiles: each computes its share, and takes the rest from its neighbours, along one
    /// axis of the grid after the other, so that corners come from diagonal neighbours in two steps.
    fn exchange(&mut self, jobs: &[Job<'_>], order: &[Vec<usize>]) -> Result<(), Barrier> {
        let mut held: HashMap<&[usize], (Region, Ref)> = HashMap::new();
        let mut strips = Vec::new();
        for job in jobs {
            let tile = &order[job.tile][..];
            strips.push(self.layout.strips(job.made, tile)?);
            let Some((region, t)) = &job.computed else {
                return Err(Barrier("a tile computes nothing of its own".into()));
            };
            // Along an axis that all parts need whole, the first has computed it.
            let key = (job.made.value, region.clone());
            let x = match self.have.get(&key) {
                Some(&x) => x,
                None => {
                    let name = self.name(job, tile);
                    let x = self.compute(job, tile, t, &name)?;
                    self.crop(x, &t.computes, region, &format!("{name}/crop"), job.node)
                }
            };
            self.have.insert(key, x);
            held.insert(tile, (region.clone(), x));
        }
        for level in 0..self.layout.grid.axes.len() {
            let before = held.clone();
            for (job, strips) in jobs.iter().zip(&strips) {
                for (i, s) in strips.iter().filter(|s| s.level == level).enumerate() {
                    let Some((region, x)) = before.get(&s.from[..]) else {
                        return Err(Barrier("a neighbour hands over nothing".into()));
                    };
                    if !self.have.contains_key(&(job.made.value, s.region.clone())) {
                        let name = format!("{}/keep{level}{i}", self.name(job, &s.from));
                        let kept = self.crop(*x, region, &s.region, &name, job.node);
                        self.have.insert((job.made.value, s.region.clone()), kept);
                    }
                }
                let tile = &order[job.tile][..];
                let Some((region, x)) = held.get_mut(tile) else { continue };
                let name = self.name(job, tile);
                *x = self.join_along(job, strips, level, Some(*x), &name)?.unwrap_or(*x);
                for s in strips.iter().filter(|s| s.level == level) {
                    region[s.axis] = job.need[s.axis];
                }
            }
        }
        for job in jobs {
            if let Some((_, x)) = held.get(&order[job.tile][..]) {
                self.have.insert((job.made.value, job.need.clone()), *x);
            }
        }
        Ok(())
    }

    /// Joins what a tile takes over to what it computes.
    fn join(
        &mut self,
        job: &Job<'_>,
        tile: &[usize],
        computed: Option<Ref>,
        name: &str,
    ) -> Result<Ref, Barrier> {
        let strips = self.layout.strips(job.made, tile)?;
        let mut whole = computed;
        for level in 0..tile.len() {
            whole = self.join_along(job, &strips, level, whole, name)?;
        }
        whole.ok_or_else(|| Barrier("a tile takes over nothing and computes nothing".into()))
    }

    /// Joins the strips along one axis of the grid to what the tile has so far.
    fn join_along(
        &mut self,
        job: &Job<'_>,
        strips: &[Strip],
        level: usize,
        whole: Option<Ref>,
        name: &str,
    ) -> Result<Option<Ref>, Barrier> {
        let mut parts: Vec<(bool, Ref)> = Vec::new();
        let mut axis = 0;
        for s in strips.iter().filter(|s| s.level == level) {
            let kept = self.have.get(&(job.made.value, s.region.clone())).copied();
            let kept = kept.ok_or_else(|| Barrier("a neighbour hands over nothing".into()))?;
            parts.push((s.after, kept));
            axis = s.axis;
        }
        if parts.is_empty() {
            return Ok(whole);
        }
        let at = parts.iter().take_while(|p| !p.0).count();
        if let Some(w) = whole {
            parts.insert(at, (false, w));
        }
        Ok(Some(match parts[..] {
            [(_, one)] => one,
            _ => {
                let op = op::Concat { axis: axis as i64 };
                let inputs = parts.iter().map(|p| Some(p.1)).collect();
                self.edit.node(format!("{name}/join{level}"), op, inputs, &[job.node])
            }
        }))
    }

    /// The region `want` of a value, sliced from its region `have`.
    fn crop(&mut self, from: Ref, have: &Region, want: &Region, name: &str, like: NodeId) -> Ref {
        let mut cuts = Vec::new();
        for (axis, (h, w)) in have.iter().zip(want).enumerate() {
            if let Some(w) = w
                && h != &Some(*w)
            {
                let start = h.map_or(0, |h| h.lo);
                cuts.push((axis, Span::new(w.lo - start, w.hi - start)));
            }
        }
        slice(&mut self.edit, self.graph, from, &cuts, name, like)
    }

    /// A region of a value from outside of the group.
    fn outer(&mut self, v: ValueId, r: &Region, name: &str, like: NodeId) -> Result<Ref, Barrier> {
        let cuts: Vec<(usize, Span)> =
            r.iter().enumerate().filter_map(|(a, s)| Some((a, (*s)?))).collect();
        if cuts.is_empty() {
            return Ok(Ref::Value(v));
        }
        if let Some(&s) = self.slices.get(&(v, r.clone())) {
            return Ok(s);
        }
        let cut = self.pieces.contains(&v);
        let result = part(&mut self.edit, self.graph, v, &cuts, cut, name, like)?;
        self.slices.insert((v, r.clone()), result);
        Ok(result)
    }

    fn zeros(
        &mut self,
        name: &str,
        like: ValueId,
        extents: &[i64],
        node: NodeId,
    ) -> Result<Ref, Barrier> {
        let Some(dtype) = self.graph.value(like).ty.dtype() else {
            return Err(Barrier("the element type is unknown".into()));
        };
        let zero = |n: u64| {
            let bytes = dtype.bytes_of(n).filter(|b| *b < 1 << 20);
            let bytes = bytes.ok_or_else(|| Barrier("a tile is all padding, and large".into()))?;
            Tensor::from_bytes(dtype, vec![n], vec![0; bytes as usize])
                .map_err(|e| Barrier(e.to_string()))
        };
        if self.graph.opset() >= 9 {
            let shape = self.edit.constant(&format!("{name}/shape"), Tensor::i64s(extents));
            let value = Some(Arc::new(zero(1)?));
            let op = op::ConstantOfShape { value };
            return Ok(self.edit.node(format!("{name}/padding"), op, vec![Some(shape)], &[node]));
        }
        let n = extents.iter().product::<i64>();
        let dims = extents.iter().map(|&e| e as u64).collect();
        let t = zero(n as u64)?.reshaped(dims).map_err(|e| Barrier(e.to_string()))?;
        Ok(self.edit.constant(&format!("{name}/padding"), t))
    }

    /// Joins the parts of the group's outputs, and removes the nodes that the tiles replace.
    fn join_outputs(
        &mut self,
        group: &Group,
        parts: &HashMap<(ValueId, Vec<usize>), Ref>,
        kept: &HashSet<NodeId>,
    ) -> Result<(), (NodeId, Barrier)> {
        let graph = self.graph;
        for &v in &group.outputs {
            let Some(maker) = graph.producer(v).filter(|p| !kept.contains(p)) else { continue };
            let fail = |why: &str| (maker, Barrier(why.into()));
            let made = self.made.get(&v).copied();
            let made =
                made.ok_or_else(|| fail("another result than its first is read, and only the first is computed in parts"))?;
            let cuts = self.layout.cuts(made);
            // Parts are the same along an axis of the grid that does not cut the value.
            let own = |t: &&Vec<usize>| t.iter().zip(&cuts).all(|(&i, c)| i == 0 || c.is_some());
            let tiles = self.layout.grid.tiles();
            let all: Option<Vec<Ref>> =
                tiles.iter().filter(own).map(|t| parts.get(&(v, t.clone())).copied()).collect();
            let all = all.ok_or_else(|| fail("a tile has no part of it"))?;
            let axes: Vec<(usize, usize)> = cuts.into_iter().flatten().collect();
            let whole = self.concat(&all, &axes, maker);
            self.edit.define(graph, v, whole);
        }
        self.edit.removes = removable(graph, &group.nodes, kept, &group.outputs);
        for &(v, _) in &self.edit.replaces {
            match graph.producer(v) {
                Some(p) if !self.edit.removes.contains(&p) => {
                    return Err((p, Barrier("its other results are read, too".into())));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Joins parts that are in row-major order, the last axis first.
    fn concat(&mut self, parts: &[Ref], axes: &[(usize, usize)], like: NodeId) -> Ref {
        let base = self.graph.label(like).to_owned();
        let mut parts = parts.to_vec();
        for (depth, &(axis, count)) in axes.iter().enumerate().rev() {
            let rows = parts.len() / count;
            parts = (0..rows)
                .map(|r| {
                    let row = &parts[r * count..(r + 1) * count];
                    if let [one] = row {
                        return *one;
                    }
                    let name = match (depth, axes.len()) {
                        (0, _) => format!("{base}/concat"),
                        _ => format!("{base}/concat{r}of{rows}"),
                    };
                    let op = op::Concat { axis: axis as i64 };
                    self.edit.node(name, op, row.iter().map(|&r| Some(r)).collect(), &[like])
                })
                .collect();
        }
        parts[0]
    }
}
