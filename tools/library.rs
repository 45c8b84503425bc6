//! A folder of blocks: the model, the variants of its blocks, and a manifest with what they cost.

use std::path::{Path, PathBuf};

use graph_opt_backends::scale::Profile;
use graph_opt_ir::{Graph, ValueId};
use graph_opt_passes::blocks::Block;
use serde::{Deserialize, Serialize};

use crate::failure::{Result, usage};
use crate::judge::Measured;
use crate::{model, output};

/// Name and version of the form of the manifest.
const FORMAT: &str = "graph-opt blocks 1";
/// Name of the manifest in its folder.
pub const MANIFEST: &str = "blocks.json";
/// Name of the model in the folder.
pub const MODEL: &str = "model.onnx";

/// The manifest.
#[derive(Serialize, Deserialize)]
pub struct Library {
    format: String,
    /// The metric by which losses are measured, such as `accuracy`.
    pub metric: String,
    /// The metric of the model as it is.
    pub value: Measured,
    /// Number of samples that variants were fitted to.
    pub fitted_on: usize,
    /// Number of samples that losses were measured on.
    pub measured_on: usize,
    /// Extents of symbolic dimensions for which costs are given.
    pub dims: Vec<(String, u64)>,
    /// What the model costs.
    pub model: Costs,
    /// Largest peak of activations while no block runs, in bytes.
    pub peak_between: u64,
    /// The blocks.
    pub blocks: Vec<Entry>,
}

/// A block.
#[derive(Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Name of the tensor that it reads.
    pub input: String,
    /// Name of the tensor that it gives.
    pub output: String,
    /// Bytes of activations that are live beside the block while it runs.
    pub beside: u64,
    /// Its variants; the first is the block as it is.
    pub variants: Vec<Variant>,
}

/// A variant of a block.
#[derive(Clone, Serialize, Deserialize)]
pub struct Variant {
    /// Share of the units that were removed; `None` if it is the block as it is, or was imported.
    pub sparsity: Option<f64>,
    /// Its file in the folder; `None` if it is the block as it is.
    pub file: Option<String>,
    /// What it costs.
    #[serde(flatten)]
    pub costs: Costs,
    /// What the metric loses if only this block is replaced.
    pub loss: Measured,
    /// Layers that were fitted again, with the share of their variance that is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fitted: Vec<(String, f64)>,
    /// Layers that read removed channels and could not be fitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfitted: Vec<String>,
}

/// What something costs, for one sample.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Costs {
    /// Elements of constants.
    pub parameters: u64,
    /// Bytes of constants.
    pub bytes: u64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Peak of activations, in bytes.
    pub peak: u64,
    /// Seconds of a run on this machine.
    pub seconds: f64,
}

impl From<Profile> for Costs {
    fn from(p: Profile) -> Self {
        let Profile { parameters, bytes, macs, peak, seconds, .. } = p;
        Self { parameters, bytes, macs, peak, seconds }
    }
}

impl Library {
    /// A library without blocks.
    pub fn new(model: Costs) -> Self {
        Self {
            format: FORMAT.into(),
            metric: String::new(),
            value: Measured::default(),
            fitted_on: 0,
            measured_on: 0,
            dims: Vec::new(),
            model,
            peak_between: 0,
            blocks: Vec::new(),
        }
    }

    /// Reads the manifest and the model of a folder.
    pub fn open(folder: &Path) -> Result<(Self, Graph)> {
        let file = folder.join(MANIFEST);
        let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", file.display()));
        let text = std::fs::read_to_string(&file).map_err(|e| {
            at(&format!("{e}; expected a folder that `graph-opt blocks MODEL --data … -o` made"))
        })?;
        let library: Self = serde_json::from_str(&text).map_err(|e| at(&e))?;
        if library.format != FORMAT {
            let found = &library.format;
            return Err(at(&format!("expected the format {FORMAT:?}, found {found:?}")));
        }
        if let Some(b) = library.blocks.iter().find(|b| b.variants.is_empty()) {
            return Err(at(&format!("block {:?} has no variants", b.name)));
        }
        let graph = model::load(&folder.join(MODEL).to_string_lossy())?;
        Ok((library, graph))
    }

    /// Writes the manifest.
    pub fn write(&self, folder: &Path) -> Result {
        let file = folder.join(MANIFEST);
        let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", file.display()));
        let text = serde_json::to_string_pretty(self).map_err(|e| at(&e))?;
        output::whole(&file, (text + "\n").as_bytes())
    }

    /// The blocks in the model, as the manifest names them.
    pub fn blocks(&self, graph: &Graph) -> Result<Vec<Block>> {
        let find = |name: &str| -> Result<ValueId> {
            graph.find_value(name).ok_or_else(|| {
                usage(format!("{MANIFEST} names the value {name:?}, which {MODEL} does not have"))
            })
        };
        let one = |e: &Entry| {
            let block = Block::between(graph, find(&e.input)?, find(&e.output)?);
            block.ok_or_else(|| usage(format!("{MODEL} has no block {:?} any more", e.name)))
        };
        self.blocks.iter().map(one).collect()
    }
}

impl Variant {
    /// The variant as a graph; `None` if it is the block as it is.
    pub fn graph(&self, folder: &Path) -> Result<Option<Graph>> {
        let Some(file) = &self.file else { return Ok(None) };
        let path = Path::new(file);
        // A manifest may come from elsewhere: it names files of its own folder only.
        if path.components().count() != 1 || path.file_name().is_none() {
            return Err(usage(format!(
                "{MANIFEST} names {file:?}, which is no file of its folder"
            )));
        }
        let path: PathBuf = folder.join(path);
        model::load(&path.to_string_lossy()).map(Some)
    }
}
