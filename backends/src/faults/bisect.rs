//! The first edit of a pipeline after which the graph no longer computes the same.
//!
//! A pipeline makes the same edits in every run, so the graph after n edits can be had for any n,
//! and halving the range finds an edit such that the graph before it is equal to the original and
//! the graph after it is not. If a later edit undoes what an earlier one broke, there may be others
//! before it: only a comparison after every edit ([`Bisect::every`]) is sure of the first.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use graph_opt_ir::edit::Applied;
use graph_opt_ir::{Graph, text};
use graph_opt_passes::{Assumed, Evaluate, Pipeline, Runner};

use crate::compare::{Compare, Incomparable, Place, Report, Summary, Verdict};
use crate::faults::repro::caught;

/// How a graph stands to the original.
#[derive(Clone, PartialEq, Debug)]
pub enum State {
    /// Every output is equal, by these verdicts.
    Equal(String),
    /// It could not be decided, and why.
    Unknown(String),
    /// It differs, by this backend or field, here.
    Differs(String, Box<Place>),
    /// The graph breaks an invariant, so it was not run.
    Broken(String),
}

impl State {
    /// Whether it shows a fault.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Differs(..) | Self::Broken(_))
    }

    /// Whether every output is known to be equal.
    pub fn is_equal(&self) -> bool {
        matches!(self, Self::Equal(_))
    }

    fn of(report: &Report) -> Self {
        let mut all: Vec<String> = Vec::new();
        for o in &report.outputs {
            match &o.summary {
                Summary::Differs(_) => {
                    for v in &o.verdicts {
                        if let Verdict::Differs(by, place) = v {
                            return Self::Differs(by.clone(), Box::new(place.clone()));
                        }
                    }
                }
                Summary::Unknown(why) => return Self::Unknown(why.clone()),
                _ => {}
            }
            let shown = |v: &&Verdict| !matches!(v, Verdict::Unknown(..) | Verdict::Differs(..));
            let mut said: Vec<String> =
                o.verdicts.iter().filter(shown).map(ToString::to_string).collect();
            if let Summary::BitExact(why) | Summary::Close(why) = &o.summary {
                said.push(why.clone());
            }
            for what in said {
                if !what.is_empty() && !all.contains(&what) {
                    all.push(what);
                }
            }
        }
        Self::Equal(all.join(", "))
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equal(by) => write!(f, "equal: {by}"),
            Self::Unknown(why) => f.write_str(why),
            Self::Differs(by, place) => write!(f, "differs ({by}): {place}"),
            Self::Broken(why) => write!(f, "broken: {why}"),
        }
    }
}

/// The edit that was found.
#[derive(Clone, Debug)]
pub struct Culprit {
    /// Its number, as `--stop-after` counts.
    pub number: usize,
    /// The pass that made it.
    pub pass: String,
    /// The pass and the place that made the edit.
    pub origin: String,
    /// The body in which it was; empty for the main graph.
    pub scope: Vec<String>,
    /// The new nodes as text.
    pub added: Vec<String>,
    /// Labels of the removed nodes.
    pub removed: Vec<String>,
    /// How the graph stands after it.
    pub after: State,
    /// How it stands before it: equal, or not decided.
    pub before: State,
    /// The last edit before it after which the graph is known to be equal.
    pub equal_after: usize,
}

/// What a bisection found.
#[derive(Clone, Debug)]
pub struct Bisection {
    /// Number of the last edit of the pipeline.
    pub edits: usize,
    /// The edit that made the difference, if there is a difference.
    pub culprit: Option<Culprit>,
    /// How the graph stands after all edits.
    pub end: State,
    /// Why the pipeline did not come to its end, if it did not.
    pub broke_off: Option<String>,
    /// Comparisons that were made.
    pub compared: usize,
}

/// Settings of a search for the first edit that makes a model differ.
pub struct Bisect<'a> {
    /// How each candidate is compared with the original.
    pub compare: &'a Compare<'a>,
    /// What passes fold constants with.
    pub evaluator: &'a dyn Evaluate,
    /// Extents that passes assume for symbolic dimensions.
    pub assumed: Assumed,
    /// Compare after every edit, rather than by halves.
    pub every: bool,
    /// Told the number of the edit after which the graph is compared.
    pub progress: Option<&'a dyn Fn(usize)>,
}

