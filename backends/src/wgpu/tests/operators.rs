//! One operator at a time, each against the reference interpreter.

use graph_opt_ir::op;

use super::*;

/// Operators whose arithmetic is exact, or rounds as the reference interpreter's does.
#[test]
fn elementwise_arithmetic_has_its_bits() {
    let Some(w) = adapter() else { return };
    let all: Vec<Op> = vec![
        op::Relu {}.into(),
        op::LeakyRelu { alpha: 0.01 }.into(),
        op::ThresholdedRelu { alpha: 0.3 }.into(),
        op::HardSigmoid { alpha: 0.2, beta: 0.5 }.into(),
        op::HardSwish {}.into(),
        op::Softsign {}.into(),
        op::Sqrt {}.into(),
        op::Reciprocal {}.into(),
        op::Abs {}.into(),
        op::Neg {}.into(),
        op::Sign {}.into(),
        op::Floor {}.into(),
        op::Ceil {}.into(),
        op::Round {}.into(),
        op::Affine { alpha: 1.7, beta: -0.3 }.into(),
        op::Identity {}.into(),
    ];
    for op in all {
        let g = one(op.clone(), 13, &[&[EDGES.len() as u64]], &[]);
        let x = Tensor::f32s(&[EDGES.len() as u64], EDGES).unwrap();
        agree(&format!("{op:?}"), both(&w, g, &[x]), 0.0);
        try_one(&w, op, 13, &[&[2, 3, 50]], &[], 0.0);
    }
}

/// Numbers at which functions go wrong.
const EDGES: &[f32] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    1e30,
    -1e30,
    3.5e-3,
    8_388_609.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// The elementary functions are within a few units in the last place.
#[test]
fn elementary_functions_are_close() {
    let Some(w) = adapter() else { return };
    // Units in the last place; more where a small difference of what is that close is taken.
    let all: Vec<(Op, f32, f64)> = vec![
        (op::Exp {}.into(), 80.0, 4.0),
        (op::Tanh {}.into(), 3.0, 16.0),
        (op::Sigmoid {}.into(), 20.0, 16.0),
        (op::Erf {}.into(), 3.0, 16.0),
        (op::Softplus {}.into(), 20.0, 16.0),
        (op::Selu { alpha: 1.673_263_2, gamma: 1.050_701 }.into(), 3.0, 4096.0),
        (op::Elu { alpha: 1.0 }.into(), 3.0, 4096.0),
        (op::Celu { alpha: 1.3 }.into(), 3.0, 4096.0),
        (op::Mish {}.into(), 5.0, 32.0),
        (op::Gelu { approximate: "none".into() }.into(), 2.0, 64.0),
        (op::Gelu { approximate: "tanh".into() }.into(), 2.0, 64.0),
    ];
    for (op, scale, most) in all {
        let g = one(op.clone(), 20, &[&[2000]], &[]);
        let x = Tensor::f32s(&[2000], &numbers(2000, 5, scale)).unwrap();
        agree(&format!("{op:?}"), both(&w, g, &[x]), most);
        let g = one(op.clone(), 20, &[&[6]], &[]);
        let x = [0.0, -0.0, f32::INFINITY, -1e30, 1e30, f32::NAN];
        agree(&format!("{op:?}"), both(&w, g, &[Tensor::f32s(&[6], &x).unwrap()]), 1.0);
    }
    let g = one(op::Log {}, 13, &[&[2000]], &[]);
    let x: Vec<f32> = numbers(2000, 5, 10.0).iter().map(|x| x.abs() + 1e-6).collect();
    agree("Log", both(&w, g, &[Tensor::f32s(&[2000], &x).unwrap()]), 4.0);
    let g = one(op::Log {}, 13, &[&[5]], &[]);
    let x = [0.0, f32::INFINITY, -1.0, f32::NAN, 1.0];
    agree("Log", both(&w, g, &[Tensor::f32s(&[5], &x).unwrap()]), 1.0);
}

#[test]
fn operands_are_broadcast() {
    let Some(w) = adapter() else { return };
    let shapes: [(&[u64], &[u64]); 7] = [
        (&[2, 3, 4], &[2, 3, 4]),
        (&[2, 3, 4], &[4]),
        (&[2, 3, 4, 5], &[3, 1, 1]),
        (&[1], &[5, 6]),
        (&[2, 1, 4, 1], &[3, 1, 5]),
        (&[], &[3]),
        (&[70_000], &[1]),
    ];
    for (a, b) in shapes {
        let none = || (None, 0);
        let all: Vec<(Op, f64)> = vec![
            (op::Add { axis: none().0, broadcast: 0 }.into(), 0.0),
            (op::Sub { axis: None, broadcast: 0 }.into(), 0.0),
            (op::Mul { axis: None, broadcast: 0 }.into(), 0.0),
            (op::Div { axis: None, broadcast: 0 }.into(), 0.0),
            (op::Max {}.into(), 0.0),
            (op::Min {}.into(), 0.0),
            (op::Sum {}.into(), 0.0),
            (op::Mean {}.into(), 0.0),
        ];
        for (op, most) in all {
            try_one(&w, op, 13, &[a, b], &[], most);
        }
    }
    try_one(&w, op::PRelu {}, 16, &[&[2, 3, 4], &[3, 1]], &[], 0.0);
    try_one(&w, op::Sum {}, 13, &[&[2, 3], &[3], &[1]], &[], 0.0);
    try_one(&w, op::Max {}, 13, &[&[2, 3]], &[], 0.0);
    let g = one(op::Pow { axis: None, broadcast: 0 }, 13, &[&[500], &[500]], &[]);
    let base: Vec<f32> = numbers(500, 1, 3.0).iter().map(|x| x.abs() + 0.01).collect();
    let inputs = [Tensor::f32s(&[500], &base).unwrap(), tensor(&[500], 2)];
    agree("Pow", both(&w, g, &inputs), 32.0);
}

