//! The rule of a `no-vary-search` header: which parts of a query do not change the response
//! (draft-ietf-httpbis-no-vary-search).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::structured::{Item, dictionary};

/// A rule that makes URLs with different queries equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchRule {
    /// The header, by which rules are compared.
    text: Vec<u8>,
    /// The order of parameters with different names does not count.
    ignores_order: bool,
    parameters: Parameters,
}

/// The parameters that count, by their decoded names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Parameters {
    Only(Vec<String>),
    Except(Vec<String>),
}

impl SearchRule {
    /// Returns the rule of a response, or `None` if it states none but the default one: each query is
    /// another one. A malformed header has no effect (§4.1 of the draft).
    pub(crate) fn of(response: &HeaderMap) -> Option<Self> {
        let text = text_of(response)?;
        let (mut order, mut params, mut except) = (None, None, None);
        dictionary(&text, |key, item| match key {
            b"key-order" => order = Some(item),
            b"params" => params = Some(item),
            b"except" => except = Some(item),
            _ => {}
        })?;
        let ignores_order = match order {
            None => false,
            Some(Item::Boolean(order)) => order,
            Some(_) => return None,
        };
        let parameters = match (params, except) {
            // The algorithm of the draft has no rule here, though its text and its examples do.
            (None, None) => Parameters::Except(Vec::new()),
            (Some(Item::Strings(names)), None) => Parameters::Except(decoded(&names)),
            (None, Some(Item::Strings(names))) => Parameters::Only(decoded(&names)),
            _ => return None,
        };
        let is_default = !ignores_order && parameters == Parameters::Except(Vec::new());
        (!is_default).then_some(Self { text, ignores_order, parameters })
    }

    /// Returns `true` for the rule that a response states.
    pub(crate) fn is_of(&self, response: &HeaderMap) -> bool {
        let mut lines = response.get_all(NO_VARY_SEARCH).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.as_bytes() == self.text,
            (Some(_), Some(_)) => text_of(response).is_some_and(|text| text == self.text),
            (None, _) => false,
        }
    }

    /// Returns `true` for a response that may answer several queries.
    pub(crate) fn is_stated(response: &HeaderMap) -> bool {
        // A response has few names, and most are standard ones: to compare them costs less than a hash.
        response.keys().any(|name| *name == NO_VARY_SEARCH)
    }

    /// Returns the header of the rule.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the form that all queries share which are equal by this rule (§5 of the draft), with
    /// its `?`, or nothing if no parameter counts.
    pub(crate) fn normal(&self, query: &str) -> String {
        let mut pairs: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(name.as_bytes()), decode(value.as_bytes()))
            })
            .filter(|(name, _)| self.counts(name))
            .collect();
        if self.ignores_order {
            // The sort is stable: the values of one name keep their order.
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let mut normal = String::new();
        for (name, value) in &pairs {
            normal.push(if normal.is_empty() { '?' } else { '&' });
            encode(&mut normal, name);
            normal.push('=');
            encode(&mut normal, value);
        }
        normal
    }

    fn counts(&self, name: &str) -> bool {
        match &self.parameters {
            Parameters::Only(names) => names.iter().any(|of| of == name),
            Parameters::Except(names) => !names.iter().any(|of| of == name),
        }
    }
}

/// Returns the header with all its lines, or `None` if it is missing or too long: rules are remembered.
fn text_of(response: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = response.get_all(NO_VARY_SEARCH).iter();
    let mut text = lines.next()?.as_bytes().to_vec();
    for line in lines.map(HeaderValue::as_bytes) {
        text.push(b',');
        text.extend_from_slice(line);
    }
    (text.len() <= MAX_LENGTH).then_some(text)
}

fn decoded(names: &[Vec<u8>]) -> Vec<String> {
    names.iter().map(|name| decode(name)).collect()
}

