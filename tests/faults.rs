//! Finding faults: `bisect` names the wrong edit that a pass of ours plants, `reduce` shrinks models
//! for faults that a check or a wrong backend has, and reproducers run again.

use std::path::Path;
use std::sync::Arc;

use graph_opt_backends::compare::Compare;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::faults::bisect::{Bisect, Bisection, State};
use graph_opt_backends::faults::reduce::{Answer, ReduceError, Status, reduce};
use graph_opt_backends::faults::repro::{self, Case, Fault};
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_backends::{Backend, Executable, Folder, PrepareError, zoo};
use graph_opt_ir::edit::NewNode;
use graph_opt_ir::text::{parse, print};
use graph_opt_ir::verify::verify;
use graph_opt_ir::{Edit, EditError, Editor, Graph, NodeId, Ref, ValueId, keep, onnx, op};
use graph_opt_passes::{
    Assumed, Exactness, OptionInfo, Options, Pass, PassCtx, PassInfo, Pipeline,
};

use crate::support::load;

/// Replaces every node by an equal one, in one edit each; the edit `at` gives its negative.
#[derive(Debug)]
struct Renew(usize);

impl Pass for Renew {
    fn name(&self) -> &'static str {
        RENEW.name
    }

    fn options(&self) -> Options {
        let options = Options::default();
        if self.0 == 0 { options } else { options.with("at", self.0) }
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let nodes: Vec<NodeId> = cx.graph().schedule().collect();
        for (i, n) in nodes.into_iter().enumerate() {
            let edit = renewed(cx.graph(), n, i + 1 == self.0);
            cx.apply(&edit)?;
        }
        Ok(())
    }
}

fn renewed(graph: &Graph, n: NodeId, negative: bool) -> Edit {
    let node = graph.node(n);
    let mut edit = Edit::new(format!("renew {}", graph.label(n)));
    edit.nodes.push(NewNode {
        name: node.name.to_string(),
        op: node.op.clone(),
        extra: node.extra.clone(),
        inputs: node.inputs.iter().map(|v| v.map(Ref::Value)).collect(),
        outputs: node.outputs.len(),
        absent: Vec::new(),
        like: vec![n],
    });
    edit.removes.push(n);
    let mut result = Ref::New(0, 0);
    if negative {
        result = edit.node("wrong", op::Neg {}, vec![Some(result)], &[n]);
    }
    edit.replaces.push((node.outputs[0].unwrap(), result));
    edit
}

/// Faults of its own: `as=panic`, `as=edit`, and `as=weight`, which depends on a constant.
#[derive(Debug)]
struct Faulty(String);

impl Pass for Faulty {
    fn name(&self) -> &'static str {
        FAULTY.name
    }

    fn options(&self) -> Options {
        let options = Options::default();
        if self.0.is_empty() { options } else { options.with("as", &self.0) }
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let last = cx.graph().schedule().last().unwrap();
        let weight = || {
            let mut all = cx.graph().values().filter_map(|(_, v)| v.constant());
            all.any(|t| t.to_f32s().is_some_and(|v| v.first() == Some(&0.125)))
        };
        match self.0.as_str() {
            "panic" => panic!("planted at {}", cx.graph().label(last)),
            "weight" if weight() => panic!("planted, and a weight is 0.125"),
            "edit" => {
                let mut edit = Edit::new("faulty");
                edit.removes.push(last);
                cx.apply(&edit)
            }
            _ => Ok(()),
        }
    }
}

const fn option(name: &'static str) -> OptionInfo {
    OptionInfo { name, value: "…", help: "" }
}

static RENEW: PassInfo = PassInfo {
    name: "renew",
    summary: "",
    exactness: Exactness::BitExact,
    options: &[option("at")],
    make: |o: &Options| Ok(Box::new(Renew(o.count("at")?.unwrap_or(0) as usize))),
};

static FAULTY: PassInfo = PassInfo {
    name: "faulty",
    options: &[option("as")],
    make: |o: &Options| Ok(Box::new(Faulty(o.get("as").unwrap_or_default().into()))),
    ..RENEW
};

/// `faulty` without its faults.
static MENDED: PassInfo =
    PassInfo { make: |_: &Options| Ok(Box::new(Faulty("".into()))), ..FAULTY };

fn chain(nodes: usize, first: &str, line: impl Fn(usize, &str) -> String) -> Graph {
    let mut text = format!("graph @chain(%v0: {first}) -> (%v{nodes}) opset 13 {{\n");
    text.push_str("%k = const [1,2,3,4] : f32[4]\n%w = const random(1) : f32[1,1,3,3]\n");
    for i in 1..=nodes {
        text.push_str(&format!("%v{i} = {} : ? ; n{i}\n", line(i, &format!("%v{}", i - 1))));
    }
    parse(&(text + "}")).unwrap()
}

