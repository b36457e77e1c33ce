//! The calls themselves. What a plugin promised can't be checked from here: a pointer that it gives is followed. What can be
//! checked is: that there is one, and how much it claims to lie behind it.

use std::ffi::c_void;
use std::mem::offset_of;
use std::path::Path;

use strategy_abi::ffi::{self, Bytes, StrategyV1};

use crate::library::LoadError;
use crate::limits::{MAX_TEXT, readable};

/// Longest name and version, bytes.
const MAX_NAME: usize = 64;
/// The functions of a table, by their place in it.
const FUNCTIONS: [(&str, usize); 8] = [
    ("check_config", offset_of!(StrategyV1, check_config)),
    ("suits", offset_of!(StrategyV1, suits)),
    ("create", offset_of!(StrategyV1, create)),
    ("handle", offset_of!(StrategyV1, handle)),
    ("poll", offset_of!(StrategyV1, poll)),
    ("next_timeout", offset_of!(StrategyV1, next_timeout)),
    ("last_error", offset_of!(StrategyV1, last_error)),
    ("destroy", offset_of!(StrategyV1, destroy)),
];

/// The table of a plugin, checked as far as that can be done without a call.
#[derive(Clone, Copy)]
pub(crate) struct Table(&'static StrategyV1);

/// A session of a plugin. Whoever owns it may call it.
pub(crate) struct Session(*mut c_void);

// SAFETY: a session may be called by any thread, one at a time (docs/plugin-abi.md); only its owner has it.
#[allow(unsafe_code)]
unsafe impl Send for Session {}

/// Why a call failed, in the plugin's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) text: String,
    /// The session must not be called any more but to end it.
    pub(crate) panicked: bool,
}

#[allow(unsafe_code)]
impl Table {
    /// Loads a library and never unloads it: its functions are good from then on.
    ///
    /// # Errors
    /// It can't be loaded, or shows no table.
    pub(crate) fn load(path: &Path) -> Result<Self, LoadError> {
        // SAFETY: whatever its constructors do, the operator asked for it: nobody but the owner and the
        // group can have changed the file.
        let library = unsafe { open(path) }.map_err(|error| LoadError::NotALibrary(readable(error.as_bytes())))?;
        // SAFETY: the symbol's name fixes its type, and the library stays.
        let entry = unsafe { library.get::<ffi::Entry>(ffi::SYMBOL.as_bytes()) }.map(|symbol| *symbol);
        // Never unloaded: threads, destructors of thread locals and tables may lie in it.
        std::mem::forget(library);
        let entry = entry.map_err(|_| LoadError::NoSymbol)?;
        // SAFETY: as above.
        let table = unsafe { entry() };
        // SAFETY: it claims to be a table; what it lacks is found before it is used.
        unsafe { Self::check(table) }
    }

    /// # Safety
    /// `table` is null, or points to as much of a table as its own `struct_size` says, for as long as the process lives.
    ///
    /// # Errors
    /// It isn't one for this version.
    pub(crate) unsafe fn check(table: *const StrategyV1) -> Result<Self, LoadError> {
        let no = |why: &str| LoadError::NotATable(why.to_owned());
        if table.is_null() {
            return Err(no("nothing"));
        }
        if !table.is_aligned() {
            return Err(no("it is not aligned"));
        }
        // SAFETY: the caller's promise; the first fields stand there in every version, and plain numbers take any bytes.
        let (magic, major, size) = unsafe {
            (
                (&raw const (*table).magic).read(),
                (&raw const (*table).abi_major).read(),
                (&raw const (*table).struct_size).read(),
            )
        };
        if magic != ffi::MAGIC {
            return Err(no(&format!("it begins with {magic:#018x}, not {:#018x}", ffi::MAGIC)));
        }
        if major != ffi::ABI_MAJOR {
            return Err(LoadError::WrongMajor { expected: ffi::ABI_MAJOR, found: major });
        }
        let expected = size_of::<StrategyV1>();
        if (size as usize) < expected {
            return Err(no(&format!("it has {size} bytes, and {expected} are needed")));
        }
        for (name, at) in FUNCTIONS {
            // SAFETY: within the size that was just checked; pointers are read as pointers, whatever they are.
            let function = unsafe { table.byte_add(at).cast::<*const c_void>().read() };
            if function.is_null() {
                return Err(no(&format!("`{name}` is missing")));
            }
        }
        // SAFETY: it is as large as the type, aligned, lives on, and none of its functions is null.
        Ok(Self(unsafe { &*table }))
    }

    /// # Errors
    /// It can't be a name.
    pub(crate) fn name(&self) -> Result<String, LoadError> {
        let name = self.text(self.0.name)?;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(fits) { Err(LoadError::BadName(name)) } else { Ok(name) }
    }

