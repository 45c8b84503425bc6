//! The finite field of integers modulo 2^61 - 1, and keyed functions over it.
//!
//! Two computations that are the same rational function agree on every input. Two that are not
//! agree on inputs drawn uniformly with a probability of at most degree / 2^61 a run. What is no
//! rational function becomes a function drawn by a key, which keeps only the laws that it is given:
//!
//! - *Constants.* n * 2^-20 with |n| <= 2^40 is itself, so that /2 and *0.5 agree. Another number of
//!   `f32` goes through a keyed permutation of 61 bits ([`Key::embed`]), so it looks random, and its
//!   value can be had again ([`Key::known`]). -x is the negative of x.
//! - *Order.* All comparisons, extrema and selections read one keyed real number of the element,
//!   [`Key::real`]: constants have their own value, other elements have a drawn one, with
//!   real(-x) = -real(x), of which 1/16 are 0, 1/16 whole numbers up to 8, 1/16 have magnitudes
//!   over 2^-40 to 2^40, and the rest over 2^-8 to 2^8. So both sides of Relu, Clip(0, 6) and
//!   HardSigmoid occur, as do zeros and ties. Greatest and least of different elements that tie
//!   are chosen by the elements, whatever the order of operands.
//! - *Quotients.* 1/0 is a drawn element, and x/x is 1 but where x is 0.
//! - *Functions.* e^0 = 1 and its like. Sigmoid, Tanh and Softplus are made of the exponential and
//!   the logarithm; Softmax and its like take the mean from every element before, so that they do
//!   not change with a shift or a permutation. Whole powers are products. Rounding to a narrower type and
//!   conversion to whole numbers are drawn functions, except of constants and of what is known to
//!   be of the narrower type already.
//!
//! The probability above is that of runs with fully random inputs, of models without such keyed
//! functions; with them it is that of random functions that agree by chance. It says nothing of
//! rounding, overflow, NaN and signs of zero: of these, only runs on backends can tell. Nor does
//! it of what no run reached, which comparisons name.

mod key;
mod scalar;

pub use key::Key;

/// 2^61 - 1, a prime.
const P: u64 = (1 << 61) - 1;

/// An integer modulo 2^61 - 1, kept below it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash)]
pub struct Fp(u64);

// Plain methods, so that the arithmetic is the same in form for every kind of scalar.
#[allow(clippy::should_implement_trait)]
impl Fp {
    /// The neutral element of addition.
    pub const ZERO: Self = Self(0);
    /// The neutral element of multiplication.
    pub const ONE: Self = Self(1);

    /// The integer modulo 2^61 - 1.
    pub fn new(x: u64) -> Self {
        let x = (x & P) + (x >> 61);
        Self(if x >= P { x - P } else { x })
    }

    /// The integer modulo 2^61 - 1.
    pub fn from_i64(x: i64) -> Self {
        let m = Self::new(x.unsigned_abs());
        if x < 0 { m.neg() } else { m }
    }

    /// The integer modulo 2^61 - 1.
    #[inline]
    pub fn reduce(x: u128) -> Self {
        // 2^61 is 1, so 61-bit digits add up.
        let low = (x as u64 & P) + ((x >> 61) as u64 & P) + (x >> 122) as u64;
        Self::new(low)
    }

    /// The representative below 2^61 - 1.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The sum `self + o` modulo 2^61 - 1.
    #[inline]
    pub fn add(self, o: Self) -> Self {
        let s = self.0 + o.0;
        Self(if s >= P { s - P } else { s })
    }

    /// The additive inverse of `self`.
    #[inline]
    pub fn neg(self) -> Self {
        Self(if self.0 == 0 { 0 } else { P - self.0 })
    }

    /// The difference `self - o` modulo 2^61 - 1.
    #[inline]
    pub fn sub(self, o: Self) -> Self {
        self.add(o.neg())
    }

    /// The product `self * o` modulo 2^61 - 1.
    #[inline]
    pub fn mul(self, o: Self) -> Self {
        let x = u128::from(self.0) * u128::from(o.0);
        let s = (x as u64 & P) + (x >> 61) as u64;
        Self(if s >= P { s - P } else { s })
    }

    /// `self` to this power.
    pub fn pow(self, mut e: u64) -> Self {
        let (mut base, mut acc) = (self, Self::ONE);
        while e > 0 {
            if e & 1 == 1 {
                acc = acc.mul(base);
            }
            base = base.mul(base);
            e >>= 1;
        }
        acc
    }

    /// The inverse; 0 for 0.
    pub fn inverse(self) -> Self {
        // To the power 2^61 - 3, by powers 2^n - 1.
        let join = |a: Self, b: Self, n: u32| (0..n).fold(a, |x, _| x.mul(x)).mul(b);
        let p2 = join(self, self, 1);
        let p4 = join(p2, p2, 2);
        let p8 = join(p4, p4, 4);
        let p16 = join(p8, p8, 8);
        let p32 = join(p16, p16, 16);
        let p59 = join(join(join(join(p32, p16, 16), p8, 8), p2, 2), self, 1);
        join(p59, self, 2)
    }

    /// The representative nearest to 0, which is odd: that of `-x` is the negative of that of `x`.
    pub fn centred(self) -> i64 {
        if self.0 > P / 2 { -((P - self.0) as i64) } else { self.0 as i64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_laws() {
        let key = Key::new(7);
        let draw = |i: u64| Fp::new(key.with(i).bits);
        for i in 0..500 {
            let (a, b, c) = (draw(3 * i), draw(3 * i + 1), draw(3 * i + 2));
            assert_eq!(a.add(b), b.add(a));
            assert_eq!(a.mul(b), b.mul(a));
            assert_eq!(a.mul(b.add(c)), a.mul(b).add(a.mul(c)));
            assert_eq!(a.mul(b).mul(c), a.mul(b.mul(c)));
            assert_eq!(a.sub(a), Fp::ZERO);
            assert_eq!(a.mul(a.inverse()), Fp::ONE);
            assert!(a.get() < P && a.mul(b).get() < P && a.add(b).get() < P);
        }
        assert_eq!(Fp::from_i64(-1).add(Fp::ONE), Fp::ZERO);
        assert_eq!(Fp::new(P), Fp::ZERO);
        assert_eq!(Fp::new(u64::MAX), Fp::new(7));
    }
}
