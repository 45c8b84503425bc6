//! From kernels that ONNX Runtime timed to the nodes of a model.
//!
//! ONNX Runtime fuses nodes, inserts others and renames them, so that its kernels are not the
//! model's nodes. A kernel belongs to
//!
//! 1. the node whose name, or whose result's name, its own name contains (`fused Conv_3`,
//!    `1177_nchwc`, `Mul_43/QuickGeluFusion/`). If the operator differs, as where a Conv is named
//!    by the Relu that it was fused with, then to the nearest node before that has the operator;
//! 2. else the first node that has no kernel yet, whose operator is (part of) the kernel's
//!    (`FusedConv`, `Conv`), and whose result has the same extents;
//! 3. else, if it moves or converts data, the kernel that ran before it (`ReorderInput`).
//!
//! A node without a kernel takes no time if a neighbour took it over by fusion, or if it was
//! folded. Nodes with multiply-accumulates are never folded away: without a kernel they count as
//! not measured.

use std::collections::{BTreeMap, HashMap, HashSet};

use graph_opt_ir::{Graph, NodeId};

use super::values::read;
use crate::analysis::node_macs;
use crate::devices::cluster::{Kernel, KernelTimes, NodeTime, Profile};

/// A profile of the nodes of a model, from the kernels of ONNX Runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct AttributedTimes {
    /// Times of the nodes.
    pub profile: Profile,
    /// Share, of the time of all kernels, of those that belong to no node.
    pub lost: f64,
    /// The kernel without a node that takes longest.
    pub largest: Option<String>,
}

/// Kernels belong to other nodes than those of the model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "{:.0} % of the time belongs to no node of the model ({largest} most), and at most {:.0} % may; \
     measure this model, or at a lower graph_optimization_level",
    share * 100.0, MOST_LOST * 100.0
)]
pub struct OtherModel {
    /// Share of the time.
    share: f64,
    /// The kernel that takes longest, with its operator.
    largest: String,
}

/// Largest share of the time that may belong to no node.
const MOST_LOST: f64 = 0.1;

