//! `cluster.toml`: devices and the links between them.
//!
//! ```toml
//! source = "camera"            # device that holds the input; free everywhere by default
//! sink = "camera"              # device that must get the output; free everywhere by default
//!
//! [[device]]
//! name = "camera"
//! memory = "512MiB"
//! macs-per-second = 1.5e9      # or profile = "camera.json", as `graph-opt profile` writes it; its
//!                              # energies apply to modes of speed 1
//! per-node = "20us"            # overhead of each node
//! watts = 4.0
//!
//! [[device]]
//! name = "box"
//! memory = "8GiB"
//! macs-per-second = 4e10
//! mode = [{ name = "921MHz", speed = 1.0, watts = 10 }, { name = "460MHz", speed = 0.5, watts = 4 }]
//!
//! [[link]]
//! between = ["camera", "box"]
//! bandwidth = "100Mbit/s"
//! latency = "2ms"
//! watts = 1.2                  # sender and receiver together, while bits flow
//!
//! [default-link]               # for all other pairs; without it they have no link
//! bandwidth = "20Mbit/s"
//! medium = "wifi"              # links of one medium share it: one transfer at a time
//! ```

use std::collections::BTreeSet;

use serde::Deserialize;

use super::error::{ClusterError, QuantityError};
use crate::devices::problem::Link;
use crate::options::bytes;

/// Devices and links, as read from `cluster.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Devices in the order of the file.
    pub devices: Vec<DeviceSpec>,
    /// Links, indexed by `sender * devices + receiver`; `None` if there is no link.
    pub links: Vec<Option<Link>>,
    /// Name of the medium that a link shares with others, indexed like `links`.
    pub media: Vec<Option<String>>,
    /// Device that holds the input; `None` if the input is free everywhere.
    pub source: Option<usize>,
    /// Device that must get the output; `None` if it may stay anywhere.
    pub sink: Option<usize>,
}

/// A device, as the cluster file describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceSpec {
    /// Unique name.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
    /// Speed in a mode of relative speed 1.
    pub speed: Speed,
    /// Modes, at least one.
    pub modes: Vec<Mode>,
}

/// Where the times of a device's nodes come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Speed {
    /// From the number of multiply-accumulates.
    Macs {
        /// Multiply-accumulates per second.
        per_second: f64,
        /// Overhead of each node in seconds.
        per_node: f64,
    },
    /// From a measured profile; the path is relative to the cluster file.
    Profile(String),
}