#[test]
fn reductions_fold_in_order() {
    let Some(w) = adapter() else { return };
    let x: &[u64] = &[3, 4, 5, 6];
    macro_rules! reduce {
        ($($name:ident)*) => { $(
            for axes in [None, Some(vec![1]), Some(vec![-1]), Some(vec![0, 2]), Some(vec![2, 3])] {
                for keepdims in 0..2 {
                    let axes = axes.clone();
                    let op = op::$name { axes, keepdims, noop_with_empty_axes: 0 };
                    try_one(&w, op, 12, &[x], &[], 0.0);
                }
            }
        )* };
    }
    reduce!(ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceSumSquare);
    let sum = op::ReduceSum { axes: None, keepdims: 1, noop_with_empty_axes: 0 };
    try_one(&w, sum, 13, &[x], &[&[1, 3]], 0.0);
    try_one(&w, op::GlobalAveragePool {}, 13, &[x], &[], 0.0);
    try_one(&w, op::GlobalMaxPool {}, 13, &[x], &[], 0.0);
    try_one(&w, op::GlobalLpPool { p: 2 }, 13, &[x], &[], 0.0);
}

#[test]
fn elements_move() {
    let Some(w) = adapter() else { return };
    let x: &[u64] = &[2, 8, 4, 6];
    let moves = |op: Op, opset: i64, dims: &[&[u64]], ints: &[&[i64]]| {
        try_one(&w, op, opset, dims, ints, 0.0);
    };
    for perm in [None, Some(vec![0, 2, 3, 1]), Some(vec![1, 0, 3, 2])] {
        moves(op::Transpose { perm }.into(), 13, &[x], &[]);
    }
    let slice = || Op::from(op::Slice { starts: None, ends: None, axes: None });
    moves(slice(), 13, &[x], &[&[1, 0], &[5, 100], &[1, 3], &[2, 1]]);
    moves(slice(), 13, &[x], &[&[-1, 5], &[i64::MIN, 1], &[1, 3], &[-3, -1]]);
    let old = op::Slice { starts: Some(vec![1]), ends: Some(vec![-1]), axes: Some(vec![2]) };
    moves(old.into(), 9, &[x], &[]);
    for axis in [0, 1, -1] {
        moves(op::Concat { axis }.into(), 13, &[x, x, x], &[]);
    }
    moves(op::Concat { axis: 1 }.into(), 13, &[&[2, 1, 3], &[2, 5, 3]], &[]);
    moves(op::Expand {}.into(), 13, &[&[3, 1]], &[&[2, 1, 4]]);
    moves(op::Tile {}.into(), 13, &[&[3, 2]], &[&[2, 3]]);
    for mode in ["DCR", "CRD"] {
        let op = op::SpaceToDepth { blocksize: 2, mode: mode.into() };
        moves(op.into(), 13, &[x], &[]);
    }
    for mode in ["DCR", "CRD"] {
        moves(op::DepthToSpace { blocksize: 2, mode: mode.into() }.into(), 13, &[x], &[]);
    }
    moves(op::Crop { border: Some(vec![1, 1, 2, 0]), scale: None }.into(), 13, &[x], &[]);
    moves(op::Reshape { allowzero: 0 }.into(), 13, &[x], &[&[0, -1, 3]]);
    moves(op::Flatten { axis: 2 }.into(), 13, &[x], &[]);
    moves(op::Gather { axis: 1 }.into(), 13, &[x], &[&[3, -1, 0]]);
    for mode in ["constant", "edge", "reflect", "wrap"] {
        let pad = || Op::from(op::Pad { mode: mode.into(), pads: None, value: 0.0 });
        moves(pad(), 19, &[x], &[&[0, 1, 2, 3, 1, 0, 3, 2]]);
    }
    let cut = op::Pad { mode: "constant".into(), pads: None, value: 0.0 };
    moves(cut.into(), 13, &[x], &[&[0, -1, 2, 0, 1, 0, -3, 2]]);
    let old = op::Pad { mode: "constant".into(), pads: Some(vec![1, 0, 0, 2]), value: 2.5 };
    moves(old.into(), 10, &[&[3, 4]], &[]);
    let mut b = Builder::new("split", 13);
    let v = b.input("x", Type::tensor(DType::F32, x));
    let sizes = b.constant("sizes", Tensor::i64s(&[1, 4, 3]));
    let split = op::Split { axis: 1, split: None, num_outputs: None };
    let parts = b.node_with("split", split.into(), vec![Some(v), Some(sizes)], 3).unwrap();
    parts.into_iter().for_each(|p| b.output(p));
    agree("Split", both(&w, b.finish(), &[tensor(x, 1)]), 0.0);
}

