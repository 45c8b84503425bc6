//! `eqsat`: the graph in an e-graph, and another one out of it.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %V = const random(1)                          : f32[8,3,3,3]
//!   %a = Slice %x [2: 0..9]                       : f32[1,3,9,16]
//!   %b = Conv %a, %V {pads=[1,1,0,1]}             : f32[1,8,8,16]    ; conv/tile0of2
//!   %c = Slice %x [2: 7..16]                      : f32[1,3,9,16]
//!   %d = Conv %c, %V {pads=[0,1,1,1]}             : f32[1,8,8,16]    ; conv/tile1of2
//!   %y = Concat %b, %d {axis=2}                   : f32[1,8,16,16]
//! }
//! ```
//! After `eqsat{objective=launches}`:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %V = const random(1)                          : f32[8,3,3,3]
//!   %y = Conv %x, %V {pads=[1,1,1,1]}             : f32[1,8,16,16]
//! }
//! ```

use std::collections::{HashMap, HashSet};

use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Op, Ref, Tensor, ValueId};

use super::egraph::Class;
use super::extract::{Choice, Extractor, Without, is_launch};
use super::prove::Prover;
use super::terms::{Head, Reading, TermId};
use crate::analysis::{cost, plan};
use crate::options::{OptionError, OptionInfo, Options, name_of};
use crate::pass::{Change, Data, Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::count;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "eqsat",
    summary: "equality saturation: the cheapest equal graph that is found",
    exactness: Exactness::BitExact,
    options: &[
        OptionInfo {
            name: "objective",
            value: "memory|macs|bytes|launches",
            help: "what is minimized: the peak of live activations (memory, the default), \
                   multiply-accumulates, bytes written, or nodes that are not views",
        },
        OptionInfo {
            name: "nodes",
            value: "20000",
            help: "maximum number of e-nodes (default 20000)",
        },
    ],
    make,
};

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let objective = o.choice("objective", &OBJECTIVES)?.unwrap_or_default();
    let nodes = o.count("nodes")?.map_or(NODES, |n| n as usize);
    Ok(Box::new(Eqsat::for_least(objective).nodes(nodes)))
}

/// The objective of [`Eqsat`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Objective {
    /// The peak of live activations, in bytes.
    #[default]
    Memory,
    /// The number of multiply-accumulates.
    Macs,
    /// Bytes that the nodes write.
    Bytes,
    /// The number of nodes that are not views of their operand.
    Launches,
}

const OBJECTIVES: [(&str, Objective); 4] = [
    ("memory", Objective::Memory),
    ("macs", Objective::Macs),
    ("bytes", Objective::Bytes),
    ("launches", Objective::Launches),
];

/// E-nodes that are explored by default.
const NODES: usize = 20_000;

/// The pass `eqsat`, which replaces the graph by the cheapest equal graph that is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Eqsat {
    objective: Objective,
    nodes: usize,
}

impl Eqsat {
    /// A pass that minimizes this objective.
    pub fn for_least(objective: Objective) -> Self {
        Self { objective, nodes: NODES }
    }

    /// Explores at most `n` e-nodes; 0 counts as 1.
    #[must_use]
    pub fn nodes(self, n: usize) -> Self {
        Self { nodes: n.max(1), ..self }
    }
}

/// Maximum number of joined values that the pass tries to avoid.
const JOINTS: usize = 16;

/// Maximum number of rounds of all rules over all terms.
const ROUNDS: usize = 10;

