//! Sequences, optionals, strings and small types: files, and verdicts that must not be wrong.

use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Report};
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::{Backend, Executable};
use graph_opt_ir::text::{parse, print};
use graph_opt_ir::{Datum, Graph, Tensor, Type, infer, onnx};

fn compared(a: &str, b: &str) -> Report {
    let of = |body: &str| Arc::new(parse(body).unwrap_or_else(|e| panic!("{e} in {body}")));
    let cpu = Cpu::default();
    let c = Compare { backends: vec![&cpu], seed: 3, ..Compare::default() };
    c.run(&of(a), &of(b)).unwrap()
}

/// Models that differ, most in few numbers or behind an index.
#[test]
fn models_that_differ_are_not_called_equal() {
    let cast = |attrs: &str, ty: &str| {
        format!(
            "graph @g(%x: f32[3,4]) -> (%y) opset 25 {{
               %q = Cast %x {{{attrs}}} : {ty}[3,4]
               %y = Cast %q {{to=1}} : f32[3,4] }}"
        )
    };
    let quantize = |attrs: &str, ty: &str| {
        format!(
            "graph @g(%x: f32[3,4]) -> (%y) opset 25 {{
               %s = const 0.25 : f32[]
               %q = QuantizeLinear %x, %s {{{attrs}}} : {ty}[3,4]
               %y = Cast %q {{to=1}} : f32[3,4] }}"
        )
    };
    let at = |op: &str| {
        format!(
            "graph @g(%x: f32[3,4], %i: i64[]) -> (%y) opset 18 {{
               %a = Neg %x : f32[3,4]
               %b = {op} %x : f32[3,4]
               %s = SequenceConstruct %x, %a, %b : sequence(f32[3,4])
               %y = SequenceAt %s, %i : f32[3,4] }}"
        )
    };
    let scan = |op: &str, attrs: &str| {
        format!(
            "graph @g(%s: f32[3], %x: f32[n,3]) -> (%p, %q) opset 18 {{
               %p, %q = Scan %s, %x {{num_scan_inputs=1, {attrs}
                 body=graph @b(%t: f32[3], %e: f32[3]) -> (%u, %v) {{
                   %u = {op} %t, %e : ? %v = Neg %u : ? }}}} : f32[3], f32[n,3] }}"
        )
    };
    let text = |word: &str| {
        format!(
            "graph @g(%x: string[2]) -> (%y) opset 20 {{
               %y = RegexFullMatch %x {{pattern=\"{word}\"}} : bool[2] }}"
        )
    };
    let printed = |word: &str| {
        format!(
            "graph @g(%x: i64[2]) -> (%y) opset 20 {{
               %t = Cast %x {{to=8}} : string[2]
               %y = RegexFullMatch %t {{pattern=\"{word}\"}} : bool[2] }}"
        )
    };
    let constant = |i: &str| {
        format!(
            "graph @g(%x: f32[3,4], %i: i64[]) -> (%y) opset 18 {{
               %k = const 0 : i64[]
               %a = Neg %x : f32[3,4]
               %s = SequenceConstruct %x, %a : sequence(f32[3,4])
               %y = SequenceAt %s, {i} : f32[3,4] }}"
        )
    };
    let small = |end: &str| {
        format!(
            "graph @g(%x: f8e4m3fn[3]) -> (%y) opset 25 {{
               %a = const 4.0 : f32[]
               %z = Cast %x {{to=1}} : f32[3]
               %y = {end} : f32[3] }}"
        )
    };
    let e4 = "f8e4m3fn";
    let pairs = [
        (cast("to=17", e4), cast("to=17, saturate=0", e4)),
        (cast("to=24", "f8e8m0"), cast("to=24, round_mode=\"nearest\"", "f8e8m0")),
        (cast("to=22", "i4"), cast("to=21", "u4")),
        (quantize("output_dtype=17", e4), quantize("output_dtype=17, saturate=0", e4)),
        (quantize("output_dtype=5", "i16"), quantize("output_dtype=5, precision=10", "i16")),
        (at("Abs"), at("Exp")),
        (scan("Add", ""), scan("Sub", "")),
        (scan("Add", ""), scan("Add", "scan_input_directions=[1],")),
        (scan("Add", ""), scan("Add", "scan_output_directions=[1],")),
        (text("www.*"), text("ftp.*")),
        (printed("12345678"), printed("87654321")),
        (constant("%i"), constant("%k")),
        (small("Min %z, %a"), small("Identity %z")),
    ];
    for (a, b) in pairs {
        let r = compared(&a, &b);
        assert!(!r.is_equal(), "{r:?} of\n{a}\n{b}");
        assert!(compared(&a, &a).is_equal(), "{a}");
    }
}

