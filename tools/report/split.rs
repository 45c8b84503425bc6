//! A plan over devices as it is drawn: stages, transfers, and when each runs.

use graph_opt_passes::devices::files::{PlanFile, Timeline};
use schemars::JsonSchema;
use serde::Serialize;

/// Frames that are drawn, if no number is given.
pub const FRAMES: usize = 6;

/// Stages of a plan, and when they run.
#[derive(Serialize, JsonSchema)]
pub struct SplitPicture {
    /// What was minimised.
    pub objective: String,
    /// Its value: seconds, joules or bytes.
    pub value: f64,
    /// A lower bound on the value of every plan.
    pub bound: f64,
    /// Whether no plan is better.
    pub proved: bool,
    /// Seconds from a frame's input to its output.
    pub latency_s: f64,
    /// Seconds between frames.
    pub interval_s: f64,
    /// Energy of a frame, in joules.
    pub energy_j: f64,
    /// The stages, in the order in which they run.
    pub stages: Vec<StagePicture>,
    /// Times of the first frames.
    pub spans: Vec<SpanRow>,
    /// The best plans on 1, 2, … devices; empty if they were not looked for.
    pub by_devices: Vec<CountRow>,
}

/// A stage.
#[derive(Serialize, JsonSchema)]
pub struct StagePicture {
    /// The device, and its mode if that has a name.
    pub device: String,
    /// Number of nodes.
    pub nodes: usize,
    /// The first of them.
    pub first: String,
    /// Seconds of computing, for a frame.
    pub compute_s: f64,
    /// Bytes that the device holds.
    pub memory_bytes: u64,
    /// What it receives.
    pub receives: Vec<TransferRow>,
}

/// Values that cross a link.
#[derive(Serialize, JsonSchema)]
pub struct TransferRow {
    /// The sending stage; `null` for the source of the network's inputs.
    pub from: Option<usize>,
    /// The receiving stage; `null` for the sink of its outputs.
    pub to: Option<usize>,
    /// The link; `null` if the values stay on the device.
    pub over: Option<String>,
    /// The values.
    pub values: Vec<String>,
    /// Bytes that the link carries.
    pub bytes: u64,
    /// Seconds that it takes.
    pub seconds: f64,
}

/// Something that a device or a link does.
#[derive(Serialize, JsonSchema)]
pub struct SpanRow {
    /// The device or the link.
    pub on: String,
    /// Whether it is a link.
    pub link: bool,
    /// The stage that computes, or receives; `null` for the sink of the outputs.
    pub stage: Option<usize>,
    /// Number of the frame, from 0.
    pub frame: usize,
    /// When it begins, in seconds.
    pub begin_s: f64,
    /// When it ends, in seconds.
    pub end_s: f64,
}

/// The best plan on so many devices.
#[derive(Serialize, JsonSchema)]
pub struct CountRow {
    /// Number of devices.
    pub devices: usize,
    /// Seconds from a frame's input to its output.
    pub latency_s: f64,
    /// Seconds between frames.
    pub interval_s: f64,
    /// Energy of a frame, in joules.
    pub energy_j: f64,
    /// Most bytes that a device holds.
    pub memory_bytes: u64,
}

/// The device of a stage, with its mode if that has a name.
pub fn place(device: &str, mode: &str) -> String {
    match mode {
        "default" => device.to_owned(),
        mode => format!("{device}@{mode}"),
    }
}

/// What devices and links do, by the plan's figures: devices in the order of their stages, then links.
pub fn spans(plan: &PlanFile, timeline: &Timeline) -> Vec<SpanRow> {
    let mut all = Vec::new();
    for (stage, (row, spans)) in plan.stages.iter().zip(&timeline.spans).enumerate() {
        let on = place(&row.device, &row.mode);
        for (frame, &(begin_s, end_s)) in spans.iter().enumerate() {
            let stage = Some(stage);
            all.push(SpanRow { on: on.clone(), link: false, stage, frame, begin_s, end_s });
        }
    }
    for t in &timeline.transfers {
        let (begin_s, end_s) = t.span;
        let (on, frame) = (t.over.clone(), t.frame);
        all.push(SpanRow { on, link: true, stage: t.to, frame, begin_s, end_s });
    }
    all
}

/// The picture of a plan for this number of frames.
pub fn picture(plan: &PlanFile, frames: usize) -> SplitPicture {
    let receive = |to: Option<usize>, r: &graph_opt_passes::devices::files::ReceiveRow| {
        let (over, values) = (r.over.clone(), r.values.clone());
        TransferRow { from: r.from, to, over, values, bytes: r.sent(), seconds: r.seconds }
    };
    let stages = plan.stages.iter().enumerate().map(|(i, s)| StagePicture {
        device: place(&s.device, &s.mode),
        nodes: s.nodes.len(),
        first: s.nodes.first().cloned().unwrap_or_default(),
        compute_s: s.compute_s,
        memory_bytes: s.memory_bytes,
        receives: s.receives.iter().map(|r| receive(Some(i), r)).collect(),
    });
    let by_devices = plan.by_devices.iter().map(|c| CountRow {
        devices: c.devices,
        latency_s: c.latency_s,
        interval_s: c.interval_s,
        energy_j: c.energy_j,
        memory_bytes: c.memory_bytes,
    });
    SplitPicture {
        objective: plan.objective.clone(),
        value: plan.value,
        bound: plan.bound,
        proved: plan.proved,
        latency_s: plan.latency_s,
        interval_s: plan.interval_s,
        energy_j: plan.energy_j,
        stages: stages.collect(),
        spans: spans(plan, &Timeline::of(plan, frames)),
        by_devices: by_devices.collect(),
    }
}
