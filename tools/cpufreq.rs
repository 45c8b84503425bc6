//! Frequencies of the processor, by Linux's cpufreq.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// What was set, and has to be set back: files and their texts, the last one first.
static CHANGED: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// Sets back what was changed, for an end at any moment.
pub fn restore() {
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((path, text)) = changed.pop() {
        // It worked before; there is nobody left to tell.
        let _ = std::fs::write(path, text);
    }
}

/// All cores' frequencies, set back when this is dropped.
#[derive(Debug)]
pub struct Frequencies {
    /// A folder for each group of cores that have one frequency.
    policies: Vec<PathBuf>,
}

impl Frequencies {
    /// Those below a folder such as `/sys/devices/system/cpu/cpufreq`.
    ///
    /// # Errors
    /// If the machine has no such settings; says how to profile without them.
    pub fn open(root: &Path) -> Result<Self, String> {
        let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
        let mut policies: Vec<PathBuf> = entries.map(|e| e.path()).collect();
        policies.retain(|p| p.join("scaling_max_freq").is_file());
        policies.sort();
        if policies.is_empty() {
            return Err(format!(
                "{}: the frequency cannot be set on this machine; profile the model once at each \
                 frequency that you set by other means, and give the ratio of the times as speed of a mode",
                root.display()
            ));
        }
        Ok(Self { policies })
    }

    /// The frequencies that these words name, in kHz, the highest first: `all`, or such as `1.2GHz`.
    ///
    /// # Errors
    /// The word that is no frequency, or the frequency outside of the range of the processor.
    pub fn named(&self, words: &[String]) -> Result<Vec<u64>, String> {
        let mut all = Vec::new();
        for word in words {
            match &**word {
                "all" => all.extend(self.listed()?),
                _ => all.push(khz(word).ok_or_else(|| {
                    format!("expected all or a frequency such as 1.2GHz, found {word:?}")
                })?),
            }
        }
        for policy in &self.policies {
            let (least, most) =
                (number(policy, "cpuinfo_min_freq")?, number(policy, "cpuinfo_max_freq")?);
            if let Some(&f) = all.iter().find(|f| !(least..=most).contains(f)) {
                return Err(format!(
                    "{}: expected a frequency from {} to {}, found {}",
                    policy.display(),
                    shown(least),
                    shown(most),
                    shown(f)
                ));
            }
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup();
        Ok(all)
    }

    /// Frequencies that all cores have.
    fn listed(&self) -> Result<Vec<u64>, String> {
        const LIST: &str = "scaling_available_frequencies";
        let mut common: Option<Vec<u64>> = None;
        for policy in &self.policies {
            let text = std::fs::read_to_string(policy.join(LIST)).map_err(|_| {
                format!(
                    "{}: it has no list of frequencies; name some, such as 1.2GHz",
                    policy.display()
                )
            })?;
            let mut list: Vec<u64> =
                text.split_whitespace().filter_map(|w| w.parse().ok()).collect();
            list.retain(|f| common.as_ref().is_none_or(|c| c.contains(f)));
            common = Some(list);
        }
        common
            .filter(|c| !c.is_empty())
            .ok_or_else(|| "the cores have no frequency in common".into())
    }

    /// Sets all cores to this frequency, in kHz.
    ///
    /// # Errors
    /// If it cannot be set, as without the right to, or the processor keeps to another one.
    pub fn set(&self, khz: u64) -> Result<(), String> {
        for policy in &self.policies {
            // At no moment may the least be above the most.
            let mut files = ["scaling_min_freq", "scaling_max_freq"];
            if khz > number(policy, files[1])? {
                files.reverse();
            }
            for file in files {
                let path = policy.join(file);
                let at = |e: std::io::Error| format!("{}: {e}", path.display());
                let before = std::fs::read_to_string(&path).map_err(at)?;
                let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
                std::fs::write(&path, khz.to_string()).map_err(at)?;
                changed.push((path.clone(), before));
                let found = number(policy, file)?;
                if found != khz {
                    let (khz, found) = (shown(khz), shown(found));
                    return Err(format!("{}: set to {khz}, it is {found}", path.display()));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Frequencies {
    fn drop(&mut self) {
        restore();
    }
}

/// A frequency in kHz as people write it.
pub fn shown(khz: u64) -> String {
    match khz {
        1_000_000.. => format!("{}GHz", khz as f64 / 1e6),
        _ => format!("{}MHz", khz as f64 / 1e3),
    }
}

fn khz(text: &str) -> Option<u64> {
    let units = [("GHz", 1e6), ("MHz", 1e3), ("kHz", 1.0)];
    let (number, unit) = units.iter().find_map(|(u, f)| Some((text.strip_suffix(u)?, f)))?;
    let khz = number.trim().parse::<f64>().ok()? * unit;
    (1.0..1e9).contains(&khz).then(|| khz.round() as u64)
}

fn number(policy: &Path, file: &str) -> Result<u64, String> {
    let path = policy.join(file);
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    text.trim().parse().map_err(|_| format!("{}: {text:?} is no number", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_are_set_and_set_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Frequencies::open(dir.path()).is_err_and(|e| e.contains("cannot be set")));
        let files = [
            ("cpuinfo_min_freq", "400000"),
            ("cpuinfo_max_freq", "2400000"),
            ("scaling_min_freq", "400000"),
            ("scaling_max_freq", "2000000"),
            ("scaling_available_frequencies", "2400000 1200000 400000"),
        ];
        for policy in ["policy0", "policy4"] {
            std::fs::create_dir(dir.path().join(policy)).unwrap();
            for (file, text) in files {
                std::fs::write(dir.path().join(policy).join(file), format!("{text}\n")).unwrap();
            }
        }
        let now = |file: &str| number(&dir.path().join("policy4"), file).unwrap();
        {
            let f = Frequencies::open(dir.path()).unwrap();
            let words =
                |w: &[&str]| f.named(&w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
            assert_eq!(words(&["all"]), Ok(vec![2_400_000, 1_200_000, 400_000]));
            assert_eq!(words(&["600MHz", "1.2GHz", "600000kHz"]), Ok(vec![1_200_000, 600_000]));
            assert!(
                words(&["3GHz"]).is_err_and(|e| e.contains("from 400MHz to 2.4GHz, found 3GHz"))
            );
            assert!(words(&["fast"]).is_err_and(|e| e.contains("such as 1.2GHz")));
            for khz in [2_400_000, 400_000, 1_200_000] {
                f.set(khz).unwrap();
                assert_eq!([now("scaling_min_freq"), now("scaling_max_freq")], [khz; 2]);
            }
        }
        assert_eq!([now("scaling_min_freq"), now("scaling_max_freq")], [400_000, 2_000_000]);
    }
}
