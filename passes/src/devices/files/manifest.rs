//! `manifest.json`: the files of a split model, the plan they follow, and a consistency check.
//!
//! The check does not need the graphs: it follows the plan's transfers and the inputs and outputs
//! of each file by name.

use std::collections::{HashMap, HashSet};

use graph_opt_ir::{Graph, ValueId};
use serde::{Deserialize, Serialize};

use super::error::ManifestError;
use super::plan_file::{PlanFile, ReceiveRow};
use crate::devices::cluster::Codec;
use crate::devices::graph::is_sent;

/// Contents of the folder of a split model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format: 1.
    pub version: u32,
    /// Plan that the files follow.
    pub plan: PlanFile,
    /// Inputs of the whole model, in order.
    pub inputs: Vec<String>,
    /// Outputs of the whole model, in order.
    pub outputs: Vec<String>,
    /// Files in the order of the plan's parts.
    pub stages: Vec<PartFile>,
}

/// The file of a part, with the inputs and outputs of its graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFile {
    /// Name of the file in the same folder.
    pub file: String,
    /// Values that the graph reads, in the order of its inputs.
    pub inputs: Vec<String>,
    /// Values that the graph makes, in the order of its outputs.
    pub outputs: Vec<String>,
}

impl PartFile {
    /// Describes a part's graph.
    pub fn of(file: String, part: &Graph) -> Self {
        let names = |all: &[ValueId]| -> Vec<String> {
            let sent = all.iter().filter(|&&v| is_sent(part, v));
            sent.map(|&v| part.value(v).name.to_string()).collect()
        };
        Self { file, inputs: names(part.inputs()), outputs: names(part.outputs()) }
    }
}

/// Most bytes of a transfer, so that sums of many fit in 64 bits.
const MOST_BYTES: u64 = 1 << 48;

impl Manifest {
    /// Checks that every part receives what its file reads from an earlier part, or the source,
    /// that has it.
    ///
    /// # Errors
    /// The first contradiction found.
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

    /// Checks the sizes and codecs of each transfer by itself.
    fn check_transfers(&self) -> Result<(), ManifestError> {
        // Form in which a device, or the sink, receives a value from a part.
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

/// Name of the receiver of the network's outputs in messages.
const SINK: &str = "the sink";
