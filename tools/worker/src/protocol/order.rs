//! The sink: frames are delivered in order, each once, and then acknowledged.

use std::collections::BTreeMap;

use graph_opt_ir::Tensor;

use super::Ack;
use super::join::{Join, Step};
use super::wire::Piece;

/// Puts frames in order.
#[derive(Debug)]
pub struct Order {
    join: Join<()>,
    /// Frames below this are delivered.
    next: u64,
    waiting: BTreeMap<u64, Vec<Tensor>>,
    broken: u64,
}

impl Order {
    /// A sink with so many inputs that has delivered all frames below `next`.
    pub fn new(inputs: usize, window: u64, next: u64) -> Self {
        Self { join: Join::new(inputs, window), next, waiting: BTreeMap::new(), broken: 0 }
    }

    /// A message on an input. Gives the frame for which an acknowledgement is due, once what
    /// [`Order::due`] gives is delivered.
    pub fn piece(&mut self, input: usize, piece: Piece) -> Option<u64> {
        match self.join.piece(input, piece) {
            Step::Wait => None,
            Step::Broken => {
                self.broken += 1;
                None
            }
            Step::Repeat { sequence, .. } => Some(sequence),
            Step::Ready { sequence, inputs } => {
                self.join.done(sequence, ());
                if sequence >= self.next {
                    self.waiting.insert(sequence, inputs);
                }
                Some(sequence)
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

    /// An acknowledgement, for a frame or for none.
    pub fn ack(&self, got: Option<u64>) -> Ack {
        Ack { next: self.next, got }
    }

    /// How many frames wait for older ones.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many messages were broken.
    pub fn broken(&self) -> u64 {
        self.broken
    }
}