/// A frequency or power state.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// Name, unique within the device.
    pub name: String,
    /// Speed relative to the device's.
    pub speed: f64,
    /// Power while computing, in W.
    pub watts: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    source: Option<String>,
    sink: Option<String>,
    default_link: Option<LinkRow>,
    #[serde(default)]
    device: Vec<DeviceRow>,
    #[serde(default)]
    link: Vec<LinkRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DeviceRow {
    name: String,
    memory: String,
    macs_per_second: Option<f64>,
    per_node: Option<String>,
    profile: Option<String>,
    watts: Option<f64>,
    #[serde(default)]
    mode: Vec<ModeRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ModeRow {
    name: String,
    speed: f64,
    watts: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LinkRow {
    between: Option<[String; 2]>,
    bandwidth: String,
    latency: Option<String>,
    watts: Option<f64>,
    medium: Option<String>,
}

impl Cluster {
    /// The link from one device to another, if there is one.
    pub(crate) fn link(&self, from: usize, to: usize) -> Option<&Link> {
        self.links[from * self.devices.len() + to].as_ref()
    }

    /// Name of the medium that the link shares with others, if any.
    pub(crate) fn medium(&self, from: usize, to: usize) -> Option<&str> {
        self.media[from * self.devices.len() + to].as_deref()
    }

    /// Media as numbers, indexed like `links`; empty if no link shares a medium.
    pub(crate) fn media_by_number(&self) -> Vec<Option<usize>> {
        let names: BTreeSet<&String> = self.media.iter().flatten().collect();
        let number = |m: &Option<String>| names.iter().position(|n| Some(*n) == m.as_ref());
        if names.is_empty() { Vec::new() } else { self.media.iter().map(number).collect() }
    }

    /// Parses the text of a `cluster.toml`.
    ///
    /// # Errors
    /// The syntax error with its line, or the device or link that is wrong.
    pub fn parse(text: &str) -> Result<Self, ClusterError> {
        let file: File = toml::from_str(text).map_err(|e| ClusterError::Syntax(e.to_string()))?;
        if file.device.is_empty() {
            return Err(ClusterError::NoDevices);
        }
        let mut devices: Vec<DeviceSpec> = Vec::new();
        for d in file.device {
            let name = || d.name.clone();
            let spec = device_spec(&d).map_err(|why| ClusterError::Device { name: name(), why })?;
            if devices.iter().any(|m| m.name == spec.name) {
                return Err(ClusterError::DuplicateDevice(spec.name));
            }
            devices.push(spec);
        }
        let find = |name: &String| {
            let known = || devices.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join(", ");
            let at = devices.iter().position(|d| d.name == *name);
            at.ok_or_else(|| ClusterError::UnknownDevice { name: name.clone(), known: known() })
        };
        let n = devices.len();
        let mut links = vec![None; n * n];
        let mut media = vec![None; n * n];
        if let Some(row) = &file.default_link {
            if row.between.is_some() {
                return Err(ClusterError::DefaultBetween);
            }
            let named = |why| ClusterError::Link { link: "default-link".into(), why };
            let link = link(row).map_err(named)?;
            let between = |i: usize| i / n != i % n;
            media = (0..n * n).map(|i| row.medium.clone().filter(|_| between(i))).collect();
            links = (0..n * n).map(|i| between(i).then_some(link)).collect();
        }
        for row in &file.link {
            let Some([a, b]) = &row.between else {
                return Err(ClusterError::NoEnds);
            };
            let (a, b) = (find(a)?, find(b)?);
            let ends = || format!("link between {} and {}", devices[a].name, devices[b].name);
            let link = link(row).map_err(|why| ClusterError::Link { link: ends(), why })?;
            for at in [a * n + b, b * n + a] {
                (links[at], media[at]) = (Some(link), row.medium.clone());
            }
        }
        let source = file.source.as_ref().map(find).transpose()?;
        let sink = file.sink.as_ref().map(find).transpose()?;
        Ok(Self { devices, links, media, source, sink })
    }
}

fn device_spec(d: &DeviceRow) -> Result<DeviceSpec, QuantityError> {
    let positive = |name: &'static str, x: f64| match x {
        x if x.is_finite() && x > 0.0 => Ok(x),
        found => Err(QuantityError::NotPositive { name, found }),
    };
    let speed = match (d.macs_per_second, &d.profile) {
        (Some(rate), None) => Speed::Macs {
            per_second: positive("macs-per-second", rate)?,
            per_node: d.per_node.as_deref().map_or(Ok(0.0), seconds)?,
        },
        (None, Some(file)) => Speed::Profile(file.clone()),
        (None, None) => return Err(QuantityError::Speed("neither")),
        (Some(_), Some(_)) => return Err(QuantityError::Speed("both")),
    };
    let watts = d.watts.unwrap_or(0.0);
    let mut modes = Vec::new();
    for m in &d.mode {
        let speed = positive("speed", m.speed)?;
        modes.push(Mode { name: m.name.clone(), speed, watts: m.watts.unwrap_or(watts) });
    }
    if modes.is_empty() {
        modes.push(Mode { name: "default".into(), speed: 1.0, watts });
    }
    if let Some(m) = modes.iter().find(|m| !m.watts.is_finite() || m.watts < 0.0) {
        return Err(QuantityError::Watts(m.watts));
    }
    let memory = bytes(&d.memory).map_err(|e| QuantityError::Bytes(e.to_string()))?;
    Ok(DeviceSpec { name: d.name.clone(), memory, speed, modes })
}

fn link(row: &LinkRow) -> Result<Link, QuantityError> {
    let latency = row.latency.as_deref().map_or(Ok(0.0), seconds)?;
    let watts = row.watts.unwrap_or(0.0);
    Ok(Link { bandwidth: bandwidth(&row.bandwidth)?, latency, watts })
}

/// Parses a number and a unit; units are given with their power of ten.
fn measured(text: &str, units: &[(&str, i32)]) -> Result<f64, QuantityError> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = units.iter().find(|(u, _)| *u == unit.trim());
    // Parsed as one decimal literal, so that it is rounded once.
    let read = |(_, power): &(&str, i32)| format!("{}e{power}", number.trim()).parse::<f64>().ok();
    match power.and_then(read).filter(|x| x.is_finite() && *x >= 0.0) {
        Some(x) => Ok(x),
        None => {
            let units: Vec<&str> = units.iter().map(|u| u.0).collect();
            Err(QuantityError::Unit { text: text.into(), units: units.join(", ") })
        }
    }
}

