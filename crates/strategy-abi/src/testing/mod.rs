//! What a strategy's own tests need where the host would be: a set, a host that says nothing, a section of the
//! configuration, a relay.
//!
//! Whether a strategy is honest is for the conformance suite to say; this is for what only its author knows of it.

mod relay;

use std::ffi::c_void;

use crate::ffi::{self, Bytes, Item, setting};
use crate::host::{Host, Set};
use crate::plugin::Strategy;
use crate::settings::{ConfigError, Settings};

pub use relay::{NOW, Relay, Told, request};

/// What we have, as a session in a test is shown it. It has no fingerprints: they are all zero.
#[derive(Debug, Clone, Default)]
pub struct Local(Vec<Item>);

impl Local {
    /// These items, in whatever order.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_unstable();
        items.dedup();
        Self(items)
    }

    /// Does `work` with the set: a call of a session.
    #[allow(unsafe_code)]
    pub fn with<R>(&self, work: impl FnOnce(&Set<'_>) -> R) -> R {
        let raw = ffi::Set {
            struct_size: size_of::<ffi::Set>() as u32,
            reserved: 0,
            ctx: std::ptr::from_ref(self).cast_mut().cast(),
            count,
            fingerprint,
            items,
            split,
        };
        // SAFETY: `ctx` is this, which stays where it is until the call is over; the host's functions look at none of their arguments.
        work(&unsafe { Set::new(&raw, SILENT) })
    }

    fn slice(&self, start: Item, end: Item) -> &[Item] {
        let first = self.0.partition_point(|item| *item < start);
        let last = self.0.partition_point(|item| *item < end);
        self.0.get(first..last).unwrap_or_default()
    }
}

/// A host that keeps nothing of what it is told.
#[allow(unsafe_code)]
pub fn host() -> Host<'static> {
    // SAFETY: its functions look at none of their arguments.
    unsafe { Host::new(SILENT) }
}

const SILENT: &ffi::Host = &ffi::Host {
    struct_size: size_of::<ffi::Host>() as u32,
    reserved: 0,
    ctx: std::ptr::null_mut(),
    log,
    span_begin,
    span_end,
};

/// A value of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A whole number.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// A text; one such as `30s` is a duration, too: a whole number of `ms`, `s`, `m`, `h` or `d`.
    Text(&'a str),
}

