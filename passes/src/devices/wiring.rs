//! Who sends what to whom when parts run on machines: the edges of a dataflow.

use std::collections::BTreeSet;

use super::file::{Manifest, ReceiveRow};

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
    /// If the manifest does not fit together, or a stage waits for nothing.
    pub fn of(m: &Manifest) -> Result<Self, String> {
        m.check()?;
        let plan = &m.plan;
        if plan.stages.is_empty() {
            return Err("there are no stages".into());
        }
        let mut taken: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); plan.stages.len()];
        let mut fed: BTreeSet<&str> = BTreeSet::new();
        for (i, row) in plan.stages.iter().enumerate() {
            let mut names = BTreeSet::new();
            for v in row.receives.iter().flat_map(|r| &r.values) {
                if !names.insert(&**v) {
                    return Err(format!("stage {i} takes {v:?} twice"));
                }
            }
            if names.is_empty() {
                return Err(format!("stage {i} takes nothing, so nothing says when it runs"));
            }
        }
        for r in plan.stages.iter().flat_map(|s| &s.receives).chain(&plan.outputs) {
            let from = r.from.map_or(&mut fed, |f| &mut taken[f]);
            from.extend(r.values.iter().map(|v| &**v));
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
        let edges = |rows: &[ReceiveRow]| -> Vec<Edge> {
            let mut all: Vec<Edge> = Vec::new();
            for (r, v) in rows.iter().flat_map(|r| r.values.iter().map(move |v| (r, v))) {
                let e = edge(v, r.from);
                // A model may name an output twice.
                if !all.contains(&e) {
                    all.push(e);
                }
            }
            all
        };
        let stages = plan.stages.iter().map(|s| edges(&s.receives)).collect();
        let sink = edges(&plan.outputs);
        Ok(Self { stages, sink, source_gives, stage_gives })
    }

    /// How many stages there are.
    pub fn stages(&self) -> usize {
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

#[cfg(test)]
pub(super) mod tests {
    use super::super::file::{PartFile, PlanFile, StageRow};
    use super::*;

    /// Two halves side by side, on two machines, of which the last stage makes the output. It takes
    /// an input of the whole that the first one hands on unread.
    pub fn diamond() -> Manifest {
        let names = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let row = |from, values: &[&str], bytes| {
            let over = (bytes > 0).then(|| "a to b".to_owned());
            ReceiveRow { from, values: names(values), over, bytes, seconds: 0.0 }
        };
        let stage = |device: &str, receives| StageRow {
            device: device.into(),
            mode: "default".into(),
            nodes: vec![],
            compute_s: 0.0,
            compute_j: 0.0,
            memory_bytes: 0,
            receives,
        };
        let part = |i: usize, inputs: &[&str], outputs: &[&str]| PartFile {
            file: format!("stage{i}.onnx"),
            inputs: names(inputs),
            outputs: names(outputs),
        };
        let plan = PlanFile {
            version: 1,
            objective: "throughput".into(),
            value: 0.05,
            bound: 0.05,
            gap: 0.0,
            proved: true,
            latency_s: 0.1,
            interval_s: 0.05,
            energy_j: 0.0,
            rewrite: String::new(),
            pipelined: true,
            stages: vec![
                stage("a", vec![row(None, &["x", "k"], 0)]),
                stage("a", vec![row(Some(0), &["h"], 0)]),
                stage("b", vec![row(Some(0), &["h"], 8)]),
                stage(
                    "b",
                    vec![
                        row(Some(0), &["k"], 4),
                        row(Some(1), &["t0"], 4),
                        row(Some(2), &["t1"], 0),
                    ],
                ),
            ],
            outputs: vec![row(Some(3), &["y"], 0), row(Some(0), &["h"], 0)],
        };
        Manifest {
            version: 1,
            plan,
            inputs: names(&["x", "k"]),
            outputs: names(&["y", "h"]),
            stages: vec![
                part(0, &["x"], &["h"]),
                part(1, &["h"], &["t0"]),
                part(2, &["h"], &["t1"]),
                part(3, &["k", "t0", "t1"], &["y"]),
            ],
        }
    }

    #[test]
    fn values_go_where_they_are_taken() {
        let w = Wiring::of(&diamond()).unwrap();
        assert_eq!(w.gives(Place::Source), ["k", "x"]);
        assert_eq!(w.gives(Place::Stage(0)), ["h", "k"]);
        let edge = |value: &str, from, output| Edge { value: value.into(), from, output };
        let last = [
            edge("k", Place::Stage(0), 1),
            edge("t0", Place::Stage(1), 0),
            edge("t1", Place::Stage(2), 0),
        ];
        assert_eq!(w.takes(Place::Stage(3)), last);
        let out = [edge("y", Place::Stage(3), 0), edge("h", Place::Stage(0), 0)];
        assert_eq!(w.takes(Place::Sink), out);
    }

    #[test]
    fn contradictions_are_refused() {
        let cases: [(&str, &dyn Fn(&mut Manifest)); 6] = [
            ("version 2", &|m| m.version = 2),
            ("one file for each", &|m| drop(m.stages.pop())),
            ("takes nothing", &|m| {
                m.plan.stages[1].receives = vec![];
                m.stages[1].inputs = vec![];
            }),
            ("from where it is not", &|m| m.plan.stages[1].receives[0].from = Some(1)),
            ("from where it is not", &|m| m.plan.outputs[0].from = Some(9)),
            ("twice", &|m| m.plan.stages[0].receives[0].values.push("x".into())),
        ];
        for (why, change) in cases {
            let mut m = diamond();
            change(&mut m);
            let said = Wiring::of(&m).unwrap_err();
            assert!(said.contains(why), "{said:?} for {why:?}");
        }
    }
}
