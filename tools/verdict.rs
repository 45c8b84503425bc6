//! What a comparison found, as text and as data.

use graph_opt_backends::compare::{Output, OutputElement, Place, Report, Summary, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Failure, Tone, differs, undecided};

/// The answer to whether models are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Equal, or close on backends.
    Equal,
    /// They differ.
    Differs,
    /// Neither could be shown.
    Undecided,
}

/// What a comparison of two models found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// Whether all outputs are equal, or some output differs.
    pub verdict: Decision,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The outputs.
    pub outputs: Vec<OutputVerdict>,
    /// What runs were limited to.
    pub notes: Vec<String>,
}

/// What is known of an output.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OutputVerdict {
    /// Name of the output.
    pub name: String,
    /// Whether it is equal.
    pub verdict: Decision,
    /// What shows that it is equal, such as `proved`; why it differs; or why it is undecided.
    pub why: String,
    /// For which inputs it is equal; `null` unless it is.
    pub equal_for: Option<EqualFor>,
    /// Where it differs; `null` unless it does.
    pub difference: Option<Difference>,
    /// What each rung of the ladder that was tried says.
    pub rungs: Vec<Rung>,
}

/// How far equality goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EqualFor {
    /// For all inputs.
    AllInputs,
    /// For all inputs of the extents that `why` names.
    AllInputsOfExtents,
    /// In all runs that were made.
    Runs,
    /// In all runs up to rounding.
    RunsUpToRounding,
}

/// Where an output differs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Difference {
    /// Indices of the first element of the output that differs; empty if its shape does.
    pub element: Vec<usize>,
    /// The element in the original; `null` if it differs in exact arithmetic only.
    pub before: Option<String>,
    /// The element in the other model; `null` if it differs in exact arithmetic only.
    pub after: Option<String>,
    /// Name of the first value of the other model that differs.
    pub first_value: String,
    /// Label of the node that makes this value; empty if none does.
    pub first_node: String,
    /// The edit that made the node; empty if none did.
    pub edit: String,
}

/// What a rung of the ladder says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rung {
    /// Name of the verdict, such as `exact` or `close`.
    pub verdict: String,
    /// By what: `finite field`, or the name of a backend; `null` for identity and proofs.
    pub by: Option<String>,
    /// Number of runs.
    pub runs: Option<usize>,
    /// Largest difference, as a share of the largest element.
    pub relative: Option<f64>,
    /// Largest difference in units in the last place.
    pub ulp: Option<u64>,
    /// The verdict in words.
    pub text: String,
}

/// What the check of a certificate found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckedProof {
    /// Always true: a certificate that proves nothing is an error.
    pub proved: bool,
    /// Steps of the proof.
    pub steps: usize,
    /// Whether the models are equal in exact arithmetic only.
    pub reassociates: bool,
    /// Values whose declared shapes are assumed.
    pub assumes: Vec<String>,
}

impl Comparison {
    /// From a report, which took so many seconds.
    pub fn of(report: &Report, seconds: f64) -> Self {
        let verdict = match (report.differs(), report.is_equal()) {
            (true, _) => Decision::Differs,
            (_, true) => Decision::Equal,
            _ => Decision::Undecided,
        };
        let outputs = report.outputs.iter().map(OutputVerdict::of).collect();
        Self { verdict, seconds, outputs, notes: report.notes.clone() }
    }

    /// The answer on the first line. The outputs follow where they do not have the same verdict.
    pub fn text(&self) -> String {
        // As for the models: a difference outweighs what is undecided.
        let worst = self.outputs.iter().max_by_key(|o| {
            let rank = [Decision::Equal, Decision::Undecided, Decision::Differs];
            (rank.iter().position(|d| *d == o.verdict), o.equal_for.map(|e| e as usize))
        });
        let Some(worst) = worst else { return "equal: there are no outputs\n".into() };
        let same = |o: &OutputVerdict| o.verdict == worst.verdict && o.why == worst.why;
        let one = self.outputs.iter().all(same);
        let names = match (self.outputs.len(), one) {
            (n, true) if n > 1 => format!("all {n} outputs: "),
            _ => String::new(),
        };
        let mut s = match worst.verdict {
            Decision::Equal => {
                let how = if one { format!("{names}{}, ", worst.why) } else { String::new() };
                format!("{} ({how}{:.2} s)\n", worst.head(), self.seconds)
            }
            _ => format!("{}: {names}{}\n", worst.head(), worst.why),
        };
        if !one {
            for o in &self.outputs {
                s.push_str(&format!("  {:?}: {}\n", o.name, o.line()));
            }
        }
        for n in &self.notes {
            s.push_str(&format!("note: {n}\n"));
        }
        s
    }

    /// What the answer's colour says.
    pub fn tone(&self) -> Tone {
        match self.verdict {
            Decision::Equal => Tone::Good,
            Decision::Undecided => Tone::Doubtful,
            Decision::Differs => Tone::Bad,
        }
    }

    /// A failure unless every output is known to be equal.
    pub fn failure(&self) -> Option<Failure> {
        match self.verdict {
            Decision::Equal => None,
            Decision::Differs => Some(differs("the models differ")),
            Decision::Undecided => {
                Some(undecided("it could not be decided whether the models are equal"))
            }
        }
    }
}

