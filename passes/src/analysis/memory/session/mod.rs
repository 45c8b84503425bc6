//! What an ONNX Runtime session with its default options takes: its own order of the nodes, all
//! optimisations of the graph, buffers that are handed on to values of the same extents, an arena, and
//! one block for all buffers from the second run on.
//!
//! `fused` says which nodes are executed and in which order, this file which values share buffers, and
//! `arena` where these lie. As in ONNX Runtime 1.31 on x86 with one thread; from its sources
//! (`allocation_planner.cc`, `bfc_arena.cc`, `mem_pattern_planner.h`, `nchwc_transformer.cc`) and
//! measurements (`tests/python/memory.py`).

mod arena;
mod fused;

use std::collections::HashMap;

use graph_opt_ir::{Graph, NodeId};

use super::UnknownSize;
use arena::{Arena, Pattern};
use fused::{Fused, NARROW, Storage, WIDE};

/// The memory of a runtime that orders and allocates by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Session {
    /// The nodes that are executed, in this order; of nodes that are fused, the first.
    pub steps: Vec<NodeId>,
    /// Bytes of the buffers that are held while each node runs.
    pub timeline: Vec<u64>,
    /// Bytes that the process grows by, up to the steady state.
    pub growth: u64,
}

/// Bytes that ONNX Runtime keeps of each node beside its buffers: a trace of its allocations shows 33 and 43 in small
/// blocks at the peak of plans of 829 and 1,774 nodes.
pub(super) const RECORDS: u64 = 40;

/// The session of ONNX Runtime with its default options, on the processor of those with blocks of different sizes where
/// it takes most.
///
/// # Errors
/// If the size of a value is not known.
pub(super) fn of(graph: &Graph) -> Result<Session, UnknownSize> {
    let wide = run(&fused::of(graph, WIDE)?);
    if !fused::block_matters(graph) {
        return Ok(wide);
    }
    let narrow = run(&fused::of(graph, NARROW)?);
    Ok(if narrow.growth > wide.growth { narrow } else { wide })
}

/// What a process takes that runs these nodes.
fn run(fused: &Fused) -> Session {
    let owner = owners(fused);
    let Fused { steps, tensors } = fused;
    let mut last = vec![None; tensors.len()];
    for (i, s) in steps.iter().enumerate() {
        s.reads.iter().chain(&s.makes).for_each(|&t| last[owner[t]] = Some(i));
    }
    let mut dying: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (t, at) in last.iter().enumerate() {
        if let (Some(at), Storage::Buffer) = (at, tensors[t].storage) {
            dying[*at].push(t);
        }
    }
    let (mut arena, mut pattern) = (Arena::new(), Pattern::default());
    let mut at: Vec<Option<u64>> = vec![None; tensors.len()];
    let (mut live, mut timeline) = (0, Vec::with_capacity(steps.len()));
    // The first run takes each buffer for itself, and records the pattern.
    for (s, dying) in steps.iter().zip(&dying) {
        for &t in s.makes.iter().filter(|&&t| owner[t] == t) {
            let bytes = tensors[t].bytes;
            at[t] = arena.take(bytes);
            live += bytes;
            if tensors[t].storage == Storage::Buffer {
                pattern.take(t, bytes);
            }
        }
        timeline.push(live + s.workspace);
        if let Some(a) = arena.take(s.workspace) {
            arena.give(a);
        }
        for &t in dying {
            live -= tensors[t].bytes;
            pattern.give(t);
            at[t].take().into_iter().for_each(|a| arena.give(a));
        }
    }
    // The caller drops the outputs.
    at.iter_mut().filter_map(Option::take).for_each(|a| arena.give(a));
    // Later runs take one block, and what is not in it.
    arena.take(pattern.bytes);
    for s in steps {
        for &t in s.makes.iter().filter(|&&t| tensors[t].storage == Storage::Output) {
            arena.take(tensors[t].bytes);
        }
        if let Some(a) = arena.take(s.workspace) {
            arena.give(a);
        }
    }
    let growth = arena.touched() + RECORDS * steps.len() as u64;
    Session { steps: steps.iter().map(|s| s.node).collect(), timeline, growth }
}

