//! The smallest model on which a check still fails, and the largest on which it works.
//!
//! Delta debugging over the nodes: a part of the graph is a model of its own ([`keep`]), in which
//! what it reads of the rest is an input and what the rest reads of it, or nobody, an output. First
//! the tail is cut off by halves, then the head, then pieces between them, then outputs, and last
//! nodes are left out whose result has the type of an operand, which takes its place. At the end no
//! single node can go.
//!
//! For the largest model that works, the whole without one node of the smallest that fails is tried,
//! and if that is not enough, nodes are added to nothing, many at a time first, as long as it works.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use graph_opt_ir::verify::verify;
use graph_opt_ir::{Edit, Editor, Graph, NodeId, Op, Ref, ValueId, extract, keep, text};

/// What a check says of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The model works: what is looked for does not occur.
    Works,
    /// It fails as it should.
    Fails,
    /// Neither can be said.
    Neither,
    /// No more models are to be tried; nothing is said of this one.
    Stop,
}

/// How far the search is.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Models tried before this one.
    pub tries: usize,
    /// Nodes of the smallest model so far on which the check fails.
    pub nodes: usize,
}

/// What a search for a smallest failing model found.
#[derive(Clone, Debug)]
pub struct Reduced {
    /// The smallest model on which the check fails.
    pub smallest: Graph,
    /// Of all models tried on which it works, the one with the most nodes.
    pub works: Option<Graph>,
    /// Number of models on which the check was tried.
    pub tries: usize,
    /// Whether the search came to its end: no single node of the smallest model can go.
    pub finished: bool,
}

/// There is nothing to reduce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReduceError {
    /// The check does not fail.
    #[error("the check works on the whole model: there is nothing to reduce")]
    Works,
    /// Nothing can be said of the whole.
    #[error("the check says neither that the whole model works nor that it fails")]
    Neither,
}

/// Searches by at most so many checks; with `grow`, for the largest model that works, too.
///
/// # Errors
/// If the check does not fail on the whole model.
pub fn reduce(
    graph: &Graph,
    tries: usize,
    grow: bool,
    check: &mut dyn FnMut(&Graph, &Status) -> Answer,
) -> Result<Reduced, ReduceError> {
    match check(graph, &Status { tries: 0, nodes: graph.len() }) {
        Answer::Fails => {}
        Answer::Works => return Err(ReduceError::Works),
        Answer::Neither | Answer::Stop => return Err(ReduceError::Neither),
    }
    let mut s = Search {
        best: graph.clone(),
        works: None,
        seen: HashMap::from([(hash(graph), Answer::Fails)]),
        tries: 1,
        limit: tries,
        stopped: false,
        check,
    };
    s.tail();
    s.head();
    loop {
        let before = s.size();
        s.pieces();
        s.outputs();
        s.bypasses();
        if s.stopped || s.size() == before {
            break;
        }
    }
    let finished = !s.stopped;
    if grow {
        s.grow(graph);
    }
    Ok(Reduced { smallest: s.best, works: s.works, tries: s.tries, finished })
}

struct Search<'a> {
    best: Graph,
    works: Option<Graph>,
    /// Answers for the models tried, by their hashes.
    seen: HashMap<u64, Answer>,
    tries: usize,
    limit: usize,
    stopped: bool,
    check: &'a mut dyn FnMut(&Graph, &Status) -> Answer,
}

