//! `graph-opt bisect`

use graph_opt_backends::Folder;
use graph_opt_backends::compare::Compare;
use graph_opt_backends::faults::bisect::{Bisect, Bisection, Culprit};

use crate::failure::{Result, differs, out, undecided, usage};
use crate::progress::Progress;
use crate::rewrite::Source;
use crate::verify::{Checks, How, incomparable, with_compare};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Compare after every edit, not by halves: slow, and sure of the first edit even if a later
    /// one undoes it
    #[arg(long)]
    every: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    checks: Checks,
}

pub fn main(args: &Args) -> Result {
    let (pipeline, original, graph) = args.source.read(&args.checks.dims)?;
    let progress = Progress::new();
    let say = |n: usize| progress.say(&format!("comparing after edit {n}"));
    let found = with_compare(&original, &graph, &args.how, &args.checks, |compare| {
        let compare = Compare { brief: true, progress: None, ..compare };
        Bisect { compare: &compare, evaluator: &Folder, every: args.every, progress: Some(&say) }
            .run(&original, &graph, &pipeline)
            .map_err(incomparable)
    })?;
    drop(progress);
    out(if args.json { json(&found) } else { text(&found, args.every) })?;
    match (&found.culprit, &found.broke_off) {
        (Some(c), _) => Err(differs(format!("edit {} is at fault", c.number))),
        (None, Some(why)) => Err(usage(format!("the pipeline broke off: {why}"))),
        (None, None) if found.end.is_bad() => {
            Err(differs(format!("before the first edit already: {}", found.end)))
        }
        (None, None) if found.end.is_equal() => Ok(()),
        (None, None) => Err(undecided(format!("no difference is known: {}", found.end))),
    }
}

fn text(b: &Bisection, every: bool) -> String {
    let Some(c) = &b.culprit else {
        return match b.end.is_equal() {
            true => format!("no edit of {} makes a difference: {}\n", b.edits, b.end),
            false => String::new(),
        };
    };
    let mut s = format!("edit {} of {}: {}\n", c.number, b.edits, c.origin);
    let mut line = |k: &str, v: &str| s.push_str(&format!("  {k:<9}{v}\n"));
    line("pass", &c.pass);
    if !c.scope.is_empty() {
        line("in", &c.scope.join("/"));
    }
    c.removed.iter().for_each(|n| line("removed", n));
    c.added.iter().for_each(|n| line("new", n));
    line("after", &c.after.to_string());
    line("before", &c.before.to_string());
    s.push_str(&caveat(b, c, every));
    s
}

/// How sure it is that no earlier edit is at fault.
fn caveat(b: &Bisection, c: &Culprit, every: bool) -> String {
    let mut s = String::new();
    if c.equal_after + 1 < c.number {
        s.push_str(&format!(
            "The models are known to be equal only up to edit {}.\n",
            c.equal_after
        ));
    }
    if !every {
        let n = b.compared;
        s.push_str(&format!(
            "Found in {n} comparisons. A fault that a later edit undid would not show; --every \
             compares after each edit.\n"
        ));
    }
    s
}

fn json(b: &Bisection) -> String {
    let edit = b.culprit.as_ref().map(|c| {
        serde_json::json!({
            "number": c.number, "pass": c.pass, "origin": c.origin, "in": c.scope,
            "new": c.added, "removed": c.removed, "after": c.after.to_string(),
            "before": c.before.to_string(), "equal_after": c.equal_after,
        })
    });
    let all = serde_json::json!({
        "edits": b.edits, "compared": b.compared, "edit": edit, "end": b.end.to_string(),
        "broke_off": b.broke_off,
    });
    format!("{all:#}\n")
}
