//! Devices and links as files, what was measured on them, and the forms in which values cross links.

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
