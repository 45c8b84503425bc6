//! A first pass over the file, before anything is read: it checks that every message that ONNX defines is
//! well-formed and not nested too deeply. Later passes can then recurse safely.

use super::error::{OnnxError, Result};
use super::wire::{WireError, field};

/// Largest depth of nested messages, as in protobuf's own readers.
const MAX_DEPTH: usize = 100;

/// A message of ONNX's schema that contains others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    Nested,
    Map,
    Shape,
    Function,
    Annotation,
    Training,
    NodeDevices,
    Sharding,
    ShardedDim,
    /// A message without messages in it.
    Leaf,
}

/// The kind of message in field `number` of a message, if it holds one.
fn child(kind: Kind, number: u32) -> Option<Kind> {
    use super::proto::*;
    use Kind::*;
    Some(match (kind, number) {
        (Model, model::GRAPH)
        | (Attribute, attribute::G | attribute::GRAPHS)
        | (Training, training::INITIALIZATION | training::ALGORITHM) => Graph,
        (Model, model::TRAINING_INFO) => Training,
        (Model, model::FUNCTIONS) => Function,
        (Graph, graph::NODE) | (Function, function::NODE) => Node,
        (Graph, graph::INITIALIZER)
        | (Attribute, attribute::T | attribute::TENSORS)
        | (Sparse, sparse::VALUES | sparse::INDICES) => Tensor,
        (Graph, graph::INPUT | graph::OUTPUT | graph::VALUE_INFO)
        | (Function, function::VALUE_INFO) => ValueInfo,
        (Graph, graph::QUANTIZATION_ANNOTATION) => Annotation,
        (Graph, graph::SPARSE_INITIALIZER)
        | (Attribute, attribute::SPARSE_TENSOR | attribute::SPARSE_TENSORS) => Sparse,
        (Node, node::ATTRIBUTE) | (Function, function::ATTRIBUTE_PROTO) => Attribute,
        (Node, node::DEVICE_CONFIGURATIONS) => NodeDevices,
        (Attribute, attribute::TP | attribute::TYPE_PROTOS)
        | (ValueInfo, value_info::TYPE)
        | (Nested, ty::ELEM_TYPE)
        | (Map, ty::VALUE_TYPE) => Type,
        (Type, ty::TENSOR_TYPE | ty::SPARSE_TENSOR_TYPE) => TensorType,
        (Type, ty::SEQUENCE_TYPE | ty::OPTIONAL_TYPE) => Nested,
        (Type, ty::MAP_TYPE) => Map,
        (TensorType, ty::SHAPE) => Shape,
        (NodeDevices, node_devices::SHARDING_SPEC) => Sharding,
        (Sharding, sharding::SHARDED_DIM) => ShardedDim,
        (Model, model::OPSET_IMPORT | model::METADATA_PROPS | model::CONFIGURATION)
        | (Function, function::OPSET_IMPORT | function::METADATA_PROPS)
        | (Graph, graph::METADATA_PROPS)
        | (Training, training::INITIALIZATION_BINDING | training::UPDATE_BINDING)
        | (Node, node::METADATA_PROPS)
        | (Tensor, tensor::SEGMENT | tensor::EXTERNAL_DATA | tensor::METADATA_PROPS)
        | (ValueInfo, value_info::METADATA_PROPS)
        | (Annotation, annotation::QUANT_PARAMETER_TENSOR_NAMES)
        | (Type, ty::OPAQUE_TYPE)
        | (Shape, ty::DIM)
        | (Sharding, sharding::INDEX_TO_DEVICE_GROUP_MAP)
        | (ShardedDim, sharding::SIMPLE_SHARDING) => Leaf,
        _ => return None,
    })
}

/// Checks the whole file.
pub(super) fn scan(buf: &[u8]) -> Result<()> {
    if buf.is_empty() {
        return Err(OnnxError::NotOnnx("the file is empty"));
    }
    walk(buf).map_err(|e| match recognise(buf) {
        Some(what) => OnnxError::NotOnnx(what),
        None => e.into(),
    })
}

fn walk(buf: &[u8]) -> std::result::Result<(), WireError> {
    let mut open = vec![(Kind::Model, buf.len())];
    let mut at = 0;
    while let Some(&(kind, end)) = open.last() {
        if at >= end {
            open.pop();
            continue;
        }
        let f = field(buf, at, end)?;
        at = f.span.end;
        if let (Some(inner), Some(r)) = (child(kind, f.number), f.bytes()) {
            if open.len() >= MAX_DEPTH {
                let what = "messages are nested more than 100 deep";
                return Err(WireError { offset: f.span.start, what });
            }
            at = r.start;
            open.push((inner, r.end));
        }
    }
    Ok(())
}

/// A description of the file if it is of a kind that is often mistaken for a model.
fn recognise(buf: &[u8]) -> Option<&'static str> {
    let text = buf.strip_prefix(b"\xef\xbb\xbf").unwrap_or(buf).trim_ascii_start();
    let is = |p: &[u8]| text.get(..p.len()).is_some_and(|t| t.eq_ignore_ascii_case(p));
    if is(b"version https://git-lfs") {
        Some("it is a Git LFS pointer; fetch the file itself with `git lfs pull`")
    } else if is(b"<!doctype") || is(b"<html") {
        Some("it is an HTML page; the download probably failed")
    } else if is(b"<") {
        Some("it is an XML file")
    } else if is(b"{") || is(b"[") {
        Some("it is JSON; only the binary form is read")
    } else if is(b"PK\x03\x04") {
        Some("it is a zip archive (perhaps a PyTorch checkpoint)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(b: &[u8]) -> String {
        scan(b).unwrap_err().to_string()
    }

    #[test]
    fn recognises_what_is_no_model() {
        assert!(message(b"").contains("empty"));
        assert!(message(b"version https://git-lfs.github.com/spec/v1\n").contains("LFS"));
        assert!(message(b"\n <!DOCTYPE html><html>").contains("HTML"));
        assert!(message(b"{\"irVersion\": 8}").contains("JSON"));
        assert!(message(b"PK\x03\x04....").contains("zip"));
    }

    #[test]
    fn refuses_deep_nesting_wherever_it_is() {
        let wrap = |tag: u8, inner: &[u8]| {
            let mut outer = vec![tag];
            let mut n = inner.len();
            while n >= 0x80 {
                outer.push((n & 0x7f) as u8 | 0x80);
                n >>= 7;
            }
            outer.push(n as u8);
            outer.extend_from_slice(inner);
            outer
        };
        // A graph in an attribute of a node of a graph, again and again.
        let mut b = Vec::new();
        for i in 0..300 {
            b = wrap([0x32, 0x2a, 0x0a][i % 3], &b);
        }
        b = wrap(0x3a, &b);
        assert!(message(&b).contains("100 deep"), "{}", message(&b));
    }

    #[test]
    fn gives_the_byte() {
        // A model whose graph holds a node with field number 0.
        assert_eq!(
            message(&[0x3a, 4, 0x0a, 2, 0x00, 0x00]),
            "broken file, at byte 4: field number 0 does not exist"
        );
    }

    proptest! {
        #[test]
        fn never_panics(b in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = scan(&b);
        }
    }
}
