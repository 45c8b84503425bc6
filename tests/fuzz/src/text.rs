//! Bytes as the text form of a graph.

use graph_opt_ir::text::{parse, print_whole};

use crate::read::{reread, sound};

/// Largest number of elements that random constants of a text may have: a short text may ask for 1 GiB of
/// them, which is within the limits of the text form, and beyond those of the fuzzer.
const RANDOM: u64 = 1 << 20;

/// Reads the bytes as text. What is accepted prints as text that prints the same again. If
/// ONNX can hold it, it is read back from there as itself.
pub fn check(bytes: &[u8]) {
    let Some(graph) = std::str::from_utf8(bytes).ok().and_then(read) else { return };
    sound(&graph);
    let once = print_whole(&graph).expect("constants of a text are in memory");
    let again = parse(&once).unwrap_or_else(|e| panic!("refused what was printed: {e}\n{once}"));
    sound(&again);
    let twice = print_whole(&again).expect("constants of a text are in memory");
    assert_eq!(once, twice, "printed otherwise the second time");
    let _ = reread(&graph);
}

/// The graph of a text; `None` if it is refused, or asks for large random constants.
pub fn read(text: &str) -> Option<graph_opt_ir::Graph> {
    let extent = |n: &str| n.trim().parse::<u64>().unwrap_or(1);
    let elements = |list: &str| list.split(',').map(extent).fold(1, u64::saturating_mul);
    let all = text.split('[').skip(1).map(|s| elements(s.split(']').next().unwrap_or("")));
    if text.contains("random") && all.fold(0, u64::saturating_add) > RANDOM {
        return None;
    }
    parse(text).ok()
}
