//! Why a mutant may be equal to the model that it was made of after all.

use std::collections::HashSet;
use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto,
};

use super::equals::{int, version};
use super::read;

/// Why a mutant is equal to the model that it was made of: `None` if it has to differ. Both are written
/// in one form, in which all that cannot matter is gone; what is left must be the same.
pub fn argument(right: &ModelProto, mutant: &ModelProto) -> Option<&'static str> {
    let imports = |m: &ModelProto| -> Vec<i64> {
        std::iter::once(version(m)).chain(m.functions.iter().map(version_of)).collect()
    };
    let (p, q) = (imports(right), imports(mutant));
    if p != q {
        let breaks = |n: &NodeProto, (p, q): (i64, i64)| {
            // Along the last axis a Softmax is the same in all versions.
            let last =
                n.op_type == "Softmax" && n.attribute.iter().any(|a| a.name == "axis" && a.i == -1);
            let changed = BREAKS.iter().filter(|(op, _)| *op == n.op_type && !last);
            let at = changed.flat_map(|b| b.1);
            at.into_iter().any(|&c| (p < c) != (q < c))
        };
        let inside = right.functions.iter().map(|f| f.node.clone());
        let main = ModelProto { functions: Vec::new(), ..right.clone() };
        let scopes = std::iter::once(all_nodes(&main)).chain(inside);
        let mut pairs = p.iter().copied().zip(q.iter().copied()).zip(scopes);
        if pairs.any(|(pair, nodes)| nodes.iter().any(|n| breaks(n, pair))) {
            return None;
        }
        let same = form(right) == form(mutant);
        return same
            .then_some("no operator of the model means something else in the other version");
    }
    if live(right) == live(mutant) {
        return Some("what was changed is not read, or only declared: no result depends on it");
    }
    if form(right) == form(mutant) {
        return Some("another spelling: a default, a clamped bound, a commutative operator");
    }
    if form(&unread(right, mutant)) == form(right) {
        return Some("more rows than before are cut out, which no window reads");
    }
    if cut_off(mutant) {
        return Some("what is past the bound is cut off behind it, or its sign does not count");
    }
    only_moves(right, mutant)
        .then_some("other elements are moved about, and the same reach what computes with them")
}

/// Whether what all readers of what was planted past a bound do with it does not depend on it.
fn cut_off(mutant: &ModelProto) -> bool {
    let nodes = &mutant.graph.node;
    let constant = |name: &str| {
        let n = nodes.iter().find(|n| n.output.first().is_some_and(|o| o == name))?;
        n.attribute.iter().find(|a| a.name == "value")?.t.float_data.first().copied()
    };
    let planted = nodes.iter().find(|n| n.input.iter().any(|i| i.ends_with("/bound")));
    let Some((n, at)) = planted.and_then(|n| Some((n, constant(&n.input[1])?))) else {
        return false;
    };
    // What a function of one node does.
    let does = |r: &NodeProto| match mutant.functions.iter().find(|f| f.name == r.op_type) {
        Some(f) if f.node.len() == 1 => f.node[0].op_type.clone(),
        _ => r.op_type.clone(),
    };
    let floats = |name: &str| {
        let t = mutant.graph.initializer.iter().find(|t| t.name == name)?;
        let raw = t.raw_data.get(..4).and_then(|b| b.try_into().ok()).map(f32::from_le_bytes);
        t.float_data.first().copied().or(raw)
    };
    if never_past(mutant, (&n.input[0], at), &does, &floats) {
        return true;
    }
    // Where the planted Max, Min or Where ends.
    let y = n.input[1].trim_end_matches("/bound").to_owned();
    let (mut open, mut readers) = (vec![y], Vec::new());
    while let Some(v) = open.pop() {
        if mutant.graph.output.iter().any(|o| o.name == v) {
            return false;
        }
        for r in nodes.iter().filter(|r| r.input.contains(&v)) {
            match &*r.op_type {
                "Slice" | "Concat" | "Identity" => open.extend(r.output.iter().cloned()),
                _ => readers.push(r),
            }
        }
    }
    let upper = |r: &NodeProto| {
        let attribute = r.attribute.iter().find(|a| a.name == "max").map(|a| a.f);
        let bound = attribute.or_else(|| floats(r.input.get(2)?));
        bound.filter(|_| r.op_type == "Clip")
    };
    readers.iter().all(|r| match &*n.op_type {
        "Max" => at <= 0.0 && matches!(&*does(r), "Relu" | "Clip"),
        "Min" => upper(r).is_some_and(|hi| hi <= at),
        _ => matches!(&*does(r), "LpPool" | "Abs"),
    })
}

