//! Spans of indices.

/// A half-open range of indices along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Span {
    /// The first index.
    pub lo: i64,
    /// One past the last index.
    pub hi: i64,
}

impl Span {
    /// The span `[lo, hi)`.
    pub fn new(lo: i64, hi: i64) -> Self {
        Self { lo, hi }
    }

    /// The span `[0, n)` of a whole axis with extent `n`.
    pub fn whole(n: i64) -> Self {
        Self { lo: 0, hi: n }
    }

    /// Number of indices; 0 if `hi <= lo`.
    pub fn len(self) -> i64 {
        (self.hi - self.lo).max(0)
    }

    /// Whether it contains no index.
    pub fn is_empty(self) -> bool {
        self.hi <= self.lo
    }

    /// The smallest span that contains both; empty spans are ignored.
    pub fn hull(self, other: Self) -> Self {
        match (self.is_empty(), other.is_empty()) {
            (true, _) => other,
            (_, true) => self,
            _ => Self { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) },
        }
    }

    /// Whether every index of `other` is in this span.
    pub fn contains(self, other: Self) -> bool {
        other.is_empty() || (self.lo <= other.lo && other.hi <= self.hi)
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.lo, self.hi)
    }
}
