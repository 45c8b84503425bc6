//! What of the part in which two graphs differ runs have to reach, and what they did not.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use graph_opt_ir::definition::{inferred, is_defined};
use graph_opt_ir::op::Class;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::structural_eq::Structure;
use graph_opt_ir::{Def, Dim, Graph, NodeId, Op, Tensor, ValueId};

use super::range::{Ranges, impossible, numbers};
use crate::inputs::uses::uses;
use crate::outcomes::{Kind, kind};
use crate::watch::{Seen, Wanted};

/// Something that runs have to reach.
#[derive(Clone, Debug)]
enum Goal {
    /// Both branches of an If.
    Branches,
    /// Trip counts of a Loop: 0, 1, or 2 for any larger number.
    Trips(&'static [i64]),
    /// These rows of a table, by its name.
    Rows(BTreeSet<i64>, String),
    /// All of a table that is read in another way, by its name.
    Parts(String),
    /// What tells an operator, by its name, from one with other parameters.
    Parameters(String),
    /// What an operator does to few of its operands, by its name: no run tells all.
    Hidden(String),
    /// Outcomes of an operator, by its name: bits, and what the operands of each are.
    Outcomes(String, Vec<(u32, String)>),
    /// Different numbers of these operands, by their places and names, of an operator.
    Varied(String, Vec<(usize, String)>),
}

impl Goal {
    fn is_outcome(&self) -> bool {
        matches!(self, Self::Outcomes(..) | Self::Varied(..))
    }
}

/// What runs of a graph have to reach, each with the outputs that depend on it.
#[derive(Default, Debug)]
pub(super) struct Cover {
    goals: Vec<(String, Goal, Vec<bool>)>,
    /// Magnitudes of bounds about which numbers are to be drawn.
    pub marks: Vec<f64>,
}

/// Something that no run reached.
pub(super) struct Missing<'a> {
    pub text: String,
    /// The outputs that depend on it.
    pub outputs: &'a [bool],
    /// Whether it is an outcome of an operator.
    pub is_outcome: bool,
}

/// How many levels of bodies one definition counts as: functions that call others twice double with each.
const DEFINITION: usize = 4;
/// Marks that are used at most.
const MARKS: usize = 16;

impl Cover {
    /// Of a graph that differs from the other one; `outcomes` says whether those of operators
    /// count.
    pub fn of(
        (graph, s): (&Graph, &Structure),
        (other, t): (&Graph, &Structure),
        outcomes: bool,
    ) -> Self {
        let mut all = Self::default();
        let drawn: HashSet<ValueId> = {
            let each = uses(graph, &BTreeMap::new());
            let sizes = graph.inputs().iter().zip(each).filter(|(_, u)| u.sizes);
            sizes.map(|(&v, _)| v).collect()
        };
        let hashes: HashSet<_> = other.values().map(|(w, _)| t.hash(w)).collect();
        let known = |v: ValueId| hashes.contains(&s.hash(v));
        let unknown = |id: &NodeId| !graph.node(*id).outputs.iter().flatten().all(|&v| known(v));
        let differing: HashSet<NodeId> = graph.schedule().filter(unknown).collect();
        let needed = needed(graph);
        let (mut fixed, mut ranges) = (Fixed::default(), Ranges::new(graph));
        let mut marks = Vec::new();
        for id in graph.schedule() {
            let node = graph.node(id);
            // What both have, and what differs reads, has to show all that it can be, too.
            let read = || {
                let mut readers =
                    node.outputs.iter().flatten().flat_map(|&v| graph.value(v).uses());
                readers.any(|u| differing.contains(&u.node))
            };
            let differs = differing.contains(&id);
            let counts =
                kind(&node.op).is_some() || computes(&node.op) || matches!(node.op, Op::OneHot(_));
            if !(differs || outcomes && counts && read()) {
                continue;
            }
            let mut goals: Vec<_> =
                table(graph, id, other, &known, &mut fixed).into_iter().collect();
            if differs {
                let common = |(i, v): (usize, &Option<ValueId>)| {
                    let v = v.filter(|&v| known(v) && !fixed.is(graph, v, 0))?;
                    Some((i, graph.value(v).name.to_string()))
                };
                let read: Vec<_> =
                    node.inputs.iter().enumerate().take(32).filter_map(common).collect();
                if outcomes && !read.is_empty() && runs_by_itself(graph, id) {
                    let goal = Goal::Varied(node.op.name().to_owned(), read);
                    goals.push((graph.label(id).to_owned(), goal));
                }
            }
            control((graph, id), (&mut fixed, &mut ranges), &drawn, &mut goals, 0);
            bounds(graph, id, &mut marks, 0);
            let outputs: Vec<bool> = needed.iter().map(|n| n.contains(&id)).collect();
            let goals = goals.into_iter().filter(|(_, g)| outcomes || !g.is_outcome());
            all.goals.extend(goals.map(|(l, g)| (l, g, outputs.clone())));
        }
        // Bounds of operators that compare go before other constants.
        marks.sort_by(|(p, x), (q, y)| q.cmp(p).then(x.total_cmp(y)));
        marks.dedup_by(|a, b| a.1 == b.1);
        all.marks = marks.into_iter().take(MARKS).map(|(_, x)| x).collect();
        all
    }

