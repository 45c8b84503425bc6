//! `graph-opt print`

use graph_opt_ir::text;

use crate::answer::Answer;
use crate::failure::Result;
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
}

pub fn main(args: &Args) -> Result<Answer> {
    Ok(Answer::text(text::print(&model::load(&args.model)?)))
}
