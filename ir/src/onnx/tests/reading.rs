//! What files mean.

use onnx_protobuf::{FunctionProto, Message, SparseTensorProto, TensorProto};

use super::*;
use crate::graph::Def;
use crate::{DType, Type};

#[test]
fn nodes_out_of_order_are_sorted_with_a_remark() {
    let g = graph(
        vec![node("Relu", "b", "y"), node("Relu", "x", "a"), node("Relu", "a", "b")],
        "x",
        "y",
    );
    let i = read(&model(g)).unwrap();
    let order: Vec<_> = i.graph.schedule().map(|n| i.graph.label(n).to_owned()).collect();
    assert_eq!(order, ["a", "b", "y"]);
    assert!(i.remarks[0].contains("sorted"), "{:?}", i.remarks);
}

#[test]
fn nodes_of_a_branch_are_sorted_and_captures_order_the_nodes_outside() {
    let then = graph(vec![node("Relu", "t", "r"), node("Neg", "late", "t")], "", "r");
    let other = graph(vec![node("Neg", "x", "r2")], "", "r2");
    let i =
        with(with(node("If", "c", "y"), branch("then_branch", then)), branch("else_branch", other));
    let g = graph(vec![i, node("Relu", "x", "late")], "x c", "y");
    let i = read(&model(g)).unwrap();
    let labels: Vec<_> = i.graph.schedule().map(|n| i.graph.label(n).to_owned()).collect();
    assert_eq!(labels, ["late", "y"]);
    assert_eq!(i.remarks.len(), 2, "{:?}", i.remarks);
    let n = i.graph.node(i.graph.schedule().last().unwrap());
    let captured: Vec<_> = n.captures.iter().map(|&v| &*i.graph.value(v).name).collect();
    assert_eq!(captured, ["late", "x"]);
    assert_eq!(i.graph.value(n.captures[0]).uses().len(), 1);
}

#[test]
fn captures_reach_through_several_levels_and_stop_at_definitions() {
    let inner = graph(vec![node("Add", "w m", "i")], "", "i");
    let iff = |o: &str| {
        with(
            with(node("If", "c", o), branch("then_branch", inner.clone())),
            branch("else_branch", inner.clone()),
        )
    };
    let middle = graph(vec![node("Relu", "x", "m"), iff("z")], "", "z");
    let outer = with(
        with(node("If", "c", "y"), branch("then_branch", middle.clone())),
        branch("else_branch", middle),
    );
    let mut g = graph(vec![outer], "x c", "y");
    g.initializer.push(floats("w", &[1.0]));
    let i = read(&model(g.clone())).unwrap();
    let n = i.graph.node(i.graph.schedule().next().unwrap());
    let captured: Vec<_> = n.captures.iter().map(|&v| &*i.graph.value(v).name).collect();
    // Not m, which each branch defines for the branches within it.
    assert_eq!(captured.len(), 3, "{captured:?}");
    assert!(["x", "c", "w"].iter().all(|n| captured.contains(n)), "{captured:?}");
    assert!(i.graph.names.contains("m") && i.graph.names.contains("i"));
    g.initializer.clear();
    assert!(refusal(&model(g)).contains("nothing defines \"w\""));
}

#[test]
fn initializers_that_are_inputs_are_defaults_only_since_version_4() {
    let mut g = graph(vec![node("Add", "x w", "y")], "x w", "y");
    g.initializer.push(floats("w", &[1.0, 2.0]));
    let mut m = model(g);
    let i = read(&m).unwrap().graph;
    let w = i.find_value("w").unwrap();
    assert!(matches!(i.value(w).def, Def::Input(Some(_))));
    assert_eq!(i.inputs().len(), 2);
    m.ir_version = 3;
    let i = read(&m).unwrap().graph;
    let w = i.find_value("w").unwrap();
    assert!(matches!(i.value(w).def, Def::Const(_)));
    assert_eq!(i.inputs().len(), 1);
}

#[test]
fn declared_types_are_hints_beside_the_graph() {
    let mut g = graph(vec![node("Relu", "x", "h"), node("Relu", "h", "y")], "x", "y");
    g.value_info.push(value("h"));
    g.value_info.push(value("nobody"));
    let i = read(&model(g)).unwrap();
    let h = i.graph.find_value("h").unwrap();
    assert_eq!(i.graph.value(h).ty, Type::Unknown);
    assert!(i.declared.contains(&(h, Type::unranked(DType::F32))));
    assert_eq!(i.declared.len(), 2);
}

