//! What the elements of whole-number inputs are used as: followed forward through operators that
//! only move them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use graph_opt_ir::{Dim, Graph, Op, ValueId};

/// What an input is used as.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Uses {
    /// Extents of the axes that it indexes.
    pub into: Vec<Dim>,
    /// Whether it says an extent, a bound or a count.
    pub sizes: bool,
    /// Whether it says the shape of a Reshape.
    pub reshapes: bool,
    /// Rows that are to be looked at.
    pub rows: BTreeSet<i64>,
}

/// Uses of each input of the graph. `rows` are those of interest of each Gather, by its label.
pub(crate) fn uses(graph: &Graph, rows: &BTreeMap<String, BTreeSet<i64>>) -> Vec<Uses> {
    let one = |&v: &ValueId| {
        let mut uses = Uses::default();
        follow(graph, v, &mut HashSet::new(), &mut uses, rows, 0);
        uses
    };
    graph.inputs().iter().map(one).collect()
}

fn follow(
    graph: &Graph,
    v: ValueId,
    seen: &mut HashSet<ValueId>,
    found: &mut Uses,
    rows: &BTreeMap<String, BTreeSet<i64>>,
    depth: usize,
) {
    if depth > 8 || !seen.insert(v) {
        return;
    }
    for u in graph.value(v).uses() {
        let node = graph.node(u.node);
        let bodies = node.op.bodies();
        if u.index >= node.inputs.len() {
            for (_, body) in bodies {
                if let Some(inner) = body.find_value(&graph.value(v).name) {
                    follow(body, inner, &mut HashSet::new(), found, rows, depth + 1);
                }
            }
            continue;
        }
        let dims = |i: usize| {
            let v = node.inputs.get(i).copied().flatten()?;
            graph.value(v).ty.dims().map(<[Dim]>::to_vec)
        };
        let axis = |axis: i64| {
            let d = dims(0)?;
            let at = graph_opt_ir::op_context::axis_of(axis, d.len()).ok()?;
            d.get(at).cloned()
        };
        use Op::*;
        match (&node.op, u.index) {
            (Gather(o), 1) => {
                found.into.extend(axis(o.axis));
                found.rows.extend(rows.get(graph.label(u.node)).into_iter().flatten());
            }
            (GatherElements(o), 1) => found.into.extend(axis(o.axis)),
            (ScatterElements(o), 1) => found.into.extend(axis(o.axis)),
            (GatherND(_) | ScatterND(_), 1) => found.into.extend(dims(0).unwrap_or_default()),
            (OneHot(_), 0) => {
                let depth = node.inputs.get(1).copied().flatten().and_then(|v| graph.constant(v));
                let depth = depth.and_then(|t| t.to_i64s()).and_then(|d| d.first().copied());
                found.into.extend(depth.and_then(|d| u64::try_from(d).ok()).map(Dim::Known));
                found.rows.extend(rows.get(graph.label(u.node)).into_iter().flatten());
            }
            (Reshape(_), 1) => found.reshapes = true,
            (Squeeze(_) | Unsqueeze(_) | CumSum(_) | ReduceSum(_), 1) | (Trilu(_), 1) => {
                found.into.push(Dim::Known(1));
            }
            // How long it is is not known.
            (SequenceAt(_) | SequenceErase(_), 1) | (SequenceInsert(_), 2) => {
                found.into.push(Dim::Known(1));
            }
            (SplitToSequence(_), 1) => found.sizes = true,
            (Expand(_) | Tile(_) | Pad(_) | TopK(_) | Split(_) | OneHot(_), 1)
            | (ConstantOfShape(_) | Range(_), _)
            | (Slice(_), 1..)
            | (Resize(_) | Upsample(_), 1..)
            | (LSTM(_) | GRU(_) | RNN(_), 4)
            | (Loop(_), 0) => found.sizes = true,
            (
                Identity(_) | Transfer(_) | Cast(_) | Reshape(_) | Flatten(_) | Squeeze(_)
                | Unsqueeze(_) | Slice(_) | Transpose(_) | Expand(_) | Tile(_) | Split(_)
                | Gather(_),
                0,
            )
            | (Concat(_), _) => {
                for &o in node.outputs.iter().flatten() {
                    follow(graph, o, seen, found, rows, depth);
                }
            }
            (Loop(o), i) => {
                if let Some(&inner) = o.body.0.inputs().get(i) {
                    follow(&o.body.0, inner, &mut HashSet::new(), found, rows, depth + 1);
                }
            }
            (Scan(o), i) => {
                // Before version 9, lengths go before what the body reads.
                let lengths = usize::from(graph.opset() < 9);
                let at = i.checked_sub(lengths);
                if let Some(&inner) = at.and_then(|i| o.body.0.inputs().get(i)) {
                    follow(&o.body.0, inner, &mut HashSet::new(), found, rows, depth + 1);
                }
            }
            _ => {}
        }
    }
}
