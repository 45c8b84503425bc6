//! Convolutions, products and pools over random shapes: the bits of the reference interpreter.

use super::*;
use graph_opt_ir::op;

/// Draws small numbers.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// A convolution to try.
#[derive(Debug)]
struct Case {
    x: Vec<u64>,
    w: Vec<u64>,
    op: op::Conv,
}

impl Case {
    fn draw(seed: u64) -> Self {
        let mut d = Draw(seed);
        d.below(2);
        let axes = 1 + d.below(3) as usize;
        let (group, cin) = (1 + d.below(3), 1 + d.below(5));
        let cout = [1, 3, 8, 11, 17][d.below(5) as usize];
        let kernel: Vec<u64> = (0..axes).map(|_| 1 + d.below(4)).collect();
        let mut x = vec![1 + d.below(2), group * cin];
        x.extend(kernel.iter().map(|k| 2 * k + d.below(if axes < 3 { 30 } else { 6 })));
        let mut w = vec![group * cout, cin];
        w.extend(&kernel);
        let op = op::Conv {
            auto_pad: "NOTSET".into(),
            dilations: Some((0..axes).map(|_| 1 + d.below(2) as i64).collect()),
            group: group as i64,
            kernel_shape: None,
            pads: Some((0..2 * axes).map(|_| d.below(3) as i64).collect()),
            strides: Some((0..axes).map(|_| 1 + d.below(3) as i64).collect()),
        };
        Self { x, w, op }
    }

    fn graph(&self, bias: bool) -> Graph {
        let mut b = Builder::new("conv", 17);
        let x = b.input("x", Type::tensor(DType::F32, &self.x));
        let w = b.constant("w", tensor(&self.w, 2));
        let mut operands = vec![x, w];
        if bias {
            operands.push(b.constant("b", tensor(&self.w[..1], 3)));
        }
        let y = b.node("conv", self.op.clone(), &operands).unwrap();
        b.output(y);
        b.finish()
    }
}

#[test]
fn convolutions() {
    let Some(w) = adapter() else { return };
    for seed in 0..60 {
        let c = Case::draw(seed);
        let g = c.graph(seed % 2 == 0);
        agree(&format!("{c:?}"), both(&w, g, &[tensor(&c.x, seed + 100)]), 0.0);
    }
}

#[test]
fn products() {
    let Some(w) = adapter() else { return };
    let matmul = |a: &[u64], b: &[u64]| try_one(&w, op::MatMul {}, 13, &[a, b], &[], 0.0);
    matmul(&[5, 7], &[7, 3]);
    matmul(&[64, 100], &[100, 200]);
    matmul(&[1, 300], &[300, 129]);
    matmul(&[2, 3, 9, 4], &[4, 5]);
    matmul(&[2, 3, 9, 4], &[2, 3, 4, 5]);
    matmul(&[2, 1, 9, 4], &[3, 4, 5]);
    matmul(&[9, 4], &[6, 4, 5]);
    matmul(&[4], &[4, 5]);
    matmul(&[3, 2, 4], &[4]);
    matmul(&[4], &[4]);
    for (seed, &(m, k, n)) in [(1, 40, 50), (7, 1, 9), (20, 33, 130)].iter().enumerate() {
        for t in 0..4 {
            let gemm = op::Gemm {
                alpha: if seed == 0 { 1.0 } else { 0.7 },
                beta: if t % 2 == 0 { 1.0 } else { 0.3 },
                transA: t & 1,
                transB: t >> 1,
                broadcast: 0,
            };
            let a = if t & 1 == 0 { [m, k] } else { [k, m] };
            let b = if t >> 1 == 0 { [k, n] } else { [n, k] };
            try_one(&w, gemm.clone(), 13, &[&a, &b], &[], 0.0);
            for c in [&[m, n][..], &[n], &[m, 1], &[]] {
                try_one(&w, gemm.clone(), 13, &[&a, &b, c], &[], 0.0);
            }
        }
    }
}

