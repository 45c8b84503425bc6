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
    let shifted = c.mul_add(std::f32::consts::LOG2_E, magic);
    let n = shifted - magic;
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
    let i = (shifted.to_bits() as i32).wrapping_sub(magic.to_bits() as i32);
    let (a, b) = (i >> 1, i.wrapping_sub(i >> 1));
    let pow2 = |e: i32| f32::from_bits((e.wrapping_add(127) << 23) as u32);
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

/// The natural logarithm, within 1 unit in the last place (N. Juffa's polynomial over [2/3, 4/3),
/// <https://stackoverflow.com/a/39822314>).
#[inline(always)]
#[allow(clippy::excessive_precision)] // Coefficients as they are published.
pub(crate) fn log(x: f32) -> f32 {
    // Subnormal numbers are scaled first.
    let tiny = x < f32::MIN_POSITIVE;
    let a = if tiny { x * 8_388_608.0 } else { x };
    // a = m * 2^e with m in [2/3, 4/3).
    let e = (a.to_bits() as i32).wrapping_sub(0x3f2a_aaab) & !0x7f_ffff;
    let m = f32::from_bits((a.to_bits() as i32).wrapping_sub(e) as u32) - 1.0;
    let e = (e as f32).mul_add(1.192_092_90e-7, if tiny { -23.0 } else { 0.0 });
    let s = m * m;
    let r = (-0.130_310_059f32).mul_add(s, -0.121_483_512).mul_add(s, -0.166_846_126);
    let r = r.mul_add(s, -0.249_996_200);
    let t = 0.140_869_141f32.mul_add(s, 0.139_814_854).mul_add(s, 0.200_120_345);
    let r = t.mul_add(m, r).mul_add(m, 0.333_331_972).mul_add(m, -0.5);
    let y = e.mul_add(std::f32::consts::LN_2, r.mul_add(s, m));
    if a > 0.0 && a < f32::INFINITY {
        y
    } else if a == 0.0 {
        f32::NEG_INFINITY
    } else if a > 0.0 {
        a
    } else {
        f32::NAN
    }
}

/// The error function of `f32`, within 1 unit in the last place (N. Juffa's polynomials,
/// <https://stackoverflow.com/a/35148199>).
#[inline(always)]
#[allow(clippy::excessive_precision)] // Coefficients as they are published.
pub(crate) fn erf32(x: f32) -> f32 {
    let (t, s) = (x.abs(), x * x);
    let r = (-1.728_534_70e-5f32).mul_add(t, 3.831_971_26e-4);
    let u = (-3.883_964_38e-3f32).mul_add(t, 2.425_462_19e-2);
    let r = r.mul_add(s, u).mul_add(t, -1.067_778_77e-1).mul_add(t, -6.348_466_87e-1);
    let r = r.mul_add(t, -1.287_175_12e-1).mul_add(t, -t);
    let big = (1.0 - exp(r)).copysign(x);
    let p = (-5.967_617_03e-4f32).mul_add(s, 4.991_194_23e-3).mul_add(s, -2.676_813_49e-2);
    let p = p.mul_add(s, 1.128_199_25e-1).mul_add(s, -3.761_253_36e-1).mul_add(s, 1.283_791_66e-1);
    let small = p.mul_add(x, x);
    // NaN is not greater.
    if t > 0.927_734_4 { big } else { small }
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
#[allow(clippy::print_stdout)] // Read with --nocapture.
mod tests {
    use super::*;

    type Pair = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64);

    /// The functions, the same in f64, and the largest distance in units in the last place.
    const ALL: [Pair; 5] = [
        ("exp", exp, f64::exp, 1.0),
        ("log", log, f64::ln, 1.0),
        ("tanh", tanh, f64::tanh, 2.0),
        ("sigmoid", sigmoid, |x| 1.0 / (1.0 + (-x).exp()), 2.0),
        ("erf", erf32, erf, 1.0),
    ];

    /// Distance in units in the last place of the exact value, which are those of the least normal
    /// number below it.
    fn distance(y: f32, exact: f64) -> f64 {
        let near = exact as f32;
        if y.is_nan() || near.is_nan() || near.is_infinite() {
            return if y.is_nan() == near.is_nan() && (y.is_nan() || y == near) {
                0.0
            } else {
                f64::INFINITY
            };
        }
        let size = near.abs().max(f32::MIN_POSITIVE);
        let ulp = f64::from(f32::from_bits(size.to_bits() + 1)) - f64::from(size);
        (f64::from(y) - exact).abs() / ulp
    }

    fn check(bits: impl Iterator<Item = u32> + Clone) {
        for (name, f, exact, most) in ALL {
            let at = |b: u32| (distance(f(f32::from_bits(b)), exact(f32::from_bits(b).into())), b);
            let (far, b) =
                bits.clone().map(at).fold((0.0, 0), |m, d| if d.0 > m.0 { d } else { m });
            println!("{name}: {far:.3} units at {:e}", f32::from_bits(b));
            assert!(far <= most, "{name}: {far} units at {:e}", f32::from_bits(b));
        }
    }

    #[test]
    fn functions_are_within_their_distance() {
        check((0..=u32::MAX).step_by(65_521));
    }

    /// Every bit pattern of f32; docs/checks.md has the command. Most of the time goes to the reference erf in f64.
    #[test]
    #[ignore = "takes hours: 2^32 inputs for each function"]
    fn functions_are_within_their_distance_everywhere() {
        check(0..=u32::MAX);
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
