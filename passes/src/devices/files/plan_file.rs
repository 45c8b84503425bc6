//! `plan.json`, a plan as a file, and `manifest.json`, what lies beside the parts of a split model.

use std::collections::{BTreeMap, HashMap, HashSet};

use graph_opt_ir::{Graph, NodeId, ValueId};
use serde::{Deserialize, Serialize};

use super::timeline::Timeline;
use crate::devices::cluster::{Cluster, Codec, Codecs};
use crate::devices::graph::{Held, Receive, Split, SplitPart, is_sent, value_bytes};
use crate::devices::problem::{Objective, Transfer};

/// A plan, by the names of nodes, values and devices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// Version of the format: 1.
    pub version: u32,
    /// What was to be least: latency, throughput, energy or memory.
    pub objective: String,
    /// Its value: seconds, seconds between frames, joules or bytes.
    pub value: f64,
    /// No plan has a lower value than this.
    pub bound: f64,
    /// How far the value may be from the least, as a share of it.
    pub gap: f64,
    /// Whether it is proved that no plan is better.
    pub proved: bool,
    /// Seconds from a frame's input to its output, when it is alone.
    pub latency_s: f64,
    /// Seconds between frames, in a pipeline that is full.
    pub interval_s: f64,
    /// Energy of a frame, J.
    pub energy_j: f64,
    /// Passes that rewrite the model before it is split, such as `fuse-tiles{…}`; none if empty.
    #[serde(default)]
    pub rewrite: String,
    /// Whether a frame comes in and another one goes out while one is computed: memory has room for
    /// all three.
    #[serde(default)]
    pub pipelined: bool,
    /// Parts, each after those that it takes from.
    pub stages: Vec<StageRow>,
    /// Where the network's outputs are taken from.
    pub outputs: Vec<ReceiveRow>,
}

/// A part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageRow {
    /// Device.
    pub device: String,
    /// The device's mode.
    pub mode: String,
    /// Its nodes, in the order of the model.
    pub nodes: Vec<String>,
    /// Seconds of computing.
    pub compute_s: f64,
    /// Energy of computing, J.
    pub compute_j: f64,
    /// Bytes that the device holds while it runs: see [`Held`].
    pub memory_bytes: u64,
    /// What it takes.
    pub receives: Vec<ReceiveRow>,
}

/// Values that are taken from one part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveRow {
    /// The part, by its place; the source of inputs if there is none.
    pub from: Option<usize>,
    /// The values.
    pub values: Vec<String>,
    /// The link that they cross, which carries one transfer at a time; none if they stay.
    pub over: Option<String>,
    /// Their bytes, if they cross a link.
    pub bytes: u64,
    /// Those that cross it in another form, and in which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codecs: BTreeMap<String, Codec>,
    /// Bytes that the link carries, if some cross in another form: of what is compressed, as many as
    /// were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
    /// Seconds that they take, encoding and decoding included.
    pub seconds: f64,
}

impl ReceiveRow {
    /// Bytes that the link carries.
    pub fn sent(&self) -> u64 {
        self.sent_bytes.unwrap_or(self.bytes)
    }
}

/// What the folder of a split model holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format: 1.
    pub version: u32,
    /// The plan.
    pub plan: PlanFile,
    /// Inputs of the whole, in order.
    pub inputs: Vec<String>,
    /// Outputs of the whole, in order.
    pub outputs: Vec<String>,
    /// A file for each part of the plan.
    pub stages: Vec<PartFile>,
}

/// A part's file, and what its graph takes and gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    /// The file, in the same folder.
    pub file: String,
    /// Values that the file's graph reads, in the order of its inputs.
    pub inputs: Vec<String>,
    /// Values that it makes, in the order of its outputs.
    pub outputs: Vec<String>,
}

impl PartFile {
    /// That of a part as a graph.
    pub fn of(file: String, part: &Graph) -> Self {
        let names = |all: &[ValueId]| -> Vec<String> {
            let sent = all.iter().filter(|&&v| is_sent(part, v));
            sent.map(|&v| part.value(v).name.to_string()).collect()
        };
        Self { file, inputs: names(part.inputs()), outputs: names(part.outputs()) }
    }
}

/// How a part runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StageTiming {
    /// The device's mode.
    pub mode: usize,
    /// Seconds of computing.
    pub seconds: f64,
    /// Energy of computing, J.
    pub joules: f64,
}

