//! A graph for other programs: DOT for Graphviz, JSON for Google's Model Explorer, and SVG.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::graph::{GraphPicture, Kind, NodeRow};
use crate::failure::{Result, internal, shown};

/// The form of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A page.
    Page,
    /// Scalable vector graphics.
    Svg,
    /// The language of Graphviz.
    Dot,
    /// The JSON that Model Explorer reads.
    ModelExplorer,
}

impl Form {
    /// By the ending of a file's name.
    pub fn of(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "html" | "htm" => Self::Page,
            "svg" => Self::Svg,
            "dot" | "gv" => Self::Dot,
            "json" => Self::ModelExplorer,
            _ => return None,
        })
    }
}

/// The picture in this form, which is no page.
pub fn text(picture: &GraphPicture, form: Form) -> Result<String> {
    match form {
        Form::Dot => Ok(dot(picture)),
        Form::Svg => Ok(super::svg::svg(picture)),
        Form::ModelExplorer => {
            let json = model_explorer(picture);
            Ok(serde_json::to_string_pretty(&json).map_err(internal)? + "\n")
        }
        Form::Page => Err(internal("a page is no picture")),
    }
}

/// A string of DOT.
fn quoted(s: &str) -> String {
    let s = shown(s).replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{s}\"")
}

/// Values that are drawn between nodes: from, to, and the value.
pub(super) fn edges(p: &GraphPicture) -> Vec<(Option<usize>, usize, usize)> {
    let mut all = Vec::new();
    for (to, n) in p.nodes.iter().enumerate() {
        let mut seen = Vec::new();
        for &v in n.inputs.iter().flatten().chain(&n.reads) {
            if !p.values[v].constant && !seen.contains(&v) {
                seen.push(v);
                all.push((p.values[v].from, to, v));
            }
        }
    }
    all
}

/// Digraph with a cluster for each box.
fn dot(p: &GraphPicture) -> String {
    let mut s = format!("digraph {} {{\n", quoted(&p.name));
    s.push_str("  rankdir=TB;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, ");
    s.push_str("fontname=\"sans-serif\", fontsize=10];\n");
    s.push_str("  edge [fontname=\"sans-serif\", fontsize=8];\n");
    for (kind, values) in [("input", &p.inputs), ("output", &p.outputs)] {
        for &v in values {
            let value = &p.values[v];
            let label = quoted(&format!("{}\n{}", value.name, value.r#type));
            s.push_str(&format!("  {kind}{v} [shape=ellipse, label={label}];\n"));
        }
    }
    boxes(p, None, 1, &mut s);
    for (from, to, v) in edges(p) {
        let label = quoted(&p.values[v].r#type);
        let from = match from {
            Some(n) => format!("n{n}"),
            None if p.inputs.contains(&v) => format!("input{v}"),
            None => continue,
        };
        s.push_str(&format!("  {from} -> n{to} [label={label}];\n"));
    }
    for &v in &p.outputs {
        if let Some(n) = p.values[v].from {
            s.push_str(&format!("  n{n} -> output{v};\n"));
        }
    }
    s + "}\n"
}

fn boxes(p: &GraphPicture, parent: Option<usize>, depth: usize, s: &mut String) {
    let indent = "  ".repeat(depth);
    for (i, n) in p.nodes.iter().enumerate().filter(|(_, n)| n.group == parent) {
        let label = quoted(&format!("{}\n{}", n.op, n.name));
        s.push_str(&format!("{indent}n{i} [label={label}];\n"));
    }
    for (i, g) in p.groups.iter().enumerate().filter(|(_, g)| g.parent == parent) {
        let label = quoted(&g.label);
        s.push_str(&format!("{indent}subgraph cluster{i} {{\n{indent}  label={label};\n"));
        boxes(p, Some(i), depth + 1, s);
        s.push_str(&format!("{indent}}}\n"));
    }
}

/// A collection of one graph, as Model Explorer's documentation of "custom adapters and JSON" has it.
fn model_explorer(p: &GraphPicture) -> Value {
    // A namespace is a path: what would be read as another level is written otherwise.
    let plain = |s: &str| shown(s).replace(['/', ';'], "∕");
    let namespace = |n: &NodeRow| {
        let mut path = Vec::new();
        let mut at = n.group;
        while let Some(g) = at {
            let group = &p.groups[g];
            // Its own boxes are enough for stretches.
            if !matches!(group.kind, Kind::Section) {
                path.push(format!("{} ({g})", plain(&group.label)));
            }
            at = group.parent;
        }
        path.reverse();
        path.join("/")
    };
    let mut slots: HashMap<usize, (String, usize)> = HashMap::new();
    for (i, n) in p.nodes.iter().enumerate() {
        for (slot, v) in n.outputs.iter().enumerate() {
            if let Some(v) = v {
                slots.insert(*v, (format!("n{i}"), slot));
            }
        }
    }
    p.inputs.iter().for_each(|&v| {
        slots.entry(v).or_insert((format!("input{v}"), 0));
    });
    let pair = |key: &str, value: &str| json!({ "key": key, "value": value });
    let output = |slot: usize, v: usize| {
        let value = &p.values[v];
        json!({
            "id": slot.to_string(),
            "attrs": [pair("tensor_name", &value.name), pair("tensor_shape", &value.r#type)],
        })
    };
    let mut nodes = Vec::new();
    for &v in &p.inputs {
        nodes.push(json!({
            "id": format!("input{v}"), "label": p.values[v].name, "namespace": "inputs",
            "outputsMetadata": [output(0, v)],
        }));
    }
    for (i, n) in p.nodes.iter().enumerate() {
        let edge = |(slot, v): (usize, usize)| {
            let (source, at) = slots.get(&v)?;
            Some(json!({
                "sourceNodeId": source,
                "sourceNodeOutputId": at.to_string(),
                "targetNodeInputId": slot.to_string(),
            }))
        };
        let reads = n.inputs.iter().enumerate().filter_map(|(slot, v)| Some((slot, (*v)?)));
        let reads = reads.chain(n.reads.iter().map(|&v| (n.inputs.len(), v)));
        let results = n.outputs.iter().enumerate().filter_map(|(slot, v)| Some((slot, (*v)?)));
        let mut attrs = vec![pair("name", &n.name)];
        attrs.extend(n.attributes.iter().map(|(k, v)| pair(k, v)));
        if !n.origin.is_empty() {
            attrs.push(pair("made by", &n.origin));
        }
        nodes.push(json!({
            "id": format!("n{i}"),
            "label": n.op,
            "namespace": namespace(n),
            "attrs": attrs,
            "incomingEdges": reads.filter_map(edge).collect::<Vec<_>>(),
            "outputsMetadata": results.map(|(slot, v)| output(slot, v)).collect::<Vec<_>>(),
        }));
    }
    for &v in &p.outputs {
        let edge = slots.get(&v).map(|(source, at)| {
            json!({
                "sourceNodeId": source,
                "sourceNodeOutputId": at.to_string(),
                "targetNodeInputId": "0",
            })
        });
        nodes.push(json!({
            "id": format!("output{v}"), "label": p.values[v].name, "namespace": "outputs",
            "incomingEdges": edge.into_iter().collect::<Vec<_>>(),
        }));
    }
    let name = if p.name.is_empty() { "model" } else { &p.name };
    json!([{ "label": name, "graphs": [{ "id": name, "nodes": nodes }] }])
}
