//! Regions → Slice, tiles, Concat. The only code that writes tiles.
//!
//! A group of nodes that ends in one value is computed part by part: each part of the value asks
//! the region rules back through the group what it needs, and the nodes are repeated with just
//! that. A value with several readers is computed over the hull of their needs, and each reader
//! crops.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use graph_opt_ir::region::{self, Barrier, Need, Region, Tile};
use graph_opt_ir::rule::Ctx;
use graph_opt_ir::{Def, Edit, Graph, NodeId, Ref, Span, Tensor, ValueId, op};

/// Cuts of a value along some of its axes; the parts are their product, row by row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grid {
    /// Axis and its parts, which cover it in order.
    pub axes: Vec<(usize, Vec<Span>)>,
}

impl Grid {
    /// Number of parts.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.1.len()).product()
    }

    /// Whether there are no parts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The regions of the parts in a tensor of this rank, row by row.
    pub fn regions(&self, rank: usize) -> Vec<Region> {
        let mut all = vec![vec![None; rank]];
        for (axis, spans) in &self.axes {
            all = all
                .into_iter()
                .flat_map(|r| {
                    spans.iter().map(move |s| {
                        let mut r = r.clone();
                        r[*axis] = Some(*s);
                        r
                    })
                })
                .collect();
        }
        all
    }
}

/// What one part of a group needs: the tile of each node that takes part, and the region that is
/// computed of each value.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Tiles by node.
    pub tiles: HashMap<NodeId, Tile>,
    /// Regions by value, of values that the group makes.
    pub regions: HashMap<ValueId, Region>,
}

/// What `region` of `output` needs of the group's nodes, which stand in the order of the schedule.
///
/// # Errors
/// With the node and the reason, if one of them cannot be cut that way.
pub fn needs(
    graph: &Graph,
    nodes: &[NodeId],
    output: ValueId,
    region: &Region,
) -> Result<Needs, (NodeId, Barrier)> {
    let mut n = Needs::default();
    let members: HashSet<NodeId> = nodes.iter().copied().collect();
    n.regions.insert(output, region.clone());
    for &id in nodes.iter().rev() {
        let node = graph.node(id);
        let wanted: Vec<(usize, &Region)> = node
            .outputs
            .iter()
            .enumerate()
            .filter_map(|(i, v)| Some((i, n.regions.get(&(*v)?)?)))
            .collect();
        let (output, region) = match wanted[..] {
            [] => continue,
            [one] => one,
            _ => return Err((id, Barrier("several of its results are needed".into()))),
        };
        let tile = region::tile(&Ctx::of(graph, id), output, region).map_err(|b| (id, b))?;
        for (v, need) in operands(graph, id, &tile) {
            if let (Some(v), Need::Region(r)) = (v, need) {
                add(graph, &members, &mut n.regions, v, r);
            }
        }
        n.tiles.insert(id, tile);
    }
    Ok(n)
}

fn add(
    graph: &Graph,
    members: &HashSet<NodeId>,
    regions: &mut HashMap<ValueId, Region>,
    v: ValueId,
    r: &Region,
) {
    if graph.producer(v).is_some_and(|p| members.contains(&p)) {
        let hull = regions.get(&v).map_or_else(|| r.clone(), |h| region::hull(h, r));
        regions.insert(v, hull);
    }
}

/// The tile's operands with the values that they are parts of. A tile may have fewer operands than
/// its node: a `Concat` of which only some operands are needed keeps those in order; any other
/// keeps the first ones.
fn operands<'t>(graph: &Graph, id: NodeId, tile: &'t Tile) -> Vec<(Option<ValueId>, &'t Need)> {
    let node = graph.node(id);
    if !matches!(node.op, graph_opt_ir::Op::Concat(_)) || tile.needs.len() == node.inputs.len() {
        return node
            .inputs
            .iter()
            .copied()
            .chain(std::iter::repeat(None))
            .zip(&tile.needs)
            .collect();
    }
    // Which operands are left follows from the relations: those whose part is not empty.
    let Ok(rel) = region::relations(&Ctx::of(graph, id), 0) else { return Vec::new() };
    let graph_opt_ir::Op::Concat(c) = &node.op else { return Vec::new() };
    let mut left = tile.needs.iter();
    let mut out = Vec::new();
    for (i, v) in node.inputs.iter().enumerate() {
        let Some(v) = *v else { continue };
        let rank = rel.operands[i].len();
        let Ok(axis) = graph_opt_ir::rule::axis_of(c.axis, rank) else { continue };
        let region::Relation::Affine { start, .. } = rel.operands[i][axis] else { continue };
        let n = graph.value(v).ty.extents().map_or(0, |e| e[axis] as i64);
        let Some(r) = tile.computes[axis] else { continue };
        let (lo, hi) = ((start + r.lo).max(0), (start + r.hi).min(n));
        if lo < hi
            && let Some(need) = left.next()
        {
            out.push((Some(v), need));
        }
    }
    out
}

