//! What a command answers: as text for people, and as data in one versioned envelope.

use graph_opt_passes::tile::fuse_tiles::FuseTiles;
use graph_opt_passes::{Data, Outcome, Pipeline, Tiled};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Failure, Kind, Tone};
use crate::{
    bench, bisect, blocks, check, cluster, diff, explain, inspect, opt, passes, plan, reduce,
    repro, run, scale, simulate, split, verdict, view,
};

/// Version of the envelope and of all that it holds.
const SCHEMA: u32 = 1;

/// An answer.
pub struct Answer {
    /// As data.
    pub result: Results,
    /// As text.
    pub text: String,
    /// What colour says of the text.
    pub tone: Tone,
    /// Why the command fails although it has an answer, such as that models differ.
    pub failure: Option<Failure>,
}

impl Answer {
    /// An answer of a command that does what it was asked to.
    pub fn new(result: impl Into<Results>, text: String) -> Self {
        Self { result: result.into(), text, tone: Tone::Plain, failure: None }
    }

    /// An answer that is a text.
    pub fn text(text: String) -> Self {
        Self::new(Text { text: text.clone() }, text)
    }
}

/// An answer that is a text, such as a printed model or a difference.
#[derive(Serialize, JsonSchema)]
pub struct Text {
    /// The text.
    pub text: String,
}

/// A file that is defined elsewhere, such as a plan or a profile, as it is written with `--output`.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Document(pub serde_json::Value);

macro_rules! results {
    ($($name:ident($ty:ty),)*) => {
        /// The answers of all commands.
        #[derive(Serialize, JsonSchema)]
        #[serde(untagged)]
        pub enum Results {
            $(
                #[doc = concat!("See `", stringify!($ty), "`.")]
                $name($ty),
            )*
        }

        $(
            impl From<$ty> for Results {
                fn from(result: $ty) -> Self {
                    Self::$name(result)
                }
            }
        )*
    };
}

results! {
    Bench(bench::Times),
    Bisect(bisect::Found),
    Check(check::Checked),
    Blocks(blocks::Listed),
    Cluster(cluster::Links),
    Diff(diff::Difference),
    Explain(explain::Explained),
    Inspect(inspect::Inspected),
    Opt(opt::Optimised),
    Passes(passes::Passes),
    Plans(plan::Front),
    Reduce(reduce::Reduced),
    Repro(repro::Reproduced),
    Run(run::Outputs),
    Scale(scale::Scaled),
    Simulate(simulate::Simulated),
    Split(split::Parts),
    Verify(verdict::Comparison),
    View(view::Viewed),
    CheckProof(verdict::CheckedProof),
    Text(Text),
    Document(Document),
}

/// What standard output holds with `--json`.
#[derive(Serialize, JsonSchema)]
pub struct Envelope {
    /// Version of this form.
    schema: u32,
    /// Version of graph-opt.
    version: &'static str,
    /// The command; empty if none could be recognised.
    command: String,
    /// Whether the exit code is 0.
    ok: bool,
    /// The exit code.
    exit: u8,
    /// Why the command failed; `null` if it did not.
    error: Option<Problem>,
    /// The answer; `null` if there is none.
    result: Option<Results>,
}

/// Why a command failed.
#[derive(Serialize, JsonSchema)]
pub struct Problem {
    /// What decides the exit code.
    kind: Kind,
    /// In words.
    message: String,
}

impl Envelope {
    /// Of a command that ended so.
    pub fn new(command: String, result: Option<Results>, failure: Option<&Failure>) -> Self {
        let exit = failure.map_or(0, |f| f.kind.code());
        let error = failure.filter(|f| f.kind != Kind::Done);
        let error = error.map(|f| Problem { kind: f.kind, message: f.message.clone() });
        let version = env!("CARGO_PKG_VERSION");
        Self { schema: SCHEMA, version, command, ok: exit == 0, exit, error, result }
    }
}

/// A remark of a pass.
#[derive(Serialize, JsonSchema)]
pub struct Remark {
    /// The pass.
    pass: String,
    /// Label of the node; empty for a remark about the graph.
    node: String,
    /// `applied`, `no match`, `no effect` or `blocked`.
    outcome: &'static str,
    /// In words.
    message: String,
    /// Its figures; `null` if there are none.
    data: Option<Figures>,
}

/// Figures of a remark.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Figures {
    /// A node was cut.
    Parts {
        /// Number of parts.
        parts: usize,
    },
    /// A group of nodes was tiled.
    Tiles {
        /// Number of nodes.
        nodes: usize,
        /// Parts along each axis.
        grid: Vec<usize>,
        /// What becomes of overlaps.
        reuse: &'static str,
    },
    /// The cost of the graph.
    Cost {
        /// Peak of live activations, in bytes.
        peak_bytes: Change,
        /// Multiply-accumulates.
        macs: Change,
        /// Passes without a planner that make the same graph; empty if there are none.
        by_hand: String,
    },
    /// Nodes were reordered.
    Order {
        /// Peak of live activations, in bytes.
        peak_bytes: Change,
        /// Number of nodes at other positions.
        moved: usize,
    },
    /// The number of nodes changed.
    Nodes {
        /// Number of nodes.
        nodes: Change,
    },
    /// A node exceeds the budget and was left as it is.
    Left {
        /// Its bytes.
        left_bytes: u64,
    },
    /// No plan meets the goal.
    Unmet {
        /// Smallest peak that was found, in bytes.
        least_peak_bytes: u64,
    },
}

/// A figure before and after.
#[derive(Serialize, JsonSchema)]
pub struct Change {
    before: u64,
    after: u64,
}

impl From<&graph_opt_passes::Change> for Change {
    fn from(c: &graph_opt_passes::Change) -> Self {
        Self { before: c.before, after: c.after }
    }
}

impl Remark {
    /// A remark as data.
    pub fn of(r: &graph_opt_passes::Remark) -> Self {
        Self {
            pass: r.pass.clone(),
            node: r.node.clone(),
            outcome: outcome(r.outcome),
            message: r.message.clone(),
            data: Figures::of(&r.data),
        }
    }
}

impl Figures {
    fn of(data: &Data) -> Option<Self> {
        Some(match data {
            Data::Parts { parts, .. } => Self::Parts { parts: *parts },
            Data::Tiles(Tiled { group: g, .. }) => Self::Tiles {
                nodes: g.group.nodes.len(),
                grid: g.grid.counts(),
                reuse: g.reuse.name(),
            },
            Data::Cost { peak, macs, by_hand } => {
                let passes = by_hand.iter().cloned().map(FuseTiles::from);
                let by_hand = passes.fold(Pipeline::default(), Pipeline::then).to_string();
                Self::Cost { peak_bytes: peak.into(), macs: macs.into(), by_hand }
            }
            Data::Order { peak, moved } => Self::Order { peak_bytes: peak.into(), moved: *moved },
            Data::Nodes(nodes) => Self::Nodes { nodes: nodes.into() },
            Data::Left(bytes) => Self::Left { left_bytes: *bytes },
            Data::Unmet { least, .. } => Self::Unmet { least_peak_bytes: *least },
            _ => return None,
        })
    }
}

/// The name of an outcome.
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::NoMatch => "no match",
        Outcome::NoEffect => "no effect",
        Outcome::Blocked => "blocked",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SCHEMA=1 cargo test --bin graph-opt schema` writes it.
    #[test]
    fn the_published_schema_is_current() {
        let schema = schemars::schema_for!(Envelope);
        let now = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == now, "UPDATE_SCHEMA=1 renews {path}");
    }
}
