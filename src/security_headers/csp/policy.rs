use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};

use super::directive::Directive;
use super::grammar;
use super::merge::{List, entry, find, merge};
use super::source::Source;
use crate::security_headers::endpoint::Endpoint;
use crate::security_headers::error::InvalidHeader;

/// The header `content-security-policy`, or `content-security-policy-report-only`: the sources that
/// a page may load from ([CSP3](https://www.w3.org/TR/CSP3/)).
///
/// ```
/// use tower_kit::SecurityHeadersLayer;
/// use tower_kit::security_headers::{Csp, Directive, InvalidHeader, Source};
///
/// # fn layer() -> Result<SecurityHeadersLayer, InvalidHeader> {
/// let policy = Csp::helmet()
///     .append(Directive::IMG_SRC, ["https://images.example.com"])
///     .set(Directive::FRAME_ANCESTORS, [Source::NONE])
///     .remove(Directive::UPGRADE_INSECURE_REQUESTS);
/// let layer = SecurityHeadersLayer::new().set(policy)?;
/// # Ok(layer)
/// # }
/// # layer().unwrap();
/// ```
///
/// # Text
///
/// A policy can be a text. The compiler checks a text in a `const`. A text from elsewhere is
/// [parsed](str::parse).
///
/// ```
/// use tower_kit::security_headers::Csp;
///
/// const STRICT: Csp = Csp::from_static(
///     "default-src 'self'; script-src 'nonce' 'strict-dynamic'; object-src 'none'; base-uri 'none'",
/// );
/// let policy: Csp = "default-src 'self'".parse()?;
/// # Ok::<_, tower_kit::security_headers::InvalidHeader>(())
/// ```
///
/// ```compile_fail
/// # use tower_kit::security_headers::Csp;
/// const WRONG: Csp = Csp::from_static("default-src self");
/// ```
///
/// The word `'nonce'` in a text stands for the [`Nonce`](crate::security_headers::Nonce) of the
/// response.
///
/// # Checks
///
/// The methods of a policy accept every text as a source, because the valid sources depend on the
/// directive. [`set`](crate::SecurityHeadersLayer::set) checks the whole policy, and names the
/// directive and the value in the [error](InvalidHeader). It refuses:
///
/// - directives that are unknown, obsolete, or there twice;
/// - directives without the value that they need, or with a value that they do not take;
/// - keywords, nonces and hashes without single quotes, and unknown keywords;
/// - `'none'` beside other sources, and sources that are there twice;
/// - schemes without a colon, and texts that are not a host;
/// - hashes of the wrong length, and nonces that would be the same in each response;
/// - spaces, `;`, `,`, line breaks, and characters that are not visible ASCII;
/// - a policy without [`default-src`](Self::without_default_src);
/// - an [endpoint](Self::report_to) that is not defined.
#[doc(alias = "CSP")]
#[doc(alias = "Content-Security-Policy")]
#[doc(alias = "Content-Security-Policy-Report-Only")]
#[doc(alias = "XSS")]
#[derive(Clone, Debug)]
pub struct Csp {
    directives: Directives,
    report_only: bool,
    pub(super) without_default_src: bool,
    endpoint: Option<Endpoint>,
}

#[derive(Clone, Debug)]
enum Directives {
    /// A text that the grammar has checked. It needs no allocation, so a policy can be a `const`.
    Text(&'static str),
    List(List),
}

impl Csp {
    /// Creates a policy without directives.
    #[must_use]
    pub const fn new() -> Self {
        Self::of(Directives::List(Vec::new()))
    }

    /// Returns the policy that helmet 8.3.0 sends:
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

