//! The finite field of integers modulo 2^61 - 1, and keyed functions over it.
//!
//! Two computations that are the same rational function agree on every input. Two that are not
//! agree on random inputs with a probability of at most degree / 2^61. What is no rational
//! function (`exp`, comparisons, …) becomes a function drawn by a key, so that it keeps only the
//! laws that it is given here.

/// 2^61 - 1, a prime.
const P: u64 = (1 << 61) - 1;

/// An integer modulo 2^61 - 1, kept below it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash)]
pub struct Fp(u64);

// Plain methods, so that the arithmetic is the same in form for every kind of scalar.
#[allow(clippy::should_implement_trait)]
impl Fp {
    /// 0.
    pub const ZERO: Self = Self(0);
    /// 1.
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

    /// `self + o`
    #[inline]
    pub fn add(self, o: Self) -> Self {
        let s = self.0 + o.0;
        Self(if s >= P { s - P } else { s })
    }

    /// `-self`
    #[inline]
    pub fn neg(self) -> Self {
        Self(if self.0 == 0 { 0 } else { P - self.0 })
    }

    /// `self - o`
    #[inline]
    pub fn sub(self, o: Self) -> Self {
        self.add(o.neg())
    }

    /// `self * o`
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
        self.pow(P - 2)
    }
}

/// What draws the functions and values of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Key(pub u64);

impl Key {
    /// The key of what is named so.
    pub fn named(self, name: &str) -> Self {
        Self(name.bytes().fold(mix(self.0 ^ 0x6a09_e667_f3bc_c909), |h, b| mix(h ^ u64::from(b))))
    }

    /// The key of this number under this key.
    #[inline]
    pub fn with(self, x: u64) -> Self {
        Self(mix(mix(self.0 ^ x.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(x)))
    }

    /// The key of this number, by its bits; -0 counts as 0.
    pub fn with_f64(self, x: f64) -> Self {
        self.with((x + 0.0).to_bits())
    }

    /// 64 random bits for the element.
    #[inline]
    pub fn bits(self, x: Fp) -> u64 {
        self.with(x.0).0
    }

    /// A random element for the element.
    #[inline]
    pub fn apply(self, x: Fp) -> Fp {
        Fp::new(self.bits(x))
    }

    /// Stands for a floating-point constant: itself if it is a whole number up to 2^20, else drawn
    /// at random by its bits, with `-x` standing for the negative.
    pub fn embed(self, x: f64) -> Fp {
        if x.abs() <= f64::from(1 << 20) && x.fract() == 0.0 {
            return Fp::from_i64(x as i64);
        }
        let m = Fp::new(self.named("constant").with_f64(x.abs()).0);
        if x.is_sign_negative() { m.neg() } else { m }
    }
}

/// The finaliser of SplitMix64.
#[inline]
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_laws() {
        let key = Key(7);
        let draw = |i: u64| Fp::new(key.with(i).0);
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

    #[test]
    fn small_whole_numbers_are_embedded_as_themselves() {
        let key = Key(1);
        assert_eq!(key.embed(2.0).mul(key.embed(3.0)), key.embed(6.0));
        assert_eq!(key.embed(-0.0), Fp::ZERO);
        assert_eq!(key.embed(0.3).add(key.embed(-0.3)), Fp::ZERO);
        assert_ne!(key.embed(0.1).add(key.embed(0.2)), key.embed(0.1 + 0.2));
        assert_ne!(key.embed(0.5), Key(2).embed(0.5));
    }
}
