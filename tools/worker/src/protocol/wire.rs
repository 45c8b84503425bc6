//! Tensors as messages: cut into pieces, with what is needed to join them again and to trust them.

use graph_opt_backends::codec::{decode, encode};
use graph_opt_ir::tensor::Bytes;
use graph_opt_ir::{DType, Tensor};
use graph_opt_passes::devices::codec::Codec;

/// Most bytes of a message: dora's daemons refuse 64 MiB, and Arrow's framing takes some of that.
pub const LIMIT: usize = 60_000_000;

/// More pieces than this are no tensor that anybody sends.
const MOST_PIECES: u64 = 1 << 16;

/// What every message says about the tensor that it is a piece of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sequence number of the frame.
    pub sequence: u64,
    /// The source's attempt at the frame. It grows with each, across restarts of the source, too.
    pub attempt: u64,
    /// The value.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<u64>,
    /// The form, unless it is the tensor as it is.
    pub codec: Option<Codec>,
    /// Of the whole tensor, its type, extents and elements; of another form, of its bytes instead of the
    /// elements, and of the codec.
    pub checksum: u128,
    /// How many pieces there are.
    pub pieces: u64,
    /// Which one this is.
    pub piece: u64,
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
    sequence: u64,
    attempt: u64,
    name: &str,
    tensor: &Tensor,
    codec: Option<Codec>,
    limit: usize,
) -> Result<Vec<Piece>, String> {
    let form = codec.and_then(|c| Some((c, encode(c, tensor)?)));
    let (all, checksum) = match &form {
        Some((c, bytes)) => {
            let sum = checksum(*c, tensor.dtype(), tensor.dims(), bytes);
            (bytes.clone(), sum.ok_or("too many bytes")?)
        }
        None => (tensor.bytes().map_err(|e| format!("{name:?}: {e}"))?, tensor.content_hash()),
    };
    let limit = limit.max(1);
    let pieces = all.len().div_ceil(limit).max(1);
    let piece = |i: usize| {
        let range = i * limit..all.len().min((i + 1) * limit);
        let header = Header {
            sequence,
            attempt,
            name: name.to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.dims().to_vec(),
            codec: form.as_ref().map(|f| f.0),
            checksum,
            pieces: pieces as u64,
            piece: i as u64,
        };
        let bytes = all.slice(range).ok_or("a piece lies outside of its tensor")?;
        Ok(Piece { header, bytes })
    };
    (0..pieces).map(piece).collect()
}

/// The checksum of a tensor in a codec's form.
fn checksum(codec: Codec, dtype: DType, dims: &[u64], bytes: &Bytes) -> Option<u128> {
    let of = |bytes: Bytes| {
        let len = vec![bytes.len() as u64];
        let data = graph_opt_ir::tensor::Data::Bytes(bytes);
        Some(Tensor::new(DType::U8, len, data).ok()?.content_hash())
    };
    let all = of(bytes.clone())?;
    of(Bytes::from(format!("{codec} {dtype} {dims:?} {all:032x}").into_bytes()))
}

/// A tensor of which some pieces have come.
#[derive(Debug)]
pub struct Assembly {
    header: Header,
    pieces: Vec<Option<Bytes>>,
    missing: usize,
}

impl Assembly {
    /// None of a header that no tensor has.
    fn new(header: &Header) -> Option<Self> {
        if header.pieces == 0 || header.pieces > MOST_PIECES {
            return None;
        }
        let missing = header.pieces as usize;
        Some(Self { header: header.clone(), pieces: vec![None; missing], missing })
    }

    fn fits(&self, h: &Header) -> bool {
        let mine = &self.header;
        (mine.checksum, mine.pieces, mine.dtype) == (h.checksum, h.pieces, h.dtype)
            && (&mine.shape, mine.codec) == (&h.shape, h.codec)
    }

    fn join(self) -> Option<Tensor> {
        let Header { dtype, shape, checksum, codec, .. } = self.header;
        let mut pieces: Vec<Bytes> = self.pieces.into_iter().flatten().collect();
        let bytes = match pieces.len() {
            1 => pieces.pop()?,
            _ => {
                let mut all = Vec::with_capacity(pieces.iter().map(|p| p.len()).sum());
                pieces.iter().for_each(|p| all.extend_from_slice(p));
                Bytes::from(all)
            }
        };
        if let Some(codec) = codec {
            if self::checksum(codec, dtype, &shape, &bytes)? != checksum {
                return None;
            }
            return decode(codec, dtype, &shape, &bytes).ok();
        }
        let data = graph_opt_ir::tensor::Data::Bytes(bytes);
        let tensor = Tensor::new(dtype, shape, data).ok()?;
        (tensor.content_hash() == checksum).then_some(tensor)
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
    /// Takes a piece; whether the tensor has become whole by it.
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
            // Two senders that do not agree: the later one is alive.
            Self::Part(part) if part.fits(header) => part,
            _ => Assembly::new(header).ok_or(Broken)?,
        };
        let at = usize::try_from(header.piece).map_err(|_| Broken)?;
        let place = part.pieces.get_mut(at).ok_or(Broken)?;
        if place.replace(piece.bytes).is_none() {
            part.missing -= 1;
        }
        if part.missing > 0 {
            *self = Self::Part(part);
            return Ok(false);
        }
        *self = Self::Whole(part.join().ok_or(Broken)?);
        Ok(true)
    }

    /// The tensor, if it is whole.
    pub fn tensor(self) -> Option<Tensor> {
        match self {
            Self::Whole(t) => Some(t),
            _ => None,
        }
    }
}
