//! What a group costs under a grid: bytes at its peak, and multiply-accumulates.
//!
//! A group needs its inputs and outputs whole (a tile reads a view of the one and writes into the
//! other) and what its largest tile holds at once, run depth first. This is the planner's guess,
//! made without building anything; the plan of the rewritten graph has the last word.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::region::Region;
use graph_opt_ir::{Graph, NodeId, ValueId};

use super::group::{Made, Table};
use super::layout::Layout;
use super::spans::Parts;
use crate::analysis::node_macs;

/// What the planner knows of a value.
#[derive(Clone, Debug)]
struct Value {
    bytes: u64,
    /// Position of the node that makes it; none for an input of the graph.
    def: Option<usize>,
    /// Positions of the first and the last reader; an output of the graph is read at the end.
    first: usize,
    last: usize,
}

/// A graph as the planner sees it: nodes by position, and live values.
pub(super) struct Net {
    pub nodes: Vec<NodeId>,
    pub table: Table,
    pub macs: Vec<u64>,
    values: Vec<Value>,
    /// Value of each result of the table.
    of_result: Vec<usize>,
    /// Operands that are activations, by position.
    reads: Vec<Vec<usize>>,
    /// Whether the node can write its result over an operand.
    pub in_place: Vec<bool>,
    /// Bytes that are live while each node runs, with nothing tiled.
    pub live: Vec<u64>,
}

/// Whether the operator can leave its result where an operand of the same size was.
pub(super) fn in_place(op: &Op) -> bool {
    op.class() == Class::Pointwise || matches!(op, Op::BatchNormalization(_) | Op::Identity(_))
}

impl Net {
    /// # Errors
    /// With the value whose size is unknown.
    pub fn new(graph: &Graph) -> Result<Self, String> {
        let nodes: Vec<NodeId> =
            graph.schedule().filter(|&n| !matches!(graph.node(n).op, Op::Constant(_))).collect();
        let at: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &n)| (n, i)).collect();
        let table = Table::new(graph, &nodes);
        let end = nodes.len();
        let mut values = Vec::new();
        let mut ids: HashMap<ValueId, usize> = HashMap::new();
        let made = nodes.iter().flat_map(|&n| graph.node(n).outputs.iter().flatten());
        for &v in graph.inputs().iter().chain(made) {
            if graph.constant(v).is_some() {
                continue;
            }
            let value = graph.value(v);
            let Some(bytes) = value.ty.bytes() else {
                return Err(format!(
                    "the size of {} ({}) is unknown; fix its extents (opt --dim NAME=N --fix-dims)",
                    value.name, value.ty
                ));
            };
            let def = graph.producer(v).and_then(|p| at.get(&p).copied());
            let readers = || value.uses().filter_map(|u| at.get(&u.node).copied());
            let start = def.unwrap_or(0);
            let last = if value.is_output() { end } else { readers().max().unwrap_or(start) };
            ids.insert(v, values.len());
            values.push(Value { bytes, def, first: readers().min().unwrap_or(last), last });
        }
        let read = |&n: &NodeId| {
            let node = graph.node(n);
            let all = node.inputs.iter().flatten().chain(&node.captures);
            let mut seen = HashSet::new();
            all.filter_map(|v| ids.get(v).copied()).filter(|&v| seen.insert(v)).collect::<Vec<_>>()
        };
        let reads: Vec<Vec<usize>> = nodes.iter().map(read).collect();
        let of_result = table.made().map(|m| ids.get(&m.value).copied().unwrap_or(0)).collect();
        let macs = nodes.iter().map(|&n| node_macs(graph, n).unwrap_or(0)).collect();
        let in_place = nodes.iter().map(|&n| in_place(&graph.node(n).op)).collect();
        let mut net =
            Self { nodes, table, macs, values, of_result, reads, in_place, live: Vec::new() };
        net.live = net.liveness();
        Ok(net)
    }

    fn liveness(&self) -> Vec<u64> {
        let mut change = vec![0i128; self.nodes.len() + 2];
        for v in &self.values {
            change[v.def.unwrap_or(0)] += i128::from(v.bytes);
            change[v.last + 1] -= i128::from(v.bytes);
        }
        let mut now = 0i128;
        let mut live = Vec::with_capacity(self.nodes.len());
        for (p, c) in change.iter().take(self.nodes.len()).enumerate() {
            now += c;
            let over = if self.in_place[p] { self.overwritten(p) } else { None };
            live.push((now - over.map_or(0, i128::from)).max(0) as u64);
        }
        live
    }

    /// Bytes of the operand that the result of this node takes the place of.
    fn overwritten(&self, p: usize) -> Option<u64> {
        let result = self.values.iter().find(|v| v.def == Some(p))?;
        let dies = |&&v: &&usize| {
            let v = &self.values[v];
            v.last == p && v.bytes == result.bytes
        };
        self.reads[p].iter().find(dies).map(|&v| self.values[v].bytes)
    }

    /// Number of values that are live between the nodes at `p - 1` and `p`.
    pub fn crossing(&self, p: usize) -> usize {
        let crosses = |v: &&Value| v.def.is_none_or(|d| d < p) && v.last >= p && v.bytes > 0;
        self.values.iter().filter(crosses).count()
    }

    /// Bytes that live while a group runs, besides what its tiles hold: values that pass by, its
    /// inputs, and its outputs.
    fn around(&self, range: &Range<usize>) -> u64 {
        let lives = |v: &&Value| match v.def {
            Some(d) if range.contains(&d) => v.last >= range.end,
            Some(d) if d >= range.end => false,
            _ => v.last >= range.end || (v.last >= range.start && v.first < range.end),
        };
        self.values.iter().filter(lives).map(|v| v.bytes).sum()
    }

    /// Values that are made in the range and read after it, in the order in which they are made.
    pub fn outputs(&self, range: &Range<usize>) -> Vec<ValueId> {
        let made = self.table.steps[range.clone()].iter().flat_map(|s| &s.results);
        let read = |m: &&Made| self.values[self.of_result[m.id]].last >= range.end;
        made.filter(read).map(|m| m.value).collect()
    }
}

