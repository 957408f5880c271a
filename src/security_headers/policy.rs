use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, HeaderName, StatusCode};

use super::caching::make_private;
use super::conditions::may_be_document;
use super::csp::{Csp, Rendered};
use super::endpoint::{self, Endpoint};
use super::error::InvalidHeader;
use super::header::{Header, Value, is_for_documents, rank};
use super::overrides::Changes;

/// The headers that a layer sends, with everything prepared that does not depend on the response.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    headers: Vec<Header>,
    pub(super) strip: Vec<HeaderName>,
    pub(super) documents_only: bool,
    overriding: Override,
    /// The names of the layer's headers that replace those of the service.
    overridden: Vec<HeaderName>,
    /// The headers of a response, indexed by [`index`]: for HTTPS or HTTP, for a document or none.
    templates: [Template; 4],
}

/// The headers that replace those of the service.
#[derive(Clone, Debug)]
enum Override {
    Names(Vec<HeaderName>),
    All,
}

/// The headers of a response.
///
/// Cloning this map and moving the service's few headers into it is cheaper than inserting twelve
/// headers one by one into the service's map: only the names that the service has set are hashed.
#[derive(Clone, Debug, Default)]
struct Template {
    headers: HeaderMap,
    policies: Vec<Rendered>,
}

/// The facts about one exchange that its headers depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) is_https: bool,
    pub(super) status: StatusCode,
    /// The nonce, if it was asked for.
    pub(super) nonce: Option<&'a str>,
    pub(super) changes: Option<&'a Changes>,
}

impl Policy {
    pub(super) fn of(headers: impl IntoIterator<Item = Header>) -> Result<Self, InvalidHeader> {
        let mut policy = Self::default();
        headers.into_iter().try_for_each(|header| policy.insert(header))?;
        policy.prepare();
        Ok(policy)
    }

    pub(super) fn set(&mut self, header: Header) -> Result<(), InvalidHeader> {
        self.insert(header)?;
        self.prepare();
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &HeaderName) {
        self.headers.retain(|header| header.name != *name);
        self.prepare();
    }

    pub(super) fn override_header(&mut self, name: HeaderName) {
        if let Override::Names(names) = &mut self.overriding {
            names.push(name);
        }
        self.prepare();
    }

    pub(super) fn override_all(&mut self) {
        self.overriding = Override::All;
        self.prepare();
    }

    pub(super) fn has_nonce(&self) -> bool {
        // The template for documents by HTTPS has all policies of the layer.
        self.templates[index(true, true)].policies.iter().any(Rendered::has_nonce)
    }

    /// Adds the layer's headers to those of the service. A header of the service that is not
    /// overridden replaces the layer's, with all its lines.
    pub(super) fn apply(&self, service: &mut HeaderMap, context: Context<'_>) {
        // The type of the content is the service's; the layer never sets it.
        let is_document = !self.documents_only || may_be_document(service);
        let template = &self.templates[index(context.is_https, is_document)];
        let mut headers = template.headers.clone();
        // Fails only for a map that is full (24,576 names), which no server can send.
        let changes = context.changes.map_or(0, |changes| changes.set.len());
        let more = service.keys_len() + changes + usize::from(context.nonce.is_some());
        if headers.try_reserve(more).is_err() {
            return;
        }
        // Stripped before the layer's headers are added, so that the layer may send such a header
        // itself.
        for name in self.strip.iter().chain(&self.overridden) {
            // Comparing the names of a response costs less than hashing one that it rarely has.
            if service.keys().any(|own| own == name) {
                service.remove(name);
            }
        }
        if context.nonce.is_some() {
            mark_policies_sensitive(service);
        }
        // A policy without the nonce is in the template already.
        for policy in template.policies.iter().filter(|policy| policy.has_nonce()) {
            insert_nonce(&mut headers, policy, context);
        }
        // Changes come after the nonce: they replace whole policies, and write the nonce
        // themselves.
        if let Some(changes) = context.changes {
            self.change(&mut headers, template, changes, context);
        }
        // The layer's headers come first, in the order of the table, and the service's follow.
        let own = std::mem::replace(service, headers);
        if own.keys_len() == own.len() {
            // Nearly every response has one line a header. `insert` is cheaper than `extend`,
            // which must allow for several.
            for (name, value) in own {
                if let Some(name) = name {
                    service.insert(name, value);
                }
            }
        } else {
            service.extend(own);
        }
        // After the merge, because the layer may send a `cache-control` of its own.
        if context.nonce.is_some() {
            make_private(service);
        }
    }

    fn change(
        &self,
        headers: &mut HeaderMap,
        template: &Template,
        changes: &Changes,
        context: Context<'_>,
    ) {
        let stays = |name: &HeaderName| self.overridden.contains(name);
        for name in changes.remove.iter().filter(|name| !stays(name)) {
            remove_in_order(headers, name);
        }
        let sent = |header: &&Header| context.is_https || header.name != STRICT_TRANSPORT_SECURITY;
        for header in changes.set.iter().filter(sent).filter(|header| !stays(&header.name)) {
            match (&header.value, context.is_https) {
                (Value::Fixed(value), _) => drop(headers.insert(&header.name, value.clone())),
                (Value::Csp { https: policy, .. }, true)
                | (Value::Csp { http: policy, .. }, false) => insert(headers, policy, context),
                // `Overrides` refuses headers that report to endpoints.
                (Value::Endpoints, _) => {}
            }
        }
        for own in &template.policies {
            let name = own.name();
            let mut more = changes.extend.iter().filter(|more| more.name() == *name).peekable();
            if more.peek().is_none() || changes.remove.contains(name) || stays(name) {
                continue;
            }
            // Extensions add up, so each is merged into the result of the last.
            let merged = more.fold(own.policy().clone(), Csp::merge);
            let merged = if context.is_https { merged } else { merged.without_upgrade() };
            // Both policies have been checked, so the merged one renders.
            if let Ok(merged) = Rendered::new(merged) {
                insert(headers, &merged, context);
            }
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|header| header.name == *name)
    }