#[test]
fn models_that_are_equal_are_called_so() {
    let split = |n: &str| {
        format!(
            "graph @g(%x: f32[3,4]) -> (%y) opset 18 {{
               %n = const {n} : i64[2]
               %s = SplitToSequence %x, %n : sequence(f32[?,4])
               %y = ConcatFromSequence %s {{axis=0}} : f32[?,4] }}"
        )
    };
    let scan = |sum: &str| {
        format!(
            "graph @g(%s: f32[3], %x: f32[n,3]) -> (%p) opset 18 {{
               %p = Scan %s, %x {{num_scan_inputs=1,
                 body=graph @b(%t: f32[3], %e: f32[3]) -> (%u) {{ %u = Add {sum} : ? }}}} : f32[3] }}"
        )
    };
    for (a, b) in [(split("[1,2]"), split("[2,1]")), (scan("%t, %e"), scan("%e, %t"))] {
        let r = compared(&a, &b);
        assert!(r.is_equal(), "{r:?} of\n{a}\n{b}");
    }
}

/// As text and as ONNX; a file that did not change is written byte for byte.
#[test]
fn types_of_sequences_and_optionals_are_kept() {
    let text =
        "graph @g(%s: sequence(f32[2,n]), %o: optional(sequence(i64[..]))) -> (%t, %h) opset 18 {
        %x = const [1] : i64[1]
        %i = const 0 : i64[]
        %e = SequenceErase %s, %i : sequence(f32[2,n])
        %t = Identity %e : sequence(f32[2,n])
        %h = OptionalHasElement %o : bool[]
      }";
    let g = parse(text).unwrap();
    assert_eq!(parse(&print(&g)).map(|g| print(&g)).unwrap(), print(&g));
    let bytes = |g: &Graph| {
        let mut out = Vec::new();
        onnx::export(g, &mut out).unwrap();
        out
    };
    let first = bytes(&g);
    let read = onnx::import(first.clone(), None).unwrap();
    let mut h = read.graph;
    infer::infer_graph(&mut h, &read.declared).unwrap();
    assert_eq!(bytes(&h), first);
    for name in ["s", "o", "e", "t", "h"] {
        let ty = |g: &Graph| g.value(g.find_value(name).unwrap()).ty.to_string();
        assert_eq!(ty(&h), ty(&g), "{name}");
    }
}

/// A state that grows has no extents of its own, and no turn gives an empty sequence.
#[test]
fn sequences_grow_in_loops() {
    let text = "graph @g(%n: i64[]) -> (%l, %s) opset 18 {
        %e = SequenceEmpty {dtype=1} : sequence(f32[..])
        %s = Loop %n, _, %e {body=graph @b(%i: i64[], %c: bool[], %q: sequence(f32[..])) -> (%d, %r) {
          %d = Identity %c : ?
          %k = Cast %i {to=1} : ?
          %r = SequenceInsert %q, %k : ? }} : sequence(f32[..])
        %l = SequenceLength %s : i64[]
      }";
    let g = Arc::new(parse(text).unwrap());
    let cpu = Cpu::default().prepare(g.clone()).unwrap();
    for n in [0, 3] {
        let count = Tensor::i64s(&[n]).reshaped(vec![]).unwrap();
        let out = cpu.run_data(&[count.into()], g.outputs()).unwrap();
        let [Datum::Tensor(length), Datum::Sequence(all)] = &out[..] else { panic!("{out:?}") };
        assert_eq!(length.to_i64s().unwrap(), [n]);
        let numbers = (0..n).map(|i| Tensor::f32s(&[], &[i as f32]).unwrap());
        assert_eq!(all, &numbers.collect::<Vec<_>>());
        // As tensors, they cannot be given.
        let count = Tensor::i64s(&[n]).reshaped(vec![]).unwrap();
        assert!(cpu.run(&[count], g.outputs()).is_err());
    }
}

