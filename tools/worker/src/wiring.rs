//! Who sends what to whom: the edges of the dataflow, from the manifest.

use std::collections::BTreeSet;

use crate::manifest::Manifest;

/// A node of the dataflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Where frames come from.
    Source,
    /// A stage.
    Stage(usize),
    /// Where results go.
    Sink,
}

impl Place {
    /// Its name in the dataflow.
    pub fn id(self) -> String {
        match self {
            Self::Source => "source".into(),
            Self::Stage(i) => format!("stage{i}"),
            Self::Sink => "sink".into(),
        }
    }
}

/// A value that a node takes from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The value.
    pub value: String,
    /// Who has it.
    pub from: Place,
    /// The sender's output, of which several nodes may take it: its place in [`Wiring::gives`].
    pub output: usize,
}

/// The edges of data.
#[derive(Clone, Debug)]
pub struct Wiring {
    stages: Vec<Vec<Edge>>,
    sink: Vec<Edge>,
    source_gives: Vec<String>,
    stage_gives: Vec<Vec<String>>,
}

impl Wiring {
    /// The wiring of a manifest.
    ///
    /// # Errors
    /// If the manifest contradicts itself: a value taken from where it is not, or a stage that
    /// waits for nothing.
    pub fn of(m: &Manifest) -> Result<Self, String> {
        if m.version != 1 {
            return Err(format!("a manifest of version {} is not known", m.version));
        }
        if m.stages.len() != m.plan.stages.len() || m.stages.is_empty() {
            return Err("the manifest and its plan have different stages, or none".into());
        }
        let mut taken: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); m.stages.len()];
        let mut fed: BTreeSet<&str> = BTreeSet::new();
        for (i, row) in m.plan.stages.iter().enumerate() {
            if row.receives.is_empty() {
                return Err(format!("stage {i} receives nothing, so nothing says when it runs"));
            }
            let mut names = BTreeSet::new();
            for r in &row.receives {
                if !names.insert(&*r.value) {
                    return Err(format!("stage {i} receives {:?} twice", r.value));
                }
                match r.from {
                    Some(from) if from >= i => {
                        return Err(format!("stage {i} receives from stage {from}, which is not before it"));
                    }
                    Some(from) => {
                        has(m, from, &r.value)?;
                        taken[from].insert(&r.value);
                    }
                    None if !m.inputs.contains(&r.value) => {
                        return Err(format!("stage {i} takes {:?} from the source, and it is no input", r.value));
                    }
                    None => {
                        fed.insert(&r.value);
                    }
                }
            }
            if let Some(lacks) = m.stages[i].inputs.iter().find(|n| !names.contains(&***n)) {
                return Err(format!("stage {i} reads {lacks:?} and does not receive it"));
            }
        }
        for o in &m.outputs {
            if o.from >= m.stages.len() {
                return Err(format!("output {:?} comes from stage {}, which there is not", o.value, o.from));
            }
            has(m, o.from, &o.value)?;
            taken[o.from].insert(&o.value);
        }
        let owned = |all: &BTreeSet<&str>| all.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let source_gives = owned(&fed);
        let stage_gives: Vec<Vec<String>> = taken.iter().map(owned).collect();
        let edge = |value: &str, from: Option<usize>| {
            let (gives, from) = match from {
                None => (&source_gives, Place::Source),
                Some(i) => (&stage_gives[i], Place::Stage(i)),
            };
            let output = gives.iter().position(|g| g == value).unwrap_or(0);
            Edge { value: value.to_owned(), from, output }
        };
        let rows = m.plan.stages.iter();
        let stages = rows.map(|r| r.receives.iter().map(|r| edge(&r.value, r.from)).collect());
        let stages = stages.collect();
        let mut sink: Vec<Edge> = Vec::new();
        for o in &m.outputs {
            let e = edge(&o.value, Some(o.from));
            // A model may name an output twice.
            if !sink.contains(&e) {
                sink.push(e);
            }
        }
        Ok(Self { stages, sink, source_gives, stage_gives })
    }

    /// How many stages there are.
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// The values that a node takes, in the order of its inputs.
    pub fn takes(&self, at: Place) -> &[Edge] {
        match at {
            Place::Source => &[],
            Place::Stage(i) => &self.stages[i],
            Place::Sink => &self.sink,
        }
    }

    /// The values that others take from a node, in the order of its outputs.
    pub fn gives(&self, at: Place) -> &[String] {
        match at {
            Place::Source => &self.source_gives,
            Place::Stage(i) => &self.stage_gives[i],
            Place::Sink => &[],
        }
    }
}

/// A stage has what it makes and what it receives.
fn has(m: &Manifest, stage: usize, value: &str) -> Result<(), String> {
    let made = m.stages[stage].outputs.iter().any(|o| o == value);
    let handed = m.plan.stages[stage].receives.iter().any(|r| r.value == value);
    if made || handed { Ok(()) } else { Err(format!("stage {stage} does not have {value:?}")) }
}
