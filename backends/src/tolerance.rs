//! How far results of two ways to compute the same may lie apart.

use graph_opt_ir::{DType, Tensor};

/// Difference of two floating-point tensors.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// Largest absolute difference of two elements at the same place.
    pub absolute: f64,
    /// Largest distance in units in the last place of `f32`.
    pub ulp: u64,
    /// Largest magnitude in the reference.
    pub scale: f64,
    /// First element that differs in its bits, if one does.
    pub first: Option<usize>,
    /// Whether one is NaN or infinite where the other is not.
    pub unlike: bool,
}

impl Difference {
    /// Relative to the largest magnitude in the reference.
    pub fn relative(&self) -> f64 {
        if self.absolute == 0.0 { 0.0 } else { self.absolute / self.scale.max(f64::MIN_POSITIVE) }
    }

    /// Whether it is within what reassociated sums of a deep network may differ by: 1e-4 of the
    /// largest magnitude, which is also what peers' tools compare with.
    pub fn is_close(&self) -> bool {
        !self.unlike && (self.relative() <= CLOSE || self.absolute <= 1e-6)
    }
}

/// Relative difference that counts as close.
pub const CLOSE: f64 = 1e-4;

/// Compares element by element. NaN equals NaN only where both are.
pub fn difference(reference: &[f32], other: &[f32]) -> Difference {
    let wide = |v: &[f32]| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    difference_of(&wide(reference), &wide(other), false)
}

/// The same of numbers of `f64`, or of narrower ones that were widened.
pub fn difference_of(reference: &[f64], other: &[f64], double: bool) -> Difference {
    let mut d = Difference {
        absolute: 0.0,
        ulp: 0,
        scale: 0.0,
        first: None,
        unlike: reference.len() != other.len(),
    };
    for (i, (&a, &b)) in reference.iter().zip(other).enumerate() {
        if a.is_finite() {
            d.scale = d.scale.max(a.abs());
        }
        if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) {
            continue;
        }
        if !a.is_finite() || !b.is_finite() {
            // What is unlike is of more interest than what is close.
            if !std::mem::replace(&mut d.unlike, true) {
                d.first = Some(i);
            }
            continue;
        }
        d.first.get_or_insert(i);
        d.absolute = d.absolute.max((a - b).abs());
        d.ulp = d.ulp.max(if double {
            ordered64(a, b)
        } else {
            ordered(a as f32).abs_diff(ordered(b as f32))
        });
    }
    d
}

/// Units in the last place between two numbers of `f64`.
fn ordered64(a: f64, b: f64) -> u64 {
    let one = |x: f64| {
        let bits = i128::from(x.to_bits() & (u64::MAX >> 1));
        if x.is_sign_negative() { -bits } else { bits }
    };
    u64::try_from(one(a).abs_diff(one(b))).unwrap_or(u64::MAX)
}

/// The largest change of an element, as a share of the largest element of the reference. It is infinite
/// where elements are not finite any more, between tensors that cannot be compared, and where whole
/// numbers of more than 16 bits differ: they are indices as a rule.
pub fn change(reference: &Tensor, other: &Tensor) -> f64 {
    if reference == other {
        return 0.0;
    }
    if let (Some(a), Some(b)) = (reference.to_f32s(), other.to_f32s()) {
        let d = difference(&a, &b);
        return if d.unlike { f64::INFINITY } else { d.relative() };
    }
    let (Some(a), Some(b)) = (reference.to_i64s(), other.to_i64s()) else { return f64::INFINITY };
    if a.len() != b.len() || reference.dtype().bits() > 16 || reference.dtype() == DType::Bool {
        return f64::INFINITY;
    }
    let largest = a.iter().map(|x| x.unsigned_abs()).max().unwrap_or(0).max(1);
    let most = a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
    most as f64 / largest as f64
}

/// Floats in their order as whole numbers; neighbours differ by 1.
fn ordered(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & 0x7FFF_FFFF);
    if x.is_sign_negative() { -bits } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_equals_only_nan() {
        assert_eq!(difference(&[f32::NAN], &[f32::NAN]).first, None);
        assert!(difference(&[f32::NAN], &[1.0]).unlike);
        assert!(difference(&[1.0], &[f32::INFINITY]).unlike);
    }

    #[test]
    fn neighbours_are_one_ulp_apart() {
        let x = 1.0f32;
        let d = difference(&[x, -0.0], &[f32::from_bits(x.to_bits() + 1), 0.0]);
        assert_eq!((d.ulp, d.first), (1, Some(0)));
        assert!(d.is_close());
    }
}
