//! Builds plans, and corrects the search by the memory plans of the rewritten graphs.

use std::collections::HashMap;
use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Span};

use super::search::{Choice, Search};
use super::{Goal, Limits, TiledGroup, TilingPlan, front};
use crate::analysis::cost;
use crate::analysis::memory::{self, MemoryModel, UnknownSize};
use crate::tile::build::tile_group;
use crate::tile::cost_model::Net;
use crate::tile::fuse_tiles::Stretch;
use crate::tile::{Reuse, hide_extents, parts};
use crate::units::ByteSize;

/// The edits of a plan applied to a copy of the graph.
///
/// # Errors
/// If a group cannot be built, or its edit is refused.
pub fn realise(graph: &Graph, plan: &TilingPlan) -> Result<Graph, BuildError> {
    built(graph, plan).map(|b| b.graph)
}

/// Why the graph of a plan cannot be built.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A part of a node's result cannot be computed exactly.
    #[error("{node}: {reason}")]
    Group {
        /// Label of the node.
        node: String,
        /// Why it cannot be tiled.
        reason: Barrier,
    },
    /// The edit that writes a group's tiles was refused.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// The graph of a plan.
pub(super) struct Built {
    pub graph: Graph,
    /// The nodes of each group's tiles.
    nodes: Vec<Vec<NodeId>>,
}

pub(super) fn built(graph: &Graph, plan: &TilingPlan) -> Result<Built, BuildError> {
    build(graph, plan, |_, _| {})
}

/// Passes without a planner that make the plan's graph; fewer than groups if a group cannot be named.
pub(super) fn by_hand(graph: &Graph, plan: &TilingPlan) -> Result<Vec<Stretch>, BuildError> {
    let mut all = Vec::new();
    build(graph, plan, |group, so_far| all.extend(group.by_hand(so_far)))?;
    Ok(all)
}

/// Builds the graph of a plan; `before` is told each group with the graph that it is applied to.
fn build(
    graph: &Graph,
    plan: &TilingPlan,
    mut before: impl FnMut(&TiledGroup, &Graph),
) -> Result<Built, BuildError> {
    let mut built = Built { graph: graph.clone(), nodes: Vec::new() };
    for group in &plan.groups {
        let copy = &mut built.graph;
        before(group, copy);
        let edit = group.edit(copy).map_err(|(n, reason)| {
            let node = copy.label(n).to_owned();
            BuildError::Group { node, reason }
        })?;
        let applied = Editor::new(copy).apply(&edit)?;
        built.nodes.push(applied.nodes);
    }
    Ok(built)
}

impl TiledGroup {
    pub(super) fn edit(&self, graph: &Graph) -> Result<Edit, (NodeId, Barrier)> {
        let label = self.group.nodes.last().map_or("", |&n| graph.label(n));
        let origin = format!("fuse-tiles {label}");
        tile_group(graph, &self.group, &self.grid, self.reuse, &origin)
    }

    /// The pass without a planner that tiles this group; `None` if its nodes cannot be named.
    pub(super) fn by_hand(&self, graph: &Graph) -> Option<Stretch> {
        Stretch::of(graph, &self.group, &self.grid, self.reuse)
    }
}

/// The best plan for a goal, with the measured cost of its graph.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChosenPlan {
    /// The groups that run in tiles.
    pub plan: TilingPlan,
    /// Peak of live activations by the memory plan of the rewritten graph, in bytes.
    pub peak: u64,
    /// Multiply-accumulates of the rewritten graph.
    pub macs: u64,
    /// Nodes that no group can contain, with the reason.
    pub barriers: Vec<(NodeId, Barrier)>,
    /// Nodes that exceed the budget, with the bytes that are live while they run; empty unless
    /// [`Limits::best_effort`] is set.
    pub left: Vec<(NodeId, u64)>,
    /// Whether extents are to be hidden from the runtime (`hide-extents`).
    pub hides: bool,
}

