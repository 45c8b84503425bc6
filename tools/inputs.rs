//! The option `--input`: inputs from files of tensors and from pictures.

use std::path::{Path, PathBuf};

use graph_opt_backends::inputs::{Extents, required};
use graph_opt_ir::{Datum, Graph, Tensor};

use crate::failure::{Result, say, unsupported, usage};
use crate::pictures::{Frame, Images, is_picture};
use crate::tensors::{known, read_all, read_input};

/// Inputs from files, alike in all commands.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Inputs")]
pub struct Inputs {
    /// Inputs from files: NAME=FILE for one (.npy, or a TensorProto as .pb), or a .npz file or a folder of
    /// NAME.npy and NAME.pb for several; others are drawn at random. A sequence is a SequenceProto, or a .npz
    /// file or folder of tensors 0, 1 and so on. A picture (.png, .jpg) needs no name where one input is for
    /// pictures; several of one name are a batch
    #[arg(long = "input", alias = "inputs", value_name = "NAME=FILE|FILE.npz|DIR", value_parser = parse_input)]
    inputs: Vec<Source>,
    #[command(flatten)]
    images: Images,
}

/// A file that inputs come from.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    One(String, PathBuf),
    Several(PathBuf),
    /// For the one input that is for pictures.
    Picture(PathBuf),
}

impl Inputs {
    /// The inputs of the graph that are given, with their names, with these extents for symbolic dimensions.
    /// Sequences and optionals are refused.
    pub fn read(&self, graph: &Graph, extents: &Extents) -> Result<Vec<(String, Tensor)>> {
        let one = |(name, d): (String, Datum)| match d {
            Datum::Tensor(t) => Ok((name, t)),
            other => Err(unsupported(format!("input {name:?} of type {}", other.ty()))),
        };
        self.read_data(graph, extents)?.into_iter().map(one).collect()
    }

    /// The inputs of the graph that are given, with their names, with these extents for symbolic dimensions.
    pub fn read_data(&self, graph: &Graph, extents: &Extents) -> Result<Vec<(String, Datum)>> {
        let mut all = Vec::new();
        let mut pictures: Vec<(String, Vec<&Path>)> = Vec::new();
        let mut add = |name: String, path| match pictures.iter_mut().find(|p| p.0 == name) {
            Some((_, paths)) => paths.push(path),
            None => pictures.push((name, vec![path])),
        };
        for source in &self.inputs {
            match source {
                Source::Picture(path) => add(for_pictures(graph, path, extents)?, path),
                Source::One(name, path) if is_picture(path) => add(name.clone(), path),
                Source::One(name, path) => {
                    all.push((name.clone(), read_input(graph, name, path)?));
                }
                Source::Several(path) => {
                    let found = read_all(path, graph)?;
                    if found.is_empty() {
                        let why = "no input of the model is there";
                        return Err(usage(format!("{}: {why}", path.display())));
                    }
                    let names: Vec<&str> = found.iter().map(|(n, _)| n.as_str()).collect();
                    say(format!("{}: inputs {}", path.display(), names.join(", ")));
                    all.extend(found.into_iter().map(|(n, t)| (n, Datum::Tensor(t))));
                }
            }
        }
        if pictures.is_empty() && self.images.is_given() {
            return Err(usage("options --image-… are for pictures, and no --input is one"));
        }
        let wanted = required(graph);
        known(graph, &wanted, pictures.iter().map(|p| &*p.0))?;
        for (name, files) in pictures {
            let value = wanted.iter().map(|&v| graph.value(v)).find(|v| *v.name == *name);
            let Some(value) = value else { continue };
            let t = self.images.tensor(&files, &name, &value.ty, extents)?;
            all.push((name, Datum::Tensor(t)));
        }
        Ok(all)
    }
}

/// The one input that may be for pictures, or the only one.
fn for_pictures(graph: &Graph, path: &Path, extents: &Extents) -> Result<String> {
    let wanted = required(graph);
    let mut names: Vec<&str> = Vec::new();
    for v in wanted.iter().map(|&v| graph.value(v)) {
        if wanted.len() == 1 || Frame::may_be(&v.name, &v.ty, extents) {
            names.push(&v.name);
        }
    }
    match names[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(usage(format!("{}: no input of the model is for pictures", path.display()))),
        _ => Err(usage(format!(
            "{}: inputs {names:?} may be for pictures; say which, as in --input {}={}",
            path.display(),
            names[0],
            path.display()
        ))),
    }
}

/// `NAME=FILE`, or a file or folder with several inputs, or a picture.
fn parse_input(s: &str) -> std::result::Result<Source, String> {
    // Names may contain '='; files rarely do.
    let alone = Path::new(s);
    let there = alone.is_file() || !s.contains('=');
    let npz = alone.extension().is_some_and(|e| e == "npz");
    if alone.is_dir() || npz && there {
        return Ok(Source::Several(alone.into()));
    }
    if is_picture(alone) && there {
        return Ok(Source::Picture(alone.into()));
    }
    match s.rsplit_once('=') {
        Some((name, file)) => Ok(Source::One(name.to_owned(), file.into())),
        None => {
            Err("expected NAME=FILE, a picture, or a .npz file or a folder that is there".into())
        }
    }
}
