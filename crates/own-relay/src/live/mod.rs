//! Events as they are accepted: read from the store's feed by one task, kept for a while, taken by each connection at
//! its own pace.

mod entry;
mod follow;
mod matcher;
mod ring;

pub(crate) use entry::{LiveEvent, live_events};
pub(crate) use follow::follow;
pub(crate) use matcher::Matcher;
pub(crate) use ring::{Ring, Taken};
