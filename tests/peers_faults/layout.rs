//! Removing and merging what only moves data, and what is said twice.

use std::collections::HashMap;

use graph_opt_ir::Tensor;
use graph_opt_passes::registry::OPTIMISE;

use super::{check, has_same_bits, judged, ops, parse, row, run};

/// onnx/optimizer 252.
#[test]
fn optimizer_252_concat_of_one() {
    check(&[
        row(
            "from an input to an output: both names stay",
            "(%x: f32[2,3]) -> (%y) opset 13 { %y = Concat %x {axis=0} : ? }",
            "Concat",
            "Concat",
        ),
        row(
            "to an output",
            "(%x: f32[2,3]) -> (%y) opset 13 { %a = Relu %x : ?  %y = Concat %a {axis=1} : ? }",
            "Relu",
            "Relu",
        ),
        row(
            "to an output, of what is read elsewhere, too",
            "(%x: f32[2,3]) -> (%y, %z) opset 13 {
               %a = Relu %x : ?
               %y = Concat %a {axis=1} : ?
               %z = Neg %a : ?
             }",
            "Relu Neg",
            "Relu Neg",
        ),
        row(
            "from an output to an output",
            "(%x: f32[2,3]) -> (%a, %y) opset 13 { %a = Relu %x : ?  %y = Concat %a {axis=1} : ? }",
            "Relu Concat",
            "Relu Concat",
        ),
        row(
            "from an input",
            "(%x: f32[2,3]) -> (%y) opset 13 { %a = Concat %x {axis=-1} : ?  %y = Relu %a : ? }",
            "Relu",
            "Relu",
        ),
        row(
            "read by name in a branch",
            "(%x: f32[2,3], %q: bool[]) -> (%y) opset 13 {
               %a = Relu %x : ?
               %b = Concat %a {axis=0} : ?
               %y = If %q {then_branch=graph @t() -> (%p) { %p = Exp %b : ? },
                           else_branch=graph @e() -> (%o) { %o = Neg %b : ? }} : ?
             }",
            "Relu If",
            "Relu If",
        ),
        row(
            "an input, read by name in a branch",
            "(%x: f32[2,3], %q: bool[]) -> (%y) opset 13 {
               %b = Concat %x {axis=0} : ?
               %y = If %q {then_branch=graph @t() -> (%p) { %p = Exp %b : ? },
                           else_branch=graph @e() -> (%o) { %o = Add %b, %x : ? }} : ?
             }",
            "Concat If",
            "Concat If",
        ),
    ]);
}

fn list(v: &[i64]) -> String {
    v.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Every spelling of some axes of a rank: ascending, descending, and counted from the end.
fn spellings(axes: &[i64], rank: i64) -> [Vec<i64>; 3] {
    let back = axes.iter().rev().copied().collect();
    [axes.to_vec(), back, axes.iter().map(|a| a - rank).collect()]
}

/// Two nodes that move axes, as attributes or as inputs.
fn two(dims: &str, opset: i64, (first, a): (&str, &[i64]), (second, b): (&str, &[i64])) -> String {
    let (a, b, n, m) = (list(a), list(b), a.len(), b.len());
    let nodes = match opset {
        13 => format!(
            "%i = const [{a}] : i64[{n}]\n%j = const [{b}] : i64[{m}]
             %q = {first} %p, %i : ?\n%r = {second} %q, %j : ?"
        ),
        _ => format!("%q = {first} %p {{axes=[{a}]}} : ?\n%r = {second} %q {{axes=[{b}]}} : ?"),
    };
    format!(
        "(%x: f32[{dims}]) -> (%y) opset {opset} {{\n%p = Neg %x : ?\n{nodes}\n%y = Exp %r : ?\n}}"
    )
}

fn becomes(model: &str, want: &str) {
    let g = parse(model);
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        let r = judged(&g, &t);
        assert!(has_same_bits(&r), "{pipeline}: {r:?}\n{model}");
        assert_eq!(ops(&t), want, "{pipeline}: {model}");
    }
}

/// onnx/optimizer 253, onnx 2446: all pairs of axes of [1,2,1,3,1], in every spelling.
#[test]
fn optimizer_253_onnx_2446_squeeze_twice() {
    for (a, b) in [(0, 1), (0, 3), (2, 0), (2, 3), (4, 0), (4, 2)] {
        for opset in [11, 13] {
            for first in spellings(&[a], 5) {
                for second in spellings(&[b], 4) {
                    let m = two("1,2,1,3,1", opset, ("Squeeze", &first), ("Squeeze", &second));
                    becomes(&m, "Neg Squeeze Exp");
                }
            }
        }
    }
    for first in spellings(&[0, 4], 5) {
        becomes(&two("1,2,1,3,1", 13, ("Squeeze", &first), ("Squeeze", &[1])), "Neg Squeeze Exp");
    }
    for second in spellings(&[1, 3], 4) {
        becomes(&two("1,2,1,3,1", 13, ("Squeeze", &[0]), ("Squeeze", &second)), "Neg Squeeze Exp");
    }
}

