//! Models that are equal by construction, and why a mutant may be equal after all.

use std::collections::HashSet;

use graph_opt_passes::registry::OPTIMISE;
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, TensorProto,
};

use super::argument::{all_nodes, changes, version_of_imports};
use super::edits::floats_only;
use super::{NETS, PIPELINES, RUNGS, Rng, Table, count, file, read, rewritten, rung, verdicts};

/// The same network with more of what a file can have: a function, an input with a default, a sparse
/// initializer. (Sparse values are others than before: it is a network of its own.)
pub fn dressed(m: &ModelProto) -> Vec<(&'static str, ModelProto)> {
    let mut all = Vec::new();
    let (mut f, mut r) = (m.clone(), Rng::new(1));
    if outlined(&mut f, &mut r).is_some() {
        all.push(("+function", f));
    }
    let floats = |g: &GraphProto, rank: usize| {
        g.initializer.iter().position(|t| t.data_type == 1 && t.dims.len() >= rank)
    };
    let mut d = m.clone();
    let g = d.graph.mut_or_insert_default();
    if let Some(i) = floats(g, 1) {
        let t = &g.initializer[i];
        let input = value(&t.name, t.data_type, &t.dims);
        g.input.push(input);
        all.push(("+default", d));
    }
    let mut s = m.clone();
    let g = s.graph.mut_or_insert_default();
    if let Some(i) = floats(g, 2) {
        let t = g.initializer.remove(i);
        let all_of_it: i64 = t.dims.iter().product();
        let at: Vec<i64> = (0..all_of_it - 1).filter(|i| i % 5 != 0).collect();
        let values: Vec<f32> = at.iter().map(|&i| 0.25 * (1 + i % 7) as f32).collect();
        let n = vec![at.len() as i64];
        g.sparse_initializer.push(SparseTensorProto {
            values: Some(TensorProto {
                name: t.name,
                data_type: 1,
                dims: n.clone(),
                float_data: values,
                ..Default::default()
            })
            .into(),
            indices: Some(TensorProto {
                data_type: 7,
                dims: n,
                int64_data: at,
                ..Default::default()
            })
            .into(),
            dims: t.dims,
            ..Default::default()
        });
        all.push(("+sparse", s));
    }
    all
}

pub fn value(name: &str, dtype: i32, dims: &[i64]) -> onnx_protobuf::ValueInfoProto {
    use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
    use onnx_protobuf::type_proto::{Tensor, Value};
    let dim =
        |&d: &i64| Dimension { value: Some(dimension::Value::DimValue(d)), ..Default::default() };
    let shape = onnx_protobuf::TensorShapeProto {
        dim: dims.iter().map(dim).collect(),
        ..Default::default()
    };
    let t = Tensor { elem_type: dtype, shape: Some(shape).into(), ..Default::default() };
    let t = onnx_protobuf::TypeProto { value: Some(Value::TensorType(t)), ..Default::default() };
    onnx_protobuf::ValueInfoProto { name: name.into(), type_: Some(t).into(), ..Default::default() }
}

fn nodes(g: &mut GraphProto, at: usize, new: Vec<NodeProto>) {
    g.node.splice(at..=at, new);
}

/// Picks a node of the main graph for which `f` holds.
fn pick(m: &ModelProto, r: &mut Rng, f: impl Fn(&NodeProto) -> bool) -> Option<(usize, NodeProto)> {
    let g = &m.graph;
    let at: Vec<usize> = (0..g.node.len()).filter(|&i| f(&g.node[i])).collect();
    let i = *at.get(r.below(at.len().max(1)))?;
    Some((i, g.node[i].clone()))
}

fn is(names: &'static [&'static str]) -> impl Fn(&NodeProto) -> bool {
    move |n| names.contains(&&*n.op_type) && n.domain.is_empty()
}

fn op(name: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: name.into(),
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), type_: AttributeType::INT.into(), i, ..Default::default() }
}

fn ints(name: &str, v: &[i64]) -> AttributeProto {
    let ints = v.to_vec();
    AttributeProto {
        name: name.into(),
        type_: AttributeType::INTS.into(),
        ints,
        ..Default::default()
    }
}

fn with(mut n: NodeProto, a: AttributeProto) -> NodeProto {
    n.attribute.push(a);
    n
}

