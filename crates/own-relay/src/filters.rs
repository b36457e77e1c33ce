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
    // Each may become a place in an index that is read from, which values alone don't bound.
    let combinations = filters.iter().map(combinations_of).fold(0, usize::saturating_add);
    if combinations > limits.max_filter_combinations {
        let max = limits.max_filter_combinations;
        let reason = format!("invalid: the filters are too large, at most {max} pairs of author and kind are taken");
        return Err(BadFilters { reason, limit: Some("max_filter_combinations") });
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

fn combinations_of(filter: &Filter) -> usize {
    let authors = filter.authors.as_ref().map_or(1, |set| set.len().max(1));
    let kinds = filter.kinds.as_ref().map_or(1, |set| set.len().max(1));
    authors.saturating_mul(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filters: &[String], limits: &RelayLimits) -> Result<usize, (String, Option<&'static str>)> {
        let parts: Vec<&RawValue> = filters.iter().map(|json| serde_json::from_str(json).expect("JSON")).collect();
        read_filters(&parts, false, limits).map(|filters| filters.len()).map_err(|bad| (bad.reason, bad.limit))
    }

    #[test]
    fn pairs_of_author_and_kind_are_bounded_over_all_filters() {
        let limits = RelayLimits { max_filter_combinations: 20, ..RelayLimits::default() };
        let filter = |authors: usize, kinds: usize| {
            let authors: Vec<String> = (0..authors).map(|number| format!("{number:064x}")).collect();
            serde_json::json!({ "authors": authors, "kinds": (0..kinds).collect::<Vec<_>>() }).to_string()
        };
        let alone = r#"{"kinds":[0,1,2,3,4,5,6,7,8,9]}"#.to_owned();
        let refused = "invalid: the filters are too large, at most 20 pairs of author and kind are taken".to_owned();
        let refused = Err((refused, Some("max_filter_combinations")));
        for (filters, expected) in [
            (vec![filter(4, 5)], Ok(1)),
            (vec![filter(3, 7)], refused.clone()),
            (vec![filter(3, 3), filter(3, 3), "{}".to_owned(), "{}".to_owned()], Ok(4)),
            (vec![filter(3, 3), filter(3, 3), filter(3, 1)], refused.clone()),
            (vec![alone.clone(), alone.clone()], Ok(2)),
            (vec![alone.clone(), alone, "{}".to_owned()], refused),
            (vec![filter(0, 20)], Ok(1)),
        ] {
            assert_eq!(read(&filters, &limits), expected, "{filters:?}");
        }
        let most = vec![filter(64, 64); 32];
        let limit = read(&most, &RelayLimits::default()).expect_err("far too much").1;
        assert_eq!(limit, Some("max_filter_combinations"));
    }
}
