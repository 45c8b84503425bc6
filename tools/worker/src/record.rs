//! What the sink has delivered: a file that survives it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use graph_opt_ir::Tensor;
use serde::{Deserialize, Serialize};

use crate::failure::{Result, usage};

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// How many frames there are in all.
    Total {
        /// Frames.
        total: u64,
    },
    /// A frame that was delivered.
    Frame {
        /// Its number.
        frame: u64,
        /// When, in seconds since 1970.
        at: f64,
        /// The checksum of each output, as [`Tensor::content_hash`] has it.
        outputs: BTreeMap<String, String>,
    },
}

/// A tensor's checksum as it is written.
pub fn checksum(t: &Tensor) -> String {
    format!("{:032x}", t.content_hash())
}

/// The lines of a record, and the bytes that they take; a line that was cut off is none.
pub fn read(path: &Path) -> Result<(Vec<Line>, u64)> {
    let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| at(&e))?;
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for line in text.split_inclusive('\n').filter(|l| l.ends_with('\n')) {
        let parsed: Line = serde_json::from_str(line).map_err(|e| at(&e))?;
        if let Line::Frame { frame, .. } = parsed
            && frame != frames(&lines)
        {
            return Err(at(&format!("frame {frame} follows on {} frames", frames(&lines))));
        }
        lines.push(parsed);
        bytes += line.len() as u64;
    }
    Ok((lines, bytes))
}

fn frames(lines: &[Line]) -> u64 {
    lines.iter().filter(|l| matches!(l, Line::Frame { .. })).count() as u64
}

/// A record that is being written.
pub struct Record {
    file: File,
    /// Frames in it.
    pub frames: u64,
    /// How many there will be, if that was said and there is an end.
    pub total: Option<u64>,
}

impl Record {
    /// A new record, or what a sink before this one left.
    pub fn open(path: &Path, again: bool) -> Result<Self> {
        let at = |e: std::io::Error| usage(format!("{}: {e}", path.display()));
        let mut options = File::options();
        let options = options.create(true).write(true);
        if !again || !path.exists() {
            let file = options.truncate(true).open(path).map_err(at)?;
            return Ok(Self { file, frames: 0, total: None });
        }
        let (lines, bytes) = read(path)?;
        let file = options.append(true).open(path).map_err(at)?;
        file.set_len(bytes).map_err(at)?;
        let total = lines.iter().find_map(|l| match l {
            Line::Total { total } => Some(*total),
            Line::Frame { .. } => None,
        });
        Ok(Self { file, frames: frames(&lines), total })
    }

    fn line(&mut self, line: &Line) -> Result {
        let text = serde_json::to_string(line).map_err(usage)?;
        let written = self.file.write_all(format!("{text}\n").as_bytes());
        written.map_err(|e| usage(format!("the record of frames: {e}")))
    }

    /// The source has said how many frames there are.
    pub fn announce(&mut self, total: Option<u64>) -> Result {
        match total {
            Some(n) if self.total != total => {
                self.total = total;
                self.line(&Line::Total { total: n })
            }
            _ => Ok(()),
        }
    }

    /// The next frame.
    pub fn deliver(&mut self, outputs: BTreeMap<String, String>) -> Result {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = now.map_or(0.0, |d| d.as_secs_f64());
        self.line(&Line::Frame { frame: self.frames, at, outputs })?;
        self.frames += 1;
        Ok(())
    }
}

/// Seconds between frames, but for the first ones, while the pipeline fills.
pub fn interval(lines: &[Line], fill: usize) -> Option<f64> {
    let at = |l: &Line| match l {
        Line::Frame { at, .. } => Some(*at),
        Line::Total { .. } => None,
    };
    let times: Vec<f64> = lines.iter().filter_map(at).skip(fill).collect();
    let (first, last) = (times.first()?, times.last()?);
    (times.len() > 1).then(|| (last - first) / (times.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sink that is killed while it writes goes on where its record is whole.
    #[test]
    fn a_record_survives_its_sink() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frames.jsonl");
        let outputs = |n: u64| BTreeMap::from([("y".to_owned(), format!("{n:032x}"))]);
        let mut record = Record::open(&path, true).unwrap();
        record.announce(None).unwrap();
        record.announce(Some(9)).unwrap();
        record.announce(Some(9)).unwrap();
        record.deliver(outputs(0)).unwrap();
        record.deliver(outputs(1)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let mut record = Record::open(&path, true).unwrap();
        assert_eq!((record.frames, record.total), (1, Some(9)));
        record.deliver(outputs(1)).unwrap();
        let (lines, bytes) = read(&path).unwrap();
        assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
        assert_eq!(lines[0], Line::Total { total: 9 });
        let Line::Frame { frame: 1, outputs: got, .. } = &lines[2] else { unreachable!() };
        assert_eq!(*got, outputs(1));
        assert_eq!(lines.len(), 3);
        // A new dataflow begins anew.
        assert_eq!(Record::open(&path, false).unwrap().frames, 0);
    }
}
