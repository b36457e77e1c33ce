//! What keeps a part of the process from its work: raised by that part, shown as the process's health.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One part's trouble. Clones are handles to the same.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// Takes note of `error`. Returns whether it is news: to be said aloud once, not with every event.
    pub fn raise(&self, error: &impl Display) -> bool {
        let text = error.to_string();
        let mut held = self.lock();
        let news = held.as_ref() != Some(&text);
        *held = Some(text);
        news
    }

    /// The work can be done again.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    /// What is wrong, where something is.
    pub fn text(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
