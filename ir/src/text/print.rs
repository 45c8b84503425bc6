//! Graph → text.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Write as _;

use super::INLINE;
use crate::graph::{Def, Graph};
use crate::layout_params;
use crate::op::{Attr, GRAPH_OPT, ONNX, Op};
use crate::op_context::OpCtx;
use crate::tensor::{Data, Tensor, TensorError};
use crate::{DType, NodeId, ValueId};

/// Writes a constant that is too large to be written out, or has elements that cannot be.
type Spell<'a> = &'a dyn Fn(&Tensor) -> String;

/// The graph as text for reading. Large constants are written by their hash.
pub fn print(graph: &Graph) -> String {
    text(graph, &by_hash)
}

/// The graph as text that [`parse`](super::parse) reads back. Large constants are written in full, in
/// hexadecimal.
///
/// # Errors
/// If a constant lies in a file that cannot be read.
pub fn print_whole(graph: &Graph) -> Result<String, TensorError> {
    let failed = RefCell::new(None);
    let in_full = |t: &Tensor| {
        in_full(t).unwrap_or_else(|e| {
            failed.replace(Some(e));
            by_hash(t)
        })
    };
    let text = text(graph, &in_full);
    failed.into_inner().map_or(Ok(text), Err)
}

fn text(graph: &Graph, spell: Spell<'_>) -> String {
    let mut out = String::new();
    body(graph, "", true, spell, &mut out);
    out.push('\n');
    out
}

fn by_hash(t: &Tensor) -> String {
    format!("#{:032x}", t.content_hash())
}

fn in_full(t: &Tensor) -> Result<String, TensorError> {
    match t.data() {
        Data::Strings(all) => Ok(list(all, |s| format!("hex\"{}\"", hex(s)))),
        _ => Ok(format!("hex\"{}\"", hex(&t.bytes()?))),
    }
}

/// One node as text, without the types of its results and its name.
pub fn node_text(graph: &Graph, id: NodeId) -> String {
    node(graph, id, "", &by_hash)
}

/// An attribute's value as text. A graph is said by its number of nodes, a large tensor by its hash.
pub fn attribute_text(a: &Attr) -> String {
    match a {
        Attr::Graph(g) => format!("a graph of {} nodes", g.0.len()),
        a => attr(a, "", &by_hash),
    }
}

pub(super) fn name(n: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-:".contains(c);
    if !n.is_empty() && n.chars().all(plain) { n.to_owned() } else { format!("{n:?}") }
}

fn value(graph: &Graph, v: ValueId) -> String {
    format!("%{}", name(&graph.value(v).name))
}

