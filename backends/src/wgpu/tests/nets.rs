//! Several operators together: where values are, what falls back, what is reused.

use super::*;

const SMALL: &str = r#"graph @main(%x: f32[1,3,32,32]) -> (%y, %s) opset 13 {
  %W = const random(1)                                         : f32[8,3,3,3]
  %B = const random(2)                                         : f32[8]
  %c = Conv %x, %W, %B {pads=[1,1,1,1]}                        : f32[1,8,32,32]
  %r = Relu %c                                                 : f32[1,8,32,32]
  %V = const random(3)                                         : f32[8,8,3,3]
  %d = Conv %r, %V {pads=[1,1,1,1]}                            : f32[1,8,32,32]
  %a = Add %d, %r                                              : f32[1,8,32,32]
  %t = Slice %a [2: 0..16]                                     : f32[1,8,16,32]
  %u = Slice %a [2: 16..32]                                    : f32[1,8,16,32]
  %j = Concat %t, %u {axis=1}                                  : f32[1,16,16,32]
  %p = MaxPool %j {kernel_shape=[2,2], strides=[2,2]}          : f32[1,16,8,16]
  %f = Flatten %p                                              : f32[1,2048]
  %G = const random(4)                                         : f32[10,2048]
  %H = const random(5)                                         : f32[10]
  %y = Gemm %f, %G, %H {transB=1}                              : f32[1,10]
  %s = Shape %y                                                : i64[2]
}
"#;

#[test]
fn a_small_net_has_the_bits_of_the_reference() {
    let Some(w) = adapter() else { return };
    let g = text::parse(SMALL).unwrap();
    let (mut got, mut want) = both(&w, g, &[tensor(&[1, 3, 32, 32], 1)]);
    assert_eq!(got.pop(), want.pop());
    agree("net", (got, want), 0.0);
}

#[test]
fn runs_repeat_and_compile_nothing_again() {
    let Some(w) = adapter() else { return };
    let g = Arc::new(text::parse(SMALL).unwrap());
    let c = w.compile(g.clone()).unwrap();
    let x = tensor(&[1, 3, 32, 32], 1);
    let first = c.run(std::slice::from_ref(&x), g.outputs()).unwrap();
    let compiled = w.gpu.compiled();
    for _ in 0..3 {
        assert_eq!(first, c.run(std::slice::from_ref(&x), g.outputs()).unwrap());
    }
    // Other tests share the device and may compile, too; this graph's kernels are all there.
    assert!(compiled >= 7, "{compiled}");
}

#[test]
fn the_probe_has_an_answer() {
    let Some(w) = adapter() else { return };
    let fusion = w.fused().unwrap();
    eprintln!("{} rounds sums of products {fusion:?}", w.adapter_name());
}

#[test]
fn what_has_no_kernel_runs_on_the_host_and_is_told() {
    let Some(w) = adapter() else { return };
    let text = r#"graph @main(%x: f32[2,5]) -> (%y, %i) opset 13 {
  %r = Relu %x                  : f32[2,5]
  %y = CumSum %r, %one          : f32[2,5]    ; sum
  %i = ArgMax %y {axis=1}       : i64[2,1]    ; best
}
"#;
    let text = text.replace("  %r =", "  %one = const 1 : i64[]\n  %r =");
    let g = Arc::new(text::parse(&text).unwrap());
    let c = w.compile(g.clone()).unwrap();
    let x = tensor(&[2, 5], 3);
    let got = c.run(std::slice::from_ref(&x), g.outputs()).unwrap();
    let want = reference(&w).prepare(g.clone()).unwrap().run(&[x], g.outputs()).unwrap();
    assert_eq!(got, want);
    let told = c.fallbacks();
    let told: Vec<_> = told.iter().map(|(l, o)| (l.as_str(), o.as_str())).collect();
    assert_eq!(told, [("sum", "CumSum"), ("best", "ArgMax")]);
}

#[test]
fn shape_arithmetic_stays_on_the_host() {
    let Some(w) = adapter() else { return };
    let text = r#"graph @main(%x: f32[2,3,4]) -> (%y) opset 13 {
  %zero = const [0] : i64[1]
  %rest = const [-1] : i64[1]
  %s = Shape %x                        : i64[3]
  %n = Gather %s, %zero                : i64[1]
  %t = Concat %n, %rest {axis=0}       : i64[2]
  %y = Reshape %x, %t                  : f32[2,12]
}
"#;
    let g = text::parse(text).unwrap();
    agree("reshape", both(&w, g, &[tensor(&[2, 3, 4], 1)]), 0.0);
}

#[test]
fn all_that_cannot_run_is_listed_at_once() {
    let Some(w) = adapter() else { return };
    let text = r#"graph @main(%x: f32[2]) -> (%z) opset 13 {
  %y = my.dom::Foo %x : ?
  %z = my.dom::Bar %y : ?
}
"#;
    let e = w.prepare(Arc::new(text::parse(text).unwrap())).err().unwrap();
    let PrepareError::Unsupported(all) = e else { panic!("{e}") };
    let names: Vec<_> = all.iter().map(|u| u.operator.as_str()).collect();
    assert_eq!(names, ["my.dom.Foo", "my.dom.Bar"]);
}

#[test]
fn half_precision_rounds_after_every_operator() {
    let Some(w) = adapter() else { return };
    for dtype in ["f16", "bf16"] {
        let text = format!(
            "graph @main(%x: {dtype}[3,40], %z: {dtype}[3,40]) -> (%y) opset 15 {{
  %m = Mul %x, %z : {dtype}[3,40]
  %a = Add %m, %x : {dtype}[3,40]
  %y = Relu %a : {dtype}[3,40]
}}
"
        );
        let g = text::parse(&text).unwrap();
        let half = |seed| {
            let v = numbers(120, seed, 300.0);
            let (dtype, bytes): (_, Vec<u8>) = match dtype {
                "f16" => (
                    DType::F16,
                    v.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect(),
                ),
                _ => (
                    DType::BF16,
                    v.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect(),
                ),
            };
            Tensor::from_bytes(dtype, vec![3, 40], bytes).unwrap()
        };
        let (got, want) = both(&w, g, &[half(1), half(2)]);
        assert_eq!(got, want, "{dtype}");
    }
}
