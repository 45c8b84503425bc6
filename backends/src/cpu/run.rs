//! Running a graph: nodes in the order of its schedule, values dropped after their last use.

mod control;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use graph_opt_ir::definition::definition;
use graph_opt_ir::graph::Functions;
use graph_opt_ir::op::{Attrs, Host, Other, TABLE};
use graph_opt_ir::op_context::{OpCtx, Operand};
use graph_opt_ir::{Attr, Datum, Def, Graph, NodeId, Op, Tensor, Type, ValueId};

use super::array::Array;
use super::constants::Constants;
use super::cx::{Cx, Env};
use super::held::Held;
use super::ops;
use super::packs::{Body, Call, Defined, Packs};
use crate::schedule::{locate, missing, needed};
use crate::{RunError, Unsupported};

/// How deep control flow and functions may nest.
const DEPTH: usize = 32;
/// Most elements of an operand on whose numbers a definition may depend.
const SMALL: usize = 64;

/// Every node, in subgraphs too, that has no kernel.
pub(super) fn unsupported(graph: &Graph) -> Vec<Unsupported> {
    let mut all = vec![];
    collect(graph, 0, &mut all);
    all
}

fn collect(graph: &Graph, depth: usize, all: &mut Vec<Unsupported>) {
    graph.schedule().for_each(|id| one(graph, id, depth, all));
}

/// Whether the node has a kernel, and those in its bodies have.
pub(super) fn is_supported(graph: &Graph, id: NodeId) -> bool {
    let mut all = vec![];
    one(graph, id, 0, &mut all);
    all.is_empty()
}

fn one(graph: &Graph, id: NodeId, depth: usize, all: &mut Vec<Unsupported>) {
    let op = &graph.node(id).op;
    let mut report = |why: &str| {
        let operator = match op.domain() {
            graph_opt_ir::op::ONNX => op.name().to_owned(),
            domain => format!("{domain}.{}", op.name()),
        };
        all.push(Unsupported { node: graph.label(id).into(), operator, why: why.into() });
    };
    if depth > DEPTH {
        report("nested too deeply");
        return;
    }
    match op {
        Op::If(_) | Op::Loop(_) | Op::Scan(_) | Op::SequenceMap(_) => {
            op.subgraphs().iter().for_each(|g| collect(g, depth + 1, all));
        }
        Op::Other(o) => match graph.function(op) {
            Some(f) => within(graph, &f.body, depth + 1, &mut HashSet::new(), all),
            None if o.host.is_some() => {}
            None => report("no such operator here"),
        },
        op if ops::kernel(op).is_none() => report("no kernel"),
        _ => {}
    }
}

/// The nodes of a function's body, in which calls are those of the model, and attributes may be the
/// caller's.
fn within(
    model: &Graph,
    body: &Graph,
    depth: usize,
    seen: &mut HashSet<*const Graph>,
    all: &mut Vec<Unsupported>,
) {
    for id in body.schedule() {
        let op = &body.node(id).op;
        match (op, model.function(op)) {
            // A body that many call is looked at once.
            (_, Some(f)) if depth <= DEPTH => {
                if seen.insert(Arc::as_ptr(&f.body)) {
                    within(model, &f.body, depth + 1, seen, all);
                }
            }
            (Op::Other(o), None) if o.attrs.iter().any(|(_, a)| matches!(a, Attr::Ref(..))) => {
                let modelled = TABLE.iter().any(|(d, n, _)| (*d, *n) == (&*o.domain, &*o.op_type));
                if !modelled {
                    one(body, id, depth, all);
                }
            }
            _ => one(body, id, depth, all),
        }
    }
}

pub(super) fn bad_input(graph: &Graph, id: ValueId, why: String) -> RunError {
    RunError::Input { name: graph.value(id).name.to_string(), why }
}

pub(super) fn required(graph: &Graph, id: ValueId) -> bool {
    matches!(graph.value(id).def, Def::Input(None))
}

