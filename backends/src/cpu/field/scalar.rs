//! Arithmetic, order and functions of the field, as kernels see them.

use std::cmp::Ordering;

use super::super::scalar::{Fun, Real, Scalar};
use super::{Fp, Key};

/// Tags of drawn functions, apart from those of [`Fun`].
const INVERSE: u64 = 1000;
const POWER: u64 = 1001;
const MODULO: u64 = 1002;

/// Total order that refines the one of the real numbers and is as odd as they are.
fn order(x: Fp, y: Fp, k: Key<'_>) -> Ordering {
    let by_value = || k.real(x).total_cmp(&k.real(y));
    if x == y { Ordering::Equal } else { by_value().then(x.centred().cmp(&y.centred())) }
}

/// The inverse of x, or a drawn element where x stands for 0.
fn inverse(x: Fp, k: Key<'_>) -> Fp {
    if k.real(x) == 0.0 { k.with(INVERSE).apply(x) } else { x.inverse() }
}

impl Scalar for Fp {
    const ZERO: Self = Fp::ZERO;
    const ONE: Self = Fp::ONE;
    fn of(x: f64, k: Key<'_>) -> Self {
        k.embed(x)
    }
    #[inline(always)]
    fn plus(self, o: Self) -> Self {
        self.add(o)
    }
    #[inline(always)]
    fn minus(self, o: Self) -> Self {
        self.sub(o)
    }
    #[inline(always)]
    fn times(self, o: Self) -> Self {
        self.mul(o)
    }
    fn over(self, o: Self, k: Key<'_>) -> Self {
        self.mul(inverse(o, k))
    }
    #[inline(always)]
    fn fold<const FUSED: bool>(self, a: Self, b: Self) -> Self {
        self.add(a.mul(b))
    }
    /// Products are below 2^122, so they are added up as they are and reduced now and then.
    type Sum = u128;
    const NOTHING: u128 = 0;
    #[inline(always)]
    fn step<const FUSED: bool>(s: u128, a: Self, b: Self) -> u128 {
        let s = s + u128::from(a.get()) * u128::from(b.get());
        if (s >> 64) as u64 >= 1 << 63 { u128::from(Self::reduce(s).get()) } else { s }
    }
    #[inline(always)]
    fn total(s: u128) -> Self {
        Self::reduce(s)
    }
    #[inline]
    fn less(self, o: Self, k: Key<'_>) -> bool {
        self != o && k.real(self) < k.real(o)
    }
    #[inline]
    fn same(self, o: Self, k: Key<'_>) -> bool {
        k.real(self) == k.real(o)
    }
    #[inline]
    fn larger(self, o: Self, k: Key<'_>) -> Self {
        if order(self, o, k) == Ordering::Less { o } else { self }
    }
    #[inline]
    fn smaller(self, o: Self, k: Key<'_>) -> Self {
        if order(self, o, k) == Ordering::Greater { o } else { self }
    }
    #[inline(always)]
    fn opposite(self) -> Self {
        self.neg()
    }
    fn magnitude(self, k: Key<'_>) -> Self {
        if order(self, Fp::ZERO, k) == Ordering::Less { self.neg() } else { self }
    }
}

impl Real for Fp {
    const NATIVE: bool = false;
    fn call(f: Fun, x: Self, k: Key<'_>) -> Self {
        use Fun::*;
        let exp = |x| Self::call(Exp, x, k);
        let known = |f: fn(f64) -> f64| k.known(x).map(|x| k.embed(f(x)));
        let exact = match f {
            Sigmoid => Some(inverse(Fp::ONE.add(exp(x.neg())), k)),
            Tanh => {
                let e = exp(x.add(x));
                Some(e.sub(Fp::ONE).mul(inverse(e.add(Fp::ONE), k)))
            }
            Softplus => Some(Self::call(Log, Fp::ONE.add(exp(x)), k)),
            Floor => known(f64::floor),
            Ceil => known(f64::ceil),
            Round => known(f64::round_ties_even),
            Narrow16 => known(|x| crate::cpu::small::to_f16(x).to_f64()),
            NarrowB16 => known(|x| crate::cpu::small::to_bf16(x).to_f64()),
            Narrow32 => known(|x| f64::from(x as f32)),
            Exp | Cos | Cosh if x == Fp::ZERO => Some(Fp::ONE),
            Sqrt | Erf | Sin | Tan | Asin | Atan | Sinh | Asinh | Atanh if x == Fp::ZERO => Some(x),
            Sqrt if x == Fp::ONE => Some(x),
            Log | Acosh if x == Fp::ONE => Some(Fp::ZERO),
            _ => None,
        };
        exact.unwrap_or_else(|| k.with(f as u64).apply(x))
    }
    fn power(self, e: Self, k: Key<'_>) -> Self {
        let sqrt = || Self::call(Fun::Sqrt, self, k);
        match k.known(e) {
            Some(e) if e.fract() == 0.0 && e.abs() <= 64.0 => {
                let p = self.pow(e.abs() as u64);
                if e < 0.0 { inverse(p, k) } else { p }
            }
            Some(0.5) => sqrt(),
            Some(-0.5) => inverse(sqrt(), k),
            _ => Fp::new(k.with(POWER).with(self.get()).draw(e)),
        }
    }
    fn modulo(self, o: Self, fmod: bool, k: Key<'_>) -> Self {
        Fp::new(k.with(MODULO + u64::from(fmod)).with(self.get()).draw(o))
    }
}
