//! Which stretches of a graph to run in tiles, on which grids, and what to keep of overlaps.
//!
//! Dynamic programming over cut points of the schedule, places where few values are live: from one
//! cut point to a later one the nodes run as they are, or as one group on one of many grids, each
//! with its peak of live bytes and its work: multiply-accumulates, and where those are equal what
//! it costs to start nodes and to copy. A plan's peak is the largest of its parts', its work is
//! their sum; of all plans to a cut point only those are kept that no other one beats in both (the
//! Pareto front).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Span};

use super::fuse_tiles::{FuseTiles, Stretch};
use super::layout::{Layout, Spread};
use super::model::{Candidate, GroupCost, Net};
use super::{Grid, Group, Reuse, build, parts};
use crate::analysis::cost;
use crate::analysis::memory::{self, Runtime};
use crate::options::readable;
use crate::pass::{Change, Cx, Data, Outcome};
use crate::pipeline::Pipeline;

/// What a plan is for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// The least extra work with a peak of at most this many bytes.
    Memory(u64),
    /// The smallest peak with at most this share of extra multiply-accumulates.
    ExtraMacs(f64),
}

/// What the search considers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most tiles of a group.
    pub tiles: usize,
    /// What may happen to overlaps. [`Reuse::Checkerboard`] suits parallel devices; for memory
    /// alone [`Reuse::All`] is better, so that only the others are tried by default.
    pub reuse: Vec<Reuse>,
    /// Most cut points that a group spans.
    pub reach: usize,
    /// By whose rules memory is counted.
    pub runtime: Runtime,
    /// For [`Goal::Memory`]: whether nodes that need more, and that nothing tiles, may be left.
    pub partly: bool,
}

impl Default for Limits {
    fn default() -> Self {
        let reuse = vec![Reuse::Recompute, Reuse::Rows, Reuse::All];
        Self { tiles: 64, reuse, reach: 40, runtime: Runtime::default(), partly: false }
    }
}

/// A group of a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Fused {
    /// What runs in tiles.
    pub group: Group,
    /// How its last output is divided.
    pub grid: Grid,
    /// What happens to overlaps.
    pub reuse: Reuse,
}

/// A plan: the groups that run in tiles, in order.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Most bytes of activations that are live at once, as the planner's model has it.
    pub peak: u64,
    /// Multiply-accumulates, as the planner's model has it.
    pub macs: u64,
    /// Its groups.
    pub groups: Vec<Fused>,
}

/// Plans of a graph that no other one beats in both peak and work, the largest peak first; and
/// the nodes that no group can run over, with the reason.
#[derive(Clone, Debug)]
pub struct Front {
    /// The plans.
    pub plans: Vec<Plan>,
    /// Barriers.
    pub barriers: Vec<(NodeId, String)>,
}

/// A way to a cut point.
#[derive(Clone, Debug)]
struct Way {
    peak: u64,
    macs: u64,
    overhead: u64,
    /// Cut point and way that it continues, and the group between, if the nodes are tiled.
    from: Option<(usize, usize)>,
    group: Option<Choice>,
}

/// A group between two cut points, by the number of its grid among those found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Choice {
    from: usize,
    to: usize,
    grid: usize,
}

/// The plans of a graph.
///
/// # Errors
/// If the size of a value is unknown; with its name.
pub fn front(graph: &Graph, limits: &Limits) -> Result<Front, String> {
    let net = Net::new(graph, limits.runtime)?;
    let mut search = Search::new(graph, &net, limits);
    let ways = search.whole();
    Ok(Front { plans: search.plans(&ways).map(|p| p.0).collect(), barriers: search.barriers })
}

/// Cut points up to which a graph is searched without sparing.
const SMALL: usize = 40;

/// Cut points of a graph times cut points of its longest group, about.
const REACH: usize = 4000;

/// How far groups of larger graphs reach into stretches that fit as they are, in cut points.
const MARGIN: usize = 3;

