//! The planner's cost model: estimated peak and work of a group under a grid.
//!
//! A group needs its inputs and outputs whole (a tile reads views of the inputs and writes into the
//! outputs) and what its largest tile holds at once, run depth first. Nothing is built for the
//! estimate; the memory plan of the rewritten graph decides.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use graph_opt_ir::op::Op;
use graph_opt_ir::{Graph, NodeId, ValueId};

use super::grid::TileLayout;
use super::group::{GroupValue, Reads, Step, Table};
use super::spans::{Axis, Lengths, Parts};
use crate::analysis::memory::{self, MemoryModel, UnknownSize};
use crate::analysis::node_macs;

/// Size and lifetime of a value, in positions of nodes.
#[derive(Clone, Debug)]
struct Value {
    bytes: u64,
    /// Position of the node that computes it; `None` for an input of the graph.
    def: Option<usize>,
    /// Positions of the first and the last reader; an output of the graph is read at the end.
    first: usize,
    last: usize,
}

/// A graph as the cost model sees it: nodes by position, and live values.
pub(super) struct Net<'m> {
    model: &'m dyn MemoryModel,
    /// The nodes in the order of the schedule, without Constants; positions index them.
    pub nodes: Vec<NodeId>,
    /// The results of the nodes and what each needs of its operands.
    pub table: Table,
    /// Multiply-accumulates of each node.
    pub macs: Vec<u64>,
    values: Vec<Value>,
    /// Index into `values` of each result of the table.
    of_result: Vec<usize>,
    /// Indices into `values` of those that are live before each position, and at the end.
    crossing: Vec<Vec<usize>>,
    /// Whether the node can write its result over an operand, which nothing reads later.
    pub in_place: Vec<bool>,
    /// Whether the node reduces its operand to a much smaller result, as GlobalAveragePool does, so
    /// that tiling cannot continue through it.
    pub is_global_reduction: Vec<bool>,
    /// Bytes that are live while each node runs, with nothing tiled.
    pub live: Vec<u64>,
}

impl<'m> Net<'m> {
    /// # Errors
    /// If the size of a value is unknown.
    pub fn new(graph: &Graph, model: &'m dyn MemoryModel) -> Result<Self, UnknownSize> {
        let nodes: Vec<NodeId> =
            graph.schedule().filter(|&n| !matches!(graph.node(n).op, Op::Constant(_))).collect();
        let at: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        let table = Table::new(graph, &nodes);
        let end = nodes.len();
        // The first one stands for all values that take no memory.
        let mut values = vec![Value { bytes: 0, def: None, first: 0, last: 0 }];
        let mut ids: HashMap<ValueId, usize> = HashMap::new();
        let made = nodes.iter().flat_map(|&n| graph.node(n).outputs.iter().flatten());
        for &v in graph.inputs().iter().chain(made) {
            if !memory::counts(graph, v) {
                continue;
            }
            let value = graph.value(v);
            let Some(bytes) = value.ty.bytes() else {
                return Err(UnknownSize::of(value));
            };
            let def = graph.producer(v).and_then(|p| at.get(&p).copied());
            let readers = || value.uses().filter_map(|u| at.get(&u.node).copied());
            let start = def.unwrap_or(0);
            let lent = def.is_none() && !model.owns_inputs();
            let last =
                if value.is_output() || lent { end } else { readers().max().unwrap_or(start) };
            ids.insert(v, values.len());
            values.push(Value { bytes, def, first: readers().min().unwrap_or(last), last });
        }
        let of_result = table.made().map(|m| ids.get(&m.value).copied().unwrap_or(0)).collect();
        let macs = nodes.iter().map(|&n| node_macs(graph, n).unwrap_or(0)).collect();
        let over = |(p, &n): (usize, &NodeId)| {
            let operands = graph.node(n).inputs.get(model.in_place(graph, n)).unwrap_or_default();
            let dies = |v: &ValueId| ids.get(v).is_some_and(|&i: &usize| values[i].last == p);
            operands.iter().flatten().any(dies)
        };
        let in_place = nodes.iter().enumerate().map(over).collect();
        let is_global_reduction = nodes.iter().map(|&n| is_global_reduction(graph, n)).collect();
        // Nodes that no output depends on are in no plan.
        let plan = memory::plan_for(graph, model)?;
        let mut live = vec![0; nodes.len()];
        for (n, bytes) in plan.steps.iter().zip(&plan.timeline) {
            if let Some(&p) = at.get(n) {
                live[p] = *bytes;
            }
        }
        let mut crossing = vec![Vec::new(); end + 1];
        for (i, v) in values.iter().enumerate().filter(|(_, v)| v.bytes > 0) {
            let from = v.def.map_or(0, |d| d + 1);
            let (past, last) = (from.min(end + 1), v.last.min(end) + 1);
            crossing[past..last.max(past)].iter_mut().for_each(|c| c.push(i));
        }
        Ok(Self {
            model,
            nodes,
            table,
            macs,
            values,
            of_result,
            crossing,
            in_place,
            is_global_reduction,
            live,
        })
    }

