//! Tensors at run time: elements in vectors of their type, shared so that nothing is copied that
//! only changes its name or shape.

use std::cell::RefCell;

use graph_opt_ir::tensor::{Data, TensorError};
use graph_opt_ir::{DType, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::arena::{Elements, Lines, LinesMut};
use super::field::{Fp, Key};
pub(crate) use super::list::Item;
use super::spare::{self, Kept, Spare};
use crate::RunError;

/// A string, which need not be UTF-8. Operators that move strings share them.
pub(crate) type Text = std::sync::Arc<[u8]>;

macro_rules! buffers {
    ($($variant:ident $t:ty;)*) => {
        /// Elements of an array.
        #[derive(Clone, Debug)]
        pub(crate) enum Buf {
            $($variant(Elements<$t>),)*
            Bool(Elements<bool>),
            Str(Elements<Text>),
            List(Elements<Item>),
            Field(Elements<Fp>),
        }

        $(impl Element for $t {
            const DTYPE: DType = DType::$variant;
            fn buf(v: Elements<Self>) -> Buf {
                Buf::$variant(v)
            }
            fn elements(b: &Buf) -> Option<&Elements<Self>> {
                match b { Buf::$variant(v) => Some(v), _ => None }
            }
            fn elements_mut(b: &mut Buf) -> Option<&mut Elements<Self>> {
                match b { Buf::$variant(v) => Some(v), _ => None }
            }
            fn kept() -> Option<Kept<Self>> {
                thread_local!(static KEPT: RefCell<Spare<$t>> = const { RefCell::new(Spare::new()) });
                Some(&KEPT)
            }
        })*

        /// Runs the body with the vector of whatever type.
        macro_rules! on_any {
            ($buf:expr, $v:ident => $body:expr) => {
                match $buf {
                    $($crate::cpu::array::Buf::$variant($v) => $body,)*
                    $crate::cpu::array::Buf::Bool($v) => $body,
                    $crate::cpu::array::Buf::Str($v) => $body,
                    $crate::cpu::array::Buf::List($v) => $body,
                    $crate::cpu::array::Buf::Field($v) => $body,
                }
            };
        }

        impl Array {
            /// From a tensor of the graph; packed 4- and 2-bit elements are unpacked.
            pub(crate) fn of(t: &Tensor) -> Result<Self, RunError> {
                let dims: Option<Vec<usize>> =
                    t.dims().iter().map(|&d| usize::try_from(d).ok()).collect();
                let dims = dims.ok_or_else(|| TensorError::Overflow(t.dims().to_vec()))?;
                let data = match (t.dtype(), t.data()) {
                    (_, Data::Strings(s)) => Buf::Str(s.iter().map(|s| s[..].into()).collect()),
                    $((DType::$variant, _) => <$t as Element>::wrap(from_bytes(&t.bytes()?)),)*
                    (DType::Bool, _) => {
                        Buf::Bool(t.bytes()?.iter().map(|&b| b != 0).collect())
                    }
                    (d @ (DType::I4 | DType::I2), _) => {
                        let n = dims.iter().product();
                        let u = unpack(&t.bytes()?, d.bits(), n);
                        let shift = 8 - d.bits();
                        let signed = u.into_iter().map(|x| ((x << shift) as i8) >> shift);
                        Buf::I8(signed.collect())
                    }
                    (d @ (DType::U4 | DType::U2 | DType::F4E2M1), _) => {
                        let n = dims.iter().product();
                        Buf::U8(unpack(&t.bytes()?, d.bits(), n).into())
                    }
                    (d, _) if d.bits() == 8 => Buf::U8(t.bytes()?.to_vec().into()),
                    (d, _) => return Err(RunError::Unsupported(format!("{d} tensors"))),
                };
                Ok(Self { dims, dtype: t.dtype(), data })
            }

            /// As a tensor of the graph.
            pub(crate) fn tensor(&self) -> Result<Tensor, RunError> {
                let dims = self.dims.iter().map(|&d| d as u64).collect();
                let data = match &self.data {
                    Buf::Str(s) => {
                        let total: u64 = s.iter().map(|t| t.len() as u64).sum();
                        if total > super::DEFAULT_MAX_BYTES {
                            let left = super::DEFAULT_MAX_BYTES;
                            return Err(RunError::TooLarge { what: "text", elements: total, left });
                        }
                        Data::Strings(s.iter().map(|t| t.to_vec()).collect::<Vec<_>>().into())
                    }
                    Buf::Bool(v) => {
                        Data::Bytes(v.iter().map(|&b| u8::from(b)).collect::<Vec<_>>().into())
                    }
                    Buf::Field(_) => {
                        return Err(RunError::NotInField("bytes of a tensor".into()));
                    }
                    Buf::List(_) => {
                        return Err(RunError::Unsupported("a sequence as a tensor".into()));
                    }
                    Buf::U8(v) if self.dtype.bits() < 8 => {
                        Data::Bytes(pack(v.iter().copied(), self.dtype.bits()).into())
                    }
                    Buf::I8(v) if self.dtype.bits() < 8 => {
                        Data::Bytes(pack(v.iter().map(|&x| x as u8), self.dtype.bits()).into())
                    }
                    $(Buf::$variant(v) => Data::Bytes(to_bytes(v).into()),)*
                };
                Ok(Tensor::new(self.dtype, dims, data)?)
            }
        }
    };
}

buffers! {
    F32 f32; F64 f64; F16 f16; BF16 bf16;
    I8 i8; I16 i16; I32 i32; I64 i64;
    U8 u8; U16 u16; U32 u32; U64 u64;
}
pub(crate) use on_any;

/// Runs the body with the vector if its elements are of a type that operators compute in: narrower
/// whole numbers and floats are widened before, see [`crate::cpu::ops::evaluate`].
macro_rules! on_number {
    ($buf:expr, $v:ident => $body:expr, else $other:expr) => {
        match $buf {
            $crate::cpu::array::Buf::F32($v) => $body,
            $crate::cpu::array::Buf::F64($v) => $body,
            $crate::cpu::array::Buf::Field($v) => $body,
            $crate::cpu::array::Buf::I64($v) => $body,
            $crate::cpu::array::Buf::U64($v) => $body,
            _ => $other,
        }
    };
}
pub(crate) use on_number;

/// A type of elements.
pub(crate) trait Element: Clone + Default + Send + Sync + PartialEq + 'static {
    /// Its name in graphs. What stands for floats in the field counts as `F32`.
    const DTYPE: DType;
    /// Whether simple loops over it are compiled for each kind of vectors.
    const WIDE: bool = matches!(Self::DTYPE, DType::F32);
    fn buf(v: Elements<Self>) -> Buf;
    fn elements(b: &Buf) -> Option<&Elements<Self>>;
    fn elements_mut(b: &mut Buf) -> Option<&mut Elements<Self>>;
    /// Where vectors that are no longer needed are kept.
    fn kept() -> Option<Kept<Self>> {
        None
    }
    fn wrap(v: Vec<Self>) -> Buf {
        Self::buf(Elements::kept(v, spare::give))
    }
    /// The elements, if nobody else holds them.
    fn unshared(b: &mut Buf) -> Option<&mut [Self]> {
        Self::elements_mut(b)?.unshared()
    }
}

