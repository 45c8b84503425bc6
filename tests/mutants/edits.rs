//! Small wrong edits of a model, as a careless rewriting would make them. Each works on the protobuf
//! message, so that nothing of the tool's own reading or writing can hide it.

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::type_proto::Value;
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_shape_proto,
};

use protobuf::Enum;

use super::Rng;

/// An edit: changes the model and says what it did; `None` if there is nothing to change.
pub type Edit = fn(&mut ModelProto, &mut Rng) -> Option<String>;

/// All kinds.
pub const KINDS: &[(&str, Edit)] = &[
    ("bounds of a Slice", bounds),
    ("pads", pads),
    ("strides, dilations", strides),
    ("axis", axis),
    ("order of a Concat", concat_order),
    ("part of the weights", weights_part),
    ("one element, one ulp", one_ulp),
    ("one whole number", one_whole),
    ("an attribute away", attribute_away),
    ("a float attribute", float_attribute),
    ("an int attribute", int_attribute),
    ("version of the operators", opset),
    ("function body", function_body),
    ("default of an input", default),
    ("sparse value", sparse),
    ("rounding", rounding),
    ("sign of zero, NaN", special),
    ("past a bound", bound),
    ("swapped operands", swapped),
    ("declared shape", declared),
    ("another operator", operator),
    ("another operand", operand),
    ("an operand away", operand_away),
];

/// The main graph, or a body in it.
fn scope<'m>(m: &'m mut ModelProto, r: &mut Rng) -> &'m mut GraphProto {
    let mut g = m.graph.mut_or_insert_default();
    loop {
        let at: Vec<(usize, usize)> = (g.node.iter().enumerate())
            .flat_map(|(i, n)| {
                let bodies = n.attribute.iter().enumerate().filter(|(_, a)| a.g.is_some());
                bodies.map(move |(j, _)| (i, j))
            })
            .collect();
        if at.is_empty() || r.below(3) == 0 {
            return g;
        }
        let (i, j) = at[r.below(at.len())];
        g = g.node[i].attribute[j].g.mut_or_insert_default();
    }
}

/// One of the nodes for which `f` holds.
fn node<'m>(
    m: &'m mut ModelProto,
    r: &mut Rng,
    f: impl Fn(&NodeProto) -> bool,
) -> Option<&'m mut NodeProto> {
    let g = scope(m, r);
    let at: Vec<usize> = (0..g.node.len()).filter(|&i| f(&g.node[i])).collect();
    if at.is_empty() {
        return None;
    }
    Some(&mut g.node[at[r.below(at.len())]])
}

/// Whether a value is only given other extents: then the order in which it was put together may not
/// matter.
fn reshaped(m: &ModelProto, out: &str) -> bool {
    m.graph.node.iter().any(|n| n.op_type == "Reshape" && n.input.first().is_some_and(|i| i == out))
}

fn label(n: &NodeProto) -> String {
    let out = n.output.iter().find(|o| !o.is_empty()).map_or("", |o| o.as_str());
    format!("{} {out:?}", n.op_type)
}

fn attribute<'n>(n: &'n mut NodeProto, name: &str) -> Option<&'n mut AttributeProto> {
    n.attribute.iter_mut().find(|a| a.name == name)
}

/// An initializer by its name, wherever it is.
fn initializer<'g>(g: &'g mut GraphProto, name: &str) -> Option<&'g mut TensorProto> {
    g.initializer.iter_mut().find(|t| t.name == name)
}

fn size(t: &TensorProto) -> Option<usize> {
    Some(match DataType::from_i32(t.data_type)? {
        DataType::FLOAT | DataType::INT32 | DataType::UINT32 => 4,
        DataType::INT64 | DataType::UINT64 | DataType::DOUBLE => 8,
        DataType::INT8 | DataType::UINT8 | DataType::BOOL => 1,
        DataType::FLOAT16 | DataType::INT16 | DataType::UINT16 => 2,
        _ => return None,
    })
}

fn is_float(t: &TensorProto) -> bool {
    t.data_type == DataType::FLOAT as i32 && !t.raw_data.is_empty()
}