/// A constant of the main graph, under a name of its own.
fn floats(m: &mut ModelProto, name: &str, dims: &[i64], v: &[f32]) -> String {
    let g = m.graph.mut_or_insert_default();
    let name = format!("{name}_{}", g.initializer.len());
    g.initializer.push(TensorProto {
        name: name.clone(),
        data_type: 1,
        dims: dims.to_vec(),
        raw_data: v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    });
    name
}

fn whole(m: &mut ModelProto, name: &str, v: &[i64]) -> String {
    let g = m.graph.mut_or_insert_default();
    let name = format!("{name}_{}", g.initializer.len());
    g.initializer.push(TensorProto {
        name: name.clone(),
        data_type: 7,
        dims: vec![v.len() as i64],
        raw_data: v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ..Default::default()
    });
    name
}

pub fn version(m: &ModelProto) -> i64 {
    version_of_imports(&m.opset_import)
}

/// A way to write the same model otherwise.
type Way = fn(&mut ModelProto, &mut Rng) -> Option<()>;

const WAYS: &[(&str, Way)] = &[
    ("values renamed", renamed),
    ("nodes in another order", reordered),
    ("constants as nodes", as_nodes),
    ("a function outlined", |m, r| outlined(m, r).map(drop)),
    ("Identity", |m, r| inserted(m, r, |x, y| vec![op("Identity", &[x], y)])),
    ("Dropout", |m, r| inserted(m, r, |x, y| vec![op("Dropout", &[x], y)])),
    ("Neg of Neg", |m, r| {
        inserted(m, r, |x, y| {
            let n = format!("{y}/neg");
            vec![op("Neg", &[x], &n), op("Neg", &[&n], y)]
        })
    }),
    ("to f64 and back", |m, r| {
        inserted(m, r, |x, y| {
            let n = format!("{y}/wide");
            vec![
                with(op("Cast", &[x], &n), int("to", 11)),
                with(op("Cast", &[&n], y), int("to", 1)),
            ]
        })
    }),
    ("Transpose there and back", |m, r| {
        // The default perm reverses the axes, and is its own inverse.
        inserted(m, r, |x, y| {
            let n = format!("{y}/turned");
            vec![op("Transpose", &[x], &n), op("Transpose", &[&n], y)]
        })
    }),
    ("Sum for Add", |m, r| {
        let (i, _) = pick(m, r, |n| is(&["Add"])(n) && n.attribute.is_empty())?;
        m.graph.mut_or_insert_default().node[i].op_type = "Sum".into();
        // Of whole numbers there is no Sum.
        floats_only(m).then_some(())
    }),
    ("operands in another order", |m, r| {
        let (i, _) =
            pick(m, r, |n| is(&["Add", "Mul", "Max", "Min", "Sum"])(n) && n.input.len() > 1)?;
        m.graph.mut_or_insert_default().node[i].input.swap(0, 1);
        Some(())
    }),
    ("Relu as Clip", |m, r| {
        let (i, n) = pick(m, r, |n| is(&["Relu"])(n) && !n.input.is_empty())?;
        if version(m) < 11 {
            return None;
        }
        let (lo, hi) = (floats(m, "lo", &[], &[0.0]), floats(m, "hi", &[], &[f32::MAX]));
        let clip = op("Clip", &[&n.input[0], &lo, &hi], &n.output[0]);
        nodes(m.graph.mut_or_insert_default(), i, vec![clip]);
        Some(())
    }),
    ("Relu as Max", |m, r| {
        let (i, n) = pick(m, r, is(&["Relu"]))?;
        let zero = floats(m, "zero", &[], &[0.0]);
        let max = op("Max", &[&n.input[0], &zero], &n.output[0]);
        nodes(m.graph.mut_or_insert_default(), i, vec![max]);
        Some(())
    }),
    ("Abs as Max", |m, r| {
        let (i, n) = pick(m, r, is(&["Abs"]))?;
        floats_only(m).then_some(())?;
        let t = format!("{}/neg", n.output[0]);
        let new = vec![op("Neg", &[&n.input[0]], &t), op("Max", &[&n.input[0], &t], &n.output[0])];
        nodes(m.graph.mut_or_insert_default(), i, new);
        Some(())
    }),
    ("Clip as Max and Min", |m, r| {
        let (i, n) = pick(m, r, |n| is(&["Clip"])(n) && n.input.len() == 3)?;
        let t = format!("{}/max", n.output[0]);
        let new = vec![
            op("Max", &[&n.input[0], &n.input[1]], &t),
            op("Min", &[&t, &n.input[2]], &n.output[0]),
        ];
        nodes(m.graph.mut_or_insert_default(), i, new);
        Some(())
    }),
    ("HardSwish in parts", |m, r| {
        let (i, n) = pick(m, r, is(&["HardSwish"]))?;
        let t = format!("{}/gate", n.output[0]);
        let alpha = AttributeProto {
            name: "alpha".into(),
            type_: AttributeType::FLOAT.into(),
            f: 1.0 / 6.0,
            ..Default::default()
        };
        let new = vec![
            with(op("HardSigmoid", &[&n.input[0]], &t), alpha),
            op("Mul", &[&n.input[0], &t], &n.output[0]),
        ];
        nodes(m.graph.mut_or_insert_default(), i, new);
        Some(())
    }),
    ("MaxPool with Indices", |m, r| {
        let (i, n) = pick(m, r, |n| is(&["MaxPool"])(n) && n.output.len() == 1)?;
        let name = format!("{}/indices", n.output[0]);
        m.graph.mut_or_insert_default().node[i].output.push(name);
        (version(m) >= 8).then_some(())
    }),
    ("padding of a MaxPool apart", |m, r| {
        let (i, mut n) = pick(m, r, |n| {
            let ceil = n.attribute.iter().any(|a| a.name == "ceil_mode");
            is(&["MaxPool"])(n) && !ceil && n.attribute.iter().any(|a| a.name == "pads")
        })?;
        if version(m) < 11 {
            return None;
        }
        let at = n.attribute.iter().position(|a| a.name == "pads")?;
        let p = n.attribute.remove(at).ints;
        let half = p.len() / 2;
        let all = [&[0, 0], &p[..half], &[0, 0], &p[half..]].concat();
        let (pads, low) = (whole(m, "pads", &all), floats(m, "low", &[], &[f32::NEG_INFINITY]));
        let t = format!("{}/padded", n.output[0]);
        let pad = op("Pad", &[&n.input[0], &pads, &low], &t);
        n.input[0] = t;
        nodes(m.graph.mut_or_insert_default(), i, vec![pad, n]);
        Some(())
    }),
    ("defaults spelled out", |m, r| {
        let (i, n) = pick(m, r, is(&["Conv", "Softmax", "Gemm", "Concat", "LeakyRelu"]))?;
        let has = |a: &str| n.attribute.iter().any(|b| b.name == a);
        let g = m.graph.mut_or_insert_default();
        match &*n.op_type {
            "Conv" if !has("group") => g.node[i].attribute.push(int("group", 1)),
            "Gemm" if !has("transA") => g.node[i].attribute.push(int("transA", 0)),
            _ => return None,
        }
        Some(())
    }),
    ("Concat in Concat", |m, r| {
        let (i, n) = pick(m, r, |n| is(&["Concat"])(n) && n.input.len() > 2)?;
        let t = format!("{}/first", n.output[0]);
        let (mut a, mut b) = (n.clone(), n.clone());
        (a.input, a.output) = (n.input[..2].to_vec(), vec![t.clone()]);
        a.name = String::new();
        b.input = [&[t], &n.input[2..]].concat();
        nodes(m.graph.mut_or_insert_default(), i, vec![a, b]);
        Some(())
    }),
    ("Less as Greater", |m, r| {
        let (i, n) = pick(m, r, is(&["Less", "Greater"]))?;
        let turned = if n.op_type == "Less" { "Greater" } else { "Less" };
        let new = op(turned, &[&n.input[1], &n.input[0]], &n.output[0]);
        nodes(m.graph.mut_or_insert_default(), i, vec![new]);
        Some(())
    }),
    ("Where the other way round", |m, r| {
        let (i, n) = pick(m, r, is(&["Where"]))?;
        let t = format!("{}/not", n.output[0]);
        let new = vec![
            op("Not", &[&n.input[0]], &t),
            op("Where", &[&t, &n.input[2], &n.input[1]], &n.output[0]),
        ];
        nodes(m.graph.mut_or_insert_default(), i, new);
        Some(())
    }),
    ("branches the other way round", |m, r| {
        let (i, mut n) = pick(m, r, is(&["If"]))?;
        for a in &mut n.attribute {
            a.name = match &*a.name {
                "then_branch" => "else_branch".into(),
                _ => "then_branch".into(),
            };
        }
        let t = format!("{}/not", n.output[0]);
        let not = op("Not", &[&n.input[0]], &t);
        n.input[0] = t;
        nodes(m.graph.mut_or_insert_default(), i, vec![not, n]);
        Some(())
    }),
    ("softmax of x + c", |m, r| {
        let (i, mut n) = pick(m, r, is(&["Softmax"]))?;
        let (t, c) = (format!("{}/moved", n.output[0]), floats(m, "c", &[], &[1.5]));
        let add = op("Add", &[&n.input[0], &c], &t);
        n.input[0] = t;
        nodes(m.graph.mut_or_insert_default(), i, vec![add, n]);
        Some(())
    }),
    ("half as a quotient", |m, r| {
        let g = &m.graph;
        let half: Vec<String> = (g.initializer.iter())
            .filter(|t| t.raw_data == 0.5f32.to_le_bytes() && t.data_type == 1 && t.dims.is_empty())
            .map(|t| t.name.clone())
            .collect();
        let (i, n) = pick(m, r, |n| is(&["Mul"])(n) && half.contains(&n.input[1]))?;
        let two = floats(m, "two", &[], &[2.0]);
        let new = op("Div", &[&n.input[0], &two], &n.output[0]);
        nodes(m.graph.mut_or_insert_default(), i, vec![new]);
        Some(())
    }),
    ("GlobalMaxPool as a reduction", |m, r| {
        let (i, n) = pick(m, r, is(&["GlobalMaxPool"]))?;
        if version(m) >= 18 {
            let axes = whole(m, "axes", &[2, 3]);
            let new = op("ReduceMax", &[&n.input[0], &axes], &n.output[0]);
            nodes(m.graph.mut_or_insert_default(), i, vec![new]);
        } else {
            let new = with(op("ReduceMax", &[&n.input[0]], &n.output[0]), ints("axes", &[2, 3]));
            nodes(m.graph.mut_or_insert_default(), i, vec![new]);
        }
        Some(())
    }),
    ("Gemm as MatMul and Add", |m, r| {
        let plain =
            |n: &NodeProto| is(&["Gemm"])(n) && n.attribute.is_empty() && n.input.len() == 3;
        let (i, n) = pick(m, r, plain)?;
        let t = format!("{}/product", n.output[0]);
        let new = vec![
            op("MatMul", &[&n.input[0], &n.input[1]], &t),
            op("Add", &[&t, &n.input[2]], &n.output[0]),
        ];
        nodes(m.graph.mut_or_insert_default(), i, new);
        Some(())
    }),
    ("Split as Slices", |m, r| {
        let (i, n) = pick(m, r, |n| is(&["Split"])(n) && n.input.len() == 2)?;
        let sizes: Vec<i64> = (m.graph.initializer.iter().find(|t| t.name == n.input[1])?.raw_data)
            .chunks_exact(8)
            .map(|c| i64::from_le_bytes(c.try_into().unwrap()))
            .collect();
        let along = n.attribute.iter().find(|a| a.name == "axis").map_or(0, |a| a.i);
        let axes = whole(m, "axes", &[along]);
        let (mut lo, mut new) = (0, Vec::new());
        for (o, n_of) in n.output.iter().zip(&sizes) {
            let (from, to) = (whole(m, "from", &[lo]), whole(m, "to", &[lo + n_of]));
            new.push(op("Slice", &[&n.input[0], &from, &to, &axes], o));
            lo += n_of;
        }
        nodes(m.graph.mut_or_insert_default(), i, new);
        Some(())
    }),
    ("unread nodes and constants", |m, _| {
        let x = m.graph.input.first()?.name.clone();
        floats(m, "unread", &[2], &[1.0, 2.0]);
        m.graph.mut_or_insert_default().node.push(op("Identity", &[&x], "unread"));
        Some(())
    }),
    ("a node twice", |m, r| {
        let (i, mut n) =
            pick(m, r, |n| n.output.len() == 1 && n.attribute.iter().all(|a| a.g.is_none()))?;
        let out = n.output[0].clone();
        let g = m.graph.mut_or_insert_default();
        let reads: Vec<(usize, usize)> = (i + 1..g.node.len())
            .flat_map(|k| (0..g.node[k].input.len()).map(move |j| (k, j)))
            .filter(|&(k, j)| g.node[k].input[j] == out)
            .collect();
        let &(k, j) = reads.get(r.below(reads.len().max(1)))?;
        n.output[0] = format!("{out}/again");
        n.name = String::new();
        g.node[k].input[j].clone_from(&n.output[0]);
        g.node.insert(i + 1, n);
        Some(())
    }),
    ("a newer version of the operators", |m, r| {
        let (now, new) = (version(m), 13 + r.below(9) as i64);
        let nodes = all_nodes(m);
        let same = |n: &NodeProto| !n.domain.is_empty() || !changes(&n.op_type);
        if now < 13 || new == now || !m.functions.is_empty() || !nodes.iter().all(same) {
            return None;
        }
        m.opset_import.iter_mut().find(|o| o.domain.is_empty())?.version = new;
        Some(())
    }),
    ("Clip with attributes, in an old version", |m, _| {
        let known = |n: &NodeProto| is(&["Conv", "Clip", "Relu", "Add", "Concat", "Sigmoid"])(n);
        if version(m) < 11
            || !m.graph.node.iter().all(known)
            || m.graph.node.iter().all(|n| n.op_type != "Clip")
        {
            return None;
        }
        let g = m.graph.mut_or_insert_default();
        let scalar = |name: &String| -> Option<f32> {
            let t = g.initializer.iter().find(|t| t.name == *name)?;
            Some(f32::from_le_bytes(t.raw_data.get(..4)?.try_into().ok()?))
        };
        let mut new = g.node.clone();
        for n in new.iter_mut().filter(|n| n.op_type == "Clip") {
            for (i, name) in [(2, "max"), (1, "min")] {
                let f = scalar(n.input.get(i)?)?;
                let type_ = AttributeType::FLOAT.into();
                n.attribute.push(AttributeProto {
                    name: name.into(),
                    type_,
                    f,
                    ..Default::default()
                });
                n.input.truncate(i);
            }
        }
        g.node = new;
        m.opset_import.iter_mut().find(|o| o.domain.is_empty())?.version = 10;
        Some(())
    }),
];

