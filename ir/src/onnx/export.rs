//! Writing models: the header of the input, with the graph in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::slice::from_ref;
use std::sync::Arc;

use super::encode::Place;
use super::encode_graph::{self, graph};
use super::error::{OnnxError, Result};
use super::file::string_in;
use super::origin::Origin;
use super::proto::{entry, function, model as proto, opset_id};
use super::rope::Rope;
use super::wire::fields_in;
use crate::graph::Graph;
use crate::op::{GRAPH_OPT, ONNX};

/// Size of a file in bytes, 2 GiB, from which protocol buffers cannot read it.
pub(super) const LIMIT: u64 = 1 << 31;

/// The implementation of [`super::export`].
pub(super) fn export(g: &Graph, out: &mut dyn std::io::Write) -> Result<()> {
    let place =
        Place { dir: Origin::of(g).and_then(|o| o.dir.as_deref()), same: true, ..Place::default() };
    let rope = model(g, &place)?;
    if rope.len() >= LIMIT {
        return Err(OnnxError::TooLarge(rope.len()));
    }
    Ok(rope.write(out)?)
}

/// The ModelProto of a graph.
pub(super) fn model(g: &Graph, place: &Place<'_>) -> Result<Rope> {
    let mut out = Rope::default();
    let Some(origin) = Origin::of(g).filter(|o| o.main) else {
        if !g.functions.is_empty() {
            let what =
                "functions can only be written back into the model from which they were read";
            return Err(OnnxError::Model(what.into()));
        }
        out.int(proto::IR_VERSION, g.ir_version);
        out.text(proto::PRODUCER_NAME, b"graph-opt");
        out.text(proto::PRODUCER_VERSION, env!("CARGO_PKG_VERSION").as_bytes());
        out.message(proto::GRAPH, graph(g, place)?);
        for (domain, version) in opsets(g) {
            opset(&mut out, spelled(&domain), version);
        }
        out.share(&g.configurations.clone().unwrap_or_default());
        notes(g, &mut out);
        return Ok(out);
    };
    let keep = place.same && place.spill.is_none();
    if g.edits() == 0 && keep {
        out.share(&origin.slice(0..origin.buf.len()));
        return Ok(out);
    }
    if origin.pinned && !keep {
        let what = "external data of functions or sparse tensors cannot be moved; write the model \
                    into the folder of the input";
        return Err(OnnxError::Model(what.into()));
    }
    let mut graph = Some(graph(g, place)?);
    let mut wanted = opsets(g);
    for f in fields_in(&origin.buf, &(0..origin.buf.len())) {
        let f = f?;
        match (f.number, f.bytes()) {
            (proto::IR_VERSION, None) if g.ir_version != origin.ir_version => {
                out.int(proto::IR_VERSION, g.ir_version)
            }
            (proto::GRAPH, Some(_)) => {
                if let Some(graph) = graph.take() {
                    out.message(proto::GRAPH, graph);
                }
            }
            (proto::FUNCTIONS, Some(r)) => match edited(g, origin, &r)? {
                Some(body) => {
                    out.message(proto::FUNCTIONS, encode_graph::function(body, place, origin, &r)?)
                }
                None => out.share(&origin.slice(f.span)),
            },
            (proto::OPSET_IMPORT, Some(r)) => {
                let old = string_in(&origin.buf, &[r], opset_id::DOMAIN)?;
                let domain = if old.is_empty() { ONNX } else { old };
                match wanted.remove(domain) {
                    Some(v) if origin.opsets.get(domain) != Some(&v) => {
                        opset(&mut out, old, v);
                    }
                    // A domain may be listed twice, with one version.
                    _ if g.opsets.contains_key(domain) => out.share(&origin.slice(f.span)),
                    _ => {}
                }
            }
            (proto::CONFIGURATION, _) if g.configurations.is_some() => {}
            (proto::METADATA_PROPS, Some(r))
                if string_in(&origin.buf, from_ref(&r), entry::KEY)
                    .is_ok_and(|key| g.notes.contains_key(key)) => {}
            _ => out.share(&origin.slice(f.span)),
        }
    }
    for (domain, version) in wanted {
        opset(&mut out, spelled(&domain), version);
    }
    out.share(&g.configurations.clone().unwrap_or_default());
    notes(g, &mut out);
    Ok(out)
}

/// The body of the function of this FunctionProto, if it was edited.
fn edited<'g>(g: &'g Graph, origin: &Origin, r: &Range<usize>) -> Result<Option<&'g Graph>> {
    let text = |field| string_in(&origin.buf, from_ref(r), field);
    let domain = text(function::DOMAIN)?;
    let domain = if domain.is_empty() { ONNX } else { domain };
    let key = (domain.into(), text(function::NAME)?.into(), text(function::OVERLOAD)?.into());
    Ok(g.functions.get(&key).map(|f| &*f.body).filter(|b| b.edits() > 0))
}

fn notes(g: &Graph, out: &mut Rope) {
    g.notes.iter().for_each(|(k, v)| out.entry(proto::METADATA_PROPS, k, v));
}

/// Versions of all operator sets, including graph-opt's own if the graph uses it.
fn opsets(g: &Graph) -> BTreeMap<Arc<str>, i64> {
    let mut all = (*g.opsets).clone();
    if g.schedule().any(|n| g.node(n).op.domain() == GRAPH_OPT) {
        all.entry(GRAPH_OPT.into()).or_insert(1);
    }
    all
}

/// Adds an OperatorSetIdProto to the model.
fn opset(out: &mut Rope, domain: &str, version: i64) {
    let mut o = Rope::default();
    o.text(opset_id::DOMAIN, domain.as_bytes());
    o.int(opset_id::VERSION, version);
    out.message(proto::OPSET_IMPORT, o);
}

/// The name of the domain in files.
fn spelled(domain: &str) -> &str {
    if domain == ONNX { "" } else { domain }
}
