//! Where results differ, and what made it so.

use std::sync::Arc;

use graph_opt_ir::structural_eq::Structure;
use graph_opt_ir::tensor::Data;
use graph_opt_ir::{DType, Graph, NodeId, Tensor, ValueId};

use super::{DifferenceMap, OutputElement, Place};
use crate::cpu::{FieldData, FieldTensor, Key};
use crate::tolerance::{Difference, difference_of};

/// Values that both graphs have, in the order of the other graph's schedule.
pub(super) struct Matched {
    pub of_a: Vec<ValueId>,
    pub of_b: Vec<ValueId>,
}

impl Matched {
    pub fn new(a: &Graph, b: &Graph, s: &Structure, t: &Structure) -> Self {
        let names: std::collections::HashMap<&str, ValueId> =
            a.values().map(|(id, v)| (&*v.name, id)).collect();
        let mut m = Self { of_a: Vec::new(), of_b: Vec::new() };
        for id in b.schedule() {
            for &v in b.node(id).outputs.iter().flatten() {
                let value = b.value(v);
                if let Some(&w) = names.get(&*value.name)
                    && a.value(w).ty.meet(&value.ty).is_some()
                    && a.producer(w).is_some()
                    && s.hash(w) != t.hash(v)
                {
                    m.of_a.push(w);
                    m.of_b.push(v);
                }
            }
        }
        m
    }
}

/// The place of a value of the other graph.
pub(super) fn place(
    b: &Graph,
    v: ValueId,
    element: Vec<usize>,
    elements: (String, String),
    map: Option<DifferenceMap>,
) -> Place {
    let producer = b.producer(v);
    let edit = producer.map(|n| made_by(b, n)).unwrap_or_default();
    let node = producer.map(|n| b.label(n).to_owned()).unwrap_or_default();
    Place {
        value: b.value(v).name.to_string(),
        element,
        elements,
        edit,
        node,
        output: None,
        map: map.map(Arc::new),
    }
}

impl Place {
    /// With where the output differs, whose elements can be read.
    pub(super) fn seen_at(self, output: &Place, readable: bool) -> Self {
        let Self { value, element, elements, map, .. } = output;
        let elements = readable.then(|| elements.clone());
        let (name, element, map) = (value.clone(), element.clone(), map.clone());
        let output = OutputElement { name, element, elements, map };
        Self { output: Some(output), ..self }
    }
}

/// The edit that made the node, or those that made nodes in its bodies.
fn made_by(graph: &Graph, node: NodeId) -> String {
    let n = graph.node(node);
    if !n.meta.origin.is_empty() {
        return n.meta.origin.to_string();
    }
    let mut edits: Vec<String> = Vec::new();
    for (_, body) in n.op.bodies() {
        body.any_node(&mut |g, n| {
            let origin = &*g.node(n).meta.origin;
            if !origin.is_empty() && !edits.iter().any(|e| e == origin) {
                edits.push(origin.to_owned());
            }
            false
        });
    }
    match &edits[..] {
        [] => String::new(),
        [one] => format!("{one}, inside {:?}", graph.label(node)),
        all => format!("{} inside {:?}", all.join(" or "), graph.label(node)),
    }
}

/// How results of a backend differ; `None` if they are equal bit for bit. NaN is equal to NaN.
pub(super) fn differ(x: &Tensor, y: &Tensor) -> Option<Difference> {
    let unlike = |first: usize| Difference {
        absolute: f64::INFINITY,
        ulp: u64::MAX,
        scale: 0.0,
        first: Some(first),
        unlike: true,
    };
    if x.dtype() != y.dtype() || x.dims() != y.dims() {
        return Some(unlike(0));
    }
    if x == y {
        return None;
    }
    if let (Data::Strings(p), Data::Strings(q)) = (x.data(), y.data()) {
        let at = p.iter().zip(q.iter()).position(|(p, q)| p != q)?;
        return Some(unlike(at));
    }
    if x.dtype() == DType::F64 || x.dtype().is_float() {
        let (Some(a), Some(b)) = (doubles(x), doubles(y)) else { return Some(unlike(0)) };
        let d = difference_of(&a, &b, x.dtype() == DType::F64);
        d.first?;
        return Some(d);
    }
    // Whole numbers, and types that nothing computes with, may not differ at all.
    let (Ok(p), Ok(q)) = (x.bytes(), y.bytes()) else { return Some(unlike(0)) };
    let at = p.iter().zip(q.iter()).position(|(p, q)| p != q)?;
    Some(unlike(at * 8 / x.dtype().bits().max(1)))
}