macro_rules! element {
    ($variant:ident, $t:ty, $dtype:ident) => {
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            const WIDE: bool = false;
            fn buf(v: Elements<Self>) -> Buf {
                Buf::$variant(v)
            }
            fn elements(b: &Buf) -> Option<&Elements<Self>> {
                match b {
                    Buf::$variant(v) => Some(v),
                    _ => None,
                }
            }
            fn elements_mut(b: &mut Buf) -> Option<&mut Elements<Self>> {
                match b {
                    Buf::$variant(v) => Some(v),
                    _ => None,
                }
            }
        }
    };
}
element!(Bool, bool, Bool);
element!(Str, Text, String);
// Lists are labelled as what nothing computes with.
element!(List, Item, String);
element!(Field, Fp, F32);

/// A tensor at run time, or a sequence: a list along one axis. An optional is what it holds, or a list
/// without axes.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub dims: Vec<usize>,
    /// What the graph calls the elements. It differs from the buffer's type in the field, and for
    /// types that are narrower than a byte or that nothing computes with.
    pub dtype: DType,
    pub data: Buf,
}

impl Array {
    /// Of these elements, which must be as many as the shape has.
    pub fn new<T: Element>(dims: Vec<usize>, v: Vec<T>) -> Self {
        debug_assert_eq!(dims.iter().product::<usize>(), v.len());
        Self { dims, dtype: T::DTYPE, data: T::wrap(v) }
    }

    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The same elements in another shape of as many.
    pub fn reshaped(self, dims: Vec<usize>) -> Result<Self, RunError> {
        let n = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        if n != Some(self.len()) || !self.is_contiguous() {
            return Err(RunError::Invalid(format!("{:?} does not fit {dims:?}", self.dims)));
        }
        Ok(Self { dims, ..self })
    }

    pub fn is_field(&self) -> bool {
        matches!(self.data, Buf::Field(_))
    }

    /// The elements, if the buffer and the graph agree that they are of this type.
    pub fn get<T: Element>(&self) -> Result<&[T], RunError> {
        Ok(self.typed::<T>()?)
    }

    /// The elements wherever they stand, if they are of this type.
    pub fn typed<T: Element>(&self) -> Result<&Elements<T>, RunError> {
        let (is, wanted) = (self.dtype, T::DTYPE);
        let wrong = || RunError::Invalid(format!("{is} tensor where {wanted} was expected"));
        T::elements(&self.data).ok_or_else(wrong)
    }

