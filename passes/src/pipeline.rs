//! Pipelines: passes in order, made from their types or from text, and printed as text that makes
//! equal passes.
//!
//! ```text
//! simplify,tile-conv{axis=h parts=4},only(^conv1)(tile-conv{axis=c-out parts=2}),fixpoint(simplify)
//! ```
//!
//! Options are in braces, separated by spaces or commas. A value ends at a space, a comma or a
//! brace, but not inside of brackets. A value in quotes may hold anything, with the escapes of Rust's
//! strings (`\"`, `\\`, `\n`, …); so may names inside of brackets, and the expression of `only`:
//!
//! ```text
//! only("^(first|second) conv$")(tile-conv{axis=h parts=2})
//! fuse-tiles{from="first conv" to="conv,2" grid=2x2}
//! split-devices{stages=["first conv":camera,fc:"box, left"]}
//! ```
//!
//! The same from types:
//!
//! ```
//! use graph_opt_passes::Pipeline;
//! use graph_opt_passes::tile::fuse_tiles::{Axis, Cut, FuseTiles, Stretch};
//! use graph_opt_passes::schedule::Schedule;
//!
//! let cuts = vec![(Axis::Height, Cut::Even(2)), (Axis::Width, Cut::Even(2))];
//! let tiles = Stretch::to("conv,2", cuts)?.from("first conv");
//! let pipeline = Pipeline::default().then(Schedule::default()).then(FuseTiles::from(tiles));
//! let text = r#"schedule,fuse-tiles{from="first conv" grid=2x2 to="conv,2"}"#;
//! assert_eq!(pipeline.to_string(), text);
//! # Ok::<(), graph_opt_passes::OptionError>(())
//! ```

use std::fmt;
use std::sync::Arc;

use graph_opt_ir::names::nearest;
use regex::Regex;

use crate::options::{Options, bare, quoted};
use crate::pass::{Pass, PassInfo};
use crate::registry;

/// One step of a pipeline.
#[derive(Clone, Debug)]
pub enum Step {
    /// A pass: one of the registry's, or a host's own.
    Pass(Arc<dyn Pass>),
    /// Steps that touch only nodes whose label matches.
    Only(Regex, Pipeline),
    /// Steps repeated until nothing changes.
    Fixpoint(Pipeline),
}

/// A sequence of steps.
#[derive(Clone, Debug, Default)]
pub struct Pipeline(pub Vec<Step>);

/// Why a text is not a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pipeline, character {at}: {message}")]
#[non_exhaustive]
pub struct PipelineError {
    /// Position of the error in characters, from 1.
    pub at: usize,
    /// What was expected or found.
    pub message: String,
}

impl Pipeline {
    /// Appends a pass after all steps.
    #[must_use]
    pub fn then(mut self, pass: impl Pass + 'static) -> Self {
        self.0.push(Step::Pass(Arc::new(pass)));
        self
    }

    /// Appends the steps of another pipeline.
    #[must_use]
    pub fn then_all(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Parses a pipeline; the empty text is the empty pipeline.
    ///
    /// # Errors
    /// For unknown passes and options, bad values and bad syntax, with the position.
    pub fn parse(text: &str) -> Result<Self, PipelineError> {
        Self::parse_with(text, &[])
    }

    /// Parses a pipeline with passes of the host besides those of the registry.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_with(text: &str, own: &[&'static PassInfo]) -> Result<Self, PipelineError> {
        let mut p = Parser { text, at: 0, depth: 0, own };
        let pipeline = p.steps()?;
        if p.at < text.len() {
            return p.fail("expected ',' or the end");
        }
        Ok(pipeline)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, s) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{s}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass(pass) => {
                f.write_str(pass.name())?;
                let options = pass.options();
                if options.0.is_empty() { Ok(()) } else { write!(f, "{{{options}}}") }
            }
            Self::Only(r, p) if is_balanced(r.as_str()) => write!(f, "only({r})({p})"),
            Self::Only(r, p) => write!(f, "only({:?})({p})", r.as_str()),
            Self::Fixpoint(p) => write!(f, "fixpoint({p})"),
        }
    }
}

/// Whether an expression of `only` is parsed back unchanged without quotes.
fn is_balanced(regex: &str) -> bool {
    let plain = !regex.starts_with('"') && !regex.chars().any(char::is_control);
    plain && closing(&format!("{regex})")) == Some(regex.len())
}

