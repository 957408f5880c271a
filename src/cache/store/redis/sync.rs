//! The log of purges that processes share: how they are written and read.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::super::purge::{Name, Purges, Stamp};
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
    pending: VecDeque<Option<Name>>,
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
            pending: VecDeque::new(),
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn knows(&self, stamp: Stamp) -> bool {
        stamp <= self.known
    }

    /// Notes what is to be written down.
    pub(super) fn note(&mut self, name: Option<Name>) {
        if name.is_none() {
            self.pending.clear();
        }
        if !self.pending.contains(&name) {
            self.pending.push_back(name);
        }
        if self.pending.len() > MOST_PENDING {
            // More is purged than has to be, and not less.
            self.note(None);
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
        let pending = std::mem::take(&mut self.pending);
        let written: Vec<_> = pending.iter().map(|name| written(name.as_ref())).collect();
        let exchanged = self.read(client, purges, written).await;
        if exchanged.is_err() {
            self.pending = pending;
        }
        exchanged
    }

    /// Learns what is new, when `written` is written down.
    pub(super) async fn read(
        &mut self,
        client: &Client,
        purges: &Purges,
        mut written: Vec<String>,
    ) -> Result<Stamp, Failure> {
        loop {
            let numbers = [self.epoch, self.known, PAGE, MOST_NAMES, micros(self.keep)];
            let mut arguments: Vec<String> = numbers.map(|number| number.to_string()).into();
            arguments.push(self.channel.clone());
            arguments.push(self.floor.to_string());
            arguments.push(self.known_name.clone());
            arguments.append(&mut written);
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
            purges.learn(news.into_iter().filter_map(|(name, stamp)| Some((name?, stamp))), floor);
            if whole {
                return Ok(flushed);
            }
        }
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

/// Names that are not known are those of a version to come, which purges what this one has not.
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

/// Names that are remembered. If there are more, what was kept before the oldest of them is purged.
const MOST_NAMES: u64 = 50_000;

/// Less than the stamps between two of the log's, and more than wait unless Redis is away.
const MOST_PENDING: usize = 900;

#[cfg(test)]
mod tests {
    use super::*;

    fn sync() -> Sync {
        Sync::new("x:", Duration::from_secs(1))
    }

    #[test]
    fn names_are_read_as_they_were_written() {
        for name in
            [Name::Url(0), Name::Url(u128::MAX), Name::Prefix("a\nb".into()), Name::Tag("".into())]
        {
            let news = [written(Some(&name)), "7".to_owned()];
            assert_eq!(names(&news), [(Some(name), 7)]);
        }
        for strange in ["*", "", "x1", "u", "uxyz", "äb"] {
            assert_eq!(names(&[strange.to_owned(), "7".to_owned()]), [(None, 7)], "{strange}");
        }
    }

    #[test]
    fn what_cannot_be_told_for_long_becomes_a_purge_of_all() {
        let mut sync = sync();
        for number in 0..MOST_PENDING {
            sync.note(Some(Name::Url(number as u128)));
            sync.note(Some(Name::Url(number as u128)));
        }
        assert_eq!(sync.pending.len(), MOST_PENDING);
        sync.note(Some(Name::Tag("a".into())));
        assert_eq!(sync.pending, [None]);
        sync.note(Some(Name::Tag("b".into())));
        assert_eq!(sync.pending, [None, Some(Name::Tag("b".into()))]);
        sync.note(None);
        assert_eq!(sync.pending, [None]);
    }
}
