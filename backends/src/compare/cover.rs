//! What of the part in which two graphs differ runs have to reach, and what they did not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::structural_eq::Structure;
use graph_opt_ir::{Def, Graph, NodeId, Op, ValueId};

use crate::inputs::uses::uses;
use crate::watch::Seen;

/// Something that runs have to reach.
#[derive(Clone, Debug)]
enum Goal {
    /// Both branches of an If.
    Branches,
    /// Trip counts of a Loop: 0, 1, or 2 for any larger number.
    Trips(&'static [i64]),
    /// These rows of a table, by its name.
    Rows(BTreeSet<i64>, String),
}

/// What runs of a graph have to reach, each with the outputs that depend on it.
#[derive(Default, Debug)]
pub(super) struct Cover(Vec<(String, Goal, Vec<bool>)>);

impl Cover {
    /// Of a graph that differs from the other one.
    pub fn of(graph: &Graph, s: &Structure, other: &Graph, t: &Structure) -> Self {
        let mut all = Self::default();
        let drawn: HashSet<ValueId> = {
            let each = uses(graph, &BTreeMap::new());
            let sizes = graph.inputs().iter().zip(each).filter(|(_, u)| u.sizes);
            sizes.map(|(&v, _)| v).collect()
        };
        let known = |v: ValueId| other.values().any(|(w, _)| t.hash(w) == s.hash(v));
        for id in graph.schedule() {
            let node = graph.node(id);
            let is_table = matches!(node.op, Op::Gather(_));
            if !is_table && node.op.bodies().is_empty() && !matches!(node.op, Op::Other(_)) {
                continue;
            }
            if node.outputs.iter().flatten().all(|&v| known(v)) {
                continue;
            }
            let mut goals = Vec::new();
            if is_table {
                goals.extend(table(graph, id, other, &known));
            }
            control(graph, id, &mut Fixed::default(), &drawn, &mut goals, 0);
            let outputs = reached(graph, id);
            all.0.extend(goals.into_iter().map(|(l, g)| (l, g, outputs.clone())));
        }
        all
    }

    /// Rows that are to be looked at, by the Gather.
    pub fn rows(&self) -> BTreeMap<String, BTreeSet<i64>> {
        let row = |(l, g, _): &(String, Goal, Vec<bool>)| match g {
            Goal::Rows(r, _) if r.len() <= 4096 => Some((l.clone(), r.clone())),
            _ => None,
        };
        self.0.iter().filter_map(row).collect()
    }

