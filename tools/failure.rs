//! Why a command ends with another exit code than 0.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use schemars::JsonSchema;
use serde::Serialize;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It did what was asked.
    Done,
    /// Models or results differ, or an error was reproduced.
    Differs,
    /// Wrong usage, or input that cannot be read.
    Usage,
    /// Valid, but not supported.
    Unsupported,
    /// A limit cannot be met: the model does not fit, or no plan was found.
    DoesNotFit,
    /// Neither equality nor a difference could be shown.
    Undecided,
    /// Output cannot be written, or a device cannot be read.
    InputOutput,
    /// A bug in graph-opt.
    Internal,
    /// Ended by a signal such as Ctrl-C.
    Interrupted,
}

impl Kind {
    /// The exit code of the process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Differs => 1,
            Self::Usage => 2,
            Self::Unsupported => 3,
            Self::DoesNotFit => 4,
            Self::Undecided => 5,
            Self::InputOutput => 6,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command does not do what it is asked to.
#[derive(Debug)]
pub struct Failure {
    /// What decides the exit code.
    pub kind: Kind,
    /// For standard error; empty where everything was said.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Display) -> Self {
        Self { kind, message: message.to_string() }
    }
}

/// What a command gives.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// Models or results differ, or an error was reproduced.
pub fn differs(message: impl Display) -> Failure {
    Failure::new(Kind::Differs, message)
}

/// Wrong usage, or input that cannot be read.
pub fn usage(message: impl Display) -> Failure {
    Failure::new(Kind::Usage, message)
}

/// Valid, but not supported.
pub fn unsupported(message: impl Display) -> Failure {
    Failure::new(Kind::Unsupported, message)
}

/// A limit that cannot be met.
pub fn does_not_fit(message: impl Display) -> Failure {
    Failure::new(Kind::DoesNotFit, message)
}

/// Neither equality nor a difference could be shown.
pub fn undecided(message: impl Display) -> Failure {
    Failure::new(Kind::Undecided, message)
}

/// Output that cannot be written.
pub fn io(at: impl Display, e: &std::io::Error) -> Failure {
    Failure::new(Kind::InputOutput, format!("{at}: {e}"))
}

/// A bug in graph-opt.
pub fn internal(message: impl Display) -> Failure {
    Failure::new(Kind::Internal, format!("internal error: {message}"))
}

/// Writes to standard output, in colour where it is a terminal; a reader that went away is no failure.
pub fn out(tone: Tone, text: impl Display) -> Result {
    let text = text.to_string();
    let text = shown(&text);
    match anstream::AutoStream::choice(&std::io::stdout()) {
        anstream::ColorChoice::Never => crate::output::bytes(text.as_bytes()),
        _ => crate::output::bytes(tone.dress(&text).as_bytes()),
    }
}

/// Whether only answers and errors are shown.
pub static QUIET: AtomicBool = AtomicBool::new(false);

/// Writes a remark, of one or more lines, to standard error.
pub fn say(text: impl Display) {
    let text = text.to_string();
    if !text.is_empty() && !QUIET.load(Ordering::Relaxed) {
        told(text + "\n");
    }
}

/// Writes to standard error, for which no other place is left if nobody reads it.
pub fn told(text: impl Display) {
    told_in(Tone::Plain, text);
}

/// As [`told`], in colour where standard error is a terminal.
pub fn told_in(tone: Tone, text: impl Display) {
    use std::io::Write;
    let text = text.to_string();
    if crate::host::with(|h| h.said.push_str(&text)).is_some() {
        return;
    }
    let _ = write!(anstream::stderr().lock(), "{}", tone.dress(&shown(&text)));
}

/// What colour says of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// The first words are good news.
    Good,
    /// They leave something open.
    Doubtful,
    /// They are bad news.
    Bad,
    /// The lines of a difference.
    Diff,
}

impl Tone {
    /// The text with the escapes of its colours, which are taken out again where they have no place.
    pub fn dress(self, text: &str) -> Cow<'_, str> {
        let colour = |c: AnsiColor| Style::new().bold().fg_color(Some(c.into()));
        let style = match self {
            Self::Plain => return text.into(),
            Self::Good => colour(AnsiColor::Green),
            Self::Doubtful => colour(AnsiColor::Yellow),
            Self::Bad => colour(AnsiColor::Red),
            Self::Diff => return diff(text).into(),
        };
        let end = text.find([':', '(', '\n']).unwrap_or(text.len());
        let end = text[..end].trim_end().len();
        format!("{style}{}{style:#}{}", &text[..end], &text[end..]).into()
    }
}

fn diff(text: &str) -> String {
    let line = |line: &str| {
        let colour = match line.as_bytes().first() {
            Some(b'+') => AnsiColor::Green,
            Some(b'-') => AnsiColor::Red,
            Some(b'@') => AnsiColor::Cyan,
            _ => return line.to_owned(),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        format!("{style}{}{style:#}\n", line.trim_end_matches('\n'))
    };
    text.split_inclusive('\n').map(line).collect()
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

    #[test]
    fn colour_ends_with_the_answer() {
        let dressed = Tone::Good.dress("equal for all inputs (proved, 0.05 s)\nnote: x");
        let plain = anstream::adapter::strip_str(&dressed).to_string();
        assert_eq!(plain, "equal for all inputs (proved, 0.05 s)\nnote: x");
        assert!(dressed.contains("equal for all inputs\u{1b}[0m (proved"), "{dressed:?}");
        assert_eq!(Tone::Plain.dress("a"), "a");
        let dressed = Tone::Diff.dress(" a\n-b\n+c\n");
        assert!(dressed.starts_with(" a\n\u{1b}[31m-b\u{1b}[0m\n"), "{dressed:?}");
    }
}
