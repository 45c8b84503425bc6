//! Annotations for several devices.

use super::super::devices::{Configuration, annotate, configurations, stages};
use super::super::export;
use super::*;
use crate::graph::Graph;

/// A chain of Relus: a, b, c.
fn chain() -> ModelProto {
    let named = |name: &str, input: &str| NodeProto {
        name: name.into(),
        ..node("Relu", input, &format!("{name}_out"))
    };
    model(graph(vec![named("a", "x"), named("b", "a_out"), named("c", "b_out")], "x", "c_out"))
}

fn two(name: &str) -> Configuration {
    let devices = vec!["camera".into(), "box".into()];
    Configuration { name: name.into(), count: 2, devices }
}

fn file(g: &Graph) -> Vec<u8> {
    let mut out = Vec::new();
    export(g, &mut out).unwrap();
    out
}

/// The graph with its first nodes in stage 0 and the others in stage 1.
fn cut(g: &Graph, first: usize, name: &str) -> Graph {
    let ids: Vec<_> = g.schedule().collect();
    let at = |id| ids.iter().position(|&i| i == id).unwrap();
    annotate(g, &two(name), &|id| Some(usize::from(at(id) >= first))).unwrap()
}

#[test]
fn what_is_annotated_is_read_and_nothing_else_changes() {
    let g = read(&chain()).unwrap().graph;
    assert_eq!(stages(&g, None).unwrap(), None);
    let bytes = file(&cut(&g, 1, "ours"));
    let again = import(bytes.clone(), None).unwrap().graph;
    assert_eq!(configurations(&again).unwrap(), [two("ours")]);
    let s = stages(&again, None).unwrap().unwrap();
    assert_eq!(s.nodes.iter().map(|n| n.1).collect::<Vec<_>>(), [0, 1, 1]);
    assert!(s.sharded.is_empty());
    // But for the annotations, which the protobuf crate does not know, it is the same model.
    let mut proto = ModelProto::parse_from_bytes(&bytes).unwrap();
    assert_eq!(proto.ir_version, 11);
    let held = |u: &protobuf::UnknownFields| u.iter().count();
    assert_eq!(held(proto.special_fields.unknown_fields()), 1);
    proto.special_fields = Default::default();
    proto.ir_version = 8;
    for n in &mut proto.graph.mut_or_insert_default().node {
        assert_eq!(held(n.special_fields.unknown_fields()), 1);
        n.special_fields = Default::default();
    }
    assert_eq!(proto, chain());
}

