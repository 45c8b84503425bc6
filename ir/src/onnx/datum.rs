//! Reads SequenceProtos and OptionalProtos, of tensors.

use std::ops::Range;

use super::error::{OnnxError, Result};
use super::file::File;
use super::proto::{optional, sequence};
use super::tensor;
use super::wire::fields_in;
use crate::{Datum, Tensor, Type};

/// The kind of a sequence of tensors.
const OF_TENSORS: i64 = 1;

/// The value that the file holds, of this type.
pub(super) fn read(file: &File, ty: &Type) -> Result<Datum> {
    let whole = 0..file.buf.len();
    match ty {
        Type::Optional(t) => optional_in(file, &whole, t),
        Type::Sequence(_) => Ok(Datum::Sequence(sequence_in(file, &whole)?)),
        _ => Ok(Datum::Tensor(tensor_in(file, &whole)?)),
    }
}

fn tensor_in(file: &File, range: &Range<usize>) -> Result<Tensor> {
    tensor::read(file, std::slice::from_ref(range), "the tensor")
}

fn sequence_in(file: &File, range: &Range<usize>) -> Result<Vec<Tensor>> {
    let mut all = Vec::new();
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes()) {
            (sequence::TENSORS, Some(r)) => all.push(tensor_in(file, &r)?),
            (sequence::NAME, _) => {}
            (sequence::KIND, _) if matches!(f.int(), Some(0 | OF_TENSORS)) => {}
            _ => return Err(OnnxError::Model("expected a sequence of tensors".into())),
        }
    }
    Ok(all)
}

fn optional_in(file: &File, range: &Range<usize>, of: &Type) -> Result<Datum> {
    let mut found = Datum::Absent;
    for f in fields_in(&file.buf, range) {
        let f = f?;
        match (f.number, f.bytes(), of) {
            (optional::TENSOR, Some(r), Type::Tensor(_) | Type::Unknown) => {
                found = Datum::Tensor(tensor_in(file, &r)?);
            }
            (optional::SEQUENCE, Some(r), Type::Sequence(_) | Type::Unknown) => {
                found = Datum::Sequence(sequence_in(file, &r)?);
            }
            (optional::NAME | optional::KIND, ..) => {}
            _ => return Err(OnnxError::Model(format!("expected an optional {of}"))),
        }
    }
    Ok(found)
}
