//! The typed graph IR of graph-opt.
//!
//! # Design
//! Each operator has two rules, each written once: the shape rule ([`infer`]: from types of operands to
//! types of results) and the region rule ([`region`]: from a region of a result to the region of each
//! operand that it needs). Tiling, fusing, splitting over devices, costs and proofs are derived from the
//! two, so most passes do not name operators.
#![forbid(unsafe_code)]

pub mod atomic;
mod body;
mod build;
mod datum;
pub mod definition;
mod digest;
pub mod edit;
mod entity;
mod extract;
pub mod graph;
pub mod infer;
pub mod layout_params;
pub mod names;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod op;
pub mod op_context;
pub mod region;
pub mod resize;
mod shape;
mod sparse;
pub mod structural_eq;
pub mod tensor;
pub mod text;
pub mod verify;
pub mod window;

pub use build::Builder;
pub use datum::Datum;
pub use digest::{Digest, Hasher};
pub use edit::{Edit, EditError, EditFault, Editor, Ref};
pub use entity::{NodeId, ValueId};
pub use extract::{ExtractError, extract, keep};
pub use graph::{Def, Graph, Meta, Node, Use, Value};
pub use op::{Attr, Attrs, Op};
pub use shape::{DType, Dim, TensorType, Type};
pub use sparse::Sparse;
pub use tensor::Tensor;
pub use window::Span;
