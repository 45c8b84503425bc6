//! Verdicts that were wrong: models that differ and were called equal, and the reverse.

use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Report, Summary, Verdict};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::Extents;
use graph_opt_ir::Graph;
use graph_opt_ir::text::parse;

use crate::support::{load, optimise, shared};

/// As `verify` compares.
pub fn verified(a: &Graph, b: &Graph, dims: &[(&str, u64)], seed: u64) -> Report {
    let cpu = Cpu::default();
    let extents = Extents(dims.iter().map(|(n, e)| ((*n).to_owned(), *e)).collect());
    let c = Compare { prove: true, backends: vec![&cpu], seed, extents, ..Compare::default() };
    c.run(&Arc::new(a.clone()), &Arc::new(b.clone())).unwrap()
}

pub fn text(r: &Report) -> String {
    let one = |o: &graph_opt_backends::compare::Output| {
        let rungs: Vec<String> = o.verdicts.iter().map(ToString::to_string).collect();
        format!("{}: {} <= {}", o.name, o.summary, rungs.join(", "))
    };
    r.outputs.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What the verdict has to be.
#[derive(Clone, Copy, Debug)]
enum Right {
    Differs,
    /// Either.
    DiffersOrUnknown,
    /// Equal bits, where inputs are ordinary numbers.
    Bits,
    /// Equal but for rounding.
    Close,
}

fn check(what: &str, r: &Report, right: Right) {
    for o in &r.outputs {
        let s = &o.summary;
        let ok = match right {
            Right::Differs => matches!(s, Summary::Differs(_)),
            Right::DiffersOrUnknown => matches!(s, Summary::Differs(_) | Summary::Unknown(_)),
            Right::Bits => {
                let bits = |v: &Verdict| matches!(v, Verdict::BitExact(..) | Verdict::Finite(..));
                s.is_equal() && o.verdicts.iter().any(bits)
            }
            Right::Close => s.is_equal(),
        };
        assert!(ok, "{what}: {right:?}, not {}", text(r));
    }
    println!("{what}: {}", text(r));
}

#[test]
fn found_pairs_get_the_right_verdict() {
    use Right::*;
    let Some(dir) = shared("faults") else { return };
    let bert: &[(&str, u64)] = &[("b", 2), ("s", 16)];
    let pairs: &[(&str, Right, &[(&str, u64)], u64)] = &[
        ("12_if_else_differs", DiffersOrUnknown, &[], 8),
        ("14_embedding_row", DiffersOrUnknown, bert, 0),
        ("16_equal_maxpool_indices", Bits, &[], 0),
        ("19_uint8_limit", Differs, &[], 0),
        ("more/int_min100", Differs, &[], 0),
        ("more/int_abs", Differs, &[], 0),
        ("more/int_relu", Differs, &[], 0),
        ("more/uint8_clip", Differs, &[], 0),
        ("more/gather_table", Differs, &[], 0),
        ("more/clip06_seed1", Differs, &[], 1),
        ("more/one_weight", Differs, &[], 0),
        ("more/relu_upstream_Abs", Differs, &[], 0),
        ("more/where_eq0", Differs, &[], 0),
        ("more/div_self", Differs, &[], 0),
        // With other extents it has elements, and they differ.
        ("more/empty_dyn", DiffersOrUnknown, &[], 0),
        ("more/symbolic_batch", Differs, &[], 0),
        ("more/eq_castf64", Bits, &[], 0),
        ("more/eq_abs", Bits, &[], 0),
        ("more/eq_relu_clip_max", Bits, &[], 0),
        ("more/eq_softmax_shift", Close, &[], 0),
        ("more/hardswish_hardsig", Bits, &[], 0),
    ];
    for &(name, right, dims, seed) in pairs {
        let at = |s: &str| load(&dir.join(format!("{name}_{s}.onnx")));
        check(name, &verified(&at("a"), &at("b"), dims, seed), right);
    }
}

/// A folded model is close, by whichever command it is asked.
#[test]
fn rounding_of_folded_constants_is_close() {
    let Some(dir) = shared("faults") else { return };
    let a = load(&dir.join("86_verify_rounding.onnx"));
    let (b, _) = optimise(&a, graph_opt_passes::registry::OPTIMISE);
    let r = verified(&a, &b, &[], 0);
    assert!(matches!(r.outputs[0].summary, Summary::Close(_)), "{}", text(&r));
    // What is wrong besides is not excused.
    let wrong = graph_opt_ir::text::print(&b).replacen("Mul", "Add", 1);
    let wrong =
        graph_opt_ir::text::parse_with(&wrong, &graph_opt_ir::text::Constants::of(&b)).unwrap();
    assert!(!graph_opt_ir::structural_eq::identical(&b, &wrong));
    let r = verified(&a, &wrong, &[], 0);
    assert!(r.differs(), "{}", text(&r));
}

/// The same without files: folding is close, folding without the epsilon differs, and the two
/// commands give one answer.
#[test]
fn folding_has_one_answer() {
    let model = |epsilon: &str| {
        format!(
            "graph @g(%x: f32[1,2,8,8]) -> (%y) opset 17 {{
               %w = const random(1) : f32[3,2,3,3]
               %s = const [0.7,1.3,0.9] : f32[3]\n%b = const [0.1,-0.2,0.3] : f32[3]
               %m = const [0.3,0.2,-0.1] : f32[3]\n%v = const [0.9,1.7,0.4] : f32[3]
               %c = Conv %x, %w {{pads=[1,1,1,1]}} : ?
               %n = BatchNormalization %c, %s, %b, %m, %v {{epsilon={epsilon}}} : ?
               %y = Relu %n : ?
             }}"
        )
    };
    let (a, other) = (parse(&model("0.00001")).unwrap(), parse(&model("0.000011")).unwrap());
    let fold = |g: &Graph| optimise(g, graph_opt_passes::registry::OPTIMISE).0;
    let r = verified(&a, &fold(&a), &[], 0);
    assert!(matches!(r.outputs[0].summary, Summary::Close(_)), "{}", text(&r));
    check("another epsilon", &verified(&a, &fold(&other), &[], 0), Right::Differs);
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.gir"), dir.path().join("b.onnx"));
    std::fs::write(&from, model("0.00001")).unwrap();
    let run = |args: &[&str]| {
        let mut c = std::process::Command::new(env!("CARGO_BIN_EXE_graph-opt"));
        c.args(args).output().unwrap()
    };
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let opt = run(&["opt", from, "-O", "-o", to, "--verify"]);
    let verify = run(&["verify", from, to]);
    assert_eq!((opt.status.code(), verify.status.code()), (Some(0), Some(0)));
    // Only the edit that made a difference is not known from a file.
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    let at = said.find("(close").unwrap_or_else(|| panic!("{said}"));
    // Up to how long it took.
    let end = said.find(" s)").and_then(|s| said[..s].rfind(", ")).unwrap();
    assert!(String::from_utf8_lossy(&opt.stderr).contains(&said[at..end]), "{said}");
}