#[test]
fn normalisations() {
    let Some(w) = adapter() else { return };
    let x: &[u64] = &[2, 5, 6, 7];
    let c: &[u64] = &[5];
    let mut b = Builder::new("bn", 15);
    let v = b.input("x", Type::tensor(DType::F32, x));
    let positive: Vec<f32> = numbers(5, 4, 1.0).iter().map(|x| x.abs() + 0.1).collect();
    let mut all = vec![v];
    for seed in 0..3 {
        all.push(b.constant("c", tensor(c, seed)));
    }
    all.push(b.constant("var", Tensor::f32s(c, &positive).unwrap()));
    let op = op::BatchNormalization { epsilon: 1e-5, momentum: 0.9, spatial: 1, training_mode: 0 };
    let y = b.node("bn", op, &all).unwrap();
    b.output(y);
    agree("BatchNormalization", both(&w, b.finish(), &[tensor(x, 9)]), 0.0);
    let scaler = op::ImageScaler { bias: Some(vec![0.1, 0.2, -0.3, 0.0, 7.0]), scale: 1.3 };
    try_one(&w, scaler, 13, &[x], &[], 0.0);
    try_one(&w, op::InstanceNormalization { epsilon: 1e-5 }, 13, &[x, c, c], &[], 0.0);
    let layer = |axis| op::LayerNormalization { axis, epsilon: 1e-5, stash_type: 1 };
    try_one(&w, layer(-1), 17, &[x, &[7], &[7]], &[], 0.0);
    try_one(&w, layer(2), 17, &[x, &[6, 7]], &[], 0.0);
    let lrn = op::LRN { alpha: 1e-2, beta: 0.75, bias: 1.0, size: 3 };
    try_one(&w, lrn, 13, &[x], &[], 16.0);
    for axis in [None, Some(1), Some(-2)] {
        for opset in [11, 13] {
            try_one(&w, op::Softmax { axis }, opset, &[x], &[], 16.0);
            try_one(&w, op::LogSoftmax { axis }, opset, &[x], &[], 64.0);
        }
    }
}

#[test]
fn resizes() {
    let Some(w) = adapter() else { return };
    let x: &[u64] = &[1, 2, 5, 7];
    for mode in ["nearest", "linear", "cubic"] {
        for coordinates in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"] {
            for scales in [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 0.6, 1.7]] {
                let op = op::Resize {
                    antialias: 0,
                    axes: None,
                    coordinate_transformation_mode: Some(coordinates.into()),
                    cubic_coeff_a: -0.75,
                    exclude_outside: 0,
                    extrapolation_value: 0.0,
                    keep_aspect_ratio_policy: "stretch".into(),
                    mode: mode.into(),
                    nearest_mode: "round_prefer_floor".into(),
                };
                let mut b = Builder::new("resize", 13);
                let v = b.input("x", Type::tensor(DType::F32, x));
                let s = b.constant("s", Tensor::f32s(&[4], &scales).unwrap());
                let inputs = vec![Some(v), None, Some(s)];
                let y = b.node_with("resize", op.clone().into(), inputs, 1).unwrap();
                b.output(y[0]);
                agree(&format!("{op:?} {scales:?}"), both(&w, b.finish(), &[tensor(x, 1)]), 0.0);
                let mut b = Builder::new("resize", 13);
                let v = b.input("x", Type::tensor(DType::F32, x));
                let s = b.constant("s", Tensor::i64s(&[1, 2, 9, 4]));
                let inputs = vec![Some(v), None, None, Some(s)];
                let y = b.node_with("resize", op.clone().into(), inputs, 1).unwrap();
                b.output(y[0]);
                agree(&format!("{op:?} to sizes"), both(&w, b.finish(), &[tensor(x, 1)]), 0.0);
            }
        }
    }
}

#[test]
fn transposed_convolutions() {
    let Some(w) = adapter() else { return };
    for (i, (x, k, group)) in [
        (&[1u64, 4, 9, 8][..], &[4u64, 3, 3, 3][..], 1),
        (&[2, 6, 5, 7], &[6, 2, 4, 2], 3),
        (&[1, 3, 11], &[3, 5, 3], 1),
    ]
    .iter()
    .enumerate()
    {
        for stride in 1..4 {
            let axes = x.len() - 2;
            let op = op::ConvTranspose {
                auto_pad: "NOTSET".into(),
                dilations: Some(vec![1 + (i as i64 % 2); axes]),
                group: *group,
                kernel_shape: None,
                output_padding: Some(vec![stride - 1; axes]),
                output_shape: None,
                pads: Some((0..2 * axes).map(|p| p as i64 % 2).collect()),
                strides: Some(vec![stride; axes]),
            };
            let m = k[1] * *group as u64;
            try_one(&w, op, 13, &[x, k, &[m]], &[], 0.0);
        }
    }
}