/// The groups of a graph that were looked at, with what they cost.
struct Search<'a> {
    graph: &'a Graph,
    net: &'a Net,
    limits: &'a Limits,
    /// Positions where groups may begin and end.
    cuts: Vec<usize>,
    /// By first and last cut point: the grids that are worth having, or why there are none.
    known: HashMap<(usize, usize), Grids>,
    barriers: Vec<(NodeId, String)>,
}

/// The grids of a group; or, if it cannot be divided, the node and the reason, if there is one.
type Grids = Result<Vec<Costed>, Option<(NodeId, Barrier)>>;

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, net: &'a Net, limits: &'a Limits) -> Self {
        let cuts = cut_points(net);
        Self { graph, net, limits, cuts, known: HashMap::new(), barriers: Vec::new() }
    }

    /// Most bytes that are live between two cut points with nothing tiled.
    fn live(&self, from: usize, to: usize) -> u64 {
        self.net.live[self.cuts[from]..self.cuts[to]].iter().copied().max().unwrap_or(0)
    }

    /// All ways that matter. Stretches that need less than the least peak of any plan can be left
    /// out of the search; it is repeated with a smaller guess until that is so.
    fn whole(&mut self) -> Vec<Vec<Way>> {
        let mut cold = self.live(0, self.cuts.len() - 1) / 2;
        loop {
            let ways = self.ways(cold, u64::MAX);
            let least = ways[ways.len() - 1].iter().map(|w| w.peak).min().unwrap_or(0);
            if least >= cold || cold == 0 {
                return ways;
            }
            cold /= 2;
        }
    }

    /// The ways to each cut point with a peak of at most `ceiling` bytes, with groups only around
    /// nodes while which more than `cold` bytes are live.
    fn ways(&mut self, cold: u64, ceiling: u64) -> Vec<Vec<Way>> {
        let points = self.cuts.len();
        let small = points <= SMALL;
        // Time stays in bounds: the longer the graph, the shorter the groups.
        let reach = self.limits.reach.min((REACH / points).max(6));
        let margin = if small { points } else { MARGIN };
        let hot: Vec<bool> = (1..points).map(|k| self.live(k - 1, k) > cold).collect();
        let start = Way { peak: 0, macs: 0, overhead: 0, from: None, group: None };
        let mut ways: Vec<Vec<Way>> = vec![vec![start]];
        for k in 1..points {
            let mut here = Vec::new();
            let macs: u64 = self.net.macs[self.cuts[k - 1]..self.cuts[k]].iter().sum();
            let cost = GroupCost { peak: self.live(k - 1, k), macs, overhead: 0 };
            extend(&mut here, &ways[k - 1], k - 1, (cost, None), ceiling);
            for from in (k.saturating_sub(reach)..k).rev() {
                let first = (from..k).find(|&i| hot[i]);
                let last = (from..k).rfind(|&i| hot[i]);
                let (Some(first), Some(last)) = (first, last) else {
                    if k - from > margin {
                        break;
                    }
                    continue;
                };
                if k - 1 - last > margin || first - from > margin {
                    break;
                }
                if ways[from].is_empty() {
                    continue;
                }
                match self.grids(from, k, ceiling) {
                    Ok(all) => {
                        for (grid, one) in all.iter().enumerate() {
                            let group = Some(Choice { from, to: k, grid });
                            extend(&mut here, &ways[from], from, (one.cost, group), ceiling);
                        }
                    }
                    Err(None) => {}
                    Err(Some((node, why))) => {
                        let (node, why) = (*node, why.0.clone());
                        if !self.barriers.iter().any(|b| b.0 == node) {
                            self.barriers.push((node, why));
                        }
                        break;
                    }
                }
            }
            ways.push(here);
        }
        ways
    }

    /// The grids of the group between two cut points, found once.
    fn grids(&mut self, from: usize, to: usize, ceiling: u64) -> &Grids {
        static NONE: Grids = Err(None);
        let range = self.cuts[from]..self.cuts[to];
        let live = self.live(from, to);
        match self.known.entry((from, to)) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                let around = self.net.around(&range);
                if around >= live {
                    return e.insert(Err(None));
                }
                // It may matter to another search.
                if around >= ceiling {
                    return &NONE;
                }
                let candidate = Candidate::new(self.net, range, around);
                e.insert(grids(self.graph, &candidate, self.limits, self.cuts.len() <= SMALL))
            }
        }
    }

    /// The plan for a goal, as far as is known; for a budget that nothing fits, the one that needs
    /// least.
    fn choose(&mut self, goal: Goal, macs: u64) -> Option<(Plan, Vec<Choice>)> {
        // Work grows along the ways, and peaks fall.
        let at_least = |w: &[Way]| w.len().checked_sub(1);
        let (ways, index) = match goal {
            Goal::Memory(budget) => {
                // What fits as it is matters for the least that is possible, and only for that.
                let ways = self.ways(budget - budget / 8, budget);
                match ways[ways.len() - 1].is_empty() {
                    false => (ways, 0),
                    true => {
                        let ways = self.whole();
                        let index = at_least(&ways[ways.len() - 1])?;
                        (ways, index)
                    }
                }
            }
            Goal::ExtraMacs(share) => {
                let ways = self.whole();
                let most = macs as f64 * (1.0 + share);
                let index = ways[ways.len() - 1].iter().rposition(|w| w.macs as f64 <= most)?;
                (ways, index)
            }
        };
        Some(self.plan(&ways, ways.len() - 1, index))
    }

    /// Positions of nodes that need more than a budget, as they are and in every group.
    fn hopeless(&mut self, budget: u64) -> Vec<usize> {
        self.ways(budget - budget / 8, u64::MAX);
        let mut fits: Vec<bool> = self.net.live.iter().map(|&l| l <= budget).collect();
        for (from, to) in (1..self.cuts.len()).flat_map(|to| (0..to).map(move |from| (from, to))) {
            let grids = self.known.get(&(from, to)).into_iter().flatten().flatten();
            if grids.map(|g| g.cost.peak).min().is_some_and(|least| least <= budget) {
                fits[self.cuts[from]..self.cuts[to]].fill(true);
            }
        }
        (0..fits.len()).filter(|&p| !fits[p]).collect()
    }

    /// Corrects what groups need. Returns whether any of them needs more than was thought.
    fn tell(&mut self, choices: &[Choice], peaks: &[u64]) -> bool {
        let mut surprise = false;
        for (c, &peak) in choices.iter().zip(peaks) {
            if let Some(Ok(grids)) = self.known.get_mut(&(c.from, c.to)) {
                surprise |= peak > grids[c.grid].cost.peak;
                grids[c.grid].cost.peak = peak;
            }
        }
        surprise
    }

    /// The plans of the ways to the last cut point, with the choices that make them.
    fn plans(&self, ways: &[Vec<Way>]) -> impl Iterator<Item = (Plan, Vec<Choice>)> {
        let last = ways.len() - 1;
        (0..ways[last].len()).map(move |i| self.plan(ways, last, i))
    }

    fn plan(&self, ways: &[Vec<Way>], point: usize, index: usize) -> (Plan, Vec<Choice>) {
        let end = &ways[point][index];
        let mut plan = Plan { peak: end.peak, macs: end.macs, groups: Vec::new() };
        let mut choices = Vec::new();
        let mut at = Some((point, index));
        while let Some((p, i)) = at {
            let way = &ways[p][i];
            if let Some(c) = way.group
                && let Some(Ok(grids)) = self.known.get(&(c.from, c.to))
            {
                let range = self.cuts[c.from]..self.cuts[c.to];
                let outputs = self.net.outputs(&range);
                let group = Group { nodes: self.net.nodes[range].to_vec(), outputs };
                let Costed { grid, reuse, .. } = grids[c.grid].clone();
                plan.groups.push(Fused { group, grid, reuse });
                choices.push(c);
            }
            at = way.from;
        }
        plan.groups.reverse();
        choices.reverse();
        (plan, choices)
    }
}

