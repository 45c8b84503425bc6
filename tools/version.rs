//! What `--version` says.

use std::sync::LazyLock;

/// The version, the commit that a release was built from, and the features. The release script gives the commit in
/// `GRAPH_OPT_COMMIT`: a build that asked git would link all programs again after every commit.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        let commit = option_env!("GRAPH_OPT_COMMIT").map(|c| format!("commit: {c}\n"));
        let features = if cfg!(feature = "wgpu") { "wgpu" } else { "none" };
        let commit = commit.unwrap_or_default();
        format!("{}\n{commit}features: {features}", env!("CARGO_PKG_VERSION"))
    });
    &LONG
}
