//! Writing to files: never incompletely, and never over files with data of the model.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::encode::{Place, Spill};
use super::error::{OnnxError, Result};
use super::export::{LIMIT, model};
use super::origin::Origin;
use super::rope::Rope;
use crate::atomic;
use crate::graph::Graph;

/// The implementation of [`super::save`].
pub(super) fn save(g: &Graph, path: &Path) -> Result<()> {
    let io = |source| OnnxError::Io { path: path.into(), source };
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let dir = parent.canonicalize().map_err(io)?;
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
        return Err(io(std::io::ErrorKind::InvalidFilename.into()));
    };
    let sources = sources(g);
    let target = dir.join(name);
    let is_source = |p: &Path| p.canonicalize().is_ok_and(|p| sources.contains(&p));
    if is_source(&target) {
        let what = format!("{} holds data of the model and cannot be its output", path.display());
        return Err(OnnxError::Model(what));
    }
    let home = Origin::of(g).and_then(|o| o.dir.as_deref());
    let same = sources.is_empty() || home == Some(&dir);
    let place = Place { dir: Some(&dir), same, spill: None };
    let rope = model(g, &place)?;
    if rope.len() < LIMIT {
        return put(&rope, &target).map_err(io);
    }
    drop(rope);
    let data = (1..)
        .map(|i| if i == 1 { format!("{name}.data") } else { format!("{name}.{i}.data") })
        .find(|n| !is_source(&dir.join(n)))
        .unwrap_or_default();
    let spill = RefCell::new(Spill { name: data.clone(), data: Rope::default() });
    let place = Place { dir: Some(&dir), same, spill: Some(spill) };
    let rope = model(g, &place)?;
    if rope.len() >= LIMIT {
        return Err(OnnxError::TooLarge(rope.len()));
    }
    if let Some(s) = place.spill {
        put(&s.into_inner().data, &dir.join(data)).map_err(io)?;
    }
    put(&rope, &target).map_err(io)
}

/// Files with external data of the graph.
fn sources(g: &Graph) -> std::collections::BTreeSet<PathBuf> {
    let mut found = std::collections::BTreeSet::new();
    super::each_tensor(g, &mut |t| {
        if let crate::tensor::Data::External { path, .. } = t.data() {
            found.insert(path.to_path_buf());
        }
    });
    for f in g.functions.values() {
        super::each_tensor(&f.body, &mut |t| {
            if let crate::tensor::Data::External { path, .. } = t.data() {
                found.insert(path.to_path_buf());
            }
        });
    }
    found
}

fn put(rope: &Rope, target: &Path) -> std::io::Result<()> {
    atomic::write(target, |mut out| rope.write(&mut out))
}