/// Changes one element of a tensor of whole numbers by 1.
fn nudge(t: &mut TensorProto, r: &mut Rng) -> Option<String> {
    let size = size(t)?;
    if t.raw_data.is_empty() {
        return None;
    }
    let data = &mut t.raw_data;
    let at = r.below(data.len() / size);
    // One row more may be one that nobody reads.
    let up = r.below(2) == 0 && !t.name.contains("ends");
    let cell = &mut data[at * size..(at + 1) * size];
    let mut wide = [0u8; 8];
    wide[..size].copy_from_slice(cell);
    let n = u64::from_le_bytes(wide);
    let n = if up { n.wrapping_add(1) } else { n.wrapping_sub(1) };
    cell.copy_from_slice(&n.to_le_bytes()[..size]);
    Some(format!("{:?}[{at}] {} 1", t.name, if up { "plus" } else { "minus" }))
}

fn bounds(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| matches!(&*n.op_type, "Slice" | "Split") && n.input.len() > 1)?;
    let name = n.input[1 + r.below((n.input.len() - 1).min(2))].clone();
    let (what, what_out) = (label(n), n.output[0].clone());
    // Both ends of a span, so that the extent stays, or one of them.
    let names: Vec<String> = n.input[1..n.input.len().min(3)].to_vec();
    let g = m.graph.mut_or_insert_default();
    if r.below(2) == 0 && names.len() == 2 {
        let shift = |t: &mut TensorProto| -> Option<()> {
            let cell = t.raw_data.get_mut(..8)?;
            let n = i64::from_le_bytes(cell.try_into().ok()?).checked_add(1)?;
            cell.copy_from_slice(&n.to_le_bytes());
            Some(())
        };
        for n in &names {
            own(g, &what_out, n)?;
            shift(initializer(g, &format!("{n}/own"))?)?;
        }
        return Some(format!("{what} by one further"));
    }
    own(g, &what_out, &name)?;
    Some(format!("{what}: {}", nudge(initializer(g, &format!("{name}/own"))?, r)?))
}

/// Gives the node a copy of an initializer that others read, too.
fn own(g: &mut GraphProto, node: &str, name: &str) -> Option<()> {
    let mut copy = initializer(g, name)?.clone();
    copy.name = format!("{name}/own");
    let new = copy.name.clone();
    g.initializer.push(copy);
    let n = g.node.iter_mut().find(|n| n.output.first().is_some_and(|o| o == node))?;
    n.input.iter_mut().filter(|i| **i == name).for_each(|i| i.clone_from(&new));
    Some(())
}

fn pads(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| n.attribute.iter().any(|a| a.name == "pads"))?;
    let what = label(n);
    let v = &mut attribute(n, "pads")?.ints;
    if v.len() < 2 {
        return None;
    }
    let before = v.clone();
    let (i, half) = (r.below(v.len() / 2), v.len() / 2);
    match r.below(3) {
        0 if v[i] > 0 => (v[i], v[i + half]) = (v[i] - 1, v[i + half] + 1),
        1 if v[i + half] > 0 => (v[i], v[i + half]) = (v[i] + 1, v[i + half] - 1),
        _ => v[i] += 1,
    }
    Some(format!("{what}: pads {before:?} now {v:?}"))
}

fn strides(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| {
        n.attribute.iter().any(|a| matches!(&*a.name, "strides" | "dilations" | "kernel_shape"))
    })?;
    let what = label(n);
    let name = ["strides", "dilations", "kernel_shape"][r.below(3)];
    let v = &mut attribute(n, name)?.ints;
    let i = r.below(v.len());
    v[i] = if v[i] == 1 { 2 } else { v[i] - 1 };
    Some(format!("{what}: {name} now {v:?}"))
}

