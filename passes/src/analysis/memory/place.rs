//! Buffer assignment: which values alias which buffer.
//!
//! Nodes are visited from the last to the first, so that the place of a result is known before those of
//! its operands: a `Concat` *claims* parts of its place for its operands, an elementwise operator claims
//! its place for the operand that it overwrites. A value takes the place claimed for it if its producer
//! can write there and all its readers can read there. Views of earlier values are resolved at the end,
//! from the first node to the last.

use std::collections::HashSet;

use graph_opt_ir::op_context::{OpCtx, axis_of};
use graph_opt_ir::{Graph, NodeId, Op, ValueId, layout_params};

use super::{MemoryModel, Place, UnknownSize, View, counts};

pub(super) struct Placed {
    /// Place of each value, by its index.
    pub places: Vec<Option<Place>>,
    /// Whether each value is a view of an earlier one.
    pub views: Vec<bool>,
    /// Size of each buffer in bytes.
    pub bytes: Vec<u64>,
}

/// How a result may alias the first operand of its node.
#[derive(Clone, Debug)]
pub(crate) enum Alias {
    /// The same elements in the same order, which must be contiguous.
    Reshaped,
    /// The same tensor under another name.
    Same,
    /// A part of the operand, from these indices on.
    Part(Vec<u64>),
}

/// How result `output` of the node may be a view of its first operand.
pub(crate) fn alias(graph: &Graph, id: NodeId, output: usize) -> Option<Alias> {
    let ctx = OpCtx::of(graph, id);
    let alias = match ctx.op {
        _ if ctx.is_identity(output) => Alias::Same,
        Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => Alias::Reshaped,
        Op::Slice(_) => {
            let taken = layout_params::slices(&ctx).ok()??;
            let start = |t: graph_opt_ir::layout_params::Taken| {
                let whole = t.count > 0 && (t.step == 1 || t.count == 1);
                u64::try_from(t.start).ok().filter(|_| whole)
            };
            Alias::Part(taken.into_iter().map(|t| start(t?)).collect::<Option<_>>()?)
        }
        Op::Split(_) => {
            let (axis, sizes) = layout_params::split_sizes(&ctx).ok()??;
            let mut starts = vec![0; ctx.ty(0).rank()?];
            starts[axis] = u64::try_from(sizes[..output].iter().sum::<i64>()).ok()?;
            Alias::Part(starts)
        }
        _ => return None,
    };
    Some(alias)
}

/// A place that a later node reserves for a value.
struct Claim {
    place: Place,
    /// The step that overwrites the place, after which nothing may read the value.
    until: usize,
    by_concat: bool,
}

const NEVER: usize = usize::MAX;

/// Bytes from which on a value is too large for any machine, and for sums of sizes.
const MOST: u64 = 1 << 44;

/// The readers of a value and of all views of it.
#[derive(Clone, Copy, Default)]
struct Readers {
    /// The last step that reads it.
    last: usize,
    /// How many operands of that step do.
    there: u32,
    is_output: bool,
}

struct Assign<'g> {
    graph: &'g Graph,
    model: &'g dyn MemoryModel,
    candidate: &'g Candidate,
    /// Positions in the schedule, by node.
    steps: Vec<usize>,
    counts: Vec<bool>,
    dims: Vec<Vec<u64>>,
    /// The value that a value may be a view of, at the end of the chain; itself if of none.
    root: Vec<ValueId>,
    /// The readers of each root and its views.
    readers: Vec<Readers>,
    /// Whether all readers seen so far can read the value in a strided place.
    tolerant: Vec<bool>,
    /// Values whose storage something takes over through a view of them.
    taken: Vec<bool>,
    claims: Vec<Option<Claim>>,
    /// Values that a `Concat` copies, and that no other one may claim.
    apart: Vec<bool>,
    /// Buffers in which a value may not stand: a `Concat` copies it, or a view of it, into them.
    barred: Vec<Vec<usize>>,
    /// Values that are views, of what and how.
    views: Vec<Option<(ValueId, Alias)>>,
    /// The step that changes what stands in the value's place.
    until: Vec<usize>,
    out: Placed,
}

/// Alternatives that are compared by the peaks of their plans.
#[derive(Clone, Default)]
pub(super) struct Candidate {
    /// `Concat`s that do not work in place.
    pub copying: HashSet<NodeId>,
    /// Whether slices that are outputs of the graph are views, for which all of what they are cut from is
    /// held to the end.
    pub lent: bool,
}

