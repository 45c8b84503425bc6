//! The normal form of terms: windows are spelled out, Reshape, Flatten, Squeeze and Unsqueeze are one
//! operator with its extents, moved constants are constants, a Slice is the span that it takes along each axis, and operators that
//! change nothing are dropped. Each of these is a rule of the table in `README.md`, and the soundness
//! loop draws them like the others.

use std::sync::Arc;

use graph_opt_ir::op::{Attrs, Op};
use graph_opt_ir::region::{self, Region};
use graph_opt_ir::{Dim, Span, Tensor, Type, infer, layout_params, op, structural_eq};

use super::{Apply, Head, TermId, Terms, constants};
use crate::simplify::identity::unchanged;

impl Terms {
    /// A result of an operator in normal form: the result at position `output` of `outputs`. Its type is
    /// inferred, or `declared` if the types of the operands do not determine it.
    pub fn apply(
        &mut self,
        op: &Op,
        opset: i64,
        inputs: &[Option<TermId>],
        (output, outputs): (usize, usize),
        declared: &Type,
    ) -> Option<TermId> {
        let last = inputs.iter().rposition(Option::is_some).map_or(0, |i| i + 1);
        let inputs = &inputs[..last];
        let ctx = self.ctx(op, opset, inputs, outputs);
        let inferred = infer::infer(&ctx)
            .ok()
            .and_then(|mut all| (output < all.len()).then(|| all.swap_remove(output)));
        let ty = match inferred {
            Some(t) if t.extents().is_some() => t,
            _ if declared.extents().is_some() => declared.clone(),
            Some(t) => t.meet(declared).unwrap_or(t),
            None => declared.clone(),
        };
        if let Some(t) = self.simpler(op, opset, inputs, (output, outputs), &ty) {
            return Some(t);
        }
        let ctx = self.ctx(op, opset, inputs, outputs);
        let apply = Apply {
            meaning: structural_eq::modelled(&ctx, &Attrs::new()),
            op: Arc::new(region::normal_form(&ctx)),
            modelled: true,
            opset,
            output,
            outputs,
            present: inputs.iter().map(Option::is_some).collect(),
        };
        Some(self.add(Head::Apply(apply), inputs.iter().flatten().copied().collect(), ty))
    }

    /// The normal form of operators that change nothing, take a part, or move data; `None` for others.
    fn simpler(
        &mut self,
        op: &Op,
        opset: i64,
        inputs: &[Option<TermId>],
        (output, outputs): (usize, usize),
        ty: &Type,
    ) -> Option<TermId> {
        let x = inputs.first().copied().flatten()?;
        let ctx = self.ctx(op, opset, inputs, outputs);
        if let Some(t) = constants::constant(&ctx, ty) {
            return Some(self.constant(&Arc::new(t)));
        }
        if let Some(i) = unchanged(&ctx, ty).filter(|_| output == 0) {
            return inputs.get(i).copied().flatten();
        }
        match op {
            _ if ctx.is_identity(output) => Some(x),
            Op::Slice(_) => {
                let taken = layout_params::slices(&ctx).ok()??;
                let cut: Vec<i64> =
                    layout_params::slice_bounds(&ctx).ok()??.into_iter().map(|b| b.0).collect();
                let span = |(axis, t): (usize, &Option<layout_params::Taken>)| match t {
                    Some(t) => (t.step == 1).then(|| Some(Span::new(t.start, t.start + t.count))),
                    // An axis that is not cut may be symbolic.
                    None => (!cut.contains(&(axis as i64))).then_some(None),
                };
                let region: Region = taken.iter().enumerate().map(span).collect::<Option<_>>()?;
                self.slice(x, region)
            }
            Op::Split(_) => {
                let (axis, sizes) = layout_params::split_sizes(&ctx).ok()??;
                let lo: i64 = sizes[..output].iter().sum();
                let mut region = vec![None; self.ty(x).rank()?];
                region[axis] = Some(Span::new(lo, lo + sizes[output]));
                self.slice(x, region)
            }
            Op::Concat(c) => {
                let rank = ty.rank()? as i64;
                if c.axis >= 0 {
                    return None;
                }
                let op = op::Concat { axis: c.axis + rank };
                self.apply(&op.into(), opset, inputs, (0, 1), ty)
            }
            Op::Reshape(_) | Op::Flatten(_) | Op::Squeeze(_) | Op::Unsqueeze(_) => {
                self.reshaped(x, opset, ty)
            }
            Op::Transpose(_) => {
                let rank = self.ty(x).rank()?;
                let mut perm = layout_params::permutation(&ctx, rank).ok()?;
                let Head::Apply(Apply { op: inner, .. }) = &self.get(x).head else { return None };
                let Op::Transpose(_) = &**inner else { return None };
                let below = self.ctx_of(x)?;
                let first = layout_params::permutation(&below, rank).ok()?;
                perm.iter_mut().for_each(|p| *p = first[*p]);
                let base = self.get(x).children[0];
                let perm = Some(perm.iter().map(|&p| p as i64).collect());
                self.apply(&op::Transpose { perm }.into(), opset, &[Some(base)], (0, 1), ty)
            }
            _ => None,
        }
    }

    /// A Reshape to the extents of this type, over what a Reshape below reads.
    fn reshaped(&mut self, x: TermId, opset: i64, ty: &Type) -> Option<TermId> {
        let want = ty.dims().filter(|d| !d.contains(&Dim::Unknown))?.to_vec();
        let mut base = x;
        if let Head::Apply(a) = &self.get(x).head
            && let Op::Reshape(_) = &*a.op
        {
            base = self.get(x).children[0];
        }
        if self.ty(base).dims() == Some(&want) {
            return Some(base);
        }
        let known: Option<Vec<i64>> = want.iter().map(|d| Some(d.known()? as i64)).collect();
        let shape = match known {
            Some(shape) => self.constant(&Arc::new(Tensor::i64s(&shape))),
            None => self.extents(want),
        };
        let op: Op = op::Reshape { allowzero: 0 }.into();
        // Terms have the form with a shape operand, whichever version the file has.
        let opset = opset.max(7);
        let ctx = self.ctx(&op, opset, &[Some(base), Some(shape)], 1);
        let apply = Apply {
            meaning: structural_eq::modelled(&ctx, &Attrs::new()),
            op: Arc::new(op),
            modelled: true,
            opset,
            output: 0,
            outputs: 1,
            present: vec![true; 2],
        };
        Some(self.add(Head::Apply(apply), vec![base, shape], ty.clone()))
    }
}
