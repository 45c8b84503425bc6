//! The soundness loop: every rule of the prover is drawn at random shapes and attributes, and both
//! sides are compared over the finite field.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use graph_opt_backends::compare::{Compare, Verdict};
use graph_opt_backends::inputs::Extents;
use graph_opt_ir::region::Region;
use graph_opt_ir::{Graph, Span, text};
use graph_opt_passes::eqsat::rules::{Rule, TABLE};
use graph_opt_passes::eqsat::terms::{Head, Reading, TermId, Terms};
use graph_opt_passes::eqsat::write;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::support::{Draws, random_cases};

/// One operator over random operands.
fn operator(d: &mut Draws<'_>) -> String {
    let (n, g) = (1 + d.below(2), 1 + d.below(2));
    let (c, m) = (g * (1 + d.below(2)), g * (1 + d.below(3)));
    let (h, w) = (4 + d.below(8), 3 + d.below(8));
    let (k, s, l) = (1 + d.below(4), 1 + d.below(3), 1 + d.below(2));
    let pads: Vec<u64> = (0..4).map(|_| d.below(k + 1)).collect();
    let window = format!("pads={pads:?}, strides=[{s},{s}]");
    let x = format!("%x: f32[{n},{c},{h},{w}]");
    let flag = d.below(2);
    let (inputs, body) = match d.below(27) {
        0..=4 => (
            format!("{x}, %w: f32[{m},{},{k},{k}], %b: f32[{m}]", c / g),
            format!("Conv %x, %w, %b {{{window}, dilations=[{l},{l}], group={g}}}"),
        ),
        5 | 6 => (
            format!("{x}, %w: f32[{c},{m},{k},{k}]"),
            format!("ConvTranspose %x, %w {{strides=[{s},{s}], group={g}}}"),
        ),
        7 => (x, format!("MaxPool %x {{kernel_shape=[{k},{k}], {window}, ceil_mode={flag}}}")),
        8 => (
            x,
            format!(
                "AveragePool %x {{kernel_shape=[{k},{k}], {window}, count_include_pad={flag}}}"
            ),
        ),
        9 | 10 => (
            format!("%x: f32[{n},{h},{c}], %y: f32[{},{c},{w}]", if flag == 0 { 1 } else { n }),
            "MatMul %x, %y".into(),
        ),
        11 => (
            match flag {
                0 => format!("%x: f32[{h},{c}], %y: f32[{c},{w}], %z: f32[{w}]"),
                _ => format!("%x: f32[{c},{h}], %y: f32[{w},{c}], %z: f32[{h},1]"),
            },
            format!("Gemm %x, %y, %z {{alpha=0.5, transA={flag}, transB={flag}}}"),
        ),
        12 => (
            format!("{x}, %y: f32[{},{},1]", if flag == 0 { 1 } else { c }, h),
            ["Add %x, %y", "Mul %x, %y"][d.below(2) as usize].into(),
        ),
        13 => (x, ["Relu %x", "Sigmoid %x", "Exp %x", "Neg %x"][d.below(4) as usize].into()),
        14 => (
            format!("{x}, %y: f32[{n},{c},{k},{w}], %z: f32[{n},{c},{l},{w}]"),
            "Concat %x, %y, %z {axis=2}".into(),
        ),
        15 => (x, format!("Pad %x, %p : ?\n%p = const [0,0,{k},{l},0,0,{l},{s}] : i64[8]")),
        16 => (x, "Transpose %x {perm=[2,0,3,1]}".into()),
        17 => (x, format!("Reshape %x, %p : ?\n%p = const [{n},{c},{}] : i64[3]", h * w)),
        18 => (
            x,
            "Resize %x, _, %p {mode=\"nearest\", coordinate_transformation_mode=\"asymmetric\", nearest_mode=\"floor\"} : ?\n%p = const [1,1,2,3] : f32[4]".into(),
        ),
        19 => (
            format!("{x}, %s: f32[{c}], %b: f32[{c}], %m: f32[{c}], %v: f32[{c}]"),
            "BatchNormalization %x, %s, %b, %m, %v".into(),
        ),
        20 => (x, format!("Softmax %x {{axis={}}}", d.below(4))),
        21 => (x, format!("ReduceMean %x {{axes=[{}], keepdims={flag}}}", 1 + d.below(3))),
        22 => (
            x,
            format!(
                "Slice %x, %p, %q, %r, %t : ?\n%p = const [1] : i64[1]\n%q = const [{h}] : i64[1]\n%r = const [2] : i64[1]\n%t = const [{}] : i64[1]",
                1 + flag
            ),
        ),
        23 => (
            format!("%x: f32[{n},{h},{c}], %l: i64[{n}]"),
            "ReverseSequence %x, %l {batch_axis=0, time_axis=1}".into(),
        ),
        24 => (
            format!("{x}, %r: f32[{m},4], %i: i64[{m}]"),
            format!(
                "RoiAlign %x, %r, %i {{output_height={s}, output_width={k}, mode={:?}}}",
                ["avg", "max"][flag as usize]
            ),
        ),
        25 => (format!("%x: f32[{n},{c},{k},{k}]"), "Det %x".into()),
        _ => (format!("%x: f32[{n},{},{h},{w}]", 4 * c), "DepthToSpace %x {blocksize=2}".into()),
    };
    // Constants come first.
    let (node, constants) = body.split_once(" : ?\n").unwrap_or((&body, ""));
    format!("graph @g({inputs}) -> (%y) opset 13 {{\n{constants}\n%y = {node} : ?\n}}")
        .replace("-> (%y)", "-> (%out)")
        .replace("%y = ", "%out = ")
}

