use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, CONTENT_TYPE, Entry,
    STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request};

use super::csp::{Csp, Rendered};
use super::error::InvalidField;
use super::field::{Field, ORDER, Setting, Value};
use super::overrides::Changes;
use super::reporting::{self, Endpoint};

/// What a layer sends, with everything prepared that does not depend on the response.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    settings: Vec<Setting>,
    pub(super) strip: Vec<HeaderName>,
    pub(super) wins: Wins,
    pub(super) documents_only: bool,
    /// By whether the request came by HTTPS, and whether the response may be a document.
    templates: [Template; 4],
}

/// Which fields replace those of the service.
#[derive(Clone, Debug)]
pub(super) enum Wins {
    These(Vec<HeaderName>),
    All,
}

/// The fields of a response.
///
/// Cloning the whole map and moving the handler's few fields into it costs half of inserting
/// twelve fields one by one: nothing is hashed but what the handler has set.
#[derive(Clone, Debug, Default)]
struct Template {
    fields: HeaderMap,
    policies: Vec<Rendered>,
}

/// What a response's fields depend on beside the policy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) is_https: bool,
    pub(super) status: StatusCode,
    /// The nonce, if it has been asked for.
    pub(super) nonce: Option<&'a str>,
    pub(super) changes: Option<&'a Changes>,
}

impl Policy {
    pub(super) fn of(fields: impl IntoIterator<Item = Field>) -> Result<Self, InvalidField> {
        let mut policy = Self::default();
        fields.into_iter().try_for_each(|field| policy.place(field))?;
        policy.prepare();
        Ok(policy)
    }

    pub(super) fn set(&mut self, field: Field) -> Result<(), InvalidField> {
        self.place(field)?;
        self.prepare();
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &HeaderName) {
        self.settings.retain(|setting| setting.name != *name);
        self.prepare();
    }

    pub(super) fn has_nonce(&self) -> bool {
        self.templates[index(true, true)].policies.iter().any(Rendered::has_nonce)
    }

    /// Puts the fields under `headers`, whose own fields win with all their lines.
    pub(super) fn stamp(&self, headers: &mut HeaderMap, facts: Facts<'_>) {
        self.strip.iter().for_each(|name| drop(headers.remove(name)));
        let is_document = !self.documents_only || may_be_document(headers.get(CONTENT_TYPE));
        let template = &self.templates[index(facts.is_https, is_document)];
        match &self.wins {
            Wins::These(names) => names.iter().for_each(|name| {
                if template.fields.contains_key(name) {
                    headers.remove(name);
                }
            }),
            Wins::All => template.fields.keys().for_each(|name| drop(headers.remove(name))),
        }
        if facts.nonce.is_some() {
            mark_policies(headers);
        }
        let mut fields = template.fields.clone();
        template.fill_in(&mut fields, facts);
        if let Some(changes) = facts.changes {
            self.change(&mut fields, template, changes, facts);
        }
        // Fails only for a map that is full already (32,768 fields): no server sends that one.
        if fields.try_reserve(headers.len()).is_ok() {
            let own = std::mem::replace(headers, fields);
            if own.keys_len() == own.len() {
                // One line each, as nearly always: less to do than `extend` has.
                for (name, value) in own {
                    if let Some(name) = name {
                        headers.insert(name, value);
                    }
                }
            } else {
                headers.extend(own);
            }
        }
    }

    fn change(
        &self,
        fields: &mut HeaderMap,
        template: &Template,
        changes: &Changes,
        facts: Facts<'_>,
    ) {
        for name in changes.remove.iter().filter(|name| !self.wins(name.as_str())) {
            fields.remove(name);
        }
        for setting in changes.set.iter().filter(|setting| !self.wins(setting.name.as_str())) {
            match (&setting.value, facts.is_https) {
                (Value::Fixed(value), _) => drop(fields.insert(&setting.name, value.clone())),
                (Value::Csp { https: policy, .. }, true)
                | (Value::Csp { http: policy, .. }, false) => put(fields, policy, facts),
                (Value::Endpoint, _) => {}
            }
        }
        for policy in template.policies.iter().map(Rendered::policy) {
            let name = policy.name();
            let more: Vec<_> = changes.extend.iter().filter(|more| more.name() == name).collect();
            if more.is_empty() || changes.remove.iter().any(|gone| gone == name) || self.wins(name)
            {
                continue;
            }
            let merged = more.into_iter().fold(policy.clone(), Csp::merge);
            let merged = if facts.is_https { merged } else { merged.without_upgrade() };
            // Both have been checked: nothing of theirs cannot be sent.
            if let Ok(merged) = Rendered::new(merged) {
                put(fields, &merged, facts);
            }
        }
    }

