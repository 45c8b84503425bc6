//! Loading and saving models in all their forms.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

use graph_opt_backends::zoo;
use graph_opt_ir::onnx::{self, Imported, OnnxError};
use graph_opt_ir::verify::verify;
use graph_opt_ir::{Graph, infer, structural_eq, text};

use crate::failure::{Failure, Kind, Result, say, unsupported, usage};
use crate::input::unread;
use crate::{host, output};

/// Most bytes that are read from standard input.
const LIMIT: u64 = 2 << 30;

/// Loads a model and infers its types. Remarks go to standard error.
pub fn load(name: &str) -> Result<Graph> {
    let start = Instant::now();
    let graph = read(name)?;
    tracing::info!("{name}: {} nodes, {:.3} s", graph.len(), start.elapsed().as_secs_f64());
    Ok(graph)
}

fn read(name: &str) -> Result<Graph> {
    if let Some(zoo) = name.strip_prefix("zoo:") {
        if zoo.is_empty() {
            let list: String =
                zoo::NAMES.iter().map(|(n, what)| format!("zoo:{n:<16} {what}\n")).collect();
            return Err(Failure::new(Kind::Done, list));
        }
        return zoo::build(zoo).map_err(usage);
    }
    let imported = if host::holds(name) {
        let held = host::model(name);
        let held = held.ok_or_else(|| usage(format!("no model {name} is held in memory")))?;
        onnx::import(held.to_vec(), None)
    } else if name == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes);
        read.map_err(|e| usage(format!("standard input: {e}")))?;
        if bytes.starts_with(b"graph @") || bytes.starts_with(b"//") {
            return parse(name, &bytes);
        }
        onnx::import(bytes, None)
    } else if Path::new(name).extension().is_some_and(|e| e == "gir") {
        let bytes = std::fs::read(name).map_err(|e| unread(Path::new(name), &e))?;
        return parse(name, &bytes);
    } else {
        onnx::load(name)
    };
    let Imported { mut graph, declared, remarks } = imported.map_err(|e| match e {
        // It names its file.
        OnnxError::Io { path, source } => unread(&path, &source),
        e => usage(format!("{name}: {e}")),
    })?;
    for r in remarks {
        say(format!("{name}: {r}"));
    }
    let wrong =
        infer::infer_graph(&mut graph, &declared).map_err(|e| usage(format!("{name}: {e}")))?;
    for v in wrong {
        let v = graph.value(v);
        say(format!("{name}: the declared shape of {:?} is wrong; it is {}", v.name, v.ty));
    }
    if let Err(v) = verify(&graph) {
        return Err(usage(format!("{name}: {}", v[0])));
    }
    Ok(graph)
}

fn parse(name: &str, bytes: &[u8]) -> Result<Graph> {
    let s = std::str::from_utf8(bytes).map_err(|e| usage(format!("{name}: {e}")))?;
    text::parse(s).map_err(|e| usage(format!("{name}: {e}")))
}

/// Saves a model, as IR text with all its constants if the name ends in `.gir`, to standard output if
/// it is `-`.
pub fn save(graph: &Graph, name: &str) -> Result {
    if name == "-" {
        let mut bytes = Vec::new();
        onnx::export(graph, &mut bytes).map_err(unsupported)?;
        return output::bytes(&bytes);
    }
    if host::holds(name) {
        let mut bytes = Vec::new();
        onnx::export(graph, &mut bytes).map_err(unsupported)?;
        host::with(|h| h.written.insert(name.to_owned(), bytes.into()));
        return Ok(());
    }
    if Path::new(name).extension().is_some_and(|e| e == "gir") {
        let text = text::print_whole(graph).map_err(usage)?;
        // The text form has no words for some types.
        match text::parse(&text) {
            Ok(again) if structural_eq::identical(graph, &again) => {}
            other => {
                let why = other
                    .err()
                    .map_or("it would be read back as another one".into(), |e| e.to_string());
                return Err(unsupported(format!(
                    "{name}: the text form cannot hold this model ({why}); write .onnx"
                )));
            }
        }
        return output::whole(Path::new(name), text.as_bytes());
    }
    save_onnx(graph, Path::new(name))
}

/// Saves a model as ONNX.
pub fn save_onnx(graph: &Graph, path: &Path) -> Result {
    onnx::save(graph, path).map_err(|e| match e {
        OnnxError::TooLarge(_) => unsupported(e),
        OnnxError::Io { path, source } => output::failed(&path, &source),
        e => usage(e),
    })
}
