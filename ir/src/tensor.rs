//! Constant tensors: shared, compared by digest, and read from external files only on demand.

pub(crate) mod external;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::digest::{Digest, Hasher};
pub use external::bytes_read;

use crate::DType;

/// A range of a shared buffer. Slices of one file share its memory.
#[derive(Clone)]
pub struct Bytes {
    buf: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Bytes {
    /// This range of the buffer; `None` if it is out of bounds.
    pub fn slice_of(buf: &Arc<Vec<u8>>, range: Range<usize>) -> Option<Self> {
        (range.start <= range.end && range.end <= buf.len())
            .then(|| Self { buf: Arc::clone(buf), range })
    }

    /// The buffer, and the range of it.
    #[cfg(feature = "onnx")]
    pub(crate) fn parts(&self) -> (&Arc<Vec<u8>>, Range<usize>) {
        (&self.buf, self.range.clone())
    }

    /// A part of this range, relative to its start; `None` if it is out of bounds.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        let (s, e) =
            (self.range.start.checked_add(range.start)?, self.range.start.checked_add(range.end)?);
        (s <= e && e <= self.range.end).then(|| Self { buf: Arc::clone(&self.buf), range: s..e })
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buf[self.range.clone()]
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(v: Vec<u8>) -> Self {
        let range = 0..v.len();
        Self { buf: Arc::new(v), range }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// The elements of a tensor, or where they are stored.
#[derive(Clone, Debug)]
pub enum Data {
    /// Little-endian, row-major, packed as ONNX's `raw_data` is (4-bit types two to a byte).
    Bytes(Bytes),
    /// A range of a file, checked at import to lie inside the model's folder and to exist.
    External {
        /// Resolved path of the file.
        path: Arc<PathBuf>,
        /// Offset of the first byte in the file.
        offset: u64,
        /// Number of bytes in the file.
        len: u64,
    },
    /// Strings, as bytes that need not be UTF-8.
    Strings(Arc<Vec<Vec<u8>>>),
}

/// A tensor cannot be made, or its elements cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The data have another size than the shape.
    #[error("expected {need} bytes of data for a {dtype} tensor of shape {dims:?}, found {have}")]
    Length {
        /// Element type of the tensor.
        dtype: DType,
        /// Extents of the tensor.
        dims: Vec<u64>,
        /// Bytes (for strings: elements) that the shape needs.
        need: u64,
        /// Bytes (for strings: elements) that there are.
        have: u64,
    },
    /// The number of elements or bytes overflows, or exceeds a limit.
    #[error("shape {0:?} is too large")]
    Overflow(Vec<u64>),
    /// External data could not be read.
    #[error("cannot read external data {path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The operation does not support the element type: the type, and those that are supported.
    #[error("expected a tensor of {1}, found one of {0}")]
    Type(DType, &'static str),
}

/// A constant tensor: element type, extents and elements in row-major order.
#[derive(Clone)]
pub struct Tensor {
    dtype: DType,
    dims: Vec<u64>,
    data: Data,
    digest: OnceLock<Digest>,
}

impl Tensor {
    /// A tensor with these elements.
    ///
    /// # Errors
    /// If the data do not have the size of the shape, or are strings for another type or the reverse.
    pub fn new(dtype: DType, dims: Vec<u64>, data: Data) -> Result<Self, TensorError> {
        let n = dims.iter().try_fold(1u64, |a, &b| a.checked_mul(b));
        let n = n.filter(|n| i64::try_from(*n).is_ok());
        let n = n.ok_or_else(|| TensorError::Overflow(dims.clone()))?;
        let (need, have) = match &data {
            Data::Strings(s) => (n, s.len() as u64),
            Data::Bytes(b) => (0, b.len() as u64),
            Data::External { len, .. } => (0, *len),
        };
        let need = match &data {
            Data::Strings(_) if dtype != DType::String => {
                return Err(TensorError::Type(dtype, "strings"));
            }
            Data::Strings(_) => need,
            _ if dtype == DType::String => return Err(TensorError::Type(dtype, "numbers")),
            _ => dtype.bytes_of(n).ok_or_else(|| TensorError::Overflow(dims.clone()))?,
        };
        if need != have {
            return Err(TensorError::Length { dtype, dims, need, have });
        }
        Ok(Self { dtype, dims, data, digest: OnceLock::new() })
    }

    /// A tensor of these little-endian bytes.
    ///
    /// # Errors
    /// If the bytes do not have the size of the shape.
    pub fn from_bytes(dtype: DType, dims: Vec<u64>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        Self::new(dtype, dims, Data::Bytes(bytes.into()))
    }

    /// A one-dimensional `i64` tensor, as ONNX uses for axes, starts and shapes.
    pub fn i64s(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: DType::I64,
            dims: vec![values.len() as u64],
            data: Data::Bytes(bytes.into()),
            digest: OnceLock::new(),
        }
    }

    /// An `f32` tensor with these elements in row-major order.
    ///
    /// # Errors
    /// If there is not one value for each element of the shape.
    pub fn f32s(dims: &[u64], values: &[f32]) -> Result<Self, TensorError> {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::from_bytes(DType::F32, dims.to_vec(), bytes)
    }

    /// A tensor of pseudo-random elements: floats in [-1, 1), whole numbers in 0..8. The same arguments
    /// give the same elements on every machine (splitmix64; Steele, Lea and Flood, OOPSLA 2014).
    ///
    /// # Errors
    /// If the type is not a float, an integer of 8, 32 or 64 bits or bool, or there are 2^28 elements
    /// or more.
    pub fn random(dtype: DType, dims: &[u64], seed: u64) -> Result<Self, TensorError> {
        let n = dims.iter().try_fold(1u64, |a, &b| a.checked_mul(b)).filter(|&n| n < 1 << 28);
        let n = n.ok_or_else(|| TensorError::Overflow(dims.to_vec()))?;
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        };
        let mut unit = || (next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        let mut bytes = Vec::new();
        for _ in 0..n {
            let x = unit();
            let i = ((x + 1.0) * 4.0) as u8;
            match dtype {
                DType::F32 => bytes.extend(x.to_le_bytes()),
                DType::F64 => bytes.extend(f64::from(x).to_le_bytes()),
                DType::F16 => bytes.extend(half::f16::from_f32(x).to_le_bytes()),
                DType::BF16 => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
                DType::I8 | DType::U8 => bytes.push(i),
                DType::Bool => bytes.push(i & 1),
                DType::I32 => bytes.extend(i32::from(i).to_le_bytes()),
                DType::I64 => bytes.extend(i64::from(i).to_le_bytes()),
                other => {
                    let want = "f16, bf16, f32, f64, i8, u8, i32, i64 or bool";
                    return Err(TensorError::Type(other, want));
                }
            }
        }
        Self::from_bytes(dtype, dims.to_vec(), bytes)
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Extent of each axis.
    pub fn dims(&self) -> &[u64] {
        &self.dims
    }

    /// Number of elements: the product of the extents.
    pub fn len(&self) -> usize {
        self.dims.iter().product::<u64>() as usize
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// The elements, or where they are stored.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Element type and extents as the type of a value.
    pub fn ty(&self) -> crate::Type {
        crate::Type::tensor(self.dtype, &self.dims)
    }

    /// The same elements under another shape of as many elements.
    ///
    /// # Errors
    /// If the number of elements differs.
    pub fn reshaped(&self, dims: Vec<u64>) -> Result<Self, TensorError> {
        Self::new(self.dtype, dims, self.data.clone())
    }

    /// The elements as little-endian bytes, read from the file if they are external.
    ///
    /// # Errors
    /// If the file cannot be read, or the elements are strings.
    pub fn bytes(&self) -> Result<Bytes, TensorError> {
        match &self.data {
            Data::Bytes(b) => Ok(b.clone()),
            Data::Strings(_) => Err(TensorError::Type(self.dtype, "numbers")),
            Data::External { path, offset, len } => {
                let mut buf = Vec::new();
                external::read(path, *offset, *len, &mut buf)?;
                Ok(buf.into())
            }
        }
    }

    /// The `len` elements from `start` on, counted in row-major order, as a tensor of these extents. It
    /// shares the memory, or refers to the same file, which is not read.
    ///
    /// # Errors
    /// If there are not as many elements as the extents say, if elements are not whole bytes, or if they
    /// are strings.
    pub fn part(&self, start: u64, dims: Vec<u64>) -> Result<Self, TensorError> {
        let bits = self.dtype.bits() as u64;
        if bits == 0 || !bits.is_multiple_of(8) {
            return Err(TensorError::Type(self.dtype, "whole bytes"));
        }
        let overflow = || TensorError::Overflow(dims.clone());
        let need = crate::Type::tensor(self.dtype, &dims).bytes().ok_or_else(overflow)?;
        let from = start.checked_mul(bits / 8).ok_or_else(overflow)?;
        let to = from.checked_add(need).ok_or_else(overflow)?;
        let have = match &self.data {
            Data::Bytes(b) => b.len() as u64,
            Data::External { len, .. } => *len,
            Data::Strings(_) => 0,
        };
        if to > have {
            let have = have.saturating_sub(from);
            return Err(TensorError::Length { dtype: self.dtype, dims, need, have });
        }
        let data = match &self.data {
            Data::Bytes(b) => b.slice(from as usize..to as usize).map(Data::Bytes),
            Data::External { path, offset, .. } => offset
                .checked_add(from)
                .map(|offset| Data::External { path: path.clone(), offset, len: need }),
            Data::Strings(_) => None,
        };
        Self::new(self.dtype, dims.clone(), data.ok_or_else(overflow)?)
    }

    /// Runs of `len` bytes that begin at these bytes of the elements, one after the other. Of external data
    /// no more is read than that, if runs are long.
    ///
    /// # Errors
    /// As [`Tensor::bytes`], and if a run ends beyond the elements.
    pub fn runs(
        &self,
        starts: impl Iterator<Item = u64>,
        len: usize,
    ) -> Result<Vec<u8>, TensorError> {
        let mut out = Vec::new();
        match &self.data {
            Data::External { path, offset, len: have } if len >= external::LONG => {
                let inside = |at: &u64| at.checked_add(len as u64).is_some_and(|e| e <= *have);
                let from = |at: u64| offset.checked_add(at).filter(|_| inside(&at));
                external::runs(path, starts.map(from), len as u64, &mut out)?;
            }
            _ => {
                let all = self.bytes()?;
                for at in starts {
                    let run = usize::try_from(at).ok().and_then(|at| all.get(at..)?.get(..len));
                    out.extend(run.ok_or_else(|| TensorError::Overflow(self.dims.clone()))?);
                }
            }
        }
        Ok(out)
    }

    /// Takes over the digest of `other` if both are the same place of the same file, which is then read for
    /// it once.
    pub fn share_digest(&self, other: &Self) {
        let place = |t: &Self| match &t.data {
            Data::External { path, offset, len } => Some((path.clone(), *offset, *len)),
            Data::Bytes(_) | Data::Strings(_) => None,
        };
        let alike = self.dtype == other.dtype && self.dims == other.dims;
        if alike && place(self).is_some_and(|p| Some(p) == place(other)) {
            // It may be the same tensor, which cannot be asked while it waits for itself.
            let digest = other.digest();
            self.digest.get_or_init(|| digest);
        }
    }

    /// Elements as `i64`, for integers of at least 8 bits and bool; `None` for other types, if an element
    /// exceeds `i64`, or if the file cannot be read.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        let b = self.bytes().ok()?;
        macro_rules! read {
            ($t:ty) => {
                b.chunks_exact(size_of::<$t>())
                    .map(|c| c.try_into().ok().map(<$t>::from_le_bytes))
                    .map(|v| v.and_then(|v| i64::try_from(v).ok()))
                    .collect()
            };
        }
        match self.dtype {
            DType::I64 => read!(i64),
            DType::I32 => read!(i32),
            DType::I16 => read!(i16),
            DType::I8 => read!(i8),
            DType::U64 => read!(u64),
            DType::U32 => read!(u32),
            DType::U16 => read!(u16),
            DType::U8 | DType::Bool => read!(u8),
            _ => None,
        }
    }

    /// Elements as `f32`, for `f32`, `f64` (rounded), `f16` and `bf16`; `None` for other types, or if the
    /// file cannot be read.
    pub fn to_f32s(&self) -> Option<Vec<f32>> {
        let b = self.bytes().ok()?;
        macro_rules! read {
            ($t:ty, $conv:expr) => {
                b.chunks_exact(size_of::<$t>())
                    .map(|c| c.try_into().ok().map(<$t>::from_le_bytes).map($conv))
                    .collect()
            };
        }
        match self.dtype {
            DType::F32 => read!(f32, |x| x),
            DType::F64 => read!(f64, |x| x as f32),
            DType::F16 => read!(half::f16, half::f16::to_f32),
            DType::BF16 => read!(half::bf16, half::bf16::to_f32),
            _ => None,
        }
    }

    /// Digest of element type, shape and elements, the same on every machine. Tensors are equal if their
    /// digests are. If external data cannot be read, their path, offset and length are hashed instead.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| {
            let mut h = Hasher::new("tensor");
            h.int(self.dtype.to_onnx() as u64).int(self.dims.len() as u64);
            self.dims.iter().for_each(|&d| _ = h.int(d));
            match &self.data {
                Data::Strings(s) => s.iter().for_each(|v| _ = h.bytes(v)),
                Data::Bytes(b) => _ = h.bytes(b),
                Data::External { path, offset, len } => {
                    let head = h.clone();
                    h.int(*len);
                    let hashed = external::each(path, *offset, *len, |part| h.more(part));
                    if hashed.is_err() {
                        h = head;
                        h.text("unreadable").text(&path.to_string_lossy()).int(*offset).int(*len);
                    }
                }
            }
            h.done()
        })
    }

    /// The first half of the digest as a number, which names the tensor in texts.
    pub fn content_hash(&self) -> u128 {
        self.digest().short()
    }
}

impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.dtype == other.dtype && self.dims == other.dims && self.digest() == other.digest()
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{:08x}", self.ty(), (self.content_hash() >> 96) as u32)
    }
}
