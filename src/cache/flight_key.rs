use std::sync::Arc;

use super::config::Config;
use super::key::Key;
use super::lookup::Lookup;
use super::markers::Marker;
use super::policy::RequestPolicy;

/// The properties that requests with one key share if they would get the same response.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct FlightKey {
    class: u64,
    /// A response to a request with credentials may be for that request only.
    authorized: bool,
    /// So may a response to a request with `cookie`, where the layer gives lifetimes.
    cookie: bool,
}

impl FlightKey {
    pub(crate) fn of(ask: &RequestPolicy, lookup: &Lookup) -> Self {
        let class = match lookup {
            Lookup::OtherVariants(class) => *class,
            Lookup::Found(entry) => entry.stored().map_or(0, |stored| stored.variant.class()),
            Lookup::Nothing => 0,
        };
        Self { class, authorized: ask.authorized, cookie: ask.cookie }
    }

    pub(crate) fn marker(self, config: &Config, key: &Key) -> Marker {
        config.state.markers.marker((key.as_str(), self))
    }

    /// Returns the key under which the requests are coalesced. Requests that asked for a new response
    /// are coalesced with their like only: a fetch that began before them is no use to them. `key` is the
    /// same afterwards.
    pub(crate) fn name(self, key: &mut Key, is_asked: bool) -> Arc<str> {
        let Self { class, authorized, cookie } = self;
        let flags = u8::from(authorized) | u8::from(cookie) << 1 | u8::from(is_asked) << 2;
        // Another rule may have made the same key of another URL. The header has no line feed.
        let rule = key.rule().map(|rule| String::from_utf8_lossy(rule).into_owned());
        // In the memory of the key, which has space: a name takes no second text.
        let name = &mut key.text;
        let length = name.len();
        name.push('\n');
        if let Some(rule) = rule {
            name.push_str(&rule);
            name.push('\n');
        }
        // Most responses do not vary, and formatting costs more than the rest of the name.
        if class != 0 {
            name.push_str(&format!("{class:x}"));
        }
        name.push(char::from(b'0' + flags));
        let shared = Arc::from(&**name);
        name.truncate(length);
        shared
    }
}
