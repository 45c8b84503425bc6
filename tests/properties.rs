//! Random windows: tiled, compared in the finite field and in bits, and made whole again.
//!
//! `PROPTEST_CASES=80000 cargo test --release --test suite properties -- --nocapture` runs the
//! whole set and prints the counts.

use std::cell::RefCell;

use graph_opt_ir::op::{self, Op};
use graph_opt_ir::{Builder, DType, Graph, Tensor, Type, structural_eq, text};
use graph_opt_passes::Outcome;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::support::{compare, is_bit_exact, optimise, random_cases};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Conv,
    Transpose,
    Max,
    Average,
    Lp,
}

/// One axis: extent, kernel, stride, dilation, pads, output padding.
type Axis = (i64, i64, i64, i64, i64, i64, i64);

#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    axes: Vec<Axis>,
    groups: u64,
    cin: u64,
    cout: u64,
    bias: bool,
    auto_pad: &'static str,
    ceil: bool,
    count_pad: bool,
    opset: i64,
    seed: i64,
    cut: Vec<(&'static str, i64)>,
}

fn axis() -> impl Strategy<Value = Axis> {
    (1i64..=14, 1i64..=7, 1i64..=3, 1i64..=3, 0i64..=3, 0i64..=3, 0i64..=2)
}

fn case() -> impl Strategy<Value = Case> {
    let kind = prop_oneof![
        4 => Just(Kind::Conv),
        2 => Just(Kind::Transpose),
        2 => Just(Kind::Max),
        2 => Just(Kind::Average),
        1 => Just(Kind::Lp),
    ];
    let auto = prop_oneof![
        6 => Just("NOTSET"),
        1 => Just("VALID"),
        1 => Just("SAME_UPPER"),
        1 => Just("SAME_LOWER"),
    ];
    let cut = (
        prop_oneof![
            Just("w"),
            Just("w"),
            Just("h"),
            Just("h"),
            Just("d"),
            Just("n"),
            Just("c-out")
        ],
        2i64..=4,
    );
    (
        (kind, prop::collection::vec(axis(), 1..=3), 1u64..=3, 1u64..=2, 1u64..=2, any::<bool>()),
        (auto, any::<bool>(), any::<bool>(), prop_oneof![Just(9i64), Just(11), Just(13), Just(19)]),
        (0i64..1000, prop::collection::vec(cut, 1..=2)),
    )
        .prop_map(
            |(
                (kind, axes, groups, cin, cout, bias),
                (auto_pad, ceil, count_pad, opset),
                (seed, cut),
            )| Case {
                kind,
                axes,
                groups,
                cin,
                cout,
                bias,
                auto_pad,
                ceil,
                count_pad,
                opset,
                seed,
                cut,
            },
        )
}

/// The graph, if the operator allows it.
fn build(c: &Case) -> Option<Graph> {
    let list = |f: fn(&Axis) -> i64| Some(c.axes.iter().map(f).collect::<Vec<i64>>());
    let pads = c.axes.iter().map(|a| a.4).chain(c.axes.iter().map(|a| a.5)).collect::<Vec<_>>();
    let explicit = c.auto_pad == "NOTSET";
    let pads = explicit.then_some(pads);
    let auto_pad = c.auto_pad.to_owned();
    let kernel: Vec<i64> = c.axes.iter().map(|a| a.1).collect();
    let (strides, dilations) = (list(|a| a.2), list(|a| a.3));
    let group = c.groups as i64;
    let op: Op = match c.kind {
        Kind::Conv => {
            op::Conv { auto_pad, dilations, group, kernel_shape: None, pads, strides }.into()
        }
        Kind::Transpose => {
            // Output padding must be smaller than the stride or the dilation.
            let output_padding = Some(c.axes.iter().map(|a| a.6.min(a.2.max(a.3) - 1)).collect());
            op::ConvTranspose {
                auto_pad,
                dilations,
                group,
                kernel_shape: None,
                output_padding,
                output_shape: None,
                pads,
                strides,
            }
            .into()
        }
        // Dilations and ceil_mode came later.
        Kind::Max => op::MaxPool {
            auto_pad,
            ceil_mode: (c.ceil && c.opset >= 10).into(),
            dilations: dilations.filter(|_| c.opset >= 10),
            kernel_shape: kernel,
            pads,
            storage_order: 0,
            strides,
        }
        .into(),
        Kind::Average => op::AveragePool {
            auto_pad,
            ceil_mode: (c.ceil && c.opset >= 10).into(),
            count_include_pad: c.count_pad.into(),
            dilations: dilations.filter(|_| c.opset >= 19),
            kernel_shape: kernel,
            pads,
            strides,
        }
        .into(),
        Kind::Lp => op::LpPool {
            auto_pad,
            ceil_mode: (c.ceil && c.opset >= 18).into(),
            dilations: dilations.filter(|_| c.opset >= 18),
            kernel_shape: kernel,
            p: 2,
            pads,
            strides,
        }
        .into(),
    };
    // A pool whose windows may lie in the padding has no answer there.
    if !matches!(c.kind, Kind::Conv | Kind::Transpose) && c.axes.iter().any(|a| a.4.max(a.5) >= a.1)
    {
        return None;
    }
    let channels = c.groups * c.cin;
    let mut dims = vec![2, channels];
    dims.extend(c.axes.iter().map(|a| a.0 as u64));
    let mut b = Builder::new("case", c.opset);
    let x = b.input("x", Type::tensor(DType::F32, &dims));
    let mut inputs = vec![x];
    if matches!(c.kind, Kind::Conv | Kind::Transpose) {
        let outs = c.groups * c.cout;
        let mut w = if c.kind == Kind::Conv { vec![outs, c.cin] } else { vec![channels, c.cout] };
        w.extend(c.axes.iter().map(|a| a.1 as u64));
        let random = |dims: &[u64], s: i64| -> Tensor {
            Tensor::random(DType::F32, dims, s as u64).unwrap()
        };
        inputs.push(b.constant("w", random(&w, c.seed)));
        if c.bias {
            inputs.push(b.constant("b", random(&[outs], c.seed + 1)));
        }
    }
    let y = b.node("op", op, &inputs).ok()?;
    let size = b.graph().value(y).ty.elements()?;
    if size == 0 || size > 60_000 {
        return None;
    }
    b.output(y);
    Some(b.finish())
}

