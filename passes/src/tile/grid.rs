//! Grids, and how they divide a group: the part of every value that each tile needs, computes, and
//! hands on. Tiles are built, and their cost is estimated, from the same layout.

use std::sync::Arc;

use graph_opt_ir::region::{Barrier, Region};
use graph_opt_ir::{Graph, NodeId, Span, ValueId};

use super::group::{Group, GroupValue, Table};
use super::parts;
use super::spans::{self, Axis, Overlap, Parts, Strips};

/// Cuts of a value along some of its axes. The tiles are the products of the parts along each axis, in
/// row-major order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grid {
    /// The cut axes, each with its parts in ascending order, which cover it without overlap.
    pub axes: Vec<(usize, Vec<Span>)>,
}

impl Grid {
    /// Number of tiles: the product of the numbers of parts.
    pub fn len(&self) -> usize {
        self.axes.iter().map(|a| a.1.len()).product()
    }

    /// Number of parts along each axis.
    pub fn counts(&self) -> Vec<usize> {
        self.axes.iter().map(|a| a.1.len()).collect()
    }

    /// Whether the grid has no tiles.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions of the tiles in row-major order, an index for each axis of the grid.
    pub fn tiles(&self) -> Vec<Vec<usize>> {
        let mut all = vec![vec![]];
        for (_, spans) in &self.axes {
            let longer = |t: Vec<usize>| {
                (0..spans.len()).map(move |i| t.iter().copied().chain([i]).collect::<Vec<_>>())
            };
            all = all.into_iter().flat_map(longer).collect();
        }
        all
    }
}

/// What happens where the regions that tiles need overlap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reuse {
    /// Every tile computes the overlap again.
    Recompute,
    /// Along the first axis of the grid a tile keeps the last rows of every value for the next
    /// one, as line buffers do; nothing is computed twice along that axis.
    Rows,
    /// Along every axis of the grid what neighbours need is kept, so that nothing is computed
    /// twice.
    All,
    /// Every other tile, as on a chess board, computes all it needs; the tiles between them take
    /// over what those computed (Zhao et al., "DeepThings", TCAD 2018).
    Checkerboard,
    /// Every tile computes its own share of every value and hands its neighbours what they need of
    /// it; all tiles do a node before any does the next one (Mao et al., "MoDNN", DATE 2017).
    Exchange,
}

impl Reuse {
    /// Every kind of reuse.
    pub const ALL: [Self; 5] =
        [Self::Recompute, Self::Rows, Self::All, Self::Checkerboard, Self::Exchange];

    /// Name of the kind in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recompute => "recompute",
            Self::Rows => "rows",
            Self::All => "all",
            Self::Checkerboard => "checkerboard",
            Self::Exchange => "exchange",
        }
    }
}

impl std::fmt::Display for Reuse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A part that one tile computes and another one takes over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Strip {
    /// Axis of the grid along which the tiles are neighbours.
    pub level: usize,
    /// Axis of the value.
    pub axis: usize,
    /// The tile that hands it over.
    pub from: Vec<usize>,
    /// What is handed over.
    pub region: Region,
    /// Whether it lies after what the taking tile computes.
    pub after: bool,
}

/// The spans of a group's values along one axis of a grid.
#[derive(Clone, Debug)]
pub(super) struct Spread {
    /// Of tiles that are on their own, or keep what the next one needs.
    pub axis: Arc<Axis>,
    /// Of tiles that take over from both neighbours, where there are such.
    pub between: Option<Arc<Axis>>,
}

impl Spread {
    /// # Errors
    /// With the node and the reason, if a part cannot be computed exactly.
    pub fn new(
        table: &Table,
        outputs: &[ValueId],
        (axis, parts): (usize, &[Span]),
        level: usize,
        reuse: Reuse,
    ) -> Result<Self, (NodeId, Barrier)> {
        let along = |o: Overlap<'_>| spans::along(table, outputs, axis, parts, o, &even(axis));
        let keep = reuse == Reuse::All || reuse == Reuse::Rows && level == 0;
        let own = along(match reuse {
            Reuse::Exchange => Overlap::Exchange,
            _ if keep => Overlap::Keep,
            _ => Overlap::Recompute,
        })?;
        let between = match reuse {
            Reuse::Checkerboard => Some(Arc::new(along(Overlap::Between(&own))?)),
            _ => None,
        };
        Ok(Self { axis: Arc::new(own), between })
    }
}

/// The parts of a group's values under a grid.
#[derive(Clone, Debug)]
pub(super) struct TileLayout {
    pub table: Arc<Table>,
    pub grid: Grid,
    /// Along each axis of the grid.
    axes: Vec<Spread>,
}

impl TileLayout {
    pub fn new(table: Arc<Table>, grid: Grid, axes: Vec<Spread>) -> Self {
        Self { table, grid, axes }
    }

    /// Whether a tile takes over from all its neighbours.
    pub(crate) fn is_between(&self, tile: &[usize]) -> bool {
        let between = self.axes.iter().any(|a| a.between.is_some());
        between && tile.iter().sum::<usize>() % 2 == 1
    }

    /// The tiles in the order in which they run.
    pub fn order(&self) -> Vec<Vec<usize>> {
        let mut all = self.grid.tiles();
        all.sort_by_key(|t| self.is_between(t));
        all
    }