/// What a group costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupCost {
    /// Most bytes live at once.
    pub peak: u64,
    pub macs: u64,
}

/// A group to be costed: a range of positions.
pub(super) struct Candidate<'a> {
    net: &'a Net,
    range: Range<usize>,
    pub table: Arc<Table>,
    pub outputs: Vec<ValueId>,
    around: u64,
    /// For each result of the table: the last step that reads it, whether it is wanted outside,
    /// and bytes an element (in bits).
    last: Vec<usize>,
    wanted: Vec<bool>,
    bits: Vec<u64>,
}

impl<'a> Candidate<'a> {
    pub fn new(net: &'a Net, range: Range<usize>) -> Self {
        let table = net.table.range(range.clone());
        let outputs = net.outputs(&range);
        let around = net.around(&range);
        let mut last = vec![0; table.count];
        let (mut wanted, mut bits) = (vec![false; table.count], vec![0; table.count]);
        let base = net.table.steps[range.clone()].iter().flat_map(|s| &s.results).next();
        let base = base.map_or(0, |m| m.id);
        for (i, s) in table.steps.iter().enumerate() {
            for m in &s.results {
                let v = &net.values[net.of_result[base + m.id]];
                wanted[m.id] = v.last >= range.end;
                let n: i64 = m.extents.iter().flatten().product();
                bits[m.id] = (v.bytes * 8).checked_div(n.max(0) as u64).unwrap_or(0);
                for r in m.reads.iter().flatten() {
                    last[r.id] = i;
                }
            }
        }
        Self { net, range, table: Arc::new(table), outputs, around, last, wanted, bits }
    }

