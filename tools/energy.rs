//! Energy: counters of the processor, by Linux's power capping (RAPL), and logs of power meters.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Counters of all processor packages, and of their memory where it is counted apart.
pub struct Meter {
    /// Each counter's file, and the value after which it begins at 0 again, µJ.
    zones: Vec<(PathBuf, u64)>,
}

impl Meter {
    /// The counters below a folder such as `/sys/class/powercap`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(root: &Path) -> Result<Self, String> {
        let at = |e: std::io::Error| format!("{}: {e}", root.display());
        let mut zones = Vec::new();
        for entry in std::fs::read_dir(root).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let kind = std::fs::read_to_string(path.join("name")).unwrap_or_default();
            // Cores and the graphics unit are in their package; a whole system's counter holds
            // packages, and the memory-mapped one is of the same packages.
            let counts = kind.starts_with("package") || kind.trim() == "dram";
            if folder.starts_with("intel-rapl:") && counts {
                let most = number(&path.join("max_energy_range_uj"))?;
                zones.push((path.join("energy_uj"), most));
            }
        }
        if zones.is_empty() {
            return Err(format!("{}: there is no energy counter", root.display()));
        }
        zones.sort();
        let meter = Self { zones };
        meter.read()?;
        Ok(meter)
    }

    /// All counters, µJ.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn read(&self) -> Result<Vec<u64>, String> {
        self.zones.iter().map(|z| number(&z.0)).collect()
    }

    /// Energy from one reading to a later one, J. Each counter may have begun again once.
    pub fn between(&self, before: &[u64], after: &[u64]) -> f64 {
        let one = |((b, a), (_, most)): ((&u64, &u64), &(PathBuf, u64))| match a.checked_sub(*b) {
            Some(uj) => uj,
            None => most.saturating_sub(*b).saturating_add(*a),
        };
        let all = before.iter().zip(after).zip(&self.zones).map(one);
        all.map(|uj| uj as f64).sum::<f64>() * 1e-6
    }
}

/// A stretch of time, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Its begin.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// The time now, in seconds since 1970.
pub fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// What a power meter logged: seconds since 1970, and W from then to the next entry.
pub struct PowerLog(Vec<(f64, f64)>);

impl PowerLog {
    /// Reads a CSV with the columns `time`, in seconds since 1970, and `watts`.
    ///
    /// # Errors
    /// The column that is missing, or the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().enumerate();
        let header: Vec<&str> =
            lines.next().map_or("", |l| l.1).split(',').map(str::trim).collect();
        let column = |name: &str| {
            let at = header.iter().position(|h| *h == name);
            at.ok_or_else(|| format!("expected the columns time and watts, found no {name}"))
        };
        let (time, watts) = (column("time")?, column("watts")?);
        let mut all: Vec<(f64, f64)> = Vec::new();
        // The last line may be half written.
        let whole = text.ends_with('\n');
        let count = text.lines().count();
        for (i, line) in lines.filter(|(i, l)| !l.trim().is_empty() && (whole || i + 1 < count)) {
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            let number = |at: usize| cells.get(at).and_then(|c| c.parse::<f64>().ok());
            let entry = number(time).zip(number(watts));
            let entry = entry.filter(|(t, w)| t.is_finite() && (0.0..=1e9).contains(w));
            let entry = entry.ok_or_else(|| format!("line {}: expected two numbers", i + 1))?;
            if all.last().is_some_and(|l| l.0 >= entry.0) {
                return Err(format!("line {}: expected a later time", i + 1));
            }
            all.push(entry);
        }
        Ok(Self(all))
    }

    /// Energy of a period, J.
    ///
    /// # Errors
    /// If the log does not cover it, or has a gap of over 2 s in it.
    pub fn joules(&self, period: Period) -> Result<f64, String> {
        /// Longest time for which an entry is taken to hold.
        const LONGEST: f64 = 2.0;
        let Period { from, to } = period;
        let begin = self.0.partition_point(|e| e.0 <= from).saturating_sub(1);
        let mut sum = 0.0;
        for (i, &(at, watts)) in self.0.iter().enumerate().skip(begin).take_while(|e| e.1.0 < to) {
            let next = self.0.get(i + 1).map_or(f64::INFINITY, |n| n.0).min(at + LONGEST);
            sum += watts * (next.min(to) - at.max(from)).max(0.0);
        }
        let covered = |t: f64| {
            let last = self.0[..self.0.partition_point(|e| e.0 <= t)].last();
            last.is_some_and(|e| t - e.0 <= LONGEST)
        };
        let inner = self.0.iter().filter(|e| e.0 > from && e.0 < to);
        match covered(from) && covered(to) && inner.map(|e| e.0).all(|t| covered(t.next_down())) {
            true => Ok(sum),
            false => Err(format!(
                "expected an entry at least every 2 s from {from:.3} to {to:.3}, when the model ran; \
                 compare the clocks"
            )),
        }
    }
}

fn number(path: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    text.trim().parse().map_err(|_| format!("{}: {text:?} is no number", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(root: &Path, folder: &str, name: &str, uj: u64) {
        let dir = root.join(folder);
        std::fs::create_dir_all(&dir).unwrap();
        for (file, text) in [
            ("name", name.to_owned()),
            ("energy_uj", uj.to_string()),
            ("max_energy_range_uj", "1000".into()),
        ] {
            std::fs::write(dir.join(file), text + "\n").unwrap();
        }
    }

    #[test]
    fn logs_of_power_are_integrated() {
        let log = PowerLog::parse("time,watts\n10,2\n11, 4\n12,6\n13.5,1\n1").unwrap();
        let joules = |from, to| log.joules(Period { from, to });
        assert_eq!(joules(10.5, 12.5), Ok(1.0 + 4.0 + 3.0));
        assert_eq!(joules(11.25, 11.75), Ok(2.0));
        for (from, to) in [(9.0, 11.0), (12.0, 20.0), (8.0, 9.0)] {
            assert!(joules(from, to).is_err_and(|e| e.contains("at least every 2 s")));
        }
        for (text, what) in [
            ("time\n1\n", "found no watts"),
            ("time,watts\n1,x\n", "line 2: expected two numbers"),
            ("time,watts\n2,1\n1,1\n", "line 3: expected a later time"),
        ] {
            assert!(PowerLog::parse(text).is_err_and(|e| e.contains(what)), "{what}");
        }
    }

    #[test]
    fn packages_and_memory_count_once_and_may_wrap() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Meter::open(dir.path()).is_err_and(|e| e.contains("no energy counter")));
        for (folder, name) in [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "psys"),
            ("intel-rapl-mmio:0", "package-0"),
        ] {
            zone(dir.path(), folder, name, 900);
        }
        let meter = Meter::open(dir.path()).unwrap();
        let before = meter.read().unwrap();
        assert_eq!(before, [900, 900]);
        zone(dir.path(), "intel-rapl:0", "package-0", 50);
        zone(dir.path(), "intel-rapl:0:1", "dram", 950);
        let joules = meter.between(&before, &meter.read().unwrap());
        assert!((joules - 200e-6).abs() < 1e-12, "{joules}");
        std::fs::write(dir.path().join("intel-rapl:0/energy_uj"), "much").unwrap();
        assert!(Meter::open(dir.path()).is_err_and(|e| e.contains("is no number")));
    }
}
