//! `graph-opt passes`

use graph_opt_passes::registry::{self, PASSES};
use graph_opt_passes::{OptionInfo, PassInfo};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Result, usage};

#[derive(clap::Args)]
pub struct Args {
    /// One pass
    name: Option<String>,
}

/// Passes.
#[derive(Serialize, JsonSchema)]
pub struct Passes {
    /// One for each.
    passes: Vec<PassRow>,
}

/// A pass.
#[derive(Serialize, JsonSchema)]
struct PassRow {
    /// Its name in pipelines.
    name: &'static str,
    /// What it does.
    summary: &'static str,
    /// How exact it is with default options: `bit-exact`, `reassociates`, `rounds weights` or `approximates`.
    exactness: String,
    /// What it takes.
    options: Vec<OptionRow>,
}

/// An option of a pass.
#[derive(Serialize, JsonSchema)]
struct OptionRow {
    /// Its name.
    name: &'static str,
    /// An example of a value.
    value: &'static str,
    /// What it does.
    help: &'static str,
}

impl Passes {
    fn of(all: &[PassInfo]) -> Self {
        let option = |o: &OptionInfo| OptionRow { name: o.name, value: o.value, help: o.help };
        let row = |p: &PassInfo| PassRow {
            name: p.name,
            summary: p.summary,
            exactness: p.exactness.to_string(),
            options: p.options.iter().map(option).collect(),
        };
        Self { passes: all.iter().map(row).collect() }
    }
}

pub fn main(args: &Args) -> Result<Answer> {
    let Some(name) = &args.name else {
        let text = PASSES.iter().map(registry::help).collect::<String>()
            + "only(REGEX)(…) restricts passes to nodes whose name matches; fixpoint(…) repeats them\n";
        return Ok(Answer::new(Passes::of(PASSES), text));
    };
    let Some(p) = registry::find(name) else {
        let near = graph_opt_passes::nearest(name, PASSES.iter().map(|p| p.name));
        let hint = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
        return Err(usage(format!("no pass is named {name:?}{hint}")));
    };
    Ok(Answer::new(Passes::of(std::slice::from_ref(p)), registry::help(p)))
}
