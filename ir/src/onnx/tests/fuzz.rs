//! Damaged files: refused or read, never a panic.

use proptest::prelude::*;

use super::super::export;
use super::*;

/// A small model that has something of everything.
fn seed() -> Vec<u8> {
    let then = graph(vec![node("Relu", "h", "r")], "", "r");
    let other = graph(vec![node("Neg", "x", "q")], "", "q");
    let mut value = attr("value", attribute_proto::AttributeType::TENSOR);
    value.t = Some(floats("", &[1.0, 2.0])).into();
    let mut g = graph(
        vec![
            with(node("Constant", "", "k"), value),
            with(node("Softmax", "h", "s"), int("axis", 1)),
            node("Add", "x w", "h"),
            with(
                with(node("If", "c", "y"), branch("then_branch", then)),
                branch("else_branch", other),
            ),
        ],
        "x c",
        "y s",
    );
    g.initializer.push(floats("w", &[1.0, 2.0]));
    g.value_info.push(super::value("h"));
    let mut m = model(g);
    m.metadata_props.push(entry("key", "value"));
    m.functions.push(onnx_protobuf::FunctionProto {
        name: "f".into(),
        domain: "d".into(),
        input: strings("a"),
        output: strings("b"),
        node: vec![node("Relu", "a", "b")],
        ..Default::default()
    });
    bytes(&m)
}

/// Reads; what can be read can be written, whole and node by node.
fn survives(b: Vec<u8>) {
    let Ok(i) = import(b, None) else { return };
    let mut g = i.graph;
    export(&g, &mut Vec::new()).unwrap();
    g.edits = 1;
    let ids: Vec<_> = g.schedule().collect();
    for id in ids {
        g.node_mut(id).meta.verbatim = None;
    }
    let mut out = Vec::new();
    export(&g, &mut out).unwrap();
    import(out, None).unwrap();
}

#[test]
fn every_single_byte_may_be_anything() {
    let good = seed();
    import(good.clone(), None).unwrap();
    for at in 0..good.len() {
        for v in
            [0, 1, 0x0a, 0x7f, 0x80, 0xff, good[at] ^ 1, good[at] ^ 8, good[at].wrapping_add(1)]
        {
            let mut b = good.clone();
            b[at] = v;
            survives(b);
        }
    }
}

#[test]
fn every_prefix_is_refused_or_read() {
    let good = seed();
    for n in 0..good.len() {
        survives(good[..n].to_vec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn several_changes_at_once(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..8),
    ) {
        let mut b = seed();
        for (at, v, what) in edits {
            let i = at.index(b.len());
            match what {
                0 => b[i] = v,
                1 => b.insert(i, v),
                _ => drop(b.remove(i)),
            }
        }
        survives(b);
    }

    #[test]
    fn noise(b in proptest::collection::vec(any::<u8>(), 0..2000)) {
        survives(b);
    }
}
