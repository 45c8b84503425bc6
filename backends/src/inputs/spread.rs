//! Inputs over their types and edges, for comparisons.

use graph_opt_ir::{DType, Tensor};

use super::uses::Uses;
use crate::cpu::Key;

/// How the floats of a run are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// Both signs, zeros, ties and several magnitudes.
    Mixed,
    /// In [0, 1), as images have them.
    Unit,
    /// With infinities, NaN, signed zeros, huge and denormal numbers.
    Edges,
    /// With few of those: one NaN in a window hides all else in it.
    FewEdges,
    /// Large numbers, of another magnitude for each run, to get past bounds.
    Large,
}

/// A tensor of floats, or `None` for another type.
pub(crate) fn floats(dtype: DType, dims: &[u64], style: Style, key: Key<'_>) -> Option<Tensor> {
    let n = usize::try_from(dims.iter().product::<u64>()).ok()?;
    let v = (0..n as u64).map(|i| float(key.with(i).bits, style, key));
    macro_rules! bytes {
        ($f:expr) => {
            v.flat_map($f).collect()
        };
    }
    let bytes: Vec<u8> = match dtype {
        DType::F32 => bytes!(|x: f64| (x as f32).to_le_bytes()),
        DType::F64 => bytes!(|x: f64| x.to_le_bytes()),
        DType::F16 => bytes!(|x: f64| half::f16::from_f64(x).to_le_bytes()),
        DType::BF16 => bytes!(|x: f64| half::bf16::from_f64(x).to_le_bytes()),
        _ => return None,
    };
    Tensor::from_bytes(dtype, dims.to_vec(), bytes).ok()
}

fn float(bits: u64, style: Style, key: Key<'_>) -> f64 {
    let unit = (bits >> 40) as f64 / (1u64 << 24) as f64;
    let even = unit * 2.0 - 1.0;
    let style = match style {
        Style::FewEdges if (bits >> 12).is_multiple_of(32) => Style::Edges,
        Style::FewEdges => Style::Mixed,
        style => style,
    };
    let class = bits & 15;
    let sign = if bits & 16 == 0 { 1.0 } else { -1.0 };
    if style != Style::Unit
        && matches!(class, 5..=7)
        && let Some(x) = key.near(bits >> 5)
    {
        return sign * x;
    }
    match (style, class) {
        (Style::Unit, _) => unit,
        (Style::Large, _) => even * 2f64.powi(4 + (key.bits % 20) as i32),
        (Style::Edges, 0) => f64::NAN,
        (Style::Edges, 1) => sign * f64::INFINITY,
        (Style::Edges, 2) => sign * 0.0,
        (Style::Edges, 3) => sign * f64::from(f32::MAX) * (0.5 + unit / 2.0),
        (Style::Edges, 4) => sign * f64::from(f32::MIN_POSITIVE) * unit,
        (_, 0) => 0.0,
        // One of few numbers, so that elements tie.
        (_, 1 | 2) => sign * [0.5, 1.0, 3.0, 0.1][(bits >> 5 & 3) as usize],
        (_, 3) => sign * ((key.with(bits >> 8 & 3).bits >> 40) as f64 / (1u64 << 24) as f64),
        (_, 4) => sign * 2f64.powf(unit * 16.0 - 8.0),
        _ => even,
    }
}

/// What whole numbers may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Greatest of inputs that are used as numbers, if runs failed with others.
    pub most: Option<i64>,
    /// The run, which goes through counts and truth values.
    pub run: u64,
}

/// A tensor of whole numbers or truth values that are used so, or `None` for another type.
/// `extent` gives the extents of the axes that they index.
pub(crate) fn wholes(
    dtype: DType,
    dims: &[u64],
    uses: &Uses,
    extent: Option<u64>,
    limits: Limits,
    (turn, key): (usize, Key<'_>),
) -> Option<Tensor> {
    // Strings at random would match no pattern, and show nothing.
    if dtype.bits() == 0 {
        return None;
    }
    let n = usize::try_from(dims.iter().product::<u64>()).ok()?;
    let mut v: Vec<i128> = (0..n as u64).map(|i| key.with(i).bits).map(i128::from).collect();
    let rows: Vec<i64> = uses.rows.iter().copied().collect();
    if dtype == DType::Bool {
        // Scalars go through all combinations.
        let turn = limits.run >> turn.min(8) & 1;
        v.iter_mut().for_each(|b| *b = if n == 1 { turn.into() } else { *b & 1 });
    } else if let Some(extent) = extent {
        let last = i128::from(extent.max(1)) - 1;
        for (i, b) in v.iter_mut().enumerate() {
            let bits = *b;
            *b = match (i + limits.run as usize) % 8 {
                0 => last,
                1 => 0,
                2 | 3 if !rows.is_empty() => rows[(bits as u64 >> 8) as usize % rows.len()].into(),
                _ => (bits >> 16) % (last + 1),
            };
        }
        if let (Some(&r), Some(first)) =
            (rows.get(limits.run as usize % rows.len().max(1)), v.first_mut())
        {
            *first = r.into();
        }
    } else if uses.reshapes {
        let open = key.bits as usize % n.max(1);
        // All elements along one axis, or extents as they were along the others.
        let rest = i128::from(limits.most.is_none() && limits.run % 2 == 1);
        v.iter_mut().enumerate().for_each(|(i, b)| *b = if i == open { -1 } else { rest });
    } else if uses.sizes {
        let counts = [2, 0, 1, 3];
        for b in &mut v {
            *b = counts[if n == 1 { limits.run as usize % 4 } else { *b as usize >> 8 & 3 }];
        }
    } else {
        v.iter_mut().for_each(|b| *b = number(*b as u64, dtype, limits.most, key));
    }
    macro_rules! bytes {
        ($t:ty) => {
            v.iter().flat_map(|&x| (x as $t).to_le_bytes()).collect()
        };
    }
    let bytes: Vec<u8> = match dtype {
        DType::Bool | DType::U8 => bytes!(u8),
        DType::I8 => bytes!(i8),
        DType::I16 => bytes!(i16),
        DType::U16 => bytes!(u16),
        DType::I32 => bytes!(i32),
        DType::U32 => bytes!(u32),
        DType::I64 => bytes!(i64),
        DType::U64 => bytes!(u64),
        _ => return None,
    };
    Tensor::from_bytes(dtype, dims.to_vec(), bytes).ok()
}

/// A number of the type: small ones, its ends, about powers of two and the key's marks, and any.
fn number(bits: u64, dtype: DType, most: Option<i64>, key: Key<'_>) -> i128 {
    let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    if let Some(most) = most {
        return i128::from(bits >> 8) % (i128::from(most) + 1);
    }
    let width = dtype.bits() as u32;
    let (lo, hi) = match signed {
        true => (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1),
        false => (0, (1i128 << width) - 1),
    };
    let (class, rest) = (bits & 15, i128::from(bits >> 8));
    let x = match class {
        0 => 0,
        9 | 10 if let Some(x) = key.near(bits >> 6) => {
            x as i128 + [0, 0, 1, -1][(rest >> 24) as usize % 4]
        }
        1 => lo,
        2 => hi,
        3 | 4 => (1i128 << (rest % i128::from(width))) + rest / 64 % 3 - 1,
        5..=8 => rest % 17 - 8,
        9..=11 => rest % 2048 - 1024,
        _ => lo + (rest << 8) % (hi - lo + 1),
    };
    let x = if signed && bits & 32 != 0 { -x } else { x };
    if (lo..=hi).contains(&x) { x } else { x.rem_euclid(hi - lo + 1) + lo }
}
