//! Random graphs run by their memory plan and without one: the same bits.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_ir::op::{self, Op};
use graph_opt_ir::text::parse;
use graph_opt_ir::{Builder, DType, Graph, Tensor, Type, ValueId};
use graph_opt_passes::analysis::plan;

/// A small generator, so that the cases are the same everywhere.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

struct Random {
    d: Draw,
    b: Builder,
    dtype: DType,
    all: Vec<ValueId>,
}

impl Random {
    fn dims(&self, v: ValueId) -> Vec<u64> {
        self.b.graph().value(v).ty.extents().unwrap()
    }

    fn weights(&mut self, dims: &[u64]) -> ValueId {
        let t = Tensor::random(self.dtype, dims, self.d.below(100) as u64).unwrap();
        self.b.constant("w", t)
    }

    fn ints(&mut self, v: &[i64]) -> ValueId {
        self.b.constant("i", Tensor::i64s(v))
    }

    /// A recent value of at most a few elements more than it differs in.
    fn like(&mut self, x: ValueId, axis: Option<usize>) -> ValueId {
        let dims = self.dims(x);
        let fits = |v: &ValueId| {
            let e = self.dims(*v);
            e.len() == dims.len() && (0..e.len()).all(|i| Some(i) == axis || e[i] == dims[i])
        };
        let near: Vec<ValueId> = self.all.iter().rev().copied().filter(fits).take(4).collect();
        self.d.pick(&near)
    }

    fn window(&mut self, x: ValueId) -> (Op, Vec<ValueId>) {
        let c = self.dims(x)[1];
        let rank = self.dims(x).len() - 2;
        let k = self.d.pick(&[1u64, 3]);
        let auto_pad = || "NOTSET".to_owned();
        let stride = if self.d.below(4) == 0 { 2 } else { 1 };
        let (pads, strides) =
            (Some(vec![k as i64 / 2; 2 * rank]), Some(vec![stride; rank]).filter(|_| stride > 1));
        let kernel_shape = vec![k as i64; rank];
        let mut shape = vec![c, c];
        shape.extend(vec![k; rank]);
        match self.d.below(5) {
            0 => {
                let op = op::MaxPool {
                    auto_pad: auto_pad(),
                    ceil_mode: 0,
                    dilations: None,
                    kernel_shape,
                    pads,
                    storage_order: 0,
                    strides,
                };
                (op.into(), vec![x])
            }
            1 => {
                let count_include_pad = self.d.below(2) as i64;
                let op = op::AveragePool {
                    auto_pad: auto_pad(),
                    ceil_mode: 0,
                    count_include_pad,
                    dilations: None,
                    kernel_shape,
                    pads,
                    strides,
                };
                (op.into(), vec![x])
            }
            2 => {
                let op = op::ConvTranspose {
                    auto_pad: auto_pad(),
                    dilations: None,
                    group: 1,
                    kernel_shape: None,
                    output_padding: None,
                    output_shape: None,
                    pads,
                    strides: None,
                };
                let w = self.weights(&shape);
                (op.into(), vec![x, w])
            }
            _ => {
                let group = self.d.pick(&[1, c]);
                shape[1] = c / group;
                let op = op::Conv {
                    auto_pad: auto_pad(),
                    dilations: None,
                    group: group as i64,
                    kernel_shape: None,
                    pads,
                    strides,
                };
                let (w, b) = (self.weights(&shape), self.weights(&[c]));
                (op.into(), vec![x, w, b])
            }
        }
    }

