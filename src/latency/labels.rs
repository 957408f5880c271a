use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{request, response};
use metrics::{Label, SharedString};

use super::append_only_map::{AppendOnlyMap, hash_str};

/// The labels that the user has added, with the functions that read their values.
#[derive(Clone, Default)]
pub(super) struct CustomLabels {
    labels: Vec<(&'static str, Source)>,
}

/// The values that custom labels have had so far, up to a maximum for each label.
#[derive(Debug)]
pub(super) struct LabelValues {
    names: Vec<&'static str>,
    values: Vec<ValueTable>,
}

/// One value for each custom label, as identifiers of 8 bits: 0 for no value.
// Packed into one integer, so that a series key is compared and hashed in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LabelSet(pub(super) u64);

/// The error of [`request_label`](super::LatencyLayer::request_label) and
/// [`response_label`](super::LatencyLayer::response_label): the name of the label is invalid,
/// reserved or taken, or the layer has the maximum number of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLabel {
    name: &'static str,
    reason: &'static str,
}

#[derive(Clone)]
enum Source {
    Request(Arc<RequestLabelFn>),
    Response(Arc<ResponseLabelFn>),
}

#[derive(Debug)]
struct ValueTable {
    ids: AppendOnlyMap<Box<str>, u8>,
    next: AtomicUsize,
}

pub(super) type RequestLabelFn = dyn Fn(&request::Parts) -> Option<&str> + Send + Sync;
pub(super) type ResponseLabelFn = dyn Fn(&response::Parts) -> Option<&str> + Send + Sync;

impl CustomLabels {
    pub(super) fn add_request_label(
        &mut self,
        name: &'static str,
        value: Arc<RequestLabelFn>,
    ) -> Result<(), InvalidLabel> {
        self.push(name, Source::Request(value))
    }

    pub(super) fn add_response_label(
        &mut self,
        name: &'static str,
        value: Arc<ResponseLabelFn>,
    ) -> Result<(), InvalidLabel> {
        self.push(name, Source::Response(value))
    }

    fn push(&mut self, name: &'static str, source: Source) -> Result<(), InvalidLabel> {
        let is_taken = self.labels.iter().any(|(other, _)| is_same_name(other, name));
        let reason = if !is_valid_name(name) {
            "a name has only ASCII letters, digits, `_` and `.`, and starts with a letter or a single `_`"
        } else if RESERVED.iter().any(|reserved| is_same_name(reserved, name)) {
            "the name is reserved for a label of this layer or of Prometheus"
        } else if is_taken {
            "this layer already has a label of this name"
        } else if self.labels.len() == MAX_LABELS {
            "this layer already has 8 custom labels, which is the maximum"
        } else {
            self.labels.push((name, source));
            return Ok(());
        };
        Err(InvalidLabel { name, reason })
    }

    pub(super) fn has_request_labels(&self) -> bool {
        self.labels.iter().any(|(_, source)| matches!(source, Source::Request(_)))
    }

    pub(super) fn has_response_labels(&self) -> bool {
        self.labels.iter().any(|(_, source)| matches!(source, Source::Response(_)))
    }
}

impl LabelValues {
    /// Creates an empty table of at most `max` values for each label.
    pub(super) fn new(labels: &CustomLabels, max: usize) -> Self {
        let table = || ValueTable {
            ids: AppendOnlyMap::new(max.min(MAX_VALUES)),
            next: AtomicUsize::new(FIRST_ID),
        };
        Self {
            names: labels.labels.iter().map(|(name, _)| *name).collect(),
            values: labels.labels.iter().map(|_| table()).collect(),
        }
    }

    pub(super) fn read_request(&self, labels: &CustomLabels, head: &request::Parts) -> LabelSet {
        self.read_with(labels, |source| match source {
            Source::Request(value) => value(head),
            Source::Response(_) => None,
        })
    }

    pub(super) fn read_response(&self, labels: &CustomLabels, head: &response::Parts) -> LabelSet {
        self.read_with(labels, |source| match source {
            Source::Request(_) => None,
            Source::Response(value) => value(head),
        })
    }

    /// Returns a set in which every label that has a value has the value `other`.
    pub(super) fn with_other_values(set: LabelSet) -> LabelSet {
        let other = |at| if set.id(at) == 0 { 0 } else { OTHER_ID };
        (0..MAX_LABELS).fold(LabelSet::default(), |set, at| set.with(at, other(at)))
    }

    pub(super) fn labels(&self, set: LabelSet) -> impl Iterator<Item = Label> {
        let tables = self.names.iter().zip(&self.values).enumerate();
        tables.filter_map(move |(at, (name, table))| {
            let value = match set.id(at) {
                0 => return None,
                OTHER_ID => SharedString::const_str(OTHER),
                id => table.ids.find_key(|other| *other == id)?.to_string().into(),
            };
            Some(Label::new(*name, value))
        })
    }

    fn read_with<'a>(
        &self,
        labels: &CustomLabels,
        value: impl Fn(&Source) -> Option<&'a str>,
    ) -> LabelSet {
        let tables = labels.labels.iter().zip(&self.values).enumerate();
        tables.fold(LabelSet::default(), |set, (at, ((_, source), table))| {
            // Prometheus treats an empty value as a missing label.
            let value = value(source).filter(|value| !value.is_empty());
            set.with(at, value.map_or(0, |value| table.id(value)))
        })
    }
}

impl ValueTable {
    fn id(&self, value: &str) -> u8 {
        // A value that is itself `other` must not look like a value of its own.
        if value.len() > MAX_VALUE_LEN || value == OTHER {
            return OTHER_ID;
        }
        let found = self.ids.get_or_insert_with(
            hash_str(value),
            |other| **other == *value,
            || {
                // Two threads that insert the same value at once waste an identifier: the map
                // keeps one of the two.
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                (value.into(), u8::try_from(id).unwrap_or(OTHER_ID))
            },
        );
        found.map_or(OTHER_ID, |(_, id)| *id)
    }
}

impl LabelSet {
    /// Returns the union of the labels of a request and those of its response.
    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn id(self, at: usize) -> u8 {
        (self.0 >> (8 * at)) as u8
    }

    fn with(self, at: usize, id: u8) -> Self {
        Self(self.0 | u64::from(id) << (8 * at))
    }
}

impl fmt::Debug for CustomLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.labels.iter().map(|(name, _)| name)).finish()
    }
}

impl fmt::Display for InvalidLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid label `{}`: {}", self.name, self.reason)
    }
}

impl Error for InvalidLabel {}

fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && !name.starts_with("__")
}

/// Returns `true` if two names are the same to Prometheus, whose exporters write `.` as `_`.
fn is_same_name(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

/// The labels of both conventions, and those that exporters and scrapes of Prometheus add.
const RESERVED: [&str; 19] = [
    "method",
    "route",
    "status_code",
    "status_class",
    "outcome",
    "kind",
    "grpc_status",
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "error.type",
    "url.scheme",
    "network.protocol.version",
    "rpc.grpc.status_code",
    "rpc.response.status_code",
    "le",
    "quantile",
    "job",
    "instance",
];

/// The number of 8-bit identifiers in a [`LabelSet`].
const MAX_LABELS: usize = 8;
/// The maximum of distinct values, which leaves identifiers for those that threads waste.
const MAX_VALUES: usize = 250;
/// The maximum length in bytes of a value, since clients may choose the values.
const MAX_VALUE_LEN: usize = 128;

const OTHER: &str = "other";
const OTHER_ID: u8 = 1;
const FIRST_ID: usize = 2;

#[cfg(test)]
mod tests;
