//! `graph-opt diff`

use graph_opt_ir::text;
use schemars::JsonSchema;
use serde::Serialize;
use similar::TextDiff;

use crate::answer::Answer;
use crate::failure::{Result, Tone, differs, usage};
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// One model
    a: String,
    /// The other
    b: String,
}

/// How the printed models differ.
#[derive(Serialize, JsonSchema)]
pub struct Difference {
    /// Whether they are the same, up to the alignment of columns.
    same: bool,
    /// A unified diff of their text forms; empty if they are the same.
    diff: String,
}

pub fn main(args: &Args) -> Result<Answer> {
    if args.a == "-" && args.b == "-" {
        return Err(usage("standard input can be one of the models only, not both"));
    }
    let print = |name: &str| Ok(unaligned(&text::print(&model::load(name)?)));
    let (a, b): (String, String) = (print(&args.a)?, print(&args.b)?);
    if a == b {
        return Ok(Answer::new(Difference { same: true, diff: String::new() }, String::new()));
    }
    let diff = TextDiff::from_lines(&a, &b);
    let text = diff.unified_diff().context_radius(3).header(&args.a, &args.b).to_string();
    let found = Difference { same: false, diff: text.clone() };
    Ok(Answer { failure: Some(differs("")), tone: Tone::Diff, ..Answer::new(found, text) })
}

/// Without the spaces that align columns: a longer name elsewhere is no difference.
fn unaligned(text: &str) -> String {
    let line = |line: &str| {
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        let words: Vec<&str> = words.split(' ').filter(|w| !w.is_empty()).collect();
        format!("{indent}{}\n", words.join(" "))
    };
    text.lines().map(line).collect()
}