/// The elements of a tensor of floats as `f64`, which holds them exactly.
pub(super) fn doubles(t: &Tensor) -> Option<Vec<f64>> {
    if t.dtype() != DType::F64 {
        return Some(t.to_f32s()?.into_iter().map(f64::from).collect());
    }
    let bytes = t.bytes().ok()?;
    let one = |c: &[u8]| c.try_into().map(f64::from_le_bytes).ok();
    bytes.chunks_exact(8).map(one).collect()
}

pub(super) fn float_place(x: &Tensor, y: &Tensor, at: usize) -> (Vec<usize>, (String, String)) {
    let text = |t: &Tensor| {
        let whole = || Some(format!("{}", t.to_i64s()?.get(at)?));
        let string = || match t.data() {
            Data::Strings(s) => Some(String::from_utf8_lossy(s.get(at)?).into_owned()),
            _ => None,
        };
        let single = || Some(format!("{:?}", t.to_f32s()?.get(at)?));
        let double = || Some(format!("{:?}", doubles(t)?.get(at)?));
        let float = if t.dtype() == DType::F64 { double() } else { single() };
        let number = if t.dtype().is_float() { float } else { whole() };
        number.or_else(string).unwrap_or_else(|| t.ty().to_string())
    };
    let dims: Vec<usize> = x.dims().iter().map(|&d| d as usize).collect();
    if x.dims() != y.dims() || x.dtype() != y.dtype() {
        return (Vec::new(), (x.ty().to_string(), y.ty().to_string()));
    }
    (indices(&dims, at), (text(x), text(y)))
}

pub(super) fn field_place(
    p: &FieldTensor,
    q: &FieldTensor,
    key: Key<'_>,
) -> Option<(Vec<usize>, (String, String))> {
    if p.dims != q.dims || p.dtype != q.dtype {
        let text = |t: &FieldTensor| format!("{}{:?}", t.dtype, t.dims);
        return Some((Vec::new(), (text(p), text(q))));
    }
    if p == q {
        return None;
    }
    let (p, q) = (p.embedded(key.bits).ok()?, q.embedded(key.bits).ok()?);
    match (&p.data, &q.data) {
        (FieldData::Field(x), FieldData::Field(y)) => {
            let at = x.iter().zip(y).position(|(a, b)| a != b)?;
            Some((indices(&p.dims, at), (format!("{:?}", x[at]), format!("{:?}", y[at]))))
        }
        (FieldData::Native(x), FieldData::Native(y)) => {
            let d = differ(x, y)?;
            Some(float_place(x, y, d.first.unwrap_or(0)))
        }
        _ => Some((Vec::new(), ("depends on inputs".into(), "does not".into()))),
    }
}

/// The texts of the elements with these indices; `None` if they are the same, or not there.
pub(super) fn texts_at(x: &Tensor, y: &Tensor, element: &[usize]) -> Option<(String, String)> {
    if x.dims() != y.dims() || element.len() != x.dims().len() {
        return None;
    }
    let flat = |at: usize, (&i, &d): (&usize, &u64)| at * d as usize + i;
    let at = element.iter().zip(x.dims()).fold(0, flat);
    Some(float_place(x, y, at).1).filter(|(x, y)| x != y)
}

pub(super) fn indices(dims: &[usize], mut at: usize) -> Vec<usize> {
    let mut out = vec![0; dims.len()];
    for (o, &d) in out.iter_mut().zip(dims).rev() {
        *o = at % d.max(1);
        at /= d.max(1);
    }
    out
}
