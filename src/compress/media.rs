use std::fmt;
use std::sync::Arc;

use crate::media_type::{Essence, MediaType, essence};

/// Which media types are worth compressing.
#[derive(Clone)]
pub(super) enum MediaTypes {
    /// What the table says, but for these; the last that matches counts.
    Table {
        exceptions: Vec<(MediaType, bool)>,
    },
    Chosen(Arc<Choose>),
}

type Choose = dyn Fn(&str) -> bool + Send + Sync;

impl MediaTypes {
    /// Whether a `content-type` is of a media type that is worth it. A malformed one is not.
    pub(super) fn include(&self, content_type: &[u8]) -> bool {
        let Some(essence) = essence(content_type) else { return false };
        match self {
            Self::Chosen(choose) => {
                std::str::from_utf8(essence.whole).is_ok_and(|whole| choose(whole))
            }
            Self::Table { exceptions } => {
                let mut latest = exceptions.iter().rev();
                let exception = latest.find(|(media_type, _)| media_type.matches(essence));
                exception.map_or_else(|| in_table(essence), |(_, included)| *included)
            }
        }
    }

    pub(super) fn set(&mut self, media_type: MediaType, included: bool) {
        if let Self::Chosen(_) = self {
            *self = Self::default();
        }
        if let Self::Table { exceptions } = self {
            exceptions.push((media_type, included));
        }
    }
}

impl Default for MediaTypes {
    fn default() -> Self {
        Self::Table { exceptions: Vec::new() }
    }
}

impl fmt::Debug for MediaTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { exceptions } => f.debug_tuple("Table").field(exceptions).finish(),
            Self::Chosen(_) => f.write_str("Chosen"),
        }
    }
}

fn in_table(essence: Essence<'_>) -> bool {
    let Essence { class, subtype, .. } = essence;
    let class_is = |name: &str| class.eq_ignore_ascii_case(name.as_bytes());
    class_is("text")
        || essence.suffix().is_some_and(|suffix| has(SUFFIXES, suffix))
        || class_is("application") && has(APPLICATION, subtype)
        || class_is("font") && has(FONT, subtype)
        || class_is("image") && has(IMAGE, subtype)
        || class_is("model") && has(MODEL, subtype)
        || class_is("message") && has(MESSAGE, subtype)
}

fn has(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|at| name.eq_ignore_ascii_case(at.as_bytes()))
}

// What the mime database marks as compressible, less what no service sends.
const SUFFIXES: &[&str] = &["json", "xml", "text", "yaml"];
const APPLICATION: &[&str] = &[
    "json",
    "javascript",
    "xml",
    "wasm",
    "x-javascript",
    "ecmascript",
    "x-ndjson",
    "jsonl",
    "json-seq",
    "json5",
    "graphql",
    "yaml",
    "toml",
    "sql",
    "rtf",
    "tar",
    "x-tar",
    "x-sh",
    "x-httpd-php",
    "x-www-form-urlencoded",
    "vnd.ms-fontobject",
    "vnd.ms-opentype",
    "x-font-ttf",
    "x-font-otf",
    "x-opentype",
    "x-truetype",
    "xml-dtd",
    "postscript",
];
const FONT: &[&str] = &["ttf", "otf", "collection", "sfnt", "eot", "opentype"];
const IMAGE: &[&str] = &["bmp", "x-ms-bmp", "x-icon", "vnd.microsoft.icon", "vnd.adobe.photoshop"];
const MODEL: &[&str] = &["gltf-binary", "obj", "stl"];
const MESSAGE: &[&str] = &["rfc822", "http"];
