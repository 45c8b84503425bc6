//! Every search against all combinations, on small problems.

mod correction;
mod exact;
mod large;
mod several;

use proptest::prelude::*;

use super::problem::order;
use super::*;

/// Costs from small whole numbers, so that sums are exact and ties occur.
fn costs() -> impl Strategy<Value = Costs> {
    (-2i32..12, 0u32..8, 0u64..8, 0u32..4, 0u64..4, 0u64..6).prop_map(
        |(loss, latency, bytes, energy, macs, peak)| Costs {
            loss: f64::from(loss) / 64.0,
            latency: f64::from(latency) / 256.0,
            bytes: bytes * 1000,
            energy: f64::from(energy) / 16.0,
            macs: macs * 1_000_000,
            peak: peak * 4096,
        },
    )
}

/// Limits between the least and the largest sums.
fn limits() -> impl Strategy<Value = Limits> {
    let part = || prop::option::weighted(0.4, 0u32..24);
    (part(), part(), part(), part(), part(), part()).prop_map(
        |(loss, latency, bytes, energy, macs, peak)| Limits {
            loss: loss.map(|n| f64::from(n) / 64.0),
            latency: latency.map(|n| f64::from(n) / 256.0),
            bytes: bytes.map(|n| u64::from(n) * 1000),
            energy: energy.map(|n| f64::from(n) / 16.0),
            macs: macs.map(|n| u64::from(n) * 1_000_000),
            peak: peak.map(|n| u64::from(n % 7) * 4096),
        },
    )
}

/// Problems of 1 to 6 blocks of 1 to 4 candidates.
fn problems() -> impl Strategy<Value = Problem> {
    let blocks = prop::collection::vec(prop::collection::vec(costs(), 1..=4), 1..=6);
    let objective = prop::sample::select(vec![
        Quantity::Loss,
        Quantity::Loss,
        Quantity::Latency,
        Quantity::Bytes,
    ]);
    (blocks, costs(), limits(), objective).prop_map(|(blocks, base, limits, objective)| {
        let base = Costs { loss: 0.0, ..base };
        Problem { limits, objective, ..Problem::new(blocks, base) }
    })
}

/// The same with pairs of blocks at most two apart.
fn paired() -> impl Strategy<Value = Problem> {
    let pair = (0usize..6, 0usize..4, 1usize..=2, 0usize..4, -6i32..7);
    (problems(), prop::collection::vec(pair, 0..10)).prop_map(|(mut p, pairs)| {
        for (i, a, apart, b, loss) in pairs {
            let (earlier, later) = ((i, a), (i + apart, b));
            let new = Pair { earlier, later, loss: f64::from(loss) / 64.0 };
            let old = p.pairs.iter().any(|o| (o.earlier, o.later) == (earlier, later));
            let exists = |(i, a): (usize, usize)| p.blocks.get(i).is_some_and(|b| a < b.len());
            if !old && exists(earlier) && exists(later) {
                p.pairs.push(new);
            }
        }
        p
    })
}

/// All choices that keep the limits, in order.
fn all(p: &Problem) -> Vec<Choice> {
    let mut picks = vec![Vec::new()];
    for block in &p.blocks {
        let longer = |picks: &Vec<usize>| {
            let picks = picks.clone();
            (0..block.len()).map(move |a| [picks.clone(), vec![a]].concat())
        };
        picks = picks.iter().flat_map(longer).collect();
    }
    let choices = picks.into_iter().map(|picks| p.choice(picks, 0.0).unwrap());
    let mut all: Vec<Choice> = choices.filter(|c| p.limits.allow(&c.totals)).collect();
    all.sort_by(|a, b| order(&keys(p), a, b));
    all
}

fn keys(p: &Problem) -> Vec<Quantity> {
    let mut keys = vec![p.objective];
    keys.extend(p.ties());
    keys.push(Quantity::Peak);
    keys
}

/// Pseudo-random numbers in [0, 1).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Blocks as profiles give them: with sparsity the loss rises faster than the cost falls, and tiles
/// trade peak for latency.
fn network(blocks: usize, candidates: usize, seed: u64) -> Problem {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut all = Vec::new();
    for _ in 0..blocks {
        let [time, bytes, size, sense] =
            [1e-3, 2e5, 1e6, 0.02].map(|scale| scale * (0.2 + dice.next()));
        let mut block = Vec::new();
        for k in 0..candidates {
            let sparsity = (k / 2) as f64 / (candidates as f64 / 2.0);
            let tiled = k % 2 == 1;
            let mut noise = || 0.9 + 0.2 * dice.next();
            let kept = 1.0 - sparsity;
            block.push(Costs {
                loss: sense * sparsity.powi(2) * noise() + 1e-3 * (noise() - 1.0),
                latency: time * (0.1 + kept) * noise() * if tiled { 1.15 } else { 1.0 },
                bytes: (bytes * kept * (0.5 + kept / 2.0) * noise()) as u64,
                energy: time * 5.0 * (0.2 + kept) * noise(),
                macs: (time * 1e10 * kept * noise()) as u64,
                peak: (size * (0.5 + kept / 2.0) * if tiled { 0.4 } else { 1.0 }) as u64,
            });
        }
        all.push(block);
    }
    Problem::new(all, Costs { latency: 1e-3, bytes: 50_000, peak: 200_000, ..Costs::default() })
}

/// Limits at a share of the way from the least to the largest value.
fn at_share(p: &Problem, q: Quantity, share: f64) -> f64 {
    let of = |pick: fn(f64, f64) -> f64, start: f64| {
        let block = |b: &Vec<Costs>| b.iter().map(|c| c.get(q)).fold(start, pick);
        p.blocks.iter().map(block).fold(p.base.get(q), |a, b| q.join(a, b))
    };
    let (least, most) = (of(f64::min, f64::INFINITY), of(f64::max, f64::NEG_INFINITY));
    least + share * (most - least)
}
