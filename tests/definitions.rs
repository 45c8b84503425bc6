//! Functions of models, and operators that are said as graphs of others: what follows from definitions.
//!
//! The models are those of `../shared/faults`, on which version 0.1.0 stopped.

use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::compare::Summary;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_ir::text::parse;
use graph_opt_ir::verify::verify;
use graph_opt_ir::{DType, Graph, Op, Tensor, onnx};
use graph_opt_passes::eqsat::prove::prove;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, FunctionProto, Message, ModelProto, ValueInfoProto};

use crate::support::{load, optimise, shared};

fn fault(name: &str) -> Option<Graph> {
    Some(load(&shared("faults")?.join(format!("{name}.onnx"))))
}

/// Rewrites the model, which must change and be equal.
fn rewritten(name: &str, pipeline: &str) -> Option<Graph> {
    let g = fault(name)?;
    let (t, remarks) = optimise(&g, pipeline);
    assert!(t.edits() > 0, "{name}: {remarks:?}");
    let report = crate::support::compare(&g, &t);
    let equal = report.outputs.iter().all(|o| o.summary.is_equal());
    assert!(equal && !report.differs(), "{name}: {report:?}");
    Some(t)
}

#[test]
fn convolutions_beside_functions_are_tiled() {
    for name in ["50_function_no_inference", "52_function_in_branch"] {
        if rewritten(name, "tile-conv{axis=h parts=2}").is_none() {
            return;
        }
    }
}

