//! External data.

use std::fs;
use std::path::Path;

use onnx_protobuf::{Message, ModelProto, TensorProto, tensor_proto::DataLocation};
use protobuf::EnumOrUnknown;

use super::super::{export, load, save};
use super::*;
use crate::graph::Graph;
use crate::tensor::{Data, Tensor};

fn far(name: &str, location: &str, n: i64) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: 1,
        dims: vec![n],
        external_data: vec![entry("location", location)],
        data_location: EnumOrUnknown::new(DataLocation::EXTERNAL),
        ..Default::default()
    }
}

fn add(t: TensorProto) -> ModelProto {
    let mut g = graph(vec![node("Add", "x w", "y")], "x", "y");
    g.initializer.push(t);
    model(g)
}

/// A folder with a model whose weights are beside it.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let v: Vec<u8> = (0..4).flat_map(|i| (i as f32).to_le_bytes()).collect();
    fs::write(dir.path().join("w.bin"), v).unwrap();
    fs::write(dir.path().join("m.onnx"), bytes(&add(far("w", "w.bin", 4)))).unwrap();
    dir
}

fn weights(g: &Graph) -> std::sync::Arc<Tensor> {
    g.value(g.find_value("w").unwrap()).constant().unwrap().clone()
}

fn touched(path: &Path) -> Graph {
    let mut g = load(path).unwrap().graph;
    g.edits = 1;
    g
}

#[test]
fn is_read_when_asked_for_and_refused_without_a_folder() {
    let dir = folder();
    let g = load(dir.path().join("m.onnx")).unwrap().graph;
    assert!(matches!(weights(&g).data(), Data::External { offset: 0, len: 16, .. }));
    assert_eq!(weights(&g).to_f32s().unwrap(), [0.0, 1.0, 2.0, 3.0]);
    let e = import(fs::read(dir.path().join("m.onnx")).unwrap(), None).unwrap_err();
    assert!(e.to_string().contains("another file"), "{e}");
}