    /// Number of values that are live between the nodes at `p - 1` and `p`.
    pub fn crossing(&self, p: usize) -> usize {
        self.crossing[p].len()
    }

    /// Bytes that are live while a group runs, besides what its tiles hold: its inputs, its outputs,
    /// and values that only nodes after it read.
    pub fn around(&self, range: &Range<usize>) -> u64 {
        let passing = self.crossing[range.start].iter().map(|&v| &self.values[v]);
        let lives = |v: &&Value| v.last >= range.end || v.first < range.end;
        let made = self.table.steps[range.clone()].iter().flat_map(|s| &s.results);
        let made = made.map(|m| &self.values[self.of_result[m.id]]);
        let kept = made.filter(|v| v.last >= range.end);
        passing.filter(lives).chain(kept).map(|v| v.bytes).sum()
    }

    /// For each result of the range, whether it is read after it.
    pub fn wanted(&self, range: &Range<usize>) -> Vec<bool> {
        let made = self.table.steps[range.clone()].iter().flat_map(|s| &s.results);
        made.map(|m| self.values[self.of_result[m.id]].last >= range.end).collect()
    }

    /// For each node a number, which others have that are alike in all that [`Candidate`] knows of them: groups of
    /// nodes of equal numbers, with results that are [wanted](Self::wanted) alike and as much
    /// [around](Self::around), have equal costs. `of` tells what else distinguishes values.
    pub fn kinds<T: std::fmt::Debug>(&self, of: impl Fn(ValueId) -> T) -> Vec<u32> {
        let mut known: HashMap<String, u32> = HashMap::new();
        let kind = |(p, step): (usize, &Step)| {
            let base = step.results.first().map_or(0, |m| m.id);
            let result = |m: &GroupValue| {
                // Operands and siblings by their distance.
                let reads = m.reads.as_ref().map(|all| {
                    let one = |r: &Reads| format!("{} {:?} {:?}", base - r.id, r.axes, r.extents);
                    all.iter().map(one).collect::<Vec<_>>()
                });
                let siblings: Vec<_> = m.siblings.iter().map(|s| (s.0 - base, &s.1)).collect();
                let bytes = self.values[self.of_result[m.id]].bytes;
                let own = (m.index, &m.extents, &m.barriers, bytes, of(m.value));
                format!("{own:?} {reads:?} {siblings:?}")
            };
            let results: Vec<String> = step.results.iter().map(result).collect();
            let next = known.len() as u32;
            let key = format!("{} {} {results:?}", self.macs[p], self.in_place[p]);
            *known.entry(key).or_insert(next)
        };
        self.table.steps.iter().enumerate().map(kind).collect()
    }

    /// Values that are computed in the range and read after it, in the order of the schedule.
    pub fn outputs(&self, range: &Range<usize>) -> Vec<ValueId> {
        let made = self.table.steps[range.clone()].iter().flat_map(|s| &s.results);
        let read = |m: &&GroupValue| self.values[self.of_result[m.id]].last >= range.end;
        made.filter(read).map(|m| m.value).collect()
    }
}

/// Whether the largest operand of a node has at least 16 times the bytes of all its results.
fn is_global_reduction(graph: &Graph, n: NodeId) -> bool {
    let bytes = |&v: &ValueId| graph.value(v).ty.bytes().unwrap_or(0);
    let counts = |v: &&ValueId| memory::counts(graph, **v);
    let node = graph.node(n);
    let read = node.inputs.iter().flatten().filter(counts).map(bytes).max().unwrap_or(0);
    read > 0 && node.outputs.iter().flatten().map(bytes).sum::<u64>().saturating_mul(16) <= read
}