/// Where groups may begin and end: not before a node that works in place, and not where more
/// values are live than at the next such places; but before one that wants all at once, it is enough
/// that there are no fewer after it.
fn cut_points(net: &Net) -> Vec<usize> {
    let n = net.nodes.len();
    let coarse: Vec<usize> = (0..=n).filter(|&p| p == 0 || p == n || !net.in_place[p]).collect();
    let live: Vec<usize> = coarse.iter().map(|&p| net.crossing(p)).collect();
    let good = |i: usize| {
        i == 0
            || i + 1 == coarse.len()
            || live[i] <= 1
            || live[i] <= live[i + 1] && (live[i] <= live[i - 1] || net.sums_up[coarse[i]])
    };
    (0..coarse.len()).filter(|&i| good(i)).map(|i| coarse[i]).collect()
}

fn extend(
    here: &mut Vec<Way>,
    ways: &[Way],
    from: usize,
    (cost, group): (GroupCost, Option<Choice>),
    ceiling: u64,
) {
    if cost.peak > ceiling {
        return;
    }
    for (i, w) in ways.iter().enumerate() {
        let way = Way {
            peak: cost.peak.max(w.peak),
            macs: cost.macs + w.macs,
            overhead: cost.overhead + w.overhead,
            from: Some((from, i)),
            group,
        };
        // Work grows along the list, and peaks fall: what comes before has less work.
        let at = here.partition_point(|o| (o.macs, o.overhead) <= (way.macs, way.overhead));
        if at > 0 && here[at - 1].peak <= way.peak {
            continue;
        }
        let beaten = here[at..].iter().take_while(|o| o.peak >= way.peak).count();
        here.splice(at..at + beaten, [way]);
    }
}

