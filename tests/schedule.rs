//! The order of nodes: edits of it, and the pass that finds a better one.

use std::collections::BTreeMap;

use graph_opt_backends::{Folder, zoo};
use graph_opt_ir::text::parse;
use graph_opt_ir::verify::verify;
use graph_opt_ir::{EditError, EditFault, Editor, Graph, NodeId};
use graph_opt_passes::analysis::peak;
use graph_opt_passes::{Assumed, Outcome};

use crate::models::{fixed, paths};
use crate::support::{load, optimise, same_run, shuffled};

const TWO: &str = "graph @main(%c: bool[], %x: f32[4]) -> (%y) opset 13 {
  %a = Relu %x : f32[4] ; a
  %b = Neg %x  : f32[4] ; b
  %y = If %c {then_branch=graph @t() -> (%p) {
    %p = Add %a, %b : ? ; p
  }, else_branch=graph @e() -> (%q) {
    %q = Sub %a, %b : ? ; q
  }} : f32[4] ; branch
}";

fn labels(g: &Graph) -> Vec<&str> {
    g.schedule().map(|n| g.label(n)).collect()
}

#[test]
fn an_order_is_checked_counted_and_shown() {
    let g = parse(TWO).unwrap();
    let [a, b, branch] = g.schedule().collect::<Vec<NodeId>>()[..] else { panic!() };
    let mut t = g.clone();
    let mut seen = Vec::new();
    let mut e = Editor::new(&mut t);
    e.observe(Box::new(|g, e| {
        verify(g).map_err(|v| v[0].to_string())?;
        seen.push((e.number, e.origin.clone()));
        Ok(())
    }));
    e.stop_after(1);
    // What a branch captures must be there before.
    let wrong: [(&[NodeId], &str); 4] = [
        (&[a, branch, b], "swap: \"b\" would be read before it is computed"),
        (
            &[a, b],
            "swap: the new order must list every node exactly once; \"branch\" is missing or repeated",
        ),
        (
            &[a, a, b, branch],
            "swap: the new order must list every node exactly once; \"a\" is missing or repeated",
        ),
        (
            &[a, b, NodeId::new(9), branch],
            "swap: refers to a node or value that is not in the graph",
        ),
    ];
    for (order, why) in wrong {
        assert_eq!(e.reorder("swap", order).unwrap_err().to_string(), why);
        assert_eq!((labels(e.graph()), e.edits()), (vec!["a", "b", "branch"], 0));
    }
    let applied = e.reorder("swap", &[b, a, branch]).unwrap();
    assert!(applied.nodes.is_empty() && applied.removed.is_empty());
    assert!(matches!(
        e.reorder("swap", &[a, b, branch]),
        Err(EditError { fault: EditFault::Refused(_), .. })
    ));
    drop(e);
    assert_eq!(seen, [(1, "swap".to_owned())]);
    assert_eq!((labels(&t), t.edits()), (vec!["b", "a", "branch"], 1));
}

/// Tiles in any order come back to a peak of no more than that of one tile after the other.
#[test]
fn shuffled_tiles_find_their_order() {
    let g = zoo::build("vgg16-features@64x64").unwrap();
    for (reuse, seed) in [("recompute", 1), ("recompute", 2), ("rows", 3), ("rows", 4), ("all", 5)]
    {
        let (t, _) = optimise(&g, &format!("fuse-tiles{{grid=4x4 to=features.16 reuse={reuse}}}"));
        let wild = shuffled(&t, seed);
        let (back, _) = optimise(&wild, "schedule");
        let [deep, wide, found] = [&t, &wild, &back].map(|g| peak(g).unwrap().peak);
        println!("{reuse}: tile by tile {deep}, shuffled {wide}, found {found}");
        assert!(found <= deep && deep < wide, "{reuse}");
    }
}

/// Peaks of real models never rise, and of some they fall.
#[test]
fn models_need_no_more_than_before() {
    let mut better: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut unknown = 0;
    for path in paths() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let g = fixed(&name, &load(&path));
        let (t, remarks) = optimise(&g, "schedule");
        // Sizes follow from values, too, as the pass finds them.
        let peak = |g: &Graph| peak(&Assumed::default().sized(g, &Folder).ok()?.graph);
        let Some(before) = peak(&g) else {
            assert!(remarks.iter().any(|r| r.outcome == Outcome::Blocked), "{name}");
            assert_eq!(labels(&g), labels(&t));
            unknown += 1;
            continue;
        };
        verify(&t).unwrap();
        let after = peak(&t).unwrap().peak;
        assert_eq!(after < before.peak, labels(&g) != labels(&t), "{name}");
        assert!(after <= before.peak, "{name}");
        if after < before.peak {
            println!("{name}: {} to {after} bytes", before.peak);
            if before.peak < 1 << 20 && g.inputs().iter().all(|&v| g.value(v).ty.bytes().is_some())
            {
                assert!(same_run(&g, &t), "{name}");
            }
            better.insert(name, (before.peak, after));
        }
    }
    println!("{} of unknown size, {} better", unknown, better.len());
    if !paths().is_empty() {
        let fell = |name: &str| better.iter().find(|b| b.0.contains(name)).map(|b| *b.1);
        assert_eq!(fell("tbefn_180x320"), Some((23_500_800, 15_206_400)));
        assert_eq!(fell("cONNXr__mnist8"), Some((41_600, 31_360)));
        assert_eq!(fell("qdq_with_multi_consumer_dq_nodes.fixed"), Some((2_974_336, 2_255_360)));
    }
}
