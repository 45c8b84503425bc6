//! Profiles, and what split models are for others, as a user meets them.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output};

use graph_opt_ir::onnx::devices::stages;
use graph_opt_passes::devices::cluster::{Codec, Profile};
use graph_opt_passes::devices::files::PlanFile;

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_graph-opt")).args(args).output().unwrap()
}

/// Runs what must end with this exit code; gives standard output and error.
fn ends(code: i32, args: &[&str]) -> (String, String) {
    let o = run(args);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let (out, err) = (text(&o.stdout), text(&o.stderr));
    assert_eq!(o.status.code(), Some(code), "{args:?}: {err}");
    (out, err)
}

fn text(p: &Path) -> &str {
    p.to_str().unwrap()
}

/// A model with its weights among the inputs, as older files have them: what its stretches read of
/// them is with each.
#[test]
fn stretches_have_their_weights() {
    let nanodet = "models/Kazuhito00+MOT-Tracking-by-Detection-Pipeline__nanodet_m_320.onnx";
    let Some(model) = crate::support::shared(nanodet) else { return };
    let args = ["profile", text(&model), "--runs", "1", "--units", "points", "--stretches", "2"];
    let (out, _) = ends(0, &args);
    assert!(!Profile::json(&out).unwrap().stretches.is_empty());
}

/// Values in other forms over links: without loss the bits are those of the whole; with loss the bytes
/// are those of the plan, and the change of the outputs is told.
#[test]
fn values_cross_in_other_forms() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let model = "zoo:resnet18@64x64";
    let profile = file("profile.json");
    let args = ["profile", model, "--runs", "1", "--units", "points", "-o", &profile];
    ends(0, &[&args[..], &["--codecs", "lz4,f16,int8"]].concat());
    let read = Profile::json(&std::fs::read_to_string(&profile).unwrap()).unwrap();
    assert!(read.values.len() > 10);
    for v in &read.values {
        for c in &v.codecs {
            let bytes = match c.codec {
                Codec::Lz4 => c.bytes.min(v.bytes - 1),
                Codec::F16 => v.bytes / 2,
                Codec::Int8 => v.bytes / 4 + 5,
            };
            assert_eq!(c.bytes, bytes, "{} as {}", v.name, c.codec);
            assert_eq!(c.error == 0.0, c.codec == Codec::Lz4, "{} as {}", v.name, c.codec);
            assert!(c.error < 0.2, "{} as {}: {}", v.name, c.codec, c.error);
        }
    }
    let cluster = file("cluster.toml");
    let devices: String = ["a", "b", "c"]
        .map(|d| format!("[[device]]\nname = \"{d}\"\nmemory = \"1GiB\"\nmacs-per-second = 1e9\n"))
        .concat();
    let ends_at = "source = \"a\"\nsink = \"a\"\n";
    let link = "[default-link]\nbandwidth = \"1Mbit/s\"\n";
    std::fs::write(&cluster, format!("{ends_at}{devices}{link}")).unwrap();
    let plan = file("plan.json");
    let pins = ["--pin", "layer2.0.conv2=b", "--pin", "fc=c"];
    let base = ["plan", model, "--cluster", &cluster, "-o", &plan, "--objective", "throughput"];
    let planned = |more: &[&str]| {
        let (out, _) = ends(0, &[&base[..], &pins, more].concat());
        let text = std::fs::read_to_string(&plan).unwrap();
        (out, serde_json::from_str::<PlanFile>(&text).unwrap())
    };
    let sent =
        |p: &PlanFile| p.stages.iter().flat_map(|s| &s.receives).map(|r| r.sent()).sum::<u64>();
    let simulated = |code, name: &str, more: &[&str]| {
        let folder = file(name);
        ends(0, &["split", model, "--plan", &plan, "-o", &folder]);
        let args = ["simulate", &folder, "--model", model, "--frames", "2"];
        let (out, err) = ends(code, &[&args[..], more].concat());
        out + &err
    };
    let (_, plain) = planned(&[]);
    let (out, lossless) = planned(&["--codecs", &profile]);
    assert!(out.contains("in other forms cross: ") && out.contains(" as lz4"), "{out}");
    assert!(!out.contains(" as f16") && !out.contains(" as int8"), "{out}");
    assert!(sent(&lossless) < sent(&plain) && lossless.value < plain.value);
    let out = simulated(0, "lossless", &[]);
    assert!(out.contains("2 of 2 frames are equal to the whole model's, bit for bit"), "{out}");
    let (out, halves) = planned(&["--codecs", &profile, "--max-error", "0.0005"]);
    assert!(out.contains(" as f16") && !out.contains(" as int8"), "{out}");
    let (out, lossy) = planned(&["--codecs", &profile, "--max-error", "0.2"]);
    assert!(out.contains(" as int8"), "{out}");
    assert!(sent(&lossy) * 3 < sent(&plain) && lossy.value < halves.value && lossy.proved);
    let out = simulated(0, "lossy", &["--max-error", "0.3"]);
    assert!(out.contains("lossy codecs change outputs by up to "), "{out}");
    let out = simulated(1, "strict", &["--max-error", "1e-9"]);
    assert!(out.contains("outputs change by "), "{out}");
    // A profile of another model, or without codecs.
    let other = ["plan", "zoo:resnet18@96x96", "--cluster", &cluster, "--codecs", &profile];
    let (_, err) = ends(2, &other);
    assert!(err.contains("or of other sizes there"), "{err}");
}

