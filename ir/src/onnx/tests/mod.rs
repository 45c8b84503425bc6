//! Tests over real and broken files, and of what the reader and the writer promise.

mod devices;
mod fuzz;
mod hostile;
mod models;
mod outside;
mod reading;
mod scale;
mod writing;

use std::path::PathBuf;

use onnx_protobuf::type_proto::{Tensor as TensorType, Value};
use onnx_protobuf::{
    AttributeProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TypeProto, ValueInfoProto, attribute_proto,
};
use protobuf::EnumOrUnknown;

use super::{Imported, OnnxError, import};

/// Files shared between projects; tests that need them say so where they are absent.
fn shared(folder: &str) -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared").join(folder);
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIPPED: {} is not there", dir.display());
    None
}

fn strings(s: &str) -> Vec<String> {
    s.split_whitespace().map(|s| if s == "_" { String::new() } else { s.into() }).collect()
}

/// A node; `_` stands for an operand that is absent.
fn node(op: &str, inputs: &str, outputs: &str) -> NodeProto {
    NodeProto {
        op_type: op.into(),
        input: strings(inputs),
        output: strings(outputs),
        ..Default::default()
    }
}

fn with(mut n: NodeProto, a: AttributeProto) -> NodeProto {
    n.attribute.push(a);
    n
}

fn attr(name: &str, kind: attribute_proto::AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), type_: EnumOrUnknown::new(kind), ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attr(name, attribute_proto::AttributeType::INT) }
}

fn branch(name: &str, g: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(g).into(), ..attr(name, attribute_proto::AttributeType::GRAPH) }
}

/// A value of type f32 without a shape.
fn value(name: &str) -> ValueInfoProto {
    let t = TensorType { elem_type: 1, ..Default::default() };
    let t = TypeProto { value: Some(Value::TensorType(t)), ..Default::default() };
    ValueInfoProto { name: name.into(), type_: Some(t).into(), ..Default::default() }
}

fn graph(nodes: Vec<NodeProto>, inputs: &str, outputs: &str) -> GraphProto {
    GraphProto {
        node: nodes,
        name: "g".into(),
        input: strings(inputs).iter().map(|n| value(n)).collect(),
        output: strings(outputs).iter().map(|n| value(n)).collect(),
        ..Default::default()
    }
}

fn floats(name: &str, v: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 1,
        dims: vec![v.len() as i64],
        raw_data: v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn model(graph: GraphProto) -> ModelProto {
    let opset = OperatorSetIdProto { version: 17, ..Default::default() };
    ModelProto {
        ir_version: 8,
        graph: Some(graph).into(),
        opset_import: vec![opset],
        ..Default::default()
    }
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: key.into(), value: value.into(), ..Default::default() }
}

fn bytes(m: &ModelProto) -> Vec<u8> {
    m.write_to_bytes().unwrap()
}

fn read(m: &ModelProto) -> Result<Imported, OnnxError> {
    import(bytes(m), None)
}

fn refusal(m: &ModelProto) -> String {
    read(m).unwrap_err().to_string()
}
