use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};

use super::directive::Directive;
use super::grammar;
use super::source::Source;
use super::union::{entry, find, unite};
use crate::security_headers::error::InvalidField;
use crate::security_headers::reporting::Endpoint;

/// A content security policy ([CSP3](https://www.w3.org/TR/CSP3/)): the field
/// `content-security-policy`, or `content-security-policy-report-only`.
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Csp, Directive::*, InvalidField, Source};
///
/// # fn layer() -> Result<SecurityHeadersLayer, InvalidField> {
/// let policy = Csp::helmet()
///     .append(ImgSrc, ["https://images.example.com"])
///     .set(FrameAncestors, [Source::NONE])
///     .remove(UpgradeInsecureRequests);
/// let layer = SecurityHeadersLayer::new().set(policy)?;
/// # Ok(layer)
/// # }
/// # layer().unwrap();
/// ```
///
/// # Text
///
/// Policies are text, too. What is written in code is checked by the compiler, if it stands in a
/// `const`; what comes from elsewhere is [parsed](str::parse).
///
/// ```
/// use tower_kit::security_headers::Csp;
///
/// const STRICT: Csp = Csp::from_static(
///     "default-src 'self'; script-src 'nonce' 'strict-dynamic'; object-src 'none'; base-uri 'none'",
/// );
/// let policy: Csp = "default-src 'self'".parse()?;
/// # Ok::<_, tower_kit::security_headers::InvalidField>(())
/// ```
///
/// ```compile_fail
/// # use tower_kit::security_headers::Csp;
/// const WRONG: Csp = Csp::from_static("default-src self");
/// ```
///
/// In the policies of one page, `'nonce'` stands for the response's own
/// [`Nonce`](crate::security_headers::Nonce).
///
/// # What is refused
///
/// When the policy is set, with the directive and the value in the [error](InvalidField): unknown,
/// obsolete and duplicate directives; directives without the value that they need, or with one that
/// they do not have; keywords, nonces and hashes without quotes; keywords that are not known;
/// `'none'` beside others, and values that are there twice; schemes without their colon; what is no
/// host; hashes whose length is not that of a digest; nonces that would be the same in each
/// response; spaces, `;`, `,`, line breaks and all that is not visible ASCII; a policy without
/// [`default-src`](Self::without_default_src); an [endpoint](Self::report_to) that is not defined.
#[derive(Clone, Debug)]
pub struct Csp {
    directives: Directives,
    report_only: bool,
    pub(super) without_default_src: bool,
    endpoint: Option<Endpoint>,
}

/// The directives and their values, in order.
pub(super) type List = Vec<(Directive, Vec<Source>)>;

#[derive(Clone, Debug)]
enum Directives {
    /// Checked already.
    Text(&'static str),
    List(List),
}

impl Csp {
    /// A policy without directives, to [`set`](Self::set) what it is to say.
    #[must_use]
    pub const fn new() -> Self {
        Self::of(Directives::List(Vec::new()))
    }

    /// The policy that helmet sends:
    /// `default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests`
    #[must_use]
    pub const fn helmet() -> Self {
        const HELMET: Csp = Csp::from_static(
            "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';\
             frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';\
             script-src-attr 'none';style-src 'self' https: 'unsafe-inline';\
             upgrade-insecure-requests",
        );
        HELMET
    }

    /// A policy as it is in the field, but for `'nonce'`. Space around it does not count.
    ///
    /// # Panics
    ///
    /// Where the text is not a policy; in a `const`, that is an error of the compiler. Text that
    /// is not in the code is to be [parsed](str::parse).
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        if let Some(fault) = grammar::policy(text.as_bytes()) {
            fault.panic();
        }
        Self::of(Directives::Text(text))
    }

