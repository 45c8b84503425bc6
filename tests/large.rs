//! Models with weights beside them: how often they are read, and by what. Their sizes do not matter, as
//! nothing here is timed; `python/large.py` measures memory and time with gigabytes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::tensor::{Data, TensorError};
use graph_opt_ir::{Builder, DType, Graph, Tensor, Type, onnx, op};
use regex::Regex;

/// Extent of the square weights, of 1 MiB each.
const N: u64 = 512;
/// Products one after the other.
const LAYERS: u64 = 6;
/// Bytes of all weights.
const WEIGHTS: u64 = LAYERS * N * N * 4;

/// A chain of products over weights in `w.data`.
fn chain(dir: &Path) -> Graph {
    let all = Tensor::random(DType::F32, &[LAYERS * N, N], 3).unwrap().bytes().unwrap();
    std::fs::write(dir.join("w.data"), &*all).unwrap();
    // As import has it.
    let path = Arc::new(dir.join("w.data").canonicalize().unwrap());
    let len = N * N * 4;
    let mut b = Builder::new("chain", 17);
    let mut x = b.input("x", Type::tensor(DType::F32, &[1, N]));
    for i in 0..LAYERS {
        let data = Data::External { path: path.clone(), offset: i * len, len };
        let w = b.constant(&format!("w{i}"), Tensor::new(DType::F32, vec![N, N], data).unwrap());
        let op = op::Gemm { alpha: 0.01, beta: 1.0, transA: 0, transB: 1, broadcast: 0 };
        x = b.node(&format!("fc{i}"), op, &[x, w]).unwrap();
        x = b.node(&format!("relu{i}"), op::Relu {}, &[x]).unwrap();
    }
    b.output(x);
    b.finish()
}

/// A folder with the model as a file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        onnx::save(&chain(dir.path()), dir.path().join("m.onnx")).unwrap();
        assert!(dir.path().join("m.onnx").metadata().unwrap().len() < 1 << 16);
        Self(dir)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command, and how often it read the weights.
    fn run(&self, args: &[&str], exit: i32) -> (Output, f64) {
        let o = Command::new(env!("CARGO_BIN_EXE_graph-opt"))
            .args(args)
            .current_dir(self.0.path())
            .env("RUST_LOG", "graph_opt=info")
            .env("NO_COLOR", "1")
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&o.stderr).into_owned();
        assert_eq!(o.status.code(), Some(exit), "{args:?}: {err}");
        let read = Regex::new(r"(\d+) bytes of external data read").unwrap();
        let read = read.captures(&err).unwrap_or_else(|| panic!("{args:?}: {err}"));
        (o, read[1].parse::<f64>().unwrap() / WEIGHTS as f64)
    }
}

const CLUSTER: &str = r#"
[[device]]
name = "a"
memory = "MEMORY"
macs-per-second = 1e9
[[device]]
name = "b"
memory = "MEMORY"
macs-per-second = 1e9
[default-link]
bandwidth = "1Gbit/s"
latency = "1ms"
"#;

#[test]
fn weights_are_read_once_or_not_at_all() {
    let p = Place::new();
    let reads = |args: &[&str]| p.run(args, 0).1;
    assert_eq!(reads(&["inspect", "m.onnx"]), 0.0);
    assert_eq!(reads(&["opt", "m.onnx", "-p", "", "-o", "same.onnx"]), 0.0);
    // Common subexpressions are found by digests.
    assert_eq!(reads(&["opt", "m.onnx", "-O", "-o", "o.onnx"]), 1.0);
    // Weights of some rows are stretches of the file, which tiles refer to.
    let tile = |axis: &str, to: &str| {
        let pipeline = format!("tile-conv{{axis={axis} parts=2}}");
        let read = reads(&["opt", "m.onnx", "-p", &pipeline, "-o", to]);
        (read, p.at(to).metadata().unwrap().len() < 1 << 16)
    };
    assert_eq!(tile("c-out", "rows.onnx"), (0.0, true));
    // Those of some columns are copies.
    assert_eq!(tile("c-in", "columns.onnx"), (1.0, false));
    // The whole, its parts, and parts that the prover cuts itself, have digests of their own.
    assert!(reads(&["verify", "m.onnx", "rows.onnx"]) <= 4.0);
    assert_eq!(reads(&["verify", "m.onnx", "same.onnx"]), 1.0);
    assert_eq!(reads(&["run", "m.onnx"]), 1.0);
    std::fs::write(p.at("fits.toml"), CLUSTER.replace("MEMORY", "4MiB")).unwrap();
    assert_eq!(reads(&["plan", "m.onnx", "--cluster", "fits.toml", "-o", "plan.json"]), 0.0);
    // The stages, and the whole model with annotations.
    assert_eq!(reads(&["split", "m.onnx", "--plan", "plan.json", "-o", "stages"]), 2.0);
    std::fs::write(p.at("small.toml"), CLUSTER.replace("MEMORY", "2MiB")).unwrap();
    let (o, read) = p.run(&["plan", "m.onnx", "--cluster", "small.toml"], 4);
    let err = String::from_utf8_lossy(&o.stderr);
    assert!(err.contains("weights take 6.00 MiB, but all devices together have 4.00 MiB"), "{err}");
    assert_eq!(read, 0.0);
}

