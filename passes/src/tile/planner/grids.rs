//! Which grids of a group are tried, with the estimated cost of each.

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::{Graph, NodeId, Span};

use super::Limits;
use crate::tile::cost_model::{Candidate, GroupCost};
use crate::tile::grid::{Spread, TileLayout};
use crate::tile::{Grid, Reuse, parts};

/// The grids of a group that no other one dominates. An error holds the node that cannot be divided
/// and the reason; it holds nothing if tiling the group cannot pay.
pub(super) type Grids = Result<Arc<Vec<GridCandidate>>, Option<(NodeId, Barrier)>>;

/// Numbers of parts that are tried along the first axis of a grid.
const ROWS: [i64; 12] = [2, 3, 4, 5, 6, 8, 10, 14, 20, 28, 40, 64];
/// Numbers of parts that are tried along the second axis of a grid.
const COLUMNS: [i64; 6] = [2, 3, 4, 5, 6, 8];
/// Numbers of parts that are tried beyond, along one axis on which tiles share nothing, as the rows of queries.
const LONG: [i64; 10] = [96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];
/// Numbers of parts that are tried along each axis in small graphs.
const MORE: [i64; 18] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 24, 28, 38, 48, 64];

/// A grid of a group with its cost: estimated, or measured once a plan with it was built.
#[derive(Clone, Debug)]
pub(super) struct GridCandidate {
    pub cost: GroupCost,
    pub grid: Grid,
    pub reuse: Reuse,
}

/// The grids of a group that no other one with the same reuse dominates. In small graphs more
/// numbers of parts are tried.
///
/// # Errors
/// If the group cannot be divided: with the node and the reason, or with `None` if the extents of its
/// last output are unknown or too small.
pub(super) fn grids(graph: &Graph, c: &Candidate<'_>, limits: &Limits, small: bool) -> Grids {
    let Some(&last) = c.outputs.last() else { return Err(None) };
    let Some(extents) = graph.value(last).ty.extents() else { return Err(None) };
    // Rows and columns of images and matrices; where no halo crosses, channels; the batch.
    let sets: &[&[usize]] = match extents.len() {
        0 => &[],
        1 => &[&[0]],
        2 => &[&[0], &[1]],
        3 => &[&[1], &[2], &[0]],
        4 => &[&[2, 3], &[1], &[0]],
        _ => &[&[3, 4], &[2, 3], &[1], &[0]],
    };
    let mut found: Vec<GridCandidate> = Vec::new();
    let mut barrier = None;
    for &axes in sets {
        // An image of one row has columns only.
        let axes = &axes[usize::from(axes.len() > 1 && extents[axes[0]] < 2)..];
        let mut spreads = Spreads { c, axes, extents: &extents, known: HashMap::new() };
        // Where two parts are possible, so are others.
        let symbolic = |a: &usize| limits.is_symbolic(last, *a);
        if extents[axes[0]] < 2 || axes.iter().any(symbolic) {
            continue;
        }
        match spreads.get(0, 2, Reuse::Recompute) {
            Ok(_) => {
                let shape = Shape { first: axes[0], limits, small };
                shape.grids(&mut spreads, &mut found);
            }
            Err(b) => barrier = barrier.or(Some(b)),
        }
    }
    if found.is_empty() { Err(barrier) } else { Ok(Arc::new(found)) }
}

/// Which grids are tried along one set of axes.
struct Shape<'a> {
    /// Axis of the group's last output that the first axis of the grid cuts.
    first: usize,
    limits: &'a Limits,
    small: bool,
}