impl Pass for Eqsat {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        if self.objective != Objective::default() {
            options = options.with("objective", name_of(self.objective, &OBJECTIVES));
        }
        if self.nodes != NODES {
            options = options.with("nodes", self.nodes);
        }
        options
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let graph = cx.graph().clone();
        let graph = &graph;
        let mut p = Prover { explore: true, ..Prover::default() };
        let reading = Reading::of(graph, &mut p.terms);
        let known: Vec<TermId> = reading.made.iter().map(|m| m.2).collect();
        known.iter().for_each(|&t| {
            p.classes.add(&p.terms, t);
        });
        let together = p.siblings(&p.classes.distinct(&p.terms, known));
        let complete = saturate(&mut p, self.nodes);
        if let Some(why) = p.classes.conflict() {
            let why = format!("a rule is wrong: {why}");
            cx.remark_on("", Outcome::Blocked, why);
            return Ok(());
        }
        let roots: Option<Vec<TermId>> = graph.outputs().iter().map(|&v| reading.term(v)).collect();
        let Some(roots) = roots else {
            cx.remark_on("", Outcome::Blocked, "an output has no term");
            return Ok(());
        };
        // Values of the graph, by their terms.
        let mut values: HashMap<TermId, ValueId> = HashMap::new();
        for (i, t) in reading.terms.iter().enumerate() {
            if let Some(t) = t {
                values.entry(*t).or_insert(ValueId::new(i));
            }
        }
        let extractor = Extractor::new(&p.terms, &p.classes, &roots);
        // Costs of classes do not determine the peak of a graph, so that graphs are compared.
        let now = judge(graph, self.objective);
        let mut best: Option<(Edit, Judged)> = None;
        let mut better = |choices: Vec<Choice>, cx: &mut PassCtx<'_, '_>| -> bool {
            let before = best.as_ref().map_or(now, |b| b.1);
            for choice in choices {
                let edit = rewritten(graph, &p, (&reading, &roots), &values, choice);
                let Some(edit) = edit else { continue };
                let mut copy = graph.clone();
                if let Err(e) = Editor::new(&mut copy).apply(&edit) {
                    let why = format!("a candidate cannot be written: {e}");
                    cx.remark_on("", Outcome::NoEffect, why);
                    continue;
                }
                let found = judge(&copy, self.objective);
                if found < best.as_ref().map_or(now, |b| b.1) {
                    best = Some((edit, found));
                }
            }
            best.as_ref().is_some_and(|b| b.1 < before)
        };
        better(extractor.front(&together), cx);
        if matches!(self.objective, Objective::Memory) {
            let mut without = Without::new();
            for joint in extractor.joints().into_iter().take(JOINTS) {
                without.insert(joint);
                if !better(extractor.without(&without), cx) {
                    without.remove(&joint);
                }
            }
        }
        let nodes = p.classes.nodes();
        let how = if complete { "saturated" } else { "stopped" };
        match best {
            Some((edit, _)) => {
                let before = cx.graph().len() as u64;
                cx.apply(&edit)?;
                let after = cx.graph().len() as u64;
                let what = format!("{how} at {nodes} e-nodes; {}", count(after as usize, "node"));
                cx.remark_with("", Outcome::Applied, what, Data::Nodes(Change { before, after }));
            }
            None => {
                let why = format!("{how} at {nodes} e-nodes; nothing equal costs less");
                cx.remark_on("", Outcome::NoEffect, why);
            }
        }
        Ok(())
    }
}

/// The cost of a graph in lexicographic order, the objective first.
type Judged = (u64, u64, u64);

fn judge(graph: &Graph, objective: Objective) -> Judged {
    let c = cost(graph);
    let nodes = c.nodes as u64;
    let launches = graph.schedule().filter(|&n| is_launch(&graph.node(n).op)).count() as u64;
    let (peak, moved) = plan(graph)
        .map_or((u64::MAX, u64::MAX), |p| (p.peak, p.buffers.iter().map(|b| b.bytes).sum()));
    match objective {
        Objective::Memory => (peak, c.macs, nodes),
        Objective::Macs => (c.macs, nodes, peak),
        Objective::Bytes => (moved, c.macs, nodes),
        Objective::Launches => (launches, nodes, c.macs),
    }
}

/// Applies all rules to all terms; returns whether the e-graph is saturated.
fn saturate(p: &mut Prover, most: usize) -> bool {
    for _ in 0..ROUNDS {
        let before = (p.classes.nodes(), p.classes.steps.len());
        let mut at = 0;
        // What the rules make is looked at in the next round.
        let all = p.classes.distinct(&p.terms, p.terms.ids());
        while at < all.len() {
            p.classes.add(&p.terms, all[at]);
            p.local(all[at]);
            at += 1;
            if p.classes.nodes() > most {
                p.classes.close();
                return false;
            }
        }
        p.classes.close();
        if (p.classes.nodes(), p.classes.steps.len()) == before {
            return true;
        }
    }
    false
}

/// The edit that computes the outputs by the chosen terms; `None` if that changes nothing.
fn rewritten(
    graph: &Graph,
    p: &Prover,
    (reading, roots): (&Reading, &[TermId]),
    values: &HashMap<TermId, ValueId>,
    choice: Choice,
) -> Option<Edit> {
    let made = HashMap::new();
    let mut w = Writer { graph, p, reading, choice, values, made, edit: Edit::new("eqsat") };
    let mut kept: HashSet<ValueId> = HashSet::new();
    let mut done: HashSet<ValueId> = HashSet::new();
    for (&v, &t) in graph.outputs().iter().zip(roots) {
        if !done.insert(v) {
            continue;
        }
        let new = w.emit(p.classes.class(t))?;
        if new == Ref::Value(v) || w.is_copy(v, new) {
            kept.insert(v);
            continue;
        }
        w.edit.define(graph, v, new);
    }
    if w.edit.replaces.is_empty() {
        return None;
    }
    // What the new nodes read stays, with all that it needs; all else goes.
    let read = w.edit.nodes.iter().flat_map(|n| n.inputs.iter().flatten());
    let replaced = w.edit.replaces.iter().map(|r| &r.1);
    kept.extend(read.chain(replaced).filter_map(|r| match r {
        Ref::Value(v) => Some(*v),
        _ => None,
    }));
    let wanted: Vec<ValueId> = kept.into_iter().collect();
    let needed = crate::analysis::needed(graph, &wanted);
    // What makes a replaced output goes in any case: what stays may read the output in a body.
    let replaced: HashSet<ValueId> = w.edit.replaces.iter().map(|r| r.0).collect();
    let makes = |n: NodeId| graph.node(n).outputs.iter().flatten().any(|v| replaced.contains(v));
    w.edit.removes = graph.schedule().filter(|&n| !needed[n.index()] || makes(n)).collect();
    // After all that stays.
    let last = graph.schedule().last()?;
    if needed[last.index()] {
        return None;
    }
    w.edit.before = Some(last);
    Some(w.edit)
}

