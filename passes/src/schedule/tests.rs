use graph_opt_ir::verify::verify;
use graph_opt_ir::{Editor, Graph, NodeId};

use super::improve::improve;
use super::search::{SearchResult, beam, exact, least};
use super::section::{Run, Section};
use super::*;
use crate::analysis::memory::tests::random;
use crate::analysis::peak;

fn section(graph: &Graph, joined: bool) -> Section {
    let nodes: Vec<NodeId> = graph.schedule().filter(|&n| !is_constant(graph, n)).collect();
    Section::of_graph(graph, &nodes, joined, &|_| false)
}

/// The least peak of all orders.
fn least_of_all(section: &Section, run: &Run<'_>) -> u64 {
    if run.order.len() == section.len() {
        return run.peak;
    }
    let ready = (0..section.len()).filter(|n| run.waits[*n] == 0 && !run.order.contains(n));
    let next = ready.map(|n| {
        let mut run = run.clone();
        run.step(n);
        least_of_all(section, &run)
    });
    next.min().unwrap_or(u64::MAX)
}

#[test]
fn small_graphs_get_the_best_of_all_orders() {
    let mut better = 0;
    for seed in 0..300 {
        let g = random(seed, 3 + (seed % 6) as usize, seed % 2 == 0);
        for joined in [true, false] {
            let r = section(&g, joined);
            let want = least_of_all(&r, &Run::new(&r));
            let given: Vec<usize> = (0..r.len()).collect();
            assert!(least(&r) <= want, "{seed}");
            match exact(&r, u64::MAX, 0, &mut 100_000) {
                SearchResult::Best(order) => assert_eq!(r.peak(&order), want, "{seed}"),
                other => panic!("{seed}: {other:?}"),
            }
            // With a bound, there is one or there is none.
            assert_eq!(exact(&r, want, 0, &mut 100_000), SearchResult::None);
            assert!(matches!(exact(&r, want + 1, 0, &mut 100_000), SearchResult::Best(_)));
            let wide = beam(&r, u64::MAX, 0, 100_000).unwrap();
            assert_eq!(r.peak(&wide), want, "{seed}");
            // In pieces, too.
            let improved = improve(&r, &mut 100_000);
            assert_eq!(r.peak(&improved), want, "{seed}");
            better += usize::from(want < r.peak(&given));
        }
    }
    assert!(better > 50, "{better}");
}

#[test]
fn peaks_never_rise() {
    let (mut better, mut exactly, mut all) = (0, 0, 0);
    for seed in 0..200 {
        let g = random(seed, 4 + (seed % 60) as usize, seed % 3 > 0);
        let before = peak(&g).unwrap().peak;
        let (from, found) = best(&g, &|_| false, 5_000).unwrap();
        assert_eq!(from, before);
        let given: Vec<usize> = (0..section(&g, true).len()).collect();
        let modelled = [true, false].map(|j| section(&g, j).peak(&given));
        all += 1;
        exactly += usize::from(modelled.contains(&before));
        let Some((order, after)) = found else { continue };
        let mut t = g.clone();
        Editor::new(&mut t).reorder("schedule", &order).unwrap();
        verify(&t).unwrap();
        assert_eq!(peak(&t).unwrap().peak, after);
        assert!(after < before, "{seed}");
        better += 1;
    }
    println!("{better} of {all} better; the model exact in {exactly}");
    assert!(
        better > 30 && exactly * 2 > all,
        "{better} better, {exactly} of {all} modelled exactly"
    );
}

#[test]
fn ten_thousand_nodes_are_ordered() {
    let g = random(7, 10_000, false);
    let (before, found) = best(&g, &|_| false, STATES).unwrap();
    assert!(found.unwrap().1 < before);
}

#[test]
fn few_states_still_give_an_order() {
    for states in [1, 2, 10, 100] {
        for seed in 0..20 {
            let g = random(seed, 60, true);
            let (before, found) = best(&g, &|_| false, states).unwrap();
            assert!(found.is_none_or(|f| f.1 < before));
        }
    }
}