#[test]
fn functions_become_nodes() {
    let name = "50_function_no_inference";
    let Some(t) = rewritten(name, "inline-functions") else { return };
    let calls = t.schedule().filter(|&n| t.function(&t.node(n).op).is_some()).count();
    assert_eq!(calls, 0, "{name}");
    let g = fault(name).unwrap();
    assert!(prove(&g, &t).is_ok(), "{name}");
    let run = |g: &Graph| {
        let g = Arc::new(g.clone());
        let inputs = draw(&g, &Extents::default(), 3).unwrap();
        Cpu::default().prepared(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap()
    };
    assert_eq!(run(&g), run(&t), "{name}");
}

/// A function with a default for its attribute, an If in it, and a call without the attribute.
#[test]
fn functions_run_with_their_attributes() {
    let Some(g) = fault("74_function_attr_default") else { return };
    let g = Arc::new(g);
    let inputs = draw(&g, &Extents::default(), 3).unwrap();
    let out = Cpu::default().prepared(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap();
    assert!(out[0].to_f32s().unwrap().iter().all(|x| x.is_finite()), "{out:?}");
    let t = Arc::new(rewritten("74_function_attr_default", "inline-functions").unwrap());
    let inlined = Cpu::default().prepared(t.clone()).unwrap().run(&inputs, t.outputs()).unwrap();
    assert_eq!(out, inlined);
}

/// The model of a graph that calls `ours.f`, whose nodes and names are those of another graph.
fn with_function(main: &str, body: &str) -> Vec<u8> {
    let proto = |text: &str| {
        let mut bytes = Vec::new();
        onnx::export(&parse(text).unwrap(), &mut bytes).unwrap();
        ModelProto::parse_from_bytes(&bytes).unwrap()
    };
    let (mut m, f) = (proto(main), proto(body));
    let graph = f.graph.unwrap();
    let names = |all: &[ValueInfoProto]| all.iter().map(|v| v.name.clone()).collect();
    m.functions.push(FunctionProto {
        domain: "ours".into(),
        name: "f".into(),
        input: names(&graph.input),
        output: names(&graph.output),
        node: graph.node.clone(),
        opset_import: f.opset_import,
        ..Default::default()
    });
    m.write_to_bytes().unwrap()
}

/// Bodies in a function read its operands, its values and, in inner bodies, those of outer bodies. The names of
/// all of them are taken where the function is called, twice.
#[test]
fn functions_with_bodies_become_nodes() {
    let main = "graph @main(%c: bool[], %a: f32[2,3]) -> (%y, %z) opset 17, ours 1 {
       %m = Abs %a : f32[2,3]
       %s = ours::f %c, %a : ?
       %y = Add %s, %m : ?
       %z = ours::f %c, %y : ?
     }";
    let body = "graph @f(%c: bool[], %x: f32[2,3]) -> (%z) opset 17 {
       %s = Add %x, %x : ?
       %z = If %c {then_branch=graph @t() -> (%m) {
         %m = Mul %s, %x : ?
       }, else_branch=graph @e() -> (%r) {
         %n = Neg %s : ?
         %r = If %c {then_branch=graph @tt() -> (%a) {
           %a = Exp %n : ?
         }, else_branch=graph @ee() -> (%y) {
           %q = Sub %n, %x : ?
           %y = Mul %q, %s : ?
         }} : ?
       }} : ?
     }";
    let g = onnx::import(with_function(main, body), None).unwrap().graph;
    let (t, remarks) = optimise(&g, "inline-functions");
    assert!(t.schedule().all(|n| t.function(&t.node(n).op).is_none()), "{remarks:?}");
    assert!(prove(&g, &t).is_ok());
    let mut bytes = Vec::new();
    onnx::export(&t, &mut bytes).unwrap();
    let again = onnx::import(bytes, None).unwrap().graph;
    assert_eq!(verify(&again), Ok(()));
    for c in [true, false] {
        let c = Tensor::from_bytes(DType::Bool, vec![], vec![u8::from(c)]).unwrap();
        let x = Tensor::f32s(&[2, 3], &[0.5, -1.0, 2.0, 3.0, -0.25, 1.5]).unwrap();
        let run = |g: &Graph| {
            let g = Arc::new(g.clone());
            let inputs = [c.clone(), x.clone()];
            Cpu::default().prepared(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap()
        };
        assert_eq!(run(&g), run(&t));
        assert_eq!(run(&g), run(&again));
    }
}

/// What holds for every call: dead code, identities, equal nodes, and constants. References to attributes of the
/// function stay.
#[test]
fn functions_are_simplified_in_place() {
    let main = "graph @main(%a: f32[2,3], %b: f64[4]) -> (%y, %z) opset 17, ours 1 {
       %y = ours::f %a {slope=0.5} : ?
       %z = ours::f %b : ?
     }";
    let body = "graph @f(%x: f32[2,3]) -> (%z) opset 17 {
       %i = Identity %x : ?
       %dead = Exp %i : ?
       %p = Relu %i : ?
       %q = Relu %x : ?
       %s = Add %p, %q : ?
       %d = Sub %x, %s : ?
       %c = Constant {value_ints=[-1]} : i64[1]
       %e = Constant {value_ints=[1]} : i64[1]
       %k = Mul %c, %e : ?
       %r = Reshape %d, %k : ?
       %z = LeakyRelu %r : ?
     }";
    let mut m = ModelProto::parse_from_bytes(&with_function(main, body)).unwrap();
    let alpha = |name: &str| AttributeProto {
        name: name.into(),
        type_: AttributeType::FLOAT.into(),
        ..AttributeProto::default()
    };
    let f = &mut m.functions[0];
    let last = f.node.last_mut().unwrap();
    last.attribute.push(AttributeProto { ref_attr_name: "slope".into(), ..alpha("alpha") });
    f.attribute_proto.push(AttributeProto { f: 0.25, ..alpha("slope") });
    let g = onnx::import(m.write_to_bytes().unwrap(), None).unwrap().graph;
    let (t, remarks) = optimise(&g, "simplify");
    assert!(remarks.iter().any(|r| r.node == "function ours.f"), "{remarks:?}");
    let mut bytes = Vec::new();
    onnx::export(&t, &mut bytes).unwrap();
    let written = ModelProto::parse_from_bytes(&bytes).unwrap();
    let ops: Vec<&str> = written.functions[0].node.iter().map(|n| &*n.op_type).collect();
    let mut sorted = ops.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["Add", "Constant", "LeakyRelu", "Relu", "Reshape", "Sub"]);
    assert_eq!(written.functions[0].node.last(), m.functions[0].node.last());
    assert_eq!(written.functions[0].attribute_proto, m.functions[0].attribute_proto);
    let again = onnx::import(bytes, None).unwrap().graph;
    assert!(prove(&g, &again).is_ok());
    let run = |g: &Graph| {
        let g = Arc::new(g.clone());
        let inputs = draw(&g, &Extents::default(), 3).unwrap();
        Cpu::default().prepared(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap()
    };
    let out = run(&g);
    assert_eq!(out[0].dims(), [6]);
    assert_eq!(out, run(&t));
    assert_eq!(out, run(&again));
    // Nothing is left to simplify, and what is not edited is written as it was.
    let (same, _) = optimise(&again, "simplify");
    assert_eq!(same.edits(), 0);
}

/// Extents that follow from a constant which a body captures, and from the count of a Loop.
#[test]
fn bodies_know_captured_constants_and_loops_their_turns() {
    let Some(_) = rewritten("53_captured_constant_shape", "tile-conv{axis=h parts=2}") else {
        return;
    };
    let g = fault("55_loop_constant_trip_plan").unwrap();
    for &v in g.outputs() {
        assert!(g.value(v).ty.extents().is_some(), "{}", g.value(v).ty);
    }
}

#[test]
fn a_constant_condition_leaves_one_branch() {
    let Some(t) = rewritten("60_if_constant_condition", "simplify") else { return };
    assert!(t.schedule().all(|n| !matches!(t.node(n).op, Op::If(_))));
}

