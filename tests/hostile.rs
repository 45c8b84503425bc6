//! Every hostile file gets what its manifest says: a clear error with exit code 2 and no output
//! file, or passes through; never a panic, in under 5 s and 1 GiB.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::shared;

#[test]
fn hostile_files_get_what_the_manifest_says() {
    let Some(dir) = shared("hostile") else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_array().unwrap();
    assert!(files.len() >= 144, "{} files, at least 144 expected", files.len());
    let tmp = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for f in files {
        let name = f["file"].as_str().unwrap();
        let expect = f["expect"].as_str().unwrap();
        let out = tmp.path().join(format!("{name}.out.onnx"));
        // Simplifying looks at every operator, tiling at every region.
        for pipeline in
            ["", "simplify,tile-conv{axis=h parts=2},tile-conv{axis=c-out parts=2},untile"]
        {
            let _ = std::fs::remove_file(&out);
            let start = Instant::now();
            // The address space bounds what can be allocated.
            let line = r#"ulimit -v 1048576; exec "$0" "$@""#;
            let mut child = Command::new("bash")
                .args(["-c", line, env!("CARGO_BIN_EXE_graph-opt"), "opt"])
                .arg(dir.join(name))
                .args(["-p", pipeline, "-o"])
                .arg(&out)
                .stderr(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let mut pipe = child.stderr.take().unwrap();
            let reader = std::thread::spawn(move || {
                let mut s = Vec::new();
                let _ = pipe.read_to_end(&mut s);
                String::from_utf8_lossy(&s).into_owned()
            });
            let status = loop {
                if let Some(s) = child.try_wait().unwrap() {
                    break Some(s);
                }
                if start.elapsed() > Duration::from_secs(5) {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                std::thread::sleep(Duration::from_millis(2));
            };
            let said = reader.join().unwrap();
            let code = status.and_then(|s| s.code());
            let ok = match (expect, code) {
                (_, None) => false,
                ("pass", Some(c)) => c == 0 && out.exists(),
                ("reject", Some(c)) => c == 2 && !out.exists(),
                (_, Some(c)) => (c == 0) == out.exists() && (c == 0 || c == 2),
            };
            let clean = !said.contains("panicked") && (code == Some(0) || said.contains("error: "));
            if !ok || !clean {
                wrong.push(format!(
                    "{name} (-p '{pipeline}'): {expect}, but exit {code:?}: {}",
                    said.trim()
                ));
            }
        }
    }
    println!("{} hostile files, twice each", files.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
