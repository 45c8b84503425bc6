//! Numbers of fewer than 16 bits: the floats of 8 and 4 bits and their rounding (ONNX, Cast; Micikevicius et
//! al., FP8 Formats for Deep Learning, 2022; OCP, Microscaling Formats, 2023), and the limits of whole ones.

use graph_opt_ir::DType;

use crate::RunError;
use crate::cpu::array::{Array, Buf};
use crate::cpu::cx::unsupported;

/// What happens to numbers beyond the greatest, and how `f8e8m0` rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rounding {
    pub saturate: bool,
    pub mode: Mode,
}

/// `round_mode` of Cast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Up,
    Down,
    Nearest,
}

impl Rounding {
    pub const DEFAULT: Self = Self { saturate: true, mode: Mode::Up };

    /// As the attributes of a Cast say.
    pub fn of(saturate: i64, mode: &str) -> Result<Self, RunError> {
        let mode = match mode {
            "up" => Mode::Up,
            "down" => Mode::Down,
            "nearest" => Mode::Nearest,
            other => return Err(RunError::Invalid(format!("round_mode {other:?}"))),
        };
        Ok(Self { saturate: saturate != 0, mode })
    }

    /// What of it matters for this type.
    pub fn key(self, to: DType) -> u64 {
        match to {
            DType::F8E8M0 => 2 + 2 * self.mode as u64 + u64::from(self.saturate),
            DType::F4E2M1 => 0,
            _ => u64::from(is_float(to) && self.saturate),
        }
    }
}

/// Whether it is a float of fewer than 16 bits.
pub(crate) fn is_float(t: DType) -> bool {
    use DType::*;
    matches!(t, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F4E2M1 | F8E8M0)
}

/// Whether it is a whole-number type of fewer than 8 bits.
pub(crate) fn is_whole(t: DType) -> bool {
    matches!(t, DType::I4 | DType::U4 | DType::I2 | DType::U2)
}

/// A float with a sign, an exponent and a mantissa.
#[derive(Clone, Copy)]
struct Format {
    mantissa: u32,
    /// Exponent of the least normal number.
    least: i32,
    sign: u8,
    /// Code of the greatest number.
    greatest: u8,
    /// Code of infinity, or of what stands for it.
    beyond: u8,
    nan: u8,
    /// Whether the code of -0 is NaN, and the only one.
    unsigned_zero: bool,
}

fn format(t: DType) -> Option<Format> {
    let of = |mantissa, least, sign, greatest, beyond, nan, unsigned_zero| {
        Some(Format { mantissa, least, sign, greatest, beyond, nan, unsigned_zero })
    };
    match t {
        DType::F8E4M3FN => of(3, -6, 0x80, 0x7e, 0x7f, 0x7f, false),
        DType::F8E4M3FNUZ => of(3, -7, 0x80, 0x7f, 0x80, 0x80, true),
        DType::F8E5M2 => of(2, -14, 0x80, 0x7b, 0x7c, 0x7e, false),
        DType::F8E5M2FNUZ => of(2, -15, 0x80, 0x7f, 0x80, 0x80, true),
        DType::F4E2M1 => of(1, 0, 0x8, 0x7, 0x7, 0x8, false),
        _ => None,
    }
}

/// The number in 32 bits, inexact ones with a last bit of 1. Rounded on to fewer bits, it is as if rounded
/// once.
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near) == x || x.is_nan() {
        return near;
    }
    let beyond = f64::from(near).abs() > x.abs();
    f32::from_bits((near.to_bits() - u32::from(beyond)) | 1)
}

/// The nearest `f16`. What the crate `half` has ignores the last 32 bits.
pub(crate) fn to_f16(x: f64) -> half::f16 {
    half::f16::from_f32(to_odd(x))
}

/// The nearest `bf16`.
pub(crate) fn to_bf16(x: f64) -> half::bf16 {
    half::bf16::from_f32(to_odd(x))
}

/// 2 to this power, for normal numbers of `f64`.
fn power(n: i32) -> f64 {
    f64::from_bits(((n + 1023) as u64) << 52)
}

