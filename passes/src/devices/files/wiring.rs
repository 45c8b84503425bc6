//! The edges of a dataflow: who sends which value to whom. Each device is one node of the dataflow,
//! however many parts it runs.
//!
//! Input: a manifest. Output: numbered inputs and outputs of every node, and deliveries between
//! parts of one device.

use std::collections::{BTreeMap, BTreeSet};

use super::error::ManifestError;
use super::manifest::Manifest;
use super::plan_file::ReceiveRow;
use crate::devices::cluster::Codec;

/// A node of the dataflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// Sender of the network's inputs.
    Source,
    /// A device, by its number in [`Wiring::devices`].
    Device(usize),
    /// Receiver of the network's outputs.
    Sink,
}

impl Endpoint {
    /// Identifier in the dataflow.
    pub fn id(self) -> String {
        match self {
            Self::Source => "source".into(),
            Self::Device(i) => format!("device{i}"),
            Self::Sink => "sink".into(),
        }
    }
}

/// An input of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Name of the value.
    pub value: String,
    /// Node that sends it.
    pub from: Endpoint,
    /// Number of the sender's output.
    pub output: usize,
    /// Receivers: (part, position among the values that the part receives). The sink counts as the
    /// part after the last.
    pub to: Vec<(usize, usize)>,
}

/// A value that a part, or the source, sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentValue {
    /// Name of the value.
    pub value: String,
    /// Outputs of its node that carry the value, one for each form in which it is sent; `None` is
    /// unencoded.
    pub outputs: Vec<(usize, Option<Codec>)>,
    /// Receivers on the same node: (part, position among the values that the part receives).
    pub local: Vec<(usize, usize)>,
}

/// All edges between the nodes of a dataflow.
#[derive(Clone, Debug)]
pub struct Wiring {
    devices: Vec<String>,
    /// Device of each part.
    on: Vec<usize>,
    /// Values that each part receives; the sink comes after all parts.
    received: Vec<Vec<String>>,
    /// Values that each part sends; the source comes after all parts.
    sends: Vec<Vec<SentValue>>,
    edges: BTreeMap<Endpoint, Vec<Edge>>,
    outputs: BTreeMap<Endpoint, usize>,
}

impl Wiring {
    /// Derives the edges of a manifest.
    ///
    /// # Errors
    /// If the manifest contradicts itself, or a part receives nothing or a value twice.
    pub fn of(m: &Manifest) -> Result<Self, ManifestError> {
        m.check()?;
        let plan = &m.plan;
        let count = plan.stages.len();
        if count == 0 {
            return Err(ManifestError::NoParts);
        }
        let mut w = Self {
            devices: Vec::new(),
            on: Vec::new(),
            received: Vec::new(),
            sends: vec![Vec::new(); count + 1],
            edges: BTreeMap::new(),
            outputs: BTreeMap::new(),
        };
        for s in &plan.stages {
            let at = w.devices.iter().position(|d| *d == s.device).unwrap_or_else(|| {
                w.devices.push(s.device.clone());
                w.devices.len() - 1
            });
            w.on.push(at);
        }
        for (part, row) in plan.stages.iter().enumerate() {
            let mut names = BTreeSet::new();
            w.connect(part, &row.receives);
            if let Some(v) = w.received[part].iter().find(|v| !names.insert(&***v)) {
                return Err(ManifestError::Twice { part, value: v.clone() });
            }
            if names.is_empty() {
                return Err(ManifestError::NeverStarts(part));
            }
        }
        w.connect(count, &plan.outputs);
        Ok(w)
    }

    fn place(&self, part: usize) -> Endpoint {
        self.on.get(part).map_or(Endpoint::Sink, |&d| Endpoint::Device(d))
    }

    /// Connects what a part receives; the sink is the part after the last.
    fn connect(&mut self, part: usize, rows: &[ReceiveRow]) {
        let to = self.place(part);
        let mut taken = Vec::new();
        let mut seen = BTreeSet::new();
        for (r, value) in rows.iter().flat_map(|r| r.values.iter().map(move |v| (r, v))) {
            // A model may list an output twice.
            if part == self.on.len() && !seen.insert((r.from, value)) {
                continue;
            }
            let from = r.from.map_or(Endpoint::Source, |f| self.place(f));
            let giver = r.from.unwrap_or(self.on.len());
            let at = (part, taken.len());
            taken.push(value.clone());
            let gives = &mut self.sends[giver];
            let n = gives.iter().position(|g| g.value == *value).unwrap_or_else(|| {
                gives.push(SentValue {
                    value: value.clone(),
                    outputs: Vec::new(),
                    local: Vec::new(),
                });
                gives.len() - 1
            });
            let give = &mut gives[n];
            if from == to {
                give.local.push(at);
                continue;
            }
            let codec = r.codecs.get(value).copied();
            let known = give.outputs.iter().find(|o| o.1 == codec).map(|o| o.0);
            let output = known.unwrap_or_else(|| {
                let next = self.outputs.entry(from).or_default();
                give.outputs.push((*next, codec));
                *next += 1;
                *next - 1
            });
            let edges = self.edges.entry(to).or_default();
            match edges.iter_mut().find(|e| e.from == from && e.output == output) {
                Some(e) => e.to.push(at),
                None => {
                    let value = value.clone();
                    edges.push(Edge { value, from, output, to: vec![at] });
                }
            }
        }
        self.received.push(taken);
    }

    /// Devices in the order of their first part.
    pub fn devices(&self) -> &[String] {
        &self.devices
    }