/// Storage for the activations of these nodes.
pub(super) fn assign(
    graph: &Graph,
    steps: &[NodeId],
    candidate: &Candidate,
    model: &dyn MemoryModel,
) -> Result<Placed, UnknownSize> {
    let mut a = Assign::new(graph, steps, candidate, model)?;
    for (step, &id) in steps.iter().enumerate().rev() {
        for (i, v) in graph.node(id).outputs.iter().enumerate() {
            if let Some(v) = *v
                && a.counts[v.index()]
            {
                a.assign_buffer(v, Some((id, i)));
            }
        }
        a.operands(step, id);
    }
    for &v in graph.inputs() {
        let read = a.readers[a.root[v.index()].index()];
        if a.counts[v.index()] && (read.there > 0 || read.is_output) {
            a.assign_buffer(v, None);
        }
    }
    a.resolve(steps);
    Ok(a.out)
}

impl<'g> Assign<'g> {
    fn new(
        graph: &'g Graph,
        steps: &[NodeId],
        candidate: &'g Candidate,
        model: &'g dyn MemoryModel,
    ) -> Result<Self, UnknownSize> {
        let n = graph.value_bound();
        let mut positions = vec![0; graph.node_bound()];
        steps.iter().enumerate().for_each(|(at, s)| positions[s.index()] = at);
        let mut a = Self {
            graph,
            model,
            candidate,
            steps: positions,
            counts: vec![false; n],
            dims: vec![Vec::new(); n],
            root: (0..n).map(ValueId::new).collect(),
            readers: vec![Readers::default(); n],
            tolerant: vec![true; n],
            taken: vec![false; n],
            apart: vec![false; n],
            barred: vec![Vec::new(); n],
            claims: (0..n).map(|_| None).collect(),
            views: vec![None; n],
            until: vec![NEVER; n],
            out: Placed { places: vec![None; n], views: vec![false; n], bytes: Vec::new() },
        };
        let made = steps.iter().flat_map(|&s| graph.node(s).outputs.iter().flatten());
        for &v in graph.inputs().iter().chain(made) {
            if !counts(graph, v) {
                continue;
            }
            let value = graph.value(v);
            let whole = value.ty.dtype().is_some_and(|t| t.bits() > 0);
            let sane = value.ty.bytes().is_some_and(|b| b < MOST);
            let dims = value.ty.extents().filter(|_| whole && sane);
            a.dims[v.index()] = dims.ok_or_else(|| UnknownSize::of(value))?;
            a.counts[v.index()] = true;
            a.readers[v.index()].is_output = value.is_output();
        }
        for (step, &id) in steps.iter().enumerate() {
            let node = graph.node(id);
            for &v in node.inputs.iter().flatten().chain(&node.captures) {
                let r = &mut a.readers[a.root[v.index()].index()];
                r.there = if r.last == step { r.there + 1 } else { 1 };
                r.last = step;
            }
            let Some(Some(x)) = node.inputs.first().copied() else { continue };
            for (i, v) in node.outputs.iter().enumerate() {
                let Some(v) = v.filter(|v| a.counts[v.index()] && a.counts[x.index()]) else {
                    continue;
                };
                if a.alias(id, i).is_some() {
                    let root = a.root[x.index()];
                    a.root[v.index()] = root;
                    a.readers[root.index()].is_output |= graph.value(v).is_output();
                }
            }
        }
        Ok(a)
    }

    fn alias(&self, id: NodeId, output: usize) -> Option<Alias> {
        let x = self.graph.node(id).inputs.first().copied()??;
        let whole = self.graph.value(x).ty.dtype()?.bits().is_multiple_of(8);
        if !whole || !self.counts[x.index()] {
            return None;
        }
        alias(self.graph, id, output).filter(|a| match a {
            Alias::Part(_) => self.model.shares_parts(),
            Alias::Reshaped | Alias::Same => self.model.shares_reshaped(),
        })
    }

    /// A new buffer for the value.
    fn own(&mut self, v: ValueId) -> Place {
        self.out.bytes.push(self.graph.value(v).ty.bytes().unwrap_or(0));
        Place { buffer: self.out.bytes.len() - 1, view: View::whole(&self.dims[v.index()]) }
    }

    fn is_strided(&self, v: ValueId, p: &Place) -> bool {
        !p.view.is_contiguous(&self.dims[v.index()])
    }

    /// Whether the place is a whole buffer.
    fn is_whole(&self, v: ValueId, p: &Place) -> bool {
        self.graph.value(v).ty.bytes() == Some(self.out.bytes[p.buffer]) && !self.is_strided(v, p)
    }

    /// Whether the node can write its result into this place.
    fn writes(&self, v: ValueId, maker: Option<NodeId>, p: &Place) -> bool {
        if self.is_whole(v, p) {
            return true;
        }
        let Some(id) = maker else { return false };
        let n = self.graph.node(id);
        let first = n.inputs.first().copied().flatten();
        self.model.writes_strided(&n.op)
            && n.outputs.iter().flatten().count() == 1
            && self.model.strides(&self.graph.value(v).ty)
            && first.is_some_and(|x| self.model.strides(&self.graph.value(x).ty))
    }

