//! Parts of values: `Slice` nodes, and constants that are cut and joined.

use std::sync::Arc;

use graph_opt_ir::region::Barrier;
use graph_opt_ir::tensor::{Bytes, TensorError};
use graph_opt_ir::{Edit, Graph, NodeId, Ref, Span, Tensor, ValueId, op};

/// A `Slice` in the form of the graph's opset; the operand itself where nothing is cut.
pub fn slice(
    edit: &mut Edit,
    graph: &Graph,
    x: Ref,
    cuts: &[(usize, Span)],
    name: &str,
    like: NodeId,
) -> Ref {
    if cuts.is_empty() {
        return x;
    }
    let axes: Vec<i64> = cuts.iter().map(|c| c.0 as i64).collect();
    let starts: Vec<i64> = cuts.iter().map(|c| c.1.lo).collect();
    let ends: Vec<i64> = cuts.iter().map(|c| c.1.hi).collect();
    if graph.opset() < 10 {
        let op = op::Slice { starts: Some(starts), ends: Some(ends), axes: Some(axes) };
        return edit.node(name, op, vec![Some(x)], &[like]);
    }
    let mut inputs = vec![Some(x)];
    for (what, v) in [("starts", starts), ("ends", ends), ("axes", axes)] {
        inputs.push(Some(edit.constant(&format!("{name}/{what}"), Tensor::i64s(&v))));
    }
    edit.node(name, op::Slice { starts: None, ends: None, axes: None }, inputs, &[like])
}

/// A part of a value of the graph. With `cut`, a constant is cut into an initializer; anything else
/// is read by a `Slice`. `tile` is the name of the tile that reads it.
///
/// # Errors
/// If the constant cannot be cut: see [`slice_tensor`].
pub fn part(
    edit: &mut Edit,
    graph: &Graph,
    v: ValueId,
    cuts: &[(usize, Span)],
    cut: bool,
    tile: &str,
    like: NodeId,
) -> Result<Ref, Barrier> {
    let value = graph.value(v);
    Ok(match value.constant() {
        Some(t) if cut => {
            let piece = slice_tensor(t, cuts)?;
            let suffix = tile.rsplit('/').next().unwrap_or(tile);
            edit.part(format!("{}/{suffix}", value.name), piece, v)
        }
        _ => slice(edit, graph, Ref::Value(v), cuts, &format!("{tile}/slice"), like),
    })
}

/// Bytes of one element of a constant.
///
/// # Errors
/// If elements are not whole bytes: strings, and types of 4 bits.
pub(crate) fn element_bytes(t: &Tensor) -> Result<usize, Barrier> {
    match t.dtype().bits() {
        bits if bits > 0 && bits.is_multiple_of(8) => Ok(bits / 8),
        _ => Err(Barrier(format!("a constant of {} cannot be cut or joined", t.dtype()))),
    }
}

fn barrier(e: TensorError) -> Barrier {
    Barrier(e.to_string())
}

/// The elements of a constant within these spans, an axis each.
///
/// # Errors
/// If a span lies outside of its axis, if elements are not whole bytes, or if they cannot be read.
pub(crate) fn slice_tensor(t: &Tensor, cuts: &[(usize, Span)]) -> Result<Tensor, Barrier> {
    let (size, dims) = (element_bytes(t)?, t.dims());
    let mut out_dims = dims.to_vec();
    let mut starts = vec![0u64; dims.len()];
    for (a, s) in cuts {
        if !Span::whole(dims[*a] as i64).contains(*s) {
            let why = format!("{s} lies outside of axis {a}, of extent {}", dims[*a]);
            return Err(Barrier(why));
        }
        starts[*a] = s.lo as u64;
        out_dims[*a] = s.len() as u64;
    }
    // Runs of whole inner axes are copied at once.
    let inner = (0..dims.len()).rev().take_while(|&a| out_dims[a] == dims[a]).count();
    let split = dims.len().saturating_sub(inner + 1);
    let stride: u64 = dims[split + 1..].iter().product();
    let run = (out_dims[split] * stride) as usize * size;
    let rows: u64 = out_dims[..split].iter().product();
    let start = |row: u64| {
        let (mut rest, mut at) = (row, 0u64);
        let mut scale: u64 = dims[split..].iter().product();
        for a in (0..split).rev() {
            at += (rest % out_dims[a] + starts[a]) * scale;
            rest /= out_dims[a];
            scale *= dims[a];
        }
        at + starts[split] * stride
    };
    if rows == 1 {
        // One stretch of the elements, of which there is no copy.
        return t.part(start(0), out_dims.clone()).map_err(barrier);
    }
    let starts = (0..rows).map(|row| start(row) * size as u64);
    let out = t.runs(starts, run).map_err(barrier)?;
    Tensor::from_bytes(t.dtype(), out_dims, out).map_err(barrier)
}

