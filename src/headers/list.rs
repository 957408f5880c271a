//! Lists that are separated by commas (RFC 9110 §5.6.1).

use http::{HeaderMap, HeaderName};

/// Returns the members of a list header, over all its lines, without the empty ones.
pub(crate) fn members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|line| split(line.as_bytes()))
}

/// Splits a line at its commas, except for those within quotes. A quote that is never closed lasts
/// to the end of the line. Empty members are left out (RFC 9110 §5.6.1.2).
pub(crate) fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Most lists have no quotes, and so no state to keep for each byte.
    let has_quotes = line.contains(&b'"');
    let mut quoted = false;
    let mut escaped = false;
    let parts = line.split(move |&byte| {
        if !has_quotes {
            return byte == b',';
        }
        let separates = byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        separates
    });
    parts.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::VARY;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_a_header_are_one_list() {
        let mut headers = HeaderMap::new();
        for line in ["a, b", "", ",, c ,\t", "d"] {
            headers.append(VARY, HeaderValue::from_static(line));
        }
        let found: Vec<_> = members(&headers, &VARY).collect();
        assert_eq!(found, [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn open_quote_lasts_to_the_end_of_the_line() {
        let found: Vec<_> = split(b"a=\"b, c\", \"d, \\\" e, f").collect();
        assert_eq!(found, [&b"a=\"b, c\""[..], b"\"d, \\\" e, f"]);
    }

    proptest! {
        #[test]
        fn quoted_text_is_one_member(
            texts in prop::collection::vec("[ -~]{0,12}", 0..5),
            between in " ?,[, ]{0,2}",
        ) {
            let escape = |text: &String| text.replace('\\', "\\\\").replace('"', "\\\"");
            let quoted: Vec<_> = texts.iter().map(|text| format!("a=\"{}\"", escape(text))).collect();
            let line = quoted.join(&between);
            let read: Vec<_> = split(line.as_bytes()).collect();
            prop_assert_eq!(read, quoted.iter().map(String::as_bytes).collect::<Vec<_>>());
        }
    }
}
