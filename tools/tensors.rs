//! Tensors as files: `.npy`, `.npz`, `.pb`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use graph_opt_backends::inputs::{Extents, draw, draw_one, required};
use graph_opt_ir::{Datum, Graph, Tensor, Type, ValueId, onnx};

use crate::failure::{Result, usage};
use crate::input::unread;
use crate::{npy, output};

/// The largest input that is read.
fn most(expected: Option<&Type>) -> u64 {
    // Of known extents, what the interpreter may hold at once; else less, as files can be packed.
    let known = expected.and_then(Type::bytes).is_some();
    if known { graph_opt_backends::cpu::DEFAULT_MAX_BYTES } else { 1 << 29 }
}

/// Reads a tensor from a `.npy` file or a TensorProto; of this type, if it is known.
pub fn read(path: &Path, expected: Option<&Type>) -> Result<Tensor> {
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            let f = File::open(path).map_err(|e| unread(path, &e))?;
            npy::read(BufReader::new(f), most(expected), expected).map_err(at)
        }
        Some("pb") => {
            let bytes = std::fs::read(path).map_err(|e| unread(path, &e))?;
            onnx::tensor(bytes).map_err(|e| at(e.to_string()))
        }
        _ => Err(at("expected a .npy or .pb file, or a picture (.png, .jpg or .jpeg)".into())),
    }
}

/// Reads an input that the user gave by its name.
pub fn read_input(graph: &Graph, name: &str, path: &Path) -> Result<Datum> {
    let input = graph.inputs().iter().map(|&v| graph.value(v)).find(|v| *v.name == *name);
    read_datum(path, input.map(|v| &v.ty))
}

/// Reads an input; of this type, if it is known. A sequence is a SequenceProto, an optional an OptionalProto;
/// both may be a folder or a `.npz` file of tensors that are numbered from 0.
fn read_datum(path: &Path, expected: Option<&Type>) -> Result<Datum> {
    let Some(ty @ (Type::Sequence(of) | Type::Optional(of))) = expected else {
        return read(path, expected).map(Datum::Tensor);
    };
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    match path.extension().and_then(|e| e.to_str()) {
        Some("pb") => {
            let bytes = std::fs::read(path).map_err(|e| unread(path, &e))?;
            onnx::datum(bytes, ty).map_err(|e| at(e.to_string()))
        }
        _ if matches!(ty, Type::Optional(_)) => read_datum(path, Some(of)),
        Some("npz") => {
            let file = File::open(path).map_err(|e| unread(path, &e))?;
            let mut npz =
                zip::ZipArchive::new(BufReader::new(file)).map_err(|e| at(e.to_string()))?;
            let mut all = Vec::new();
            loop {
                let name = format!("{}.npy", all.len());
                let entry = match npz.by_name(&name) {
                    Err(zip::result::ZipError::FileNotFound) => break,
                    entry => entry.map_err(|e| at(format!("{name}: {e}")))?,
                };
                let t = npy::read(entry, most(Some(of)), Some(of));
                all.push(t.map_err(|e| at(format!("{name}: {e}")))?);
            }
            // Nothing else may be there, or a misnamed tensor would be lost.
            if all.len() != npz.len() {
                return Err(at("expected tensors named 0, 1 and so on".into()));
            }
            Ok(Datum::Sequence(all))
        }
        _ if path.is_dir() => {
            let file = |i: usize| path.join(format!("{i}.npy"));
            let there = (0..).map(file).take_while(|f| f.is_file());
            let all = there.map(|f| read(&f, Some(of))).collect::<Result<_>>()?;
            Ok(Datum::Sequence(all))
        }
        _ => Err(at(format!("expected a .pb or .npz file or a folder, for {ty}"))),
    }
}

/// Writes a tensor as `.npy`; types that it does not know, in wider ones.
pub fn write(t: &Tensor, path: &Path) -> Result {
    let bytes = npy::write(t).map_err(|e| usage(format!("{}: {e}", path.display())))?;
    output::whole(path, &bytes)
}

/// Writes a result and says where: a sequence as a folder of tensors that are numbered from 0; nothing for
/// an optional that holds nothing.
pub fn write_datum(d: &Datum, path: &Path) -> Result<Option<PathBuf>> {
    match d {
        Datum::Tensor(t) => write(t, path).map(|()| Some(path.into())),
        Datum::Absent => Ok(None),
        Datum::Sequence(all) => {
            let dir = path.with_extension("");
            std::fs::create_dir_all(&dir).map_err(|e| output::failed(&dir, &e))?;
            let file = |i: usize| dir.join(format!("{i}.npy"));
            for (i, t) in all.iter().enumerate() {
                write(t, &file(i))?;
            }
            // What an earlier run left would be read as more elements.
            for old in (all.len()..).map(file).take_while(|f| f.is_file()) {
                std::fs::remove_file(&old).map_err(|e| output::failed(&old, &e))?;
            }
            Ok(Some(dir))
        }
    }
}