/// Exponent of a positive number: 1 less than that of the least normal one if it is below.
fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// The code of the number in this type, which is a small float.
pub(crate) fn encode(x: f64, to: DType, r: Rounding) -> u8 {
    let Some(f) = format(to) else { return scale(x as f32, r) };
    let negative = x.is_sign_negative();
    let signed = |code: u8| if negative { code | f.sign } else { code };
    if x.is_nan() {
        // f4e2m1 has no NaN; converters give the zero of the other sign.
        let flips = to == DType::F4E2M1 && negative;
        return if f.unsigned_zero {
            f.nan
        } else if flips {
            0
        } else {
            signed(f.nan)
        };
    }
    let saturates = r.saturate || to == DType::F4E2M1;
    let over = match (saturates, f.unsigned_zero) {
        (true, _) => signed(f.greatest),
        (false, true) => f.nan,
        (false, false) => signed(f.beyond),
    };
    let a = x.abs();
    if a.is_infinite() {
        return over;
    }
    let e = exponent(a).max(f.least);
    // Exact: a scaling by a power of two.
    let q = (a / power(e - f.mantissa as i32)).round_ties_even() as i64;
    let code = q + (i64::from(e - f.least) << f.mantissa);
    match u8::try_from(code).ok().filter(|&c| c <= f.greatest) {
        Some(0) if f.unsigned_zero => 0,
        Some(c) => signed(c),
        None => over,
    }
}

/// The code of `f8e8m0`, a power of two; signs are dropped.
fn scale(x: f32, r: Rounding) -> u8 {
    let a = f64::from(x.abs());
    if a.is_nan() {
        return 0xff;
    }
    let (least, greatest) = (-127, 127);
    let (below, above) = if r.saturate { (0, 0xfe) } else { (0xff, 0xff) };
    if a < power(least) {
        return below;
    }
    if a.is_infinite() {
        return above;
    }
    let e = exponent(a);
    let part = a / power(e) - 1.0;
    let up = match r.mode {
        Mode::Up => part > 0.0,
        Mode::Down => false,
        Mode::Nearest => part >= 0.5,
    };
    match e + i32::from(up) {
        e if e > greatest => above,
        e => (e - least) as u8,
    }
}

/// The number with this code in this type, which is a small float.
pub(crate) fn decode(code: u8, of: DType) -> f64 {
    let Some(f) = format(of) else {
        return if code == 0xff { f64::NAN } else { power(i32::from(code) - 127) };
    };
    let m = code & (f.sign - 1);
    let negative = code & f.sign != 0;
    if f.unsigned_zero && code == f.nan || of == DType::F8E4M3FN && m == f.nan {
        return f64::NAN;
    }
    if of == DType::F8E5M2 && m >= f.beyond {
        let x = if m == f.beyond { f64::INFINITY } else { f64::NAN };
        return if negative { -x } else { x };
    }
    let (e, part) = (m >> f.mantissa, m & ((1 << f.mantissa) - 1));
    let unit = power(f.least - f.mantissa as i32);
    let x = match e {
        0 => f64::from(part) * unit,
        e => f64::from(part | 1 << f.mantissa) * unit * power(i32::from(e) - 1),
    };
    if negative { -x } else { x }
}

/// The numbers of an array of a small float.
pub(crate) fn decoded(a: &Array) -> Option<Vec<f64>> {
    let Buf::U8(v) = &a.data else { return None };
    is_float(a.dtype).then(|| v.iter().map(|&c| decode(c, a.dtype)).collect())
}

/// The low bits of a whole number, as a type of fewer than 8 bits.
pub(crate) fn low_bits(x: i128, to: DType) -> i8 {
    let shift = 8 - to.bits();
    let bits = (x as u8) << shift;
    match to {
        DType::I4 | DType::I2 => (bits as i8) >> shift,
        _ => (bits >> shift) as i8,
    }
}

/// Numbers below and above which the type has none, if it is small: those beyond become others.
pub(crate) fn bounds(t: DType) -> Option<(f64, f64)> {
    match (t, format(t)) {
        (_, Some(f)) => Some((-decode(f.greatest, t), decode(f.greatest, t))),
        (DType::F8E8M0, _) => Some((power(-127), power(127))),
        (DType::I4 | DType::I2, _) => {
            let half = power(t.bits() as i32 - 1);
            Some((-half - 1.0, half))
        }
        (DType::U4 | DType::U2, _) => Some((-1.0, power(t.bits() as i32))),
        _ => None,
    }
}