    fn bytes(&self, made: &Made, region: &Region) -> u64 {
        let n: u64 = region
            .iter()
            .zip(&made.extents)
            .map(|(r, n)| r.map_or(n.unwrap_or(0), |s| s.len()).max(0) as u64)
            .product();
        n.saturating_mul(self.bits[made.id]).div_ceil(8)
    }

    /// The group's cost under a grid.
    pub fn cost(&self, layout: &Layout) -> Option<GroupCost> {
        let order = layout.order();
        let macs = self.macs(layout, &order)?;
        let mut most = 0;
        for tile in self.samples(layout) {
            most = most.max(self.tile(layout, &tile)?);
        }
        let peak = self.around + self.shared(layout) + self.held(layout, &order)? + most;
        Some(GroupCost { peak, macs })
    }

    fn macs(&self, layout: &Layout, order: &[Vec<usize>]) -> Option<u64> {
        let mut total = 0u64;
        for (i, step) in self.table.steps.iter().enumerate() {
            let macs = self.net.macs[self.range.start + i];
            let Some(made) = step.results.first().filter(|_| macs > 0) else { continue };
            let whole: u64 = made.extents.iter().map(|n| n.unwrap_or(0) as u64).product();
            // Elements are computed once for all tiles that need the same of them.
            let mut done: HashSet<Region> = HashSet::new();
            let mut elements = 0u64;
            for t in order {
                let Some(region) = layout.fresh(made, t).ok()? else { continue };
                if done.insert(region.clone()) {
                    let n = region.iter().zip(&made.extents);
                    elements += n
                        .map(|(r, n)| r.map_or(n.unwrap_or(0), |s| s.len()) as u64)
                        .product::<u64>();
                }
            }
            total += (u128::from(macs) * u128::from(elements) / u128::from(whole.max(1))) as u64;
        }
        Some(total)
    }

    /// Tiles that may be the largest: the longest spans along each axis, and the first ones.
    fn samples(&self, layout: &Layout) -> Vec<Vec<usize>> {
        let mut all: Vec<Vec<usize>> = vec![vec![]];
        let origin = vec![0; layout.grid.axes.len()];
        for axis in layout.spans(&origin) {
            let size = |i: &usize| -> i64 {
                let strips = axis.values.iter().map(|p| match p {
                    Parts::Strips(s) => s.need[*i].len(),
                    _ => 0,
                });
                strips.sum()
            };
            let longest = (0..axis.parts).max_by_key(size).unwrap_or(0);
            let mut some = vec![longest, 0, (longest + 1).min(axis.parts - 1)];
            some.sort_unstable();
            some.dedup();
            all = all
                .into_iter()
                .flat_map(|t| some.iter().map(move |&i| [t.clone(), vec![i]].concat()))
                .collect();
        }
        all
    }

    /// Bytes of what all tiles share.
    fn shared(&self, layout: &Layout) -> u64 {
        let origin = vec![0; layout.grid.axes.len()];
        let whole = |m: &&Made| {
            let mut parts = layout.spans(&origin).map(|a| &a.values[m.id]);
            !self.wanted[m.id] && parts.all(|p| *p == Parts::Whole)
        };
        let all = self.table.made().filter(whole);
        all.map(|m| self.bytes(m, &vec![None; m.extents.len()])).sum()
    }

    /// Bytes of strips that wait for their reader while other tiles run.
    fn held(&self, layout: &Layout, order: &[Vec<usize>]) -> Option<u64> {
        let strips = |t: &Vec<usize>| -> Option<u64> {
            let mut sum = 0;
            for m in self.table.made() {
                for s in layout.strips(m, t).ok()? {
                    // Those along the last axis are taken over at once.
                    if layout.is_between(t) || s.level + 1 < t.len() {
                        sum += self.bytes(m, &s.region);
                    }
                }
            }
            Some(sum)
        };
        if order.iter().any(|t| layout.is_between(t)) {
            return order.iter().map(strips).sum();
        }
        let Some((_, rest)) = layout.grid.axes.split_first() else { return Some(0) };
        if rest.is_empty() {
            return Some(0);
        }
        // A row of tiles at a time.
        let mut rows: HashMap<usize, u64> = HashMap::new();
        for t in order {
            *rows.entry(t[0]).or_default() += strips(t)?;
        }
        rows.into_values().max()
    }