impl Bisect<'_> {
    fn runner(&self) -> Runner<'_> {
        Runner::default().evaluator(self.evaluator).assume(self.assumed.clone())
    }

    /// Runs the pipeline over `graph`, which is the original or equal to it, as often as it takes.
    ///
    /// # Errors
    /// If the graphs cannot be compared.
    pub fn run(
        &self,
        original: &Arc<Graph>,
        graph: &Graph,
        pipeline: &Pipeline,
    ) -> Result<Bisection, Incomparable> {
        let made = Cell::new(graph.edits());
        let count = |_: &Graph, e: &Applied| {
            made.set(e.number);
            Ok(())
        };
        let runner = self.runner().observe(Box::new(count));
        let whole = caught(runner, &mut graph.clone(), pipeline);
        let (first, last) = (graph.edits(), made.get());
        let mut at = At { bisect: self, original, graph, pipeline, compared: 0 };
        let end = at.state(last)?;
        let mut found = Bisection {
            edits: last,
            culprit: None,
            end: end.clone(),
            broke_off: whole.err().map(|e| e.to_string()),
            compared: 0,
        };
        let hit = if self.every { at.walk(first, last)? } else { at.halve(first, last, end)? };
        if let Some(hit) = hit {
            found.culprit = Some(at.culprit(hit));
        }
        found.compared = at.compared;
        Ok(found)
    }
}

/// Where the search ended: the number of the edit, the states after and before it, and the last
/// edit after which the graph is equal.
struct Hit {
    number: usize,
    after: State,
    before: State,
    equal_after: usize,
}

struct At<'a> {
    bisect: &'a Bisect<'a>,
    original: &'a Arc<Graph>,
    graph: &'a Graph,
    pipeline: &'a Pipeline,
    compared: usize,
}

impl At<'_> {
    /// How the graph stands after so many edits.
    fn state(&mut self, edits: usize) -> Result<State, Incomparable> {
        if let Some(p) = self.bisect.progress {
            p(edits);
        }
        self.compared += 1;
        let mut graph = self.graph.clone();
        let runner = self.bisect.runner().stop_after(edits);
        match caught(runner, &mut graph, self.pipeline) {
            Ok(_) => Ok(State::of(&self.bisect.compare.run(self.original, &Arc::new(graph))?)),
            Err(e) => Ok(State::Broken(e.to_string())),
        }
    }

    fn halve(
        &mut self,
        first: usize,
        last: usize,
        end: State,
    ) -> Result<Option<Hit>, Incomparable> {
        let (mut good, mut bad, mut after) = (first, last, end);
        if !after.is_bad() || first == last {
            return Ok(None);
        }
        let (mut before, mut equal_after) = (None, first);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            let state = self.state(middle)?;
            if state.is_bad() {
                (bad, after) = (middle, state);
                continue;
            }
            if state.is_equal() {
                equal_after = middle;
            }
            (good, before) = (middle, Some(state));
        }
        // Nothing was looked at below the edit if it is the very first.
        let before = match before {
            Some(b) => b,
            None => self.state(good)?,
        };
        Ok((!before.is_bad()).then_some(Hit { number: bad, after, before, equal_after }))
    }

    fn walk(&mut self, first: usize, last: usize) -> Result<Option<Hit>, Incomparable> {
        let (mut before, mut equal_after) = (self.state(first)?, first);
        if before.is_bad() {
            return Ok(None);
        }
        for number in first + 1..=last {
            let after = self.state(number)?;
            if after.is_bad() {
                return Ok(Some(Hit { number, after, before, equal_after }));
            }
            if after.is_equal() {
                equal_after = number;
            }
            before = after;
        }
        Ok(None)
    }

    /// Runs up to the edit once more, to see it.
    fn culprit(&self, hit: Hit) -> Culprit {
        let (pass, seen) = (RefCell::new(String::new()), RefCell::new(None));
        let observer = |g: &Graph, e: &Applied| {
            if e.number == hit.number {
                let line = |&n: &graph_opt_ir::NodeId| {
                    let types = g.node(n).outputs.iter().flatten();
                    let types: Vec<String> = types.map(|&v| g.value(v).ty.to_string()).collect();
                    format!("{} : {}", text::node_text(g, n), types.join(", "))
                };
                let added: Vec<String> = e.nodes.iter().map(line).collect();
                *seen.borrow_mut() = Some((pass.borrow().clone(), e.clone(), added));
            }
            Ok(())
        };
        let runner = (self.bisect.runner())
            .stop_after(hit.number)
            .progress(Box::new(|p| *pass.borrow_mut() = p.to_owned()))
            .observe(Box::new(observer));
        // Whether the graph is broken by then is known already.
        let _ = caught(runner, &mut self.graph.clone(), self.pipeline);
        let Hit { number, after, before, equal_after } = hit;
        let (pass, scope, origin, added, removed) = match seen.take() {
            Some((pass, e, added)) => (pass, e.scope, e.origin, added, e.removed),
            None => Default::default(),
        };
        Culprit { number, pass, origin, scope, added, removed, after, before, equal_after }
    }
}