/// The inputs of a run by value: all of the graph's inputs, or those without a default.
pub(super) fn bind(graph: &Graph, given: &[Datum]) -> Result<Vec<(ValueId, Array)>, RunError> {
    let all = graph.inputs();
    let needed: Vec<ValueId> = all.iter().copied().filter(|&v| required(graph, v)).collect();
    let ids = match given.len() {
        n if n == all.len() => all,
        n if n == needed.len() => &needed,
        n => {
            let (a, b) = (all.len(), needed.len());
            return Err(RunError::Invalid(format!(
                "{n} inputs given to a graph of {a} ({b} needed)"
            )));
        }
    };
    let one = |(&id, d): (&ValueId, &Datum)| {
        let ty = &graph.value(id).ty;
        if !d.is_of(ty) {
            return Err(bad_input(graph, id, format!("{} given for {ty}", d.ty())));
        }
        Ok((id, Array::of_datum(d)?))
    };
    ids.iter().zip(given).map(one).collect()
}

/// Values of the graphs around a subgraph, found by name.
#[derive(Clone, Copy)]
struct Scope<'a> {
    graph: &'a Graph,
    values: &'a [Option<Array>],
    constants: &'a Constants,
    /// Values whose elements depend on inputs.
    drawn: &'a [bool],
    outer: Option<&'a Scope<'a>>,
    depth: usize,
    /// What is kept of the graph.
    packs: Option<&'a Packs>,
}

impl Scope<'_> {
    /// The value, and whether its elements depend on inputs.
    fn find(&self, name: &str) -> Option<(Array, bool)> {
        let here = self.graph.find_value(name).and_then(|id| {
            let i = id.index();
            let constant = || self.constants.get(id).ok().flatten();
            Some((self.values[i].clone().or_else(constant)?, self.drawn[i]))
        });
        here.or_else(|| self.outer?.find(name))
    }

    /// What is kept of the body of a node, which may take so many bytes.
    fn body(&self, body: &Graph, room: u64) -> Result<Arc<Body>, RunError> {
        match self.packs {
            Some(p) => p.body(body, room),
            None => Body::new(body, room).map(Arc::new),
        }
    }

    /// Runs a body on these inputs.
    fn nested(
        &self,
        graph: &Graph,
        body: &Body,
        inputs: Vec<Array>,
        env: Env,
    ) -> Result<Vec<Array>, RunError> {
        if self.depth > DEPTH {
            return Err(RunError::Unsupported("deeper nesting".into()));
        }
        let inputs = graph.inputs().iter().copied().zip(inputs).collect();
        let Body { constants, packs } = body;
        inner(graph, constants, inputs, graph.outputs(), env, Some(self), Some(packs))
    }
}

/// Runs the graph on these inputs.
pub(super) fn graph(
    graph: &Graph,
    constants: &Constants,
    inputs: Vec<(ValueId, Array)>,
    wanted: &[ValueId],
    env: Env,
    packs: Option<&Packs>,
) -> Result<Vec<Array>, RunError> {
    let turns = AtomicU64::new(0);
    inner(graph, constants, inputs, wanted, Env { turns: Some(&turns), ..env }, None, packs)
}

