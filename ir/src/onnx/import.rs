//! ModelProto: the header, the functions, the graph.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::error::{OnnxError, Result};
use super::file::File;
use super::node::{NoSubgraphs, read_attr};
use super::parts::{self, Parts};
use super::proto::{function, model, opset_id};
use super::scope::{Importer, Key, Opsets};
use super::types::{self, Info};
use super::wire::fields_in;
use super::{Imported, scan, sort};
use crate::Type;
use crate::graph::{Function, Functions};
use crate::op::{Attr, ONNX, schema};

/// The newest supported version of the format.
const NEWEST_IR: i64 = 14;

/// The implementation of [`super::import`].
pub(super) fn import(bytes: Vec<u8>, dir: Option<&Path>) -> Result<Imported> {
    scan::scan(&bytes)?;
    let dir = match dir {
        Some(d) => {
            let d = if d.as_os_str().is_empty() { Path::new(".") } else { d };
            let resolved = d.canonicalize();
            Some(resolved.map_err(|source| OnnxError::Io { path: d.into(), source })?)
        }
        None => None,
    };
    let file = File { buf: Arc::new(bytes), dir, data: RefCell::default() };
    let header = header(&file)?;
    let (calls, functions) = function_heads(&file, &header.functions)?;
    let mut importer = Importer {
        file: &file,
        ir_version: header.ir_version,
        calls,
        functions: Arc::default(),
        remarks: header.remarks,
        called: BTreeSet::new(),
        pinned: false,
        nothing: "".into(),
    };
    importer.functions = Arc::new(bodies(&mut importer, functions, &header.opsets)?);
    let mut parts = parts::of_graph(&file, header.graph, "the graph")?;
    parts.opsets = header.opsets;
    parts.main = true;
    let mut graph = importer.build(parts)?;
    let functions = Arc::clone(&graph.functions);
    for f in functions.values() {
        // A set of names does not depend on the order of insertion.
        #[allow(clippy::iter_over_hash_type)]
        for name in &f.body.names {
            graph.names.insert(name.clone());
        }
    }
    let declared = super::declared(&graph).to_vec();
    Ok(Imported { graph, declared, remarks: importer.remarks })
}

struct Header {
    ir_version: i64,
    opsets: Opsets,
    graph: Vec<Range<usize>>,
    functions: Vec<Range<usize>>,
    remarks: Vec<String>,
}

fn header(file: &File) -> Result<Header> {
    let fail = |what: String| Err(OnnxError::Model(what));
    let (mut ir_version, mut graph, mut functions) = (None, Vec::new(), Vec::new());
    let mut imports = Vec::new();
    for f in fields_in(&file.buf, &(0..file.buf.len())) {
        let f = f?;
        match (f.number, f.bytes()) {
            (model::IR_VERSION, None) => ir_version = f.int(),
            (model::GRAPH, Some(r)) => graph.push(r),
            (model::OPSET_IMPORT, Some(r)) => imports.push(r),
            (model::FUNCTIONS, Some(r)) => functions.push(r),
            _ => {}
        }
    }
    let mut remarks = Vec::new();
    let ir_version = match ir_version {
        None => return fail("expected an ir_version, found none".into()),
        Some(v) if v < 1 => {
            return fail(format!("expected an ir_version of at least 1, found {v}"));
        }
        Some(v) => v,
    };
    if ir_version > NEWEST_IR {
        return fail(format!(
            "ir_version {ir_version} is newer than {NEWEST_IR}, the newest that graph-opt knows"
        ));
    }
    if graph.is_empty() {
        return fail("expected a graph in the model, found none".into());
    }
    let mut opsets = opsets(file, &imports)?;
    if opsets.is_empty() {
        if ir_version >= 3 {
            return fail("expected an import of operators (opset_import), found none".into());
        }
        opsets.insert(ONNX.into(), 1);
    }
    if let Some(&v) = opsets.get(ONNX) {
        if v > schema::newest() {
            return fail(format!(
                "version {v} of ONNX's operators is newer than {}, the newest that graph-opt knows",
                schema::newest()
            ));
        }
        if v < 7 {
            remarks.push(format!("version {v} of ONNX's operators is older than 7"));
        }
    }
    Ok(Header { ir_version, opsets: Arc::new(opsets), graph, functions, remarks })
}

fn opsets(file: &File, imports: &[Range<usize>]) -> Result<BTreeMap<Arc<str>, i64>> {
    let mut opsets: BTreeMap<Arc<str>, i64> = BTreeMap::new();
    for r in imports {
        let (mut domain, mut version) = ("", 0);
        for f in fields_in(&file.buf, r) {
            let f = f?;
            match (f.number, f.bytes()) {
                (opset_id::DOMAIN, Some(r)) => domain = file.str(r)?,
                (opset_id::VERSION, None) => version = f.int().unwrap_or(0),
                _ => {}
            }
        }
        let domain = if domain.is_empty() { ONNX } else { domain };
        if version < 1 {
            return Err(OnnxError::Model(format!(
                "expected a version of at least 1 of {domain}, found {version}"
            )));
        }
        if let Some(other) = opsets.insert(domain.into(), version)
            && other != version
        {
            let what = format!("the model imports {domain} in versions {other} and {version}");
            return Err(OnnxError::Model(what));
        }
    }
    Ok(opsets)
}