/// Length in bytes of the text before the closing parenthesis; escaped ones do not count.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut escaped) = (1, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// Maximum depth of nested `only` and `fixpoint`.
const DEPTH: usize = 16;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    own: &'a [&'static PassInfo],
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, PipelineError> {
        let at = self.text[..self.at].chars().count() + 1;
        Err(PipelineError { at, message: message.into() })
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let trimmed = self.rest().trim_start();
        self.at = self.text.len() - trimmed.len();
    }

    fn eat(&mut self, c: char) -> bool {
        self.space();
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let w = &rest[..end.unwrap_or(rest.len())];
        self.at += w.len();
        w
    }

    /// Steps inside of `only` or `fixpoint`.
    fn inner(&mut self) -> Result<Pipeline, PipelineError> {
        if self.depth == DEPTH {
            return self.fail(format!("only(…) and fixpoint(…) nest more than {DEPTH} deep"));
        }
        self.depth += 1;
        let steps = self.steps();
        self.depth -= 1;
        steps
    }

    fn steps(&mut self) -> Result<Pipeline, PipelineError> {
        let mut steps = Vec::new();
        self.space();
        if self.rest().is_empty() || self.rest().starts_with(')') {
            return Ok(Pipeline(steps));
        }
        loop {
            steps.push(self.step()?);
            if !self.eat(',') {
                return Ok(Pipeline(steps));
            }
        }
    }

    fn step(&mut self) -> Result<Step, PipelineError> {
        self.space();
        let start = self.at;
        let word = self.word();
        match word {
            "only" => {
                let pattern = self.pattern()?;
                let regex = match Regex::new(&pattern) {
                    Ok(r) => r,
                    Err(e) => return self.fail(format!("bad regular expression: {e}")),
                };
                if !self.eat('(') {
                    return self.fail("expected '(' and the passes that only(…) restricts");
                }
                let inner = self.inner()?;
                if !self.eat(')') {
                    return self.fail("expected ')'");
                }
                Ok(Step::Only(regex, inner))
            }
            "fixpoint" => {
                if !self.eat('(') {
                    return self.fail("expected '(' after fixpoint");
                }
                let inner = self.inner()?;
                if !self.eat(')') {
                    return self.fail("expected ')'");
                }
                Ok(Step::Fixpoint(inner))
            }
            "" => self.fail("expected a pass"),
            _ => self.pass(word, start),
        }
    }

    fn pass(&mut self, word: &str, start: usize) -> Result<Step, PipelineError> {
        let known = registry::PASSES.iter().chain(self.own.iter().copied());
        let Some(info) = known.clone().find(|p| p.name == word) else {
            self.at = start;
            let near = nearest(word, known.map(|p| p.name));
            let hint = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
            return self.fail(format!("no pass is named {word:?}{hint}"));
        };
        let mut options = Options::default();
        if self.eat('{') {
            while !self.eat('}') {
                let at = self.at;
                let name = self.word();
                let known = info.options.iter().map(|o| o.name);
                if !known.clone().any(|o| o == name) {
                    self.at = at;
                    let near = nearest(name, known);
                    let hint = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
                    return self.fail(format!("{} has no option {name:?}{hint}", info.name));
                }
                if !self.eat('=') {
                    return self.fail(format!("expected '=' after {name}"));
                }
                let value = self.value()?;
                if options.0.insert(name.to_owned(), value).is_some() {
                    return self.fail(format!("{name} is given twice"));
                }
                self.eat(',');
            }
        }
        match (info.make)(&options) {
            Ok(pass) => Ok(Step::Pass(pass.into())),
            Err(e) => {
                self.at = start;
                self.fail(format!("{}: {e}", info.name))
            }
        }
    }

    /// A value, in quotes or not.
    fn value(&mut self) -> Result<String, PipelineError> {
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        match bare(self.rest()) {
            Some(0) => self.fail("expected a value"),
            Some(n) => {
                let value = self.rest()[..n].to_owned();
                self.at += n;
                Ok(value)
            }
            None => self.fail("expected '}'"),
        }
    }

    fn quoted(&mut self) -> Result<String, PipelineError> {
        let Some((n, value)) = quoted(self.rest()) else {
            return self.fail("expected a string in quotes, with escapes such as \\\" and \\\\");
        };
        self.at += n;
        Ok(value)
    }

    /// The expression of `only`: in quotes, or the text up to the parenthesis that closes it.
    fn pattern(&mut self) -> Result<String, PipelineError> {
        if !self.eat('(') {
            return self.fail("expected '('");
        }
        let pattern = if self.rest().starts_with('"') {
            self.quoted()?
        } else {
            let Some(n) = closing(self.rest()) else { return self.fail("expected ')'") };
            let pattern = self.rest()[..n].to_owned();
            self.at += n;
            pattern
        };
        if self.eat(')') { Ok(pattern) } else { self.fail("expected ')'") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_it_was_parsed() {
        for text in [
            "",
            "simplify",
            "simplify,tile-conv{axis=h parts=4},untile",
            "only(^conv(1|2)$)(tile-conv{axis=c-out sizes=[3,5]}),fixpoint(simplify)",
            r#"only("[(]")(simplify),only(a b\)"?)(simplify),only("\"a")(untile)"#,
            r#"fuse-tiles{from="first conv" grid=2 to="a\"}\\,"}"#,
        ] {
            assert_eq!(Pipeline::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        for (text, what) in [
            ("simplfy", "did you mean \"simplify\"?"),
            ("tile-conv{axes=h}", "did you mean \"axis\"?"),
            ("tile-conv{axis=q parts=2}", "axis"),
            ("tile-conv{axis=h parts=0}", "parts"),
            ("only(()(simplify)", "expected"),
            ("only(\"a)(simplify)", "character 6: expected a string in quotes"),
            ("fuse-tiles{to=\"a grid=2}", "character 15: expected a string in quotes"),
            ("fuse-tiles{to=\"a\\q\" grid=2}", "expected a string in quotes"),
            ("simplify,", "expected a pass"),
            ("simplify)", "expected ',' or the end"),
            (&format!("{}simplify{}", "fixpoint(".repeat(10_000), ")".repeat(10_000)), "16 deep"),
            (&"only(a)(".repeat(10_000), "16 deep"),
        ] {
            let e = Pipeline::parse(text).unwrap_err().to_string();
            assert!(e.contains(what), "{text}: {e}");
        }
    }
}