const MODEL: &str = "zoo:aidge-tutorial";

#[test]
fn profiles_of_nodes_and_stretches() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (json, csv, powercap) = (at("p.json"), at("p.csv"), at("powercap"));
    let zone = powercap.join("intel-rapl:0");
    let profile = |file: &Path, more: &[&str]| {
        let args = ["profile", MODEL, "--runs", "3", "--powercap", text(&powercap), "-o"];
        ends(0, &[&args[..], &[text(file)], more].concat()).1
    };
    // No counters, no energy.
    let err = profile(&json, &["--stretches", "2"]);
    assert!(err.contains("energy is not measured"), "{err}");
    let p = Profile::json(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let n = p.nodes.len();
    assert!(n > 2 && p.stretches.len() == n - 1, "{n} nodes, {} stretches", p.stretches.len());
    assert!(p.nodes.iter().all(|t| t.count == 3 && t.joules.is_none()));
    assert!(p.stretches.iter().all(|t| t.nodes == Some(2) && t.seconds > 0.0 && t.count == 3));

    std::fs::create_dir_all(&zone).unwrap();
    for (file, what) in
        [("name", "package-0"), ("energy_uj", "7"), ("max_energy_range_uj", "1000000")]
    {
        std::fs::write(zone.join(file), what).unwrap();
    }
    // A counter that stands still: nothing was used.
    profile(&csv, &["--stretches", "100", "--units", "points"]);
    let p = Profile::csv(&std::fs::read_to_string(&csv).unwrap()).unwrap();
    assert!(p.nodes.len() == n && p.nodes.iter().all(|t| t.joules == Some(0.0)));
    assert!(p.stretches.iter().any(|t| t.nodes == Some(n)), "the whole is a stretch");
    assert!(p.stretches.iter().all(|t| t.joules == Some(0.0)));

    let cluster = at("cluster.toml");
    let device = |profile: &str| {
        let text =
            format!("[[device]]\nname = \"a\"\nmemory = \"1GiB\"\nprofile = \"{profile}\"\n");
        std::fs::write(&cluster, text).unwrap();
    };
    let plan = at("plan.json");
    let to_plan = ["plan", MODEL, "--cluster", text(&cluster), "-o", text(&plan)];
    device("p.csv");
    ends(0, &to_plan);
    // The whole was measured, and that is what the plan says.
    let whole = p.stretches.iter().find(|t| t.nodes == Some(n)).unwrap().seconds;
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&plan).unwrap()).unwrap();
    assert_eq!(json["stages"][0]["compute_s"].as_f64(), Some(whole));
    for (profile, what) in [
        ("name,ms\nx,1\n", "has no node"),
        ("name,ms\nx,y\n", "expected a number for time, found \"y\""),
    ] {
        std::fs::write(&csv, profile).unwrap();
        let (_, err) = ends(2, &to_plan);
        assert!(err.contains(what), "{err}");
    }
    device("nowhere.json");
    assert!(ends(2, &to_plan).1.contains("nowhere.json"));
}

