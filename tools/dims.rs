//! Options for extents of symbolic dimensions, alike in all commands.

use graph_opt_backends::Folder;
use graph_opt_backends::inputs::Extents;
use graph_opt_ir::Graph;
use graph_opt_passes::analysis::{MemoryModel, UnknownSize, plan_for};
use graph_opt_passes::fix_dims::Symbolic;
use graph_opt_passes::{Assumed, ByteSize, SizedGraph};

use crate::failure::{Failure, Result, unsupported, usage};

/// Extents of symbolic dimensions.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Inputs")]
pub struct Dims {
    /// Extent of a symbolic dimension, by its name such as batch=4, by its place such as x:0=4 (axis 0 of
    /// input x), or for all that have no name ?=4. A leading dimension is assumed to be 1 otherwise
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_dim)]
    dims: Vec<(String, u64)>,
    /// Extents of an input, such as x:1,3,224,224
    #[arg(long, value_name = "INPUT:N,…", value_parser = parse_shape)]
    input_shape: Vec<(String, Vec<u64>)>,
}

impl Dims {
    /// All of them, by name or place.
    pub fn all(&self) -> Vec<(String, u64)> {
        let of_shape = |(name, dims): &(String, Vec<u64>)| {
            let name = name.clone();
            dims.clone().into_iter().enumerate().map(move |(axis, n)| (format!("{name}:{axis}"), n))
        };
        self.dims.iter().cloned().chain(self.input_shape.iter().flat_map(of_shape)).collect()
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.dims.is_empty() && self.input_shape.is_empty()
    }

    /// As text: `h=480 w=640`.
    pub fn text(&self) -> String {
        let all: Vec<String> = self.all().iter().map(|(n, e)| format!("{n}={e}")).collect();
        all.join(" ")
    }

    /// For random inputs.
    pub fn extents(&self) -> Extents {
        Extents(self.all().into_iter().collect())
    }

    /// For analyses and planners.
    pub fn assumed(&self) -> Assumed {
        Assumed::new(self.all())
    }

    /// The graph with these extents assumed.
    pub fn sized<'g>(&self, graph: &'g Graph) -> Result<SizedGraph<'g>> {
        self.assumed().sized(graph, &Folder).map_err(usage)
    }
}

/// A size that is unknown although extents were assumed: what would give it, or that nothing does.
pub fn no_size(e: &UnknownSize, graph: &Graph) -> Failure {
    let why = format!("the size of {:?}, {}, is unknown; {}", e.name, e.ty, unknown(graph));
    match Symbolic::of(graph).0.is_empty() {
        true => unsupported(why),
        false => usage(why),
    }
}

/// What to say where sizes are unknown although extents were assumed.
pub fn unknown(graph: &Graph) -> String {
    let all = Symbolic::of(graph);
    let mut options: Vec<String> = Vec::new();
    for d in &all.0 {
        // One name for several extents of an input, or for none in particular, is no help.
        let alike = all.0.iter().filter(|o| o.input == d.input && o.name == d.name).count();
        let option = match &d.name {
            Some(name) if alike == 1 && name != "?" => format!("--dim {name}=…"),
            _ => format!("--input-shape {}:N,…", d.input),
        };
        if !options.contains(&option) {
            options.push(option);
        }
    }
    match options.is_empty() {
        true => "sizes depend on what the model computes".into(),
        false => format!("give {}", options.join(" ")),
    }
}

/// Extents of the batch at which a peak is taken to say how it grows.
const BATCHES: [u64; 3] = [1, 2, 1024];

/// The peak as a function of the batch, `a·batch + b` in bytes, if just this was assumed and the peak grows
/// so. A peak is the largest of several such functions, so that what holds for three extents holds between
/// them.
pub fn growth(
    sized: &SizedGraph<'_>,
    graph: &Graph,
    model: &dyn MemoryModel,
) -> Option<(u64, u64)> {
    let of_batch = &sized.extents[sized.extents.len() - sized.defaults..];
    let names: Vec<&str> = of_batch.iter().map(|(n, _)| n.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let peak = |n: u64| {
        let others = sized.extents.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        let batch = names.iter().map(|name| ((*name).to_owned(), n));
        let all = others.cloned().chain(batch).collect();
        let sized = Assumed::new(all).sized(graph, &Folder).ok()?;
        plan_for(&sized.graph, model).ok().map(|p| p.peak)
    };
    let [one, two, many] = BATCHES.map(peak);
    let a = two?.checked_sub(one?)?;
    let b = one?.checked_sub(a)?;
    (a.checked_mul(BATCHES[2])?.checked_add(b)? == many?).then_some((a, b))
}

/// A peak and how it grows, as text: `12.0 MiB (batch 1; 11.5 MiB for each more)`.
pub fn peak_text(peak: u64, growth: Option<(u64, u64)>) -> String {
    match growth {
        None => ByteSize(peak).to_string(),
        Some((a, 0)) => format!("{} · batch", ByteSize(a)),
        Some((a, b)) => format!("{} · batch + {}", ByteSize(a), ByteSize(b)),
    }
}

/// `NAME=EXTENT`.
fn parse_dim(s: &str) -> std::result::Result<(String, u64), String> {
    let (name, n) = s.rsplit_once('=').ok_or("expected NAME=EXTENT, such as batch=4")?;
    match n.parse() {
        Ok(n) if n > 0 => Ok((name.to_owned(), n)),
        _ => Err(format!("expected an extent of at least 1 after \"=\", found {n:?}")),
    }
}

/// `INPUT:N,…`, also with brackets, or `x` between extents.
fn parse_shape(s: &str) -> std::result::Result<(String, Vec<u64>), String> {
    let expected = || format!("expected INPUT:N,… such as x:1,3,224,224, found {s:?}");
    let (name, dims) = s.rsplit_once(':').ok_or_else(expected)?;
    let dims = dims.trim_start_matches('[').trim_end_matches(']');
    let one = |n: &str| n.trim().parse::<u64>().ok().filter(|n| *n > 0);
    let dims: Option<Vec<u64>> = dims.split([',', 'x']).map(one).collect();
    Ok((name.to_owned(), dims.ok_or_else(expected)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let hint = |inputs: &str| {
            let text = format!("graph @g({inputs}) -> (%y) opset 13 {{\n %y = Relu %x : ?\n}}");
            unknown(&graph_opt_ir::text::parse(&text).unwrap())
        };
        assert_eq!(hint("%x: f32[1,3,h,w]"), "give --dim h=… --dim w=…");
        assert_eq!(hint("%x: f32[1,3,n,n]"), "give --input-shape x:N,…");
        assert_eq!(hint("%x: f32[1,3,?,?]"), "give --input-shape x:N,…");
        assert_eq!(hint("%x: f32[1,3]"), "sizes depend on what the model computes");
    }

    #[test]
    fn shapes_are_read_as_people_type_them() {
        let want = ("x:0".to_owned(), vec![1, 3, 224, 224]);
        for s in ["x:0:1,3,224,224", "x:0:[1, 3, 224, 224]", "x:0:1x3x224x224"] {
            assert_eq!(parse_shape(s), Ok(want.clone()), "{s}");
        }
        for s in ["x", "x:", "x:1,,3", "x:0,3", "1,3"] {
            assert!(parse_shape(s).is_err(), "{s}");
        }
        assert!(parse_dim("n=0").is_err() && parse_dim("n").is_err());
        assert_eq!(parse_dim("a=b=3"), Ok(("a=b".into(), 3)));
    }
}