fn body(graph: &Graph, indent: &str, top: bool, spell: Spell<'_>, out: &mut String) {
    let inputs: Vec<String> = graph
        .inputs()
        .iter()
        .map(|&v| {
            let default = match &graph.value(v).def {
                Def::Input(Some(t)) => format!(" = {}", tensor(t, spell)),
                _ => String::new(),
            };
            format!("{}: {}{default}", value(graph, v), graph.value(v).ty)
        })
        .collect();
    let outputs: Vec<String> = graph.outputs().iter().map(|&v| value(graph, v)).collect();
    let _ = write!(
        out,
        "graph @{}({}) -> ({})",
        name(&graph.name),
        inputs.join(", "),
        outputs.join(", ")
    );
    if top {
        let _ = write!(out, " opset {}", graph.opset());
        let others = graph.opsets.iter().filter(|(d, _)| &***d != ONNX);
        for (d, v) in others {
            let _ = write!(out, ", {} {v}", name(d));
        }
    }
    out.push_str(" {\n");
    // A constant is printed before its first reader, unless the short form of a Slice shows it.
    let mut done: HashSet<ValueId> = HashSet::new();
    let mut lines: Vec<(String, String, String)> = Vec::new();
    let constant = |v: ValueId, lines: &mut Vec<_>, done: &mut HashSet<ValueId>| {
        if let Def::Const(t) = &graph.value(v).def
            && done.insert(v)
        {
            let text = format!("{} = const {}", value(graph, v), tensor(t, spell));
            lines.push((text, graph.value(v).ty.to_string(), String::new()));
        }
    };
    for id in graph.schedule() {
        let n = graph.node(id);
        let sugar = slice_sugar(graph, id).is_some();
        for (i, v) in n.inputs.iter().enumerate() {
            if let Some(v) = v
                && !(sugar && i > 0)
            {
                constant(*v, &mut lines, &mut done);
            }
        }
        for v in &n.captures {
            constant(*v, &mut lines, &mut done);
        }
        let types: Vec<String> = n
            .outputs
            .iter()
            .map(|v| v.map_or_else(|| "_".to_owned(), |v| graph.value(v).ty.to_string()))
            .collect();
        let label = if n.name.is_empty() { String::new() } else { name(&n.name) };
        lines.push((node(graph, id, indent, spell), types.join(", "), label));
    }
    for &v in graph.outputs() {
        constant(v, &mut lines, &mut done);
    }
    let width = lines.iter().map(|l| last_line(&l.0)).filter(|&w| w <= 72).max().unwrap_or(0);
    for (text, ty, label) in lines {
        let pad = width.saturating_sub(last_line(&text));
        let _ = write!(out, "{indent}  {text}{:pad$} : {ty}", "");
        if !label.is_empty() {
            let _ = write!(out, "    ; {label}");
        }
        out.push('\n');
    }
    let _ = write!(out, "{indent}}}");
}

fn last_line(text: &str) -> usize {
    text.rsplit('\n').next().unwrap_or(text).chars().count()
}

fn node(graph: &Graph, id: NodeId, indent: &str, spell: Spell<'_>) -> String {
    let n = graph.node(id);
    let outs: Vec<String> =
        n.outputs.iter().map(|v| v.map_or_else(|| "_".to_owned(), |v| value(graph, v))).collect();
    let mut s = format!("{} = ", if outs.is_empty() { "_".to_owned() } else { outs.join(", ") });
    if !matches!(n.op.domain(), ONNX | GRAPH_OPT) {
        let _ = write!(s, "{}::", name(n.op.domain()));
    }
    s.push_str(&name(n.op.name()));
    if let Op::Other(o) = &n.op
        && !o.overload.is_empty()
    {
        let _ = write!(s, "@{}", name(&o.overload));
    }
    if let Some(sugar) = slice_sugar(graph, id) {
        let x =
            n.inputs.first().copied().flatten().map_or_else(|| "_".to_owned(), |v| value(graph, v));
        let _ = write!(s, " {x} [{sugar}]");
        return s;
    }
    let ins: Vec<String> =
        n.inputs.iter().map(|v| v.map_or_else(|| "_".to_owned(), |v| value(graph, v))).collect();
    if !ins.is_empty() {
        let _ = write!(s, " {}", ins.join(", "));
    }
    let attrs: Vec<String> =
        n.op.attrs()
            .iter()
            .chain(&n.extra)
            .map(|(k, a)| format!("{}={}", name(k), attr(a, indent, spell)))
            .collect();
    if !attrs.is_empty() {
        let _ = write!(s, " {{{}}}", attrs.join(", "));
    }
    s
}

