//! Operators of strings.

use graph_opt_ir::Op;

use super::binary::{broadcast, expand};
use crate::RunError;
use crate::cpu::array::{Array, Text};
use crate::cpu::cx::{Cx, Outputs, invalid, unsupported};

/// Bytes that a string takes besides its text.
const HEAD: usize = 48;

/// Refuses strings of so much text together.
fn room_for(cx: &Cx<'_>, lengths: impl Iterator<Item = usize>) -> Result<(), RunError> {
    let bytes = lengths.fold(0usize, |a, n| a.saturating_add(n).saturating_add(HEAD));
    cx.room_of(&[bytes], 1).map(|_| ())
}

fn utf8(s: &Text) -> Result<&str, RunError> {
    std::str::from_utf8(s).map_err(|_| RunError::Unsupported("text that is not UTF-8".into()))
}

pub(super) fn concat(cx: &mut Cx<'_>) -> Outputs {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let dims = broadcast(&a.dims, &b.dims)?;
    cx.room_of(&dims, HEAD)?;
    let (a, b) = (expand(cx, a, &dims)?, expand(cx, b, &dims)?);
    let all = || Ok::<_, RunError>(a.get::<Text>()?.iter().zip(b.get::<Text>()?));
    room_for(cx, all()?.map(|(x, y)| x.len() + y.len()))?;
    let v = all()?.map(|(x, y)| Text::from([&x[..], &y[..]].concat())).collect();
    Ok(vec![Array::new(dims, v)])
}

/// The parts of a string between whitespace, of which there are at most `most` and a rest.
fn words(s: &str, most: usize) -> Vec<&str> {
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let (mut all, mut rest) = (vec![], s.trim_start_matches(is_space));
    while !rest.is_empty() {
        match rest.find(is_space).filter(|_| all.len() < most) {
            Some(at) => {
                all.push(&rest[..at]);
                rest = rest[at..].trim_start_matches(is_space);
            }
            None => {
                all.push(rest);
                break;
            }
        }
    }
    all
}

pub(super) fn split(cx: &mut Cx<'_>) -> Outputs {
    let Op::StringSplit(o) = cx.op else { invalid!("not a StringSplit") };
    let a = cx.input(0)?;
    let most = o.maxsplit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let delimiter = o.delimiter.as_deref().filter(|d| !d.is_empty());
    let delimiter = delimiter.map(std::str::from_utf8).transpose();
    let delimiter = delimiter.map_err(|_| RunError::Invalid("a delimiter not in UTF-8".into()))?;
    let text = a.get::<Text>()?;
    // A part for every byte, in the worst case.
    room_for(cx, text.iter().flat_map(|s| std::iter::repeat_n(1, s.len() + 1)))?;
    let mut parts: Vec<Vec<&str>> = Vec::with_capacity(text.len());
    for s in text {
        let s = utf8(s)?;
        parts.push(match delimiter {
            Some(d) => s.splitn(most.saturating_add(1), d).collect(),
            None if s.chars().any(|c| !c.is_ascii() && c.is_whitespace()) => {
                unsupported!("whitespace beyond ASCII, which runtimes split differently")
            }
            None => words(s, most),
        });
    }
    let widest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let dims: Vec<usize> = a.dims.iter().copied().chain([widest]).collect();
    let mut v = Vec::with_capacity(cx.room::<Text>(&dims)?);
    let empty = Text::default();
    for p in &parts {
        v.extend(p.iter().map(|s| Text::from(s.as_bytes())));
        v.extend(std::iter::repeat_n(&empty, widest - p.len()).cloned());
    }
    let counts = parts.iter().map(|p| p.len() as i64).collect();
    Ok(vec![Array::new(dims, v), Array::new(a.dims.clone(), counts)])
}

/// In the other case; where a letter becomes several, runtimes differ.
fn changed(s: &str, action: &str) -> Result<String, RunError> {
    fn one(mut all: impl Iterator<Item = char>) -> Result<char, RunError> {
        match (all.next(), all.next()) {
            (Some(c), None) => Ok(c),
            _ => unsupported!("the case of letters that become several"),
        }
    }
    match action {
        "LOWER" => s.chars().map(|c| one(c.to_lowercase())).collect(),
        "UPPER" => s.chars().map(|c| one(c.to_uppercase())).collect(),
        "NONE" => Ok(s.into()),
        other => invalid!("case_change_action {other:?}"),
    }
}

pub(super) fn normalize(cx: &mut Cx<'_>) -> Outputs {
    let Op::StringNormalizer(o) = cx.op else { invalid!("not a StringNormalizer") };
    let a = cx.input(0)?;
    if !matches!(a.dims[..], [_] | [1, _]) {
        invalid!("{:?} is neither [C] nor [1,C]", a.dims);
    }
    let action = o.case_change_action.as_str();
    // Stop words are compared in one case, unless their case counts.
    let compared = match action {
        _ if o.is_case_sensitive != 0 => "NONE",
        "NONE" => "LOWER",
        other => other,
    };
    let text = a.get::<Text>()?;
    // Another case may take more bytes, but no more than 4 for each.
    room_for(cx, text.iter().map(|s| s.len().saturating_mul(4)))?;
    let stops = o.stopwords.iter().flatten().map(|s| changed(s, compared));
    let stops = stops.collect::<Result<std::collections::BTreeSet<String>, _>>()?;
    let mut kept: Vec<Text> = vec![];
    for s in text {
        let s = utf8(s)?;
        if stops.is_empty() || !stops.contains(&changed(s, compared)?) {
            kept.push(changed(s, action)?.as_bytes().into());
        }
    }
    if kept.is_empty() {
        kept.push(Text::default());
    }
    let mut dims = a.dims.clone();
    if let Some(last) = dims.last_mut() {
        *last = kept.len();
    }
    Ok(vec![Array::new(dims, kept)])
}