/// Why there is no plan for a goal.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TilingError {
    /// The size of a value is unknown.
    #[error(transparent)]
    Size(#[from] UnknownSize),
    /// A group of a plan cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The graph cannot be tiled within the share of extra multiply-accumulates.
    #[error("no plan stays within the extra multiply-accumulates")]
    NoPlan,
    /// No plan meets the budget.
    #[error("the least peak that was found is {}, {why}", ByteSize(*.least))]
    Peak {
        /// The smallest peak of the plans that were measured, in bytes.
        least: u64,
        /// The node that sets this peak, and why no group contains it.
        why: String,
    },
}

/// A plan with its graph and the memory plan of that graph.
struct MeasuredCandidate {
    plan: TilingPlan,
    graph: Graph,
    memory: memory::MemoryPlan,
    /// The nodes of each group's tiles.
    nodes: Vec<Vec<NodeId>>,
}

impl MeasuredCandidate {
    fn new(graph: &Graph, plan: TilingPlan, model: &dyn MemoryModel) -> Result<Self, TilingError> {
        let Built { graph, nodes, .. } = built(graph, &plan)?;
        let memory = memory::plan_for(&graph, model)?;
        Ok(Self { plan, graph, memory, nodes })
    }

    /// The peak of live bytes while each group runs. If the peak of the graph is at a node outside of
    /// groups, it counts for the last group before that node, too.
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

    /// The peak of live bytes over all nodes but those that are left, and the first node at the peak.
    fn peak_without(&self, left: &[(NodeId, u64)]) -> (u64, Option<NodeId>) {
        let all = self.memory.steps.iter().zip(&self.memory.timeline);
        let counted = all.filter(|(n, _)| !left.iter().any(|l| l.0 == **n));
        let most = counted.rev().max_by_key(|s| s.1);
        most.map_or((0, None), |(&n, &bytes)| (bytes, Some(n)))
    }

    fn chosen(self, barriers: Vec<(NodeId, Barrier)>) -> ChosenPlan {
        let macs = cost(&self.graph).macs;
        let (plan, peak) = (self.plan, self.memory.peak);
        ChosenPlan { plan, peak, macs, barriers, left: Vec::new(), hides: false }
    }
}

/// Maximum number of plans that are built and measured for one goal.
const ROUNDS: usize = 24;

/// Maximum number of those whose estimated peak exceeds the budget already.
const OVER_BUDGET: usize = 6;

/// The best plan for a goal.
///
/// The search knows estimated costs only. Each plan that it chooses is built, the measured peaks of
/// its groups replace the estimates, and the search chooses again, until a plan meets the goal.
///
/// # Errors
/// If the size of a value is unknown, or no plan meets the goal: with the smallest peak that was
/// found, and the node that sets it.
pub fn best(graph: &Graph, goal: Goal, limits: &Limits) -> Result<ChosenPlan, TilingError> {
    if let Some(model) = limits.model.searched_by() {
        return best_session(graph, goal, limits, model);
    }
    let mut net = Net::new(graph, &*limits.model)?;
    let mut left: Vec<(NodeId, u64)> = Vec::new();
    loop {
        let (error, hopeless) = match best_without(graph, &net, goal, limits, &left) {
            Ok(found) => return Ok(ChosenPlan { left, ..found }),
            Err(e) => e,
        };
        if hopeless.is_empty() {
            return Err(error);
        }
        left.extend(hopeless.iter().map(|&p| (net.nodes[p], net.live[p])));
        hopeless.into_iter().for_each(|p| net.live[p] = 0);
    }
}

/// Maximum number of plans of a front that are built and simulated for one goal.
const SESSIONS: usize = 32;

/// A plan is not simulated if the simpler model estimates a peak of more than this many times the budget.
const SLACK: u64 = 2;

/// Into how many parts the tiles of a plan are cut further.
const FINER: [usize; 3] = [1, 2, 4];