#[test]
fn one_configuration_is_replaced_and_others_stay() {
    let g = read(&chain()).unwrap().graph;
    let g = import(file(&cut(&cut(&g, 1, "ours"), 2, "theirs")), None).unwrap().graph;
    let g = import(file(&cut(&g, 2, "ours")), None).unwrap().graph;
    assert_eq!(configurations(&g).unwrap(), [two("theirs"), two("ours")]);
    let of = |name| stages(&g, Some(name)).unwrap().unwrap().nodes;
    assert_eq!(of("ours").iter().map(|n| n.1).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(of("ours"), of("theirs"));
    let e = stages(&g, None).unwrap_err().to_string();
    assert_eq!(e, "nodes are in several configurations: \"ours\", \"theirs\"");
    let e = stages(&g, Some("other")).unwrap_err().to_string();
    assert!(e.contains("there are: \"theirs\", \"ours\""), "{e}");
}

#[test]
fn rewriting_keeps_annotations() {
    let g = read(&chain()).unwrap().graph;
    let mut g = import(file(&cut(&g, 1, "ours")), None).unwrap().graph;
    let want = stages(&g, None).unwrap();
    // As if every node had been changed.
    let ids: Vec<_> = g.schedule().collect();
    for id in ids {
        g.node_mut(id).meta.verbatim = None;
    }
    g.edits += 1;
    let again = import(file(&g), None).unwrap().graph;
    assert_eq!(stages(&again, None).unwrap(), want);
}

#[test]
fn constants_stay_constants_in_the_newer_version() {
    // Before IR version 4, constants stood among the inputs.
    let mut m = model(graph(vec![node("Add", "x w", "y")], "x w", "y"));
    m.ir_version = 3;
    let g = m.graph.mut_or_insert_default();
    g.initializer.push(floats("w", &[1.0]));
    g.input[1] = floats_info("w", 1);
    let g = read(&m).unwrap().graph;
    assert_eq!(g.inputs().len(), 1);
    let again = import(file(&cut(&g, 0, "ours")), None).unwrap().graph;
    assert_eq!((again.ir_version, again.inputs().len()), (11, 1));
    assert!(again.find_value("w").is_some_and(|w| again.constant(w).is_some()));
}

fn floats_info(name: &str, extent: i64) -> ValueInfoProto {
    use onnx_protobuf::TensorShapeProto;
    use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
    let value = Some(dimension::Value::DimValue(extent));
    let dim = vec![Dimension { value, ..Default::default() }];
    let shape = Some(TensorShapeProto { dim, ..Default::default() }).into();
    let t = TensorType { elem_type: 1, shape, ..Default::default() };
    let t = TypeProto { value: Some(Value::TensorType(t)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(t).into(), ..Default::default() }
}

#[test]
fn graphs_that_never_were_files_are_annotated() {
    let g = crate::text::parse(
        "graph @main(%x: f32[4]) -> (%y) opset 17 {
           %w = const random(1) : f32[4]
           %y = Add %x, %w : f32[4] ; n
         }",
    );
    let again = import(file(&cut(&g.unwrap(), 0, "ours")), None).unwrap().graph;
    assert_eq!(configurations(&again).unwrap(), [two("ours")]);
    assert_eq!(stages(&again, None).unwrap().unwrap().nodes[0].1, 1);
}

/// A message field of these bytes.
fn message(number: u32, inner: &[u8]) -> Vec<u8> {
    let mut out = super::super::rope::Rope::default();
    out.text(number, inner);
    let mut bytes = Vec::new();
    out.write(&mut bytes).unwrap();
    bytes
}

fn int(number: u32, v: i64) -> Vec<u8> {
    let mut out = super::super::rope::Rope::default();
    out.int(number, v);
    let mut bytes = Vec::new();
    out.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_cannot_be_is_told_when_it_is_asked_for() {
    let config = |name: &str, count: i64, devices: &[&str]| {
        let devices = devices.iter().map(|d| message(3, d.as_bytes())).collect::<Vec<_>>().concat();
        message(26, &[message(1, name.as_bytes()), int(2, count), devices].concat())
    };
    let of = |name: &str, stage: i64| [message(1, name.as_bytes()), int(3, stage)].concat();
    let good = config("c", 2, &[]);
    let file = |model: &[u8], nodes: [&[Vec<u8>]; 3]| {
        let mut m = chain();
        for (n, said) in m.graph.mut_or_insert_default().node.iter_mut().zip(nodes) {
            for s in said {
                n.special_fields.mut_unknown_fields().add_length_delimited(10, s.clone());
            }
        }
        [bytes(&m), model.to_vec()].concat()
    };
    let fails = |bytes: Vec<u8>| {
        // It is read and written as it is.
        let mut g = import(bytes, None).unwrap().graph;
        let e = stages(&g, None).unwrap_err().to_string();
        g.edits += 1;
        assert_eq!(
            stages(&import(self::file(&g), None).unwrap().graph, None).unwrap_err().to_string(),
            e
        );
        e
    };
    let none: &[Vec<u8>] = &[];
    for (model, what) in [
        (config("", 1, &[]), "needs a name that no other"),
        ([good.clone(), good.clone()].concat(), "\"c\" needs a name that no other"),
        (config("c", 0, &[]), "declares 0 devices"),
        (config("c", -1, &[]), "declares -1 devices"),
        (config("c", 1 << 40, &[]), "declares 1099511627776 devices"),
        (config("c", 3, &["a", "b"]), "declares 3 devices, but names 2"),
        (message(26, &message(1, b"\xff")), "expected UTF-8"),
        (message(26, &[0xff]), "ends inside"),
    ] {
        let bytes = file(&model, [none; 3]);
        match import(bytes.clone(), None) {
            Ok(_) => assert!(fails(bytes.clone()).contains(what), "{what}: {}", fails(bytes)),
            Err(e) => assert!(e.to_string().contains(what), "{what}: {e}"),
        }
    }
    for (nodes, what) in [
        (
            [&[of("d", 0)][..], none, none],
            "\"a\" (Relu): there is no configuration \"d\"; there are: \"c\"",
        ),
        ([none, &[of("c", 2)], none], "\"b\" (Relu): expected a stage of 0 to 1 of \"c\", found 2"),
        ([none, &[of("c", -1)], none], "expected a stage of 0 to 1"),
        ([&[of("c", 0), of("c", 0)][..], none, none], "names the configuration \"c\" twice"),
        ([&[of("c", 1)][..], none, &[of("c", 0)]], "\"c\": stage 1 (a) comes before stage 0 (c)"),
    ] {
        let e = fails(file(&good, nodes));
        assert!(e.contains(what), "{what}: {e}");
    }
    let sharded = [of("c", 0), message(2, &message(1, b"x"))].concat();
    let g = import(file(&good, [&[sharded], none, none]), None).unwrap().graph;
    let s = stages(&g, None).unwrap().unwrap();
    assert_eq!((s.nodes.len(), s.sharded.len()), (1, 1));
}