    fn elementwise(&mut self, x: ValueId) -> (Op, Vec<ValueId>) {
        let c = self.dims(x)[1];
        let rank = self.dims(x).len();
        match self.d.below(7) {
            0 | 1 => (op::Relu {}.into(), vec![x]),
            2 => (op::Sigmoid {}.into(), vec![x]),
            3 => {
                let v: Vec<ValueId> = (0..4).map(|_| self.weights(&[c])).collect();
                let op = op::BatchNormalization {
                    epsilon: 3.0,
                    momentum: 0.9,
                    spatial: 1,
                    training_mode: 0,
                };
                (op.into(), vec![x, v[0], v[1], v[2], v[3]])
            }
            4 => {
                let mut dims = vec![1; rank - 1];
                dims[0] = c;
                let w = self.weights(&dims);
                (op::Mul { axis: None, broadcast: 0 }.into(), vec![x, w])
            }
            5 => {
                let y = self.like(x, None);
                (op::Sub { axis: None, broadcast: 0 }.into(), vec![y, x])
            }
            _ => {
                let (y, z) = (self.like(x, None), self.like(x, None));
                (op::Sum {}.into(), vec![x, y, z])
            }
        }
    }

    fn node(&mut self) {
        let back = 1 + self.d.below(self.all.len().min(5));
        let x = self.all[self.all.len() - back];
        let dims = self.dims(x);
        let axis = self.d.below(dims.len());
        let name = format!("n{}", self.all.len());
        let (op, inputs): (Op, Vec<ValueId>) = match self.d.below(12) {
            0..4 => self.window(x),
            4..7 => self.elementwise(x),
            7..9 => {
                let lo = self.d.below(dims[axis] as usize) as i64;
                let hi = lo + 1 + self.d.below(dims[axis] as usize - lo as usize) as i64;
                let step = if self.d.below(5) == 0 { 2 } else { 1 };
                let cut = [lo, hi, axis as i64, step].map(|i| self.ints(&[i]));
                let op = op::Slice { starts: None, ends: None, axes: None };
                (op.into(), [x].into_iter().chain(cut).collect())
            }
            9 | 10 => {
                let mut parts = vec![x];
                (0..self.d.below(3)).for_each(|_| parts.push(self.like(x, Some(axis))));
                let extent: u64 = parts.iter().map(|&p| self.dims(p)[axis]).sum();
                if extent > 12 {
                    return;
                }
                (op::Concat { axis: axis as i64 }.into(), parts)
            }
            _ if dims[axis] > 1 => {
                let sizes = self.ints(&[1, dims[axis] as i64 - 1]);
                let op = op::Split { axis: axis as i64, split: None, num_outputs: None };
                let inputs = vec![Some(x), Some(sizes)];
                let both = self.b.node_with(&name, op.into(), inputs, 2).unwrap();
                self.all.extend(both);
                return;
            }
            _ => (op::Softmax { axis: Some(1) }.into(), vec![x]),
        };
        let v = self.b.node(&name, op, &inputs).unwrap();
        self.all.push(v);
    }
}

fn random(seed: u64, dtype: DType) -> Graph {
    let d = Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut r = Random { d, b: Builder::new("random", 13), dtype, all: vec![] };
    let batch = 1 + r.d.below(2) as u64;
    let dims = match r.d.below(4) {
        0 => vec![batch, 3, 7],
        1 => vec![batch, 2, 3, 4, 5],
        _ => vec![batch, 9, 6, 8],
    };
    for i in 0..2 {
        let v = r.b.input(&format!("x{i}"), Type::tensor(dtype, &dims));
        r.all.push(v);
    }
    (0..4 + seed % 16).for_each(|_| r.node());
    for _ in 0..1 + r.d.below(2) {
        let back = 1 + r.d.below(3.min(r.all.len()));
        r.b.output(r.all[r.all.len() - back]);
    }
    r.b.finish()
}