    /// # Errors
    /// It has none.
    pub(crate) fn version(&self) -> Result<String, LoadError> {
        let version = self.text(self.0.version)?;
        if version.is_empty() { Err(LoadError::NotATable("it has no version".to_owned())) } else { Ok(version) }
    }

    fn text(&self, bytes: Bytes) -> Result<String, LoadError> {
        if bytes.ptr.is_null() || bytes.len > MAX_NAME {
            let why = format!("a name or version of {} bytes; 1 to {MAX_NAME} are allowed", bytes.len);
            return Err(LoadError::NotATable(why));
        }
        // SAFETY: the table promises it, and the length is a small one.
        Ok(unsafe { text(bytes) })
    }

    pub(crate) fn abi(&self) -> String {
        format!("{}.{}", self.0.abi_major, self.0.abi_minor)
    }

    pub(crate) fn flags(&self) -> u32 {
        self.0.flags
    }

    /// # Errors
    /// What the plugin says; key, value and what is allowed are in `checked` then.
    pub(crate) fn check_config(&self, config: &ffi::Config, checked: &mut ffi::Checked) -> Result<(), Failed> {
        // SAFETY: a function of a checked table; both live for the call.
        let code = unsafe { (self.0.check_config)(config, checked) };
        self.code(code, None).map(|_| ())
    }

    /// # Errors
    /// What the plugin says; otherwise the reason why it doesn't suit, or none.
    pub(crate) fn suits(
        &self,
        config: &ffi::Config,
        profile: &ffi::Profile,
        filter: &ffi::Filter,
    ) -> Result<Option<String>, Failed> {
        // SAFETY: as in `check_config`.
        let code = unsafe { (self.0.suits)(config, profile, filter) };
        Ok(if self.code(code, None)? { None } else { Some(self.last_error(None)) })
    }

    /// # Errors
    /// What the plugin says.
    ///
    /// # Safety
    /// `host` stays until the session was destroyed.
    pub(crate) unsafe fn create(
        &self,
        config: &ffi::Config,
        host: *const ffi::Host,
        request: &ffi::Request,
    ) -> Result<Session, Failed> {
        let mut session = std::ptr::null_mut();
        // SAFETY: as in `check_config`; the host stays by the caller's promise.
        let code = unsafe { (self.0.create)(config, host, request, &mut session) };
        self.code(code, None)?;
        if session.is_null() {
            return Err(Failed { text: "opened no session".to_owned(), panicked: false });
        }
        Ok(Session(session))
    }

    /// # Errors
    /// What the plugin says.
    pub(crate) fn handle(&self, session: &mut Session, inputs: &[ffi::Input], set: &ffi::Set) -> Result<(), Failed> {
        // SAFETY: as in `check_config`; the session is one of this table's and nobody else is in it: it is borrowed whole.
        let code = unsafe { (self.0.handle)(session.0, inputs.as_ptr(), inputs.len(), set) };
        self.code(code, Some(session)).map(|_| ())
    }

    /// The next output: what it shows is good until the session is called again, so `take` must copy it.
    ///
    /// # Errors
    /// What the plugin says.
    pub(crate) fn poll<T>(
        &self,
        session: &mut Session,
        take: impl FnOnce(&ffi::Output) -> T,
    ) -> Result<Option<T>, Failed> {
        let mut output = ffi::Output {
            struct_size: size_of::<ffi::Output>() as u32,
            kind: 0,
            sub: 0,
            certain: 0,
            window: ffi::Window { since: 0, until: 0 },
            limit: 0,
            count: 0,
            second: 0,
            cap: 0,
            ids: std::ptr::null(),
            ids_len: 0,
            kinds: std::ptr::null(),
            kinds_len: 0,
            authors: std::ptr::null(),
            authors_len: 0,
            bytes: Bytes::EMPTY,
            outcome: 0,
            reason: 0,
            meaning: 0,
            reserved: 0,
        };
        // SAFETY: as in `handle`.
        let code = unsafe { (self.0.poll)(session.0, &mut output) };
        Ok(self.code(code, Some(session))?.then(|| take(&output)))
    }

    /// # Errors
    /// What the plugin says.
    pub(crate) fn next_timeout(&self, session: &mut Session) -> Result<Option<(u64, String)>, Failed> {
        let (mut at, mut what) = (0, Bytes::EMPTY);
        // SAFETY: as in `handle`.
        let code = unsafe { (self.0.next_timeout)(session.0, &mut at, &mut what) };
        // SAFETY: good until the session is called again, and only the beginning is read.
        Ok(self.code(code, Some(session))?.then(|| (at, unsafe { text(what) })))
    }

