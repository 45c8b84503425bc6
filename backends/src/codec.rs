//! Codecs: tensors as the bytes that cross a link, and back.

use std::borrow::Cow;

use graph_opt_ir::tensor::Bytes;
use graph_opt_ir::{DType, Tensor};
use graph_opt_passes::devices::cluster::Codec;
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::cpu::ops::quant::{dynamic_level, dynamic_parameters};

/// Bytes before the elements of an int8 tensor: the scale, `f32`, and the zero point.
const HEAD: usize = 5;

/// A tensor in a codec's form. None if it has to go as it is: it is of another type than the codec
/// takes, or has elements that the form cannot hold (halves beyond 65504, 8 bits of what is not
/// finite), or would not get smaller.
pub fn encode(codec: Codec, t: &Tensor) -> Option<Bytes> {
    let raw = t.bytes().ok()?;
    let all = match codec {
        Codec::Lz4 => lz4_flex::block::compress(&shuffled(&raw, width(t.dtype()))),
        Codec::F16 => {
            let x = floats(t, &raw)?;
            let held = |x: &f32| !x.is_finite() || x.abs() <= f32::from(f16::MAX);
            if !x.iter().all(held) {
                return None;
            }
            let mut halves = vec![f16::ZERO; x.len()];
            halves.convert_from_f32_slice(&x);
            packed(&halves, |h| h.to_le_bytes())
        }
        Codec::Int8 => {
            let x = floats(t, &raw)?;
            if !x.iter().all(|x| x.is_finite()) {
                return None;
            }
            let (scale, zero) = dynamic_parameters(&x);
            if !scale.is_finite() {
                return None;
            }
            let mut all = scale.to_le_bytes().to_vec();
            all.push(zero as u8);
            all.extend(x.iter().map(|&x| dynamic_level(x, scale, zero) as u8));
            all
        }
    };
    (all.len() < raw.len()).then(|| Bytes::from(all))
}

/// A tensor of this type and these extents, from a codec's form.
///
/// # Errors
/// If the bytes are none of such a tensor.
pub fn decode(codec: Codec, dtype: DType, dims: &[u64], bytes: &[u8]) -> Result<Tensor, String> {
    let bad =
        || format!("{} bytes are no {dtype} tensor of extents {dims:?} as {codec}", bytes.len());
    let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(bad)?;
    let size = dtype.bytes_of(count).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
    let count = count as usize;
    let of =
        |raw: Vec<u8>| Tensor::from_bytes(dtype, dims.to_vec(), raw).map_err(|e| e.to_string());
    if codec != Codec::Lz4 && dtype != DType::F32 {
        return Err(bad());
    }
    let floats = |x: &[f32]| of(packed(x, |x| x.to_le_bytes()));
    match codec {
        Codec::Lz4 => {
            // LZ4 does not get smaller than a 255th.
            if size / 256 > bytes.len() {
                return Err(bad());
            }
            let mut raw = vec![0; size];
            match lz4_flex::block::decompress_into(bytes, &mut raw) {
                Ok(n) if n == raw.len() => of(unshuffled(&raw, width(dtype))),
                _ => Err(bad()),
            }
        }
        Codec::F16 if bytes.len() == 2 * count => {
            let half = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]);
            let halves: Vec<f16> = bytes.chunks_exact(2).map(half).collect();
            let mut x = vec![0.0; count];
            halves.convert_to_f32_slice(&mut x);
            floats(&x)
        }
        Codec::Int8 if bytes.len() == HEAD + count => {
            let (head, all) = bytes.split_at(HEAD);
            let scale = f32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let zero = f32::from(head[4]);
            let x: Vec<f32> = all.iter().map(|&q| (f32::from(q) - zero) * scale).collect();
            floats(&x)
        }
        _ => Err(bad()),
    }
}

/// What arrives of a tensor that is sent in a form, and the bytes that cross.
///
/// # Errors
/// If it does not come back, which is a fault of the codec.
pub fn sent(codec: Option<Codec>, t: &Tensor) -> Result<(Cow<'_, Tensor>, u64), String> {
    match codec.and_then(|c| Some((c, encode(c, t)?))) {
        Some((codec, bytes)) => {
            let arrived = decode(codec, t.dtype(), t.dims(), &bytes)?;
            Ok((Cow::Owned(arrived), bytes.len() as u64))
        }
        None => Ok((Cow::Borrowed(t), crate::stages::bytes(t))),
    }
}

fn floats(t: &Tensor, raw: &Bytes) -> Option<Vec<f32>> {
    let one = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    (t.dtype() == DType::F32).then(|| raw.chunks_exact(4).map(one).collect())
}

