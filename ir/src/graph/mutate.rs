//! Changes of a graph: for [`Builder`](crate::Builder), the editor and the readers of files.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::{Def, Graph, Node, Use, Value, missing};
use crate::{NodeId, Type, ValueId};

/// Distance of neighbours in the schedule's order keys after renumbering.
const GAP: u64 = 1 << 20;

impl Graph {
    /// A name that nothing in this graph or its subgraphs has: `base`, or `base_2`, `base_3`, …
    pub(crate) fn fresh(&mut self, base: &str) -> Arc<str> {
        let base = if base.is_empty() { "value" } else { base };
        let mut name: Arc<str> = base.into();
        let mut i = 2u32;
        while self.names.contains(&name) {
            name = format!("{base}_{i}").into();
            i += 1;
        }
        self.names.insert(name.clone());
        name
    }

    /// Names that several nodes of the file have. Edits add none.
    pub(crate) fn repeated(&mut self) -> Arc<HashSet<Arc<str>>> {
        if let Some(known) = &self.repeated {
            return known.clone();
        }
        let (mut seen, mut again) = (HashSet::new(), HashSet::new());
        self.any_node(&mut |g, n| {
            let name = &g.node(n).name;
            if !seen.insert(name.clone()) {
                again.insert(name.clone());
            }
            false
        });
        self.repeated.insert(Arc::new(again)).clone()
    }

    /// The graph where all inputs that have a default hold it: they are constants.
    pub fn at_defaults(&self) -> Self {
        let mut graph = self.clone();
        for &v in &self.inputs {
            if let Def::Input(Some(t)) = &self.value(v).def {
                graph.value_mut(v).def = Def::Const(t.clone());
            }
        }
        graph.inputs.retain(|&v| !matches!(self.value(v).def, Def::Input(Some(_))));
        graph
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        match self.nodes.get_mut(id.index()).and_then(Option::as_mut) {
            Some(n) => n,
            None => missing("node", id.index()),
        }
    }

    pub(crate) fn value_mut(&mut self, id: ValueId) -> &mut Value {
        match self.values.get_mut(id.index()).and_then(Option::as_mut) {
            Some(v) => v,
            None => missing("value", id.index()),
        }
    }

    pub(crate) fn push_value(&mut self, name: Arc<str>, ty: Type, def: Def) -> ValueId {
        let id = ValueId::new(self.values.len());
        self.names.insert(name.clone());
        self.values.push(Some(Value {
            name,
            ty,
            def,
            uses: BTreeSet::new(),
            outputs: 0,
            part_of: None,
        }));
        id
    }

    /// Adds a node in front of `before`, or at the end, and makes it the definition of its outputs.
    pub(crate) fn insert_node(&mut self, mut node: Node, before: Option<NodeId>) -> NodeId {
        let id = NodeId::new(self.nodes.len());
        let prev = match before {
            Some(b) => self.node(b).prev,
            None => self.last,
        };
        node.order = self.key_between(prev, before);
        (node.prev, node.next) = (prev, before);
        for (index, v) in node.inputs.iter().enumerate() {
            if let Some(v) = v {
                self.value_mut(*v).uses.insert(Use { node: id, index });
            }
        }
        for (i, v) in node.captures.iter().enumerate() {
            let index = node.inputs.len() + i;
            self.value_mut(*v).uses.insert(Use { node: id, index });
        }
        for (i, v) in node.outputs.iter().enumerate() {
            if let Some(v) = v {
                self.value_mut(*v).def = Def::Node(id, i);
            }
        }
        if !node.name.is_empty() {
            self.names.insert(node.name.clone());
        }
        for (_, g) in node.op.bodies() {
            self.names.extend(g.names.iter().cloned());
        }
        self.nodes.push(Some(node));
        match prev {
            Some(p) => self.node_mut(p).next = Some(id),
            None => self.first = Some(id),
        }
        match before {
            Some(b) => self.node_mut(b).prev = Some(id),
            None => self.last = Some(id),
        }
        self.live += 1;
        id
    }

    /// Removes a node. The caller must redefine or remove its outputs.
    pub(crate) fn remove_node(&mut self, id: NodeId) -> Option<Node> {
        let node = self.nodes.get_mut(id.index())?.take()?;
        match node.prev {
            Some(p) => self.node_mut(p).next = node.next,
            None => self.first = node.next,
        }
        match node.next {
            Some(n) => self.node_mut(n).prev = node.prev,
            None => self.last = node.prev,
        }
        let operands = node.inputs.iter().copied().chain(node.captures.iter().map(|&v| Some(v)));
        for (index, v) in operands.enumerate() {
            if let Some(v) = v {
                self.value_mut(v).uses.remove(&Use { node: id, index });
            }
        }
        self.live -= 1;
        Some(node)
    }

