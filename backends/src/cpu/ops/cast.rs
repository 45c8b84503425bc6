//! Conversions between element types.

use graph_opt_ir::{DType, Op};

use crate::RunError;
use crate::cpu::array::{Array, Buf, Element, Text, on_any};
use crate::cpu::cx::{Cx, Outputs, dtype_of, invalid, unsupported};
use crate::cpu::field::Fp;
use crate::cpu::scalar::{Fun, Real};
use crate::cpu::small::{self, Rounding};

pub(super) fn cast(cx: &mut Cx<'_>) -> Outputs {
    let Op::Cast(o) = cx.op else { invalid!("not a Cast") };
    let to = dtype_of(o.to)?;
    let a = cx.take(0)?;
    Ok(vec![convert(cx, a, to)?])
}

/// How the node rounds to types of few bits.
fn rounding(op: &Op) -> Result<Rounding, RunError> {
    match op {
        Op::Cast(o) => Rounding::of(o.saturate, &o.round_mode),
        _ => Ok(Rounding::DEFAULT),
    }
}

/// The elements in another type.
pub(super) fn convert(cx: &Cx<'_>, a: Array, to: DType) -> Result<Array, RunError> {
    if a.dtype == to {
        return Ok(a);
    }
    if let Buf::Field(v) = &a.data {
        return field_cast(cx, v, &a, to);
    }
    let dims = &a.dims;
    // The pairs that networks use in earnest.
    match (&a.data, to) {
        (Buf::F32(_), DType::F16) => {
            cx.room::<half::f16>(dims)?;
            return Ok(a.narrowed(to));
        }
        (Buf::F16(_), DType::F32) => {
            cx.room::<f32>(dims)?;
            return Ok(a.widened());
        }
        (Buf::F32(v), DType::I64) => return each(cx, dims, v, |x| whole_of(x.into()) as i64),
        (Buf::F32(v), DType::I32) => return each(cx, dims, v, |x| whole_of(x.into()) as i32),
        (Buf::F32(v), DType::F64) => return each(cx, dims, v, f64::from),
        (Buf::F64(v), DType::F32) => return each(cx, dims, v, |x| x as f32),
        (Buf::I32(v), DType::F32) => return each(cx, dims, v, |x| x as f32),
        (Buf::I64(v), DType::F32) => return each(cx, dims, v, |x| x as f32),
        (Buf::U8(v), DType::F32) if a.is_computable() => return each(cx, dims, v, f32::from),
        _ => {}
    }
    let parsed = match &a.data {
        Buf::Str(v) => {
            cx.room_of(dims, size_of::<Number>())?;
            v.iter().map(|s| parse(s, to)).collect::<Result<Vec<Number>, _>>()?
        }
        _ => vec![],
    };
    let number: &dyn Fn(usize) -> Number = match &a.data {
        Buf::F32(v) => &|i| Number::Float(v[i].into()),
        Buf::F64(v) => &|i| Number::Float(v[i]),
        Buf::F16(v) => &|i| Number::Float(v[i].to_f64()),
        Buf::BF16(v) => &|i| Number::Float(v[i].to_f64()),
        Buf::I8(v) => &|i| Number::Whole(v[i].into()),
        Buf::I16(v) => &|i| Number::Whole(v[i].into()),
        Buf::I32(v) => &|i| Number::Whole(v[i].into()),
        Buf::I64(v) => &|i| Number::Whole(v[i].into()),
        Buf::U8(v) if small::is_float(a.dtype) => &|i| Number::Float(small::decode(v[i], a.dtype)),
        Buf::U8(v) => &|i| Number::Whole(v[i].into()),
        Buf::U16(v) => &|i| Number::Whole(v[i].into()),
        Buf::U32(v) => &|i| Number::Whole(v[i].into()),
        Buf::U64(v) => &|i| Number::Whole(v[i].into()),
        Buf::Bool(v) => &|i| Number::Whole(v[i].into()),
        Buf::Str(_) => &|i| parsed[i],
        _ => unsupported!("Cast from {}", a.dtype),
    };
    if to == DType::String {
        let n = cx.room_of(dims, 64)?;
        let text = |i| Text::from(text(number(i), a.dtype).into_bytes());
        return Ok(Array::new(dims.clone(), (0..n).map(text).collect()));
    }
    if small::is_float(to) || small::is_whole(to) {
        let n = cx.room::<u8>(dims)?;
        let r = rounding(cx.op)?;
        let one = |i| match number(i) {
            x if small::is_float(to) => small::encode(x.float(), to, r) as i8,
            Number::Float(x) => small::low_bits(whole_of(x), to),
            Number::Whole(x) => small::low_bits(x, to),
        };
        return small::array(dims.clone(), (0..n).map(one).collect(), to);
    }
    macro_rules! to {
        ($($dtype:ident $t:ty: $x:ident => $float:expr, $whole:expr;)*) => {
            match to {
                $(DType::$dtype => {
                    let n = cx.room::<$t>(dims)?;
                    let one = |i| match number(i) {
                        Number::Float($x) => $float,
                        Number::Whole($x) => $whole,
                    };
                    Array::new(dims.clone(), (0..n).map(one).collect::<Vec<$t>>())
                })*
                _ => unsupported!("Cast to {to}"),
            }
        };
    }
    Ok(to! {
        F32 f32: x => x as f32, x as f32;
        F64 f64: x => x, x as f64;
        F16 half::f16: x => small::to_f16(x), small::to_f16(x as f64);
        BF16 half::bf16: x => small::to_bf16(x), small::to_bf16(x as f64);
        Bool bool: x => x != 0.0, x != 0;
        I8 i8: x => whole_of(x) as i8, x as i8;
        I16 i16: x => whole_of(x) as i16, x as i16;
        I32 i32: x => whole_of(x) as i32, x as i32;
        I64 i64: x => whole_of(x) as i64, x as i64;
        U8 u8: x => whole_of(x) as u8, x as u8;
        U16 u16: x => whole_of(x) as u16, x as u16;
        U32 u32: x => whole_of(x) as u32, x as u32;
        U64 u64: x => whole_of(x) as u64, x as u64;
    })
}

