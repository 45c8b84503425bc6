//! What is drawn by a key: constants as elements of the field, and elements as real numbers.

use super::{Fp, P};

/// What draws the functions and values of one run.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Key<'a> {
    /// The 64 bits by which everything is drawn.
    pub bits: u64,
    /// Magnitudes about which real numbers are drawn, too, ascending: bounds of the models.
    marks: &'a [f64],
}

/// Bits after the point that are kept exactly.
const POINT: u32 = 20;
/// Greatest number, in units of 2^-20, that is embedded as itself.
const EXACT: u64 = 1 << 40;
/// Halves of a 61-bit string, and its low bits that are 0 in what constants are made of.
const HIGH: u64 = (1 << 30) - 1;
const LOW: u64 = (1 << 31) - 1;
const SPARE: u32 = 29;
/// What tells the uses of one key apart.
const CONSTANT: u64 = 0x3c6e_f372_fe94_f82b;
const REAL: u64 = 0xa54f_f53a_5f1d_36f1;

impl<'a> Key<'a> {
    /// A key without marks.
    pub fn new(bits: u64) -> Self {
        Self { bits, marks: &[] }
    }

    /// The key with these marks: magnitudes, ascending.
    pub fn marked(self, marks: &'a [f64]) -> Self {
        Self { marks, ..self }
    }

    /// A number by these bits: a mark, a number of `f32` beside it, or one between it and the
    /// next; `None` if there are no marks.
    pub fn near(self, bits: u64) -> Option<f64> {
        let n = self.marks.len().max(1);
        let i = (bits >> 3) as usize % n;
        let mark = *self.marks.get(i)?;
        let next = self.marks.get(i + 1).copied().unwrap_or(2.0 * mark + 1.0);
        let unit = (bits >> 40) as f64 / (1u64 << 24) as f64;
        Some(match bits & 7 {
            0..=2 => mark,
            3 => f64::from((mark as f32).next_up()),
            4 => f64::from((mark as f32).next_down()),
            _ => mark + (next - mark) * unit,
        })
    }

    /// The key of what is named so.
    pub fn named(self, name: &str) -> Self {
        let start = mix(self.bits ^ 0x6a09_e667_f3bc_c909);
        let bits = name.bytes().fold(start, |h, b| mix(h ^ u64::from(b)));
        Self { bits, ..self }
    }

