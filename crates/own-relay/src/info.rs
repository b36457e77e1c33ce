//! What the relay says of itself (NIP-11), made from the very bounds that it keeps.

use serde_json::{Value, json};

use crate::config::{MAX_SUBSCRIPTION_ID, RelayConfig};

/// The NIPs that the relay follows.
pub const SUPPORTED_NIPS: [u16; 8] = [1, 9, 11, 40, 45, 67, 70, 77];

/// The document.
pub(crate) fn document(config: &RelayConfig) -> Value {
    let limits = &config.limits;
    let mut document = json!({
        "name": config.name,
        "description": config.description,
        "software": env!("CARGO_PKG_REPOSITORY"),
        "version": config.version,
        "supported_nips": SUPPORTED_NIPS,
        "limitation": {
            "max_message_length": config.max_message,
            "max_subscriptions": limits.max_subscriptions,
            "max_filters": limits.max_filters,
            "max_limit": limits.max_limit,
            "default_limit": limits.max_limit,
            "max_subid_length": MAX_SUBSCRIPTION_ID,
            "max_event_tags": config.events.max_tags,
            "created_at_upper_limit": config.max_future_s,
            "auth_required": false,
            "payment_required": false,
            "restricted_writes": true,
        },
    });
    if !config.supported_grasps.is_empty() {
        document["supported_grasps"] = json!(config.supported_grasps);
    }
    document
}
