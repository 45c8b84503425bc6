//! `schedule`: reorders the nodes to lower the peak of live activations.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,4,8,8]) -> (%y) opset 13 {
//!   %U = const random(1) : f32[16,4,1,1]
//!   %V = const random(2) : f32[1,16,1,1]
//!   %W = const random(3) : f32[16,4,1,1]
//!   %Z = const random(4) : f32[1,16,1,1]
//!   %a = Conv %x, %U     : f32[1,16,8,8]
//!   %b = Conv %x, %W     : f32[1,16,8,8]
//!   %c = Conv %a, %V     : f32[1,1,8,8]
//!   %d = Conv %b, %Z     : f32[1,1,8,8]
//!   %y = Add %c, %d      : f32[1,1,8,8]
//! }
//! ```
//! After `schedule`:
//! ```text
//! graph @main(%x: f32[1,4,8,8]) -> (%y) opset 13 {
//!   %U = const random(1) : f32[16,4,1,1]
//!   %V = const random(2) : f32[1,16,1,1]
//!   %W = const random(3) : f32[16,4,1,1]
//!   %Z = const random(4) : f32[1,16,1,1]
//!   %a = Conv %x, %U     : f32[1,16,8,8]
//!   %c = Conv %a, %V     : f32[1,1,8,8]
//!   %b = Conv %x, %W     : f32[1,16,8,8]
//!   %d = Conv %b, %Z     : f32[1,1,8,8]
//!   %y = Add %c, %d      : f32[1,1,8,8]
//! }
//! ```
//!
//! # Design
//! `stores` has the aliasing classes that hold for every order, `section` the cost of an order given
//! those. The graph is divided at articulation points (`Section::cuts`). Small pieces are searched
//! exhaustively (`search`); larger ones are ordered depth first, by least growth and by a beam, and then
//! searched around their peaks (`improve`). The memory plan judges all orders that were found; the one of
//! the smallest peak replaces the schedule if it lowers the peak.

mod greedy;
mod improve;
mod search;
mod section;
mod stores;
#[cfg(test)]
mod tests;

use graph_opt_ir::{EditError, Graph, NodeId};

use self::section::{Section, is_constant};
use crate::analysis::memory::{Interpreter, UnknownSize, plan_in};
use crate::options::{OptionError, OptionInfo, Options};
use crate::pass::{Change, Data, Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::{ByteSize, count};

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "schedule",
    summary: "reorders the nodes to need less memory",
    exactness: Exactness::BitExact,
    options: &[OptionInfo {
        name: "states",
        value: "50000",
        help: "limit of the search: sets of nodes that are visited (default 50000)",
    }],
    make,
};

/// Default limit of visited sets of nodes.
const STATES: usize = 50_000;

/// Maximum number of improvements of an order.
const ROUNDS: usize = 3;

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let states = o.count("states")?.map_or(STATES, |n| n as usize);
    Ok(Box::new(Schedule::default().states(states)))
}

/// The pass `schedule`, which reorders the nodes if that lowers the peak of live activations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    states: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { states: STATES }
    }
}

impl Schedule {
    /// Visits at most `n` sets of nodes; 0 counts as 1.
    #[must_use]
    pub fn states(self, n: usize) -> Self {
        Self { states: n.max(1) }
    }
}

impl Pass for Schedule {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        let options = Options::default();
        if self.states == STATES { options } else { options.with("states", self.states) }
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let found = best(&cx.sized().graph, &|n| !cx.selected(n), self.states);
        let (before, better) = match found {
            Ok(f) => f,
            Err(e) => {
                cx.remark_on("", Outcome::Blocked, e.to_string());
                return Ok(());
            }
        };
        let Some((order, after)) = better else {
            let why = format!("no order was found with a peak under {}", ByteSize(before));
            cx.remark_on("", Outcome::NoEffect, why);
            return Ok(());
        };
        let moved = cx.graph().schedule().zip(&order).filter(|(a, b)| a != *b).count();
        cx.reorder("schedule", &order)?;
        let (a, b) = (ByteSize(before), ByteSize(after));
        let what = format!("peak {a} to {b}, {} in other places", count(moved, "node"));
        let data = Data::Order { peak: Change { before, after }, moved };
        cx.remark_with("", Outcome::Applied, what, data);
        Ok(())
    }
}

/// The peak of the graph in bytes, and an order of a smaller peak with that peak, if one was found. Nodes
/// for which `keep` is true stay in order among themselves.
///
/// # Errors
/// If the size of a value is unknown.
fn best(
    graph: &Graph,
    keep: &dyn Fn(NodeId) -> bool,
    states: usize,
) -> Result<(u64, Option<(Vec<NodeId>, u64)>), UnknownSize> {
    let start: Vec<NodeId> = graph.schedule().collect();
    let before = plan_in(graph, &start, &Interpreter)?.peak;
    let mut best: Option<(Vec<NodeId>, u64)> = None;
    for _ in 0..ROUNDS {
        let from = best.as_ref().map_or(&start, |b| &b.0);
        let peak = best.as_ref().map_or(before, |b| b.1);
        let mut better: Option<(Vec<NodeId>, u64)> = None;
        for order in candidates(graph, from, keep, states) {
            let found = plan_in(graph, &order, &Interpreter)?.peak;
            if found < better.as_ref().map_or(peak, |b| b.1) {
                better = Some((order, found));
            }
        }
        match better {
            Some(b) => best = Some(b),
            None => break,
        }
    }
    Ok((before, best))
}

/// Orders that may be better than this one.
fn candidates(
    graph: &Graph,
    from: &[NodeId],
    keep: &dyn Fn(NodeId) -> bool,
    states: usize,
) -> Vec<Vec<NodeId>> {
    let nodes: Vec<NodeId> = from.iter().copied().filter(|&n| !is_constant(graph, n)).collect();
    let mut found: Vec<Vec<usize>> = Vec::new();
    for joined in [true, false] {
        let section = Section::of_graph(graph, &nodes, joined, keep);
        let mut left = states;
        found.push(improve::improve(&section, &mut left));
        found.extend(improve::simple(&section));
    }
    let mut all: Vec<Vec<NodeId>> = Vec::new();
    for order in found {
        let order = with_constants(graph, order.iter().map(|&i| nodes[i]));
        if order != from && !all.contains(&order) {
            all.push(order);
        }
    }
    all
}

/// The order with the constants' nodes, each before its first reader.
fn with_constants(graph: &Graph, nodes: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut order = Vec::with_capacity(graph.len());
    let mut ran = vec![false; graph.node_bound()];
    for n in nodes {
        let node = graph.node(n);
        for &v in node.inputs.iter().flatten().chain(&node.captures) {
            if let Some(p) = graph.producer(v)
                && is_constant(graph, p)
                && !std::mem::replace(&mut ran[p.index()], true)
            {
                order.push(p);
            }
        }
        order.push(n);
        ran[n.index()] = true;
    }
    order.extend(graph.schedule().filter(|n| !ran[n.index()]));
    order
}
