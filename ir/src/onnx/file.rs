//! The file being read: its bytes and its folder.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::slice::from_ref;
use std::sync::Arc;

use super::error::{OnnxError, Result};
use super::proto::{annotation, entry};
use super::wire::{fields, fields_in};
use crate::tensor::Bytes;

/// The file that is being read: its bytes and its folder.
pub(super) struct File {
    pub buf: Arc<Vec<u8>>,
    /// The folder of the model as a canonical path; `None` if external data is refused.
    pub dir: Option<PathBuf>,
    /// Files with external data that were checked already, by location, with their sizes in bytes.
    pub data: RefCell<BTreeMap<String, (Arc<PathBuf>, u64)>>,
}

impl File {
    /// A part of the file, sharing its memory.
    pub fn bytes(&self, r: Range<usize>) -> Bytes {
        Bytes::slice_of(&self.buf, r).unwrap_or_default()
    }

    /// Zero bytes, without an allocation.
    pub fn nothing(&self) -> Bytes {
        self.bytes(0..0)
    }

    /// A string, which must be UTF-8 in protobuf.
    pub fn str(&self, r: Range<usize>) -> Result<&str> {
        utf8(&self.buf, r)
    }

    /// The concatenation of parts of the file. Messages in several parts are rare.
    pub fn join(&self, ranges: &[Range<usize>]) -> Bytes {
        match ranges {
            [] => self.nothing(),
            [r] => self.bytes(r.clone()),
            many => {
                many.iter().flat_map(|r| &self.buf[r.clone()]).copied().collect::<Vec<_>>().into()
            }
        }
    }
}

/// Names of tensors in the TensorAnnotation at `r`: the quantized tensor and its parameters.
pub(super) fn annotated(buf: &[u8], r: &Range<usize>) -> Result<Vec<String>> {
    let mut names = vec![string_in(buf, from_ref(r), annotation::TENSOR_NAME)?.to_owned()];
    for f in fields_in(buf, r) {
        let f = f?;
        if let (annotation::QUANT_PARAMETER_TENSOR_NAMES, Some(r)) = (f.number, f.bytes()) {
            names.push(string_in(buf, &[r], entry::VALUE)?.to_owned());
        }
    }
    Ok(names)
}

/// The string in field `number` of the message in these ranges; empty if it is absent.
pub(super) fn string_in<'a>(
    buf: &'a [u8],
    ranges: &[Range<usize>],
    number: u32,
) -> Result<&'a str> {
    let mut at = 0..0;
    for f in fields(buf, ranges) {
        let f = f?;
        if f.number == number {
            at = f.bytes().unwrap_or(at);
        }
    }
    utf8(buf, at)
}

/// The string at `r`, which must be UTF-8.
fn utf8(buf: &[u8], r: Range<usize>) -> Result<&str> {
    let offset = r.start;
    std::str::from_utf8(&buf[r])
        .map_err(|_| OnnxError::Wire { offset, what: "expected a string in UTF-8" })
}
