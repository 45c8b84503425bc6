//! If, Loop and Scan.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use graph_opt_ir::{Graph, NodeId, Op, ValueId};

use super::{Scope, read};
use crate::RunError;
use crate::cpu::array::{Array, Buf, Item};
use crate::cpu::cx::{Env, axis_of};
use crate::cpu::ops;

/// Most turns of all loops of a run together.
const TURNS: u64 = 1 << 20;

pub(super) fn control(scope: &Scope<'_>, id: NodeId, env: Env) -> Result<Vec<Array>, RunError> {
    let node = scope.graph.node(id);
    match &node.op {
        Op::If(o) => {
            let taken = truth(read(scope, node.inputs.first().copied().flatten())?)?;
            if let Some(w) = env.watch {
                w.branch(scope.graph.label(id), taken);
            }
            let branch = if taken { &o.then_branch } else { &o.else_branch };
            scope.nested(&branch.0, &*scope.body(&branch.0, env.room)?, vec![], env)
        }
        Op::Loop(o) => run_loop(scope, id, &o.body.0, env),
        Op::SequenceMap(o) => map(scope, id, &o.body.0, env),
        Op::Scan(o) if opset(scope) < 9 => scan_batches(scope, id, o, env),
        Op::Scan(o) => {
            let operands = operands(scope, id, 0)?;
            scan(scope, id, o, operands, env)
        }
        _ => Err(RunError::Invalid("not control flow".into())),
    }
}

fn opset(scope: &Scope<'_>) -> i64 {
    scope.graph.opsets.get(graph_opt_ir::op::ONNX).copied().unwrap_or(1)
}

fn truth(a: Option<Array>) -> Result<bool, RunError> {
    match a {
        Some(a) => Ok(a.get::<bool>()?.first().copied().unwrap_or(false)),
        None => Ok(true),
    }
}

/// The operands from this one on, none of which may be missing.
fn operands(scope: &Scope<'_>, id: NodeId, from: usize) -> Result<Vec<Array>, RunError> {
    let inputs = scope.graph.node(id).inputs.iter().enumerate().skip(from);
    let one = |(i, v): (usize, &Option<ValueId>)| {
        read(scope, *v)?.ok_or_else(|| RunError::Invalid(format!("operand {i} is missing")))
    };
    inputs.map(one).collect()
}

/// Counts a turn of a loop, or a call of a function.
pub(super) fn turn(env: Env) -> Result<(), RunError> {
    let turns = env.turns.map_or(0, |t| t.fetch_add(1, Ordering::Relaxed));
    if turns >= TURNS {
        return Err(RunError::Unsupported(format!(
            "its loops take more than {TURNS} turns together, the limit of a run"
        )));
    }
    Ok(())
}

/// Results of the turns of a loop, which become one tensor each.
struct Scans {
    all: Vec<Vec<Array>>,
    /// Bytes that they take.
    held: u64,
}

impl Scans {
    fn push(&mut self, results: Vec<Array>, env: Env) -> Result<(), RunError> {
        for (all, a) in self.all.iter_mut().zip(results) {
            // Small arrays cost more than their elements.
            self.held = self.held.saturating_add(a.bytes()).saturating_add(64);
            all.push(a);
        }
        if self.held > env.room {
            return Err(RunError::TooLarge { what: "scan", elements: self.held, left: env.room });
        }
        Ok(())
    }
}

