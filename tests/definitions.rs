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
    for name in ["50_function_no_inference", "74_function_attr_default"] {
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
