//! `import` and `export` over a store in memory.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use grasp_sync::commands::export::export;
use grasp_sync::commands::import::{Summary, import};
use grasp_sync::config::{Environment, Flags, Limits, Loaded};
use grasp_sync::exit::CliError;
use indicatif::ProgressBar;
use nostr::event::{EventBuilder, Kind, Tag};
use nostr::filter::Filter;
use sync_core::store::EventStore;

use crate::memory::Memory;
use crate::signed::{event, json, signed};

fn limits() -> Limits {
    Loaded::read(&Flags::default(), &Environment::default()).expect("the defaults are possible").config.limits
}

fn bring_in(store: &Arc<Memory>, text: &str, limits: &Limits) -> (Result<(), CliError>, Summary) {
    let mut summary = Summary::default();
    let store: Arc<dyn EventStore> = store.clone();
    let result = import(&store, text.as_bytes(), limits, &ProgressBar::hidden(), &mut summary);
    (result, summary)
}

#[test]
fn everything_comes_out_as_it_went_in_newest_first() {
    let events: Vec<_> = (0..1500).map(event).collect();
    let lines: Vec<_> = events.iter().map(json).collect();
    let store = Arc::new(Memory::default());
    let (result, summary) = bring_in(&store, &lines.join("\n"), &limits());
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(summary, Summary { stored: 1500, ..Summary::default() });
    assert_eq!(summary.to_string(), "stored 1500, duplicate 0, rejected 0");
    assert_eq!(*store.events(), events, "the order of the input");

    let mut out = Vec::new();
    export(&*store, &[], 0, &mut out).expect("written");
    let newest_first: String = lines.iter().rev().flat_map(|line| [line.as_str(), "\n"]).collect();
    assert_eq!(String::from_utf8(out).expect("UTF-8"), newest_first);

    let (_, again) = bring_in(&store, &newest_first, &limits());
    assert_eq!(again, Summary { duplicate: 1500, ..Summary::default() });
}

#[test]
fn filters_choose_what_is_exported() {
    let store = Arc::new(Memory::default());
    bring_in(&store, &(0..5).fold(String::new(), |text, n| text + &json(&event(n)) + "\n"), &limits())
        .0
        .expect("stored");
    let filter = |n| Filter::new().id(event(n).id);
    let mut out = Vec::new();
    export(&*store, &[filter(1), filter(3)], 0, &mut out).expect("written");
    assert_eq!(String::from_utf8(out).expect("UTF-8"), format!("{}\n{}\n", json(&event(3)), json(&event(1))));
}

#[test]
fn each_refusal_is_counted_by_its_reason() {
    let (good, other) = (json(&event(1)), json(&event(2)));
    let wrong_id = good.replace("note 1", "note x");
    let other_sig = other.split("\"sig\":\"").nth(1).expect("has one");
    let bad_signature = format!("{}\"sig\":\"{other_sig}", good.split("\"sig\":\"").next().expect("has one"));
    let many_tags = EventBuilder::new(Kind::from(1), "").tags((0..11).map(|_| Tag::parse(["t", "x"]).expect("a tag")));
    let many_tags = json(&signed(many_tags));
    let long = json(&signed(EventBuilder::new(Kind::from(1), "x".repeat(5000))));
    let mut text = String::new();
    for line in [&wrong_id, &bad_signature, "", "not json", "{}", "[]", &many_tags, &long, &good, &good, "  ", &other] {
        writeln!(text, "{line}").expect("memory");
    }
    let limits = Limits { max_event_size: 4096, max_tags: 10, ..limits() };
    let store = Arc::new(Memory::default());
    let (result, summary) = bring_in(&store, &text, &limits);
    assert!(result.is_ok(), "{result:?}");
    let words =
        "stored 2, duplicate 1, rejected 7 (bad_signature 1, malformed 3, too_large 1, too_many_tags 1, wrong_id 1)";
    assert_eq!(summary.to_string(), words);
    assert_eq!(*store.events(), [event(1), event(2)]);
}

#[test]
fn a_full_store_ends_the_import_and_the_summary_is_true() {
    let store = Arc::new(Memory { room: Some(600), ..Memory::default() });
    let text = (0..1000).fold(String::new(), |text, n| text + &json(&event(n)) + "\n");
    let (result, summary) = bring_in(&store, &text, &limits());
    assert!(matches!(&result, Err(CliError::Failed(why)) if why.contains("full")), "{result:?}");
    assert_eq!(summary.stored, 512, "two whole chunks were answered");
}

#[test]
fn a_writer_that_dies_is_a_failure_not_a_wait() {
    let store = Arc::new(Memory { writer_dies: true, ..Memory::default() });
    let (result, summary) = bring_in(&store, &json(&event(1)), &limits());
    assert!(matches!(&result, Err(CliError::Failed(why)) if why.contains("closed")), "{result:?}");
    assert_eq!(summary, Summary::default());
}

#[test]
fn input_that_breaks_off_is_a_failure() {
    struct Breaks<'a>(&'a [u8]);
    impl io::Read for Breaks<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match io::Read::read(&mut self.0, buffer)? {
                0 => Err(io::Error::other("the disk is gone")),
                read => Ok(read),
            }
        }
    }
    let memory = Arc::new(Memory::default());
    let store: Arc<dyn EventStore> = memory.clone();
    let text: String = (0..300).map(|n| json(&event(n)) + "\n").collect();
    let mut summary = Summary::default();
    let input = io::BufReader::new(Breaks(text.as_bytes()));
    let result = import(&store, input, &limits(), &ProgressBar::hidden(), &mut summary);
    assert!(matches!(&result, Err(CliError::Failed(why)) if why.contains("the disk is gone")), "{result:?}");
    assert_eq!(summary.stored, memory.events().len() as u64);
}

#[test]
fn an_export_ends_when_nobody_reads_on() {
    struct Head(usize);
    impl Write for Head {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let store = Arc::new(Memory::default());
    store.events().extend((0..500).map(event));
    for writes in 0..3 {
        assert!(matches!(export(&*store, &[], 0, Head(writes)), Err(CliError::OutputClosed)), "{writes}");
    }
}
