//! `graph-opt print`

use graph_opt_ir::text;

use crate::failure::{Result, out};
use crate::model;

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
}

pub fn main(args: &Args) -> Result {
    out(text::print(&model::load(&args.model)?))
}
