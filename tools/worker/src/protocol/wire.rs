//! Tensors and acknowledgements as messages, and how much of them is believed.

use std::collections::BTreeMap;

use graph_opt_backends::codec::{decode, encode};
use graph_opt_ir::tensor::{Bytes, Data};
use graph_opt_ir::{DType, Tensor, Type};
use graph_opt_passes::devices::cluster::Codec;

use super::{Ack, Ask};

/// Most bytes of a message: dora's daemons refuse 64 MiB, and Arrow's framing takes some of that.
pub const LIMIT: usize = 60_000_000;

/// What every message says about the tensor that it is a piece of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sequence number of the frame.
    pub sequence: u64,
    /// The source's attempt at the frame. It grows with each, across restarts of the source, too.
    pub attempt: u64,
    /// How often the sender was started before: pieces of one start are of one tensor.
    pub life: u64,
    /// Bytes of all pieces.
    pub size: u64,
    /// Which piece this is.
    pub piece: u64,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<u64>,
    /// The form, unless it is the tensor as it is.
    pub codec: Option<Codec>,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Piece {
    /// What it is a piece of.
    pub header: Header,
    /// Its bytes, little-endian as ONNX packs them.
    pub bytes: Bytes,
}

/// The messages that a tensor takes, of at most `limit` bytes each: in a codec's form, if it has one.
///
/// # Errors
/// If it is of strings, or its bytes cannot be had.
pub fn cut(
    (sequence, attempt, life): (u64, u64, u64),
    tensor: &Tensor,
    codec: Option<Codec>,
    limit: usize,
) -> Result<Vec<Piece>, String> {
    let (codec, all) = match codec.and_then(|c| Some((c, encode(c, tensor)?))) {
        Some((c, bytes)) => (Some(c), bytes),
        None => (None, tensor.bytes().map_err(|e| e.to_string())?),
    };
    let (limit, size) = (limit.max(1), all.len());
    let piece = |i: usize| {
        let header = Header {
            sequence,
            attempt,
            life,
            size: size as u64,
            piece: i as u64,
            dtype: tensor.dtype(),
            shape: tensor.dims().to_vec(),
            codec,
        };
        let range = i * limit..size.min((i + 1) * limit);
        let bytes = all.slice(range).ok_or("a piece lies outside of its tensor")?;
        Ok(Piece { header, bytes })
    };
    (0..size.div_ceil(limit).max(1)).map(piece).collect()
}

/// Reads numbers and names, little-endian.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn option(&mut self) -> Option<Option<u64>> {
        match (self.byte()?, self.number()?) {
            (0, 0) => Some(None),
            (1, n) => Some(Some(n)),
            _ => None,
        }
    }

    /// Its length first.
    fn name(&mut self) -> Option<&'a str> {
        let n = self.byte()?;
        std::str::from_utf8(self.take(n.into())?).ok()
    }

    fn end<T>(self, what: T) -> Option<T> {
        self.0.is_empty().then_some(what)
    }
}

fn put(to: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|n| to.extend_from_slice(&n.to_le_bytes()));
}

fn put_option(to: &mut Vec<u8>, n: Option<u64>) {
    to.push(n.is_some().into());
    put(to, &[n.unwrap_or(0)]);
}

fn put_name(to: &mut Vec<u8>, name: &str) {
    to.push(name.len() as u8);
    to.extend_from_slice(name.as_bytes());
}

impl Piece {
    /// What stands before its bytes. None of a tensor with more than 255 axes.
    pub fn head(&self) -> Option<Vec<u8>> {
        let h = &self.header;
        let mut to = Vec::with_capacity(64 + 8 * h.shape.len());
        put(&mut to, &[h.sequence, h.attempt, h.life, h.size, h.piece]);
        put_name(&mut to, h.dtype.name());
        put_name(&mut to, h.codec.map_or("", Codec::name));
        to.push(h.shape.len().try_into().ok()?);
        put(&mut to, &h.shape);
        Some(to)
    }

    /// A message whose MAC is a member's.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        let header = Header {
            sequence: r.number()?,
            attempt: r.number()?,
            life: r.number()?,
            size: r.number()?,
            piece: r.number()?,
            dtype: DType::from_name(r.name()?)?,
            codec: match r.name()? {
                "" => None,
                name => Some(Codec::from_name(name)?),
            },
            shape: (0..r.byte()?).map(|_| r.number()).collect::<Option<_>>()?,
        };
        Some(Self { header, bytes: Bytes::from(r.0.to_vec()) })
    }
}

impl Ask {
    /// As a message.
    pub fn head(self) -> Vec<u8> {
        let mut to = Vec::new();
        put(&mut to, &[self.attempt]);
        put_option(&mut to, self.total);
        to
    }

    /// A message whose MAC is a member's.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        let ask = Self { attempt: r.number()?, total: r.option()? };
        r.end(ask)
    }
}

impl Ack {
    /// As a message.
    pub fn head(self) -> Vec<u8> {
        let mut to = Vec::new();
        put(&mut to, &[self.next, self.attempt]);
        put_option(&mut to, self.got);
        to
    }