/// The cost of a group: estimated, or measured once a plan with it was built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupCost {
    /// Peak of live activations while the group runs, in bytes.
    pub peak: u64,
    /// Multiply-accumulates of all tiles.
    pub macs: u64,
    /// Time to start nodes and to copy strips, in bytes that could be copied in that time.
    pub overhead: u64,
}

impl GroupCost {
    /// Whether it is no worse in both peak and work.
    pub fn dominates(&self, other: &Self) -> bool {
        let work = |c: &Self| (c.macs, c.overhead);
        self.peak <= other.peak && work(self) <= work(other)
    }
}

/// Bytes that could be copied while a node starts: about 2 us at 4 GB/s.
const START: u64 = 8192;

/// A group to be costed: a range of positions.
pub(super) struct Candidate<'a> {
    net: &'a Net<'a>,
    range: Range<usize>,
    pub table: Arc<Table>,
    pub outputs: Vec<ValueId>,
    around: u64,
    /// For each result of the table: the last step that reads it, how many do, whether it is
    /// wanted outside, bits an element, and elements.
    last: Vec<usize>,
    readers: Vec<usize>,
    wanted: Vec<bool>,
    bits: Vec<u64>,
    elements: Vec<u64>,
}

impl<'a> Candidate<'a> {
    pub fn new(net: &'a Net<'a>, range: Range<usize>, around: u64) -> Self {
        let table = net.table.range(range.clone());
        let outputs = net.outputs(&range);
        let (mut last, mut readers) = (vec![0; table.count], vec![0; table.count]);
        let mut elements = vec![0; table.count];
        let (mut wanted, mut bits) = (vec![false; table.count], vec![0; table.count]);
        let base = net.table.steps[range.clone()].iter().flat_map(|s| &s.results).next();
        let base = base.map_or(0, |m| m.id);
        for (i, s) in table.steps.iter().enumerate() {
            for m in &s.results {
                let v = &net.values[net.of_result[base + m.id]];
                wanted[m.id] = v.last >= range.end;
                let n: i64 = m.extents.iter().flatten().product();
                elements[m.id] = n.max(0) as u64;
                bits[m.id] = (v.bytes * 8).checked_div(elements[m.id]).unwrap_or(0);
                for r in m.reads.iter().flatten() {
                    last[r.id] = i;
                    readers[r.id] += 1;
                }
            }
        }
        let table = Arc::new(table);
        Self { net, range, table, outputs, around, last, readers, wanted, bits, elements }
    }

    /// The group's cost under a grid.
    pub fn cost(&self, layout: &TileLayout) -> GroupCost {
        let sizes = Sizes::new(self, layout);
        let tile = self.tile(&sizes);
        let mut peak = self.around + self.shared(layout) + self.held(&sizes) + tile;
        if !self.net.model.shares_parts() {
            peak = self.copying(&sizes, peak);
        }
        let tiles = layout.grid.len() * self.table.steps.len();
        let nodes = self.net.nodes.len() - self.table.steps.len() + tiles;
        peak += self.net.model.records() * nodes as u64;
        let starts = tiles as u64 * START;
        GroupCost { peak, macs: self.macs(&sizes), overhead: starts + self.copied(&sizes) }
    }

    /// The peak where parts are copies: all parts of the results wait for the wholes, which then
    /// exist beside them. That they wait instead of the wholes is no different before.
    fn copying(&self, sizes: &Sizes<'_>, peak: u64) -> u64 {
        let whole = |id: usize| self.elements[id] * self.bits[id] / 8;
        let cut = |id: &usize| self.wanted[*id] && sizes.axes.iter().any(|a| a.get(*id).is_some());
        let joined: u64 = (0..self.table.count).filter(cut).map(whole).sum();
        peak.max(self.around + joined)
    }

    /// Bytes that are taken over from other tiles: copied once to be kept, and once to be joined.
    fn copied(&self, sizes: &Sizes<'_>) -> u64 {
        let taken = |id: usize| {
            let need = sizes.sum(id, |_, l| l.need);
            let computed = sizes.sum(id, |_, l| l.computed);
            need.saturating_sub(computed) * sizes.rest[id] * self.bits[id] / 8
        };
        2 * (0..self.table.count).map(taken).sum::<u64>()
    }

    fn macs(&self, sizes: &Sizes<'_>) -> u64 {
        let mut total = 0u64;
        for (i, step) in self.table.steps.iter().enumerate() {
            let macs = self.net.macs[self.range.start + i];
            let Some(made) = step.results.first().filter(|_| macs > 0) else { continue };
            let whole = self.elements[made.id].max(1);
            let elements = sizes.rest[made.id] * sizes.sum(made.id, |_, l| l.computed);
            total += (u128::from(macs) * u128::from(elements) / u128::from(whole)) as u64;
        }
        total
    }

