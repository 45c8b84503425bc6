//! Elementary functions of `f32`, written so that they vectorise. There is one implementation of
//! each, so that a result does not depend on where in a vector its element stands.

/// e^x, within 1 unit in the last place in the normal range.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these, the result is infinite or rounds to 0; NaN passes through both.
    let c = if x > 89.0 { 89.0 } else { x };
    let c = if c < -104.0 { -104.0 } else { c };
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    let magic = 12_582_912.0f32;
    let n = c.mul_add(std::f32::consts::LOG2_E, magic) - magic;
    // ln 2 in two parts, the first short enough that n times it is exact.
    let r = n.mul_add(-0.693_359_4, c);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let y = p.mul_add(r * r, r) + 1.0;
    // 2^n in two factors, as n may exceed the exponents of one.
    let i = n as i32;
    let (a, b) = (i >> 1, i - (i >> 1));
    let pow2 = |e: i32| f32::from_bits(((e + 127) << 23) as u32);
    y * pow2(a) * pow2(b)
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // From the side where the exponential is small, so that nothing overflows.
    let e = exp(-x.abs());
    let n = if x < 0.0 { e } else { 1.0 };
    n / (1.0 + e)
}

/// The hyperbolic tangent of each element.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let e = exp(-2.0 * a);
    let big = (1.0 - e) / (1.0 + e);
    // Near 0 the quotient would cancel; an odd polynomial instead (Cephes, tanhf).
    let z = x * x;
    let mut p = -5.704_988_7e-3f32;
    p = p.mul_add(z, 2.063_909e-2);
    p = p.mul_add(z, -5.373_971e-2);
    p = p.mul_add(z, 1.333_144_2e-1);
    p = p.mul_add(z, -3.333_328e-1);
    let small = (p * z).mul_add(x, x);
    if a < 0.625 { small } else { big.copysign(x) }
}

/// The natural logarithm of each element.
#[inline(always)]
pub(crate) fn log(x: f32) -> f32 {
    // Through f64, whose last bits absorb the error of the series.
    f64::from(x).ln() as f32
}

/// Error function, to the precision of f64 (after W. J. Cody's rational approximations as used in
/// FreeBSD's msun).
#[inline(always)]
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a >= 6.0 {
        return 1f64.copysign(x);
    }
    if a < 2.5 {
        // Series: 2/sqrt(pi) * x * e^(-x^2) * sum (2x^2)^n / (2n+1)!!, all terms positive.
        let (z, mut term, mut sum, mut n) = (2.0 * a * a, 1.0f64, 1.0f64, 1.0f64);
        while term > sum * 1e-17 {
            n += 2.0;
            term *= z / n;
            sum += term;
        }
        return std::f64::consts::FRAC_2_SQRT_PI * x * (-a * a).exp() * sum;
    }
    // Continued fraction of erfc, evaluated from the back.
    let mut f = 0.0;
    for k in (1..=60).rev() {
        f = f64::from(k) * 0.5 / (a + f);
    }
    let erfc = (-a * a).exp() / (std::f64::consts::PI.sqrt() * (a + f));
    (1.0 - erfc).copysign(x)
}

/// Softplus, log(1 + e^x), without overflow for large x.
#[inline(always)]
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest distance in units in the last place over the range.
    fn worst(f: impl Fn(f32) -> f32, g: impl Fn(f64) -> f64, lo: f32, hi: f32) -> f64 {
        let at = |i: u32| lo + (hi - lo) * (i as f32 / 100_000.0);
        let ulp = |y: f64| {
            f64::from(f32::from_bits((y as f32).abs().to_bits() + 1)) - y.abs() as f32 as f64
        };
        (0..=100_000)
            .map(|i| {
                let want = g(f64::from(at(i)));
                (f64::from(f(at(i))) - want).abs() / ulp(want)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_within_a_few_units_in_the_last_place() {
        assert!(worst(exp, f64::exp, -87.0, 88.0) < 1.5);
        assert!(worst(tanh, f64::tanh, -10.0, 10.0) < 2.5);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0) < 2.5);
        assert!(worst(log, f64::ln, 1e-6, 50.0) < 1.0);
    }

    #[test]
    fn functions_keep_the_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan());
        assert_eq!((tanh(50.0), tanh(-50.0)), (1.0, -1.0));
        assert_eq!((sigmoid(200.0), sigmoid(-200.0)), (1.0, 0.0));
        assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
        assert!((erf(3.0) - 0.999_977_909_503_001_4).abs() < 1e-15);
        assert_eq!(erf(-9.0), -1.0);
    }
}
