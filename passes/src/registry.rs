//! All passes, by name.

use crate::devices::split_devices;
#[cfg(feature = "eqsat")]
use crate::eqsat;
use crate::pass::PassInfo;
use crate::{fuse, schedule, simplify, tile};

/// All passes, in the order of the help.
pub const PASSES: &[PassInfo] = &[
    simplify::INFO,
    fuse::pad::INFO,
    fuse::batch_norm::INFO,
    fuse::matmul_add::INFO,
    fuse::zero_add::INFO,
    tile::tile_conv::INFO,
    tile::fuse_tiles::INFO,
    tile::untile::INFO,
    schedule::INFO,
    split_devices::INFO,
    #[cfg(feature = "eqsat")]
    eqsat::pass::INFO,
];

/// What `-O` stands for: all that peers remove while they stay in standard operators.
pub const OPTIMISE: &str =
    "fixpoint(simplify,fuse-pad,drop-zero-add,fold-batch-norm,fuse-matmul-add)";

/// The pass of this name.
pub fn find(name: &str) -> Option<&'static PassInfo> {
    PASSES.iter().find(|p| p.name == name)
}

/// Help for one pass.
pub fn help(info: &PassInfo) -> String {
    let mut s = format!("{} ({})\n  {}\n", info.name, info.exactness, info.summary);
    for o in info.options {
        s.push_str(&format!("    {:<28} {}\n", format!("{}={}", o.name, o.value), o.help));
    }
    s
}