/// As [`inputs`], of models that also read sequences and optionals: those must be given.
pub fn data(
    graph: &Graph,
    given: &[(String, Datum)],
    extents: &Extents,
    seed: u64,
) -> Result<Vec<Datum>> {
    let wanted = required(graph);
    let of = |v: ValueId| given.iter().find(|g| *g.0 == *graph.value(v).name).map(|g| &g.1);
    if wanted.iter().all(|&v| graph.value(v).ty.inner().is_none()) {
        let tensors: Option<Vec<_>> =
            given.iter().map(|(n, d)| Some((n.clone(), d.tensor()?.clone()))).collect();
        if let Some(tensors) = tensors {
            let all = inputs(graph, &tensors, extents, seed)?;
            return Ok(all.into_iter().map(Datum::Tensor).collect());
        }
    }
    known(graph, &wanted, given.iter().map(|g| &*g.0))?;
    let one = |(i, &v): (usize, &ValueId)| match of(v) {
        Some(d) => Ok(d.clone()),
        None => {
            let (value, seed) = (graph.value(v), seed);
            draw_one(&value.name, &value.ty, extents, seed, i).map(Datum::Tensor).map_err(usage)
        }
    };
    wanted.iter().enumerate().map(one).collect()
}

/// Refuses names that are not those of inputs.
pub fn known<'a>(
    graph: &Graph,
    wanted: &[ValueId],
    given: impl Iterator<Item = &'a str>,
) -> Result<()> {
    for name in given {
        if !wanted.iter().any(|&v| &*graph.value(v).name == name) {
            let names: Vec<&str> = wanted.iter().map(|&v| &*graph.value(v).name).collect();
            return Err(usage(format!("no input is named {name:?}; inputs are {names:?}")));
        }
    }
    Ok(())
}

/// Inputs that the user gave by name, and random ones for the rest; `None` if none was given.
pub fn inputs(
    graph: &Graph,
    given: &[(String, Tensor)],
    extents: &Extents,
    seed: u64,
) -> Result<Vec<Tensor>> {
    let wanted = required(graph);
    known(graph, &wanted, given.iter().map(|g| &*g.0))?;
    // Extents that the given inputs fix hold for the others too.
    let mut extents = extents.clone();
    for &v in &wanted {
        let value = graph.value(v);
        if let (Some(dims), Some((_, t))) =
            (value.ty.dims(), given.iter().find(|g| *g.0 == *value.name))
        {
            for (d, n) in dims.iter().zip(t.dims()) {
                if let graph_opt_ir::Dim::Param(p) = d {
                    extents.0.entry(p.to_string()).or_insert(*n);
                }
            }
        }
    }
    if wanted.iter().all(|&v| given.iter().any(|g| *g.0 == *graph.value(v).name)) {
        return Ok(wanted
            .iter()
            .filter_map(|&v| given.iter().find(|g| *g.0 == *graph.value(v).name))
            .map(|g| g.1.clone())
            .collect());
    }
    let drawn = draw(graph, &extents, seed).map_err(usage)?;
    Ok(wanted
        .iter()
        .zip(drawn)
        .map(|(&v, d)| {
            given.iter().find(|g| *g.0 == *graph.value(v).name).map_or(d, |g| g.1.clone())
        })
        .collect())
}

/// All inputs of a folder of `NAME.npy` and `NAME.pb` files, or of a `.npz` file, where they may
/// also be named `in:NAME`.
pub fn read_all(path: &Path, graph: &Graph) -> Result<Vec<(String, Tensor)>> {
    let wanted = required(graph).into_iter().map(|v| graph.value(v));
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    let mut out = Vec::new();
    if path.is_dir() {
        for v in wanted {
            let base = path.join(v.name.replace('/', "_"));
            for ext in ["npy", "pb"] {
                let file = PathBuf::from(format!("{}.{ext}", base.display()));
                if file.is_file() {
                    out.push((v.name.to_string(), read(&file, Some(&v.ty))?));
                    break;
                }
            }
        }
        return Ok(out);
    }
    let file = File::open(path).map_err(|e| unread(path, &e))?;
    let mut npz = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| at(e.to_string()))?;
    for v in wanted {
        for key in [format!("in:{}", v.name), v.name.to_string()] {
            // Unpacked only as far as the input's type needs.
            let entry = match npz.by_name(&format!("{key}.npy")) {
                Err(zip::result::ZipError::FileNotFound) => continue,
                entry => entry.map_err(|e| at(format!("{key}: {e}")))?,
            };
            let t = npy::read(entry, most(Some(&v.ty)), Some(&v.ty));
            out.push((v.name.to_string(), t.map_err(|e| at(format!("{key}: {e}")))?));
            break;
        }
    }
    Ok(out)
}
