//! What a service says of TLS, and as whom whatever stands in front of it works.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::path_bytes;

/// A certificate and its key: one pair of `tls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The file of the certificates, as the configuration names it.
    #[serde(with = "path_bytes::one")]
    pub path: PathBuf,
    /// The file of the key.
    #[serde(with = "path_bytes::one")]
    pub key: PathBuf,
    /// What the first one said when the configuration was read: DER, the own one first.
    pub chain: Vec<Vec<u8>>,
    /// Until when the own one is good, in seconds since 1970.
    pub ends: Option<i64>,
    /// Which hosts it names, or else whom, in words.
    pub names: String,
    /// SHA-256 of it, in words.
    pub fingerprint: String,
    /// Which file the second one was then.
    pub identity: FileIdentity,
}

/// What tells a file from another one that has its name later, or has been written again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device and inode.
    pub place: (u64, u64),
    /// Bytes.
    pub size: u64,
    /// When it was written, in seconds and nanoseconds since 1970.
    pub written: (i64, i64),
}

/// Who makes the certificates of clients: `tls_ca`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// The file they were read from.
    #[serde(with = "path_bytes::one")]
    pub path: PathBuf,
    /// What it said: DER.
    pub certificates: Vec<Vec<u8>>,
}

/// Whether clients show certificates: `tls_client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsClient {
    /// They are not asked.
    No,
    /// They are asked; a wrong one is refused.
    Ask,
    /// They have to.
    Require,
}

/// Versions of TLS: `tls_versions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsVersions {
    /// 1.2.
    pub old: bool,
    /// 1.3.
    pub new: bool,
}

/// Whose the processes in front of a service are: `front_workers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontWorkers {
    /// All services'.
    Shared,
    /// Its own.
    Own,
}

/// As whom they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// They become that user: the server is root.
    pub switch: bool,
}
