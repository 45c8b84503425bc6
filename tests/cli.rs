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

/// The result in the envelope on standard output.
fn result(o: &Output) -> serde_json::Value {
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(v["exit"].as_i64(), Some(code(o).into()), "{v}");
    v["result"].clone()
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
    assert!(err(&o).contains("equal for all inputs (proved, "), "{}", err(&o));
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
        (
            vec!["opt", "zoo:aidge-tutorial", "-p", "fuse-tiles{grid=2 to=cnv0}"],
            2,
            "there is no node or result named \"cnv0\"; did you mean \"conv0\"?",
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
    assert!(err(&o).contains("equal for all inputs (proved, "), "{}", err(&o));
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
    let v = result(&o);
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
    assert!(err(&o).contains("equal for all inputs (proved, "), "{}", err(&o));
    let o = run(&["inspect", text(&out), "--json"]);
    let v = result(&o);
    assert!(v["peak_activation_bytes"].as_u64().unwrap() <= 700 << 10);
    let none = dir.path().join("none.onnx");
    let o = run(&["opt", model, "--memory", "10KiB", "-o", text(&none)]);
    assert_eq!(o.status.code(), Some(4));
    assert!(err(&o).contains("the least peak that was found is"), "{}", err(&o));
    assert!(!none.exists());
    let o = run(&["opt", model, "-p", "fuse-tiles{front=list}"]);
    assert!(o.status.success() && stdout(&o).contains("parts of rows"), "{}", stdout(&o));
    let o = run(&["opt", model, "--memory", "ten", "-o", text(&none)]);
    assert_eq!(o.status.code(), Some(2));
    assert!(err(&o).contains("a share of the peak such as 50%, or auto"), "{}", err(&o));
}

fn stdout(o: &Output) -> String {
    String::from_utf8_lossy(&o.stdout).into_owned()
}

/// A model whose nodes can be tiled, cannot, or need no tiling.
const MIXED: &str = "graph @g(%x: f32[1,4,8,8], %z: f32[N,4,h,8]) -> (%y, %q) opset 13 {
    %w = const random(1)              : f32[4,4,3,3]
    %i = Identity %x                  : ?
    %a = Conv %i, %w {pads=[1,1,1,1]} : ? ; conv1
    %b = Conv %a, %w                  : ? ; conv2
    %y = GlobalAveragePool %b         : ? ; mean
    %q = Conv %z, %w {pads=[1,1,1,1]} : ? ; symbolic
}";

#[test]
fn edits_are_shown_verified_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let (gir, out) = (dir.path().join("a.gir"), dir.path().join("b.onnx"));
    std::fs::write(&gir, MIXED).unwrap();
    for n in 0..3usize {
        let mut args = vec!["opt", text(&gir), "-p", "tile-conv{axis=h parts=2}", "--verify"];
        let stop = n.to_string();
        args.extend(["-o", text(&out), "--print-after", "--verify-each", "--stop-after", &stop]);
        args.extend(["--dim", "h=8", "--dim", "N=1"]);
        let o = run(&args);
        assert_eq!(code(&o), 0, "{}", err(&o));
        assert_eq!(err(&o).matches("// edit ").count(), n, "{}", err(&o));
        let edits = if n == 1 { "edit" } else { "edits" };
        assert!(err(&o).contains(&format!("\n{n} {edits}\n")), "{}", err(&o));
        let printed = stdout(&run(&["print", text(&out)]));
        assert_eq!(printed.matches(" Concat ").count(), n, "{printed}");
    }
}

