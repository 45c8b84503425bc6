//! Matrix products.

use graph_opt_ir::Op;

use super::{Cx, MAX_AXES, Outputs, broadcast, merged, push_axes, spread};
use crate::RunError;
use crate::wgpu::kernel::Kernel;
use crate::wgpu::stream::{Array, GROUP, Params};

/// Rows and columns that a thread computes: of many rows, and of few.
pub(in crate::wgpu) const SHAPES: [(&str, &str); 2] = [("8", "2"), ("1", "2")];
const ROWS: usize = 8;
const COLUMNS: usize = 2;

/// What is to be multiplied: extents, distances of rows and columns, and what comes after.
struct Product {
    mkn: [usize; 3],
    /// Distances of rows and columns of a and of b.
    steps: [usize; 4],
    batch: Vec<(usize, [i64; 2])>,
    alpha: Option<f32>,
    beta: Option<f32>,
    /// What is added, and its distances of rows and columns.
    c: Option<(Array, [usize; 2])>,
}

fn product(
    cx: &mut Cx<'_, '_>,
    p: Product,
    a: &Array,
    b: &Array,
    dims: &[usize],
) -> Result<Array, RunError> {
    let [m, k, n] = p.mkn;
    let y = cx.result(dims)?;
    let mode = match (&p.c, p.beta) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(_)) => 2,
    };
    let [cr, cc] = p.c.as_ref().map_or([0; 2], |c| c.1);
    let mut words = vec![m, k, n, p.batch.len()];
    words.extend(p.steps);
    words.extend([cr, cc, mode, usize::from(p.alpha.is_some())]);
    let params = Params::new(&words)?;
    let params = params.float(p.alpha.unwrap_or(1.0)).float(p.beta.unwrap_or(1.0));
    let mut params = params.aligned();
    push_axes(&mut params, &p.batch)?;
    // A choice that a part of the rows would make differently changes no bits: every result is
    // the same fold.
    let (shape, rows) = if m >= ROWS { (SHAPES[0], ROWS) } else { (SHAPES[1], 1) };
    let kernel = Kernel::matmul(&[("ROWS", shape.0), ("COLUMNS", shape.1)]);
    let c = p.c.as_ref().map_or(a, |c| &c.0);
    let count =
        |n: usize| u32::try_from(n).map_err(|_| RunError::Unsupported(format!("{n} workgroups")));
    let batch = p.batch.iter().map(|b| b.0).product();
    let grid = [count(n.div_ceil(GROUP * COLUMNS))?, count(m.div_ceil(rows))?, count(batch)?];
    if y.len() > 0 {
        cx.stream.run(&kernel, params, &[&a.buffer, &b.buffer, &c.buffer], &y.buffer, grid)?;
    }
    Ok(y)
}

pub(super) fn matmul(cx: &mut Cx<'_, '_>) -> Outputs {
    let (Some(da), Some(db)) = (cx.dims(0), cx.dims(1)) else { return Ok(None) };
    let (mut x, mut y) = (da.clone(), db.clone());
    if x.is_empty() || y.is_empty() {
        return Ok(None);
    }
    if x.len() == 1 {
        x.insert(0, 1);
    }
    if y.len() == 1 {
        y.push(1);
    }
    let (xb, xm) = x.split_at(x.len() - 2);
    let (yb, ym) = y.split_at(y.len() - 2);
    let Some(batch) = broadcast(xb, yb) else { return Ok(None) };
    let (mut m, k, n) = (xm[0], xm[1], ym[1]);
    if ym[0] != k {
        return Ok(None);
    }
    let mut dims = batch.clone();
    if da.len() > 1 {
        dims.push(m);
    }
    if db.len() > 1 {
        dims.push(n);
    }
    let (sx, sy) = (spread(xb, &batch), spread(yb, &batch));
    let mut axes = merged(
        (0..batch.len()).map(|i| (batch[i], [(sx[i] * m * k) as i64, (sy[i] * k * n) as i64])),
    );
    // One matrix for all: the rows of the batch are rows of one product.
    if yb.iter().all(|&d| d == 1) && xb.iter().product::<usize>() == batch.iter().product::<usize>()
    {
        m *= batch.iter().product::<usize>();
        axes.clear();
    }
    if axes.len() > MAX_AXES - 3 {
        return Ok(None);
    }
    let (a, b) = (cx.array(0)?, cx.array(1)?);
    let p = Product {
        mkn: [m, k, n],
        steps: [k, 1, n, 1],
        batch: axes,
        alpha: None,
        beta: None,
        c: None,
    };
    let y = product(cx, p, &a, &b, &dims)?;
    cx.computed(vec![y])
}

pub(super) fn gemm(cx: &mut Cx<'_, '_>) -> Outputs {
    let Op::Gemm(o) = cx.op else { return Ok(None) };
    let (Some(da), Some(db)) = (cx.dims(0), cx.dims(1)) else { return Ok(None) };
    let (&[a0, a1], &[b0, b1]) = (&da[..], &db[..]) else { return Ok(None) };
    let (m, k, sa) = if o.transA == 0 { (a0, a1, [a1, 1]) } else { (a1, a0, [1, a1]) };
    let (kb, n, sb) = if o.transB == 0 { (b0, b1, [b1, 1]) } else { (b1, b0, [1, b1]) };
    if k != kb {
        return Ok(None);
    }
    let c = if cx.present(2) {
        let dims = cx.dims(2);
        let fits = |d: &Vec<usize>| broadcast(d, &[m, n]).as_deref() == Some(&[m, n]);
        let Some(dims) = dims.filter(fits) else { return Ok(None) };
        let s = spread(&dims, &[m, n]);
        Some((cx.array(2)?, [s[0], s[1]]))
    } else {
        None
    };
    let (a, b) = (cx.array(0)?, cx.array(1)?);
    let p = Product {
        mkn: [m, k, n],
        steps: [sa[0], sa[1], sb[0], sb[1]],
        batch: vec![],
        alpha: (o.alpha != 1.0).then_some(o.alpha),
        beta: (o.beta != 1.0).then_some(o.beta),
        c,
    };
    let y = product(cx, p, &a, &b, &[m, n])?;
    cx.computed(vec![y])
}