fn packed<T, const N: usize>(x: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    let mut all = vec![0; N * x.len()];
    for (to, x) in all.chunks_exact_mut(N).zip(x) {
        to.copy_from_slice(&bytes(x));
    }
    all
}

/// Bytes of an element; 1 for those of less.
fn width(dtype: DType) -> usize {
    (dtype.bits() / 8).max(1)
}

/// The first bytes of all elements, then the second ones, and so on.
fn shuffled(raw: &[u8], width: usize) -> Vec<u8> {
    let mut planes = vec![0; raw.len()];
    for (i, plane) in planes.chunks_exact_mut((raw.len() / width).max(1)).enumerate() {
        plane.iter_mut().zip(raw.chunks_exact(width)).for_each(|(p, r)| *p = r[i]);
    }
    planes
}

fn unshuffled(planes: &[u8], width: usize) -> Vec<u8> {
    let mut raw = vec![0; planes.len()];
    for (i, plane) in planes.chunks_exact((planes.len() / width).max(1)).enumerate() {
        raw.chunks_exact_mut(width).zip(plane).for_each(|(r, p)| r[i] = *p);
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(codec: Codec, t: &Tensor) -> Option<Tensor> {
        let bytes = encode(codec, t)?;
        Some(decode(codec, t.dtype(), t.dims(), &bytes).unwrap())
    }

    proptest! {
        /// Bits of any type come back; what does not get smaller goes as it is.
        #[test]
        fn lz4_is_lossless(bytes in prop::collection::vec(0u8..3, 0..4096), size in 0usize..4) {
            let dtype = [DType::U8, DType::F16, DType::F32, DType::I64][size];
            let count = bytes.len() >> size;
            let raw = bytes[..count << size].to_vec();
            let t = Tensor::from_bytes(dtype, vec![count as u64], raw).unwrap();
            match round(Codec::Lz4, &t) {
                Some(back) => prop_assert_eq!(back, t),
                None => prop_assert!(bytes.len() < 256, "{} bytes", bytes.len()),
            }
        }

        /// Halves are rounded to the nearest, 8 bits to the nearest of 256 steps.
        #[test]
        fn lossy_codecs_round_to_the_nearest(x in prop::collection::vec(-70000f32..70000.0, 8..200)) {
            let t = Tensor::f32s(&[x.len() as u64], &x).unwrap();
            match round(Codec::F16, &t) {
                Some(half) => for (a, b) in x.iter().zip(half.to_f32s().unwrap()) {
                    prop_assert_eq!(f16::from_f32(*a).to_f32().to_bits(), b.to_bits());
                },
                None => prop_assert!(x.iter().any(|x| x.abs() > 65504.0)),
            }
            let eighth = round(Codec::Int8, &t).unwrap().to_f32s().unwrap();
            let range = |f: fn(f32, f32) -> f32| x.iter().fold(0f32, |a, b| f(a, *b));
            let step = (range(f32::max) - range(f32::min)) / 255.0;
            for (a, b) in x.iter().zip(eighth) {
                // The zero point is rounded as well, so the ends may be half a step off.
                prop_assert!((a - b).abs() <= step * 1.001, "{a} {b}: {step}");
            }
        }

        /// Whatever comes over a wire: an error, or a tensor of the type and the extents.
        #[test]
        fn any_bytes_decode_or_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            dims in prop::collection::vec(0u64..1 << 40, 0..3),
        ) {
            for codec in Codec::ALL {
                if let Ok(t) = decode(codec, DType::F32, &dims, &bytes) {
                    prop_assert_eq!(t.dims(), &dims[..]);
                }
            }
        }
    }

    #[test]
    fn what_a_form_cannot_hold_goes_as_it_is() {
        let t = |x: &[f32]| Tensor::f32s(&[x.len() as u64], x).unwrap();
        assert!(encode(Codec::F16, &t(&[1e5; 64])).is_none());
        assert!(encode(Codec::Int8, &t(&[f32::NAN; 64])).is_none());
        assert!(encode(Codec::Int8, &Tensor::i64s(&[1; 64])).is_none());
        assert!(encode(Codec::Lz4, &t(&[1.0])).is_none());
        // Smaller than its head.
        assert!(encode(Codec::Int8, &t(&[1.0])).is_none());
        // Infinities are halves, and all zeros have a step.
        assert_eq!(round(Codec::F16, &t(&[f32::INFINITY; 9])), Some(t(&[f32::INFINITY; 9])));
        assert_eq!(round(Codec::Int8, &t(&[0.0; 9])), Some(t(&[0.0; 9])));
    }
}