/// A profile that ONNX Runtime wrote for the model: it fused the convolution, the normalisation and the
/// activation into one kernel, and inserted a reordering.
#[test]
fn profiles_of_onnxruntime_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/profiles/onnxruntime.json");
    std::fs::copy(recorded, at("ort.json")).unwrap();
    let device = "[[device]]\nname = \"a\"\nmemory = \"1GiB\"\nprofile = \"ort.json\"\n";
    std::fs::write(at("cluster.toml"), device).unwrap();
    let (cluster, plan) = (at("cluster.toml"), at("plan.json"));
    let planned = |model: &str, code| {
        ends(code, &["plan", model, "--cluster", text(&cluster), "-o", text(&plan)])
    };
    let (_, err) = planned(MODEL, 0);
    assert!(!err.contains("left out"), "{err}");
    let p: PlanFile = serde_json::from_str(&std::fs::read_to_string(&plan).unwrap()).unwrap();
    // The medians of the kernels but for the first run: 16, 306 and 136 µs.
    assert!((p.latency_s - 458e-6).abs() < 1e-9, "{}", p.latency_s);
    let (_, err) = planned("zoo:resnet18@64x64", 2);
    assert!(err.contains("% of the time belongs to no node"), "{err}");
    std::fs::write(at("ort.json"), "[{\"cat\": \"Session\"},").unwrap();
    assert!(planned(MODEL, 2).1.contains("ends early"));
    let (_, err) = ends(2, &["profile", MODEL, "--backend", "onnxruntime", "--stretches", "2"]);
    assert!(err.contains("--backend cpu or wgpu"), "{err}");
}

/// What would do is said where nothing does: memory with tiles, limits, and what another device costs.
#[test]
fn refusals_say_what_would_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (cluster, plan, model) = (at("cluster.toml"), at("plan.json"), "zoo:resnet18@64x64");
    let like = |memory: &str| {
        let slow = CLUSTER.replace("100Gbit/s", "100Mbit/s").replace("1GiB", memory);
        std::fs::write(&cluster, slow).unwrap();
    };
    let run = |code: i32, more: &[&str]| {
        let args = ["plan", model, "--cluster", text(&cluster), "-o", text(&plan)];
        let (out, err) = ends(code, &[&args[..], more].concat());
        let lines = out.lines().chain(err.lines()).filter(|l| !l.contains(".rs"));
        assert!(lines.clone().all(|l| l.chars().count() <= 80), "{out}{err}");
        out + &err
    };
    like("1GiB");
    let found = run(0, &[]);
    assert!(found.contains("one device is quickest: a second adds "), "{found}");
    assert!(found.contains("--objective throughput uses 2\n"), "{found}");
    assert!(found.contains("best intervals between frames, by number of devices:\n"), "{found}");
    let read =
        || -> PlanFile { serde_json::from_str(&std::fs::read_to_string(&plan).unwrap()).unwrap() };
    let p = read();
    let [one, two] = &p.by_devices[..] else { panic!("{:?}", p.by_devices) };
    assert_eq!((one.latency_s, one.devices, two.devices), (p.latency_s, 1, 2));
    assert!(two.interval_s < one.interval_s && two.latency_s > one.latency_s);
    assert!(p.second_device.unwrap().value > p.value);
    let refused = run(4, &["--max-latency", "1ms"]);
    let (_, tried) = refused.split_once("\ntry --max-latency ").unwrap();
    run(0, &["--max-latency", tried.trim()]);
    // Devices that are too small for any part of a layer: the size that is named does, less does not.
    like("4MiB");
    let refused = run(4, &[]);
    let (_, size) = refused.split_once("would do").unwrap();
    let size = size.split('"').nth(1).unwrap().to_owned();
    like(&size);
    run(0, &[]);
    // A limit that is the cause is named, not the memory of a device.
    let refused = run(4, &["--max-memory", "4MiB"]);
    assert!(refused.contains(&format!("--max-memory {size}")), "{refused}");
}

