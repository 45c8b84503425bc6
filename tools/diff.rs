//! `graph-opt diff`

use graph_opt_ir::text;
use similar::TextDiff;

use crate::answer::Answer;
use crate::failure::{Result, differs, usage};
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
    let (a, b) = (text::print(&model::load(&args.a)?), text::print(&model::load(&args.b)?));
    if a == b {
        return Ok(Answer::text(String::new()));
    }
    let diff = TextDiff::from_lines(&a, &b);
    let text = diff.unified_diff().context_radius(3).header(&args.a, &args.b).to_string();
    Ok(Answer { failure: Some(differs("")), ..Answer::text(text) })
}