/// What a plan is for, and how it is describe.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanGoal {
    /// What was to be least.
    pub objective: Objective,
    /// Its value as the planner counts it; that of the parts if there is none.
    pub value: Option<f64>,
    /// No plan has a lower value than this.
    pub bound: f64,
    /// Passes that made the graph of the model.
    pub rewrite: String,
    /// Whether several frames are on their way at once.
    pub pipelined: bool,
    /// Forms in which values may be sent.
    pub codecs: Codecs,
}

/// Objectives by the names that users know them by.
pub const OBJECTIVES: [(&str, Objective); 4] = [
    ("latency", Objective::Latency),
    ("throughput", Objective::Interval),
    ("energy", Objective::Energy),
    ("memory", Objective::Memory),
];

fn name(objective: Objective) -> &'static str {
    OBJECTIVES.iter().find(|o| o.1 == objective).map_or("", |o| o.0)
}

impl PlanFile {
    /// The plan of a split graph, of which `held` is what each part's device holds.
    ///
    /// # Errors
    /// If devices that a value goes between have no link, or a part does not fit its device.
    pub fn of(
        graph: &Graph,
        cluster: &Cluster,
        split: &Split,
        held: &[Held],
        runs: &[StageTiming],
        aim: &PlanGoal,
    ) -> Result<Self, String> {
        let mut file = Self::draft(graph, cluster, split, runs, aim)?;
        for (i, held) in held.iter().enumerate() {
            let buffers = if aim.pipelined { file.buffers(i) } else { 0 };
            let (stage, machine) = (&mut file.stages[i], &cluster.devices[split.parts[i].device]);
            stage.memory_bytes = held.total() + buffers;
            if stage.memory_bytes > machine.memory {
                return Err(format!(
                    "the part from {} to {} takes {} B, and {} has {}",
                    stage.nodes.first().map_or("", |n| n),
                    stage.nodes.last().map_or("", |n| n),
                    stage.memory_bytes,
                    machine.name,
                    machine.memory
                ));
            }
        }
        if aim.value.is_none() && aim.objective == Objective::Memory {
            let memory = file.stages.iter().map(|s| s.memory_bytes).max();
            file.judge(memory.unwrap_or(0) as f64, aim.bound);
        }
        Ok(file)
    }

    pub(crate) fn judge(&mut self, value: f64, bound: f64) {
        (self.value, self.bound) = (value, bound.min(value));
        self.gap = if value > 0.0 { (value - self.bound) / value } else { 0.0 };
        self.proved = self.gap <= 1e-9;
    }

    /// The same without its memory: what parts and links do, and when.
    ///
    /// # Errors
    /// If devices that a value goes between have no link.
    pub(crate) fn draft(
        graph: &Graph,
        cluster: &Cluster,
        split: &Split,
        runs: &[StageTiming],
        aim: &PlanGoal,
    ) -> Result<Self, String> {
        let mut energy = 0.0;
        let mut receive = |to: Option<usize>, r: &Receive| -> Result<ReceiveRow, String> {
            let of = |p: usize| split.parts[p].device;
            let from = r.from.map_or(cluster.source, |p| Some(of(p)));
            let to = to.map_or(cluster.sink, |p| Some(of(p)));
            let sized = |&v: &ValueId| (graph.value(v).name.to_string(), value_bytes(graph, v));
            let values: Vec<(String, u64)> = r.values.iter().map(sized).collect();
            let mut row = transfer(cluster, from, to, &values, &aim.codecs)?;
            energy += row.1;
            row.0.from = r.from;
            Ok(row.0)
        };
        let mut stages = Vec::new();
        for (i, (part, run)) in split.parts.iter().zip(runs).enumerate() {
            let machine = &cluster.devices[part.device];
            let rows = part.receives.iter().map(|r| receive(Some(i), r));
            stages.push(StageRow {
                device: machine.name.clone(),
                mode: machine.modes[run.mode].name.clone(),
                nodes: part.nodes.iter().map(|&n| graph.label(n).to_owned()).collect(),
                compute_s: run.seconds,
                compute_j: run.joules,
                memory_bytes: 0,
                receives: rows.collect::<Result<_, _>>()?,
            });
        }
        let outputs = split.outputs.iter().map(|r| receive(None, r)).collect::<Result<_, _>>()?;
        energy += runs.iter().map(|r| r.joules).sum::<f64>();
        let mut file = Self {
            version: 1,
            objective: name(aim.objective).into(),
            value: 0.0,
            bound: 0.0,
            gap: 0.0,
            proved: false,
            latency_s: 0.0,
            interval_s: 0.0,
            energy_j: energy,
            rewrite: aim.rewrite.clone(),
            pipelined: aim.pipelined,
            stages,
            outputs,
        };
        file.latency_s = Timeline::of(&file, 1).latency();
        file.interval_s = file.interval();
        let value = match aim.objective {
            Objective::Latency => file.latency_s,
            Objective::Interval => file.interval_s,
            Objective::Energy => energy,
            Objective::Memory => 0.0,
        };
        file.judge(aim.value.unwrap_or(value), aim.bound);
        Ok(file)
    }

