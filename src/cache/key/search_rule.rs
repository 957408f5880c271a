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
mod tests;