    pub(crate) fn remove_value(&mut self, id: ValueId) {
        if let Some(v) = self.values[id.index()].take() {
            self.names.remove(&v.name);
        }
    }

    /// Makes constants of the inputs that have a default value, and returns how many there were. Callers
    /// can no longer give other values for them.
    pub fn freeze_defaults(&mut self) -> usize {
        let before = self.inputs.len();
        for v in self.inputs.clone() {
            if let Def::Input(Some(t)) = &self.value(v).def {
                self.value_mut(v).def = Def::Const(t.clone());
            }
        }
        self.inputs = std::mem::take(&mut self.inputs)
            .into_iter()
            .filter(|&v| matches!(self.value(v).def, Def::Input(_)))
            .collect();
        let frozen = before - self.inputs.len();
        self.edits += usize::from(frozen > 0);
        frozen
    }

    pub(crate) fn set_outputs(&mut self, outputs: Vec<ValueId>) {
        for v in std::mem::take(&mut self.outputs) {
            self.value_mut(v).outputs -= 1;
        }
        for &v in &outputs {
            self.value_mut(v).outputs += 1;
        }
        self.outputs = outputs;
    }

    /// Links the nodes in this order, which must list all of them.
    pub(crate) fn set_schedule(&mut self, order: &[NodeId]) {
        let (mut prev, mut key) = (None, GAP);
        for (i, &id) in order.iter().enumerate() {
            let n = self.node_mut(id);
            (n.prev, n.next, n.order) = (prev, order.get(i + 1).copied(), key);
            (prev, key) = (Some(id), key + GAP);
        }
        (self.first, self.last) = (order.first().copied(), order.last().copied());
    }

    fn key_between(&mut self, prev: Option<NodeId>, next: Option<NodeId>) -> u64 {
        let key = |g: &Self| {
            let lo = prev.map_or(0, |p| g.node(p).order);
            match next {
                None => lo.checked_add(GAP),
                Some(n) => {
                    let hi = g.node(n).order;
                    (hi - lo > 1).then(|| lo + (hi - lo) / 2)
                }
            }
        };
        if let Some(k) = key(self) {
            return k;
        }
        if let Some(id) = prev.or(next) {
            self.spread(id);
        }
        key(self).unwrap_or_default()
    }

    /// Makes room between keys around this node: spreads the keys of the smallest aligned range that is sparse for
    /// its size, which takes a logarithmic number of steps per insertion on average (Bender, Cole, Demaine,
    /// Farach-Colton and Zito, "Two simplified algorithms for maintaining order in a list", ESA 2002).
    fn spread(&mut self, id: NodeId) {
        let key = self.node(id).order;
        let (mut first, mut last, mut count) = (id, id, 1u64);
        let mut sparse = 1.0f64;
        for bits in 1..u64::BITS {
            // A range of 2^bits keys may hold 1.5^bits nodes.
            sparse *= 1.5;
            let width = 1u64 << bits;
            let lo = key & !(width - 1);
            let inside = |n: &Node| n.order >= lo && n.order - lo < width;
            while let Some(p) = self.node(first).prev.filter(|&p| inside(self.node(p))) {
                (first, count) = (p, count + 1);
            }
            while let Some(n) = self.node(last).next.filter(|&n| inside(self.node(n))) {
                (last, count) = (n, count + 1);
            }
            let step = width / count;
            // The last step leaves room in front of the first node of all and behind the last one of the range.
            if step < 4 || count as f64 > sparse {
                continue;
            }
            let mut at = Some(first);
            for i in 0..count {
                let Some(n) = at else { break };
                let node = self.node_mut(n);
                node.order = lo + i * step + step / 2;
                at = node.next;
            }
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::NodeId;
    use crate::text::parse;

    /// Wherever nodes are inserted, keys ascend along the schedule.
    #[test]
    fn keys_ascend() {
        let places: [fn(&[NodeId], usize) -> usize; 4] = [
            |all, _| all.len() - 1,
            |_, _| 0,
            |all, i| (i * 7919) % all.len(),
            |all, i| all.len() / 2 + i % 2,
        ];
        for place in places {
            let text = "graph @g(%x: f32[1]) -> (%z) opset 13 { %y = Relu %x : f32[1] %z = Relu %y : f32[1] }";
            let mut g = parse(text).unwrap();
            let mut all: Vec<NodeId> = g.schedule().collect();
            for i in 0..3000 {
                let at = place(&all, i);
                let mut node = g.node(all[0]).clone();
                node.outputs.clear();
                let id = g.insert_node(node, Some(all[at]));
                all.insert(at, id);
            }
            assert_eq!(g.schedule().collect::<Vec<_>>(), all);
            assert!(all.windows(2).all(|w| g.runs_before(w[0], w[1])));
        }
    }
}