/// Constants that are cut where their elements are one stretch.
#[test]
fn parts_of_external_constants_stay_in_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let g = chain(dir.path());
    let t = g.values().find_map(|(_, v)| v.constant()).unwrap().clone();
    let whole = t.bytes().unwrap();
    let part = t.part(3 * N, vec![2, N]).unwrap();
    assert!(
        matches!(part.data(), Data::External { offset, len, .. } if (*offset, *len) == (3 * N * 4, 2 * N * 4))
    );
    let row = (N * 4) as usize;
    assert_eq!(*part.bytes().unwrap(), whole[3 * row..5 * row]);
    let inside = Tensor::from_bytes(DType::F32, vec![2, N], whole[3 * row..5 * row].to_vec());
    assert_eq!(part.digest(), inside.unwrap().digest());
    // In memory likewise, from the same elements.
    let held = Tensor::from_bytes(DType::F32, vec![N, N], whole.to_vec()).unwrap();
    assert_eq!(held.part(3 * N, vec![2, N]).unwrap(), part);
    assert_eq!(held.digest(), t.digest());
    for t in [&t, &held] {
        let e = t.part(N * N - 1, vec![2]).unwrap_err();
        assert!(matches!(e, TensorError::Length { need: 8, have: 4, .. }), "{e}");
        assert!(t.part(u64::MAX / 2, vec![2]).is_err());
        // Short runs and long ones.
        for len in [8, 8192] {
            let found = t.runs([16u64, 100_000].into_iter(), len).unwrap();
            assert_eq!(found, [&whole[16..16 + len], &whole[100_000..100_000 + len]].concat());
            assert!(t.runs(std::iter::once(N * N * 4 - 4), len).is_err());
            assert!(t.runs(std::iter::once(u64::MAX), len).is_err());
        }
    }
    // A file that is shorter than it was says so, and is not equal to what it was.
    std::fs::write(dir.path().join("w.data"), [0; 100]).unwrap();
    assert!(t.bytes().unwrap_err().to_string().contains("w.data"));
    let again = t.reshaped(vec![N, N]).unwrap();
    assert_ne!(again.digest(), held.digest());
}

#[test]
fn weights_that_are_not_kept_are_read_when_they_are_needed() {
    let dir = tempfile::tempdir().unwrap();
    let g = Arc::new(chain(dir.path()));
    let x = Tensor::random(DType::F32, &[1, N], 5).unwrap();
    let x = std::slice::from_ref(&x);
    let run = |keep: u64, key: Option<u64>| {
        let p = Cpu { keep, ..Cpu::default() }.prepared_with(g.clone(), key).unwrap();
        let all = p.run(x, g.outputs()).unwrap();
        assert_eq!(p.run_measured(x).unwrap().0, all);
        // Not by the memory plan.
        let value = g.node(g.schedule().next().unwrap()).outputs[0].unwrap();
        assert_eq!(p.run(x, &[value, g.outputs()[0]]).unwrap()[1], all[0]);
        all
    };
    for key in [None, Some(7)] {
        let all = run(u64::MAX, key);
        assert!([0, 2 << 20].iter().all(|&keep| run(keep, key) == all));
    }
    assert_ne!(run(0, None), run(0, Some(7)));
    let prepared = |keep: u64| Cpu { keep, ..Cpu::default() }.prepared(g.clone()).unwrap();
    let (all, none) = (prepared(u64::MAX), prepared(0));
    std::fs::remove_file(dir.path().join("w.data")).unwrap();
    assert!(all.run(x, g.outputs()).is_ok());
    let e = none.run(x, g.outputs()).unwrap_err().to_string();
    assert!(e.contains("fc0") && e.contains("w.data"), "{e}");
}
