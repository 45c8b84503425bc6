//! The registry of passes.

use crate::blocks;
use crate::devices::split_devices;
#[cfg(feature = "eqsat")]
use crate::eqsat;
use crate::pass::PassInfo;
use crate::pipeline::{Pipeline, Step};
use crate::{fix_dims, fuse, inline_functions, schedule, simplify, tile};

/// All passes, in the order of the help.
pub const PASSES: &[PassInfo] = &[
    simplify::INFO,
    inline_functions::INFO,
    fuse::pad::INFO,
    fuse::batch_norm::INFO,
    fuse::matmul_add::INFO,
    fuse::zero_add::INFO,
    blocks::dead::INFO,
    tile::tile_conv::INFO,
    tile::fuse_tiles::INFO,
    tile::hide_extents::INFO,
    tile::untile::INFO,
    schedule::INFO,
    fix_dims::INFO,
    split_devices::INFO,
    #[cfg(feature = "eqsat")]
    eqsat::pass::INFO,
];

/// The pipeline of `-O` as text.
pub const OPTIMISE: &str =
    "fixpoint(simplify,fuse-pad,drop-zero-add,fold-batch-norm,fuse-matmul-add)";

/// The pipeline of `-O`: the cleanups of onnxsim, OnnxSlim and onnxoptimizer that produce only
/// standard ONNX operators.
pub fn optimise() -> Pipeline {
    let passes = Pipeline::default()
        .then(simplify::Simplify)
        .then(fuse::pad::FusePad)
        .then(fuse::zero_add::DropZeroAdd)
        .then(fuse::batch_norm::FoldBatchNorm)
        .then(fuse::matmul_add::FuseMatMulAdd);
    Pipeline(vec![Step::Fixpoint(passes)])
}

/// The description of the pass of this name; `None` if there is none.
pub fn find(name: &str) -> Option<&'static PassInfo> {
    PASSES.iter().find(|p| p.name == name)
}