fn sums(nodes: usize) -> Graph {
    chain(
        nodes,
        "f32[4]",
        |i, v| if i % 2 == 0 { format!("Neg {v}") } else { format!("Add {v}, %k") },
    )
}

fn bisect(g: &Graph, pipeline: &str, every: bool) -> Bisection {
    let cpu = Cpu::default();
    let compare = Compare { backends: vec![&cpu], brief: true, ..Compare::default() };
    let pipeline = Pipeline::parse_with(pipeline, &[&RENEW, &FAULTY]).unwrap();
    let assumed = Assumed::default();
    Bisect { compare: &compare, evaluator: &Folder, assumed, every, progress: None }
        .run(&Arc::new(g.clone()), g, &pipeline)
        .unwrap()
}

#[test]
fn bisect_names_the_wrong_edit() {
    let g = sums(520);
    for at in [1, 2, 259, 260, 400, 519, 520] {
        let b = bisect(&g, &format!("renew{{at={at}}}"), false);
        assert_eq!(b.edits, 520);
        assert!(b.compared <= 12, "{}", b.compared);
        let c = b.culprit.unwrap();
        assert_eq!((c.number, c.equal_after, &*c.pass), (at, at - 1, "renew"));
        assert_eq!(c.origin, format!("renew n{at}"));
        assert_eq!((c.added.len(), c.removed), (2, vec![format!("n{at}")]));
        assert!(c.before.is_equal(), "{}", c.before);
        let State::Differs(by, place) = c.after else { panic!("{}", c.after) };
        assert_eq!(
            (&*by, &*place.value, &place.element[..]),
            ("finite field", &*format!("v{at}"), &[0][..])
        );
    }
    let b = bisect(&g, "renew", false);
    assert!(b.culprit.is_none() && b.end.is_equal() && b.compared == 1);
    assert!(bisect(&g, "", false).culprit.is_none());
}

/// One wrong edit among those of real passes.
#[test]
fn bisect_among_real_passes() {
    let g = chain(100, "f32[1,1,8,8]", |_, v| format!("Conv {v}, %w {{pads=[1,1,1,1]}}"));
    let b = bisect(&g, "tile-conv{axis=h parts=2},renew{at=317},tile-conv{axis=w parts=2}", false);
    assert_eq!(b.edits, 100 + 500 + 200);
    let c = b.culprit.unwrap();
    assert_eq!((c.number, c.equal_after, &*c.pass), (417, 416, "renew"));
    assert!(c.added[1].contains("Neg"), "{:?}", c.added);
}

#[test]
fn faults_that_are_undone_show_edit_by_edit() {
    let g = sums(20);
    let pipeline = "renew{at=5},renew{at=6}";
    assert!(bisect(&g, pipeline, false).culprit.is_none());
    let b = bisect(&g, pipeline, true);
    assert_eq!(b.culprit.map(|c| (c.number, c.equal_after)), Some((5, 4)));
}

#[test]
fn bisect_of_a_pipeline_that_breaks_off() {
    let g = sums(8);
    for (fault, what) in [("edit", "would lose its definition"), ("panic", "planted at n8")] {
        let b = bisect(&g, &format!("renew{{at=3}},faulty{{as={fault}}}"), false);
        assert!(b.broke_off.unwrap().contains(what));
        assert_eq!(b.culprit.unwrap().number, 3);
        let b = bisect(&g, &format!("renew,faulty{{as={fault}}}"), false);
        assert!(b.broke_off.is_some() && b.culprit.is_none() && b.end.is_equal());
    }
}

/// The interpreter with one operator wrong: depthwise convolutions of stride 2.
struct Wrong(Cpu);

impl Backend for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }

    fn prepare(&self, graph: Arc<Graph>) -> Result<Box<dyn Executable>, PrepareError> {
        let mut out = (*graph).clone();
        for n in graph.schedule() {
            if let op::Op::Conv(c) = &graph.node(n).op
                && c.group > 1
                && c.strides.as_deref() == Some(&[2, 2])
            {
                Editor::new(&mut out).apply(&renewed(&graph, n, true)).unwrap();
            }
        }
        self.0.prepare(Arc::new(out))
    }
}

