//! Whatever way a tree is written, the skimmer reads the same as serde_json.
#![allow(clippy::unwrap_used, reason = "a panic is the report")]

mod oracle;

use std::fmt::Write as _;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value as Tree;
use skim::Value;

/// Trees with texts that need escapes, empty keys, and numbers at their limits.
fn tree() -> impl Strategy<Value = Tree> {
    let text = || {
        prop_oneof![
            "[a-z\"\\\\/\u{0}-\u{1f}\u{7f}\u{e9}\u{20ac}\u{1f600}\u{10ffff}]{0,12}",
            "[ -~]{0,60}",
            prop::sample::select(vec!["choices", "error", "", "\"}", "\\\"", "[{", "\u{feff}"])
                .prop_map(Into::into),
        ]
    };
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<u64>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        (0u64..200).prop_map(Tree::from),
        // Such as serde_json reads back exactly.
        any::<i32>().prop_map(|eighths| Tree::from(f64::from(eighths) / 8.0)),
        text().prop_map(Tree::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Tree::from),
            btree_map(text(), inner, 0..6).prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

/// One of the ways to write a tree; each byte of `dice` decides once, and again when all are used up.
struct Writer<'a> {
    out: String,
    dice: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Writer<'_> {
    fn decide(&mut self, ways: u8) -> u8 {
        self.dice.next().map_or(0, |byte| byte % ways)
    }

    fn whitespace(&mut self) {
        const KINDS: [&str; 12] = ["", "", "", "", "", "", " ", "\n", "\t", "\r\n", "  ", " \n "];
        let kind = self.decide(12);
        self.out.push_str(KINDS[usize::from(kind)]);
    }

    fn token(&mut self, token: &str) {
        self.whitespace();
        self.out.push_str(token);
        self.whitespace();
    }

    fn text(&mut self, text: &str) {
        self.whitespace();
        self.out.push('"');
        for character in text.chars() {
            let must = character < ' ' || matches!(character, '"' | '\\');
            match self.decide(4) {
                0 => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        let _ = if self.decide(2) == 0 {
                            write!(self.out, "\\u{unit:04x}")
                        } else {
                            write!(self.out, "\\u{unit:04X}")
                        };
                    }
                }
                1 if character == '/' => self.out.push_str("\\/"),
                _ if must => {
                    let quoted = Tree::from(character.to_string()).to_string();
                    self.out.push_str(&quoted[1..quoted.len() - 1]);
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
        self.whitespace();
    }

    fn tree(&mut self, tree: &Tree) {
        match tree {
            Tree::Array(elements) => {
                self.token("[");
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        self.token(",");
                    }
                    self.tree(element);
                }
                self.token("]");
            }
            Tree::Object(members) => {
                self.token("{");
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        self.token(",");
                    }
                    self.text(name);
                    self.token(":");
                    self.tree(value);
                }
                self.token("}");
            }
            Tree::String(text) => self.text(text),
            other => self.token(&other.to_string()),
        }
    }
}

fn written(tree: &Tree, dice: &[u8]) -> String {
    let mut writer = Writer { out: String::new(), dice: dice.iter().cycle() };
    writer.tree(tree);
    writer.out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_tree_is_read_however_it_is_written(tree in tree(), dice in vec(any::<u8>(), 1..200)) {
        for text in [tree.to_string(), serde_json::to_string_pretty(&tree).unwrap(), written(&tree, &dice)] {
            prop_assert_eq!(&oracle::tree(Value::of(text.as_bytes())).unwrap(), &tree, "{}", text);
            oracle::check(text.as_bytes());
        }
    }

    #[test]
    fn a_text_that_is_cut_short_is_noticed_at_the_latest_at_its_end(tree in tree(), dice in vec(any::<u8>(), 1..200)) {
        prop_assume!(tree.is_object() || tree.is_array() || tree.is_string());
        let text = written(&tree, &dice);
        let text = text.trim();
        for end in 1..text.len() {
            let value = Value::of(&text.as_bytes()[..end]);
            let complete = match text.as_bytes()[0] {
                b'{' => value.as_object().unwrap().all(|member| member.is_ok()),
                b'[' => value.as_array().unwrap().all(|element| element.is_ok()),
                _ => value.as_str(&mut String::new()).is_ok(),
            };
            prop_assert!(!complete, "{}", &text[..text.floor_char_boundary(end)]);
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(text in vec(any::<u8>(), 0..100)) {
        oracle::check(&text);
    }

    #[test]
    fn pieces_of_json_do_no_harm(
        pieces in vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", "\\\"", "\\u", "d83d", "\\udE00", "\"a\"", "\"error\"", "null", "true",
            "-0", "0", "12", "1e5", "1.0", "18446744073709551615", "18446744073709551616", " ", "\n", "\u{0}", "{\"error\":", "é",
        ]), 0..20)
    ) {
        oracle::check(pieces.concat().as_bytes());
    }
}

#[test]
fn every_seed_of_the_fuzzer_is_read_the_same() {
    let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/skim");
    let mut count = 0;
    for seed in std::fs::read_dir(&seeds).unwrap() {
        oracle::check(&std::fs::read(seed.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}
