//! Budgets of memory as people give them.

use graph_opt_passes::{ByteSize, bytes};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::failure::say;

/// A budget of memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Bytes.
    Bytes(u64),
    /// A share of the model's own peak.
    Share(f64),
    /// What this machine has left.
    Auto,
}

impl Budget {
    /// A size such as `8MiB`, a share such as `50%`, or `auto`.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse::<f64>() {
                Ok(p) if p.is_finite() && p > 0.0 => Ok(Self::Share(p / 100.0)),
                _ => Err(format!("expected a share above 0% such as 50%, found {text:?}")),
            };
        }
        let or = |e| format!("{e}, a share of the peak such as 50%, or auto");
        bytes(text).map(Self::Bytes).map_err(or)
    }

    /// In bytes, for a model of this peak and with weights of so many bytes, to run on these backends, too.
    ///
    /// # Errors
    /// If the peak is not known, or nothing is left on this machine.
    pub fn bytes(
        self,
        peak: &dyn Fn() -> Option<u64>,
        weights: &dyn Fn() -> u64,
        backends: &[String],
    ) -> Result<u64, String> {
        match self {
            Self::Bytes(n) => Ok(n),
            Self::Share(share) => {
                let peak = peak().ok_or(
                    "a share of the model's peak needs its sizes; give them with --dim NAME=N",
                )?;
                Ok((peak as f64 * share) as u64)
            }
            Self::Auto => {
                let (free, from) =
                    free().ok_or("the memory of this machine cannot be read; give a size")?;
                let weights = weights();
                let mut left = free.checked_sub(weights).filter(|n| *n > 0).ok_or_else(|| {
                    let (free, weights) = (ByteSize(free), ByteSize(weights));
                    format!(
                        "{free} are left on this machine ({from}), and the weights take {weights}"
                    )
                })?;
                let mut why = format!(
                    "{} left by {from}, less {} of weights",
                    ByteSize(free),
                    ByteSize(weights)
                );
                // What is live at once holds every value, so each of them fits a buffer.
                let wgpu = backends.iter().any(|b| b == "wgpu");
                if let Some((most, adapter)) = largest_buffer(wgpu).filter(|l| l.0 < left) {
                    left = most;
                    why = format!("the largest buffer of {adapter}");
                }
                say(format!("budget {}: {why}", ByteSize(left)));
                Ok(left)
            }
        }
    }
}

/// Bytes that this process may still take, and what says so: the control group's limit, or what the system
/// has available.
fn free() -> Option<(u64, &'static str)> {
    let kind = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(kind);
    let available = Some((system.available_memory(), "the system")).filter(|a| a.0 > 0);
    let group = system.cgroup_limits().map(|c| (c.free_memory, "the control group"));
    available.into_iter().chain(group).min_by_key(|a| a.0)
}

/// The largest buffer of the adapter, in bytes, and the adapter's name, if it is asked for and there is one.
fn largest_buffer(wanted: bool) -> Option<(u64, String)> {
    #[cfg(feature = "wgpu")]
    if wanted {
        let wgpu = graph_opt_backends::wgpu::Wgpu::new().ok()?;
        return Some((wgpu.largest_value(), wgpu.adapter_name().to_owned()));
    }
    let _ = wanted;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_people_type_them() {
        for text in ["8MiB", "8 MiB", "8M", "8m", "8 mib", "8388608", "8388608 B"] {
            assert_eq!(Budget::parse(text), Ok(Budget::Bytes(8 << 20)), "{text}");
        }
        assert_eq!(Budget::parse("8MB"), Ok(Budget::Bytes(8_000_000)));
        assert_eq!(Budget::parse("50 %"), Ok(Budget::Share(0.5)));
        assert_eq!(Budget::parse("auto"), Ok(Budget::Auto));
        for text in ["", "x", "-1", "0%", "8 MiB of", "8MiB}", "1e99GiB", "nan%"] {
            assert!(Budget::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_of_the_peak_and_auto_leaves_room_for_weights() {
        let (peak, none) = (|| Some(1000), || None);
        assert_eq!(Budget::Share(0.5).bytes(&peak, &|| 0, &[]), Ok(500));
        assert!(Budget::Share(0.5).bytes(&none, &|| 0, &[]).is_err());
        let (free, _) = free().unwrap();
        assert!(Budget::Auto.bytes(&peak, &|| 1, &[]).unwrap() < free.saturating_mul(2));
        assert!(Budget::Auto.bytes(&peak, &|| u64::MAX, &[]).is_err());
    }
}
