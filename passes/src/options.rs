//! Options of passes: declared once, which gives the parser, the help and the checks.

use std::collections::BTreeMap;
use std::fmt;

use graph_opt_ir::text::unescape;

/// The description of an option, for help and parser.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Name of the option.
    pub name: &'static str,
    /// An example of a value, for help.
    pub value: &'static str,
    /// What the option does, in one line.
    pub help: &'static str,
}

/// Why options are refused: one is missing, contradicts another one, or has a bad value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(pub String);

/// A text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 64KiB, 64K or 65536, found {0:?}")]
pub struct SizeError(pub String);

/// Options by name. They print as in a pipeline between the braces: values are quoted where the
/// parser would not read them back otherwise.
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
    /// Adds an option, or replaces its value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    /// The value of an option as written, without quotes.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of an option as a positive integer; `None` if it is not given.
    ///
    /// # Errors
    /// If the value is not a positive integer.
    pub fn count(&self, name: &str) -> Result<Option<i64>, OptionError> {
        self.get(name).map(|v| positive(name, v)).transpose()
    }

    /// The value of an option in bytes, given as a size such as `64KiB`; `None` if it is
    /// not given.
    ///
    /// # Errors
    /// If the value is not a size.
    pub fn bytes(&self, name: &str) -> Result<Option<u64>, OptionError> {
        self.get(name)
            .map(|v| bytes(v).map_err(|e| OptionError(format!("{name}: {e}"))))
            .transpose()
    }

    /// The choice that the value of an option names; `None` if it is not given.
    ///
    /// # Errors
    /// If the value names no choice; the message lists all of them.
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

    /// The value of an option as a list of positive integers such as `[3,3,2]`; `None` if it is not
    /// given.
    ///
    /// # Errors
    /// If the value is not such a list.
    pub fn list(&self, name: &str) -> Result<Option<Vec<i64>>, OptionError> {
        self.get(name).map(|v| list(name, v)).transpose()
    }
}

/// The name of a choice as an option's value.
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

/// Length in bytes of the unquoted value at the start of the text. It ends at a space, a comma or a
/// brace outside of brackets; inside of brackets, quoted text is skipped. `None` if it does not end.
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

/// The quoted string at the start of the text, with the escapes of Rust: its length in bytes with
/// quotes, and its content. `None` if it does not end, or has an unknown escape.
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

/// Whether a value is parsed back unchanged without quotes.
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

/// A list as text, as in the option `sizes`: `[3,3,2]`.
pub(crate) fn list_text(list: &[i64]) -> String {
    format!("[{}]", list.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// The value of option `name`, a list of positive integers such as `[3,3,2]`.
pub(crate) fn list(name: &str, v: &str) -> Result<Vec<i64>, OptionError> {
    let inner = v.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let Some(inner) = inner else {
        return Err(OptionError(format!("{name} must be a list such as [3,3,2], not {v:?}")));
    };
    inner.split(',').map(|n| positive(name, n.trim())).collect()
}

/// The value of option `name`, a positive integer.
pub(crate) fn positive(name: &str, v: &str) -> Result<i64, OptionError> {
    match v.parse() {
        Ok(n) if n >= 1 => Ok(n),
        _ => Err(OptionError(format!("{name} must be a whole number of at least 1, not {v:?}"))),
    }
}

/// Bytes of a size: a number of bytes, or one with a unit, in capitals or not: decimal (`kB`, `MB`, `GB`) or
/// binary (`KiB`, `MiB`, `GiB`, and as Linux's tools have it `K`, `M`, `G`).
///
/// # Errors
/// If the text is not such a number.
pub fn bytes(v: &str) -> Result<u64, SizeError> {
    let split = v.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(v.len());
    let (number, unit) = v.split_at(split);
    let factor = match &*unit.trim().to_ascii_lowercase() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "k" | "ki" | "kib" => 1024.0,
        "mb" => 1e6,
        "m" | "mi" | "mib" => 1024.0 * 1024.0,
        "gb" => 1e9,
        "g" | "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
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
        assert_eq!((bytes("64"), bytes("1 gib"), bytes("2M")), (Ok(64), Ok(1 << 30), Ok(2 << 20)));
        assert!(bytes("").is_err() && bytes("x").is_err() && bytes("1e99GiB").is_err());
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