/// Numbers of parts along the first and the second axis of a grid that are tried.
const ROWS: [i64; 12] = [2, 3, 4, 5, 6, 8, 10, 14, 20, 28, 40, 64];
const COLUMNS: [i64; 6] = [2, 3, 4, 5, 6, 8];
/// The same for small graphs.
const MORE: [i64; 18] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 24, 28, 38, 48, 64];

/// A grid with its peak and work.
#[derive(Clone, Debug)]
struct Costed {
    cost: GroupCost,
    grid: Grid,
    reuse: Reuse,
}

/// The grids of a group that no other one with the same reuse beats.
///
/// # Errors
/// With the node and the reason, if the group cannot be divided; without, if its result is none
/// that is.
fn grids(graph: &Graph, c: &Candidate<'_>, limits: &Limits, small: bool) -> Grids {
    let Some(&last) = c.outputs.last() else { return Err(None) };
    let Some(extents) = graph.value(last).ty.extents() else { return Err(None) };
    // Rows and columns of images, rows of matrices; where no halo crosses, channels; the batch.
    let sets: &[&[usize]] = match extents.len() {
        0 | 1 => &[],
        2 => &[&[0]],
        3 => &[&[1], &[0]],
        4 => &[&[2, 3], &[1], &[0]],
        _ => &[&[3, 4], &[2, 3], &[1], &[0]],
    };
    let mut found: Vec<Costed> = Vec::new();
    let mut barrier = None;
    for axes in sets {
        let mut spreads = Spreads { c, axes, extents: &extents, known: HashMap::new() };
        // If two parts can be had, so can others.
        if extents[axes[0]] < 2 {
            continue;
        }
        match spreads.get(0, 2, Reuse::Recompute) {
            Ok(_) => {
                let shape = Shape { first: axes[0], limits, small };
                shape.grids(&mut spreads, &mut found);
            }
            Err(b) => barrier = barrier.or(Some(b)),
        }
    }
    if found.is_empty() { Err(barrier) } else { Ok(found) }
}

/// Which grids are tried.
struct Shape<'a> {
    first: usize,
    limits: &'a Limits,
    small: bool,
}