    /// What is to be watched of each node.
    pub fn wanted(&self) -> BTreeMap<String, Wanted> {
        let mut all: BTreeMap<String, Wanted> = BTreeMap::new();
        for (label, goal, _) in &self.goals {
            let (outcomes, varied) = match goal {
                Goal::Outcomes(_, bits) => (bits.iter().fold(0, |a, (b, _)| a | b), 0),
                Goal::Varied(_, all) => (0, all.iter().fold(0, |a, (i, _)| a | 1 << i)),
                _ => continue,
            };
            let of = all.entry(label.clone()).or_default();
            of.outcomes |= outcomes;
            of.varied |= varied;
        }
        all
    }

    /// Rows that are to be looked at, by the Gather.
    pub fn rows(&self) -> BTreeMap<String, BTreeSet<i64>> {
        let row = |(l, g, _): &(String, Goal, Vec<bool>)| match g {
            Goal::Rows(r, _) if r.len() <= 4096 => Some((l.clone(), r.clone())),
            _ => None,
        };
        self.goals.iter().filter_map(row).collect()
    }

    /// What was not reached, with the outputs that depend on it.
    pub fn missing(&self, seen: &Seen) -> Vec<Missing<'_>> {
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
            Goal::Parts(table) => {
                Some(format!("runs read parts of {table:?}, in which the models differ"))
            }
            Goal::Parameters(op) => {
                Some(format!("runs need not show in what the parameters of {op} {label:?} differ"))
            }
            Goal::Hidden(op) => Some(format!("runs may not show all that {op} {label:?} does")),
            Goal::Outcomes(op, bits) => {
                let had = seen.outcomes.get(label).copied().unwrap_or(0);
                let (_, missed) = bits.iter().find(|(b, _)| had & b == 0)?;
                Some(format!("no run gave {op} {label:?} {missed}"))
            }
            Goal::Varied(op, operands) => {
                let had = seen.varied.get(label).copied().unwrap_or(0);
                let (_, name) = operands.iter().find(|(i, _)| had & 1 << i == 0)?;
                Some(format!("no run gave {op} {label:?} two different numbers as {name:?}"))
            }
        };
        self.goals
            .iter()
            .filter_map(|(l, g, outputs)| {
                Some(Missing { text: text(l, g)?, outputs, is_outcome: g.is_outcome() })
            })
            .collect()
    }
}

/// The nodes that each output of the graph depends on.
fn needed(graph: &Graph) -> Vec<HashSet<NodeId>> {
    let one = |&v: &ValueId| {
        let mut seen = HashSet::new();
        let mut open: Vec<NodeId> = graph.producer(v).into_iter().collect();
        while let Some(n) = open.pop() {
            if seen.insert(n) {
                let node = graph.node(n);
                let read = node.inputs.iter().flatten().chain(&node.captures);
                open.extend(read.filter_map(|&v| graph.producer(v)));
            }
        }
        seen
    };
    graph.outputs().iter().map(one).collect()
}

