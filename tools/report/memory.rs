//! Memory as it is drawn: live bytes over the schedule, and where buffers lie.

use graph_opt_ir::Graph;
use graph_opt_passes::analysis::{Interpreter, MemoryModel, plan_for};
use schemars::JsonSchema;
use serde::Serialize;

use super::graph::Index;

/// Live bytes over the schedule of a graph, and its buffers.
#[derive(Serialize, JsonSchema)]
pub struct MemoryPicture {
    /// Position of the graph.
    pub graph: usize,
    /// The memory model.
    pub runtime: String,
    /// The nodes that run, in order; `null` for those that are not drawn.
    pub steps: Vec<Option<usize>>,
    /// Bytes that are live at each step.
    pub timeline: Vec<u64>,
    /// The most of them.
    pub peak_bytes: u64,
    /// The first step at the peak.
    pub peak_step: usize,
    /// Size of an arena that holds all buffers at their offsets, in bytes.
    pub arena_bytes: u64,
    /// The buffers; empty for a runtime whose allocations are simulated as a whole.
    pub buffers: Vec<BufferRow>,
}

/// Storage of one value, or of several.
#[derive(Serialize, JsonSchema)]
pub struct BufferRow {
    /// Its size.
    pub bytes: u64,
    /// Where it lies in the arena, in bytes.
    pub offset: u64,
    /// The step that it is first needed at.
    pub from: usize,
    /// The last step that it is needed at.
    pub to: usize,
    /// The values in it.
    pub values: Vec<usize>,
}

/// The memory of a graph in this runtime; where that has no buffers, also in the interpreter, which has.
/// Nothing where sizes are unknown.
pub fn pictures(
    graph: &Graph,
    at: usize,
    model: &dyn MemoryModel,
    index: &Index,
) -> Vec<MemoryPicture> {
    let mut all: Vec<MemoryPicture> = picture(graph, at, model, index).into_iter().collect();
    if all.iter().any(|p| p.buffers.is_empty()) {
        all.extend(picture(graph, at, &Interpreter, index));
    }
    all
}

fn picture(
    graph: &Graph,
    at: usize,
    model: &dyn MemoryModel,
    index: &Index,
) -> Option<MemoryPicture> {
    let plan = plan_for(graph, model).ok()?;
    let row = |b: &graph_opt_passes::analysis::Buffer| BufferRow {
        bytes: b.bytes,
        offset: b.offset,
        from: b.from,
        to: b.to,
        values: Vec::new(),
    };
    let mut buffers: Vec<BufferRow> = plan.buffers.iter().map(row).collect();
    for (v, _) in graph.values() {
        if let (Some(place), Some(&i)) = (plan.place(v), index.values.get(&v)) {
            buffers[place.buffer].values.push(i);
        }
    }
    Some(MemoryPicture {
        graph: at,
        runtime: model.name().to_owned(),
        steps: plan.steps.iter().map(|n| index.nodes.get(n).copied()).collect(),
        timeline: plan.timeline,
        peak_bytes: plan.peak,
        peak_step: plan.at,
        arena_bytes: plan.arena,
        buffers,
    })
}
