//! `--filter JSON`: a NIP-01 filter, read strictly. A misspelt key would otherwise match everything.

use nostr::filter::Filter;
use serde_json::{Map, Value};

/// Reads a filter.
///
/// # Errors
/// Names the key that is wrong, its value and what is allowed.
pub fn parse(text: &str) -> Result<Filter, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let Value::Object(object) = value else {
        return Err("a filter is a JSON object such as {\"kinds\":[30617]}".to_owned());
    };
    for (key, value) in &object {
        check(key, value).map_err(|allowed| format!("`{key}` = {value}: must be {allowed}"))?;
    }
    if let (Some(since), Some(until)) = (second(&object, "since"), second(&object, "until"))
        && since > until
    {
        return Err(format!("`since` ({since}) lies after `until` ({until})"));
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

fn check(key: &str, value: &Value) -> Result<(), &'static str> {
    let (allowed, right) = match key {
        "ids" | "authors" => ("a list of at least one text of 64 hex digits", all(value, is_hex)),
        "kinds" => ("a list of at least one whole number from 0 to 65535", all(value, is_kind)),
        "since" | "until" => ("a time in unix seconds", value.is_u64()),
        "limit" => ("a whole number, not negative", value.as_u64().is_some_and(|limit| usize::try_from(limit).is_ok())),
        "search" => ("left out: full-text search (NIP-50) is not supported", false),
        _ if is_tag(key) => ("a list of at least one text", all(value, Value::is_string)),
        _ => ("one of ids, authors, kinds, since, until, limit, or # with one letter: unknown key", false),
    };
    if right { Ok(()) } else { Err(allowed) }
}

fn all(value: &Value, right: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty() && items.iter().all(right))
}

fn is_hex(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_kind(value: &Value) -> bool {
    value.as_u64().is_some_and(|kind| u16::try_from(kind).is_ok())
}

fn is_tag(key: &str) -> bool {
    matches!(key.as_bytes(), [b'#', letter] if letter.is_ascii_alphabetic())
}

fn second(object: &Map<String, Value>, key: &str) -> Option<u64> {
    object.get(key).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nip01_filters_are_read_whole() {
        let id = "ab".repeat(32);
        let text = format!(
            r##"{{"ids":["{id}"],"authors":["{id}"],"kinds":[1,30617],"#d":["x"],"#E":["y"],"since":1,"until":2,"limit":3}}"##
        );
        let filter = parse(&text).expect("valid");
        assert_eq!(filter.kinds.map(|kinds| kinds.len()), Some(2));
        assert_eq!(filter.generic_tags.len(), 2);
        assert_eq!((filter.since.map(|t| t.as_secs()), filter.limit), (Some(1), Some(3)));
        assert_eq!(parse("{}"), Ok(Filter::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("", "not JSON"),
            ("[]", "JSON object"),
            (r#"{"kind":[1]}"#, "`kind`"),
            (r#"{"kinds":1}"#, "`kinds` = 1"),
            (r#"{"kinds":[]}"#, "at least one"),
            (r#"{"kinds":[65536]}"#, "65535"),
            (r#"{"kinds":[-1]}"#, "65535"),
            (r#"{"authors":["npub1x"]}"#, "64 hex digits"),
            (r#"{"since":"1"}"#, "unix seconds"),
            (r#"{"limit":-1}"#, "`limit`"),
            (r##"{"#dd":["x"]}"##, "unknown key"),
            (r##"{"#d":[1]}"##, "list of at least one text"),
            (r#"{"search":"x"}"#, "NIP-50"),
            (r#"{"since":5,"until":4}"#, "lies after"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
