//! `graph-opt diff`

use graph_opt_ir::text;
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

pub fn main(args: &Args) -> Result<Answer> {
    if args.a == "-" && args.b == "-" {
        return Err(usage("standard input can be one of the models only, not both"));
    }
    let print = |name: &str| Ok(unaligned(&text::print(&model::load(name)?)));
    let (a, b): (String, String) = (print(&args.a)?, print(&args.b)?);
    if a == b {
        return Ok(Answer::text(String::new()));
    }
    let diff = TextDiff::from_lines(&a, &b);
    let text = diff.unified_diff().context_radius(3).header(&args.a, &args.b).to_string();
    Ok(Answer { failure: Some(differs("")), tone: Tone::Diff, ..Answer::text(text) })
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