#[test]
fn runs_by_the_plan_have_the_same_bits_and_the_planned_timeline() {
    let (mut strided, mut shared) = (0, 0);
    for seed in 0..600 {
        let dtype = if seed % 4 == 3 { DType::F64 } else { DType::F32 };
        let graph = Arc::new(random(seed, dtype));
        let plan = plan(&graph).unwrap();
        let inputs: Vec<Tensor> = graph
            .inputs()
            .iter()
            .map(|&v| Tensor::random(dtype, &graph.value(v).ty.extents().unwrap(), seed).unwrap())
            .collect();
        let cpu = Cpu { threads: 1 + (seed % 3) as usize, fused: seed % 5 > 0, ..Cpu::default() };
        let prepared = cpu.prepared(graph.clone()).unwrap();
        let (out, measured) = prepared.run_measured(&inputs).unwrap();
        assert_eq!(measured.by_step, plan.timeline, "seed {seed}");
        // With another value wanted, the run does not go by the plan.
        let mut wanted = graph.outputs().to_vec();
        wanted.extend(graph.inputs());
        let whole = prepared.run(&inputs, &wanted).unwrap();
        for (i, (a, b)) in out.iter().zip(&whole).enumerate() {
            assert!(a.bytes().unwrap()[..] == b.bytes().unwrap()[..], "seed {seed}, output {i}");
        }
        for (v, value) in graph.values() {
            let Some(p) = plan.place(v) else { continue };
            shared += usize::from(plan.buffers[p.buffer].bytes != value.ty.bytes().unwrap());
            strided += usize::from(!p.view.is_contiguous(&value.ty.extents().unwrap()));
        }
    }
    assert!(strided > 300 && shared > 500, "{strided} strided, {shared} parts");
}

/// Every operator that may stand in parts of larger buffers really reads and writes them; two only read.
#[test]
fn every_operator_of_the_table_reads_and_writes_parts() {
    let unary = "Relu LeakyRelu ThresholdedRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Mish Gelu \
                 Softplus Softsign Tanh Exp Log Sqrt Reciprocal Abs Neg Sign Floor Ceil Round Erf Sin \
                 Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Affine Identity";
    let mut all: Vec<String> = unary.split_whitespace().map(|o| format!("{o} @")).collect();
    all.extend("Add Sub Mul Div Sum Max Min Mean PRelu".split(' ').map(|o| format!("{o} @, %c")));
    all.extend("Add Mul Sum Max".split(' ').map(|o| format!("{o} %c, @")));
    all.extend("Add Sub Mul Div Max".split(' ').map(|o| format!("{o} @, @")));
    all.extend(
        [
            "Mod @, %c {fmod=1}",
            "Clip @, %lo, %hi",
            "Clip @, %lo",
            "ImageScaler @ {bias=[0.5,0.25,0.125,1.0], scale=2.0}",
            "BatchNormalization @, %v, %v, %v, %v",
            "Conv @, %w {pads=[1,1,1,1]}",
            "Conv @, %w {pads=[1,0,1,2], dilations=[1,2]}",
            "Conv @, %p",
            "Conv @, %d {group=4, pads=[1,1,1,1]}",
            "Conv @, %w, %v {pads=[1,1,1,1]}",
            "ConvTranspose @, %w {pads=[1,1,1,1]}",
            "MaxPool @ {kernel_shape=[3,3], pads=[1,1,1,1]}",
            "AveragePool @ {kernel_shape=[3,3], pads=[1,1,1,1]}",
            "AveragePool @ {kernel_shape=[2,3], pads=[0,1,1,1], count_include_pad=1}",
            "LpPool @ {kernel_shape=[3,3], pads=[1,1,1,1], p=2}",
            "com.microsoft::FusedConv @, %w {pads=[1,1,1,1], activation=\"Relu\"}",
        ]
        .map(String::from),
    );
    for case in all {
        for (dtype, bits) in [(DType::F32, "f32"), (DType::F64, "f64")] {
            if bits == "f64" && case.contains("ImageScaler") {
                continue;
            }
            let opset =
                if case.contains("Affine") || case.contains("ImageScaler") { 9 } else { 20 };
            let node = |v: &str, r: &str| format!("{r} = {} : ?", case.replace('@', v));
            let slice = if opset < 10 {
                "%a = Slice %x {axes=[3], starts=[1], ends=[7]} : ?
                 %b = Slice %x {axes=[3], starts=[2], ends=[8]} : ?"
            } else {
                "%a = Slice %x [3: 1..7] : ?
                 %b = Slice %x [3: 2..8] : ?"
            };
            let text = format!(
                "graph @g(%x: {bits}[1,4,6,9]) -> (%y) opset {opset} {{
                   %c = const random(1) : {bits}[1,4,6,6]
                   %w = const random(2) : {bits}[4,4,3,3]
                   %p = const random(3) : {bits}[4,4,1,1]
                   %d = const random(4) : {bits}[4,1,3,3]
                   %v = const random(5) : {bits}[4]
                   %lo = const random(6) : {bits}[]
                   %hi = const random(7) : {bits}[]
                   {slice}
                   {}
                   {}
                   %y = Concat %l, %r {{axis=3}} : ?
                 }}",
                node("%a", "%l"),
                node("%b", "%r")
            );
            let graph = Arc::new(parse(&text).unwrap_or_else(|e| panic!("{case}: {e}\n{text}")));
            let plan = plan(&graph).unwrap();
            let view = |name: &str| {
                let v = graph.find_value(name).unwrap();
                let dims = graph.value(v).ty.extents().unwrap();
                !plan.place(v).unwrap().view.is_contiguous(&dims)
            };
            let reads_only = case.contains("LpPool") || case.contains("FusedConv");
            let writes = reads_only || view("l") || view("r");
            assert!(view("a") && writes, "{case}: the plan uses no parts");
            let x = Tensor::random(dtype, &[1, 4, 6, 9], 9).unwrap();
            let prepared = Cpu::default().prepared(graph.clone()).unwrap();
            let (out, measured) = prepared.run_measured(std::slice::from_ref(&x)).unwrap();
            assert_eq!(measured.by_step, plan.timeline, "{case}");
            let wanted = [graph.outputs()[0], graph.inputs()[0]];
            let whole = prepared.run(&[x], &wanted).unwrap();
            assert!(out[0].bytes().unwrap()[..] == whole[0].bytes().unwrap()[..], "{case} {bits}");
        }
    }
}

