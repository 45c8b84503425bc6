//! Element types, symbolic dimensions, and the types of values.

use std::fmt;
use std::sync::Arc;

macro_rules! dtypes {
    ($($variant:ident = $code:literal, $name:literal, $bits:literal;)*) => {
        /// Element type of a tensor (ONNX, `TensorProto.DataType`).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[allow(missing_docs)]
        pub enum DType { $($variant = $code),* }

        impl DType {
            /// The type with this number in ONNX files; `None` if there is none.
            pub fn from_onnx(code: i64) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// Name in the text form, such as `f32`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The type with this name in the text form; `None` if there is none.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// Bits of one element; 0 for strings.
            pub fn bits(self) -> usize {
                match self { $(Self::$variant => $bits),* }
            }
        }
    };
}

dtypes! {
    F32 = 1, "f32", 32;
    U8 = 2, "u8", 8;
    I8 = 3, "i8", 8;
    U16 = 4, "u16", 16;
    I16 = 5, "i16", 16;
    I32 = 6, "i32", 32;
    I64 = 7, "i64", 64;
    String = 8, "string", 0;
    Bool = 9, "bool", 8;
    F16 = 10, "f16", 16;
    F64 = 11, "f64", 64;
    U32 = 12, "u32", 32;
    U64 = 13, "u64", 64;
    C64 = 14, "c64", 64;
    C128 = 15, "c128", 128;
    BF16 = 16, "bf16", 16;
    F8E4M3FN = 17, "f8e4m3fn", 8;
    F8E4M3FNUZ = 18, "f8e4m3fnuz", 8;
    F8E5M2 = 19, "f8e5m2", 8;
    F8E5M2FNUZ = 20, "f8e5m2fnuz", 8;
    U4 = 21, "u4", 4;
    I4 = 22, "i4", 4;
    F4E2M1 = 23, "f4e2m1", 4;
    F8E8M0 = 24, "f8e8m0", 8;
    U2 = 25, "u2", 2;
    I2 = 26, "i2", 2;
}

impl DType {
    /// The type's number in ONNX files.
    pub fn to_onnx(self) -> i32 {
        self as i32
    }

    /// Size of `n` elements in bytes, with elements of less than 8 bits packed as in ONNX's `raw_data`;
    /// `None` on overflow, 0 for strings.
    pub fn bytes_of(self, n: u64) -> Option<u64> {
        n.checked_mul(self.bits() as u64)?.checked_add(7).map(|b| b / 8)
    }