impl Shape<'_> {
    /// Numbers of parts along an axis of the grid, at most so many.
    fn counts(&self, level: usize, extent: u64) -> impl Iterator<Item = i64> + use<> {
        let all = match level {
            _ if self.small => &MORE[..],
            0 => &ROWS[..],
            _ => &COLUMNS[..],
        };
        let most = (self.limits.tiles as i64).min(extent as i64);
        all.iter().copied().filter(move |&p| p <= most)
    }

    fn grids(&self, spreads: &mut Spreads<'_>, found: &mut Vec<Costed>) {
        let extent = |level: usize| spreads.extents[spreads.axes[level]];
        let (c, plane) = (spreads.c, spreads.axes.len() > 1);
        let (height, width) = (extent(0), if plane { extent(1) } else { 1 });
        // Halos lie along the axes of a plane.
        let kept = |r: &&Reuse| plane || self.first > 1 || **r == Reuse::Recompute;
        for &reuse in self.limits.reuse.iter().filter(kept) {
            for rows in self.counts(0, height) {
                let columns = plane.then(|| self.counts(1, width)).into_iter().flatten();
                let columns = columns.filter(|&w| w <= 2 * rows && rows <= 4 * w);
                let alone = (reuse != Reuse::Checkerboard && reuse != Reuse::All).then_some(1);
                for columns in alone.into_iter().chain(columns) {
                    if rows * columns > self.limits.tiles as i64 {
                        break;
                    }
                    let Ok(h) = spreads.get(0, rows, reuse) else { break };
                    let mut both = vec![h];
                    if columns > 1 {
                        let Ok(w) = spreads.get(1, columns, reuse) else { break };
                        both.push(w);
                    }
                    let (grid, spreads) = both.into_iter().unzip();
                    let layout = Layout::new(Arc::clone(&c.table), Grid { axes: grid }, spreads);
                    let cost = c.cost(&layout);
                    let rivals = |f: &&Costed| f.reuse == reuse;
                    if !found.iter().filter(rivals).any(|f| f.cost.beats(&cost)) {
                        found.retain(|f| f.reuse != reuse || !cost.beats(&f.cost));
                        found.push(Costed { cost, grid: layout.grid, reuse });
                    }
                }
            }
        }
    }
}

/// The spans of a group along its axes, each worked out once.
struct Spreads<'a> {
    c: &'a Candidate<'a>,
    axes: &'a [usize],
    extents: &'a [u64],
    known: HashMap<(usize, i64, Reuse), Result<Side, (NodeId, Barrier)>>,
}

/// An axis with its parts, and the spans.
type Side = ((usize, Vec<Span>), Spread);

impl Spreads<'_> {
    fn get(&mut self, level: usize, count: i64, reuse: Reuse) -> Result<Side, (NodeId, Barrier)> {
        // What matters is what happens along this axis.
        let reuse = match reuse {
            Reuse::Rows if level > 0 => Reuse::Recompute,
            Reuse::All if level == 0 => Reuse::Rows,
            r => r,
        };
        let axis = self.axes[level];
        let (c, n) = (self.c, self.extents[axis] as i64);
        let make = || {
            let last = c.table.steps[c.table.steps.len() - 1].node;
            let spans = parts::even(n, count, 1, false).map_err(|e| (last, Barrier(e)))?;
            let spread = Spread::new(&c.table, &c.outputs, (axis, &spans), level, reuse)?;
            Ok(((axis, spans), spread))
        };
        self.known.entry((level, count, reuse)).or_insert_with(make).clone()
    }
}

/// The edits of a plan applied to a copy of the graph.
///
/// # Errors
/// With the node and the reason, if a group cannot be built.
pub fn realise(graph: &Graph, plan: &Plan) -> Result<Graph, String> {
    built(graph, plan).map(|b| b.graph)
}

/// The graph that a plan makes.
struct Built {
    graph: Graph,
    /// The nodes that each group became.
    nodes: Vec<Vec<NodeId>>,
    /// What does the same by hand.
    by_hand: Vec<Stretch>,
}

fn built(graph: &Graph, plan: &Plan) -> Result<Built, String> {
    let mut built = Built { graph: graph.clone(), nodes: Vec::new(), by_hand: Vec::new() };
    for f in &plan.groups {
        let copy = &mut built.graph;
        built.by_hand.extend(f.by_hand(copy));
        let edit = f.edit(copy).map_err(|(n, b)| format!("{}: {b}", copy.label(n)))?;
        let applied = Editor::new(copy).apply(&edit).map_err(|e| e.to_string())?;
        built.nodes.push(applied.nodes);
    }
    Ok(built)
}

