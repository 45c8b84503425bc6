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
use graph_opt_ir::op::{self, Op};
use graph_opt_ir::{Edit, EditError, Graph, NodeId, Ref, ValueId};

use crate::options::{OptionError, OptionInfo, Options, nearest};
use crate::pass::{Cx, Exactness, Outcome, Pass, PassInfo};

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
    let mut stages = Vec::new();
    for part in text.trim_matches(['[', ']']).split(',') {
        // Node names may contain colons.
        match part.trim().rsplit_once(':') {
            Some((node, device)) if !node.is_empty() && !device.is_empty() => {
                stages.push((node.to_owned(), device.to_owned()));
            }
            _ => return Err(OptionError(format!("stages: expected NODE:DEVICE, found {part:?}"))),
        }
    }
    Ok(Box::new(SplitDevices { stages }))
}

struct SplitDevices {
    stages: Vec<(String, String)>,
}

impl Pass for SplitDevices {
    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), EditError> {
        let graph = cx.graph();
        let found = firsts(graph, &self.stages);
        if let Err(why) = found.and_then(|f| captured_across(graph, &f)) {
            cx.say("", Outcome::Blocked, why);
            return Ok(());
        }
        // The first stage holds the inputs.
        let mut crossed = 0;
        for stage in 1..self.stages.len() {
            loop {
                let graph = cx.graph();
                // Edits keep node names but renumber nodes.
                let Ok(firsts) = firsts(graph, &self.stages) else { break };
                let Some(edit) = next(graph, firsts[stage], &self.stages[stage].1) else { break };
                cx.apply(&edit)?;
                crossed += 1;
                if cx.is_done() {
                    return Ok(());
                }
            }
        }
        let n = self.stages.len();
        cx.say("", Outcome::Applied, format!("{n} stages, {crossed} readers across"));
        Ok(())
    }
}

/// First node of each stage.
fn firsts(graph: &Graph, stages: &[(String, String)]) -> Result<Vec<NodeId>, String> {
    let order: Vec<NodeId> = graph.schedule().collect();
    let mut at = 0;
    let mut found = Vec::new();
    for (i, (name, _)) in stages.iter().enumerate() {
        let here = order.iter().position(|&n| graph.label(n) == name);
        let Some(here) = here else {
            let known = nearest(name, order.iter().map(|&n| graph.label(n)));
            let hint = known.map_or_else(String::new, |k| format!("; did you mean {k}?"));
            return Err(format!("expected the name of a node, found {name}{hint}"));
        };
        if (i == 0) != (here == 0) || here < at {
            return Err(format!(
                "expected stages in the order of the schedule, the first one from its first node \
                 on, found {name}"
            ));
        }
        at = here + 1;
        found.push(order[here]);
    }
    Ok(found)
}

/// Rejects splits in which the body of a node captures a value of another stage: bodies refer to
/// outer values by name, so no Transfer can redirect them.
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
        like: vec![reader],
    });
    edit.before = Some(reader);
    for (o, v) in node.outputs.iter().enumerate() {
        edit.replaces.extend(v.map(|v| (v, Ref::New(place, o))));
    }
    edit.removes.push(reader);
    Some(edit)
}
