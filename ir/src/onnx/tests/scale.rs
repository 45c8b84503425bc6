//! Large graphs.

use std::time::{Duration, Instant};

use super::super::export;
use super::*;

#[test]
fn a_hundred_thousand_nodes_in_any_order() {
    let n = 100_000;
    let mut nodes: Vec<_> =
        (0..n).map(|i| node("Relu", &format!("v{i}"), &format!("v{}", i + 1))).collect();
    for reverse in [false, true] {
        if reverse {
            nodes.reverse();
        }
        let mut g = graph(nodes.clone(), "v0", &format!("v{n}"));
        g.value_info = (1..n).map(|i| value(&format!("v{i}"))).collect();
        let file = bytes(&model(g));
        let start = Instant::now();
        let mut g = import(file, None).unwrap().graph;
        assert_eq!(g.len(), n);
        g.edits = 1;
        let ids: Vec<_> = g.schedule().collect();
        for id in ids.into_iter().step_by(2) {
            g.node_mut(id).meta.verbatim = None;
        }
        export(&g, &mut Vec::new()).unwrap();
        println!("{n} nodes, reverse {reverse}: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[test]
fn a_wide_node_is_linear() {
    let n = 50_000;
    let names: Vec<String> = (0..n).map(|i| format!("x{i}")).collect();
    let mut sum = node("Sum", "", "y");
    sum.input = names.clone();
    let mut g = graph(vec![sum], "", "y");
    g.initializer = names.iter().map(|n| floats(n, &[1.0])).collect();
    let start = Instant::now();
    let g = read(&model(g)).unwrap().graph;
    assert_eq!(g.value_bound(), n + 1);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Weights are neither copied by the reader nor by the writer.
#[test]
fn weights_stay_where_they_are() {
    let mut g = graph(vec![node("Add", "x w", "y")], "x", "y");
    g.initializer.push(floats("w", &vec![1.0; 1 << 20]));
    let i = read(&model(g)).unwrap().graph;
    let origin = super::super::origin::Origin::of(&i).unwrap();
    let w = i.value(i.find_value("w").unwrap()).constant().unwrap();
    let crate::tensor::Data::Bytes(b) = w.data() else { panic!() };
    assert!(std::sync::Arc::ptr_eq(b.parts().0, &origin.buf));
}