/// Whether the value, followed back through what only moves numbers, is never past the bound.
fn never_past(
    mutant: &ModelProto,
    (v, at): (&str, f32),
    does: &dyn Fn(&NodeProto) -> String,
    floats: &dyn Fn(&str) -> Option<f32>,
) -> bool {
    let (mut open, mut seen) = (vec![v.to_owned()], HashSet::new());
    while let Some(v) = open.pop() {
        let Some(n) = mutant.graph.node.iter().find(|n| n.output.first() == Some(&v)) else {
            return false;
        };
        match &*does(n) {
            _ if !seen.insert(v.clone()) => {}
            "Slice" | "Concat" | "MaxPool" => open.extend(
                n.input.iter().take(if n.op_type == "Concat" { n.input.len() } else { 1 }).cloned(),
            ),
            // From 0 on.
            "Relu" | "Softplus" | "Sigmoid" if at < 0.0 => {}
            "Clip" if at < 0.0 && n.input.get(1).is_some_and(|lo| floats(lo) == Some(0.0)) => {}
            // 256 steps of at most 0.1.
            "DequantizeLinear" if at.abs() > 15.0 => {}
            _ => return false,
        }
    }
    true
}

/// Whether the models differ only in what moves elements, as far as anything computes: all else that
/// both have gives the same in runs on numbers that differ from each other.
fn only_moves(right: &ModelProto, mutant: &ModelProto) -> bool {
    const MOVES: [&str; 6] = ["Slice", "Concat", "Resize", "Pad", "Transpose", "Reshape"];
    let (Some(a), Some(b)) = (read(right), read(mutant)) else { return false };
    let (a, b) = (Arc::new(a), Arc::new(b));
    // What was edited moves elements itself, or says what is moved.
    let moves = |n: &NodeProto| MOVES.contains(&&*n.op_type);
    let edited = mutant.graph.node.iter().filter(|n| !right.graph.node.contains(n));
    let same_constants = |name: &str| {
        let of = |m: &ModelProto| m.graph.initializer.iter().find(|t| t.name == name).cloned();
        of(right) == of(mutant)
    };
    let read_by_others = mutant.graph.node.iter().filter(|n| !moves(n)).flat_map(|n| &n.input);
    if !edited.clone().all(moves) || !read_by_others.into_iter().all(|i| same_constants(i)) {
        return false;
    }
    let shared: Vec<_> = (a.values())
        .filter(|(v, _)| a.producer(*v).is_some_and(|n| !MOVES.contains(&a.node(n).op.name())))
        .filter_map(|(v, x)| Some((v, b.find_value(&x.name)?)))
        .collect();
    let (of_a, of_b): (Vec<_>, Vec<_>) = shared.into_iter().unzip();
    let cpu = Cpu::default();
    let (Ok(p), Ok(q)) = (cpu.prepared(a.clone()), cpu.prepared(b)) else { return false };
    (0..16).all(|seed| {
        let Ok(x) = draw(&a, &Extents::default(), seed) else { return false };
        match (p.run(&x, &of_a), q.run(&x, &of_b)) {
            (Ok(p), Ok(q)) => p == q,
            _ => false,
        }
    })
}

