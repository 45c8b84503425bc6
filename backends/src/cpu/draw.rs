//! Inputs of runs in the field.

use graph_opt_ir::{DType, Graph, ValueId};

use super::array::Array;
use super::cx::Env;
use super::field::{Fp, Key};
use super::run::{bad_input, required};
use super::{FieldInput, ops};
use crate::RunError;

/// An element of an input with zeros, ties and numbers of all magnitudes.
fn mixed(bits: u64, key: Key<'_>) -> Fp {
    let rest = bits >> 8;
    if let (6..=8, Some(x)) = (bits & 0xf, key.near(rest)) {
        let x = key.embed(f64::from(x as f32));
        return if bits & 16 == 0 { x } else { x.neg() };
    }
    match bits & 0xf {
        0 | 1 => Fp::ZERO,
        2 => small(rest, key),
        3 => key
            .embed(f64::from(f32::from_bits(rest as u32 & 0x7f7f_ffff | (rest as u32 & 1) << 31))),
        // One of few, or the negative of one.
        4 | 5 => {
            let x = Fp::new(key.with(rest & 3).bits);
            if rest & 4 == 0 { x } else { x.neg() }
        }
        _ => Fp::new(bits),
    }
}

/// A number of few bits.
fn small(bits: u64, key: Key<'_>) -> Fp {
    let n = match bits & 3 {
        0 => 0,
        1 => (bits >> 8 & 0xff) as i64 - 128,
        _ => (bits >> 8 & 0x1f) as i64 * 4 - 64,
    };
    key.embed(n as f64 / 16.0)
}

/// The inputs of a run in the field.
pub(super) fn draw(
    graph: &Graph,
    given: &[FieldInput],
    env: Env,
) -> Result<Vec<(ValueId, Array)>, RunError> {
    let mut all = vec![];
    for (i, &id) in graph.inputs().iter().enumerate() {
        let value = graph.value(id);
        let fail = |why: &str| bad_input(graph, id, why.into());
        let declared = || {
            let dims = value.ty.extents()?;
            dims.into_iter().map(|d| usize::try_from(d).ok()).collect::<Option<Vec<_>>>()
        };
        let dims = match given.get(i).unwrap_or(&FieldInput::Declared) {
            FieldInput::Given(t) => {
                all.push((id, Array::of(t)?.embedded(env.key)));
                continue;
            }
            FieldInput::Shaped(d) | FieldInput::Mixed(d) | FieldInput::Small(d) => d.clone(),
            FieldInput::Declared if !required(graph, id) => continue,
            FieldInput::Declared => declared().ok_or_else(|| fail("its shape is not known"))?,
        };
        let dtype = value.ty.dtype().ok_or_else(|| fail("it is not a tensor"))?;
        let n = dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        let n = n.filter(|&n| (n as u64).saturating_mul(8) <= env.room);
        let n =
            n.ok_or(RunError::TooLarge { what: "input", elements: u64::MAX, left: env.room })?;
        let key = env.key.named(&value.name);
        let bits = (0..n as u64).map(|i| key.with(i).bits);
        let array = if dtype.is_float() {
            let one: &dyn Fn(u64) -> Fp = match given.get(i) {
                Some(FieldInput::Mixed(_)) => &|b| mixed(b, key),
                Some(FieldInput::Small(_)) => &|b| small(b, key),
                _ => &Fp::new,
            };
            let v: Vec<Fp> = bits.map(one).collect();
            Array { dtype, ..Array::new(dims, v) }
        } else if !dtype.is_int() && dtype != DType::Bool {
            // Few strings or numbers of few bits would stand for all.
            return Err(RunError::NotInField(format!("inputs of {dtype}")));
        } else {
            // Small, as they may be indices, lengths or shapes.
            let small = bits.map(|b| if dtype == DType::Bool { b & 1 } else { b & 3 });
            let a = Array::new(dims, small.map(|b| b as i64).collect());
            ops::convert(a, dtype, env)?
        };
        all.push((id, array));
    }
    Ok(all)
}
