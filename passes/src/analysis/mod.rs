//! What a graph costs: multiplications, parameters, bytes.

mod cost;
pub mod memory;
mod tileable;

pub use cost::{Cost, cost, node_macs};
pub use memory::{Buffer, Memory, Place, Plan, Unplanned, View, needed, peak, plan};
pub use tileable::{Untileable, untileable};
