//! How no frame is lost on an engine that loses messages: state machines that know nothing of it.
//!
//! The source keeps a window of frames under way and tries each again until the sink acknowledges
//! it. Messages may be lost, doubled and overtaken, and any node may be restarted with an empty
//! memory:
//!
//! - A node joins what it receives on the sequence number. Frames that are done are answered again
//!   from memory, once for each attempt of the source, so that repeats do not multiply.
//! - A restarted stage knows nothing, and gets all it needs with the next attempt. A restarted
//!   source asks the sink where it stands; a restarted sink knows from its own record.
//! - A frame is acknowledged when it and all before it are delivered for good.
//! - Nodes keep at most a window of frames; the source sends none beyond.

pub mod join;
pub mod order;
pub mod window;
pub mod wire;

#[cfg(test)]
mod tests;

/// What the sink says to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// All frames below this are delivered.
    pub next: u64,
    /// The frame that has just come, if one has.
    pub got: Option<u64>,
}
