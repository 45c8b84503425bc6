//! ValueInfoProto and TypeProto, through protobuf's own reader and writer.

use onnx_protobuf::type_proto::Value;
use onnx_protobuf::{Message, TensorShapeProto, TypeProto, ValueInfoProto};
use onnx_protobuf::{tensor_shape_proto, type_proto};
use protobuf::MessageField;

use super::error::{OnnxError, Result};
use crate::{DType, Dim, TensorType, Type};

/// The name and type in a ValueInfoProto.
pub(super) struct Info {
    pub name: String,
    pub ty: Type,
    /// What is wrong with the type, if anything. Some places require a valid one.
    pub fault: Option<String>,
}

/// Reads a ValueInfoProto at this byte of the file.
pub(super) fn read(bytes: &[u8], offset: usize) -> Result<Info> {
    let v = ValueInfoProto::parse_from_bytes(bytes)
        .map_err(|_| OnnxError::Wire { offset, what: "the declaration of a value is broken" })?;
    let (ty, fault) = match v.type_.as_ref() {
        None => (Type::Unknown, Some("has no type".into())),
        Some(t) => of(t),
    };
    Ok(Info { name: v.name, ty, fault })
}

fn of(t: &TypeProto) -> (Type, Option<String>) {
    let t = match &t.value {
        // Kinds that this version of the schema does not know are unknown fields.
        None if t.special_fields.unknown_fields().iter().next().is_some() => {
            return (Type::Other, None);
        }
        None => return (Type::Unknown, Some("has no type".into())),
        Some(Value::TensorType(t)) => t,
        Some(Value::SequenceType(s)) => return (Type::Sequence(element(&s.elem_type)), None),
        Some(Value::OptionalType(o)) => return (Type::Optional(element(&o.elem_type)), None),
        Some(_) => return (Type::Other, None),
    };
    let Some(dtype) = DType::from_onnx(t.elem_type.into()) else {
        return (Type::Unknown, Some(format!("has element type {}", t.elem_type)));
    };
    let shape = t.shape.as_ref().map(|s| s.dim.iter().map(dim).collect());
    (Type::Tensor(TensorType { dtype, shape }), None)
}

/// What a sequence or optional is made of, if it is a type that can be read. The reader of protobuf limits
/// how deep they nest.
fn element(t: &MessageField<TypeProto>) -> Box<Type> {
    Box::new(t.as_ref().map_or(Type::Unknown, |t| of(t).0))
}

fn dim(d: &tensor_shape_proto::Dimension) -> Dim {
    use tensor_shape_proto::dimension::Value;
    match &d.value {
        // Exporters write -1 for a batch of any size.
        Some(Value::DimValue(n)) => u64::try_from(*n).map_or(Dim::Unknown, Dim::Known),
        Some(Value::DimParam(p)) if !p.is_empty() => Dim::Param(p.as_str().into()),
        _ => Dim::Unknown,
    }
}

/// The bytes of a ValueInfoProto with this name and type.
pub(super) fn write(name: &str, ty: &Type) -> Result<Vec<u8>> {
    finish(ValueInfoProto { name: name.into(), ..Default::default() }, ty)
}

/// The ValueInfoProto `bytes` with another type. Other fields stay.
pub(super) fn rewrite(bytes: &[u8], ty: &Type) -> Result<Vec<u8>> {
    let v = ValueInfoProto::parse_from_bytes(bytes)
        .map_err(|e| OnnxError::Model(format!("cannot rewrite the type of a value: {e}")))?;
    finish(v, ty)
}

fn finish(mut v: ValueInfoProto, ty: &Type) -> Result<Vec<u8>> {
    if let Some(value) = value(ty) {
        v.type_.mut_or_insert_default().value = Some(value);
    }
    v.write_to_bytes().map_err(|e| OnnxError::Model(format!("cannot write a value's type: {e}")))
}

fn value(ty: &Type) -> Option<Value> {
    let inner = |t: &Type| {
        let value = Some(value(t)?);
        Some(MessageField::some(TypeProto { value, ..Default::default() }))
    };
    Some(match ty {
        Type::Tensor(t) => {
            let shape = t.shape.as_ref().map(|dims| TensorShapeProto {
                dim: dims.iter().map(dim_proto).collect(),
                ..Default::default()
            });
            let elem_type = t.dtype.to_onnx();
            let t = type_proto::Tensor { elem_type, shape: shape.into(), ..Default::default() };
            Value::TensorType(t)
        }
        Type::Sequence(t) => {
            Value::SequenceType(type_proto::Sequence { elem_type: inner(t)?, ..Default::default() })
        }
        Type::Optional(t) => {
            Value::OptionalType(type_proto::Optional { elem_type: inner(t)?, ..Default::default() })
        }
        Type::Unknown | Type::Other => return None,
    })
}

fn dim_proto(d: &Dim) -> tensor_shape_proto::Dimension {
    use tensor_shape_proto::dimension::Value;
    let value = match d {
        // Extents beyond i64 cannot be written; no runtime could have them.
        Dim::Known(n) => i64::try_from(*n).ok().map(Value::DimValue),
        Dim::Param(p) => Some(Value::DimParam(p.to_string())),
        Dim::Unknown => None,
    };
    tensor_shape_proto::Dimension { value, ..Default::default() }
}
