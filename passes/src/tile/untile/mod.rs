//! `untile`: recognises tiled operators and restores the whole.
//!
//! Before:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                        : f32[8,3,3,3]
//!   %a = Slice %x [2: 0..9]                     : f32[1,3,9,16]
//!   %b = Conv %a, %W {pads=[1,1,0,1]}           : f32[1,8,8,16]    ; conv1/tile0of2
//!   %c = Slice %x [2: 7..16]                    : f32[1,3,9,16]
//!   %d = Conv %c, %W {pads=[0,1,1,1]}           : f32[1,8,8,16]    ; conv1/tile1of2
//!   %y = Concat %b, %d {axis=2}                 : f32[1,8,16,16]
//! }
//! ```
//! After:
//! ```text
//! graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {
//!   %W = const random(1)                        : f32[8,3,3,3]
//!   %y = Conv %x, %W {pads=[1,1,1,1]}           : f32[1,8,16,16]    ; conv1
//! }
//! ```
//!
//! It guesses the whole from the first and last tile, tiles the guess with the code that writes tiles,
//! and compares. Tiles are replaced only if they are the same, so that a tile that is off by one row
//! stays as it is.

mod compare;
mod guess;

use graph_opt_ir::op::{Class, Op};
use graph_opt_ir::{Edit, EditError, Graph, NodeId};

use crate::options::{OptionError, Options};
use crate::pass::{Exactness, Outcome, Pass, PassCtx, PassInfo};
use guess::Guess;

/// Its entry in the registry.
pub(crate) const INFO: PassInfo = PassInfo {
    name: "untile",
    summary: "recognises tiled convolutions, pools and matrix products and gives back the whole",
    exactness: Exactness::BitExact,
    options: &[],
    make,
};

fn make(_: &Options) -> Result<Box<dyn Pass>, OptionError> {
    Ok(Box::new(Untile))
}

/// The pass `untile`, which replaces tiles by the whole that they were cut from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Untile;

impl Pass for Untile {
    fn name(&self) -> &'static str {
        INFO.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let mut done = 0;
        // Outer Concats of grids come after inner ones in the schedule.
        let all: Vec<NodeId> = cx.graph().schedule().collect();
        for id in all.into_iter().rev() {
            let graph = cx.graph();
            let Some(node) = graph.get_node(id) else { continue };
            if !matches!(node.op, Op::Concat(_)) || !cx.selected(id) || cx.is_done() {
                continue;
            }
            let label = graph.label(id).to_owned();
            if let Some(edit) = untiled(graph, id) {
                cx.apply(&edit)?;
                done += 1;
                cx.remark_on(label, Outcome::Applied, "tiles made whole");
            }
        }
        if done == 0 {
            cx.remark_on("", Outcome::NoMatch, "no Concat of tiles");
        }
        Ok(())
    }
}

/// The edit that replaces the tiles under this Concat by their whole; `None` if they are no tiles.
fn untiled(graph: &Graph, concat: NodeId) -> Option<Edit> {
    let output = graph.node(concat).outputs.first().copied().flatten()?;
    // A grid of two axes is tried before the rows alone.
    [2, 1].into_iter().find_map(|depth| {
        let mut guess = Guess::new(graph, output);
        let (grid, tiles) = guess.grid(concat, depth)?;
        let axes: Vec<Option<usize>> = grid.axes.iter().map(|a| Some(a.0)).collect();
        let result = guess.join(&tiles, &axes)?;
        let node = guess.builder.graph().producer(result)?;
        let class = guess.builder.graph().node(node).op.class();
        // A Concat of elementwise results alone need not come from tiling.
        let quantize = matches!(guess.builder.graph().node(node).op, Op::QuantizeLinear(_));
        if !(quantize || matches!(class, Class::Window | Class::Matmul)) {
            return None;
        }
        guess.check(output, result, &grid)?;
        guess.edit(concat, output, result)
    })
}

/// A name without the `/tile…` that tiling added.
fn whole_name(name: &str) -> String {
    let tile = |s: &str| {
        let s = s.strip_prefix("tile")?;
        let (i, n) = s.split_once("of")?;
        (i.parse::<u64>().is_ok() && n.split('_').all(|n| n.parse::<u64>().is_ok())).then_some(())
    };
    match name.rsplit_once('/') {
        Some((base, last)) if tile(last).is_some() => base.to_owned(),
        _ => name.to_owned(),
    }
}
