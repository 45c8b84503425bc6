//! Text → tokens.

use super::parse::ParseError;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// `%name` or `%"name"`
    Value(String),
    /// `@name`
    Graph(String),
    /// A bare word: letters, digits and `_./-:#+`
    Word(String),
    /// `"text"`
    Str(String),
    /// The rest of a line after `;`
    Label(String),
    /// Any other character
    Sign(char),
    Arrow,
    DotDot,
    End,
}

pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, ParseError> {
    let mut out = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let (mut i, mut line) = (0, 1);
    let quoted = |i: &mut usize, line: usize| -> Result<String, ParseError> {
        let start = *i;
        *i += 1;
        while *i < chars.len() && chars[*i] != '"' {
            if chars[*i] == '\n' {
                return Err(ParseError::new(line, "a string does not end on its line"));
            }
            *i += if chars[*i] == '\\' { 2 } else { 1 };
        }
        if *i >= chars.len() {
            return Err(ParseError::new(line, "a string does not end"));
        }
        *i += 1;
        let raw: String = chars[start + 1..*i - 1].iter().collect();
        unescape(&raw).ok_or_else(|| ParseError::new(line, format!("bad escape in {raw:?}")))
    };
    while i < chars.len() {
        let c = chars[i];
        let word = |c: char| c.is_ascii_alphanumeric() || "_./-#+".contains(c);
        match c {
            '\n' => {
                line += 1;
                i += 1;
            }
            c if c.is_whitespace() => i += 1,
            '/' if chars.get(i + 1) == Some(&'/') => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            ';' => {
                i += 1;
                let start = i;
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
                let s: String = chars[start..i].iter().collect();
                let s = s.trim();
                let s = match s.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
                    Some(q) => unescape(q)
                        .ok_or_else(|| ParseError::new(line, format!("bad escape in {q:?}")))?,
                    None => s.to_owned(),
                };
                out.push((Token::Label(s), line));
            }
            '%' | '@' => {
                i += 1;
                let name = if chars.get(i) == Some(&'"') {
                    quoted(&mut i, line)?
                } else {
                    let start = i;
                    // A colon belongs to the name unless it ends it, as in `%x: f32[1]`.
                    let inner = |i: usize| {
                        word(chars[i])
                            || (chars[i] == ':'
                                && chars.get(i + 1).is_some_and(|&c| word(c) || c == ':'))
                    };
                    while i < chars.len() && inner(i) {
                        i += 1;
                    }
                    chars[start..i].iter().collect()
                };
                out.push((if c == '%' { Token::Value(name) } else { Token::Graph(name) }, line));
            }
            '"' => {
                let s = quoted(&mut i, line)?;
                out.push((Token::Str(s), line));
            }
            '-' if chars.get(i + 1) == Some(&'>') => {
                out.push((Token::Arrow, line));
                i += 2;
            }
            '.' if chars.get(i + 1) == Some(&'.') => {
                out.push((Token::DotDot, line));
                i += 2;
            }
            c if word(c) => {
                let start = i;
                while i < chars.len()
                    && word(chars[i])
                    && !(chars[i] == '.' && chars.get(i + 1) == Some(&'.'))
                {
                    i += 1;
                }
                out.push((Token::Word(chars[start..i].iter().collect()), line));
            }
            c => {
                out.push((Token::Sign(c), line));
                i += 1;
            }
        }
    }
    out.push((Token::End, line));
    Ok(out)
}

/// Undoes Rust's `{:?}` of a string, given without its quotes; `None` for an escape that is not known.
pub fn unescape(s: &str) -> Option<String> {
    let mut out = String::new();
    let mut it = s.chars();
    while let Some(c) = it.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match it.next()? {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '0' => '\0',
            'u' => {
                let rest: String = it.by_ref().skip(1).take_while(|&c| c != '}').collect();
                char::from_u32(u32::from_str_radix(&rest, 16).ok()?)?
            }
            c @ ('\\' | '"' | '\'') => c,
            _ => return None,
        });
    }
    Some(out)
}