    /// Most bytes that one tile holds at once.
    fn tile(&self, layout: &Layout, tile: &[usize]) -> Option<u64> {
        let n = self.table.count;
        // Bytes of what is needed; of what comes from and goes to the tile's neighbours.
        let mut size = vec![0u64; n];
        let (mut taken, mut handed) = (vec![0u64; n], vec![0u64; n]);
        let mut alone = vec![true; n];
        let next: Option<Vec<usize>> = self.next(layout, tile);
        for m in self.table.made() {
            let Some(need) = layout.need(m, tile).ok()? else { continue };
            if need.iter().all(Option::is_none) {
                continue;
            }
            size[m.id] = self.bytes(m, &need);
            for s in layout.strips(m, tile).ok()? {
                alone[m.id] = false;
                if s.level + 1 == tile.len() && !layout.is_between(tile) {
                    taken[m.id] += self.bytes(m, &s.region);
                }
            }
            if let Some(next) = &next {
                for s in layout.strips(m, next).ok()? {
                    if s.from == tile {
                        handed[m.id] += self.bytes(m, &s.region);
                    }
                }
            }
        }
        // Results that lie where the whole output will be, from the last step back.
        let mut placed = vec![false; n];
        for (i, step) in self.table.steps.iter().enumerate().rev() {
            for m in &step.results {
                if self.wanted[m.id] {
                    let own = layout.own(m, tile).ok()?;
                    placed[m.id] = own == layout.need(m, tile).ok()?;
                }
                if placed[m.id] && self.net.in_place[self.range.start + i] {
                    for r in m.reads.iter().flatten() {
                        let only = self.last[r.id] == i && alone[r.id] && !self.wanted[r.id];
                        if only && size[r.id] == size[m.id] && self.readers(r.id) == 1 {
                            placed[r.id] = true;
                            break;
                        }
                    }
                }
            }
        }
        let mut live: u64 = taken.iter().sum();
        let mut most = live;
        for (i, step) in self.table.steps.iter().enumerate() {
            let mut over = None;
            for m in &step.results {
                if placed[m.id] || size[m.id] == 0 {
                    continue;
                }
                if self.net.in_place[self.range.start + i] && alone[m.id] && over.is_none() {
                    let mut reads = m.reads.iter().flatten();
                    over = reads
                        .find(|r| {
                            self.last[r.id] == i && !placed[r.id] && size[r.id] == size[m.id]
                        })
                        .map(|r| r.id);
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
            let mut freed = Vec::new();
            for m in &step.results {
                for r in m.reads.iter().flatten() {
                    let dies = self.last[r.id] == i && !placed[r.id] && Some(r.id) != over;
                    if dies && !freed.contains(&r.id) {
                        live -= size[r.id];
                        freed.push(r.id);
                    }
                }
                // Read by nobody in the group.
                if !placed[m.id] && self.last[m.id] == 0 && size[m.id] > 0 {
                    live -= size[m.id];
                }
            }
        }
        Some(most)
    }

    fn readers(&self, id: usize) -> usize {
        let reads = self.table.made().flat_map(|m| m.reads.iter().flatten());
        reads.filter(|r| r.id == id).count()
    }

    /// The tile after this one along the last axis.
    fn next(&self, layout: &Layout, tile: &[usize]) -> Option<Vec<usize>> {
        let (&last, before) = tile.split_last()?;
        let more = last + 1 < layout.grid.axes[before.len()].1.len();
        (more && !layout.is_between(tile)).then(|| [before, &[last + 1]].concat())
    }
}