#[test]
fn optimizer_253_onnx_2446_unsqueeze_twice() {
    for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (0, 3)] {
        for opset in [11, 13] {
            for first in spellings(&[a], 3) {
                for second in spellings(&[b], 4) {
                    let m = two("2,3", opset, ("Unsqueeze", &first), ("Unsqueeze", &second));
                    becomes(&m, "Neg Unsqueeze Exp");
                }
            }
        }
    }
    for first in spellings(&[1, 3], 4) {
        for second in spellings(&[0, 2], 6) {
            let m = two("2,3", 13, ("Unsqueeze", &first), ("Unsqueeze", &second));
            becomes(&m, "Neg Unsqueeze Exp");
        }
    }
}

/// Squeezed here and unsqueezed there is no change of nothing: only the same axes undo each other.
#[test]
fn optimizer_253_onnx_2446_squeeze_and_unsqueeze() {
    for (a, b) in [(0, 0), (2, 2), (0, 2), (2, 0), (0, 1)] {
        for second in spellings(&[b], 4) {
            let m = two("1,2,1,3", 13, ("Squeeze", &[a]), ("Unsqueeze", &second));
            // Where the extents are the same after all, it is nothing, too.
            let same = a == b;
            becomes(&m, if same { "Neg Exp" } else { "Neg Squeeze Unsqueeze Exp" });
        }
    }
}

fn permutations(n: i64) -> Vec<Vec<i64>> {
    let Some(m) = (n > 0).then(|| n - 1) else { return vec![vec![]] };
    let at = |p: &Vec<i64>, i: usize| {
        let mut q = p.clone();
        q.insert(i, m);
        q
    };
    permutations(m).iter().flat_map(|p| (0..n as usize).map(move |i| at(p, i))).collect()
}

/// All pairs of permutations of three axes.
#[test]
fn optimizer_253_onnx_2446_transpose_twice() {
    let id = vec![0, 1, 2];
    for p in permutations(3) {
        for q in permutations(3) {
            let both: Vec<i64> = q.iter().map(|&a| p[a as usize]).collect();
            let (a, b) = (list(&p), list(&q));
            let m = format!(
                "(%x: f32[2,3,4]) -> (%y) opset 13 {{
                   %p = Neg %x : ?
                   %q = Transpose %p {{perm=[{a}]}} : ?
                   %r = Transpose %q {{perm=[{b}]}} : ?
                   %y = Exp %r : ?
                 }}"
            );
            becomes(&m, if both == id { "Neg Exp" } else { "Neg Transpose Exp" });
        }
    }
}

