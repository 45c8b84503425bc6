//! What every pipeline ends with: operators that runtimes read differently get a spelling that all
//! read alike, so that a rewritten file means what the passes took it to mean.

use graph_opt_ir::edit::NewNode;
use graph_opt_ir::op_context::OpCtx;
use graph_opt_ir::{Edit, EditError, NodeId, Ref, region};

use crate::pass::{Exactness, Outcome, Pass, PassCtx};

/// It is part of every pipeline, so the registry has no entry of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settle;

impl Pass for Settle {
    fn name(&self) -> &'static str {
        "settle"
    }

    fn exactness(&self) -> Exactness {
        Exactness::BitExact
    }

    fn run(&self, cx: &mut PassCtx<'_, '_>) -> Result<(), EditError> {
        let nodes: Vec<NodeId> = cx.graph().schedule().collect();
        for id in nodes {
            let graph = cx.graph();
            let Some((op, why)) = region::settled(&OpCtx::of(graph, id)) else { continue };
            let node = graph.node(id);
            let label = graph.label(id).to_owned();
            let mut edit = Edit::new(format!("settle {label}"));
            edit.nodes.push(NewNode {
                name: node.name.to_string(),
                op,
                extra: node.extra.clone(),
                inputs: node.inputs.iter().map(|v| v.map(Ref::Value)).collect(),
                outputs: node.outputs.len(),
                absent: Vec::new(),
                like: vec![id],
            });
            let results = node.outputs.iter().enumerate();
            edit.replaces = results.filter_map(|(o, v)| Some(((*v)?, Ref::New(0, o)))).collect();
            edit.removes.push(id);
            cx.apply(&edit)?;
            let what = format!("padding spelled out, as runtimes differ in {why}");
            cx.remark_on(&label, Outcome::Applied, what);
            if cx.is_done() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use graph_opt_ir::op_context::OpCtx;
    use graph_opt_ir::{Graph, region, text};

    use crate::{Pipeline, Runner};

    fn graph(more: &str) -> Graph {
        text::parse(&format!(
            "graph @g(%x: f32[1,1,10,10]) -> (%y, %z) opset 18 {{
               %y, %i = MaxPool %x {{ceil_mode=1, kernel_shape=[1,1], strides=[2,2]}} : ?, ?
               %z = Neg %x : ?
               {more}
             }}"
        ))
        .unwrap()
    }

    #[test]
    fn only_what_was_rewritten_is_settled() {
        // Dead code, for the pass to have something to do.
        for (more, edited) in [("", false), ("%d = Exp %z : ?", true)] {
            let mut g = graph(more);
            let report = Runner::default().run(&mut g, &Pipeline::parse("simplify").unwrap());
            let said = report.unwrap().remarks.into_iter().filter(|r| r.pass == "settle").count();
            let open = g.schedule().any(|n| region::settled(&OpCtx::of(&g, n)).is_some());
            assert_eq!((g.edits() > 0, said, open), (edited, usize::from(edited), !edited));
            let pool = g.schedule().map(|n| g.node(n)).find(|n| n.op.name() == "MaxPool").unwrap();
            assert_eq!(pool.outputs.iter().flatten().count(), 2);
        }
    }
}