/// Graphs of more nodes than this are not cut further.
const LARGE: usize = 4000;

/// The plan with each tile cut into this many along the first axis of its grid, if all are large enough.
fn finer(plan: &TilingPlan, parts: usize) -> Option<TilingPlan> {
    let mut plan = plan.clone();
    for (_, spans) in plan.groups.iter_mut().filter_map(|g| g.grid.axes.first_mut()) {
        let cut = |s: &Span| -> Option<Vec<Span>> {
            let pieces = parts::even(s.len(), parts as i64, 1, false).ok()?;
            Some(pieces.into_iter().map(|p| Span::new(s.lo + p.lo, s.lo + p.hi)).collect())
        };
        *spans = spans.iter().map(cut).collect::<Option<Vec<_>>>()?.concat();
    }
    Some(plan)
}

/// The best plan for a runtime with sessions. What a session takes is no sum over groups: plans of a
/// simpler model's front are built and simulated, each with and without hidden extents. Tiles recompute
/// their overlaps unless another kind of reuse is asked for: kept strips do not survive an order that the
/// runtime chooses.
fn best_session(
    graph: &Graph,
    goal: Goal,
    limits: &Limits,
    model: Arc<dyn MemoryModel>,
) -> Result<ChosenPlan, TilingError> {
    let reuse = match limits.reuse[..] {
        [one] => vec![one],
        _ => vec![Reuse::Recompute],
    };
    let found = front(graph, &Limits { model, reuse, ..limits.clone() })?;
    let before = cost(graph).macs;
    let (mut best, mut least): (Option<ChosenPlan>, Option<(u64, String)>) = (None, None);
    // Along the front work increases.
    let mut all = found.plans;
    if let Goal::Memory(budget) = goal {
        // A session takes more than the estimate of the simpler model, save where finer tiles make up for it.
        let hopeless = all.partition_point(|p| p.peak > budget.saturating_mul(SLACK));
        all.drain(..hopeless.min(all.len().saturating_sub(1)));
    }
    let step = all.len().div_ceil(SESSIONS).max(1);
    let start = all.len().saturating_sub(1) % step;
    for coarse in all.into_iter().skip(start).step_by(step) {
        let finer = FINER.map(|n| finer(&coarse, n));
        for plan in finer.into_iter().flatten() {
            let Ok(Built { graph: plain, .. }) = built(graph, &plan) else { break };
            let large = plain.len() > LARGE;
            let mut hidden = plain.clone();
            let hides = match hide_extents::edit(&plain) {
                Some(edit) => {
                    Editor::new(&mut hidden).apply(&edit).map_err(BuildError::from).map(|_| true)?
                }
                None => false,
            };
            let macs = cost(&plain).macs;
            for (graph, hides) in
                [(plain, false), (hidden, true)].into_iter().take(1 + usize::from(hides))
            {
                let memory = memory::plan_for(&graph, &*limits.model)?;
                let peak = memory.peak;
                if least.as_ref().is_none_or(|l| peak < l.0) {
                    let at = memory.steps.get(memory.at);
                    least = Some((
                        peak,
                        at.map_or("the inputs".into(), |&n| format!("{:?}", graph.label(n))),
                    ));
                }
                let fits = match goal {
                    Goal::Memory(budget) => peak <= budget,
                    Goal::ExtraMacs(share) => macs as f64 <= before as f64 * (1.0 + share),
                };
                let better = |b: &ChosenPlan| match goal {
                    Goal::Memory(_) => (macs, peak) < (b.macs, b.peak),
                    Goal::ExtraMacs(_) => (peak, macs) < (b.peak, b.macs),
                };
                if fits && best.as_ref().is_none_or(better) {
                    let (plan, barriers) = (plan.clone(), found.barriers.clone());
                    best = Some(ChosenPlan { plan, peak, macs, barriers, left: Vec::new(), hides });
                }
            }
            if large {
                break;
            }
        }
        if matches!(goal, Goal::Memory(_)) && best.is_some() {
            break;
        }
    }
    let (least, at) = least.ok_or(TilingError::NoPlan)?;
    let least = least.min(memory::plan_for(graph, &*limits.model)?.peak);
    let why = format!("set by {at}");
    best.ok_or(match goal {
        Goal::Memory(_) => TilingError::Peak { least, why },
        Goal::ExtraMacs(_) => TilingError::NoPlan,
    })
}

