//! Real models: what is read and written back is what it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use onnx_protobuf::{Message, ModelProto};

use super::super::{Imported, export, load};
use super::shared;
use crate::graph::Graph;
use crate::op::{Attr, Op, Subgraph};

fn models() -> Vec<PathBuf> {
    let Some(dir) = shared("models") else { return Vec::new() };
    let mut all: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    all.sort();
    assert!(all.len() > 50, "{} models", all.len());
    all
}

fn read(path: &Path) -> Imported {
    load(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn written(g: &Graph) -> Vec<u8> {
    let mut out = Vec::new();
    export(g, &mut out).unwrap();
    out
}

/// The graph as if every node, in subgraphs as well, had been changed to what it was.
fn touched(g: &Graph, deep: bool) -> Graph {
    let mut g = g.clone();
    g.edits = 1;
    let ids: Vec<_> = g.schedule().collect();
    for id in ids {
        let n = g.node_mut(id);
        n.meta.verbatim = None;
        if !deep {
            continue;
        }
        let sub = |s: &mut Subgraph| s.0 = Arc::new(touched(&s.0, true));
        match &mut n.op {
            Op::If(i) => {
                sub(&mut i.then_branch);
                sub(&mut i.else_branch);
            }
            Op::Loop(l) => sub(&mut l.body),
            Op::Scan(s) => sub(&mut s.body),
            Op::Other(o) => {
                for (_, a) in &mut o.attrs {
                    if let Attr::Graph(s) = a {
                        sub(s);
                    }
                }
            }
            _ => {}
        }
    }
    g
}

/// Compares through a decoder that shares nothing with the reader under test.
fn assert_same(path: &Path, bytes: &[u8]) {
    let before = ModelProto::parse_from_bytes(&std::fs::read(path).unwrap()).unwrap();
    let after = ModelProto::parse_from_bytes(bytes).unwrap();
    if before != after {
        let (a, b) = (format!("{before:#?}"), format!("{after:#?}"));
        let differs = a.lines().zip(b.lines()).enumerate().find(|(_, (x, y))| x != y);
        panic!("{}: {differs:?}", path.display());
    }
}

#[test]
fn unchanged_models_are_written_as_they_were() {
    for path in models() {
        let g = read(&path).graph;
        assert!(written(&g) == std::fs::read(&path).unwrap(), "{}", path.display());
    }
}

#[test]
fn an_edit_elsewhere_leaves_every_message_equal() {
    for path in models() {
        let mut g = read(&path).graph;
        g.edits = 1;
        let bytes = written(&g);
        assert_same(&path, &bytes);
        assert!(bytes == written(&g), "{} is not deterministic", path.display());
    }
}

#[test]
fn nodes_encoded_anew_are_equal() {
    for path in models() {
        let g = read(&path).graph;
        assert_same(&path, &written(&touched(&g, false)));
        assert_same(&path, &written(&touched(&g, true)));
    }
}

#[test]
fn nothing_of_the_input_is_needed_to_write_an_equivalent_model() {
    for path in models() {
        let g = read(&path).graph;
        let mut bare = touched(&g, true);
        bare.source = None;
        let ids: Vec<_> = bare.schedule().collect();
        for id in ids {
            bare.node_mut(id).meta.model = None;
        }
        if !bare.functions.is_empty() {
            continue;
        }
        let bytes = written(&bare);
        let again = super::super::import(bytes, None);
        let again = again.unwrap_or_else(|e| panic!("{}: {e}", path.display())).graph;
        assert_eq!(again.len(), g.len());
        for (a, b) in again.schedule().zip(g.schedule()) {
            let (a, b) = (again.node(a), g.node(b));
            assert_eq!(a.name, b.name);
            assert_eq!(a.inputs.len(), b.inputs.len());
            if b.op.subgraphs().is_empty() {
                assert_eq!(format!("{:?}", (&a.op, &a.extra)), format!("{:?}", (&b.op, &b.extra)));
            }
        }
        for (_, v) in g.values() {
            let w = again.value(again.find_value(&v.name).unwrap());
            assert_eq!(v.constant(), w.constant(), "{}", v.name);
        }
    }
}