    /// Whether it is a floating-point type of at least 16 bits.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::BF16)
    }

    /// Whether it is an integer type of at least 8 bits.
    pub fn is_int(self) -> bool {
        use DType::*;
        matches!(self, U8 | I8 | U16 | I16 | I32 | I64 | U32 | U64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Extent of one axis of a shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Dim {
    /// A number of elements.
    Known(u64),
    /// A symbolic extent. Two extents of the same name are equal within a run. Files that break this rule
    /// exist, so it is used for printing and symbolic shapes, and no result depends on it.
    Param(Arc<str>),
    /// An extent that is known only at run time.
    Unknown,
}

impl Dim {
    /// The extent, if it is a number.
    pub fn known(&self) -> Option<u64> {
        match self {
            Self::Known(n) => Some(*n),
            _ => None,
        }
    }
}

impl From<u64> for Dim {
    fn from(n: u64) -> Self {
        Self::Known(n)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(n) => write!(f, "{n}"),
            Self::Param(p) if is_plain(p) => write!(f, "{p}"),
            Self::Param(p) => write!(f, "{p:?}"),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// Whether the text form needs no quotes around the name of a dimension.
pub(crate) fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Element type and, where at least the rank is known, the shape of a tensor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Type of the elements.
    pub dtype: DType,
    /// Extents; `None` if the rank is unknown.
    pub shape: Option<Vec<Dim>>,
}

/// Type of a value.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Type {
    /// A type that is not known yet.
    #[default]
    Unknown,
    /// A tensor, with what is known of its shape.
    Tensor(TensorType),
    /// A sequence of values of this type.
    Sequence(Box<Type>),
    /// A value of this type, or none.
    Optional(Box<Type>),
    /// A map or sparse tensor. Only its presence is known.
    Other,
}

impl Type {
    /// A tensor of known extents.
    pub fn tensor(dtype: DType, shape: &[u64]) -> Self {
        Self::with_dims(dtype, shape.iter().map(|&n| Dim::Known(n)).collect())
    }

    /// A tensor of known rank.
    pub fn with_dims(dtype: DType, dims: Vec<Dim>) -> Self {
        Self::Tensor(TensorType { dtype, shape: Some(dims) })
    }

    /// A tensor of unknown rank.
    pub fn unranked(dtype: DType) -> Self {
        Self::Tensor(TensorType { dtype, shape: None })
    }

    /// A sequence of such values.
    pub fn sequence(of: Self) -> Self {
        Self::Sequence(Box::new(of))
    }

    /// What a sequence or optional is made of, if it is one and that is known.
    pub fn inner(&self) -> Option<&Self> {
        match self {
            Self::Sequence(t) | Self::Optional(t) => Some(t),
            _ => None,
        }
    }

    /// The least upper bound of both types: what is known from each.
    pub fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (x, y) if x == y => x.clone(),
            (Self::Sequence(x), Self::Sequence(y)) => Self::Sequence(Box::new(x.join(y))),
            (Self::Optional(x), Self::Optional(y)) => Self::Optional(Box::new(x.join(y))),
            (Self::Tensor(s), Self::Tensor(t)) if s.dtype == t.dtype => {
                let same = |(m, n): (&Dim, &Dim)| if m == n { m.clone() } else { Dim::Unknown };
                let shape = match (&s.shape, &t.shape) {
                    (Some(p), Some(q)) if p.len() == q.len() => {
                        Some(p.iter().zip(q).map(same).collect())
                    }
                    _ => None,
                };
                Self::Tensor(TensorType { dtype: s.dtype, shape })
            }
            _ => Self::Unknown,
        }
    }

    /// The type without extents, its own or those of what it is made of.
    pub fn without_extents(&self) -> Self {
        match self {
            Self::Tensor(t) => Self::unranked(t.dtype),
            Self::Sequence(t) => Self::Sequence(Box::new(t.without_extents())),
            Self::Optional(t) => Self::Optional(Box::new(t.without_extents())),
            other => other.clone(),
        }
    }

    /// Element type, if it is a tensor.
    pub fn dtype(&self) -> Option<DType> {
        match self {
            Self::Tensor(t) => Some(t.dtype),
            _ => None,
        }
    }

    /// Extents, if the rank is known.
    pub fn dims(&self) -> Option<&[Dim]> {
        match self {
            Self::Tensor(TensorType { shape: Some(s), .. }) => Some(s),
            _ => None,
        }
    }

    /// Number of axes, if known.
    pub fn rank(&self) -> Option<usize> {
        self.dims().map(<[Dim]>::len)
    }

    /// Extents, if all are known.
    pub fn extents(&self) -> Option<Vec<u64>> {
        self.dims()?.iter().map(Dim::known).collect()
    }

    /// Number of elements, if all extents are known and the product fits.
    pub fn elements(&self) -> Option<u64> {
        self.extents()?.iter().try_fold(1u64, |a, &b| a.checked_mul(b))
    }

    /// Size of the tensor in bytes, if all extents are known and the size does not overflow.
    pub fn bytes(&self) -> Option<u64> {
        self.dtype()?.bytes_of(self.elements()?)
    }

    /// The greatest lower bound of both types: everything that is known from either; `None` if they
    /// contradict each other.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        let (a, b) = match (self, other) {
            (Self::Unknown, t) | (t, Self::Unknown) => return Some(t.clone()),
            (Self::Tensor(a), Self::Tensor(b)) => (a, b),
            (Self::Sequence(a), Self::Sequence(b)) => return Some(Self::Sequence(met(a, b)?)),
            (Self::Optional(a), Self::Optional(b)) => return Some(Self::Optional(met(a, b)?)),
            (a, b) => return (a == b).then(|| a.clone()),
        };
        if a.dtype != b.dtype {
            return None;
        }
        let shape = match (&a.shape, &b.shape) {
            (None, s) | (s, None) => s.clone(),
            (Some(s), Some(t)) if s.len() == t.len() => Some(
                s.iter()
                    .zip(t)
                    .map(|(x, y)| match (x, y) {
                        (Dim::Known(m), Dim::Known(n)) => (m == n).then_some(Dim::Known(*m)),
                        (Dim::Known(n), _) | (_, Dim::Known(n)) => Some(Dim::Known(*n)),
                        (Dim::Param(p), _) | (_, Dim::Param(p)) => Some(Dim::Param(p.clone())),
                        _ => Some(Dim::Unknown),
                    })
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        };
        Some(Self::Tensor(TensorType { dtype: a.dtype, shape }))
    }
}

/// As [`Type::meet`] of what sequences and optionals are made of. Exporters declare extents of one element
/// for all, so those that contradict each other are dropped.
fn met(a: &Type, b: &Type) -> Option<Box<Type>> {
    let kinds = || a.without_extents().meet(&b.without_extents());
    a.meet(b).or_else(kinds).map(Box::new)
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(t) => write!(f, "sequence({t})"),
            Self::Optional(t) => write!(f, "optional({t})"),
            Self::Unknown => f.write_str("?"),
            Self::Other => f.write_str("other"),
            Self::Tensor(TensorType { dtype, shape: None }) => write!(f, "{dtype}[..]"),
            Self::Tensor(TensorType { dtype, shape: Some(dims) }) => {
                write!(f, "{dtype}[")?;
                for (i, d) in dims.iter().enumerate() {
                    write!(f, "{}{d}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}
