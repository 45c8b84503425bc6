//! The tests of an exporter or optimizer call the comparison: a proof first, and runs where there is none.
//!
//!     cargo run --example verify_in_tests
#![allow(clippy::print_stdout)] // An example.

use std::error::Error;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Spared, Summary};
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::onnx::{self, Imported};
use graph_opt_ir::text::parse;
use graph_opt_ir::{Graph, infer};

/// A model in ONNX's form, with the types of all values.
fn read(model: &[u8]) -> Result<Arc<Graph>, Box<dyn Error>> {
    let Imported { mut graph, declared, .. } = onnx::import(model.to_vec(), None)?;
    infer::infer_graph(&mut graph, &declared)?;
    Ok(Arc::new(graph))
}

/// Fails unless the models are equal, and says how that is known. This is what a project copies into its tests.
fn assert_equal(original: &[u8], rewritten: &[u8]) -> Result<Summary, Box<dyn Error>> {
    let cpu = Cpu::default();
    // A proof holds for all inputs and weights, and makes runs superfluous. Without one, the models run over a finite
    // field, where nothing is rounded, and in floats.
    let compare =
        Compare { prove: true, spared: Spared::Runs, backends: vec![&cpu], ..Compare::default() };
    let report = compare.run(&read(original)?, &read(rewritten)?)?;
    let worst = report.outputs.into_iter().max_by_key(|o| o.summary.rank());
    let worst = worst.ok_or("the models have no outputs")?;
    if !worst.summary.is_equal() {
        return Err(format!("output {:?}: {:?}", worst.name, worst.summary).into());
    }
    Ok(worst.summary)
}

/// A convolution over 16 rows, by these lines.
fn model(lines: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let graph = parse(&format!(
        "graph @main(%x: f32[1,3,16,16]) -> (%y) opset 13 {{
           %w = const random(1) : f32[8,3,3,3]
           {lines}
         }}"
    ))?;
    let mut bytes = Vec::new();
    onnx::export(&graph, &mut bytes)?;
    Ok(bytes)
}

/// Compares a model with three rewritings of it.
///
/// # Errors
/// If it does not work.
pub fn main() -> Result<(), Box<dyn Error>> {
    let original = model("%y = Conv %x, %w {pads=[1,1,1,1]} : f32[1,8,16,16]")?;

    // The upper and the lower half, each with the row of the other that its window needs.
    let halves = model(
        "%a = Slice %x [2: 0..9]               : f32[1,3,9,16]
         %b = Slice %x [2: 7..16]              : f32[1,3,9,16]
         %p = Conv %a, %w {pads=[1,1,0,1]}     : f32[1,8,8,16]
         %q = Conv %b, %w {pads=[0,1,1,1]}     : f32[1,8,8,16]
         %y = Concat %p, %q {axis=2}           : f32[1,8,16,16]",
    )?;
    let how = assert_equal(&original, &halves)?;
    println!("halves: {how:?}");
    assert_eq!(how, Summary::Proved);

    // The lower half pads where it should read: one row of the result is wrong.
    let wrong = model(
        "%a = Slice %x [2: 0..9]               : f32[1,3,9,16]
         %b = Slice %x [2: 8..16]              : f32[1,3,8,16]
         %p = Conv %a, %w {pads=[1,1,0,1]}     : f32[1,8,8,16]
         %q = Conv %b, %w {pads=[1,1,1,1]}     : f32[1,8,8,16]
         %y = Concat %p, %q {axis=2}           : f32[1,8,16,16]",
    )?;
    let Err(why) = assert_equal(&original, &wrong) else {
        return Err("a wrong model was called equal".into());
    };
    println!("wrong: {why}");
    assert!(why.to_string().starts_with("output \"y\": Differs("), "{why}");

    // Another output is no comparison at all.
    let other = model("%z = Conv %x, %w : f32[1,8,14,14]\n %y = Relu %z : f32[1,8,14,14]")?;
    assert!(assert_equal(&original, &other).is_err());
    Ok(())
}
