//! The log of purges that processes share: how they are written and read.

use std::collections::HashMap;
use std::time::Duration;

use super::super::super::purge::{Name, Own, Purges, Stamp};
use super::client::{Client, Failure};

/// What this process knows of the log, and what it has to tell.
#[derive(Debug)]
pub(super) struct Sync {
    keys: [String; 2],
    channel: String,
    keep: Duration,
    epoch: Stamp,
    known: Stamp,
    /// The name that was purged by the last stamp, if any was since the floor.
    known_name: String,
    floor: Stamp,
    /// What is purged, all of it where there is no name, and was not written down yet.
    pending: HashMap<Option<Name>, u64>,
}

/// Epoch, floor, last stamp, that of the last purge of all, and names with their stamps.
type Reply = (Stamp, Stamp, Stamp, Stamp, Vec<String>);

impl Sync {
    /// `keep` is how long names are remembered: longer than any entry is.
    pub(super) fn new(prefix: &str, keep: Duration) -> Self {
        // In a cluster, what is in braces is in one slot.
        let key = |name| format!("{prefix}{{purges}}:{name}");
        Self {
            keys: [key("names"), key("state")],
            channel: key("news"),
            keep,
            epoch: 0,
            known: 0,
            known_name: String::new(),
            floor: 0,
            pending: HashMap::new(),
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn knows(&self, stamp: Stamp) -> bool {
        stamp <= self.known
    }

    /// Notes what is to be written down.
    pub(super) fn note(&mut self, own: Own) {
        let number = self.pending.entry(own.name).or_default();
        *number = own.number.max(*number);
        if self.pending.len() > MOST_PENDING {
            // More is purged than has to be, and not less.
            let newest = self.pending.drain().map(|(_, number)| number).max();
            self.pending.insert(None, newest.unwrap_or_default());
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes down what is pending, and learns what is new. Returns the stamp of the last purge of
    /// all.
    pub(super) async fn exchange(
        &mut self,
        client: &Client,
        purges: &Purges,
    ) -> Result<Stamp, Failure> {
        let mut told = Vec::new();
        loop {
            let batch = if told.is_empty() { self.batch() } else { Vec::new() };
            let numbers = [self.epoch, self.known, PAGE, MOST_NAMES, micros(self.keep), self.floor];
            let mut arguments: Vec<String> = numbers.map(|number| number.to_string()).into();
            arguments.extend([self.known_name.clone(), self.channel.clone()]);
            arguments.extend(batch.iter().map(|own| written(own.name.as_ref())));
            let keys = [&*self.keys[0], &*self.keys[1]];
            let (epoch, floor, last, flushed, news): Reply =
                client.script(SCRIPT, &keys, arguments).await?;
            let whole = (news.len() as u64) < 2 * PAGE;
            if let [.., name, _] = &*news {
                self.known_name.clone_from(name);
            }
            let news = names(&news);
            self.epoch = epoch;
            self.floor = floor;
            self.known = if whole { last } else { news.last().map_or(last, |(_, stamp)| *stamp) };
            told.extend(batch);
            // What was written is among the news of the last page.
            purges.learn(&news, floor, if whole { &told } else { &[] });
            if whole {
                for own in told.drain(..) {
                    self.pending.remove(&own.name);
                }
                if !self.is_pending() {
                    return Ok(flushed);
                }
            }
        }
    }

    /// What is pending, or some of it.
    fn batch(&self) -> Vec<Own> {
        let all = self.pending.get_key_value(&None).into_iter();
        let named = self.pending.iter().filter(|(name, _)| name.is_some());
        let batch = all.chain(named).take(BATCH);
        batch.map(|(name, number)| Own { name: name.clone(), number: *number }).collect()
    }
}

fn written(name: Option<&Name>) -> String {
    match name {
        None => "*".to_owned(),
        Some(Name::Url(url)) => format!("u{url:032x}"),
        Some(Name::Prefix(prefix)) => format!("p{prefix}"),
        Some(Name::Tag(tag)) => format!("t{tag}"),
    }
}

/// A name that is not known is one of a version to come, and may be that of anything.
fn names(news: &[String]) -> Vec<(Option<Name>, Stamp)> {
    let name = |text: &str| {
        Some(match text.split_at_checked(1)? {
            ("u", url) => Name::Url(u128::from_str_radix(url, 16).ok()?),
            ("p", prefix) => Name::Prefix(prefix.to_owned()),
            ("t", tag) => Name::Tag(tag.to_owned()),
            _ => return None,
        })
    };
    let pairs = news.chunks_exact(2);
    pairs.filter_map(|pair| Some((name(&pair[0]), pair[1].parse().ok()?))).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const SCRIPT: &str = include_str!("sync.lua");

/// Names that are read at a time.
const PAGE: u64 = 10_000;

/// Names that are written at a time.
const BATCH: usize = 1_000;

/// Names that are remembered. If there are more, what was kept before the oldest of them is purged.
const MOST_NAMES: u64 = 100_000;

/// If there are more, all is purged.
const MOST_PENDING: usize = 50_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        let all = [
            Name::Url(0),
            Name::Url(u128::MAX),
            Name::Prefix("a\nb".into()),
            Name::Tag(String::new()),
        ];
        for name in all {
            let news = [written(Some(&name)), "7".to_owned()];
            assert_eq!(names(&news), [(Some(name), 7)]);
        }
        for strange in ["*", "", "x1", "u", "uxyz", "äb"] {
            assert_eq!(names(&[strange.to_owned(), "7".to_owned()]), [(None, 7)], "{strange}");
        }
    }

    #[test]
    fn what_cannot_be_told_for_long_becomes_a_purge_of_all() {
        let mut sync = Sync::new("x:", Duration::from_secs(1));
        let own = |name, number| Own { name: Some(Name::Url(name)), number };
        for number in 0..MOST_PENDING {
            sync.note(own(number as u128, number as u64));
            sync.note(own(number as u128, number as u64));
        }
        assert_eq!(sync.pending.len(), MOST_PENDING);
        assert_eq!(sync.batch().len(), BATCH);
        sync.note(own(u128::MAX, u64::MAX));
        assert_eq!(sync.batch(), [Own { name: None, number: u64::MAX }]);
        sync.note(own(1, 3));
        sync.note(own(1, 2));
        assert_eq!(sync.batch(), [Own { name: None, number: u64::MAX }, own(1, 3)]);
    }

    proptest! {
        #[test]
        fn any_name_is_read_as_it_was_written(
            name in prop_oneof![
                any::<u128>().prop_map(Name::Url),
                any::<String>().prop_map(Name::Prefix),
                any::<String>().prop_map(Name::Tag),
            ],
            stamp in any::<Stamp>(),
        ) {
            let news = [written(Some(&name)), stamp.to_string()];
            prop_assert_eq!(names(&news), [(Some(name), stamp)]);
        }

        #[test]
        fn no_news_are_a_panic_and_each_with_a_stamp_is_read(
            news in prop::collection::vec(prop_oneof![any::<String>(), "[uptx*]?[0-9a-f+]{0,34}"], 0..8),
        ) {
            let stamped = news.chunks_exact(2).filter(|pair| pair[1].parse::<Stamp>().is_ok());
            let read = names(&news);
            prop_assert_eq!(read.len(), stamped.clone().count());
            for ((name, _), pair) in read.into_iter().zip(stamped) {
                // Of a URL, more than one spelling is the same number.
                if let Some(Name::Prefix(_) | Name::Tag(_)) = name {
                    prop_assert_eq!(&written(name.as_ref()), &pair[0]);
                }
            }
        }
    }
}