    /// Bytes of what all tiles share.
    fn shared(&self, layout: &TileLayout) -> u64 {
        let origin = vec![0; layout.grid.axes.len()];
        let whole = |m: &&GroupValue| {
            let mut parts = layout.spans(&origin).map(|a| &a.values[m.id]);
            !self.wanted[m.id] && parts.all(|p| *p == Parts::Whole)
        };
        let all = self.table.made().filter(whole);
        all.map(|m| self.elements[m.id] * self.bits[m.id] / 8).sum()
    }

    /// Bytes of strips that wait for their reader while other tiles run.
    fn held(&self, sizes: &Sizes<'_>) -> u64 {
        let taken = |l: &Lengths| [0, 1].map(|p| l.need[p].saturating_sub(l.computed[p]));
        let mut bits = 0;
        for id in 0..self.table.count {
            let n: u64 = if sizes.between.is_some() {
                let level = |level: usize| {
                    sizes.odd(id, |k, l| match k.cmp(&level) {
                        std::cmp::Ordering::Less => l.need,
                        std::cmp::Ordering::Equal => taken(l),
                        std::cmp::Ordering::Greater => l.computed,
                    })
                };
                (0..sizes.axes.len()).map(level).sum()
            } else if let [h, w] = &sizes.axes[..] {
                // A row of tiles hands over to the next one; along the last axis strips are taken
                // over at once.
                h.lengths[id].taken * w.lengths[id].computed.iter().sum::<u64>()
            } else {
                0
            };
            bits += n * sizes.rest[id] * self.bits[id];
        }
        bits / 8
    }

    /// Peak of the bytes that the largest tile holds, run node by node.
    fn tile(&self, sizes: &Sizes<'_>) -> u64 {
        let tile = self.tile_bytes(sizes);
        let TileBytes { size, taken, handed, alone, placed } = &tile;
        let mut live: u64 = taken.iter().sum();
        let mut most = live;
        for (i, step) in self.table.steps.iter().enumerate() {
            let mut over = None;
            for m in step.results.iter().filter(|m| !placed[m.id] && size[m.id] > 0) {
                if self.net.in_place[self.range.start + i] && alone[m.id] && over.is_none() {
                    let dying = m.reads.iter().flatten().find(|r| {
                        let last = self.last[r.id] == i && !placed[r.id];
                        last && !self.wanted[r.id] && size[r.id] == size[m.id]
                    });
                    over = dying.map(|r| r.id);
                    if over.is_some() {
                        continue;
                    }
                }
                live += size[m.id];
            }
            most = most.max(live);
            for m in &step.results {
                live = live + handed[m.id] - taken[m.id];
                most = most.max(live);
            }
            // A node may read a value several times.
            let mut freed: Vec<usize> = Vec::new();
            for m in &step.results {
                for r in m.reads.iter().flatten() {
                    let dies = self.last[r.id] == i && !placed[r.id] && Some(r.id) != over;
                    if dies && !freed.contains(&r.id) {
                        live -= size[r.id];
                        freed.push(r.id);
                    }
                }
                // Not read in the group.
                if !placed[m.id] && self.readers[m.id] == 0 {
                    live -= size[m.id];
                }
            }
        }
        most
    }

    /// The bytes of each value in the largest tile.
    fn tile_bytes(&self, sizes: &Sizes<'_>) -> TileBytes {
        let tile: Vec<usize> = sizes.axes.iter().map(|a| a.largest).collect();
        let n = self.table.count;
        let mut bytes = TileBytes {
            size: vec![0; n],
            taken: vec![0; n],
            handed: vec![0; n],
            alone: vec![true; n],
            placed: vec![false; n],
        };
        let between = sizes.between.is_some() && tile.iter().sum::<usize>() % 2 == 1;
        let last = tile.len() - 1;
        for id in 0..n {
            let (mut need, mut before, mut cut, mut own) = (sizes.rest[id], 1u64, false, true);
            for (k, &i) in tile.iter().enumerate() {
                match sizes.parts(id, k, between) {
                    Parts::Unread => need = 0,
                    Parts::Whole => {}
                    Parts::Strips(s) => {
                        cut = true;
                        need *= s.need[i].len() as u64;
                        bytes.alone[id] &= s.need[i] == s.computed[i];
                        own &= s.share.get(i) == Some(&s.need[i]);
                        if k < last {
                            before *= s.need[i].len() as u64;
                        } else if !between {
                            let unit = sizes.rest[id] * before * self.bits[id] / 8;
                            bytes.taken[id] = unit * (s.need[i].len() - s.computed[i].len()) as u64;
                            if let (Some(n), Some(f)) = (s.need.get(i + 1), s.computed.get(i + 1)) {
                                bytes.handed[id] = unit * (n.len() - f.len()) as u64;
                            }
                        }
                    }
                }
            }
            if cut {
                bytes.size[id] = need * self.bits[id] / 8;
                bytes.placed[id] = self.wanted[id] && own && self.net.model.shares_parts();
            }
        }
        self.place_operands(&mut bytes);
        bytes
    }

