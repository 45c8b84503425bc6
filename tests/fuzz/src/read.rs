//! What holds of every graph that a reader accepts.

use graph_opt_ir::onnx::{self, Imported};
use graph_opt_ir::structural_eq::identical;
use graph_opt_ir::verify::verify;
use graph_opt_ir::{Graph, infer, text};

/// Reads a model as the tool does; `None` if it is refused. What is read passes the verifier.
pub fn model(bytes: &[u8]) -> Option<Graph> {
    let Imported { mut graph, declared, .. } = onnx::import(bytes.to_vec(), None).ok()?;
    infer::infer_graph(&mut graph, &declared).ok()?;
    sound(&graph);
    Some(graph)
}

/// Asserts that the graph passes the verifier.
pub fn sound(graph: &Graph) {
    if let Err(violations) = verify(graph) {
        panic!("{}\n{}", violations[0], text::print(graph));
    }
}

/// The graph as ONNX; `None` if the format cannot hold it.
pub fn exported(graph: &Graph) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    onnx::export(graph, &mut bytes).ok()?;
    Some(bytes)
}

/// Asserts that the graph is read back as itself from the ONNX that it is written as.
///
/// # Errors
/// Why it is refused. Texts may say what ONNX forbids; of anything else that is a fault.
pub fn reread(graph: &Graph) -> Result<(), String> {
    let Some(bytes) = exported(graph) else { return Ok(()) };
    let Imported { graph: mut again, declared, .. } =
        onnx::import(bytes, None).map_err(|e| e.to_string())?;
    infer::infer_graph(&mut again, &declared).map_err(|e| e.to_string())?;
    sound(&again);
    assert!(
        identical(graph, &again),
        "read back as another graph:\n{}\n{}",
        text::print(graph),
        text::print(&again)
    );
    Ok(())
}

/// Asserts that the graph can be written as ONNX and read back.
pub fn survives_onnx(graph: &Graph) {
    reread(graph)
        .unwrap_or_else(|e| panic!("refused what was written: {e}\n{}", text::print(graph)));
}
