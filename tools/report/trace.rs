//! What a pipeline does, recorded while it runs.

use std::cell::RefCell;
use std::collections::HashMap;

use graph_opt_ir::{Graph, NodeId};
use graph_opt_passes::{Data, Remark, Runner};

use super::tiles::{self, TilingPicture};
use crate::explain::Made;

/// The edits of a run, and the tiles that they made.
pub struct Trace {
    state: RefCell<State>,
}

struct State {
    recorded: Recorded,
    /// The graph as it was before the pass that runs.
    last: Graph,
}

/// What was recorded.
#[derive(Default)]
pub struct Recorded {
    /// The edits, in order.
    pub edits: Vec<Made>,
    /// The number of the edit that made each node of the main graph.
    pub made_by: HashMap<NodeId, usize>,
    /// The groups that run in tiles.
    pub tilings: Vec<TilingPicture>,
}

impl Trace {
    /// Of a run that begins with this graph.
    pub fn of(graph: &Graph) -> Self {
        let recorded = Recorded::default();
        Self { state: RefCell::new(State { recorded, last: graph.clone() }) }
    }

    /// Records what the runner does. `sized` gives the graph with the extents that are assumed.
    pub fn watch<'a>(
        &'a self,
        runner: Runner<'a>,
        sized: &'a dyn Fn(&Graph) -> Option<Graph>,
    ) -> Runner<'a> {
        runner
            .observe(Box::new(|_, e| {
                let recorded = &mut self.state.borrow_mut().recorded;
                if e.scope.is_empty() {
                    recorded.made_by.extend(e.nodes.iter().map(|&n| (n, e.number)));
                }
                recorded.edits.push(Made::of(e));
                Ok(())
            }))
            .after_pass(Box::new(|g, run| {
                let state = &mut *self.state.borrow_mut();
                state.recorded.tilings.extend(tilings(&state.last, run.remarks, sized));
                state.last = g.clone();
            }))
    }

    /// What has been recorded.
    pub fn recorded(self) -> Recorded {
        self.state.into_inner().recorded
    }
}

/// The groups that a pass tiled in the graph before it, by what it said. `sized` gives the graph with the extents
/// that are assumed.
pub fn tilings(
    before: &Graph,
    said: &[Remark],
    sized: &dyn Fn(&Graph) -> Option<Graph>,
) -> Vec<TilingPicture> {
    let mut known = None;
    let of = |r: &Remark| {
        let (Data::Tiles(tiled) | Data::Parts { tiled: Some(tiled), .. }) = &r.data else {
            return None;
        };
        let graph = known.get_or_insert_with(|| sized(before)).as_ref().unwrap_or(before);
        tiles::picture(graph, &r.pass, tiled)
    };
    said.iter().filter_map(of).collect()
}
