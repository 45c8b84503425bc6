//! A second look at a proof, without the e-graph: each step is made again by its rule, and what
//! follows from the steps is worked out by a congruence closure of its own (Downey, Sethi and
//! Tarjan, "Variations on the common subexpression problem", JACM 1980).

use std::collections::HashMap;

use super::egraph::Step;
use super::terms::{Head, TermId, Terms};

/// Checks that the goals follow from the steps.
///
/// # Errors
/// With the step that its rule does not make, or the goal that does not follow.
pub fn replay(terms: &mut Terms, steps: &[Step], goals: &[(TermId, TermId)]) -> Result<(), String> {
    for (i, s) in steps.iter().enumerate() {
        if s.rule.apply(terms, s.left) != Some(s.right) {
            return Err(format!("step {} is no case of {}", i + 1, s.rule.row().name));
        }
    }
    let mut closure = Closure::new(terms);
    for s in steps {
        closure.join(s.left.index(), s.right.index());
    }
    for (i, (a, b)) in goals.iter().enumerate() {
        if closure.root(a.index()) != closure.root(b.index()) {
            return Err(format!("the steps do not make output {i} equal"));
        }
    }
    Ok(())
}

struct Closure {
    parent: Vec<usize>,
    /// Heads by number, and children, of each term.
    heads: Vec<usize>,
    children: Vec<Vec<usize>>,
    /// By root: terms that read the class.
    readers: Vec<Vec<usize>>,
    /// Terms by head and the roots of their children.
    table: HashMap<(usize, Vec<usize>), usize>,
}

impl Closure {
    fn new(terms: &Terms) -> Self {
        let n = terms.count();
        let mut names: HashMap<String, usize> = HashMap::new();
        let mut c = Self {
            parent: (0..n).collect(),
            heads: Vec::with_capacity(n),
            children: Vec::with_capacity(n),
            readers: vec![Vec::new(); n],
            table: HashMap::new(),
        };
        // Children come before what reads them.
        for (i, t) in terms.iter().enumerate() {
            let name = match &t.head {
                Head::Apply(a) => a.spelled(),
                other => format!("{other:?}"),
            };
            let next = names.len();
            c.heads.push(*names.entry(name).or_insert(next));
            let below: Vec<usize> = t.children.iter().map(|x| x.index()).collect();
            below.iter().for_each(|&x| c.readers[x].push(i));
            c.table.insert((c.heads[i], below.clone()), i);
            c.children.push(below);
        }
        c
    }

    fn root(&mut self, mut x: usize) -> usize {
        while self.parent[x] != x {
            self.parent[x] = self.parent[self.parent[x]];
            x = self.parent[x];
        }
        x
    }

    fn join(&mut self, a: usize, b: usize) {
        let mut todo = vec![(a, b)];
        while let Some((a, b)) = todo.pop() {
            let (a, b) = (self.root(a), self.root(b));
            if a == b {
                continue;
            }
            let (small, large) =
                if self.readers[a].len() < self.readers[b].len() { (a, b) } else { (b, a) };
            self.parent[small] = large;
            for r in std::mem::take(&mut self.readers[small]) {
                let roots: Vec<usize> =
                    self.children[r].clone().into_iter().map(|x| self.root(x)).collect();
                let other = *self.table.entry((self.heads[r], roots)).or_insert(r);
                if other != r {
                    todo.push((other, r));
                }
                self.readers[large].push(r);
            }
        }
    }
}
