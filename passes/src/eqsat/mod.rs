#![doc = include_str!("README.md")]

mod egraph;
mod extract;
mod lift;
pub mod pass;
pub mod prove;
mod replay;
pub mod rules;
pub mod terms;
#[cfg(test)]
mod tests;
pub mod write;
