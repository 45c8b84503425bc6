//! How no frame is lost on an engine that loses messages: state machines that know nothing of it.
//!
//! The source keeps a window of frames under way and tries each again until the sink acknowledges
//! it. Messages may be lost, doubled, overtaken, forged, recorded and sent again, and any node may be
//! restarted with an empty memory:
//!
//! - A node hears only members ([`seal`]), and believes no message more than the plan's types allow
//!   ([`wire::Expected`]).
//! - A node joins what it receives on the sequence number. Frames that are done are answered again
//!   from memory, once for each attempt of the source, so that repeats do not multiply.
//! - A restarted stage knows nothing, and gets all it needs with the next attempt. A restarted
//!   source asks the sink where it stands; a restarted sink knows from its own record.
//! - A frame is acknowledged when it and all before it are delivered for good.
//! - Nodes keep at most a window of frames; the source sends none beyond. What lies outside of the
//!   window is dropped, and counted.

use std::fmt;

pub mod join;
pub mod order;
pub mod seal;
pub mod window;
pub mod wire;

#[cfg(test)]
mod tests;

/// The source asks the sink where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// An attempt before all others of this start of the source.
    pub attempt: u64,
    /// Frames in all, if there is an end.
    pub total: Option<u64>,
}

/// What the sink says to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// All frames below this are delivered.
    pub next: u64,
    /// The attempt that this answers, of a frame or of a question.
    pub attempt: u64,
    /// The frame that has just come, if one has.
    pub got: Option<u64>,
}

/// Messages that were dropped, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Their MAC is not that of a member on this edge in this run.
    pub forged: u64,
    /// Of frames that are over or not due, or of attempts that are.
    pub outside: u64,
    /// They contradict the plan's types, or what has come before.
    pub broken: u64,
}

impl std::ops::Add for Dropped {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Self {
            forged: self.forged + o.forged,
            outside: self.outside + o.outside,
            broken: self.broken + o.broken,
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { forged, outside, broken } = self;
        write!(
            f,
            "messages dropped: {forged} without a valid MAC, {outside} outside of the window, {broken} \
             against the plan's types"
        )
    }
}