#[test]
fn every_form_of_tensor_data_is_read() {
    let read = |t: TensorProto| {
        let mut g = graph(vec![], "", "w");
        g.initializer.push(TensorProto { name: "w".into(), ..t });
        let i = super::read(&model(g))?;
        let w = i.graph.find_value("w").unwrap();
        Ok::<_, OnnxError>(i.graph.value(w).constant().unwrap().clone())
    };
    let t = |data_type: DType, n: i64| TensorProto {
        data_type: data_type.to_onnx(),
        dims: vec![n],
        ..Default::default()
    };
    let f = read(TensorProto { float_data: vec![1.5, -2.0], ..t(DType::F32, 2) }).unwrap();
    assert_eq!(f.to_f32s().unwrap(), [1.5, -2.0]);
    let f = read(TensorProto { double_data: vec![1.5, -2.0], ..t(DType::F64, 2) }).unwrap();
    assert_eq!(f.to_f32s().unwrap(), [1.5, -2.0]);
    let f = read(TensorProto { int32_data: vec![0x3c00, 0xc000], ..t(DType::F16, 2) }).unwrap();
    assert_eq!(f.to_f32s().unwrap(), [1.0, -2.0]);
    let f = read(TensorProto { int32_data: vec![-1, 7], ..t(DType::I8, 2) }).unwrap();
    assert_eq!(f.to_i64s().unwrap(), [-1, 7]);
    let f = read(TensorProto { int32_data: vec![255, 7], ..t(DType::U8, 2) }).unwrap();
    assert_eq!(f.to_i64s().unwrap(), [255, 7]);
    let f = read(TensorProto { int32_data: vec![1, 0], ..t(DType::Bool, 2) }).unwrap();
    assert_eq!(f.to_i64s().unwrap(), [1, 0]);
    let f = read(TensorProto { int32_data: vec![0x21, 0x03], ..t(DType::U4, 3) }).unwrap();
    assert_eq!(&*f.bytes().unwrap(), [0x21, 0x03]);
    let f = read(TensorProto { int64_data: vec![i64::MIN, 7], ..t(DType::I64, 2) }).unwrap();
    assert_eq!(f.to_i64s().unwrap(), [i64::MIN, 7]);
    let f = read(TensorProto { uint64_data: vec![u32::MAX.into()], ..t(DType::U32, 1) }).unwrap();
    assert_eq!(f.to_i64s().unwrap(), [i64::from(u32::MAX)]);
    let f =
        read(TensorProto { string_data: vec![b"a\xff".to_vec()], ..t(DType::String, 1) }).unwrap();
    assert_eq!(f.len(), 1);
    for bad in [
        TensorProto { int32_data: vec![300], ..t(DType::U8, 1) },
        TensorProto { int32_data: vec![1], ..t(DType::F32, 1) },
        TensorProto { float_data: vec![1.0; 3], ..t(DType::F32, 2) },
        TensorProto { raw_data: vec![0; 8], ..t(DType::String, 1) },
        TensorProto { string_data: vec![vec![]], ..t(DType::F32, 1) },
        t(DType::F32, -1),
    ] {
        assert!(read(bad).is_err());
    }
}

#[test]
fn unpacked_numbers_are_read() {
    // dims [2], data_type 1, float_data unpacked, name "w".
    let mut t = vec![0x08, 2, 0x10, 1];
    for v in [1.0f32, 2.0] {
        t.push(0x25);
        t.extend_from_slice(&v.to_le_bytes());
    }
    t.extend_from_slice(&[0x42, 1, b'w']);
    let mut g = graph(vec![], "", "w").write_to_bytes().unwrap();
    g.extend_from_slice(&[0x2a, t.len() as u8]);
    g.extend_from_slice(&t);
    let mut m = bytes(&model(Default::default()));
    // The graph comes in two pieces, which add up: protobuf merges them.
    m.extend_from_slice(&[0x3a, g.len() as u8]);
    m.extend_from_slice(&g);
    let i = import(m, None).unwrap().graph;
    let w = i.value(i.find_value("w").unwrap()).constant().unwrap().clone();
    assert_eq!(w.to_f32s().unwrap(), [1.0, 2.0]);
}