impl Fused {
    fn edit(&self, graph: &Graph) -> Result<Edit, (NodeId, Barrier)> {
        let label = self.group.nodes.last().map_or("", |&n| graph.label(n));
        let origin = format!("fuse-tiles {label}");
        build::tile_group(graph, &self.group, &self.grid, self.reuse, &origin)
    }

    fn by_hand(&self, graph: &Graph) -> Option<Stretch> {
        Stretch::of(graph, &self.group, &self.grid, self.reuse)
    }
}

/// Says which plans there are, with the exact peak of each.
pub(super) fn list(cx: &mut Cx<'_, '_>, limits: &Limits) {
    let found = match front(cx.graph(), limits) {
        Ok(f) => f,
        Err(why) => return cx.say("", Outcome::Blocked, why),
    };
    let macs = cost(cx.graph()).macs;
    let before = memory::plan_for(cx.graph(), limits.runtime).map_or(0, |p| p.peak);
    for plan in &found.plans {
        let Ok(built) = built(cx.graph(), plan) else { continue };
        let Ok(exact) = memory::plan_for(&built.graph, limits.runtime) else { continue };
        let groups: Vec<String> =
            plan.groups.iter().map(|f| format!("{} {}", shape(&f.grid), f.reuse)).collect();
        let (peak, more) = (readable(exact.peak), extra(plan.macs, macs));
        let what = format!("peak {peak}, {more}: {}", groups.join("; "));
        let data = Data::Cost {
            peak: Change { before, after: exact.peak },
            macs: Change { before: macs, after: plan.macs },
            by_hand: built.by_hand,
        };
        cx.tell("", Outcome::NoEffect, what, data);
    }
}

/// Work beside that of the untiled graph.
fn extra(macs: u64, before: u64) -> String {
    format!("{:+.2} % MACs", (macs as f64 / before.max(1) as f64 - 1.0) * 100.0)
}

/// Plans, builds, measures the rewritten graph, and applies what fits.
pub(super) fn run(cx: &mut Cx<'_, '_>, goal: Goal, limits: &Limits) -> Result<(), EditError> {
    let graph = cx.graph();
    let before = match memory::plan_for(graph, limits.runtime) {
        Ok(plan) => plan,
        Err(why) => {
            let why = Net::new(graph, limits.runtime).err().unwrap_or_else(|| why.to_string());
            cx.say("", Outcome::Blocked, why);
            return Ok(());
        }
    };
    if let Goal::Memory(budget) = goal
        && before.peak <= budget
    {
        let why = format!("{} fit as they are", readable(before.peak));
        cx.say("", Outcome::NoEffect, why);
        return Ok(());
    }
    let macs = cost(graph).macs;
    match best(graph, goal, limits) {
        Ok(Best { plan, peak, macs: after, barriers, left }) => {
            for (node, bytes) in left {
                let why = format!("nothing tiles it, and it needs {}", readable(bytes));
                let label = cx.graph().label(node).to_owned();
                cx.tell(label, Outcome::Blocked, why, Data::Left(bytes));
            }
            for (node, why) in barriers {
                cx.remark(node, Outcome::NoEffect, format!("no group runs over it: {why}"));
            }
            let mut by_hand: Vec<Stretch> = Vec::new();
            for f in &plan.groups {
                by_hand.extend(f.by_hand(cx.graph()));
                let edit = f.edit(cx.graph());
                let (Some(&first), Some(&last)) = (f.group.nodes.first(), f.group.nodes.last())
                else {
                    continue;
                };
                let label = cx.graph().label(last).to_owned();
                let what = format!(
                    "{} nodes from {:?} in {}, {}",
                    f.group.nodes.len(),
                    cx.graph().label(first),
                    shape(&f.grid),
                    f.reuse
                );
                match edit {
                    Ok(edit) => {
                        cx.apply(&edit)?;
                        let (nodes, grid) = (f.group.nodes.len(), f.grid.counts());
                        let data = Data::Tiles { nodes, grid, reuse: f.reuse };
                        cx.tell(label, Outcome::Applied, what, data);
                    }
                    Err((n, b)) => cx.remark(n, Outcome::Blocked, b.0),
                }
            }
            let (a, b, more) = (readable(before.peak), readable(peak), extra(after, macs));
            // Names that several nodes share may hide a group.
            if by_hand.len() < plan.groups.len() {
                by_hand.clear();
            }
            let mut what = format!("peak {a} to {b}, {more}");
            if !by_hand.is_empty() {
                let passes = by_hand.iter().cloned().map(FuseTiles::from);
                let passes = passes.fold(Pipeline::default(), Pipeline::then);
                what.push_str(&format!("; by hand: {passes}"));
            }
            let data = Data::Cost {
                peak: Change { before: before.peak, after: peak },
                macs: Change { before: macs, after },
                by_hand,
            };
            cx.tell("", Outcome::Applied, what, data);
        }
        Err(Unmet::Unknown(why)) => cx.say("", Outcome::Blocked, why),
        Err(e @ Unmet::Peak { least, .. }) => {
            cx.tell("", Outcome::Blocked, e.to_string(), Data::Unmet(least));
        }
    }
    Ok(())
}