    fn wins(&self, name: &str) -> bool {
        match &self.wins {
            Wins::These(names) => names.iter().any(|other| other == name),
            Wins::All => true,
        }
    }

    /// Puts a field among the others, in the place of the one of its name.
    fn place(&mut self, field: Field) -> Result<(), InvalidField> {
        let mut setting = field.into_setting()?;
        if let Some(name) = setting.undefined() {
            let Some(endpoint) = self.endpoints().find(|endpoint| endpoint.name() == name) else {
                let error = InvalidField::new(setting.name.as_str(), name, "no such endpoint");
                return Err(error.directive_of("report-to"));
            };
            setting.endpoints.push(endpoint.clone());
        }
        let others = self.settings.iter().filter(|other| other.name != setting.name);
        let kept = others.flat_map(|other| &other.endpoints);
        Endpoint::agree(kept.chain(&setting.endpoints))?;
        match self.settings.iter_mut().find(|other| other.name == setting.name) {
            Some(Setting { value: Value::Endpoint, endpoints, .. }) => {
                Endpoint::agree(endpoints.iter().chain(&setting.endpoints))?;
                endpoints.append(&mut setting.endpoints);
            }
            Some(other) => *other = setting,
            None => self.settings.push(setting),
        }
        self.settings.sort_by_key(|setting| rank(setting.name.as_str()));
        Ok(())
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.settings.iter().flat_map(|setting| &setting.endpoints)
    }

    fn prepare(&mut self) {
        for (is_https, is_document) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let template = self.template(is_https, is_document);
            self.templates[index(is_https, is_document)] = template;
        }
    }

    fn template(&self, is_https: bool, is_document: bool) -> Template {
        // The spare slots are for the handler's fields: without them the clone would have to be
        // hashed anew to take these.
        let fields = HeaderMap::with_capacity(2 * self.settings.len());
        let mut template = Template { fields, policies: Vec::new() };
        for Setting { name, value, .. } in &self.settings {
            let is_left_out = !is_https && *name == STRICT_TRANSPORT_SECURITY
                || !is_document && DOCUMENTS.contains(&name.as_str());
            match value {
                _ if is_left_out => {}
                Value::Fixed(value) => drop(template.fields.insert(name, value.clone())),
                Value::Csp { https, http } => template.add(if is_https { https } else { http }),
                Value::Endpoint => {}
            }
        }
        if let Some(list) = Endpoint::list(self.endpoints()) {
            template.fields.insert(reporting::NAME, list);
        }
        template
    }
}

impl Default for Wins {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Template {
    fn add(&mut self, policy: &Rendered) {
        if !policy.is_empty() {
            self.fields.insert(policy.name(), policy.plain().clone());
        }
        self.policies.push(policy.clone());
    }

    fn fill_in(&self, fields: &mut HeaderMap, facts: Facts<'_>) {
        for policy in self.policies.iter().filter(|policy| policy.has_nonce()) {
            fill_in(fields, policy, facts);
        }
    }
}

/// Whether a proxy says in `x-forwarded-proto` that the client used HTTPS, for
/// [`https_only`](crate::SecurityHeadersLayer::https_only). Where there are several proxies, the
/// first member of the list is the one that the client has talked to.
///
/// It is to be used only behind proxies that set the field themselves: anybody can send it.
#[must_use]
pub fn forwarded_proto(request: &request::Parts) -> bool {
    let value = request.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let first = value.and_then(|value| value.split(',').next());
    first.is_some_and(|first| first.trim().eq_ignore_ascii_case("https"))
}

fn put(fields: &mut HeaderMap, policy: &Rendered, facts: Facts<'_>) {
    if policy.is_empty() {
        fields.remove(policy.name());
        return;
    }
    fields.insert(policy.name(), policy.plain().clone());
    if policy.has_nonce() {
        fill_in(fields, policy, facts);
    }
}

/// A 304 changes the fields of what the browser has kept (RFC 9111 §3.2), whose nonces are others.
fn fill_in(fields: &mut HeaderMap, policy: &Rendered, facts: Facts<'_>) {
    if facts.status == StatusCode::NOT_MODIFIED {
        fields.remove(policy.name());
    } else if let Some(nonce) = facts.nonce {
        fields.insert(policy.name(), policy.with(nonce));
    }
}

/// The service's own policies are for this response alone too.
fn mark_policies(headers: &mut HeaderMap) {
    for name in [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        if let Entry::Occupied(mut policies) = headers.entry(name) {
            policies.iter_mut().for_each(|policy| policy.set_sensitive(true));
        }
    }
}

/// Whether a response may be shown as a page, or run as a worker, which has policies too.
fn may_be_document(content_type: Option<&HeaderValue>) -> bool {
    let essence = content_type.and_then(|value| value.to_str().ok()).map(|value| {
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    });
    let Some(essence) = essence else { return true };
    let is_harmless =
        ["font/", "image/", "audio/", "video/"].iter().any(|of| essence.starts_with(of));
    let is_data = essence.ends_with("+json") || DATA.contains(&essence.as_str());
    !(is_harmless && !essence.ends_with("+xml") || is_data)
}

fn rank(name: &str) -> usize {
    ORDER.iter().position(|other| *other == name).unwrap_or(ORDER.len())
}

fn index(is_https: bool, is_document: bool) -> usize {
    2 * usize::from(is_https) + usize::from(is_document)
}

/// Fields that mean nothing but for pages and workers.
const DOCUMENTS: [&str; 13] = [
    "content-security-policy",
    "content-security-policy-report-only",
    "cross-origin-embedder-policy",
    "cross-origin-embedder-policy-report-only",
    "cross-origin-opener-policy",
    "cross-origin-opener-policy-report-only",
    "integrity-policy",
    "integrity-policy-report-only",
    "origin-agent-cluster",
    "permissions-policy",
    "x-dns-prefetch-control",
    "x-frame-options",
    "x-xss-protection",
];
const DATA: [&str; 7] = [
    "application/json",
    "application/octet-stream",
    "application/wasm",
    "application/x-ndjson",
    "application/grpc",
    "text/css",
    "text/event-stream",
];

#[cfg(test)]
mod tests {
    use super::super::presets;
    use super::*;

