//! Calls of functions that the model defines.

use std::sync::Arc;

use crate::graph::{Function, Functions, Graph, Use};
use crate::op::{Attr, Attrs, Op, Subgraph};
use crate::op_context::{OpCtx, RuleError, fail};

/// The body of the function that the node calls, with the attributes of the call and without the operands
/// that are absent; `None` if it calls none.
pub(super) fn body(ctx: &OpCtx<'_>) -> Result<Option<Arc<Graph>>, RuleError> {
    let (Some(functions), Op::Other(o)) = (ctx.functions, ctx.op) else { return Ok(None) };
    let key = (o.domain.clone(), o.op_type.clone(), o.overload.clone());
    let Some(f) = functions.get(&key) else { return Ok(None) };
    let present = |i: usize| ctx.inputs.get(i).is_some_and(Option::is_some);
    bind(f, functions, &o.attrs, &present).map(Some)
}

fn bind(
    f: &Function,
    functions: &Arc<Functions>,
    attrs: &Attrs,
    present: &dyn Fn(usize) -> bool,
) -> Result<Arc<Graph>, RuleError> {
    let mut body = (*f.body).clone();
    let given = |name: &str| {
        let here = attrs.iter().find(|(n, _)| &**n == name).map(|(_, a)| a.clone());
        let default = || f.attrs.iter().find(|(n, _)| &**n == name).and_then(|(_, a)| a.clone());
        here.or_else(default)
    };
    resolve(&mut body, functions, &given)?;
    for (i, v) in f.body.inputs().iter().enumerate().filter(|(i, _)| !present(*i)) {
        let value = body.value(*v);
        if value.is_output() {
            fail!("the function passes on its input {:?}, which is absent", f.inputs[i]);
        }
        for Use { node, index } in value.uses().collect::<Vec<_>>() {
            let Some(slot) = body.node_mut(node).inputs.get_mut(index) else {
                fail!("a body in the function reads its input {:?}, which is absent", f.inputs[i]);
            };
            *slot = None;
        }
        body.inputs.retain(|w| w != v);
        body.remove_value(*v);
    }
    Ok(Arc::new(body))
}

/// Puts values in the place of references to the function's attributes.
fn resolve(
    graph: &mut Graph,
    functions: &Arc<Functions>,
    given: &dyn Fn(&str) -> Option<Attr>,
) -> Result<(), RuleError> {
    graph.functions = functions.clone();
    for id in graph.schedule().collect::<Vec<_>>() {
        let node = graph.node(id);
        let calls = graph.function(&node.op).is_some();
        let op = match &node.op {
            Op::Other(o) => {
                let mut o = o.clone();
                let mut attrs = Attrs::with_capacity(o.attrs.len());
                for (name, a) in std::mem::take(&mut o.attrs) {
                    match a {
                        // Where the call does not give it, the node does not have it.
                        Attr::Ref(from, _) => attrs.extend(given(&from).map(|a| (name, a))),
                        Attr::Graph(g) => {
                            let mut inner = (*g.0).clone();
                            resolve(&mut inner, functions, given)?;
                            attrs.push((name, Attr::Graph(Subgraph(Arc::new(inner)))));
                        }
                        a => attrs.push((name, a)),
                    }
                }
                if calls {
                    o.attrs = attrs;
                    (Op::Other(o), node.extra.clone())
                } else {
                    match Op::from_attrs(&o.domain, &o.op_type, attrs) {
                        Ok((op, extra)) => (op, [extra, node.extra.clone()].concat()),
                        Err(e) => fail!("{}: {e}", graph.label(id)),
                    }
                }
            }
            op if op.bodies().is_empty() => continue,
            op => {
                let mut op = op.clone();
                for body in op.bodies_mut() {
                    let mut inner = (**body).clone();
                    resolve(&mut inner, functions, given)?;
                    *body = Arc::new(inner);
                }
                (op, node.extra.clone())
            }
        };
        let node = graph.node_mut(id);
        (node.op, node.extra) = op;
    }
    Ok(())
}