/// Decodes a name or a value as the URL Standard parses `application/x-www-form-urlencoded`. Bytes that
/// are no UTF-8 become U+FFFD.
fn decode(text: &[u8]) -> String {
    let digit = |at: usize| text.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        bytes.push(match (byte, digit(at), digit(at + 1)) {
            (b'+', ..) => b' ',
            (b'%', Some(high), Some(low)) => {
                at += 2;
                (high << 4 | low) as u8
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes)
        .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned())
}

/// Encodes a name or a value so that no two have the same text.
fn encode(text: &mut String, decoded: &str) {
    for byte in decoded.bytes() {
        match byte {
            b' ' => text.push('+'),
            b'*' | b'-' | b'.' | b'_' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => {
                text.push('%');
                let digits = [byte >> 4, byte & 15];
                text.extend(
                    digits.map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])),
                );
            }
        }
    }
}

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// The maximum length of a rule, in bytes.
const MAX_LENGTH: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(lines: &[&str]) -> Option<SearchRule> {
        let lines = lines.iter().map(|line| HeaderValue::from_str(line).unwrap());
        SearchRule::of(&lines.map(|line| (NO_VARY_SEARCH, line)).collect())
    }

    #[test]
    fn malformed_headers_have_no_effect() {
        // Draft §4.2. All of these state the default rule, or none that could be parsed.
        for header in [
            "",
            "key-order=\"not a boolean\"",
            "key-order=?0",
            "key-order=1",
            "params",
            "params=\"not an inner list\"",
            "params=(not-a-string)",
            "params=(\"a\" b)",
            "params=()",
            "params=?0",
            "params=?1",
            "params=?1, except=(\"x\")",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "except",
            "except=\"not an inner list\"",
            "except=(not-a-string)",
            "except=?1",
            "params=(\"a\"), params=?0",
            "params=(\"a\"",
            "params=(\"a\"),",
            "Params=(\"a\")",
            "params = (\"a\")",
            "other=(\"a\")",
        ] {
            assert_eq!(rule(&[header]), None, "{header}");
        }
        assert_eq!(rule(&[&format!("params=(\"{}\")", "a".repeat(MAX_LENGTH))]), None);
    }

    #[test]
    fn queries_are_equal_by_their_rule() {
        // Draft §5, with the table of §5.1: the rule, two queries, and `true` if they are equal.
        let table: &[(&[&str], &str, &str, bool)] = &[
            (&["key-order"], "a=1&b=2", "b=2&a=1", true),
            (&["key-order=?1"], "a=1&b=2&a=3", "b=2&a=1&a=3", true),
            (&["key-order"], "a=1&a=2", "a=2&a=1", false),
            (&["key-order"], "a=1", "a=1&b", false),
            (&["params=(\"u\")"], "a=1&b=2", "b=2&a=1", false),
            (&["params=(\"u\"), key-order"], "u=1&b=2&a=1", "a=1&b=2", true),
            (&["params=(\"u\")", "key-order"], "u=1&b=2&a=1", "a=1&b=2", true),
            (&["params=(\"u\"  \"v\" );p=1, later=?1"], "u&a=1&v=2", "a=1", true),
            (&["params=(\"u\")"], "U=1", "", false),
            (&["params=(\"u\")"], "u=1", "", true),
            (&["except=(\"a\")"], "a=1&b=2", "c&a=1", true),
            (&["except=(\"a\")"], "a=1", "a=2", false),
            (&["except=(\"a\")"], "a=1", "", false),
            (&["except=()"], "a=1&b=2", "", true),
            (&["params=(\"%C3%A9+%E6%B0%97\")"], "%c3%a9%20%e6%b0%97=1", "", true),
            (&["key-order"], "a=x", "%61=%78", true),
            (&["key-order"], "a=%C3%A9", "a=%c3%a9", true),
            (&["key-order"], "a=%f6", "a=%ef%bf%bd", true),
            (&["key-order"], "a=x&&&&", "a=x", true),
            (&["key-order"], "a=", "a", true),
            (&["key-order"], "a=%20", "a=+&", true),
            (&["key-order"], "a=b=c", "a=b%3Dc", true),
            (&["key-order"], "a%3Db=c", "a=b=c", false),
            (&["key-order"], "a=1%26b=2", "a=1&b=2", false),
            (&["key-order"], "a=%2B", "a=+", false),
            (&["key-order"], "=", "", false),
            (&["key-order"], "a=%", "a=%25", true),
            (&["key-order"], "a=1;b=2", "b=2;a=1", false),
        ];
        for (lines, first, second, expected) in table {
            let rule = rule(lines).unwrap();
            let equal = rule.normal(first) == rule.normal(second);
            assert_eq!(equal, *expected, "{lines:?} {first} {second}");
        }
    }

    /// The algorithm of the draft, by lists of pairs.
    fn pairs(rule: &SearchRule, query: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for part in query.split('&') {
            if !part.is_empty() {
                let mut halves = part.splitn(2, '=').map(|half| decode(half.as_bytes()));
                let name = halves.next().unwrap_or_default();
                pairs.push((name, halves.next().unwrap_or_default()));
            }
        }
        pairs.retain(|(name, _)| match &rule.parameters {
            Parameters::Only(names) => names.contains(name),
            Parameters::Except(names) => !names.contains(name),
        });
        if rule.ignores_order {
            pairs.sort_by_key(|(name, _)| name.clone());
        }
        pairs
    }

    proptest! {
        #[test]
        fn normal_queries_are_equal_if_their_pairs_are(
            header in "(params|except)=\\((\"[ab]\" ?){0,2}\\)(, key-order)?",
            first in "((a|b|c|%61|\\+)(=[ab+%4]{0,4})?&?){0,4}",
            second in "((a|b|c|%61|\\+)(=[ab+%4]{0,4})?&?){0,4}",
        ) {
            let Some(rule) = rule(&[&header]) else { return Ok(()) };
            let (normal, other) = (rule.normal(&first), rule.normal(&second));
            prop_assert_eq!(normal == other, pairs(&rule, &first) == pairs(&rule, &second));
            // The normal form is final.
            let query = normal.strip_prefix('?').unwrap_or("");
            prop_assert_eq!(rule.normal(query), normal.clone());
            prop_assert!(normal.parse::<http::uri::PathAndQuery>().is_ok() || normal.is_empty());
        }

        #[test]
        fn no_header_and_no_query_causes_a_panic(
            header in prop::collection::vec(any::<u8>(), 0..40),
            query in any::<String>(),
        ) {
            let Ok(line) = HeaderValue::from_bytes(&header) else { return Ok(()) };
            if let Some(rule) = SearchRule::of(&[(NO_VARY_SEARCH, line)].into_iter().collect()) {
                rule.normal(&query);
            }
        }
    }
}
