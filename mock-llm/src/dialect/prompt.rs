//! The last thing that the user said.

use serde_json::Value;

use super::Dialect;

/// The text of the last message of the user; of several parts, those with text, joined.
pub(crate) fn last(dialect: Dialect, request: &Value) -> Option<String> {
    let list = match dialect {
        Dialect::Responses => &request["input"],
        _ => &request["messages"],
    };
    match list {
        Value::String(text) => Some(text.clone()),
        Value::Array(messages) => {
            text(&messages.iter().rfind(|message| message["role"] == "user")?["content"])
        }
        _ => None,
    }
}

fn text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        _ => None,
    }
}

/// A pattern in front of the prompt, and the rest of it: `[[abort:3]]Say hello`.
pub(crate) fn pattern(prompt: &str) -> Option<(&str, &str)> {
    prompt.strip_prefix("[[")?.split_once("]]")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_word_of_the_user_counts() {
        let messages = json!({"messages": [
            {"role": "user", "content": "first"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "no"},
        ]});
        assert_eq!(last(Dialect::Chat, &messages).unwrap(), "ab");
        assert_eq!(last(Dialect::Messages, &messages).unwrap(), "ab");
        assert_eq!(last(Dialect::Responses, &json!({"input": "plain"})).unwrap(), "plain");
        let items = json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "item"}]}]});
        assert_eq!(last(Dialect::Responses, &items).unwrap(), "item");
        assert_eq!(last(Dialect::Chat, &json!({})), None);
    }

    #[test]
    fn a_pattern_stands_in_front() {
        assert_eq!(pattern("[[abort:3]]hello"), Some(("abort:3", "hello")));
        assert_eq!(pattern("hello [[abort:3]]"), None);
    }
}