/// An array of the small type, of bits of numbers or codes.
pub(crate) fn array(dims: Vec<usize>, v: Vec<i8>, to: DType) -> Result<Array, RunError> {
    let a = match to {
        DType::I4 | DType::I2 => Array::new(dims, v),
        t if is_float(t) || is_whole(t) => {
            Array::new(dims, v.into_iter().map(|x| x as u8).collect())
        }
        t => unsupported!("{t} tensors"),
    };
    Ok(Array { dtype: to, ..a })
}

#[cfg(test)]
mod tests {
    use super::*;
    use DType::*;

    const SIGNED: [DType; 5] = [F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F4E2M1];
    const STRICT: Rounding = Rounding { saturate: false, mode: Mode::Up };

    #[test]
    fn numbers_are_their_own_rounding() {
        for t in SIGNED {
            for code in 0..=if t == F4E2M1 { 15 } else { 255 } {
                let x = decode(code, t);
                if !x.is_nan() {
                    assert_eq!(encode(x, t, STRICT), code, "{t} {x}");
                }
            }
        }
        for code in 0..255 {
            for mode in [Mode::Up, Mode::Down, Mode::Nearest] {
                let r = Rounding { saturate: false, mode };
                assert_eq!(encode(decode(code, F8E8M0), F8E8M0, r), code);
            }
        }
    }

    #[test]
    fn halves_are_rounded_once() {
        // Just above the middle of two neighbours, by less than f32 has digits for.
        let x = 1.0 + 2f64.powi(-8) + 2f64.powi(-40);
        assert_eq!(to_bf16(x).to_f64(), 1.0 + 2f64.powi(-7));
        assert_eq!(to_bf16(1.0 + 2f64.powi(-8)).to_f64(), 1.0);
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(to_f16(x).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(to_f16(-x).to_f64(), -1.0 - 2f64.powi(-10));
        assert!(to_bf16(1e300).is_infinite() && to_f16(f64::NAN).is_nan());
    }

    /// The nearest of all numbers, and of two the one with the even code.
    #[test]
    fn rounds_to_nearest_even() {
        for t in SIGNED {
            let f = format(t).unwrap();
            let all: Vec<f64> = (0..=f.greatest).map(|c| decode(c, t)).collect();
            for (c, w) in all.windows(2).enumerate() {
                let (low, high) = (c as u8, c as u8 + 1);
                let middle = (w[0] + w[1]) / 2.0;
                let even = if low % 2 == 0 { low } else { high };
                assert_eq!(encode(middle, t, STRICT), even, "{t} {middle}");
                assert_eq!(encode(middle.next_down(), t, STRICT), low);
                assert_eq!(encode(middle.next_up(), t, STRICT), high);
            }
        }
    }

    /// The tables of ONNX's Cast, and what ml_dtypes gives.
    #[test]
    fn numbers_beyond_the_greatest() {
        let row = |x: f64, r| SIGNED.map(|t| encode(x, t, r));
        let of = Rounding::DEFAULT;
        assert_eq!(row(f64::INFINITY, of), [0x7e, 0x7f, 0x7b, 0x7f, 0x7]);
        assert_eq!(row(-1e6, of), [0xfe, 0xff, 0xfb, 0xff, 0xf]);
        assert_eq!(row(f64::INFINITY, STRICT), [0x7f, 0x80, 0x7c, 0x80, 0x7]);
        assert_eq!(row(-1e6, STRICT), [0xff, 0x80, 0xfc, 0x80, 0xf]);
        assert_eq!(row(f64::NAN, of), [0x7f, 0x80, 0x7e, 0x80, 0x8]);
        assert_eq!(row(-0.0, of), [0x80, 0, 0x80, 0, 0x8]);
        // Half of the distance beyond the greatest number still rounds to it.
        assert_eq!(encode(464.0, F8E4M3FN, STRICT), 0x7e);
        assert_eq!(encode(464.1, F8E4M3FN, STRICT), 0x7f);
        assert_eq!(encode(3.3e38, F8E8M0, of), 0xfe);
        assert_eq!(encode(3.3e38, F8E8M0, STRICT), 0xff);
        assert_eq!([0.0, f64::INFINITY].map(|x| encode(x, F8E8M0, of)), [0, 0xfe]);
        assert_eq!([0.0, f64::INFINITY].map(|x| encode(x, F8E8M0, STRICT)), [0xff, 0xff]);
    }
}
