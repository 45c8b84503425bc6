#![doc = include_str!("README.md")]

mod certificate;
pub mod check;
mod egraph;
mod error;
mod extract;
mod lift;
pub mod pass;
pub mod prove;
pub mod rules;
pub mod terms;
#[cfg(test)]
mod tests;
pub mod write;

pub use error::{CertificateError, EqualityError, NoProof, WriteError};