/// What no run reaches is named, and nothing is said of it.
#[test]
fn what_was_not_reached_is_named() {
    let model = |then: &str| {
        parse(&format!(
            "graph @g(%x: f32[4]) -> (%y) opset 17 {{
               %z = const 1 : f32[]\n%a = Abs %x : ?
               %m = ReduceMin %a {{keepdims=0}} : ?\n%s = Sub %m, %m : ?\n%c = Less %z, %s : ?
               %y = If %c {{then_branch=graph @t() -> (%p) {{\n%p = {then} %x : ?\n}},
                 else_branch=graph @e() -> (%q) {{\n%q = Neg %x : ?\n}}}} : ?
             }}"
        ))
        .unwrap()
    };
    let r = verified(&model("Relu"), &model("Tanh"), &[], 0);
    let Summary::Unknown(_) = &r.outputs[0].summary else { panic!("{}", text(&r)) };
    assert!(text(&r).contains("no run took then_branch of If \"y\""), "{}", text(&r));
}

/// A transformer with whole-number inputs is compared without files.
#[test]
fn indices_stay_within_their_tables() {
    let Some(dir) = shared("models") else { return };
    let g = load(&dir.join("oracle+tribuo__tinybert.onnx"));
    let (t, _) = optimise(&g, "simplify");
    let cpu = Cpu::default();
    let c = Compare { backends: vec![&cpu], ..Compare::default() };
    let r = c.run(&Arc::new(g), &Arc::new(t)).unwrap();
    assert!(r.is_equal(), "{} {:?}", text(&r), r.notes);
}

/// The same without files: two bodies of a graph with these inputs.
struct Pair {
    name: &'static str,
    inputs: &'static str,
    shared: &'static str,
    a: &'static str,
    b: &'static str,
    right: Right,
}

