//! The planner as a pass: plans, applies what meets the goal, and adds remarks.

use std::borrow::Cow;
use std::sync::Arc;

use graph_opt_ir::{EditError, Graph, NodeId, Span};

use super::measure::{ChosenPlan, TilingError, best, built, by_hand};
use super::{Goal, Limits, TiledGroup, front};
use crate::analysis::cost;
use crate::analysis::memory;
use crate::pass::{Change, Data, Outcome, PassCtx};
use crate::pipeline::Pipeline;
use crate::tile::fuse_tiles::{FuseTiles, Stretch};
use crate::tile::hide_extents::{self, HideExtents};
use crate::units::{ByteSize, count};

/// Adds a remark for every plan of the Pareto front, with its measured peak; changes nothing.
pub(in crate::tile) fn list(cx: &mut PassCtx<'_, '_>, limits: &Limits) {
    let (graph, limits) = sized(cx, limits);
    let found = match front(&graph, &limits) {
        Ok(f) => f,
        Err(why) => return cx.remark_on("", Outcome::Blocked, why.to_string()),
    };
    let macs = cost(&graph).macs;
    let before = memory::plan_for(&graph, &*limits.model).map_or(0, |p| p.peak);
    let mut measured = Vec::new();
    for plan in &found.plans {
        let Ok(built) = built(&graph, plan) else { continue };
        let Ok(exact) = memory::plan_for(&built.graph, &*limits.model) else { continue };
        measured.push((exact.peak, cost(&built.graph).macs, plan));
    }
    let costs: Vec<(u64, u64)> = measured.iter().map(|m| (m.0, m.1)).collect();
    for (i, (peak, after, plan)) in measured.into_iter().enumerate() {
        // By the search's estimates no plan is dominated; by measured peaks and work some are.
        let better = |(j, (p, m)): (usize, &(u64, u64))| {
            (*p, *m) != (peak, after) && *p <= peak && *m <= after
                || (*p, *m) == (peak, after) && j < i
        };
        if costs.iter().enumerate().any(better) {
            continue;
        }
        let groups: Vec<String> =
            plan.groups.iter().map(|g| format!("{}, {}", shape(&graph, g), g.reuse)).collect();
        let groups = if groups.is_empty() { "untiled".to_owned() } else { groups.join("; ") };
        let what = format!("peak {}, {}: {groups}", ByteSize(peak), extra(after, macs));
        let peak = Change { before, after: peak };
        let by_hand = by_hand(&graph, plan).unwrap_or_default();
        let data = Data::Cost { peak, macs: Change { before: macs, after }, by_hand };
        cx.remark_with("", Outcome::NoEffect, what, data);
    }
}

/// The graph with assumed extents, and the limits of a search over it.
fn sized(cx: &PassCtx<'_, '_>, limits: &Limits) -> (Graph, Limits) {
    let graph = cx.sized().graph;
    let assumed = matches!(graph, Cow::Owned(_));
    let declared = assumed.then(|| Arc::new(cx.graph().clone()));
    (graph.into_owned(), Limits { declared, ..limits.clone() })
}

/// The change in work as text, in percent of the untiled graph's multiply-accumulates.
fn extra(macs: u64, before: u64) -> String {
    format!("{:+.2} % MACs", (macs as f64 / before.max(1) as f64 - 1.0) * 100.0)
}

/// Applies the best plan for the goal, or adds a remark why there is none.
pub(in crate::tile) fn run(
    cx: &mut PassCtx<'_, '_>,
    goal: Goal,
    limits: &Limits,
) -> Result<(), EditError> {
    let (graph, limits) = &sized(cx, limits);
    let before = match memory::plan_for(graph, &*limits.model) {
        Ok(plan) => plan.peak,
        Err(why) => {
            cx.remark_on("", Outcome::Blocked, why.to_string());
            return Ok(());
        }
    };
    if let Goal::Memory(budget) = goal
        && before <= budget
    {
        let why = format!("{} fit as they are", ByteSize(before));
        cx.remark_on("", Outcome::NoEffect, why);
        return Ok(());
    }
    let macs = cost(graph).macs;
    match best(graph, goal, limits) {
        Ok(chosen) => {
            let declared = limits.declared.as_ref();
            match declared.map(|g| built(g, &chosen.plan)).transpose() {
                Ok(_) => apply(cx, chosen, before, macs)?,
                Err(why) => {
                    let why = format!("tiles would cut an extent that is only assumed: {why}");
                    cx.remark_on("", Outcome::Blocked, why);
                }
            }
        }
        Err(e) => {
            let data = match &e {
                TilingError::Peak { least, why } => Data::Unmet { least: *least, why: why.clone() },
                _ => Data::None,
            };
            cx.remark_with("", Outcome::Blocked, e.to_string(), data);
        }
    }
    Ok(())
}

