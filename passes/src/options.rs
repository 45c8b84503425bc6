//! Options of passes: declared once, which gives the parser, the help and the checks.

use std::collections::BTreeMap;

/// A declared option.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Name.
    pub name: &'static str,
    /// What its value looks like, for help.
    pub value: &'static str,
    /// One line.
    pub help: &'static str,
}

/// An option is unknown or has a bad value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(pub String);

/// Options as written, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

impl Options {
    /// The value as written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A whole number of at least 1.
    ///
    /// # Errors
    /// If it is none.
    pub fn count(&self, name: &str) -> Result<Option<i64>, OptionError> {
        self.get(name).map(|v| count(name, v)).transpose()
    }

    /// A size with its unit, such as `64KiB`, in bytes.
    ///
    /// # Errors
    /// If it is none.
    pub fn bytes(&self, name: &str) -> Result<Option<u64>, OptionError> {
        self.get(name)
            .map(|v| bytes(v).map_err(|e| OptionError(format!("{name}: {e}"))))
            .transpose()
    }

    /// A list such as `[3,3,2]`, of whole numbers of at least 1.
    ///
    /// # Errors
    /// If it is none.
    pub fn list(&self, name: &str) -> Result<Option<Vec<i64>>, OptionError> {
        self.get(name).map(|v| list(name, v)).transpose()
    }
}

/// A list such as `[3,3,2]`.
pub(crate) fn list(name: &str, v: &str) -> Result<Vec<i64>, OptionError> {
    let inner = v.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let Some(inner) = inner else {
        return Err(OptionError(format!("{name} must be a list such as [3,3,2], not {v:?}")));
    };
    inner.split(',').map(|n| count(name, n.trim())).collect()
}

/// A whole number of at least 1.
pub(crate) fn count(name: &str, v: &str) -> Result<i64, OptionError> {
    match v.parse() {
        Ok(n) if n >= 1 => Ok(n),
        _ => Err(OptionError(format!("{name} must be a whole number of at least 1, not {v:?}"))),
    }
}

/// Bytes of a size with its unit: `B`, `kB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`; a bare number is not
/// a size.
///
/// # Errors
/// With what was expected.
pub fn bytes(v: &str) -> Result<u64, String> {
    let split = v.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(v.len());
    let (number, unit) = v.split_at(split);
    let factor = match unit.trim() {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "KiB" => 1024.0,
        "MB" => 1e6,
        "MiB" => 1024.0 * 1024.0,
        "GB" => 1e9,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(format!("expected a size with its unit, such as 64KiB, not {v:?}")),
    };
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n * factor < 1e18 => Ok((n * factor).round() as u64),
        _ => Err(format!("expected a size with its unit, such as 64KiB, not {v:?}")),
    }
}

/// Bytes in a readable unit.
pub(crate) fn readable(n: u64) -> String {
    match n {
        n if n >= 1 << 20 => format!("{:.2} MiB", n as f64 / f64::from(1 << 20)),
        n if n >= 1 << 10 => format!("{:.1} KiB", n as f64 / 1024.0),
        n => format!("{n} B"),
    }
}

/// The known name that is nearest to a mistyped one, if one is near.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.into_iter().map(|k| (distance(name, k), k)).min()?;
    (best.0 <= 1 + name.len() / 3).then_some(best.1)
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let change = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units() {
        assert_eq!(bytes("64KiB"), Ok(65536));
        assert_eq!(bytes("1.5MB"), Ok(1_500_000));
        assert!(bytes("64").is_err() && bytes("x").is_err() && bytes("1e99GiB").is_err());
    }

    #[test]
    fn typos_find_their_word() {
        assert_eq!(nearest("tile-cnov", ["simplify", "tile-conv"]), Some("tile-conv"));
        assert_eq!(nearest("zzz", ["simplify", "tile-conv"]), None);
    }
}
