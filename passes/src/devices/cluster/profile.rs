//! Profiles: measured times and energies of a model on a device, as `graph-opt profile` writes
//! them.
//!
//! A profile has single nodes, and stretches: consecutive nodes measured as one model. A stretch
//! can take less than the sum of its nodes (data stays in caches) or more (launches and copies). As
//! JSON it is a serialized [`Profile`]; as CSV (RFC 4180) it has a header with these columns:
//!
//! | column | content |
//! |---|---|
//! | `name`, or `first` and `last` | a node, or the first and last node of a stretch |
//! | `nodes` | number of nodes in the stretch; disambiguates repeated names |
//! | `seconds`, `ms` or `us` | median time; one of them is required |
//! | `spread_seconds`, `spread_ms` or `spread_us` | interquartile range |
//! | `joules`, `mJ` or `uJ` | energy; empty where it was not measured |
//! | `count` | number of runs |

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::codec::ValueCodecs;
use super::error::{ProfileError, RowError};

/// Measured times of a model's nodes and stretches on one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Version of the format: 1.
    pub version: u32,
    /// Name of the backend that was measured.
    pub backend: String,
    /// Number of threads; 0 if unknown.
    pub threads: u16,
    /// Number of runs requested; 0 if unknown.
    pub runs: u16,
    /// Times of single nodes.
    pub nodes: Vec<NodeTime>,
    /// Times of stretches of consecutive nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stretches: Vec<StretchTime>,
    /// Measurements of codecs. JSON only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueCodecs>,
}

/// Measured time of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTime {
    /// Name of the node, or of one of its results. Times of nodes that share a name come in the order
    /// in which the nodes run.
    pub name: String,
    /// Median time in seconds.
    pub seconds: f64,
    /// Interquartile range in seconds.
    #[serde(default)]
    pub spread: f64,
    /// Number of runs.
    #[serde(default)]
    pub count: u64,
    /// Energy of a run in J, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
}

/// Measured time of a stretch of consecutive nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StretchTime {
    /// Name of the first node, in the model's order.
    pub first: String,
    /// Name of the last node, inclusive.
    pub last: String,
    /// Number of nodes in the stretch, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
    /// Median time in seconds.
    pub seconds: f64,
    /// Interquartile range in seconds.
    #[serde(default)]
    pub spread: f64,
    /// Number of runs.
    #[serde(default)]
    pub count: u64,
    /// Energy of a run in J, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
}

