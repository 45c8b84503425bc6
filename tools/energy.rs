//! Energy counters of the processor: Linux's power capping (RAPL).

use std::path::{Path, PathBuf};

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
