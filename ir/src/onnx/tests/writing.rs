//! What the writer promises beyond giving back what it read.

use onnx_protobuf::{Message, ModelProto, TensorAnnotation};

use super::super::export;
use super::*;
use crate::graph::{Def, Graph, Node};
use crate::op::{self, Attr, Op};
use crate::tensor::Tensor;
use crate::{Builder, DType, Type, ValueId};

fn written(g: &Graph) -> ModelProto {
    let mut out = Vec::new();
    export(g, &mut out).unwrap();
    ModelProto::parse_from_bytes(&out).unwrap()
}

fn inferred(mut g: Graph) -> Graph {
    crate::infer::infer_graph(&mut g, &[]).unwrap();
    g
}

/// Appends a Relu, as an edit would.
fn append(g: &mut Graph, input: ValueId, name: &str) -> ValueId {
    let out = g.push_value(name.into(), g.value(input).ty.clone(), Def::Outer);
    let node = Node {
        name: format!("new_{name}").into(),
        op: op::Relu {}.into(),
        extra: Vec::new(),
        inputs: vec![Some(input)],
        outputs: vec![Some(out)],
        captures: Vec::new(),
        meta: Default::default(),
        order: 0,
        prev: None,
        next: None,
    };
    let n = g.insert_node(node, None);
    g.node_mut(n).meta.origin = "test".into();
    g.edits += 1;
    out
}

#[test]
fn a_graph_that_never_was_a_file_becomes_a_model() {
    let mut b = Builder::new("made", 17);
    let x = b.input("x", Type::tensor(DType::F32, &[1, 4]));
    let w = b.constant("w", Tensor::f32s(&[4], &[1.0, 2.0, 3.0, 4.0]).unwrap());
    let s = b.node("sum", op::Add { axis: None, broadcast: 0 }, &[x, w]).unwrap();
    let y = b.node("move", op::Transfer { to: "gpu".into() }, &[s]).unwrap();
    b.output(y);
    let g = b.finish();
    let m = written(&g);
    assert_eq!((m.producer_name.as_str(), m.ir_version), ("graph-opt", 8));
    let opsets: Vec<_> = m.opset_import.iter().map(|o| (o.domain.as_str(), o.version)).collect();
    assert_eq!(opsets, [("", 17), ("graph_opt", 1)]);
    assert_eq!(m.graph.node[1].domain, "graph_opt");
    assert_eq!(m.graph.initializer[0].raw_data.len(), 16);
    let again = read(&m).unwrap().graph;
    assert_eq!(again.value(again.inputs()[0]).ty.to_string(), "f32[1,4]");
    assert_eq!(written(&again), m);
}

#[test]
fn constants_of_old_branches_are_written_once() {
    let g = crate::text::parse(
        "graph @g(%k: bool[], %x: f32[2]) -> (%y) opset 8 {
           %y = If %k {then_branch=graph @t() -> (%a) {
             %c = const [1,2] : f32[2]
             %a = Add %x, %c  : ?
           }, else_branch=graph @e() -> (%b) {
             %b = Identity %x : ?
           }} : ?
         }",
    )
    .unwrap();
    assert_eq!(g.ir_version, 3);
    let again = read(&written(&g)).unwrap().graph;
    assert!(crate::structural_eq::identical(&g, &inferred(again)));
}

#[test]
fn calls_of_overloads_stay_calls_of_them() {
    let text = |call: &str| {
        format!("graph @g(%x: f32[2]) -> (%y) opset 21, acme 1 {{\n  %y = {call} %x : f32[2]\n}}")
    };
    let g = crate::text::parse(&text("acme::Frob@fast")).unwrap();
    assert_eq!(written(&g).graph.node[0].overload, "fast");
    // A node that replaces the call does not inherit its overload.
    let mut again = inferred(read(&written(&g)).unwrap().graph);
    assert!(crate::structural_eq::identical(&g, &again));
    let old = again.schedule().next().unwrap();
    let (x, y) = (again.inputs()[0], again.outputs()[0]);
    let mut edit = crate::Edit::new("test");
    let new = edit.node("relu", op::Relu {}, vec![Some(crate::Ref::Value(x))], &[old]);
    edit.define(&again, y, new);
    edit.removes.push(old);
    crate::Editor::new(&mut again).apply(&edit).unwrap();
    let node = &written(&again).graph.node[0];
    assert_eq!((&*node.op_type, &*node.overload), ("Relu", ""));
}