/// onnx/optimizer 171, 259: the same operator twice is not the same thing twice.
#[test]
fn optimizer_171_259_same_operator_twice() {
    let kept = |what, model, ops| row(what, model, ops, ops);
    check(&[
        row(
            "a 0 of the second Reshape is an extent of the first",
            "(%x: f32[2,3,4]) -> (%y) opset 13 {
               %p = const [6,-1] : i64[2]
               %q = const [0,2,-1] : i64[3]
               %a = Reshape %x, %p : ?
               %b = Reshape %a, %q : ?
               %y = Neg %b : ?
             }",
            "Reshape Neg",
            "Reshape Neg",
        ),
        kept(
            "a 0 of the second Reshape is an extent of the first that nobody knows",
            "(%x: f32[N,3,4]) -> (%y) opset 13 {
               %p = const [-1,4] : i64[2]
               %q = const [0,2,2] : i64[3]
               %a = Reshape %x, %p : ?
               %b = Reshape %a, %q : ?
               %y = Neg %b : ?
             }",
            "Reshape Reshape Neg",
        ),
        row(
            "-1 of the second Reshape",
            "(%x: f32[N,3,4]) -> (%y) opset 13 {
               %p = const [0,-1] : i64[2]
               %q = const [-1,6] : i64[2]
               %a = Reshape %x, %p : ?
               %b = Reshape %a, %q : ?
               %y = Neg %b : ?
             }",
            "Reshape Neg",
            "Reshape Neg",
        ),
        row(
            "no elements, and a 0 that is an extent",
            "(%x: f32[0,3]) -> (%y) opset 14 {
               %p = const [3,0] : i64[2]
               %q = const [0,0,2] : i64[3]
               %a = Reshape %x, %p {allowzero=1} : ?
               %b = Reshape %a, %q : ?
               %y = Neg %b : ?
             }",
            "Reshape Reshape Neg",
            "Reshape Reshape Neg",
        ),
        kept(
            "Clip between other bounds",
            "(%x: f32[64]) -> (%y) opset 13 {
               %a = const -0.5 : f32[]
               %b = const 0.25 : f32[]
               %c = const 0 : f32[]
               %d = const 0.75 : f32[]
               %p = Clip %x, %a, %b : ?
               %y = Clip %p, %c, %d : ?
             }",
            "Clip Clip",
        ),
        kept(
            "Clip between bounds that exclude each other: the second wins",
            "(%x: f32[64]) -> (%y) opset 13 {
               %a = const 0.5 : f32[]
               %b = const 0.75 : f32[]
               %c = const -0.5 : f32[]
               %d = const 0.25 : f32[]
               %p = Clip %x, %a, %b : ?
               %y = Clip %p, %c, %d : ?
             }",
            "Clip Clip",
        ),
        kept(
            "Clip on one side each",
            "(%x: f32[64]) -> (%y) opset 13 {
               %a = const -0.5 : f32[]
               %b = const 0.25 : f32[]
               %p = Clip %x, %a : ?
               %y = Clip %p, _, %b : ?
             }",
            "Clip Clip",
        ),
        kept(
            "Clip with other attributes",
            "(%x: f32[64]) -> (%y) opset 6 {
               %p = Clip %x {min=-0.5, max=0.25} : ?
               %y = Clip %p {min=-0.25, max=0.5} : ?
             }",
            "Clip Clip",
        ),
        kept(
            "sums along the same axis, which is another one by then",
            "(%x: f32[2,3,4]) -> (%y) opset 13 {
               %a = const [1] : i64[1]
               %p = ReduceSum %x, %a {keepdims=0} : ?
               %y = ReduceSum %p, %a {keepdims=0} : ?
             }",
            "ReduceSum ReduceSum",
        ),
        kept(
            "sums along different axes",
            "(%x: f32[2,3,4]) -> (%y) opset 13 {
               %a = const [1] : i64[1]
               %b = const [2] : i64[1]
               %p = ReduceSum %x, %a : ?
               %y = ReduceSum %p, %b : ?
             }",
            "ReduceSum ReduceSum",
        ),
        kept(
            "maxima of one value along different axes, beside each other",
            "(%x: f32[3,3]) -> (%y) opset 13 {
               %p = ReduceMax %x {axes=[0], keepdims=0} : ?
               %q = ReduceMax %x {axes=[1], keepdims=0} : ?
               %y = Sub %p, %q : ?
             }",
            "ReduceMax ReduceMax Sub",
        ),
        row(
            "the same sum of one value, beside each other",
            "(%x: f32[3,3]) -> (%y) opset 13 {
               %a = const [1] : i64[1]
               %b = const [1] : i64[1]
               %p = ReduceSum %x, %a : ?
               %q = ReduceSum %x, %b : ?
               %y = Mul %p, %q : ?
             }",
            "ReduceSum Mul",
            "ReduceSum Mul",
        ),
    ]);
}

/// Nor is it where attributes only look alike: the hash by which tensors are told apart is cut short
/// where they are printed.
#[test]
fn optimizer_171_259_attributes_that_look_alike() {
    let mut seen = HashMap::new();
    let alike = (1u32..400_000).find_map(|i| {
        let t = Tensor::f32s(&[1], &[f32::from_bits(0x3f80_0000 + i)]).unwrap();
        seen.insert(format!("{t:?}"), i).map(|j| [i, j])
    });
    let [a, b] = alike.unwrap().map(|i| f32::from_bits(0x3f80_0000 + i));
    let g = parse(&format!(
        "(%x: f32[1]) -> (%y) opset 13 {{
           %s = const [64,64] : i64[2]
           %a = ConstantOfShape %s {{value=tensor([{a}] : f32[1])}} : ?
           %b = ConstantOfShape %s {{value=tensor([{b}] : f32[1])}} : ?
           %c = ConstantOfShape %s {{value=tensor([{a}] : f32[1])}} : ?
           %d = Sub %a, %b : ?
           %e = Sub %d, %c : ?
           %y = Add %e, %x : ?
         }}"
    ));
    for pipeline in ["simplify", OPTIMISE] {
        let (t, ..) = run(&g, pipeline);
        assert_eq!(ops(&t), "ConstantOfShape ConstantOfShape Sub Sub Add");
        assert!(has_same_bits(&judged(&g, &t)));
    }
}
