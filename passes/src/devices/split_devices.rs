//! `split-devices`: writes the stages of a plan into the graph. What a stage reads of an earlier one
//! goes through a Transfer to the stage's device, one per value and stage.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[2,4]) -> (%y) opset 13 {
//!   %a = Relu %x              : f32[2,4]    ; first
//!   %b = Tanh %a              : f32[2,4]    ; second
//!   %y = Add %a, %b           : f32[2,4]    ; third
//! }
//! ```
//! After `split-devices{stages=[first:camera,second:box]}`:
//! ```text
//! graph @main(%x: f32[2,4]) -> (%y) opset 13 {
//!   %a = Relu %x              : f32[2,4]    ; first
//!   %t = Transfer %a {to="box"} : f32[2,4]
//!   %b = Tanh %t              : f32[2,4]    ; second
//!   %y = Add %t, %b           : f32[2,4]    ; third
//! }
//! ```

use std::collections::HashSet;

use graph_opt_ir::edit::NewNode;
use graph_opt_ir::names::NodeNames;
use graph_opt_ir::op::{self, Op};
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref, ValueId};

use crate::options::{OptionError, OptionInfo, Options, items, quoted};
use crate::pass::{Exactness, Outcome, Pass, PassCtx, PassInfo};

/// Entry in the registry of passes.
pub const INFO: PassInfo = PassInfo {
    name: "split-devices",
    summary: "stages on devices: what a later stage reads of an earlier one goes through Transfer",
    exactness: Exactness::BitExact,
    options: &[OptionInfo {
        name: "stages",
        value: "NODE:DEVICE,…",
        help: "the first node of each stage, in the order in which they run, and its device",
    }],
    make,
};

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let text = o
        .get("stages")
        .ok_or_else(|| OptionError("expected stages=NODE:DEVICE,…, found no such option".into()))?;
    let stages = items(text).into_iter().map(stage).collect::<Result<_, _>>()?;
    Ok(Box::new(SplitDevices::new(stages)?))
}

/// A node and a device, each of which may stand in quotes.
fn stage(part: &str) -> Result<(String, String), OptionError> {
    let wrong = || OptionError(format!("stages: expected NODE:DEVICE, found {part:?}"));
    // Names of nodes may hold colons, and so may names in quotes.
    let colon = match part.strip_suffix('"') {
        Some(inner) => inner.rfind(":\""),
        None => part.rfind(':'),
    };
    let (node, device) = part.split_at(colon.ok_or_else(wrong)?);
    let name = |text: &str| match quoted(text) {
        Some((n, name)) if n == text.len() => Some(name),
        Some(_) => None,
        None => Some(text.to_owned()),
    };
    name(node).zip(name(&device[1..])).ok_or_else(wrong)
}

/// The pass `split-devices`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SplitDevices {
    stages: Vec<(String, String)>,
}

impl SplitDevices {
    /// For each stage, in the order in which they run, its first node and its device.
    ///
    /// # Errors
    /// If there is none, or one without a name.
    pub fn new(stages: Vec<(String, String)>) -> Result<Self, OptionError> {
        if stages.is_empty() || stages.iter().any(|s| s.0.is_empty() || s.1.is_empty()) {
            return Err(OptionError("stages must have the names of a node and a device".into()));
        }
        Ok(Self { stages })
    }
}

impl Pass for SplitDevices {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        let name = |name: &String, marks: &str| {
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && !marks.contains(c);
            if name.chars().all(plain) { name.clone() } else { format!("{name:?}") }
        };
        let stage = |(node, device): &(String, String)| {
            format!("{}:{}", name(node, ",[]\""), name(device, ":,[]\""))
        };
        let stages: Vec<String> = self.stages.iter().map(stage).collect();
        Options::default().with("stages", format!("[{}]", stages.join(",")))
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let graph = cx.graph();
        let found = firsts(graph, &self.stages);
        let found = found.and_then(|f| captured_across(graph, &f).map(|()| f));
        let firsts: Vec<ValueId> = match found {
            Ok(f) => f.iter().filter_map(|&n| first_result(graph, n)).collect(),
            Err(why) => {
                cx.remark_on("", Outcome::Blocked, why);
                return Ok(());
            }
        };
        // The first stage is where the inputs are.
        let mut crossed = 0;
        for (&first, (_, device)) in firsts.iter().zip(&self.stages).skip(1) {
            loop {
                let graph = cx.graph();
                // Edits keep results and give nodes new numbers.
                let Some(first) = graph.producer(first) else { break };
                let Some(edit) = next(graph, first, device) else { break };
                cx.apply(&edit)?;
                crossed += 1;
                if cx.is_done() {
                    return Ok(());
                }
            }
        }
        let n = self.stages.len();
        cx.remark_on("", Outcome::Applied, format!("{n} stages, {crossed} readers across"));
        Ok(())
    }
}