/// A strategy, configured by these keys and values.
///
/// # Errors
/// As [`Strategy::configure`].
#[allow(unsafe_code)]
pub fn configure<S: Strategy>(section: &[(&str, Value<'_>)]) -> Result<S, ConfigError> {
    let texts: Vec<String> = section.iter().map(|(_, value)| value.text()).collect();
    let json = |((key, value), text): (&(&str, Value<'_>), &String)| match value {
        Value::Text(_) => format!("{key:?}:{text:?}"),
        _ => format!("{key:?}:{text}"),
    };
    let json = format!("{{{}}}", section.iter().zip(&texts).map(json).collect::<Vec<_>>().join(","));
    let setting = |((key, value), text): (&(&str, Value<'_>), &String)| {
        let (kind, integer) = match value {
            Value::Integer(number) => (setting::INTEGER, *number),
            Value::Bool(is) => (setting::BOOL, i64::from(*is)),
            Value::Text(_) => (setting::TEXT, 0),
        };
        let duration_ms = duration_ms(text).filter(|_| kind == setting::TEXT).unwrap_or(ffi::NONE);
        let (key, text) = (Bytes::of(key.as_bytes()), Bytes::of(text.as_bytes()));
        ffi::Setting { key, text, kind, reserved: 0, integer, duration_ms }
    };
    let settings: Vec<_> = section.iter().zip(&texts).map(setting).collect();
    let config = ffi::Config {
        struct_size: size_of::<ffi::Config>() as u32,
        reserved: 0,
        json: Bytes::of(json.as_bytes()),
        settings: settings.as_ptr(),
        settings_len: settings.len(),
    };
    // SAFETY: all that it shows lives until the end of this function.
    S::configure(&unsafe { Settings::read(&config) })
}

impl Value<'_> {
    fn text(self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Bool(is) => is.to_string(),
            Self::Text(text) => text.to_owned(),
        }
    }
}

fn duration_ms(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// # Safety
/// `ctx` is a [`Local`]'s, within its call; `start` and `end` are there for the call.
#[allow(unsafe_code)]
unsafe fn asked<'a>(ctx: *mut c_void, start: *const Item, end: *const Item) -> &'a [Item] {
    // SAFETY: the caller's promise.
    unsafe { (*ctx.cast::<Local>()).slice(*start, *end) }
}

/// # Safety
/// As [`asked`].
#[allow(unsafe_code)]
unsafe extern "C" fn count(ctx: *mut c_void, start: *const Item, end: *const Item) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { asked(ctx, start, end) }.len() as u64
}

/// # Safety
/// 16 bytes can be written to `out`.
#[allow(unsafe_code)]
unsafe extern "C" fn fingerprint(_ctx: *mut c_void, _start: *const Item, _end: *const Item, out: *mut u8) {
    // SAFETY: the caller's promise.
    unsafe { out.cast::<[u8; 16]>().write([0; 16]) };
}

/// # Safety
/// As [`asked`]; `cap` items can be written to `out`.
#[allow(unsafe_code)]
unsafe extern "C" fn items(
    ctx: *mut c_void,
    start: *const Item,
    end: *const Item,
    out: *mut Item,
    cap: usize,
) -> usize {
    // SAFETY: the caller's promise.
    let items = unsafe { asked(ctx, start, end) };
    let count = items.len().min(cap);
    // SAFETY: as above; the items are ours, and what is written to is the caller's.
    unsafe { std::ptr::copy_nonoverlapping(items.as_ptr(), out, count) };
    count
}

/// # Safety
/// As [`asked`]; `parts - 1` items can be written to `out`.
#[allow(unsafe_code)]
unsafe extern "C" fn split(
    ctx: *mut c_void,
    start: *const Item,
    end: *const Item,
    parts: usize,
    out: *mut Item,
) -> usize {
    // SAFETY: the caller's promise.
    let items = unsafe { asked(ctx, start, end) };
    let parts = parts.clamp(1, items.len().max(1));
    for part in 1..parts {
        // SAFETY: as above, and `parts` has not grown.
        unsafe { out.add(part - 1).write(items[part * items.len() / parts]) };
    }
    parts - 1
}

/// # Safety
/// None is needed.
#[allow(unsafe_code)]
unsafe extern "C" fn log(_ctx: *mut c_void, _level: u32, _text: Bytes) {}

/// # Safety
/// None is needed.
#[allow(unsafe_code)]
unsafe extern "C" fn span_begin(_ctx: *mut c_void, _name: Bytes) -> u64 {
    0
}

/// # Safety
/// None is needed.
#[allow(unsafe_code)]
unsafe extern "C" fn span_end(_ctx: *mut c_void, _span: u64) {}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    #[test]
    fn the_set_is_what_was_put_in() {
        let item = |n: u64| Item { created_at: n, id: [n as u8; 32] };
        let local = Local::new((0..1_000).rev().map(item));
        local.with(|set| {
            assert_eq!(set.count(item(10), item(20)), 10);
            let mut seen = Vec::new();
            set.items(Item::MIN, Item::MAX, |item| {
                seen.push(item);
                ControlFlow::Continue(())
            });
            assert_eq!(seen, local.0);
            assert_eq!(set.split(Item::MIN, Item::MAX, 4), [item(250), item(500), item(750)]);
            assert_eq!(set.split(item(1), item(1), 4), []);
        });
    }

    #[test]
    fn durations_are_read() {
        for (text, ms) in [("30s", Some(30_000)), ("2d", Some(172_800_000)), ("5", None), ("s", None), ("1y", None)] {
            assert_eq!(duration_ms(text), ms, "{text}");
        }
    }
}