struct Writer<'a> {
    graph: &'a Graph,
    p: &'a Prover,
    reading: &'a Reading,
    choice: Choice,
    /// Values of the graph, by their terms.
    values: &'a HashMap<TermId, ValueId>,
    made: HashMap<Class, Ref>,
    edit: Edit,
}

impl Writer<'_> {
    /// Whether the output is the Identity of this value in the graph.
    fn is_copy(&self, v: ValueId, of: Ref) -> bool {
        let node = self.graph.producer(v).map(|n| self.graph.node(n));
        let copies = |n: &graph_opt_ir::Node| {
            matches!(n.op, Op::Identity(_))
                && n.inputs.first().copied().flatten().map(Ref::Value) == Some(of)
        };
        !self.edit.may_name(self.graph, v, of) && node.is_some_and(copies)
    }

    fn emit(&mut self, root: Class) -> Option<Ref> {
        let mut todo = vec![root];
        while let Some(&c) = todo.last() {
            if self.made.contains_key(&c) {
                todo.pop();
                continue;
            }
            let t = *self.choice.get(&c)?;
            let terms = &self.p.terms;
            let children = terms.get(t).children.clone();
            let below: Vec<Class> = children.iter().map(|&x| self.p.classes.class(x)).collect();
            let missing: Vec<Class> =
                below.iter().copied().filter(|b| !self.made.contains_key(b)).collect();
            if !missing.is_empty() {
                todo.extend(missing.into_iter().rev());
                continue;
            }
            todo.pop();
            let inputs: Vec<Ref> = below.iter().map(|b| self.made[b]).collect();
            let new = self.node(t, &inputs)?;
            self.made.insert(c, new);
        }
        self.made.get(&root).copied()
    }

    /// The value of a term over these operands: one of the graph, if it is computed from them, or a new
    /// node's.
    fn node(&mut self, t: TermId, inputs: &[Ref]) -> Option<Ref> {
        let terms = &self.p.terms;
        let term = terms.get(t);
        let old = self.values.get(&t).copied();
        let stays = |x: &TermId, r: &Ref| match r {
            Ref::Value(v) => self.values.get(x) == Some(v),
            _ => terms.value(*x).is_some(),
        };
        if let Some(v) = old
            && term.children.iter().zip(inputs).all(|(x, r)| stays(x, r))
        {
            return Some(Ref::Value(v));
        }
        // As it was spelled, if only the data that it reads is new, and equal to what it read. The
        // normal form may reach further back: of Transpose of Transpose, the first child is not
        // what the node reads.
        let class = |t: TermId| self.p.classes.class(t);
        if let Some(node) = old.and_then(|v| self.graph.producer(v))
            && let (n, [Some(read), rest @ ..]) =
                (self.graph.node(node), &self.graph.node(node).inputs[..])
            && n.outputs.len() == 1
            && let (Some(read), Some(child)) = (self.reading.term(*read), term.children.first())
            && class(read) == class(*child)
            && rest.iter().flatten().all(|v| self.graph.constant(*v).is_some())
            && term.children.iter().skip(1).all(|x| terms.value(*x).is_some())
        {
            let operands = std::iter::once(Some(inputs[0]))
                .chain(rest.iter().map(|v| v.map(Ref::Value)))
                .collect();
            return Some(self.edit.node(n.name.to_string(), n.op.clone(), operands, &[node]));
        }
        // Named after what it is equal to.
        let same = &self.p.classes.data(self.p.classes.class(t)).terms;
        let like: Option<NodeId> =
            same.iter().find_map(|s| self.graph.producer(*self.values.get(s)?));
        let base = like.map_or("eqsat".to_owned(), |n| self.graph.label(n).to_owned());
        let name = format!("{base}/eqsat");
        let like: Vec<NodeId> = like.into_iter().collect();
        match &term.head {
            Head::Leaf(_) => None,
            Head::Const(_) => Some(match old {
                Some(v) => Ref::Value(v),
                None => {
                    let t: Tensor = (**terms.value(t)?).clone();
                    self.edit.constant(&format!("{name}/constant"), t)
                }
            }),
            Head::Slice(r) => {
                let cuts: Vec<(usize, graph_opt_ir::Span)> =
                    r.iter().enumerate().filter_map(|(a, s)| s.map(|s| (a, s))).collect();
                let like = like.first().copied().or_else(|| self.graph.schedule().next())?;
                let graph = self.graph;
                Some(crate::tile::slices::slice(
                    &mut self.edit,
                    graph,
                    inputs[0],
                    &cuts,
                    &name,
                    like,
                ))
            }
            Head::Apply(a) if a.outputs == 1 => {
                let mut rest = inputs.iter();
                let operands =
                    a.present.iter().map(|&p| if p { rest.next().copied() } else { None });
                let operands: Vec<Option<Ref>> = operands.collect();
                Some(self.edit.node(name, (*a.op).clone(), operands, &like))
            }
            Head::Apply(_) => None,
        }
    }
}
