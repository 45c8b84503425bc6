//! Bytes to be written, as a list of parts. Parts of the input are shared rather than copied.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::proto::entry;
use crate::tensor::{Bytes, external};

/// One part of a rope.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Owned(Vec<u8>),
    Shared(Bytes),
    File { path: Arc<PathBuf>, offset: u64, len: u64 },
}

/// A list of parts, and its total length in bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Rope {
    parts: Vec<Part>,
    len: u64,
}

/// Size in bytes below which a part is copied rather than shared.
const SMALL: usize = 128;

impl Rope {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Appends a copy of these bytes.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        match self.parts.last_mut() {
            Some(Part::Owned(v)) => v.extend_from_slice(bytes),
            _ => self.parts.push(Part::Owned(bytes.to_vec())),
        }
    }

    /// Appends these bytes without copying them.
    pub fn share(&mut self, bytes: &Bytes) {
        if bytes.len() < SMALL {
            self.copy(bytes);
        } else {
            self.len += bytes.len() as u64;
            self.parts.push(Part::Shared(bytes.clone()));
        }
    }

    /// Appends a part of a file, which is read when the rope is written.
    pub fn file(&mut self, path: Arc<PathBuf>, offset: u64, len: u64) {
        self.len += len;
        self.parts.push(Part::File { path, offset, len });
    }

    pub fn append(&mut self, other: Rope) {
        for p in other.parts {
            match p {
                Part::Owned(v) => self.copy(&v),
                p => {
                    self.len += match &p {
                        Part::Owned(v) => v.len() as u64,
                        Part::Shared(s) => s.len() as u64,
                        Part::File { len, .. } => *len,
                    };
                    self.parts.push(p);
                }
            }
        }
    }

    pub fn varint(&mut self, mut v: u64) {
        let mut buf = [0u8; 10];
        let mut n = 0;
        for b in &mut buf {
            n += 1;
            *b = (v & 0x7f) as u8;
            v >>= 7;
            if v == 0 {
                break;
            }
            *b |= 0x80;
        }
        self.copy(&buf[..n]);
    }

    fn tag(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    /// Appends a field with an integer.
    pub fn int(&mut self, number: u32, v: i64) {
        self.tag(number, 0);
        self.varint(v as u64);
    }

    /// Appends a field with an `f32`.
    pub fn float(&mut self, number: u32, v: f32) {
        self.tag(number, 5);
        self.copy(&v.to_le_bytes());
    }

    /// Appends the start of a field of `len` bytes, which must follow.
    pub fn head(&mut self, number: u32, len: u64) {
        self.tag(number, 2);
        self.varint(len);
    }

    /// Appends a field with a copy of these bytes.
    pub fn text(&mut self, number: u32, bytes: &[u8]) {
        self.head(number, bytes.len() as u64);
        self.copy(bytes);
    }

    /// Appends a field with these bytes, without copying them.
    pub fn bytes(&mut self, number: u32, bytes: &Bytes) {
        self.head(number, bytes.len() as u64);
        self.share(bytes);
    }

    /// Appends a field with a message.
    pub fn message(&mut self, number: u32, message: Rope) {
        self.head(number, message.len);
        self.append(message);
    }

    /// Appends a field with a StringStringEntryProto.
    pub fn entry(&mut self, number: u32, key: &str, value: &str) {
        let mut e = Rope::default();
        e.text(entry::KEY, key.as_bytes());
        e.text(entry::VALUE, value.as_bytes());
        self.message(number, e);
    }

    /// Writes all parts to `out`, in order.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for p in &self.parts {
            match p {
                Part::Owned(v) => out.write_all(v)?,
                Part::Shared(s) => out.write_all(s)?,
                Part::File { path, offset, len } => {
                    let mut f = std::fs::File::open(path.as_path())?;
                    f.seek(SeekFrom::Start(*offset))?;
                    let copied = io::copy(&mut f.take(*len), out)?;
                    external::count(copied);
                    if copied != *len {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Payload, fields_in};
    use super::*;

    #[test]
    fn what_it_writes_is_read_back() {
        let long = Bytes::from(vec![7u8; 300]);
        let mut inner = Rope::default();
        inner.bytes(9, &long);
        let mut r = Rope::default();
        r.int(1, -2);
        r.float(2, 0.5);
        r.message(3, inner);
        let mut out = Vec::new();
        r.write(&mut out).unwrap();
        assert_eq!(out.len() as u64, r.len());
        let got: Vec<_> = fields_in(&out, &(0..out.len())).map(Result::unwrap).collect();
        assert_eq!(got[0].int(), Some(-2));
        assert_eq!(got[1].payload, Payload::Fixed32(0.5f32.to_bits()));
        let inner = got[2].bytes().unwrap();
        let inner: Vec<_> = fields_in(&out, &inner).map(Result::unwrap).collect();
        assert_eq!(&out[inner[0].bytes().unwrap()], &*long);
    }
}
