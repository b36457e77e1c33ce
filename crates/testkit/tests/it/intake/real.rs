//! Real git events, where the collection lies beside the project.

use std::path::Path;

use super::*;

#[test]
fn real_announcements_that_list_a_service_are_accepted_in_either_order() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/nip34-git.jsonl");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let mut events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let now = events.iter().map(|event| event.created_at.as_secs()).max().expect("events");
    let accepted = |events: &[Event]| {
        let store = store_with(AdmissionConfig { domains: vec!["relay.ngit.dev".to_owned()], ..Default::default() });
        for event in events {
            take_at(&store, event, now);
        }
        told(&store)
    };
    let forward = accepted(&events);
    let announcements = events.iter().filter(|event| event.kind.as_u16() == kinds::ANNOUNCEMENT);
    assert_eq!(announcements.filter(|event| forward.contains(&event.id)).count(), 14);
    assert!(forward.len() > 28, "states, issues and patches of theirs too, not {}", forward.len());
    events.reverse();
    assert_eq!(accepted(&events), forward);
}
