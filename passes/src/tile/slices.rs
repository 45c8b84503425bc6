//! Parts of values: `Slice` nodes, and constants that are cut into initializers.

use graph_opt_ir::{Edit, Graph, NodeId, Ref, Span, Tensor, op};

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

/// The elements of a constant within these spans.
///
/// # Errors
/// If its elements cannot be had or are no whole bytes.
pub fn slice_tensor(t: &Tensor, cuts: &[(usize, Span)]) -> Result<Tensor, String> {
    let bits = t.dtype().bits();
    if !bits.is_multiple_of(8) || bits == 0 {
        return Err(format!("a constant of {} cannot be cut", t.dtype()));
    }
    let (size, dims) = (bits / 8, t.dims());
    let src = t.bytes().map_err(|e| e.to_string())?;
    let mut out_dims = dims.to_vec();
    let mut starts = vec![0u64; dims.len()];
    for (a, s) in cuts {
        if !Span::whole(dims[*a] as i64).contains(*s) {
            return Err(format!("{s} lies outside of axis {a}"));
        }
        starts[*a] = s.lo as u64;
        out_dims[*a] = s.len() as u64;
    }
    // Runs of whole inner axes are copied at once.
    let inner = (0..dims.len()).rev().take_while(|&a| out_dims[a] == dims[a]).count();
    let split = dims.len().saturating_sub(inner + 1);
    let stride: u64 = dims[split + 1..].iter().product();
    let run = (out_dims[split] * stride) as usize * size;
    let mut out = Vec::with_capacity(out_dims.iter().product::<u64>() as usize * size);
    let rows: u64 = out_dims[..split].iter().product();
    for row in 0..rows {
        let (mut rest, mut at) = (row, 0u64);
        let mut scale: u64 = dims[split..].iter().product();
        for a in (0..split).rev() {
            at += (rest % out_dims[a] + starts[a]) * scale;
            rest /= out_dims[a];
            scale *= dims[a];
        }
        let from = (at + starts[split] * stride) as usize * size;
        out.extend_from_slice(&src[from..from + run]);
    }
    Tensor::from_bytes(t.dtype(), out_dims, out).map_err(|e| e.to_string())
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
    }
}