/// The edit that computes `output` part by part.
///
/// # Errors
/// With the node and the reason, if a part cannot be computed exactly.
pub fn tile_group(
    graph: &Graph,
    nodes: &[NodeId],
    output: ValueId,
    grid: &Grid,
    origin: &str,
) -> Result<Edit, (NodeId, Barrier)> {
    let last = nodes[nodes.len() - 1];
    let Some(rank) = graph.value(output).ty.rank() else {
        return Err((last, Barrier("the rank of its result is unknown".into())));
    };
    let regions = grid.regions(rank);
    let parts: Vec<Needs> =
        regions.iter().map(|r| needs(graph, nodes, output, r)).collect::<Result<_, _>>()?;
    // What every part needs whole stays as it is, once for all parts.
    let shared: HashSet<NodeId> = nodes
        .iter()
        .copied()
        .filter(|id| {
            let whole = |n: &Needs| {
                let outs = graph.node(*id).outputs.iter().flatten();
                let mut wanted = outs.filter_map(|v| n.regions.get(v));
                wanted.all(|r| r.iter().all(Option::is_none))
            };
            *id != last && parts.iter().all(whole)
        })
        .collect();
    let base = graph.label(last).to_owned();
    let mut b = Build {
        graph,
        edit: Edit::new(origin),
        slices: HashMap::new(),
        pieces: pieces(graph, nodes, &shared, &parts),
        base: &base,
        of: parts.len(),
    };
    b.edit.before = Some(last);
    let mut tiles = Vec::new();
    for (i, (part, region)) in parts.iter().zip(&regions).enumerate() {
        tiles.push(b.part(i, nodes, &shared, part, output, region).map_err(|e| (last, e))?);
    }
    let whole = b.concat(&tiles, &grid.axes, last);
    b.edit.replaces.push((output, whole));
    b.edit.removes = removable(graph, nodes, &shared, output);
    if !b.edit.removes.contains(&last) {
        return Err((last, Barrier("its other results are read, too".into())));
    }
    Ok(b.edit)
}

/// Nodes of the group, but for the shared ones, that nothing outside of it reads once `output` is
/// defined anew.
pub(super) fn removable(
    graph: &Graph,
    nodes: &[NodeId],
    shared: &HashSet<NodeId>,
    output: ValueId,
) -> Vec<NodeId> {
    let mut gone: HashSet<NodeId> = HashSet::new();
    for &id in nodes.iter().rev().filter(|id| !shared.contains(id)) {
        let free = graph.node(id).outputs.iter().flatten().all(|&v| {
            let value = graph.value(v);
            v == output || (!value.is_output() && value.uses().all(|u| gone.contains(&u.node)))
        });
        if free {
            gone.insert(id);
        }
    }
    nodes.iter().copied().filter(|id| gone.contains(id)).collect()
}

/// Constants that can be cut into initializers without growing the file: nothing outside of the
/// group reads them, and the distinct parts of each are together no larger than the whole.
fn pieces(
    graph: &Graph,
    nodes: &[NodeId],
    shared: &HashSet<NodeId>,
    parts: &[Needs],
) -> HashSet<ValueId> {
    let mut regions: HashMap<ValueId, Vec<&Region>> = HashMap::new();
    let members: HashSet<NodeId> = nodes.iter().copied().filter(|n| !shared.contains(n)).collect();
    for part in parts {
        for &id in nodes.iter().filter(|n| !shared.contains(n)) {
            let Some(tile) = part.tiles.get(&id) else { continue };
            for (v, need) in operands(graph, id, tile) {
                let (Some(v), Need::Region(r)) = (v, need) else { continue };
                let all = regions.entry(v).or_default();
                if matches!(graph.value(v).def, Def::Const(_)) && !all.contains(&r) {
                    all.push(r);
                }
            }
        }
    }
    let fits = |v: &ValueId, all: &Vec<&Region>| {
        let value = graph.value(*v);
        let Some(dims) = value.ty.dims() else { return false };
        let size = |r: &Region| region::extents(r, dims).iter().flatten().product::<i64>();
        let whole: i64 = size(&vec![None; dims.len()]);
        value.constant().is_some()
            && value.uses().all(|u| members.contains(&u.node))
            && !value.is_output()
            && all.iter().map(|r| size(r)).sum::<i64>() <= whole
    };
    regions.into_iter().filter(|(v, all)| fits(v, all)).map(|(v, _)| v).collect()
}