/// What of a table, or of any other value that differs, runs have to read, if the node reads it by
/// an index that differs from run to run.
fn table(
    graph: &Graph,
    id: NodeId,
    other: &Graph,
    known: &dyn Fn(ValueId) -> bool,
    fixed: &mut Fixed,
) -> Option<(String, Goal)> {
    let node = graph.node(id);
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    let data = operand(0)?;
    let label = || graph.label(id).to_owned();
    let name = graph.value(data).name.to_string();
    let mut indexed = (1..node.inputs.len()).filter_map(operand);
    let mut indexed = |f: &mut Fixed| indexed.any(|v| !f.is(graph, v, 0));
    match &node.op {
        // As many as there are rows of what it is multiplied by.
        Op::OneHot(_) if !fixed.is(graph, data, 0) => {
            let depth = graph.constant(operand(1)?)?.to_i64s()?.first().copied()?;
            Some((label(), Goal::Rows((0..depth.min(1 << 20)).collect(), name)))
        }
        Op::Gather(o) if !known(data) && indexed(fixed) => {
            let dims = graph.value(data).ty.dims()?;
            let axis = graph_opt_ir::op_context::axis_of(o.axis, dims.len()).ok()?;
            let rows = dims[axis].known()? as usize;
            let wanted = differing_rows((graph, data), other, axis);
            let wanted = wanted.unwrap_or_else(|| (0..rows as i64).collect());
            Some((label(), Goal::Rows(wanted, name)))
        }
        Op::TfIdfVectorizer(_) | Op::NonMaxSuppression(_) => {
            let same = other.schedule().any(|n| other.node(n).op == node.op);
            let alike = same && (2..node.inputs.len()).filter_map(operand).all(known);
            let varies = node.inputs.iter().flatten().any(|&v| !fixed.is(graph, v, 0));
            let goal = Goal::Parameters(node.op.name().to_owned());
            (varies && !alike).then(|| (label(), goal))
        }
        Op::GatherElements(_)
        | Op::GatherND(_)
        | Op::Slice(_)
        | Op::GridSample(_)
        | Op::RoiAlign(_)
        | Op::DeformConv(_)
        | Op::Compress(_) => {
            let table = fixed.is(graph, data, 0) || held(graph, data).is_some();
            let differs = !known(data) && table && indexed(fixed);
            differs.then(|| (label(), Goal::Parts(name)))
        }
        _ => None,
    }
}

/// The elements of a constant, or of an input's default.
fn held(graph: &Graph, v: ValueId) -> Option<Arc<Tensor>> {
    match &graph.value(v).def {
        Def::Input(default) => default.clone(),
        _ => graph.constant(v),
    }
}

/// Rows in which the table differs from the one that the other graph has under its name.
fn differing_rows(
    (graph, data): (&Graph, ValueId),
    other: &Graph,
    axis: usize,
) -> Option<BTreeSet<i64>> {
    let t = held(graph, data)?;
    let u = other.find_value(&graph.value(data).name).and_then(|v| held(other, v))?;
    if u.dims() != t.dims() || u.dtype() != t.dtype() {
        return None;
    }
    let (p, q) = (t.bytes().ok()?, u.bytes().ok()?);
    let rows = t.dims()[axis] as usize;
    let outer = t.dims()[..axis].iter().product::<u64>() as usize;
    let size = p.len().checked_div(outer * rows)?;
    let differs = |r: &usize| {
        (0..outer).any(|o| {
            let at = (o * rows + r) * size..(o * rows + r + 1) * size;
            p.get(at.clone()) != q.get(at)
        })
    };
    Some((0..rows).filter(differs).map(|r| r as i64).collect())
}

