//! The command line, as a user meets it.

use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_graph-opt")).args(args).output().unwrap()
}

fn code(o: &Output) -> i32 {
    o.status.code().unwrap_or(-1)
}

fn err(o: &Output) -> String {
    String::from_utf8_lossy(&o.stderr).into_owned()
}

fn text(p: &Path) -> &str {
    p.to_str().unwrap()
}

#[test]
fn tile_verify_untile_and_run() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (plain, tiled, back) = (at("a.onnx"), at("b.onnx"), at("c.onnx"));
    let o = run(&["opt", "zoo:aidge-tutorial", "-p", "", "-o", text(&plain)]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    let o = run(&[
        "opt",
        text(&plain),
        "-p",
        "tile-conv{axis=h parts=4}",
        "-o",
        text(&tiled),
        "--verify",
    ]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(err(&o).contains("exact, bit-exact on cpu"), "{}", err(&o));
    assert_eq!(code(&run(&["verify", text(&plain), text(&tiled)])), 0);
    assert_eq!(code(&run(&["diff", text(&plain), text(&tiled)])), 1);
    let o = run(&["opt", text(&tiled), "-p", "untile", "-o", text(&back)]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    let o = run(&["verify", text(&plain), text(&back)]);
    assert!(String::from_utf8_lossy(&o.stdout).contains("identical"));
    let out = at("out");
    let o = run(&["run", text(&tiled), "--output", text(&out)]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 1);
}

#[test]
fn nothing_changed_writes_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.onnx"), dir.path().join("b.onnx"));
    run(&["opt", "zoo:aidge-tutorial", "-p", "", "-o", text(&a)]);
    assert_eq!(code(&run(&["opt", text(&a), "-p", "", "-o", text(&b)])), 0);
    assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
}

#[test]
fn mistakes_say_what_was_meant_and_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x.onnx");
    for (args, exit, what) in [
        (
            vec!["opt", "zoo:aidge-tutorial", "-p", "tile-cnov{axis=h parts=2}"],
            2,
            "did you mean \"tile-conv\"",
        ),
        (vec!["opt", "zoo:aidge", "-p", ""], 2, "aidge-tutorial"),
        (vec!["opt", "/nowhere.onnx", "-p", ""], 2, "/nowhere.onnx"),
        (vec!["passes", "simplfy"], 2, "did you mean \"simplify\""),
        (vec!["run", "zoo:aidge-tutorial", "--input", "nope=x.npy"], 2, "x.npy"),
    ] {
        let mut all = args.clone();
        if args[0] == "opt" {
            all.extend(["-o", text(&out)]);
        }
        let o = run(&all);
        assert_eq!(code(&o), exit, "{args:?}: {}", err(&o));
        assert!(err(&o).contains(what), "{args:?}: {}", err(&o));
        assert!(!out.exists(), "{args:?}");
    }
}

#[test]
fn models_that_differ_end_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str, body: &str| {
        let p = dir.path().join(n);
        std::fs::write(&p, format!("graph @g(%x: f32[4]) -> (%y) opset 13 {{\n{body}\n}}"))
            .unwrap();
        p
    };
    let (a, b) = (at("a.gir", "%y = Relu %x : f32[4]"), at("b.gir", "%y = Tanh %x : f32[4]"));
    let o = run(&["verify", text(&a), text(&b)]);
    assert_eq!(code(&o), 1);
    assert!(String::from_utf8_lossy(&o.stdout).contains("differs"), "{}", err(&o));
}