/// Puts nodes behind a value of floats.
fn inserted(
    m: &mut ModelProto,
    r: &mut Rng,
    make: impl Fn(&str, &str) -> Vec<NodeProto>,
) -> Option<()> {
    let float = is(&[
        "Conv",
        "Relu",
        "MatMul",
        "Softmax",
        "Tanh",
        "Sigmoid",
        "LeakyRelu",
        "Elu",
        "MaxPool",
    ]);
    let (i, n) = pick(m, r, float)?;
    let old = n.output[0].clone();
    let before = format!("{old}/first");
    let g = m.graph.mut_or_insert_default();
    g.node[i].output[0].clone_from(&before);
    let new = make(&before, &old);
    g.node.splice(i + 1..i + 1, new);
    Some(())
}

fn renamed(m: &mut ModelProto, _: &mut Rng) -> Option<()> {
    // Names at the interface stay, and names in bodies, which could hide others, too.
    if all_nodes(m).iter().any(|n| n.attribute.iter().any(|a| a.g.is_some())) {
        return None;
    }
    let g = m.graph.mut_or_insert_default();
    let interface: HashSet<String> =
        g.input.iter().chain(&g.output).map(|v| v.name.clone()).collect();
    let new = |name: &mut String| {
        if !name.is_empty() && !interface.contains(name) {
            *name = format!("renamed/{name}");
        }
    };
    for n in &mut g.node {
        n.input.iter_mut().chain(&mut n.output).for_each(new);
        n.name = String::new();
    }
    g.initializer.iter_mut().for_each(|t| new(&mut t.name));
    g.sparse_initializer.iter_mut().for_each(|t| new(&mut t.values.mut_or_insert_default().name));
    g.value_info.clear();
    Some(())
}