/// Text that doubles at every turn ends at the limit of memory.
#[test]
fn text_is_bounded() {
    let text = "graph @g(%n: i64[]) -> (%s) opset 20 {
        %e = Constant {value_strings=[\"ab\"]} : string[1]
        %s = Loop %n, _, %e {body=graph @b(%i: i64[], %c: bool[], %q: string[1]) -> (%d, %r) {
          %d = Identity %c : ?
          %r = StringConcat %q, %q : ? }} : string[1]
      }";
    let g = Arc::new(parse(text).unwrap());
    let cpu = Cpu { max_bytes: 1 << 20, ..Cpu::default() };
    let cpu = cpu.prepare(g.clone()).unwrap();
    let run = |n: i64| cpu.run(&[Tensor::i64s(&[n]).reshaped(vec![]).unwrap()], g.outputs());
    assert!(run(10).is_ok());
    let e = run(60).unwrap_err().to_string();
    assert!(e.contains("left"), "{e}");
}

/// Files cannot make types that nest without end.
#[test]
fn optionals_of_optionals_are_refused() {
    let text = "graph @g(%x: f32[2]) -> (%z) opset 18 {
        %y = Optional %x : optional(f32[2])
        %z = Optional %y : ? }";
    let e = parse(text).unwrap_err().to_string();
    assert!(e.contains("expected tensors for Optional"), "{e}");
}

/// What one run writes as a sequence, another one reads.
#[test]
fn sequences_are_folders_of_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let run = |model: &str, args: &[String], out: &str| {
        let file = at("model.gir");
        std::fs::write(&file, model).unwrap();
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_graph-opt"))
            .arg("run")
            .arg(&file)
            .args(args)
            .arg("--output")
            .arg(at(out))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
    };
    let split = "graph @g(%x: f32[3,2]) -> (%y) opset 18 {
        %y = SplitToSequence %x {keepdims=0} : sequence(f32[2]) }";
    let erase = "graph @g(%s: sequence(f32[2])) -> (%t, %l) opset 18 {
        %i = const 0 : i64[]
        %t = SequenceErase %s, %i : sequence(f32[2])
        %l = SequenceLength %t : i64[] }";
    run(split, &[], "first");
    let given = format!("s={}", at("first/y").display());
    // An element that was there before goes.
    std::fs::create_dir_all(at("second/t")).unwrap();
    std::fs::write(at("second/t/2.npy"), "old").unwrap();
    run(erase, &["--input".into(), given], "second");
    let read = |f: &str| std::fs::read(at(f)).unwrap();
    assert_eq!(read("second/t/0.npy"), read("first/y/1.npy"));
    assert_eq!(read("second/t/1.npy"), read("first/y/2.npy"));
    assert!(!at("second/t/2.npy").exists() && at("second/l.npy").exists());
}

/// What inference says of the elements of whole numbers is what a run gives.
#[test]
fn followed_elements_are_those_of_a_run() {
    let mut followed = 0;
    for seed in 0..400u64 {
        let text = whole_numbers(seed);
        let g = Arc::new(parse(&text).unwrap());
        let known = infer::follow_with(&g, None, &|_| Type::Unknown);
        let Ok(ready) = Cpu::default().prepared(g.clone()) else { continue };
        let Ok(all) = ready.run(&[], g.outputs()) else { continue };
        for (&v, t) in g.outputs().iter().zip(&all) {
            let Some(found) = known.tensor(v) else { continue };
            followed += 1;
            assert_eq!(&found, t, "{} in {text}", g.value(v).name);
        }
    }
    assert!(followed > 2000, "only {followed} values were followed");
}

