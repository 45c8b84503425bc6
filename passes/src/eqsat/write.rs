//! Terms written as a graph.

use std::collections::HashMap;

use graph_opt_ir::{Builder, Def, Graph, Tensor, ValueId, op, structural_eq};

use super::error::WriteError;
use super::terms::{Head, TermId, Terms};

/// A graph that computes these terms, with the inputs of the original; each node right before
/// its first reader.
///
/// # Errors
/// If a term is opaque, or its operator is not modelled.
pub fn graph(original: &Graph, terms: &Terms, roots: &[TermId]) -> Result<Graph, WriteError> {
    let mut b = Builder::new(&original.name, original.opset());
    let mut made: HashMap<TermId, ValueId> = HashMap::new();
    let mut position = 0;
    for &v in original.inputs() {
        let value = original.value(v);
        let new = b.input(&value.name, value.ty.clone());
        let leaf = terms.find_leaf(structural_eq::input(original, v, position));
        position += u64::from(matches!(value.def, Def::Input(None)));
        made.extend(leaf.map(|t| (t, new)));
    }
    let mut todo: Vec<TermId> = roots.iter().rev().copied().collect();
    while let Some(&t) = todo.last() {
        if made.contains_key(&t) {
            todo.pop();
            continue;
        }
        let below: Vec<TermId> =
            terms.get(t).children.iter().copied().filter(|c| !made.contains_key(c)).collect();
        if !below.is_empty() {
            todo.extend(below.into_iter().rev());
            continue;
        }
        todo.pop();
        let v = node(&mut b, terms, t, &made)?;
        made.insert(t, v);
    }
    // Results have the same names whatever computes them.
    for (i, t) in roots.iter().enumerate() {
        let same = b.node(&format!("result{i}"), op::Identity {}, &[made[t]]);
        b.output(same.map_err(|e| WriteError(e.to_string()))?);
    }
    Ok(b.finish())
}

fn node(
    b: &mut Builder,
    terms: &Terms,
    t: TermId,
    made: &HashMap<TermId, ValueId>,
) -> Result<ValueId, WriteError> {
    let name = format!("t{}", t.index());
    let term = terms.get(t);
    match &term.head {
        Head::Leaf(_) => Err(WriteError(format!("{name} stands for an opaque value"))),
        Head::Const(_) => match terms.value(t) {
            Some(c) => Ok(b.constant(&name, c.clone())),
            None => Err(WriteError(format!("the constant {name} has no elements"))),
        },
        Head::Slice(r) => {
            let cuts = r.iter().enumerate().filter_map(|(a, s)| s.map(|s| (a as i64, s)));
            let cuts: Vec<_> = cuts.collect();
            let mut inputs = vec![made[&term.children[0]]];
            for (what, v) in [
                ("starts", cuts.iter().map(|c| c.1.lo).collect::<Vec<_>>()),
                ("ends", cuts.iter().map(|c| c.1.hi).collect()),
                ("axes", cuts.iter().map(|c| c.0).collect()),
            ] {
                inputs.push(b.constant(&format!("{name}_{what}"), Tensor::i64s(&v)));
            }
            let op = op::Slice { starts: None, ends: None, axes: None };
            b.node(&name, op, &inputs).map_err(|e| WriteError(e.to_string()))
        }
        Head::Apply(a) if !a.modelled => {
            Err(WriteError(format!("the operator of {name} is not modelled")))
        }
        Head::Apply(a) => {
            let inputs = terms.operands(t).iter().map(|x| x.map(|x| made[&x])).collect();
            let all = b.node_with(&name, (*a.op).clone(), inputs, a.outputs);
            let all = all.map_err(|e| WriteError(format!("{}: {e}", a.op.name())))?;
            Ok(all[a.output])
        }
    }
}
