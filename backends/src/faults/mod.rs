//! Finding faults: the edit that made a difference ([`bisect`]), the smallest model that shows one
//! ([`reduce`]), and files that let an internal error come again ([`repro`]).

pub mod bisect;
pub mod reduce;
pub mod repro;
