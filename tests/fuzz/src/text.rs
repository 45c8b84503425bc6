//! Bytes as the text form of a graph.

use graph_opt_ir::structural_eq::identical;
use graph_opt_ir::text::{parse, print_whole};
use graph_opt_ir::{Graph, Op};

use crate::read::{reread, sound};

/// Largest number of elements that random constants of a text may have: a short text may ask for 1 GiB of
/// them, which is within the limits of the text form, and beyond those of the fuzzer.
const RANDOM: u64 = 1 << 20;

/// Most readings until a text prints as itself: types that a body declares wrongly are mended one by one.
const READINGS: usize = 4;

/// Reads the bytes as text. What is accepted prints as text that is the same graph, and soon prints the same. If
/// ONNX can hold it, it is read back from there as itself.
pub fn check(bytes: &[u8]) {
    let Some(graph) = std::str::from_utf8(bytes).ok().and_then(read) else { return };
    sound(&graph);
    let mut printed = whole(&graph);
    // A Slice is printed with the bounds that it takes, which where extents are unknown is another spelling.
    let cuts = graph.any_node(&mut |g, n| matches!(g.node(n).op, Op::Slice(_)));
    let mut before = (!cuts).then_some(graph.clone());
    for _ in 0..READINGS {
        let again =
            parse(&printed).unwrap_or_else(|e| panic!("refused what was printed: {e}\n{printed}"));
        sound(&again);
        if let Some(before) = before {
            assert!(
                identical(&before, &again),
                "read back as another graph:\n{}\n{printed}",
                whole(&before)
            );
        }
        let next = whole(&again);
        if next == printed {
            let _ = reread(&graph);
            return;
        }
        (printed, before) = (next, Some(again));
    }
    panic!("printed otherwise after every reading:\n{printed}");
}

fn whole(graph: &Graph) -> String {
    print_whole(graph).expect("constants of a text are in memory")
}

/// The graph of a text; `None` if it is refused, or asks for large random constants.
pub fn read(text: &str) -> Option<Graph> {
    let extent = |n: &str| n.trim().parse::<u64>().unwrap_or(1);
    let elements = |list: &str| list.split(',').map(extent).fold(1, u64::saturating_mul);
    let all = text.split('[').skip(1).map(|s| elements(s.split(']').next().unwrap_or("")));
    if text.contains("random") && all.fold(0, u64::saturating_add) > RANDOM {
        return None;
    }
    parse(text).ok()
}