    /// Assigns a buffer to the value; all its readers have been visited.
    fn assign_buffer(&mut self, v: ValueId, maker: Option<(NodeId, usize)>) {
        let i = v.index();
        if let Some(c) = self.claims[i].take() {
            let read = self.readers[self.root[i].index()];
            let seen = c.until == NEVER || (!read.is_output && read.last < c.until);
            let barred = c.by_concat && self.barred[i].contains(&c.place.buffer);
            let fits = !barred && (!self.is_strided(v, &c.place) || self.tolerant[i]);
            if (seen || !c.by_concat) && fits && self.writes(v, maker.map(|m| m.0), &c.place) {
                self.until[i] = c.until;
                self.out.places[i] = Some(c.place);
                return;
            }
            if c.by_concat {
                self.barred[i].push(c.place.buffer);
            }
        }
        if let Some((id, output)) = maker
            && let Some(Some(x)) = self.graph.node(id).inputs.first().copied()
            && let Some(alias) = self.alias(id, output)
        {
            let tolerant = self.tolerant[i] && self.model.strides(&self.graph.value(v).ty);
            let fits = match &alias {
                Alias::Reshaped => {
                    self.tolerant[x.index()] = false;
                    true
                }
                Alias::Same => true,
                Alias::Part(_) => {
                    let view = View::whole(&self.dims[x.index()]);
                    let slice = matches!(self.graph.node(id).op, Op::Slice(_));
                    (tolerant || view.is_contiguous(&self.dims[i]))
                        && !(slice && self.copies_to_free(v, x))
                }
            };
            if fits {
                self.tolerant[x.index()] &= tolerant;
                let barred = self.barred[i].clone();
                self.barred[x.index()].extend(barred);
                self.views[i] = Some((x, alias));
                return;
            }
        }
        let place = self.own(v);
        self.out.places[i] = Some(place);
    }

    /// Whether a part of `x` had better be a copy, so as not to hold a large buffer: a small output
    /// of the graph, or what only waits to be joined to something else, as the last rows of a tile
    /// do for the next one, when nothing else needs `x` for so long.
    fn copies_to_free(&self, v: ValueId, x: ValueId) -> bool {
        let value = self.graph.value(v);
        if value.is_output() {
            return !self.candidate.lent;
        }
        let bytes = |v: ValueId| self.graph.value(v).ty.bytes().unwrap_or(0);
        let joined = value.uses().all(|u| matches!(self.graph.node(u.node).op, Op::Concat(_)));
        joined && bytes(v) <= bytes(x) / 2 && self.last(x, Some(v)) < self.last(v, None)
    }

    /// The last step that reads a value, or what is a part of it, but for one part.
    fn last(&self, x: ValueId, but: Option<ValueId>) -> usize {
        let value = self.graph.value(x);
        if value.is_output() {
            return NEVER;
        }
        let mut last = 0;
        for u in value.uses() {
            let node = self.graph.node(u.node);
            last = last.max(self.steps[u.node.index()]);
            for (i, w) in node.outputs.iter().enumerate() {
                if let Some(w) = w.filter(|w| Some(*w) != but && u.index == 0)
                    && self.views[w.index()].is_some()
                    && alias(self.graph, u.node, i).is_some()
                {
                    last = last.max(self.last(w, None));
                }
            }
        }
        last
    }

    /// Records the requirements and claims of a node on its operands.
    fn operands(&mut self, step: usize, id: NodeId) {
        let node = self.graph.node(id);
        for (i, x) in node.inputs.iter().enumerate() {
            let Some(x) = *x else { continue };
            let view =
                node.outputs.iter().flatten().any(|v| {
                    self.views[v.index()].as_ref().is_some_and(|(of, _)| *of == x) && i == 0
                });
            // Views have said what their readers can do.
            let strided = view || self.model.reads_strided(&node.op, i);
            self.tolerant[x.index()] &= strided && self.model.strides(&self.graph.value(x).ty);
        }
        node.captures.iter().for_each(|v| self.tolerant[v.index()] = false);
        let [Some(result)] = node.outputs[..] else { return };
        let Some(place) = self.out.places[result.index()].clone() else { return };
        let joins = matches!(node.op, Op::Concat(_));
        if self.candidate.copying.contains(&id) || joins && !self.model.shares_parts() {
            node.inputs.iter().flatten().for_each(|x| self.apart[x.index()] = true);
            return;
        }
        if let Op::Concat(c) = &node.op {
            return self.pieces(&node.inputs, c.axis, result, &place);
        }
        for i in self.model.in_place(self.graph, id) {
            if let Some(Some(x)) = node.inputs.get(i).copied()
                && self.take_over(x, step, result, &place)
            {
                return;
            }
        }
    }