fn reordered(m: &mut ModelProto, r: &mut Rng) -> Option<()> {
    let g = m.graph.mut_or_insert_default();
    // Any order will do: the reader sorts.
    for i in (1..g.node.len()).rev() {
        let j = r.below(i + 1);
        g.node.swap(i, j);
    }
    Some(())
}

fn as_nodes(m: &mut ModelProto, r: &mut Rng) -> Option<()> {
    let g = m.graph.mut_or_insert_default();
    let inputs: HashSet<String> = g.input.iter().map(|i| i.name.clone()).collect();
    let at: Vec<usize> =
        (0..g.initializer.len()).filter(|&i| !inputs.contains(&g.initializer[i].name)).collect();
    let i = *at.get(r.below(at.len().max(1)))?;
    let t = g.initializer.remove(i);
    let mut n = op("Constant", &[], &t.name);
    n.attribute.push(AttributeProto {
        name: "value".into(),
        type_: AttributeType::TENSOR.into(),
        t: Some(t).into(),
        ..Default::default()
    });
    g.node.insert(0, n);
    Some(())
}

/// Puts one node into a function; gives its operator.
fn outlined(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let plain = |n: &NodeProto| {
        is(&["Relu", "Tanh", "Add", "Sub", "Neg", "Sigmoid", "Erf", "HardSwish", "Softplus", "Min"])(
            n,
        )
    };
    let (i, n) = pick(m, r, plain)?;
    if m.functions.iter().any(|f| f.name == "F") {
        return None;
    }
    let letters = ["a", "b", "c"];
    let inputs: Vec<String> = letters.iter().take(n.input.len()).map(|&s| s.into()).collect();
    let inner = NodeProto { input: inputs.clone(), output: vec!["r".into()], ..n.clone() };
    let own = OperatorSetIdProto { version: version(m), ..Default::default() };
    m.functions.push(FunctionProto {
        name: "F".into(),
        domain: "local".into(),
        input: inputs,
        output: vec!["r".into()],
        node: vec![inner],
        opset_import: vec![own],
        ..Default::default()
    });
    m.ir_version = m.ir_version.max(8);
    m.opset_import.push(OperatorSetIdProto {
        domain: "local".into(),
        version: 1,
        ..Default::default()
    });
    let call = NodeProto {
        op_type: "F".into(),
        domain: "local".into(),
        attribute: Vec::new(),
        ..n.clone()
    };
    m.graph.mut_or_insert_default().node[i] = call;
    Some(n.op_type)
}