/// The pattern, in the syntax of RE2, as one of the crate `regex`, whose classes are of Unicode.
fn translated(pattern: &str) -> Result<String, RunError> {
    let mut out = String::with_capacity(pattern.len());
    let mut all = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(c) = all.next() {
        match (c, all.peek().copied()) {
            ('\\', Some(next)) => {
                all.next();
                match next {
                    'd' | 'w' => out.push_str(if next == 'd' { "[0-9]" } else { "[0-9A-Za-z_]" }),
                    'D' | 'W' => out.push_str(if next == 'D' { "[^0-9]" } else { "[^0-9A-Za-z_]" }),
                    's' => out.push_str("[\\t\\n\\f\\r ]"),
                    'S' => out.push_str("[^\\t\\n\\f\\r ]"),
                    'b' | 'B' if !in_class => out.push_str(&format!("(?-u:\\{next})")),
                    'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'p' | 'P' | 'A' | 'z' => {
                        out.extend(['\\', next]);
                    }
                    c if c.is_ascii_punctuation() => out.push_str(&regex::escape(&c.to_string())),
                    c => unsupported!("\\{c} in a pattern"),
                }
            }
            ('(', Some('?')) if !in_class => {
                out.push('(');
                let mut rest = all.clone().skip(1);
                let names = matches!(rest.next(), Some('P' | '<'));
                let flags = all.clone().skip(1).take_while(|&c| c != ':' && c != ')');
                if !names && flags.into_iter().any(|c| !"imsU-".contains(c)) {
                    unsupported!("a group of this kind in a pattern");
                }
            }
            ('[', Some(':')) if in_class => out.push('['),
            ('[', _) if in_class => out.push_str("\\["),
            ('[', next) => {
                in_class = true;
                out.push('[');
                if next == Some('^') {
                    all.next();
                    out.push('^');
                }
                // There it is a member.
                if all.peek() == Some(&']') {
                    all.next();
                    out.push_str("\\]");
                }
            }
            (':', Some(']')) if in_class => {
                all.next();
                out.push_str(":]");
            }
            (']', _) if in_class => {
                in_class = false;
                out.push(']');
            }
            ('&' | '~', Some(n)) | ('-', Some(n @ '-')) if in_class && n == c => {
                unsupported!("{c}{c} in a class of a pattern")
            }
            ('{', Some(',')) if !in_class => unsupported!("{{, in a pattern"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

pub(super) fn full_match(cx: &mut Cx<'_>) -> Outputs {
    let Op::RegexFullMatch(o) = cx.op else { invalid!("not a RegexFullMatch") };
    let a = cx.input(0)?;
    let pattern = translated(o.pattern.as_deref().unwrap_or_default())?;
    // Limits on sizes bound the memory, and matching is linear.
    let compiled = |p: &str| {
        let built = regex::bytes::RegexBuilder::new(p).size_limit(1 << 22).nest_limit(100).build();
        built.map_err(|e| RunError::Unsupported(format!("this pattern: {e}")))
    };
    // By itself first, so that its groups cannot end those around it.
    compiled(&pattern)?;
    let whole = compiled(&format!("\\A(?:{pattern})\\z"))?;
    cx.room::<bool>(&a.dims)?;
    let v = a.get::<Text>()?.iter().map(|s| whole.is_match(s)).collect();
    Ok(vec![Array::new(a.dims.clone(), v)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_re2() {
        let of = |p: &str| translated(p).ok();
        assert_eq!(of(r"www\.[\w.-]+").as_deref(), Some(r"www\.[[0-9A-Za-z_].-]+"));
        assert_eq!(of(r"[]a[]x").as_deref(), Some(r"[\]a\[]x"));
        assert_eq!(of(r"[[:alpha:]]\b").as_deref(), Some(r"[[:alpha:]](?-u:\b)"));
        assert_eq!(of(r"a\<").as_deref(), Some("a<"));
        for refused in [r"(?x)a", r"[a&&b]", r"\Qa\E", "a{,3}", r"[a--b]"] {
            assert_eq!(of(refused), None, "{refused}");
        }
        assert!(of("(?i)a(?:b)(?P<n>c)").is_some());
    }

    #[test]
    fn the_rest_after_the_last_split_stays() {
        assert_eq!(words("  o n  n x ", 2), ["o", "n", "n x "]);
        assert_eq!(words(" \t", 2), [""; 0]);
        assert_eq!(words("a b", usize::MAX), ["a", "b"]);
    }
}
