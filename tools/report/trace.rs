//! What a pipeline does, recorded while it runs.

use std::cell::RefCell;
use std::collections::HashMap;

use graph_opt_ir::{Graph, NodeId};
use graph_opt_passes::{Data, Runner};

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
                let mut known = None;
                for r in run.remarks {
                    let (Data::Tiles(tiled) | Data::Parts { tiled: Some(tiled), .. }) = &r.data
                    else {
                        continue;
                    };
                    let before = known.get_or_insert_with(|| sized(&state.last));
                    let before = before.as_ref().unwrap_or(&state.last);
                    let picture = tiles::picture(before, &r.pass, tiled);
                    state.recorded.tilings.extend(picture);
                }
                state.last = g.clone();
            }))
    }

    /// What was recorded.
    pub fn recorded(self) -> Recorded {
        self.state.into_inner().recorded
    }
}
