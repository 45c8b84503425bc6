//! Pairs of models that were called identical or proved although something that ONNX says a value
//! depends on tells them apart; and the kinds of them, made here.

use graph_opt_ir::structural_eq::identical;
use graph_opt_ir::text::parse;
use graph_opt_ir::{Graph, infer, onnx};
use graph_opt_passes::eqsat::prove::prove;
use onnx_protobuf::{Message, ModelProto};

use crate::mutants::{file, read, rung, verdicts};
use crate::support::{load, optimise, shared};

/// Cases of the faults' folder, and what must be said of them.
const FOUND: &[(&str, &[&str])] = &[
    ("01_function_body", &["differs"]),
    ("03_function_opset", &["differs"]),
    ("05_softmax_opset", &["differs"]),
    ("07_hardmax_opset", &["differs"]),
    ("09_custom_op_opset", &["unknown"]),
    ("10_sparse_value", &["differs"]),
    ("1b_function_proved", &["differs"]),
    ("more/default_input", &["differs"]),
    ("more/prove_default", &["differs"]),
    ("more/default_input_swap", &["differs"]),
    ("more/softmax_opset", &["differs"]),
    ("more/function_body", &["differs"]),
    ("more/function_overload", &["differs"]),
    ("more/split_count", &["differs"]),
    ("more/split_count_dyn", &["differs", "unknown"]),
    ("more/prove_split_dyn", &["differs", "unknown"]),
    ("more/sparse_init", &["differs"]),
    ("more/hash_collision", &["differs"]),
    ("more/one_weight", &["differs"]),
    ("more/prove_reshape_declared", &["differs", "unknown"]),
];

#[test]
fn found_pairs_are_not_the_same() {
    let Some(dir) = shared("faults") else { return };
    let mut pairs: Vec<(String, String, &[&str])> = FOUND
        .iter()
        .map(|(name, right)| (format!("{name}_a"), format!("{name}_b"), *right))
        .collect();
    pairs.push(("10_sparse_value_a".into(), "10_sparse_value_tiled_b".into(), &["differs"]));
    for (a, b, right) in pairs {
        let [a, b] = [a, b].map(|n| load(&dir.join(format!("{n}.onnx"))));
        assert!(!identical(&a, &b), "{right:?}");
        assert!(prove(&a, &b).is_err());
        let report = verdicts(&a, &b).unwrap();
        assert!(right.contains(&rung(&report)), "{:?}: {report:#?}", a.name);
    }
}

/// Tensors of one XXH3 hash are not merged.
#[test]
fn colliding_constants_stay() {
    let Some(dir) = shared("faults") else { return };
    let g = load(&dir.join("more/hash_collision_simplify.onnx"));
    let weights = |g: &Graph| g.values().filter(|(_, v)| v.constant().is_some()).count();
    assert_eq!((weights(&g), weights(&optimise(&g, "simplify").0)), (2, 2));
}

fn graph(text: &str) -> ModelProto {
    file("", &parse(&format!("graph @g(%x: f32[2,3,4]) -> (%y) opset 13 {{\n{text}\n}}")).unwrap())
}

fn same(a: &ModelProto, b: &ModelProto) -> bool {
    let (a, b) = (read(a).unwrap(), read(b).unwrap());
    // What is identical is proved, and the other way round for graphs as small as these.
    let same = identical(&a, &b);
    assert_eq!(same, prove(&a, &b).is_ok(), "{a:?}\n{b:?}");
    same
}

#[test]
fn versions_count_where_they_mean_something_else() {
    let at = |text: &str, version: i64| {
        let mut m = graph(text);
        m.opset_import[0].version = version;
        m
    };
    let softmax = "%y = Softmax %x {axis=1} : ?";
    assert!(!same(&at(softmax, 12), &at(softmax, 13)));
    assert!(same(&at(softmax, 13), &at(softmax, 21)));
    let relu = "%y = Relu %x : ?";
    assert!(same(&at(relu, 12), &at(relu, 21)));
}

#[test]
fn bodies_count_with_what_they_capture_and_not_by_names() {
    let of = |first: &str, second: &str, body: &str, op: &str| {
        let text = format!(
            "graph @g(%k: bool[], %x: f32[2,3]) -> (%y) opset 13 {{
               %{first} = Neg %x : ?
               %{second} = Relu %x : ?
               %y = If %k {{then_branch=graph @t() -> (%a) {{
                 %a = {op} %{body} : ?
               }}, else_branch=graph @e() -> (%b) {{
                 %b = Identity %x : ?
               }}}} : ?
             }}"
        );
        file("", &parse(&text).unwrap())
    };
    let one = of("p", "q", "p", "Exp");
    assert!(same(&one, &of("u", "v", "u", "Exp")));
    assert!(!same(&one, &of("p", "q", "q", "Exp")));
    assert!(!same(&one, &of("p", "q", "p", "Tanh")));
    let mut swapped = one.clone();
    let branches = &mut swapped.graph.mut_or_insert_default().node.last_mut().unwrap().attribute;
    let (a, b) = (branches[0].name.clone(), branches[1].name.clone());
    (branches[0].name, branches[1].name) = (b, a);
    assert!(!same(&one, &swapped));
}

/// Constants are equal by their elements, in whichever form a file has them.
#[test]
fn constants_count_by_their_elements() {
    let a = graph("%c = const [1.0,2.0,3.0,4.0] : f32[4]\n%y = Add %x, %c : ?");
    let mut b = a.clone();
    let g = b.graph.mut_or_insert_default();
    let t = g.initializer.remove(0);
    let mut node = onnx_protobuf::NodeProto {
        op_type: "Constant".into(),
        output: vec![t.name.clone()],
        ..Default::default()
    };
    node.attribute.push(onnx_protobuf::AttributeProto {
        name: "value".into(),
        type_: onnx_protobuf::attribute_proto::AttributeType::TENSOR.into(),
        t: Some(t).into(),
        ..Default::default()
    });
    g.node.insert(0, node);
    assert!(same(&a, &b));
    let mut other = a.clone();
    other.graph.mut_or_insert_default().initializer[0].raw_data[0] ^= 1;
    assert!(!same(&a, &other));
}

/// A function's overload is a part of its name, and survives a rewriting of the call.
#[test]
fn overloads_are_functions_of_their_own() {
    let Some(dir) = shared("faults") else { return };
    let g = load(&dir.join("more/function_overload_a.onnx"));
    let mut bytes = Vec::new();
    onnx::export(&g, &mut bytes).unwrap();
    let m = ModelProto::parse_from_bytes(&bytes).unwrap();
    let mut back = onnx::import(bytes, None).unwrap();
    infer::infer_graph(&mut back.graph, &back.declared).unwrap();
    assert!(identical(&g, &back.graph), "{m:?}");
    // As text, too.
    let text = graph_opt_ir::text::print(&g);
    assert!(text.contains('@'), "{text}");
}
