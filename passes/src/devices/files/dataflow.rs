//! `dataflow.yml`: a split model as a dataflow of the engine dora-rs 1.1. The source, the sink and
//! each device are one node, which runs a `graph-opt-worker`.
//!
//! Besides the plan's data, every node gets `ask` from the source, and the source gets `ack` from the
//! sink:
//!
//! ```text
//!            ask (to all)
//!   ┌────────────────────────┐
//! source ─▶ device0 ⇄ device1 ─▶ sink        data, by the plan
//!   ▲                          │
//!   └──────────────────────────┘
//!            ack
//! ```

use super::error::DataflowError;
use super::manifest::Manifest;
use super::plan_file::StageRow;
use super::wiring::{Endpoint, Wiring};

/// Parameters of the generated dataflow.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program that each node runs: a path, or a name on the daemons' PATH.
    pub program: String,
    /// Folder of the split model on every machine.
    pub folder: String,
    /// Machine of the source; by default that of the first part.
    pub source: Option<String>,
    /// Machine of the sink; by default that of the last part.
    pub sink: Option<String>,
    /// Most frames in flight.
    pub window: u32,
    /// Extra arguments of the source, the devices and the sink.
    pub arguments: [Vec<String>; 3],
}

impl Options {
    /// Defaults of the worker for this folder.
    pub fn new(folder: String) -> Self {
        Self {
            program: "graph-opt-worker".into(),
            folder,
            source: None,
            sink: None,
            window: WINDOW,
            arguments: Default::default(),
        }
    }
}

/// Default number of frames in flight.
pub const WINDOW: u32 = 4;

/// Queue length of an edge per frame in flight. The window bounds the messages; a shorter queue
/// would drop some.
const QUEUE: u32 = 64;

/// Writes `dataflow.yml` for a manifest.
///
/// # Errors
/// If the manifest contradicts itself, or dora would not read a name as it is.
pub fn text(m: &Manifest, o: &Options) -> Result<String, DataflowError> {
    let wiring = &Wiring::of(m)?;
    let stages = &m.plan.stages;
    let (first, last) = (stages.first(), stages.last());
    let machine = |given: &Option<String>, part: Option<&StageRow>| {
        given.clone().or_else(|| part.map(|s| s.device.clone())).unwrap_or_default()
    };
    let mut text = String::from(
        "# Written by graph-opt: the devices of manifest.json, for dora-rs 1.1.\nnodes:\n",
    );
    node(&mut text, wiring, o, Endpoint::Source, &machine(&o.source, first))?;
    for (i, device) in wiring.devices().iter().enumerate() {
        node(&mut text, wiring, o, Endpoint::Device(i), device)?;
    }
    node(&mut text, wiring, o, Endpoint::Sink, &machine(&o.sink, last))?;
    Ok(text)
}

