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
    for _ in 0..3 {
        assert_eq!(first, c.run(std::slice::from_ref(&x), g.outputs()).unwrap());
    }
}

#[test]
fn the_probe_has_an_answer() {
    let Some(w) = adapter() else { return };
    let fusion = w.fused().unwrap();
    eprintln!("{} rounds sums of products {fusion:?}", w.adapter_name());
}
