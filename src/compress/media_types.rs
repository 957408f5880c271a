use std::fmt;
use std::sync::Arc;

use crate::headers::media_type::Essence;
use crate::media_type::MediaType;

/// The choice of the media types that are compressed.
#[derive(Clone)]
pub(super) enum MediaTypes {
    /// The types of the table, except that the last exception that matches takes precedence.
    Table {
        exceptions: Vec<(MediaType, bool)>,
    },
    Predicate(Arc<Predicate>),
}

type Predicate = dyn Fn(&str) -> bool + Send + Sync;

impl MediaTypes {
    /// Returns `true` if bodies of this media type are compressed.
    pub(super) fn include(&self, essence: Essence<'_>) -> bool {
        match self {
            Self::Predicate(includes) => {
                std::str::from_utf8(essence.whole).is_ok_and(|whole| includes(whole))
            }
            Self::Table { exceptions } => {
                let mut latest = exceptions.iter().rev();
                let exception = latest.find(|(media_type, _)| media_type.matches(essence));
                exception.map_or_else(|| in_table(essence), |(_, included)| *included)
            }
        }
    }

    /// Includes or excludes a media type. A predicate is replaced by the table.
    pub(super) fn set(&mut self, media_type: MediaType, included: bool) {
        if let Self::Predicate(_) = self {
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
            Self::Predicate(_) => f.write_str("Predicate"),
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

// The tables have the types that the mime database marks as compressible, the structured suffixes
// that IANA registers for text, and what WHATWG's MIME Sniffing calls JSON, XML, JavaScript and
// fonts, except types that no service sends. Types that IANA registered late also have their
// earlier names.
const SUFFIXES: &[&str] = &["json", "json-seq", "xml", "text", "yaml"];
const APPLICATION: &[&str] = &[
    "json",
    "json-seq",
    "json5",
    "jsonl",
    "x-jsonl",
    "jsonlines",
    "x-jsonlines",
    "json-lines",
    "x-json",
    "ndjson",
    "x-ndjson",
    "x-json-stream",
    "javascript",
    "x-javascript",
    "ecmascript",
    "x-ecmascript",
    "node",
    "typescript",
    "x-typescript",
    "wasm",
    "xml",
    "xml-dtd",
    "xml-external-parsed-entity",
    "yaml",
    "x-yaml",
    "vnd.yaml",
    "vnd.oai.openapi",
    "vnd.oai.workflows",
    "toml",
    "x-toml",
    "csv",
    "x-csv",
    "vnd.csv",
    "sql",
    "x-sql",
    "graphql",
    "sparql-query",
    "sparql-update",
    "n-triples",
    "n-quads",
    "trig",
    "cbor",
    "cbor-seq",
    "msgpack",
    "x-msgpack",
    "vnd.msgpack",
    "protobuf",
    "x-protobuf",
    "x-google-protobuf",
    "vnd.google.protobuf",
    "vnd.apache.thrift.binary",
    "vnd.apache.thrift.compact",
    "vnd.apache.thrift.json",
    "openmetrics-text",
    "vnd.apple.mpegurl",
    "x-mpegurl",
    "x-subrip",
    "rtf",
    "tar",
    "x-tar",
    "x-sh",
    "x-csh",
    "x-perl",
    "x-httpd-php",
    "x-tcl",
    "x-tex",
    "x-latex",
    "x-www-form-urlencoded",
    "postscript",
    "pgp-keys",
    "x-pem-file",
    "edi-x12",
    "edifact",
    "font-cff",
    "font-off",
    "font-sfnt",
    "font-ttf",
    "x-font-ttf",
    "x-font-otf",
    "x-font-opentype",
    "x-font-truetype",
    "x-opentype",
    "x-truetype",
    "vnd.ms-fontobject",
    "vnd.ms-opentype",
];
const FONT: &[&str] = &["ttf", "otf", "collection", "sfnt", "eot", "opentype"];
const IMAGE: &[&str] = &["bmp", "x-ms-bmp", "x-icon", "vnd.microsoft.icon", "vnd.adobe.photoshop"];
const MODEL: &[&str] = &["gltf-binary", "obj", "mtl", "stl", "step", "iges", "vrml"];
const MESSAGE: &[&str] = &["rfc822", "global", "http", "imdn", "cpim"];

#[cfg(test)]
mod tests;
