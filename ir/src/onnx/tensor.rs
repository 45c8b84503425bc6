//! Reads TensorProtos. Elements that are stored as raw bytes stay in the file's buffer.

use std::ops::Range;
use std::sync::Arc;

use super::error::{OnnxError, Result};
use super::external;
use super::file::{File, string_in};
use super::proto::{data_location, sparse as sparse_field, tensor as proto};
use super::wire::{Field, Payload, WireError, fields, fields_in, varint};
use crate::tensor::{Bytes, Data, Tensor};
use crate::{DType, Sparse, Type};

/// Fields of a TensorProto; most as byte ranges of the file.
#[derive(Default)]
struct Raw {
    name: Option<Range<usize>>,
    dtype: i64,
    dims: Vec<i64>,
    raw: Option<Range<usize>>,
    /// The lists of numbers: `float_data`, `int32_data` and others.
    typed: Vec<Field>,
    strings: Vec<Range<usize>>,
    external: Vec<Range<usize>>,
    is_external: bool,
    segment: bool,
}

/// Name of the TensorProto in these ranges.
pub(super) fn name_in<'a>(buf: &'a [u8], ranges: &[Range<usize>]) -> Result<&'a str> {
    string_in(buf, ranges, proto::NAME)
}

/// Reads the TensorProto in these ranges; `what` describes it in messages if it has no name.
pub(super) fn read(file: &File, ranges: &[Range<usize>], what: &str) -> Result<Tensor> {
    let offset = ranges.first().map_or(0, |r| r.start);
    let raw = raw(file, ranges)?;
    let fail = |why: String| {
        let own = raw.name.clone().and_then(|r| file.str(r).ok()).unwrap_or("");
        let tensor = if own.is_empty() { what } else { own };
        OnnxError::Tensor { tensor: tensor.into(), offset, what: why }
    };
    build(file, &raw).map_err(fail)
}

fn raw(file: &File, ranges: &[Range<usize>]) -> Result<Raw> {
    let mut t = Raw::default();
    for f in fields(&file.buf, ranges) {
        let f = f?;
        match (f.number, &f.payload) {
            (proto::DIMS, _) => numbers(&file.buf, &f, |v| t.dims.push(v as i64))?,
            (proto::DATA_TYPE, Payload::Varint(v)) => t.dtype = *v as i64,
            (proto::SEGMENT, Payload::Bytes(_)) => t.segment = true,
            (
                proto::FLOAT_DATA
                | proto::INT32_DATA
                | proto::INT64_DATA
                | proto::DOUBLE_DATA
                | proto::UINT64_DATA,
                _,
            ) => t.typed.push(f),
            (proto::STRING_DATA, Payload::Bytes(r)) => t.strings.push(r.clone()),
            (proto::NAME, Payload::Bytes(r)) => t.name = Some(r.clone()),
            (proto::RAW_DATA, Payload::Bytes(r)) => t.raw = Some(r.clone()),
            (proto::EXTERNAL_DATA, Payload::Bytes(r)) => t.external.push(r.clone()),
            (proto::DATA_LOCATION, Payload::Varint(v)) => {
                t.is_external = *v as i64 == data_location::EXTERNAL;
            }
            _ => {}
        }
    }
    Ok(t)
}

fn build(file: &File, t: &Raw) -> std::result::Result<Tensor, String> {
    if t.segment {
        return Err("expected a whole tensor, found a segment, which is not supported".into());
    }
    let Some(dtype) = DType::from_onnx(t.dtype) else {
        return Err(format!("expected an element type of ONNX, found {}", t.dtype));
    };
    let extent = |&d: &i64| {
        u64::try_from(d).map_err(|_| format!("expected extents of at least 0, found {d}"))
    };
    let dims = t.dims.iter().map(extent).collect::<std::result::Result<Vec<_>, _>>()?;
    let lists = !t.typed.is_empty() || !t.strings.is_empty();
    if [t.raw.is_some(), lists, t.is_external].iter().filter(|b| **b).count() > 1 {
        return Err("its elements are given more than once: raw, as a list or external".into());
    }
    let data = if t.is_external {
        if dtype == DType::String {
            return Err("strings cannot be external data".into());
        }
        let need = Type::tensor(dtype, &dims).bytes();
        let need = need.ok_or_else(|| format!("shape {dims:?} is too large"))?;
        external::locate(file, &t.external, need)?
    } else if dtype == DType::String {
        if t.raw.is_some() {
            return Err("strings cannot be raw data".into());
        }
        let strings = t.strings.iter().map(|r| file.buf[r.clone()].to_vec()).collect();
        Data::Strings(Arc::new(strings))
    } else if let Some(r) = &t.raw {
        Data::Bytes(file.bytes(r.clone()))
    } else {
        Data::Bytes(typed(file, t, dtype)?)
    };
    Tensor::new(dtype, dims, data).map_err(|e| e.to_string())
}

/// The field with the list of elements of this type.
fn list_of(dtype: DType) -> u32 {
    match dtype {
        DType::F32 | DType::C64 => proto::FLOAT_DATA,
        DType::I64 => proto::INT64_DATA,
        DType::F64 | DType::C128 => proto::DOUBLE_DATA,
        DType::U32 | DType::U64 => proto::UINT64_DATA,
        _ => proto::INT32_DATA,
    }
}

