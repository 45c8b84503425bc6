//! Why a command ends with another exit code than 0.

use std::borrow::Cow;
use std::fmt::Display;

/// Exit code and message.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process: 1 a failed check, 2 bad usage or input, 3 an internal error.
    pub code: u8,
    /// For standard error; empty where everything was said.
    pub message: String,
}

/// What a command gives.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// A failure of a check, with exit code 1.
pub fn check(message: impl Display) -> Failure {
    Failure { code: 1, message: message.to_string() }
}

/// Wrong usage, or input that cannot be read.
pub fn usage(message: impl Display) -> Failure {
    Failure { code: 2, message: message.to_string() }
}

/// Valid, but not supported.
pub fn unsupported(message: impl Display) -> Failure {
    Failure { code: 3, message: message.to_string() }
}

/// Writes to standard output; a reader that went away is no failure.
pub fn out(text: impl Display) -> Result {
    use std::io::Write;
    let mut o = std::io::stdout().lock();
    match write!(o, "{}", shown(&text.to_string())).and_then(|()| o.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(usage(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error.
pub fn say(text: impl Display) {
    eprintln!("{}", shown(&text.to_string()));
}

/// A text as it may be shown: what a model's names could tell a terminal to do is written out.
pub fn shown(text: &str) -> Cow<'_, str> {
    // Marks that turn the direction of writing could hide what stands there.
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let unfit = |c: char| (c.is_control() && c != '\n' && c != '\t') || turns(c);
    if !text.contains(unfit) {
        return text.into();
    }
    let one = |c: char| if unfit(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(one).collect::<String>().into()
}

/// A name on a line of its own with other things: it cannot end the line.
pub fn name(text: &str) -> String {
    shown(text).replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_speak_to_the_terminal() {
        assert_eq!(shown("a/b é 中\n"), "a/b é 中\n");
        assert_eq!(shown("\u{1b}[2J\u{7}\r"), "\\u{1b}[2J\\u{7}\\u{d}");
        assert_eq!(shown("x\u{202e}y"), "x\\u{202e}y");
        assert_eq!(name("y: identical\nz"), "y: identical\\nz");
    }
}
