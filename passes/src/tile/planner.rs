//! Which stretches of a graph to run in tiles, on which grids, and what to keep of overlaps.
//!
//! Dynamic programming over cut points of the schedule, places where few values are live: from one
//! cut point to a later one the nodes run as they are, or as one group on one of many grids, each
//! with its peak of live bytes and its work: multiply-accumulates, and where those are equal what
//! it costs to start nodes and to copy. A plan's peak is the largest of its parts', its work is
//! their sum; of all plans to a cut point only those are kept that no other one beats in both (the
//! Pareto front).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Span};

use super::layout::{Layout, Spread};
use super::model::{Candidate, GroupCost, Net};
use super::{Grid, Group, Reuse, build, parts};
use crate::analysis::{cost, peak};
use crate::options::readable;
use crate::pass::{Cx, Outcome};

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
}

impl Default for Limits {
    fn default() -> Self {
        let reuse = vec![Reuse::Recompute, Reuse::Rows, Reuse::All];
        Self { tiles: 64, reuse, reach: 40 }
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
    /// Multiply-accumulates.
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
    group: Option<(Range<usize>, Grid, Reuse)>,
}

/// The plans of a graph.
///
/// # Errors
/// If the size of a value is unknown; with its name.
pub fn front(graph: &Graph, limits: &Limits) -> Result<Front, String> {
    Ok(whole_front(graph, &Net::new(graph)?, limits))
}

fn whole_front(graph: &Graph, net: &Net, limits: &Limits) -> Front {
    // Stretches that need less than the least peak of any plan can be left out of the search; it
    // is repeated with a smaller guess until that is so.
    let mut cold = net.live.iter().copied().max().unwrap_or(0) / 2;
    loop {
        let found = search(graph, net, limits, cold);
        let least = found.plans.iter().map(|p| p.peak).min().unwrap_or(0);
        if least >= cold || cold == 0 {
            return found;
        }
        cold /= 2;
    }
}

/// The plans of a graph that matter for a goal: for a budget of memory, groups only around what
/// does not fit, which takes a fraction of the time.
fn front_for(graph: &Graph, net: &Net, goal: Goal, limits: &Limits) -> Front {
    if let Goal::Memory(budget) = goal {
        let found = search(graph, net, limits, budget - budget / 8);
        // What is left out only matters for the least that is possible.
        if found.plans.iter().any(|p| p.peak <= budget) {
            return found;
        }
    }
    whole_front(graph, net, limits)
}

/// Cut points up to which a graph is searched without sparing.
const SMALL: usize = 40;

/// Cut points of a graph times cut points of its longest group, about.
const REACH: usize = 4000;

/// How far groups of larger graphs reach into stretches that fit as they are, in cut points.
const MARGIN: usize = 3;

/// The front, with groups only around nodes while which more than `cold` bytes are live.
fn search(graph: &Graph, net: &Net, limits: &Limits, cold: u64) -> Front {
    let cuts = cut_points(net);
    let live =
        |from: usize, to: usize| net.live[cuts[from]..cuts[to]].iter().copied().max().unwrap_or(0);
    let small = cuts.len() <= SMALL;
    // Time stays in bounds: the longer the graph, the shorter the groups.
    let reach = limits.reach.min((REACH / cuts.len()).max(6));
    let margin = if small { cuts.len() } else { MARGIN };
    let hot: Vec<bool> = (1..cuts.len()).map(|k| live(k - 1, k) > cold).collect();
    let mut barriers: Vec<(NodeId, String)> = Vec::new();
    let start = Way { peak: 0, macs: 0, overhead: 0, from: None, group: None };
    let mut ways: Vec<Vec<Way>> = vec![vec![start]];
    for k in 1..cuts.len() {
        let mut here = Vec::new();
        let macs: u64 = net.macs[cuts[k - 1]..cuts[k]].iter().sum();
        let cost = GroupCost { peak: live(k - 1, k), macs, overhead: 0 };
        extend(&mut here, &ways[k - 1], k - 1, cost, None);
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
            let range = cuts[from]..cuts[k];
            let candidate = Candidate::new(net, range.clone());
            if candidate.around >= live(from, k) {
                continue;
            }
            match grids(graph, &candidate, limits, small) {
                Ok(all) => {
                    for (cost, grid, reuse) in all {
                        let group = Some((range.clone(), grid, reuse));
                        extend(&mut here, &ways[from], from, cost, group);
                    }
                }
                Err(None) => {}
                Err(Some((node, why))) => {
                    if !barriers.iter().any(|b| b.0 == node) {
                        barriers.push((node, why.0));
                    }
                    break;
                }
            }
        }
        ways.push(here);
    }
    let last = ways.len() - 1;
    let plans = (0..ways[last].len()).map(|i| plan(net, &ways, last, i)).collect();
    Front { plans, barriers }
}

