//! Additive costs.

use std::ops::Range;

use super::Costs;

/// Costs that are sums over units, but for memory: that is the sum of what stays (weights) and the
/// most of what comes and goes.
#[derive(Clone, Debug, Default)]
pub struct Additive {
    /// Prefix sums of seconds, by device and mode.
    seconds: Vec<Vec<Vec<f64>>>,
    joules: Vec<Vec<Vec<f64>>>,
    stays: Vec<u64>,
    /// The most of 2^k units from each on.
    live: Vec<Vec<u64>>,
    buffer_credits: BufferCredits,
}

/// What runs of units hold less than those units do when the others run there, too: where only parts of
/// something large come in, or go out, it is never whole there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BufferCredits {
    /// By the first unit of a run: bytes that its units up to one need not hold, with that one.
    pub first: Vec<Vec<(usize, u64)>>,
    /// By the unit that follows a run: bytes that its units from one on need not hold, with that one.
    pub end: Vec<Vec<(usize, u64)>>,
}

impl Additive {
    /// Costs from tables: seconds and joules by device, mode and unit; bytes by unit.
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

    /// The same, with what runs need not hold.
    pub fn with_buffer_credits(self, buffer_credits: BufferCredits) -> Self {
        Self { buffer_credits, ..self }
    }

    /// The most bytes that come and go of units.
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
        // Up to the next of these it is always the same that is buffer_credits.
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