/// Parses a duration such as `2.5ms` into seconds. Units: s, ms, us, ns.
///
/// # Errors
/// [`QuantityError::Unit`] if it is not a non-negative number with such a unit.
pub fn seconds(text: &str) -> Result<f64, QuantityError> {
    measured(text, &[("s", 0), ("ms", -3), ("us", -6), ("ns", -9)])
}

/// Parses a bandwidth such as `54.97Mbit/s` into bit/s.
///
/// # Errors
/// If it is not a positive number with a unit from bit/s to Gbit/s.
fn bandwidth(text: &str) -> Result<f64, QuantityError> {
    let units = [("bit/s", 0), ("kbit/s", 3), ("Mbit/s", 6), ("Gbit/s", 9)];
    match measured(text, &units)? {
        b if b > 0.0 => Ok(b),
        found => Err(QuantityError::NotPositive { name: "bandwidth", found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
        source = "camera"
        [[device]]
        name = "camera"
        memory = "512MiB"
        macs-per-second = 1.5e9
        per-node = "20us"
        [[device]]
        name = "box"
        memory = "8GiB"
        profile = "box.json"
        mode = [{ name = "fast", speed = 1, watts = 10 }, { name = "slow", speed = 0.5 }]
        watts = 3
        [[link]]
        between = ["camera", "box"]
        bandwidth = "54.97Mbit/s"
        latency = "2ms"
    "#;

    #[test]
    fn clusters_are_read() {
        let c = Cluster::parse(TWO).unwrap();
        assert_eq!(c.devices[0].memory, 512 << 20);
        let speed = Speed::Macs { per_second: 1.5e9, per_node: 20e-6 };
        assert_eq!(c.devices[0].speed, speed);
        assert_eq!(c.devices[0].modes.len(), 1);
        let slow = Mode { name: "slow".into(), speed: 0.5, watts: 3.0 };
        assert_eq!(c.devices[1].modes[1], slow);
        assert_eq!((c.source, c.sink), (Some(0), None));
        let link = Some(Link { bandwidth: 54.97e6, latency: 2e-3, watts: 0.0 });
        assert_eq!(c.links, [None, link, link, None]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (from, to, what) in [
            ("512MiB", "lots", "device camera"),
            ("1.5e9", "-1", "expected a positive number for macs-per-second, found -1"),
            ("\"box\"]", "\"bax\"]", "there is no device bax; expected one of camera, box"),
            ("54.97Mbit/s", "54.97MB", "expected a number with one of the units"),
            ("2ms", "2", "expected a number with one of the units"),
            (
                "profile = \"box.json\"",
                "",
                "expected either macs-per-second or profile, found neither",
            ),
            ("latency", "delay", "unknown field `delay`"),
            ("source = \"camera\"", "source = 3", "invalid type"),
        ] {
            let e = Cluster::parse(&TWO.replace(from, to)).unwrap_err().to_string();
            assert!(e.contains(what), "{what}: {e}");
        }
        assert_eq!(Cluster::parse("").unwrap_err(), ClusterError::NoDevices);
    }
}