#[test]
fn explain_says_what_each_pass_did_and_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let gir = dir.path().join("a.gir");
    std::fs::write(&gir, MIXED).unwrap();
    let pipeline = "simplify,only(conv)(tile-conv{axis=h parts=2}),tile-conv{axis=h parts=7},\
                    fixpoint(simplify),only(none)(untile)";
    let o = run(&["explain", text(&gir), "-p", pipeline]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    crate::support::snapshots(format!("explain -p {pipeline}"))
        .bind(|| insta::assert_snapshot!("explain", stdout(&o)));
    let args = ["explain", text(&gir), "-p", pipeline, "--json", "--fix-dims"];
    let args = [&args[..], &["--dim", "N=1", "--dim", "h=8"]].concat();
    let v = result(&run(&args));
    let passes = v["passes"].as_array().unwrap();
    assert_eq!(passes[1]["pass"], "tile-conv{axis=h parts=2}");
    assert_eq!(
        (&passes[1]["only"], passes[1]["edits"].as_array().unwrap().len()),
        (&"conv".into(), 2)
    );
    assert_eq!(passes[0]["after"], passes[1]["before"]);
    for p in passes {
        assert!(p["after"]["peak_activation_bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn bisect_finds_no_fault_in_ours() {
    let dims = ["--dim", "h=8", "--dim", "N=1"];
    let dir = tempfile::tempdir().unwrap();
    let gir = dir.path().join("a.gir");
    std::fs::write(&gir, MIXED).unwrap();
    let args = ["bisect", text(&gir), "-p", "simplify,tile-conv{axis=h parts=2}", "--fix-dims"];
    let o = run(&[&args[..], &dims].concat());
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(
        stdout(&o).contains("makes a difference: equal: exact, bit-exact on cpu"),
        "{}",
        stdout(&o)
    );
    let o = run(&[&args[..], &dims, &["--json", "--every"]].concat());
    let v = result(&o);
    assert!(v["edit"].is_null() && v["edits"].as_u64() > Some(3), "{v}");
    assert_eq!(code(&run(&["bisect", text(&gir), "-p", "tile"])), 2);
}

#[cfg(unix)]
#[test]
fn reduce_by_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (small, works) = (at("small.onnx"), at("works.onnx"));
    // It fails where a depthwise convolution of stride 2 comes before the pooling at the end.
    let bin = env!("CARGO_BIN_EXE_graph-opt");
    let command = format!(
        "t=$({bin} print {{}}) || exit 0
         case \"$t\" in *group=*strides=*2,2*GlobalAveragePool*) exit 1;; esac"
    );
    let reduce = |more: &[&str]| {
        let args = ["reduce", "zoo:mobilenetv2@32x32", "--check", &command, "-o", text(&small)];
        run(&[&args[..], more].concat())
    };
    let o = reduce(&["--works", text(&works)]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    println!("{}", stdout(&o));
    let nodes = |p: &Path| {
        let v = result(&run(&["inspect", text(p), "--json"]));
        v["nodes"].as_u64().unwrap()
    };
    assert!(nodes(&small) <= 5, "{}", stdout(&run(&["print", text(&small)])));
    assert!(nodes(&works) >= 90, "{}", nodes(&works));
    std::fs::remove_file(&small).unwrap();
    let o = reduce(&["--tries", "3"]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(err(&o).contains("the search stopped after 3 models"), "{}", err(&o));
    std::fs::remove_file(&small).unwrap();
    for (command, exit, what) in [
        ("true {}", 2, "nothing to reduce"),
        ("true", 2, "no {} for the file"),
        ("no-such-command-here {}", 2, "cannot run"),
        ("sleep 30; : {}", 2, "it takes over 1 s"),
    ] {
        let args = ["reduce", "zoo:aidge-tutorial", "--timeout", "1", "-o", text(&small)];
        let o = run(&[&args[..], &["--check", command]].concat());
        assert_eq!(code(&o), exit, "{command}: {}", err(&o));
        assert!(err(&o).contains(what) && !small.exists(), "{command}: {}", err(&o));
    }
}

#[test]
fn repro_says_whether_the_error_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.txt");
    let repro = |header: &str| {
        std::fs::write(&file, format!("{header}\n{MIXED}\n")).unwrap();
        run(&["repro", text(&file)])
    };
    let title = "// graph-opt reproducer\n// version: 0.0.1\n// seed: 0\n";
    let good = format!("{title}// pipeline: tile-conv{{axis=h parts=2}}\n// error: tile-conv: old");
    let o = repro(&good);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert_eq!(stdout(&o), "the error is gone: tile-conv: old\n");
    assert!(err(&o).contains("written by version 0.0.1"), "{}", err(&o));
    for (header, what) in [
        ("// pipeline: ", "its first line is not"),
        (title, "its header has no pipeline"),
        (&good.replace("axis=h", "axis=q"), "axis"),
        (&good.replace("seed: 0", "seed: x"), "seed is no number"),
        (&format!("{good}\n// model: ../secret.onnx"), "not the name of a file beside it"),
        (&format!("{good}\n// model: none.onnx"), "none.onnx"),
        (&format!("{good}\ngraph"), "line 7: expected '@'"),
    ] {
        let o = repro(header);
        assert_eq!(code(&o), 2, "{header}: {}", err(&o));
        assert!(err(&o).contains(what), "{header}: {}", err(&o));
    }
    assert_eq!(code(&run(&["repro", "/nowhere.txt"])), 2);
}

/// A proof is written as its steps, each by its rule.
#[test]
fn verify_writes_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (tiled, proof) = (dir.path().join("b.onnx"), dir.path().join("proof.txt"));
    let tiles = "tile-conv{axis=hxw parts=2x2}";
    assert_eq!(code(&run(&["opt", "zoo:resnet18@64x64", "-p", tiles, "-o", text(&tiled)])), 0);
    let o = run(&[
        "verify",
        "zoo:resnet18@64x64",
        text(&tiled),
        "--by",
        "prove",
        "--proof",
        text(&proof),
    ]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(stdout(&o).starts_with("equal for all inputs (proved, "), "{}", stdout(&o));
    let steps = std::fs::read_to_string(&proof).unwrap();
    assert!(steps.lines().any(|l| l.contains(" = original:\"conv1_out\" [")), "{steps}");
    assert!(steps.lines().any(|l| l.contains(" = part-of-result ")), "{steps}");
    let so = "# so original:\"fc_out\" = other:\"fc_out\"";
    assert!(steps.trim_end().ends_with(so), "{steps}");
    // It stands alone: it is checked against both models, and holds for no others.
    let check = |a: &str, b: &str, p: &Path| run(&["verify", a, b, "--check-proof", text(p)]);
    let o = check("zoo:resnet18@64x64", text(&tiled), &proof);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(stdout(&o).contains("the models are equal"), "{}", stdout(&o));
    assert_eq!(code(&check(text(&tiled), "zoo:resnet18@64x64", &proof)), 5);
    assert_eq!(code(&check("zoo:resnet18@64x64", "zoo:resnet18@96x96", &proof)), 5);
    let without: Vec<&str> = steps.lines().filter(|l| !l.contains("part-of-result")).collect();
    std::fs::write(&proof, without.join("\n")).unwrap();
    let o = check("zoo:resnet18@64x64", text(&tiled), &proof);
    assert_eq!(code(&o), 5);
    assert!(err(&o).contains("expected t"), "{}", err(&o));
}

const CLUSTER: &str = r#"
    source = "a"
    [[device]]
    name = "a"
    memory = "30MiB"
    profile = "a.json"
    [[device]]
    name = "b"
    memory = "30MiB"
    macs-per-second = 1e9
    [default-link]
    bandwidth = "100Mbit/s"
    latency = "1ms"
"#;

/// From a profile to stages that run, and what is refused on the way.
#[test]
fn a_model_over_two_devices() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (cluster, plan, stages) = (at("cluster.toml"), at("plan.json"), at("stages"));
    let model = "zoo:resnet18@64x64";
    let profile = at("a.json");
    let o = run(&["profile", model, "--runs", "1", "-o", text(&profile)]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    std::fs::write(&cluster, CLUSTER).unwrap();
    let to_plan = |more: &[&str]| {
        let args = ["plan", model, "--cluster", text(&cluster), "-o", text(&plan)];
        run(&[&args[..], more].concat())
    };
    let o = to_plan(&["--objective", "throughput"]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(stdout(&o).contains("proved to be the best"), "{}", stdout(&o));
    let to_split = || run(&["split", model, "--plan", text(&plan), "-o", text(&stages)]);
    let o = to_split();
    assert_eq!(code(&o), 0, "{}", err(&o));
    let again = to_split();
    assert!(code(&again) == 2 && err(&again).contains("is there already"), "{}", err(&again));
    let simulate = || run(&["simulate", text(&stages), "--model", model]);
    let o = simulate();
    assert_eq!(code(&o), 0, "{}", err(&o));
    assert!(stdout(&o).contains("4 of 4 frames are equal"), "{}", stdout(&o));

    // A plan that takes less than a stage needs is found out.
    let manifest = stages.join("manifest.json");
    let good = std::fs::read_to_string(&manifest).unwrap();
    let bytes = good.split("\"memory_bytes\": ").nth(1).unwrap().split(',').next().unwrap();
    std::fs::write(&manifest, good.replace(bytes, "1")).unwrap();
    let o = simulate();
    assert!(code(&o) == 1 && err(&o).contains("planned 1"), "{}", err(&o));
    // Files outside of the folder are not read.
    std::fs::write(&manifest, good.replace("stage0.onnx", "../stage0.onnx")).unwrap();
    let o = simulate();
    assert!(
        code(&o) == 2 && err(&o).contains("the name of a file in the same folder"),
        "{}",
        err(&o)
    );

    // What cannot be planned says why.
    let o = to_plan(&["--max-latency", "1us"]);
    assert!(code(&o) == 4 && err(&o).contains("latency is at least"), "{}", err(&o));
    assert!(err(&o).contains("over the limit of 0.001 ms\ntry --max-latency "), "{}", err(&o));
    let o = to_plan(&["--pin", "conv1=c"]);
    assert!(code(&o) == 2 && err(&o).contains("no device c"), "{}", err(&o));
    std::fs::write(&profile, "{").unwrap();
    let o = to_plan(&[]);
    assert!(code(&o) == 2 && err(&o).contains("a.json"), "{}", err(&o));
    std::fs::write(&cluster, CLUSTER.replace("30MiB", "1MiB")).unwrap();
    std::fs::write(&profile, "").unwrap();
    let small =
        CLUSTER.replace("30MiB", "1MiB").replace("profile = \"a.json\"", "macs-per-second = 1");
    std::fs::write(&cluster, small).unwrap();
    let o = to_plan(&[]);
    assert!(
        code(&o) == 4 && err(&o).contains("weights take ") && err(&o).contains(" would do"),
        "{}",
        err(&o)
    );
}

/// What `opt` writes as text it reads back: weights, shapes and bodies.
#[test]
fn text_files_are_read_back() {
    use graph_opt_ir::{Graph, onnx, structural_eq, text};
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    let read =
        |name: &str| -> Graph { text::parse(&std::fs::read_to_string(name).unwrap()).unwrap() };
    let (first, second, tiled) = (at("a.gir"), at("b.gir"), at("c.gir"));
    let real = [
        "alrevuelta+cONNXr__mnist8.onnx",
        "ShiqiYu+libfacedetection.train__yunet_n_320_320.onnx",
        "dog-qiuqiu+FastestDet__FastestDet.onnx",
    ];
    let real = real.iter().filter_map(|n| crate::support::shared(&format!("models/{n}")));
    let mut models: Vec<String> = real.map(|p| p.to_str().unwrap().to_owned()).collect();
    models.extend(["zoo:mnist-qdq", "zoo:mobilenetv2@64x64"].map(str::to_owned));
    for model in &models {
        assert_eq!(code(&run(&["opt", model, "-p", "", "-o", &first])), 0, "{model}");
        let o = run(&["opt", &first, "-p", "", "-o", &second]);
        assert_eq!(code(&o), 0, "{model}: {}", err(&o));
        assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap(), "{model}");
        let onnx = at("a.onnx");
        assert_eq!(code(&run(&["opt", model, "-p", "", "-o", &onnx])), 0, "{model}");
        let mut whole = onnx::load(&onnx).unwrap();
        graph_opt_ir::infer::infer_graph(&mut whole.graph, &whole.declared).unwrap();
        assert!(structural_eq::identical(&whole.graph, &read(&first)), "{model}");
        let args = ["opt", &first, "-p", "tile-conv{axis=h parts=2},untile", "-o", &tiled];
        assert_eq!(code(&run(&[&args[..], &["--verify"]].concat())), 0, "{model}");
        assert!(structural_eq::identical(&whole.graph, &read(&tiled)), "{model}");
    }
}

/// The text form has no place for functions: a model that calls one is not written as text.
#[test]
fn text_that_would_lose_functions_is_refused() {
    let Some(model) = crate::support::shared("faults/more/function_overload_a.onnx") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a.gir");
    let o = run(&["opt", text(&model), "-p", "", "-o", text(&out)]);
    assert_eq!(code(&o), 3, "{}", err(&o));
    assert!(err(&o).contains("the text form cannot hold this model"), "{}", err(&o));
    assert!(!out.exists());
}

/// Exit codes stand in the help and in the documentation, with the same meanings.
#[test]
fn exit_codes_are_documented() {
    let help = stdout(&run(&["--help"]));
    let docs = include_str!("../docs/cli.md");
    for code in [0, 1, 2, 3, 4, 5, 6, 70, 130] {
        assert!(help.contains(&format!("{code} ")), "{code} in {help}");
        assert!(docs.contains(&format!("\n| {code} | ")), "{code}");
    }
}

/// What cannot be written is refused before the work starts, and says what would do.
#[test]
fn outputs_are_tried_first() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    std::fs::create_dir(at("folder.onnx")).unwrap();
    let cluster = at("cluster.toml");
    std::fs::write(&cluster, CLUSTER.replace("profile = \"a.json\"", "macs-per-second = 1e9"))
        .unwrap();
    let none = at("none/x.onnx");
    let opt = |out: &str| run(&["opt", "/no/model.onnx", "-p", "", "-o", out]);
    for (o, exit, what) in [
        (opt(&none), 6, "No such file"),
        (opt(&at("folder.onnx")), 2, "expected a file, found a folder"),
        (opt(&at("x.svg")), 2, "models are written as .onnx or .gir, or to - for"),
        (opt(&at("x")), 2, "models are written as .onnx or .gir"),
        (run(&["plan", "/no/model.onnx", "--cluster", &cluster, "-o", &none]), 6, "No such file"),
        (run(&["profile", "/no/model.onnx", "-o", &none]), 6, "No such file"),
        (run(&["verify", "/no/a.onnx", "/no/b.onnx", "--proof", &none]), 6, "No such file"),
        (run(&["split", "/no/model.onnx", "--plan", "p.json", "-o", &none]), 6, "No such file"),
        (run(&["run", "/no/model.onnx", "--output", &cluster]), 2, "expected a folder"),
        (run(&["reduce", "/no/model.onnx", "--check", "true {}", "-o", &none]), 6, "No such file"),
    ] {
        assert_eq!(code(&o), exit, "{}", err(&o));
        assert!(err(&o).contains(what), "{}", err(&o));
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    // What fails while it is written leaves nothing, and is no wrong usage.
    if Path::new("/dev/full").exists() {
        let o = run(&["opt", "zoo:aidge-tutorial", "-p", "", "-o", "/dev/full"]);
        assert_eq!(code(&o), 6, "{}", err(&o));
    }
}

/// A file that is missing is named once, with a similar one beside it.
#[test]
fn missing_files_are_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    for name in ["tbefn.onnx", "tbefn.gir", "cluster.toml"] {
        std::fs::write(at(name), "").unwrap();
    }
    for (args, missing, near) in [
        (vec!["inspect", &at("tbefn.onx")], "tbefn.onx", "tbefn.onnx"),
        (vec!["inspect", &at("tbfn.gir")], "tbfn.gir", "tbefn.gir"),
        (
            vec!["plan", "zoo:aidge-tutorial", "--cluster", &at("clustr.toml")],
            "clustr.toml",
            "cluster.toml",
        ),
    ] {
        let o = run(&args);
        assert_eq!(code(&o), 2);
        assert_eq!(err(&o).matches(missing).count(), 1, "{}", err(&o));
        assert!(err(&o).contains(&format!("; did you mean {}?", at(near))), "{}", err(&o));
    }
}

/// Readers that go away, of either stream, are no error.
#[cfg(unix)]
#[test]
fn closed_pipes_are_quiet() {
    let bin = env!("CARGO_BIN_EXE_graph-opt");
    for command in [
        "opt zoo:resnet18@64x64 -p '' -o - | true",
        "print zoo:resnet18@64x64 | true",
        "opt zoo:resnet18@64x64 -p simplify 2>&- ",
        "passes | head -1 >/dev/null",
    ] {
        // The shell gives the last code of a pipe; that of graph-opt is printed.
        let script = match command.split_once(" | ") {
            Some((first, rest)) => format!("{{ {bin} {first}; echo code $? >&2; }} | {rest}"),
            None => format!("{bin} {command}; echo code $? >&2"),
        };
        let o = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = err(&o);
        assert!(said.ends_with("code 0\n") && !said.contains("error"), "{command}: {said}");
    }
}

/// An interrupt leaves no file and no folder behind, and ends with 130.
#[cfg(unix)]
#[test]
fn interrupts_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x.onnx");
    let mut interrupted = 0;
    for wait in [5, 20, 60, 100, 150] {
        let args = ["opt", "zoo:vgg16-features@448x448", "-p", "", "-o", text(&out)];
        let mut child = Command::new(env!("CARGO_BIN_EXE_graph-opt"))
            .args(args)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        let status = child.wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        // Before the handler is set, the signal itself ends the process.
        assert!(matches!(status.code(), Some(0 | 130)) || status.signal() == Some(2), "{status}");
        interrupted += usize::from(status.code() == Some(130));
        let _ = std::fs::remove_file(&out);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    assert!(interrupted > 0);
}

/// Pictures of models, and reports of what was done to them. `tools/report/page/test.mjs` opens such pages.
#[test]
fn pictures_and_reports_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    let read = |n: &str| std::fs::read_to_string(at(n)).unwrap();
    // The document in a page.
    let document = |n: &str| -> serde_json::Value {
        let page = read(n);
        let (_, rest) = page.split_once("type=\"application/json\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    };
    let model = "zoo:superres@32x48";
    for name in ["v.html", "v.svg", "v.dot", "v.json"] {
        let o = run(&["view", model, "-o", &at(name)]);
        assert_eq!(code(&o), 0, "{}", err(&o));
    }
    assert!(read("v.svg").starts_with("<svg ") && read("v.svg").contains(">pixel_shuffle</text>"));
    assert!(
        read("v.dot").starts_with("digraph \"superres\" {") && read("v.dot").contains(" -> n7 ")
    );
    let explorer: serde_json::Value = serde_json::from_str(&read("v.json")).unwrap();
    // Eight nodes, the input and the output.
    assert_eq!(explorer[0]["graphs"][0]["nodes"].as_array().unwrap().len(), 10);
    let o = run(&["view", model, "-o", &at("v.png")]);
    assert!(code(&o) == 2 && err(&o).contains(".html, .svg, .dot or .json"), "{}", err(&o));

    let tiles = ["--memory", "50%", "--runtime", "interpreter", "--verify", "-o"];
    let small = at("small.onnx");
    let report = ["--report", &at("opt.html")];
    let o = run(&[&["opt", model][..], &tiles, &[&*small], &report].concat());
    assert_eq!(code(&o), 0, "{}", err(&o));
    let d = document("opt.html");
    let titles: Vec<&str> =
        d["graphs"].as_array().unwrap().iter().map(|g| g["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["before", "after"]);
    // All tiles together compute each element of the last value once.
    let tiling = &d["tilings"][0];
    let output = tiling["values"].as_array().unwrap().iter().position(|v| v["role"] == "output");
    let mut elements = 0;
    for part in
        tiling["tiles"].as_array().unwrap().iter().flat_map(|t| t["parts"].as_array().unwrap())
    {
        if part["value"].as_u64() == output.map(|o| o as u64) {
            let span = |axis: usize| {
                let s = &part["computed"][axis];
                s[1].as_i64().unwrap() - s[0].as_i64().unwrap()
            };
            elements += span(2) * span(3);
        }
    }
    assert_eq!(elements, 32 * 48);
    // The figures are those that the command gives.
    let peak = d["memory"][1]["peak_bytes"].as_u64().unwrap();
    assert!(peak <= 384 << 10 && d["budget_bytes"] == 384 << 10, "{peak}");
    let after = run(&["inspect", &small, "--json"]);
    assert_eq!(result(&after)["peak_activation_bytes"].as_u64(), Some(peak));
    assert_eq!(d["verdict"]["verdict"], "equal");
    assert!(d["proof"]["steps"].as_array().unwrap().len() > 10);
    let chosen =
        d["fronts"][0]["points"].as_array().unwrap().iter().filter(|p| p["chosen"] == true);
    assert_eq!(chosen.count(), 1);

    // Where models differ, the page is written all the same.
    let (a, b) = (at("a.gir"), at("b.gir"));
    let text = |pads: &str| {
        format!(
            "graph @g(%x: f32[1,3,16,16]) -> (%y) opset 13 {{
               %w = const random(1) : f32[8,3,3,3]
               %a = Conv %x, %w {{pads={pads}}} : f32[1,8,16,16] ; conv1
               %y = Relu %a : f32[1,8,16,16] ; relu1
             }}"
        )
    };
    std::fs::write(&a, text("[1,1,1,1]")).unwrap();
    std::fs::write(&b, text("[0,1,2,1]")).unwrap();
    let o = run(&["verify", &a, &b, "--report", &at("verify.html")]);
    assert_eq!(code(&o), 1, "{}", err(&o));
    let d = document("verify.html");
    assert_eq!(d["verdict"]["verdict"], "differs");
    let first = &d["heat"][0];
    assert_eq!(
        (&first["value"], &first["rows"], &first["columns"]),
        (&"a".into(), &16.into(), &16.into())
    );
    assert!(first["differing"].as_u64().unwrap() > 1000, "{first}");

    let (cluster, plan) = (at("c.toml"), at("p.json"));
    let fast = CLUSTER.replace("profile = \"a.json\"", "macs-per-second = 1e9");
    std::fs::write(&cluster, fast.replace("30MiB", "1GiB")).unwrap();
    let planned =
        ["plan", "zoo:resnet18@64x64", "--cluster", &cluster, "--objective", "throughput"];
    let o = run(&[&planned[..], &["-o", &plan, "--report", &at("plan.html")]].concat());
    assert_eq!(code(&o), 0, "{}", err(&o));
    let d = document("plan.html");
    let stages = d["split"]["stages"].as_array().unwrap().len();
    let devices =
        d["graphs"][0]["groups"].as_array().unwrap().iter().filter(|g| g["kind"] == "device");
    assert_eq!(devices.count(), stages);
    let folder = at("stages");
    let o = run(&["split", "zoo:resnet18@64x64", "--plan", &plan, "-o", &folder]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    let (trace, page) = (at("t.json"), at("simulate.html"));
    let o = run(&["simulate", &folder, "--frames", "3", "--trace", &trace, "--report", &page]);
    assert_eq!(code(&o), 0, "{}", err(&o));
    let events: serde_json::Value = serde_json::from_str(&read("t.json")).unwrap();
    let bars = events["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X");
    assert!(bars.count() >= 3 * stages);
    assert_eq!(document("simulate.html")["split"]["stages"].as_array().unwrap().len(), stages);
    // A page has a name that says so, and is tried before the work starts.
    let o = run(&["verify", model, &small, "--report", &at("verify.txt")]);
    assert!(code(&o) == 2 && err(&o).contains("FILE.html"), "{}", err(&o));
}

/// Every command answers with one envelope, which says how it ended.
#[test]
fn all_answers_are_in_one_envelope() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n).to_str().unwrap().to_owned();
    let model = "zoo:aidge-tutorial";
    let (tiled, cluster, plan, parts) = (at("t.onnx"), at("c.toml"), at("p.json"), at("parts"));
    let text = CLUSTER.replace("profile = \"a.json\"", "macs-per-second = 1e9");
    std::fs::write(&cluster, text.replace("30MiB", "1GiB")).unwrap();
    let repro = at("r.txt");
    let header = "// graph-opt reproducer\n// version: 0.1.0\n// seed: 0\n// pipeline: simplify";
    std::fs::write(&repro, format!("{header}\n// error: old\n{MIXED}\n")).unwrap();
    let tiles = "tile-conv{axis=h parts=2}";
    let has = |args: &[&str], exit: i64, fields: &[&str]| {
        let o = run(&[args, &["--json"]].concat());
        let v: serde_json::Value = serde_json::from_slice(&o.stdout)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}{}", stdout(&o), err(&o)));
        assert_eq!(
            (&v["schema"], &v["version"]),
            (&1.into(), &env!("CARGO_PKG_VERSION").into()),
            "{v}"
        );
        assert_eq!((&v["command"], &v["exit"]), (&args[0].into(), &exit.into()), "{v}");
        assert_eq!((code(&o), v["ok"] == true), (exit as i32, exit == 0), "{v}");
        assert_eq!(v["error"].is_null(), exit == 0, "{v}");
        assert!(!err(&o).contains("error: "), "{}", err(&o));
        for f in fields {
            assert!(!v["result"][f].is_null(), "{args:?} has no {f}: {v}");
        }
        v
    };
    let opt = ["opt", model, "-p", tiles, "-o", &tiled, "--verify"];
    let v = has(&opt, 0, &["before", "after", "edits", "remarks", "verify", "written"]);
    assert_eq!(v["result"]["verify"]["verdict"], "equal");
    assert_eq!(v["result"]["verify"]["outputs"][0]["equal_for"], "all-inputs");
    let v = has(&["opt", model, "--memory", "1KiB", "-o", &at("n.onnx")], 4, &[]);
    assert_eq!(v["error"]["kind"], "does-not-fit");
    has(&["opt", model, "-p", "", "-o", "-"], 2, &[]);
    let v = has(&["verify", model, &tiled], 0, &["verdict", "seconds", "outputs"]);
    assert_eq!(v["result"]["outputs"][0]["rungs"][0]["verdict"], "proved");
    has(&["view", model, "-o", &at("v.html")], 0, &["written", "drawn_nodes"]);
    has(&["run", model], 0, &["outputs"]);
    has(&["bench", model, "--runs", "1"], 0, &["median_s", "runs"]);
    has(&["blocks", model], 0, &["blocks"]);
    has(&["scale", dir.path().to_str().unwrap()], 2, &[]);
    has(&["inspect", model], 0, &["nodes", "peak_activation_bytes", "timeline"]);
    has(&["print", model], 0, &["text"]);
    has(&["passes"], 0, &["passes"]);
    has(&["inspect", "zoo:"], 0, &["text"]);
    let v = has(&["diff", model, &tiled], 1, &["diff"]);
    assert_eq!(v["error"]["kind"], "differs");
    has(&["explain", model, "-p", tiles], 0, &["before", "passes", "remarks"]);
    has(&["bisect", model, "-p", tiles], 0, &["edits", "end"]);
    has(&["repro", &repro], 0, &["recorded", "same"]);
    has(&["reduce", model, "--check", "true {}", "-o", &at("s.onnx")], 2, &[]);
    has(&["profile", model, "--runs", "1"], 0, &["nodes"]);
    has(&["plan", model, "--cluster", &cluster, "-o", &plan], 0, &["stages", "objective"]);
    has(&["plan", model, "--cluster", &cluster, "--front"], 0, &["plans"]);
    has(&["split", model, "--plan", &plan, "-o", &parts], 0, &["folder", "parts"]);
    has(&["simulate", &parts, "--model", model], 0, &["parts", "latency_s", "equal"]);
    // Wrong usage, too.
    let o = run(&["inspect", "--json", "--nope"]);
    let v: serde_json::Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!((code(&o), &v["error"]["kind"]), (2, &"usage".into()), "{v}");
}

/// The first line is the answer, with floats and the output's own name, whichever rung found it.
#[test]
fn verify_answers_first() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str, outputs: &str, body: &str| {
        let p = dir.path().join(n);
        let graph = format!("graph @g(%x: f32[4]) -> ({outputs}) opset 13 {{\n{body}\n}}");
        std::fs::write(&p, graph).unwrap();
        p
    };
    let one = |n: &str, k: &str| {
        let body =
            format!("%k = const {k} : f32[]\n%s = Mul %x, %k : ? ; mul\n%y = Relu %s : ? ; relu");
        at(n, "%y", &body)
    };
    let (a, b) = (one("a.gir", "0.5"), one("b.gir", "0.5000001"));
    let first = |args: &[&str]| {
        let o = run(&[&["verify"], args].concat());
        (code(&o), stdout(&o).lines().next().unwrap_or_default().to_owned())
    };
    // Floats are close, and exact arithmetic is not.
    let (exit, line) = first(&[text(&a), text(&b)]);
    assert_eq!(exit, 1);
    assert!(line.starts_with("differs: \"y\"[") && line.contains(" is "), "{line}");
    assert!(line.contains(", was ") && line.contains(", first at node \"mul\"; "), "{line}");
    assert!(line.ends_with("compare with --by run"), "{line}");
    assert!(!line.contains("Fp("), "{line}");
    let (_, line) = first(&[text(&a), text(&a)]);
    assert!(line.starts_with("equal for all inputs (identical, "), "{line}");
    // Several outputs of different verdicts have a line each.
    let two = |n: &str, other: &str| {
        at(n, "%y, %z", &format!("%y = Relu %x : ? ; r\n%z = {other} %x : ? ; n"))
    };
    let (c, d) = (two("c.gir", "Neg"), two("d.gir", "Abs"));
    let o = run(&["verify", text(&c), text(&d)]);
    let said = stdout(&o);
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("differs: \"z\"["), "{said}");
    assert!(lines[1].starts_with("  \"y\": equal in all runs (exact"), "{said}");
    assert!(lines[2].starts_with("  \"z\": differs: "), "{said}");
    // What is not decided has a code of its own.
    let e = at("e.gir", "%y", "%y = Sin %x : ?\n");
    let f = at("f.gir", "%y", "%t = Neg %x : ?\n%u = Sin %t : ?\n%y = Neg %u : ?\n");
    let (exit, line) = first(&[text(&e), text(&f), "--by", "prove"]);
    assert_eq!(exit, 5, "{line}");
    assert!(line.starts_with("undecided: (proof): "), "{line}");
}