/// Sizes that shape arithmetic in the model gives: it is simplified first, and so is what is split.
#[test]
fn models_are_simplified_before_they_are_planned() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let model = file("shape.gir");
    let text = "graph @g(%x: f32[2,3,4]) -> (%y) opset 13 {
       %k = const [2] : i64[1]
       %l = const [6] : i64[1]
       %n = Max %k, %l : i64[1] ; most
       %m = const [-1] : i64[1]
       %t = Concat %n, %m {axis=0} : i64[2] ; target
       %r = Reshape %x, %t : f32[?,?] ; reshape
       %y = Relu %r : f32[?,?] ; relu
     }";
    std::fs::write(&model, text).unwrap();
    let (cluster, plan, folder) = (file("cluster.toml"), file("plan.json"), file("out"));
    std::fs::write(&cluster, CLUSTER).unwrap();
    let (out, err) = ends(0, &["plan", &model, "--cluster", &cluster, "-o", &plan]);
    assert!(err.contains("the model is simplified first"), "{err}");
    assert!(out.contains("rewritten by: simplify\n"), "{out}");
    ends(0, &["split", &model, "--plan", &plan, "-o", &folder]);
    let (out, _) = ends(0, &["simulate", &folder, "--model", &model, "--frames", "2"]);
    assert!(out.contains("2 of 2 frames are equal"), "{out}");
    assert!(std::fs::read_to_string(file("out/run.py")).unwrap().contains("manifest.json"));
    let profile = ends(0, &["profile", &model, "--runs", "1"]).0;
    assert_eq!(Profile::json(&profile).unwrap().nodes.len(), 2);
}

#[test]
fn fronts_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cluster, csv, json) = (file("cluster.toml"), file("front.csv"), file("front.json"));
    let modes = "mode = [{ name = \"fast\", speed = 1, watts = 9 }, \
                 { name = \"slow\", speed = 0.5, watts = 2 }]\nper-node";
    std::fs::write(&cluster, CLUSTER.replace("per-node", modes)).unwrap();
    let front = ["plan", MODEL, "--cluster", &cluster, "--front", "-o"];
    let (out, _) = ends(0, &[&front[..], &[&csv]].concat());
    let written = std::fs::read_to_string(&csv).unwrap();
    let rows: Vec<(f64, f64)> = written
        .lines()
        .skip(1)
        .map(|l| {
            let mut cells = l.split(',').map(|c| c.parse().unwrap_or(f64::NAN));
            (cells.next().unwrap(), cells.next().unwrap())
        })
        .collect();
    assert!(written.starts_with("latency_s,energy_j,stages\n") && written.contains("a@slow"));
    assert!(rows.len() > 1 && rows.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 > w[1].1));
    assert!(out.contains(&format!("{} plans; the front is complete", rows.len())), "{out}");
    ends(0, &[&front[..], &[&json]].concat());
    let read: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(read["plans"].as_array().unwrap().len(), rows.len());
}

