//! The folder of a split model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use graph_opt_ir::Type;
use graph_opt_passes::devices::files::{Manifest, Wiring};

use crate::failure::{Result, usage};
use crate::model;

/// The folder that `graph-opt split` made.
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// What follows from the manifest.
    pub wiring: Wiring,
}

impl Folder {
    /// Reads the manifest.
    pub fn open(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let file = path.join("manifest.json");
        let at = |e: &dyn std::fmt::Display| usage(format!("{}: {e}", file.display()));
        let text = std::fs::read_to_string(&file).map_err(|e| at(&e))?;
        let manifest: Manifest = serde_json::from_str(&text).map_err(|e| at(&e))?;
        let wiring = Wiring::of(&manifest).map_err(|e| at(&e))?;
        Ok(Self { path, manifest, wiring })
    }

    /// The key file.
    pub fn key(&self, link: &crate::Link) -> PathBuf {
        self.path.join(link.key.as_deref().unwrap_or(crate::key::FILE))
    }

    /// The types of these values, as far as parts make them or read them.
    pub fn types(&self, values: &[String]) -> Result<BTreeMap<String, Type>> {
        let mut types = BTreeMap::new();
        for (i, file) in self.manifest.stages.iter().enumerate() {
            let known = |v: &String| !values.contains(v) || types.contains_key(v);
            if file.outputs.iter().chain(&file.inputs).all(known) {
                continue;
            }
            let graph = model::load(&self.file(i).to_string_lossy())?;
            for &v in graph.outputs().iter().chain(graph.inputs()) {
                let value = graph.value(v);
                types.insert(value.name.to_string(), value.ty.clone());
            }
        }
        Ok(types)
    }

    /// The file of a stage.
    pub fn file(&self, stage: usize) -> PathBuf {
        self.path.join(&self.manifest.stages[stage].file)
    }
}