    /// As [`Self::typed`], to be written.
    pub fn typed_mut<T: Element>(&mut self) -> Result<&mut Elements<T>, RunError> {
        let (is, wanted) = (self.dtype, T::DTYPE);
        let wrong = || RunError::Invalid(format!("{is} tensor where {wanted} was expected"));
        T::elements_mut(&mut self.data).ok_or_else(wrong)
    }

    /// By planes and rows, wherever the elements stand.
    pub fn lines<T: Element>(&self) -> Result<Lines<'_, T>, RunError> {
        Ok(self.typed::<T>()?.lines(&self.dims))
    }

    /// By planes and rows, to be written.
    pub fn lines_mut<T: Element>(&mut self) -> Result<LinesMut<'_, T>, RunError> {
        let dims = self.dims.clone();
        Ok(self.typed_mut::<T>()?.lines_mut(&dims))
    }

    /// Whether results may be written here.
    pub fn is_target(&self) -> bool {
        on_any!(&self.data, v => v.is_target())
    }

    pub fn is_contiguous(&self) -> bool {
        on_any!(&self.data, v => v.is_contiguous())
    }

    /// Distances of neighbours along each axis.
    pub fn strides(&self) -> Vec<usize> {
        on_any!(&self.data, v => v.strides(&self.dims))
    }

    /// Whether both are the same elements.
    pub fn stands_at(&self, other: &Self) -> bool {
        fn same<T: Element>(v: &Elements<T>, other: &Buf) -> bool {
            T::elements(other).is_some_and(|o| v.stands_at(o))
        }
        on_any!(&self.data, v => same(v, &other.data))
    }

    /// Whether these are all elements of a block that nobody else holds.
    pub fn is_alone(&mut self) -> bool {
        on_any!(&mut self.data, v => v.is_alone())
    }

    /// Elements at `offset + sum(index * stride)`, in ascending order and each once, where they are.
    pub fn part(&self, dims: Vec<usize>, offset: usize, strides: &[usize]) -> Self {
        let data = on_any!(&self.data, v => Element::buf(v.part(&dims, offset, strides)));
        Self { dims, dtype: self.dtype, data }
    }

    /// The array to be written by a node that reads these operands, of which those that are
    /// marked may stand in the same place; `None` if others do.
    ///
    /// # Safety
    /// As [`Elements::target`].
    #[allow(unsafe_code)]
    pub unsafe fn target(self, operands: &[(&Self, bool)]) -> Option<Self> {
        fn check<T: Element>(
            v: Elements<T>,
            dims: &[usize],
            operands: &[(&Array, bool)],
        ) -> Option<Buf> {
            let same = operands
                .iter()
                .filter_map(|(a, may)| Some((T::elements(&a.data)?, &*a.dims, *may)));
            // SAFETY: as promised by the caller.
            unsafe { v.target(dims, same) }.map(T::buf)
        }
        let data = on_any!(self.data, v => check(v, &self.dims, operands))?;
        Some(Self { data, ..self })
    }

    /// The elements side by side, copied if they are not.
    pub fn contiguous(self) -> Self {
        if self.is_contiguous() { self } else { self.copied() }
    }

    /// The elements side by side in memory of their own.
    pub fn copied(self) -> Self {
        fn copy<T: Element>(v: &Elements<T>, dims: &[usize]) -> Buf {
            let mut out = Elements::from(vec![T::default(); dims.iter().product()]);
            let s: Vec<isize> = v.strides(dims).into_iter().map(|s| s as isize).collect();
            out.gather(dims, v, &s, 0);
            T::buf(out)
        }
        let data = on_any!(&self.data, v => copy(v, &self.dims));
        Self { data, ..self }
    }

    /// Bytes of the elements in memory.
    pub fn bytes(&self) -> u64 {
        fn size<T>(_: &Elements<T>) -> u64 {
            size_of::<T>() as u64
        }
        let text: u64 = match &self.data {
            Buf::Str(v) if v.is_contiguous() => v.iter().map(|t| t.len() as u64).sum(),
            Buf::List(v) if v.is_contiguous() => {
                v.iter().flat_map(|i| &i.0).map(|a| 128 + a.bytes()).fold(0, u64::saturating_add)
            }
            _ => 0,
        };
        self.len() as u64 * on_any!(&self.data, v => size(v)) + text
    }

    /// Whether it is of a kind that operators compute with: not one of the carried types.
    pub fn is_computable(&self) -> bool {
        use DType::*;
        !matches!(
            self.dtype,
            F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F4E2M1 | F8E8M0 | U4 | I4 | U2 | I2
        )
    }

    /// Elements as `i64` where they are whole numbers or bool.
    pub fn to_i64s(&self) -> Result<Vec<i64>, RunError> {
        Ok(match &self.data {
            Buf::I64(v) => v.to_vec(),
            Buf::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::I8(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::U64(v) => v.iter().map(|&x| i64::try_from(x).unwrap_or(i64::MAX)).collect(),
            Buf::Bool(v) => v.iter().map(|&x| x.into()).collect(),
            _ => {
                return Err(RunError::Invalid(format!(
                    "{} tensor where whole numbers were expected",
                    self.dtype
                )));
            }
        })
    }

    /// Elements as `f64` where they are native numbers.
    pub fn to_f64s(&self) -> Result<Vec<f64>, RunError> {
        Ok(match &self.data {
            Buf::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Buf::F64(v) => v.to_vec(),
            Buf::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Buf::BF16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Buf::U64(v) => v.iter().map(|&x| x as f64).collect(),
            Buf::Field(_) => {
                return Err(RunError::NotInField("a value that must be a known number".into()));
            }
            _ => self.to_i64s()?.into_iter().map(|x| x as f64).collect(),
        })
    }

    /// Elements as the real numbers by which they are compared.
    pub fn reals(&self, k: Key<'_>) -> Result<Vec<f64>, RunError> {
        match &self.data {
            Buf::Field(v) => Ok(v.iter().map(|&x| k.real(x)).collect()),
            _ => self.to_f64s(),
        }
    }

    /// In the field, if it is of a floating-point type.
    pub fn embedded(self, k: Key<'_>) -> Self {
        if !matches!(self.data, Buf::F32(_) | Buf::F64(_) | Buf::F16(_) | Buf::BF16(_)) {
            return self;
        }
        let v = self.to_f64s().unwrap_or_default();
        let data = Buf::Field(v.into_iter().map(|x| k.embed(x)).collect());
        Self { data, ..self }
    }

    /// 16-bit floats as `f32`; all else as it is.
    pub fn widened(self) -> Self {
        fn wide<H>(v: &[H]) -> Vec<f32>
        where
            [H]: HalfFloatSliceExt,
        {
            let mut wide = spare::unset(v.len());
            v.convert_to_f32_slice(&mut wide);
            wide
        }
        let v = match &self.data {
            Buf::F16(v) => wide(v),
            Buf::BF16(v) => wide(v),
            _ => return self,
        };
        Self::new(self.dims, v)
    }

    /// `f32` rounded to this 16-bit type; all else as it is.
    pub fn narrowed(self, to: DType) -> Self {
        match (&self.data, to) {
            (Buf::F32(v), DType::F16) => {
                let mut halves: Vec<f16> = spare::unset(v.len());
                halves.convert_from_f32_slice(v);
                Self::new(self.dims, halves)
            }
            (Buf::F32(v), DType::BF16) => {
                let mut halves: Vec<bf16> = spare::unset(v.len());
                halves.convert_from_f32_slice(v);
                Self::new(self.dims, halves)
            }
            (Buf::Field(_), _) => Self { dtype: to, ..self },
            _ => self,
        }
    }
}

