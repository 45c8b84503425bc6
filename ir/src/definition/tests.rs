//! Calls: attributes by reference and their defaults, absent operands, calls in functions.

use std::sync::Arc;

use super::{definition, expanded, inferred};
use crate::graph::{Function, Functions};
use crate::op::{Attr, Op, Other};
use crate::op_context::OpCtx;
use crate::text::{parse, print};
use crate::{Graph, NodeId};

/// `local.outer` calls `local.inner` with its second operand, if there is one; `local.inner` is a LeakyRelu
/// whose `alpha` is its attribute `slope`, of 0.5 if a call has none.
fn model(calls: &str) -> Graph {
    let body = |text: &str| parse(text).unwrap();
    let mut inner = body(
        "graph @inner(%a: ?, %min: ?) -> (%r) opset 13, local 1 {
           %l = LeakyRelu %a : ?
           %r = Clip %l, %min : ?
         }",
    );
    let first = inner.schedule().next().unwrap();
    let slope = Attr::Ref("slope".into(), Vec::new().into());
    let attrs = vec![("alpha".into(), slope)];
    inner.node_mut(first).op = Op::Other(Other::new("ai.onnx", "LeakyRelu", attrs));
    let outer = body(
        "graph @outer(%a: ?, %min: ?) -> (%r) opset 13, local 1 {
           %i = local::inner %a, %min : ?
           %r = Neg %i : ?
         }",
    );
    let function = |graph: Graph, attrs| Function {
        inputs: vec!["a".into(), "min".into()],
        outputs: vec!["r".into()],
        attrs,
        body: Arc::new(graph),
    };
    let key = |name: &str| ("local".into(), name.into(), "".into());
    let mut graph =
        body(&format!("graph @main(%x: f32[2,3]) -> (%y) opset 13, local 1 {{ {calls} }}"));
    graph.functions = Arc::new(Functions::from([
        (key("inner"), function(inner, vec![("slope".into(), Some(Attr::Float(0.5)))])),
        (key("outer"), function(outer, Vec::new())),
    ]));
    graph
}

fn first(graph: &Graph) -> NodeId {
    graph.schedule().next().unwrap()
}

#[test]
fn attributes_are_those_of_the_call_or_the_defaults() {
    for (call, alpha) in [("{slope=0.25}", 0.25), ("", 0.5)] {
        let graph = model(&format!("%y = local::inner %x {call} : ?"));
        let body = definition(&OpCtx::of(&graph, first(&graph))).unwrap().unwrap();
        let Op::LeakyRelu(l) = &body.node(first(&body)).op else { panic!("{}", print(&body)) };
        assert_eq!(l.alpha, alpha);
        // The second operand is absent, in the call and in what reads it.
        assert_eq!(body.inputs().len(), 1);
        let clip = body.schedule().last().unwrap();
        assert_eq!(body.node(clip).inputs[1], None);
    }
}

#[test]
fn types_are_inferred_through_calls() {
    let graph = model("%y = local::outer %x : ?");
    let body = inferred(&OpCtx::of(&graph, first(&graph))).unwrap().unwrap();
    assert_eq!(body.value(body.outputs()[0]).ty.to_string(), "f32[2,3]");
}

#[test]
fn calls_in_functions_expand_as_well() {
    let graph = model("%m = const 0.125 : f32[] %y = local::outer %x, %m : ?");
    let all = expanded(&graph).unwrap();
    let names: Vec<&str> = all.schedule().map(|n| all.node(n).op.name()).collect();
    assert_eq!(names, ["LeakyRelu", "Clip", "Neg"]);
    assert!(crate::verify::verify(&all).is_ok());
}

/// Sixteen functions of which each calls the next twice would have 65,536 nodes to look at.
#[test]
fn work_is_bounded() {
    let mut graph =
        parse("graph @main(%x: f32[2]) -> (%y) opset 13, local 1 { %y = local::f0 %x : ? }")
            .unwrap();
    let mut all = Functions::new();
    for i in 0..40 {
        let next = if i == 39 { "Neg".to_owned() } else { format!("local::f{}", i + 1) };
        let body = parse(&format!(
            "graph @f(%a: ?) -> (%r) opset 13, local 1 {{ %b = {next} %a : ? %r = {next} %b : ? }}"
        ));
        let f = Function {
            inputs: vec!["a".into()],
            outputs: vec!["r".into()],
            attrs: Vec::new(),
            body: Arc::new(body.unwrap()),
        };
        all.insert(("local".into(), format!("f{i}").into(), "".into()), f);
    }
    graph.functions = Arc::new(all);
    let types = crate::infer::infer(&OpCtx::of(&graph, first(&graph))).unwrap();
    assert_eq!(types[0].to_string(), "?");
}
