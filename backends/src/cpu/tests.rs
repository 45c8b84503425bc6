//! Whole runs: convolutions against plain loops, tiles against wholes, threads and limits.

use std::sync::Arc;

use graph_opt_ir::{Builder, Graph, Op, Tensor, Type, ValueId, op};

use super::*;

/// Numbers in [-1, 1).
pub(super) fn numbers(n: usize, seed: u64) -> Vec<f32> {
    (0..n)
        .map(|i| (Key::new(seed).with(i as u64).bits >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        .collect()
}

fn tensor(dims: &[u64], seed: u64) -> Tensor {
    Tensor::f32s(dims, &numbers(dims.iter().product::<u64>() as usize, seed)).unwrap()
}

fn run(cpu: &Cpu, g: &Arc<Graph>, inputs: &[Tensor], wanted: &[ValueId]) -> Vec<Tensor> {
    cpu.prepare(g.clone()).unwrap().run(inputs, wanted).unwrap()
}

/// A convolution to try.
#[derive(Clone, Debug)]
struct Case {
    x: Vec<u64>,
    w: Vec<u64>,
    group: i64,
    stride: Vec<i64>,
    dilation: Vec<i64>,
    pads: Vec<i64>,
}

impl Case {
    /// Drawn by the seed: 1 to 3 spatial axes, all attributes.
    fn draw(seed: u64) -> Self {
        let mut i = 0;
        let mut pick = |n: u64| {
            i += 1;
            Key::new(seed).with(i).bits % n
        };
        let axes = 1 + pick(3) as usize;
        let (group, cin, cout) = (1 + pick(3), 1 + pick(4), 1 + pick(9));
        let kernel: Vec<u64> = (0..axes).map(|_| 1 + pick(4)).collect();
        let dilation: Vec<i64> = (0..axes).map(|_| 1 + pick(2) as i64).collect();
        let mut x = vec![1 + pick(2), group * cin];
        x.extend(kernel.iter().map(|k| 2 * k + pick(if axes < 3 { 30 } else { 6 })));
        let mut w = vec![group * cout, cin];
        w.extend(&kernel);
        Self {
            x,
            w,
            group: group as i64,
            stride: (0..axes).map(|_| 1 + pick(3) as i64).collect(),
            dilation,
            pads: (0..2 * axes).map(|_| pick(3) as i64).collect(),
        }
    }

    fn op(&self) -> op::Conv {
        op::Conv {
            auto_pad: "NOTSET".into(),
            dilations: Some(self.dilation.clone()),
            group: self.group,
            kernel_shape: None,
            pads: Some(self.pads.clone()),
            strides: Some(self.stride.clone()),
        }
    }

    fn graph(&self) -> (Arc<Graph>, ValueId) {
        let mut b = Builder::new("conv", 17);
        let x = b.input("x", Type::tensor(DType::F32, &self.x));
        let w = b.constant("w", tensor(&self.w, 2));
        let bias = b.constant("b", tensor(&self.w[..1], 3));
        let y = b.node("conv", self.op(), &[x, w, bias]).unwrap();
        b.output(y);
        (Arc::new(b.finish()), y)
    }

    /// The same in f64, by loops over everything.
    fn plain(&self, x: &[f32], w: &[f32], bias: &[f32]) -> Vec<f64> {
        let axes = self.x.len() - 2;
        let at3 = |v: &[i64], i: usize, none: i64| {
            if i + axes < 3 { none } else { v[i + axes - 3] }
        };
        let us = |v: &[u64]| -> Vec<i64> { v.iter().map(|&d| d as i64).collect() };
        let (xs, ws) = (us(&self.x[2..]), us(&self.w[2..]));
        let get = |i: usize| {
            let (n, k) = (at3(&xs, i, 1), at3(&ws, i, 1));
            let (s, d) = (at3(&self.stride, i, 1), at3(&self.dilation, i, 1));
            let (b, e) = (at3(&self.pads[..axes], i, 0), at3(&self.pads[axes..], i, 0));
            (n, k, s, d, b, (n + b + e - d * (k - 1) - 1) / s + 1)
        };
        let (z, y, r) = (get(0), get(1), get(2));
        let (cin, cout) = (self.w[1] as i64, self.w[0] as i64 / self.group);
        let mut out = vec![];
        for n in 0..self.x[0] as i64 {
            for m in 0..self.w[0] as i64 {
                for oz in 0..z.5 {
                    for oy in 0..y.5 {
                        for ox in 0..r.5 {
                            let mut s = 0.0;
                            for c in 0..cin {
                                for kz in 0..z.1 {
                                    for ky in 0..y.1 {
                                        for kx in 0..r.1 {
                                            let iz = oz * z.2 + kz * z.3 - z.4;
                                            let iy = oy * y.2 + ky * y.3 - y.4;
                                            let ix = ox * r.2 + kx * r.3 - r.4;
                                            let inside = (0..z.0).contains(&iz)
                                                && (0..y.0).contains(&iy)
                                                && (0..r.0).contains(&ix);
                                            if inside {
                                                let ch = n * self.x[1] as i64 + m / cout * cin + c;
                                                let i = ((ch * z.0 + iz) * y.0 + iy) * r.0 + ix;
                                                let j = ((m * cin + c) * z.1 + kz) * y.1 + ky;
                                                let wv = w[(j * r.1 + kx) as usize];
                                                s += f64::from(x[i as usize]) * f64::from(wv);
                                            }
                                        }
                                    }
                                }
                            }
                            out.push(s + f64::from(bias[m as usize]));
                        }
                    }
                }
            }
        }
        out
    }
}

#[test]
fn convolutions_agree_with_plain_loops() {
    for seed in 0..120 {
        let c = Case::draw(seed);
        let (g, y) = c.graph();
        let x = tensor(&c.x, seed + 1000);
        let one = Cpu { threads: 1, ..Cpu::default() };
        let got = run(&one, &g, std::slice::from_ref(&x), &[y]).remove(0);
        let f = |t: &Tensor| t.to_f32s().unwrap();
        let want = c.plain(&f(&x), &f(&tensor(&c.w, 2)), &f(&tensor(&c.w[..1], 3)));
        assert_eq!(got.len(), want.len(), "{c:?}");
        for (a, b) in f(&got).iter().zip(&want) {
            assert!((f64::from(*a) - b).abs() < 1e-4, "{a} {b} in {c:?}");
        }
        // Any number of threads, the same bits.
        let two = run(&Cpu { threads: 3, ..Cpu::default() }, &g, std::slice::from_ref(&x), &[y]);
        assert_eq!(got.bytes().unwrap()[..], two[0].bytes().unwrap()[..], "{c:?}");
        // Unfused differs, but only by rounding.
        let unfused = Cpu { fused: false, ..Cpu::default() };
        let unfused = run(&unfused, &g, &[x], &[y]).remove(0);
        for (a, b) in f(&got).iter().zip(f(&unfused)) {
            assert!((a - b).abs() < 1e-4, "{a} {b} in {c:?}");
        }
    }
}

#[test]
fn what_asks_for_too_much_memory_is_refused() {
    let shape = Tensor::i64s(&[1 << 25, 1 << 25]);
    let fill = Op::from(op::ConstantOfShape { value: None });
    let e = evaluate(&fill, 17, &[Some(shape)], 1, 1 << 30).unwrap_err();
    assert!(matches!(e, RunError::TooLarge { .. }), "{e}");
    let x = Tensor::f32s(&[1], &[1.0]).unwrap();
    let times = Tensor::i64s(&[1 << 50]);
    let tile = Op::from(op::Tile {});
    assert!(evaluate(&tile, 17, &[Some(x), Some(times)], 1, 1 << 30).is_err());
}

#[test]
fn all_that_cannot_run_is_listed_at_once() {
    let mut b = Builder::new("g", 17);
    let x = b.input("x", Type::tensor(DType::F32, &[1]));
    let other = |name: &str| op::Other::new("my.domain", name, vec![]);
    let y = b.node("a", Op::Other(other("Foo")), &[x]).unwrap();
    let z = b.node("b", Op::Other(other("Bar")), &[y]).unwrap();
    b.output(z);
    let e = Cpu::default().prepare(Arc::new(b.finish())).err().unwrap();
    let PrepareError::Unsupported(all) = e else { panic!("{e}") };
    let names: Vec<_> = all.iter().map(|u| u.operator.as_str()).collect();
    assert_eq!(names, ["my.domain.Foo", "my.domain.Bar"]);
}

/// The rows `rows` of the result of a convolution over a two-dimensional image, as a graph that
/// slices the input and pads what the slice lacks.
fn tile(c: &Case, rows: std::ops::Range<i64>) -> (Graph, ValueId) {
    use graph_opt_ir::window::{Span, Window};
    let w = Window {
        kernel: c.w[2] as i64,
        stride: c.stride[0],
        dilation: c.dilation[0],
        begin: c.pads[0],
        end: c.pads[2],
        ceil: false,
        output_padding: 0,
    };
    let need = w.need(Span::new(rows.start, rows.end), c.x[2] as i64);
    let mut b = Builder::new("tile", 17);
    let x = b.input("x", Type::tensor(DType::F32, &c.x));
    let weights = b.constant("w", tensor(&c.w, 2));
    let bias = b.constant("b", tensor(&c.w[..1], 3));
    let at = |name: &str, v: i64, b: &mut Builder| b.constant(name, Tensor::i64s(&[v]));
    let ends = [
        at("starts", need.span.lo, &mut b),
        at("ends", need.span.hi, &mut b),
        at("axes", 2, &mut b),
    ];
    let slice = op::Slice { starts: None, ends: None, axes: None };
    let part = b.node("slice", slice, &[x, ends[0], ends[1], ends[2]]).unwrap();
    let pads = Some(vec![need.begin, c.pads[1], need.end, c.pads[3]]);
    let y = b.node("conv", op::Conv { pads, ..c.op() }, &[part, weights, bias]).unwrap();
    b.output(y);
    (b.finish(), y)
}

#[test]
fn tiles_have_the_bits_of_the_whole_and_are_equal_in_the_field() {
    let mut tried = 0;
    for seed in 0..400 {
        let c = Case::draw(seed);
        if c.x.len() != 4 {
            continue;
        }
        let (whole, y) = c.graph();
        let x = tensor(&c.x, seed + 7);
        let cpu = Cpu::default();
        let all = run(&cpu, &whole, std::slice::from_ref(&x), &[y]).remove(0);
        let Ok(exact) = run_field(&whole, seed, &[], &[y], &cpu) else { panic!("{c:?}") };
        let FieldData::Field(exact) = &exact[0].data else { panic!("not in the field") };
        let [n, m, h, width] = all.dims()[..] else { panic!("rank") };
        let (lo, hi) = (h as i64 / 3, (h as i64 / 3 + 1 + h as i64 / 4).min(h as i64));
        let (g, t) = tile(&c, lo..hi);
        let taken = |i: usize| -> usize {
            let (w, rows) = (width as usize, (hi - lo) as usize);
            let (plane, r) = (i / (rows * w), i % (rows * w));
            plane * h as usize * w + lo as usize * w + r
        };
        let Ok(part) = run_field(&g, seed, &[], &[t], &cpu) else { continue };
        let FieldData::Field(part) = &part[0].data else { panic!("not in the field") };
        assert_eq!(part.len(), (n * m * width) as usize * (hi - lo) as usize);
        assert!(part.iter().enumerate().all(|(i, p)| *p == exact[taken(i)]), "{c:?}");
        let part = run(&cpu, &Arc::new(g), &[x], &[t]).remove(0);
        let (part, all) = (part.to_f32s().unwrap(), all.to_f32s().unwrap());
        let same = |(i, p): (usize, &f32)| p.to_bits() == all[taken(i)].to_bits();
        assert!(part.iter().enumerate().all(same), "{c:?}");
        tried += 1;
    }
    assert!(tried > 80, "{tried}");
}

/// What a graph of one input gives in the field.
fn field(make: impl Fn(&mut Builder, ValueId) -> ValueId) -> Vec<Fp> {
    let mut b = Builder::new("g", 17);
    let x = b.input("x", Type::tensor(DType::F32, &[2, 3, 6, 6]));
    let y = make(&mut b, x);
    b.output(y);
    match run_field(&b.finish(), 9, &[], &[y], &Cpu::default()).unwrap().remove(0).data {
        FieldData::Field(v) => v,
        FieldData::Native(t) => panic!("{t:?}"),
    }
}

#[test]
fn the_field_keeps_the_laws_that_rewrites_rely_on_and_no_others() {
    let relu = |b: &mut Builder, x| b.node("r", op::Relu {}, &[x]).unwrap();
    let pool = |b: &mut Builder, x| {
        let op = op::MaxPool {
            auto_pad: "NOTSET".into(),
            ceil_mode: 0,
            dilations: None,
            kernel_shape: vec![3, 3],
            pads: Some(vec![1; 4]),
            storage_order: 0,
            strides: None,
        };
        b.node("p", op, &[x]).unwrap()
    };
    let twice = |b: &mut Builder, x| {
        let y = relu(b, x);
        relu(b, y)
    };
    assert_eq!(field(relu), field(twice));
    let after = |b: &mut Builder, x| {
        let y = pool(b, x);
        relu(b, y)
    };
    assert_ne!(field(pool), field(after));
    let exp = |b: &mut Builder, x| b.node("e", op::Exp {}, &[x]).unwrap();
    let tanh = |b: &mut Builder, x| b.node("t", op::Tanh {}, &[x]).unwrap();
    assert_ne!(field(exp), field(tanh));
    // Halves are what they say, however they are made; other constants are drawn.
    let scaled = |by: f32, divide: bool| {
        move |b: &mut Builder, x| {
            let c = b.constant("c", Tensor::f32s(&[], &[by]).unwrap());
            let op = if divide {
                Op::from(op::Div { axis: None, broadcast: 0 })
            } else {
                Op::from(op::Mul { axis: None, broadcast: 0 })
            };
            let h = b.node("h", op, &[x, c]).unwrap();
            b.node("s", op::Add { axis: None, broadcast: 0 }, &[h, h]).unwrap()
        }
    };
    let same = |b: &mut Builder, x| b.node("i", op::Identity {}, &[x]).unwrap();
    assert_eq!(field(scaled(2.0, true)), field(same));
    assert_eq!(field(scaled(0.5, false)), field(same));
    assert_ne!(field(scaled(0.3, false)), field(scaled(0.6, true)));
}

#[test]
fn bounds_that_are_attributes_work_in_the_field() {
    let mut b = Builder::new("g", 10);
    let x = b.input("x", Type::tensor(DType::F32, &[40]));
    let y = b.node("y", op::Clip { min: Some(0.0), max: None }, &[x]).unwrap();
    let z = b.node("z", op::Relu {}, &[x]).unwrap();
    b.output(y);
    b.output(z);
    let out = run_field(&b.finish(), 3, &[], &[y, z], &Cpu::default()).unwrap();
    assert_eq!(out[0], out[1]);
}

/// Before version 10 the mask of Dropout is of the type of what it masks, also by the memory plan.
#[test]
fn masks_of_dropout_have_their_type() {
    for (opset, dtype, mask) in [(7, "f16", "f16"), (9, "f32", "f32"), (13, "f32", "bool")] {
        let text = format!(
            "graph @main(%x: {dtype}[2,3]) -> (%z, %m) opset {opset} {{
               %y, %m = Dropout %x : {dtype}[2,3], {mask}[2,3] ; d
               %z = Relu %y : {dtype}[2,3] ; r
             }}"
        );
        let g = Arc::new(graph_opt_ir::text::parse(&text).unwrap());
        let x = crate::inputs::draw(&g, &crate::inputs::Extents::default(), 1).unwrap();
        let made = run(&Cpu::default(), &g, &x, g.outputs());
        assert_eq!(made[1].ty(), g.value(g.outputs()[1]).ty, "{text}");
        let field = run_field(&g, 5, &[], g.outputs(), &Cpu::default()).unwrap();
        assert_eq!(field[1].dtype, made[1].dtype());
        let native = matches!(field[1].data, FieldData::Native(_));
        assert_eq!(native, mask == "bool", "{text}");
    }
}