const PAIRS: &[Pair] = &[
    Pair {
        name: "limits beyond 7",
        inputs: "%x: i32[16]",
        shared: "%k = const 100 : i32[]\n%l = const 120 : i32[]",
        a: "%y = Min %x, %k : ?",
        b: "%y = Min %x, %l : ?",
        right: Right::Differs,
    },
    Pair {
        name: "negative whole numbers",
        inputs: "%x: i64[4]",
        shared: "",
        a: "%y = Abs %x : ?",
        b: "%y = Identity %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "rows of a table",
        inputs: "%x: i64[3]",
        shared: "%t = const random(1) : f32[300,4]\n%u = const random(2) : f32[1,4]",
        a: "%y = Gather %t, %x : ?",
        b: "%p = Slice %t [0: 0..299] : ?\n%v = Concat %p, %u {axis=0} : ?\n%y = Gather %v, %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "zero is equal to zero",
        inputs: "%x: f32[64]",
        shared: "%z = const 0 : f32[]\n%e = const 0.001 : f32[]",
        a: "%c = Equal %x, %z : ?\n%y = Where %c, %e, %x : ?",
        b: "%y = Identity %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "x / x",
        inputs: "%x: f32[64]",
        shared: "%o = const 1 : f32[]\n%z = const 0 : f32[]",
        a: "%d = Div %x, %x : ?\n%y = Mul %d, %x : ?",
        b: "%y = Identity %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "weights before a Clip",
        inputs: "%x: f32[2,8]",
        shared: "%v = const random(1) : f32[8,8]\n%w = const random(2) : f32[8,8]
                 %l = const 0 : f32[]\n%h = const 6 : f32[]",
        a: "%m = MatMul %x, %v : ?\n%y = Clip %m, %l, %h : ?",
        b: "%m = MatMul %x, %w : ?\n%y = Clip %m, %l, %h : ?",
        right: Right::Differs,
    },
    Pair {
        name: "IsNaN",
        inputs: "%x: f32[64]",
        shared: "%z = const 0 : f32[]",
        a: "%n = IsNaN %x : ?\n%y = Where %n, %z, %x : ?",
        b: "%y = Identity %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "f64 is not narrowed",
        inputs: "%x: f64[8]",
        shared: "%k = const 1.0000000001 : f64[]",
        a: "%y = Mul %x, %k : ?",
        b: "%y = Identity %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "narrowing is no identity",
        inputs: "%x: f64[8]",
        shared: "",
        a: "%n = Cast %x {to=1} : ?\n%y = Cast %n {to=11} : ?",
        b: "%y = Identity %x : ?",
        right: Right::Differs,
    },
    Pair {
        name: "widened and narrowed, moved in between",
        inputs: "%x: f32[2,3]",
        shared: "",
        a: "%n = Cast %x {to=11} : ?\n%t = Transpose %n {perm=[1,0]} : ?\n%y = Cast %t {to=1} : ?",
        b: "%y = Transpose %x {perm=[1,0]} : ?",
        right: Right::Bits,
    },
    Pair {
        name: "half by product and quotient",
        inputs: "%x: f32[8]",
        shared: "%k = const 2 : f32[]\n%l = const 0.5 : f32[]",
        a: "%y = Div %x, %k : ?",
        b: "%y = Mul %x, %l : ?",
        right: Right::Bits,
    },
    Pair {
        name: "padding of a maximum",
        inputs: "%x: f32[1,1,6,6]",
        shared: "%p = const [0,0,1,1,0,0,1,1] : i64[8]\n%l = const -inf : f32[]",
        a: "%y = MaxPool %x {kernel_shape=[3,3], pads=[1,1,1,1]} : ?",
        b: "%q = Pad %x, %p, %l : ?\n%y = MaxPool %q {kernel_shape=[3,3]} : ?",
        right: Right::Bits,
    },
    Pair {
        name: "order of the operands of a maximum",
        inputs: "%x: f32[64], %z: f32[64]",
        shared: "",
        a: "%y = Max %x, %z : ?",
        b: "%y = Max %z, %x : ?",
        // Of 0 and -0 the interpreter takes the first.
        right: Right::Close,
    },
    Pair {
        name: "a Sigmoid and its parts",
        inputs: "%x: f32[64]",
        shared: "%o = const 1 : f32[]",
        a: "%y = Sigmoid %x : ?",
        b: "%n = Neg %x : ?\n%e = Exp %n : ?\n%s = Add %o, %e : ?\n%y = Div %o, %s : ?",
        right: Right::Close,
    },
    Pair {
        name: "one branch",
        inputs: "%c: bool[], %x: f32[4]",
        shared: "",
        a: "%y = If %c {then_branch=graph @t() -> (%p) {\n%p = Relu %x : ?\n},
            else_branch=graph @e() -> (%q) {\n%q = Neg %x : ?\n}} : ?",
        b: "%y = If %c {then_branch=graph @t() -> (%p) {\n%p = Relu %x : ?\n},
            else_branch=graph @e() -> (%q) {\n%q = Identity %x : ?\n}} : ?",
        right: Right::Differs,
    },
    Pair {
        name: "a branch that no run takes",
        inputs: "%x: f32[4]",
        shared: "%k = const [1] : i64[1]\n%z = const 1e30 : f32[]",
        a: "%a = Abs %x : ?\n%m = ReduceMax %a {keepdims=0} : ?\n%n = Neg %m : ?\n%c = Less %z, %n : ?
            %y = If %c {then_branch=graph @t() -> (%p) {\n%p = Relu %x : ?\n},
            else_branch=graph @e() -> (%q) {\n%q = Neg %x : ?\n}} : ?",
        b: "%a = Abs %x : ?\n%m = ReduceMax %a {keepdims=0} : ?\n%n = Neg %m : ?\n%c = Less %z, %n : ?
            %y = If %c {then_branch=graph @t() -> (%p) {\n%p = Tanh %x : ?\n},
            else_branch=graph @e() -> (%q) {\n%q = Neg %x : ?\n}} : ?",
        right: Right::DiffersOrUnknown,
    },
    Pair {
        name: "one more extent",
        inputs: "%x: f32[N,4]",
        shared: "%k = const [1,-1] : i64[2]\n%l = const [-1,4] : i64[2]\n%m = const [0] : i64[1]
                 %o = const 1 : i64[]",
        a: "%y = ReduceSum %x, %m {keepdims=1} : ?",
        b: "%y = Slice %x [0: 0..1] : ?",
        right: Right::Differs,
    },
    Pair {
        name: "an input with a default that one of them ignores",
        inputs: "%x: f32[4], %w: f32[4] = [1,2,3,4]",
        shared: "%k = const [1,2,3,4] : f32[4]",
        a: "%y = Add %x, %w : ?",
        b: "%y = Add %x, %k : ?",
        right: Right::Differs,
    },
    Pair {
        name: "defaults with which alone the declared shape is true",
        inputs: "%x: f32[3,1,21], %w: i64[] = 1",
        shared: "%k = const [3,1,21] : i64[3]\n%s = Shape %x : ?\n%three = const [3] : i64[1]
                 %rest = const [-1] : i64[1]\n%first = const [0] : i64[1]",
        a: "%g = Gather %s, %w : ?\n%u = Unsqueeze %g, %first : ?
            %c = Concat %three, %u, %rest {axis=0} : ?\n%y = Reshape %x, %c : f32[3,1,21]",
        b: "%y = Reshape %x, %k : f32[3,1,21]",
        right: Right::Bits,
    },
    Pair {
        name: "no elements in any run",
        inputs: "%x: f32[4]",
        shared: "%k = const 100000 : f32[]\n%s = const [0] : i64[1]",
        a: "%n = Sub %x, %x : ?\n%z = NonZero %n : ?\n%y = Neg %z : ?",
        b: "%n = Sub %x, %x : ?\n%z = NonZero %n : ?\n%y = Abs %z : ?",
        right: Right::DiffersOrUnknown,
    },
    Pair {
        name: "the sign of zero",
        inputs: "%x: f32[64]",
        shared: "%z = const 0 : f32[]",
        a: "%r = Relu %x : ?\n%y = Neg %r : ?",
        b: "%r = Relu %x : ?\n%y = Sub %z, %r : ?",
        right: Right::Close,
    },
];

#[test]
fn pairs_get_the_right_verdict() {
    let mut left = Vec::new();
    for p in PAIRS {
        let graph = |body: &str| {
            parse(&format!("graph @g({}) -> (%y) opset 17 {{\n{}\n{body}\n}}", p.inputs, p.shared))
        };
        match (graph(p.a), graph(p.b)) {
            (Ok(a), Ok(b)) => {
                for seed in 0..3 {
                    check(p.name, &verified(&a, &b, &[], seed), p.right);
                }
            }
            (a, b) => left.push(format!("{}: {:?} {:?}", p.name, a.err(), b.err())),
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}
