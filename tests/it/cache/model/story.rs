//! Random stories: what clients send, what the service responds, and what happens in between.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::rig::{START, date};

/// One event of a story.
#[derive(Clone)]
pub(super) enum Step {
    /// A client sends a request; the service responds so to each call that follows from it.
    Send(Box<(Request, Reply)>),
    /// The clock moves by so many seconds, backward if negative.
    Wait(i64),
    Purge(Purge),
}

#[derive(Clone, Debug)]
pub(super) enum Purge {
    Url(&'static str),
    Prefix(&'static str),
    Tag(&'static str),
    All,
}

#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) url: &'static str,
    /// The `accept-language` of the client: each of the two clients has its own.
    pub(super) language: &'static str,
    /// The header `x-a`.
    pub(super) a: Option<&'static str>,
    pub(super) authorization: bool,
    pub(super) cookie: bool,
    pub(super) if_match: bool,
    pub(super) none_match: Option<&'static str>,
    /// `if-modified-since`, in seconds since the story began.
    pub(super) modified_since: Option<i64>,
    pub(super) range: Option<&'static str>,
    pub(super) if_range: Option<&'static str>,
    pub(super) control: Vec<Ask>,
    /// `pragma: no-cache`.
    pub(super) pragma: bool,
}

/// A directive of a request (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ask {
    NoCache,
    NoStore,
    OnlyIfCached,
    MaxAge(i64),
    MinFresh(i64),
    MaxStale(Option<i64>),
}

/// The behavior of the service until the next request of a client.
#[derive(Clone)]
pub(super) enum Reply {
    Fails,
    Responds {
        /// The head, with `expires` and `date` relative to the time of the response.
        head: Box<Head>,
        /// The service evaluates conditions, and sends a 304 if the client has the response.
        honest: bool,
        /// The time until the response comes, in seconds.
        takes: i64,
    },
}

/// The head of a response. Times are in seconds since the story began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) control: Vec<Directive>,
    /// `cdn-cache-control` (RFC 9213).
    pub(super) targeted: Vec<Directive>,
    /// `pragma: no-cache`.
    pub(super) pragma: bool,
    /// The `CacheHint` of the handler, which is no header.
    pub(super) hint: Option<Hint>,
    pub(super) expires: Option<Expires>,
    pub(super) date: Option<i64>,
    pub(super) age: Option<i64>,
    pub(super) etag: Option<&'static str>,
    pub(super) modified: Option<i64>,
    pub(super) vary: Vec<&'static str>,
    pub(super) set_cookie: bool,
    pub(super) tag: Option<&'static str>,
    pub(super) location: Option<&'static str>,
    pub(super) content_location: Option<&'static str>,
    /// The number of the response in the header `x-one`, which directives name.
    pub(super) one: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hint {
    NoStore,
    Ttl(i64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expires {
    At(i64),
    Junk,
}

/// A directive of a response (RFC 9111 §5.2.2, RFC 5861).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Directive {
    MaxAge(i64),
    SMaxage(i64),
    WhileRevalidate(i64),
    IfError(i64),
    NoStore,
    Private,
    /// `private="x-one"`.
    PrivateOne,
    NoCache,
    /// `no-cache="x-one"`.
    NoCacheOne,
    /// `private="set-cookie"`.
    PrivateCookie,
    Public,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    Odd(Odd),
}

/// Spellings that a cache has to take for something, or for nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Odd {
    /// A lifetime that is not a number: the response is stale (§4.2.1).
    Junk,
    /// Another case, and a quoted number: 20 seconds (§5.2).
    Quoted,
    /// An extension whose argument only looks like directives (§5.2.3).
    Extension,
    /// `no-store` in an unreadable member.
    NoStore,
    /// `private` in an unreadable member.
    Private,
    /// A member that cannot be read.
    Unreadable,
}

/// A request as the service gets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) url: &'static str,
    pub(super) if_match: bool,
    pub(super) none_match: Option<String>,
    pub(super) modified_since: Option<i64>,
    pub(super) range: Option<String>,
    pub(super) if_range: Option<String>,
}

