use super::*;

fn names(lines: &[&'static str]) -> Option<Vec<&'static str>> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
    }
    let codings = Codings::parse(&headers).ok()?;
    let names: Vec<_> = codings.outermost_first().map(|it| it.coding.as_str()).collect();
    assert_eq!(codings.is_empty(), names.is_empty());
    Some(names)
}

#[test]
fn the_last_coding_is_decoded_first() {
    let table: &[(&[&'static str], Option<&[&'static str]>)] = &[
        (&[], Some(&[])),
        (&[""], Some(&[])),
        (&["identity"], Some(&[])),
        (&["gzip"], Some(&["gzip"])),
        (&["X-GZip"], Some(&["gzip"])),
        (&[" , gzip\t,"], Some(&["gzip"])),
        (&["deflate, identity, gzip"], Some(&["gzip", "deflate"])),
        (&["deflate", "gzip"], Some(&["gzip", "deflate"])),
        (&["gzip, gzip"], Some(&["gzip", "gzip"])),
        (&["gzip, gzip, gzip"], None),
        (&["gzip", "gzip", "gzip"], None),
        (&["compress"], None),
        (&["gzip, unknown"], None),
        (&["gzip;q=1"], None),
        (&["gzip deflate"], None),
        (&["*"], None),
    ];
    let is_supported = |name: &&str| find(name.as_bytes()).is_some();
    for (lines, expected) in table {
        let expected = expected.filter(|names| names.iter().all(is_supported));
        assert_eq!(names(lines).as_deref(), expected, "{lines:?}");
    }
}

#[test]
fn accept_encoding_lists_every_coding() {
    let value = accept_encoding();
    let listed: Vec<_> = value.to_str().unwrap().split_terminator(", ").collect();
    let found = listed.iter().map(|name| find(name.as_bytes()).unwrap().coding.as_str());
    assert_eq!(found.collect::<Vec<_>>(), listed);
    assert_eq!(listed.len(), supported().count());
}
