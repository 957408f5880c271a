use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{request, response};
use metrics::{Label, SharedString};

use super::grow::{GrowOnly, hash_str};

/// The labels of the user's own.
#[derive(Clone, Default)]
pub(super) struct CustomLabels {
    labels: Vec<(&'static str, Source)>,
}

/// The values of the user's own labels that were seen, up to a bound for each label.
#[derive(Debug)]
pub(super) struct LabelValues {
    names: Vec<&'static str>,
    values: Vec<Values>,
}

/// One value for each of the user's labels, of 8 bits each, so that it is compared in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LabelSet(pub(super) u64);

/// A label that a layer refuses: its name is not valid, is used already, or is one too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidLabel {
    name: &'static str,
    reason: &'static str,
}

#[derive(Clone)]
enum Source {
    Request(Arc<OfRequest>),
    Response(Arc<OfResponse>),
}

#[derive(Debug)]
struct Values {
    table: GrowOnly<Box<str>, u8>,
    next: AtomicUsize,
}

pub(super) type OfRequest = dyn Fn(&request::Parts) -> Option<&str> + Send + Sync;
pub(super) type OfResponse = dyn Fn(&response::Parts) -> Option<&str> + Send + Sync;

impl CustomLabels {
    pub(super) fn of_request(
        &mut self,
        name: &'static str,
        value: Arc<OfRequest>,
    ) -> Result<(), InvalidLabel> {
        self.push(name, Source::Request(value))
    }

    pub(super) fn of_response(
        &mut self,
        name: &'static str,
        value: Arc<OfResponse>,
    ) -> Result<(), InvalidLabel> {
        self.push(name, Source::Response(value))
    }

    fn push(&mut self, name: &'static str, source: Source) -> Result<(), InvalidLabel> {
        let used = self.labels.iter().any(|(other, _)| is_same(other, name));
        let reason = if !is_valid(name) {
            "it is not of letters, digits, `_` and `.`, or begins with a digit, `.` or `__`"
        } else if RESERVED.iter().any(|reserved| is_same(reserved, name)) {
            "the layer, or Prometheus, has a label of this name"
        } else if used {
            "there is a label of this name already"
        } else if self.labels.len() == MAX_LABELS {
            "a layer has at most 8 labels of yours"
        } else {
            self.labels.push((name, source));
            return Ok(());
        };
        Err(InvalidLabel { name, reason })
    }

    pub(super) fn read_requests(&self) -> bool {
        self.labels.iter().any(|(_, source)| matches!(source, Source::Request(_)))
    }

    pub(super) fn read_responses(&self) -> bool {
        self.labels.iter().any(|(_, source)| matches!(source, Source::Response(_)))
    }
}

impl LabelValues {
    /// Makes a table for each label, of up to `max` values.
    pub(super) fn new(labels: &CustomLabels, max: usize) -> Self {
        let values = || Values {
            table: GrowOnly::new(max.min(MAX_VALUES)),
            next: AtomicUsize::new(FIRST_VALUE),
        };
        Self {
            names: labels.labels.iter().map(|(name, _)| *name).collect(),
            values: labels.labels.iter().map(|_| values()).collect(),
        }
    }

    pub(super) fn of_request(&self, labels: &CustomLabels, head: &request::Parts) -> LabelSet {
        self.read(labels, |source| match source {
            Source::Request(value) => value(head),
            Source::Response(_) => None,
        })
    }

    pub(super) fn of_response(&self, labels: &CustomLabels, head: &response::Parts) -> LabelSet {
        self.read(labels, |source| match source {
            Source::Request(_) => None,
            Source::Response(value) => value(head),
        })
    }

    /// Returns the set in which every value is `other`.
    pub(super) fn folded(set: LabelSet) -> LabelSet {
        let folded = |at| if set.at(at) == 0 { 0 } else { OTHER_VALUE };
        (0..MAX_LABELS).fold(LabelSet::default(), |set, at| set.with(at, folded(at)))
    }

    pub(super) fn labels(&self, set: LabelSet) -> impl Iterator<Item = Label> {
        let named = self.names.iter().zip(&self.values).enumerate();
        named.filter_map(move |(at, (name, values))| {
            let value = match set.at(at) {
                0 => return None,
                OTHER_VALUE => SharedString::const_str(OTHER),
                id => values.table.find(|found| *found == id)?.to_string().into(),
            };
            Some(Label::new(*name, value))
        })
    }

