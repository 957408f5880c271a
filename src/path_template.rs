//! Matching of paths against templates, such as `/items/{id}`.

use std::borrow::Cow;

/// Returns the first template that matches `path`.
///
/// `{name}` matches one segment that is not empty, and `{*name}` at the end of a template matches the
/// rest of the path if that is not empty.
pub(crate) fn find_template<'a>(templates: &'a [Cow<'static, str>], path: &str) -> Option<&'a str> {
    // Most templates have no parameter, and match the path that they are.
    let is_match =
        |template: &&str| *template == path || template.contains('{') && matches(template, path);
    templates.iter().map(AsRef::as_ref).find(is_match)
}

fn matches(template: &str, path: &str) -> bool {
    // `None` once the last segment is consumed: a path that ends with `/` has one more, empty segment.
    let mut path = Some(path);
    for expected in template.split('/') {
        let Some(left) = path else { return false };
        if expected.starts_with("{*") && expected.ends_with('}') {
            return !left.is_empty();
        }
        let (segment, rest) = match left.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (left, None),
        };
        let is_parameter = expected.starts_with('{') && expected.ends_with('}');
        let matches = if is_parameter { !segment.is_empty() } else { segment == expected };
        if !matches {
            return false;
        }
        path = rest;
    }
    path.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_template_that_matches_is_found() {
        let templates = ["/", "/items", "/items/new", "/items/{id}", "/items/{id}/tags", "/f/{*p}"]
            .map(Cow::from);
        for (path, expected) in [
            ("/", Some("/")),
            ("/items", Some("/items")),
            ("/items/", None),
            ("/items/new", Some("/items/new")),
            ("/items/7", Some("/items/{id}")),
            ("/items/7/", None),
            ("/items/7/tags", Some("/items/{id}/tags")),
            ("/f/", None),
            ("/f/a", Some("/f/{*p}")),
            ("/f/a/b/c", Some("/f/{*p}")),
            ("/F/a", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(find_template(&templates, path), expected, "{path}");
        }
    }
}