#[test]
fn concat_says_its_axis_where_onnx_requires_it() {
    let axis = |opset| {
        let mut b = Builder::new("made", opset);
        let x = b.input("x", Type::tensor(DType::F32, &[1, 4]));
        let y = b.node("join", op::Concat { axis: 1 }, &[x, x]).unwrap();
        b.output(y);
        written(&b.finish()).graph.node[0].attribute.iter().map(|a| a.i).collect::<Vec<_>>()
    };
    assert_eq!((axis(13), axis(4), axis(1)), (vec![1], vec![1], vec![]));
}

#[test]
fn removed_values_take_their_entries_along_and_others_keep_theirs() {
    let mut p = graph(
        vec![node("Add", "x w", "a"), node("Relu", "a", "y"), node("Add", "x v", "dead")],
        "x",
        "y",
    );
    p.initializer = vec![floats("w", &[1.0]), floats("v", &[2.0])];
    p.value_info = vec![value("a"), value("dead"), value("never")];
    p.doc_string = "kept".into();
    for n in ["a", "dead", "never"] {
        let a = TensorAnnotation { tensor_name: n.into(), ..Default::default() };
        p.quantization_annotation.push(a);
    }
    let mut g = read(&model(p)).unwrap().graph;
    let dead = g.schedule().last().unwrap();
    g.remove_node(dead);
    g.remove_value(g.find_value("dead").unwrap());
    g.remove_value(g.find_value("v").unwrap());
    g.edits = 1;
    let m = written(&g);
    let names = |v: &[ValueInfoProto]| v.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&m.graph.value_info), ["a", "never"]);
    assert_eq!(m.graph.initializer.len(), 1);
    assert_eq!(m.graph.quantization_annotation.len(), 2);
    assert_eq!((m.graph.node.len(), m.graph.doc_string.as_str()), (2, "kept"));
}

#[test]
fn new_nodes_say_where_they_came_from() {
    let mut m = model(graph(vec![node("Relu", "x", "y")], "x", "y"));
    for (ir, doc, props) in [(8, "graph_opt.origin: test", 0), (10, "", 1)] {
        m.ir_version = ir;
        let mut g = read(&m).unwrap().graph;
        let y = g.find_value("y").unwrap();
        let z = append(&mut g, y, "z");
        g.set_outputs(vec![y, z]);
        let out = written(&g);
        assert_eq!(out.graph.node[1].doc_string, doc);
        assert_eq!(out.graph.node[1].metadata_props.len(), props);
        assert_eq!(out.graph.node[0], m.graph.node[0]);
        assert_eq!(out.graph.output.len(), 2);
    }
}

#[test]
fn constants_are_inputs_too_before_version_4() {
    let mut p = graph(vec![node("Add", "x w", "y")], "x w", "y");
    p.initializer.push(floats("w", &[1.0]));
    let mut m = model(p);
    m.ir_version = 3;
    let mut g = read(&m).unwrap().graph;
    let t = std::sync::Arc::new(Tensor::f32s(&[1], &[2.0]).unwrap());
    g.push_value("k".into(), t.ty(), Def::Const(t));
    g.edits = 1;
    let out = written(&g);
    let inputs: Vec<_> = out.graph.input.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(inputs, ["x", "w", "k"]);
    assert_eq!(out.graph.initializer.len(), 2);
    // Once w is gone, so is its input.
    let add = g.schedule().next().unwrap();
    g.remove_node(add);
    g.remove_value(g.find_value("w").unwrap());
    g.set_outputs(vec![g.inputs()[0]]);
    let out = written(&g);
    let inputs: Vec<_> = out.graph.input.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(inputs, ["x", "k"]);
}