    fn read<'a>(
        &self,
        labels: &CustomLabels,
        value: impl Fn(&Source) -> Option<&'a str>,
    ) -> LabelSet {
        let pairs = labels.labels.iter().zip(&self.values).enumerate();
        pairs.fold(LabelSet::default(), |set, (at, ((_, source), values))| {
            let value = value(source).filter(|value| !value.is_empty());
            set.with(at, value.map_or(0, |value| values.id(value)))
        })
    }
}

impl Values {
    fn id(&self, value: &str) -> u8 {
        if value.len() > MAX_VALUE_LEN || value == OTHER {
            return OTHER_VALUE;
        }
        let found = self.table.find_or_insert(
            hash_str(value),
            |at| **at == *value,
            || {
                // Threads that insert the same value at once waste an identifier each.
                let id = self.next.fetch_add(1, Ordering::Relaxed);
                (value.into(), u8::try_from(id).unwrap_or(OTHER_VALUE))
            },
        );
        found.map_or(OTHER_VALUE, |(_, id)| *id)
    }
}

impl LabelSet {
    /// Unites the labels of a request with those of its response.
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn at(self, at: usize) -> u8 {
        (self.0 >> (8 * at)) as u8
    }

    fn with(self, at: usize, value: u8) -> Self {
        Self(self.0 | u64::from(value) << (8 * at))
    }
}

impl fmt::Debug for CustomLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.labels.iter().map(|(name, _)| name)).finish()
    }
}

impl fmt::Display for InvalidLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the label `{}` is refused: {}", self.name, self.reason)
    }
}

impl Error for InvalidLabel {}

fn is_valid(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    name.bytes().all(allowed)
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && !name.starts_with("__")
}

/// Exporters of Prometheus write `.` as `_`.
fn is_same(one: &str, other: &str) -> bool {
    one.replace('.', "_") == other.replace('.', "_")
}

/// Those of both conventions, and what exporters and scrapes of Prometheus add.
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

/// What a [`LabelSet`] has place for.
const MAX_LABELS: usize = 8;
const MAX_VALUES: usize = 250;
const MAX_VALUE_LEN: usize = 128;

const OTHER: &str = "other";
const OTHER_VALUE: u8 = 1;
const FIRST_VALUE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&'static str]) -> Result<CustomLabels, InvalidLabel> {
        let mut labels = CustomLabels::default();
        for name in names {
            labels.of_request(name, Arc::new(|head| head.uri.query()))?;
        }
        Ok(labels)
    }

    fn set(values: &LabelValues, labels: &CustomLabels, query: &str) -> Vec<Label> {
        let request = http::Request::get(format!("/?{query}")).body(()).unwrap();
        values.labels(values.of_request(labels, &request.into_parts().0)).collect()
    }

    #[test]
    fn names_that_cannot_be_exported_are_refused() {
        for name in ["", "1a", "a-b", "a b", ".a", "__a", "ä", "route", "http_route", "le", "job"]
        {
            assert!(labels(&[name]).is_err(), "{name}");
        }
        for name in ["tenant", "_a", "a.b", "A1"] {
            assert!(labels(&[name]).is_ok(), "{name}");
        }
        assert!(labels(&["a.b", "a_b"]).is_err(), "the same name to Prometheus");
        assert!(labels(&["a", "b", "c", "d", "e", "f", "g", "h"]).is_ok());
        let error = labels(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the label `i` is refused: a layer has at most 8 labels of yours"
        );
    }

    #[test]
    fn values_beyond_the_maximum_are_other() {
        let labels = labels(&["a", "b", "c", "d", "e", "f", "g", "h"]).unwrap();
        let values = LabelValues::new(&labels, 2);
        for (query, expected) in [
            ("x", "x"),
            ("y", "y"),
            ("z", "other"),
            ("x", "x"),
            ("other", "other"),
            (&*"x".repeat(129), "other"),
        ] {
            let found = set(&values, &labels, query);
            assert_eq!(found.len(), 8, "{query}");
            assert!(found.iter().all(|label| label.value() == expected), "{query}: {found:?}");
        }
        assert_eq!(set(&values, &labels, ""), [], "no value, no label");
    }
}