/// Loops have a limit, whatever they say of themselves.
#[test]
fn endless_loops_end() {
    let g = graph_opt_ir::text::parse(
        "graph @g(%x: f32[1]) -> (%y) opset 13 {
           %k = const 1 : bool[]
           %y = Loop _, %k, %x {body=graph @b(%i: i64[], %c: bool[], %s: f32[1]) -> (%d, %o) {
             %d = Identity %c : ?
             %o = Loop _, %c, %s {body=graph @in(%j: i64[], %e: bool[], %t: f32[1]) -> (%f, %p) {
               %f = Identity %e : ?
               %p = Identity %t : ?
             }} : ?
           }} : ?
         }",
    )
    .unwrap();
    let p = Cpu::default().prepared(Arc::new(g.clone())).unwrap();
    let x = Tensor::f32s(&[1], &[1.0]).unwrap();
    let why = p.run(&[x], g.outputs()).unwrap_err().to_string();
    assert!(why.contains("1048576 turns"), "{why}");
}

/// ONNX quantizes `f32` so; of other types, the kernel's scale has another size than the plan has room for.
#[test]
fn results_of_other_types_than_planned_are_refused() {
    let text = "graph @g(%x: f16[2,4]) -> (%y, %s, %z) opset 18 {
                  %y, %s, %z = DynamicQuantizeLinear %x : ?, ?, ?
                }";
    let g = Arc::new(graph_opt_ir::text::parse(text).unwrap());
    let x = Tensor::random(graph_opt_ir::DType::F16, &[2, 4], 1).unwrap();
    let run = Cpu::default().prepare(g.clone()).unwrap().run(&[x], g.outputs());
    let why = run.unwrap_err().to_string();
    assert!(why.contains("s is f16, and was planned as f32[]"), "{why}");
}
