//! The filters of a message: read, within the bounds on what one message may ask for.

use nostr::filter::Filter;
use serde::de::Error as _;
use serde_json::value::RawValue;

use crate::config::RelayLimits;

/// Bytes of a filter's JSON for each value that it may hold; an id with its quotes and comma has 67.
const BYTES_PER_VALUE: usize = 100;
/// Looking through contents costs a client nothing and the relay much.
const NO_SEARCH: &str = "unsupported: search (NIP-50) is not offered here";

/// Why filters are not taken.
pub(crate) struct BadFilters {
    pub(crate) reason: String,
    /// The bound that they break.
    pub(crate) limit: Option<&'static str>,
}

pub(crate) fn read_filters(parts: &[&RawValue], more: bool, limits: &RelayLimits) -> Result<Vec<Filter>, BadFilters> {
    if parts.is_empty() {
        return Err(BadFilters { reason: "invalid: no filter".to_owned(), limit: None });
    }
    if more || parts.len() > limits.max_filters {
        let reason = format!("error: too many filters, at most {} are taken", limits.max_filters);
        return Err(BadFilters { reason, limit: Some("max_filters") });
    }
    let too_large = || BadFilters {
        reason: format!("invalid: the filters are too large, at most {} values are taken", limits.max_filter_values),
        limit: Some("max_filter_values"),
    };
    // Before it is read: what can't be small enough isn't worth reading.
    let bytes: usize = parts.iter().map(|part| part.get().len()).sum();
    if bytes > limits.max_filter_values.saturating_mul(BYTES_PER_VALUE).saturating_add(4096) {
        return Err(too_large());
    }
    let mut filters = Vec::with_capacity(parts.len());
    for part in parts {
        let filter = read_filter(part.get());
        let filter = filter.map_err(|error| BadFilters { reason: format!("invalid: {error}"), limit: None })?;
        if filter.search.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(BadFilters { reason: NO_SEARCH.to_owned(), limit: None });
        }
        filters.push(filter);
    }
    if filters.iter().map(values_of).sum::<usize>() > limits.max_filter_values {
        return Err(too_large());
    }
    Ok(filters)
}

fn read_filter(json: &str) -> Result<Filter, serde_json::Error> {
    // The reader would take an array of the fields, too, which is no filter.
    if !json.starts_with('{') {
        return Err(serde_json::Error::custom("a filter is an object"));
    }
    serde_json::from_str(json)
}

fn values_of(filter: &Filter) -> usize {
    filter.ids.as_ref().map_or(0, |set| set.len())
        + filter.authors.as_ref().map_or(0, |set| set.len())
        + filter.kinds.as_ref().map_or(0, |set| set.len())
        + filter.generic_tags.values().map(|set| set.len()).sum::<usize>()
}