/// Applies a plan; `before` and `macs` are the peak and the work of the untiled graph.
fn apply(
    cx: &mut PassCtx<'_, '_>,
    chosen: ChosenPlan,
    before: u64,
    macs: u64,
) -> Result<(), EditError> {
    let ChosenPlan { plan, peak, macs: after, barriers, left, hides } = chosen;
    for (node, bytes) in left {
        let why = format!("nothing tiles it, and it needs {}", ByteSize(bytes));
        let label = cx.graph().label(node).to_owned();
        cx.remark_with(label, Outcome::Blocked, why, Data::Left(bytes));
    }
    for (node, why) in barriers {
        cx.remark(node, Outcome::NoEffect, format!("no group runs over it: {why}"));
    }
    let mut by_hand: Vec<Stretch> = Vec::new();
    for group in &plan.groups {
        by_hand.extend(group.by_hand(cx.graph()));
        if let [first, .., last] | [first @ last] = group.group.nodes[..] {
            apply_group(cx, group, first, last)?;
        }
    }
    if let Some(edit) = hide_extents::edit(cx.graph()).filter(|_| hides) {
        cx.apply(&edit)?;
    }
    // A name that several nodes share may hide a group.
    if by_hand.len() < plan.groups.len() {
        by_hand.clear();
    }
    let (a, b, more) = (ByteSize(before), ByteSize(peak), extra(after, macs));
    let mut what = format!("peak {a} to {b}, {more}");
    if !by_hand.is_empty() {
        let passes = by_hand.iter().cloned().map(FuseTiles::from);
        let passes = passes.fold(Pipeline::default(), Pipeline::then);
        let passes = if hides { passes.then(HideExtents) } else { passes };
        what.push_str(&format!("; by hand: {passes}"));
    }
    let data = Data::Cost {
        peak: Change { before, after: peak },
        macs: Change { before: macs, after },
        by_hand,
    };
    cx.remark_with("", Outcome::Applied, what, data);
    Ok(())
}

fn apply_group(
    cx: &mut PassCtx<'_, '_>,
    tiled: &TiledGroup,
    first: NodeId,
    last: NodeId,
) -> Result<(), EditError> {
    let (graph, nodes) = (cx.graph(), tiled.group.nodes.len());
    let (label, first) = (graph.label(last).to_owned(), graph.label(first));
    let grid = shape(graph, tiled);
    let what = format!("{} from {first:?} in {grid}, {}", count(nodes, "node"), tiled.reuse);
    match tiled.edit(graph) {
        Ok(edit) => {
            cx.apply(&edit)?;
            let data = Data::Tiles(cx.tiled(tiled.clone()));
            cx.remark_with(label, Outcome::Applied, what, data);
        }
        Err((n, b)) => cx.remark(n, Outcome::Blocked, b.0),
    }
    Ok(())
}

/// The grid in words: `14 parts of rows`, `5x5 parts of rows and columns`.
fn shape(graph: &Graph, tiled: &TiledGroup) -> String {
    let outputs = tiled.group.outputs.last();
    let rank = outputs.and_then(|&v| graph.value(v).ty.rank()).unwrap_or(0);
    let axis = |&(axis, _): &(usize, Vec<Span>)| match (axis, rank - axis.min(rank)) {
        (0, n) if n > 2 => "the batch",
        (_, 1) => "columns",
        (_, 2) => "rows",
        (1, _) => "channels",
        _ => "planes",
    };
    let counts: Vec<String> = tiled.grid.counts().iter().map(ToString::to_string).collect();
    let axes: Vec<&str> = tiled.grid.axes.iter().map(axis).collect();
    format!("{} parts of {}", counts.join("x"), axes.join(" and "))
}