    /// Adds a header, or replaces the one of its name. Endpoints that are set on their own add up.
    fn insert(&mut self, mut header: Header) -> Result<(), InvalidHeader> {
        if let Some(name) = header.undefined_endpoint() {
            let Some(endpoint) = self.endpoints().find(|endpoint| endpoint.name() == name) else {
                let reason = "no such endpoint: set it before, or use report_to()";
                let error = InvalidHeader::new(header.name.as_str(), name, reason);
                return Err(error.in_directive("report-to"));
            };
            header.endpoints.push(endpoint.clone());
        }
        // The endpoints of a header that is about to be replaced no longer count.
        let others = self.headers.iter().filter(|other| other.name != header.name);
        let kept = others.flat_map(|other| &other.endpoints);
        Endpoint::check_unique(kept.chain(&header.endpoints))?;
        match self.headers.iter_mut().find(|other| other.name == header.name) {
            Some(Header { value: Value::Endpoints, endpoints, .. }) => {
                Endpoint::check_unique(endpoints.iter().chain(&header.endpoints))?;
                endpoints.append(&mut header.endpoints);
            }
            Some(other) => *other = header,
            None => self.headers.push(header),
        }
        Ok(())
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.headers.iter().flat_map(|header| &header.endpoints)
    }

    /// Brings everything up to date that follows from the headers.
    fn prepare(&mut self) {
        // The header that defines endpoints stays only while an endpoint was set on its own.
        self.headers.retain(|own| own.name != endpoint::NAME || !own.endpoints.is_empty());
        // It comes back if another header reports to an endpoint.
        let definitions = Header::reporting_endpoints();
        if self.endpoints().next().is_some() && !self.has(&definitions.name) {
            self.headers.push(definitions);
        }
        // The sort is stable: headers without a type keep the order in which they were set.
        self.headers.sort_by_key(|header| rank(header.name.as_str()));
        let names = self.headers.iter().map(|header| &header.name);
        self.overridden = match &self.overriding {
            Override::Names(listed) => {
                names.filter(|name| listed.contains(name)).cloned().collect()
            }
            Override::All => names.cloned().collect(),
        };
        self.templates = std::array::from_fn(|at| self.template(at / 2 == 1, at % 2 == 1));
    }

    fn template(&self, is_https: bool, is_document: bool) -> Template {
        // The spare capacity is for the service's headers: a clone that has to grow for them
        // hashes all its names again.
        let headers = HeaderMap::try_with_capacity(2 * self.headers.len()).unwrap_or_default();
        let mut template = Template { headers, policies: Vec::new() };
        for Header { name, value, .. } in &self.headers {
            let is_left_out = !is_https && *name == STRICT_TRANSPORT_SECURITY
                || !is_document && is_for_documents(name.as_str());
            match value {
                // A header that is left out is still in `overridden`, and replaces the service's by
                // nothing.
                _ if is_left_out => {}
                Value::Fixed(value) => drop(template.headers.insert(name, value.clone())),
                Value::Csp { https, http } => template.add(if is_https { https } else { http }),
                Value::Endpoints => {
                    let value = Endpoint::header_value(self.endpoints());
                    template.headers.extend(value.map(|value| (name.clone(), value)));
                }
            }
        }
        template
    }
}

impl Default for Override {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl Template {
    fn add(&mut self, policy: &Rendered) {
        if !policy.is_empty() {
            self.headers.insert(policy.name(), policy.plain().clone());
        }
        self.policies.push(policy.clone());
    }
}

fn insert(headers: &mut HeaderMap, policy: &Rendered, context: Context<'_>) {
    if policy.is_empty() {
        remove_in_order(headers, policy.name());
        return;
    }
    headers.insert(policy.name(), policy.plain().clone());
    if policy.has_nonce() {
        insert_nonce(headers, policy, context);
    }
}

/// Inserts the policy with the nonce of the response, if it was asked for.
///
/// A 304 updates the headers of the response that the browser has stored (RFC 9111 §3.2). The page
/// that is stored with it has another nonce, so a 304 keeps the policy out.
fn insert_nonce(headers: &mut HeaderMap, policy: &Rendered, context: Context<'_>) {
    if context.status == StatusCode::NOT_MODIFIED {
        remove_in_order(headers, policy.name());
    } else if let Some(nonce) = context.nonce {
        headers.insert(policy.name(), policy.with(nonce));
    }
}

/// Marks the service's own policies as sensitive. They may have the nonce too, and HPACK must not
/// index it (RFC 7541 §7.1.3).
fn mark_policies_sensitive(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if *name == CONTENT_SECURITY_POLICY || *name == CONTENT_SECURITY_POLICY_REPORT_ONLY {
            value.set_sensitive(true);
        }
    }
}

/// Removes a header and keeps the others in their order, which `HeaderMap::remove` does not.
fn remove_in_order(headers: &mut HeaderMap, name: &HeaderName) {
    let all = std::mem::take(headers).into_iter();
    // The layer's headers have one line each, so each entry has a name.
    let kept = all.filter_map(|(other, value)| other.map(|other| (other, value)));
    *headers = kept.filter(|(other, _)| other != name).collect();
}

fn index(is_https: bool, is_document: bool) -> usize {
    2 * usize::from(is_https) + usize::from(is_document)
}

#[cfg(test)]
mod tests;
