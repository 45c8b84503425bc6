//! Reads the wire format of protocol buffers: the fields of a message one after the other, without
//! recursion or copies.

use std::ops::Range;

/// A violation of the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireError {
    pub offset: usize,
    pub what: &'static str,
}

/// Value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Payload {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Range in the buffer.
    Bytes(Range<usize>),
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub number: u32,
    pub payload: Payload,
    /// The bytes of the field, including its tag.
    pub span: Range<usize>,
}

impl Field {
    /// The bytes of a string, byte string, message or packed list.
    pub fn bytes(&self) -> Option<Range<usize>> {
        match &self.payload {
            Payload::Bytes(r) => Some(r.clone()),
            _ => None,
        }
    }

    /// An integer. Negative ones are ten bytes long on the wire.
    pub fn int(&self) -> Option<i64> {
        match self.payload {
            Payload::Varint(v) => Some(v as i64),
            _ => None,
        }
    }
}

/// Iterator over the fields of a message. A message may be in several ranges: if a field with one message
/// is repeated, the parts are merged.
pub(super) struct Fields<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
    rest: std::slice::Iter<'a, Range<usize>>,
    failed: bool,
}

/// The fields of the message in these ranges of the buffer.
pub(super) fn fields<'a>(buf: &'a [u8], ranges: &'a [Range<usize>]) -> Fields<'a> {
    Fields { buf, at: 0, end: 0, rest: ranges.iter(), failed: false }
}

/// The fields of the message in this range of the buffer.
pub(super) fn fields_in<'a>(buf: &'a [u8], range: &'a Range<usize>) -> Fields<'a> {
    fields(buf, std::slice::from_ref(range))
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at >= self.end {
            let r = self.rest.next()?;
            (self.at, self.end) = (r.start, r.end);
        }
        if self.failed {
            return None;
        }
        let field = field(self.buf, self.at, self.end);
        match &field {
            Ok(f) => self.at = f.span.end,
            Err(_) => self.failed = true,
        }
        Some(field)
    }
}

/// Reads the varint at `at`; returns it and the offset of its end.
pub(super) fn varint(buf: &[u8], at: usize, end: usize) -> Result<(u64, usize), WireError> {
    let end = end.min(buf.len());
    let mut value = 0u64;
    for (i, shift) in (0..10).zip((0..).step_by(7)) {
        let Some(&b) = at.checked_add(i).filter(|&p| p < end).and_then(|p| buf.get(p)) else {
            return Err(WireError { offset: at, what: "the file or message ends inside a number" });
        };
        value |= u64::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            return Ok((value, at + i + 1));
        }
    }
    Err(WireError { offset: at, what: "a number is longer than ten bytes" })
}

/// Reads the field at `at` of a message that ends at `end`.
pub(super) fn field(buf: &[u8], at: usize, end: usize) -> Result<Field, WireError> {
    let fail = |what| WireError { offset: at, what };
    let end = end.min(buf.len());
    let (tag, next) = varint(buf, at, end)?;
    let number = u32::try_from(tag >> 3).ok().filter(|&n| n < 1 << 29);
    let number = match number {
        None => return Err(fail("a field number is too large")),
        Some(0) => return Err(fail("field number 0 does not exist")),
        Some(n) => n,
    };
    let fixed = |n: usize| match next.checked_add(n) {
        Some(e) if e <= end => Ok(e),
        _ => Err(fail("the file or message ends inside a field")),
    };
    let (payload, stop) = match tag & 7 {
        0 => {
            let (v, e) = varint(buf, next, end)?;
            (Payload::Varint(v), e)
        }
        1 => {
            let e = fixed(8)?;
            (Payload::Fixed64(le_bytes(&buf[next..e])), e)
        }
        2 => {
            let (len, start) = varint(buf, next, end)?;
            let stop = usize::try_from(len).ok().and_then(|n| start.checked_add(n));
            match stop {
                Some(stop) if stop <= end => (Payload::Bytes(start..stop), stop),
                _ => return Err(fail("a length reaches past the end of the file or message")),
            }
        }
        5 => {
            let e = fixed(4)?;
            (Payload::Fixed32(le_bytes(&buf[next..e]) as u32), e)
        }
        3 | 4 => return Err(fail("expected a field that ONNX defines, found a group")),
        _ => return Err(fail("expected a wire type of 0, 1, 2 or 5, found another")),
    };
    Ok(Field { number, payload, span: at..stop })
}

fn le_bytes(b: &[u8]) -> u64 {
    b.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_each_wire_type() {
        let b = [0x08, 0x96, 0x01, 0x12, 2, 7, 8, 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0];
        let f: Vec<_> = fields_in(&b, &(0..b.len())).map(Result::unwrap).collect();
        assert_eq!(f[0].payload, Payload::Varint(150));
        assert_eq!(f[1].payload, Payload::Bytes(5..7));
        assert_eq!(f[2].payload, Payload::Fixed32(1));
        assert_eq!(f[3].payload, Payload::Fixed64(2));
        assert_eq!(f[3].span, 12..21);
    }

    #[test]
    fn several_ranges_make_one_message() {
        let b = [0x08, 1, 0xff, 0x08, 2];
        let got: Vec<_> = fields(&b, &[0..2, 3..5]).map(|f| f.unwrap().int()).collect();
        assert_eq!(got, [Some(1), Some(2)]);
    }

    #[test]
    fn says_where_it_is_broken() {
        let at = |b: &[u8]| field(b, 0, b.len()).unwrap_err().what;
        assert!(at(&[0x0b]).contains("group"));
        assert!(at(&[0x0c]).contains("group"));
        assert!(at(&[0x0e]).contains("wire type"));
        assert!(at(&[0x02, 0]).contains("number 0"));
        assert!(at(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 1]).contains("past the end"));
        assert!(at(&[0x0d, 1]).contains("ends inside"));
        assert!(at(&[0xff; 12]).contains("longer than ten"));
        assert_eq!(field(&[8, 1, 8], 2, 3).unwrap_err().offset, 3);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_always_end(
            b in proptest::collection::vec(any::<u8>(), 0..300),
            s in 0usize..400,
            e in 0usize..400,
        ) {
            let ranges = [s..e, 0..b.len()];
            prop_assert!(fields(&b, &ranges).count() <= 2 * b.len() + 1);
        }
    }
}
