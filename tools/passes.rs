//! `graph-opt passes`

use graph_opt_passes::registry::{self, PASSES};

use crate::answer::Answer;
use crate::failure::{Result, usage};

#[derive(clap::Args)]
pub struct Args {
    /// One pass
    name: Option<String>,
}

pub fn main(args: &Args) -> Result<Answer> {
    match &args.name {
        None => Ok(Answer::text(
            PASSES.iter().map(registry::help).collect::<String>()
                + "only(REGEX)(…) restricts passes to nodes whose name matches; fixpoint(…) repeats them\n",
        )),
        Some(name) => match registry::find(name) {
            Some(p) => Ok(Answer::text(registry::help(p))),
            None => {
                let near = graph_opt_passes::nearest(name, PASSES.iter().map(|p| p.name));
                let hint = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
                Err(usage(format!("no pass is named {name:?}{hint}")))
            }
        },
    }
}