#[test]
fn dimensions_are_fixed_in_the_written_model() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (gir, plain, out) = (at("a.gir"), at("a.onnx"), at("b.onnx"));
    let model = "graph @g(%x: f32[N,1,h,w]) -> (%y) opset 13 {
        %k = const random(1)              : f32[1,1,3,3]
        %y = Conv %x, %k {pads=[1,1,1,1]} : f32[N,1,h,w] ; conv
    }";
    std::fs::write(&gir, model).unwrap();
    assert_eq!(code(&run(&["opt", text(&gir), "-p", "", "-o", text(&plain)])), 0);
    let tile = |dims: &[&str]| {
        let mut all = vec!["opt", text(&plain), "-p", "tile-conv{axis=h parts=2}"];
        all.extend(["-o", text(&out), "--verify"]);
        dims.iter().for_each(|d| all.extend(["--dim", d]));
        if !dims.is_empty() {
            all.push("--fix-dims");
        }
        run(&all)
    };
    let o = tile(&[]);
    assert!(err(&o).contains("is h; --dim h=… --fix-dims makes it known"), "{}", err(&o));
    std::fs::remove_file(&out).unwrap();
    for (dims, what) in [
        (vec!["hh=8"], "did you mean \"h\"?"),
        (vec!["?=8"], "INPUT:AXIS"),
        (vec!["h=8", "x:2=9"], "is 8, and cannot be 9"),
    ] {
        let o = tile(&dims);
        assert_eq!(code(&o), 2, "{}", err(&o));
        assert!(err(&o).contains(what), "{}", err(&o));
        assert!(err(&o).contains("symbolic dimensions are N (x:0), h (x:2), w (x:3)"));
        assert!(!out.exists());
    }
    let o = run(&["opt", text(&plain), "-p", "", "--fix-dims"]);
    assert_eq!(code(&o), 2, "{}", err(&o));
    let o = tile(&["h=8", "x:3=6"]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(err(&o).contains("exact, bit-exact on cpu"), "{}", err(&o));
    let o = run(&["print", text(&out)]);
    let s = String::from_utf8_lossy(&o.stdout);
    assert!(s.contains("%x: f32[N,1,8,6]") && s.contains("conv/tile1of2"), "{s}");
    let declared = graph_opt_ir::onnx::load(&out).unwrap().declared;
    assert!(declared.iter().all(|(_, ty)| ty.to_string().ends_with("8,6]")), "{declared:?}");
    // On the extents of the written model, which the original leaves open.
    let o = run(&["verify", text(&plain), text(&out)]);
    assert_eq!(code(&o), 0, "{}", err(&o));
}

#[test]
fn inspect_gives_json() {
    let o = run(&["inspect", "zoo:aidge-tutorial", "--json"]);
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(v["nodes"], 4);
    // 4 images of 64 x 64 outputs, 32 channels of 3 x 3 x 3 products.
    assert_eq!(v["macs"], 4 * 64 * 64 * 32 * 27);
    assert_eq!(v["parameters"], 32 * 27 + 32 + 4 * 32);
    for key in ["operators", "peak_activation_bytes", "untileable"] {
        assert!(!v[key].is_null(), "{key}");
    }
    let live = |n: &serde_json::Value| n["live_bytes"].as_u64().unwrap();
    let timeline = v["timeline"].as_array().unwrap();
    assert_eq!(timeline.len(), 4);
    assert_eq!(timeline.iter().map(live).max(), v["peak_activation_bytes"].as_u64());
    let macs: u64 = timeline.iter().map(|n| n["macs"].as_u64().unwrap()).sum();
    assert_eq!(Some(macs), v["macs"].as_u64());
}

#[test]
fn help_lists_every_pass_and_option() {
    let o = run(&["passes"]);
    let s = String::from_utf8_lossy(&o.stdout);
    for word in [
        "simplify",
        "tile-conv",
        "fuse-tiles",
        "extra-macs=",
        "untile",
        "max-bytes=",
        "sizes=",
        "only(REGEX)",
    ] {
        assert!(s.contains(word), "{word} in {s}");
    }
}

/// A budget is met, or nothing is written.
#[test]
fn budgets_of_memory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("small.onnx");
    let model = "zoo:superres@32x48";
    let o = run(&["opt", model, "--memory", "700KiB", "-o", text(&out), "--verify"]);
    assert!(o.status.success(), "{}", err(&o));
    assert!(err(&o).contains("exact, bit-exact on cpu"), "{}", err(&o));
    let o = run(&["inspect", text(&out), "--json"]);
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert!(v["peak_activation_bytes"].as_u64().unwrap() <= 700 << 10);
    let none = dir.path().join("none.onnx");
    let o = run(&["opt", model, "--memory", "10KiB", "-o", text(&none)]);
    assert_eq!(o.status.code(), Some(1));
    assert!(err(&o).contains("the least peak that was found is"), "{}", err(&o));
    assert!(!none.exists());
    let o = run(&["opt", model, "-p", "fuse-tiles{front=list}"]);
    assert!(o.status.success() && err(&o).contains("% MACs: "), "{}", err(&o));
    let o = run(&["opt", model, "--memory", "10", "-o", text(&none)]);
    assert_eq!(o.status.code(), Some(2));
}
