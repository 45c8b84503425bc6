//! Cryptographic digests (BLAKE3). Inputs with equal digests are treated as equal everywhere: no
//! collision of BLAKE3 is known.

use std::fmt;

/// A BLAKE3 digest of 256 bits. Displayed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The first 128 bits as a number, for names.
    pub(crate) fn short(self) -> u128 {
        let (half, _) = self.0.split_at(16);
        half.iter().fold(0, |n, &b| n << 8 | u128::from(b))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.short())
    }
}

/// Computes a digest of a list of parts. Each part is hashed with its length, so that different lists
/// never hash the same bytes.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// A hasher for one kind of object. Objects of different kinds have different digests.
    pub fn new(what: &str) -> Self {
        let mut h = Self(blake3::Hasher::new());
        h.bytes(what.as_bytes());
        h
    }

    /// Adds a byte string and its length.
    pub fn bytes(&mut self, b: &[u8]) -> &mut Self {
        self.int(b.len() as u64);
        self.0.update(b);
        self
    }

    /// Adds the next bytes of a string whose length was added before.
    pub(crate) fn more(&mut self, b: &[u8]) {
        self.0.update(b);
    }

    /// Adds one integer of 64 bits.
    pub fn int(&mut self, n: u64) -> &mut Self {
        self.0.update(&n.to_le_bytes());
        self
    }

    /// Adds a list of integers and its length.
    pub(crate) fn ints(&mut self, all: &[i64]) -> &mut Self {
        self.int(all.len() as u64);
        all.iter().fold(self, |h, &n| h.int(n as u64))
    }

    /// Adds a string and its length in bytes.
    pub fn text(&mut self, s: &str) -> &mut Self {
        self.bytes(s.as_bytes())
    }

    /// Adds an object by its own digest.
    pub fn part(&mut self, d: Digest) -> &mut Self {
        self.0.update(&d.0);
        self
    }

    /// The digest of all parts that were added.
    pub fn done(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let of = |a: &str, b: &str| Hasher::new("t").text(a).text(b).done();
        assert_eq!(of("ab", "c"), of("ab", "c"));
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_ne!(Hasher::new("t").done(), Hasher::new("u").done());
        let d = of("", "");
        assert!(d.to_string().starts_with(&format!("{:032x}", d.short())));
    }
}