impl OutputVerdict {
    fn of(o: &Output) -> Self {
        use EqualFor::{AllInputs, AllInputsOfExtents, Runs, RunsUpToRounding};
        let (verdict, equal_for) = match &o.summary {
            Summary::Identical | Summary::Proved => (Decision::Equal, Some(AllInputs)),
            Summary::ProvedAt(_) => (Decision::Equal, Some(AllInputsOfExtents)),
            Summary::Exact | Summary::BitExact(_) => (Decision::Equal, Some(Runs)),
            Summary::Close(_) => (Decision::Equal, Some(RunsUpToRounding)),
            Summary::Differs(_) => (Decision::Differs, None),
            Summary::Unknown(_) => (Decision::Undecided, None),
        };
        let difference = o.difference().map(Difference::of);
        let why = match &o.summary {
            Summary::Differs(_) => {
                let mut why = o.difference().map(described).unwrap_or_default();
                if may_be_rounding(o) {
                    why.push_str(
                        "; that is as close as rounding: if constants were folded, compare with --by run",
                    );
                }
                why
            }
            Summary::Unknown(why) => {
                let why = why.strip_prefix("unknown").unwrap_or(why);
                why.trim_start_matches([':', ' ']).to_owned()
            }
            equal => shown_by(o, equal),
        };
        let rungs = o.verdicts.iter().map(Rung::of).collect();
        Self { name: o.name.clone(), verdict, why, equal_for, difference, rungs }
    }

    fn head(&self) -> &'static str {
        match (self.verdict, self.equal_for) {
            (Decision::Equal, Some(EqualFor::AllInputs)) => "equal for all inputs",
            (Decision::Equal, Some(EqualFor::AllInputsOfExtents)) => {
                "equal for all inputs of these extents"
            }
            (Decision::Equal, Some(EqualFor::Runs)) => "equal in all runs",
            (Decision::Equal, _) => "equal up to rounding",
            (Decision::Differs, _) => "differs",
            (Decision::Undecided, _) => "undecided",
        }
    }

    fn line(&self) -> String {
        match self.verdict {
            Decision::Equal => format!("{} ({})", self.head(), self.why),
            _ => format!("{}: {}", self.head(), self.why),
        }
    }
}

/// What shows that an output is equal, from the verdicts that say so.
fn shown_by(o: &Output, summary: &Summary) -> String {
    let says = |v: &&Verdict| !matches!(v, Verdict::Unknown(..) | Verdict::Differs(..));
    let all: Vec<String> = o.verdicts.iter().filter(says).map(ToString::to_string).collect();
    let mut s = all.join(", ");
    if let Summary::BitExact(why) | Summary::Close(why) = summary
        && !why.is_empty()
        && !s.contains(&**why)
    {
        s.push_str(&format!("; {why}"));
    }
    s
}

/// Whether only the finite field shows a difference, and an element of it is as close as rounding. Constants that
/// another program folded are rounded, and no longer those of the original in exact arithmetic.
fn may_be_rounding(o: &Output) -> bool {
    let on_backends =
        o.verdicts.iter().any(|v| matches!(v, Verdict::Differs(by, _) if by != "finite field"));
    let elements = o.difference().and_then(|p| p.output.as_ref()?.elements.as_ref());
    let numbers =
        elements.and_then(|(a, b)| Some((a.parse::<f64>().ok()?, b.parse::<f64>().ok()?)));
    let close = |(a, b): (f64, f64)| (a - b).abs() <= 1e-4 * a.abs().max(b.abs());
    !on_backends && numbers.is_some_and(close)
}

/// An output's difference in words.
fn described(place: &Place) -> String {
    let mut s = match &place.output {
        Some(OutputElement { name, element, elements, .. }) => {
            let at: Vec<String> = element.iter().map(ToString::to_string).collect();
            let at = if at.is_empty() { String::new() } else { format!("[{}]", at.join(",")) };
            match elements {
                Some((before, after)) => format!("{name:?}{at} is {after}, was {before}"),
                None => format!("{name:?}{at} in exact arithmetic"),
            }
        }
        None => format!("the original {}, the other {}", place.elements.0, place.elements.1),
    };
    if !place.node.is_empty() {
        s.push_str(&format!(", first at node {:?}", place.node));
    }
    if !place.edit.is_empty() {
        s.push_str(&format!(", made by {}", place.edit));
    }
    s
}

impl Difference {
    fn of(place: &Place) -> Self {
        let (element, elements) = match &place.output {
            Some(at) => (at.element.clone(), at.elements.clone()),
            None => (Vec::new(), Some(place.elements.clone())),
        };
        let (before, after) = elements.unzip();
        Self {
            element,
            before,
            after,
            first_value: place.value.clone(),
            first_node: place.node.clone(),
            edit: place.edit.clone(),
        }
    }
}

impl Rung {
    fn of(v: &Verdict) -> Self {
        let rung = |verdict: &str, by: Option<&String>, runs| Self {
            verdict: verdict.into(),
            by: by.cloned(),
            runs,
            relative: None,
            ulp: None,
            text: v.to_string(),
        };
        match v {
            Verdict::Identical => rung("identical", None, None),
            Verdict::Proved { .. } => rung("proved", None, None),
            Verdict::ProvedAt { .. } => rung("proved-at-extents", None, None),
            Verdict::Exact(n) => rung("exact", Some(&"finite field".into()), Some(*n)),
            Verdict::BitExact(by, n) => rung("bit-exact", Some(by), Some(*n)),
            Verdict::Finite(by, _) => rung("bit-exact-if-finite", Some(by), None),
            Verdict::Close(by, d) => {
                let close = rung("close", Some(by), None);
                Self { relative: Some(d.relative()), ulp: Some(d.ulp), ..close }
            }
            Verdict::Differs(by, _) => rung("differs", Some(by), None),
            Verdict::Unknown(by, _) => rung("unknown", Some(by), None),
        }
    }
}
