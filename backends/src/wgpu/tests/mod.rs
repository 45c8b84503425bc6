//! Kernels against the reference interpreter, and tiles against wholes.

mod kernels;
mod nets;
mod operators;
mod shaders;

use std::sync::{Arc, Mutex, OnceLock};

use graph_opt_ir::{Builder, DType, Graph, Op, Tensor, Type, ValueId, text};

use super::*;
use crate::cpu::Cpu;

/// The adapter, opened once. Without one, tests that need it say so and do nothing, unless
/// `GRAPH_OPT_REQUIRE_ADAPTER` is 1.
fn adapter() -> Option<Wgpu> {
    static OPENED: OnceLock<Mutex<Option<Wgpu>>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let filter = std::env::var("GRAPH_OPT_ADAPTER").ok();
        match Wgpu::with_adapter(filter.as_deref()) {
            Ok(w) => Mutex::new(Some(w)),
            Err(e) if std::env::var("GRAPH_OPT_REQUIRE_ADAPTER").is_ok_and(|v| v == "1") => {
                panic!("{e}")
            }
            Err(e) => {
                eprintln!("SKIPPED: tests of the wgpu backend did not run: {e}");
                Mutex::new(None)
            }
        }
    });
    opened.lock().unwrap().clone()
}

/// The reference interpreter in the mode whose folds round as the adapter's.
fn reference(w: &Wgpu) -> Cpu {
    Cpu { fused: w.fused().unwrap().folds_fused(), ..Cpu::default() }
}

/// Numbers in [-scale, scale).
fn numbers(n: usize, seed: u64, scale: f32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        (s >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..8).for_each(|_| _ = next());
    (0..n).map(|_| next() * scale).collect()
}

fn tensor(dims: &[u64], seed: u64) -> Tensor {
    Tensor::f32s(dims, &numbers(dims.iter().product::<u64>() as usize, seed, 1.0)).unwrap()
}

/// Runs on both backends and gives all outputs of both, after checking that nothing fell back.
fn both(w: &Wgpu, g: Graph, inputs: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    let g = Arc::new(g);
    let compiled = w.compile(g.clone()).unwrap();
    let got =
        compiled.run(inputs, g.outputs()).unwrap_or_else(|e| panic!("{e}\n{}", text::print(&g)));
    assert_eq!(compiled.fallbacks(), [], "{}", text::print(&g));
    let want = reference(w).prepare(g.clone()).unwrap().run(inputs, g.outputs()).unwrap();
    (got, want)
}

/// Distance in units in the last place of the larger; 0 for equal bits and for two NaN.
fn ulps(a: f32, b: f32) -> f64 {
    if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    if !(a.is_finite() && b.is_finite()) {
        return f64::INFINITY;
    }
    let m = a.abs().max(b.abs()).max(f32::MIN_POSITIVE);
    let ulp = f64::from(f32::from_bits(m.to_bits() + 1)) - f64::from(m);
    (f64::from(a) - f64::from(b)).abs() / ulp
}

/// Fails unless the outputs of both backends have the same types and are within `most` units in
/// the last place of each other; 0 asks for equal bits.
fn agree(what: &str, (got, want): (Vec<Tensor>, Vec<Tensor>), most: f64) {
    assert_eq!(got.len(), want.len());
    for (a, b) in got.iter().zip(&want) {
        assert_eq!(a.ty(), b.ty(), "{what}");
        let (x, y) = (a.to_f32s().unwrap(), b.to_f32s().unwrap());
        for (i, (x, y)) in x.iter().zip(&y).enumerate() {
            assert!(ulps(*x, *y) <= most, "{what}: element {i} is {x:e} instead of {y:e}");
        }
    }
}

/// A graph of one node over these floating-point inputs.
fn one(op: impl Into<Op>, opset: i64, dims: &[&[u64]], ints: &[&[i64]]) -> Graph {
    let mut b = Builder::new("one", opset);
    let mut operands: Vec<ValueId> = dims
        .iter()
        .enumerate()
        .map(|(i, d)| b.input(&format!("x{i}"), Type::tensor(DType::F32, d)))
        .collect();
    for (i, v) in ints.iter().enumerate() {
        operands.push(b.constant(&format!("c{i}"), Tensor::i64s(v)));
    }
    let y = b.node("node", op, &operands).unwrap();
    b.output(y);
    b.finish()
}

/// Runs one node over random inputs on both backends.
fn try_one(w: &Wgpu, op: impl Into<Op>, opset: i64, dims: &[&[u64]], ints: &[&[i64]], most: f64) {
    let op = op.into();
    let what = format!("{op:?} of {dims:?} {ints:?}");
    let g = one(op, opset, dims, ints);
    let inputs: Vec<Tensor> =
        dims.iter().enumerate().map(|(i, d)| tensor(d, 7 + i as u64)).collect();
    agree(&what, both(w, g, &inputs), most);
}
