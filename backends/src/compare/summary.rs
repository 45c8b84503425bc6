//! One verdict from all rungs.

use std::fmt;

use super::Verdict;

/// What is known of an output after all rungs: the one verdict that commands report and judge by.
#[derive(Clone, PartialEq, Debug)]
pub enum Summary {
    /// The same up to names.
    Identical,
    /// Equal for all inputs and weights.
    Proved,
    /// Equal for all inputs of these extents, and for all weights.
    ProvedAt(String),
    /// Equal over the finite field.
    Exact,
    /// Equal bits on all backends; and why it is no more, if there is something to say.
    BitExact(String),
    /// Close on all backends; and why it is no more.
    Close(String),
    /// They differ, and where.
    Differs(String),
    /// Not decided, and why.
    Unknown(String),
}

impl Summary {
    /// The better it is, the lower.
    pub fn rank(&self) -> usize {
        match self {
            Self::Identical => 0,
            Self::Proved => 1,
            Self::ProvedAt(_) => 2,
            Self::Exact => 3,
            Self::BitExact(_) => 4,
            Self::Close(_) => 5,
            Self::Unknown(_) => 6,
            Self::Differs(_) => 7,
        }
    }

    /// Whether it is known that the output is equal, or close on backends.
    pub fn is_equal(&self) -> bool {
        !matches!(self, Self::Differs(_) | Self::Unknown(_))
    }

    /// Where runs on backends are all that says that the output is equal: what they did not reach.
    pub(super) fn unreached(self, why: String) -> Self {
        match self {
            Self::BitExact(_) => {
                Self::Unknown(format!("unknown: bit-exact in all runs, but {why}"))
            }
            Self::Close(_) => Self::Unknown(format!("unknown: close in all runs, but {why}")),
            other => other,
        }
    }

    /// From the verdicts of all rungs. `dressed` is what is known of a difference over the field
    /// that no backend sees: whether another form of the original has none, and why.
    pub(super) fn of(verdicts: &[Verdict], dressed: Option<&str>) -> Self {
        use Verdict as V;
        let any = |f: &dyn Fn(&V) -> bool| verdicts.iter().find(|v| f(v));
        if any(&|v| matches!(v, V::Identical)).is_some() {
            return Self::Identical;
        }
        let close = any(&|v| matches!(v, V::Close(..)));
        let bits = any(&|v| matches!(v, V::BitExact(..)));
        if let Some(first) = any(&|v| matches!(v, V::Differs(..))) {
            let backend = any(&|v| matches!(v, V::Differs(b, _) if b != super::FIELD))
                .or(any(&|v| matches!(v, V::Finite(..))));
            let proved = any(&|v| matches!(v, V::Proved { reassociates: false, .. })).is_some();
            return match (dressed.filter(|_| backend.is_none() && !proved), close, bits) {
                (Some(why), Some(_), _) => Self::Close(why.to_owned()),
                (Some(why), None, Some(_)) => Self::BitExact(why.to_owned()),
                _ => Self::Differs(backend.unwrap_or(first).to_string()),
            };
        }
        if let Some(edge) = any(&|v| matches!(v, V::Finite(..))) {
            // It is forgiven where the field says that they are equal for all numbers. A proof is for
            // all inputs, whatever they are.
            let proved = any(&|v| matches!(v, V::Proved { reassociates: false, .. }));
            let exact = any(&|v| matches!(v, V::Exact(_)));
            return match (proved, exact) {
                (None, Some(_)) if close.is_some() => Self::Close(edge.to_string()),
                (None, Some(_)) => Self::BitExact(edge.to_string()),
                _ => Self::Differs(edge.to_string()),
            };
        }
        let proved = any(&|v| matches!(v, V::Proved { .. })).is_some();
        let at = verdicts.iter().find_map(|v| match v {
            V::ProvedAt { extents, .. } => Some(extents.clone()),
            _ => None,
        });
        let exact = any(&|v| matches!(v, V::Exact(_))).is_some();
        let in_field = if exact || proved { "equal in exact arithmetic" } else { "" };
        if let (Some(extents), None, false) = (at, close, proved) {
            return Self::ProvedAt(extents);
        }
        match (close, proved, exact, bits) {
            (Some(_), ..) => Self::Close(in_field.to_owned()),
            (_, true, ..) => Self::Proved,
            (_, _, true, _) => Self::Exact,
            (_, _, _, true_bits) if true_bits.is_some() => {
                let why = any(&|v| matches!(v, V::Unknown(..))).map(ToString::to_string);
                Self::BitExact(why.unwrap_or_default())
            }
            _ => {
                let why = any(&|v| matches!(v, V::Unknown(..))).map(ToString::to_string);
                Self::Unknown(why.unwrap_or_else(|| "nothing was compared".into()))
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, why) = match self {
            Self::Identical => ("identical", ""),
            Self::Proved => ("proved", ""),
            Self::ProvedAt(extents) => return write!(f, "proved at {extents}"),
            Self::Exact => ("exact", ""),
            Self::BitExact(why) => ("bit-exact", &**why),
            Self::Close(why) => ("close", &**why),
            Self::Differs(why) | Self::Unknown(why) => return f.write_str(why),
        };
        f.write_str(name)?;
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}