/// An element on its way between types.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Whole(i128),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Float(x) => x,
            Self::Whole(x) => x as f64,
        }
    }
}

/// The number that a string says.
fn parse(s: &[u8], to: DType) -> Result<Number, RunError> {
    let text = std::str::from_utf8(s).unwrap_or_default().trim();
    let is_whole = to.is_int() || small::is_whole(to);
    let number = match text.trim_start_matches(['+', '-']) {
        digits if digits.is_empty() || text.len() - digits.len() > 1 => None,
        _ if is_whole => text.parse().ok().map(Number::Whole),
        // Rust also takes "infinity".
        digits if digits.len() > 3 && digits.contains(['f', 'F']) => None,
        _ => text.parse().ok().map(Number::Float),
    };
    match number {
        _ if to == DType::Bool => unsupported!("Cast from strings to bool"),
        Some(n) => Ok(n),
        None => {
            let kind = if is_whole { "whole number" } else { "number" };
            invalid!("{:?} is no {kind}", String::from_utf8_lossy(&s[..s.len().min(40)]))
        }
    }
}

/// The number as NumPy prints it: the fewest digits that tell it from its neighbours.
fn text(n: Number, of: DType) -> String {
    let x = match n {
        Number::Whole(x) if of == DType::Bool => {
            return if x == 0 { "False" } else { "True" }.into();
        }
        Number::Whole(x) => return x.to_string(),
        Number::Float(x) if x.is_nan() => return "nan".into(),
        Number::Float(x) if x.is_infinite() => return if x > 0.0 { "inf" } else { "-inf" }.into(),
        Number::Float(x) => x,
    };
    let half = |round: &dyn Fn(f64) -> f64| {
        let digits = (0..17).map(|p| format!("{x:.p$e}"));
        let mut exact = digits.filter(|s| s.parse().is_ok_and(|y: f64| round(y) == x));
        exact.next().unwrap_or_else(|| format!("{x:e}"))
    };
    let (short, most) = match of {
        DType::F32 => (format!("{:e}", x as f32), 1e6),
        DType::F16 => (half(&|y| small::to_f16(y).to_f64()), 1e3),
        DType::BF16 => (half(&|y| small::to_bf16(y).to_f64()), 1e3),
        _ => (format!("{x:e}"), 1e16),
    };
    let (digits, exponent) = short.split_once('e').unwrap_or((&short, "0"));
    let e: i32 = exponent.parse().unwrap_or(0);
    if x == 0.0 || (1e-4..most).contains(&x.abs()) {
        // The digits of a shortest form are also those without an exponent.
        let decimals = digits.split_once('.').map_or(0, |d| d.1.len()) as i32 - e;
        let y: f64 = short.parse().unwrap_or(x);
        return format!("{y:.*}", decimals.max(1) as usize);
    }
    format!("{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
}

fn each<S: Copy, T: Element>(
    cx: &Cx<'_>,
    dims: &[usize],
    v: &[S],
    f: impl Fn(S) -> T,
) -> Result<Array, RunError> {
    cx.room::<T>(dims)?;
    Ok(Array::new(dims.to_vec(), v.iter().map(|&x| f(x)).collect()))
}

/// Truncated towards 0; then whole-number types take the low bits, as C does on most machines.
fn whole_of(x: f64) -> i128 {
    x as i128
}

type Outcome<T> = Result<Vec<T>, RunError>;

/// Whether every number of the one type is one of the other.
pub(super) fn within(from: DType, to: DType) -> bool {
    use DType::*;
    from == to || matches!((from, to), (F16 | BF16, F32 | F64) | (F32, F64))
}

fn field_cast(cx: &Cx<'_>, v: &[Fp], a: &Array, to: DType) -> Result<Array, RunError> {
    let k = cx.key();
    let held = cx.env.held.unwrap_or(a.dtype);
    let round = match to {
        // Rounding to fewer bits is a function; the other way it is the identity.
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 if within(held, to) => None,
        DType::F16 => Some(Fun::Narrow16),
        DType::BF16 => Some(Fun::NarrowB16),
        DType::F32 => Some(Fun::Narrow32),
        DType::Bool => {
            cx.room::<bool>(&a.dims)?;
            return Ok(Array::new(a.dims.clone(), v.iter().map(|&x| k.real(x) != 0.0).collect()));
        }
        _ => {
            cx.room::<i64>(&a.dims)?;
            let rounding = rounding(cx.op)?.key(to);
            let key = k.named("cast").with(to.to_onnx() as u64 + (rounding << 8));
            let ints = drawn_ints(v.iter().map(|&x| key.draw(x)), a.dims.clone(), to)?;
            let known: Vec<Option<f64>> = v.iter().map(|&x| k.known(x)).collect();
            if known.iter().all(Option::is_none) {
                return Ok(ints);
            }
            let numbers = known.iter().map(|x| x.unwrap_or(0.0)).collect();
            let mut out = convert(cx, Array::new(a.dims.clone(), numbers), to)?;
            fn merge<T: Element>(out: &[T], drawn: &Array, known: &[Option<f64>]) -> Outcome<T> {
                let all = out.iter().zip(drawn.get::<T>()?).zip(known);
                Ok(all.map(|((o, d), k)| if k.is_some() { o } else { d }.clone()).collect())
            }
            out.data = on_any!(&out.data, v => Element::wrap(merge(v, &ints, &known)?));
            return Ok(out);
        }
    };
    cx.room::<Fp>(&a.dims)?;
    let v = match round {
        Some(f) => v.iter().map(|&x| Fp::call(f, x, k)).collect(),
        None => v.to_vec(),
    };
    Ok(Array { dims: a.dims.clone(), dtype: to, data: Fp::wrap(v) })
}

/// Whole numbers of the type from random bits; of the wide types only small ones, so that sums
/// of them do not wrap.
pub(super) fn drawn_ints(
    bits: impl Iterator<Item = u64>,
    dims: Vec<usize>,
    to: DType,
) -> Result<Array, RunError> {
    Ok(match to {
        DType::Bool => Array::new(dims, bits.map(|b| b & 1 == 1).collect()),
        DType::I8 => Array::new(dims, bits.map(|b| b as i8).collect()),
        DType::U8 => Array::new(dims, bits.map(|b| b as u8).collect()),
        DType::I16 => Array::new(dims, bits.map(|b| b as i16).collect()),
        DType::U16 => Array::new(dims, bits.map(|b| b as u16).collect()),
        DType::I32 => Array::new(dims, bits.map(|b| (b & 0xffff) as i32 - 0x8000).collect()),
        DType::U32 => Array::new(dims, bits.map(|b| (b & 0xffff) as u32).collect()),
        DType::I64 => Array::new(dims, bits.map(|b| (b & 0xffff) as i64 - 0x8000).collect()),
        DType::U64 => Array::new(dims, bits.map(|b| b & 0xffff).collect()),
        // All numbers of the type, but neither NaN nor infinities.
        t if small::is_float(t) => {
            let code = |b: u64| {
                let code = if t == DType::F4E2M1 { b as u8 & 0xf } else { b as u8 };
                let finite = small::decode(code, t).is_finite();
                (if finite { code } else { code & 0x3f }) as i8
            };
            small::array(dims, bits.map(code).collect(), to)?
        }
        t if small::is_whole(t) => {
            let v = bits.map(|b| small::low_bits(b.into(), t)).collect();
            small::array(dims, v, to)?
        }
        _ => unsupported!("{to} from the finite field"),
    })
}
