//! What keeps a part of the process from its work: raised by that part, shown as the process's health.

use std::fmt::Display;

use tokio::sync::watch;

/// One part's trouble. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub struct Trouble(watch::Sender<Option<String>>);

impl Trouble {
    /// Takes note of `error`. Returns whether it is news: to be said aloud once, not with every event.
    pub fn raise(&self, error: &impl Display) -> bool {
        let text = Some(error.to_string());
        self.0.send_if_modified(|held| {
            let news = *held != text;
            *held = text;
            news
        })
    }

    /// The work can be done again.
    pub fn clear(&self) {
        self.0.send_if_modified(|held| held.take().is_some());
    }

    /// What is wrong, where something is.
    pub fn text(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Whether something is wrong.
    pub fn is_raised(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Tells of changes.
    pub fn subscribe(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_news_once_until_it_has_passed() {
        let trouble = Trouble::default();
        assert_eq!((trouble.raise(&"full"), trouble.raise(&"full"), trouble.raise(&"gone")), (true, false, true));
        assert_eq!(trouble.text().as_deref(), Some("gone"));
        trouble.clear();
        assert_eq!((trouble.text(), trouble.raise(&"gone")), (None, true));
    }
}
