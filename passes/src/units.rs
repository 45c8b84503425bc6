//! Sizes and numbers as text.

use std::fmt;

/// A number of bytes, which prints with a binary unit: `512 B`, `1.50 KiB`, `12.00 MiB`.
///
/// ```
/// use graph_opt_passes::ByteSize;
///
/// assert_eq!(ByteSize(512).to_string(), "512 B");
/// assert_eq!(ByteSize(1536).to_string(), "1.50 KiB");
/// assert_eq!(ByteSize(12 << 20).to_string(), "12.00 MiB");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1 << 20 => write!(f, "{:.2} MiB", n as f64 / f64::from(1 << 20)),
            n if n >= 1 << 10 => write!(f, "{:.2} KiB", n as f64 / 1024.0),
            n => write!(f, "{n} B"),
        }
    }
}

/// A number of things as text, with an `s` after the noun unless there is exactly one.
///
/// ```
/// use graph_opt_passes::count;
///
/// assert_eq!(count(1, "node"), "1 node");
/// assert_eq!(count(0, "node"), "0 nodes");
/// ```
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
