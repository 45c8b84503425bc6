//! Tensors as files: `.npy`, `.npz`, `.pb`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use graph_opt_backends::inputs::{Extents, draw, required};
use graph_opt_ir::{DType, Graph, Tensor, onnx};
use npyz::{NpyFile, WriterBuilder};

use crate::failure::{Result, usage};

/// Reads a tensor from a `.npy` file or a TensorProto.
pub fn read(path: &Path) -> Result<Tensor> {
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    match path.extension().and_then(|e| e.to_str()) {
        Some("npy") => {
            let f = File::open(path).map_err(|e| at(e.to_string()))?;
            NpyFile::new(BufReader::new(f)).map_err(|e| e.to_string()).and_then(npy).map_err(at)
        }
        Some("pb") => {
            let bytes = std::fs::read(path).map_err(|e| at(e.to_string()))?;
            onnx::tensor(bytes).map_err(|e| at(e.to_string()))
        }
        _ => Err(at("expected a .npy or .pb file".into())),
    }
}

fn npy<R: std::io::Read>(f: NpyFile<R>) -> std::result::Result<Tensor, String> {
    let dims = f.shape().to_vec();
    if f.order() != npyz::Order::C && dims.len() > 1 {
        return Err("in Fortran order; save it in C order".into());
    }
    let descr = f.dtype().descr();
    let code = descr.trim_matches(|c: char| "'<>|=".contains(c)).to_owned();
    if descr.contains('>') && !code.ends_with('1') {
        return Err("big-endian".into());
    }
    macro_rules! read {
        ($t:ty, $dtype:ident) => {{
            let v = f.into_vec::<$t>().map_err(|e| e.to_string())?;
            let bytes = v.iter().flat_map(|x| x.to_le_bytes()).collect();
            Tensor::from_bytes(DType::$dtype, dims, bytes).map_err(|e| e.to_string())
        }};
    }
    match code.as_str() {
        "f4" => read!(f32, F32),
        "f8" => read!(f64, F64),
        "f2" => read!(npyz::half::f16, F16),
        "i1" => read!(i8, I8),
        "i2" => read!(i16, I16),
        "i4" => read!(i32, I32),
        "i8" => read!(i64, I64),
        "u1" => read!(u8, U8),
        "u2" => read!(u16, U16),
        "u4" => read!(u32, U32),
        "u8" => read!(u64, U64),
        "b1" => {
            let v = f.into_vec::<bool>().map_err(|e| e.to_string())?;
            let bytes = v.into_iter().map(u8::from).collect();
            Tensor::from_bytes(DType::Bool, dims, bytes).map_err(|e| e.to_string())
        }
        _ => Err(format!("element type {descr} is not supported")),
    }
}

/// Writes a tensor as `.npy`; bf16, which it does not know, as f32.
pub fn write(t: &Tensor, path: &Path) -> Result {
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    let mut out = Vec::new();
    let bytes = t.bytes().map_err(|e| at(e.to_string()))?;
    macro_rules! write {
        ($t:ty, $read:expr) => {{
            const N: usize = size_of::<$t>();
            let mut write = || -> std::io::Result<()> {
                let mut w = npyz::WriteOptions::new()
                    .default_dtype()
                    .shape(t.dims())
                    .writer(&mut out)
                    .begin_nd()?;
                for c in bytes.chunks_exact(N) {
                    let mut b = [0; N];
                    b.copy_from_slice(c);
                    #[allow(clippy::redundant_closure_call)]
                    w.push(&($read)(b))?;
                }
                w.finish()
            };
            write().map_err(|e| at(e.to_string()))?;
        }};
    }
    match t.dtype() {
        DType::F32 => write!(f32, f32::from_le_bytes),
        DType::F64 => write!(f64, f64::from_le_bytes),
        DType::F16 => write!(npyz::half::f16, npyz::half::f16::from_le_bytes),
        DType::I8 => write!(i8, i8::from_le_bytes),
        DType::I16 => write!(i16, i16::from_le_bytes),
        DType::I32 => write!(i32, i32::from_le_bytes),
        DType::I64 => write!(i64, i64::from_le_bytes),
        DType::U8 => write!(u8, u8::from_le_bytes),
        DType::U16 => write!(u16, u16::from_le_bytes),
        DType::U32 => write!(u32, u32::from_le_bytes),
        DType::U64 => write!(u64, u64::from_le_bytes),
        DType::Bool => write!(bool, |b: [u8; 1]| b[0] != 0),
        DType::BF16 => {
            let v = t.to_f32s().unwrap_or_default();
            let t = Tensor::f32s(t.dims(), &v).map_err(|e| at(e.to_string()))?;
            return self::write(&t, path);
        }
        other => return Err(at(format!("a tensor of {other} has no .npy form"))),
    }
    crate::model::whole(path, &out)
}

/// Inputs that the user gave by name, and random ones for the rest; `None` if none was given.
pub fn inputs(
    graph: &Graph,
    given: &[(String, Tensor)],
    extents: &Extents,
    seed: u64,
) -> Result<Vec<Tensor>> {
    let wanted = required(graph);
    for (name, _) in given {
        if !wanted.iter().any(|&v| &*graph.value(v).name == name) {
            let names: Vec<&str> = wanted.iter().map(|&v| &*graph.value(v).name).collect();
            return Err(usage(format!("no input is named {name:?}; inputs are {names:?}")));
        }
    }
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

/// `name=FILE`
pub fn parse_input(s: &str) -> std::result::Result<(String, PathBuf), String> {
    // Names may contain '='; files rarely do.
    let (name, file) = s.rsplit_once('=').ok_or("expected name=FILE")?;
    Ok((name.to_owned(), file.into()))
}

/// All inputs of a folder of `NAME.npy` and `NAME.pb` files, or of a `.npz` file, where they may
/// also be named `in:NAME`.
pub fn read_all(path: &Path, graph: &Graph) -> Result<Vec<(String, Tensor)>> {
    let names: Vec<String> =
        required(graph).iter().map(|&v| graph.value(v).name.to_string()).collect();
    let at = |e: String| usage(format!("{}: {e}", path.display()));
    let mut out = Vec::new();
    if path.is_dir() {
        for n in names {
            let base = path.join(n.replace('/', "_"));
            for ext in ["npy", "pb"] {
                let file = PathBuf::from(format!("{}.{ext}", base.display()));
                if file.is_file() {
                    out.push((n.clone(), read(&file)?));
                    break;
                }
            }
        }
        return Ok(out);
    }
    let mut npz = npyz::npz::NpzArchive::open(path).map_err(|e| at(e.to_string()))?;
    for n in names {
        for key in [format!("in:{n}"), n.clone()] {
            let entry = npz.by_name(&key).map_err(|e| at(e.to_string()))?;
            if let Some(file) = entry {
                let t = npy(file).map_err(|e| at(format!("{key}: {e}")))?;
                out.push((n.clone(), t));
                break;
            }
        }
    }
    Ok(out)
}

/// `name=EXTENT`
pub fn parse_dim(s: &str) -> std::result::Result<(String, u64), String> {
    let (name, n) = s.rsplit_once('=').ok_or("expected NAME=EXTENT")?;
    Ok((name.to_owned(), n.parse().map_err(|_| format!("{n:?} is no extent"))?))
}