fn axis(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let outputs = m.graph.node.iter().filter_map(|n| n.output.first());
    let flat: Vec<String> = outputs.filter(|o| reshaped(m, o)).cloned().collect();
    let n = node(m, r, |n| {
        let named = n.attribute.iter().any(|a| matches!(&*a.name, "axis" | "perm" | "axes"));
        named && !n.output.iter().any(|o| flat.contains(o))
    })?;
    let what = label(n);
    let a = n.attribute.iter_mut().find(|a| matches!(&*a.name, "axis" | "perm" | "axes"))?;
    if a.ints.len() >= 2 {
        let i = r.below(a.ints.len() - 1);
        a.ints.swap(i, i + 1);
        return Some(format!("{what}: {} now {:?}", a.name, a.ints));
    }
    let v = if a.ints.is_empty() { &mut a.i } else { &mut a.ints[0] };
    *v += if *v == 0 || r.below(2) == 0 { 1 } else { -1 };
    Some(format!("{what}: {} now {v}", a.name))
}

fn concat_order(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| n.op_type == "Concat" && n.input.len() > 1)?;
    let i = r.below(n.input.len() - 1);
    if n.input[i] == n.input[i + 1] {
        return None;
    }
    n.input.swap(i, i + 1);
    Some(format!("{}: operands {i} and {} swapped", label(n), i + 1))
}

/// Initializers of one type and shape that are not equal.
fn weights_part(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let g = m.graph.mut_or_insert_default();
    let all = &g.initializer;
    let mut pairs = Vec::new();
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            let same = (a.data_type, &a.dims) == (b.data_type, &b.dims);
            // Bounds have their own kinds.
            if same && a.raw_data != b.raw_data && a.data_type != DataType::INT64 as i32 {
                pairs.push((a.name.clone(), b.name.clone()));
            }
        }
    }
    if pairs.is_empty() {
        return None;
    }
    let (a, b) = pairs[r.below(pairs.len())].clone();
    let readers: Vec<usize> = (0..g.node.len()).filter(|&i| g.node[i].input.contains(&a)).collect();
    let n = &mut g.node[*readers.get(r.below(readers.len().max(1)))?];
    let i = n.input.iter().position(|x| *x == a)?;
    n.input[i] = b.clone();
    Some(format!("{} reads {b:?} instead of {a:?}", label(n)))
}

fn one_ulp(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let g = scope(m, r);
    // How much a Resize scales is rounded to whole extents.
    let resizes = g.node.iter().filter(|n| n.op_type == "Resize");
    let scales: Vec<String> = resizes.flat_map(|n| n.input[1..].to_vec()).collect();
    let fits = |t: &TensorProto| is_float(t) && !scales.contains(&t.name);
    let at: Vec<usize> = (0..g.initializer.len()).filter(|&i| fits(&g.initializer[i])).collect();
    let t = &mut g.initializer[*at.get(r.below(at.len().max(1)))?];
    let data = &mut t.raw_data;
    let i = r.below(data.len() / 4);
    let x = f32::from_le_bytes(data[i * 4..i * 4 + 4].try_into().ok()?);
    let y = if x == 0.0 { 1e-30 } else { f32::from_bits(x.to_bits() ^ 1) };
    data[i * 4..i * 4 + 4].copy_from_slice(&y.to_le_bytes());
    Some(format!("{:?}[{i}]: {x:?} now {y:?}", t.name))
}

fn one_whole(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let g = scope(m, r);
    let whole = |t: &TensorProto| !is_float(t) && size(t).is_some();
    let at: Vec<usize> = (0..g.initializer.len()).filter(|&i| whole(&g.initializer[i])).collect();
    let mut name = g.initializer[*at.get(r.below(at.len().max(1)))?].name.clone();
    // Bounds that several nodes share would move together, and be as right as before.
    let readers: Vec<String> = (g.node.iter())
        .filter(|n| n.input.contains(&name))
        .filter_map(|n| n.output.first().cloned())
        .collect();
    if readers.len() > 1 {
        own(g, &readers[r.below(readers.len())], &name)?;
        name.push_str("/own");
    }
    nudge(initializer(g, &name)?, r)
}

fn attribute_away(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| n.attribute.iter().any(|a| a.g.is_none()))?;
    let at: Vec<usize> = (0..n.attribute.len()).filter(|&i| n.attribute[i].g.is_none()).collect();
    let a = n.attribute.remove(at[r.below(at.len())]);
    Some(format!("{} without {}", label(n), a.name))
}