/// A proof is enough, unless other rungs are asked for.
#[test]
fn verification_stops_when_it_knows() {
    let dir = tempfile::tempdir().unwrap();
    let tiled = dir.path().join("t.onnx");
    let model = "zoo:aidge-tutorial";
    let opt = ["opt", model, "-p", "tile-conv{axis=h parts=2}", "-o", text(&tiled)];
    assert_eq!(code(&run(&opt)), 0);
    let rungs = |more: &[&str]| -> Vec<String> {
        let v = result(&run(&[&["verify", model, text(&tiled), "--json"], more].concat()));
        let all = v["outputs"][0]["rungs"].as_array().unwrap();
        all.iter().map(|r| r["verdict"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(rungs(&[]), ["proved"]);
    assert_eq!(rungs(&["--backend", "cpu"]), ["proved", "bit-exact"]);
    assert_eq!(rungs(&["--by", "all"]), ["proved", "exact", "bit-exact"]);
    assert_eq!(rungs(&["--by", "exact"]), ["exact"]);
}

/// Limits and equalities of a file, with the exit code of the worst.
#[test]
fn checks_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (plain, tiled) = (at("a.onnx"), at("b.onnx"));
    let model = "zoo:aidge-tutorial";
    assert_eq!(code(&run(&["opt", model, "-p", "", "-o", text(&plain)])), 0);
    let tile = ["opt", model, "-p", "tile-conv{axis=h parts=2}", "-o", text(&tiled)];
    assert_eq!(code(&run(&tile)), 0);
    let file = at("graph-opt.toml");
    let check = |toml: &str| {
        std::fs::write(&file, toml).unwrap();
        run(&["check", text(&file), "--json"])
    };
    let both = "equals = \"a.onnx\"\nequality = \"all-inputs\"\nruntime = \"interpreter\"";
    let o = check(&format!("[[model]]\npath = \"b.onnx\"\n{both}\nmemory = \"64MiB\"\nnodes = 29"));
    assert_eq!(code(&o), 0, "{}", err(&o));
    let v = result(&o);
    assert_eq!(v["hold"], 3, "{v}");
    let kinds: Vec<&str> =
        v["checks"].as_array().unwrap().iter().map(|c| c["what"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["memory", "nodes", "equals"]);
    let o = check(&format!("[[model]]\npath = \"b.onnx\"\n{both}\nmemory = 1000\nmacs = 1"));
    assert_eq!(code(&o), 4, "{}", err(&o));
    assert_eq!(result(&o)["checks"][0]["outcome"], "does-not-fit");
    for (toml, want) in [
        ("[[model]]\npath = \"a.onnx\"\nmemry = 3", 2),
        ("[[model]]\npath = \"a.onnx\"", 2),
        ("[[model]]\npath = \"none.onnx\"\nnodes = 3", 2),
        ("[[model]]\npath = \"a.onnx\"\nmemory = \"8 potatoes\"", 2),
    ] {
        assert_eq!(code(&check(toml)), want, "{toml}");
    }
}

/// Spaces that align columns are no difference.
#[test]
fn a_difference_is_of_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.gir"), dir.path().join("b.gir"));
    let graph = |last: &str| {
        format!(
            "graph @g(%x: f32[1,2]) -> (%y) opset 13 {{\n  %a = Neg %x : f32[1,2] ; a\n  %y = {last} : f32[1,2] ; y\n}}"
        )
    };
    std::fs::write(&a, graph("Relu %a")).unwrap();
    std::fs::write(&b, graph("LeakyRelu %a {alpha=0.125}")).unwrap();
    let o = run(&["diff", text(&a), text(&b)]);
    let changed = stdout(&o).lines().filter(|l| l.starts_with(['+', '-'])).count();
    assert_eq!((code(&o), changed), (1, 4), "{}", stdout(&o));
}