/// The mutant with the bounds of `right` for each Slice that takes the same and more behind it, if
/// what reads it does not read that.
fn unread(right: &ModelProto, mutant: &ModelProto) -> ModelProto {
    let mut m = mutant.clone();
    let (Some(g), Some(h)) = (read(right), read(mutant)) else { return m };
    let dims = |g: &graph_opt_ir::Graph, name: &str| -> Option<Vec<i64>> {
        let dims = g.value(g.find_value(name)?).ty.dims()?;
        // A batch is of no interest.
        Some(dims.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect())
    };
    let main = m.graph.mut_or_insert_default();
    for i in 0..main.node.len() {
        let n = main.node[i].clone();
        let Some(old) = right.graph.node.iter().find(|o| o.output == n.output) else { continue };
        let readers: Vec<&NodeProto> =
            main.node.iter().filter(|r| r.input.first() == n.output.first()).collect();
        let all = main.node.iter().flat_map(|r| &r.input).filter(|i| **i == n.output[0]).count();
        let [reader] = readers[..] else { continue };
        if n.op_type != "Slice" || n.input.get(..2) != old.input.get(..2) || all != 1 {
            continue;
        }
        let ints =
            |name: &str| reader.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone());
        let (out, now) = (dims(&g, &reader.output[0]), dims(&h, &reader.output[0]));
        let had = dims(&g, &n.output[0]);
        let kernel =
            dims(&g, reader.input.get(1).map_or("", |w| w)).map(|w| w[2.min(w.len())..].to_vec());
        let kernel = ints("kernel_shape").or(kernel).unwrap_or_default();
        let same = match (&*reader.op_type, out, now, had) {
            ("Conv" | "MaxPool" | "AveragePool", Some(out), Some(now), Some(had)) => {
                let at = |v: Option<Vec<i64>>, i: usize, d: i64| {
                    v.and_then(|v| v.get(i).copied()).unwrap_or(d)
                };
                out == now
                    && (0..kernel.len()).all(|k| {
                        let reach = (out[k + 2] - 1) * at(ints("strides"), k, 1)
                            - at(ints("pads"), k, 0)
                            + at(ints("dilations"), k, 1) * (kernel[k] - 1)
                            + 1;
                        reach <= had[k + 2]
                    })
            }
            // What is made of the rows that are more is cut off again.
            ("Resize", Some(out), Some(now), _) => out != now,
            _ => false,
        };
        if same {
            main.node[i].input.clone_from(&old.input);
        }
    }
    m
}

/// Versions of the operator set in which the same node began to mean something else, or to be written
/// in another way, from ONNX's changelog. Versions that only added types or attributes are not here.
const BREAKS: &[(&str, &[i64])] = &[
    ("Softmax", &[13]),
    ("LogSoftmax", &[13]),
    ("Hardmax", &[13]),
    ("BatchNormalization", &[7]),
    ("Clip", &[11]),
    ("Pad", &[11]),
    ("Slice", &[10]),
    ("Squeeze", &[13]),
    ("Unsqueeze", &[13]),
    ("Split", &[13]),
    ("ReduceMean", &[18]),
    ("TopK", &[10]),
    ("Resize", &[11]),
    ("Upsample", &[9, 10]),
    ("Dropout", &[7, 10, 12]),
    ("Cast", &[9]),
    ("ArgMax", &[12]),
    ("HardSwish", &[14]),
    ("Gemm", &[7]),
    ("Where", &[9]),
    ("Expand", &[8]),
    ("Equal", &[7]),
    ("Greater", &[7, 9]),
    ("Less", &[7, 9]),
    ("Erf", &[9]),
];

