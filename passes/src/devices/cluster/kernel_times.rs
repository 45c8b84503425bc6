//! Times of kernels, as ONNX Runtime writes them with `SessionOptions.enable_profiling`.
//!
//! The file is a list of events, of which those of category `Node` whose names end in
//! `_kernel_time` are runs of kernels, in µs. Events of nodes in the body of a Loop, Scan or If lie
//! within the event of that node, and are not counted twice.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::error::ProfileError;
use super::profile::middle;

/// Measured times of the kernels of an optimized model, in the order in which they first ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelTimes {
    pub(crate) kernels: Vec<Kernel>,
}

/// Measured time of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kernel {
    /// Name of its node in the optimized model.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Number of its node in the optimized model; nodes of the original model keep their order.
    pub index: u64,
    /// Extents of its first result.
    pub dims: Option<Vec<u64>>,
    /// Median time in seconds. The first run is left out if there are others.
    pub seconds: f64,
    /// Interquartile range in seconds.
    pub spread: f64,
    /// Number of runs.
    pub count: u64,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    tid: u64,
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Args,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    op_name: String,
    node_index: String,
    output_type_shape: Vec<BTreeMap<String, Vec<u64>>>,
}

impl KernelTimes {
    /// Whether a text is a list of events, and no profile in JSON or CSV.
    pub fn recognises(text: &str) -> bool {
        text.trim_start().starts_with('[')
    }

    /// Parses a profile of ONNX Runtime.
    ///
    /// # Errors
    /// The syntax error, a time out of range, or that no kernel was timed.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let events: Vec<Event> = serde_json::from_str(text).map_err(|e| match e.is_eof() {
            true => ProfileError::Unfinished,
            false => ProfileError::Syntax(e.to_string()),
        })?;
        let name = |e: &Event| match &*e.cat {
            "Node" => e.name.strip_suffix("_kernel_time").map(str::to_owned),
            _ => None,
        };
        let mut runs: Vec<(String, Event)> =
            events.into_iter().filter_map(|e| Some((name(&e)?, e))).collect();
        for (part, e) in &runs {
            if !(0.0..=1e15).contains(&e.dur) {
                let (part, quantity, found) = (format!("node {part}"), "seconds", e.dur / 1e6);
                return Err(ProfileError::OutOfRange { part, quantity, found });
            }
        }
        // What contains another event begins no later, and ends last.
        runs.sort_by(|(_, a), (_, b)| a.ts.total_cmp(&b.ts).then(b.dur.total_cmp(&a.dur)));
        let mut busy: HashMap<u64, f64> = HashMap::new();
        let mut at: HashMap<(String, String), usize> = HashMap::new();
        let mut all: Vec<(Kernel, Vec<f64>)> = Vec::new();
        for (name, Event { tid, ts, dur, args, .. }) in runs {
            let end = busy.entry(tid).or_insert(f64::NEG_INFINITY);
            if ts < *end {
                continue;
            }
            *end = ts + dur;
            let i = *at.entry((name.clone(), args.node_index.clone())).or_insert(all.len());
            if i == all.len() {
                let dims = args.output_type_shape.into_iter().next();
                let kernel = Kernel {
                    name,
                    op: args.op_name,
                    index: args.node_index.parse().unwrap_or(u64::MAX),
                    dims: dims.and_then(|d| d.into_values().next()),
                    seconds: 0.0,
                    spread: 0.0,
                    count: 0,
                };
                all.push((kernel, Vec::new()));
            }
            all[i].1.push(dur / 1e6);
        }
        let timed = |(kernel, mut times): (Kernel, Vec<f64>)| {
            let warm = if times.len() > 1 { &mut times[1..] } else { &mut times[..] };
            let (seconds, spread) = middle(warm);
            Kernel { seconds, spread, count: warm.len() as u64, ..kernel }
        };
        match all.is_empty() {
            true => Err(ProfileError::NoKernels),
            false => Ok(Self { kernels: all.into_iter().map(timed).collect() }),
        }
    }

    /// Seconds of all kernels.
    pub fn total(&self) -> f64 {
        self.kernels.iter().map(|k| k.seconds).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, ts: u64, dur: u64) -> String {
        format!(
            r#"{{"cat":"Node","tid":1,"ts":{ts},"dur":{dur},"name":"{name}_kernel_time","args":
            {{"op_name":"Conv","node_index":"3","output_type_shape":[{{"float":[1,8]}}]}}}}"#
        )
    }

    #[test]
    fn medians_leave_out_the_first_run_and_nested_events() {
        let all = [event("a", 0, 100), event("body", 10, 50), event("b", 100, 7)];
        let all = [&all[..], &[event("a", 200, 10), event("a", 300, 20), event("a", 400, 30)]];
        let k = KernelTimes::parse(&format!("[{}]", all.concat().join(","))).unwrap();
        let names: Vec<_> = k.kernels.iter().map(|k| (&*k.name, k.seconds, k.count)).collect();
        assert_eq!(names, [("a", 20e-6, 3), ("b", 7e-6, 1)]);
        assert_eq!(k.kernels[0].dims, Some(vec![1, 8]));
        assert!((k.total() - 27e-6).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        for (text, what) in [
            ("[{}]".to_owned(), "found no event of a node"),
            (format!("[{},", event("a", 0, 1)), "ends early"),
            ("[3]".to_owned(), "invalid type"),
            (format!("[{}]", event("a", 0, 1).replace(":1,\"name", ":-1,\"name")), "found -0.0"),
        ] {
            let e = KernelTimes::parse(&text).unwrap_err().to_string();
            assert!(e.contains(what), "{what}: {e}");
        }
    }
}
