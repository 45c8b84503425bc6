//! Whether a guess, tiled again, gives the very tiles that are there.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::op::Op;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::structural_eq::modelled;
use graph_opt_ir::{Editor, Graph, Span, Tensor, ValueId, layout_params};

use super::guess::Guess;
use crate::tile::{Grid, Group, Reuse, build, slices};

impl Guess<'_> {
    /// Tiles the guess and compares the result with the tiles that are there; `None` if they differ.
    pub fn check(&self, output: ValueId, result: ValueId, grid: &Grid) -> Option<()> {
        let mut builder = self.builder.graph().clone();
        if builder.value(result).ty.extents() != self.graph.value(output).ty.extents() {
            return None;
        }
        let group = Group { nodes: builder.schedule().collect(), outputs: vec![result] };
        let edit = build::tile_group(&builder, &group, grid, Reuse::Recompute, "untile").ok()?;
        Editor::new(&mut builder).apply(&edit).ok()?;
        let mut compare = Compare {
            actual: self.graph,
            tiled: &builder,
            stands_for: &self.stands_for,
            done: HashSet::new(),
        };
        compare.same(output, result).then_some(())
    }
}

/// Compares the tiles of a graph with those of a tiled guess.
struct Compare<'a> {
    actual: &'a Graph,
    tiled: &'a Graph,
    stands_for: &'a HashMap<ValueId, ValueId>,
    done: HashSet<(ValueId, ValueId)>,
}

impl Compare<'_> {
    fn same(&mut self, a: ValueId, t: ValueId) -> bool {
        if self.stands_for.get(&t) == Some(&a) || self.done.contains(&(a, t)) {
            return true;
        }
        let same = match (self.actual.constant(a), self.tiled.constant(t)) {
            (Some(p), Some(q)) => p == q,
            // A constant that others read too is sliced by a node.
            (None, Some(q)) => self.sliced_constant(a).is_some_and(|p| p == *q),
            (_, None) => self.same_nodes(a, t),
        };
        if same {
            self.done.insert((a, t));
        }
        same
    }

    fn sliced_constant(&self, a: ValueId) -> Option<Tensor> {
        let p = self.actual.producer(a)?;
        let source = self.actual.constant(self.actual.node(p).inputs.first().copied()??)?;
        let taken = layout_params::slices(&OpCtx::of(self.actual, p)).ok()??;
        let cuts: Vec<(usize, Span)> = taken
            .iter()
            .enumerate()
            .map(|(i, t)| {
                t.filter(|t| t.step == 1).map(|t| (i, Span::new(t.start, t.start + t.count)))
            })
            .collect::<Option<_>>()?;
        slices::slice_tensor(&source, &cuts).ok()
    }

    fn same_nodes(&mut self, a: ValueId, t: ValueId) -> bool {
        let (Some(p), Some(q)) = (self.actual.producer(a), self.tiled.producer(t)) else {
            return false;
        };
        let (m, n) = (self.actual.node(p), self.tiled.node(q));
        let (c, d) = (OpCtx::of(self.actual, p), OpCtx::of(self.tiled, q));
        let operands = match (&m.op, &n.op) {
            (Op::Slice(_), Op::Slice(_)) => {
                if layout_params::slices(&c) != layout_params::slices(&d) {
                    return false;
                }
                1
            }
            _ if c.is_random()
                || !m.captures.is_empty()
                || modelled(&c, &m.extra) != modelled(&d, &n.extra)
                || m.inputs.len() != n.inputs.len() =>
            {
                return false;
            }
            _ => m.inputs.len(),
        };
        let pairs: Vec<_> =
            m.inputs.iter().copied().zip(n.inputs.iter().copied()).take(operands).collect();
        pairs.into_iter().all(|pair| match pair {
            (None, None) => true,
            (Some(a), Some(t)) => self.same(a, t),
            _ => false,
        })
    }
}
