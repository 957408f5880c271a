//! The reference's decision to store a response, and for how long (RFC 9111 §3 and §4.2).

use super::reference::Time;
use super::story::{Directive, Expires, Head, Hint, Odd, Request};

/// The setters of the layer that a story runs under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Setup {
    /// The directives of requests count.
    Rfc,
    /// The directives of requests do not count.
    IgnoresRequests,
    /// [`Setup::Rfc`], with lifetimes of the layer: 30 s, and 5 s for a 404.
    OwnLifetimes,
    /// [`Setup::Rfc`], and each 200 is stored for 20 s, whatever lifetime it states.
    WithTtl,
    /// [`Setup::Rfc`], and a HEAD that finds nothing is a GET for the service.
    FillsOnHead,
}

/// The use of a stored response. Times are in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Freshness {
    pub(super) received: i64,
    /// `corrected_initial_age` (§4.2.3).
    pub(super) age: i64,
    pub(super) lifetime: i64,
    pub(super) while_revalidate: i64,
    pub(super) if_error: i64,
    /// `no-cache`: never without validation.
    pub(super) validate: bool,
    /// Never when stale.
    pub(super) strict: bool,
    /// Also for requests with `authorization` (§3.5).
    pub(super) shared: bool,
    /// The lifetime is not one of the layer's own.
    pub(super) stated: bool,
}

/// The reasons for which a response is not stored.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum NotStored {
    /// Because of who asked, which says nothing of what others get.
    Client,
    /// The 304 is not about the stored response.
    Validator,
    Other,
}

impl Freshness {
    /// `current_age`. A clock that goes back makes nothing younger than it came.
    pub(super) fn age(&self, now: i64) -> i64 {
        self.age + (now - self.received).max(0)
    }

    pub(super) fn left(&self, now: i64) -> i64 {
        self.lifetime - self.age(now)
    }
}

/// Returns for how long a response may be used, if it may be stored (§3).
pub(super) fn judge(
    setup: Setup,
    request: &Request,
    head: &Head,
    (sent, received): (i64, Time),
) -> Result<Freshness, NotStored> {
    if head.status == 206 || head.status == 304 {
        return Err(NotStored::Other);
    }
    if head.hint == Some(Hint::NoStore) {
        return Err(NotStored::Other);
    }
    let (says, targeted) = directives(head).ok_or(NotStored::Other)?;
    let says = &says[..];
    let has = |directive| says.contains(&directive);
    let number = |of: fn(&Directive) -> Option<i64>| says.iter().filter_map(of).min();
    let understood = has(Directive::MustUnderstand) && UNDERSTOOD.contains(&head.status);
    if has(Directive::MustUnderstand) && !understood {
        return Err(NotStored::Other);
    }
    if has(Directive::NoStore) && !understood || has(Directive::Private) {
        return Err(NotStored::Other);
    }
    let s_maxage = number(|directive| match directive {
        Directive::SMaxage(seconds) => Some(*seconds),
        _ => None,
    });
    let shared = has(Directive::Public) || has(Directive::MustRevalidate) || s_maxage.is_some();
    if request.authorization && !shared {
        return Err(NotStored::Client);
    }
    let own = setup == Setup::OwnLifetimes;
    let status_ttl = (own && head.status == 404).then_some(5 * SECOND);
    let hint = match head.hint {
        Some(Hint::Ttl(seconds)) => Some(seconds * SECOND),
        _ => None,
    };
    if !STORED.contains(&head.status) && hint.is_none() {
        return Err(NotStored::Other);
    }
    if head.set_cookie && !has(Directive::PrivateCookie) {
        return Err(NotStored::Other);
    }
    let age = initial_age(head, (sent, received));
    let date = head.date.map_or(received.wall, |date| date * SECOND);
    let max_age = number(|directive| match directive {
        Directive::MaxAge(seconds) => Some(*seconds),
        _ => None,
    });
    // §4.2.1, and RFC 9213 §2.1: a targeted header takes the place of `expires` too.
    let stated = s_maxage.or(max_age).map(|seconds| seconds * SECOND);
    let stated = stated.or(head.expires.filter(|_| !targeted).map(|expires| match expires {
        Expires::At(seconds) => (seconds * SECOND - date).max(0),
        Expires::Junk => 0,
    }));
    // §4.2.2: a tenth of the time since it was modified, a day at most.
    let may_guess = HEURISTIC.contains(&head.status) || has(Directive::Public);
    let guessed = head.modified.filter(|_| may_guess);
    let guessed = guessed.map(|modified| ((date - modified * SECOND).max(0) / 10).min(DAY));
    if request.method == "POST" && stated.is_none() {
        return Err(NotStored::Other);
    }
    let default = (own && may_guess && head.status < 400).then_some(30 * SECOND);
    let given = setup == Setup::WithTtl && head.status == 200;
    let given = hint.or(given.then_some(20 * SECOND)).map(|ttl| ttl + age);
    let validate = has(Directive::NoCache) && given.is_none();
    let stated = given.or(stated);
    let of_layer = status_ttl.or(if guessed.is_none() { default } else { None });
    let lifetime = match stated {
        Some(stated) => stated,
        None => match status_ttl.map(|ttl| ttl + age).or(guessed) {
            Some(lifetime) => lifetime,
            None => match default {
                Some(ttl) => ttl + age,
                None if validate => 0,
                None => return Err(NotStored::Other),
            },
        },
    };
    let strict =
        has(Directive::MustRevalidate) || has(Directive::ProxyRevalidate) || s_maxage.is_some();
    let stale = |seconds: Option<i64>, default| match seconds {
        _ if strict => 0,
        Some(seconds) => seconds * SECOND,
        None => default,
    };
    let while_revalidate = number(|directive| match directive {
        Directive::WhileRevalidate(seconds) => Some(*seconds),
        _ => None,
    });
    let while_revalidate = stale(while_revalidate, 0);
    let if_error = number(|directive| match directive {
        Directive::IfError(seconds) => Some(*seconds),
        _ => None,
    });
    let if_error = stale(if_error, GRACE);
    // What could never be used again is not stored.
    let has_validator = head.etag.is_some() || head.modified.is_some();
    if (validate || lifetime + while_revalidate <= age) && !has_validator {
        return Err(NotStored::Other);
    }
    let stated = stated.is_some() || validate || of_layer.is_none();
    if is_session(setup, request) && !stated {
        return Err(NotStored::Client);
    }
    if head.vary.contains(&"*") {
        return Err(NotStored::Other);
    }
    Ok(Freshness {
        received: received.clock,
        age,
        lifetime,
        while_revalidate,
        if_error,
        validate,
        strict,
        shared,
        stated,
    })
}