#[test]
fn a_call_of_the_models_own_function_is_not_ones_operator() {
    let f = FunctionProto {
        name: "Relu".into(),
        domain: "mine".into(),
        input: strings("a"),
        output: strings("b"),
        node: vec![node("Neg", "a", "b")],
        opset_import: vec![OperatorSetIdProto { version: 17, ..Default::default() }],
        ..Default::default()
    };
    let mut call = node("Relu", "x", "y");
    call.domain = "mine".into();
    let mut m = model(graph(vec![call.clone()], "x", "y"));
    m.functions.push(f);
    let i = read(&m).unwrap().graph;
    assert_eq!(i.functions.len(), 1);
    let n = i.node(i.schedule().next().unwrap());
    assert_eq!((n.op.domain(), n.op.name()), ("mine", "Relu"));
    m.graph.as_mut().unwrap().node[0].input = strings("x x");
    assert!(refusal(&m).contains("more inputs"));
    m.graph.as_mut().unwrap().node[0].input = strings("x");
    call.input = strings("a");
    call.output = strings("b");
    m.functions[0].node = vec![call];
    assert!(refusal(&m).contains("cycle"));
}

#[test]
fn sparse_initializers_are_carried() {
    let mut values = floats("s", &[1.0, 2.0]);
    values.dims = vec![2];
    let index = |i: &[i64]| TensorProto {
        data_type: 7,
        dims: vec![i.len() as i64],
        int64_data: i.to_vec(),
        ..Default::default()
    };
    let sparse = |i: &[i64]| SparseTensorProto {
        values: Some(values.clone()).into(),
        indices: Some(index(i)).into(),
        dims: vec![2, 3],
        ..Default::default()
    };
    let mut g = graph(vec![node("Add", "x s", "y")], "x", "y");
    g.sparse_initializer.push(sparse(&[1, 5]));
    let i = read(&model(g.clone())).unwrap().graph;
    let s = i.value(i.find_value("s").unwrap());
    assert!(matches!(s.def, Def::Sparse(_)) && s.ty.to_string() == "f32[2,3]", "{s:?}");
    for bad in [&[5i64, 1][..], &[1, 1], &[1, 6], &[-1, 1], &[1]] {
        g.sparse_initializer = vec![sparse(bad)];
        assert!(read(&model(g.clone())).is_err(), "{bad:?}");
    }
}

#[test]
fn absent_operands_and_results_stay_holes() {
    let g = graph(vec![node("Clip", "x _ m", "y"), node("Clip", "y _ _", "z")], "x m", "z");
    let i = read(&model(g)).unwrap().graph;
    let holes: Vec<Vec<bool>> =
        i.schedule().map(|n| i.node(n).inputs.iter().map(Option::is_none).collect()).collect();
    assert_eq!(holes, [[false, true, false], [false, true, true]]);
}

#[test]
fn what_onnx_calls_invalid_is_refused() {
    let one = |n: NodeProto| model(graph(vec![n], "x", "y"));
    let twice = with(with(node("Softmax", "x", "y"), int("axis", 0)), int("axis", 1));
    assert!(refusal(&one(twice)).contains("twice"));
    let mut foreign = node("Frob", "x", "y");
    foreign.domain = "acme".into();
    assert!(refusal(&one(foreign.clone())).contains("does not import its domain"));
    foreign.domain = "com.microsoft".into();
    read(&one(foreign)).unwrap();
    let relu = || one(node("Relu", "x", "y"));
    let mut m = relu();
    m.ir_version = 15;
    assert!(refusal(&m).contains("ir_version 15 is newer"));
    let mut m = relu();
    m.opset_import[0].version = 29;
    assert!(refusal(&m).contains("version 29"));
    assert!(refusal(&one(node("Concat", "x x", "y"))).contains("axis"));
    assert!(refusal(&one(node("Affine", "x", "y"))).contains("Affine"));
    let mut m = one(node("Add", "x w", "y"));
    m.graph.mut_or_insert_default().initializer.push(onnx_protobuf::TensorProto {
        name: "w".into(),
        data_type: 1,
        dims: vec![1],
        float_data: vec![1.0],
        raw_data: vec![0; 4],
        ..Default::default()
    });
    assert!(refusal(&m).contains("more than once"));
}

#[test]
fn operators_newer_than_the_model_are_refused() {
    let m = model(graph(vec![node("Gelu", "x", "y")], "x", "y"));
    assert!(refusal(&m).contains("version 20"));
    let mut m = model(graph(vec![node("Gelu", "x", "y")], "x", "y"));
    (m.opset_import[0].version, m.ir_version) = (28, 14);
    assert!(read(&m).unwrap().remarks.is_empty());
}

#[test]
fn domains_may_be_used_without_import_but_not_onnx() {
    let mut n = node("BiasGelu", "x x", "y");
    n.domain = "com.microsoft".into();
    let mut m = model(graph(vec![n, node("Relu", "y", "z")], "x", "z"));
    assert!(read(&m).is_ok());
    m.opset_import[0].domain = "other".into();
    assert!(refusal(&m).contains("does not import"));
}