fn region(d: &mut Draws<'_>, dims: &[u64]) -> Region {
    dims.iter().map(|&n| d.span(n)).collect()
}

/// A left side of a rule.
struct Left {
    /// The graph whose inputs it reads.
    graph: Graph,
    terms: Terms,
    term: TermId,
    /// Extents of its operands' result.
    dims: Vec<u64>,
    /// The extent that the graph calls `N`; `None` if it knows all of them.
    batch: Option<u64>,
}

/// The graph with a leading extent that it does not know, and what that is.
fn loosened(text: &str, known: &Graph) -> Option<(Graph, u64)> {
    let n = *known.value(known.inputs()[0]).ty.extents()?.first()?;
    let (head, body) = text.split_once(") ->")?;
    let head = head.replace(&format!("[{n},"), "[N,");
    Some((text::parse(&format!("{head}) ->{body}")).ok()?, n))
}

/// A left side of the rule; in half of the cases, over a symbolic batch.
fn left(rule: Rule, d: &mut Draws<'_>) -> Option<Left> {
    let mut terms = Terms::default();
    let text = match rule {
        Rule::PartOfResult | Rule::WholeOfTiles => operator(d),
        Rule::SumOfParts => contraction(d),
        _ => {
            let dims: Vec<u64> = (0..1 + d.below(4)).map(|_| 2 + d.below(6)).collect();
            format!("graph @g(%x: f32{dims:?}) -> (%out) opset 13 {{\n%out = Identity %x : ?\n}}")
        }
    };
    let known = text::parse(&text).ok()?;
    let dims = known.value(known.outputs()[0]).ty.extents()?;
    if dims.contains(&0) {
        return None;
    }
    let loose = if d.below(2) == 1 { loosened(&text, &known) } else { None };
    let (graph, batch) = loose.map_or((known, None), |(g, n)| (g, Some(n)));
    let read = Reading::of(&graph, &mut terms);
    let y = read.term(graph.outputs()[0])?;
    let free = |terms: &Terms, a: usize| terms.extent(y, a).is_none();
    let region = |d: &mut Draws<'_>, terms: &Terms, dims: &[u64]| -> Region {
        let all = region(d, dims).into_iter().enumerate();
        all.map(|(a, r)| r.filter(|_| !free(terms, a))).collect()
    };
    let t = match rule {
        Rule::PartOfResult => {
            let r = region(d, &terms, &dims);
            terms.raw_slice(y, r)?
        }
        Rule::PartOfPart => {
            let outer = region(d, &terms, &dims);
            let s = terms.raw_slice(y, outer.clone())?;
            let dims = outer.iter().zip(&dims).map(|(r, n)| r.map_or(*n, |s| s.len() as u64));
            let inner = region(d, &terms, &dims.collect::<Vec<_>>());
            terms.raw_slice(s, inner)?
        }
        Rule::JoinedParts | Rule::FlatConcat => {
            let axes: Vec<usize> = (0..dims.len()).filter(|a| !free(&terms, *a)).collect();
            let axis = *axes.get(d.below(axes.len().max(1) as u64) as usize)?;
            let base = region(d, &terms, &dims);
            let all = base[axis].unwrap_or(Span::whole(dims[axis] as i64));
            let mut cuts = vec![all.lo, all.hi];
            cuts.extend((0..2).map(|_| all.lo + d.below(all.len() as u64) as i64));
            cuts.sort_unstable();
            cuts.dedup();
            let mut parts = Vec::new();
            for c in cuts.windows(2) {
                let mut r = base.clone();
                r[axis] = Some(Span::new(c[0], c[1]));
                parts.push(Some(terms.raw_slice(y, r)?));
            }
            let op = graph_opt_ir::op::Concat { axis: axis as i64 }.into();
            let unknown = graph_opt_ir::Type::Unknown;
            let one = terms.apply(&op, 13, &parts, (0, 1), &unknown)?;
            match rule {
                Rule::JoinedParts => one,
                _ => terms.apply(&op, 13, &[parts[0], Some(one)], (0, 1), &unknown)?,
            }
        }
        Rule::WholeOfTiles => {
            let axes: Vec<usize> = (0..dims.len()).filter(|a| !free(&terms, *a)).collect();
            let axis = *axes.get(d.below(axes.len().max(1) as u64) as usize)?;
            let cut = 1 + d.below(dims[axis] - 1) as i64;
            let mut parts = Vec::new();
            for s in [Span::new(0, cut), Span::new(cut, dims[axis] as i64)] {
                let mut r = vec![None; dims.len()];
                r[axis] = Some(s);
                let part = terms.raw_slice(y, r)?;
                parts.push(Some(Rule::PartOfResult.apply(&mut terms, part)?));
            }
            let op = graph_opt_ir::op::Concat { axis: axis as i64 }.into();
            terms.apply(&op, 13, &parts, (0, 1), &graph_opt_ir::Type::Unknown)?
        }
        Rule::SumOfParts => y,
    };
    Some(Left { graph, terms, term: t, dims, batch })
}

