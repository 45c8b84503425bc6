//! What a file says beside what it computes: metadata, versions, annotations, devices, functions.

use graph_opt_ir::{Graph, infer, onnx};
use graph_opt_passes::registry::OPTIMISE;
use onnx_protobuf::type_proto::{Tensor as TensorType, Value};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, tensor_shape_proto,
};
use protobuf::EnumOrUnknown;

use super::{has_same_bits, is_near, judged, ops, run};

fn strings(s: &str) -> Vec<String> {
    s.split_whitespace().map(str::to_owned).collect()
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value: value.into(), ..Default::default() }
}

/// A node with a name, documentation and metadata, and a configuration of devices, which is newer
/// than the protobuf crate: field 10, whose first field is an identifier.
fn node(op: &str, inputs: &str, outputs: &str) -> NodeProto {
    let mut n = NodeProto {
        name: format!("n_{}", outputs.split(' ').next().unwrap()),
        op_type: op.into(),
        input: strings(inputs),
        output: strings(outputs),
        doc_string: format!("doc of {outputs}"),
        metadata_props: vec![entry("all", op), entry(outputs, "own")],
        ..Default::default()
    };
    let device = format!("\n\x06dev_{}", &outputs[..1]) + "_";
    n.special_fields.mut_unknown_fields().add_length_delimited(10, device[..8].into());
    n
}

fn attr(name: &str, kind: attribute_proto::AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), type_: EnumOrUnknown::new(kind), ..Default::default() }
}

fn ints(name: &str, v: &[i64]) -> AttributeProto {
    AttributeProto { ints: v.to_vec(), ..attr(name, attribute_proto::AttributeType::INTS) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attr(name, attribute_proto::AttributeType::FLOAT) }
}

fn with(mut n: NodeProto, attrs: &[AttributeProto]) -> NodeProto {
    n.attribute.extend_from_slice(attrs);
    n
}

/// A value of this type; letters are names of dimensions.
fn value(name: &str, elem_type: i32, dims: &str) -> ValueInfoProto {
    let dim = |d: &str| {
        let value = match d.parse() {
            Ok(n) => tensor_shape_proto::dimension::Value::DimValue(n),
            Err(_) => tensor_shape_proto::dimension::Value::DimParam(d.into()),
        };
        tensor_shape_proto::Dimension { value: Some(value), ..Default::default() }
    };
    let shape =
        TensorShapeProto { dim: dims.split_whitespace().map(dim).collect(), ..Default::default() };
    let t = TensorType { elem_type, shape: Some(shape).into(), ..Default::default() };
    let t = TypeProto { value: Some(Value::TensorType(t)), ..Default::default() };
    ValueInfoProto {
        name: name.into(),
        type_: Some(t).into(),
        doc_string: format!("doc of {name}"),
        metadata_props: vec![entry("value", name)],
        ..Default::default()
    }
}