    /// A message whose MAC is a member's.
    pub fn read(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        let ack = Self { next: r.number()?, attempt: r.number()?, got: r.option()? };
        r.end(ack)
    }
}

/// What is known of a value before any of it has come: messages are believed no more than this.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Type and extents, where the plan has them.
    tensor: Option<(DType, Vec<u64>)>,
    /// Most bytes.
    size: u64,
    /// Bytes of each piece but the last.
    limit: u64,
}

impl Expected {
    /// A value of this type in messages of at most `limit` bytes. Of one whose extents nobody knows,
    /// one message is taken, no more.
    pub fn of(ty: Option<&Type>, limit: usize) -> Self {
        let known = ty.and_then(|t| Some((t.dtype()?, t.extents()?, t.bytes()?)));
        let limit = limit.max(1) as u64;
        match known {
            Some((dtype, dims, size)) => Self { tensor: Some((dtype, dims)), size, limit },
            None => Self { tensor: None, size: limit, limit },
        }
    }

    /// Most bytes that a value holds here.
    #[cfg(test)]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether a piece is one of such a value.
    pub fn admits(&self, p: &Piece) -> bool {
        let Header { size, piece, dtype, shape, codec, .. } = &p.header;
        let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        let Some(raw) = elements.and_then(|n| dtype.bytes_of(n)) else { return false };
        let typed = self.tensor.as_ref().is_none_or(|t| (&t.0, &t.1) == (dtype, shape));
        // What a codec does not make smaller goes as it is.
        let sized = if codec.is_some() { *size < raw } else { *size == raw };
        let pieces = size.div_ceil(self.limit).max(1);
        let begin = piece.checked_mul(self.limit);
        let length = begin.and_then(|b| size.checked_sub(b)).map(|left| left.min(self.limit));
        typed
            && sized
            && raw <= self.size
            && *piece < pieces
            && length == Some(p.bytes.len() as u64)
    }
}

/// A tensor of which some pieces have come.
#[derive(Debug)]
pub struct Assembly {
    header: Header,
    /// Only what has come takes memory.
    pieces: BTreeMap<u64, Bytes>,
    missing: u64,
}

impl Assembly {
    fn new(header: &Header) -> Self {
        Self { header: header.clone(), pieces: BTreeMap::new(), missing: header.size }
    }

    fn fits(&self, h: &Header) -> bool {
        let mine = &self.header;
        (mine.life, mine.size, mine.dtype) == (h.life, h.size, h.dtype)
            && (&mine.shape, mine.codec) == (&h.shape, h.codec)
    }

    fn join(self) -> Option<Tensor> {
        let Header { dtype, shape, codec, .. } = self.header;
        let mut pieces: Vec<Bytes> = self.pieces.into_values().collect();
        let bytes = match pieces.len() {
            1 => pieces.pop()?,
            _ => {
                let mut all = Vec::with_capacity(pieces.iter().map(|p| p.len()).sum());
                pieces.iter().for_each(|p| all.extend_from_slice(p));
                Bytes::from(all)
            }
        };
        match codec {
            Some(codec) => decode(codec, dtype, &shape, &bytes).ok(),
            None => Tensor::new(dtype, shape, Data::Bytes(bytes)).ok(),
        }
    }
}

/// What there is of a tensor.
#[derive(Debug, Default)]
pub enum Slot {
    /// Nothing.
    #[default]
    Empty,
    /// Some pieces.
    Part(Assembly),
    /// All of it.
    Whole(Tensor),
}

/// A message was of no use: what its pieces made was not what its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Slot {
    /// Takes a piece that is [admitted](Expected::admits); whether the tensor has become whole by it.
    ///
    /// # Errors
    /// If what has come is not the tensor that was sent; it has been dropped, to come again.
    pub fn take(&mut self, piece: Piece) -> Result<bool, Broken> {
        let header = &piece.header;
        let mut part = match std::mem::take(self) {
            whole @ Self::Whole(_) => {
                *self = whole;
                return Ok(false);
            }
            Self::Part(part) if part.fits(header) => part,
            // Recorded from a sender that was restarted since.
            Self::Part(part) if part.header.life > header.life => {
                *self = Self::Part(part);
                return Ok(false);
            }
            _ => Assembly::new(header),
        };
        let length = piece.bytes.len() as u64;
        if part.pieces.insert(header.piece, piece.bytes).is_none() {
            part.missing = part.missing.saturating_sub(length);
        }
        if part.missing > 0 {
            *self = Self::Part(part);
            return Ok(false);
        }
        *self = Self::Whole(part.join().ok_or(Broken)?);
        Ok(true)
    }

    /// Bytes that it holds.
    pub fn held(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Part(p) => p.pieces.values().map(|b| b.len() as u64).sum(),
            Self::Whole(t) => graph_opt_backends::stages::bytes(t),
        }
    }

    /// The tensor, if it is whole.
    pub fn tensor(self) -> Option<Tensor> {
        match self {
            Self::Whole(t) => Some(t),
            _ => None,
        }
    }
}