impl Search<'_> {
    /// What tells one best model from the next: each is smaller.
    fn size(&self) -> (usize, usize) {
        (self.best.len(), self.best.outputs().len())
    }

    /// What the check says, asked once a model; `Neither` where no more can be asked.
    fn ask(&mut self, candidate: &Graph) -> Answer {
        let key = hash(candidate);
        if let Some(&known) = self.seen.get(&key) {
            return known;
        }
        self.stopped |= self.tries >= self.limit;
        if self.stopped || verify(candidate).is_err() {
            return Answer::Neither;
        }
        let status = Status { tries: self.tries, nodes: self.best.len() };
        let answer = (self.check)(candidate, &status);
        if answer == Answer::Stop {
            self.stopped = true;
            return Answer::Neither;
        }
        self.tries += 1;
        self.seen.insert(key, answer);
        if answer == Answer::Works && self.works.as_ref().is_none_or(|w| w.len() < candidate.len())
        {
            self.works = Some(candidate.clone());
        }
        answer
    }

    /// Takes the candidate if the check fails on it.
    fn take(&mut self, candidate: Option<Graph>) -> bool {
        let Some(c) = candidate else { return false };
        // One that was tried before is no smaller.
        if self.seen.contains_key(&hash(&c)) || self.ask(&c) != Answer::Fails {
            return false;
        }
        self.best = c;
        true
    }

    fn take_nodes(&mut self, nodes: &[NodeId]) -> bool {
        self.take(keep(&self.best, nodes).ok())
    }

    /// Nodes that may go; constants go with their readers.
    fn nodes(&self) -> Vec<NodeId> {
        let constant = |n: &NodeId| matches!(self.best.node(*n).op, Op::Constant(_));
        self.best.schedule().filter(|n| !constant(n)).collect()
    }

    fn tail(&mut self) {
        let nodes = self.nodes();
        let (mut low, mut high) = (0, nodes.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.take_nodes(&nodes[..middle]) { high = middle } else { low = middle }
        }
    }

    fn head(&mut self) {
        let nodes = self.nodes();
        let (mut low, mut high) = (0, nodes.len());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.take_nodes(&nodes[middle..]) { low = middle } else { high = middle }
        }
    }

    /// Leaves out pieces of half the nodes, a quarter, and so on to single nodes.
    fn pieces(&mut self) {
        let mut length = self.nodes().len() / 2;
        while length > 0 && !self.stopped {
            let mut nodes = self.nodes();
            let mut shrank = false;
            let mut end = nodes.len();
            while end > 0 {
                let start = end.saturating_sub(length);
                let rest = [&nodes[..start], &nodes[end.min(nodes.len())..]].concat();
                if self.take_nodes(&rest) {
                    shrank = true;
                    nodes = self.nodes();
                }
                end = start.min(nodes.len());
            }
            if length > 1 || !shrank {
                length /= 2;
            }
        }
    }

    /// Leaves out outputs and what only they need.
    fn outputs(&mut self) {
        let mut at = self.best.outputs().len();
        while at > 0 && self.best.outputs().len() > 1 {
            at -= 1;
            let mut rest = self.best.outputs().to_vec();
            if at < rest.len() {
                rest.remove(at);
                self.take(extract(&self.best, &[], &rest).ok());
            }
        }
    }

    /// Leaves out nodes for which an operand can stand.
    fn bypasses(&mut self) {
        for n in self.nodes().into_iter().rev() {
            let Some(node) = self.best.get_node(n) else { continue };
            let [Some(result)] = node.outputs[..] else { continue };
            let ty = &self.best.value(result).ty;
            let like = |v: &&ValueId| self.best.value(**v).ty == *ty && ty.dtype().is_some();
            let operands: Vec<ValueId> =
                node.inputs.iter().flatten().filter(like).copied().collect();
            for v in operands {
                let candidate = bypass(&self.best, n, result, v);
                if self.take(candidate) {
                    break;
                }
            }
        }
    }

    /// Looks for the largest model that works.
    fn grow(&mut self, whole: &Graph) {
        let all: Vec<NodeId> = whole.schedule().collect();
        let works = |s: &mut Self, set: &HashSet<NodeId>| {
            let nodes: Vec<NodeId> = all.iter().filter(|n| set.contains(n)).copied().collect();
            keep(whole, &nodes).is_ok_and(|g| s.ask(&g) == Answer::Works)
        };
        for n in self.nodes() {
            let mut rest: HashSet<NodeId> = all.iter().copied().collect();
            if rest.remove(&n) && works(self, &rest) {
                return;
            }
        }
        let mut working: HashSet<NodeId> = HashSet::new();
        let mut length = all.len() / 2;
        while length > 0 && !self.stopped {
            for piece in all.chunks(length) {
                let more: HashSet<NodeId> = working.iter().chain(piece).copied().collect();
                if more.len() > working.len() && works(self, &more) {
                    working = more;
                }
            }
            length /= 2;
        }
    }
}

fn hash(graph: &Graph) -> u64 {
    let mut h = DefaultHasher::new();
    text::print(graph).hash(&mut h);
    h.finish()
}

/// The graph with an operand in the place of the node's result.
fn bypass(graph: &Graph, node: NodeId, result: ValueId, operand: ValueId) -> Option<Graph> {
    let mut out = graph.clone();
    let mut edit = Edit::new(format!("reduce {}", graph.label(node)));
    edit.replaces.push((result, Ref::Value(operand)));
    edit.removes.push(node);
    let mut editor = Editor::new(&mut out);
    editor.apply(&edit).ok()?;
    editor.refine().ok()?;
    // What only the node read goes with it.
    extract(editor.graph(), &[], editor.graph().outputs()).ok()
}