#[test]
#[cfg(unix)]
fn links_that_leave_the_folder_are_refused_and_others_followed() {
    use std::os::unix::fs::symlink;
    let dir = folder();
    let inner = dir.path().join("inner");
    fs::create_dir(&inner).unwrap();
    symlink("../w.bin", inner.join("out.bin")).unwrap();
    symlink("..", inner.join("up")).unwrap();
    fs::copy(dir.path().join("w.bin"), inner.join("here.bin")).unwrap();
    symlink("here.bin", inner.join("in.bin")).unwrap();
    fs::hard_link(dir.path().join("w.bin"), inner.join("hard.bin")).unwrap();
    let try_one = |location: &str| {
        fs::write(inner.join("m.onnx"), bytes(&add(far("w", location, 4)))).unwrap();
        load(inner.join("m.onnx")).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(try_one("out.bin").unwrap_err().contains("leads out"));
    assert!(try_one("up/w.bin").unwrap_err().contains("leads out"));
    assert!(try_one("in.bin").is_ok());
    assert!(try_one("hard.bin").is_ok());
    assert!(try_one("missing.bin").unwrap_err().contains("cannot open"));
    let socket = std::os::unix::net::UnixListener::bind(inner.join("socket")).unwrap();
    assert!(try_one("socket").unwrap_err().contains("regular file"));
    drop(socket);
}

#[test]
fn saving_into_the_same_folder_leaves_references_and_data_alone() {
    let dir = folder();
    let before = fs::read(dir.path().join("w.bin")).unwrap();
    let out = dir.path().join("out.onnx");
    save(&touched(&dir.path().join("m.onnx")), &out).unwrap();
    let m = ModelProto::parse_from_bytes(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(
        m,
        ModelProto::parse_from_bytes(&fs::read(dir.path().join("m.onnx")).unwrap()).unwrap()
    );
    assert_eq!(fs::read(dir.path().join("w.bin")).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    // Over the input itself, too.
    save(&touched(&dir.path().join("m.onnx")), dir.path().join("m.onnx")).unwrap();
    assert_eq!(weights(&load(&out).unwrap().graph).to_f32s().unwrap()[3], 3.0);
}

#[test]
fn saving_elsewhere_takes_the_data_along() {
    let dir = folder();
    let other = tempfile::tempdir().unwrap();
    let out = other.path().join("out.onnx");
    // Even a model that did not change: its bytes would refer to nothing there.
    save(&load(dir.path().join("m.onnx")).unwrap().graph, &out).unwrap();
    let g = load(&out).unwrap().graph;
    assert!(matches!(weights(&g).data(), Data::Bytes(_)));
    assert_eq!(weights(&g).to_f32s().unwrap(), [0.0, 1.0, 2.0, 3.0]);
    // Below the output's folder, a reference will do.
    let sub = dir.path().join("sub");
    fs::create_dir(&sub).unwrap();
    fs::rename(dir.path().join("w.bin"), sub.join("w.bin")).unwrap();
    fs::rename(dir.path().join("m.onnx"), sub.join("m.onnx")).unwrap();
    let out = dir.path().join("out.onnx");
    save(&touched(&sub.join("m.onnx")), &out).unwrap();
    let m = ModelProto::parse_from_bytes(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(m.graph.initializer[0].external_data[0].value, "sub/w.bin");
    assert_eq!(weights(&load(&out).unwrap().graph).to_f32s().unwrap()[3], 3.0);
}

#[test]
fn tensors_of_constant_nodes_move_as_well() {
    let dir = folder();
    let mut value = attr("value", attribute_proto::AttributeType::TENSOR);
    value.t = Some(far("", "w.bin", 4)).into();
    let g = graph(vec![with(node("Constant", "", "w"), value), node("Add", "x w", "y")], "x", "y");
    let inner = graph(vec![node("Identity", "w", "z")], "", "z");
    let mut inner_far = inner.clone();
    inner_far.initializer.push(far("w", "w.bin", 4));
    inner_far.node[0].input = strings("w");
    let mut g = g;
    g.node.push(with(
        with(node("If", "c", "y2"), branch("then_branch", inner_far)),
        branch("else_branch", inner),
    ));
    g.input.push(super::value("c"));
    fs::write(dir.path().join("m.onnx"), bytes(&model(g))).unwrap();
    let g = load(dir.path().join("m.onnx")).unwrap().graph;
    let other = tempfile::tempdir().unwrap();
    save(&g, other.path().join("o.onnx")).unwrap();
    let m = ModelProto::parse_from_bytes(&fs::read(other.path().join("o.onnx")).unwrap()).unwrap();
    assert_eq!(m.graph.node[0].attribute[0].t.raw_data.len(), 16);
    assert_eq!(m.graph.node[2].attribute[0].g.initializer[0].raw_data.len(), 16);
    load(other.path().join("o.onnx")).unwrap();
}

#[test]
fn the_data_file_is_never_the_output() {
    let dir = folder();
    let g = touched(&dir.path().join("m.onnx"));
    let e = save(&g, dir.path().join("w.bin")).unwrap_err();
    assert!(e.to_string().contains("holds data"), "{e}");
    assert_eq!(fs::read(dir.path().join("w.bin")).unwrap().len(), 16);
}

#[test]
fn more_than_two_gib_is_refused_as_a_stream() {
    let dir = tempfile::tempdir().unwrap();
    // A sparse file: nothing of this size is written or held.
    let n = 160 << 20;
    let data = fs::File::create(dir.path().join("w.bin")).unwrap();
    data.set_len(4 * n).unwrap();
    let mut g = graph(vec![], "", "w0");
    g.initializer = (0..4).map(|i| far(&format!("w{i}"), "w.bin", n as i64)).collect();
    fs::write(dir.path().join("m.onnx"), bytes(&model(g))).unwrap();
    let mut g = load(dir.path().join("m.onnx")).unwrap().graph;
    g.source = None;
    struct Nowhere;
    impl std::io::Write for Nowhere {
        fn write(&mut self, b: &[u8]) -> std::io::Result<usize> {
            Ok(b.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let e = export(&g, &mut Nowhere).unwrap_err();
    assert!(matches!(e, OnnxError::TooLarge(n) if n > 1 << 31), "{e}");
}

#[test]
fn large_tensors_spill_into_a_fresh_data_file() {
    use super::super::encode::{Place, Spill};
    use super::super::rope::Rope;
    // What `save` does above 2 GiB, on a small model.
    let m = add(floats("w", &[0.5; 1000]));
    let mut g = read(&m).unwrap().graph;
    g.edits = 1;
    let dir = tempfile::tempdir().unwrap();
    let spill = Spill { name: "o.onnx.data".into(), data: Rope::default() };
    let place = Place { dir: None, same: true, spill: Some(spill.into()) };
    let rope = super::super::export::model(&g, &place).unwrap();
    let mut out = fs::File::create(dir.path().join("o.onnx")).unwrap();
    rope.write(&mut out).unwrap();
    let mut out = fs::File::create(dir.path().join("o.onnx.data")).unwrap();
    place.spill.unwrap().into_inner().data.write(&mut out).unwrap();
    let again = load(dir.path().join("o.onnx")).unwrap().graph;
    assert!(matches!(weights(&again).data(), Data::External { .. }));
    assert_eq!(weights(&again), weights(&g));
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let dir = folder();
    let mut g = touched(&dir.path().join("m.onnx"));
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("o.onnx"), b"old").unwrap();
    // The data vanish between reading and writing.
    fs::remove_file(dir.path().join("w.bin")).unwrap();
    g.edits = 2;
    assert!(save(&g, other.path().join("o.onnx")).is_err());
    assert_eq!(fs::read(other.path().join("o.onnx")).unwrap(), b"old");
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    assert!(save(&g, other.path().join("no/o.onnx")).is_err());
}
