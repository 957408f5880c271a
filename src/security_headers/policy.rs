use http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY, STRICT_TRANSPORT_SECURITY,
};
use http::{HeaderMap, HeaderName, StatusCode};

use super::caching::make_private;
use super::conditions::may_be_document;
use super::csp::{Csp, Rendered};
use super::error::InvalidField;
use super::field::{Field, Setting, Value, is_for_documents, rank};
use super::overrides::Changes;
use super::reporting::{self, Endpoint};

/// What a layer sends, with everything prepared that does not depend on the response.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    settings: Vec<Setting>,
    pub(super) strip: Vec<HeaderName>,
    wins: Wins,
    pub(super) documents_only: bool,
    /// What it has of the fields that win.
    winners: Vec<HeaderName>,
    /// By whether the request came by HTTPS, and whether the response may be a document.
    templates: [Template; 4],
}

/// Which fields replace those of the service.
#[derive(Clone, Debug)]
enum Wins {
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

    pub(super) fn override_field(&mut self, name: HeaderName) {
        if let Wins::These(names) = &mut self.wins {
            names.push(name);
        }
        self.prepare();
    }

    pub(super) fn override_all(&mut self) {
        self.wins = Wins::All;
        self.prepare();
    }

    pub(super) fn has_nonce(&self) -> bool {
        self.templates[index(true, true)].policies.iter().any(Rendered::has_nonce)
    }

    /// Puts the fields under `headers`, whose own fields win with all their lines.
    pub(super) fn stamp(&self, headers: &mut HeaderMap, facts: Facts<'_>) {
        let is_document = !self.documents_only || may_be_document(headers);
        let template = &self.templates[index(facts.is_https, is_document)];
        let mut fields = template.fields.clone();
        // Fails only for a map that is full already (24,576 names): no server sends that one.
        let changes = facts.changes.map_or(0, |changes| changes.set.len());
        let more = headers.keys_len() + changes + usize::from(facts.nonce.is_some());
        if fields.try_reserve(more).is_err() {
            return;
        }
        for name in self.strip.iter().chain(&self.winners) {
            headers.remove(name);
        }
        if facts.nonce.is_some() {
            mark_policies(headers);
        }
        for policy in template.policies.iter().filter(|policy| policy.has_nonce()) {
            fill_in(&mut fields, policy, facts);
        }
        if let Some(changes) = facts.changes {
            self.change(&mut fields, template, changes, facts);
        }
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
        if facts.nonce.is_some() {
            make_private(headers);
        }
    }

    fn change(
        &self,
        fields: &mut HeaderMap,
        template: &Template,
        changes: &Changes,
        facts: Facts<'_>,
    ) {
        let stays = |name: &HeaderName| self.winners.contains(name);
        for name in changes.remove.iter().filter(|name| !stays(name)) {
            leave_out(fields, name);
        }
        let sent = |setting: &&Setting| facts.is_https || setting.name != STRICT_TRANSPORT_SECURITY;
        for setting in changes.set.iter().filter(sent).filter(|setting| !stays(&setting.name)) {
            match (&setting.value, facts.is_https) {
                (Value::Fixed(value), _) => drop(fields.insert(&setting.name, value.clone())),
                (Value::Csp { https: policy, .. }, true)
                | (Value::Csp { http: policy, .. }, false) => put(fields, policy, facts),
                (Value::Endpoint, _) => {}
            }
        }
        for own in &template.policies {
            let name = own.name();
            let mut more = changes.extend.iter().filter(|more| more.name() == *name).peekable();
            if more.peek().is_none() || changes.remove.contains(name) || stays(name) {
                continue;
            }
            let merged = more.fold(own.policy().clone(), Csp::merge);
            let merged = if facts.is_https { merged } else { merged.without_upgrade() };
            // Both have been checked: nothing of theirs cannot be sent.
            if let Ok(merged) = Rendered::new(merged) {
                put(fields, &merged, facts);
            }
        }
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.settings.iter().any(|setting| setting.name == *name)
    }

