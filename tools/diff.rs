//! `graph-opt diff`

use graph_opt_ir::text;
use similar::TextDiff;

use crate::failure::{Failure, Kind, Result, out, usage};
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// One model
    a: String,
    /// The other
    b: String,
}

pub fn main(args: &Args) -> Result {
    if args.a == "-" && args.b == "-" {
        return Err(usage("standard input can be one of the models only, not both"));
    }
    let (a, b) = (text::print(&model::load(&args.a)?), text::print(&model::load(&args.b)?));
    if a == b {
        return Ok(());
    }
    let diff = TextDiff::from_lines(&a, &b);
    out(diff.unified_diff().context_radius(3).header(&args.a, &args.b))?;
    Err(Failure::new(Kind::Differs, ""))
}
