use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Which media types are worth compressing.
#[derive(Clone)]
pub(super) enum MediaTypes {
    /// The table, with what was added to it and taken from it.
    Table {
        added: Vec<Cow<'static, str>>,
        removed: Vec<Cow<'static, str>>,
    },
    Chosen(Arc<Choose>),
}

type Choose = dyn Fn(&str) -> bool + Send + Sync;

impl MediaTypes {
    /// Whether a `content-type` is of a media type that is worth it. A malformed one is not.
    pub(super) fn include(&self, content_type: &[u8]) -> bool {
        let end = content_type.iter().position(|&byte| byte == b';').unwrap_or(content_type.len());
        let Ok(essence) = std::str::from_utf8(&content_type[..end]) else { return false };
        let essence = essence.trim_matches([' ', '\t']);
        match self {
            Self::Chosen(choose) => choose(essence),
            Self::Table { added, removed } => {
                let is = |named: &Cow<'_, str>| named.eq_ignore_ascii_case(essence);
                if removed.iter().any(is) {
                    false
                } else {
                    in_table(essence) || added.iter().any(is)
                }
            }
        }
    }

    pub(super) fn add(&mut self, media_type: Cow<'static, str>) {
        self.edit(media_type, |added, removed| (added, removed));
    }

    pub(super) fn remove(&mut self, media_type: Cow<'static, str>) {
        self.edit(media_type, |added, removed| (removed, added));
    }

    /// Puts the media type on the first list and takes it from the second.
    fn edit(
        &mut self,
        media_type: Cow<'static, str>,
        choose: impl for<'a> FnOnce(&'a mut Names, &'a mut Names) -> (&'a mut Names, &'a mut Names),
    ) {
        if let Self::Chosen(_) = self {
            *self = Self::default();
        }
        if let Self::Table { added, removed } = self {
            let (on, off) = choose(added, removed);
            off.retain(|at| !at.eq_ignore_ascii_case(&media_type));
            on.push(media_type);
        }
    }
}

type Names = Vec<Cow<'static, str>>;

impl Default for MediaTypes {
    fn default() -> Self {
        Self::Table { added: Vec::new(), removed: Vec::new() }
    }
}

impl fmt::Debug for MediaTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { added, removed } => {
                f.debug_struct("Table").field("added", added).field("removed", removed).finish()
            }
            Self::Chosen(_) => f.write_str("Chosen"),
        }
    }
}

fn in_table(essence: &str) -> bool {
    let Some((class, subtype)) = essence.split_once('/') else { return false };
    let class_is = |name: &str| class.eq_ignore_ascii_case(name);
    let suffix = subtype.rsplit_once('+').map(|(_, suffix)| suffix);
    class_is("text")
        || suffix.is_some_and(|suffix| has(SUFFIXES, suffix))
        || class_is("application") && has(APPLICATION, subtype)
        || class_is("font") && has(FONT, subtype)
        || class_is("image") && has(IMAGE, subtype)
        || class_is("model") && has(MODEL, subtype)
        || class_is("message") && has(MESSAGE, subtype)
}

fn has(names: &[&str], name: &str) -> bool {
    names.iter().any(|at| at.eq_ignore_ascii_case(name))
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
    "x-web-app-manifest+json",
    "vnd.ms-fontobject",
    "vnd.ms-opentype",
    "x-font-ttf",
    "x-font-otf",
    "x-opentype",
    "x-truetype",
    "xml-dtd",
    "postscript",
    "wspolicy+xml",
];
const FONT: &[&str] = &["ttf", "otf", "collection", "sfnt", "eot", "opentype"];
const IMAGE: &[&str] = &["bmp", "x-ms-bmp", "x-icon", "vnd.microsoft.icon", "vnd.adobe.photoshop"];
const MODEL: &[&str] = &["gltf-binary", "obj", "stl"];
const MESSAGE: &[&str] = &["rfc822", "http"];