/// The model in a form in which spelling does not count.
fn form(m: &ModelProto) -> (GraphProto, Vec<FunctionProto>) {
    let mut m = m.clone();
    let g = read(&m);
    let (main, now) = (m.graph.mut_or_insert_default(), version_of_imports(&m.opset_import));
    // Bounds as they are resolved against the extents of what is cut.
    if let Some(g) = g {
        for id in g.schedule() {
            let (node, ctx) = (g.node(id), graph_opt_ir::op_context::OpCtx::of(&g, id));
            let Ok(Some(taken)) = graph_opt_ir::layout_params::slices(&ctx) else { continue };
            let out = node.outputs[0].map(|v| g.value(v).name.to_string());
            if let Some(n) = main.node.iter_mut().find(|n| n.output.first() == out.as_ref()) {
                n.input.truncate(1);
                n.attribute.clear();
                n.doc_string = format!("{taken:?}");
            }
        }
        // How a pool rounds counts by the extents that it makes.
        let windowed = |n: &&mut NodeProto| n.op_type.ends_with("Pool") || n.op_type == "Conv";
        for n in main.node.iter_mut().filter(windowed) {
            if n.op_type.ends_with("Pool") {
                let ty = g.find_value(&n.output[0]).map(|v| g.value(v).ty.to_string());
                n.attribute.retain(|a| a.name != "ceil_mode");
                n.doc_string = ty.unwrap_or_default();
            }
            unpadded(&g, n);
            // Where there is one window only, there is no step to the next.
            let out = g.find_value(&n.output[0]).and_then(|v| {
                let dims = g.value(v).ty.dims()?;
                Some(dims.iter().map(|d| d.known().unwrap_or(0)).collect::<Vec<_>>())
            });
            if let (Some(out), Some(a)) =
                (out, n.attribute.iter_mut().find(|a| a.name == "strides"))
            {
                a.ints
                    .iter_mut()
                    .zip(&out[2..])
                    .filter(|(_, o)| **o == 1)
                    .for_each(|(s, _)| *s = 1);
            }
        }
    }
    let weights = |name: &str| {
        main.initializer
            .iter()
            .find(|t| t.name == name)
            .map(|t| t.dims[2.min(t.dims.len())..].to_vec())
    };
    let kernels: Vec<Option<Vec<i64>>> =
        main.node.iter().map(|n| weights(n.input.get(1)?)).collect();
    for (n, kernel) in main.node.iter_mut().zip(kernels) {
        n.attribute.retain(|a| {
            let implied = a.name == "kernel_shape" && Some(&a.ints) == kernel.as_ref();
            let zeros = a.name == "pads" && a.ints.iter().all(|&p| p == 0) && n.op_type != "Pad";
            let ones =
                matches!(&*a.name, "strides" | "dilations") && a.ints.iter().all(|&p| p == 1);
            let default = (a.name == "hidden_size" && n.op_type == "LSTM")
                || (a.s == b"half_pixel" && n.op_type == "Resize")
                || (a.name == "group" && a.i == 1);
            !(implied || zeros || ones || default)
        });
    }
    for t in main.initializer.iter_mut().filter(|t| t.data_type == 9) {
        t.raw_data.iter_mut().for_each(|b| *b = (*b != 0).into());
    }
    let zero = |t: &&TensorProto| !t.raw_data.is_empty() && t.raw_data.iter().all(|&b| b == 0);
    let zeros: HashSet<String> =
        main.initializer.iter().filter(zero).map(|t| t.name.clone()).collect();
    for n in &mut main.node {
        // Flags are set or not; a region is read in one mode only.
        let flag =
            |a: &&mut AttributeProto| a.name.starts_with("trans") || a.name == "count_include_pad";
        for a in n.attribute.iter_mut().filter(flag) {
            a.i = (a.i != 0).into();
        }
        if n.op_type == "Softmax" && n.attribute.is_empty() {
            n.attribute.push(int("axis", if now >= 13 { -1 } else { 1 }));
        }
        // A zero point of 0 is the default.
        if n.op_type == "DequantizeLinear" && n.input.len() == 3 && zeros.contains(&n.input[2]) {
            n.input.pop();
        }
        let cropping = |a: &AttributeProto| a.s == b"tf_crop_and_resize";
        if n.op_type == "Resize" && n.input.len() > 1 && !n.attribute.iter().any(cropping) {
            n.input[1].clear();
        }
    }
    let sorted = |n: &mut NodeProto| {
        if matches!(&*n.op_type, "Add" | "Mul" | "Sum") {
            n.input.sort();
        }
    };
    main.node.iter_mut().for_each(sorted);
    m.functions.iter_mut().for_each(|f| {
        f.opset_import.clear();
        // A function that swaps the inputs of a commutative operator is the same.
        f.node.iter_mut().for_each(sorted);
    });
    live(&m)
}