    /// What all parts take, and the end, with the device.
    fn receives(&self) -> impl Iterator<Item = (Option<&str>, &ReceiveRow)> {
        let parts =
            self.stages.iter().flat_map(|s| s.receives.iter().map(|r| (Some(&*s.device), r)));
        parts.chain(self.outputs.iter().map(|r| (None, r)))
    }

    /// How many values cross links in which form that is not the value as it is.
    pub fn codecs(&self) -> BTreeMap<Codec, usize> {
        let mut all = BTreeMap::new();
        for c in self.receives().flat_map(|r| r.1.codecs.values()) {
            *all.entry(*c).or_default() += 1;
        }
        all
    }

    /// The most that a device or a link does for one frame, s.
    fn interval(&self) -> f64 {
        let mut busy: HashMap<(bool, &str), f64> = HashMap::new();
        for s in &self.stages {
            *busy.entry((true, &s.device)).or_default() += s.compute_s;
        }
        for (_, r) in self.receives() {
            if let Some(over) = &r.over {
                *busy.entry((false, over)).or_default() += r.seconds;
            }
        }
        let mut all: Vec<f64> = busy.into_values().collect();
        all.sort_by(f64::total_cmp);
        all.last().copied().unwrap_or(0.0)
    }

    /// Bytes that come in over links for a part of a frame, and those that go out from it.
    pub fn buffers(&self, part: usize) -> u64 {
        let device = &self.stages[part].device;
        let on = |s: &&StageRow| s.device == *device;
        let comes = self.stages.iter().filter(on).flat_map(|s| &s.receives);
        let goes = self.stages.iter().flat_map(|s| &s.receives).chain(&self.outputs);
        let goes = goes.filter(|r| r.from.is_some_and(|f| self.stages[f].device == *device));
        comes.map(|r| r.bytes).sum::<u64>() + goes.map(|r| r.bytes).sum::<u64>()
    }

    /// The plan as a split of a graph, on devices numbered in the order in which they come.
    ///
    /// # Errors
    /// If it is none of this graph.
    pub fn split(&self, graph: &Graph, nodes: &[NodeId]) -> Result<Split, String> {
        if self.version != 1 {
            return Err(format!("a plan of version {} is not known", self.version));
        }
        let other = |e: String| format!("the plan is of another model: {e}");
        let by_label: HashMap<&str, NodeId> = nodes.iter().map(|&n| (graph.label(n), n)).collect();
        let node = |name: &String| {
            by_label.get(&**name).copied().ok_or_else(|| other(format!("there is no node {name}")))
        };
        let value = |name: &String| -> Result<ValueId, String> {
            graph.find_value(name).ok_or_else(|| other(format!("there is no value {name}")))
        };
        let receive = |r: &ReceiveRow| -> Result<Receive, String> {
            let values = r.values.iter().map(value).collect::<Result<_, _>>()?;
            Ok(Receive { from: r.from, values })
        };
        let mut devices: Vec<&str> = Vec::new();
        let mut parts = Vec::new();
        for s in &self.stages {
            let at = devices.iter().position(|d| *d == s.device).unwrap_or_else(|| {
                devices.push(&s.device);
                devices.len() - 1
            });
            parts.push(SplitPart {
                device: at,
                nodes: s.nodes.iter().map(node).collect::<Result<_, _>>()?,
                receives: s.receives.iter().map(receive).collect::<Result<_, _>>()?,
            });
        }
        let outputs = self.outputs.iter().map(receive).collect::<Result<_, _>>()?;
        let split = Split { parts, outputs };
        split.check(graph, nodes).map_err(other)?;
        Ok(split)
    }
}