/// A plan that was chosen.
#[derive(Clone, Debug)]
pub struct Best {
    /// The plan.
    pub plan: Plan,
    /// Peak of live bytes of the graph that it makes, by its memory plan.
    pub peak: u64,
    /// Multiply-accumulates of that graph.
    pub macs: u64,
    /// As in [`Front`].
    pub barriers: Vec<(NodeId, String)>,
    /// Nodes that need more than the goal, with bytes: see [`Limits::partly`].
    pub left: Vec<(NodeId, u64)>,
}

/// There is no plan for a goal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unmet {
    /// The size of a value is not known, or a group cannot be built.
    #[error("{0}")]
    Unknown(String),
    /// What was found needs more.
    #[error("the least peak that was found is {}, {why}", readable(*.least))]
    Peak {
        /// The least peak that was found, in bytes.
        least: u64,
        /// What sets it.
        why: String,
    },
}

/// A plan with the graph that it makes.
struct Measured {
    plan: Plan,
    graph: Graph,
    memory: memory::Plan,
    /// Nodes that compute each group's tiles.
    nodes: Vec<Vec<NodeId>>,
}

impl Measured {
    fn new(graph: &Graph, plan: Plan, runtime: Runtime) -> Result<Self, String> {
        let Built { graph, nodes, .. } = built(graph, &plan)?;
        let memory = memory::plan_for(&graph, runtime).map_err(|e| e.to_string())?;
        Ok(Self { plan, graph, memory, nodes })
    }

    /// Most bytes that are live while each group runs; and those that are live while what sets the
    /// peak runs count for the group that ends last before it, too.
    fn peaks(&self) -> Vec<u64> {
        let groups = self.nodes.iter().enumerate();
        let of: HashMap<NodeId, usize> =
            groups.flat_map(|(g, n)| n.iter().map(move |&n| (n, g))).collect();
        let mut peaks = vec![0; self.nodes.len()];
        let mut before = None;
        for (i, (n, &bytes)) in self.memory.steps.iter().zip(&self.memory.timeline).enumerate() {
            let group = of.get(n).copied();
            before = group.or(before);
            if let Some(g) = group.or(before.filter(|_| i == self.memory.at)) {
                peaks[g] = bytes.max(peaks[g]);
            }
        }
        peaks
    }

    /// Most bytes that are live at once while any node runs that is not left, and the first such node.
    fn peak_beside(&self, left: &[(NodeId, u64)]) -> (u64, Option<NodeId>) {
        let all = self.memory.steps.iter().zip(&self.memory.timeline);
        let beside = all.filter(|(n, _)| !left.iter().any(|l| l.0 == **n));
        let most = beside.rev().max_by_key(|s| s.1);
        most.map_or((0, None), |(&n, &bytes)| (bytes, Some(n)))
    }

