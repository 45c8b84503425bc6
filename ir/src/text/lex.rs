//! Text → tokens.

use std::fmt;

use super::parse::ParseError;

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// A name after `%`, bare or quoted.
    Value(String),
    /// A name after `@`, bare or quoted.
    Graph(String),
    /// A bare word: letters, digits and `_./-#+`.
    Word(String),
    /// A text in quotes.
    Str(String),
    /// The rest of a line after `;`.
    Label(String),
    /// Any other character, such as a bracket.
    Sign(char),
    Arrow,
    DotDot,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(name) => write!(f, "%{name}"),
            Self::Graph(name) => write!(f, "@{name}"),
            Self::Word(w) => write!(f, "'{w}'"),
            Self::Str(s) => write!(f, "{s:?}"),
            Self::Label(l) => write!(f, "'; {l}'"),
            Self::Sign(c) => write!(f, "'{c}'"),
            Self::Arrow => f.write_str("'->'"),
            Self::DotDot => f.write_str("'..'"),
            Self::End => f.write_str("the end of the text"),
        }
    }
}

/// The tokens of a text, each with its line, from 1. The last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, ParseError> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1 };
    let mut out = Vec::new();
    while let Some(c) = lexer.peek(0) {
        match c {
            '\n' => {
                lexer.line += 1;
                lexer.at += 1;
            }
            c if c.is_whitespace() => lexer.at += 1,
            '/' if lexer.peek(1) == Some('/') => drop(lexer.rest_of_line()),
            _ => out.push((lexer.token(c)?, lexer.line)),
        }
    }
    out.push((Token::End, lexer.line));
    Ok(out)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./-#+".contains(c)
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn fail<T>(&self, what: String) -> Result<T, ParseError> {
        Err(ParseError::new(self.line, what))
    }

    /// The token that starts with `c`, the character here.
    fn token(&mut self, c: char) -> Result<Token, ParseError> {
        let two = |lexer: &mut Self, token| {
            lexer.at += 2;
            Ok(token)
        };
        match c {
            ';' => self.label(),
            '%' => self.name().map(Token::Value),
            '@' => self.name().map(Token::Graph),
            '"' => self.quoted().map(Token::Str),
            '-' if self.peek(1) == Some('>') => two(self, Token::Arrow),
            '.' if self.peek(1) == Some('.') => two(self, Token::DotDot),
            // A word ends before the dots of a range.
            c if is_word(c) => {
                Ok(Token::Word(self.take_while(|lexer, c| {
                    is_word(c) && !(c == '.' && lexer.peek(1) == Some('.'))
                })))
            }
            c => {
                self.at += 1;
                Ok(Token::Sign(c))
            }
        }
    }

    /// The characters from here on for which `f` holds.
    fn take_while(&mut self, f: impl Fn(&Self, char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(|c| f(self, c)) {
            self.at += 1;
        }
        self.chars[start..self.at].iter().collect()
    }

    fn rest_of_line(&mut self) -> String {
        self.take_while(|_, c| c != '\n')
    }

    /// A name after its sign. A colon belongs to the name unless it ends it, as in `%x: f32[1]`.
    fn name(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        if self.peek(0) == Some('"') {
            return self.quoted();
        }
        Ok(self.take_while(|lexer, c| {
            is_word(c) || c == ':' && lexer.peek(1).is_some_and(|next| is_word(next) || next == ':')
        }))
    }

    fn label(&mut self) -> Result<Token, ParseError> {
        self.at += 1;
        let text = self.rest_of_line();
        let text = text.trim();
        match text.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
            Some(quoted) => self.unescaped(quoted).map(Token::Label),
            None => Ok(Token::Label(text.to_owned())),
        }
    }

    fn quoted(&mut self) -> Result<String, ParseError> {
        let start = self.at + 1;
        self.at = start;
        loop {
            match self.peek(0) {
                None | Some('\n') => {
                    return self.fail("expected '\"' at the end of a string".into());
                }
                Some('"') => break,
                Some('\\') => self.at += 2,
                Some(_) => self.at += 1,
            }
        }
        let raw: String = self.chars[start..self.at].iter().collect();
        self.at += 1;
        self.unescaped(&raw)
    }

    fn unescaped(&self, raw: &str) -> Result<String, ParseError> {
        let escapes = "\\n, \\r, \\t, \\0, \\u{…}, \\\\, \\\" or \\'";
        match unescape(raw) {
            Some(s) => Ok(s),
            None => self.fail(format!("expected the escapes {escapes}, found {raw:?}")),
        }
    }
}

/// Undoes the escapes of Rust's `{:?}` in a string without its quotes; `None` if it has an unknown
/// escape.
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