/// The short form of a Slice with constant bounds: `axis: from..to` for each axis that it cuts; `None` if
/// it has no short form.
pub fn slice_sugar(graph: &Graph, id: NodeId) -> Option<String> {
    let n = graph.node(id);
    let Op::Slice(s) = &n.op else { return None };
    if !n.extra.is_empty() || (s.starts.is_some()) != (graph.opset() < 10) {
        return None;
    }
    let ctx = OpCtx::of(graph, id);
    // Results of Constant nodes are printed as those nodes.
    let initializer = |v: &ValueId| graph.value(*v).constant().is_some();
    if !n.inputs.iter().skip(1).flatten().all(initializer) {
        return None;
    }
    let taken = layout_params::slices(&ctx).ok()??;
    let dims = ctx.dims(0)?;
    let mut parts = Vec::new();
    let mut named = s.axes.clone().or_else(|| ctx.ints(3));
    if named.is_none() {
        let count = s.starts.as_ref().map(Vec::len).or_else(|| ctx.ints(1).map(|v| v.len()))?;
        named = Some((0..count as i64).collect());
    }
    for axis in named? {
        let a = crate::op_context::axis_of(axis, dims.len()).ok()?;
        let t = taken[a]?;
        let end = t.start + t.step * t.count;
        // The text cannot say "before the first element".
        if t.count == 0 || end < 0 {
            return None;
        }
        parts.push(match t.step {
            1 => format!("{a}: {}..{end}", t.start),
            step => format!("{a}: {}..{end}:{step}", t.start),
        });
    }
    Some(parts.join(", "))
}

pub(super) fn float(x: f32) -> String {
    if x.is_nan() {
        "nan".into()
    } else if x.is_infinite() {
        if x > 0.0 { "inf".into() } else { "-inf".into() }
    } else if x != 0.0 && !(1e-4..1e7).contains(&x.abs()) {
        format!("{x:e}")
    } else {
        format!("{x}")
    }
}

fn list<T>(v: &[T], f: impl Fn(&T) -> String) -> String {
    format!("[{}]", v.iter().map(f).collect::<Vec<_>>().join(","))
}

fn attr(a: &Attr, indent: &str, spell: Spell<'_>) -> String {
    let bytes = |b: &Vec<u8>| match std::str::from_utf8(b) {
        Ok(s) => format!("{s:?}"),
        Err(_) => format!("hex\"{}\"", hex(b)),
    };
    match a {
        Attr::Int(i) => i.to_string(),
        // A point or an exponent distinguishes floats from ints.
        Attr::Float(x) => point(float(*x)),
        Attr::Str(s) => bytes(s),
        Attr::Tensor(t) => format!("tensor({} : {})", tensor(t, spell), t.ty()),
        Attr::Graph(g) => {
            let mut s = String::new();
            body(&g.0, &format!("{indent}  "), false, spell, &mut s);
            s
        }
        Attr::Ints(v) => list(v, ToString::to_string),
        Attr::Floats(v) => list(v, |x| point(float(*x))),
        Attr::Strs(v) => list(v, bytes),
        Attr::Raw(b) | Attr::Ref(_, b) => format!("raw\"{}\"", hex(b)),
    }
}

fn point(s: String) -> String {
    let marked = s.contains(['.', 'e', 'n', 'i']);
    if marked { s } else { format!("{s}.0") }
}

fn hex(b: &[u8]) -> String {
    b.iter().fold(String::new(), |mut s, x| {
        let _ = write!(s, "{x:02x}");
        s
    })
}

/// The elements of a small constant; larger ones as `spell` writes them.
fn tensor(t: &Tensor, spell: Spell<'_>) -> String {
    if t.len() > INLINE {
        return spell(t);
    }
    let items: Vec<String> = if let Data::Strings(s) = t.data() {
        let utf8: Option<Vec<_>> =
            s.iter().map(|b| std::str::from_utf8(b).ok().map(|s| format!("{s:?}"))).collect();
        match utf8 {
            Some(v) => v,
            None => return spell(t),
        }
    } else if t.dtype() == DType::F32 {
        let v = t.to_f32s().unwrap_or_default();
        // A NaN with a payload, or a negative zero, has no spelling.
        if v.iter().any(|x| {
            (x.is_nan() && x.to_bits() != f32::NAN.to_bits()) || (*x == 0.0 && x.is_sign_negative())
        }) {
            return spell(t);
        }
        v.into_iter().map(float).collect()
    } else {
        match t.to_i64s() {
            Some(v) => v.iter().map(ToString::to_string).collect(),
            None => return spell(t),
        }
    };
    match (t.dims().len(), &items[..]) {
        (0, [x]) => x.clone(),
        _ => format!("[{}]", items.join(",")),
    }
}