#[test]
fn pools() {
    let Some(w) = adapter() else { return };
    for seed in 0..40 {
        let mut d = Draw(seed);
        d.below(2);
        let axes = 1 + d.below(3) as usize;
        let kernel: Vec<i64> = (0..axes).map(|_| 1 + d.below(4) as i64).collect();
        let mut x = vec![1 + d.below(2), 1 + d.below(5)];
        x.extend(kernel.iter().map(|&k| 2 * k as u64 + d.below(12)));
        let pads: Vec<i64> =
            (0..2 * axes).map(|i| d.below(kernel[i % axes] as u64) as i64).collect();
        let strides: Vec<i64> = (0..axes).map(|_| 1 + d.below(3) as i64).collect();
        let dilations: Vec<i64> = (0..axes).map(|_| 1 + d.below(2) as i64).collect();
        let ceil_mode = d.below(2) as i64;
        let (pads, strides, dilations) = (Some(pads), Some(strides), Some(dilations));
        let auto_pad = || "NOTSET".to_owned();
        let max = op::MaxPool {
            auto_pad: auto_pad(),
            ceil_mode,
            dilations: dilations.clone(),
            kernel_shape: kernel.clone(),
            pads: pads.clone(),
            storage_order: 0,
            strides: strides.clone(),
        };
        try_one(&w, max, 19, &[&x], &[], 0.0);
        let average = op::AveragePool {
            auto_pad: auto_pad(),
            ceil_mode,
            count_include_pad: d.below(2) as i64,
            dilations: dilations.clone(),
            kernel_shape: kernel.clone(),
            pads: pads.clone(),
            strides: strides.clone(),
        };
        try_one(&w, average, 19, &[&x], &[], 0.0);
        for p in 1..=3 {
            let lp = op::LpPool {
                auto_pad: auto_pad(),
                ceil_mode,
                dilations: dilations.clone(),
                kernel_shape: kernel.clone(),
                p,
                pads: pads.clone(),
                strides: strides.clone(),
            };
            try_one(&w, lp, 19, &[&x], &[], if p < 3 { 0.0 } else { 64.0 });
        }
    }
}

/// Rows of a convolution, computed from the rows of the input that they need.
#[test]
fn tiles_have_the_bits_of_the_whole() {
    let Some(w) = adapter() else { return };
    for seed in 0..20 {
        let mut c = Case::draw(seed);
        // One axis is cut; the others stay.
        let g = Arc::new(c.graph(true));
        let x = tensor(&c.x, seed);
        let whole = w
            .compile(g.clone())
            .unwrap()
            .run(std::slice::from_ref(&x), g.outputs())
            .unwrap()
            .remove(0);
        let n = c.x[2] as i64;
        let axes = c.x.len() - 2;
        let (pads, k) = (c.op.pads.clone().unwrap(), c.w[2] as i64);
        let (s, d) = (c.op.strides.clone().unwrap()[0], c.op.dilations.clone().unwrap()[0]);
        let out = whole.dims()[2] as i64;
        let (a, b) = (out / 3, out / 3 + (out + 2) / 3);
        let (lo, hi) = (a * s - pads[0], (b - 1) * s - pads[0] + d * (k - 1) + 1);
        let (from, to) = (lo.max(0).min(n - 1), hi.min(n).max(1));
        if from >= to {
            continue;
        }
        let mut p = pads.clone();
        (p[0], p[axes]) = (from - lo, hi - to);
        if p.iter().any(|&p| p < 0) {
            continue;
        }
        c.op.pads = Some(p);
        let part = rows(&x, from, to);
        c.x[2] = (to - from) as u64;
        let g = Arc::new(c.graph(true));
        let tile = w.compile(g.clone()).unwrap().run(&[part], g.outputs()).unwrap().remove(0);
        let want = rows(&whole, a, b);
        assert_eq!(tile.dims(), want.dims(), "{c:?}");
        assert_eq!(tile.bytes().unwrap()[..], want.bytes().unwrap()[..], "{c:?}");
    }
}

/// Part of axis 2.
fn rows(t: &Tensor, from: i64, to: i64) -> Tensor {
    let op = Op::from(op::Slice { starts: None, ends: None, axes: None });
    let operand = |v: i64| Some(Tensor::i64s(&[v]));
    let inputs = [Some(t.clone()), operand(from), operand(to), operand(2)];
    crate::cpu::evaluate(&op, 13, &inputs, 1, u64::MAX).unwrap().remove(0)
}
