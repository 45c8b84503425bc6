//! What a kernel sees of its node: operator, operands, limits.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use graph_opt_ir::{DType, Op};

use super::array::{Array, Element};
use super::field::Key;
use super::gemm::{How, Rows, Strided};
use super::packs::Packs;
use super::simd::Level;
use super::spare;
use crate::RunError;
use crate::watch::Watch;

/// Shorthand for an error about operands or attributes.
macro_rules! invalid {
    ($($arg:tt)*) => { return Err($crate::RunError::Invalid(format!($($arg)*))) };
}
pub(crate) use invalid;

/// Shorthand for an error about what is valid but not implemented.
macro_rules! unsupported {
    ($($arg:tt)*) => { return Err($crate::RunError::Unsupported(format!($($arg)*))) };
}
pub(crate) use unsupported;

pub(crate) type Outputs = Result<Vec<Array>, RunError>;

/// What holds for a whole run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env<'a> {
    pub threads: usize,
    pub fused: bool,
    pub level: Level,
    /// Draws the functions of the finite field.
    pub key: Key<'a>,
    /// Whether floats that depend on inputs are elements of the finite field.
    pub field: bool,
    /// The narrowest type of floats that is known to hold the elements of the first operand, if
    /// that is not its own: what was widened and only moved since.
    pub held: Option<DType>,
    /// Told what is reached.
    pub watch: Option<&'a Watch>,
    /// Counts the turns of all loops of the run.
    pub turns: Option<&'a AtomicU64>,
    /// Tells random numbers of this node from those of others; `None` outside of a graph.
    pub draws: Option<u64>,
    /// Bytes that may be allocated: the limit less what is live.
    pub room: u64,
}

impl Env<'_> {
    pub fn how(&self) -> How {
        How { threads: self.threads, fused: self.fused, level: self.level }
    }
}

/// One node at run time.
pub(crate) struct Cx<'a> {
    pub op: &'a Op,
    pub opset: i64,
    pub inputs: Vec<Option<Array>>,
    pub outputs: usize,
    pub env: Env<'a>,
    /// Packed weights of earlier runs.
    pub packs: Option<&'a Packs>,
    /// Where the result is to stand, if that is decided.
    pub target: Mutex<Option<Array>>,
}