impl Request {
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("accept-language", self.language.to_owned())];
        let mut push =
            |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
        push("x-a", self.a.map(str::to_owned));
        push("authorization", self.authorization.then(|| "Basic x".to_owned()));
        push("cookie", self.cookie.then(|| "a=b".to_owned()));
        push("if-match", self.if_match.then(|| "\"1\"".to_owned()));
        push("if-none-match", self.none_match.map(str::to_owned));
        push("if-modified-since", self.modified_since.map(date));
        push("range", self.range.map(str::to_owned));
        push("if-range", self.if_range.map(str::to_owned));
        push("cache-control", list(&self.control));
        push("pragma", self.pragma.then(|| "no-cache".to_owned()));
        fields
    }
}

impl Reply {
    /// The response of the service to its call of this number, which comes at `now`.
    pub(super) fn to(&self, call: &Call, number: u64, now: i64) -> Option<(Head, String)> {
        let Self::Responds { head, honest, .. } = self else { return None };
        let mut head = Head::clone(head);
        head.date = head.date.map(|after| now + after);
        head.expires = head.expires.map(|expires| match expires {
            Expires::At(after) => Expires::At(now + after),
            Expires::Junk => Expires::Junk,
        });
        head.one = head.one.map(|_| number);
        if *honest && head.status == 200 && call.holds(&head) {
            head.status = 304;
        }
        let none = call.method == "HEAD" || matches!(head.status, 204 | 304);
        Some((head, if none { String::new() } else { format!("body {number:03}") }))
    }

    pub(super) fn takes(&self) -> i64 {
        match self {
            Self::Fails => 0,
            Self::Responds { takes, .. } => *takes,
        }
    }
}

impl Call {
    /// Returns `true` if the condition of the call says that the client has the response.
    fn holds(&self, head: &Head) -> bool {
        match (&self.none_match, self.modified_since) {
            (Some(tags), _) => has_tag(tags, head.etag),
            (None, Some(since)) => head.modified.is_some_and(|modified| modified <= since),
            (None, None) => false,
        }
    }
}

/// Returns `true` if a list of tags has this one, compared weakly (RFC 9110 §13.1.2).
pub(super) fn has_tag(tags: &str, etag: Option<&str>) -> bool {
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    tags == "*" || etag.is_some_and(|etag| tags.split(", ").any(|tag| opaque(tag) == opaque(etag)))
}

/// The text of a date, in seconds since the story began.
pub(super) fn seconds_of(text: &str) -> i64 {
    let since = httpdate::parse_http_date(text).unwrap().duration_since(UNIX_EPOCH);
    signed(since.unwrap_or(Duration::ZERO).as_secs()) - signed(START)
}

/// A number of seconds, of which no story has many.
fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap()
}

impl Head {
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = Vec::new();
        let mut push =
            |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
        let text = |text: Option<&str>| text.map(str::to_owned);
        push("cache-control", list(&self.control));
        push("cdn-cache-control", list(&self.targeted));
        push("pragma", self.pragma.then(|| "no-cache".to_owned()));
        push("expires", self.expires.map(|expires| expires.to_string()));
        push("date", self.date.map(date));
        push("age", self.age.map(|age| age.to_string()));
        push("etag", text(self.etag));
        push("last-modified", self.modified.map(date));
        push("vary", Some(self.vary.join(", ")).filter(|vary| !vary.is_empty()));
        push("set-cookie", self.set_cookie.then(|| "s=1".to_owned()));
        push("surrogate-key", text(self.tag));
        push("location", text(self.location));
        push("content-location", text(self.content_location));
        push("x-one", self.one.map(|one| one.to_string()));
        fields
    }
}

fn list<T: fmt::Display>(members: &[T]) -> Option<String> {
    let members: Vec<_> = members.iter().map(T::to_string).collect();
    (!members.is_empty()).then(|| members.join(", "))
}