fn floats(name: &str, dims: &[i64], v: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 1,
        dims: dims.to_vec(),
        raw_data: v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn annotation(name: &str) -> TensorAnnotation {
    TensorAnnotation {
        tensor_name: name.into(),
        quant_parameter_tensor_names: vec![entry("SCALE_TENSOR", "scale")],
        ..Default::default()
    }
}

/// The file's graph with all that a file can say: a Conv with its normalisation, an Identity, a
/// Relu, an addition of 0, and what nobody reads.
fn model() -> ModelProto {
    let fours = |name: &str, x: f32| floats(name, &[2], &[x, x + 1.0]);
    let g = GraphProto {
        name: "g".into(),
        doc_string: "doc of the graph".into(),
        node: vec![
            with(node("Conv", "x w", "c"), &[ints("kernel_shape", &[1, 1])]),
            with(node("BatchNormalization", "c s b m v", "n"), &[float("epsilon", 0.25)]),
            node("Identity", "n", "i"),
            node("Exp", "i", "dead"),
            node("Relu", "i", "r"),
            node("Neg", "r", "y"),
        ],
        input: vec![value("x", 1, "batch 1 h w")],
        output: vec![value("y", 1, "batch 2 h w")],
        value_info: vec![value("n", 1, "batch 2 h w"), value("r", 1, "batch 2 h w")],
        initializer: vec![
            floats("w", &[2, 1, 1, 1], &[1.0, -2.0]),
            fours("s", 1.0),
            fours("b", 2.0),
            fours("m", 3.0),
            fours("v", 4.0),
        ],
        quantization_annotation: vec![annotation("x"), annotation("r"), annotation("y")],
        metadata_props: vec![entry("graph", "kept")],
        ..Default::default()
    };
    let mut m = ModelProto {
        ir_version: 11,
        producer_name: "maker".into(),
        producer_version: "1.2".into(),
        domain: "d".into(),
        model_version: 7,
        doc_string: "doc of the model".into(),
        graph: Some(g).into(),
        opset_import: vec![OperatorSetIdProto { version: 15, ..Default::default() }],
        metadata_props: vec![entry("model", "kept"), entry("author", "somebody")],
        ..Default::default()
    };
    // The configuration of the model's devices: a name, and their number.
    let configuration = b"\n\x03gpu\x10\x02".to_vec();
    m.special_fields.mut_unknown_fields().add_length_delimited(26, configuration);
    m
}

fn read(m: &ModelProto) -> (Graph, Vec<String>) {
    let i = onnx::import(m.write_to_bytes().unwrap(), None).unwrap();
    let mut g = i.graph;
    infer::infer_graph(&mut g, &i.declared).unwrap();
    (g, i.remarks)
}

fn written(g: &Graph) -> ModelProto {
    let mut out = Vec::new();
    onnx::export(g, &mut out).unwrap();
    ModelProto::parse_from_bytes(&out).unwrap()
}

/// The device configurations of a node.
fn devices(n: &NodeProto) -> usize {
    n.special_fields.unknown_fields().iter().filter(|(k, _)| *k == 10).count()
}

/// onnxscript 1752, 2637; winml-cli 696; onnxsim 0.8.1, OnnxSlim 0.1.98, onnxoptimizer 0.4.2 as
/// measured: all that does not belong to what was rewritten is as it was.
#[test]
fn onnxscript_1752_2637_winml_696_metadata_survives() {
    let m = model();
    let (g, _) = read(&m);
    for (pipeline, want) in
        [("simplify", "Conv BatchNormalization Relu Neg"), (OPTIMISE, "Conv Relu Neg")]
    {
        let (t, ..) = run(&g, pipeline);
        assert_eq!(ops(&t), want);
        assert!(is_near(&judged(&g, &t)));
        let out = written(&t);
        // The model, but for its graph; the graph, but for nodes, constants and inner types.
        let mut rest = out.clone();
        rest.graph = m.graph.clone();
        assert_eq!(rest, m, "{pipeline}");
        let (p, q) = (&m.graph, &out.graph);
        assert_eq!((&p.name, &p.doc_string), (&q.name, &q.doc_string));
        assert_eq!((&p.input, &p.output), (&q.input, &q.output));
        assert_eq!(p.metadata_props, q.metadata_props);
        assert_eq!(p.quantization_annotation, q.quantization_annotation, "{pipeline}");
        assert_eq!(p.value_info, q.value_info, "{pipeline}");
        for n in &q.node {
            let old = p.node.iter().find(|o| o.output == n.output).unwrap();
            // Only what it reads may be called otherwise.
            if n.op_type == old.op_type {
                let mut n = n.clone();
                n.input.clone_from(&old.input);
                assert_eq!(&n, old, "{pipeline}");
            }
        }
    }
}

/// What is merged of two nodes has the metadata of both, no key twice, however often it is run.
#[test]
fn onnxscript_2637_keys_never_twice() {
    for ir_version in [8, 10, 11] {
        let mut m = model();
        m.ir_version = ir_version;
        let (mut g, _) = read(&m);
        for _ in 0..3 {
            let out = written(&run(&g, OPTIMISE).0);
            let conv = &out.graph.node[0];
            assert_eq!((conv.op_type.as_str(), conv.name.as_str()), ("Conv", "n_c"));
            assert_eq!(devices(conv), 1);
            let get = |k: &str| {
                let all = conv.metadata_props.iter().filter(|e| e.key == k);
                all.map(|e| e.value.clone()).collect::<Vec<_>>()
            };
            assert_eq!(
                (get("all"), get("c"), get("n")),
                (vec!["Conv".to_owned()], vec!["own".to_owned()], vec!["own".to_owned()],)
            );
            let mut names: Vec<&str> = conv.attribute.iter().map(|a| a.name.as_str()).collect();
            names.dedup();
            assert_eq!(names.len(), conv.attribute.len());
            for n in &out.graph.node {
                let mut keys: Vec<&str> = n.metadata_props.iter().map(|e| e.key.as_str()).collect();
                keys.sort_unstable();
                let all = keys.len();
                keys.dedup();
                assert_eq!(keys.len(), all, "{:?}", n.metadata_props);
            }
            g = read(&out).0;
        }
    }
}

/// onnx/optimizer 159.
#[test]
fn optimizer_159_ir_version_stays() {
    for ir_version in [3, 4, 7, 8, 9, 10, 11, 12, 13] {
        let mut m = model();
        m.ir_version = ir_version;
        if ir_version < 4 {
            for (name, dims) in [("w", "2 1 1 1"), ("s", "2"), ("b", "2"), ("m", "2"), ("v", "2")] {
                m.graph.mut_or_insert_default().input.push(value(name, 1, dims));
            }
        }
        let (g, _) = read(&m);
        for pipeline in ["simplify", OPTIMISE] {
            let (t, ..) = run(&g, pipeline);
            assert!(t.edits() > 0);
            let out = written(&t);
            assert_eq!((out.ir_version, &out.opset_import), (ir_version, &m.opset_import));
            // Before version 4 every constant is an input, too.
            let inputs = out.graph.input.iter().filter(|i| i.name != "x").count();
            let constants = if ir_version < 4 { out.graph.initializer.len() } else { 0 };
            assert_eq!(inputs, constants, "{pipeline}, version {ir_version}");
            read(&out);
        }
    }
}

/// ONNX Runtime 2776: no attribute stands twice on a fused node, whatever those before it said.
#[test]
fn runtime_2776_gemm_attributes_once() {
    let int = |name: &str, i: i64| AttributeProto {
        i,
        ..attr(name, attribute_proto::AttributeType::INT)
    };
    let initializer = vec![
        floats("w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        floats("b", &[2], &[1.0, -1.0]),
        floats("k", &[2], &[3.0, 0.5]),
        floats("t", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    ];
    let gemm = with(
        node("Gemm", "x w b", "a"),
        &[
            float("alpha", 0.5),
            float("beta", 2.0),
            int("transA", 0),
            int("transB", 1),
            int("mine", 7),
        ],
    );
    let matmul = with(node("MatMul", "x t", "a"), &[int("mine", 7)]);
    let rows =
        [(vec![gemm, node("Mul", "a k", "y")], 1), (vec![matmul, node("Add", "a k", "y")], 0)];
    for (nodes, extra) in rows {
        let m = ModelProto {
            graph: Some(GraphProto {
                node: nodes,
                name: "g".into(),
                input: vec![value("x", 1, "4 3")],
                output: vec![value("y", 1, "4 2")],
                initializer: initializer.clone(),
                ..Default::default()
            })
            .into(),
            ..model()
        };
        let (g, _) = read(&m);
        let (t, ..) = run(&g, OPTIMISE);
        assert_eq!(ops(&t), "Gemm");
        assert!(is_near(&judged(&g, &t)));
        let out = written(&t);
        let mut names: Vec<&str> =
            out.graph.node[0].attribute.iter().map(|a| a.name.as_str()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(names.iter().filter(|n| **n == "mine").count(), extra);
        let (back, _) = read(&out);
        assert!(has_same_bits(&judged(&t, &back)));
    }
}

/// A local function, called in the main graph and in a branch, beside an If that captures.
#[test]
fn onnxoptimizer_0_4_2_functions_beside_an_if() {
    let call = |inputs: &str, output: &str| {
        let mut n = node("F", inputs, output);
        n.domain = "local".into();
        n
    };
    let branch = |name: &str, nodes: Vec<NodeProto>, out: &str| AttributeProto {
        g: Some(GraphProto {
            node: nodes,
            name: name.into(),
            output: vec![value(out, 1, "2 3")],
            ..Default::default()
        })
        .into(),
        ..attr(name, attribute_proto::AttributeType::GRAPH)
    };
    let mut m = model();
    m.opset_import.push(OperatorSetIdProto {
        domain: "local".into(),
        version: 1,
        ..Default::default()
    });
    m.functions = vec![FunctionProto {
        name: "F".into(),
        domain: "local".into(),
        input: strings("p"),
        output: strings("q"),
        node: vec![node("Identity", "p", "k"), node("Exp", "k", "q")],
        opset_import: vec![OperatorSetIdProto { version: 15, ..Default::default() }],
        doc_string: "doc of F".into(),
        ..Default::default()
    }];
    let inner = vec![node("Identity", "f", "u"), call("u", "o")];
    m.graph = Some(GraphProto {
        name: "g".into(),
        node: vec![
            node("Identity", "x", "i"),
            call("i", "f"),
            with(
                node("If", "c", "y"),
                &[
                    branch("then_branch", inner, "o"),
                    branch("else_branch", vec![node("Neg", "i", "e")], "e"),
                ],
            ),
        ],
        input: vec![value("x", 1, "2 3"), value("c", 9, "")],
        output: vec![value("y", 1, "2 3")],
        ..Default::default()
    })
    .into();
    let (g, _) = read(&m);
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        assert!(t.edits() > 0);
        let out = written(&t);
        // The function is simplified where it stands, and stays one with its name, its inputs and its documentation.
        let [f] = &out.functions[..] else { panic!("{pipeline}: {:?}", out.functions) };
        let mut want = m.functions[0].clone();
        want.node = vec![node("Exp", "p", "q")];
        assert_eq!(*f, want, "{pipeline}");
        let (back, _) = read(&out);
        assert!(graph_opt_ir::structural_eq::identical(&t, &back), "{pipeline}");
        let r = judged(&g, &back);
        assert!(has_same_bits(&r), "{pipeline}: {r:?}");
    }
}

/// burn 2592: nodes in any order are sorted, with a remark; what has no order is refused.
#[test]
fn burn_2592_nodes_out_of_order() {
    let m = model();
    let (g, remarks) = read(&m);
    assert!(remarks.is_empty(), "{remarks:?}");
    let count = m.graph.node.len();
    for turn in 1..count {
        let mut other = m.clone();
        let nodes = &mut other.graph.mut_or_insert_default().node;
        nodes.rotate_left(turn);
        nodes.swap(0, count - 1);
        let (h, remarks) = read(&other);
        assert!(remarks.iter().any(|r| r.contains("order") || r.contains("sort")), "{remarks:?}");
        assert!(has_same_bits(&judged(&g, &h)));
        let (t, ..) = run(&h, OPTIMISE);
        assert_eq!(ops(&t), "Conv Relu Neg");
        assert!(is_near(&judged(&g, &t)));
        // What is written is in order.
        assert!(read(&written(&t)).1.is_empty());
    }
    let mut cycle = m.clone();
    cycle.graph.mut_or_insert_default().node[0].input[0] = "y".into();
    assert!(onnx::import(cycle.write_to_bytes().unwrap(), None).is_err());
}