/// A contraction in two parts.
fn contraction(d: &mut Draws<'_>) -> String {
    let (a, b) = (1 + d.below(3), 1 + d.below(3));
    let (c, m, k) = (a + b, 1 + d.below(3), 1 + d.below(3));
    let (h, w) = (3 + d.below(5), 3 + d.below(5));
    let (inputs, slices, f, bias) = match d.below(3) {
        0 => (
            format!("%x: f32[1,{c},{h},{w}], %w: f32[{m},{c},{k},{k}], %b: f32[{m}]"),
            (1, 1),
            format!("Conv @x, @w {{strides=[{k},1]}}"),
            ", %b",
        ),
        1 => (format!("%x: f32[2,{h},{c}], %w: f32[{c},{w}]"), (2, 0), "MatMul @x, @w".into(), ""),
        _ => (
            format!("%x: f32[{h},{c}], %w: f32[{w},{c}], %b: f32[{w}]"),
            (1, 1),
            "Gemm @x, @w {alpha=0.5, transB=1}".into(),
            ", %b",
        ),
    };
    let biased = d.below(2) as usize;
    let part = |i: usize| {
        let bias = if i == biased { bias } else { "" };
        f.replace("@x", &format!("%x{i}")).replace("@w", &format!("%w{i}{bias}"))
    };
    let (p, q) = slices;
    format!(
        "graph @g({inputs}) -> (%out) opset 13 {{
%x0 = Slice %x [{p}: 0..{a}] : ?\n%x1 = Slice %x [{p}: {a}..{c}] : ?
%w0 = Slice %w [{q}: 0..{a}] : ?\n%w1 = Slice %w [{q}: {a}..{c}] : ?
%p = {} : ?\n%q = {} : ?\n%out = Add %p, %q : ?\n}}",
        part(0),
        part(1)
    )
}

