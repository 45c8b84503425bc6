//! `simplify`: what can be removed without changing a bit of the answer.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,8,4,4]) -> (%y) opset 13 {
//!   %i = Identity %x                   : f32[1,8,4,4]
//!   %s = Shape %i                      : i64[4]
//!   %r = Reshape %i, %s                : f32[1,8,4,4]
//!   %a = Slice %r [1: 0..6]            : f32[1,6,4,4]
//!   %b = Slice %a [1: 2..4]            : f32[1,2,4,4]
//!   %y = Relu %b                       : f32[1,2,4,4]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,8,4,4]) -> (%y) opset 13 {
//!   %b = Slice %x [1: 2..4]            : f32[1,2,4,4]
//!   %y = Relu %b                       : f32[1,2,4,4]
//! }
//! ```
//!
//! Names of inputs and outputs stay. A constant is folded only where the file does not grow by it.

mod branch;
mod constants;
mod cse;
mod data_movement;
mod dead;
mod extents;
pub(crate) mod fold;
pub(crate) mod identity;
mod reshape;
mod strides;

use graph_opt_ir::{Edit, EditError, EditFault};

use fold::Folding;

use crate::options::{OptionError, Options};
use crate::pass::{Change, Data, Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::count;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "simplify",
    summary: "constant folding that never grows the file, dead code, common subexpressions, \
              identities, shape arithmetic, normal form of data movements",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(Simplify))
}

/// Most rounds until nothing changes; each removes at least one node.
const ROUNDS: usize = 30;

/// The pass `simplify`, which removes and merges nodes until nothing changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Simplify;

impl Pass for Simplify {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn in_functions(&self) -> bool {
        true
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let mut total = [0usize; 8];
        let before = cx.graph().len();
        for _ in 0..ROUNDS {
            let round = [
                constants::sweep(cx)?,
                fold::sweep(cx, Folding::Smaller)?,
                identity::sweep(cx)?,
                data_movement::sweep(cx)?,
                reshape::sweep(cx)?,
                cse::sweep(cx)?,
                dead::sweep(cx)?,
                branch::sweep(cx)?,
            ];
            for (t, r) in total.iter_mut().zip(round) {
                *t += r;
            }
            if round == [0; 8] || cx.is_done() {
                break;
            }
        }
        if total == [0; 8] {
            cx.remark_on("", Outcome::NoEffect, "nothing to simplify");
            return Ok(());
        }
        let [lifted, folded, identities, layouts, targets, merged, dead, branches] = total;
        let after = cx.graph().len();
        let all = [
            (lifted + folded, "folded"),
            (identities, "without effect"),
            (layouts + targets, "data movements joined"),
            (merged, "merged"),
            (dead, "dead"),
            (branches, "with a constant condition"),
        ];
        let made = all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
        let made: Vec<String> = made.collect();
        let message = format!("{} to {after}: {}", count(before, "node"), made.join(", "));
        let data = Data::Nodes(Change { before: before as u64, after: after as u64 });
        cx.remark_with("", Outcome::Applied, message, data);
        Ok(())
    }
}

/// Whole numbers that are known ahead of time: constants, and values that follow from extents.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold;

impl Pass for Fold {
    fn name(&self) -> &'static str {
        "fold"
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        for _ in 0..ROUNDS {
            if constants::sweep(cx)? + fold::sweep(cx, Folding::Shapes)? == 0 || cx.is_done() {
                break;
            }
        }
        Ok(())
    }
}

/// Applies an edit that may turn out to be impossible because two names must both stay.
pub(crate) fn attempt(cx: &mut PassCtx<'_, '_>, edit: &Edit) -> Result<usize, EditError> {
    match cx.apply(edit) {
        Ok(()) => Ok(1),
        Err(EditError { fault: EditFault::Names { .. }, .. }) => Ok(0),
        Err(e) => Err(e),
    }
}