fn node(
    text: &mut String,
    wiring: &Wiring,
    o: &Options,
    at: Endpoint,
    machine: &str,
) -> Result<(), DataflowError> {
    let (role, arguments) = match at {
        Endpoint::Source => ("source .".to_owned(), &o.arguments[0]),
        Endpoint::Device(i) => (format!("device {i} ."), &o.arguments[1]),
        Endpoint::Sink => ("sink .".to_owned(), &o.arguments[2]),
    };
    let words = arguments.iter().map(|a| word(a)).collect::<Result<Vec<_>, _>>()?;
    let args = format!("{role} --window {} {}", o.window, words.join(" "));
    let mut lines = vec![
        format!("  - id: {}", at.id()),
        format!("    path: {}", quoted(&o.program)?),
        format!("    args: {}", quoted(args.trim_end())?),
        "    deploy:".into(),
        format!("      machine: {}", quoted(machine)?),
        format!("      working_dir: {}", quoted(&o.folder)?),
        // A node that was killed restarts at once; one that cannot run gives up soon.
        "    restart_policy: on-failure".into(),
        "    max_restarts: 5".into(),
        "    restart_delay: 0.1".into(),
        "    max_restart_delay: 1.0".into(),
    ];
    let (also_gives, also_takes) = match at {
        Endpoint::Source => (Some("ask"), ("ack", Endpoint::Sink)),
        // Devices end when the source has ended, whatever they still receive from each other.
        Endpoint::Device(_) => (None, ("ask", Endpoint::Source)),
        Endpoint::Sink => (Some("ack"), ("ask", Endpoint::Source)),
    };
    let gives = (0..wiring.outputs(at)).map(|k| format!("out{k}"));
    let gives: Vec<String> = gives.chain(also_gives.map(str::to_owned)).collect();
    if !gives.is_empty() {
        lines.push("    outputs:".into());
        lines.extend(gives.iter().map(|g| format!("      - {g}")));
    }
    lines.push("    inputs:".into());
    let data = wiring.inputs(at).iter().enumerate();
    let data = data.map(|(k, e)| (format!("in{k}"), e.from, format!("out{}", e.output)));
    let also = [(also_takes.0.to_owned(), also_takes.1, also_takes.0.to_owned())];
    for (input, from, output) in data.chain(also) {
        lines.push(format!("      {input}:"));
        lines.push(format!("        source: {}/{output}", from.id()));
        lines.push(format!("        queue_size: {}", QUEUE.saturating_mul(o.window)));
    }
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(())
}

/// Formats a double-quoted YAML string.
fn quoted(text: &str) -> Result<String, DataflowError> {
    // dora expands `$` variables; such names would not be found.
    if text.is_empty() || text.contains('$') || text.chars().any(char::is_control) {
        return Err(DataflowError::Text(text.to_owned()));
    }
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Quotes a word of a command line for a shell.
fn word(text: &str) -> Result<String, DataflowError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    if text.contains('\'') {
        return Err(DataflowError::Text(text.to_owned()));
    }
    Ok(format!("'{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataflow_has_the_plans_edges_and_two_more() {
        let m = super::super::wiring::tests::diamond();
        let mut o = Options {
            program: "graph-opt-worker".into(),
            folder: "/srv/my stages".into(),
            source: None,
            sink: Some("c".into()),
            window: 2,
            arguments: [vec!["--inputs=my frames".into()], vec!["--threads=1".into()], vec![]],
        };
        let got = text(&m, &o).unwrap();
        let node = |id: &str| {
            let from = got.find(&format!("  - id: {id}\n")).unwrap();
            let rest = &got[from..];
            rest[1..].find("  - id:").map_or(rest, |n| &rest[..=n])
        };
        let expected = r#"  - id: device1
    path: "graph-opt-worker"
    args: "device 1 . --window 2 --threads=1"
    deploy:
      machine: "b"
      working_dir: "/srv/my stages"
    restart_policy: on-failure
    max_restarts: 5
    restart_delay: 0.1
    max_restart_delay: 1.0
    outputs:
      - out0
    inputs:
      in0:
        source: device0/out0
        queue_size: 128
      in1:
        source: device0/out1
        queue_size: 128
      in2:
        source: device0/out2
        queue_size: 128
      ask:
        source: source/ask
        queue_size: 128
"#;
        assert_eq!(node("device1"), expected);
        let source = node("source");
        assert!(source.contains("args: \"source . --window 2 '--inputs=my frames'\"\n"));
        assert!(source.contains("machine: \"a\"\n"));
        let ack = "inputs:\n      ack:\n        source: sink/ack\n        queue_size: 128\n";
        assert!(source.ends_with(ack));
        assert!(node("sink").contains("machine: \"c\"\n"));
        assert!(node("sink").contains("      in1:\n        source: device0/out0\n"));
        assert!(node("sink").contains("      ask:\n        source: source/ask\n"));
        o.folder = "/srv/$HOME".into();
        assert!(text(&m, &o).is_err());
    }
}
