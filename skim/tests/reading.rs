//! What is read, what is let pass, and what is refused.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

use skim::{Malformed, Value};

fn text(json: impl AsRef<[u8]>) -> Result<Option<String>, Malformed> {
    let mut scratch = String::from("what was here before");
    Ok(Value::of(json.as_ref()).as_str(&mut scratch)?.map(str::to_owned))
}

/// The raw elements; the error, when there is one.
fn elements(json: &str) -> Result<Vec<&str>, Malformed> {
    let elements = Value::of(json.as_bytes()).as_array().unwrap();
    elements.map(|element| Ok(std::str::from_utf8(element?.raw()).unwrap())).collect()
}

/// How many members there are; the error, when there is one.
fn members(json: &str) -> Result<usize, Malformed> {
    let members = Value::of(json.as_bytes()).as_object().unwrap();
    Ok(members.collect::<Result<Vec<_>, _>>()?.len())
}

mod a_string {
    use super::*;

    #[test]
    fn that_stands_there_as_it_is_is_not_copied() {
        let json = br#" "Hello" "#;
        let mut scratch = String::new();
        let text = Value::of(json).as_str(&mut scratch).unwrap().unwrap();
        assert_eq!(text, "Hello");
        assert!(json.as_ptr_range().contains(&text.as_ptr()));
    }