fn float_attribute(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let float = |a: &AttributeProto| a.type_.enum_value() == Ok(AttributeType::FLOAT);
    let n = node(m, r, |n| n.attribute.iter().any(float))?;
    let what = label(n);
    let a = n.attribute.iter_mut().find(|a| float(a))?;
    let before = a.f;
    a.f = match r.below(3) {
        0 => f32::from_bits(a.f.to_bits() ^ 1),
        1 => a.f * 1.25,
        _ => -a.f,
    };
    Some(format!("{what}: {} {before:?} now {:?}", a.name, a.f))
}

fn int_attribute(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let int = |a: &AttributeProto| {
        a.type_.enum_value() == Ok(AttributeType::INT) && a.name != "to" && a.name != "axis"
    };
    let n = node(m, r, |n| n.attribute.iter().any(int))?;
    let what = label(n);
    let a = n.attribute.iter_mut().find(|a| int(a))?;
    a.i = if a.i == 0 || r.below(2) == 0 { a.i + 1 } else { a.i - 1 };
    Some(format!("{what}: {} now {}", a.name, a.i))
}

fn opset(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let o: &mut OperatorSetIdProto = m.opset_import.iter_mut().find(|o| o.domain.is_empty())?;
    let before = o.version;
    o.version = 7 + r.below(17) as i64;
    (o.version != before).then(|| format!("version {before} now {}", o.version))
}

fn function_body(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let f = m.functions.first_mut()?;
    let i = r.below(f.node.len());
    let n = &mut f.node[i];
    match r.below(3) {
        0 => {
            let kin = kin(&n.op_type)?;
            n.op_type = kin.into();
        }
        1 if n.input.len() > 1 && n.input[0] != n.input[1] => n.input.swap(0, 1),
        _ => {
            let o = f.opset_import.iter_mut().find(|o| o.domain.is_empty())?;
            o.version = 7 + r.below(17) as i64;
            return Some(format!("function {}: version {}", f.name, o.version));
        }
    }
    Some(format!("function {}: {}", f.name, label(&f.node[i])))
}

/// Inputs that have an initializer, which the caller may override.
fn default(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let g = m.graph.mut_or_insert_default();
    let names: Vec<String> = g.input.iter().map(|i| i.name.clone()).collect();
    let t = g.initializer.iter_mut().find(|t| names.contains(&t.name) && is_float(t))?;
    let data = &mut t.raw_data;
    let i = r.below(data.len() / 4);
    data[i * 4 + 3] ^= 0x80;
    Some(format!("default of {:?}: element {i} negated", t.name))
}

fn sparse(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let s = m.graph.mut_or_insert_default().sparse_initializer.first_mut()?;
    if r.below(2) == 0 {
        let v = s.values.mut_or_insert_default();
        let i = r.below(v.float_data.len());
        v.float_data[i] += 1.0;
        return Some(format!("sparse value {i}"));
    }
    let v = &mut s.indices.mut_or_insert_default().int64_data;
    let last = v.last_mut()?;
    *last += 1;
    Some("sparse index".into())
}

/// Puts a node between a value and one of its readers.
fn between(
    m: &mut ModelProto,
    r: &mut Rng,
    what: &str,
    make: impl Fn(String, String) -> Vec<NodeProto>,
) -> Option<String> {
    let float =
        ["Conv", "Relu", "Add", "Mul", "MatMul", "Concat", "Softmax", "Tanh", "Neg", "Sigmoid"];
    let g = scope(m, r);
    let at: Vec<usize> =
        (0..g.node.len()).filter(|&i| float.contains(&&*g.node[i].op_type)).collect();
    let i = *at.get(r.below(at.len().max(1)))?;
    let old = g.node[i].output[0].clone();
    let before = format!("{old}/unchanged");
    g.node[i].output[0].clone_from(&before);
    for (k, n) in make(before, old.clone()).into_iter().enumerate() {
        g.node.insert(i + 1 + k, n);
    }
    Some(format!("{what} behind {old:?}"))
}