/// The elements of a constant at these indices along an axis, in their order.
///
/// # Errors
/// If an index lies outside of the axis, if elements are not whole bytes, or if they cannot be read.
pub(crate) fn gather_tensor(t: &Tensor, axis: usize, at: &[usize]) -> Result<Tensor, Barrier> {
    let (size, dims) = (element_bytes(t)?, t.dims());
    let Some(&n) = dims.get(axis) else {
        return Err(Barrier(format!("axis {axis} of {} does not exist", t.ty())));
    };
    if let Some(i) = at.iter().find(|&&i| i as u64 >= n) {
        return Err(Barrier(format!("index {i} lies outside of axis {axis}, of extent {n}")));
    }
    let src = t.bytes().map_err(barrier)?;
    let inner = dims[axis + 1..].iter().product::<u64>() as usize * size;
    let rows = dims[..axis].iter().product::<u64>() as usize;
    let mut out = Vec::with_capacity(rows * at.len() * inner);
    for row in 0..rows {
        for &i in at {
            let from = (row * n as usize + i) * inner;
            out.extend_from_slice(&src[from..from + inner]);
        }
    }
    let mut out_dims = dims.to_vec();
    out_dims[axis] = at.len() as u64;
    Tensor::from_bytes(t.dtype(), out_dims, out).map_err(barrier)
}

/// Constants joined along an axis, in order.
///
/// # Errors
/// If types or the extents of other axes differ, if elements are not whole bytes, or if they cannot be
/// read.
pub(crate) fn join_tensors(parts: &[Arc<Tensor>], axis: usize) -> Result<Tensor, Barrier> {
    let Some(first) = parts.first().filter(|p| axis < p.dims().len()) else {
        return Err(Barrier(format!("no constants to join along axis {axis}")));
    };
    let size = element_bytes(first)?;
    let mut dims = first.dims().to_vec();
    dims[axis] = 0;
    for p in parts {
        let alike = p.dtype() == first.dtype()
            && p.dims().len() == dims.len()
            && (0..dims.len()).all(|a| a == axis || p.dims()[a] == dims[a]);
        if !alike {
            let (a, b) = (first.ty(), p.ty());
            return Err(Barrier(format!("cannot join {a} and {b} along axis {axis}")));
        }
        dims[axis] += p.dims()[axis];
    }
    let rows: u64 = dims[..axis].iter().product();
    let inner: u64 = dims[axis + 1..].iter().product();
    let bytes: Vec<Bytes> =
        parts.iter().map(|p| p.bytes()).collect::<Result<_, _>>().map_err(barrier)?;
    let mut out = Vec::new();
    for row in 0..rows as usize {
        for (p, b) in parts.iter().zip(&bytes) {
            let run = (p.dims()[axis] * inner) as usize * size;
            out.extend_from_slice(&b[row * run..(row + 1) * run]);
        }
    }
    Tensor::from_bytes(first.dtype(), dims, out).map_err(barrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_cut_along_any_axes() {
        let t = Tensor::i64s(&(0..24).collect::<Vec<_>>()).reshaped(vec![2, 3, 4]).unwrap();
        let cut = |c: &[(usize, Span)]| slice_tensor(&t, c).unwrap().to_i64s().unwrap();
        assert_eq!(cut(&[(0, Span::new(1, 2))]), (12..24).collect::<Vec<_>>());
        assert_eq!(cut(&[(1, Span::new(1, 2))]), [4, 5, 6, 7, 16, 17, 18, 19]);
        assert_eq!(cut(&[(0, Span::new(0, 1)), (2, Span::new(3, 4))]), [3, 7, 11]);
        assert!(slice_tensor(&t, &[(1, Span::new(2, 4))]).is_err());
    }

    #[test]
    fn joined_parts_are_the_whole() {
        let t = Tensor::i64s(&(0..24).collect::<Vec<_>>()).reshaped(vec![2, 3, 4]).unwrap();
        for axis in 0..3 {
            let part = |lo, hi| Arc::new(slice_tensor(&t, &[(axis, Span::new(lo, hi))]).unwrap());
            let parts = [part(0, 1), part(1, t.dims()[axis] as i64)];
            assert_eq!(join_tensors(&parts, axis).unwrap(), t);
        }
        let other = Arc::new(Tensor::i64s(&[1]));
        assert!(join_tensors(&[Arc::new(t), other], 0).is_err());
        assert!(join_tensors(&[], 0).is_err());
    }
}
