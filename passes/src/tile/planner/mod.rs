//! Chooses which parts of a graph run in tiles, on which grids, and what is kept of overlaps.
//!
//! Dynamic programming over cut points of the schedule, places where few values are live: between
//! two cut points the nodes run untiled, or as one group on one of many grids, each with its peak of
//! live bytes and its work: multiply-accumulates, and where those are equal the estimated cost of
//! starting nodes and of copies. The peak of a plan is the largest peak of its parts, its work is
//! their sum; at each cut point only plans that no other one dominates in both are kept (the Pareto
//! front).
//!
//! `search` is the dynamic programming, `grids` enumerates the grids of one group, `measure` builds
//! plans and corrects the search by their memory plans, `report` is the pass.

mod grids;
mod measure;
mod report;
mod search;

use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::{Graph, NodeId, ValueId};

use super::cost_model::Net;
use super::{Grid, Group, Reuse};
use crate::analysis::memory::{Interpreter, MemoryModel, UnknownSize};

pub use measure::{BuildError, ChosenPlan, TilingError, best, realise};
pub(super) use report::{list, run};
use search::Search;

/// The objective of a plan.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// Minimize the extra work, with a peak of at most this many bytes.
    Memory(u64),
    /// Minimize the peak, with at most this share of extra multiply-accumulates: 0.1 is 10 %.
    ExtraMacs(f64),
}

/// Bounds of the search.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum number of tiles of a group.
    pub tiles: usize,
    /// Maximum number of tiles of a group where tiles share nothing along one axis, so that more of them are no more
    /// work.
    pub long: usize,
    /// The kinds of reuse that are tried. [`Reuse::Checkerboard`] is for parallel devices: on one
    /// device [`Reuse::All`] needs less memory, so that it is not tried by default.
    pub reuse: Vec<Reuse>,
    /// Maximum number of cut points that a group spans.
    pub reach: usize,
    /// The memory model that plans are judged by.
    pub model: Arc<dyn MemoryModel>,
    /// For [`Goal::Memory`]: tile what can be tiled even if some nodes still exceed the budget.
    pub best_effort: bool,
    /// The graph as it is declared, if extents of the planned one are assumed. Axes that are symbolic there
    /// are not cut.
    pub declared: Option<Arc<Graph>>,
}

impl Limits {
    /// Whether the extent of this axis of a value is only assumed.
    fn is_symbolic(&self, v: ValueId, axis: usize) -> bool {
        let declared = self.declared.as_ref().and_then(|g| g.get_value(v)?.ty.dims());
        declared.is_some_and(|d| d.get(axis).is_none_or(|d| d.known().is_none()))
    }
}

impl Default for Limits {
    fn default() -> Self {
        let reuse = vec![Reuse::Recompute, Reuse::Rows, Reuse::All];
        Self {
            tiles: 64,
            long: 2048,
            reuse,
            reach: 40,
            model: Arc::new(Interpreter),
            best_effort: false,
            declared: None,
        }
    }
}

/// A group of nodes that runs in tiles, with its grid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TiledGroup {
    /// The nodes and the values that the tiles are joined to.
    pub group: Group,
    /// The parts of the group's last output.
    pub grid: Grid,
    /// Whether overlaps of tiles are recomputed or kept.
    pub reuse: Reuse,
}

/// Groups that run in tiles, in the order of the schedule, with the estimated cost of the whole graph.
#[derive(Clone, PartialEq, Debug)]
pub struct TilingPlan {
    /// Estimated peak of live activations, in bytes.
    pub peak: u64,
    /// Estimated multiply-accumulates of the graph.
    pub macs: u64,
    /// The groups that run in tiles; they share no nodes.
    pub groups: Vec<TiledGroup>,
}

/// The Pareto front of a graph's plans.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Front {
    /// Plans that no other one dominates in peak and work, the largest peak first.
    pub plans: Vec<TilingPlan>,
    /// Nodes that no group can contain, with the reason.
    pub barriers: Vec<(NodeId, Barrier)>,
}

/// All plans of a graph that no other one dominates by the estimates of the cost model; nothing is
/// built.
///
/// # Errors
/// If the size of a value is unknown.
pub fn front(graph: &Graph, limits: &Limits) -> Result<Front, UnknownSize> {
    let net = Net::new(graph, &*limits.model)?;
    let mut search = Search::new(graph, &net, limits);
    let plans = search.pareto_front();
    Ok(Front { plans, barriers: search.barriers })
}