#[test]
fn a_changed_attribute_leaves_the_others_as_they_were_spelled() {
    let mut n = node("Conv", "x w", "y");
    n.doc_string = "doc".into();
    n.domain = "ai.onnx".into();
    n.metadata_props.push(entry("k", "v"));
    let ints = |name: &str, v: &[i64]| AttributeProto {
        ints: v.to_vec(),
        ..attr(name, attribute_proto::AttributeType::INTS)
    };
    let mut strides = ints("strides", &[2, 2]);
    strides.doc_string = "why".into();
    n.attribute = vec![strides, int("group", 1), ints("pads", &[1, 1, 1, 1]), int("mine", 7)];
    let m = model(graph(vec![n.clone()], "x w", "y"));
    let mut g = read(&m).unwrap().graph;
    let id = g.schedule().next().unwrap();
    let Op::Conv(c) = &mut g.node_mut(id).op else { panic!() };
    c.pads = Some(vec![0, 0, 0, 0]);
    c.dilations = Some(vec![1, 1]);
    g.node_mut(id).meta.verbatim = None;
    g.edits = 1;
    n.attribute[2].ints = vec![0; 4];
    n.attribute.push(ints("dilations", &[1, 1]));
    assert_eq!(written(&g).graph.node[0], n);
}

#[test]
fn a_changed_constant_replaces_only_itself() {
    let mut p = graph(vec![node("Sum", "x w v", "y")], "x", "y");
    p.initializer = vec![floats("w", &[1.0]), floats("v", &[2.0])];
    p.initializer[1].doc_string = "kept".into();
    let m = model(p);
    let mut g = read(&m).unwrap().graph;
    let w = g.find_value("w").unwrap();
    g.value_mut(w).def = Def::Const(std::sync::Arc::new(Tensor::f32s(&[1], &[9.0]).unwrap()));
    g.edits = 1;
    let out = written(&g);
    assert_eq!(out.graph.initializer[0].raw_data, 9.0f32.to_le_bytes());
    assert_eq!(out.graph.initializer[1], m.graph.initializer[1]);
}

#[test]
fn versions_change_only_where_they_were_changed() {
    let mut m = model(graph(vec![node("Relu", "x", "y")], "x", "y"));
    m.opset_import[0].domain = "ai.onnx".into();
    m.opset_import.push(OperatorSetIdProto {
        domain: "b".into(),
        version: 3,
        ..Default::default()
    });
    let mut g = read(&m).unwrap().graph;
    g.edits = 1;
    assert_eq!(written(&g), m);
    let mut opsets = (*g.opsets).clone();
    opsets.insert("b".into(), 4);
    opsets.insert("c".into(), 1);
    g.opsets = std::sync::Arc::new(opsets);
    g.ir_version = 9;
    let out = written(&g);
    let got: Vec<_> = out.opset_import.iter().map(|o| (o.domain.as_str(), o.version)).collect();
    assert_eq!(got, [("ai.onnx", 17), ("b", 4), ("c", 1)]);
    assert_eq!(out.ir_version, 9);
}

#[test]
fn fields_that_nobody_knows_survive() {
    // Field 900 in the model, its graph and its node; field 10 of a node is newer than the schema
    // of the protobuf crate.
    let unknown = [0xa2, 0x38, 3, b'a', b'b', b'c'];
    let mut n = node("Relu", "x", "y").write_to_bytes().unwrap();
    n.extend_from_slice(&unknown);
    n.extend_from_slice(&[0x52, 2, 0x0a, 0]);
    let mut p = graph(vec![], "x", "y").write_to_bytes().unwrap();
    p.extend_from_slice(&[0x0a, n.len() as u8]);
    p.extend_from_slice(&n);
    p.extend_from_slice(&unknown);
    let mut file = bytes(&model(Default::default()));
    file.extend_from_slice(&[0x3a, p.len() as u8]);
    file.extend_from_slice(&p);
    file.extend_from_slice(&unknown);
    let mut g = import(file.clone(), None).unwrap().graph;
    g.edits = 1;
    let id = g.schedule().next().unwrap();
    g.node_mut(id).meta.verbatim = None;
    let n = g.node(id);
    assert!(matches!(n.extra.as_slice(), []) && n.meta.foreign.len() == 10);
    assert_eq!(written(&g), ModelProto::parse_from_bytes(&file).unwrap());
}

