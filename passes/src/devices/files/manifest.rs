//! Manifest.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::{Graph, ValueId};
use serde::{Deserialize, Serialize};

use super::error::ManifestError;
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
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.version != 1 || self.plan.version != 1 {
            let (manifest, plan) = (self.version, self.plan.version);
            return Err(ManifestError::Version { manifest, plan });
        }
        if self.stages.len() != self.plan.stages.len() {
            let (parts, files) = (self.plan.stages.len(), self.stages.len());
            return Err(ManifestError::Files { parts, files });
        }
        self.check_transfers()?;
        let inputs: HashSet<&str> = self.inputs.iter().map(|i| &**i).collect();
        let mut has: Vec<HashSet<&str>> = Vec::new();
        let check = |has: &[HashSet<&str>], r: &ReceiveRow, receiver: &str| {
            let receiver = || receiver.to_owned();
            let there = match r.from {
                Some(sender) => has
                    .get(sender)
                    .ok_or_else(|| ManifestError::TooEarly { receiver: receiver(), sender })?,
                None => &inputs,
            };
            match r.values.iter().find(|v| !there.contains(&***v)) {
                Some(v) => {
                    Err(ManifestError::Unavailable { receiver: receiver(), value: v.clone() })
                }
                None => Ok(()),
            }
        };
        for (part, row) in self.stages.iter().zip(&self.plan.stages) {
            let plain = std::path::Path::new(&part.file).file_name();
            if plain.is_none_or(|n| n != &*part.file) {
                return Err(ManifestError::FileName(part.file.clone()));
            }
            row.receives.iter().try_for_each(|r| check(&has, r, &part.file))?;
            let received = row.receives.iter().flat_map(|r| r.values.iter().map(|v| &**v));
            let mut here: HashSet<&str> = received.collect();
            if let Some(value) = part.inputs.iter().find(|i| !here.contains(&***i)) {
                let (file, value) = (part.file.clone(), value.clone());
                return Err(ManifestError::Unreceived { file, value });
            }
            here.extend(part.outputs.iter().map(|o| &**o));
            has.push(here);
        }
        self.plan.outputs.iter().try_for_each(|r| check(&has, r, SINK))
    }

    /// Whether the sizes and codecs of each transfer make sense by themselves.
    fn check_transfers(&self) -> Result<(), ManifestError> {
        // The form of what a device, or the sink, receives from a part.
        let mut forms: HashMap<(Option<&str>, Option<usize>, &str), Option<Codec>> = HashMap::new();
        for (device, r) in self.plan.receives() {
            let receiver = || device.unwrap_or(SINK).to_owned();
            let stays = |v: &&String| r.over.is_none() || !r.values.contains(v);
            if let Some(v) = r.codecs.keys().find(stays) {
                return Err(ManifestError::Codec { receiver: receiver(), value: v.clone() });
            }
            let bytes = r.bytes.max(r.sent());
            if bytes > MOST_BYTES {
                return Err(ManifestError::Bytes { receiver: receiver(), bytes });
            }
            for v in &r.values {
                let form = r.codecs.get(v).copied();
                if *forms.entry((device, r.from, v)).or_insert(form) != form {
                    return Err(ManifestError::Forms { receiver: receiver(), value: v.clone() });
                }
            }
        }
        Ok(())
    }
}

/// What messages call the receiver of the network's outputs.
const SINK: &str = "the sink";
