//! A node that waits for several tensors of a frame.

use std::collections::BTreeMap;

use graph_opt_backends::stages::bytes;
use graph_opt_ir::Tensor;

use super::Dropped;
use super::wire::{Broken, Expected, Piece, Slot};

/// What a message leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing yet, or nothing new.
    Wait,
    /// All tensors of a frame are here: [`Join::begin`] is due.
    Ready {
        /// The frame.
        sequence: u64,
    },
    /// The source tries a frame again that is done here: what came of it was lost later on.
    Repeat {
        /// The frame.
        sequence: u64,
        /// The attempt to answer with.
        attempt: u64,
    },
    /// The message is dropped. If it is needed, it will come again.
    Drop,
}

/// Joins the inputs of frames on their sequence numbers, and remembers what came of them while the
/// source may ask again.
///
/// The source never has more than a window of frames under way, so when a frame is seen, those a
/// window before it are over. That bounds what is kept, as only members say which frames there are.
#[derive(Debug)]
pub struct Join {
    inputs: Vec<Expected>,
    window: u64,
    frames: BTreeMap<u64, Frame>,
    /// Frames below this are over.
    floor: u64,
    /// Messages that were dropped.
    pub dropped: Dropped,
}

#[derive(Debug)]
struct Frame {
    /// The latest at it.
    attempt: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Gathering(Vec<Slot>),
    Ready(Vec<Tensor>),
    /// What comes of it is not known yet.
    Running,
    /// What came of it.
    Done(Vec<Tensor>),
}

impl Join {
    /// A node that takes these inputs; the source has at most `window` frames under way.
    pub fn new(inputs: Vec<Expected>, window: u64) -> Self {
        let dropped = Dropped::default();
        Self { inputs, window: window.max(1), frames: BTreeMap::new(), floor: 0, dropped }
    }

    /// A message on an input.
    pub fn piece(&mut self, input: usize, piece: Piece) -> Step {
        if !self.inputs.get(input).is_some_and(|e| e.admits(&piece)) {
            self.dropped.broken += 1;
            return Step::Drop;
        }
        let (sequence, attempt) = (piece.header.sequence, piece.header.attempt);
        self.arrived(input, sequence, attempt, |slot| slot.take(piece))
    }

    /// A tensor that is here, on an input.
    pub fn whole(&mut self, input: usize, sequence: u64, attempt: u64, tensor: &Tensor) -> Step {
        self.arrived(input, sequence, attempt, |slot| {
            *slot = Slot::Whole(tensor.clone());
            Ok(true)
        })
    }

    fn arrived(
        &mut self,
        input: usize,
        sequence: u64,
        attempt: u64,
        take: impl FnOnce(&mut Slot) -> Result<bool, Broken>,
    ) -> Step {
        if sequence < self.floor {
            self.dropped.outside += 1;
            return Step::Drop;
        }
        let floor = sequence.saturating_add(1).saturating_sub(self.window);
        if floor > self.floor {
            self.floor = floor;
            self.frames = self.frames.split_off(&floor);
        }
        let fresh = || {
            let slots = self.inputs.iter().map(|_| Slot::Empty).collect();
            Frame { attempt, state: State::Gathering(slots) }
        };
        let frame = self.frames.entry(sequence).or_insert_with(fresh);
        let newer = attempt > frame.attempt;
        frame.attempt = attempt.max(frame.attempt);
        match &mut frame.state {
            // Once an attempt: every node on the way answers all pieces of it with one answer.
            State::Done(_) if newer => Step::Repeat { sequence, attempt },
            State::Done(_) | State::Ready(_) | State::Running => Step::Wait,
            State::Gathering(slots) => {
                match slots.get_mut(input).map_or(Err(Broken), take) {
                    Err(Broken) => {
                        self.dropped.broken += 1;
                        return Step::Drop;
                    }
                    Ok(false) => return Step::Wait,
                    Ok(true) => {}
                }
                if !slots.iter().all(|s| matches!(s, Slot::Whole(_))) {
                    return Step::Wait;
                }
                let inputs = std::mem::take(slots).into_iter().filter_map(Slot::tensor).collect();
                frame.state = State::Ready(inputs);
                Step::Ready { sequence }
            }
        }
    }

    /// The oldest frame that is ready.
    pub fn ready(&self) -> Option<u64> {
        self.frames.iter().find(|(_, f)| matches!(f.state, State::Ready(_))).map(|(s, _)| *s)
    }

    /// The inputs of a frame that is ready, in order: [`Join::done`] follows.
    pub fn begin(&mut self, sequence: u64) -> Option<Vec<Tensor>> {
        let frame = self.frames.get_mut(&sequence)?;
        match std::mem::replace(&mut frame.state, State::Running) {
            State::Ready(inputs) => Some(inputs),
            other => {
                frame.state = other;
                None
            }
        }
    }

    /// What came of a frame that was begun; gives the attempt to send it with.
    pub fn done(&mut self, sequence: u64, result: Vec<Tensor>) -> u64 {
        let Some(frame) = self.frames.get_mut(&sequence) else { return 0 };
        frame.state = State::Done(result);
        frame.attempt
    }

    /// What came of a frame, if it is still known.
    pub fn result(&self, sequence: u64) -> Option<&[Tensor]> {
        match &self.frames.get(&sequence)?.state {
            State::Done(result) => Some(result),
            _ => None,
        }
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        let frame = |f: &Frame| match &f.state {
            State::Gathering(slots) => slots.iter().map(Slot::held).sum(),
            State::Ready(all) | State::Done(all) => all.iter().map(bytes).sum(),
            State::Running => 0,
        };
        self.frames.values().map(frame).sum()
    }

    /// How many frames are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.frames.len()
    }
}
