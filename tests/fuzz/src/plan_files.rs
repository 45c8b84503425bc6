//! Bytes as a `plan.json`, a `manifest.json` or a profile.

use graph_opt_passes::devices::cluster::{KernelTimes, Profile};
use graph_opt_passes::devices::files::{Manifest, PlanFile, Timeline, Wiring, dataflow};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::chain;

/// Most parts of a plan that is simulated.
const PARTS: usize = 64;

/// Reads the text as each of the files that come with a split model. What is accepted is written as text that
/// is read back as the same; a manifest that does not contradict itself has a wiring and a timeline.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(plan) = json::<PlanFile>(text) {
        let (graph, network) = chain();
        let _ = plan.split(graph, &network.nodes);
    }
    if let Some(manifest) = json::<Manifest>(text)
        && manifest.check().is_ok()
    {
        let _ = Wiring::of(&manifest);
        let _ = dataflow::text(&manifest, &dataflow::Options::new("stages".into()));
        if manifest.plan.stages.len() <= PARTS {
            let _ = Timeline::of(&manifest.plan, 3);
        }
    }
    for profile in [Profile::json(text), Profile::csv(text)].into_iter().flatten() {
        let json = profile.to_json().expect("its numbers are finite");
        assert_eq!(Profile::json(&json).as_ref(), Ok(&profile), "{json}");
        let csv = profile.to_csv().expect("its numbers are finite");
        Profile::csv(&csv).unwrap_or_else(|e| panic!("{e}\n{csv}"));
    }
    if KernelTimes::recognises(text)
        && let Ok(times) = KernelTimes::parse(text)
    {
        let _ = times.attribute(&chain().0);
    }
}

/// The value of this text; it is written as text that is read back as the same.
fn json<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(text: &str) -> Option<T> {
    let value: T = serde_json::from_str(text).ok()?;
    let again = serde_json::to_string(&value).expect("its numbers are finite");
    let read: T = serde_json::from_str(&again).unwrap_or_else(|e| panic!("{e}\n{again}"));
    assert_eq!(read, value, "{again}");
    Some(value)
}