#[test]
fn reduce_finds_the_operator_that_a_backend_has_wrong() {
    let g = zoo::build("mobilenetv2@32x32").unwrap();
    assert!(g.len() >= 100, "{}", g.len());
    let (right, wrong) = (Cpu::default(), Wrong(Cpu::default()));
    let mut check = |g: &Graph, _: &Status| {
        let g = Arc::new(g.clone());
        let Ok(inputs) = draw(&g, &Extents::default(), 1) else { return Answer::Neither };
        let run = |b: &dyn Backend| b.prepare(g.clone()).ok()?.run(&inputs, g.outputs()).ok();
        match (run(&right), run(&wrong)) {
            (Some(a), Some(b)) if a == b => Answer::Works,
            (Some(_), Some(_)) => Answer::Fails,
            _ => Answer::Neither,
        }
    };
    let r = reduce(&g, 500, true, &mut check).unwrap();
    println!("{} nodes to {} in {} tries", g.len(), r.smallest.len(), r.tries);
    assert!(r.finished);
    assert_eq!(r.smallest.len(), 1, "{}", print(&r.smallest));
    assert!(print(&r.smallest).contains("strides=[2,2]"), "{}", print(&r.smallest));
    assert_eq!(verify(&r.smallest), Ok(()));
    // All but the four such convolutions.
    let works = r.works.unwrap();
    assert_eq!(works.len(), g.len() - 4);
    assert_eq!(check(&works, &Status { tries: 0, nodes: 0 }), Answer::Works);
}

fn names(g: &Graph) -> Vec<String> {
    g.schedule().map(|n| g.node(n).op.name().to_owned()).collect()
}

/// A fault of two operators, of which one must reach the other.
#[test]
fn reduce_leaves_out_what_lies_between() {
    let g = chain(120, "f32[4]", |i, v| match i {
        30 => format!("Sigmoid {v}"),
        90 => format!("Tanh {v}"),
        _ if i % 2 == 0 => format!("Neg {v}"),
        _ => format!("Add {v}, %k"),
    });
    let reaches = |g: &Graph, from: &str, to: &str| {
        let mut reached: Vec<ValueId> = Vec::new();
        g.schedule().any(|id| {
            let n = g.node(id);
            let hit = n.op.name() == from || n.inputs.iter().flatten().any(|v| reached.contains(v));
            if hit {
                reached.extend(n.outputs.iter().flatten());
            }
            hit && n.op.name() == to
        })
    };
    let mut check = |g: &Graph, _: &Status| match reaches(g, "Sigmoid", "Tanh") {
        true => Answer::Fails,
        false => Answer::Works,
    };
    let r = reduce(&g, 1000, true, &mut check).unwrap();
    println!("{} nodes to {} in {} tries", g.len(), r.smallest.len(), r.tries);
    assert_eq!(names(&r.smallest), ["Sigmoid", "Tanh"]);
    assert_eq!(r.works.unwrap().len(), 119);
    // Within a bound, what was found by then.
    let r = reduce(&g, 5, true, &mut check).unwrap();
    assert!(!r.finished && r.tries == 5 && r.smallest.len() < 120);
    let mut works = |_: &Graph, _: &Status| Answer::Works;
    assert_eq!(reduce(&g, 9, true, &mut works).err(), Some(ReduceError::Works));
    let mut never = |_: &Graph, _: &Status| Answer::Neither;
    assert_eq!(reduce(&g, 9, true, &mut never).err(), Some(ReduceError::Neither));
}

/// What bodies capture stays there for them, in the file too.
#[test]
fn reduce_keeps_what_bodies_capture() {
    let g = parse(
        "graph @g(%c: bool[], %x: f32[4], %z: f32[4]) -> (%y, %u) opset 13 {
           %a = Relu %x   : ? ; a
           %b = Neg %z    : ? ; b
           %u = Add %a, %b : ? ; u
           %y = If %c {then_branch=graph @t() -> (%s) {
             %p = Tanh %a : ? ; in
             %s = Mul %p, %b : ?
           }, else_branch=graph @e() -> (%t) {
             %t = Neg %b : ?
           }} : f32[4] ; if
         }",
    )
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.onnx");
    let mut check = |g: &Graph, _: &Status| {
        onnx::save(g, &file).unwrap();
        let g = load(&file);
        assert_eq!(verify(&g), Ok(()));
        match g.any_node(&mut |g, n| g.node(n).op.name() == "Tanh") {
            true => Answer::Fails,
            false => Answer::Works,
        }
    };
    let r = reduce(&g, 100, true, &mut check).unwrap();
    assert_eq!(names(&r.smallest), ["If"]);
    let inputs: Vec<&str> =
        r.smallest.inputs().iter().map(|&v| &*r.smallest.value(v).name).collect();
    assert_eq!(inputs, ["a", "b", "c"]);
    assert_eq!(r.works.unwrap().len(), 3);
}

