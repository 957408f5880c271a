use std::sync::Arc;

use super::super::purge::{ScopedPurges, Stamp, Standing};

/// The values that a response was made of. A purge of one of them is one of the response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links(Option<Arc<Values>>);

#[derive(Debug, PartialEq, Eq)]
struct Values {
    names: Vec<Arc<str>>,
    tags: Vec<String>,
}

impl Links {
    /// Creates the links to values with these names, and to those that have these tags.
    pub(crate) fn new(names: Vec<Arc<str>>, tags: Vec<String>) -> Self {
        let is_empty = names.is_empty() && tags.is_empty();
        Self((!is_empty).then(|| Arc::new(Values { names, tags })))
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        self.0.as_ref().map_or(&[], |values| &values.names)
    }

    pub(crate) fn tags(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |values| &values.tags)
    }

    /// Returns these links and others.
    pub(crate) fn and(&self, others: &Self) -> Self {
        match (self.is_empty(), others.is_empty()) {
            (_, true) => self.clone(),
            (true, false) => others.clone(),
            (false, false) => {
                // Sorted, so that equal links have equal bytes.
                let mut names = [self.names(), others.names()].concat();
                names.sort_unstable();
                names.dedup();
                let mut tags = [self.tags(), others.tags()].concat();
                tags.sort_unstable();
                tags.dedup();
                Self::new(names, tags)
            }
        }
    }

    /// Compares the values with the purges after `watermark`.
    pub(super) fn standing(
        &self,
        purges: &ScopedPurges,
        watermark: Stamp,
        received: u64,
    ) -> Standing {
        // As far as values are concerned, the response is current for good.
        let Some(values) = &self.0 else { return Standing::Current(Stamp::MAX) };
        let standing = purges.standing_of_values(&values.names, &values.tags, watermark, received);
        // The response stays in the store when the entry of a value is removed from it.
        if purges.remembers(watermark) { standing } else { Standing::Purged }
    }

    /// Returns `true` if none of the values was purged after `watermark`.
    pub(super) fn are_admitted(&self, purges: &ScopedPurges, watermark: Stamp) -> bool {
        let Some(values) = &self.0 else { return true };
        purges.admits_values(&values.names, &values.tags, watermark)
    }

    /// Returns about how many bytes of memory the links take.
    pub(crate) fn size(&self) -> usize {
        let Some(values) = &self.0 else { return 0 };
        let names: usize = values.names.iter().map(|name| NAME + name.len()).sum();
        let tags: usize = values.tags.iter().map(|tag| NAME + tag.capacity()).sum();
        size_of::<Values>() + names + tags
    }
}

/// The memory of a name beside its text, in bytes: a pointer and an allocation.
const NAME: usize = 16 + 16 + 48;
