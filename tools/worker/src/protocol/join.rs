//! A node that waits for several tensors of a frame.

use std::collections::BTreeMap;

use graph_opt_ir::Tensor;

use super::wire::{Broken, Piece, Slot};

/// What a message leads to.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Nothing yet, or nothing new.
    Wait,
    /// All tensors of a frame are here, in the order of the inputs: [`Join::done`] is due.
    Ready {
        /// The frame.
        sequence: u64,
        /// Its tensors.
        inputs: Vec<Tensor>,
    },
    /// The source tries a frame again that is done here: what came of it was lost later on.
    Repeat {
        /// The frame.
        sequence: u64,
        /// The attempt to answer with.
        attempt: u64,
    },
    /// The message, or what it was the last piece of, is broken. It will come again.
    Broken,
}

/// Joins the inputs of frames on their sequence numbers, and remembers what came of them while the
/// source may ask again. `R` is what comes of a frame.
///
/// The source never has more than a window of frames under way, so when a frame is seen, those a
/// window before it are over. That bounds what is kept, without anybody saying so.
#[derive(Debug)]
pub struct Join<R> {
    inputs: usize,
    window: u64,
    frames: BTreeMap<u64, Frame<R>>,
    /// Frames below this are over.
    floor: u64,
}

#[derive(Debug)]
enum Frame<R> {
    Gathering {
        attempt: u64,
        slots: Vec<Slot>,
    },
    /// All is here, and what comes of it is not known yet.
    Ready {
        attempt: u64,
    },
    Done {
        attempt: u64,
        result: R,
    },
}

impl<R> Join<R> {
    /// A node with so many inputs; the source has at most `window` frames under way.
    pub fn new(inputs: usize, window: u64) -> Self {
        Self { inputs, window: window.max(1), frames: BTreeMap::new(), floor: 0 }
    }

    /// A message on an input.
    pub fn piece(&mut self, input: usize, piece: Piece) -> Step {
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
        if sequence < self.floor || input >= self.inputs {
            return Step::Wait;
        }
        let floor = sequence.saturating_add(1).saturating_sub(self.window);
        if floor > self.floor {
            self.floor = floor;
            self.frames = self.frames.split_off(&floor);
        }
        let fresh = || {
            let slots = (0..self.inputs).map(|_| Slot::Empty).collect();
            Frame::Gathering { attempt, slots }
        };
        let frame = self.frames.entry(sequence).or_insert_with(fresh);
        match frame {
            // Once an attempt: every node on the way answers all pieces of it with one answer.
            Frame::Done { attempt: answered, .. } => {
                if attempt <= *answered {
                    return Step::Wait;
                }
                *answered = attempt;
                Step::Repeat { sequence, attempt }
            }
            Frame::Ready { attempt: latest } => {
                *latest = attempt.max(*latest);
                Step::Wait
            }
            Frame::Gathering { attempt: latest, slots } => {
                *latest = attempt.max(*latest);
                match take(&mut slots[input]) {
                    Err(Broken) => return Step::Broken,
                    Ok(false) => return Step::Wait,
                    Ok(true) => {}
                }
                if !slots.iter().all(|s| matches!(s, Slot::Whole(_))) {
                    return Step::Wait;
                }
                let inputs = std::mem::take(slots).into_iter().filter_map(Slot::tensor).collect();
                *frame = Frame::Ready { attempt: *latest };
                Step::Ready { sequence, inputs }
            }
        }
    }

    /// What came of a frame that was ready; gives the attempt to send it with.
    pub fn done(&mut self, sequence: u64, result: R) -> u64 {
        let attempt = match self.frames.get(&sequence) {
            Some(Frame::Ready { attempt } | Frame::Done { attempt, .. }) => *attempt,
            _ => 0,
        };
        if sequence >= self.floor {
            self.frames.insert(sequence, Frame::Done { attempt, result });
        }
        attempt
    }

    /// What came of a frame, if it is still known.
    pub fn result(&self, sequence: u64) -> Option<&R> {
        match self.frames.get(&sequence) {
            Some(Frame::Done { result, .. }) => Some(result),
            _ => None,
        }
    }

    /// How many frames are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.frames.len()
    }
}
