//! What operators compute with: whole numbers, floating-point numbers, and the finite field.
//!
//! Kernels are written once, over [`Scalar`] or [`Real`]. 16-bit floats are not here: they are
//! widened to `f32` before an operator and rounded once after it.

use super::array::Element;
use super::field::Key;
use super::math;

/// A number that can be added, multiplied and ordered.
pub(crate) trait Scalar: Element + Copy + PartialEq {
    const ZERO: Self;
    const ONE: Self;
    /// Whether arithmetic rounds, so that the order of sums matters.
    const ROUNDS: bool = false;
    /// Stands for the number (rounded; in the field, see [`Key::embed`]).
    fn of(x: f64, k: Key<'_>) -> Self;
    fn plus(self, o: Self) -> Self;
    fn minus(self, o: Self) -> Self;
    fn times(self, o: Self) -> Self;
    /// Quotient. Whole numbers truncate, and anything over 0 is 0; in the field 1/0 is drawn.
    fn over(self, o: Self, k: Key<'_>) -> Self;
    /// `a * b + self`, rounded once if `FUSED`, else after each of the two.
    fn fold<const FUSED: bool>(self, a: Self, b: Self) -> Self;
    /// What a long sum of products is kept in.
    type Sum: Copy;
    /// The sum of no terms, from which sums start.
    const NOTHING: Self::Sum;
    /// One step of such a sum, as [`Scalar::fold`].
    fn step<const FUSED: bool>(s: Self::Sum, a: Self, b: Self) -> Self::Sum;
    /// The scalar that a sum in progress comes to.
    fn total(s: Self::Sum) -> Self;
    /// IEEE's `<` over floats; in the field, of the real numbers that stand for the elements.
    fn less(self, o: Self, k: Key<'_>) -> bool;

    /// Whether they compare equal.
    #[inline(always)]
    fn same(self, o: Self, _: Key<'_>) -> bool {
        self == o
    }

    fn is_nan(self) -> bool {
        false
    }

    /// The slice as one of `f32`, if it is.
    fn as_f32s(_: &[Self]) -> Option<&[f32]> {
        None
    }

    /// The slice as one of `f32`, if it is.
    fn as_f32s_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    /// The greater; NaN if either is.
    #[inline(always)]
    fn larger(self, o: Self, k: Key<'_>) -> Self {
        if self.less(o, k) || o.is_nan() { o } else { self }
    }

    /// The smaller; NaN if either is.
    #[inline(always)]
    fn smaller(self, o: Self, k: Key<'_>) -> Self {
        if o.less(self, k) || o.is_nan() { o } else { self }
    }

    #[inline(always)]
    fn negative(self, k: Key<'_>) -> bool {
        self.less(Self::ZERO, k)
    }

    #[inline(always)]
    fn opposite(self) -> Self {
        Self::ZERO.minus(self)
    }

    /// The absolute value, by the order of the key.
    #[inline(always)]
    fn magnitude(self, k: Key<'_>) -> Self {
        if self.negative(k) { self.opposite() } else { self }
    }
}

/// Functions that are not rational.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fun {
    Exp,
    Log,
    Sqrt,
    Tanh,
    Sigmoid,
    Erf,
    Softplus,
    Floor,
    Ceil,
    Round,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    /// Rounding to a narrower type.
    Narrow16,
    NarrowB16,
    Narrow32,
}

/// A number with the elementary functions.
pub(crate) trait Real: Scalar {
    /// Whether it is a floating-point number rather than the field.
    const NATIVE: bool = true;
    fn call(f: Fun, x: Self, k: Key<'_>) -> Self;
    fn power(self, e: Self, k: Key<'_>) -> Self;
    /// Remainder: with the sign of the dividend (`fmod`), else of the divisor.
    fn modulo(self, o: Self, fmod: bool, k: Key<'_>) -> Self;
}

macro_rules! float {
    ($t:ident $($more:item)*) => {
        impl Scalar for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const ROUNDS: bool = true;
            #[inline(always)]
            fn of(x: f64, _: Key<'_>) -> Self {
                x as Self
            }
            #[inline(always)]
            fn plus(self, o: Self) -> Self {
                self + o
            }
            #[inline(always)]
            fn minus(self, o: Self) -> Self {
                self - o
            }
            #[inline(always)]
            fn times(self, o: Self) -> Self {
                self * o
            }
            #[inline(always)]
            fn over(self, o: Self, _: Key<'_>) -> Self {
                self / o
            }
            #[inline(always)]
            fn fold<const FUSED: bool>(self, a: Self, b: Self) -> Self {
                if FUSED { a.mul_add(b, self) } else { a * b + self }
            }
            type Sum = Self;
            const NOTHING: Self = Self::ZERO;
            #[inline(always)]
            fn step<const FUSED: bool>(s: Self, a: Self, b: Self) -> Self {
                s.fold::<FUSED>(a, b)
            }
            #[inline(always)]
            fn total(s: Self) -> Self {
                s
            }
            #[inline(always)]
            fn less(self, o: Self, _: Key<'_>) -> bool {
                self < o
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self != self
            }
            #[inline(always)]
            fn opposite(self) -> Self {
                -self
            }
            $($more)*
        }
    };
}
float!(f32
    fn as_f32s(v: &[f32]) -> Option<&[f32]> {
        Some(v)
    }
    fn as_f32s_mut(v: &mut [f32]) -> Option<&mut [f32]> {
        Some(v)
    }
);
float!(f64);

macro_rules! whole {
    ($($t:ident)*) => { $(
        impl Scalar for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            #[inline(always)]
            fn of(x: f64, _: Key<'_>) -> Self {
                x as Self
            }
            #[inline(always)]
            fn plus(self, o: Self) -> Self {
                self.wrapping_add(o)
            }
            #[inline(always)]
            fn minus(self, o: Self) -> Self {
                self.wrapping_sub(o)
            }
            #[inline(always)]
            fn times(self, o: Self) -> Self {
                self.wrapping_mul(o)
            }
            #[inline(always)]
            fn over(self, o: Self, _: Key<'_>) -> Self {
                if o == 0 { 0 } else { self.wrapping_div(o) }
            }
            #[inline(always)]
            fn fold<const FUSED: bool>(self, a: Self, b: Self) -> Self {
                self.wrapping_add(a.wrapping_mul(b))
            }
            type Sum = Self;
            const NOTHING: Self = Self::ZERO;
            #[inline(always)]
            fn step<const FUSED: bool>(s: Self, a: Self, b: Self) -> Self {
                s.fold::<FUSED>(a, b)
            }
            #[inline(always)]
            fn total(s: Self) -> Self {
                s
            }
            #[inline(always)]
            fn less(self, o: Self, _: Key<'_>) -> bool {
                self < o
            }
        }
    )* };
}
whole!(i64 u64);

impl Real for f32 {
    #[inline(always)]
    fn call(f: Fun, x: Self, _: Key<'_>) -> Self {
        match f {
            Fun::Exp => math::exp(x),
            Fun::Log => math::log(x),
            Fun::Sqrt => x.sqrt(),
            Fun::Tanh => math::tanh(x),
            Fun::Sigmoid => math::sigmoid(x),
            Fun::Erf => math::erf32(x),
            Fun::Softplus => math::softplus(f64::from(x)) as Self,
            Fun::Floor => x.floor(),
            Fun::Ceil => x.ceil(),
            Fun::Round => x.round_ties_even(),
            Fun::Sin => x.sin(),
            Fun::Cos => x.cos(),
            Fun::Tan => x.tan(),
            Fun::Asin => x.asin(),
            Fun::Acos => x.acos(),
            Fun::Atan => x.atan(),
            Fun::Sinh => x.sinh(),
            Fun::Cosh => x.cosh(),
            Fun::Asinh => f64::from(x).asinh() as Self,
            Fun::Acosh => f64::from(x).acosh() as Self,
            Fun::Atanh => f64::from(x).atanh() as Self,
            Fun::Narrow16 => half::f16::from_f32(x).to_f32(),
            Fun::NarrowB16 => half::bf16::from_f32(x).to_f32(),
            Fun::Narrow32 => x,
        }
    }
    #[inline(always)]
    fn power(self, e: Self, _: Key<'_>) -> Self {
        self.powf(e)
    }
    #[inline(always)]
    fn modulo(self, o: Self, fmod: bool, _: Key<'_>) -> Self {
        let r = self % o;
        if !fmod && r != 0.0 && (r < 0.0) != (o < 0.0) { r + o } else { r }
    }
}

impl Real for f64 {
    #[inline(always)]
    fn call(f: Fun, x: Self, _: Key<'_>) -> Self {
        match f {
            Fun::Exp => x.exp(),
            Fun::Log => x.ln(),
            Fun::Sqrt => x.sqrt(),
            Fun::Tanh => x.tanh(),
            Fun::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Fun::Erf => math::erf(x),
            Fun::Softplus => math::softplus(x),
            Fun::Floor => x.floor(),
            Fun::Ceil => x.ceil(),
            Fun::Round => x.round_ties_even(),
            Fun::Sin => x.sin(),
            Fun::Cos => x.cos(),
            Fun::Tan => x.tan(),
            Fun::Asin => x.asin(),
            Fun::Acos => x.acos(),
            Fun::Atan => x.atan(),
            Fun::Sinh => x.sinh(),
            Fun::Cosh => x.cosh(),
            Fun::Asinh => x.asinh(),
            Fun::Acosh => x.acosh(),
            Fun::Atanh => x.atanh(),
            Fun::Narrow16 => crate::cpu::small::to_f16(x).to_f64(),
            Fun::NarrowB16 => crate::cpu::small::to_bf16(x).to_f64(),
            Fun::Narrow32 => Self::from(x as f32),
        }
    }
    #[inline(always)]
    fn power(self, e: Self, _: Key<'_>) -> Self {
        self.powf(e)
    }
    #[inline(always)]
    fn modulo(self, o: Self, fmod: bool, _: Key<'_>) -> Self {
        let r = self % o;
        if !fmod && r != 0.0 && (r < 0.0) != (o < 0.0) { r + o } else { r }
    }
}