/// Functions whose bodies differ are not equal, whatever the calls look like.
#[test]
fn functions_that_differ_are_told_apart() {
    for name in ["01_function_body", "03_function_opset", "1b_function_proved"] {
        let (Some(a), Some(b)) = (fault(&format!("{name}_a")), fault(&format!("{name}_b"))) else {
            return;
        };
        assert!(prove(&a, &b).is_err(), "{name}");
        let report = crate::support::compare(&a, &b);
        assert!(
            report.outputs.iter().any(|o| matches!(o.summary, Summary::Differs(_))),
            "{name}: {report:?}"
        );
    }
}

/// QONNX's quantizers give the codes that their definition in NumPy gives.
#[test]
fn quantizers_of_qonnx() {
    let run = |op: &str, attrs: &str, bits: &str, x: &[f32]| {
        let rest = if op == "Quant" { format!(", %z, {bits}") } else { String::new() };
        let n = x.len();
        let text = format!(
            "graph @g(%x: f32[{n}]) -> (%y) opset 18, qonnx.custom_op.general 1 {{
               %s = const 0.5 : f32[]
               %z = const 0.0 : f32[]
               %four = const 4.0 : f32[]
               %two = const 2.0 : f32[]
               %one = const 1.0 : f32[]
               %y = qonnx.custom_op.general::{op} %x, %s{rest} {attrs} : f32[{n}]
             }}"
        );
        let g = Arc::new(parse(&text).unwrap());
        let x = Tensor::f32s(&[n as u64], x).unwrap();
        let all = Cpu::default().prepared(g.clone()).unwrap().run(&[x], g.outputs()).unwrap();
        all[0].to_f32s().unwrap()
    };
    let x = [-9.0, -1.3, -0.5, 0.0, 0.6, 1.25, 9.0];
    let quant = |attrs: &str, bits: &str| run("Quant", attrs, bits, &x);
    assert_eq!(
        quant("{signed=1, narrow=1}", "%four"),
        [-3.5, -1.5, -0.5, 0.0, 0.5, 1.0, 3.5],
        "2.5 rounds to 2"
    );
    assert_eq!(quant("{signed=1, narrow=0}", "%four")[0], -4.0);
    assert_eq!(quant("{signed=0, narrow=0}", "%two"), [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.5]);
    assert_eq!(quant("{signed=0, narrow=1}", "%two")[6], 1.0);
    assert_eq!(quant("{signed=1, narrow=0}", "%one"), [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5]);
    assert_eq!(run("BipolarQuant", "", "", &x), [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5]);
    for (mode, want) in [
        ("CEIL", [-1.0, 1.5]),
        ("FLOOR", [-1.5, 1.0]),
        ("UP", [-1.5, 1.5]),
        ("DOWN", [-1.0, 1.0]),
        ("HALF_UP", [-1.5, 1.5]),
        ("HALF_DOWN", [-1.0, 1.0]),
        ("half_even", [-1.0, 1.0]),
    ] {
        let attrs = format!("{{signed=1, narrow=0, rounding_mode={mode:?}}}");
        assert_eq!(run("Quant", &attrs, "%four", &[-1.25, 1.25]), want, "{mode}");
    }
}

/// An If whose branches read the result of another one, and conditions that follow from extents.
#[test]
fn branches_that_read_the_results_of_others() {
    let g = parse(
        "graph @g(%x: f32[2,?]) -> (%z) opset 16 {
           %s = Shape %x                 : i64[2]
           %last = const [-1]            : i64[1]
           %n = Gather %s, %last         : i64[1]
           %one = const [1]              : i64[1]
           %is_one = Equal %n, %one      : bool[1]
           %y = If %is_one {then_branch=graph @t() -> (%a) {
             %a = Squeeze %x, %last      : f32[2]
           }, else_branch=graph @e() -> (%b) {
             %b = Identity %x            : f32[2,?]
           }} : f32[..]
           %first = const [0]            : i64[1]
           %rows = Gather %s, %first     : i64[1]
           %some = Cast %rows {to=9}     : bool[1]
           %z = If %some {then_branch=graph @u() -> (%c) {
             %c = Relu %y                : f32[..]
           }, else_branch=graph @f() -> (%d) {
             %d = Neg %y                 : f32[..]
           }} : f32[..]
         }",
    )
    .unwrap();
    let (t, _) = optimise(&g, "simplify");
    let ifs = t.schedule().filter(|&n| matches!(t.node(n).op, Op::If(_))).count();
    assert_eq!(ifs, 1, "two rows are known");
    assert!(prove(&g, &t).is_ok());
    let other = |from: &str, to: &str| {
        let text = graph_opt_ir::text::print(&t);
        assert!(text.contains(from), "{text}");
        parse(&text.replacen(from, to, 1)).unwrap()
    };
    assert!(prove(&g, &other("= Relu", "= Neg")).is_err());
    assert!(prove(&g, &other("= Identity", "= Neg")).is_err());
}