fn inner(
    graph: &Graph,
    constants: &Constants,
    inputs: Vec<(ValueId, Array)>,
    wanted: &[ValueId],
    env: Env,
    outer: Option<&Scope<'_>>,
    packs: Option<&Packs>,
) -> Result<Vec<Array>, RunError> {
    let bound = graph.value_bound();
    let mut values: Vec<Option<Array>> = vec![None; bound];
    let mut uses: Vec<usize> = vec![0; bound];
    let mut drawn = vec![false; bound];
    for (id, v) in graph.values() {
        uses[id.index()] = v.uses().len();
        if matches!(v.def, Def::Outer)
            && let Some((a, depends)) = outer.and_then(|o| o.find(&v.name))
        {
            (values[id.index()], drawn[id.index()]) = (Some(a), depends);
        }
    }
    for &w in wanted {
        if graph.get_value(w).is_none() {
            return Err(RunError::Invalid("a wanted value is not in the graph".into()));
        }
        uses[w.index()] += 1;
    }
    let mut live = 0u64;
    for (id, a) in inputs {
        live = live.saturating_add(a.bytes());
        values[id.index()] = Some(a);
        drawn[id.index()] = true;
    }
    let needed = needed(graph, wanted);
    let mut held = Held::default();
    for id in graph.schedule() {
        let node = graph.node(id);
        let skip = !needed[id.index()];
        let narrow = held.first(graph, id);
        let draws = ops::draws(&node.op, graph.label(id));
        let here = Env { room: env.room.saturating_sub(live), held: narrow, draws, ..env };
        held.after(graph, id);
        let out = if skip {
            vec![]
        } else {
            let result = match &node.op {
                Op::Other(Other { host: Some(host), attrs, .. }) => {
                    let scope = (&values[..], constants);
                    of_host(graph, id, host, attrs, scope)
                }
                op
                @ (Op::If(_) | Op::Loop(_) | Op::Scan(_) | Op::SequenceMap(_) | Op::Other(_)) => {
                    let scope = Scope {
                        graph,
                        values: &values,
                        constants,
                        drawn: &drawn,
                        outer,
                        depth: outer.map_or(0, |o| o.depth) + 1,
                        packs,
                    };
                    match op {
                        Op::Other(_) => function(&scope, id, here),
                        _ => control::control(&scope, id, here),
                    }
                }
                op => {
                    let mut operands = Vec::with_capacity(node.inputs.len());
                    for (i, v) in node.inputs.iter().enumerate() {
                        operands.push(match v {
                            Some(v) => {
                                // The last reader takes the value, to reuse its memory.
                                let again = node.inputs[i + 1..].contains(&Some(*v));
                                let last = uses[v.index()] == 1 && !again;
                                let slot = &mut values[v.index()];
                                let a = if last { slot.take() } else { slot.clone() };
                                if last && let Some(a) = &a {
                                    live = live.saturating_sub(a.bytes());
                                }
                                let a = match a {
                                    None => constants.get(*v).map_err(|e| locate(graph, id, e))?,
                                    a => a,
                                };
                                Some(a.ok_or_else(|| missing(graph, *v))?)
                            }
                            None => None,
                        });
                    }
                    if let Some(w) = env.watch {
                        w.reads(graph, id, &operands, env.key);
                    }
                    let opset = graph.opsets.get(op.domain()).copied().unwrap_or(1);
                    let outputs = node.outputs.len();
                    let target = None.into();
                    let inputs = operands;
                    ops::evaluate(Cx { op, opset, inputs, outputs, env: here, packs, target })
                }
            };
            result.map_err(|e| locate(graph, id, e))?
        };
        // Extents are the same whatever the elements are.
        let depends = !matches!(node.op, Op::Shape(_) | Op::Size(_))
            && node.inputs.iter().flatten().chain(&node.captures).any(|v| drawn[v.index()]);
        for (v, a) in node.outputs.iter().zip(out) {
            if let Some(v) = v
                && uses[v.index()] > 0
            {
                // In the field nothing is rounded: also what whole-number inputs select or scale.
                let a = if env.field && depends { a.embedded(env.key) } else { a };
                drawn[v.index()] = depends;
                live = live.saturating_add(a.bytes());
                values[v.index()] = Some(a);
            }
        }
        for v in node.inputs.iter().flatten().chain(&node.captures) {
            let left = &mut uses[v.index()];
            *left = left.saturating_sub(1);
            if *left == 0
                && let Some(a) = values[v.index()].take()
            {
                live = live.saturating_sub(a.bytes());
            }
        }
    }
    let get = |w: &ValueId| any(&values, constants, *w)?.ok_or_else(|| missing(graph, *w));
    wanted.iter().map(get).collect()
}

/// The value, or the constant that it is.
fn any(
    values: &[Option<Array>],
    constants: &Constants,
    v: ValueId,
) -> Result<Option<Array>, RunError> {
    match &values[v.index()] {
        Some(a) => Ok(Some(a.clone())),
        None => constants.get(v),
    }
}

fn read(scope: &Scope<'_>, v: Option<ValueId>) -> Result<Option<Array>, RunError> {
    let Some(v) = v else { return Ok(None) };
    let a = any(scope.values, scope.constants, v)?;
    a.map(Some).ok_or_else(|| missing(scope.graph, v))
}