impl Shape<'_> {
    /// Numbers of parts to try along an axis of the grid, where the output has this extent.
    fn counts(&self, level: usize, extent: u64) -> impl Iterator<Item = i64> + use<> {
        let all = match level {
            _ if self.small => &MORE[..],
            0 => &ROWS[..],
            _ => &COLUMNS[..],
        };
        let most = (self.limits.tiles as i64).min(extent as i64);
        all.iter().copied().filter(move |&p| p <= most)
    }

    fn grids(&self, spreads: &mut Spreads<'_>, found: &mut Vec<GridCandidate>) {
        let extent = |level: usize| spreads.extents[spreads.axes[level]];
        let plane = spreads.axes.len() > 1;
        let (height, width) = (extent(0), if plane { extent(1) } else { 1 });
        // Only spatial axes have halos that could be kept.
        let kept = |r: &&Reuse| plane || self.first > 1 || **r == Reuse::Recompute;
        for &reuse in self.limits.reuse.iter().filter(kept) {
            for rows in self.counts(0, height) {
                let columns = plane.then(|| self.counts(1, width)).into_iter().flatten();
                let columns = columns.filter(|&w| w <= 2 * rows && rows <= 4 * w);
                let alone = (reuse != Reuse::Checkerboard && reuse != Reuse::All).then_some(1);
                for columns in alone.into_iter().chain(columns) {
                    if rows * columns > self.limits.tiles as i64 {
                        break;
                    }
                    if self.add(spreads, (rows, columns), reuse, found).is_none() {
                        break;
                    }
                }
            }
        }
        self.long(height, spreads, found);
    }

    /// More parts along the first axis, if they are no more work, and as long as they need much less memory.
    fn long(&self, extent: u64, spreads: &mut Spreads<'_>, found: &mut Vec<GridCandidate>) {
        let most = (self.limits.long as i64).min(extent as i64);
        if !self.limits.reuse.contains(&Reuse::Recompute) || most < LONG[0] {
            return;
        }
        let mut cost = |parts: i64| self.add(spreads, (parts, 1), Reuse::Recompute, found);
        let (Some(few), Some(mut before)) = (cost(2), cost(ROWS[ROWS.len() - 1])) else { return };
        for parts in LONG.into_iter().filter(|&p| p <= most) {
            let Some(one) = cost(parts) else { return };
            if one.macs > few.macs || one.peak > before.peak - before.peak / 64 {
                return;
            }
            before = one;
        }
    }

    /// The cost of this grid, which becomes a candidate unless another one dominates it; `None` if the group cannot be
    /// divided so.
    fn add(
        &self,
        spreads: &mut Spreads<'_>,
        (rows, columns): (i64, i64),
        reuse: Reuse,
        found: &mut Vec<GridCandidate>,
    ) -> Option<GroupCost> {
        let c = spreads.c;
        let mut both = vec![spreads.get(0, rows, reuse).ok()?];
        if columns > 1 {
            both.push(spreads.get(1, columns, reuse).ok()?);
        }
        let (grid, spreads) = both.into_iter().unzip();
        let layout = TileLayout::new(Arc::clone(&c.table), Grid { axes: grid }, spreads);
        let cost = c.cost(&layout);
        let rivals = |f: &&GridCandidate| f.reuse == reuse;
        if !found.iter().filter(rivals).any(|f| f.cost.dominates(&cost)) {
            found.retain(|f| f.reuse != reuse || !cost.dominates(&f.cost));
            found.push(GridCandidate { cost, grid: layout.grid, reuse });
        }
        Some(cost)
    }
}

/// The spans of a group along each axis, computed on first use.
struct Spreads<'a> {
    c: &'a Candidate<'a>,
    axes: &'a [usize],
    extents: &'a [u64],
    known: HashMap<(usize, i64, Reuse), Result<Side, (NodeId, Barrier)>>,
}

/// One axis of a grid with its parts, and the spans of the group's values along it.
type Side = ((usize, Vec<Span>), Spread);

impl Spreads<'_> {
    fn get(&mut self, level: usize, count: i64, reuse: Reuse) -> Result<Side, (NodeId, Barrier)> {
        // The reuse along this axis only, so that grids share spans.
        let reuse = match reuse {
            Reuse::Rows if level > 0 => Reuse::Recompute,
            Reuse::All if level == 0 => Reuse::Rows,
            r => r,
        };
        let axis = self.axes[level];
        let (c, n) = (self.c, self.extents[axis] as i64);
        let make = || {
            let last = c.table.steps[c.table.steps.len() - 1].node;
            let spans = parts::even(n, count, 1, false).map_err(|e| (last, e.into()))?;
            let spread = Spread::new(&c.table, &c.outputs, (axis, &spans), level, reuse)?;
            Ok(((axis, spans), spread))
        };
        self.known.entry((level, count, reuse)).or_insert_with(make).clone()
    }
}