/// Elements of these little-endian bytes.
fn from_bytes<T: Element + bytemuck::Pod>(b: &[u8]) -> Vec<T> {
    let mut v = spare::unset::<T>(b.len() / size_of::<T>());
    let used = size_of_val(v.as_slice());
    bytemuck::cast_slice_mut::<T, u8>(&mut v).copy_from_slice(&b[..used]);
    if cfg!(target_endian = "big") {
        swap(&mut v);
    }
    v
}

fn to_bytes<T: bytemuck::Pod>(v: &[T]) -> Vec<u8> {
    let mut bytes = bytemuck::cast_slice(v).to_vec();
    if cfg!(target_endian = "big") {
        bytes.chunks_exact_mut(size_of::<T>()).for_each(<[u8]>::reverse);
    }
    bytes
}

fn swap<T: bytemuck::Pod>(v: &mut [T]) {
    let n = size_of::<T>();
    bytemuck::cast_slice_mut::<T, u8>(v).chunks_exact_mut(n).for_each(<[u8]>::reverse);
}

fn unpack(b: &[u8], bits: usize, n: usize) -> Vec<u8> {
    let per = 8 / bits;
    let mask = (1u8 << bits) - 1;
    (0..n).map(|i| (b[i / per] >> (bits * (i % per))) & mask).collect()
}

fn pack(v: impl ExactSizeIterator<Item = u8>, bits: usize) -> Vec<u8> {
    let per = 8 / bits;
    let mask = (1u8 << bits) - 1;
    let mut out = vec![0; v.len().div_ceil(per)];
    for (i, x) in v.enumerate() {
        out[i / per] |= (x & mask) << (bits * (i % per));
    }
    out
}
