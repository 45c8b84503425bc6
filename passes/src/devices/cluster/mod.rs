//! Devices and links as files, what was measured on them, and the forms in which values cross links.

mod cluster_file;
mod codec;
mod profile;

pub use cluster_file::{Cluster, DeviceSpec, Mode, Speed, bandwidth, seconds};
pub use codec::{Codec, Codecs, Coded, ValueCodecs};
pub use profile::{NodeTime, Profile, StretchTime};