#[derive(Default, Debug)]
struct Counts {
    invalid: u64,
    blocked: u64,
    tiled: u64,
    parts: u64,
    hollow: u64,
    another_whole: u64,
}

#[test]
fn random_windows_are_equal_when_tiled() {
    let counts = RefCell::new(Counts::default());
    let cases = random_cases(1500, &case(), |c| check(&c, &mut counts.borrow_mut()));
    let counts = counts.into_inner();
    println!("random windows: {counts:?}");
    // The test says something only if most cases are really cut.
    assert!(counts.another_whole * 20 < counts.tiled, "{counts:?}");
    assert!(counts.tiled * 3 > u64::from(cases), "{counts:?}");
}

fn check(c: &Case, counts: &mut Counts) -> Result<(), TestCaseError> {
    let Some(g) = build(c) else {
        counts.invalid += 1;
        return Err(TestCaseError::reject("no such operator"));
    };
    let mut cut = c.cut.clone();
    cut.dedup_by_key(|c| c.0);
    let names: Vec<&str> = cut.iter().map(|c| c.0).collect();
    let parts: Vec<String> = cut.iter().map(|c| c.1.to_string()).collect();
    let pipeline = format!("tile-conv{{axis={} parts={}}}", names.join("x"), parts.join("x"));
    let (t, remarks) = optimise(&g, &pipeline);
    if !remarks.iter().any(|r| r.outcome == Outcome::Applied) {
        counts.blocked += 1;
        prop_assert_eq!(t.edits(), 0);
        return Ok(());
    }
    counts.tiled += 1;
    counts.parts += cut.iter().map(|c| c.1 as u64).product::<u64>();
    let r = compare(&g, &t);
    prop_assert!(is_bit_exact(&r), "{pipeline}: {:?}\n{}\n{}", r, text::print(&g), text::print(&t));
    // A tile that is nothing but padding no longer says how much padding there was.
    let hollow = |n| {
        t.node(n).op.name() == "ConstantOfShape"
            || t.node(n)
                .inputs
                .first()
                .is_some_and(|v| v.is_some_and(|v| t.value(v).name.ends_with("/padding")))
    };
    if t.schedule().any(hollow) {
        counts.hollow += 1;
        return Ok(());
    }
    let (back, _) = optimise(&t, "untile");
    if !structural_eq::identical(&g, &back) && c.kind == Kind::Transpose {
        // Inputs of which every output is cut off are in no tile, so that another whole may come
        // back: equal, but not the one that went in.
        counts.another_whole += 1;
        let r = compare(&g, &back);
        prop_assert!(is_bit_exact(&r), "{pipeline}: untile: {:?}\n{}", r, text::print(&back));
        return Ok(());
    }
    prop_assert!(
        structural_eq::identical(&g, &back),
        "{pipeline}: untile gave\n{}\nfrom\n{}\nof\n{}",
        text::print(&back),
        text::print(&t),
        text::print(&g)
    );
    Ok(())
}
