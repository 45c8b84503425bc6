//! Manifest.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::{Graph, ValueId};
use serde::{Deserialize, Serialize};

use super::plan_file::{PlanFile, ReceiveRow};
use crate::devices::cluster::Codec;
use crate::devices::graph::is_sent;

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