/// Whether no value is made twice, as a way that is gone twice would do it.
fn has_own_names(m: &ModelProto) -> bool {
    let mut seen = HashSet::new();
    m.graph.node.iter().flat_map(|n| &n.output).all(|o| o.is_empty() || seen.insert(o))
}

#[test]
fn equal_ones_are_never_said_to_differ() {
    let nets: Vec<(&str, ModelProto)> = NETS
        .iter()
        .map(|(name, text)| (*name, file(name, &graph_opt_ir::text::parse(text).unwrap())))
        .collect();
    let total = count("EQUALS", 150);
    let mut table = Table::default();
    let (mut made, mut wrong) = (0, Vec::new());
    let alone: Option<usize> = std::env::var("EQUAL").ok().and_then(|v| v.parse().ok());
    let first = count("EQUALS_FROM", 0);
    for seed in first..first + total * 50 {
        if made == total {
            break;
        }
        let mut r = Rng::new(1_000_000 + seed as u64);
        let (name, original) = &nets[r.below(nets.len())];
        let mut m = original.clone();
        let mut ways = Vec::new();
        for _ in 0..1 + r.below(3) {
            let (way, f) = WAYS[r.below(WAYS.len())];
            let mut other = m.clone();
            if f(&mut other, &mut r).is_some() && has_own_names(&other) {
                m = other;
                ways.push(way);
            }
        }
        let Some(&kind) = ways.first() else { continue };
        let g = read(original).unwrap();
        let Some(mut other) = read(&m) else {
            panic!("EQUAL={seed}: {name}: {ways:?} cannot be read")
        };
        // Often with a rewriting on top.
        let pipeline = PIPELINES[r.below(PIPELINES.len())];
        // A sum in another order may be quantized to another step.
        let steps = *name == "quantized" && pipeline.contains("c-in");
        if pipeline != OPTIMISE
            && !steps
            && let Some(t) = rewritten(&other, pipeline)
        {
            other = t;
        }
        made += 1;
        if alone.is_some_and(|a| a != seed) {
            continue;
        }
        let report =
            verdicts(&g, &other).unwrap_or_else(|e| panic!("EQUAL={seed}: {name}: {ways:?}: {e}"));
        if alone.is_some() {
            println!("{name}: {ways:?} {pipeline}\n{report:#?}");
            println!("{}\n{}", graph_opt_ir::text::print(&g), graph_opt_ir::text::print(&other));
        }
        let rung = rung(&report);
        table.add(kind, rung);
        if std::env::var("EQUALS_SHOW").is_ok_and(|v| v == rung) {
            println!("{seed}: {name}: {ways:?} {pipeline}");
        }
        if rung == "differs" {
            wrong.push(format!("EQUAL={seed}: {name}: {ways:?} {pipeline}"));
        }
    }
    table.print(RUNGS);
    assert!(wrong.is_empty(), "{} of {made} said to differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(made, total);
    let unknown = table.total("unknown");
    assert!(unknown * 50 <= made, "{unknown} of {made} are unknown");
}
