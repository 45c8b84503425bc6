//! Dynamic programming over cut points: the plans that no other one dominates in peak and work.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::{Graph, NodeId, ValueId};

use super::grids::{GridCandidate, Grids, grids};
use super::{Goal, Limits, TiledGroup, TilingPlan};
use crate::tile::Group;
use crate::tile::cost_model::{Candidate, GroupCost, Net};

/// A plan for the nodes before a cut point that no other one dominates.
#[derive(Clone, Debug)]
struct ParetoPoint {
    peak: u64,
    macs: u64,
    overhead: u64,
    /// The cut point and the plan before it that this one extends, by index; `None` at the start.
    from: Option<(usize, usize)>,
    /// The group between the two cut points; `None` if the nodes between them run untiled.
    group: Option<Choice>,
}

/// A group between two cut points, and which of its [`Grids`] it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Choice {
    from: usize,
    to: usize,
    grid: usize,
}

/// What the costs of a group depend on.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    kinds: Vec<u32>,
    wanted: Vec<bool>,
    around: u64,
}

/// Graphs of at most this many cut points are searched exhaustively.
const SMALL: usize = 40;

/// Approximate bound on the cut points of a graph times the cut points of its longest group.
const REACH: usize = 4000;

/// How many cut points groups of larger graphs extend into stretches that fit untiled.
const MARGIN: usize = 3;