/// What one `Concat` copies, another one inside it does not place where the copy is made from.
#[test]
fn nested_concats_of_one_slice() {
    let graph = parse(
        "graph @g(%x: f32[1,1,4,9]) -> (%y) opset 13 {
           %a = Slice %x [3: 0..5]       : ?
           %r = Slice %x [3: 3..8]       : ?
           %n = Concat %a, %r {axis=1}   : ?
           %m = Concat %a, %n {axis=1}   : ?
           %y = Relu %m                  : ?
         }",
    );
    let graph = Arc::new(graph.unwrap());
    let x = Tensor::random(DType::F32, &[1, 1, 4, 9], 3).unwrap();
    let prepared = Cpu::default().prepared(graph.clone()).unwrap();
    let (out, _) = prepared.run_measured(std::slice::from_ref(&x)).unwrap();
    let wanted = [graph.outputs()[0], graph.inputs()[0]];
    let whole = prepared.run(&[x], &wanted).unwrap();
    assert_eq!(out[0], whole[0]);
}

/// Elements of less than a byte are unpacked, so that no plan says what they take.
#[test]
fn packed_inputs_run_without_a_plan() {
    let graph = parse(
        "graph @g(%x: i4[4]) -> (%y) opset 21 {
           %s = const [2.0]               : f32[1]
           %y = DequantizeLinear %x, %s {axis=0, block_size=4} : ?
         }",
    );
    let graph = Arc::new(graph.unwrap());
    let x = Tensor::from_bytes(DType::I4, vec![4], vec![0x21, 0xf3]).unwrap();
    let prepared = Cpu::default().prepared(graph.clone()).unwrap();
    assert!(prepared.run_measured(std::slice::from_ref(&x)).is_err());
    let out = prepared.run(&[x], graph.outputs()).unwrap();
    assert_eq!(out[0].to_f32s().unwrap(), [2.0, 4.0, 6.0, -2.0]);
}
