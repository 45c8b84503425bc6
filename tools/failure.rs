//! Why a command ends with another exit code than 0.

use std::fmt::Display;

/// Exit code and message.
#[derive(Debug)]
pub struct Failure {
    /// 1 to 3.
    pub code: u8,
    /// For standard error; empty where everything was said.
    pub message: String,
}

/// What a command gives.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// A check failed.
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
    match write!(o, "{text}").and_then(|()| o.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(usage(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}
