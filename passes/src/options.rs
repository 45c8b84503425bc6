//! Options of passes: declared once, which gives the parser, the help and the checks.

use std::collections::BTreeMap;
use std::fmt;

use graph_opt_ir::text::unescape;

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

/// A text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size with its unit, such as 64KiB, not {0:?}")]
pub struct SizeError(pub String);

/// Options by name, their values without quotes. As text they are as in a pipeline, between the
/// braces: values that would not be read back as they are stand in quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(pub BTreeMap<String, String>);

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let space = if i > 0 { " " } else { "" };
            if is_bare(value) {
                write!(f, "{space}{name}={value}")?;
            } else {
                write!(f, "{space}{name}={value:?}")?;
            }
        }
        Ok(())
    }
}

impl Options {
    /// With this option.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

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

    /// One of several, by its name.
    ///
    /// # Errors
    /// If it is none; with all of them.
    pub fn choice<T: Copy>(
        &self,
        name: &str,
        names: &[(&'static str, T)],
    ) -> Result<Option<T>, OptionError> {
        let Some(v) = self.get(name) else { return Ok(None) };
        match names.iter().find(|n| n.0 == v) {
            Some(n) => Ok(Some(n.1)),
            None => {
                let all = or_list(&names.iter().map(|n| n.0).collect::<Vec<_>>());
                Err(OptionError(format!("{name} must be {all}, not {v:?}")))
            }
        }
    }

    /// A list such as `[3,3,2]`, of whole numbers of at least 1.
    ///
    /// # Errors
    /// If it is none.
    pub fn list(&self, name: &str) -> Result<Option<Vec<i64>>, OptionError> {
        self.get(name).map(|v| list(name, v)).transpose()
    }
}

/// The name that one of several choices has as an option.
pub(crate) fn name_of<T: PartialEq>(value: T, names: &[(&'static str, T)]) -> &'static str {
    names.iter().find(|n| n.1 == value).map_or("", |n| n.0)
}

/// `a, b or c`.
fn or_list(names: &[&str]) -> String {
    match names {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        all => all.concat(),
    }
}

/// Bytes of the value without quotes that the text starts with. It ends at a space, a comma or a
/// brace outside of brackets; inside of brackets, quotes hide what is between them. `None` if it does
/// not end.
pub(crate) fn bare(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            ' ' | ',' | '}' if depth == 0 => return Some(at),
            '"' if depth > 0 => {
                at += quoted(&text[at..])?.0;
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    None
}

/// The string in quotes that the text starts with, as Rust writes it: the bytes that it takes, and
/// what it says. `None` if it does not end, or has an escape that is not known.
pub(crate) fn quoted(text: &str) -> Option<(usize, String)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.find(|c| match c {
        _ if std::mem::take(&mut escaped) => false,
        '\\' => {
            escaped = true;
            false
        }
        c => c == '"',
    })?;
    Some((end + 2, unescape(&inner[..end])?))
}

/// Whether a value is read back as it is when it stands without quotes.
fn is_bare(value: &str) -> bool {
    let plain = !value.starts_with('"') && !value.chars().any(char::is_control);
    plain
        && value.trim() == value
        && !value.is_empty()
        && bare(&format!("{value}}}")) == Some(value.len())
}

/// Parts of a list such as `[a,"b, c"]`, with or without brackets: split at commas outside of quotes.
pub(crate) fn items(v: &str) -> Vec<&str> {
    let v = v.strip_prefix('[').and_then(|v| v.strip_suffix(']')).unwrap_or(v);
    let mut all = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(c) = v[at..].chars().next() {
        match c {
            ',' => {
                all.push(v[start..at].trim());
                start = at + 1;
                at += 1;
            }
            '"' => at += quoted(&v[at..]).map_or(1, |q| q.0),
            c => at += c.len_utf8(),
        }
    }
    all.push(v[start..].trim());
    all
}

/// As the option `sizes` has it: `[3,3,2]`.
pub(crate) fn list_text(list: &[i64]) -> String {
    format!("[{}]", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
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
/// If the text is not a number with one of these units.
pub fn bytes(v: &str) -> Result<u64, SizeError> {
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
        _ => return Err(SizeError(v.to_owned())),
    };
    // Whole numbers of bytes may have more digits than a float.
    if let (Ok(n), 1.0) = (number.parse::<u64>(), factor) {
        return Ok(n);
    }
    match number.parse::<f64>() {
        Ok(n) if n.is_finite() && n * factor < 1e18 => Ok((n * factor).round() as u64),
        _ => Err(SizeError(v.to_owned())),
    }
}

/// Bytes with the largest binary unit of which they are a multiple, which [`bytes`] reads back.
pub(crate) fn bytes_text(n: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: &u32| n > 0 && n.is_multiple_of(1 << shift) && n < 1 << 50;
    match units.iter().find(|u| fits(&u.0)) {
        Some((shift, unit)) => format!("{}{unit}", n >> shift),
        None => format!("{n}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units() {
        assert_eq!(bytes("64KiB"), Ok(65536));
        assert_eq!(bytes("1.5MB"), Ok(1_500_000));
        for n in [0, 1, 1023, 1024, 3 << 20, (1 << 53) + 1, 1 << 60, u64::MAX] {
            assert_eq!(bytes(&bytes_text(n)), Ok(n));
        }
        assert_eq!((&*bytes_text(8 << 20), &*bytes_text(1500)), ("8MiB", "1500B"));
        assert!(bytes("64").is_err() && bytes("x").is_err() && bytes("1e99GiB").is_err());
    }

    #[test]
    fn values_are_quoted_where_they_have_to_be() {
        for (value, text) in [
            ("c1", "to=c1"),
            ("a/b:0", "to=a/b:0"),
            ("[3,3]x[2]", "to=[3,3]x[2]"),
            ("a\"b", "to=a\"b"),
            ("first conv", "to=\"first conv\""),
            ("conv,1", "to=\"conv,1\""),
            ("a}", "to=\"a}\""),
            ("a[0", "to=\"a[0\""),
            ("\"a\"", "to=\"\\\"a\\\"\""),
            ("a b\\", "to=\"a b\\\\\""),
            ("a\nb", "to=\"a\\nb\""),
            ("", "to=\"\""),
        ] {
            assert_eq!(Options::default().with("to", value).to_string(), text);
        }
    }
}