impl<'a> Cx<'a> {
    pub fn key(&self) -> Key<'a> {
        self.env.key
    }

    /// The operand, if it is there.
    pub fn opt(&self, i: usize) -> Option<&Array> {
        self.inputs.get(i)?.as_ref()
    }

    pub fn input(&self, i: usize) -> Result<&Array, RunError> {
        self.opt(i).ok_or_else(|| RunError::Invalid(format!("operand {i} is missing")))
    }

    /// The operand, no longer available afterwards; unshared if this node is its last reader.
    pub fn take(&mut self, i: usize) -> Result<Array, RunError> {
        let a = self.inputs.get_mut(i).and_then(Option::take);
        a.ok_or_else(|| RunError::Invalid(format!("operand {i} is missing")))
    }

    /// Elements of a whole-number operand.
    pub fn ints(&self, i: usize) -> Result<Vec<i64>, RunError> {
        self.input(i)?.to_i64s()
    }

    /// Elements of a whole-number operand, if it is there.
    pub fn opt_ints(&self, i: usize) -> Result<Option<Vec<i64>>, RunError> {
        self.opt(i).map(Array::to_i64s).transpose()
    }

    /// Elements of an operand as the real numbers by which they are compared.
    pub fn reals(&self, i: usize) -> Result<Vec<f64>, RunError> {
        let a = self.input(i)?;
        self.room::<f64>(&a.dims)?;
        a.reals(self.key())
    }

    /// The single element of an operand.
    pub fn int(&self, i: usize) -> Result<i64, RunError> {
        match self.ints(i)?[..] {
            [x] => Ok(x),
            ref v => invalid!("operand {i} has {} elements instead of one", v.len()),
        }
    }

    /// Number of elements of a shape, after checking that there is room for them.
    pub fn room<T>(&self, dims: &[usize]) -> Result<usize, RunError> {
        self.room_of(dims, size_of::<T>())
    }

    /// The same with elements of this many bytes.
    pub fn room_of(&self, dims: &[usize], size: usize) -> Result<usize, RunError> {
        room(self.env.room, dims, size)
    }

    /// The `m` by `k` weights in packed form.
    pub fn rows(&self, w: Strided<'_>, m: usize, k: usize) -> Arc<Rows> {
        let kept = self.packs.and_then(|p| p.rows(w, m, k));
        kept.unwrap_or_else(|| Arc::new(Rows::pack(w, m, k)))
    }

    fn target(&self) -> Option<Array> {
        self.target.lock().ok()?.take()
    }

    /// Whether it is decided where the result is to stand.
    pub fn has_target(&self) -> bool {
        self.target.lock().is_ok_and(|t| t.is_some())
    }

    /// Whether the result is to stand there.
    pub fn is_target(&self, a: &Array) -> bool {
        self.target.lock().is_ok_and(|t| t.as_ref().is_some_and(|t| t.stands_at(a)))
    }

    /// What the result of this shape is to be written to, all of it: its elements may have any values.
    pub fn output<T: Element>(&self, dims: &[usize], dtype: DType) -> Result<Array, RunError> {
        match self.target() {
            Some(t) if t.dims == dims => Ok(t),
            Some(t) => invalid!("a result of {dims:?} where {:?} was planned", t.dims),
            None => {
                let v = spare::unset(self.room::<T>(dims)?);
                Ok(Array { dims: dims.to_vec(), dtype, data: T::wrap(v) })
            }
        }
    }

    /// These elements where the result is to stand, and where they may be overwritten.
    pub fn over<T: Element>(&self, mut a: Array) -> Result<Array, RunError> {
        if a.is_target() {
            return Ok(a);
        }
        let mut out = match self.target() {
            Some(t) if t.stands_at(&a) => return Ok(t),
            Some(t) if t.dims == a.dims => t,
            Some(t) => invalid!("a result of {:?} where {:?} was planned", a.dims, t.dims),
            None if T::unshared(&mut a.data).is_some() => return Ok(a),
            None if a.is_contiguous() => {
                self.room::<T>(&a.dims)?;
                return Ok(Array { data: T::wrap(a.get::<T>()?.to_vec()), ..a });
            }
            None => self.output::<T>(&a.dims, a.dtype)?,
        };
        let step: Vec<isize> = a.strides().into_iter().map(|s| s as isize).collect();
        out.typed_mut::<T>()?.gather(&a.dims, a.typed::<T>()?, &step, 0);
        Ok(out)
    }

    /// A vector for a tensor of this shape.
    pub fn zeros<T: Element>(&self, dims: &[usize]) -> Result<Vec<T>, RunError> {
        Ok(spare::zeros(self.room::<T>(dims)?))
    }
}

fn room(left: u64, dims: &[usize], size: usize) -> Result<usize, RunError> {
    let n = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
    let bytes = n.and_then(|n| n.checked_mul(size.max(1)));
    match (n, bytes) {
        (Some(n), Some(b)) if b as u64 <= left => Ok(n),
        _ => Err(RunError::TooLarge {
            what: "tensor",
            elements: n.map_or(u64::MAX, |n| n as u64),
            left,
        }),
    }
}

/// The axis as an index below `rank`.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, RunError> {
    Ok(graph_opt_ir::op_context::axis_of(axis, rank)?)
}

/// An extent from a file.
pub(crate) fn extent(x: i64) -> Result<usize, RunError> {
    usize::try_from(x).map_err(|_| RunError::Invalid(format!("{x} cannot be an extent")))
}

/// The element type that an attribute names.
pub(crate) fn dtype_of(code: i64) -> Result<DType, RunError> {
    DType::from_onnx(code).ok_or_else(|| RunError::Invalid(format!("{code} is no element type")))
}

/// Distances in memory of neighbours along each axis, row-major.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut s = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        s[i - 1] = s[i].saturating_mul(dims[i]);
    }
    s
}
