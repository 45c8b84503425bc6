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

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two halves side by side, on two machines, of which the last stage makes the output. It takes
    /// an input of the whole that the first one hands on unread.
    pub fn diamond() -> serde_json::Value {
        let take = |value: &str, from: Option<usize>, bytes: u64| {
            serde_json::json!({"value": value, "from": from, "bytes": bytes, "seconds": 0.0})
        };
        let stage = |device: &str, receives: Vec<serde_json::Value>| {
            serde_json::json!({"device": device, "receives": receives})
        };
        let part = |inputs: &[&str], outputs: &[&str], i: usize| {
            serde_json::json!({"file": format!("stage{i}.onnx"), "inputs": inputs, "outputs": outputs})
        };
        serde_json::json!({
            "version": 1,
            "plan": {"latency_s": 0.1, "interval_s": 0.05, "stages": [
                stage("a", vec![take("x", None, 0), take("k", None, 0)]),
                stage("a", vec![take("h", Some(0), 0)]),
                stage("b", vec![take("h", Some(0), 8)]),
                stage("b", vec![take("k", Some(0), 4), take("t0", Some(1), 4), take("t1", Some(2), 0)]),
            ]},
            "inputs": ["x", "k"],
            "outputs": [{"value": "y", "from": 3}, {"value": "h", "from": 0}],
            "stages": [
                part(&["x"], &["h"], 0),
                part(&["h"], &["t0"], 1),
                part(&["h"], &["t1"], 2),
                part(&["k", "t0", "t1"], &["y"], 3),
            ],
        })
    }

    fn wired(m: &serde_json::Value) -> Result<Wiring, String> {
        Wiring::of(&serde_json::from_value(m.clone()).unwrap())
    }

    #[test]
    fn values_go_where_they_are_taken() {
        let w = wired(&diamond()).unwrap();
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
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut m = diamond();
            change(&mut m);
            wired(&m).unwrap_err()
        };
        let cases: [(&str, &dyn Fn(&mut serde_json::Value)); 8] = [
            ("version 2", &|m| m["version"] = 2.into()),
            ("different stages", &|m| drop(m["stages"].as_array_mut().unwrap().pop())),
            ("receives nothing", &|m| m["plan"]["stages"][1]["receives"] = serde_json::json!([])),
            ("not before it", &|m| m["plan"]["stages"][1]["receives"][0]["from"] = 1.into()),
            ("does not have", &|m| m["plan"]["stages"][2]["receives"][0]["value"] = "z".into()),
            ("no input", &|m| m["plan"]["stages"][0]["receives"][0]["value"] = "z".into()),
            ("does not receive it", &|m| m["stages"][1]["inputs"][0] = "x".into()),
            ("which there is not", &|m| m["outputs"][0]["from"] = 9.into()),
        ];
        for (why, change) in cases {
            let said = with(change);
            assert!(said.contains(why), "{said:?} for {why:?}");
        }
    }
}
