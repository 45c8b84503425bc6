//! ONNX Runtime 32416: rules that are right one by one, and wrong together.

use std::path::PathBuf;

use graph_opt_backends::Folder;
use graph_opt_ir::Graph;
use graph_opt_ir::text;
use graph_opt_passes::registry::OPTIMISE;
use graph_opt_passes::{Exactness, Pipeline, Runner};

use super::{folding, fusing, has_same_bits, is_near, judged, parse, pooling, run};

/// All small models: of the file tests, and of these tests.
fn models() -> Vec<(String, Graph)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut all = Vec::new();
    for folder in ["simplify", "bodies", "tile-conv", "untile", "drop-dead-channels"] {
        for f in std::fs::read_dir(dir.join(folder)).unwrap() {
            let path = f.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let input = text.split("// expect:\n").next().unwrap();
            all.push((path.display().to_string(), text::parse(input).unwrap()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    for r in [folding::ROWS, pooling::ROWS, fusing::INNER].concat() {
        all.push((r.what.to_owned(), parse(r.model)));
    }
    all
}

/// Whether the graphs agree as well as the passes that ran promise.
fn agree(a: &Graph, b: &Graph, exactness: Exactness) -> Result<(), String> {
    let r = judged(a, b);
    let right = match exactness {
        Exactness::BitExact => has_same_bits(&r),
        _ => is_near(&r),
    };
    if right { Ok(()) } else { Err(format!("{exactness}: {r:?}")) }
}

/// Every two of the passes that rewrite, until neither finds anything: there is such an end, and the
/// answer is the same.
#[test]
fn runtime_32416_every_pair_of_rewriting_passes() {
    let passes = [
        "simplify",
        "fuse-pad",
        "inline-functions{operators=yes}",
        "drop-zero-add",
        "fold-batch-norm",
        "fuse-matmul-add",
        "drop-dead-channels",
        "drop-dead-channels{constants=yes}",
    ];
    let mut wrong = Vec::new();
    let mut changed = 0;
    for (name, g) in models() {
        for (i, first) in passes.iter().enumerate() {
            for second in passes.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, p)| p) {
                let pipeline = format!("fixpoint({first},{second})");
                let (t, exactness, _) = run(&g, &pipeline);
                changed += usize::from(t.edits() > 0);
                if let Err(e) = agree(&g, &t, exactness) {
                    wrong.push(format!("{name}: {pipeline}: {e}"));
                }
                let (again, ..) = run(&t, &pipeline);
                if again.edits() != t.edits() {
                    wrong.push(format!("{name}: {pipeline} comes to no end"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(changed > 200, "only {changed} pairs did anything");
}

/// Tiles, orders and choices of the prover, each before and after each of the others.
#[test]
fn runtime_32416_every_pair_with_a_pass_that_tiles() {
    let tiling = ["tile-conv{axis=h parts=2}", "untile", "schedule", "eqsat{objective=launches}"];
    let others = ["simplify", "fuse-pad", "fold-batch-norm"].iter().chain(&tiling);
    let mut wrong = Vec::new();
    let mut changed = 0;
    for (name, g) in models() {
        for first in tiling {
            for second in others.clone() {
                for pipeline in [format!("{first},{second}"), format!("{second},{first}")] {
                    let (t, exactness, _) = run(&g, &pipeline);
                    changed += usize::from(t.edits() > 0);
                    if let Err(e) = agree(&g, &t, exactness) {
                        wrong.push(format!("{name}: {pipeline}: {e}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(changed > 500, "only {changed} pairs did anything");
}

/// Every edit of `-O` by itself, so that two cannot hide each other's faults.
#[test]
fn runtime_32416_after_every_edit() {
    let pipeline = Pipeline::parse(OPTIMISE).unwrap();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for (name, g) in models() {
        let mut seen = Vec::new();
        let mut t = g.clone();
        Runner::default()
            .evaluator(&Folder)
            .observe(Box::new(|now, e| {
                if e.scope.is_empty() {
                    seen.push((e.origin.clone(), now.clone()));
                }
                Ok(())
            }))
            .run(&mut t, &pipeline)
            .unwrap();
        for (origin, now) in seen {
            checked += 1;
            // What rounds does so in its first edit.
            if let Err(e) = agree(&g, &now, Exactness::Reassociates) {
                wrong.push(format!("{name}: {origin}: {e}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 40, "only {checked} edits");
}
