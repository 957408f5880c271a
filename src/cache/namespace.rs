use std::borrow::Cow;
use std::sync::Arc;

/// The text that separates the keys, URLs and tags of one layer from those of other users of a
/// store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespace(Arc<str>);

impl Namespace {
    /// Creates the namespace of this name. The empty name adds nothing to keys.
    pub(crate) fn named(name: &str) -> Self {
        if name.is_empty() {
            return Self::default();
        }
        // No URL begins so, since a scheme has no `=`. The `:` ends the name, which therefore has
        // none of its own.
        Self(format!("layer={}:", name.replace('%', "%25").replace(':', "%3A")).into())
    }

    /// Creates the default namespace of a layer that `before` layers over the same store precede.
    pub(crate) fn numbered(before: u64) -> Self {
        match before {
            0 => Self::default(),
            _ => Self::named(&(before + 1).to_string()),
        }
    }

    /// Returns `true` for the empty name.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `text` as it is known outside of the namespace.
    pub(crate) fn qualify<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(format!("{}{text}", self.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_do_not_overlap() {
        let names = ["", "2", "22", "a", "a:", "a%", "a%3A", ":", "ä"];
        let keys = names.map(|name| Namespace::named(name).qualify("http://x/").into_owned());
        for (at, key) in keys.iter().enumerate() {
            for (other_at, other) in names.iter().enumerate() {
                let prefix = Namespace::named(other).qualify("http://").into_owned();
                assert_eq!(key.starts_with(&prefix), at == other_at, "{key} {prefix}");
            }
        }
    }

    #[test]
    fn first_layer_has_the_empty_namespace() {
        assert_eq!(Namespace::numbered(0), Namespace::named(""));
        assert_eq!(Namespace::numbered(1), Namespace::named("2"));
    }
}