/// The help text of a pass and its options.
pub fn help(info: &PassInfo) -> String {
    let mut s = format!("{} ({})\n  {}\n", info.name, info.exactness, info.summary);
    for o in info.options {
        s.push_str(&format!("    {:<28} {}\n", format!("{}={}", o.name, o.value), o.help));
    }
    s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::split_devices::SplitDevices;
    use crate::fix_dims::FixDims;
    use crate::pass::Pass;
    use crate::schedule::Schedule;
    use crate::tile::Reuse;
    use crate::tile::fuse_tiles::{Axis, Cut, FuseTiles, Planned, Stretch};
    use crate::tile::tile_conv::{self, Ops, TileConv};
    use proptest::prelude::*;

    /// Names with all that could end a value, or be taken for something else.
    fn name() -> impl Strategy<Value = String> {
        let letters = "first conv,1{}[]()\"'\\:=xé\n\t%#;/";
        let letter = proptest::sample::select(letters.chars().collect::<Vec<_>>());
        proptest::collection::vec(letter, 1..9).prop_map(|c| c.into_iter().collect())
    }

    fn pick<T: Clone + std::fmt::Debug + 'static>(all: &[T]) -> impl Strategy<Value = T> + use<T> {
        proptest::sample::select(all.to_vec())
    }

    fn conv() -> impl Strategy<Value = TileConv> {
        use tile_conv::Axis;
        let axes = [Axis::Batch, Axis::Depth, Axis::Height, Axis::Width, Axis::ChannelsOut];
        let ops = [Ops::All, Ops::Conv, Ops::Pool, Ops::Matmul];
        let counts = proptest::collection::vec(1..9i64, 1..4);
        (pick(&axes), pick(&axes), 0..4, counts, any::<u64>(), pick(&ops)).prop_map(
            |(a, b, kind, counts, bytes, ops)| {
                let pass = match kind {
                    0 => TileConv::grid(&[(a, counts[0]), (b, bytes as i64 >> 8)])
                        .or_else(|_| TileConv::parts(Axis::ChannelsIn, counts[0])),
                    1 => TileConv::parts(a, counts[0]),
                    2 => TileConv::sizes(a, counts),
                    _ => TileConv::max_bytes(a, bytes),
                };
                pass.unwrap().ops(ops)
            },
        )
    }

    fn by_hand() -> impl Strategy<Value = FuseTiles> {
        let axes = [Axis::Batch, Axis::Channels, Axis::Depth, Axis::Height, Axis::Number(7)];
        let axes = proptest::collection::vec(pick(&axes), 1..4);
        let names = (name(), proptest::option::of(name()));
        let numbers = proptest::collection::vec(1..99i64, 3);
        (axes, names, numbers, 0..4, pick(&Reuse::ALL)).prop_map(
            |(axes, (to, from), n, kind, reuse)| {
                let cut = |i: usize| match kind {
                    0 => Cut::Even(n[i]),
                    1 => Cut::Ceil(n[i]),
                    2 => Cut::Sizes(n[i..].to_vec()),
                    _ => Cut::Weights(n[i..].to_vec()),
                };
                let cuts = axes.into_iter().enumerate().map(|(i, a)| (a, cut(i))).collect();
                let mut pass = Stretch::to(to, cuts).unwrap().reuse(reuse);
                if n[0] % 2 == 0 {
                    pass = pass.all_nodes();
                }
                match from {
                    Some(f) => pass.from(f).into(),
                    None => pass.into(),
                }
            },
        )
    }

    fn planned() -> impl Strategy<Value = FuseTiles> {
        let reuse = proptest::option::of(pick(&Reuse::ALL));
        (
            0..4,
            any::<u64>(),
            0.0..1e300f64,
            1..99usize,
            reuse,
            pick(&["interpreter", "onnxruntime"]),
        )
            .prop_map(|(kind, bytes, share, tiles, reuse, runtime)| {
                let pass = match kind {
                    0 => Planned::within(bytes),
                    1 => Planned::best_effort(bytes >> 44 << 20),
                    2 => Planned::extra_macs(share).unwrap(),
                    _ => Planned::front(),
                };
                let pass = pass
                    .max_tiles(tiles)
                    .memory_model(crate::analysis::model_named(runtime).unwrap());
                reuse.and_then(|r| pass.clone().reuse(r).ok()).unwrap_or(pass).into()
            })
    }

    /// Text, pass, text, pass: the passes are equal, and so are the texts.
    fn stable(pass: impl Pass + 'static) -> Result<(), TestCaseError> {
        let first = Pipeline::default().then(pass);
        let text = first.to_string();
        let second =
            Pipeline::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert_eq!(second.to_string(), text);
        prop_assert_eq!(format!("{second:?}"), format!("{first:?}"));
        Ok(())
    }

    proptest! {
        #[test]
        fn passes_are_what_their_text_says(
            conv in conv(), by_hand in by_hand(), planned in planned(), states in any::<usize>(),
            stages in proptest::collection::vec((name(), name()), 1..4),
            dims in proptest::collection::vec((name(), 1..9u64), 1..4),
        ) {
            stable(conv)?;
            stable(by_hand)?;
            stable(planned)?;
            stable(Schedule::default().states(states >> 1))?;
            stable(SplitDevices::new(stages).unwrap())?;
            stable(FixDims::new(dims))?;
        }

        #[test]
        fn expressions_are_quoted(regex in name()) {
            let Ok(regex) = regex::Regex::new(&regex) else { return Ok(()) };
            let text = Pipeline(vec![Step::Only(regex.clone(), optimise())]).to_string();
            let again = Pipeline::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!(again.to_string(), text);
            let same = matches!(&again.0[..], [Step::Only(r, _)] if r.as_str() == regex.as_str());
            prop_assert!(same);
        }
    }

    #[test]
    fn the_deprecated_spelling_of_best_effort_is_accepted() {
        let old = Pipeline::parse("fuse-tiles{memory=8MiB partly=yes}").unwrap();
        assert_eq!(old.to_string(), "fuse-tiles{best-effort=yes memory=8MiB}");
        assert!(Pipeline::parse("fuse-tiles{best-effort=yes grid=2 to=a}").is_err());
    }

    #[test]
    fn every_pass_prints_as_text_that_makes_it() {
        assert_eq!(optimise().to_string(), OPTIMISE);
        let with_options = |name: &str| match name {
            "tile-conv" => "axis=hxw ops=pool parts=2x3",
            "fuse-tiles" => "from=\"first conv\" grid=4 reuse=rows split=ceil to=\"conv,1\"",
            "drop-dead-channels" => "constants=yes",
            "inline-functions" => "operators=yes",
            "schedule" => "states=7",
            "fix-dims" => "dims=[batch=1,x:2=480]",
            "split-devices" => "stages=[\"first conv\":camera,conv:1:\"b:x\"]",
            "eqsat" => "nodes=9 objective=launches",
            _ => "",
        };
        for info in PASSES {
            let options = with_options(info.name);
            assert_eq!(options.is_empty(), info.options.is_empty(), "{}", info.name);
            let text = match options {
                "" => info.name.to_owned(),
                o => format!("{}{{{o}}}", info.name),
            };
            assert_eq!(Pipeline::parse(&text).unwrap().to_string(), text);
        }
    }
}