/// What values, by name and bytes, are sent how between devices, and its energy, J; from and to
/// outside of the network that is free where it has no place.
fn transfer(
    cluster: &Cluster,
    from: Option<usize>,
    to: Option<usize>,
    values: &[(String, u64)],
    allowed: &Codecs,
) -> Result<(ReceiveRow, f64), String> {
    let bytes: u64 = values.iter().map(|v| v.1).sum();
    let mut row = ReceiveRow {
        values: values.iter().map(|v| v.0.clone()).collect(),
        ..ReceiveRow::default()
    };
    let (Some(a), Some(b)) = (from, to) else { return Ok((row, 0.0)) };
    if a == b || bytes == 0 {
        return Ok((row, 0.0));
    }
    let (x, y) = (&cluster.devices[a].name, &cluster.devices[b].name);
    let link = cluster.link(a, b);
    let link = link.ok_or_else(|| format!("there is no link between {x} and {y}"))?;
    let chosen = values.iter().map(|(name, bytes)| {
        let (codec, form) = allowed.choose(link, name, *bytes);
        row.codecs.extend(codec.map(|c| (name.clone(), c)));
        form
    });
    let Transfer { bytes: sent, seconds, joules } = link.send(chosen.sum());
    let sent_bytes = (!row.codecs.is_empty()).then_some(sent);
    row.over = Some(cluster.medium(a, b).map_or_else(|| format!("{x} to {y}"), str::to_owned));
    Ok((ReceiveRow { bytes, sent_bytes, seconds, ..row }, joules))
}

/// More bytes than any link carries for a frame; sums of many fit in 64 bits.
const MOST_BYTES: u64 = 1 << 48;

impl Manifest {
    /// Whether the parts of the manifest fit together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        if self.version != 1 || self.plan.version != 1 {
            return Err(format!("a manifest of version {} is not known", self.version));
        }
        if self.stages.len() != self.plan.stages.len() {
            return Err("there is not one file for each part of the plan".into());
        }
        let mut has: Vec<HashSet<&str>> = Vec::new();
        let inputs: HashSet<&str> = self.inputs.iter().map(|i| &**i).collect();
        // The form of what a device, or the end, takes from a part.
        let mut forms: HashMap<(Option<&str>, Option<usize>, &str), Option<Codec>> = HashMap::new();
        for (device, r) in self.plan.receives() {
            let who = device.unwrap_or("the end");
            let stays = |v: &&String| r.over.is_none() || !r.values.contains(v);
            if let Some(v) = r.codecs.keys().find(stays) {
                return Err(format!("{who} has a codec for {v:?}, which crosses no link to it"));
            }
            if r.bytes.max(r.sent()) > MOST_BYTES {
                return Err(format!("{who} takes more bytes than there are"));
            }
            for v in &r.values {
                let form = r.codecs.get(v).copied();
                if *forms.entry((device, r.from, v)).or_insert(form) != form {
                    return Err(format!("{who} takes {v:?} in two forms"));
                }
            }
        }
        let check = |has: &[HashSet<&str>], r: &ReceiveRow, who: &str| {
            let there = match r.from {
                Some(f) => {
                    has.get(f).ok_or_else(|| format!("{who} takes from part {f} too early"))?
                }
                None => &inputs,
            };
            match r.values.iter().find(|v| !there.contains(&***v)) {
                Some(v) => Err(format!("{who} takes {v:?} from where it is not")),
                None => Ok(()),
            }
        };
        for (part, row) in self.stages.iter().zip(&self.plan.stages) {
            let plain = std::path::Path::new(&part.file).file_name();
            if plain.is_none_or(|n| n != &*part.file) {
                return Err(format!("{:?} is not a file of the folder", part.file));
            }
            row.receives.iter().try_for_each(|r| check(&has, r, &part.file))?;
            let taken = row.receives.iter().flat_map(|r| r.values.iter().map(|v| &**v));
            let mut here: HashSet<&str> = taken.collect();
            if let Some(i) = part.inputs.iter().find(|i| !here.contains(&***i)) {
                return Err(format!("{}: nothing sends {i:?}", part.file));
            }
            here.extend(part.outputs.iter().map(|o| &**o));
            has.push(here);
        }
        self.plan.outputs.iter().try_for_each(|r| check(&has, r, "the end"))
    }
}