fn run_loop(scope: &Scope<'_>, id: NodeId, body: &Graph, env: Env) -> Result<Vec<Array>, RunError> {
    let node = scope.graph.node(id);
    let operand = |i: usize| read(scope, node.inputs.get(i).copied().flatten());
    let kept = scope.body(body, env.room)?;
    let limit = match operand(0)? {
        Some(a) => a.to_i64s()?.first().copied().unwrap_or(0),
        None => i64::MAX,
    };
    let mut go = truth(operand(1)?)?;
    let mut state = operands(scope, id, 2)?;
    let carried = state.len();
    let many = body.outputs().len().saturating_sub(1 + carried);
    let mut scans = Scans { all: vec![vec![]; many], held: 0 };
    let mut i = 0;
    while go && i < limit {
        turn(env)?;
        let mut inputs = vec![Array::new(vec![], vec![i]), Array::new(vec![], vec![go])];
        inputs.append(&mut state);
        let here = Env { room: env.room.saturating_sub(scans.held), ..env };
        let mut out = scope.nested(body, &kept, inputs, here)?;
        if out.len() < 1 + carried {
            return Err(RunError::Invalid("the body has too few results".into()));
        }
        go = truth(Some(out.remove(0)))?;
        scans.push(out.split_off(carried), env)?;
        state = out;
        i += 1;
    }
    if let Some(w) = env.watch {
        w.trips(scope.graph.label(id), i);
    }
    for all in scans.all {
        state.push(ops::stack(all, env)?);
    }
    Ok(state)
}

/// The body for each element of the first sequence, with those of others and with operands as they are.
fn map(scope: &Scope<'_>, id: NodeId, body: &Graph, env: Env) -> Result<Vec<Array>, RunError> {
    let operands = operands(scope, id, 0)?;
    let Some(turns) = operands.first().and_then(|a| a.items()).map(<[_]>::len) else {
        return Err(RunError::Invalid(
            "expected a sequence as the first operand, found a tensor".into(),
        ));
    };
    let kept = scope.body(body, env.room)?;
    let mut scans = Scans { all: vec![vec![]; body.outputs().len()], held: 0 };
    for i in 0..turns {
        turn(env)?;
        let mut inputs = Vec::with_capacity(operands.len());
        for a in &operands {
            inputs.push(match a.items().map(|all| all.get(i).and_then(|item| item.0.clone())) {
                None => a.clone(),
                Some(Some(element)) => (*element).clone(),
                Some(None) => return Err(RunError::Invalid("sequences of several lengths".into())),
            });
        }
        let here = Env { room: env.room.saturating_sub(scans.held), ..env };
        scans.push(scope.nested(body, &kept, inputs, here)?, env)?;
    }
    let item = |a: Array| Item(Some(Arc::new(a.contiguous())));
    let list = |all: Vec<Array>| {
        Array::new(vec![all.len()], all.into_iter().map(item).collect::<Vec<_>>())
    };
    Ok(scans.all.into_iter().map(list).collect())
}

/// Number `i` of the attribute's numbers, or 0.
fn nth(all: &Option<Vec<i64>>, i: usize) -> i64 {
    all.as_ref().and_then(|v| v.get(i)).copied().unwrap_or(0)
}