/// Operators that ONNX Runtime inserts between other nodes.
const INSERTED: [&str; 12] = [
    "Cast",
    "DequantizeLinear",
    "Gather",
    "MemcpyFromHost",
    "MemcpyToHost",
    "QuantizeLinear",
    "ReorderInput",
    "ReorderOutput",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// The name without what one of ONNX Runtime's optimizers added to it.
fn undecorated(name: &str) -> Option<&str> {
    let fusion = || name.trim_end_matches('/').rsplit_once('/').filter(|f| f.1.contains("Fusion"));
    let token = || {
        let (of, number) = name.rsplit_once("_token_")?;
        number.parse::<u64>().is_ok().then_some(of)
    };
    name.strip_prefix("fused ")
        .or_else(|| name.strip_prefix("InsertedPrecisionFreeCast_"))
        .or_else(|| name.strip_suffix("_nchwc"))
        .or_else(|| name.strip_suffix("_bn"))
        .or_else(|| fusion().map(|f| f.0))
        .or_else(token)
}

impl KernelTimes {
    /// Attributes the kernels to the nodes of the model that was run.
    ///
    /// # Errors
    /// If kernels of more than a tenth of the time belong to no node.
    pub fn attribute(&self, graph: &Graph) -> Result<AttributedTimes, OtherModel> {
        let owners = owners(&self.kernels, graph);
        let total = self.total();
        let lost = |k: &usize| owners[*k].is_none();
        let lost: Vec<&Kernel> = (0..owners.len()).filter(lost).map(|k| &self.kernels[k]).collect();
        let seconds: f64 = lost.iter().map(|k| k.seconds).sum();
        let share = if total > 0.0 { seconds / total } else { 0.0 };
        let largest = lost.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let largest = largest.map(|k| format!("{} ({})", k.name, k.op));
        if share > MOST_LOST {
            return Err(OtherModel { share, largest: largest.unwrap_or_default() });
        }
        let mut times: HashMap<NodeId, NodeTime> = HashMap::new();
        for (k, owner) in self.kernels.iter().zip(&owners) {
            let Some(n) = *owner else { continue };
            let new = || NodeTime {
                name: graph.label(n).to_owned(),
                seconds: 0.0,
                spread: 0.0,
                count: k.count,
                joules: None,
            };
            let time = times.entry(n).or_insert_with(new);
            time.seconds += k.seconds;
            time.spread += k.spread;
        }
        let runs = self.kernels.iter().map(|k| k.count).max().unwrap_or(0);
        for n in taken_over(graph, times.keys().copied().collect()) {
            let name = graph.label(n).to_owned();
            times
                .insert(n, NodeTime { name, seconds: 0.0, spread: 0.0, count: runs, joules: None });
        }
        let nodes = graph.schedule().filter_map(|n| times.remove(&n)).collect();
        let runs = u16::try_from(runs).unwrap_or(u16::MAX);
        let backend = "onnxruntime".into();
        let profile = Profile { version: 1, backend, runs, nodes, ..Profile::default() };
        Ok(AttributedTimes { profile, lost: share, largest })
    }
}

/// The node of each kernel.
fn owners(kernels: &[Kernel], graph: &Graph) -> Vec<Option<NodeId>> {
    let mut named: HashMap<&str, Vec<NodeId>> = HashMap::new();
    for n in graph.schedule() {
        named.entry(graph.label(n)).or_default().push(n);
    }
    for n in graph.schedule() {
        for &v in graph.node(n).outputs.iter().flatten() {
            named.entry(&graph.value(v).name).or_insert_with(|| vec![n]);
        }
    }
    let mut taken: HashSet<NodeId> = HashSet::new();
    let mut owners = vec![None; kernels.len()];
    for (k, owner) in kernels.iter().zip(&mut owners) {
        let mut name = Some(&*k.name);
        while let Some(part) = name.filter(|n| !named.contains_key(n)) {
            name = undecorated(part);
        }
        let Some(all) = name.and_then(|n| named.get(n)) else { continue };
        // Nodes of one name run in the order of the model.
        let free = all.iter().find(|n| !taken.contains(*n));
        let Some(&n) = free.or(all.first()) else { continue };
        let n = computing(graph, n, &k.op, &taken);
        taken.insert(n);
        *owner = Some(n);
    }
    // Nodes without a name: by operator and extents, in the order of the model.
    let mut open: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for i in (0..kernels.len()).filter(|&i| owners[i].is_none()) {
        open.entry(kernels[i].index).or_default().push(i);
    }
    for i in open.into_values().flatten() {
        let k = &kernels[i];
        let fits = |n: &NodeId| {
            let made = graph.node(*n).outputs.first().copied().flatten();
            let dims = made.and_then(|v| graph.value(v).ty.extents());
            !taken.contains(n) && k.op.contains(graph.node(*n).op.name()) && dims == k.dims
        };
        let whole = |n: &NodeId| k.op == graph.node(*n).op.name();
        let mut all = graph.schedule().filter(fits);
        owners[i] = graph.schedule().filter(fits).find(whole).or_else(|| all.next());
        taken.extend(owners[i]);
    }
    let first = owners.iter().find_map(|o| *o);
    let mut before = None;
    for (k, owner) in kernels.iter().zip(&mut owners) {
        if owner.is_none() && INSERTED.contains(&&*k.op) {
            *owner = before.or(first);
        }
        before = owner.or(before);
    }
    owners
}

/// The node that a kernel computes: the named one, or the nearest before it that has the kernel's
/// operator and no other kernel.
fn computing(graph: &Graph, named: NodeId, op: &str, taken: &HashSet<NodeId>) -> NodeId {
    /// Nodes that are fused into one before it in a row, at most.
    const MOST_FUSED: usize = 8;
    let mut at = named;
    for _ in 0..MOST_FUSED {
        if graph.node(at).op.name() == op {
            return if taken.contains(&at) { named } else { at };
        }
        match read(graph, at).find_map(|v| graph.producer(v)) {
            Some(p) => at = p,
            None => break,
        }
    }
    named
}

/// The nodes without a kernel that others took over: those without multiply-accumulates that are
/// connected to a measured node by such nodes.
fn taken_over(graph: &Graph, measured: HashSet<NodeId>) -> Vec<NodeId> {
    let mut reached = measured.clone();
    let mut queue: Vec<NodeId> = measured.into_iter().collect();
    let mut found = Vec::new();
    while let Some(n) = queue.pop() {
        let node = graph.node(n);
        let inputs = node.inputs.iter().flatten().chain(&node.captures);
        let before = inputs.filter_map(|&v| graph.producer(v));
        let made = node.outputs.iter().flatten();
        let after = made.flat_map(|&v| graph.value(v).uses().map(|u| u.node));
        for next in before.chain(after) {
            if node_macs(graph, next).unwrap_or(0) == 0 && reached.insert(next) {
                found.push(next);
                queue.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use graph_opt_ir::text;

    use super::*;

    fn kernel(name: &str, op: &str, index: u64, us: f64) -> Kernel {
        Kernel {
            name: name.into(),
            op: op.into(),
            index,
            dims: Some(vec![1, 2, 4, 4]),
            seconds: us / 1e6,
            spread: 0.0,
            count: 3,
        }
    }

    fn model() -> Graph {
        text::parse(
            "graph @g(%x: f32[1,2,4,4]) -> (%y) opset 13 {
               %w = const random(1) : f32[2,2,3,3]
               %a = Conv %x, %w {pads = [1, 1, 1, 1]} : f32[1,2,4,4] ; c1
               %b = Relu %a : f32[1,2,4,4] ; r1
               %c = Conv %b, %w {pads = [1, 1, 1, 1]} : f32[1,2,4,4] ; c2
               %d = Sigmoid %c : f32[1,2,4,4] ; s
               %y = Mul %c, %d : f32[1,2,4,4] ; m
             }",
        )
        .unwrap()
    }

    fn shown(t: &AttributedTimes) -> Vec<(&str, f64)> {
        t.profile.nodes.iter().map(|n| (&*n.name, (n.seconds * 1e6).round())).collect()
    }

    #[test]
    fn kernels_go_to_the_nodes_that_they_compute() {
        let g = model();
        let names = [
            kernel("ReorderInput", "ReorderInput", 9, 1.0),
            kernel("b_nchwc", "Conv", 10, 50.0),
            kernel("fused c2", "FusedConv", 11, 40.0),
            kernel("ReorderOutput_token_1", "ReorderOutput", 12, 2.0),
            kernel("m/QuickGeluFusion/", "QuickGelu", 13, 5.0),
        ];
        let t = KernelTimes { kernels: names.to_vec() }.attribute(&g).unwrap();
        let want = [("c1", 51.0), ("r1", 0.0), ("c2", 42.0), ("s", 0.0), ("m", 5.0)];
        assert_eq!((shown(&t), t.lost), (want.to_vec(), 0.0));
        // Without names: by operator and extents.
        let bare = [
            kernel("FusedConv_6", "FusedConv", 6, 50.0),
            kernel("Conv_3", "Conv", 3, 40.0),
            kernel("QuickGelu_7", "QuickGelu", 7, 5.0),
        ];
        let t = KernelTimes { kernels: bare.to_vec() }.attribute(&g).unwrap();
        let want = [("c1", 40.0), ("r1", 0.0), ("c2", 50.0), ("s", 0.0), ("m", 0.0)];
        assert_eq!(shown(&t), want);
        assert!((t.lost - 5.0 / 95.0).abs() < 1e-9);
        assert_eq!(t.largest.as_deref(), Some("QuickGelu_7 (QuickGelu)"));
    }

    #[test]
    fn profiles_of_other_models_are_refused() {
        let g = model();
        let all = [kernel("c1", "Conv", 0, 50.0), kernel("q", "Attention", 1, 9.0)];
        let e = KernelTimes { kernels: all.to_vec() }.attribute(&g).unwrap_err().to_string();
        assert!(e.contains("15 % of the time belongs to no node") && e.contains("q (Att"), "{e}");
        // A node with work of its own is not taken over.
        let t = KernelTimes { kernels: all[..1].to_vec() }.attribute(&g).unwrap();
        assert_eq!(shown(&t), [("c1", 50.0), ("r1", 0.0)]);
    }
}
