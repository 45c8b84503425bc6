//! The sink: frames are delivered in order, each once, and then acknowledged.

use std::collections::BTreeMap;

use graph_opt_backends::stages::bytes;
use graph_opt_ir::Tensor;

use super::join::{Join, Step};
use super::wire::{Expected, Piece};
use super::{Ack, Dropped};

/// Puts frames in order.
#[derive(Debug)]
pub struct Order {
    join: Join,
    window: u64,
    /// Frames below this are delivered.
    next: u64,
    /// Those that wait for older ones; the window reaches from `next`.
    waiting: BTreeMap<u64, Vec<Tensor>>,
    outside: u64,
}

/// A frame has come, and an acknowledgement is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    /// The frame.
    pub sequence: u64,
    /// The attempt at it.
    pub attempt: u64,
}

impl Order {
    /// A sink that takes these inputs and has delivered all frames below `next`.
    pub fn new(inputs: Vec<Expected>, window: u64, next: u64) -> Self {
        let (join, waiting) = (Join::new(inputs, window), BTreeMap::new());
        Self { join, window: window.max(1), next, waiting, outside: 0 }
    }

    /// A message on an input. Gives the frame for which an acknowledgement is due, once what
    /// [`Order::due`] gives is delivered.
    pub fn piece(&mut self, input: usize, piece: Piece) -> Option<Got> {
        // The source sends no frame further beyond the first that is not acknowledged.
        if piece.header.sequence >= self.next.saturating_add(self.window) {
            self.outside += 1;
            return None;
        }
        match self.join.piece(input, piece) {
            Step::Wait | Step::Drop => None,
            Step::Repeat { sequence, attempt } => Some(Got { sequence, attempt }),
            Step::Ready { sequence } => {
                let inputs = self.join.begin(sequence);
                let attempt = self.join.done(sequence, Vec::new());
                if sequence >= self.next {
                    self.waiting.extend(inputs.map(|i| (sequence, i)));
                }
                Some(Got { sequence, attempt })
            }
        }
    }

    /// The next frame to deliver, if it is here: [`Order::delivered`] follows.
    pub fn due(&mut self) -> Option<(u64, Vec<Tensor>)> {
        self.waiting.remove(&self.next).map(|t| (self.next, t))
    }

    /// The frame that was due is delivered for good.
    pub fn delivered(&mut self) {
        self.next += 1;
    }

    /// An acknowledgement of a frame.
    pub fn ack(&self, got: Got) -> Ack {
        Ack { next: self.next, attempt: got.attempt, got: Some(got.sequence) }
    }

    /// The answer to a question.
    pub fn answer(&self, attempt: u64) -> Ack {
        Ack { next: self.next, attempt, got: None }
    }

    /// Messages that were dropped.
    pub fn dropped(&self) -> Dropped {
        self.join.dropped + Dropped { outside: self.outside, ..Dropped::default() }
    }

    /// Bytes that are held.
    pub fn held(&self) -> u64 {
        self.join.held() + self.waiting.values().flatten().map(bytes).sum::<u64>()
    }

    /// How many frames wait for older ones.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