/// A Scan of states and scanned operands, in this order.
fn scan(
    scope: &Scope<'_>,
    id: NodeId,
    o: &graph_opt_ir::op::Scan,
    mut operands: Vec<Array>,
    env: Env,
) -> Result<Vec<Array>, RunError> {
    let body = &o.body.0;
    let invalid = |why: String| Err(RunError::Invalid(why));
    let scanned = usize::try_from(o.num_scan_inputs).unwrap_or(0);
    let Some(carried) = operands.len().checked_sub(scanned).filter(|_| scanned > 0) else {
        return invalid(format!("{} operands, of which {scanned} are scanned", operands.len()));
    };
    let directions = if opset(scope) < 9 { &o.directions } else { &o.scan_input_directions };
    let mut inputs = vec![];
    for (i, a) in operands.split_off(carried).into_iter().enumerate() {
        if matches!(a.data, Buf::List(_)) {
            return invalid("a sequence is scanned".into());
        }
        let axis = axis_of(nth(&o.scan_input_axes, i), a.rank())?;
        inputs.push((a, axis, nth(directions, i) != 0));
    }
    let turns = inputs.first().map_or(0, |(a, axis, _)| a.dims[*axis]);
    if let Some((a, axis, _)) = inputs.iter().find(|(a, axis, _)| a.dims[*axis] != turns) {
        return invalid(format!("{turns} turns, but axis {axis} of {:?}", a.dims));
    }
    let kept = scope.body(body, env.room)?;
    let mut state = operands;
    let many = body.outputs().len().saturating_sub(carried);
    let mut scans = Scans { all: vec![vec![]; many], held: 0 };
    for i in 0..turns {
        turn(env)?;
        for (a, axis, backwards) in &inputs {
            let (mut dims, mut strides) = (a.dims.clone(), a.strides());
            dims.remove(*axis);
            let at = if *backwards { turns - 1 - i } else { i } * strides.remove(*axis);
            state.push(a.part(dims, at, &strides).contiguous());
        }
        let here = Env { room: env.room.saturating_sub(scans.held), ..env };
        let mut out = scope.nested(body, &kept, state, here)?;
        if out.len() < carried {
            return invalid("the body has too few results".into());
        }
        scans.push(out.split_off(carried), env)?;
        state = out;
    }
    if let Some(w) = env.watch {
        w.trips(scope.graph.label(id), turns as i64);
    }
    for (i, mut all) in scans.all.into_iter().enumerate() {
        if nth(&o.scan_output_directions, i) != 0 {
            all.reverse();
        }
        let axis = nth(&o.scan_output_axes, i);
        state.push(match all.first() {
            Some(first) => {
                let axis = axis_of(axis, first.rank() + 1)?;
                ops::stack_along(all, axis, env)?
            }
            None => nothing(body, carried + i, axis, env)?,
        });
    }
    Ok(state)
}

/// What no turn gave: result `i` of the body, no times along a new axis.
fn nothing(body: &Graph, i: usize, axis: i64, env: Env) -> Result<Array, RunError> {
    let ty = body.outputs().get(i).map(|&v| &body.value(v).ty);
    let known = ty.and_then(|t| t.dtype().zip(t.extents()));
    let Some((dtype, extents)) = known else {
        return Err(RunError::Unsupported("a scan of no turns, of unknown extents".into()));
    };
    let mut dims: Vec<usize> = extents.into_iter().map(|n| n as usize).collect();
    dims.insert(axis_of(axis, dims.len() + 1)?, 0);
    ops::convert(Array::new(dims, Vec::<f32>::new()), dtype, env)
}

/// Before version 9, all operands but the first have a batch axis, and the first says how long each sequence
/// of the batch is.
fn scan_batches(
    scope: &Scope<'_>,
    id: NodeId,
    o: &graph_opt_ir::op::Scan,
    env: Env,
) -> Result<Vec<Array>, RunError> {
    let lengths = read(scope, scope.graph.node(id).inputs.first().copied().flatten())?;
    let all = operands(scope, id, 1)?;
    let Some(batch) = all.last().and_then(|a| a.dims.first().copied()) else {
        return Err(RunError::Invalid("nothing is scanned".into()));
    };
    let length = all.last().and_then(|a| a.dims.get(1).copied()).unwrap_or(0);
    if lengths.map(|l| l.to_i64s()).transpose()?.iter().flatten().any(|&l| l != length as i64) {
        return Err(RunError::Unsupported("sequences of several lengths in a batch".into()));
    }
    if batch == 0 || all.iter().any(|a| a.dims.first() != Some(&batch)) {
        return Err(RunError::Invalid("operands of several batches, or of none".into()));
    }
    let mut results: Vec<Vec<Array>> = vec![];
    for i in 0..batch {
        let one = |a: &Array| {
            let strides = a.strides();
            a.part(a.dims[1..].to_vec(), i * strides[0], &strides[1..]).contiguous()
        };
        let out = scan(scope, id, o, all.iter().map(one).collect(), env)?;
        results.resize(out.len(), vec![]);
        results.iter_mut().zip(out).for_each(|(all, a)| all.push(a));
    }
    results.into_iter().map(|all| ops::stack(all, env)).collect()
}