    pub(crate) fn destroy(&self, session: Session) {
        // SAFETY: as in `handle`, and nobody has it any more.
        unsafe { (self.0.destroy)(session.0) };
    }

    fn code(&self, code: i32, session: Option<&mut Session>) -> Result<bool, Failed> {
        match code {
            ffi::OK => Ok(false),
            ffi::SOME => Ok(true),
            ffi::FAILED | ffi::PANICKED => {
                Err(Failed { text: self.last_error(session), panicked: code == ffi::PANICKED })
            }
            other => Err(Failed { text: format!("answered {other}, which means nothing"), panicked: true }),
        }
    }

    fn last_error(&self, session: Option<&mut Session>) -> String {
        let mut text = Bytes::EMPTY;
        // SAFETY: as in `handle`; null stands for none.
        unsafe { (self.0.last_error)(session.map_or(std::ptr::null_mut(), |session| session.0), &mut text) };
        // SAFETY: good until the next call, and only the beginning is read.
        let text = unsafe { self::text(text) };
        if text.is_empty() { "gives no reason".to_owned() } else { text }
    }
}

/// Opens a library so that all its symbols are there at once, and none of them is seen by others.
///
/// # Safety
/// Its constructors run.
#[cfg(unix)]
#[allow(unsafe_code)]
unsafe fn open(path: &Path) -> Result<libloading::Library, String> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: the caller's word.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Into::into).map_err(|error| error.to_string())
}

/// # Safety
/// Its constructors run.
#[cfg(not(unix))]
#[allow(unsafe_code)]
unsafe fn open(path: &Path) -> Result<libloading::Library, String> {
    // SAFETY: the caller's word.
    unsafe { libloading::Library::new(path) }.map_err(|error| error.to_string())
}

/// A plugin's text, fit for a log. Of one that claims to be long the beginning alone is looked at.
///
/// # Safety
/// As [`borrowed`], for that beginning: `4 * MAX_TEXT` bytes at most.
#[allow(unsafe_code)]
pub(crate) unsafe fn text(bytes: Bytes) -> String {
    // SAFETY: the caller's promise.
    readable(unsafe { listed(bytes.ptr, bytes.len.min(4 * MAX_TEXT)) }.unwrap_or_default())
}

/// `len` values from `first` on.
///
/// # Errors
/// There can't be any, in words that go on from what the plugin did: some are claimed where no pointer, or one that is askew, shows
/// them, or more than there is memory.
///
/// # Safety
/// A plugin promised that they are there for as long as the result is used.
#[allow(unsafe_code)]
pub(crate) unsafe fn listed<'a, T>(first: *const T, len: usize) -> Result<&'a [T], String> {
    if len == 0 {
        return Ok(&[]);
    }
    if first.is_null() {
        return Err(format!("a list of {len}, and no pointer to it"));
    }
    if !first.is_aligned() {
        return Err(format!("a list of {len}, and a pointer to it that is not aligned"));
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(format!("a list of {len}, which is more than there is memory"));
    }
    // SAFETY: the caller's promise, and the pointer is neither null nor askew, nor is the list too long.
    Ok(unsafe { std::slice::from_raw_parts(first, len) })
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;

    #[test]
    fn of_a_text_that_claims_to_be_endless_the_beginning_is_read() {
        let beginning = [b'x'; 4 * MAX_TEXT];
        let endless = Bytes { len: usize::MAX, ..Bytes::of(&beginning) };
        // SAFETY: as much as is looked at is there.
        assert_eq!(unsafe { text(endless) }, "x".repeat(MAX_TEXT));
        // SAFETY: nothing is there, and nothing is looked at.
        assert_eq!(unsafe { text(Bytes { ptr: std::ptr::null(), len: 9 }) }, "");
    }

    #[test]
    fn a_list_that_can_not_be_there_is_told() {
        let numbers = [1_u64, 2, 3];
        let (first, askew) = (numbers.as_ptr(), numbers.as_ptr().wrapping_byte_add(1));
        // SAFETY: three are there; of the others nothing is looked at.
        unsafe {
            assert_eq!(listed(first, 3), Ok(&numbers[..]));
            assert_eq!(listed(first, 0), Ok(&[][..]));
            assert_eq!(listed(std::ptr::null::<u64>(), 0), Ok(&[][..]));
            assert_eq!(listed(std::ptr::null::<u64>(), 3), Err("a list of 3, and no pointer to it".to_owned()));
            assert!(listed(askew, 2).is_err_and(|why| why.contains("not aligned")));
            assert!(listed(first, usize::MAX).is_err_and(|why| why.contains("more than there is memory")));
        }
    }
}