fn typed(file: &File, t: &Raw, dtype: DType) -> std::result::Result<Bytes, String> {
    let list = list_of(dtype);
    let mut fields = t.typed.iter().filter(|f| f.number == list).peekable();
    let wide = |v: u64, n: usize, out: &mut Vec<u8>| out.extend_from_slice(&v.to_le_bytes()[..n]);
    // Packed floats are little-endian bytes already.
    if matches!(list, proto::FLOAT_DATA | proto::DOUBLE_DATA) {
        let first = fields.next();
        if fields.peek().is_none()
            && let Some(r) = first.and_then(Field::bytes)
        {
            return Ok(file.bytes(r));
        }
    }
    let mut out = Vec::new();
    let mut wrong = None;
    for f in t.typed.iter().filter(|f| f.number == list) {
        match (&f.payload, list) {
            (Payload::Bytes(r), proto::FLOAT_DATA | proto::DOUBLE_DATA) => {
                out.extend_from_slice(&file.buf[r.clone()])
            }
            (Payload::Fixed32(v), proto::FLOAT_DATA) => wide(u64::from(*v), 4, &mut out),
            (Payload::Fixed64(v), proto::DOUBLE_DATA) => wide(*v, 8, &mut out),
            (_, proto::FLOAT_DATA | proto::DOUBLE_DATA) => {}
            _ => {
                // Elements of less than a byte are packed as in raw data.
                let n = dtype.bits().div_ceil(8);
                let (lo, hi) = (-1i64 << (8 * n - 1).min(62), 1i64 << (8 * n).min(62));
                let push = |v: u64| {
                    if n < 8 && !(lo..hi).contains(&(v as i64)) {
                        wrong = Some(v as i64);
                    }
                    wide(v, n, &mut out);
                };
                numbers(&file.buf, f, push).map_err(|e| e.what)?;
            }
        }
    }
    match wrong {
        Some(v) => Err(format!("expected elements of type {dtype}, found {v}")),
        None => Ok(out.into()),
    }
}

/// The varints of a repeated field, packed or not.
pub(super) fn numbers(
    buf: &[u8],
    f: &Field,
    mut each: impl FnMut(u64),
) -> std::result::Result<(), WireError> {
    match &f.payload {
        Payload::Varint(v) => each(*v),
        Payload::Bytes(r) => {
            let mut at = r.start;
            while at < r.end {
                let (v, next) = varint(buf, at, r.end)?;
                each(v);
                at = next;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Reads a SparseTensorProto, with the name of its values.
pub(super) fn read_sparse(file: &File, range: &Range<usize>) -> Result<(Arc<str>, Sparse)> {
    let (mut values, mut indices, mut dims) = (Vec::new(), Vec::new(), Vec::new());
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes()) {
            (sparse_field::VALUES, Some(r)) => values.push(r),
            (sparse_field::INDICES, Some(r)) => indices.push(r),
            (sparse_field::DIMS, _) => numbers(&file.buf, &f, |v| dims.push(v as i64))?,
            _ => {}
        }
    }
    let name: Arc<str> = name_in(&file.buf, &values)?.into();
    let values = read(file, &values, "values of a sparse tensor")?;
    let indices = read(file, &indices, "indices of a sparse tensor")?;
    match sparse(&dims, values, &indices) {
        Ok(s) => Ok((name, s)),
        Err(what) => Err(OnnxError::Tensor { tensor: name.to_string(), offset: range.start, what }),
    }
}

fn sparse(dims: &[i64], values: Tensor, indices: &Tensor) -> std::result::Result<Sparse, String> {
    let shape: Vec<u64> = dims.iter().filter_map(|&d| u64::try_from(d).ok()).collect();
    let total = shape.iter().try_fold(1u64, |a, &d| a.checked_mul(d));
    let Some(total) = total.filter(|&n| shape.len() == dims.len() && n <= i64::MAX as u64) else {
        return Err(format!("sparse shape {dims:?} is negative or too large"));
    };
    let n = values.len();
    if values.dims().len() != 1 || indices.dtype() != DType::I64 {
        return Err("a sparse tensor needs a list of values and i64 indices".into());
    }
    let at = indices.to_i64s().ok_or("the indices of the sparse tensor cannot be read")?;
    let linear: Option<Vec<u64>> = match indices.dims() {
        [k] if *k == n as u64 => at.iter().map(|&i| u64::try_from(i).ok()).collect(),
        [k, r] if *k == n as u64 && *r == shape.len() as u64 && !shape.is_empty() => at
            .chunks_exact(shape.len())
            .map(|row| {
                row.iter().zip(&shape).try_fold(0u64, |a, (&i, &d)| {
                    let i = u64::try_from(i).ok().filter(|&i| i < d)?;
                    a.checked_mul(d)?.checked_add(i)
                })
            })
            .collect(),
        _ => return Err("a sparse tensor needs one index for each value".into()),
    };
    let Some(linear) = linear.filter(|l| l.iter().all(|&i| i < total)) else {
        return Err("an index of the sparse tensor is out of range".into());
    };
    if !linear.is_sorted_by(|a, b| a < b) {
        return Err("the indices of the sparse tensor are not ascending".into());
    }
    Sparse::new(shape, values, linear).map_err(|e| e.to_string())
}

/// Whether a SparseTensorProto has elements in another file.
pub(super) fn is_sparse_external(file: &File, range: &Range<usize>) -> bool {
    let parts = fields_in(&file.buf, range).flatten();
    parts
        .filter(|f| matches!(f.number, sparse_field::VALUES | sparse_field::INDICES))
        .filter_map(|f| f.bytes())
        .any(|r| read(file, &[r], "").is_ok_and(|t| matches!(t.data(), Data::External { .. })))
}
