//! Clusters and measurements: devices and links (`cluster.toml`), profiles of a model on a device
//! (JSON, CSV, or as ONNX Runtime writes them), and the codecs in which values may cross links.
//!
//! This module parses text and does no I/O. Times are in seconds, energies in joules, sizes in
//! bytes, bandwidths in bit/s.

mod allowed_codecs;
mod cluster_file;
mod codec;
mod error;
mod kernel_times;
mod profile;
mod written;

pub use allowed_codecs::AllowedCodecs;
pub use cluster_file::{Cluster, DeviceSpec, Mode, Speed, seconds};
pub use codec::{Codec, CodecMeasurement, ValueCodecs};
pub use error::{ClusterError, PositionsError, ProfileError, QuantityError, RowError};
pub(crate) use kernel_times::Kernel;
pub use kernel_times::KernelTimes;
pub use profile::{NodeTime, Profile, StretchTime, middle};
pub use written::{cluster_at, link_table, wireless_bandwidth};
