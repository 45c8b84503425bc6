//! `graph-opt bisect`

use graph_opt_backends::Folder;
use graph_opt_backends::compare::Compare;
use graph_opt_backends::faults::bisect::{Bisect, Bisection, Culprit};

use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::failure::{Result, differs, undecided, usage};
use crate::progress::Progress;
use crate::rewrite::{Source, Start};
use crate::verify::{Checks, How, incomparable, with_compare};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: Source,
    /// Compare after every edit, not by halves: slow, and sure of the first edit even if a later
    /// one undoes it
    #[arg(long)]
    every: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    checks: Checks,
}

/// What a search for the edit at fault found.
#[derive(Serialize, JsonSchema)]
pub struct Found {
    /// Number of edits of the pipeline.
    edits: usize,
    /// Number of comparisons.
    compared: usize,
    /// The edit at fault; `null` if there is none.
    edit: Option<AtFault>,
    /// How the model stands after all edits.
    end: String,
    /// Why the pipeline did not come to its end; `null` if it did.
    broke_off: Option<String>,
}

/// An edit at fault.
#[derive(Serialize, JsonSchema)]
struct AtFault {
    /// Its number, from 1.
    number: usize,
    /// The pass that made it.
    pass: String,
    /// The pass and the place.
    origin: String,
    /// The bodies around it, from the outermost.
    r#in: Vec<String>,
    /// New nodes, as text.
    new: Vec<String>,
    /// Labels of removed nodes.
    removed: Vec<String>,
    /// How the model stands after it.
    after: String,
    /// How it stands before it.
    before: String,
    /// The last edit after which the model is known to be equal.
    equal_after: usize,
}

pub fn main(args: &Args) -> Result<Answer> {
    let (pipeline, start) = args.source.read(&args.checks.dims)?;
    let Start { original, graph, assumed, .. } = start;
    let progress = Progress::new();
    let say = |n: usize| progress.say(&format!("comparing after edit {n}"));
    let found = with_compare(&original, &graph, &args.how, &args.checks, |compare| {
        let compare = Compare { brief: true, progress: None, ..compare };
        let evaluator = &Folder;
        let (every, progress) = (args.every, Some(&say as &dyn Fn(usize)));
        Bisect { compare: &compare, evaluator, assumed, every, progress }
            .run(&original, &graph, &pipeline)
            .map_err(incomparable)
    })?;
    drop(progress);
    let failure = match (&found.culprit, &found.broke_off) {
        (Some(c), _) => Some(differs(format!("edit {} is at fault", c.number))),
        (None, Some(why)) => Some(usage(format!("the pipeline broke off: {why}"))),
        (None, None) if found.end.is_bad() => {
            Some(differs(format!("before the first edit already: {}", found.end)))
        }
        (None, None) if found.end.is_equal() => None,
        (None, None) => Some(undecided(format!("no difference is known: {}", found.end))),
    };
    let text = text(&found, args.every);
    Ok(Answer { failure, ..Answer::new(Found::from(found), text) })
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

impl From<Bisection> for Found {
    fn from(b: Bisection) -> Self {
        let Bisection { edits, culprit, end, broke_off, compared } = b;
        Self { edits, compared, edit: culprit.map(AtFault::from), end: end.to_string(), broke_off }
    }
}

impl From<Culprit> for AtFault {
    fn from(c: Culprit) -> Self {
        let Culprit { number, pass, origin, scope, added, removed, after, before, equal_after } = c;
        let (after, before) = (after.to_string(), before.to_string());
        Self { number, pass, origin, r#in: scope, new: added, removed, after, before, equal_after }
    }
}