/// Returns `true` if the request may be one of a session, and lifetimes may be the layer's own.
pub(super) fn is_session(setup: Setup, request: &Request) -> bool {
    request.cookie && setup == Setup::OwnLifetimes
}

/// The directives for this cache, and whether a targeted header states them (RFC 9213 §2.2). `None`
/// if what they say of storing cannot be read.
fn directives(head: &Head) -> Option<(Vec<Directive>, bool)> {
    let malformed = head.targeted.contains(&Directive::Odd(Odd::Junk));
    if !head.targeted.is_empty() && !malformed {
        return Some((head.targeted.clone(), true));
    }
    // The module page: `pragma` forbids where there is no `cache-control`.
    if head.pragma && head.control.is_empty() {
        return None;
    }
    if malformed && head.control.is_empty() && head.expires.is_none() {
        return None;
    }
    let read = |directive: &Directive| {
        Some(match directive {
            Directive::Odd(Odd::Junk) => Directive::MaxAge(0),
            Directive::Odd(Odd::Quoted) => Directive::MaxAge(20),
            Directive::Odd(Odd::NoStore | Odd::Unreadable | Odd::Private) => return None,
            other => *other,
        })
    };
    Some((head.control.iter().map(read).collect::<Option<_>>()?, false))
}

/// Returns `corrected_initial_age` (§4.2.3).
pub(super) fn initial_age(head: &Head, (sent, received): (i64, Time)) -> i64 {
    let date = head.date.map_or(received.wall, |date| date * SECOND);
    let apparent = (received.wall - date).max(0);
    let corrected = head.age.unwrap_or(0) * SECOND + (received.wall - sent).max(0);
    apparent.max(corrected)
}

/// §3.2: the stored head with what the 304 says.
pub(super) fn updated(old: &Head, new: &Head, now: i64) -> Head {
    let weak = old.etag.filter(|tag| tag.starts_with("W/"));
    let mut vary = old.vary.clone();
    vary.extend(new.vary.iter().filter(|name| !old.vary.contains(name)));
    let list =
        |old: &Vec<Directive>, new: &Vec<Directive>| if new.is_empty() { old } else { new }.clone();
    Head {
        status: old.status,
        control: list(&old.control, &new.control),
        targeted: list(&old.targeted, &new.targeted),
        pragma: new.pragma || old.pragma,
        hint: new.hint,
        expires: new.expires.or(old.expires),
        date: new.date.or(Some(now.div_euclid(SECOND))),
        age: new.age,
        etag: weak.or(new.etag).or(old.etag),
        modified: new.modified.or(old.modified),
        vary,
        set_cookie: new.set_cookie || old.set_cookie,
        tag: new.tag.or(old.tag),
        location: new.location.or(old.location),
        content_location: new.content_location.or(old.content_location),
        one: new.one.or(old.one),
    }
}

/// §5.2.2.4 and §5.2.2.7: the head without the headers that `no-cache` and `private` name.
pub(super) fn kept(mut head: Head) -> Head {
    let says = directives(&head).map_or_else(Vec::new, |(says, _)| says);
    let has = |directive| says.contains(&directive);
    // What is validated each time may be stored whole.
    let validated = has(Directive::NoCache);
    let names_one = has(Directive::PrivateOne) || has(Directive::NoCacheOne) && !validated;
    head.one = head.one.filter(|_| !names_one);
    head.set_cookie &= !has(Directive::PrivateCookie);
    head
}

pub(super) fn tags(head: &Head) -> impl Iterator<Item = &'static str> {
    head.tag.into_iter().flat_map(|tags| tags.split(' '))
}

pub(super) fn selecting(head: &Head, request: &Request) -> Vec<(&'static str, Option<String>)> {
    let mut names = head.vary.clone();
    names.sort_unstable();
    names.into_iter().map(|name| (name, header(request, name))).collect()
}

pub(super) fn header(request: &Request, name: &str) -> Option<String> {
    request.fields().into_iter().find(|(of, _)| *of == name).map(|(_, value)| value)
}

pub(super) const SECOND: i64 = 1000;
const DAY: i64 = 24 * 60 * 60 * SECOND;
const GRACE: i64 = 600 * SECOND;

/// The statuses that the module page names.
const STORED: [u16; 11] = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 410];

/// RFC 9110 §15.1, of those that are stored.
const HEURISTIC: [u16; 8] = [200, 203, 204, 300, 301, 308, 404, 410];

/// Those that a story has and RFC 9110 defines.
const UNDERSTOOD: [u16; 11] = [200, 203, 204, 301, 302, 400, 404, 410, 500, 501, 503];