/// The fields of a FunctionProto.
#[derive(Default)]
struct Head {
    key: Key,
    attrs: Vec<Arc<str>>,
    defaults: Vec<Range<usize>>,
    imports: Vec<Range<usize>>,
    inputs: Vec<Arc<str>>,
    outputs: Vec<Arc<str>>,
    nodes: Vec<Range<usize>>,
    infos: Vec<Info>,
}

type Heads = (BTreeMap<Key, (usize, usize)>, Vec<Head>);

fn function_heads(file: &File, ranges: &[Range<usize>]) -> Result<Heads> {
    let (mut calls, mut heads) = (BTreeMap::new(), Vec::new());
    for range in ranges {
        let (mut name, mut domain, mut overload) = ("", "", "");
        let mut h = Head::default();
        for f in fields_in(&file.buf, range) {
            let f = f?;
            let Some(r) = f.bytes() else { continue };
            match f.number {
                function::NAME => name = file.str(r)?,
                function::INPUT => h.inputs.push(file.str(r)?.into()),
                function::OUTPUT => h.outputs.push(file.str(r)?.into()),
                function::ATTRIBUTE => h.attrs.push(file.str(r)?.into()),
                function::NODE => h.nodes.push(r),
                function::OPSET_IMPORT => h.imports.push(r),
                function::DOMAIN => domain = file.str(r)?,
                function::ATTRIBUTE_PROTO => h.defaults.push(r),
                function::VALUE_INFO => h.infos.push(types::read(&file.buf[r.clone()], r.start)?),
                function::OVERLOAD => overload = file.str(r)?,
                _ => {}
            }
        }
        let domain = if domain.is_empty() { ONNX } else { domain };
        if name.is_empty() {
            return Err(OnnxError::Model(
                "expected a name for each function of the model, found none".into(),
            ));
        }
        h.key = (domain.to_owned(), name.to_owned(), overload.to_owned());
        if calls.insert(h.key.clone(), (h.inputs.len(), h.outputs.len())).is_some() {
            let what = format!("the function {domain}.{name} is defined twice");
            return Err(OnnxError::Model(what));
        }
        heads.push(h);
    }
    Ok((calls, heads))
}

/// Reads the bodies of the functions, and refuses recursive calls.
fn bodies(importer: &mut Importer<'_>, heads: Vec<Head>, main: &Opsets) -> Result<Functions> {
    let mut functions = Functions::new();
    let (mut keys, mut called) = (Vec::new(), Vec::new());
    for h in heads {
        let what = format!("function {}.{}", h.key.0, h.key.1);
        let mut own = opsets(importer.file, &h.imports)?;
        // Functions have their own imports; some writers rely on those of the model.
        for (domain, version) in main.iter() {
            own.entry(domain.clone()).or_insert(*version);
        }
        let info =
            |name: &Arc<str>| Info { name: name.to_string(), ty: Type::Unknown, fault: None };
        let parts = Parts {
            what,
            name: h.key.1.clone(),
            opsets: Arc::new(own),
            nodes: h.nodes,
            inputs: h.inputs.iter().map(info).collect(),
            outputs: h.outputs.iter().map(info).collect(),
            infos: h.infos,
            ..Parts::default()
        };
        importer.called.clear();
        let body = Arc::new(importer.build(parts)?);
        called.push(std::mem::take(&mut importer.called));
        importer.pinned |= super::external_anywhere(&body);
        let mut attrs: Vec<(Arc<str>, Option<Attr>)> =
            h.attrs.into_iter().map(|name| (name, None)).collect();
        for r in &h.defaults {
            let a = read_attr(importer.file, r)?;
            match a.value(importer.file, &mut NoSubgraphs)? {
                Ok(v) => attrs.push((a.name.into(), Some(v))),
                Err(what) => return Err(OnnxError::Model(what)),
            }
        }
        let (domain, name, overload) = &h.key;
        functions.insert(
            (domain.as_str().into(), name.as_str().into(), overload.as_str().into()),
            Function { inputs: h.inputs, outputs: h.outputs, attrs, body },
        );
        keys.push(h.key);
    }
    let index: BTreeMap<&Key, usize> = keys.iter().enumerate().map(|(i, k)| (k, i)).collect();
    let needs: Vec<Vec<usize>> =
        called.iter().map(|c| c.iter().filter_map(|k| index.get(k).copied()).collect()).collect();
    if let Err(cycle) = sort::sort(&needs) {
        let names: Vec<&str> = cycle.iter().map(|&i| keys[i].1.as_str()).collect();
        let what = format!("functions call each other in a cycle: {}", names.join(" → "));
        return Err(OnnxError::Model(what));
    }
    Ok(functions)
}
