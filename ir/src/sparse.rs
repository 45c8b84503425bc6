//! Sparse constants: initializers for which a file lists only the nonzero elements (ONNX,
//! SparseTensorProto).

use crate::tensor::{Data, Tensor, TensorError};
use crate::{DType, Digest, Hasher, Type};

/// A sparse constant: its shape, and the values and positions of its nonzero elements.
#[derive(Clone, Debug)]
pub struct Sparse {
    dims: Vec<u64>,
    values: Tensor,
    /// Positions in the flat dense tensor, ascending.
    at: Vec<u64>,
}

impl PartialEq for Sparse {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Sparse {
    /// A sparse tensor with extents `dims`. `values[i]` is the element at position `at[i]` of the flat,
    /// row-major dense tensor; positions ascend.
    ///
    /// # Errors
    /// If there is not one position for each value, they do not ascend, or one is out of range.
    pub fn new(dims: Vec<u64>, values: Tensor, at: Vec<u64>) -> Result<Self, TensorError> {
        let all = dims.iter().try_fold(1u64, |a, &d| a.checked_mul(d));
        let inside = at.last().is_none_or(|&last| all.is_some_and(|n| last < n));
        if values.len() != at.len() || !inside || !at.is_sorted_by(|a, b| a < b) {
            return Err(TensorError::Overflow(dims));
        }
        Ok(Self { dims, values, at })
    }

    /// Type of the dense tensor.
    pub fn ty(&self) -> Type {
        Type::tensor(self.values.dtype(), &self.dims)
    }

    /// Digest of the shape and of the nonzero elements with their positions.
    pub(crate) fn digest(&self) -> Digest {
        let mut h = Hasher::new("sparse");
        h.int(self.dims.len() as u64);
        self.dims.iter().chain(&self.at).for_each(|&n| _ = h.int(n));
        h.part(self.values.digest()).done()
    }

    /// The dense tensor, with zeros where nothing is listed.
    ///
    /// # Errors
    /// If it would take more than `max_bytes`, or its elements do not have a whole number of bytes.
    pub fn dense(&self, max_bytes: u64) -> Result<Tensor, TensorError> {
        let too_large = || TensorError::Overflow(self.dims.clone());
        let dtype: DType = self.values.dtype();
        let size = dtype.bytes_of(1).filter(|_| dtype.bits().is_multiple_of(8));
        let size = size.ok_or(TensorError::Type(dtype, "elements of whole bytes"))?;
        let all = self.dims.iter().try_fold(size, |a, &d| a.checked_mul(d));
        let all = all.filter(|&n| n <= max_bytes).ok_or_else(too_large)?;
        let mut out = vec![0u8; usize::try_from(all).map_err(|_| too_large())?];
        let size = size as usize;
        for (v, &at) in self.values.bytes()?.chunks_exact(size).zip(&self.at) {
            let from = at as usize * size;
            out[from..from + size].copy_from_slice(v);
        }
        Tensor::new(dtype, self.dims.clone(), Data::Bytes(out.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_has_the_values_where_they_belong() {
        let values = Tensor::f32s(&[2], &[2.0, -1.0]).unwrap();
        let s = Sparse::new(vec![2, 3], values.clone(), vec![1, 5]).unwrap();
        let dense = s.dense(24).unwrap();
        assert_eq!(dense.to_f32s().unwrap(), [0.0, 2.0, 0.0, 0.0, 0.0, -1.0]);
        assert!(s.dense(23).is_err());
        let other = Sparse::new(vec![2, 3], values.clone(), vec![1, 4]).unwrap();
        assert_ne!(s, other);
        for at in [vec![1], vec![5, 1], vec![1, 1], vec![1, 6]] {
            assert!(Sparse::new(vec![2, 3], values.clone(), at).is_err());
        }
        assert!(Sparse::new(vec![1 << 40, 1 << 40], values, vec![0, 1]).is_err());
    }
}
