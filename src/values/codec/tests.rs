use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;

#[derive(Serialize)]
struct Rate {
    name: &'static str,
    rate: f64,
    last: Option<f64>,
}

#[derive(Serialize)]
enum Form {
    Unit,
    New(f64),
    Tuple(u8, f64),
    Struct { rate: f64 },
}

fn fails<T: Serialize + ?Sized>(value: &T) -> bool {
    let error = Json::to_vec(value).err();
    error.inspect(|error| assert!(error.to_string().contains("NaN"), "{error}")).is_some()
}

#[test]
fn numbers_that_are_not_finite_are_errors() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for value in odd {
        let rate = |rate, last| Rate { name: "EUR", rate, last };
        assert!(fails(&value) && fails(&Some(value)) && fails(&(value as f32)));
        assert!(fails(&[1.0, value]) && fails(&(1, value)) && fails(&vec![Some(value)]));
        assert!(fails(&rate(value, None)) && fails(&rate(1.0, Some(value))));
        assert!(fails(&BTreeMap::from([("a", rate(1.0, Some(value)))])));
        assert!(fails(&[Form::Unit, Form::New(value)]) && fails(&Form::Tuple(1, value)));
        assert!(fails(&Form::Struct { rate: value }));
    }
}

#[test]
fn absence_and_finite_numbers_are_json() {
    let rate = Rate { name: "EUR", rate: 1.5, last: None };
    let value = (&rate, [Form::Unit, Form::New(0.0), Form::Tuple(1, f64::MAX)], (), 'x');
    assert_eq!(Json::to_vec(&value).unwrap(), serde_json::to_vec(&value).unwrap());
    let form = Form::Struct { rate: -0.0 };
    let value = BTreeMap::from([("none", (None, i128::MAX)), ("some", (Some(form), 1))]);
    assert_eq!(Json::to_vec(&value).unwrap(), serde_json::to_vec(&value).unwrap());
    let all = json!([null, {"a": null, "b": [1, -1, 1.5, "text", true]}]);
    assert_eq!(Json::to_vec(&all).unwrap(), all.to_string().into_bytes());
    assert!(Codec::<Value>::is_absent(&Json, &Json::to_vec(&None::<u8>).unwrap()));
    assert!(!Codec::<Value>::is_absent(&Json, &Json::to_vec("null").unwrap()));
}

#[test]
fn decoded_value_counts_its_type_and_bytes() {
    assert_eq!(Json.decoded_size(&0_u64, 100), 408);
    assert_eq!(Json.decoded_size(&0_u64, usize::MAX), usize::MAX);
}
