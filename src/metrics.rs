//! The recorder that a layer's metrics go to, by the [`metrics`](https://docs.rs/metrics) facade.

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder, SharedString, Unit};

/// The recorder that a layer was given, or else the recorder of the process.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

/// The name of a metric, with the unit and the help text that exporters print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    help: &'static str,
}

impl Name {
    pub(crate) const fn new(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self { name, unit, help }
    }

    pub(crate) fn help(self) -> SharedString {
        SharedString::const_str(self.help)
    }
}

impl Metrics {
    pub(crate) fn to(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        Self { recorder: Some(recorder) }
    }

    pub(crate) fn with<T>(&self, record: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.recorder {
            Some(recorder) => record(recorder),
            None => metrics::with_recorder(record),
        }
    }

    /// Returns a counter, and describes it.
    pub(crate) fn counter(&self, name: Name, labels: Vec<Label>) -> Counter {
        self.with(|recorder| {
            recorder.describe_counter(name.name.into(), Some(name.unit), name.help());
            recorder.register_counter(&Key::from_parts(name.name, labels), &METADATA)
        })
    }

    /// Returns a gauge, and describes it.
    pub(crate) fn gauge(&self, name: Name, labels: Vec<Label>) -> Gauge {
        self.with(|recorder| {
            recorder.describe_gauge(name.name.into(), Some(name.unit), name.help());
            recorder.register_gauge(&Key::from_parts(name.name, labels), &METADATA)
        })
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorder = if self.recorder.is_some() { "given" } else { "of the process" };
        f.debug_struct("Metrics").field("recorder", &recorder).finish()
    }
}

/// The metadata of every handle of this crate.
pub(crate) const METADATA: Metadata<'static> =
    Metadata::new("tower_kit", Level::INFO, Some("tower_kit"));
