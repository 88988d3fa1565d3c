//! Paths for serde as the bytes that they are: serde's own form fails on a path that is
//! not UTF-8, and a path of the system need not be.

/// One path.
pub(super) mod one {
    use std::ffi::OsString;
    use std::path::{Path, PathBuf};

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(in crate::config) fn serialize<S: Serializer>(
        path: &impl AsRef<Path>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        path.as_ref().as_os_str().serialize(to)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<PathBuf, D::Error> {
        OsString::deserialize(from).map(PathBuf::from)
    }
}
