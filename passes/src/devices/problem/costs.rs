//! Additive costs, in constant time for every range of units.
//!
//! Seconds and joules are differences of prefix sums. Memory is the sum of the constants plus the
//! largest activation footprint of a unit in the range, which a sparse table (range maximum query,
//! O(n log n) space) answers. [`BufferCredits`] correct the footprint at the ends of a range.

use std::ops::Range;

use super::Costs;

/// Costs that are sums over units, except for memory: the sum of the constants plus the peak of the
/// activations.
#[derive(Clone, Debug, Default)]
pub struct Additive {
    /// Prefix sums of seconds, by device, mode and unit.
    seconds: Vec<Vec<Vec<f64>>>,
    joules: Vec<Vec<Vec<f64>>>,
    stays: Vec<u64>,
    /// Sparse table: the peak over `2^k` units, by `k` and first unit.
    live: Vec<Vec<u64>>,
    buffer_credits: BufferCredits,
}

/// Bytes that a stage saves because only a part of a large buffer enters or leaves it. The whole
/// graph holds the complete buffer while a unit runs; a stage that begins or ends inside the
/// buffer's lifetime holds only the parts that are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BufferCredits {
    /// By first unit of a stage: pairs (last unit that saves, inclusive; bytes saved).
    pub first: Vec<Vec<(usize, u64)>>,
    /// By end of a stage, exclusive: pairs (first unit that saves, inclusive; bytes saved).
    pub end: Vec<Vec<(usize, u64)>>,
}

impl Additive {
    /// Costs from tables: `seconds` and `joules` by device, mode and unit; constants (`stays`) and
    /// activations (`live`) in bytes by unit. An empty `joules` costs no energy.
    pub fn new(
        seconds: &[Vec<Vec<f64>>],
        joules: &[Vec<Vec<f64>>],
        stays: &[u64],
        live: &[u64],
    ) -> Self {
        let sums = |all: &Vec<f64>| {
            let steps = all.iter().scan(0.0, |sum, x| {
                *sum += x;
                Some(*sum)
            });
            std::iter::once(0.0).chain(steps).collect()
        };
        let by_mode =
            |t: &[Vec<Vec<f64>>]| t.iter().map(|d| d.iter().map(sums).collect()).collect();
        let stays = std::iter::once(0).chain(stays.iter().scan(0, |sum, x| {
            *sum += x;
            Some(*sum)
        }));
        let mut levels = vec![live.to_vec()];
        while let Some(last) = levels.last().filter(|l| 1 << levels.len() <= l.len().max(1)) {
            let half = 1 << (levels.len() - 1);
            let far = |i: usize| last.get(i + half).copied().unwrap_or(0);
            let next = (0..last.len()).map(|i| last[i].max(far(i))).collect();
            levels.push(next);
        }
        Self {
            seconds: by_mode(seconds),
            joules: by_mode(joules),
            stays: stays.collect(),
            live: levels,
            buffer_credits: BufferCredits::default(),
        }
    }

    /// The same costs, less the bytes that stages save.
    #[cfg(feature = "cluster")]
    pub(crate) fn with_buffer_credits(self, buffer_credits: BufferCredits) -> Self {
        Self { buffer_credits, ..self }
    }

    /// Peak of the activations over a range, in bytes.
    fn most(&self, units: Range<usize>) -> u64 {
        let level = units.len().max(1).ilog2() as usize;
        let Some(most) = self.live.get(level) else { return 0 };
        most[units.start].max(most[units.end - (1 << level)])
    }
}

impl Costs for Additive {
    fn seconds(&self, units: Range<usize>, device: usize, mode: usize) -> Option<f64> {
        let sums = &self.seconds[device][mode];
        Some(sums[units.end] - sums[units.start])
    }

    fn joules(&self, units: Range<usize>, device: usize, mode: usize) -> f64 {
        let Some(sums) = self.joules.get(device).and_then(|d| d.get(mode)) else { return 0.0 };
        sums[units.end] - sums[units.start]
    }

    fn memory(&self, units: Range<usize>, _device: usize) -> u64 {
        let stays = self.stays[units.end] - self.stays[units.start];
        let first = self.buffer_credits.first.get(units.start).map_or(&[][..], Vec::as_slice);
        let end = self.buffer_credits.end.get(units.end).map_or(&[][..], Vec::as_slice);
        if first.is_empty() && end.is_empty() {
            return stays + self.most(units);
        }
        // Between two consecutive ends of credits, the same credits apply, so that one query is
        // enough.
        let (mut at, mut most) = (units.start, 0);
        while at < units.end {
            let (mut next, mut less) = (units.end, 0);
            for &(last, bytes) in first.iter().filter(|s| s.0 >= at) {
                (next, less) = (next.min(last + 1), less + bytes);
            }
            for &(from, bytes) in end {
                if from <= at {
                    less += bytes;
                } else {
                    next = next.min(from);
                }
            }
            most = most.max(self.most(at..next).saturating_sub(less));
            at = next;
        }
        stays + most
    }
}
