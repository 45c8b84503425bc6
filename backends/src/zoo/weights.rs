//! Seeded weights: the same bits on every machine, in any order, as fast as memory takes them.

/// Seed of a weight: a hash (FNV-1a) of the names of its network and of itself.
pub(super) fn seed(network: &str, weight: &str) -> u64 {
    let bytes = network.bytes().chain([0xff]).chain(weight.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The `i`-th number of a seed: splitmix64 with a counter instead of a state.
fn mix(seed: u64, i: u64) -> u64 {
    let z = seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Little-endian bytes of `n` numbers, uniform in `lo..=hi`.
pub(super) fn uniform(seed: u64, n: usize, lo: f32, hi: f32) -> Vec<u8> {
    let (mid, half) = ((hi + lo) / 2.0, (hi - lo) / 2.0);
    let step = half / (1u64 << 31) as f32;
    let number = |bits: u32| (mid + bits as i32 as f32 * step).to_le_bytes();
    let mut bytes = vec![0u8; n * size_of::<f32>()];
    let mut pairs = bytes.chunks_exact_mut(8);
    for (i, pair) in pairs.by_ref().enumerate() {
        let bits = mix(seed, i as u64);
        pair[..4].copy_from_slice(&number(bits as u32));
        pair[4..].copy_from_slice(&number((bits >> 32) as u32));
    }
    let last = pairs.into_remainder();
    if !last.is_empty() {
        last.copy_from_slice(&number(mix(seed, (n / 2) as u64) as u32));
    }
    bytes
}

/// `n` whole numbers, uniform in `-max..=max`.
pub(super) fn integers(seed: u64, n: usize, max: i32) -> Vec<i32> {
    let span = 2 * max as u64 + 1;
    // The high bits times the span: no remainder, whose low values would be likelier.
    let number = |i| (((mix(seed, i) >> 32) * span) >> 32) as i32 - max;
    (0..n as u64).map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_fills_its_range() {
        for n in [0, 1, 2, 7, 10_001] {
            let bytes = uniform(seed("net", "w"), n, -0.5, 1.5);
            let v: Vec<f32> =
                bytes.chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
            assert_eq!(v.len(), n);
            assert!(v.iter().all(|x| (-0.5..=1.5).contains(x)));
            if n > 10_000 {
                let mean = v.iter().sum::<f32>() / n as f32;
                let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n as f32;
                assert!((mean - 0.5).abs() < 0.02, "{mean}");
                assert!((var - 4.0 / 12.0).abs() < 0.02, "{var}");
            }
        }
    }

    #[test]
    fn a_longer_weight_begins_with_the_shorter() {
        let s = seed("net", "w");
        assert_eq!(uniform(s, 8, -1.0, 1.0)[..], uniform(s, 20, -1.0, 1.0)[..32]);
        assert_ne!(uniform(s, 8, -1.0, 1.0), uniform(seed("net", "w2"), 8, -1.0, 1.0));
        assert_ne!(seed("ab", "c"), seed("a", "bc"));
    }

    #[test]
    fn integers_reach_both_ends() {
        let v: Vec<i32> = (0..20).flat_map(|seed| integers(seed, 10_000, 3)).collect();
        assert_eq!((v.iter().min(), v.iter().max()), (Some(&-3), Some(&3)));
        // The deviation of the sum is 2 * sqrt(200,000) = 894.
        assert!(v.iter().sum::<i32>().abs() < 4 * 894);
    }

    /// The weights are part of what users compare against, so they must not drift.
    #[test]
    fn the_first_weights_are_these() {
        let bytes = uniform(seed("alexnet", "features.0.weight"), 2, -1.0, 1.0);
        let bits: Vec<u32> =
            bytes.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
        assert_eq!(bits, [1_052_095_964, 1_049_458_453]);
    }
}