/// The value whose buffer each value stands in: that of an operand that it is a view of or may overwrite,
/// or that of a dead value of the same extents, the last one to die first.
fn owners(fused: &Fused) -> Vec<usize> {
    let Fused { steps, tensors } = fused;
    let mut owner: Vec<usize> = (0..tensors.len()).collect();
    // Definitions and readers that are still to come, of all values in the same buffer.
    let mut users = vec![0usize; tensors.len()];
    for s in steps {
        s.reads.iter().chain(&s.makes).for_each(|&t| users[t] += 1);
    }
    for (t, users) in tensors.iter().zip(&mut users) {
        *users += usize::from(t.storage != Storage::Buffer);
    }
    let key = |t: usize| tensors[t].extents.as_deref().map(|e| (e, tensors[t].bytes));
    let alike = |a: usize, b: usize| key(a).is_some() && key(a) == key(b);
    // Buffers of dead values by their extents, the last one to die at the end.
    let mut free: HashMap<(&[u64], u64), Vec<usize>> = HashMap::new();
    for s in steps {
        for (i, &t) in s.makes.iter().enumerate() {
            if tensors[t].storage != Storage::Buffer {
                continue;
            }
            let ranked = key(t).filter(|(extents, _)| !extents.is_empty());
            let over = s.over.iter().find(|&&x| i == 0 && users[owner[x]] == 1 && alike(x, t));
            let from = if s.view && i == 0 {
                s.reads.first().copied()
            } else {
                let dead = || ranked.and_then(|k| free.get_mut(&k)?.pop());
                over.copied().or_else(dead)
            };
            if let Some(x) = from {
                owner[t] = owner[x];
                users[owner[t]] += users[t];
            }
        }
        for &t in s.reads.iter().chain(&s.makes) {
            let t = owner[t];
            users[t] -= 1;
            if let (0, Storage::Buffer, Some(k)) = (users[t], tensors[t].storage, key(t)) {
                free.entry(k).or_default().push(t);
            }
        }
    }
    owner
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use graph_opt_ir::text;

    use super::super::{OnnxRuntimeDefault, plan_for};
    use super::*;
    use crate::Runner;
    use crate::pipeline::Pipeline;

    const MIB: u64 = 1 << 20;

    fn session(of_text: &str) -> Session {
        of(&text::parse(of_text).unwrap()).unwrap()
    }

    #[test]
    fn later_runs_take_a_block_for_all_buffers() {
        // Two Exp in one buffer, of 4 MiB; the output is another one.
        let s = session(
            "graph @main(%x: f32[1024,1024]) -> (%y) opset 13 {
               %a = Exp %x : f32[1024,1024]
               %b = Exp %a : f32[1024,1024]
               %y = ReduceMax %b {axes=[0]} : f32[1,1024]
             }",
        );
        assert_eq!(s.timeline, [4 * MIB, 4 * MIB, 4 * MIB + 4096]);
        // Two regions of 4 MiB: one for the buffer, and the lower one for the output. The block takes the
        // lower one of those that are large enough.
        assert_eq!(s.growth, 8 * MIB + 3 * RECORDS);
    }

    /// Slices of a value of 4 MiB, which are joined to one of the same extents.
    const SLICES: &str = "graph @main(%x: f32[1048576]) -> (%y) opset 13 {
        %a = Exp %x : f32[1048576]
        %b = Slice %a [0: 4..524292] : f32[524288]
        %c = Slice %b [0: 8..262152] : f32[262144]
        %d = Concat %c, %c, %c, %c {axis=0} : f32[1048576]
        %y = Slice %d [0: 0..1] : f32[1]
    }";

    #[test]
    fn buffers_wait_for_values_of_the_same_extents() {
        let s = session(SLICES);
        assert_eq!(s.timeline, [4 * MIB, 6 * MIB, 7 * MIB, 5 * MIB, 4 * MIB + 4]);
    }

    #[test]
    fn hidden_extents_let_buffers_go() {
        let mut graph = text::parse(SLICES).unwrap();
        let pipeline = Pipeline::parse("hide-extents").unwrap();
        Runner::default().run(&mut graph, &pipeline).unwrap();
        // The types are known as before.
        let memory = plan_for(&graph, &OnnxRuntimeDefault).unwrap();
        let steps = memory.steps.iter().zip(&memory.timeline);
        let large = steps.filter(|(n, _)| !graph.label(**n).contains("starts"));
        let live: Vec<u64> = large.map(|(_, &bytes)| bytes / MIB).collect();
        assert_eq!(live, [4, 6, 3, 5, 4]);
    }

    #[test]
    fn the_newest_operand_is_computed_first() {
        let graph = text::parse(
            "graph @main(%x: f32[4]) -> (%y) opset 13 {
               %a = Exp %x : f32[4] ; a
               %b = Log %x : f32[4] ; b
               %c = Neg %a : f32[4] ; c
               %y = Concat %c, %b {axis=0} : f32[8] ; y
             }",
        )
        .unwrap();
        let s = of(&graph).unwrap();
        let labels: Vec<&str> = s.steps.iter().map(|&n| graph.label(n)).collect();
        assert_eq!(labels, ["a", "c", "b", "y"]);
    }

    #[test]
    fn convolutions_that_were_fused_last_are_computed_first() {
        // Convolutions without constant weights stay out of blocks. %d is computed, and so fused, before %b.
        let graph = text::parse(
            "graph @main(%x: f32[1,4,8,8], %w: f32[4,4,1,1]) -> (%y) opset 13 {
               %a = Conv %x, %w           : f32[1,4,8,8] ; a
               %b = Relu %a               : f32[1,4,8,8]
               %c = Conv %x, %w           : f32[1,4,8,8] ; c
               %d = Relu %c               : f32[1,4,8,8]
               %y = Concat %b, %d {axis=1} : f32[1,8,8,8] ; y
             }",
        )
        .unwrap();
        let s = of(&graph).unwrap();
        let labels: Vec<&str> = s.steps.iter().map(|&n| graph.label(n)).collect();
        assert_eq!(labels, ["a", "c", "y"]);
    }

    #[test]
    fn the_processor_that_takes_more_counts() {
        let graph = |channels: u64| {
            text::parse(&format!(
                "graph @main(%x: f32[1,3,64,64]) -> (%y) opset 13 {{
                   %w = const random(1) : f32[{channels},3,1,1]
                   %a = Conv %x, %w     : f32[1,{channels},64,64]
                   %b = MaxPool %a {{kernel_shape=[2,2], strides=[2,2]}} : f32[1,{channels},32,32]
                   %y = ReduceMax %b {{axes=[2]}} : f32[1,{channels},1,32]
                 }}"
            ))
            .unwrap()
        };
        let growth = |g: &Graph, block| run(&fused::of(g, block).unwrap()).growth;
        // 24 channels are 3 blocks of 8, or fill up 2 of 16, and then the pool needs a copy without blocks.
        let g = graph(24);
        assert_ne!(growth(&g, NARROW), growth(&g, WIDE));
        assert_eq!(of(&g).unwrap().growth, growth(&g, NARROW).max(growth(&g, WIDE)));
        let g = graph(32);
        assert!(!fused::block_matters(&g));
        assert_eq!(growth(&g, NARROW), growth(&g, WIDE));
    }

    #[test]
    fn blocks_of_channels_are_filled_up() {
        // 20 channels take 32; the reordered copy that is the output has 20.
        let s = session(
            "graph @main(%x: f32[1,3,64,64]) -> (%y) opset 13 {
               %w = const random(1) : f32[20,3,1,1]
               %a = Conv %x, %w     : f32[1,20,64,64]
               %y = Relu %a         : f32[1,20,64,64]
             }",
        );
        assert_eq!(s.timeline, [32 * 64 * 64 * 4, 52 * 64 * 64 * 4]);
    }
}
