//! The values that a handler reads, and what they permit its response.

use std::sync::Arc;

use super::super::entry::{Freshness, Links};

/// The values that a handler has read.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    names: Vec<Arc<str>>,
    tags: Vec<String>,
    /// The time for which all values are fresh, in milliseconds from their reads on. `None` before the first
    /// value.
    left: Option<u64>,
    /// There are more names or tags than a response may be linked to.
    is_over: bool,
}

impl Reads {
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Notes that the value of a name, or its absence, is read.
    pub(crate) fn name(&mut self, name: &Arc<str>) {
        if self.names.last() == Some(name) {
            return;
        }
        self.names.push(Arc::clone(name));
        if self.names.len() > 2 * MAX_LINKS {
            self.names.sort_unstable();
            self.names.dedup();
            self.is_over |= self.names.len() > MAX_LINKS;
            // No more of them are of use.
            self.names.truncate(MAX_LINKS);
        }
    }

    /// Notes that a value is read that has these tags, and is fresh for `left` milliseconds.
    pub(crate) fn value(&mut self, tags: &[String], left: u64) {
        self.left = Some(self.left.map_or(left, |least| least.min(left)));
        for tag in tags {
            if self.tags.len() >= MAX_LINKS {
                self.is_over |= !self.tags.contains(tag);
            } else if !self.tags.contains(tag) {
                self.tags.push(tag.clone());
            }
        }
    }

    /// Notes that a response is read that is linked to values, and is fresh for `left` milliseconds.
    pub(crate) fn response(&mut self, links: &Links, left: u64) {
        links.names().iter().for_each(|name| self.name(name));
        self.value(links.tags(), left);
    }

    /// Returns the links of a response, or `None` if there are too many.
    pub(super) fn links(&self) -> Option<Links> {
        let mut names = self.names.clone();
        names.sort_unstable();
        names.dedup();
        let texts = names.iter().map(|name| name.len()).chain(self.tags.iter().map(String::len));
        let is_over = self.is_over || names.len() > MAX_LINKS || texts.sum::<usize>() > MAX_TEXT;
        (!is_over).then(|| Links::new(names, self.tags.clone()))
    }

    /// Returns the freshness of a response that is fresh for no longer than its values. Their times are
    /// counted from the call of the handler on, which took `took` milliseconds. Returns `None` if a value
    /// is stale.
    pub(super) fn shorten(&self, freshness: Freshness, took: u64) -> Option<Freshness> {
        let Some(left) = self.left else { return Some(freshness) };
        let left = left.checked_sub(took).filter(|left| *left > 0)?;
        let lifetime = freshness.lifetime.min(freshness.age.saturating_add(left));
        Some(Freshness { lifetime, ..freshness })
    }
}

/// The maximum number of values that a response may be linked to, and of their tags.
pub(crate) const MAX_LINKS: usize = 256;

/// The maximum length of all names and tags, in bytes.
const MAX_TEXT: usize = 16 * 1024;