    /// The spans that hold for a tile, an axis of the grid each.
    pub fn spans(&self, tile: &[usize]) -> impl Iterator<Item = &Axis> {
        let between = self.is_between(tile);
        self.axes.iter().map(move |a| match &a.between {
            Some(b) if between => &**b,
            _ => &*a.axis,
        })
    }

    /// The spans along all axes, of tiles that are on their own and of those that are not.
    pub fn axes(&self) -> (Vec<&Axis>, Option<Vec<&Axis>>) {
        let between = self.axes.iter().map(|a| a.between.as_deref()).collect();
        (self.axes.iter().map(|a| &*a.axis).collect(), between)
    }

    fn product<'a>(
        &'a self,
        made: &GroupValue,
        tile: &[usize],
        of: impl Fn(usize, &'a Strips) -> Span,
    ) -> Result<Option<Region>, Barrier> {
        let mut region = vec![None; made.extents.len()];
        for (k, axis) in self.spans(tile).enumerate() {
            let s = match &axis.values[made.id] {
                Parts::Unread => return Ok(None),
                Parts::Whole => continue,
                Parts::Strips(s) => s,
            };
            let span = of(k, s);
            if span.is_empty() {
                return Ok(None);
            }
            if region[s.axis].is_some() {
                return Err(Barrier("two axes of the grid become one axis here".into()));
            }
            // Also where it is all of the axis: what such a part needs of an operand may be less
            // than the whole, and the spans were found so.
            region[s.axis] = Some(span);
        }
        Ok(Some(region))
    }

    /// Whether every part needs all of a value along all axes, so that it is computed once.
    pub(crate) fn is_shared(&self, made: &GroupValue, tile: &[usize]) -> bool {
        self.spans(tile).all(|a| a.values[made.id] == Parts::Whole)
    }

    /// The region of a value that a tile needs; `None` if it needs none.
    pub fn need(&self, made: &GroupValue, tile: &[usize]) -> Result<Option<Region>, Barrier> {
        self.product(made, tile, |k, s| s.need[tile[k]])
    }

    /// The region of a value that a tile computes rather than takes over; `None` if it computes none.
    pub(crate) fn computed_here(
        &self,
        made: &GroupValue,
        tile: &[usize],
    ) -> Result<Option<Region>, Barrier> {
        self.product(made, tile, |k, s| s.computed[tile[k]])
    }

    /// The region of a group's output that a tile contributes; `None` if it contributes none.
    pub(crate) fn output_share(
        &self,
        made: &GroupValue,
        tile: &[usize],
    ) -> Result<Option<Region>, Barrier> {
        self.product(made, tile, |k, s| s.share[tile[k]])
    }

    /// The axes of an output that the grid cuts, with the numbers of their parts, by axis of the
    /// grid.
    pub fn cuts(&self, made: &GroupValue) -> Vec<Option<(usize, usize)>> {
        let cut = |a: &Spread| a.axis.get(made.id).map(|s| (s.axis, s.need.len()));
        self.axes.iter().map(cut).collect()
    }

    /// What a tile takes over of a value, the first axis of the grid first: strips along an axis
    /// span what the tile needs along the axes before it, and what it computes along those after.
    pub fn strips(&self, made: &GroupValue, tile: &[usize]) -> Result<Vec<Strip>, Barrier> {
        let mut all = Vec::new();
        for (level, axis) in self.spans(tile).enumerate() {
            let Some(s) = axis.get(made.id) else { continue };
            let (need, computed) = (s.need[tile[level]], s.computed[tile[level]]);
            let sides = [
                (Span::new(need.lo, computed.lo), tile[level].checked_sub(1), false),
                (Span::new(computed.hi, need.hi), Some(tile[level] + 1), true),
            ];
            for (span, neighbour, after) in sides {
                if need.is_empty() || span.is_empty() {
                    continue;
                }
                let Some(neighbour) = neighbour.filter(|&i| i < axis.parts) else {
                    return Err(Barrier("a tile lacks a neighbour to take over from".into()));
                };
                let mut from = tile.to_vec();
                from[level] = neighbour;
                let region = self.product(made, tile, |k, s| match k.cmp(&level) {
                    std::cmp::Ordering::Less => s.need[tile[k]],
                    std::cmp::Ordering::Equal => span,
                    std::cmp::Ordering::Greater => s.computed[tile[k]],
                })?;
                if let Some(region) = region {
                    all.push(Strip { level, axis: s.axis, from, region, after });
                }
            }
        }
        Ok(all)
    }
}

/// Outputs that nothing else divides are cut evenly along the same axis.
fn even(axis: usize) -> impl Fn(&GroupValue, usize) -> Result<Vec<Span>, Barrier> {
    move |made, count| {
        let Some(Some(n)) = made.extents.get(axis) else {
            return Err(Barrier("another output of the group has no such axis".into()));
        };
        Ok(parts::even(*n, count as i64, 1, false)?)
    }
}

/// The layout of a group of the graph.
///
/// # Errors
/// With the node and the reason, if a part cannot be computed exactly.
pub(super) fn layout(
    graph: &Graph,
    group: &Group,
    grid: &Grid,
    reuse: Reuse,
) -> Result<TileLayout, (NodeId, Barrier)> {
    let table = Table::new(graph, &group.nodes);
    let mut axes = Vec::new();
    for (level, (axis, parts)) in grid.axes.iter().enumerate() {
        axes.push(Spread::new(&table, &group.outputs, (*axis, parts), level, reuse)?);
    }
    Ok(TileLayout::new(Arc::new(table), grid.clone(), axes))
}
