//! ONNX's multi-device annotations: a model lists configurations of devices, and each node names the stage
//! of a pipeline in which it runs (ONNX IR version 11).
//!
//! Annotations that graph-opt does not use stay in the file unchanged. Wrong ones are reported by [`stages`]
//! rather than when the file is read.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{OnnxError, Result};
use super::origin::Origin;
use super::proto::{configuration as fields, model, node, node_devices};
use super::rope::Rope;
use super::wire::{Field, fields_in};
use crate::graph::Graph;
use crate::tensor::Bytes;
use crate::{NodeId, ValueId};

/// The version of the format that has them.
const IR_VERSION: i64 = 11;

/// A configuration of devices for which a model is annotated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Name, unique in the model.
    pub name: String,
    /// Number of devices.
    pub count: i64,
    /// Names of the devices, by pipeline stage; empty if the model does not name them.
    pub devices: Vec<String>,
}

/// The annotation of a node for one configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OfNode {
    configuration: String,
    stage: Option<i64>,
    sharded: bool,
}

/// The stages of a pipeline for one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    /// The configuration to which the stages belong.
    pub configuration: Configuration,
    /// Nodes with their stages, counted from 0, in the order of the schedule.
    pub nodes: Vec<(NodeId, usize)>,
    /// Nodes whose tensors are sharded over several devices.
    pub sharded: Vec<NodeId>,
}

/// Configurations of the model, in the order of the file.
///
/// # Errors
/// If a configuration has no name, the name of another one, or another number of devices than it declares.
pub(crate) fn configurations(graph: &Graph) -> Result<Vec<Configuration>> {
    let mut all: Vec<Configuration> = Vec::new();
    each(graph, &mut |buf, f| {
        let c = configuration(buf, f)?;
        let fail = |what: &str| Err(OnnxError::Model(format!("configuration {:?} {what}", c.name)));
        if c.name.is_empty() || all.iter().any(|o| o.name == c.name) {
            return fail("needs a name that no other configuration has");
        }
        if !(1..=i32::MAX.into()).contains(&c.count)
            || !c.devices.is_empty() && c.devices.len() as i64 != c.count
        {
            let named = c.devices.len();
            return fail(&format!("declares {} devices, but names {named}", c.count));
        }
        all.push(c);
        Ok(())
    })?;
    Ok(all)
}

/// The stages of the configuration with this name, or of the only one with stages if no name is given; `None`
/// if there are no stages.
///
/// # Errors
/// If there is no configuration with this name, or several and no name is given. If an annotation of a node
/// refers to a configuration or stage that does not exist, or a stage depends on a later one.
pub fn stages(graph: &Graph, name: Option<&str>) -> Result<Option<Stages>> {
    let all = configurations(graph)?;
    let names = || all.iter().map(|c| format!("{:?}", c.name)).collect::<Vec<_>>().join(", ");
    let mut found: BTreeMap<&str, Stages> = BTreeMap::new();
    for id in graph.schedule() {
        let node = graph.node(id);
        let fail = |what: String| {
            let label = super::node::label(graph.label(id), node.op.name(), None);
            Err(OnnxError::Model(format!("node {label}: {what}")))
        };
        let mut seen = BTreeSet::new();
        for said in of_node(&node.meta.foreign)? {
            let Some(c) = all.iter().find(|c| c.name == said.configuration) else {
                let c = &said.configuration;
                return fail(format!("there is no configuration {c:?}; there are: {}", names()));
            };
            if !seen.insert(&*c.name) {
                return fail(format!("it names the configuration {:?} twice", c.name));
            }
            let empty = || Stages { configuration: c.clone(), nodes: vec![], sharded: vec![] };
            let stages = found.entry(&c.name).or_insert_with(empty);
            if said.sharded {
                stages.sharded.push(id);
            }
            match said.stage.map(|s| (s, usize::try_from(s))) {
                Some((s, Ok(stage))) if s < c.count => stages.nodes.push((id, stage)),
                Some((s, _)) => {
                    let (name, last) = (&c.name, c.count - 1);
                    return fail(format!("expected a stage of 0 to {last} of {name:?}, found {s}"));
                }
                None => {}
            }
        }
    }
    found.values().try_for_each(|s| forwards(graph, s))?;
    let known = |n: &str| all.iter().any(|c| c.name == n);
    match name {
        Some(n) if !known(n) => {
            let what = format!("there is no configuration {n:?}; there are: {}", names());
            Err(OnnxError::Model(what))
        }
        Some(n) => Ok(found.remove(n)),
        None => {
            found.retain(|_, s| !s.nodes.is_empty() || !s.sharded.is_empty());
            match found.len() {
                0 | 1 => Ok(found.into_values().next()),
                _ => {
                    let names = found.keys().map(|n| format!("{n:?}")).collect::<Vec<_>>();
                    let what = format!("nodes are in several configurations: {}", names.join(", "));
                    Err(OnnxError::Model(what))
                }
            }
        }
    }
}

/// Checks that no stage depends on a later one, directly or through other nodes.
fn forwards(graph: &Graph, stages: &Stages) -> Result<()> {
    let own: BTreeMap<NodeId, usize> = stages.nodes.iter().copied().collect();
    // The latest stage that a node depends on, and a node of it.
    let mut latest: BTreeMap<NodeId, (usize, NodeId)> = BTreeMap::new();
    for id in graph.schedule() {
        let n = graph.node(id);
        let reads = n.inputs.iter().flatten().chain(&n.captures);
        let before = reads.filter_map(|v: &ValueId| latest.get(&graph.producer(*v)?).copied());
        let before = before.max_by_key(|b| b.0);
        let mine = own.get(&id).map(|&s| (s, id));
        if let (Some((s, _)), Some((t, from))) = (mine, before)
            && t > s
        {
            let (a, b) = (graph.label(from), graph.label(id));
            let what = format!("stage {t} ({a}) comes before stage {s} ({b})");
            return Err(OnnxError::Model(format!("{:?}: {what}", stages.configuration.name)));
        }
        if let Some(most) = mine.into_iter().chain(before).max_by_key(|b| b.0) {
            latest.insert(id, most);
        }
    }
    Ok(())
}