// The stories.

pub(super) const URLS: [&str; 3] = ["http://x.org/a", "http://x.org/a/b", "http://y.org/a"];
const TAGS: [&str; 3] = ["\"1\"", "\"2\"", "W/\"1\""];
const DATES: [i64; 4] = [-10_000_000, -100_000, -1000, -995];
const TIMES: [i64; 6] = [0, 1, 5, 20, 60, 700];

pub(super) fn story() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..24)
}

fn step() -> impl Strategy<Value = Step> {
    let wait = select(vec![1, 4, 6, 15, 21, 41, 61, 599, 601, 4000, -1, -10, -61, -3600]);
    let purge = prop_oneof![
        select(&URLS[..]).prop_map(Purge::Url),
        select(vec!["http://x.org/a", "http://x.org/a/", "http://y.org"]).prop_map(Purge::Prefix),
        select(vec!["s", "t"]).prop_map(Purge::Tag),
        Just(Purge::All),
    ];
    prop_oneof![
        10 => (request(), reply()).prop_map(|sent| Step::Send(Box::new(sent))),
        5 => wait.prop_map(Step::Wait),
        1 => purge.prop_map(Step::Purge),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![
        12 => Just("GET"),
        2 => Just("HEAD"),
        1 => Just("POST"),
        1 => select(vec!["PUT", "OPTIONS"]),
    ];
    let who = (
        prop_oneof![5 => Just(URLS[0]), 1 => Just(URLS[1]), 1 => Just(URLS[2])],
        select(vec!["de", "fr"]),
        rarely(&["1", "2"]),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.15),
    );
    let condition = (
        (prop::bool::weighted(0.02), prop::bool::weighted(0.04)),
        rarely(&["\"1\"", "W/\"1\"", "\"2\"", "\"2\", \"1\"", "*"]),
        rarely(&DATES),
        rarely(&["bytes=0-2", "bytes=5-", "bytes=-2", "bytes=50-", "bytes=0-1,3-4"]),
        rarely(&["\"1\"", "W/\"1\"", "\"2\""]),
    );
    (method, who, condition, asks()).prop_map(|(method, who, condition, control)| {
        let (url, language, a, authorization, cookie) = who;
        let ((if_match, pragma), none_match, modified_since, range, if_range) = condition;
        let range = range.filter(|_| method == "GET" || method == "HEAD");
        Request {
            method,
            url,
            language,
            a,
            authorization,
            cookie,
            if_match,
            none_match,
            modified_since,
            range,
            if_range: if_range.filter(|_| range.is_some()),
            control,
            pragma,
        }
    })
}

fn rarely<T: Clone + fmt::Debug>(values: &'static [T]) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.12, select(values))
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let ask = prop_oneof![
        Just(Ask::NoCache),
        Just(Ask::NoStore),
        Just(Ask::OnlyIfCached),
        select(&TIMES[..]).prop_map(Ask::MaxAge),
        select(&TIMES[..]).prop_map(Ask::MinFresh),
        prop::option::of(select(&TIMES[..])).prop_map(Ask::MaxStale),
    ];
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(ask, 1..3)]
        .prop_map(each_kind_once)
}

fn each_kind_once<T: Copy>(mut members: Vec<T>) -> Vec<T> {
    let mut kinds = Vec::new();
    members.retain(|member| {
        let kind = std::mem::discriminant(member);
        let new = !kinds.contains(&kind);
        kinds.push(kind);
        new
    });
    members
}

