//! Bytes as an ONNX file.

use graph_opt_ir::structural_eq::identical;
use graph_opt_ir::{Editor, NodeId, text};
use graph_opt_passes::registry::optimise;

use crate::pipeline::keeps;
use crate::read::{exported, model, sound, survives_onnx};

/// Reads the bytes as a model. One that is accepted is written with its own bytes; after an edit that
/// changes nothing it is encoded anew, and read back as the same graph; so is its text form, as far as that
/// has words for it. What `-O` makes of a small one computes the same.
pub fn check(bytes: &[u8]) {
    let Some(mut graph) = model(bytes) else { return };
    assert!(exported(&graph).is_some_and(|b| b == bytes), "unchanged, and written otherwise");
    if let Ok(whole) = text::print_whole(&graph)
        && let Ok(again) = text::parse(&whole)
    {
        sound(&again);
        let once = text::print_whole(&again).expect("it was printed before");
        let twice = text::parse(&once).unwrap_or_else(|e| panic!("{e}\n{once}"));
        assert!(identical(&again, &twice), "{once}");
    }
    let order: Vec<NodeId> = graph.schedule().collect();
    Editor::new(&mut graph).reorder("same order", &order).expect("its own order");
    survives_onnx(&graph);
    keeps(&optimise(), graph);
}