    /// Puts a field among the others, in the place of the one of its name.
    fn place(&mut self, field: Field) -> Result<(), InvalidField> {
        let mut setting = field.into_setting()?;
        if let Some(name) = setting.undefined() {
            let Some(endpoint) = self.endpoints().find(|endpoint| endpoint.name() == name) else {
                let why = "no such endpoint: set it before, or use report_to()";
                let error = InvalidField::new(setting.name.as_str(), name, why);
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
        Ok(())
    }

    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.settings.iter().flat_map(|setting| &setting.endpoints)
    }

    fn prepare(&mut self) {
        self.settings.retain(|own| own.name != reporting::NAME || !own.endpoints.is_empty());
        if self.endpoints().next().is_some() && !self.has(&Setting::endpoints().name) {
            self.settings.push(Setting::endpoints());
        }
        self.settings.sort_by_key(|setting| rank(setting.name.as_str()));
        let names = self.settings.iter().map(|setting| &setting.name);
        self.winners = match &self.wins {
            Wins::These(these) => names.filter(|name| these.contains(name)).cloned().collect(),
            Wins::All => names.cloned().collect(),
        };
        self.templates = std::array::from_fn(|at| self.template(at / 2 == 1, at % 2 == 1));
    }

    fn template(&self, is_https: bool, is_document: bool) -> Template {
        // The spare slots are for the handler's fields: without them the clone would have to be
        // hashed anew to take these.
        let fields = HeaderMap::try_with_capacity(2 * self.settings.len()).unwrap_or_default();
        let mut template = Template { fields, policies: Vec::new() };
        for Setting { name, value, .. } in &self.settings {
            let is_left_out = !is_https && *name == STRICT_TRANSPORT_SECURITY
                || !is_document && is_for_documents(name.as_str());
            match value {
                _ if is_left_out => {}
                Value::Fixed(value) => drop(template.fields.insert(name, value.clone())),
                Value::Csp { https, http } => template.add(if is_https { https } else { http }),
                Value::Endpoint => {
                    let list = Endpoint::list(self.endpoints());
                    template.fields.extend(list.map(|list| (name.clone(), list)));
                }
            }
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
}

fn put(fields: &mut HeaderMap, policy: &Rendered, facts: Facts<'_>) {
    if policy.is_empty() {
        leave_out(fields, policy.name());
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
        leave_out(fields, policy.name());
    } else if let Some(nonce) = facts.nonce {
        fields.insert(policy.name(), policy.with(nonce));
    }
}

/// The service's own policies are for this response alone too.
fn mark_policies(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if *name == CONTENT_SECURITY_POLICY || *name == CONTENT_SECURITY_POLICY_REPORT_ONLY {
            value.set_sensitive(true);
        }
    }
}

/// Leaves a field out, and the others in their order.
fn leave_out(fields: &mut HeaderMap, name: &HeaderName) {
    let all = std::mem::take(fields).into_iter();
    let kept = all.filter_map(|(other, value)| other.map(|other| (other, value)));
    *fields = kept.filter(|(other, _)| other != name).collect();
}

fn index(is_https: bool, is_document: bool) -> usize {
    2 * usize::from(is_https) + usize::from(is_document)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
        presets::helmet().stamp(&mut headers, Facts { nonce: Some("nonce"), ..FACTS });
        assert_eq!(headers.len(), full);
        assert!(headers.keys().all(|name| name.as_str().starts_with("x-")));
    }

    #[test]
    fn a_field_that_is_removed_leaves_the_others_in_their_order() {
        let names = |policy: &Policy| {
            let mut headers = HeaderMap::new();
            policy.stamp(&mut headers, FACTS);
            headers.keys().cloned().collect::<Vec<_>>()
        };
        let mut policy = presets::helmet();
        let mut others = names(&policy);
        others.retain(|name| *name != STRICT_TRANSPORT_SECURITY);
        policy.remove(&STRICT_TRANSPORT_SECURITY);
        let names = names(&policy);
        assert_eq!(names, others);
        assert_eq!(names.len(), 11);
    }

    #[test]
    fn a_field_with_thousands_of_lines_takes_no_room_from_the_others() {
        let mut headers = HeaderMap::new();
        for n in 0..40_000 {
            headers.append("set-cookie", n.into());
        }
        presets::helmet().stamp(&mut headers, FACTS);
        assert_eq!((headers.keys_len(), headers.len()), (13, 40_012));
    }

    #[test]
    fn a_field_that_wins_does_so_where_the_layer_does_not_send_it() {
        let mut policy = presets::helmet();
        policy.override_all();
        let mut headers = HeaderMap::new();
        headers.insert(STRICT_TRANSPORT_SECURITY, "max-age=0".parse().unwrap());
        policy.stamp(&mut headers, Facts { is_https: false, ..FACTS });
        assert!(!headers.contains_key(STRICT_TRANSPORT_SECURITY));
        assert_eq!(headers.len(), 11);
    }
}