    /// Parts of a device, ascending.
    pub fn parts(&self, device: usize) -> Vec<usize> {
        (0..self.on.len()).filter(|&p| self.on[p] == device).collect()
    }

    /// Values that a part receives.
    pub fn inputs_of(&self, part: usize) -> &[String] {
        &self.received[part]
    }

    /// Values that the sink receives.
    pub fn sink_inputs(&self) -> &[String] {
        &self.received[self.on.len()]
    }

    /// Values that a part sends.
    pub fn sends_of(&self, part: usize) -> &[SentValue] {
        &self.sends[part]
    }

    /// Values that the source sends.
    pub fn source_sends(&self) -> &[SentValue] {
        &self.sends[self.on.len()]
    }

    /// Inputs of a node.
    pub fn inputs(&self, at: Endpoint) -> &[Edge] {
        self.edges.get(&at).map_or(&[], |e| e)
    }

    /// Number of outputs of a node.
    pub fn outputs(&self, at: Endpoint) -> usize {
        self.outputs.get(&at).copied().unwrap_or(0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::manifest::PartFile;
    use super::super::plan_file::{PlanFile, StageRow};
    use super::*;

    /// Two branches on two machines, the second of which makes the output. It also receives an
    /// input of the whole model that the first part forwards unread.
    pub fn diamond() -> Manifest {
        let names = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let row = |from, values: &[&str], bytes| {
            let over = (bytes > 0).then(|| "a to b".to_owned());
            ReceiveRow { from, values: names(values), over, bytes, ..ReceiveRow::default() }
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
            by_devices: Vec::new(),
            second_device: None,
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
        let (a, b) = (Endpoint::Device(0), Endpoint::Device(1));
        assert_eq!(w.devices(), ["a", "b"]);
        assert_eq!((w.parts(0), w.parts(1)), (vec![0, 1], vec![2, 3]));
        assert_eq!(w.inputs_of(3), ["k", "t0", "t1"]);
        let edge = |value: &str, from, output, to: &[(usize, usize)]| Edge {
            value: value.into(),
            from,
            output,
            to: to.to_vec(),
        };
        let first =
            [edge("x", Endpoint::Source, 0, &[(0, 0)]), edge("k", Endpoint::Source, 1, &[(0, 1)])];
        assert_eq!(w.inputs(a), first);
        // A value for the device and for the sink uses one output.
        let second =
            [edge("h", a, 0, &[(2, 0)]), edge("k", a, 1, &[(3, 0)]), edge("t0", a, 2, &[(3, 1)])];
        assert_eq!(w.inputs(b), second);
        let last = [edge("y", b, 0, &[(4, 0)]), edge("h", a, 0, &[(4, 1)])];
        assert_eq!(w.inputs(Endpoint::Sink), last);
        let give = |value: &str, outputs: &[(usize, Option<Codec>)], here: &[(usize, usize)]| {
            SentValue { value: value.into(), outputs: outputs.to_vec(), local: here.to_vec() }
        };
        let first = [give("h", &[(0, None)], &[(1, 0)]), give("k", &[(1, None)], &[])];
        assert_eq!(w.sends_of(0), first);
        assert_eq!(w.sends_of(2), [give("t1", &[], &[(3, 2)])]);
        assert_eq!((w.outputs(Endpoint::Source), w.outputs(a), w.outputs(b)), (2, 3, 1));
    }

    /// A value sent in two forms uses two outputs.
    #[test]
    fn forms_are_outputs() {
        let mut m = diamond();
        m.plan.stages[2].receives[0].codecs.insert("h".into(), Codec::F16);
        let w = Wiring::of(&m).unwrap();
        assert_eq!(w.sends_of(0)[0].outputs, [(0, Some(Codec::F16)), (3, None)]);
        assert_eq!(w.outputs(Endpoint::Device(0)), 4);
        assert_eq!(
            (w.inputs(Endpoint::Device(1))[0].output, w.inputs(Endpoint::Sink)[1].output),
            (0, 3)
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let cases: [(&str, &dyn Fn(&mut Manifest)); 11] = [
            ("found 2 and 1", &|m| m.version = 2),
            ("one file for each", &|m| drop(m.stages.pop())),
            ("receives nothing", &|m| {
                m.plan.stages[1].receives = vec![];
                m.stages[1].inputs = vec![];
            }),
            ("too early", &|m| m.plan.stages[1].receives[0].from = Some(1)),
            ("too early", &|m| m.plan.outputs[0].from = Some(9)),
            ("too early", &|m| {
                let none = ReceiveRow { from: Some(999), ..ReceiveRow::default() };
                m.plan.stages[1].receives.push(none);
            }),
            ("from where it is not available", &|m| {
                m.plan.stages[2].receives[0].values.push("t0".into())
            }),
            ("crosses no link", &|m| {
                m.plan.stages[2].receives[0].codecs.insert("nosuch".into(), Codec::F16);
            }),
            ("crosses no link", &|m| {
                m.plan.stages[1].receives[0].codecs.insert("h".into(), Codec::F16);
            }),
            ("in two forms", &|m| {
                let mut again = m.plan.stages[2].receives[0].clone();
                again.codecs.insert("h".into(), Codec::Int8);
                m.plan.stages[3].receives.push(again);
            }),
            ("twice", &|m| m.plan.stages[0].receives[0].values.push("x".into())),
        ];
        for (why, change) in cases {
            let mut m = diamond();
            change(&mut m);
            let said = Wiring::of(&m).unwrap_err().to_string();
            assert!(said.contains(why), "{said:?} for {why:?}");
        }
    }
}
