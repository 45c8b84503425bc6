//! `graph-opt view`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use graph_opt_passes::analysis::{MemoryModel, model_named};
use graph_opt_passes::blocks::{Extractor, Stretches};
use graph_opt_passes::{ByteSize, count};
use schemars::JsonSchema;
use serde::Serialize;

use crate::answer::Answer;
use crate::dims::Dims;
use crate::explain::Figures;
use crate::failure::{Result, usage};
use crate::report::export::{self, Form};
use crate::report::graph::Kind;
use crate::report::{Document, Fact, Marks, graph, stem};
use crate::table::scaled;
use crate::{model, output};

#[derive(clap::Args)]
pub struct Args {
    /// The model
    model: String,
    /// Where to write it: .html, a page that loads nothing; .svg or .dot, a picture of the graph; .json, for
    /// Google's Model Explorer [default: the model's name with .html, in the working folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Memory model to count by: interpreter, onnxruntime or onnxruntime-default
    #[arg(long, value_name = "RUNTIME", default_value = "interpreter", value_parser = model_named)]
    runtime: Arc<dyn MemoryModel>,
    /// Put the blocks that `graph-opt blocks` lists into boxes
    #[arg(long)]
    blocks: bool,
    #[command(flatten)]
    dims: Dims,
}

/// A model as a picture.
#[derive(Serialize, JsonSchema)]
pub struct Viewed {
    /// The file that was written.
    written: String,
    /// Number of nodes that are drawn, those of bodies and functions included.
    drawn_nodes: usize,
}

pub fn main(args: &Args) -> Result<Answer> {
    let path = args.output.clone();
    let path = path.unwrap_or_else(|| PathBuf::from(format!("{}.html", stem(&args.model))));
    let form = Form::of(&path).ok_or_else(|| {
        usage(format!("{}: pictures are written as .html, .svg, .dot or .json", path.display()))
    })?;
    output::probe(&path)?;
    let graph = model::load(&args.model)?;
    let sized = args.dims.sized(&graph)?;
    let known = &*sized.graph;
    let mut marks = Marks::default();
    if args.blocks {
        for (i, b) in Stretches::default().blocks(known).into_iter().enumerate() {
            let label = format!("block {}", b.name);
            marks.boxes.extend(b.nodes.iter().map(|&n| (n, (Kind::Block, i, label.clone()))));
        }
    }
    let text = match form {
        Form::Page => {
            let mut document = Document::new(format!("view {}", args.model));
            let f = Figures::of(known, &*args.runtime);
            document.facts = vec![
                Fact::new("nodes", f.nodes.to_string()),
                Fact::new("MACs", scaled(f.macs)),
                Fact::new("parameters", scaled(f.parameters)),
                Fact::new(
                    "peak activations",
                    f.peak.map_or_else(|| "unknown".into(), |b| ByteSize(b).to_string()),
                ),
            ];
            document.add("model", known, &marks, &*args.runtime);
            let drawn = document.graphs[0].nodes.len();
            return written(&path, document.page()?.as_bytes(), drawn);
        }
        form => {
            let (picture, _) = graph::picture("model", known, &marks);
            let text = export::text(&picture, form)?;
            (text, picture.nodes.len())
        }
    };
    written(&path, text.0.as_bytes(), text.1)
}

fn written(path: &Path, bytes: &[u8], drawn_nodes: usize) -> Result<Answer> {
    output::whole(path, bytes)?;
    let written = path.display().to_string();
    let text = format!("wrote {written}: {}\n", count(drawn_nodes, "node"));
    Ok(Answer::new(Viewed { written, drawn_nodes }, text))
}
