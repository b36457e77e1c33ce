//! The C header says what the Rust types say: a C compiler is asked.

use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;

use strategy_abi::ffi;

/// Size and offsets of a struct, as assertions in C.
macro_rules! same {
    ($out:ident, $rust:ty, $c:literal, [$($field:ident),* $(,)?]) => {
        writeln!($out, "_Static_assert(sizeof({}) == {}, \"size of {}\");", $c, size_of::<$rust>(), $c).expect("written");
        writeln!($out, "_Static_assert(_Alignof({}) == {}, \"alignment of {}\");", $c, align_of::<$rust>(), $c)
            .expect("written");
        $(
            let (field, at) = (stringify!($field), offset_of!($rust, $field));
            writeln!($out, "_Static_assert(offsetof({}, {field}) == {at}, \"{}.{field}\");", $c, $c).expect("written");
        )*
        let fields = [$(stringify!($field)),*];
        writeln!($out, "/* {} fields */", fields.len()).expect("written");
    };
}

fn assertions() -> String {
    let mut out = "#include \"grasp_strategy.h\"\n".to_owned();
    same!(out, ffi::Bytes, "gs_bytes", [ptr, len]);
    same!(out, ffi::Window, "gs_window", [since, until]);
    same!(out, ffi::Item, "gs_item", [created_at, id]);
    same!(out, ffi::Setting, "gs_setting", [key, text, kind, reserved, integer, duration_ms]);
    same!(out, ffi::Config, "gs_config", [struct_size, reserved, json, settings, settings_len]);
    same!(
        out,
        ffi::Checked,
        "gs_checked",
        [struct_size, concurrency, fetch_chunk, reserved, answer_timeout_ms, key, value, allowed]
    );
    same!(
        out,
        ffi::Profile,
        "gs_profile",
        [
            struct_size,
            reserved,
            nips,
            nips_len,
            software,
            max_subscriptions,
            max_filters,
            max_limit,
            max_message_length
        ]
    );
    same!(out, ffi::Filter, "gs_filter", [json, kinds, kinds_len, authors, authors_len, ids, ids_len]);
    same!(
        out,
        ffi::Request,
        "gs_request",
        [struct_size, direction, filter, window, drained, drained_len, remembered, profile, seed, proven, reserved]
    );
    same!(
        out,
        ffi::Input,
        "gs_input",
        [kind, sub, mono_ms, unix_s, created_at, id, verdict, finished, meaning, names_negentropy, cap, bytes]
    );
    same!(out, ffi::Set, "gs_set", [struct_size, reserved, ctx, count, fingerprint, items, split]);
    same!(out, ffi::Host, "gs_host", [struct_size, reserved, ctx, log, span_begin, span_end]);
    same!(
        out,
        ffi::Output,
        "gs_output",
        [
            struct_size,
            kind,
            sub,
            certain,
            window,
            limit,
            count,
            second,
            cap,
            ids,
            ids_len,
            kinds,
            kinds_len,
            authors,
            authors_len,
            bytes,
            outcome,
            reason,
            meaning,
            reserved
        ]
    );
    same!(
        out,
        ffi::StrategyV1,
        "gs_strategy",
        [
            magic,
            abi_major,
            abi_minor,
            struct_size,
            name,
            version,
            flags,
            reserved,
            check_config,
            suits,
            create,
            handle,
            poll,
            next_timeout,
            last_error,
            destroy
        ]
    );
    for (name, value) in constants() {
        writeln!(out, "_Static_assert({name} == {value}, \"{name}\");").expect("written");
    }
    writeln!(out, "_Static_assert(GS_NONE == {}ULL, \"GS_NONE\");", ffi::NONE).expect("written");
    writeln!(out, "_Static_assert(GS_MAGIC == {}ULL, \"GS_MAGIC\");", ffi::MAGIC).expect("written");
    // Every function has the type that the table wants, and the symbol its name.
    let symbol = ffi::SYMBOL;
    writeln!(out, "const gs_strategy *(*const entry)(void) = {symbol};").expect("written");
    out
}

