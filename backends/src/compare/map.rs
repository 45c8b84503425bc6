//! How much a value differs where, as a small picture.

use graph_opt_ir::Tensor;

use super::places::doubles;
use crate::cpu::{FieldData, FieldTensor, Key};

/// Most cells along an axis of the picture.
const CELLS: u64 = 96;
/// Most elements of a value that a picture is made of.
const ELEMENTS: usize = 1 << 26;

/// What the cells of a [`DifferenceMap`] hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// The largest absolute difference of their elements; infinite for NaN against a number.
    Largest,
    /// The share of their elements that differ.
    Share,
}

/// The differences of a value between two graphs over its last two axes, all others taken together.
#[derive(Clone, PartialEq, Debug)]
pub struct DifferenceMap {
    /// Extents of the value.
    pub dims: Vec<u64>,
    /// Number of rows of cells, along the axis before the last; 1 for a vector.
    pub rows: usize,
    /// Number of columns of cells, along the last axis.
    pub columns: usize,
    /// The cells, row by row.
    pub cells: Vec<f64>,
    /// What they hold.
    pub measure: Measure,
    /// Number of elements that differ.
    pub differing: u64,
    /// Number of elements.
    pub elements: u64,
}

impl DifferenceMap {
    /// Of two tensors; `None` if their types differ, or they are no floats, or they are very large.
    pub(super) fn of(x: &Tensor, y: &Tensor) -> Option<Self> {
        if x.dims() != y.dims() || x.dtype() != y.dtype() || x.len() > ELEMENTS {
            return None;
        }
        let numbers = |t: &Tensor| match t.dtype().is_float() {
            true => doubles(t),
            false => Some(t.to_i64s()?.into_iter().map(|n| n as f64).collect()),
        };
        let (a, b) = (numbers(x)?, numbers(y)?);
        let far = |(p, q): (&f64, &f64)| match (p.is_nan(), q.is_nan()) {
            (true, true) => 0.0,
            (false, false) if p == q => 0.0,
            (false, false) => (p - q).abs(),
            _ => f64::INFINITY,
        };
        Some(Self::new(x.dims(), Measure::Largest, a.iter().zip(&b).map(far)))
    }

    /// Of two tensors over the finite field, where numbers are equal or not.
    pub(super) fn of_field(p: &FieldTensor, q: &FieldTensor, key: Key<'_>) -> Option<Self> {
        if p.dims != q.dims || p.dtype != q.dtype || p.dims.iter().product::<usize>() > ELEMENTS {
            return None;
        }
        let (p, q) = (p.embedded(key.bits).ok()?, q.embedded(key.bits).ok()?);
        let dims: Vec<u64> = p.dims.iter().map(|&n| n as u64).collect();
        match (&p.data, &q.data) {
            (FieldData::Field(x), FieldData::Field(y)) => {
                let apart = x.iter().zip(y).map(|(a, b)| f64::from(u8::from(a != b)));
                Some(Self::new(&dims, Measure::Share, apart))
            }
            (FieldData::Native(x), FieldData::Native(y)) => Self::of(x, y),
            _ => None,
        }
    }

    fn new(dims: &[u64], measure: Measure, apart: impl Iterator<Item = f64>) -> Self {
        let (h, w) = match dims {
            [] => (1, 1),
            [w] => (1, *w),
            [.., h, w] => (*h, *w),
        };
        let (rows, columns) = (h.min(CELLS) as usize, w.min(CELLS) as usize);
        let (mut cells, mut counts) = (vec![0.0f64; rows * columns], vec![0u64; rows * columns]);
        let (mut differing, mut elements) = (0, 0);
        for (i, d) in apart.enumerate() {
            let (row, column) = ((i as u64 / w) % h, i as u64 % w);
            let (row, column) = (row * rows as u64 / h, column * columns as u64 / w);
            let at = row as usize * columns + column as usize;
            elements += 1;
            counts[at] += 1;
            differing += u64::from(d > 0.0);
            match measure {
                Measure::Largest => cells[at] = cells[at].max(d),
                Measure::Share => cells[at] += d,
            }
        }
        if measure == Measure::Share {
            cells.iter_mut().zip(&counts).for_each(|(c, n)| *c /= (*n).max(1) as f64);
        }
        Self { dims: dims.to_vec(), rows, columns, cells, measure, differing, elements }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_holds_the_largest_difference_of_its_elements() {
        let x = Tensor::f32s(&[1, 2, 2, 200], &[0.0; 800]).unwrap();
        let mut other = [0.0; 800];
        // Channel 0, row 1, column 199; channel 1, the same place; and one NaN.
        (other[399], other[799], other[0]) = (1.0, -3.0, f32::NAN);
        let y = Tensor::f32s(&[1, 2, 2, 200], &other).unwrap();
        let map = DifferenceMap::of(&x, &y).unwrap();
        assert_eq!((map.rows, map.columns, map.differing, map.elements), (2, 96, 3, 800));
        assert_eq!(map.cells[191], 3.0);
        assert_eq!(map.cells[0], f64::INFINITY);
        assert_eq!(map.cells.iter().filter(|c| **c > 0.0).count(), 2);
        assert_eq!(DifferenceMap::of(&x, &Tensor::f32s(&[800], &other).unwrap()), None);
    }
}
