//! Functions of models, and operators that are said as graphs of others: what follows from definitions.
//!
//! The models are those of `../shared/faults`, on which version 0.1.0 stopped.

use std::sync::Arc;

use graph_opt_backends::Executable;
use graph_opt_backends::compare::Summary;
use graph_opt_backends::cpu::Cpu;
use graph_opt_backends::inputs::{Extents, draw};
use graph_opt_ir::{Graph, Op};
use graph_opt_passes::eqsat::prove::prove;

use crate::support::{load, optimise, shared};

fn fault(name: &str) -> Option<Graph> {
    Some(load(&shared("faults")?.join(format!("{name}.onnx"))))
}

/// Rewrites the model, which must change and be equal.
fn rewritten(name: &str, pipeline: &str) -> Option<Graph> {
    let g = fault(name)?;
    let (t, remarks) = optimise(&g, pipeline);
    assert!(t.edits() > 0, "{name}: {remarks:?}");
    let report = crate::support::compare(&g, &t);
    let equal = report.outputs.iter().all(|o| o.summary.is_equal());
    assert!(equal && !report.differs(), "{name}: {report:?}");
    Some(t)
}

#[test]
fn convolutions_beside_functions_are_tiled() {
    for name in ["50_function_no_inference", "52_function_in_branch"] {
        if rewritten(name, "tile-conv{axis=h parts=2}").is_none() {
            return;
        }
    }
}

#[test]
fn functions_become_nodes() {
    let name = "50_function_no_inference";
    let Some(t) = rewritten(name, "inline-functions") else { return };
    let calls = t.schedule().filter(|&n| t.function(&t.node(n).op).is_some()).count();
    assert_eq!(calls, 0, "{name}");
    let g = fault(name).unwrap();
    assert!(prove(&g, &t).is_ok(), "{name}");
    let run = |g: &Graph| {
        let g = Arc::new(g.clone());
        let inputs = draw(&g, &Extents::default(), 3).unwrap();
        Cpu::default().prepared(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap()
    };
    assert_eq!(run(&g), run(&t), "{name}");
}

/// A function with a default for its attribute, an If in it, and a call without the attribute.
#[test]
fn functions_run_with_their_attributes() {
    let Some(g) = fault("74_function_attr_default") else { return };
    let g = Arc::new(g);
    let inputs = draw(&g, &Extents::default(), 3).unwrap();
    let out = Cpu::default().prepared(g.clone()).unwrap().run(&inputs, g.outputs()).unwrap();
    assert!(out[0].to_f32s().unwrap().iter().all(|x| x.is_finite()), "{out:?}");
    // The If reads values of the function by their names, so that the function stays.
    let (t, remarks) = optimise(&g, "inline-functions");
    assert_eq!(t.edits(), 0);
    assert!(remarks.iter().any(|r| r.message.contains("has a body")), "{remarks:?}");
}

/// Extents that follow from a constant which a body captures, and from the count of a Loop.
#[test]
fn bodies_know_captured_constants_and_loops_their_turns() {
    let Some(_) = rewritten("53_captured_constant_shape", "tile-conv{axis=h parts=2}") else {
        return;
    };
    let g = fault("55_loop_constant_trip_plan").unwrap();
    for &v in g.outputs() {
        assert!(g.value(v).ty.extents().is_some(), "{}", g.value(v).ty);
    }
}

#[test]
fn a_constant_condition_leaves_one_branch() {
    let Some(t) = rewritten("60_if_constant_condition", "simplify") else { return };
    assert!(t.schedule().all(|n| !matches!(t.node(n).op, Op::If(_))));
}

/// Functions whose bodies differ are not equal, whatever the calls look like.
#[test]
fn functions_that_differ_are_told_apart() {
    for name in ["01_function_body", "03_function_opset", "1b_function_proved"] {
        let (Some(a), Some(b)) = (fault(&format!("{name}_a")), fault(&format!("{name}_b"))) else {
            return;
        };
        assert!(prove(&a, &b).is_err(), "{name}");
        let report = crate::support::compare(&a, &b);
        assert!(
            report.outputs.iter().any(|o| matches!(o.summary, Summary::Differs(_))),
            "{name}: {report:?}"
        );
    }
}
