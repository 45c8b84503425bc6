//! stub
use crate::options::*;
use crate::pass::*;
/// Info
pub const INFO: PassInfo = PassInfo {
    name: "simplify",
    summary: "",
    exactness: Exactness::BitExact,
    options: &[],
    make: |_| Err(OptionError("stub".into())),
};