#[test]
fn clusters_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (positions, cluster, links) = (file("p.csv"), file("cluster.toml"), file("links.toml"));
    std::fs::write(&positions, "name,x,y\na,1,1\nb,4,5\n").unwrap();
    ends(0, &["cluster", "from-positions", &positions, "-o", &cluster]);
    ends(0, &["plan", MODEL, "--cluster", &cluster]);
    std::fs::write(&positions, "name,x,y\na,1,1\nb,1,1\n").unwrap();
    let (_, err) = ends(2, &["cluster", "from-positions", &positions]);
    assert!(err.contains("a and b are at the same place"), "{err}");

    let mut listener = Command::new(env!("CARGO_BIN_EXE_graph-opt"))
        .args(["cluster", "probe", "--listen", "127.0.0.1:0", "--until", "60s"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(listener.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let at = said.split_once("probes at ").unwrap().1.split(';').next().unwrap();
    let probe = ["cluster", "probe", &format!("b={at}"), "--name", "a", "--time", "50ms"];
    ends(0, &[&probe[..], &["-o", &links]].concat());
    let (out, _) = ends(0, &[&["--json"][..], &probe].concat());
    listener.kill().unwrap();
    listener.wait().unwrap();
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(found["result"]["links"][0]["bandwidth"].as_f64().unwrap() > 1e6, "{out}");
    let devices = CLUSTER.split("[default-link]").next().unwrap();
    let measured = std::fs::read_to_string(&links).unwrap();
    std::fs::write(&cluster, format!("{devices}{measured}")).unwrap();
    ends(0, &["plan", MODEL, "--cluster", &cluster]);
    let (_, err) = ends(6, &probe);
    assert!(err.contains("run graph-opt cluster probe --listen there"), "{err}");
}

/// Energy from the log of a power meter, and times over several frames.
#[test]
fn profiles_with_a_power_meter_and_frames() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (model, log, frames) = (at("two.gir"), at("log.csv"), at("frames"));
    let two = "graph @g(%x: f32[2]) -> (%y) opset 13 {\n%h = Neg %x : f32[2] ; a\n\
               %y = Abs %h : f32[2] ; b\n}";
    std::fs::write(&model, two).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let lines: String = (now - 5..now + 300).map(|t| format!("{t},3\n")).collect();
    std::fs::write(&log, format!("time,watts\n{lines}")).unwrap();
    let profile = ["profile", text(&model), "--runs", "2", "--power", text(&log)];
    let (out, err) = ends(0, &[&profile[..], &["--stretches", "2"]].concat());
    assert!(!err.contains("energy is not measured"), "{err}");
    let p = Profile::json(&out).unwrap();
    let joules = p.nodes.iter().map(|n| n.joules).chain(p.stretches.iter().map(|s| s.joules));
    assert!(joules.clone().count() == 3 && joules.flatten().all(|j| j > 0.0 && j < 3.0), "{out}");
    std::fs::write(&log, "time,watts\n1,3\n").unwrap();
    assert!(ends(2, &profile).1.contains("expected an entry at least every 2 s"));

    for frame in ["first", "second"] {
        std::fs::create_dir_all(frames.join(frame)).unwrap();
        let header =
            format!("{:117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }");
        let npy = [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), &[0; 8]].concat();
        std::fs::write(frames.join(frame).join("x.npy"), npy).unwrap();
    }
    let profile = ["profile", text(&model), "--runs", "3", "--input-folder"];
    let p = Profile::json(&ends(0, &[&profile[..], &[text(&frames)]].concat()).0).unwrap();
    assert!(p.nodes.iter().all(|n| n.count == 6), "{p:?}");
    std::fs::remove_file(frames.join("second/x.npy")).unwrap();
    let (_, err) = ends(2, &[&profile[..], &[text(&frames)]].concat());
    assert!(err.contains("it has no input of the model"), "{err}");
}

/// On wgpu, each node is run by itself.
#[cfg(feature = "wgpu")]
#[test]
fn profiles_on_wgpu() {
    if crate::support::wgpu().is_none() {
        return;
    }
    let args = ["profile", MODEL, "--runs", "2", "--backend", "wgpu", "--stretches", "2"];
    let p = Profile::json(&ends(0, &args).0).unwrap();
    assert_eq!(p.backend, "wgpu");
    assert_eq!(p.stretches.len(), p.nodes.len() - 1);
    assert!(p.nodes.iter().all(|t| t.seconds > 0.0 && t.count == 2));
}

const CLUSTER: &str = r#"
    [[device]]
    name = "a"
    memory = "1GiB"
    macs-per-second = 1e9
    per-node = "50us"
    [[device]]
    name = "b"
    memory = "1GiB"
    macs-per-second = 1e9
    per-node = "50us"
    [default-link]
    bandwidth = "100Gbit/s"
"#;