/// Whether both terms have the same value over the field; `None` if they cannot be run.
fn agree(left: &Left, a: TermId, b: TermId) -> Option<bool> {
    let [a, b] = [a, b].map(|t| write::graph(&left.graph, &left.terms, &[t]));
    let (a, b) = (a.unwrap(), b.unwrap());
    let extents = Extents(left.batch.map(|n| ("N".to_owned(), n)).into_iter().collect());
    let c = Compare { seed: 5, extents, ..Compare::default() };
    let r = c.run(&Arc::new(a), &Arc::new(b)).unwrap();
    match &r.outputs[0].verdicts[0] {
        Verdict::Exact(_) | Verdict::Identical => Some(true),
        Verdict::Differs(..) => Some(false),
        _ => None,
    }
}

#[test]
fn every_rule_is_sound() {
    let counts: RefCell<BTreeMap<&str, (u64, u64)>> = RefCell::default();
    let case = prop::collection::vec(any::<u8>(), 48);
    let cases = random_cases(2000, &case, |bytes| {
        for row in TABLE {
            let mut d = Draws::new(&bytes);
            let Some(mut l) = left(row.rule, &mut d) else { continue };
            let Some(right) = row.rule.apply(&mut l.terms, l.term) else { continue };
            if l.batch.is_none() {
                let (a, b) = (l.terms.ty(l.term), l.terms.ty(right));
                prop_assert_eq!(a.extents(), b.extents(), "{}", row.name);
            }
            match agree(&l, l.term, right) {
                Some(true) => {
                    let mut counts = counts.borrow_mut();
                    let count = counts.entry(row.name).or_insert((0, 0));
                    count.0 += 1;
                    count.1 += u64::from(l.batch.is_some());
                }
                Some(false) => {
                    let why = format!("{}: {}", row.name, text::print(&l.graph));
                    return Err(TestCaseError::fail(why));
                }
                None => {}
            }
        }
        Ok(())
    });
    let counts = counts.into_inner();
    println!("rules drawn, and over a symbolic batch, all sound: {counts:?}");
    for row in TABLE {
        let (n, symbolic) = counts.get(row.name).copied().unwrap_or_default();
        let enough = n >= 1000 && symbolic >= 200;
        assert!(cases < 2000 || enough, "{} was drawn {n}, {symbolic} times", row.name);
    }
}

/// A rule that is off by one is caught.
#[test]
fn a_wrong_rule_is_caught() {
    let caught = RefCell::new((0, 0));
    let case = prop::collection::vec(any::<u8>(), 48);
    random_cases(200, &case, |bytes| {
        let mut d = Draws::new(&bytes);
        let Some(mut l) = left(Rule::PartOfResult, &mut d) else { return Ok(()) };
        let term = l.terms.get(l.term).clone();
        let (y, Head::Slice(r)) = (term.children[0], term.head) else { return Ok(()) };
        let n: Vec<i64> = l.dims.iter().map(|n| *n as i64).collect();
        // One further along the first axis where there is room.
        let mut wrong = r.clone();
        let Some(a) = (0..r.len()).find(|&a| r[a].is_some_and(|s| s.hi < n[a])) else {
            return Ok(());
        };
        wrong[a] = r[a].map(|s| Span::new(s.lo + 1, s.hi + 1));
        let Some(other) = l.terms.raw_slice(y, wrong) else { return Ok(()) };
        let Some(right) = Rule::PartOfResult.apply(&mut l.terms, other) else { return Ok(()) };
        let mut c = caught.borrow_mut();
        c.0 += 1;
        c.1 += u64::from(agree(&l, l.term, right) == Some(false));
        Ok(())
    });
    let (drawn, wrong) = caught.into_inner();
    println!("{wrong} of {drawn} cases of a wrong rule caught");
    // Where everything is equal, nothing can be.
    assert!(drawn > 30 && wrong * 10 > drawn * 8);
}
