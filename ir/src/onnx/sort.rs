//! Topological order of nodes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A topological order of nodes 0, 1, 2, … that is close to this order: of the nodes that may come next,
/// always the first one in the file. `needs[i]` are the nodes that `i` reads.
///
/// # Errors
/// With the nodes of a cycle, if there is one.
pub(super) fn sort(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    if needs.iter().enumerate().all(|(i, n)| n.iter().all(|&p| p < i)) {
        return Ok((0..needs.len()).collect());
    }
    let mut readers = vec![Vec::new(); needs.len()];
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    for (i, n) in needs.iter().enumerate() {
        for &p in n {
            readers[p].push(i);
        }
    }
    let free = missing.iter().enumerate().filter(|&(_, &m)| m == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = free.map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &r in &readers[i] {
            missing[r] -= 1;
            if missing[r] == 0 {
                ready.push(Reverse(r));
            }
        }
    }
    if order.len() == needs.len() { Ok(order) } else { Err(cycle(needs, &missing)) }
}

/// A cycle, found by following missing operands backwards until a node repeats.
fn cycle(needs: &[Vec<usize>], missing: &[usize]) -> Vec<usize> {
    let mut at = missing.iter().position(|&m| m > 0).unwrap_or(0);
    let mut seen = vec![usize::MAX; needs.len()];
    let mut path = Vec::new();
    while seen[at] == usize::MAX {
        seen[at] = path.len();
        path.push(at);
        match needs[at].iter().find(|&&p| missing[p] > 0) {
            Some(&p) => at = p,
            None => return path,
        }
    }
    path.drain(..seen[at]);
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_what_is_in_order_and_moves_what_is_not() {
        assert_eq!(sort(&[vec![], vec![0], vec![0, 0]]), Ok(vec![0, 1, 2]));
        assert_eq!(sort(&[vec![3], vec![0], vec![], vec![]]), Ok(vec![2, 3, 0, 1]));
    }

    #[test]
    fn names_the_nodes_of_a_cycle_and_no_others() {
        let mut c = sort(&[vec![], vec![0, 3], vec![1], vec![2], vec![3]]).unwrap_err();
        c.sort_unstable();
        assert_eq!(c, [1, 2, 3]);
        assert_eq!(sort(&[vec![0]]), Err(vec![0]));
    }

    proptest! {
        #[test]
        fn every_order_is_topological(
            edges in proptest::collection::vec((0usize..40, 0usize..40), 0..80),
        ) {
            let mut needs = vec![Vec::new(); 40];
            for (a, b) in edges {
                needs[a].push(b);
            }
            match sort(&needs) {
                Ok(order) => {
                    let mut at = vec![0; 40];
                    for (i, &n) in order.iter().enumerate() {
                        at[n] = i;
                    }
                    prop_assert_eq!(order.len(), 40);
                    for (n, ps) in needs.iter().enumerate() {
                        prop_assert!(ps.iter().all(|&p| at[p] < at[n]));
                    }
                }
                Err(c) => {
                    for (i, &n) in c.iter().enumerate() {
                        prop_assert!(needs[c[(i + 1) % c.len()]].contains(&n));
                    }
                }
            }
        }
    }
}
