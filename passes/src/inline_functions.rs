//! `inline-functions`: calls of the model's functions become the nodes of the functions.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[2,3]) -> (%y) opset 24, com.microsoft 1 {
//!   %y = com.microsoft::QuickGelu %x : f32[2,3]
//! }
//! ```
//! After `inline-functions{operators=yes}`:
//! ```text
//! graph @main(%x: f32[2,3]) -> (%y) opset 24, com.microsoft 1 {
//!   %a = const 1.702  : f32[]
//!   %b = Mul %x, %a   : f32[2,3]
//!   %c = Sigmoid %b   : f32[2,3]
//!   %y = Mul %x, %c   : f32[2,3]
//! }
//! ```
//!
//! With `operators=yes`, operators that graph-opt says as small graphs of others, such as Attention, are
//! replaced as well, so that their parts can be tiled and fused.

use std::collections::HashSet;

use graph_opt_ir::definition::in_place;
use graph_opt_ir::op::Class;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{EditError, EditFault, NodeId};

use crate::options::{OptionError, OptionInfo, Options};
use crate::pass::{Exactness, Outcome, Pass, PassCtx, PassInfo};
use crate::units::count;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "inline-functions",
    summary: "calls of the model's functions become the functions' nodes",
    exactness: Exactness::BitExact,
    options: &[OptionInfo {
        name: "operators",
        value: "no|yes",
        help: "also replace operators that are small graphs of others, such as Attention",
    }],
    make,
};

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let operators = o.choice("operators", &[("no", false), ("yes", true)])?.unwrap_or(false);
    Ok(Box::new(InlineFunctions { operators }))
}

/// Most nodes that are added: functions that call others twice double with each level.
const NODES: usize = 1 << 18;

/// The pass `inline-functions`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct InlineFunctions {
    /// Whether to replace operators with definitions of their own, too.
    pub operators: bool,
}

impl Pass for InlineFunctions {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        match self.operators {
            true => Options::default().with("operators", "yes"),
            false => Options::default(),
        }
    }

    fn exactness(&self) -> Exactness {
        INFO.exactness
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let most = cx.graph().len() + NODES;
        let mut tried: HashSet<NodeId> = HashSet::new();
        let mut done = 0;
        loop {
            let graph = cx.graph();
            let fits = |n: &NodeId| {
                let op = &graph.node(*n).op;
                let calls = graph.function(op).is_some();
                (calls || self.operators && op.class() == Class::Composite) && cx.selected(*n)
            };
            let open = graph.schedule().filter(|n| !tried.contains(n) && fits(n));
            let todo: Vec<NodeId> = open.collect();
            if todo.is_empty() {
                break;
            }
            for n in todo {
                tried.insert(n);
                if cx.graph().len() > most {
                    cx.remark(n, Outcome::Blocked, format!("the graph has {most} nodes already"));
                    continue;
                }
                match in_place(cx.graph(), n, &OpCtx::of(cx.graph(), n), INFO.name) {
                    None => {}
                    Some(Err(why)) => cx.remark(n, Outcome::Blocked, why),
                    Some(Ok(edit)) => match cx.apply(&edit) {
                        Ok(()) => done += 1,
                        Err(EditError { fault: EditFault::Names { .. }, .. }) => {
                            cx.remark(n, Outcome::Blocked, "two names must both stay");
                        }
                        Err(e) => return Err(e),
                    },
                }
                if cx.is_done() {
                    return Ok(());
                }
            }
        }
        match done {
            0 if tried.is_empty() => cx.remark_on("", Outcome::NoMatch, "nothing is called"),
            0 => {}
            _ => cx.remark_on("", Outcome::Applied, format!("{} replaced", count(done, "node"))),
        }
        Ok(())
    }
}
