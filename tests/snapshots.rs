//! Snapshots of zoo networks after pipelines, as IR text, in `snapshots/`.

use graph_opt_backends::zoo;
use graph_opt_ir::text::print;

use crate::support::optimise;

fn snapshot(name: &str, network: &str, pipeline: &str) {
    let g = zoo::build(network).unwrap();
    let (t, _) = optimise(&g, pipeline);
    let mut s = insta::Settings::clone_current();
    s.set_snapshot_path("../snapshots");
    s.set_prepend_module_to_snapshot(false);
    s.set_description(format!("{network} after {pipeline}"));
    s.bind(|| insta::assert_snapshot!(name, print(&t)));
}

#[test]
fn networks_after_pipelines() {
    snapshot("tutorial", "aidge-tutorial", "tile-conv{axis=h parts=4}");
    snapshot("tutorial_grid", "aidge-tutorial", "tile-conv{axis=hxw parts=2x2}");
    snapshot("tutorial_channels", "aidge-tutorial", "tile-conv{axis=c-out parts=2}");
    snapshot("quantized", "mnist-qdq", "simplify,tile-conv{axis=h parts=2 ops=conv}");
    snapshot("squeezenet", "squeezenet", "simplify,only(conv1|fire2)(tile-conv{axis=h parts=2})");
    snapshot("unet", "unet", "only(up)(tile-conv{axis=h parts=2})");
}
