//! Pipelines: text that prints back as it was parsed.
//!
//! ```text
//! simplify,tile-conv{axis=h parts=4},only(^conv1)(tile-conv{axis=c-out parts=2}),fixpoint(simplify)
//! ```

use std::fmt;

use regex::Regex;

use crate::options::{Options, nearest};
use crate::pass::PassInfo;
use crate::registry;

/// One step of a pipeline.
#[derive(Clone, Debug)]
pub enum Step {
    /// A pass with its options.
    Pass {
        /// What it is: one of the registry's, or a host's own.
        info: &'static PassInfo,
        /// Its options.
        options: Options,
    },
    /// Steps that touch only nodes whose label matches.
    Only(Regex, Pipeline),
    /// Steps repeated until nothing changes.
    Fixpoint(Pipeline),
}

/// A sequence of steps.
#[derive(Clone, Debug, Default)]
pub struct Pipeline(pub Vec<Step>);

/// A text is no pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pipeline, character {at}: {message}")]
pub struct PipelineError {
    /// Where, from 1.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl Pipeline {
    /// Parses a pipeline; the empty text is the empty pipeline.
    ///
    /// # Errors
    /// With the place, for unknown passes and options, bad values and bad syntax.
    pub fn parse(text: &str) -> Result<Self, PipelineError> {
        Self::parse_with(text, &[])
    }

    /// Parses a pipeline that may name these passes besides those of the registry.
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
            Self::Pass { info, options } => {
                f.write_str(info.name)?;
                let all: Vec<String> = options.0.iter().map(|(k, v)| format!("{k}={v}")).collect();
                if all.is_empty() { Ok(()) } else { write!(f, "{{{}}}", all.join(" ")) }
            }
            Self::Only(r, p) => write!(f, "only({r})({p})"),
            Self::Fixpoint(p) => write!(f, "fixpoint({p})"),
        }
    }
}

/// How deep `only` and `fixpoint` may stand in each other.
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
                let pattern = self.parenthesised()?;
                let regex = match Regex::new(pattern) {
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
        if let Err(e) = (info.make)(&options) {
            self.at = start;
            return self.fail(format!("{}: {e}", info.name));
        }
        Ok(Step::Pass { info, options })
    }

    /// A value ends at a space, a comma or a brace outside of brackets.
    fn value(&mut self) -> Result<String, PipelineError> {
        let mut depth = 0usize;
        let start = self.at;
        for (i, c) in self.rest().char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                ' ' | ',' | '}' if depth == 0 => {
                    self.at = start + i;
                    let v = &self.text[start..self.at];
                    return if v.is_empty() { self.fail("expected a value") } else { Ok(v.into()) };
                }
                _ => {}
            }
        }
        self.fail("expected '}'")
    }

    /// The text up to the matching parenthesis, which may contain escaped ones.
    fn parenthesised(&mut self) -> Result<&'a str, PipelineError> {
        if !self.eat('(') {
            return self.fail("expected '('");
        }
        let start = self.at;
        let (mut depth, mut escaped) = (1, false);
        for (i, c) in self.rest().char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at = start + i + 1;
                return Ok(&self.text[start..start + i]);
            }
        }
        self.fail("expected ')'")
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
