//! The regions that each tile of a group reads, computes and hands on, without building it.

use std::collections::HashSet;

use graph_opt_ir::region::{self, Barrier, Need, Region};
use graph_opt_ir::{Graph, NodeId, ValueId};

use super::build::{jobs, operands};
use super::grid::layout;
use super::{Grid, Group, Reuse};
use crate::analysis::node_macs;

/// What one tile of a group reads, computes and takes over.
#[derive(Clone, Debug, Default)]
pub struct TileNeeds {
    /// Position in the grid, an index for each of its axes.
    pub position: Vec<usize>,
    /// Regions of values from outside, without constants: the hull of what the tile's nodes read.
    pub inputs: Vec<(ValueId, Region)>,
    /// Regions of the group's values that the tile needs, in the order of the schedule.
    pub values: Vec<(ValueId, Region)>,
    /// Regions of them that it computes; values that it takes over whole are left out.
    pub computed: Vec<(ValueId, Region)>,
    /// Regions that it takes over from other tiles.
    pub taken: Vec<(ValueId, Region)>,
    /// Multiply-accumulates of what the tile computes.
    pub macs: u64,
}

impl TileNeeds {
    /// The region of a value that the tile needs, from inside or outside.
    pub fn region(&self, v: ValueId) -> Option<&Region> {
        self.inputs.iter().chain(&self.values).find(|(w, _)| *w == v).map(|(_, r)| r)
    }
}

/// Bytes of a region of a value; `None` if its type or an extent is unknown.
pub fn region_bytes(graph: &Graph, v: ValueId, region: &Region) -> Option<u64> {
    let ty = &graph.value(v).ty;
    let extents = region::extents(region, ty.dims()?);
    let n = extents.into_iter().try_fold(1u64, |n, e| n.checked_mul(u64::try_from(e?).ok()?))?;
    ty.dtype()?.bytes_of(n)
}

/// The tiles of a group in the order in which they run, without the values that all tiles need whole,
/// which are computed once.
///
/// # Errors
/// With the node and the reason, if a part cannot be computed exactly.
pub fn survey(
    graph: &Graph,
    group: &Group,
    grid: &Grid,
    reuse: Reuse,
) -> Result<Vec<TileNeeds>, (NodeId, Barrier)> {
    let layout = layout(graph, group, grid, reuse)?;
    let order = layout.order();
    let (jobs, _) = jobs(graph, &layout, &order)?;
    let position = |t: &Vec<usize>| TileNeeds { position: t.clone(), ..TileNeeds::default() };
    let mut tiles: Vec<TileNeeds> = order.iter().map(position).collect();
    let inputs = group.inputs(graph);
    // A node that computes several results does so once.
    let steps = layout.table.steps.iter();
    let first: HashSet<usize> = steps.filter_map(|s| Some(s.results.first()?.id)).collect();
    for job in &jobs {
        let fail = |b: Barrier| (job.node, b);
        let tile = &mut tiles[job.tile];
        let v = job.made.value;
        tile.values.push((v, job.need.clone()));
        let strips = layout.strips(job.made, &order[job.tile]).map_err(fail)?;
        tile.taken.extend(strips.into_iter().map(|s| (v, s.region)));
        let Some((region, t)) = &job.computed else { continue };
        tile.computed.push((v, region.clone()));
        if let Some(macs) = node_macs(graph, job.node).filter(|_| first.contains(&job.made.id)) {
            let size = |r: &Region| region_bytes(graph, v, r).unwrap_or(0);
            let whole = size(&vec![None; region.len()]).max(1);
            tile.macs += (u128::from(macs) * u128::from(size(region)) / u128::from(whole)) as u64;
        }
        for (x, need) in operands(graph, job.node, t) {
            let (Some(x), Need::Region(r)) = (x, need) else { continue };
            if inputs.contains(&x) {
                match tile.inputs.iter_mut().find(|(w, _)| *w == x) {
                    Some((_, have)) => *have = region::hull(have, r),
                    None => tile.inputs.push((x, r.clone())),
                }
            }
        }
    }
    Ok(tiles)
}
