//! What a graph costs: multiplications, parameters, bytes.

mod cost;
pub mod memory;
mod tileable;

#[cfg(feature = "eqsat")]
pub(crate) use cost::macs_of;
pub use cost::{Cost, cost, node_macs};
pub use memory::{
    Buffer, Interpreter, Memory, MemoryModel, OnnxRuntime, Place, Plan, UnknownRuntime,
    UnknownSize, View, model_named, needed, peak, plan, plan_for,
};
pub use tileable::{Untileable, untileable};