/// Names of a quantity's columns, and the factor to its base unit.
type Units = [(&'static str, f64); 3];
const TIMES: Units = [("seconds", 1.0), ("ms", 1e-3), ("us", 1e-6)];
const SPREADS: Units = [("spread_seconds", 1.0), ("spread_ms", 1e-3), ("spread_us", 1e-6)];
const ENERGIES: Units = [("joules", 1.0), ("mJ", 1e-3), ("uJ", 1e-6)];

/// Largest time (s) or energy (J) accepted, so that sums stay finite.
const MOST: f64 = 1e12;

impl Profile {
    /// Parses a profile in JSON.
    ///
    /// # Errors
    /// The syntax error, or the first entry out of range.
    pub fn json(text: &str) -> Result<Self, ProfileError> {
        serde_json::from_str::<Self>(text).map_err(syntax)?.checked()
    }

    /// Parses a profile in CSV; a row whose first and last node are equal is a node.
    ///
    /// # Errors
    /// The missing column, the line that is wrong, or the first entry out of range.
    pub fn csv(text: &str) -> Result<Self, ProfileError> {
        let mut rows = csv::Reader::from_reader(text.as_bytes());
        let columns = Columns::of(rows.headers().map_err(syntax)?)?;
        let (mut nodes, mut stretches) = (Vec::new(), Vec::new());
        for row in rows.records() {
            let row = row.map_err(syntax)?;
            let line = row.position().map_or(0, csv::Position::line);
            let stretch = columns.row(&row).map_err(|why| ProfileError::Row { line, why })?;
            if stretch.first == stretch.last && stretch.nodes.is_none_or(|n| n == 1) {
                let StretchTime { first: name, seconds, spread, count, joules, .. } = stretch;
                nodes.push(NodeTime { name, seconds, spread, count, joules });
            } else {
                stretches.push(stretch);
            }
        }
        let backend = "csv".into();
        Self { version: 1, backend, nodes, stretches, ..Self::default() }.checked()
    }

    /// Serializes to JSON.
    ///
    /// # Errors
    /// If serialization fails.
    pub fn to_json(&self) -> Result<String, ProfileError> {
        let text = serde_json::to_string_pretty(self).map_err(syntax)?;
        Ok(text + "\n")
    }

    /// Serializes to CSV. Backend, threads, runs and codecs are lost.
    ///
    /// # Errors
    /// If serialization fails.
    pub fn to_csv(&self) -> Result<String, ProfileError> {
        let mut out = csv::Writer::from_writer(Vec::new());
        let head = ["first", "last", "nodes", "seconds", "spread_seconds", "joules", "count"];
        out.write_record(head).map_err(syntax)?;
        for t in self.all() {
            let optional = |x: Option<String>| x.unwrap_or_default();
            let row = [
                t.first,
                t.last,
                optional(t.nodes.map(|n| n.to_string())),
                t.seconds.to_string(),
                t.spread.to_string(),
                optional(t.joules.map(|j| j.to_string())),
                t.count.to_string(),
            ];
            out.write_record(row).map_err(syntax)?;
        }
        let bytes = out.into_inner().map_err(syntax)?;
        String::from_utf8(bytes).map_err(syntax)
    }

    /// All measurements as stretches; nodes are stretches of length 1.
    pub(crate) fn all(&self) -> impl Iterator<Item = StretchTime> + '_ {
        let node = |n: &NodeTime| StretchTime {
            first: n.name.clone(),
            last: n.name.clone(),
            nodes: Some(1),
            seconds: n.seconds,
            spread: n.spread,
            count: n.count,
            joules: n.joules,
        };
        self.nodes.iter().map(node).chain(self.stretches.iter().cloned())
    }

    fn checked(self) -> Result<Self, ProfileError> {
        if self.version != 1 {
            return Err(ProfileError::Version(self.version));
        }
        for t in self.all() {
            let part = || match t.first == t.last {
                true => format!("node {}", t.first),
                false => format!("the stretch from {} to {}", t.first, t.last),
            };
            let joules = t.joules.unwrap_or(0.0);
            let all = [("seconds", t.seconds), ("seconds of spread", t.spread), ("joules", joules)];
            for (quantity, found) in all {
                if !(0.0..=MOST).contains(&found) {
                    return Err(ProfileError::OutOfRange { part: part(), quantity, found });
                }
            }
        }
        let mut names = BTreeSet::new();
        for v in &self.values {
            if !names.insert(&v.name) {
                return Err(ProfileError::DuplicateValue(v.name.clone()));
            }
            for c in &v.codecs {
                if c.bytes == 0 {
                    let (value, codec) = (v.name.clone(), c.codec);
                    return Err(ProfileError::NoBytes { value, codec });
                }
                // The error is infinite if an output of zeros changed.
                let limits = [("seconds", c.seconds, MOST), ("error", c.error, f64::INFINITY)];
                for (quantity, found, most) in limits {
                    if !(0.0..=most).contains(&found) {
                        let part = format!("{} as {}", v.name, c.codec);
                        return Err(ProfileError::OutOfRange { part, quantity, found });
                    }
                }
            }
        }
        Ok(self)
    }
}

/// The median of measured times and their interquartile range; zeros if there are none.
pub fn middle(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    if times.is_empty() { (0.0, 0.0) } else { (at(0.5), at(0.75) - at(0.25)) }
}

fn syntax(e: impl std::fmt::Display) -> ProfileError {
    ProfileError::Syntax(e.to_string())
}

/// Positions of the columns in a CSV file, with factors to base units.
struct Columns {
    name: Option<usize>,
    ends: Option<(usize, usize)>,
    nodes: Option<usize>,
    count: Option<usize>,
    time: (usize, f64),
    spread: Option<(usize, f64)>,
    energy: Option<(usize, f64)>,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, ProfileError> {
        let column = |name: &str| {
            let mut at = header.iter().enumerate().filter(|(_, h)| h.trim() == name).map(|h| h.0);
            match (at.next(), at.next()) {
                (_, Some(_)) => Err(ProfileError::DuplicateColumn(name.into())),
                (at, None) => Ok(at),
            }
        };
        let measured = |units: &Units| -> Result<Option<(usize, f64)>, ProfileError> {
            let mut found = None;
            for (unit, factor) in units {
                match (column(unit)?, found) {
                    (Some(_), Some(_)) => return Err(ProfileError::TwoUnits(unit)),
                    (Some(at), None) => found = Some((at, *factor)),
                    (None, _) => {}
                }
            }
            Ok(found)
        };
        let columns = Self {
            name: column("name")?,
            ends: column("first")?.zip(column("last")?),
            nodes: column("nodes")?,
            count: column("count")?,
            time: measured(&TIMES)?
                .ok_or(ProfileError::MissingColumn("a column seconds, ms or us"))?,
            spread: measured(&SPREADS)?,
            energy: measured(&ENERGIES)?,
        };
        if columns.name.is_none() && columns.ends.is_none() {
            let missing = "a column name, or columns first and last";
            return Err(ProfileError::MissingColumn(missing));
        }
        Ok(columns)
    }

    fn row(&self, row: &csv::StringRecord) -> Result<StretchTime, RowError> {
        fn number<T: std::str::FromStr>(
            cell: &str,
            column: &'static str,
        ) -> Result<Option<T>, RowError> {
            let wrong = || RowError::Number { column, cell: cell.into() };
            let read = || cell.parse().map_err(|_| wrong());
            (!cell.is_empty()).then(read).transpose()
        }
        let cell = |i: usize| row.get(i).unwrap_or("").trim();
        let measured = |(at, factor): (usize, f64), what: &'static str| {
            Ok::<_, RowError>(number::<f64>(cell(at), what)?.map(|x| x * factor))
        };
        let name = self.name.map(cell).filter(|n| !n.is_empty());
        let ends = self.ends.map(|(a, b)| (cell(a), cell(b)));
        let ends = ends.filter(|(a, b)| !a.is_empty() && !b.is_empty());
        let (first, last) = match (name, ends) {
            (Some(n), None) => (n, n),
            (None, Some(ends)) => ends,
            (Some(_), Some(_)) => return Err(RowError::TwoNames),
            (None, None) => return Err(RowError::NoName),
        };
        let optional = |at: Option<(usize, f64)>, what: &'static str| match at {
            Some(at) => measured(at, what),
            None => Ok(None),
        };
        Ok(StretchTime {
            first: first.into(),
            last: last.into(),
            nodes: self.nodes.map_or(Ok(None), |at| number(cell(at), "number of nodes"))?,
            seconds: measured(self.time, "time")?.ok_or(RowError::NoTime)?,
            spread: optional(self.spread, "time")?.unwrap_or(0.0),
            count: self.count.map_or(Ok(None), |at| number(cell(at), "count"))?.unwrap_or(0),
            joules: optional(self.energy, "energy")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{ "version": 1, "backend": "cpu", "threads": 1, "runs": 9,
        "nodes": [{ "name": "a", "seconds": 0.5, "spread": 0.125 },
                  { "name": "b", "seconds": 0.25, "spread": 0, "count": 9, "joules": 1.5 }],
        "stretches": [{ "first": "a", "last": "b", "nodes": 2, "seconds": 0.6 }] }"#;

    #[test]
    fn what_is_written_is_read() {
        let p = Profile::json(JSON).unwrap();
        assert_eq!(p.stretches[0].nodes, Some(2));
        assert_eq!(Profile::json(&p.to_json().unwrap()).unwrap(), p);
        let csv = Profile::csv(&p.to_csv().unwrap()).unwrap();
        assert_eq!((csv.nodes, csv.stretches), (p.nodes, p.stretches));
    }

    #[test]
    fn units_are_those_of_the_header() {
        let p = Profile::csv("name, us ,mJ,note\n\"conv,1\",250,2,x\nrelu,4,,y\n").unwrap();
        assert_eq!(p.nodes[0].name, "conv,1");
        assert!((p.nodes[0].seconds - 250e-6).abs() < 1e-18);
        assert_eq!((p.nodes[0].joules, p.nodes[1].joules), (Some(2e-3), None));
        let p = Profile::csv("name,first,last,ms\n,a,c,1000\nb,,,500\n").unwrap();
        assert_eq!((p.stretches[0].seconds, p.nodes[0].seconds), (1.0, 0.5));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, what) in [
            ("", "expected a column seconds, ms or us"),
            ("name\na\n", "expected a column seconds, ms or us"),
            ("ms\n1\n", "expected a column name, or columns first and last"),
            ("name,ms,us\na,1,2\n", "found column us and another"),
            ("name,ms,ms\na,1,2\n", "expected one column ms, found two"),
            ("name,ms\na,1ms\n", "line 2: expected a number for time, found \"1ms\""),
            ("name,ms\na,\n", "line 2: expected a time"),
            ("name,ms\na,nan\n", "expected seconds of 0 to 1e12 for node a, found NaN"),
            ("name,ms\na,-1\n", "for node a, found -0.001"),
            ("name,ms\na,1e999\n", "for node a, found inf"),
            ("name,ms,joules\na,1,-2\n", "expected joules of 0 to 1e12 for node a, found -2"),
            ("name,ms\n,1\n", "found neither"),
            ("name,ms\na,1,2\n", "found record with 3 fields"),
            ("first,last,ms\na,b,1e16\n", "for the stretch from a to b, found"),
            (
                "first,last,nodes,ms\na,b,many,1\n",
                "expected a number for number of nodes, found \"many\"",
            ),
        ] {
            let e = Profile::csv(text).unwrap_err().to_string();
            assert!(e.contains(what), "{text:?}: {e}");
        }
        for (from, to, what) in [
            ("\"version\": 1", "\"version\": 2", "found version 2"),
            ("0.5", "1e999", "number out of range"),
            ("0.5", "-0.5", "expected seconds of 0 to 1e12 for node a, found -0.5"),
            ("1.5", "-1", "expected joules of 0 to 1e12 for node b, found -1"),
            ("\"spread\": 0,", "\"speed\": 0,", "unknown field `speed`"),
            ("\"nodes\": 2", "\"nodes\": -2", "invalid value"),
        ] {
            let e = Profile::json(&JSON.replace(from, to)).unwrap_err().to_string();
            assert!(e.contains(what), "{to:?}: {e}");
        }
    }
}
