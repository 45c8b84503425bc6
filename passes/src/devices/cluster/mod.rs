//! Clusters and measurements: devices and links (`cluster.toml`), profiles of a model on a device
//! (JSON or CSV), and the codecs in which values may cross links.
//!
//! This module parses text and does no I/O. Times are in seconds, energies in joules, sizes in
//! bytes, bandwidths in bit/s.

mod allowed_codecs;
mod cluster_file;
mod codec;
mod error;
mod profile;

pub use allowed_codecs::AllowedCodecs;
pub use cluster_file::{Cluster, DeviceSpec, Mode, Speed, seconds};
pub use codec::{Codec, CodecMeasurement, ValueCodecs};
pub use error::{ClusterError, ProfileError, QuantityError, RowError};
pub use profile::{NodeTime, Profile, StretchTime};
