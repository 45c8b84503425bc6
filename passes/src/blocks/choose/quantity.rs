//! What is counted of a candidate and of a whole choice, and limits on it.

use std::fmt;

/// A quantity that a choice has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Accuracy lost or error added relative to the original, in any one unit.
    #[default]
    Loss,
    /// Seconds of one run.
    Latency,
    /// Bytes of parameters.
    Bytes,
    /// Energy of one run in J.
    Energy,
    /// Multiply-accumulate operations of one run.
    Macs,
    /// Bytes of the peak memory: the largest among the blocks and the fixed stretches.
    Peak,
}

impl Quantity {
    /// All quantities, in the order of [`Costs::values`].
    pub const ALL: [Self; 6] =
        [Self::Loss, Self::Latency, Self::Bytes, Self::Energy, Self::Macs, Self::Peak];

    /// Whether blocks add up. Otherwise the largest block counts.
    pub fn is_sum(self) -> bool {
        self != Self::Peak
    }

    /// Combines two parts of a choice.
    pub(super) fn join(self, a: f64, b: f64) -> f64 {
        if self.is_sum() { a + b } else { a.max(b) }
    }

    /// Unit, with a leading space.
    fn unit(self) -> &'static str {
        match self {
            Self::Loss | Self::Macs => "",
            Self::Latency => " s",
            Self::Bytes | Self::Peak => " B",
            Self::Energy => " J",
        }
    }

    /// A value with its unit, for messages.
    pub(super) fn show(self, value: f64) -> String {
        format!("{value}{}", self.unit())
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Latency => "latency",
            Self::Bytes => "bytes",
            Self::Energy => "energy",
            Self::Macs => "MACs",
            Self::Peak => "peak",
        })
    }
}

/// What a candidate, the fixed part of the network, or a whole choice costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Costs {
    /// Accuracy lost or error added. Noise of measurement may make it negative.
    pub loss: f64,
    /// Seconds.
    pub latency: f64,
    /// Bytes of parameters.
    pub bytes: u64,
    /// Energy in J.
    pub energy: f64,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Peak memory in bytes.
    pub peak: u64,
}

impl Costs {
    /// All values, in the order of [`Quantity::ALL`].
    pub fn values(&self) -> [f64; 6] {
        let [bytes, macs, peak] = [self.bytes, self.macs, self.peak].map(|n| n as f64);
        [self.loss, self.latency, bytes, self.energy, macs, peak]
    }

    /// One value.
    pub fn get(&self, q: Quantity) -> f64 {
        self.values()[q as usize]
    }

    /// Costs of two parts together: sums, and the larger peak.
    pub(super) fn join(self, other: &Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            latency: self.latency + other.latency,
            bytes: self.bytes.saturating_add(other.bytes),
            energy: self.energy + other.energy,
            macs: self.macs.saturating_add(other.macs),
            peak: self.peak.max(other.peak),
        }
    }
}

/// Upper limits on a choice. `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Total loss.
    pub loss: Option<f64>,
    /// Seconds of one run.
    pub latency: Option<f64>,
    /// Bytes of parameters.
    pub bytes: Option<u64>,
    /// Energy of one run in J.
    pub energy: Option<f64>,
    /// Multiply-accumulate operations of one run.
    pub macs: Option<u64>,
    /// Bytes of the peak memory.
    pub peak: Option<u64>,
}

impl Limits {
    /// The limit on a quantity, infinite if there is none.
    pub fn of(&self, q: Quantity) -> f64 {
        let limit = match q {
            Quantity::Loss => self.loss,
            Quantity::Latency => self.latency,
            Quantity::Energy => self.energy,
            Quantity::Bytes => self.bytes.map(|n| n as f64),
            Quantity::Macs => self.macs.map(|n| n as f64),
            Quantity::Peak => self.peak.map(|n| n as f64),
        };
        limit.unwrap_or(f64::INFINITY)
    }

    /// The quantities that are limited.
    pub fn limited(&self) -> impl Iterator<Item = Quantity> + '_ {
        Quantity::ALL.into_iter().filter(|&q| self.of(q) < f64::INFINITY)
    }

    /// Whether these costs keep all limits.
    pub fn allow(&self, costs: &Costs) -> bool {
        self.limited().all(|q| costs.get(q) <= self.of(q))
    }

    /// The limits on these quantities alone.
    pub(super) fn only(&self, kept: &[Quantity]) -> Self {
        let on = |q| kept.contains(&q);
        Self {
            loss: self.loss.filter(|_| on(Quantity::Loss)),
            latency: self.latency.filter(|_| on(Quantity::Latency)),
            bytes: self.bytes.filter(|_| on(Quantity::Bytes)),
            energy: self.energy.filter(|_| on(Quantity::Energy)),
            macs: self.macs.filter(|_| on(Quantity::Macs)),
            peak: self.peak.filter(|_| on(Quantity::Peak)),
        }
    }
}