    /// What was not reached, with the outputs that depend on it.
    pub fn missing(&self, seen: &Seen) -> Vec<(String, &[bool])> {
        let text = |label: &String, goal: &Goal| match goal {
            Goal::Branches => {
                let taken = seen.branches.get(label);
                let branch = [(true, "then_branch"), (false, "else_branch")];
                let missed = branch.iter().find(|b| !taken.is_some_and(|t| t.contains(&b.0)))?;
                Some(format!("no run took {} of If {label:?}", missed.1))
            }
            Goal::Trips(wanted) => {
                let had = seen.trips.get(label);
                let had = |n: i64| had.is_some_and(|t| t.iter().any(|&t| t.min(2) == n));
                let missed = wanted.iter().find(|&&n| !had(n))?;
                let more = if *missed == 2 { "2 or more" } else { &missed.to_string() };
                Some(format!("no run had {more} trips of Loop {label:?}"))
            }
            Goal::Rows(rows, table) => {
                let had = seen.rows.get(label);
                let missed = rows.iter().find(|r| !had.is_some_and(|h| h.contains(r)))?;
                Some(format!("no run read row {missed} of {table:?}"))
            }
        };
        self.0.iter().filter_map(|(l, g, o)| Some((text(l, g)?, &o[..]))).collect()
    }
}

/// Which outputs of the graph depend on the node.
fn reached(graph: &Graph, id: NodeId) -> Vec<bool> {
    let mut seen: HashSet<ValueId> = HashSet::new();
    let mut open: Vec<NodeId> = vec![id];
    while let Some(n) = open.pop() {
        for &v in graph.node(n).outputs.iter().flatten() {
            if seen.insert(v) {
                open.extend(graph.value(v).uses().map(|u| u.node));
            }
        }
    }
    graph.outputs().iter().map(|v| seen.contains(v)).collect()
}

/// Rows in which the table differs from the one that the other graph has under its name, or all.
fn table(
    graph: &Graph,
    id: NodeId,
    other: &Graph,
    known: &dyn Fn(ValueId) -> bool,
) -> Option<(String, Goal)> {
    let node = graph.node(id);
    let Op::Gather(o) = &node.op else { return None };
    let data = node.inputs.first().copied().flatten()?;
    let t = graph.constant(data)?;
    let rank = t.dims().len();
    let axis = graph_opt_ir::op_context::axis_of(o.axis, rank).ok()?;
    let rows = t.dims()[axis] as usize;
    // Few elements are read whole as a rule, and are bounds and shapes.
    if known(data)
        || node.inputs.get(1).copied().flatten().is_none_or(|v| graph.constant(v).is_some())
    {
        return None;
    }
    let name = graph.value(data).name.to_string();
    let twin = other.find_value(&name).and_then(|v| other.constant(v));
    let same =
        |u: &&std::sync::Arc<graph_opt_ir::Tensor>| u.dims() == t.dims() && u.dtype() == t.dtype();
    let differing = twin.as_ref().filter(same).and_then(|u| {
        let (p, q) = (t.bytes().ok()?, u.bytes().ok()?);
        let outer = t.dims()[..axis].iter().product::<u64>() as usize;
        let size = p.len().checked_div(outer * rows)?;
        let differs = |r: &usize| {
            (0..outer).any(|o| {
                let at = (o * rows + r) * size..(o * rows + r + 1) * size;
                p.get(at.clone()) != q.get(at)
            })
        };
        Some((0..rows).filter(differs).map(|r| r as i64).collect())
    });
    let wanted = differing.unwrap_or_else(|| (0..rows as i64).collect());
    Some((graph.label(id).to_owned(), Goal::Rows(wanted, name)))
}

/// What control flow in the node has to show.
fn control(
    graph: &Graph,
    id: NodeId,
    fixed: &mut Fixed,
    drawn: &HashSet<ValueId>,
    goals: &mut Vec<(String, Goal)>,
    depth: usize,
) {
    let node = graph.node(id);
    if depth > 16 {
        return;
    }
    let label = || graph.label(id).to_owned();
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    match &node.op {
        Op::If(_) if operand(0).is_some_and(|v| !fixed.is(graph, v, 0)) => {
            goals.push((label(), Goal::Branches));
        }
        Op::Loop(_) => {
            let varies = |v: Option<ValueId>, f: &mut Fixed| v.is_some_and(|v| !f.is(graph, v, 0));
            let count = operand(0).is_some_and(|v| origin(graph, v, drawn));
            let (trips, go) = (varies(operand(0), fixed), varies(operand(1), fixed));
            match (count, trips || go) {
                (true, _) => goals.push((label(), Goal::Trips(&[0, 1, 2]))),
                (false, true) => goals.push((label(), Goal::Trips(&[2]))),
                _ => {}
            }
        }
        _ => {}
    }
    let mut inner = |g: &Graph| {
        for id in g.schedule() {
            control(g, id, &mut Fixed::default(), drawn, goals, depth + 1);
        }
    };
    if let Op::Other(_) = &node.op {
        if let Some(f) = graph.function(&node.op) {
            inner(&f.body);
        }
        return;
    }
    for (_, body) in node.op.bodies() {
        inner(body);
    }
}

/// Whether the value is one of these inputs, maybe in another shape or type.
fn origin(graph: &Graph, mut v: ValueId, of: &HashSet<ValueId>) -> bool {
    for _ in 0..8 {
        if of.contains(&v) {
            return true;
        }
        let Some(n) = graph.producer(v) else { return false };
        let moves = matches!(
            graph.node(n).op,
            Op::Identity(_) | Op::Cast(_) | Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_)
        );
        match graph.node(n).inputs.first() {
            Some(&Some(w)) if moves => v = w,
            _ => return false,
        }
    }
    false
}

/// Which values are the same in all runs.
#[derive(Default)]
struct Fixed(HashMap<ValueId, bool>);

impl Fixed {
    fn is(&mut self, graph: &Graph, v: ValueId, depth: usize) -> bool {
        if let Some(&f) = self.0.get(&v) {
            return f;
        }
        let f = match &graph.value(v).def {
            Def::Const(_) => true,
            Def::Node(n, _) if depth < 200 => {
                let node = graph.node(*n);
                let shape = matches!(node.op, Op::Shape(_) | Op::Size(_));
                let known = |v: &ValueId| graph.value(*v).ty.extents().is_some();
                let mut all = node.inputs.iter().flatten().chain(&node.captures);
                !OpCtx::of(graph, *n).is_random()
                    && !matches!(node.op, Op::Other(_))
                    && (shape && node.inputs.iter().flatten().all(known)
                        || all.all(|&v| self.is(graph, v, depth + 1)))
            }
            _ => false,
        };
        self.0.insert(v, f);
        f
    }
}