struct Build<'a> {
    graph: &'a Graph,
    edit: Edit,
    /// Slices of values from outside of the group, which parts share.
    slices: HashMap<(ValueId, Region), Ref>,
    pieces: HashSet<ValueId>,
    base: &'a str,
    of: usize,
}

impl Build<'_> {
    fn part(
        &mut self,
        index: usize,
        nodes: &[NodeId],
        shared: &HashSet<NodeId>,
        part: &Needs,
        output: ValueId,
        region: &Region,
    ) -> Result<Ref, Barrier> {
        let mut made: HashMap<ValueId, (Ref, Region)> = HashMap::new();
        for &id in nodes.iter().filter(|id| !shared.contains(id)) {
            let Some(tile) = part.tiles.get(&id) else { continue };
            let name = format!("{}/tile{index}of{}", self.graph.label(id), self.of);
            let mut inputs = Vec::new();
            for (v, need) in operands(self.graph, id, tile) {
                inputs.push(match (v, need) {
                    (_, Need::Nothing) => None,
                    (_, Need::Instead(t)) => {
                        Some(self.edit.constant(&format!("{name}/shape"), t.clone()))
                    }
                    (Some(v), Need::Zeros(_, extents)) => Some(self.zeros(&name, v, extents, id)?),
                    (Some(v), Need::Region(r)) => Some(match made.get(&v) {
                        Some((from, have)) => {
                            let (from, have) = (*from, have.clone());
                            self.crop(from, &have, r, &name, id)
                        }
                        None => self.outer(v, r, &name, id)?,
                    }),
                    (None, _) => None,
                });
            }
            let node = self.graph.node(id);
            let position = |v: &Option<ValueId>| v.is_some_and(|v| part.regions.contains_key(&v));
            let Some(Some(v)) = node.outputs.iter().find(|v| position(v)) else { continue };
            let identity = matches!(tile.op, graph_opt_ir::Op::Identity(_))
                && !matches!(node.op, graph_opt_ir::Op::Identity(_));
            let result = match inputs[..] {
                [Some(x)] if identity => x,
                _ => {
                    let r = self.edit.node(name, tile.op.clone(), inputs, &[id]);
                    if let (Ref::New(n, _), false) = (r, node.extra.is_empty()) {
                        self.edit.nodes[n].extra = node.extra.clone();
                    }
                    r
                }
            };
            made.insert(*v, (result, tile.computes.clone()));
        }
        let Some((result, have)) = made.get(&output).cloned() else {
            return Err(Barrier("the group does not make its result".into()));
        };
        let last = nodes[nodes.len() - 1];
        let name = format!("{}/tile{index}of{}", self.base, self.of);
        Ok(self.crop(result, &have, region, &name, last))
    }

    /// `want` of a tensor that holds the region `have`.
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
        slice(&mut self.edit, self.graph, from, &cuts, &format!("{name}/crop"), like)
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
        let base = &self.graph.value(v).name;
        let suffix = name.rsplit('/').next().unwrap_or(name);
        let result = match self.graph.value(v).constant() {
            Some(t) if self.pieces.contains(&v) => {
                let piece = slice_tensor(t, &cuts).map_err(Barrier)?;
                let index = self.edit.consts.len();
                self.edit.consts.push((format!("{base}/{suffix}"), Arc::new(piece)));
                Ref::Const(index)
            }
            _ => slice(
                &mut self.edit,
                self.graph,
                Ref::Value(v),
                &cuts,
                &format!("{name}/slice"),
                like,
            ),
        };
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

    /// Joins parts that stand row by row, the last axis first.
    fn concat(&mut self, parts: &[Ref], axes: &[(usize, Vec<Span>)], like: NodeId) -> Ref {
        let mut parts = parts.to_vec();
        for (depth, (axis, spans)) in axes.iter().enumerate().rev() {
            let rows = parts.len() / spans.len();
            parts = (0..rows)
                .map(|r| {
                    let row = &parts[r * spans.len()..(r + 1) * spans.len()];
                    if let [one] = row {
                        return *one;
                    }
                    let name = match (depth, axes.len()) {
                        (0, _) => format!("{}/concat", self.base),
                        _ => format!("{}/concat{r}of{rows}", self.base),
                    };
                    let op = op::Concat { axis: *axis as i64 };
                    self.edit.node(name, op, row.iter().map(|&r| Some(r)).collect(), &[like])
                })
                .collect();
        }
        parts[0]
    }
}