fn case(pipeline: &str) -> Case {
    let pipeline = Pipeline::parse_with(pipeline, &[&RENEW, &FAULTY]).unwrap();
    Case {
        pipeline,
        seed: 3,
        verify_each: true,
        stop_after: None,
        verify: true,
        assumed: Assumed::default(),
    }
}

fn small() -> Graph {
    parse(
        "graph @g(%x: f32[1,3,8,8]) -> (%y) opset 13 {
           %w = const random(1)              : f32[8,3,3,3]
           %s = const [1,2,4,1,1,1,1,1,1,64] : i64[10]
           %a = Conv %x, %w {pads=[1,1,1,1]} : ? ; conv
           %y = Reshape %a, %s               : ? ; reshape
         }",
    )
    .unwrap()
}

fn save(g: &Graph, path: &Path) -> Result<(), String> {
    onnx::save(g, path).map_err(|e| e.to_string())
}

fn files(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    all.sort();
    all
}

#[test]
fn reproducers_run_again() {
    let load = |p: &Path| Ok(load(p));
    for (fault, what, count) in [
        ("panic", "panic: planted at reshape", 1),
        (
            "edit",
            "faulty: faulty: \"y\" would lose its definition; replace it, or keep the node that computes it",
            1,
        ),
        // Where the weights matter, the model lies beside.
        ("weight", "panic: planted, and a weight is 0.125", 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let case = case(&format!("renew,faulty{{as={fault}}}"));
        let mut g = small();
        if fault == "weight" {
            let w: Vec<f32> = (0..216).map(|i| 0.125 + i as f32).collect();
            let text = print(&g);
            let at = text.find('#').unwrap();
            let w: Vec<String> = w.iter().map(ToString::to_string).collect();
            let text = text.replace(&text[at..at + 33], &format!("[{}]", w.join(",")));
            let shape = text.find('#').unwrap();
            g = parse(&text.replace(&text[shape..shape + 33], "[1,2,4,1,1,1,1,1,1,64]")).unwrap();
        }
        let error: Fault = case.run(&g).unwrap_err();
        assert_eq!(error.to_string(), what);
        let path = repro::write(&case, &g, &error, dir.path(), &save).unwrap();
        assert_eq!(files(dir.path()).len(), count, "{:?}", files(dir.path()));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("// pipeline: renew,faulty{{as={fault}}}\n")), "{text}");
        assert!(text.contains("// seed: 3\n"), "{text}");
        let r = repro::read(&path, &[&RENEW, &FAULTY], &load).unwrap();
        assert_eq!(r.run().map(|(e, same)| (e.to_string(), same)), Some((what.into(), true)));
        let r = repro::read(&path, &[&RENEW, &MENDED], &load).unwrap();
        assert!(r.run().is_none());
        // A pass that nobody has is a mistake that is told.
        let e = repro::read(&path, &[], &load).unwrap_err();
        assert!(e.contains("no pass is named \"renew\""), "{e}");
        std::fs::write(&path, text.replace("// error: ", "// error: not ")).unwrap();
        let r = repro::read(&path, &[&RENEW, &FAULTY], &load).unwrap();
        assert_eq!(r.run().map(|(e, same)| (e.to_string(), same)), Some((what.into(), false)));
    }
}

/// Parts of real models are models: sound, and the same when they are written and read.
#[test]
fn parts_of_real_models_are_written_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("part.onnx");
    let mut count = 0;
    for path in crate::models::paths() {
        if std::fs::metadata(&path).unwrap().len() > 4 << 20 {
            continue;
        }
        let g = load(&path);
        let nodes: Vec<NodeId> = g.schedule().collect();
        let third: Vec<NodeId> = nodes.iter().copied().step_by(3).collect();
        let half = nodes.len() / 2;
        for part in [&nodes[..half], &nodes[half..], &third] {
            let Ok(part) = keep(&g, part) else { continue };
            assert_eq!(verify(&part), Ok(()), "{}", path.display());
            onnx::save(&part, &file).unwrap();
            let read = load(&file);
            assert_eq!(read.len(), part.len(), "{}", path.display());
            let inputs = |g: &Graph| g.inputs().len();
            assert_eq!(inputs(&read), inputs(&part), "{}", path.display());
            assert_eq!(read.outputs().len(), part.outputs().len(), "{}", path.display());
            count += 1;
        }
    }
    println!("{count} parts");
    crate::models::at_least(201, count, "parts of models");
}