/// Takes away the rows of padding that no window reads.
fn unpadded(g: &graph_opt_ir::Graph, n: &mut NodeProto) {
    let dims = |name: &str| -> Option<Vec<i64>> {
        let dims = g.value(g.find_value(name)?).ty.dims()?;
        Some(dims.iter().map(|d| d.known().map_or(-1, |n| n as i64)).collect())
    };
    let ints = |name: &str| n.attribute.iter().find(|a| a.name == name).map(|a| a.ints.clone());
    let kernel = ints("kernel_shape").or_else(|| Some(dims(n.input.get(1)?)?.split_off(2)));
    let (Some(x), Some(y), Some(kernel)) = (dims(&n.input[0]), dims(&n.output[0]), kernel) else {
        return;
    };
    let rank = kernel.len();
    let ones = vec![1; rank];
    let (strides, dilations) =
        (ints("strides").unwrap_or(ones.clone()), ints("dilations").unwrap_or(ones));
    let Some(pads) = n.attribute.iter_mut().find(|a| a.name == "pads") else { return };
    if n.op_type != "Conv" || x[2..].iter().chain(&y[2..]).any(|&d| d < 0) {
        return;
    }
    for i in 0..rank {
        let reach = (y[i + 2] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1;
        let used = (reach - pads.ints[i] - x[i + 2]).max(0);
        pads.ints[rank + i] = pads.ints[rank + i].min(used);
    }
}

pub fn version_of_imports(all: &[OperatorSetIdProto]) -> i64 {
    all.iter().find(|o| o.domain.is_empty()).map_or(0, |o| o.version)
}

fn version_of(f: &FunctionProto) -> i64 {
    version_of_imports(&f.opset_import)
}

/// Versions in which the meaning of an operator changes, if it is known.
pub fn changes(op: &str) -> bool {
    BREAKS.iter().any(|(name, _)| *name == op)
}

pub fn all_nodes(m: &ModelProto) -> Vec<NodeProto> {
    let mut all = Vec::new();
    let mut todo: Vec<&GraphProto> = m.graph.iter().collect();
    while let Some(g) = todo.pop() {
        for n in &g.node {
            all.push(n.clone());
            todo.extend(n.attribute.iter().filter_map(|a| a.g.as_ref()));
        }
    }
    all.extend(m.functions.iter().flat_map(|f| f.node.clone()));
    all
}

/// What outputs depend on: nodes and constants, without types that are only declared.
fn live(m: &ModelProto) -> (GraphProto, Vec<FunctionProto>) {
    let mut g = m.graph.clone().unwrap_or_default();
    let mut wanted: HashSet<String> = g.output.iter().map(|o| o.name.clone()).collect();
    let mut nodes = Vec::new();
    for n in g.node.iter().rev() {
        if n.output.iter().any(|o| wanted.contains(o)) {
            wanted.extend(n.input.iter().cloned());
            let inner: Vec<NodeProto> = n
                .attribute
                .iter()
                .filter_map(|a| a.g.as_ref())
                .flat_map(|g| {
                    all_nodes(&ModelProto { graph: Some(g.clone()).into(), ..Default::default() })
                })
                .collect();
            wanted.extend(inner.iter().flat_map(|n| n.input.clone()));
            nodes.push(n.clone());
        }
    }
    nodes.reverse();
    g.node = nodes;
    g.initializer.retain(|t| wanted.contains(&t.name));
    g.sparse_initializer.retain(|t| wanted.contains(&t.values.name));
    g.value_info.clear();
    g.output.iter_mut().for_each(|o| o.type_ = None.into());
    let called: HashSet<String> = all_nodes(m).into_iter().map(|n| n.op_type).collect();
    let functions = m.functions.iter().filter(|f| called.contains(&f.name)).cloned().collect();
    (g, functions)
}