/// What control flow in the node has to show.
fn control<'g>(
    (graph, id): (&'g Graph, NodeId),
    (fixed, ranges): (&mut Fixed, &mut Ranges<'g>),
    drawn: &HashSet<ValueId>,
    goals: &mut Vec<(String, Goal)>,
    depth: usize,
) {
    let node = graph.node(id);
    if depth > 16 {
        // What lies deeper is not looked at, so that no run is known to reach it.
        goals.push((graph.label(id).to_owned(), Goal::Branches));
        return;
    }
    let label = || graph.label(id).to_owned();
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    match &node.op {
        op if hides(op, &mut |i| operand(i).is_some_and(|v| !fixed.is(graph, v, 0))) => {
            goals.push((label(), Goal::Hidden(op.name().to_owned())));
            goals.extend(outcomes(graph, id, op, (fixed, ranges)).map(|g| (label(), g)));
        }
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
        Op::SequenceMap(_) => goals.push((label(), Goal::Trips(&[0, 1, 2]))),
        // As many as the extent of what is scanned.
        Op::Scan(_) => {
            let open = |v: &ValueId| graph.value(*v).ty.extents().is_none();
            if node.inputs.iter().flatten().any(open) {
                goals.push((label(), Goal::Trips(&[2])));
            }
        }
        op => goals.extend(outcomes(graph, id, op, (fixed, ranges)).map(|g| (label(), g))),
    }
    let mut inner = |g: &Graph, step: usize| {
        let (mut fixed, mut ranges) = (Fixed::default(), Ranges::new(g));
        for id in g.schedule() {
            control((g, id), (&mut fixed, &mut ranges), drawn, goals, depth + step);
        }
    };
    if is_defined(graph, &node.op) {
        // One that could not be put in the node's place. Without it, nothing is known.
        match inferred(&OpCtx::of(graph, id)) {
            Ok(Some(body)) => inner(&body, DEFINITION),
            _ => goals.push((label(), Goal::Branches)),
        }
        return;
    }
    for (_, body) in node.op.bodies() {
        inner(body, 1);
    }
}

/// Whether the operator treats few numbers, strings or positions in another way than all that runs are likely
/// to have; `varies` says of an operand whether it depends on inputs.
fn hides(op: &Op, varies: &mut dyn FnMut(usize) -> bool) -> bool {
    match op {
        // Saturation and the precision of the quotient.
        Op::QuantizeLinear(q) => (q.precision != 0 || q.saturate == 0) && varies(0),
        Op::RegexFullMatch(_) | Op::StringNormalizer(_) | Op::StringSplit(_) => varies(0),
        Op::SequenceAt(_) | Op::SequenceErase(_) | Op::SplitToSequence(_) => varies(1),
        Op::SequenceInsert(_) => varies(2),
        _ => false,
    }
}

/// Whether the node runs as a kernel: neither as a graph of its own, nor as a view.
fn runs_by_itself(graph: &Graph, id: NodeId) -> bool {
    let op = &graph.node(id).op;
    let is_graph = matches!(op, Op::Other(_)) || is_defined(graph, op) || !op.bodies().is_empty();
    !is_graph && op.class() != Class::Layout && !OpCtx::of(graph, id).is_identity(0)
}

/// The outcomes that runs can miss, of the operator of a node.
fn outcomes(
    graph: &Graph,
    id: NodeId,
    op: &Op,
    (fixed, ranges): (&mut Fixed, &mut Ranges<'_>),
) -> Option<Goal> {
    let kind = kind(op)?;
    let node = graph.node(id);
    let mut varies = |i: usize| match node.inputs.get(i) {
        Some(&Some(v)) => !fixed.is(graph, v, 0),
        _ => false,
    };
    // The same in all runs, it has no outcomes.
    let own: Vec<bool> = (0..node.inputs.len()).map(&mut varies).collect();
    let of = |i: usize| own.get(i) == Some(&true);
    let ranges: Vec<_> = node.inputs.iter().map(|v| v.map(|v| ranges.of(v))).collect();
    let open = |bit: usize| match kind {
        Kind::Truths(_) => of(bit / 2),
        Kind::Order(_) | Kind::Best(_) => own.contains(&true),
        _ => of(0),
    };
    let bits: Vec<(u32, String)> = (kind.names(node.inputs.len()).into_iter().enumerate())
        .filter(|(bit, _)| open(*bit) && !impossible(op, &ranges, *bit))
        .map(|(bit, name)| (1 << bit, name))
        .collect();
    (!bits.is_empty()).then(|| Goal::Outcomes(op.name().to_owned(), bits))
}

/// Whether the operator may move a bound by a constant.
fn computes(op: &Op) -> bool {
    matches!(op, Op::Add(_) | Op::Sub(_) | Op::Mul(_) | Op::Div(_))
}

/// Magnitudes of what the node, or one in its bodies, compares with: bounds, and single numbers
/// that it computes with; each with whether it compares.
fn bounds(graph: &Graph, id: NodeId, marks: &mut Vec<(bool, f64)>, depth: usize) {
    let node = graph.node(id);
    let kind = kind(&node.op);
    let mut mark = |compares: bool, x: f64| {
        if x != 0.0 && x.is_finite() && x.abs() < 1e30 {
            marks.push((compares, x.abs()));
        }
    };
    match kind {
        Some(Kind::Bounds(lo, hi)) => [lo, hi].into_iter().flatten().for_each(|b| mark(true, b)),
        Some(Kind::Clip(lo, hi)) => {
            [lo, hi].into_iter().flatten().for_each(|b| mark(true, b.into()));
        }
        _ => {}
    }
    if kind.is_some() || computes(&node.op) {
        for &v in node.inputs.iter().flatten() {
            let single = graph.value(v).ty.elements().is_some_and(|n| n <= 4);
            for x in single.then(|| numbers(graph, v)).flatten().into_iter().flatten() {
                mark(kind.is_some(), x);
            }
        }
    }
    let definition = inferred(&OpCtx::of(graph, id)).ok().flatten();
    let bodies = node.op.bodies();
    let steps = bodies.iter().map(|(_, b)| (&***b, 1));
    let all = steps.chain(definition.iter().map(|d| (d, DEFINITION)));
    for (body, step) in all.filter(|_| depth <= 16) {
        for id in body.schedule() {
            bounds(body, id, marks, depth + step);
        }
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
        let value = graph.value(v);
        let f = match &value.def {
            // Without elements, there is nothing to differ.
            _ if value.ty.dims().is_some_and(|d| d.contains(&Dim::Known(0))) => true,
            Def::Const(_) => true,
            // Runs take no other extents than the default's.
            Def::Input(Some(t)) => t.dims().contains(&0),
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