/// Runs an operator of the host on what it reads.
fn of_host(
    graph: &Graph,
    id: NodeId,
    host: &Host,
    attrs: &Attrs,
    (values, constants): (&[Option<Array>], &Constants),
) -> Result<Vec<Array>, RunError> {
    let read = |v: &Option<ValueId>| -> Result<Option<Tensor>, RunError> {
        let Some(v) = *v else { return Ok(None) };
        let a = any(values, constants, v)?.ok_or_else(|| missing(graph, v))?;
        if a.is_field() {
            return Err(RunError::NotInField("an operator of the host".into()));
        }
        a.tensor().map(Some)
    };
    let inputs = graph.node(id).inputs.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let results = host
        .0
        .evaluate(attrs, &inputs)
        .ok_or_else(|| RunError::Unsupported("the host gives it no kernel".into()))?
        .map_err(RunError::Invalid)?;
    if results.len() < graph.node(id).outputs.len() {
        return Err(RunError::Invalid(format!("its kernel gives {} results", results.len())));
    }
    results.iter().map(Array::of).collect()
}

/// Runs a call of a function that the model defines.
fn function(scope: &Scope<'_>, id: NodeId, env: Env) -> Result<Vec<Array>, RunError> {
    let (graph, node) = (scope.graph, scope.graph.node(id));
    control::turn(env)?;
    let inputs = node.inputs.iter().map(|&v| read(scope, v)).collect::<Result<Vec<_>, _>>()?;
    let opset = graph.opsets.get(node.op.domain()).copied().unwrap_or(1);
    let model = (opset, graph.opset(), Some(&graph.functions));
    defined(&node.op, model, inputs, node.outputs.len(), env, (scope.depth, scope.packs))
}

/// Runs the definition of a node: `model` has the versions of its domain's operators and of ONNX's, and the
/// model's functions; `at` is how deep the node is nested, and what is kept of its graph.
pub(super) fn defined(
    op: &Op,
    (opset, onnx, functions): (i64, i64, Option<&Arc<Functions>>),
    inputs: Vec<Option<Array>>,
    outputs: usize,
    env: Env,
    (depth, packs): (usize, Option<&Packs>),
) -> Result<Vec<Array>, RunError> {
    let ty =
        |a: &Array| Type::tensor(a.dtype, &a.dims.iter().map(|&d| d as u64).collect::<Vec<_>>());
    // Sizes and axes, on which a definition may depend.
    let value = |a: &Array| {
        let small = a.dtype.is_int() && a.len() <= SMALL && !a.is_field();
        small.then(|| a.tensor().ok().map(Arc::new)).flatten()
    };
    let call = Call {
        op: op.clone(),
        opsets: [opset, onnx],
        types: inputs.iter().map(|a| a.as_ref().map(ty)).collect(),
        values: inputs.iter().map(|a| a.as_ref().and_then(value)).collect(),
        outputs,
    };
    let define = |call: Call| {
        let operands = call.types.iter().zip(&call.values);
        let inputs = operands
            .map(|(ty, value)| {
                ty.as_ref().map(|ty| Operand { ty, value: value.clone(), dims: None })
            })
            .collect();
        let ctx = OpCtx { op, opset, onnx, functions, inputs, outputs };
        let Some(graph) = definition(&ctx)? else {
            return Err(RunError::Unsupported(format!(
                "{} with these attributes or operands",
                op.name()
            )));
        };
        let body = Body::new(&graph, env.room)?;
        Ok(Defined { call, graph, body })
    };
    let defined = match packs {
        Some(p) => p.definition(op, call, define)?,
        None => Arc::new(define(call)?),
    };
    // A definition sees nothing of the graph around it.
    let (empty, none) = (Graph::default(), Constants::default());
    let blank = Scope {
        graph: &empty,
        values: &[],
        constants: &none,
        drawn: &[],
        outer: None,
        depth,
        packs: None,
    };
    blank.nested(&defined.graph, &defined.body, inputs.into_iter().flatten().collect(), env)
}