/// First node of each stage.
fn firsts(graph: &Graph, stages: &[(String, String)]) -> Result<Vec<NodeId>, String> {
    let names = NodeNames::of_graph(graph);
    let start = graph.schedule().next();
    let mut found: Vec<NodeId> = Vec::new();
    for (name, _) in stages {
        let here = names.node(name).map_err(|e| e.to_string())?;
        let in_order = match found.last() {
            None => start == Some(here),
            Some(&last) => graph.runs_before(last, here),
        };
        if !in_order {
            return Err(format!("stages must begin at the first node and be in order: {name}"));
        }
        if first_result(graph, here).is_none() {
            return Err(format!("a stage begins with a node that has a result, not with {name}"));
        }
        found.push(here);
    }
    Ok(found)
}

fn first_result(graph: &Graph, node: NodeId) -> Option<ValueId> {
    graph.node(node).outputs.iter().flatten().next().copied()
}

/// Refuses stages of which a later one captures, in a body, what an earlier one makes or is given:
/// a body reads by name what is around it, and would read past the Transfer.
fn captured_across(graph: &Graph, firsts: &[NodeId]) -> Result<(), String> {
    let order: Vec<NodeId> = graph.schedule().collect();
    let mut starts = firsts.iter().skip(1).peekable();
    // Nodes of the current stage.
    let mut here: HashSet<NodeId> = HashSet::new();
    let mut first = true;
    for n in order {
        if starts.next_if(|s| **s == n).is_some() {
            here.clear();
            first = false;
        }
        here.insert(n);
        let away = |v: &&ValueId| {
            graph.constant(**v).is_none() && graph.producer(**v).is_none_or(|p| !here.contains(&p))
        };
        if let Some(&v) = graph.node(n).captures.iter().find(away).filter(|_| !first) {
            let (node, value) = (graph.label(n), &graph.value(v).name);
            return Err(format!(
                "the bodies of {node} read {value} of another stage, and a Transfer cannot \
                 redirect a body; begin the stage before {value} is made, or end it after {node}"
            ));
        }
    }
    Ok(())
}

/// The edit that redirects the next reader, from node `first` on, to a Transfer of what it reads
/// from earlier stages.
fn next(graph: &Graph, first: NodeId, device: &str) -> Option<Edit> {
    let order: Vec<NodeId> = graph.schedule().collect();
    let start = order.iter().position(|&n| n == first)?;
    let later: HashSet<NodeId> = order[start..].iter().copied().collect();
    let moves = |n: NodeId| matches!(&graph.node(n).op, Op::Transfer(t) if t.to == device);
    // Graph inputs belong to the first stage. Transfers are placed before the stage's first node.
    let here = |p: NodeId| later.contains(&p) || moves(p);
    let earlier =
        |v: ValueId| graph.constant(v).is_none() && graph.producer(v).is_none_or(|p| !here(p));
    let (reader, v) = order[start..].iter().filter(|&&n| !moves(n)).find_map(|&n| {
        let mut read = graph.node(n).inputs.iter().flatten().copied();
        read.find(|&v| earlier(v)).map(|v| (n, v))
    })?;
    let node = graph.node(reader);
    let mut edit = Edit::new(format!("split-devices {}", graph.label(reader)));
    // One Transfer serves all readers of a stage.
    let there = order.iter().find_map(|&n| {
        let node = graph.node(n);
        if moves(n) && node.inputs.first() == Some(&Some(v)) {
            node.outputs.first().copied().flatten()
        } else {
            None
        }
    });
    let moved = match there {
        Some(t) => Ref::Value(t),
        None => {
            let name = format!("{}/to/{device}", graph.value(v).name);
            edit.node(
                name,
                op::Transfer { to: device.into() },
                vec![Some(Ref::Value(v))],
                &[reader],
            )
        }
    };
    let inputs = node.inputs.iter().map(|&i| i.map(|i| if i == v { moved } else { Ref::Value(i) }));
    let place = edit.nodes.len();
    edit.nodes.push(NewNode {
        name: node.name.to_string(),
        op: node.op.clone(),
        extra: node.extra.clone(),
        inputs: inputs.collect(),
        outputs: node.outputs.len(),
        absent: Vec::new(),
        like: vec![reader],
    });
    edit.before = Some(reader);
    for (o, v) in node.outputs.iter().enumerate() {
        edit.replaces.extend(v.map(|v| (v, Ref::New(place, o))));
    }
    edit.removes.push(reader);
    Some(edit)
}
