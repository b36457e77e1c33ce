//! A question's filter as a part of the session's: the boundary knows no others.

use strategy_abi::Narrow;
use sync_core::nostr::filter::Filter;
use sync_core::strategy::Window;

/// What `asked` is of `filter` within `window`.
///
/// # Errors
/// It is no part of it.
pub(crate) fn narrow(filter: &Filter, window: Window, asked: &Filter) -> Result<Narrow, String> {
    if asked.generic_tags != filter.generic_tags || asked.search != filter.search {
        return Err("a question changes the conditions on tags".to_owned());
    }
    let since = asked.since.map_or(window.since, |time| time.as_secs().max(window.since));
    let until = asked.until.map_or(window.until, |time| time.as_secs().min(window.until));
    let mut narrow = Narrow::to(strategy_abi::Window { since, until });
    if asked.kinds != filter.kinds {
        let kinds = asked.kinds.as_ref().ok_or("a question leaves out the kinds")?;
        narrow.kinds = Some(kinds.iter().map(|kind| kind.as_u16()).collect());
    }
    if asked.authors != filter.authors {
        let authors = asked.authors.as_ref().ok_or("a question leaves out the authors")?;
        narrow.authors = Some(authors.iter().map(|author| *author.as_bytes()).collect());
    }
    if asked.ids != filter.ids {
        let ids = asked.ids.as_ref().ok_or("a question leaves out the ids")?;
        narrow.ids = Some(ids.iter().map(|id| id.to_bytes()).collect());
    }
    Ok(narrow)
}
