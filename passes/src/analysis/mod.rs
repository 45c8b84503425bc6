//! What a graph costs: multiplications, parameters, bytes.

mod cost;
mod memory;
mod tileable;

pub use cost::{Cost, cost, node_macs};
pub use memory::{Memory, peak};
pub use tileable::{Untileable, untileable};