/// The state of the search: all groups evaluated so far, with their estimated costs.
pub(super) struct Search<'a> {
    graph: &'a Graph,
    net: &'a Net<'a>,
    limits: &'a Limits,
    /// Positions where groups may begin and end.
    cuts: Vec<usize>,
    /// By first and last cut point: the grids that no other one dominates, or why there are none.
    known: HashMap<(usize, usize), Grids>,
    /// The kind of each node, see [`Net::kinds`].
    kinds: Vec<u32>,
    /// The same of groups that are alike, with the position of the node in the group instead of the node: blocks
    /// that repeat are evaluated once.
    alike: HashMap<Alike, Result<Arc<Vec<GridCandidate>>, Option<(usize, Barrier)>>>,
    /// Nodes that no group can contain, with the reason.
    pub(super) barriers: Vec<(NodeId, Barrier)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(graph: &'a Graph, net: &'a Net<'a>, limits: &'a Limits) -> Self {
        let symbolic = |v: ValueId| {
            let axes = 0..graph.value(v).ty.rank().unwrap_or(0);
            axes.filter(|&a| limits.is_symbolic(v, a)).collect::<Vec<_>>()
        };
        Self {
            graph,
            net,
            limits,
            cuts: cut_points(net),
            known: HashMap::new(),
            kinds: net.kinds(symbolic),
            alike: HashMap::new(),
            barriers: Vec::new(),
        }
    }

    /// Most bytes that are live between two cut points with nothing tiled.
    fn live(&self, from: usize, to: usize) -> u64 {
        self.net.live[self.cuts[from]..self.cuts[to]].iter().copied().max().unwrap_or(0)
    }

    /// The complete Pareto front at every cut point. Stretches whose live bytes stay below the least
    /// peak of any plan need no groups; the search starts from a guess of that peak, and halves it
    /// until the guess is a lower bound.
    fn complete_fronts(&mut self) -> Vec<Vec<ParetoPoint>> {
        let mut quiet = self.live(0, self.cuts.len() - 1) / 2;
        loop {
            let fronts = self.fronts(quiet, u64::MAX);
            let least = fronts[fronts.len() - 1].iter().map(|w| w.peak).min().unwrap_or(0);
            if least >= quiet || quiet == 0 {
                return fronts;
            }
            quiet /= 2;
        }
    }

    /// The Pareto front at every cut point, of plans with a peak of at most `ceiling` bytes and with
    /// groups only around nodes during which more than `quiet` bytes are live.
    fn fronts(&mut self, quiet: u64, ceiling: u64) -> Vec<Vec<ParetoPoint>> {
        let points = self.cuts.len();
        let small = points <= SMALL;
        // Bounds the time: the longer the graph, the shorter the groups.
        let reach = self.limits.reach.min((REACH / points).max(6));
        let margin = if small { points } else { MARGIN };
        let busy: Vec<bool> = (1..points).map(|k| self.live(k - 1, k) > quiet).collect();
        let start = ParetoPoint { peak: 0, macs: 0, overhead: 0, from: None, group: None };
        let mut fronts: Vec<Vec<ParetoPoint>> = vec![vec![start]];
        for k in 1..points {
            let mut here = Vec::new();
            let macs: u64 = self.net.macs[self.cuts[k - 1]..self.cuts[k]].iter().sum();
            let cost = GroupCost { peak: self.live(k - 1, k), macs, overhead: 0 };
            extend(&mut here, &fronts[k - 1], k - 1, (cost, None), ceiling);
            for from in (k.saturating_sub(reach)..k).rev() {
                let first = (from..k).find(|&i| busy[i]);
                let last = (from..k).rfind(|&i| busy[i]);
                let (Some(first), Some(last)) = (first, last) else {
                    if k - from > margin {
                        break;
                    }
                    continue;
                };
                if k - 1 - last > margin || first - from > margin {
                    break;
                }
                if fronts[from].is_empty() {
                    continue;
                }
                match self.grids(from, k, ceiling) {
                    Ok(all) => {
                        for (grid, one) in all.iter().enumerate() {
                            let group = Some(Choice { from, to: k, grid });
                            extend(&mut here, &fronts[from], from, (one.cost, group), ceiling);
                        }
                    }
                    Err(None) => {}
                    Err(Some((node, why))) => {
                        let (node, why) = (*node, why.clone());
                        if !self.barriers.iter().any(|b| b.0 == node) {
                            self.barriers.push((node, why));
                        }
                        break;
                    }
                }
            }
            fronts.push(here);
        }
        fronts
    }

    /// The grids of the group between two cut points; computed on first use.
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
                // Not stored: a search with a higher ceiling may need it.
                if around >= ceiling {
                    return &NONE;
                }
                let key = Alike {
                    kinds: self.kinds[range.clone()].to_vec(),
                    wanted: self.net.wanted(&range),
                    around,
                };
                let nodes = &self.net.nodes[range.clone()];
                let found = self.alike.entry(key).or_insert_with(|| {
                    let candidate = Candidate::new(self.net, range, around);
                    let small = self.cuts.len() <= SMALL;
                    let place = |node: NodeId| nodes.iter().position(|&n| n == node);
                    grids(self.graph, &candidate, self.limits, small)
                        .map_err(|e| e.and_then(|(node, why)| Some((place(node)?, why))))
                });
                let named = |(at, why): &(usize, Barrier)| (nodes[*at], why.clone());
                e.insert(found.as_ref().map(Arc::clone).map_err(|e| e.as_ref().map(named)))
            }
        }
    }

    /// The best plan for a goal by the costs known so far; if nothing fits a budget, the plan of the
    /// smallest peak. `macs` are those of the untiled graph.
    pub(super) fn choose(&mut self, goal: Goal, macs: u64) -> Option<(TilingPlan, Vec<Choice>)> {
        // Along a front work increases and peaks decrease.
        let at_least = |front: &[ParetoPoint]| front.len().checked_sub(1);
        let (fronts, index) = match goal {
            Goal::Memory(budget) => {
                // Stretches well within the budget matter only for the smallest possible peak.
                let fronts = self.fronts(budget - budget / 8, budget);
                match fronts[fronts.len() - 1].is_empty() {
                    false => (fronts, 0),
                    true => {
                        let fronts = self.complete_fronts();
                        let index = at_least(&fronts[fronts.len() - 1])?;
                        (fronts, index)
                    }
                }
            }
            Goal::ExtraMacs(share) => {
                let fronts = self.complete_fronts();
                let most = macs as f64 * (1.0 + share);
                let index = fronts[fronts.len() - 1].iter().rposition(|w| w.macs as f64 <= most)?;
                (fronts, index)
            }
        };
        Some(self.plan(&fronts, fronts.len() - 1, index))
    }

    /// Positions of the nodes that exceed a budget untiled and in every group.
    pub(super) fn hopeless(&mut self, budget: u64) -> Vec<usize> {
        self.fronts(budget - budget / 8, u64::MAX);
        let mut fits: Vec<bool> = self.net.live.iter().map(|&l| l <= budget).collect();
        for (from, to) in (1..self.cuts.len()).flat_map(|to| (0..to).map(move |from| (from, to))) {
            let grids = self.known.get(&(from, to)).into_iter().flatten().flat_map(|g| g.iter());
            if grids.map(|g| g.cost.peak).min().is_some_and(|least| least <= budget) {
                fits[self.cuts[from]..self.cuts[to]].fill(true);
            }
        }
        (0..fits.len()).filter(|&p| !fits[p]).collect()
    }

    /// Replaces the estimated peaks of these groups by measured ones, in bytes. Returns whether any
    /// estimate was too low.
    pub(super) fn learn_from_measurements(&mut self, choices: &[Choice], peaks: &[u64]) -> bool {
        let mut surprise = false;
        for (c, &peak) in choices.iter().zip(peaks) {
            if let Some(Ok(grids)) = self.known.get_mut(&(c.from, c.to)) {
                surprise |= peak > grids[c.grid].cost.peak;
                Arc::make_mut(grids)[c.grid].cost.peak = peak;
            }
        }
        surprise
    }

    /// The Pareto front of the whole graph, the largest peak first.
    pub(super) fn pareto_front(&mut self) -> Vec<TilingPlan> {
        let fronts = self.complete_fronts();
        let last = fronts.len() - 1;
        (0..fronts[last].len()).map(|i| self.plan(&fronts, last, i).0).collect()
    }

    /// The plan of this index in the front at a cut point, with its groups.
    fn plan(
        &self,
        fronts: &[Vec<ParetoPoint>],
        point: usize,
        index: usize,
    ) -> (TilingPlan, Vec<Choice>) {
        let end = &fronts[point][index];
        let mut plan = TilingPlan { peak: end.peak, macs: end.macs, groups: Vec::new() };
        let mut choices = Vec::new();
        let mut at = Some((point, index));
        while let Some((p, i)) = at {
            let point = &fronts[p][i];
            if let Some(c) = point.group
                && let Some(Ok(grids)) = self.known.get(&(c.from, c.to))
            {
                let range = self.cuts[c.from]..self.cuts[c.to];
                let outputs = self.net.outputs(&range);
                let group = Group { nodes: self.net.nodes[range].to_vec(), outputs };
                let GridCandidate { grid, reuse, .. } = grids[c.grid].clone();
                plan.groups.push(TiledGroup { group, grid, reuse });
                choices.push(c);
            }
            at = point.from;
        }
        plan.groups.reverse();
        choices.reverse();
        (plan, choices)
    }
}