fn simple(op: &str, inputs: &[&str], output: &str, attrs: &[(&str, i64)]) -> NodeProto {
    let int = |(name, i): &(&str, i64)| AttributeProto {
        name: (*name).into(),
        type_: AttributeType::INT.into(),
        i: *i,
        ..Default::default()
    };
    NodeProto {
        op_type: op.into(),
        input: inputs.iter().map(|&s| s.into()).collect(),
        output: vec![output.into()],
        attribute: attrs.iter().map(int).collect(),
        ..Default::default()
    }
}

/// Whether all inputs are floats.
pub fn floats_only(m: &ModelProto) -> bool {
    let float = |i: &ValueInfoProto| matches!(&i.type_.value, Some(Value::TensorType(t)) if t.elem_type == 1);
    m.graph.input.iter().all(float)
}

fn rounding(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    if !floats_only(m) {
        return None;
    }
    let narrow = [10, 16, 6][r.below(3)];
    between(m, r, &format!("Cast to {narrow} and back"), |x, y| {
        let mid = format!("{y}/narrow");
        vec![
            simple("Cast", &[&x], &mid, &[("to", narrow)]),
            simple("Cast", &[&mid], &y, &[("to", 1)]),
        ]
    })
}

fn special(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    if !floats_only(m) {
        return None;
    }
    // What a NaN is quantized to is nobody's promise.
    if m.graph.node.iter().any(|n| n.op_type == "QuantizeLinear") {
        return None;
    }
    match r.below(3) {
        0 => between(m, r, "x / x * x", |x, y| {
            let q = format!("{y}/one");
            vec![simple("Div", &[&x, &x], &q, &[]), simple("Mul", &[&q, &x], &y, &[])]
        }),
        1 => between(m, r, "root of the square", |x, y| {
            let q = format!("{y}/square");
            vec![simple("Mul", &[&x, &x], &q, &[]), simple("Sqrt", &[&q], &y, &[])]
        }),
        _ => between(m, r, "0 for NaN", |x, y| {
            let (n, z) = (format!("{y}/nan"), format!("{y}/zero"));
            vec![
                simple("IsNaN", &[&x], &n, &[]),
                simple("Sub", &[&x, &x], &z, &[]),
                NodeProto {
                    input: vec![n.clone(), z.clone(), x.clone()],
                    ..simple("Where", &[], &y, &[])
                },
            ]
        }),
    }
}

/// Something else past a bound, or at one number.
fn bound(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    if !floats_only(m) {
        return None;
    }
    let (way, at) =
        ([0, 0, 0, 1, 1, 1, 2, 2, 2, 3][r.below(10)], [0.37f32, 20.0, 1000.0, 1e5][r.below(4)]);
    let what = format!("{} {at}", ["below", "above -", "negated above", "negated at"][way]);
    between(m, r, &what, |x, y| {
        let (b, c, n) = (format!("{y}/bound"), format!("{y}/past"), format!("{y}/negative"));
        let value = AttributeProto {
            name: "value".into(),
            type_: AttributeType::TENSOR.into(),
            t: Some(TensorProto {
                data_type: 1,
                float_data: vec![if way == 1 { -at } else { at }],
                ..Default::default()
            })
            .into(),
            ..Default::default()
        };
        let constant = NodeProto { attribute: vec![value], ..simple("Constant", &[], &b, &[]) };
        let mut all = vec![constant];
        match way {
            0 => all.push(simple("Min", &[&x, &b], &y, &[])),
            1 => all.push(simple("Max", &[&x, &b], &y, &[])),
            _ => {
                let test = if way == 2 { "Greater" } else { "Equal" };
                all.push(simple(test, &[&x, &b], &c, &[]));
                all.push(simple("Neg", &[&x], &n, &[]));
                all.push(simple("Where", &[&c, &n, &x], &y, &[]));
            }
        }
        all
    })
}