#[test]
fn annotations_pin_and_repositories_are_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let at = |n: &str| dir.path().join(n);
    let (cluster, plan) = (at("cluster.toml"), at("plan.json"));
    let (parts, triton) = (at("parts"), at("triton"));
    std::fs::write(&cluster, CLUSTER).unwrap();
    let model = "zoo:resnet18@64x64";
    let planned = |model: &str, code: i32, more: &[&str]| {
        let args = ["plan", model, "--cluster", text(&cluster), "-o", text(&plan)];
        ends(code, &[&args[..], more].concat())
    };
    planned(model, 0, &["--objective", "throughput"]);
    let split = ["split", model, "--plan", text(&plan), "-o", text(&parts)];
    ends(0, &[&split[..], &["--triton", text(&triton)]].concat());
    for file in [
        "resnet18_64x64/config.pbtxt",
        "resnet18_64x64/1",
        "resnet18_64x64_stage0/1/model.onnx",
        "resnet18_64x64_stage1/config.pbtxt",
    ] {
        assert!(triton.join(file).exists(), "{file}");
    }

    let annotated = parts.join("annotated.onnx");
    let g = crate::support::load(&annotated);
    let found = stages(&g, None).unwrap().unwrap();
    assert_eq!(found.configuration.devices.len(), 2);
    assert_eq!(found.nodes.len(), g.len());
    // For latency alone, one device would do.
    let count = |p: &Path| std::fs::read_to_string(p).unwrap().matches("\"device\"").count();
    let (_, err) = planned(text(&annotated), 0, &[]);
    assert!(
        err.contains("are pinned to devices by the model's configuration \"graph-opt\""),
        "{err}"
    );
    assert_eq!(count(&plan), 2);
    planned(text(&annotated), 0, &["--configuration", ""]);
    assert_eq!(count(&plan), 1);
    let (_, err) = planned(text(&annotated), 2, &["--configuration", "mine"]);
    assert!(err.contains("there is no configuration \"mine\"; there are: \"graph-opt\""), "{err}");
    std::fs::write(&cluster, CLUSTER.replace("\"b\"", "\"c\"")).unwrap();
    let (_, err) = planned(text(&annotated), 2, &[]);
    assert!(err.contains("has the device \"b\""), "{err}");

    // What Triton has no word for is refused, and no folder is there.
    let source = at("odd.gir");
    let odd = "graph @main(%x: f32[2]) -> (%y, %x) opset 13 {\n%y = Neg %x : f32[2] ; n\n}";
    std::fs::write(&source, odd).unwrap();
    planned(text(&source), 0, &[]);
    let (parts, triton) = (at("odd"), at("odd-triton"));
    let split = ["split", text(&source), "--plan", text(&plan), "-o", text(&parts)];
    let (_, err) = ends(3, &[&split[..], &["--triton", text(&triton)]].concat());
    assert!(err.contains("the output \"x\" is made by no stage"), "{err}");
    assert!(!parts.exists() && !triton.exists());
    ends(0, &split);
}

