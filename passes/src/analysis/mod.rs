//! The cost of a graph: multiply-accumulates, parameters, memory.

mod cost;
mod cuts;
pub mod memory;
mod tileable;

#[cfg(feature = "eqsat")]
pub(crate) use cost::macs_of;
pub use cost::{Cost, cost, node_macs};
pub use cuts::{articulation_points, is_sent};
pub use memory::{
    Buffer, Interpreter, Memory, MemoryModel, MemoryPlan, OnnxRuntime, OnnxRuntimeDefault, Place,
    Session, UnknownRuntime, UnknownSize, View, model_named, needed, peak, plan, plan_for,
};
pub use tileable::{Untileable, WholeAxis, uncut};
