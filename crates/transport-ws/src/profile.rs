//! What a relay says of itself, as far as it can be used (NIP-11). Pure.

use serde_json::Value;
use sync_core::strategy::RelayProfile;

/// NIPs kept of a claim; there are fewer than a hundred in use.
const MAX_NIPS: usize = 256;
/// Characters kept of `software` and of `version`.
const MAX_LABEL: usize = 128;

/// Reads a NIP-11 document. What is missing, of a wrong type, zero or negative counts as not said; larger numbers than
/// any relay can mean are cut. A text that isn't a JSON object says nothing.
pub fn profile_from_nip11(document: &[u8]) -> RelayProfile {
    let Ok(Value::Object(document)) = serde_json::from_slice(document) else {
        return RelayProfile::default();
    };
    let label = |key| document.get(key).and_then(Value::as_str).map(printable).unwrap_or_default();
    let limit = |key, largest| {
        let said = document.get("limitation")?.get(key)?;
        usable(said).map(|number| number.min(largest))
    };
    RelayProfile {
        supported_nips: document.get("supported_nips").map(nips).unwrap_or_default(),
        software: format!("{} {}", label("software"), label("version")).trim().to_owned(),
        max_subscriptions: limit("max_subscriptions", 10_000),
        max_filters: limit("max_filters", 10_000),
        max_limit: limit("max_limit", 1_000_000),
        max_message_length: limit("max_message_length", 1 << 30),
        max_subid_length: limit("max_subid_length", 1_000),
    }
}

/// A whole number of at least 1; `500.0` is one too.
fn usable(said: &Value) -> Option<usize> {
    let number = match (said.as_u64(), said.as_f64()) {
        (Some(number), _) => number,
        // Saturates, which the caller's ceiling takes care of.
        (None, Some(number)) if number.fract() == 0.0 && number > 0.0 => number as u64,
        _ => return None,
    };
    (number > 0).then(|| usize::try_from(number).unwrap_or(usize::MAX))
}

fn nips(said: &Value) -> Vec<u16> {
    let numbers = said.as_array().into_iter().flatten();
    let mut nips: Vec<u16> = numbers.filter_map(|nip| u16::try_from(nip.as_u64()?).ok()).take(MAX_NIPS).collect();
    nips.sort_unstable();
    nips.dedup();
    nips
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(MAX_LABEL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_document_is_read() {
        let document = br#"{"name":"r","supported_nips":[77,1,11,1],"software":"git+https://x/strfry","version":"1.0",
            "limitation":{"max_subscriptions":200,"max_filters":10,"max_limit":500.0,"max_message_length":131072,
            "max_subid_length":71,"auth_required":false}}"#;
        let expected = RelayProfile {
            supported_nips: vec![1, 11, 77],
            software: "git+https://x/strfry 1.0".to_owned(),
            max_subscriptions: Some(200),
            max_filters: Some(10),
            max_limit: Some(500),
            max_message_length: Some(131_072),
            max_subid_length: Some(71),
        };
        assert_eq!(profile_from_nip11(document), expected);
    }

    #[test]
    fn wrong_types_and_absurd_numbers_are_not_believed() {
        let document = br#"{"supported_nips":[1,"2",-3,70000,4.5,null,[77]],"software":["x"],"version":7,
            "limitation":{"max_subscriptions":0,"max_filters":-1,"max_limit":1e300,"max_message_length":"9",
            "max_subid_length":18446744073709551615}}"#;
        let expected = RelayProfile {
            supported_nips: vec![1],
            max_limit: Some(1_000_000),
            max_subid_length: Some(1_000),
            ..RelayProfile::default()
        };
        assert_eq!(profile_from_nip11(document), expected);
    }

    #[test]
    fn hostile_documents_say_nothing() {
        let deep = "[".repeat(200_000);
        let cases: [&[u8]; 8] = [
            b"",
            b"null",
            b"[]",
            b"{",
            b"<html>",
            b"\xff\xfe{}",
            deep.as_bytes(),
            br#"{"limitation":[1],"supported_nips":{}}"#,
        ];
        for document in cases {
            assert_eq!(profile_from_nip11(document), RelayProfile::default());
        }
    }

    #[test]
    fn long_claims_are_cut() {
        let many = (0..60_000).map(|nip| nip.to_string()).collect::<Vec<_>>().join(",");
        let document =
            format!(r#"{{"supported_nips":[{many}],"software":"{}","version":"a\u0007b"}}"#, "s".repeat(1000));
        let profile = profile_from_nip11(document.as_bytes());
        assert_eq!(profile.supported_nips.len(), MAX_NIPS);
        assert_eq!(profile.software, format!("{} ab", "s".repeat(MAX_LABEL)));
    }
}