/// The barrier that is nearest to the node of this label, or to the node that it is a part of.
fn nearest<'b>(
    graph: &Graph,
    net: &Net<'_>,
    barriers: &'b [(NodeId, Barrier)],
    label: &str,
) -> Option<&'b (NodeId, Barrier)> {
    let position = |label: &str| net.nodes.iter().position(|&n| graph.label(n) == label);
    let mut labels = std::iter::successors(Some(label), |l| Some(l.rsplit_once('/')?.0));
    let at = labels.find_map(position).unwrap_or(0);
    let distance =
        |b: &&(NodeId, Barrier)| net.nodes.iter().position(|&n| n == b.0).map(|p| p.abs_diff(at));
    barriers.iter().min_by_key(distance)
}

/// The best plan if the nodes that are left may exceed the budget; or why there is none, and the
/// positions of further nodes that would have to be left.
fn best_without(
    graph: &Graph,
    net: &Net<'_>,
    goal: Goal,
    limits: &Limits,
    left: &[(NodeId, u64)],
) -> Result<ChosenPlan, (TilingError, Vec<usize>)> {
    let failed = |e: TilingError| (e, Vec::new());
    let mut search = Search::new(graph, net, limits);
    let macs = cost(graph).macs;
    let mut least: Option<MeasuredCandidate> = None;
    let mut tried: Vec<Vec<Choice>> = Vec::new();
    let mut over_budget = 0;
    while tried.len() < ROUNDS && over_budget < OVER_BUDGET {
        let Some((plan, choices)) = search.choose(goal, macs) else { break };
        if tried.contains(&choices) {
            break;
        }
        if let Goal::Memory(budget) = goal {
            over_budget += usize::from(plan.peak > budget);
        }
        let one = MeasuredCandidate::new(graph, plan, &*limits.model).map_err(failed)?;
        let too_low = search.learn_from_measurements(&choices, &one.peaks());
        let fits = match goal {
            Goal::Memory(budget) => one.peak_without(left).0 <= budget,
            Goal::ExtraMacs(_) => !too_low && !choices.is_empty(),
        };
        if fits {
            return Ok(one.chosen(search.barriers));
        }
        tried.push(choices);
        let peak = |m: &MeasuredCandidate| m.peak_without(left).0;
        if least.as_ref().is_none_or(|m| peak(&one) < peak(m)) {
            least = Some(one);
        }
    }
    let Some(m) = least else { return Err(failed(TilingError::NoPlan)) };
    let before = memory::plan_for(graph, &*limits.model).map_err(|e| failed(e.into()))?.peak;
    if matches!(goal, Goal::ExtraMacs(_)) && m.memory.peak < before {
        return Ok(m.chosen(search.barriers));
    }
    let (least, at) = m.peak_without(left);
    let least = least.min(before);
    let at = at.map_or(String::new(), |n| m.graph.label(n).to_owned());
    let mut why = match &*at {
        "" => "set by the inputs".to_owned(),
        at => format!("set by {at:?}"),
    };
    if let Some((node, reason)) = nearest(graph, net, &search.barriers, &at) {
        why.push_str(&format!("; no group runs over {:?}: {reason}", graph.label(*node)));
    }
    let hopeless = match goal {
        Goal::Memory(budget) if limits.best_effort => search.hopeless(budget),
        _ => Vec::new(),
    };
    Err((TilingError::Peak { least, why }, hopeless))
}