/// The model with this configuration, which replaces one of the same name, and with the stages of its nodes.
/// Other configurations stay.
///
/// # Errors
/// If the configuration has another number of devices than it declares, a stage is out of range, or existing
/// annotations are not valid messages.
pub fn annotate(
    graph: &Graph,
    configuration: &Configuration,
    stage: &dyn Fn(NodeId) -> Option<usize>,
) -> Result<Graph> {
    let mut out = graph.clone();
    let mut models = Rope::default();
    each(graph, &mut |buf, f| {
        if self::configuration(buf, f)?.name != configuration.name {
            models.copy(&buf[f.span.clone()]);
        }
        Ok(())
    })?;
    let mut ours = Rope::default();
    ours.text(fields::NAME, configuration.name.as_bytes());
    ours.int(fields::NUM_DEVICES, configuration.count);
    configuration.devices.iter().for_each(|d| ours.text(fields::DEVICE, d.as_bytes()));
    models.message(model::CONFIGURATION, ours);
    out.configurations = Some(bytes(&models)?);
    let ids: Vec<NodeId> = graph.schedule().collect();
    for id in ids {
        let old = &graph.node(id).meta.foreign;
        let mut foreign = Rope::default();
        for f in fields_in(old, &(0..old.len())) {
            let f = f?;
            if f.number != node::DEVICE_CONFIGURATIONS
                || said(old, &f)?.configuration != configuration.name
            {
                foreign.copy(&old[f.span]);
            }
        }
        let kept = foreign.len() == old.len() as u64;
        let mut added = Rope::default();
        if let Some(s) = stage(id) {
            if s as i64 >= configuration.count {
                let what = format!("stage {s} of {} devices", configuration.count);
                return Err(OnnxError::Model(what));
            }
            let mut ours = Rope::default();
            ours.text(node_devices::CONFIGURATION_ID, configuration.name.as_bytes());
            ours.int(node_devices::PIPELINE_STAGE, s as i64);
            added.message(node::DEVICE_CONFIGURATIONS, ours);
        }
        let meta = &mut out.node_mut(id).meta;
        meta.verbatim = match &meta.verbatim {
            Some(b) if kept => {
                let mut all = Rope::default();
                all.copy(b);
                all.append(added.clone());
                Some(bytes(&all)?)
            }
            _ => None,
        };
        foreign.append(added);
        meta.foreign = bytes(&foreign)?;
    }
    out.ir_version = out.ir_version.max(IR_VERSION);
    out.edits += 1;
    // Errors in the configuration are reported as for one that was read.
    configurations(&out)?;
    Ok(out)
}

fn bytes(rope: &Rope) -> Result<Bytes> {
    let mut out = Vec::new();
    rope.write(&mut out)?;
    Ok(out.into())
}

/// Calls `f` with each field of the model that holds a configuration.
fn each(graph: &Graph, f: &mut dyn FnMut(&[u8], &Field) -> Result<()>) -> Result<()> {
    let buf: &[u8] = match (&graph.configurations, Origin::of(graph)) {
        (Some(b), _) => b,
        (None, Some(o)) if o.main => &o.buf,
        _ => &[],
    };
    for field in fields_in(buf, &(0..buf.len())) {
        let field = field?;
        if field.number == model::CONFIGURATION {
            f(buf, &field)?;
        }
    }
    Ok(())
}

fn text(buf: &[u8], f: &Field) -> Result<String> {
    let bytes = f.bytes().map_or(&[][..], |r| &buf[r]);
    let fail = |_| OnnxError::Model("expected UTF-8 in an annotation for devices".into());
    std::str::from_utf8(bytes).map(str::to_owned).map_err(fail)
}

/// Reads a DeviceConfigurationProto: name, number and names of devices.
fn configuration(buf: &[u8], field: &Field) -> Result<Configuration> {
    let mut c = Configuration::default();
    for f in fields_in(buf, &field.bytes().unwrap_or(0..0)) {
        let f = f?;
        match f.number {
            fields::NAME => c.name = text(buf, &f)?,
            fields::NUM_DEVICES => c.count = f.int().unwrap_or(0),
            fields::DEVICE => c.devices.push(text(buf, &f)?),
            _ => {}
        }
    }
    Ok(c)
}

/// Reads the NodeDeviceConfigurationProtos among these fields.
fn of_node(foreign: &[u8]) -> Result<Vec<OfNode>> {
    let mut all = Vec::new();
    for f in fields_in(foreign, &(0..foreign.len())) {
        let f = f?;
        if f.number == node::DEVICE_CONFIGURATIONS {
            all.push(said(foreign, &f)?);
        }
    }
    Ok(all)
}

fn said(buf: &[u8], field: &Field) -> Result<OfNode> {
    let mut n = OfNode::default();
    for f in fields_in(buf, &field.bytes().unwrap_or(0..0)) {
        let f = f?;
        match f.number {
            node_devices::CONFIGURATION_ID => n.configuration = text(buf, &f)?,
            node_devices::SHARDING_SPEC => n.sharded = true,
            node_devices::PIPELINE_STAGE => n.stage = f.int(),
            _ => {}
        }
    }
    Ok(n)
}