fn constants() -> Vec<(&'static str, i64)> {
    use ffi::{input, level, meaning, outcome, output, reason, setting, verdict};
    let mut all = vec![
        ("GS_ABI_MAJOR", i64::from(ffi::ABI_MAJOR)),
        ("GS_ABI_MINOR", i64::from(ffi::ABI_MINOR)),
        ("GS_OK", i64::from(ffi::OK)),
        ("GS_SOME", i64::from(ffi::SOME)),
        ("GS_FAILED", i64::from(ffi::FAILED)),
        ("GS_PANICKED", i64::from(ffi::PANICKED)),
    ];
    let words: &[(&str, u32)] = &[
        ("GS_COMPARES_SETS", ffi::COMPARES_SETS),
        ("GS_PROBES_ALONE", ffi::PROBES_ALONE),
        ("GS_SETTING_INTEGER", setting::INTEGER),
        ("GS_SETTING_BOOL", setting::BOOL),
        ("GS_SETTING_TEXT", setting::TEXT),
        ("GS_SETTING_OTHER", setting::OTHER),
        ("GS_START", input::START),
        ("GS_EVENT", input::EVENT),
        ("GS_EOSE", input::EOSE),
        ("GS_CLOSED", input::CLOSED),
        ("GS_NEG_MSG", input::NEG_MSG),
        ("GS_NEG_ERR", input::NEG_ERR),
        ("GS_NOTICE", input::NOTICE),
        ("GS_TIMEOUT", input::TIMEOUT),
        ("GS_CONNECTION_LOST", input::CONNECTION_LOST),
        ("GS_NEW", verdict::NEW),
        ("GS_KNOWN", verdict::KNOWN),
        ("GS_BAD", verdict::BAD),
        ("GS_BAD_MALFORMED", verdict::BAD_MALFORMED),
        ("GS_BAD_TOO_LARGE", verdict::BAD_TOO_LARGE),
        ("GS_BAD_TOO_MANY_TAGS", verdict::BAD_TOO_MANY_TAGS),
        ("GS_BAD_WRONG_ID", verdict::BAD_WRONG_ID),
        ("GS_BAD_NOT_ASKED", verdict::BAD_NOT_ASKED),
        ("GS_BAD_SIGNATURE", verdict::BAD_SIGNATURE),
        ("GS_UNKNOWN", meaning::UNKNOWN),
        ("GS_SAID_UNSUPPORTED", meaning::UNSUPPORTED),
        ("GS_SAID_TOO_BIG", meaning::TOO_BIG),
        ("GS_SESSION_GONE", meaning::SESSION_GONE),
        ("GS_AUTH_REQUIRED", meaning::AUTH_REQUIRED),
        ("GS_RESTRICTED", meaning::RESTRICTED),
        ("GS_RATE_LIMITED", meaning::RATE_LIMITED),
        ("GS_TOO_MANY_AT_ONCE", meaning::TOO_MANY_AT_ONCE),
        ("GS_BLOCKED", meaning::BLOCKED),
        ("GS_INVALID", meaning::INVALID),
        ("GS_ERROR", meaning::ERROR),
        ("GS_DUPLICATE", meaning::DUPLICATE),
        ("GS_PURGATORY", meaning::PURGATORY),
        ("GS_POW", meaning::POW),
        ("GS_LOG_ERROR", level::ERROR),
        ("GS_LOG_WARN", level::WARN),
        ("GS_LOG_INFO", level::INFO),
        ("GS_LOG_DEBUG", level::DEBUG),
        ("GS_LOG_TRACE", level::TRACE),
        ("GS_REQ", output::REQ),
        ("GS_CLOSE", output::CLOSE),
        ("GS_NEG_OPEN", output::NEG_OPEN),
        ("GS_NEG_SEND", output::NEG_MSG),
        ("GS_NEG_CLOSE", output::NEG_CLOSE),
        ("GS_NEED", output::NEED),
        ("GS_HAVE", output::HAVE),
        ("GS_SHARED", output::SHARED),
        ("GS_DENSE", output::DENSE),
        ("GS_DRAINED", output::DRAINED),
        ("GS_REMEMBER", output::REMEMBER),
        ("GS_PROGRESS", output::PROGRESS),
        ("GS_DONE", output::DONE),
        ("GS_COMPLETE", outcome::COMPLETE),
        ("GS_INCOMPLETE", outcome::INCOMPLETE),
        ("GS_TOO_BIG", outcome::TOO_BIG),
        ("GS_UNSUPPORTED", outcome::UNSUPPORTED),
        ("GS_GAVE_UP", outcome::FAILED),
        ("GS_WHY_TIMEOUT", reason::TIMEOUT),
        ("GS_WHY_CONNECTION_LOST", reason::CONNECTION_LOST),
        ("GS_WHY_PROTOCOL", reason::PROTOCOL),
        ("GS_WHY_LOCAL", reason::LOCAL),
        ("GS_WHY_REFUSED", reason::REFUSED),
        ("GS_WHY_NOT_SERVED", reason::NOT_SERVED),
        ("GS_WHY_DENSE_SECOND", reason::DENSE_SECOND),
        ("GS_WHY_TOO_BIG", reason::TOO_BIG),
        ("GS_WHY_UNSUPPORTED", reason::UNSUPPORTED),
    ];
    all.extend(words.iter().map(|(name, value)| (*name, i64::from(*value))));
    all
}

/// What the compiler says of a file: nothing, where it takes it.
fn compiled(source: &str) -> Result<(), String> {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = dir.join(format!("header-{}.c", source.len()));
    std::fs::write(&file, source).expect("written");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
    let arguments = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", include];
    let output = Command::new(&compiler).args(arguments).arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("{compiler} is needed: {error}"));
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_header_says_what_the_types_say() {
    assert_eq!(compiled(&assertions()), Ok(()));
}

#[test]
fn a_difference_is_found() {
    let wrong = assertions().replace("sizeof(gs_output) == ", "sizeof(gs_output) == 8 + ");
    let said = compiled(&wrong).expect_err("they differ");
    assert!(said.contains("size of gs_output"), "{said}");
}

#[test]
fn every_word_of_the_header_is_held_against_the_types() {
    let header = include_str!("../include/grasp_strategy.h");
    let known: Vec<&str> = constants().into_iter().map(|(name, _)| name).collect();
    for line in header.lines() {
        let Some(name) = line.strip_prefix("#define GS_").and_then(|rest| rest.split_whitespace().next()) else {
            continue;
        };
        let name = format!("GS_{name}");
        let elsewhere = ["GS_NONE", "GS_MAGIC", "GS_DOWN", "GS_UP", "GS_BOTH"];
        assert!(known.contains(&&*name) || elsewhere.contains(&&*name), "{name} is not held against anything");
    }
}
