use proptest::prelude::*;

use super::*;

#[test]
fn a_member_is_a_directive_or_malformed() {
    use Argument::{None, Quoted, Token};
    let named = |name: &'static str, argument| Directive::Named(name.as_bytes(), argument);
    for (member, expected) in [
        ("a", Some(named("a", None))),
        ("a-b_c", Some(named("a-b_c", None))),
        ("a=1", Some(named("a", Token(b"1")))),
        ("a = 1", Some(named("a", Token(b"1")))),
        ("a=\" 1 \"", Some(named("a", Quoted(b"1")))),
        ("a=\"\"", Some(named("a", Quoted(b"")))),
        ("a=\"x, y\"", Some(named("a", Quoted(b"x, y")))),
        ("a=\"\\\"\"", Some(named("a", Quoted(b"\\\"")))),
        ("a=\"\\\\\"", Some(named("a", Quoted(b"\\\\")))),
        ("a=", Option::None),
        ("=1", Option::None),
        ("a b", Option::None),
        ("a;b", Option::None),
        ("a:1", Option::None),
        ("\"a\"", Option::None),
        ("a=1 b", Option::None),
        ("a=1;b", Option::None),
        ("a=\"", Option::None),
        ("a=\"1", Option::None),
        ("a=1\"", Option::None),
        ("a=\"\\\"", Option::None),
        ("a=\"1\"2\"", Option::None),
        ("a\u{e9}", Option::None),
        ("a=\u{201c}1\u{201d}", Option::None),
        ("a=b=c", Option::None),
    ] {
        let expected = expected.unwrap_or(Directive::Malformed(member.as_bytes()));
        assert_eq!(Directive::parse(member.as_bytes()), expected, "{member}");
    }
}

proptest! {
    #[test]
    fn quoted_text_is_one_member(texts in prop::collection::vec("[ -~]{0,12}", 0..5), between in " ?,[, ]{0,2}") {
        let quote = |text: &String| format!("a=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let quoted: Vec<_> = texts.iter().map(quote).collect();
        let line = quoted.join(&between);
        let read: Vec<_> = list::split(line.as_bytes()).collect();
        prop_assert_eq!(&read, &quoted.iter().map(String::as_bytes).collect::<Vec<_>>());
        for member in read {
            prop_assert!(matches!(Directive::parse(member), Directive::Named(b"a", Argument::Quoted(_))));
        }
    }
}
