//! What the elements of whole-number inputs are used as: followed forward through operators that
//! only move them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use graph_opt_ir::definition::{inferred, is_defined};
use graph_opt_ir::op_context::OpCtx;
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
        if is_defined(graph, &node.op) {
            let place = node.inputs[..u.index].iter().flatten().count();
            if let Ok(Some(body)) = inferred(&OpCtx::of(graph, u.node)) {
                follow(&body, body.inputs()[place], &mut HashSet::new(), found, rows, depth + 2);
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
            (Scatter(o), 1) => found.into.extend(axis(o.axis)),
            (ReverseSequence(o), 1) => found.into.extend(axis(o.time_axis)),
            (TensorScatter(o), 2) => {
                let axis = |i: usize| {
                    let d = dims(i)?;
                    let at = graph_opt_ir::op_context::axis_of(o.axis, d.len()).ok()?;
                    d[at].known()
                };
                // Whole updates fit from these places on.
                let rest = axis(0).zip(axis(1)).and_then(|(n, m)| n.checked_sub(m));
                found.into.push(rest.map_or(Dim::Known(1), |n| Dim::Known(n + 1)));
            }
            (MaxUnpool(_), 1) => {
                let all = dims(0).and_then(|d| d.iter().map(Dim::known).product::<Option<u64>>());
                found.into.push(Dim::Known(all.unwrap_or(1)));
            }
            (RoiAlign(_), 2) => found.into.extend(dims(0).and_then(|d| d.first().cloned())),
            (GatherND(_) | ScatterND(_), 1) => found.into.extend(dims(0).unwrap_or_default()),
            (OneHot(_), 0) => {
                let depth = node.inputs.get(1).copied().flatten().and_then(|v| graph.constant(v));
                let depth = depth.and_then(|t| t.to_i64s()).and_then(|d| d.first().copied());
                found.into.extend(depth.and_then(|d| u64::try_from(d).ok()).map(Dim::Known));
                found.rows.extend(rows.get(graph.label(u.node)).into_iter().flatten());
            }
            (Reshape(_), 1) => found.reshapes = true,
            (Squeeze(_) | Unsqueeze(_) | CumSum(_) | CumProd(_) | ReduceSum(_) | Trilu(_), 1)
            | (DFT(_), 2) => {
                found.into.push(Dim::Known(1));
            }
            // How long it is is not known.
            (SequenceAt(_) | SequenceErase(_), 1) | (SequenceInsert(_), 2) => {
                found.into.push(Dim::Known(1));
            }
            (SplitToSequence(_), 1) => found.sizes = true,
            (Expand(_) | Tile(_) | Pad(_) | TopK(_) | Split(_) | OneHot(_), 1)
            | (ConstantOfShape(_) | Range(_), _)
            | (HannWindow(_) | HammingWindow(_) | BlackmanWindow(_), 0)
            | (MelWeightMatrix(_), 0..3)
            | (DFT(_), 1)
            | (STFT(_), 1 | 3)
            | (Col2Im(_), 1..)
            | (NonMaxSuppression(_), 2)
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
            | (Where(_), 1..)
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