    /// Sets the value of a directive, in its place if it is there, else as the last one.
    #[must_use]
    pub fn set<T>(self, directive: Directive, sources: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Source>,
    {
        let sources = sources.into_iter().map(Into::into).collect();
        self.edit(|list| *entry(list, directive) = sources)
    }

    /// Sets a directive without a value: [`UpgradeInsecureRequests`], or [`Sandbox`] with
    /// nothing allowed.
    ///
    /// [`UpgradeInsecureRequests`]: Directive::UpgradeInsecureRequests
    /// [`Sandbox`]: Directive::Sandbox
    #[must_use]
    pub fn flag(self, directive: Directive) -> Self {
        self.set::<Source>(directive, [])
    }

    /// Adds to what a directive allows. Where it is not there yet, it starts from the one that
    /// holds in its place, such as `default-src` for `connect-src`, so that nothing is taken away;
    /// where nothing holds, it is the first restriction. `'none'` gives way, and what is there
    /// already is not there twice. Beside a nonce or a hash, `'unsafe-inline'` does not count.
    ///
    /// ```
    /// # use tower_kit::security_headers::{Csp, Directive::*};
    /// let policy = Csp::helmet().append(ConnectSrc, ["https://api.example.com"]);
    /// assert!(policy.to_string().ends_with(";connect-src 'self' https://api.example.com"));
    /// ```
    #[must_use]
    pub fn append<T>(self, directive: Directive, sources: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Source>,
    {
        let sources: Vec<_> = sources.into_iter().map(Into::into).collect();
        if sources.is_empty() {
            return self;
        }
        self.edit(|list| *list = unite(list, &vec![(directive, sources)], [directive]))
    }

    /// Leaves a directive out. Without `default-src` a policy is refused, unless
    /// [it is meant](Self::without_default_src).
    #[must_use]
    pub fn remove(self, directive: Directive) -> Self {
        self.edit(|list| list.retain(|(found, _)| *found != directive))
    }

    /// Adds what another policy allows, to each directive of either. Where one of them has no such
    /// directive, what holds in its place counts, so that `script-src` of the one reaches
    /// `script-src-attr` of the other. Of `report-to` and `webrtc` the other's is taken.
    ///
    /// ```
    /// # use tower_kit::security_headers::Csp;
    /// let ours = Csp::from_static("default-src 'self'; img-src data:");
    /// let theirs = Csp::from_static("default-src https://b.example; script-src https://c.example");
    /// assert_eq!(
    ///     ours.merge(&theirs).to_string(),
    ///     "default-src 'self' https://b.example;img-src data: https://b.example;\
    ///      script-src 'self' https://c.example",
    /// );
    /// ```
    #[must_use]
    pub fn merge(self, other: &Self) -> Self {
        let theirs = other.list();
        let merged = self.edit(|list| {
            let names = |list: &List| list.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            let new = names(&theirs).into_iter().filter(|new| find(list, *new).is_none());
            let all: Vec<_> = names(list).into_iter().chain(new).collect();
            *list = unite(list, &theirs, all);
        });
        Self {
            without_default_src: merged.without_default_src || other.without_default_src,
            endpoint: other.endpoint.clone().or(merged.endpoint),
            ..merged
        }
    }

    /// Reports violations to this endpoint, which the layer defines in `reporting-endpoints`. In
    /// text, `report-to` must name an endpoint that [the layer has](Endpoint) already.
    #[must_use]
    pub fn report_to(self, endpoint: &Endpoint) -> Self {
        let named = self.set(Directive::ReportTo, [endpoint.name()]);
        Self { endpoint: Some(endpoint.clone()), ..named }
    }

    /// Blocks nothing and only reports: `content-security-policy-report-only`. A layer can have
    /// one of these beside one that blocks; they share the nonce.
    #[must_use]
    pub const fn report_only(mut self) -> Self {
        self.report_only = true;
        self
    }

    /// Says that the policy need not have a `default-src`: without it, what has no directive is not
    /// restricted.
    #[must_use]
    pub const fn without_default_src(mut self) -> Self {
        self.without_default_src = true;
        self
    }

    /// The name of the field.
    pub(in crate::security_headers) const fn name(&self) -> HeaderName {
        match self.report_only {
            true => CONTENT_SECURITY_POLICY_REPORT_ONLY,
            false => CONTENT_SECURITY_POLICY,
        }
    }

    /// The endpoint that it reports to, if it defines it.
    pub(in crate::security_headers) fn endpoint(&self) -> Option<&Endpoint> {
        let name = self.reports_to()?;
        self.endpoint.as_ref().filter(|endpoint| endpoint.name() == name)
    }

    /// The name of the endpoint that it reports to.
    pub(in crate::security_headers) fn reports_to(&self) -> Option<String> {
        find(&self.list(), Directive::ReportTo)?.first().map(Source::to_string)
    }

    pub(super) fn list(&self) -> List {
        match &self.directives {
            Directives::Text(text) => parse(text),
            Directives::List(list) => list.clone(),
        }
    }

    /// The same policy of other directives.
    pub(super) fn with(&self, list: List) -> Self {
        Self { directives: Directives::List(list), ..self.clone() }
    }

    fn edit(self, edit: impl FnOnce(&mut List)) -> Self {
        let mut list = self.list();
        edit(&mut list);
        Self { directives: Directives::List(list), ..self }
    }

    const fn of(directives: Directives) -> Self {
        Self { directives, report_only: false, without_default_src: false, endpoint: None }
    }
}

impl Default for Csp {
    /// [`Csp::new`].
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Csp {
    fn eq(&self, other: &Self) -> bool {
        let rest = |policy: &Self| (policy.report_only, policy.without_default_src);
        self.list() == other.list() && rest(self) == rest(other) && self.endpoint == other.endpoint
    }
}

impl Eq for Csp {}

/// A policy as it is in the field, but for `'nonce'`. Space around it does not count; a text without
/// directives is refused.
impl FromStr for Csp {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let policy = Self::new();
        match grammar::policy(text.as_bytes()) {
            Some(fault) => Err(policy.error(&fault)),
            None => Ok(policy.with(parse(text))),
        }
    }
}

/// As it is in the field, but for the nonce, which is `'nonce'` here.
impl fmt::Display for Csp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (directive, sources)) in self.list().iter().enumerate() {
            let semicolon = if at > 0 { ";" } else { "" };
            write!(f, "{semicolon}{directive}")?;
            sources.iter().try_for_each(|source| write!(f, " {source}"))?;
        }
        Ok(())
    }
}

/// A policy that is checked already.
fn parse(text: &str) -> List {
    let one = |segment: &str| {
        let mut words = segment.split_ascii_whitespace();
        let directive = Directive::known(words.next()?)?;
        Some((directive, words.map(Source::from).collect()))
    };
    text.split(';').filter_map(one).collect()
}
