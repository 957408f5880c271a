use std::sync::Arc;

use http::{StatusCode, Version};

use super::labels::LabelSet;
use super::methods::MethodId;
use super::names::{OVERFLOW, UNMATCHED};
use super::policy::{GrpcStatus, Outcome, StreamKind};

/// The label values of a request, except its route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    pub(super) method: MethodId,
    pub(super) https: bool,
    /// `None` if the convention has no label for the version.
    pub(super) version: Option<Version>,
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: Outcome,
    pub(super) kind: StreamKind,
    pub(super) grpc: GrpcStatus,
    pub(super) custom: LabelSet,
}

/// The route of a request, as a label value.
#[derive(Clone, Debug)]
pub(super) enum RouteLabel {
    Unmatched,
    /// The template, as the one `Arc` that the registry holds for it.
    Template(Arc<str>),
    /// The registry has the maximum number of templates.
    Overflow,
}

impl Series {
    /// Returns all label values except the custom ones, each in bits of its own.
    pub(super) fn packed(&self) -> u64 {
        u64::from(self.status.map_or(0, |status| status.as_u16())) << 48
            | u64::from(self.method.0) << 32
            | u64::from(self.kind.0) << 24
            | u64::from(self.grpc.packed()) << 16
            | (version_index(self.version) as u64) << 8
            | (self.outcome as u64) << 1
            | u64::from(self.https)
    }
}

impl RouteLabel {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Unmatched => UNMATCHED,
            Self::Template(template) => template,
            Self::Overflow => OVERFLOW,
        }
    }
}

/// Returns the index of a version in [`VERSIONS`](super::names::VERSIONS).
pub(super) fn version_index(version: Option<Version>) -> usize {
    match version {
        None => 0,
        Some(Version::HTTP_09) => 1,
        Some(Version::HTTP_10) => 2,
        Some(Version::HTTP_11) => 3,
        Some(Version::HTTP_2) => 4,
        Some(_) => 5,
    }
}
