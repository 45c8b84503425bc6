//! File tests: `tests/cases/<pass>/*.gir` hold a pipeline, an input, and the expected text or error.
//!
//! ```text
//! // pipeline: tile-conv{axis=h parts=2}
//! graph …
//! // expect:            (the text after, or)
//! // error: 3: …        (the parser's error at that line of the file)
//! // remark: …          (a remark that must be among those made)
//! // close              (it rounds otherwise: only close on the interpreter)
//! // finite             (the bits are the same where all numbers are finite)
//! ```
//! `CASE=fuse-tiles/rows` runs those with that in their path. `UPDATE_CASES=1` writes what comes out as
//! what is expected; read it before you commit it.

use std::path::{Path, PathBuf};

use graph_opt_ir::Graph;
use graph_opt_ir::text::{Constants, parse, parse_with, print};
use graph_opt_passes::registry::PASSES;

use crate::support::{compare, is_bit_exact, is_bit_exact_if_finite, is_close, optimise};

fn cases(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for p in entries {
        if p.is_dir() {
            cases(&p, out);
        } else if p.extension().is_some_and(|e| e == "gir") {
            out.push(p);
        }
    }
}

/// Number of cases in the folder.
const CASES: usize = 62;

/// All cases, or those whose path contains what the variable `CASE` says.
#[test]
fn cases_give_what_they_expect() {
    let mut all = Vec::new();
    cases(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), &mut all);
    assert!(all.len() >= CASES, "{} cases, at least {CASES} expected", all.len());
    if let Ok(part) = std::env::var("CASE") {
        all.retain(|p| p.display().to_string().contains(&part));
        assert!(!all.is_empty(), "no case has {part:?} in its path");
    }
    all.retain(|p| std::panic::catch_unwind(|| check(p)).is_err());
    assert!(all.is_empty(), "{} cases failed, for the reasons above: {all:#?}", all.len());
}

fn check(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.display();
    let header = |key: &str| {
        text.lines()
            .filter_map(|l| l.strip_prefix("// ")?.strip_prefix(key))
            .map(str::trim)
            .collect::<Vec<_>>()
    };
    let (input, expected) = match text.split_once("// expect:\n") {
        Some((i, e)) => (i, Some(e)),
        None => (text.as_str(), None),
    };
    if let Some(want) = header("error:").first() {
        let e = parse(input).expect_err(&name.to_string());
        assert_eq!(format!("{}: {}", e.line, e.message), *want, "{name}");
        return;
    }
    let pipeline =
        header("pipeline:").first().copied().unwrap_or_else(|| panic!("{name}: no pipeline"));
    let before = parse(input).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (after, remarks) = optimise(&before, pipeline);
    for want in header("remark:") {
        assert!(
            remarks.iter().any(|r| r.to_string().contains(want)),
            "{name}: {want} is not in {remarks:?}"
        );
    }
    let got = print(&after);
    // What is printed parses back to the same.
    let again =
        parse_with(&got, &Constants::of(&after)).unwrap_or_else(|e| panic!("{name}: {e}\n{got}"));
    assert_eq!(print(&again), got, "{name}");
    let r = compare(&before, &after);
    // Cases of passes that round otherwise say so.
    let says = |key| header(key).len() == 1;
    let holds = match () {
        () if says("close") => is_close(&before, &after),
        () if says("finite") => is_bit_exact_if_finite(&r),
        () => is_bit_exact(&r),
    };
    assert!(holds, "{name}: {r:?}");
    if std::env::var("UPDATE_CASES").is_ok() {
        std::fs::write(path, format!("{input}// expect:\n{got}")).unwrap();
        return;
    }
    let expected = expected.unwrap_or_else(|| panic!("{name}: nothing is expected"));
    assert_eq!(got, expected, "{name}");
}

/// Rust files below a folder, with their text.
fn sources(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            out.push((path, text));
        }
    }
}

/// The example in the documentation of each pass: the graph before becomes the graph after, by the
/// pipeline that stands between them, or by the pass without options.
#[test]
fn documentation_of_passes_is_true() {
    let mut files = Vec::new();
    sources(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("passes/src"), &mut files);
    for info in PASSES {
        let name = info.name;
        let registered = format!("const INFO: PassInfo = PassInfo {{\n    name: \"{name}\",");
        let of_pass: Vec<_> = files.iter().filter(|f| f.1.contains(&registered)).collect();
        let [(file, source)] = &of_pass[..] else {
            panic!("{name}: {} files register it, 1 expected", of_pass.len())
        };
        let file = file.display();
        let docs: Vec<&str> = source.lines().map_while(|l| l.strip_prefix("//!")).collect();
        let docs = docs.join("\n");
        let graphs: Vec<_> = docs
            .split("```text")
            .skip(1)
            .map(|b| {
                parse(b.split("```").next().unwrap()).unwrap_or_else(|e| panic!("{file}: {e}"))
            })
            .collect();
        let [before, after] = &graphs[..] else { panic!("{file} has {} graphs", graphs.len()) };
        let pipeline = docs.split_once("After `").and_then(|(_, l)| l.split_once("`:"));
        let (got, _) = optimise(before, pipeline.map_or(name, |p| p.0));
        assert!(got.edits() > 0, "{file}: the pass changes nothing");
        assert!(graph_opt_ir::structural_eq::identical(&got, after), "{file}: {}", print(&got));
        let order = |g: &Graph| -> Vec<String> {
            g.schedule().map(|n| g.node(n).op.name().to_owned()).collect()
        };
        assert_eq!(order(&got), order(after), "{file}");
    }
}
