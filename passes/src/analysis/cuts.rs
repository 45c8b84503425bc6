//! Where a graph can be cut: what crosses a cut, and articulation points, the nodes on every path from
//! inputs to outputs.

use graph_opt_ir::{Def, Graph, ValueId};

/// Whether a value crosses cuts: made by a node, or an input without a default. Constants are copied
/// to each part that reads them.
pub fn is_sent(graph: &Graph, v: ValueId) -> bool {
    matches!(graph.value(v).def, Def::Node(..) | Def::Input(None)) && graph.constant(v).is_none()
}

/// Nodes on every path from a source to a sink, ascending (the dominator chain of a virtual exit
/// node). Nodes are numbered topologically: `reads[v]` lists nodes before `v`, an empty list makes
/// `v` a source, and `sinks` are the nodes whose results leave. Nodes that reach no sink are
/// ignored.
///
/// A node lies on every path if and only if no edge spans it in the topological order: a path
/// around it contains a spanning edge, and a spanning edge extends to such a path. Linear in nodes
/// and edges.
pub fn articulation_points(reads: &[Vec<usize>], sinks: &[usize]) -> Vec<usize> {
    let n = reads.len();
    let mut live = vec![false; n];
    for &s in sinks {
        live[s] = true;
    }
    for v in (0..n).rev().filter(|&v| !reads[v].is_empty()) {
        if live[v] {
            for &u in &reads[v] {
                live[u] = true;
            }
        }
    }
    // Difference array of spanning edges. Sources have an edge from before all nodes, sinks one to
    // behind all.
    let mut spans = vec![0i64; n + 1];
    let mut edge = |from: usize, to: usize| {
        spans[from] += 1;
        spans[to] -= 1;
    };
    for v in (0..n).filter(|&v| live[v]) {
        for &u in &reads[v] {
            edge(u + 1, v);
        }
        if reads[v].is_empty() {
            edge(0, v);
        }
    }
    for &s in sinks {
        edge(s + 1, n);
    }
    let mut over = 0;
    let passed = |v: &usize| {
        over += spans[*v];
        over == 0 && live[*v]
    };
    (0..n).filter(passed).collect()
}

#[cfg(test)]
mod tests {
    use super::articulation_points;

    /// Whether a sink can be reached without a node.
    fn avoids(reads: &[Vec<usize>], sinks: &[usize], without: usize) -> bool {
        let mut reached = vec![false; reads.len()];
        for v in 0..reads.len() {
            reached[v] =
                v != without && (reads[v].is_empty() || reads[v].iter().any(|&u| reached[u]));
        }
        sinks.iter().any(|&s| reached[s])
    }

    #[test]
    fn points_are_what_no_path_avoids() {
        let mut state = 7u64;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        for _ in 0..2000 {
            let n = 1 + below(12);
            let far = 1 + below(3);
            let read = |v: usize, below: &mut dyn FnMut(usize) -> usize| {
                let count = below(3).max(usize::from(v > 0 && below(8) > 0));
                (0..count.min(v)).map(|_| v - 1 - below(far.min(v))).collect::<Vec<_>>()
            };
            let reads: Vec<_> = (0..n).map(|v| read(v, &mut below)).collect();
            let sinks = if below(4) == 0 { vec![n - 1, below(n)] } else { vec![n - 1] };
            let want: Vec<usize> = (0..n).filter(|&v| !avoids(&reads, &sinks, v)).collect();
            assert_eq!(articulation_points(&reads, &sinks), want, "{reads:?} {sinks:?}");
        }
    }
}