    /// Returns the policy of a text as the header has it, but with `'nonce'` for the nonce.
    ///
    /// # Panics
    ///
    /// Panics if the text is not a policy. In a `const`, the panic is an error of the compiler.
    /// [Parse](str::parse) a text that is not in the code.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        if let Err(error) = grammar::check_policy(text.as_bytes()) {
            error.panic();
        }
        Self::of(Directives::Text(text))
    }

    /// Sets the value of a directive. A new directive becomes the last one.
    ///
    /// ```
    /// # use tower_kit::security_headers::{Csp, Directive, Source};
    /// let policy = Csp::new().set(Directive::DEFAULT_SRC, [Source::SELF, "https://a.example".into()]);
    /// assert_eq!(policy.to_string(), "default-src 'self' https://a.example");
    /// ```
    #[must_use]
    pub fn set<T>(self, directive: Directive, sources: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Source>,
    {
        let sources = sources.into_iter().map(Into::into).collect();
        self.edit(|list| *entry(list, directive) = sources)
    }

    /// Sets a directive without a value, such as [`UPGRADE_INSECURE_REQUESTS`], or [`SANDBOX`]
    /// without rights.
    ///
    /// [`UPGRADE_INSECURE_REQUESTS`]: Directive::UPGRADE_INSECURE_REQUESTS
    /// [`SANDBOX`]: Directive::SANDBOX
    #[must_use]
    pub fn flag(self, directive: Directive) -> Self {
        self.set::<Source>(directive, [])
    }

    /// Adds sources to a directive.
    ///
    /// A directive that the policy does not have starts with the sources of its fallback, such as
    /// those of `default-src` for `connect-src`, so that nothing is taken away. Without a fallback
    /// the sources become the first restriction. New sources replace `'none'`, and a source that is
    /// there is not added again. Browsers ignore `'unsafe-inline'` beside a nonce or a hash.
    ///
    /// ```
    /// # use tower_kit::security_headers::{Csp, Directive};
    /// let policy = Csp::helmet().append(Directive::CONNECT_SRC, ["https://api.example.com"]);
    /// assert!(policy.to_string().ends_with(";connect-src 'self' https://api.example.com"));
    /// ```
    #[must_use]
    pub fn append<T>(self, directive: Directive, sources: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Source>,
    {
        // To append nothing must not add a copy of the fallback.
        let sources: Vec<_> = sources.into_iter().map(Into::into).collect();
        if sources.is_empty() {
            return self;
        }
        self.edit(|list| *list = merge(list, &vec![(directive, sources)], [directive]))
    }

    /// Removes a directive. A policy without `default-src` needs
    /// [`without_default_src`](Self::without_default_src).
    #[must_use]
    pub fn remove(self, directive: Directive) -> Self {
        self.edit(|list| list.retain(|(found, _)| *found != directive))
    }

    /// Adds the sources of another policy to each directive of either.
    ///
    /// A directive that one policy does not have counts as its fallback, so `script-src` of one
    /// policy reaches `script-src-attr` of the other. `report-to` and `webrtc` take one value: that
    /// of the other policy.
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
            *list = merge(list, &theirs, all);
        });
        Self {
            without_default_src: merged.without_default_src || other.without_default_src,
            // `report-to` takes one value, so the endpoint follows the merged directive.
            endpoint: other.endpoint.clone().or(merged.endpoint),
            ..merged
        }
    }

    /// Reports violations to this endpoint, which the layer defines in `reporting-endpoints`.
    ///
    /// In a text, `report-to` must name an endpoint that [the layer has](Endpoint) already.
    #[must_use]
    pub fn report_to(self, endpoint: &Endpoint) -> Self {
        let named = self.set(Directive::REPORT_TO, [endpoint.name()]);
        Self { endpoint: Some(endpoint.clone()), ..named }
    }

    /// Reports violations and blocks nothing: the header is `content-security-policy-report-only`.
    ///
    /// A layer can have such a policy beside one that blocks. They share the nonce.
    #[must_use]
    pub const fn report_only(mut self) -> Self {
        self.report_only = true;
        self
    }

    /// Allows a policy without `default-src`, which does not restrict resources that have no
    /// directive.
    #[must_use]
    pub const fn without_default_src(mut self) -> Self {
        self.without_default_src = true;
        self
    }

    /// Returns the name of the header.
    pub(in crate::security_headers) const fn name(&self) -> HeaderName {
        match self.report_only {
            true => CONTENT_SECURITY_POLICY_REPORT_ONLY,
            false => CONTENT_SECURITY_POLICY,
        }
    }

    /// Returns the endpoint that the policy reports to, if the policy defines it.
    pub(in crate::security_headers) fn endpoint(&self) -> Option<&Endpoint> {
        // `set` may have replaced the directive after `report_to`.
        let name = self.reports_to()?;
        self.endpoint.as_ref().filter(|endpoint| endpoint.name() == name)
    }

    /// Returns the name of the endpoint that the policy reports to.
    pub(in crate::security_headers) fn reports_to(&self) -> Option<String> {
        find(&self.list(), Directive::REPORT_TO)?.first().map(Source::to_string)
    }

    pub(super) fn list(&self) -> List {
        match &self.directives {
            Directives::Text(text) => parse(text),
            Directives::List(list) => list.clone(),
        }
    }

    /// Returns the policy with other directives.
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
    /// Creates a policy without directives, as [`Csp::new`] does.
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

/// Parses a policy as the header has it, but with `'nonce'` for the nonce. Space at both ends is
/// ignored. A text without directives is an error.
impl FromStr for Csp {
    type Err = InvalidHeader;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let policy = Self::new();
        grammar::check_policy(text.as_bytes()).map_err(|error| policy.error(&error))?;
        Ok(policy.with(parse(text)))
    }
}

/// Writes the policy as the header has it, but with `'nonce'` for the nonce.
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

/// Parses a text that the grammar has checked.
fn parse(text: &str) -> List {
    let one = |segment: &str| {
        let mut words = segment.split_ascii_whitespace();
        let directive = Directive::find(words.next()?)?;
        Some((directive, words.map(Source::from).collect()))
    };
    text.split(';').filter_map(one).collect()
}