    fn best(self, barriers: Vec<(NodeId, String)>) -> Best {
        let macs = cost(&self.graph).macs;
        let (plan, peak) = (self.plan, self.memory.peak);
        Best { plan, peak, macs, barriers, left: Vec::new() }
    }
}

/// Plans that are built and measured at most, to find one that fits; and such of them that do not
/// fit even by the search's guess.
const ROUNDS: (usize, usize) = (24, 6);

/// The best plan for a goal.
///
/// What the search says of a group is a guess. The memory plan of the graph that a plan makes says
/// what its groups really need; the search is told, and chooses again.
///
/// # Errors
/// If the size of a value is unknown, or nothing fits: with the least peak that was found, and
/// what sets it.
pub fn best(graph: &Graph, goal: Goal, limits: &Limits) -> Result<Best, Unmet> {
    let mut net = Net::new(graph, limits.runtime).map_err(Unmet::Unknown)?;
    let mut left: Vec<(NodeId, u64)> = Vec::new();
    loop {
        let (why, hopeless) = match best_of(graph, &net, goal, limits, &left) {
            Ok(found) => return Ok(Best { left, ..found }),
            Err(short) => short,
        };
        if hopeless.is_empty() {
            return Err(why);
        }
        left.extend(hopeless.iter().map(|&p| (net.nodes[p], net.live[p])));
        hopeless.into_iter().for_each(|p| net.live[p] = 0);
    }
}

/// The best plan, if the nodes that are left need nothing; or why there is none, and the positions of
/// nodes that may be left, too.
fn best_of(
    graph: &Graph,
    net: &Net,
    goal: Goal,
    limits: &Limits,
    left: &[(NodeId, u64)],
) -> Result<Best, (Unmet, Vec<usize>)> {
    let plain = |e: String| (Unmet::Unknown(e), Vec::new());
    let mut search = Search::new(graph, net, limits);
    let macs = cost(graph).macs;
    let mut least: Option<Measured> = None;
    let mut tried: Vec<Vec<Choice>> = Vec::new();
    let mut hopeless = 0;
    while tried.len() < ROUNDS.0 && hopeless < ROUNDS.1 {
        let Some((plan, choices)) = search.choose(goal, macs) else { break };
        if tried.contains(&choices) {
            break;
        }
        if let Goal::Memory(budget) = goal {
            hopeless += usize::from(plan.peak > budget);
        }
        let one = Measured::new(graph, plan, limits.runtime).map_err(plain)?;
        let surprise = search.tell(&choices, &one.peaks());
        let fits = match goal {
            Goal::Memory(budget) => one.peak_beside(left).0 <= budget,
            Goal::ExtraMacs(_) => !surprise && !choices.is_empty(),
        };
        if fits {
            return Ok(one.best(search.barriers));
        }
        tried.push(choices);
        let peak = |m: &Measured| m.peak_beside(left).0;
        if least.as_ref().is_none_or(|m| peak(&one) < peak(m)) {
            least = Some(one);
        }
    }
    let Some(m) = least else { return Err(plain("there is no plan".into())) };
    let before = memory::plan_for(graph, limits.runtime).map_err(|e| plain(e.to_string()))?.peak;
    if matches!(goal, Goal::ExtraMacs(_)) && m.memory.peak < before {
        return Ok(m.best(search.barriers));
    }
    let (least, at) = m.peak_beside(left);
    let at = at.map_or("the inputs".into(), |n| format!("{:?}", m.graph.label(n)));
    let mut why = format!("set by {at}");
    if let Some((node, reason)) = search.barriers.first() {
        why.push_str(&format!("; no group runs over {:?}: {reason}", graph.label(*node)));
    }
    let hopeless = match goal {
        Goal::Memory(budget) if limits.partly => search.hopeless(budget),
        _ => Vec::new(),
    };
    Err((Unmet::Peak { least, why }, hopeless))
}

fn shape(grid: &Grid) -> String {
    let counts: Vec<String> = grid.counts().iter().map(ToString::to_string).collect();
    match &counts[..] {
        [one] => format!("{one} rows"),
        all => all.join("x"),
    }
}
