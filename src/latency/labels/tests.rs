use super::*;

fn labels(names: &[&'static str]) -> Result<CustomLabels, InvalidLabel> {
    let mut labels = CustomLabels::default();
    for name in names {
        labels.add_request_label(name, Arc::new(|head| head.uri.query()))?;
    }
    Ok(labels)
}

fn set(values: &LabelValues, labels: &CustomLabels, query: &str) -> Vec<Label> {
    let request = http::Request::get(format!("/?{query}")).body(()).unwrap();
    values.labels(values.read_request(labels, &request.into_parts().0)).collect()
}

#[test]
fn names_that_cannot_be_exported_are_invalid() {
    for name in ["", "1a", "a-b", "a b", ".a", "__a", "ä", "route", "http_route", "le", "job"] {
        assert!(labels(&[name]).is_err(), "{name}");
    }
    for name in ["tenant", "_a", "a.b", "A1"] {
        assert!(labels(&[name]).is_ok(), "{name}");
    }
    assert!(labels(&["a.b", "a_b"]).is_err(), "the same name to Prometheus");
    assert!(labels(&["a", "b", "c", "d", "e", "f", "g", "h"]).is_ok());
    let error = labels(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid label `i`: this layer already has 8 custom labels, which is the maximum"
    );
}

#[test]
fn values_beyond_the_maximum_are_other() {
    let labels = labels(&["a", "b", "c", "d", "e", "f", "g", "h"]).unwrap();
    let values = LabelValues::new(&labels, 2);
    for (query, expected) in [
        ("x", "x"),
        ("y", "y"),
        ("z", "other"),
        ("x", "x"),
        ("other", "other"),
        (&*"x".repeat(129), "other"),
    ] {
        let found = set(&values, &labels, query);
        assert_eq!(found.len(), 8, "{query}");
        assert!(found.iter().all(|label| label.value() == expected), "{query}: {found:?}");
    }
    assert_eq!(set(&values, &labels, ""), [], "no value, no label");
}