    /// The key of this number under this key.
    #[inline]
    pub fn with(self, x: u64) -> Self {
        let bits = mix(mix(self.bits ^ x.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(x));
        Self { bits, ..self }
    }

    /// The key of this number, by its bits; -0 counts as 0.
    pub fn with_f64(self, x: f64) -> Self {
        self.with((x + 0.0).to_bits())
    }

    /// 64 random bits for the element.
    #[inline]
    pub fn draw(self, x: Fp) -> u64 {
        self.with(x.0).bits
    }

    /// A random element for the element.
    #[inline]
    pub fn apply(self, x: Fp) -> Fp {
        Fp::new(self.draw(x))
    }

    /// Stands for a floating-point constant; see the laws above. A number that `f32` does not hold
    /// is drawn at random by its bits.
    pub fn embed(self, x: f64) -> Fp {
        let (m, whole) = (x.abs(), x.abs() * f64::from(1 << POINT));
        let e = if whole <= EXACT as f64 && whole.fract() == 0.0 {
            // 2^-20 is 2^41, and a factor of a power of 2 is a rotation.
            Fp::new(rotated(whole as u64, 61 - POINT))
        } else if f64::from(m as f32) == m || m.is_nan() {
            Fp::new(self.permuted(u64::from((m as f32).to_bits()) << SPARE))
        } else {
            Fp::new(self.named("constant").with_f64(m).bits)
        };
        if x.is_sign_negative() { e.neg() } else { e }
    }

    /// The number that the element stands for, if it is the embedding of one.
    #[inline]
    pub fn known(self, x: Fp) -> Option<f64> {
        let n = rotated(x.0, POINT);
        if n <= EXACT {
            return Some(n as f64 / f64::from(1 << POINT));
        }
        if P - n <= EXACT {
            return Some(-((P - n) as f64) / f64::from(1 << POINT));
        }
        let number = |v: u64| {
            let bits = self.unpermuted(v);
            let spare = bits & ((1 << SPARE) - 1);
            (spare == 0).then(|| f64::from(f32::from_bits((bits >> SPARE) as u32)))
        };
        // The sign of what is permuted is 0.
        let positive = |x: f64| x.is_sign_positive();
        number(x.0)
            .filter(|&x| positive(x))
            .or_else(|| number(P - x.0).filter(|&x| positive(x)).map(|x| -x))
    }

    /// The real number by which the element is compared.
    #[inline]
    pub fn real(self, x: Fp) -> f64 {
        if x.0 == 0 {
            return 0.0;
        }
        match self.known(x) {
            Some(r) => r,
            None => self.drawn(x),
        }
    }

    fn drawn(self, x: Fp) -> f64 {
        let least = x.0.min(P - x.0);
        let h = mix(mix(self.bits ^ REAL).wrapping_add(least));
        let scaled = |exponent: i64| f64::from_bits(((1023 + exponent) as u64) << 52 | h >> 12);
        let (class, rest) = (h & 15, h >> 5 & 0x7f);
        let m = match class {
            0 => return 0.0,
            1 => (1 + rest % 8) as f64,
            2 => scaled(rest as i64 % 80 - 40),
            3..=6 if !self.marks.is_empty() => self.near(mix(h)).unwrap_or(1.0),
            _ => scaled(rest as i64 % 16 - 8),
        };
        if (h >> 4 & 1 == 1) != (x.0 != least) { -m } else { m }
    }

    /// A permutation of 61-bit strings: a Feistel network of four rounds.
    #[inline]
    fn permuted(self, x: u64) -> u64 {
        let (mut hi, mut lo) = (x >> 31, x & LOW);
        for r in [0, 2] {
            hi ^= self.round(r, lo) & HIGH;
            lo ^= self.round(r + 1, hi) & LOW;
        }
        hi << 31 | lo
    }

    #[inline]
    fn unpermuted(self, x: u64) -> u64 {
        let (mut hi, mut lo) = (x >> 31, x & LOW);
        for r in [2, 0] {
            lo ^= self.round(r + 1, hi) & LOW;
            hi ^= self.round(r, lo) & HIGH;
        }
        hi << 31 | lo
    }

    #[inline]
    fn round(self, r: u64, half: u64) -> u64 {
        mix(self.bits ^ CONSTANT ^ half ^ r << 56)
    }
}

/// The 61 bits rotated to the left.
#[inline]
fn rotated(x: u64, by: u32) -> u64 {
    (x << by & P) | x >> (61 - by)
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
    fn numbers_of_few_bits_are_embedded_as_themselves() {
        let key = Key::new(1);
        assert_eq!(key.embed(2.0).mul(key.embed(3.0)), key.embed(6.0));
        assert_eq!(key.embed(0.5).mul(key.embed(2.0)), Fp::ONE);
        assert_eq!(key.embed(0.5), Fp::from_i64(2).inverse());
        assert_eq!(key.embed(0.25).add(key.embed(-1.5)), key.embed(-1.25));
        assert_eq!(key.embed(-0.0), Fp::ZERO);
        assert_eq!(key.embed(0.3).add(key.embed(-0.3)), Fp::ZERO);
        assert_ne!(key.embed(0.1).add(key.embed(0.2)), key.embed(0.1 + 0.2));
        assert_ne!(key.embed(0.3), Key::new(2).embed(0.3));
    }

    /// Constants that bound keep their order under every key.
    #[test]
    fn constants_keep_their_order() {
        let all = [
            f64::NEG_INFINITY,
            f64::from(f32::MIN),
            -1e9,
            -6.0,
            f64::from(-0.1f32),
            0.0,
            f64::from(f32::MIN_POSITIVE),
            f64::from(1e-3f32),
            0.5,
            6.0,
            f64::from(6.1f32),
            f64::from(f32::MAX),
            f64::INFINITY,
        ];
        for seed in 0..200 {
            let key = Key::new(seed);
            for (i, &a) in all.iter().enumerate() {
                assert_eq!(key.real(key.embed(a)), a);
                let less = |b: &f64| key.real(key.embed(a)) < key.real(key.embed(*b));
                assert!(all[i + 1..].iter().all(less), "{a} under {seed}");
            }
            assert!(key.real(key.embed(f64::NAN)).is_nan());
        }
    }

    #[test]
    fn real_numbers_are_odd_and_spread() {
        let key = Key::new(3);
        let n = 64_000;
        let (mut zero, mut whole, mut negative, mut above6, mut small, mut far) =
            (0, 0, 0, 0, 0, 0);
        for i in 0..n {
            let x = Fp::new(Key::new(9).with(i).bits);
            let r = key.real(x);
            assert_eq!(key.real(x.neg()), -r);
            zero += usize::from(r == 0.0);
            whole += usize::from(r != 0.0 && r.abs() <= 8.0 && r.fract() == 0.0);
            negative += usize::from(r < 0.0);
            above6 += usize::from(r > 6.0);
            small += usize::from(r > 0.0 && r < 1.0);
            far += usize::from(r.abs() > 257.0 || r != 0.0 && r.abs() < 1.0 / 257.0);
        }
        let near = |x: usize, share: f64| (x as f64 / n as f64 - share).abs() < 0.01;
        assert!(near(zero, 1.0 / 16.0) && near(whole, 1.0 / 16.0), "{zero} {whole}");
        assert!(near(negative, 15.0 / 32.0), "{negative}");
        assert!(near(far, 1.0 / 16.0 * 0.8), "{far}");
        assert!(above6 > n as usize / 10 && small > n as usize / 6, "{above6} {small}");
    }

    /// A permutation, so that different constants are different elements.
    #[test]
    fn constants_can_be_had_again() {
        for i in 0..20_000u64 {
            let key = Key::new(i % 50);
            let x = f32::from_bits(key.with(i).bits as u32);
            if !x.is_nan() {
                assert_eq!(key.known(key.embed(f64::from(x))), Some(f64::from(x)));
            }
        }
        let key = Key::new(4);
        assert!((0..10_000).all(|i| key.unpermuted(key.permuted(i * 977)) == i * 977));
    }
}