    /// Claims the parts of a `Concat`'s result for its operands.
    fn pieces(&mut self, operands: &[Option<ValueId>], axis: i64, y: ValueId, place: &Place) {
        let rank = self.dims[y.index()].len();
        let Ok(axis) = axis_of(axis, rank) else { return };
        let mut starts = vec![0; rank];
        let mut sorted: Vec<ValueId> = operands.iter().flatten().copied().collect();
        sorted.sort_unstable();
        // A part that exists long before the others would only make the whole live longer.
        let made = |x: &ValueId| self.graph.producer(*x).map(|p| (p, self.steps[p.index()]));
        let sliced = |p: NodeId| matches!(self.graph.node(p).op, Op::Slice(_));
        let computed = operands.iter().flatten().filter_map(made).filter(|p| !sliced(p.0));
        let first = computed.map(|p| p.1).min();
        let early: Vec<bool> = operands
            .iter()
            .flatten()
            .map(|x| made(x).is_some_and(|(p, at)| sliced(p) && first.is_some_and(|f| at < f)))
            .collect();
        for (k, x) in operands.iter().flatten().enumerate() {
            let i = x.index();
            let extents = self.graph.value(*x).ty.extents();
            let Some(n) = extents.and_then(|e| e.get(axis).copied()) else { return };
            let times = sorted.partition_point(|o| o <= x) - sorted.partition_point(|o| o < x);
            let value = self.graph.value(*x);
            let made = self.counts[i] && self.graph.producer(*x).is_some();
            if times == 1
                && made
                && !early[k]
                && !value.is_output()
                && !self.taken[i]
                && !self.apart[i]
                && self.claims[i].is_none()
            {
                let place = Place { buffer: place.buffer, view: place.view.part(&starts) };
                let until = self.until[y.index()];
                self.claims[i] = Some(Claim { place, until, by_concat: true });
            } else {
                // It is copied from elsewhere: from another part of the result it could not be.
                self.apart[i] = true;
                self.barred[i].push(place.buffer);
            }
            starts[axis] += n;
        }
    }

    /// Lets the result of this step stand where its operand `x` stands, if nothing else will see
    /// `x` from then on.
    fn take_over(&mut self, x: ValueId, step: usize, result: ValueId, place: &Place) -> bool {
        let i = x.index();
        let root = self.root[i];
        let r = root.index();
        let read = self.readers[r];
        let alone = self.counts[i] && read.last == step && read.there == 1 && !read.is_output;
        let ty = |v: ValueId| (self.graph.value(v).ty.dtype(), &self.dims[v.index()]);
        if !alone || ty(x) != ty(result) || self.claims[r].is_some() || self.taken[r] {
            return false;
        }
        let maker = self.graph.producer(root);
        let lent = maker.is_none() && !self.model.owns_inputs();
        if lent || !self.writes(result, maker, place) {
            return false;
        }
        let mut view = place.view.clone();
        if root != x {
            // Through views that are the whole of it, into a buffer that nobody else is in.
            if !self.is_whole(result, place) {
                return false;
            }
            let mut chain = vec![];
            let mut at = x;
            while at != root {
                let Some(id) = self.graph.producer(at) else { return false };
                let whole = matches!(self.alias(id, 0), Some(Alias::Reshaped | Alias::Same));
                let from = self.graph.node(id).inputs.first().copied().flatten();
                let Some(from) = from.filter(|_| whole && self.claims[at.index()].is_none()) else {
                    return false;
                };
                chain.push(at);
                at = from;
            }
            chain.iter().for_each(|v| self.taken[v.index()] = true);
            view = View::whole(&self.dims[r]);
        }
        let place = Place { buffer: place.buffer, view };
        self.claims[r] = Some(Claim { place, until: step, by_concat: false });
        true
    }

    /// Places of the views, each after what it is a view of.
    fn resolve(&mut self, steps: &[NodeId]) {
        for &id in steps {
            for v in self.graph.node(id).outputs.iter().flatten() {
                let Some((x, alias)) = self.views[v.index()].take() else { continue };
                let Some(from) = &self.out.places[x.index()] else { continue };
                let view = match alias {
                    Alias::Same => from.view.clone(),
                    Alias::Part(starts) => from.view.part(&starts),
                    Alias::Reshaped => {
                        View { offset: from.view.offset, ..View::whole(&self.dims[v.index()]) }
                    }
                };
                self.out.places[v.index()] = Some(Place { buffer: from.buffer, view });
                self.out.views[v.index()] = true;
            }
        }
    }
}