fn swapped(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| {
        matches!(&*n.op_type, "Sub" | "Div" | "MatMul" | "Pow" | "Less" | "Greater" | "Where")
            && n.input.len() >= 2
            && n.input[n.input.len() - 1] != n.input[n.input.len() - 2]
    })?;
    let last = n.input.len() - 1;
    n.input.swap(last - 1, last);
    Some(format!("{}: operands swapped", label(n)))
}

fn dims_of(v: &mut ValueInfoProto) -> Option<&mut TensorShapeProto> {
    match v.type_.mut_or_insert_default().value.as_mut()? {
        Value::TensorType(t) => Some(t.shape.mut_or_insert_default()),
        _ => None,
    }
}

fn declared(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let g = m.graph.mut_or_insert_default();
    let outputs = g.output.len();
    let i = r.below(outputs + g.value_info.len());
    let v = if i < outputs { &mut g.output[i] } else { &mut g.value_info[i - outputs] };
    let name = v.name.clone();
    let shape = dims_of(v)?;
    if shape.dim.is_empty() {
        return None;
    }
    let d = r.below(shape.dim.len());
    let Some(tensor_shape_proto::dimension::Value::DimValue(n)) = &mut shape.dim[d].value else {
        return None;
    };
    *n += 1;
    Some(format!("{name:?} is declared with extent {n} along axis {d}"))
}

fn kin(op: &str) -> Option<&'static str> {
    Some(match op {
        "Relu" => "Abs",
        "Abs" => "Relu",
        "Max" => "Min",
        "Min" => "Max",
        "Sigmoid" => "HardSigmoid",
        "HardSwish" => "Relu",
        "Tanh" => "Softsign",
        "Add" => "Sub",
        "Sub" => "Add",
        "Mul" => "Div",
        "Div" => "Mul",
        "Floor" => "Ceil",
        "Ceil" => "Round",
        "Round" => "Floor",
        "Erf" => "Tanh",
        "Neg" => "Identity",
        "Identity" => "Neg",
        "Less" => "LessOrEqual",
        "LessOrEqual" => "Less",
        "Greater" => "GreaterOrEqual",
        "GreaterOrEqual" => "Greater",
        "Equal" => "GreaterOrEqual",
        "Softmax" => "LogSoftmax",
        "Softplus" => "Exp",
        "MaxPool" => "AveragePool",
        "AveragePool" => "MaxPool",
        "GlobalMaxPool" => "GlobalAveragePool",
        "ReduceMax" => "ReduceMean",
        "ReduceSum" => "ReduceMax",
        "ArgMax" => "ArgMin",
        "LeakyRelu" => "Elu",
        "Elu" => "LeakyRelu",
        _ => return None,
    })
}

fn operator(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| kin(&n.op_type).is_some())?;
    let before = label(n);
    n.op_type = kin(&n.op_type)?.into();
    Some(format!("{before} now {}", n.op_type))
}

fn operand(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let g = scope(m, r);
    let i = r.below(g.node.len());
    let mut names: Vec<String> = g.input.iter().map(|v| v.name.clone()).collect();
    names.extend(g.node[..i].iter().flat_map(|n| n.output.clone()));
    names.extend(g.initializer.iter().map(|t| t.name.clone()));
    names.retain(|n| !n.is_empty());
    let n = &mut g.node[i];
    if n.input.is_empty() {
        return None;
    }
    let j = r.below(n.input.len());
    let new = names.get(r.below(names.len().max(1)))?.clone();
    if n.input[j] == new {
        return None;
    }
    // A part of it from the same place on may be read for it.
    let old = n.input[j].clone();
    let part = |p: &NodeProto| p.op_type == "Slice" && p.output[0] == new && p.input[0] == old;
    if g.node.iter().any(part) {
        return None;
    }
    let n = &mut g.node[i];
    let before = std::mem::replace(&mut n.input[j], new.clone());
    Some(format!("{} reads {new:?} instead of {before:?}", label(n)))
}

fn operand_away(m: &mut ModelProto, r: &mut Rng) -> Option<String> {
    let n = node(m, r, |n| n.input.len() > 2 && n.op_type != "Slice")?;
    let gone = n.input.pop()?;
    (!gone.is_empty()).then(|| format!("{} without {gone:?}", label(n)))
}