/// A device used again, in one mode or in several, with stages of so many nodes.
#[test]
fn devices_have_several_stages() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // The edge is slow or thirsty, the cloud far; a small answer is wanted on the edge again.
    let mode =
        "[{ name = \"fast\", speed = 1, watts = 9 }, { name = \"slow\", speed = 0.5, watts = 2 }]";
    let device = |name: &str, rate: &str, mode: &str| {
        format!(
            "[[device]]\nname = \"{name}\"\nmemory = \"1GiB\"\nmacs-per-second = {rate}\n{mode}"
        )
    };
    let text = format!(
        "source = \"edge\"\nsink = \"edge\"\n{}{}[default-link]\nbandwidth = \"1Gbit/s\"\nwatts = 1\n",
        device("edge", "1e9", &format!("mode = {mode}\n")),
        device("cloud", "2e10", "watts = 1\n"),
    );
    let (cluster, plan) = (file("cluster.toml"), file("plan.json"));
    std::fs::write(&cluster, text).unwrap();
    let model = "zoo:resnet18@64x64";
    let base = ["plan", model, "--cluster", &cluster, "-o", &plan];
    let planned = |more: &[&str]| {
        ends(0, &[&base[..], more].concat());
        let text = std::fs::read_to_string(&plan).unwrap();
        serde_json::from_str::<PlanFile>(&text).unwrap()
    };
    let energy = ["--objective", "energy", "--pin", "conv1=edge", "--pin", "fc=edge"];
    let again = planned(&[&energy[..], &["--pin", "layer3.0.conv1=cloud", "--reuse"]].concat());
    let devices: Vec<&str> = again.stages.iter().map(|s| &*s.device).collect();
    assert_eq!(devices, ["edge", "cloud", "edge"]);
    let folder = file("out");
    ends(0, &["split", model, "--plan", &plan, "-o", &folder]);
    let (out, _) = ends(0, &["simulate", &folder, "--model", model, "--frames", "2"]);
    assert!(out.contains("2 of 2 frames are equal to the whole model's, bit for bit"), "{out}");
    // The slow mode needs less energy; within a limit of latency some stages are in each.
    let modes = |p: &PlanFile| {
        let edge = p.stages.iter().filter(|s| s.device == "edge");
        edge.map(|s| s.mode.clone()).collect::<std::collections::BTreeSet<_>>().len()
    };
    let first = ["--reuse", "--first", "60=edge", "--pin", "fc=edge"];
    let slow = planned(&[&first[..], &["--objective", "energy"]].concat()).latency_s;
    let fast = planned(&first).latency_s;
    let most = format!("{}s", f64::midpoint(slow, fast));
    let limited = [&first[..], &["--objective", "energy", "--max-latency", &most]].concat();
    let mixed = planned(&limited);
    assert_eq!(modes(&mixed), 2, "{mixed:?}");
    let one = planned(&[&limited[..], &["--one-mode"]].concat());
    assert_eq!(modes(&one), 1, "{one:?}");
    assert!(mixed.energy_j < one.energy_j && one.proved && mixed.proved);
    let short = planned(&["--max-nodes", "20", "--reuse"]);
    assert!(short.stages.iter().all(|s| s.nodes.len() <= 20), "{short:?}");
    let (_, err) = ends(2, &[&base[..], &["--reuse", "--objective", "throughput"]].concat());
    assert!(err.contains("have no interval between frames"), "{err}");
}

/// Nodes of one name are told apart by their results: what `plan` writes, `split` reads.
#[test]
fn nodes_of_one_name_are_split() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let model = file("same.gir");
    let text = "graph @g(%x: f32[1,64,8,8]) -> (%y) opset 13 {
       %w = const random(1)              : f32[256,64,3,3]
       %v = const random(2)              : f32[64,256,3,3]
       %a = Conv %x, %w {pads=[1,1,1,1]} : f32[1,256,8,8] ; same
       %y = Conv %a, %v {pads=[1,1,1,1]} : f32[1,64,8,8]  ; same
     }";
    std::fs::write(&model, text).unwrap();
    // Whole layers on devices, and parts of them.
    for (memory, rewritten) in [("500KiB", true), ("700KiB", false)] {
        let mut cluster = "[default-link]\nbandwidth = \"1Gbit/s\"\n".to_owned();
        for d in 0..3 {
            let speed = "macs-per-second = 1e9";
            cluster
                .push_str(&format!("[[device]]\nname = \"d{d}\"\nmemory = {memory:?}\n{speed}\n"));
        }
        std::fs::write(file("cluster.toml"), cluster).unwrap();
        let (plan, parts) = (file("plan.json"), file(memory));
        ends(0, &["plan", &model, "--cluster", &file("cluster.toml"), "-o", &plan]);
        let read: PlanFile = serde_json::from_slice(&std::fs::read(&plan).unwrap()).unwrap();
        assert_eq!(!read.rewrite.is_empty(), rewritten, "{}", read.rewrite);
        ends(0, &["split", &model, "--plan", &plan, "-o", &parts]);
        ends(0, &["run", &format!("{parts}/annotated.onnx")]);
    }
    let pinned = |name: &str, code: i32| {
        let pin = format!("{name}=d1");
        ends(code, &["plan", &model, "--cluster", &file("cluster.toml"), "--pin", &pin])
    };
    let (_, err) = pinned("same", 2);
    assert!(
        err.contains("2 nodes are named \"same\"; use the name of a result instead: \"a\", \"y\"")
    );
    pinned("a", 0);
}