    const FACTS: Facts<'_> =
        Facts { is_https: true, status: StatusCode::OK, nonce: None, changes: None };

    #[test]
    fn what_the_service_sets_wins_with_all_its_lines() {
        let mut headers = HeaderMap::new();
        let csp = ["default-src 'none'", "frame-ancestors *"];
        csp.iter().for_each(|value| {
            headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(value));
        });
        headers.insert("x-own", HeaderValue::from_static("kept"));
        presets::helmet().stamp(&mut headers, FACTS);
        let lines: Vec<_> = headers.get_all(CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(lines, csp);
        assert_eq!(headers["x-own"], "kept");
        assert_eq!(headers.keys_len(), 12 + 1);
    }

    #[test]
    fn a_map_that_is_full_stays_as_it_is() {
        let mut headers = HeaderMap::new();
        let mut fill = |n: usize| {
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            headers.try_insert(name, HeaderValue::from(n)).is_ok()
        };
        let full = (0..).take_while(|n| fill(*n)).count();
        presets::helmet().stamp(&mut headers, FACTS);
        assert_eq!(headers.len(), full);
        assert!(headers.keys().all(|name| name.as_str().starts_with("x-")));
    }

    #[test]
    fn a_field_that_is_removed_leaves_the_others_in_their_order() {
        let mut policy = presets::helmet();
        policy.remove(&STRICT_TRANSPORT_SECURITY);
        let mut headers = HeaderMap::new();
        policy.stamp(&mut headers, FACTS);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        let kept = |name: &&str| *name != "strict-transport-security" && names.contains(name);
        assert_eq!(names, ORDER.into_iter().filter(kept).collect::<Vec<_>>());
        assert_eq!(names.len(), 11);
    }

    #[test]
    fn what_is_no_page_and_no_worker_is_told_by_its_type() {
        let table = [
            (None, true),
            (Some("text/html; charset=utf-8"), true),
            (Some("application/xhtml+xml"), true),
            (Some("image/svg+xml"), true),
            (Some("text/javascript"), true),
            (Some("application/pdf"), true),
            (Some("text/plain"), true),
            (Some("Image/PNG"), false),
            (Some("font/woff2"), false),
            (Some("video/mp4"), false),
            (Some("text/css;charset=utf-8"), false),
            (Some("application/json"), false),
            (Some("application/problem+json ; x=1"), false),
            (Some("text/event-stream"), false),
            (Some("caf\u{e9}"), true),
        ];
        for (value, expected) in table {
            let value = value.map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
            assert_eq!(may_be_document(value.as_ref()), expected, "{value:?}");
        }
    }

    #[test]
    fn the_first_proxy_says_what_the_client_used() {
        let table = [
            (&["https"][..], true),
            (&["HTTPS"], true),
            (&[" https , http"], true),
            (&["http, https"], false),
            (&["http"], false),
            (&["https2"], false),
            (&[""], false),
            (&[], false),
        ];
        for (values, expected) in table {
            let mut request = http::Request::get("/");
            for value in values {
                request = request.header("x-forwarded-proto", *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(forwarded_proto(&head), expected, "{values:?}");
        }
    }
}