/// Where groups may begin and end: not before a node that works in place, and not where more
/// values are live than at the next such places.
fn cut_points(net: &Net) -> Vec<usize> {
    let n = net.nodes.len();
    let coarse: Vec<usize> = (0..=n).filter(|&p| p == 0 || p == n || !net.in_place[p]).collect();
    let live: Vec<usize> = coarse.iter().map(|&p| net.crossing(p)).collect();
    let good = |i: usize| {
        i == 0
            || i + 1 == coarse.len()
            || live[i] <= 1
            || live[i] <= live[i - 1] && live[i] <= live[i + 1]
    };
    (0..coarse.len()).filter(|&i| good(i)).map(|i| coarse[i]).collect()
}

fn extend(
    here: &mut Vec<Way>,
    ways: &[Way],
    from: usize,
    cost: GroupCost,
    group: Option<(Range<usize>, Grid, Reuse)>,
) {
    for (i, w) in ways.iter().enumerate() {
        let way = Way {
            peak: cost.peak.max(w.peak),
            macs: cost.macs + w.macs,
            overhead: cost.overhead + w.overhead,
            from: Some((from, i)),
            group: group.clone(),
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

fn plan(net: &Net, ways: &[Vec<Way>], point: usize, index: usize) -> Plan {
    let end = &ways[point][index];
    let (peak, macs) = (end.peak, end.macs);
    let mut groups = Vec::new();
    let mut at = Some((point, index));
    while let Some((p, i)) = at {
        let way = &ways[p][i];
        if let Some((range, grid, reuse)) = &way.group {
            let group =
                Group { nodes: net.nodes[range.clone()].to_vec(), outputs: net.outputs(range) };
            groups.push(Fused { group, grid: grid.clone(), reuse: *reuse });
        }
        at = way.from;
    }
    groups.reverse();
    Plan { peak, macs, groups }
}

/// Numbers of parts along the first and the second axis of a grid that are tried.
const ROWS: [i64; 12] = [2, 3, 4, 5, 6, 8, 10, 14, 20, 28, 40, 64];
const COLUMNS: [i64; 6] = [2, 3, 4, 5, 6, 8];
/// The same for small graphs.
const MORE: [i64; 18] = [2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 24, 28, 38, 48, 64];

/// A grid with its peak and work.
type Costed = (GroupCost, Grid, Reuse);

/// The grids of a group that no other one beats.
///
/// # Errors
/// With the node and the reason, if the group cannot be divided; without, if its result is none
/// that is.
fn grids(
    graph: &Graph,
    c: &Candidate<'_>,
    limits: &Limits,
    small: bool,
) -> Result<Vec<Costed>, Option<(NodeId, Barrier)>> {
    let Some(&last) = c.outputs.last() else { return Err(None) };
    let Some(extents) = graph.value(last).ty.extents() else { return Err(None) };
    // Rows and columns of images, rows of matrices, the batch.
    let axes: Vec<usize> = match extents.len() {
        0 | 1 => return Err(None),
        2 => vec![0],
        3 => vec![1],
        rank => vec![rank - 2, rank - 1],
    };
    let counts = |level: usize| {
        let n = extents[axes[level]] as i64;
        let all = match level {
            _ if small => &MORE[..],
            0 => &ROWS[..],
            _ => &COLUMNS[..],
        };
        let most = (limits.tiles as i64).min(n);
        all.iter().copied().filter(move |&p| p <= most)
    };
    if counts(0).next().is_none() {
        return Err(None);
    }
    let mut spreads = Spreads { c, axes: &axes, extents: &extents, known: HashMap::new() };
    // If two parts can be had, so can others.
    if let Err(b) = spreads.get(0, 2, Reuse::Recompute) {
        return Err(Some(b));
    }
    let mut found: Vec<Costed> = Vec::new();
    for &reuse in &limits.reuse {
        for rows in counts(0) {
            let columns = (axes.len() > 1).then(|| counts(1)).into_iter().flatten();
            let columns = columns.filter(|&w| w <= 2 * rows && rows <= 4 * w);
            let alone = (reuse != Reuse::Checkerboard && reuse != Reuse::All).then_some(1);
            for columns in alone.into_iter().chain(columns) {
                if rows * columns > limits.tiles as i64 {
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
                if !found.iter().any(|f| f.0.beats(&cost)) {
                    found.retain(|f| !cost.beats(&f.0));
                    found.push((cost, layout.grid, reuse));
                }
            }
        }
    }
    Ok(found)
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
    let mut copy = graph.clone();
    for f in &plan.groups {
        let edit = f.edit(&copy).map_err(|(n, b)| format!("{}: {b}", copy.label(n)))?;
        Editor::new(&mut copy).apply(&edit).map_err(|e| e.to_string())?;
    }
    Ok(copy)
}

impl Fused {
    fn edit(&self, graph: &Graph) -> Result<Edit, (NodeId, Barrier)> {
        let label = self.group.nodes.last().map_or("", |&n| graph.label(n));
        let origin = format!("fuse-tiles {label}");
        build::tile_group(graph, &self.group, &self.grid, self.reuse, &origin)
    }
}

/// Says which plans there are, with the exact peak of each.
pub(super) fn list(cx: &mut Cx<'_, '_>, limits: &Limits) {
    let found = match front(cx.graph(), limits) {
        Ok(f) => f,
        Err(why) => return cx.say("", Outcome::Blocked, why),
    };
    let macs = cost(cx.graph()).macs;
    for plan in &found.plans {
        let built = realise(cx.graph(), plan).map(|g| peak(&g));
        let Ok(Some(exact)) = built else { continue };
        let groups: Vec<String> =
            plan.groups.iter().map(|f| format!("{} {}", shape(&f.grid), f.reuse)).collect();
        let (peak, more) = (readable(exact.peak), extra(plan.macs, macs));
        cx.say("", Outcome::NoEffect, format!("peak {peak}, {more}: {}", groups.join("; ")));
    }
}

/// Work beside that of the untiled graph.
fn extra(macs: u64, before: u64) -> String {
    format!("{:+.2} % MACs", (macs as f64 / before.max(1) as f64 - 1.0) * 100.0)
}

/// Plans, builds, measures the rewritten graph, and applies what fits.
pub(super) fn run(cx: &mut Cx<'_, '_>, goal: Goal, limits: &Limits) -> Result<(), EditError> {
    let graph = cx.graph();
    let Some(before) = peak(graph) else {
        let why = Net::new(graph).err().unwrap_or_else(|| "an extent is unknown".into());
        cx.say("", Outcome::Blocked, why);
        return Ok(());
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
        Ok(Best { plan, peak, barriers }) => {
            for (node, why) in barriers {
                cx.remark(node, Outcome::NoEffect, format!("no group runs over it: {why}"));
            }
            for f in &plan.groups {
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
                        cx.say(label, Outcome::Applied, what);
                    }
                    Err((n, b)) => cx.remark(n, Outcome::Blocked, b.0),
                }
            }
            let (a, b, more) = (readable(before.peak), readable(peak), extra(plan.macs, macs));
            cx.say("", Outcome::Applied, format!("peak {a} to {b}, {more}"));
        }
        Err(why) => cx.say("", Outcome::Blocked, why),
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
    /// As in [`Front`].
    pub barriers: Vec<(NodeId, String)>,
}

/// The best plan for a goal.
///
/// # Errors
/// If the size of a value is unknown, or nothing fits: with the least peak that was found, and
/// what sets it.
pub fn best(graph: &Graph, goal: Goal, limits: &Limits) -> Result<Best, String> {
    let net = Net::new(graph)?;
    let front = front_for(graph, &net, goal, limits);
    let macs = cost(graph).macs;
    let chosen = choose(graph, &front, goal, macs).or_else(|why| {
        // What is kept of tiles is modelled less exactly than what is not.
        let alone = Limits { reuse: vec![Reuse::Recompute], ..limits.clone() };
        if limits.reuse.len() < 2 {
            return Err(why);
        }
        choose(graph, &front_for(graph, &net, goal, &alone), goal, macs).map_err(|_| why)
    });
    let (plan, peak) = chosen?;
    Ok(Best { plan, peak, barriers: front.barriers })
}

/// The plan of a front for the goal, with the exact peak of the graph that it makes.
///
/// # Errors
/// With the least that is possible, if nothing fits.
fn choose(graph: &Graph, front: &Front, goal: Goal, macs: u64) -> Result<(Plan, u64), String> {
    let mut least: Option<(u64, String)> = None;
    // The front goes from little work and much memory to the other end.
    let order: Vec<&Plan> = match goal {
        Goal::Memory(_) => front.plans.iter().collect(),
        Goal::ExtraMacs(_) => front.plans.iter().rev().collect(),
    };
    for plan in order {
        let within = match goal {
            Goal::Memory(budget) => plan.peak <= budget.saturating_add(budget / 50),
            Goal::ExtraMacs(share) => plan.macs as f64 <= macs as f64 * (1.0 + share),
        };
        // The last one is built in any case, to know what is possible.
        if !within && Some(plan) != front.plans.last() {
            continue;
        }
        let built = realise(graph, plan)?;
        let Some(exact) = peak(&built) else { return Err("an extent is unknown".into()) };
        let fits = match goal {
            Goal::Memory(budget) => exact.peak <= budget,
            Goal::ExtraMacs(_) => within,
        };
        if fits {
            return Ok((plan.clone(), exact.peak));
        }
        if least.as_ref().is_none_or(|l| exact.peak < l.0) {
            let at = exact.at.map_or("the inputs".into(), |n| format!("{:?}", built.label(n)));
            least = Some((exact.peak, format!(", set by {at}")));
        }
    }
    let Some((least, at)) = least else { return Err("there is no plan".into()) };
    let mut why = format!("the least peak that was found is {}{at}", readable(least));
    if let Some((node, reason)) = front.barriers.first() {
        why.push_str(&format!("; no group runs over {:?}: {reason}", graph.label(*node)));
    }
    Err(why)
}

fn shape(grid: &Grid) -> String {
    let counts: Vec<String> = grid.axes.iter().map(|a| a.1.len().to_string()).collect();
    match &counts[..] {
        [one] => format!("{one} rows"),
        all => all.join("x"),
    }
}