/// A random graph of i64 tensors; every value is an output.
fn whole_numbers(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut pick = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % n
    };
    // Each value with its extents, all of i64.
    let mut all: Vec<(String, Vec<usize>)> = Vec::new();
    let mut text = String::new();
    for i in 0..12 {
        let name = format!("v{i}");
        if i < 2 {
            let dims = [vec![], vec![3], vec![2, 3], vec![2, 2, 2]][pick(4)].clone();
            let n: usize = dims.iter().product();
            let numbers: Vec<String> = (0..n).map(|_| pick(9).to_string()).collect();
            let value = match dims.is_empty() {
                true => numbers[0].clone(),
                false => format!("[{}]", numbers.join(",")),
            };
            text += &format!("%c{i} = const {value} : i64{dims:?}\n%{name} = Identity %c{i} : ?\n");
            all.push((name, dims));
            continue;
        }
        let (x, dims) = all[pick(all.len())].clone();
        let axis = if dims.is_empty() { 0 } else { pick(dims.len()) };
        let mut out = dims.clone();
        let n: usize = dims.iter().product();
        let line = match pick(11) {
            0 => {
                out = vec![n];
                format!("%k{i} = const [-1] : i64[1]\n%{name} = Reshape %{x}, %k{i} : ?")
            }
            1 if dims.len() > 1 => {
                let mut perm: Vec<usize> = (0..dims.len()).collect();
                perm.rotate_left(1 + pick(dims.len() - 1));
                out = perm.iter().map(|&p| dims[p]).collect();
                format!("%{name} = Transpose %{x} {{perm={perm:?}}} : ?")
            }
            2 if !dims.is_empty() && dims[axis] > 1 => {
                let step: i64 = [1, -1, 2, -2][pick(4)];
                let (start, end) = if step > 0 { (pick(2), 9) } else { (9, -9) };
                let start = start as i64;
                let first = if step > 0 { start } else { dims[axis] as i64 - 1 };
                let taken = if step > 0 { dims[axis] as i64 - first } else { first + 1 };
                out[axis] = (taken as usize).div_ceil(step.unsigned_abs() as usize);
                format!(
                    "%s{i} = const [{start}] : i64[1]\n%e{i} = const [{end}] : i64[1]\n\
                     %a{i} = const [{axis}] : i64[1]\n%t{i} = const [{step}] : i64[1]\n\
                     %{name} = Slice %{x}, %s{i}, %e{i}, %a{i}, %t{i} : ?"
                )
            }
            3 if !dims.is_empty() => {
                let some: Vec<i64> = (0..1 + pick(3))
                    .map(|_| pick(dims[axis]) as i64 - pick(2) as i64 * dims[axis] as i64)
                    .collect();
                out[axis] = some.len();
                format!(
                    "%k{i} = const {some:?} : i64[{}]\n%{name} = Gather %{x}, %k{i} {{axis={axis}}} : ?",
                    some.len()
                )
            }
            4 if !dims.is_empty() => {
                out.remove(axis);
                format!(
                    "%k{i} = const {} : i64[]\n%{name} = Gather %{x}, %k{i} {{axis={axis}}} : ?",
                    pick(dims[axis])
                )
            }
            5 if !dims.is_empty() => {
                out[axis] *= 2;
                format!("%{name} = Concat %{x}, %{x} {{axis={axis}}} : ?")
            }
            6 if dims.len() <= 1 => {
                let op = ["Add", "Sub", "Mul", "Div"][pick(4)];
                format!(
                    "%k{i} = const {} : i64[]\n%{name} = {op} %{x}, %k{i} : ?",
                    [1, 2, 3, 70000][pick(4)]
                )
            }
            7 => {
                let op = ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"][pick(5)];
                format!(
                    "%k{i} = const {} : i64[]\n%b{i} = {op} %{x}, %k{i} : ?\n%n{i} = Not %b{i} : ?\n\
                     %{name} = Cast %n{i} {{to=7}} : ?",
                    pick(9)
                )
            }
            8 => {
                let to = [1, 6, 9, 11][pick(4)];
                format!("%b{i} = Cast %{x} {{to={to}}} : ?\n%{name} = Cast %b{i} {{to=7}} : ?")
            }
            9 if dims.len() == 1 => {
                let op = ["ReduceMax", "ReduceMin", "ReduceProd"][pick(3)];
                let keep = pick(2);
                out = vec![1; keep];
                format!("%{name} = {op} %{x} {{axes=[0], keepdims={keep}}} : ?")
            }
            _ => {
                out = vec![2, 1 + pick(3)];
                format!(
                    "%k{i} = const {out:?} : i64[2]\n%{name} = ConstantOfShape %k{i} {{value=tensor([{}] : i64[1])}} : ?",
                    pick(5)
                )
            }
        };
        if out.iter().product::<usize>() > 64 {
            continue;
        }
        text += &line;
        text.push('\n');
        all.push((name, out));
    }
    let outputs: Vec<String> = all.iter().map(|v| format!("%{}", v.0)).collect();
    format!("graph @g() -> ({}) opset 13 {{\n{text}}}", outputs.join(", "))
}
