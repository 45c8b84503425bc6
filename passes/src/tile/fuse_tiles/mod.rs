//! `fuse-tiles`: a stretch of the graph runs tile by tile, so that only one tile of its inner values
//! is live at a time.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %V = const random(1)                        : f32[8,3,3,3]
//!   %W = const random(2)                        : f32[4,8,3,3]
//!   %a = Conv %x, %V {pads=[1,1,1,1]}           : f32[1,8,16,16]    ; conv1
//!   %y = Conv %a, %W {pads=[1,1,1,1]}           : f32[1,4,16,16]    ; conv2
//! }
//! ```
//! After `fuse-tiles{grid=2x1 to=conv2}`:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %V = const random(1)                        : f32[8,3,3,3]
//!   %W = const random(2)                        : f32[4,8,3,3]
//!   %b = Slice %x [2: 0..10]                    : f32[1,3,10,16]
//!   %c = Conv %b, %V {pads=[1,1,0,1]}           : f32[1,8,9,16]
//!   %d = Conv %c, %W {pads=[1,1,0,1]}           : f32[1,4,8,16]
//!   %e = Slice %x [2: 6..16]                    : f32[1,3,10,16]
//!   %f = Conv %e, %V {pads=[0,1,1,1]}           : f32[1,8,9,16]
//!   %g = Conv %f, %W {pads=[0,1,1,1]}           : f32[1,4,8,16]
//!   %y = Concat %d, %g {axis=2}                 : f32[1,4,16,16]
//! }
//! ```
//!
//! The order of the nodes is part of the rewriting: each tile runs to its end before the next one
//! starts. `grid` and `to` (and `from`) name one group by hand; with `memory` or `extra-macs` the
//! planner chooses groups, grids, and whether overlaps are recomputed or kept.

mod planned;
mod stretch;

use graph_opt_ir::EditError;

pub use planned::Planned;
pub use stretch::{Axis, Cut, Stretch};

use super::Reuse;
use crate::options::{OptionError, OptionInfo, Options};
use crate::pass::{Exactness, Pass, PassCtx, PassInfo};

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "fuse-tiles",
    summary: "a stretch of the graph runs tile by tile, to need less memory",
    exactness: Exactness::BitExact,
    options: &[
        OptionInfo {
            name: "memory",
            value: "8MiB",
            help: "find the tiles of least extra work whose peak of activations is within this many bytes",
        },
        OptionInfo {
            name: "extra-macs",
            value: "10%",
            help: "find the tiles of least memory within this much extra work",
        },
        OptionInfo {
            name: "front",
            value: "list",
            help: "change nothing, and list the plans that no other one dominates in peak and work",
        },
        OptionInfo {
            name: "max-tiles",
            value: "64",
            help: "most tiles of a group that the planner considers (default 64, and 2048 where tiles share nothing)",
        },
        OptionInfo {
            name: "runtime",
            value: "interpreter|onnxruntime|onnxruntime-default",
            help: "memory model of the planner: parts are views (interpreter, the default), or copies as in ONNX Runtime without reuse and in the order of the file, or a whole session of it with its default options",
        },
        OptionInfo {
            name: "best-effort",
            value: "yes",
            help: "with memory: tile what can be tiled even if some nodes still exceed the budget",
        },
        OptionInfo { name: "partly", value: "yes", help: "deprecated name of best-effort" },
        OptionInfo { name: "grid", value: "5x5", help: "by hand: number of parts along each axis" },
        OptionInfo {
            name: "axes",
            value: "hxw",
            help: "axes of the grid: n, c, d, h, w or numbers (default hxw, or h for one number)",
        },
        OptionInfo {
            name: "split",
            value: "even|ceil",
            help: "remainders are spread, or the last part is shorter (default even)",
        },
        OptionInfo {
            name: "sizes",
            value: "[8,8,3]x[10,9]",
            help: "by hand: sizes of the parts along each axis",
        },
        OptionInfo {
            name: "weights",
            value: "[2,1]x[1,1]",
            help: "by hand: sizes of the parts relative to each other",
        },
        OptionInfo {
            name: "from",
            value: "NODE",
            help: "first node of the group, or a value that it computes (default the start)",
        },
        OptionInfo { name: "to", value: "NODE", help: "last node of the group, or its value" },
        OptionInfo {
            name: "nodes",
            value: "all",
            help: "the group is all nodes that run from the first one to the last (default those on paths between them)",
        },
        OptionInfo {
            name: "reuse",
            value: "recompute|rows|all|checkerboard|exchange",
            help: "overlaps of tiles are recomputed by each of them, kept along the first axis, kept along all axes, handed from every other tile to its neighbours, or computed once and exchanged node by node (default recompute; for the planner, any of the first four)",
        },
    ],
    make,
};

/// The pass `fuse-tiles`, which runs groups of nodes tile by tile.
///
/// ```
/// use graph_opt_passes::Pipeline;
/// use graph_opt_passes::tile::Reuse;
/// use graph_opt_passes::tile::fuse_tiles::{FuseTiles, Planned};
///
/// let tiles = FuseTiles::from(Planned::within(12 << 20).reuse(Reuse::Rows)?);
/// let text = "fuse-tiles{memory=12MiB reuse=rows}";
/// assert_eq!(Pipeline::default().then(tiles).to_string(), text);
/// # Ok::<(), graph_opt_passes::OptionError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub enum FuseTiles {
    /// One group that is named by hand.
    Stretch(Stretch),
    /// The groups that the planner chooses.
    Planned(Planned),
}

impl From<Stretch> for FuseTiles {
    fn from(by_hand: Stretch) -> Self {
        Self::Stretch(by_hand)
    }
}

impl From<Planned> for FuseTiles {
    fn from(planned: Planned) -> Self {
        Self::Planned(planned)
    }
}

fn make(o: &Options) -> Result<Box<dyn Pass>, OptionError> {
    let reuse = o.choice("reuse", &Reuse::ALL.map(|r| (r.name(), r)))?;
    Ok(Box::new(match Planned::of_options(o, reuse)? {
        Some(planned) => FuseTiles::from(planned),
        None => FuseTiles::from(Stretch::of_options(o, reuse)?),
    }))
}

/// Which of these options are given.
fn given<'o>(o: &Options, names: &[&'o str]) -> Vec<&'o str> {
    names.iter().copied().filter(|n| o.get(n).is_some()).collect()
}

impl Pass for FuseTiles {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn options(&self) -> Options {
        match self {
            Self::Stretch(s) => s.options(),
            Self::Planned(p) => p.options(),
        }
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        match self {
            Self::Planned(p) => p.run(cx),
            Self::Stretch(s) => s.run(cx),
        }
    }
}