/// A `Slice` in the form of the graph's opset; the operand itself where nothing is cut.
pub fn slice(
    edit: &mut Edit,
    graph: &Graph,
    x: Ref,
    cuts: &[(usize, Span)],
    name: &str,
    like: NodeId,
) -> Ref {
    if cuts.is_empty() {
        return x;
    }
    let axes: Vec<i64> = cuts.iter().map(|c| c.0 as i64).collect();
    let starts: Vec<i64> = cuts.iter().map(|c| c.1.lo).collect();
    let ends: Vec<i64> = cuts.iter().map(|c| c.1.hi).collect();
    if graph.opset() < 10 {
        let op = op::Slice { starts: Some(starts), ends: Some(ends), axes: Some(axes) };
        return edit.node(name, op, vec![Some(x)], &[like]);
    }
    let mut inputs = vec![Some(x)];
    for (what, v) in [("starts", starts), ("ends", ends), ("axes", axes)] {
        inputs.push(Some(edit.constant(&format!("{name}/{what}"), Tensor::i64s(&v))));
    }
    edit.node(name, op::Slice { starts: None, ends: None, axes: None }, inputs, &[like])
}

/// The elements of a constant within these spans.
///
/// # Errors
/// If its elements cannot be had or are no whole bytes.
pub fn slice_tensor(t: &Tensor, cuts: &[(usize, Span)]) -> Result<Tensor, String> {
    let bits = t.dtype().bits();
    if !bits.is_multiple_of(8) || bits == 0 {
        return Err(format!("a constant of {} cannot be cut", t.dtype()));
    }
    let (size, dims) = (bits / 8, t.dims());
    let src = t.bytes().map_err(|e| e.to_string())?;
    let mut out_dims = dims.to_vec();
    let mut starts = vec![0u64; dims.len()];
    for (a, s) in cuts {
        if !Span::whole(dims[*a] as i64).contains(*s) {
            return Err(format!("{s} lies outside of axis {a}"));
        }
        starts[*a] = s.lo as u64;
        out_dims[*a] = s.len() as u64;
    }
    // Runs of whole inner axes are copied at once.
    let inner = (0..dims.len()).rev().take_while(|&a| out_dims[a] == dims[a]).count();
    let split = dims.len().saturating_sub(inner + 1);
    let stride: u64 = dims[split + 1..].iter().product();
    let run = (out_dims[split] * stride) as usize * size;
    let mut out = Vec::with_capacity(out_dims.iter().product::<u64>() as usize * size);
    let rows: u64 = out_dims[..split].iter().product();
    for row in 0..rows {
        let (mut rest, mut at) = (row, 0u64);
        let mut scale: u64 = dims[split..].iter().product();
        for a in (0..split).rev() {
            at += (rest % out_dims[a] + starts[a]) * scale;
            rest /= out_dims[a];
            scale *= dims[a];
        }
        let from = (at + starts[split] * stride) as usize * size;
        out.extend_from_slice(&src[from..from + run]);
    }
    Tensor::from_bytes(t.dtype(), out_dims, out).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_cut_along_any_axes() {
        let t = Tensor::i64s(&(0..24).collect::<Vec<_>>()).reshaped(vec![2, 3, 4]).unwrap();
        let cut = |c: &[(usize, Span)]| slice_tensor(&t, c).unwrap().to_i64s().unwrap();
        assert_eq!(cut(&[(0, Span::new(1, 2))]), (12..24).collect::<Vec<_>>());
        assert_eq!(cut(&[(1, Span::new(1, 2))]), [4, 5, 6, 7, 16, 17, 18, 19]);
        assert_eq!(cut(&[(0, Span::new(0, 1)), (2, Span::new(3, 4))]), [3, 7, 11]);
    }
}
