use http::header::{
    CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    X_DNS_PREFETCH_CONTROL, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The fields of every answer, built once.
///
/// Cloning the whole map and moving the handler's few fields into it costs half of inserting
/// twelve fields one by one: nothing is hashed but what the handler has set.
#[derive(Debug)]
pub(super) struct Template(HeaderMap);

impl Template {
    pub(super) fn helmet() -> Self {
        // The spare slots are for the handler's fields: without them the clone would have to be
        // hashed anew to take these.
        let mut fields = HeaderMap::with_capacity(2 * HELMET.len());
        for (name, value) in HELMET {
            fields.insert(name, HeaderValue::from_static(value));
        }
        Self(fields)
    }

    /// Puts the fields under `headers`, whose own fields win with all their lines.
    pub(super) fn stamp(&self, headers: &mut HeaderMap) {
        let mut fields = self.0.clone();
        // Fails only for a map that is full already (32,768 fields): no server sends that one.
        if fields.try_reserve(headers.len()).is_ok() {
            fields.extend(std::mem::take(headers));
            *headers = fields;
        }
    }
}

/// helmet 8.3.0, in its order.
const HELMET: [(HeaderName, &str); 12] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';\
         frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';\
         script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("origin-agent-cluster"), "?1"),
    (REFERRER_POLICY, "no-referrer"),
    (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_DNS_PREFETCH_CONTROL, "off"),
    (HeaderName::from_static("x-download-options"), "noopen"),
    (X_FRAME_OPTIONS, "SAMEORIGIN"),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), "none"),
    (X_XSS_PROTECTION, "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_sets_wins_with_all_its_lines() {
        let mut headers = HeaderMap::new();
        let csp = ["default-src 'none'", "frame-ancestors *"];
        csp.iter().for_each(|value| {
            headers.append(CONTENT_SECURITY_POLICY, HeaderValue::from_static(value));
        });
        headers.insert("x-own", HeaderValue::from_static("kept"));
        Template::helmet().stamp(&mut headers);
        let lines: Vec<_> = headers.get_all(CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(lines, csp);
        assert_eq!(headers["x-own"], "kept");
        assert_eq!(headers.keys_len(), HELMET.len() + 1);
    }

    #[test]
    fn a_map_that_is_full_stays_as_it_is() {
        let mut headers = HeaderMap::new();
        let mut fill = |n: usize| {
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            headers.try_insert(name, HeaderValue::from(n)).is_ok()
        };
        let full = (0..).take_while(|n| fill(*n)).count();
        Template::helmet().stamp(&mut headers);
        assert_eq!(headers.len(), full);
        assert!(headers.keys().all(|name| name.as_str().starts_with("x-")));
    }
}