    #[test]
    fn has_nine_kinds_of_escapes() {
        assert_eq!(text(r#""\"\\\/\b\f\n\r\t\u0041""#), Ok(Some("\"\\/\u{8}\u{c}\n\r\tA".into())));
        assert_eq!(text(r#""\u00e9\u20AC\ud83d\uDE00""#), Ok(Some("\u{e9}\u{20ac}\u{1f600}".into())));
        assert_eq!(text(r#""\uD800\uDC00\uDBFF\uDFFF""#), Ok(Some("\u{10000}\u{10ffff}".into())));
    }

    #[test]
    fn with_a_wrong_escape_is_refused() {
        for wrong in [r#""\x""#, r#""\u12""#, r#""\u12g4""#, r#""\u+123""#, r#""\U0041""#, r#""\ud83d\u12""#]
        {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keeps_a_place_for_half_a_surrogate_pair() {
        assert_eq!(text(r#""a\ud83d""#), Ok(Some("a\u{fffd}".into())));
        assert_eq!(text(r#""\ude00b""#), Ok(Some("\u{fffd}b".into())));
        assert_eq!(text(r#""\ud83d\ud83d\ude00""#), Ok(Some("\u{fffd}\u{1f600}".into())));
        assert_eq!(text(r#""\ud83d\n""#), Ok(Some("\u{fffd}\n".into())));
        assert_eq!(text(r#""\ud83d\u0041""#), Ok(Some("\u{fffd}A".into())));
        assert_eq!(text(r#""\ud83d\ue000""#), Ok(Some("\u{fffd}\u{e000}".into())));
    }

    #[test]
    fn keeps_a_place_for_what_is_not_utf_8() {
        assert_eq!(text(b"\"a\xFFb\""), Ok(Some("a\u{fffd}b".into())));
        assert_eq!(text(b"\"\\n\xE2\x82\""), Ok(Some("\n\u{fffd}".into())));
    }

    #[test]
    fn may_hold_control_characters() {
        assert_eq!(text("\"a\nb\0\""), Ok(Some("a\nb\0".into())));
    }

    #[test]
    fn ends_with_its_quote_and_there_is_nothing_behind() {
        for wrong in [r#"""#, r#""a"#, r#""a\"#, r#""a\""#, r#""a" b"#, r#""a""b""#] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn is_nothing_else() {
        for other in ["", "null", "1", "[\"a\"]", "{}", "a\"b\""] {
            assert_eq!(text(other), Ok(None), "{other}");
        }
    }
}

mod an_object {
    use super::*;

    #[test]
    fn gives_its_members_in_order_also_twice() {
        let json = br#" { "b" : 1 , "a":[2,{"b":3}],"b":"x" } "#;
        let mut scratch = String::new();
        let members = Value::of(json).as_object().unwrap().map(|member| {
            let (key, value) = member.unwrap();
            (key.as_str(&mut scratch).unwrap().to_owned(), value.raw())
        });
        let expected = [("b", &b"1"[..]), ("a", br#"[2,{"b":3}]"#), ("b", br#""x""#)];
        assert!(members.eq(expected.map(|(key, value)| (key.to_owned(), value))));
    }

    #[test]
    fn is_picked_from_by_name_the_last_of_several() {
        let json = br#"{"a":1,"b":2,"c":{"d":4},"a":3}"#;
        let [d, a, c] = Value::of(json).pick(["d", "a", "c"]).unwrap();
        assert!(d.is_none());
        assert_eq!(a.unwrap().as_u64(), Some(3));
        assert_eq!(c.unwrap().raw(), br#"{"d":4}"#);
    }

    #[test]
    fn has_keys_that_may_be_escaped() {
        let [delta, broken] = Value::of(br#"{"d\u0065lta":1,"\x":2}"#).pick(["delta", "\\x"]).unwrap();
        assert_eq!(delta.unwrap().as_u64(), Some(1));
        assert!(broken.is_none());
    }

    #[test]
    fn is_picked_from_in_vain_when_it_is_none() {
        for other in ["null", "[]", "\"a\"", "1", ""] {
            assert!(Value::of(other.as_bytes()).pick(["a"]).unwrap()[0].is_none());
        }
    }

    #[test]
    fn has_members_and_commas_between_and_nothing_behind() {
        assert_eq!(members("{}"), Ok(0));
        assert_eq!(members("{ \n}"), Ok(0));
        for wrong in [
            "{",
            "{,}",
            "{,\"a\":1}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":,}",
            "{\"a\" 1}",
            "{a:1}",
            "{1:1}",
            "{\"a\"::1}",
            "{\"a\":1]",
            "{\"a\":1}}",
            "{} {}",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":tru",
            "{\"a\":\"",
            "{\"a\":[",
        ] {
            assert!(members(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn has_nothing_more_behind_an_error() {
        let mut members = Value::of(br#"{"a":1 "b":2}"#).as_object().unwrap();
        assert!(members.next().unwrap().is_ok());
        assert!(members.next().unwrap().is_err());
        assert!(members.next().is_none());
    }
}

mod an_array {
    use super::*;

    #[test]
    fn gives_its_elements_as_they_are_written() {
        assert_eq!(elements("[]"), Ok(vec![]));
        assert_eq!(elements("[1]"), Ok(vec!["1"]));
        assert_eq!(
            elements("[ 1, \"]\\\"\",[ ] ,{\"a\" : [1]}\n, null]"),
            Ok(vec!["1", "\"]\\\"\"", "[ ]", "{\"a\" : [1]}", "null"])
        );
    }

    #[test]
    fn has_elements_and_commas_between_and_nothing_behind() {
        for wrong in [
            "[",
            "[,]",
            "[,1]",
            "[1,]",
            "[1 2]",
            "[1}",
            "[1]]",
            "[1",
            "[1,",
            "[\"a\" \"b\"]",
            "[:]",
            "[1:2]",
            "[\"a",
        ] {
            assert!(elements(wrong).is_err(), "{wrong}");
        }
    }
}

#[test]
fn numbers_are_whole_and_in_their_shortest_form() {
    let number = |json: &str| Value::of(json.as_bytes()).as_u64();
    assert_eq!(number("0"), Some(0));
    assert_eq!(number(" 42\n"), Some(42));
    assert_eq!(number("18446744073709551615"), Some(u64::MAX));
    for other in [
        "",
        "-1",
        "-0",
        "+1",
        "01",
        "00",
        "1.0",
        "1e3",
        "18446744073709551616",
        "\"1\"",
        "null",
        "1 2",
        "[1]",
    ] {
        assert_eq!(number(other), None, "{other}");
    }
}

#[test]
fn only_null_is_null() {
    assert!(Value::of(b" null ").is_null());
    for other in ["", "nul", "nullx", "\"null\"", "0", "{}"] {
        assert!(!Value::of(other.as_bytes()).is_null(), "{other}");
    }
}

#[test]
fn what_is_stepped_over_is_not_checked() {
    assert_eq!(elements("[[}, nul, 01]"), Ok(vec!["[}", "nul", "01"]));
}

#[test]
fn nesting_costs_no_stack() {
    let deep = [vec![b'['; 1_000_000], vec![b']'; 1_000_000]].concat();
    assert_eq!(Value::of(&deep).as_array().unwrap().next().unwrap().unwrap().raw().len(), deep.len() - 2);
    assert!(Value::of(&deep[..1_500_000]).as_array().unwrap().next().unwrap().is_err());
}