/// Positions where groups may begin and end: local minima of the number of live values among the
/// positions that are not before a node that works in place. Before a global reduction it is enough
/// that no fewer values are live at the next such position.
fn cut_points(net: &Net<'_>) -> Vec<usize> {
    let n = net.nodes.len();
    let coarse: Vec<usize> = (0..=n).filter(|&p| p == 0 || p == n || !net.in_place[p]).collect();
    let live: Vec<usize> = coarse.iter().map(|&p| net.crossing(p)).collect();
    let good = |i: usize| {
        i == 0
            || i + 1 == coarse.len()
            || live[i] <= 1
            || live[i] <= live[i + 1]
                && (live[i] <= live[i - 1] || net.is_global_reduction[coarse[i]])
    };
    (0..coarse.len()).filter(|&i| good(i)).map(|i| coarse[i]).collect()
}

/// Adds the plans that extend those of a front by a group, or by untiled nodes, to the front `here`;
/// dominated plans are dropped.
fn extend(
    here: &mut Vec<ParetoPoint>,
    front: &[ParetoPoint],
    from: usize,
    (cost, group): (GroupCost, Option<Choice>),
    ceiling: u64,
) {
    if cost.peak > ceiling {
        return;
    }
    for (i, w) in front.iter().enumerate() {
        let point = ParetoPoint {
            peak: cost.peak.max(w.peak),
            macs: cost.macs + w.macs,
            overhead: cost.overhead + w.overhead,
            from: Some((from, i)),
            group,
        };
        // Along the front work increases and peaks decrease: earlier plans have less work.
        let at = here.partition_point(|o| (o.macs, o.overhead) <= (point.macs, point.overhead));
        if at > 0 && here[at - 1].peak <= point.peak {
            continue;
        }
        let dominated = here[at..].iter().take_while(|o| o.peak >= point.peak).count();
        here.splice(at..at + dominated, [point]);
    }
}