    /// Where an operator in place writes into the group's whole output, its operand is computed there,
    /// too; found from the last node back.
    fn place_operands(&self, bytes: &mut TileBytes) {
        let TileBytes { size, alone, placed, .. } = bytes;
        for (i, step) in self.table.steps.iter().enumerate().rev() {
            for m in &step.results {
                if !placed[m.id] || !self.net.in_place[self.range.start + i] {
                    continue;
                }
                let over = m.reads.iter().flatten().find(|r| {
                    let only = self.last[r.id] == i && self.readers[r.id] == 1;
                    only && alone[r.id] && !self.wanted[r.id] && size[r.id] == size[m.id]
                });
                if let Some(r) = over {
                    placed[r.id] = true;
                }
            }
        }
    }
}

/// What one tile holds of each value of a group, in bytes.
struct TileBytes {
    /// The part that the tile needs.
    size: Vec<u64>,
    /// What it takes over from the tile before it along the last axis.
    taken: Vec<u64>,
    /// What it keeps for the tile after it along the last axis.
    handed: Vec<u64>,
    /// Whether the tile computes all that it needs.
    alone: Vec<bool>,
    /// Whether the part is computed where it belongs in the whole output, and takes no other memory.
    placed: Vec<bool>,
}

/// A tile layout by numbers of elements.
struct Sizes<'l> {
    axes: Vec<&'l Axis>,
    between: Option<Vec<&'l Axis>>,
    /// Elements of each value along the axes that the grid does not cut.
    rest: Vec<u64>,
}

impl<'l> Sizes<'l> {
    fn new(c: &Candidate<'_>, layout: &'l TileLayout) -> Self {
        let (axes, between) = layout.axes();
        let mut rest = c.elements.clone();
        for m in c.table.made() {
            for s in axes.iter().filter_map(|a| a.get(m.id)) {
                rest[m.id] /= m.extents[s.axis].unwrap_or(1).max(1) as u64;
            }
        }
        Self { axes, between, rest }
    }

    fn parts(&self, id: usize, k: usize, between: bool) -> &'l Parts {
        match &self.between {
            Some(b) if between => &b[k].values[id],
            _ => &self.axes[k].values[id],
        }
    }

    /// The sum over all tiles of the product over the grid's axes of a length of each.
    fn sum(&self, id: usize, of: impl Fn(usize, &Lengths) -> [u64; 2] + Copy) -> u64 {
        if self.between.is_some() {
            return self.parity(id, false, of).0 + self.odd(id, of);
        }
        let lengths = self.axes.iter().enumerate().map(|(k, a)| of(k, &a.lengths[id]));
        lengths.map(|l| l[0] + l[1]).product()
    }

    /// The same over the tiles that take over from their neighbours.
    fn odd(&self, id: usize, of: impl Fn(usize, &Lengths) -> [u64; 2] + Copy) -> u64 {
        self.parity(id, true, of).1
    }

    /// The sums over tiles the sum of whose positions is even, and odd.
    fn parity(
        &self,
        id: usize,
        between: bool,
        of: impl Fn(usize, &Lengths) -> [u64; 2],
    ) -> (u64, u64) {
        let axes = self.between.as_ref().filter(|_| between).unwrap_or(&self.axes);
        let mut sums = (1u64, 0u64);
        for (k, axis) in axes.iter().enumerate() {
            let here = of(k, &axis.lengths[id]);
            sums = (sums.0 * here[0] + sums.1 * here[1], sums.0 * here[1] + sums.1 * here[0]);
        }
        sums
    }
}