fn reply() -> impl Strategy<Value = Reply> {
    let status = prop_oneof![
        20 => Just(200),
        2 => Just(304),
        2 => select(vec![404, 410]),
        2 => select(vec![500, 503]),
        2 => select(vec![203, 204, 206, 301, 302, 400, 429, 501]),
    ];
    let about = (
        prop::option::weighted(0.5, select(&TAGS[..])),
        prop::option::weighted(0.3, select(&DATES[..])),
        prop_oneof![
            5 => Just(vec![]),
            2 => Just(vec!["accept-language"]),
            1 => Just(vec!["x-a"]),
            1 => Just(vec!["accept-language", "x-a"]),
            1 => Just(vec!["*"]),
        ],
        prop::bool::weighted(0.06),
        prop::option::weighted(0.3, select(vec!["s", "t", "s t"])),
        prop::option::weighted(0.1, select(&URLS[..])),
        prop::option::weighted(0.1, select(&URLS[..])),
        prop::bool::ANY,
    );
    let times = (
        prop::option::weighted(
            0.15,
            prop_oneof![
                4 => select(vec![-5, 10, 60]).prop_map(Expires::At),
                1 => Just(Expires::Junk),
            ],
        ),
        prop::option::weighted(0.5, select(vec![0, 0, 0, -5, -30, 7])),
        prop::option::weighted(0.15, select(vec![0, 3, 30])),
    );
    let hint = prop_oneof![
        30 => Just(None),
        1 => Just(Some(Hint::NoStore)),
        2 => select(vec![0, 7]).prop_map(|seconds| Some(Hint::Ttl(seconds))),
    ];
    let other = (prop::bool::weighted(0.04), hint);
    let sent = (prop::bool::weighted(0.8), prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(10)]);
    let responds = (status, directives(), targeted(), about, times, other, sent).prop_map(
        |(status, control, targeted, about, times, (pragma, hint), (honest, takes))| {
            let (etag, modified, vary, set_cookie, tag, location, content_location, one) = about;
            let (expires, date, age) = times;
            let head = Box::new(Head {
                status,
                control,
                targeted,
                pragma,
                hint,
                expires,
                date,
                age,
                etag,
                modified,
                vary,
                set_cookie,
                tag,
                location,
                content_location,
                one: one.then_some(0),
            });
            Reply::Responds { head, honest, takes }
        },
    );
    prop_oneof![14 => responds, 1 => Just(Reply::Fails)]
}

fn directives() -> impl Strategy<Value = Vec<Directive>> {
    let rare = vec![
        Directive::NoStore,
        Directive::Private,
        Directive::PrivateOne,
        Directive::NoCache,
        Directive::NoCacheOne,
        Directive::PrivateCookie,
        Directive::Public,
        Directive::MustRevalidate,
        Directive::ProxyRevalidate,
        Directive::MustUnderstand,
        Directive::Odd(Odd::Junk),
        Directive::Odd(Odd::Quoted),
        Directive::Odd(Odd::Extension),
        Directive::Odd(Odd::NoStore),
        Directive::Odd(Odd::Private),
        Directive::Odd(Odd::Unreadable),
    ];
    let lifetimes = (
        prop::option::weighted(0.75, select(vec![0, 5, 20, 20, 60]))
            .prop_map(lifetime(Directive::MaxAge)),
        prop::option::weighted(0.1, select(vec![0, 5, 60])).prop_map(lifetime(Directive::SMaxage)),
        prop::option::weighted(0.2, select(vec![0, 20, 700]))
            .prop_map(lifetime(Directive::WhileRevalidate)),
        prop::option::weighted(0.2, select(vec![0, 20, 4000]))
            .prop_map(lifetime(Directive::IfError)),
    );
    let rare = prop_oneof![2 => Just(Vec::new()), 1 => subsequence(rare, 1..3)];
    (lifetimes, rare).prop_map(|((max_age, s_maxage, swr, sie), rare)| {
        [max_age, s_maxage, swr, sie].into_iter().flatten().chain(rare).collect()
    })
}

fn lifetime(directive: fn(i64) -> Directive) -> impl Fn(Option<i64>) -> Option<Directive> {
    move |seconds| seconds.map(directive)
}