#[test]
fn other_attributes_of_every_kind_are_written() {
    let attrs = vec![
        ("f".into(), Attr::Float(f32::NAN)),
        ("fs".into(), Attr::Floats(vec![1.0, -0.0])),
        ("s".into(), Attr::Str(b"\xff".to_vec())),
        ("ss".into(), Attr::Strs(vec![b"a".to_vec(), vec![]])),
        ("none".into(), Attr::Ints(vec![])),
        ("t".into(), Attr::Tensor(std::sync::Arc::new(Tensor::i64s(&[1, 2])))),
    ];
    let other = op::Other::new("com.microsoft", "T", attrs);
    let mut b = Builder::new("g", 17);
    let x = b.input("x", Type::tensor(DType::F32, &[1]));
    let y = b.node("n", Op::Other(other.clone()), &[x]).unwrap();
    b.output(y);
    let again = read(&written(&b.finish())).unwrap().graph;
    let n = again.node(again.schedule().next().unwrap());
    assert_eq!(format!("{:?}", n.op), format!("{:?}", Op::Other(other)));
}

#[test]
fn parts_of_initializers_inherit_and_annotations_of_them_go() {
    let mut b = Builder::new("made", 17);
    let x = b.input("x", Type::tensor(DType::F32, &[1, 4]));
    let w = b.constant("w", Tensor::f32s(&[4], &[1.0, 2.0, 3.0, 4.0]).unwrap());
    let y = b.node("sum", op::Add { axis: None, broadcast: 0 }, &[x, w]).unwrap();
    b.output(y);
    let mut m = written(&b.finish());
    m.graph.mut_or_insert_default().initializer[0].doc_string = "weights".into();
    let mut a = TensorAnnotation::new();
    a.tensor_name = "x".into();
    a.quant_parameter_tensor_names.push(onnx_protobuf::StringStringEntryProto {
        key: "SCALE_TENSOR".into(),
        value: "w".into(),
        ..Default::default()
    });
    m.graph.mut_or_insert_default().quantization_annotation.push(a);
    let mut g = read(&m).unwrap().graph;
    let kept = written(&g);
    assert_eq!(kept.graph.quantization_annotation.len(), 1);
    let old = g.schedule().next().unwrap();
    let w = g.find_value("w").unwrap();
    let mut edit = crate::Edit::new("test");
    let half = edit.part("w/half".into(), Tensor::f32s(&[1], &[1.0]).unwrap(), w);
    let op = op::Add { axis: None, broadcast: 0 };
    let new = edit.node("sum", op, vec![Some(crate::Ref::Value(g.inputs()[0])), Some(half)], &[]);
    edit.replaces.push((g.outputs()[0], new));
    edit.removes.push(old);
    crate::Editor::new(&mut g).apply(&edit).unwrap();
    let now = written(&g);
    let all: Vec<_> =
        now.graph.initializer.iter().map(|t| (t.name.as_str(), t.doc_string.as_str())).collect();
    assert_eq!(all, [("w/half", "weights")]);
    assert!(now.graph.quantization_annotation.is_empty());
}

/// Notes replace entries of the model's metadata that have their keys; unchanged models stay as they are.
#[test]
fn notes_become_metadata() {
    let mut m = model(graph(vec![node("Relu", "x", "y")], "x", "y"));
    let entry = |k: &str, v: &str| onnx_protobuf::StringStringEntryProto {
        key: k.into(),
        value: v.into(),
        ..Default::default()
    };
    m.metadata_props = vec![entry("ours", "old"), entry("theirs", "kept")];
    let mut g = inferred(read(&m).unwrap().graph);
    g.notes.insert("ours".into(), "new".into());
    assert_eq!(written(&g), m);
    let out = g.outputs()[0];
    append(&mut g, out, "more");
    let props: Vec<(String, String)> =
        written(&g).metadata_props.into_iter().map(|e| (e.key, e.value)).collect();
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(props, [pair("theirs", "kept"), pair("ours", "new")]);
}