/// Directives of a structured field: what is malformed there is ignored as a whole.
fn targeted() -> impl Strategy<Value = Vec<Directive>> {
    let rest = vec![
        Directive::NoStore,
        Directive::NoCache,
        Directive::MustRevalidate,
        Directive::WhileRevalidate(20),
    ];
    let max_age = prop::option::weighted(0.7, select(vec![5, 60]));
    let valid = (max_age.prop_map(lifetime(Directive::MaxAge)), subsequence(rest, 0..2))
        .prop_map(|(max_age, rest)| max_age.into_iter().chain(rest).collect::<Vec<_>>());
    prop_oneof![
        14 => Just(Vec::new()),
        2 => valid,
        1 => Just(vec![Directive::Odd(Odd::Junk)]),
    ]
}

// How a story is printed.

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(sent) => write!(f, "{:?} -> {:?}", sent.0, sent.1),
            Self::Wait(seconds) => write!(f, "{seconds} s pass"),
            Self::Purge(Purge::Url(url)) => write!(f, "purge {url}"),
            Self::Purge(Purge::Prefix(prefix)) => write!(f, "purge all that begin with {prefix}"),
            Self::Purge(Purge::Tag(tag)) => write!(f, "purge the tag {tag}"),
            Self::Purge(Purge::All) => write!(f, "purge all"),
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.url, Fields(&self.fields()))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Responds { head, honest, takes } = self else { return write!(f, "fails") };
        let odd = if *honest { "" } else { ", whatever the condition" };
        write!(f, "{} {}{odd}", head.status, Fields(&head.fields()))?;
        let at = |name, after: i64| format!("; {name} {after:+} s");
        if let Some(Expires::At(after)) = head.expires {
            write!(f, "{}", at("expires", after))?;
        }
        write!(f, "{}", head.date.map_or(String::new(), |after| at("date", after)))?;
        if let Some(hint) = head.hint {
            write!(f, "; hint {hint:?}")?;
        }
        if *takes > 0 { write!(f, " after {takes} s") } else { Ok(()) }
    }
}

struct Fields<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> =
            self.0.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        write!(f, "[{}]", fields.join("; "))
    }
}

impl fmt::Display for Expires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(seconds) => f.write_str(&date(*seconds)),
            Self::Junk => f.write_str("0"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCache => f.write_str("no-cache"),
            Self::NoStore => f.write_str("no-store"),
            Self::OnlyIfCached => f.write_str("only-if-cached"),
            Self::MaxAge(seconds) => write!(f, "max-age={seconds}"),
            Self::MinFresh(seconds) => write!(f, "min-fresh={seconds}"),
            Self::MaxStale(None) => f.write_str("max-stale"),
            Self::MaxStale(Some(seconds)) => write!(f, "max-stale={seconds}"),
        }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MaxAge(seconds) => return write!(f, "max-age={seconds}"),
            Self::SMaxage(seconds) => return write!(f, "s-maxage={seconds}"),
            Self::WhileRevalidate(seconds) => return write!(f, "stale-while-revalidate={seconds}"),
            Self::IfError(seconds) => return write!(f, "stale-if-error={seconds}"),
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::PrivateOne => "private=\"x-one\"",
            Self::NoCache => "no-cache",
            Self::NoCacheOne => "no-cache=\"x-one\"",
            Self::PrivateCookie => "private=\"set-cookie\"",
            Self::Public => "public",
            Self::MustRevalidate => "must-revalidate",
            Self::ProxyRevalidate => "proxy-revalidate",
            Self::MustUnderstand => "must-understand",
            Self::Odd(Odd::Junk) => "max-age=ten",
            Self::Odd(Odd::Quoted) => "Max-Age=\"20\"",
            Self::Odd(Odd::Extension) => "x=\"no-store, private, max-age=0\"",
            Self::Odd(Odd::NoStore) => "no-transform; no_store",
            Self::Odd(Odd::Private) => "private; x",
            Self::Odd(Odd::Unreadable) => "max-age:60",
        })
    }
}
