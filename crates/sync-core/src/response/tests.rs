//! One test for each row of WIRE.md, in the words of the relays.

use super::{Meaning, Said, SaidIn, classify};

macro_rules! rows {
    ($($name:ident: $place:ident $text:literal $(, cap $cap:literal)? => $meaning:ident $(($found:literal))? $(, $names:ident)?;)*) => {
        $(
            #[test]
            fn $name() {
                let cap: Option<u64> = [$($cap,)?].first().copied();
                let found: Option<u64> = [$($found,)?].first().copied();
                let names = [$(stringify!($names),)?].contains(&"names_negentropy");
                let said = classify(SaidIn::$place, $text, cap);
                assert_eq!(
                    said,
                    Said { meaning: Meaning::$meaning, text: $text.to_owned(), cap: found, names_negentropy: names }
                );
            }
        )*
    };
}

rows! {
    // Answers to NEG-OPEN: absent or off.
    strfry_off: Notice "ERROR: bad msg: negentropy disabled" => Unsupported, names_negentropy;
    strfry_old: Notice "ERROR: bad msg: unknown cmd" => Unsupported;
    khatru_off: Notice "failed to parse envelope: unknown envelope label" => Unsupported;
    chorus_off: NegErr "blocked: Negentropy sync is disabled" => Unsupported, names_negentropy;
    nostr_rs_relay: Notice "could not parse command" => Unsupported;
    nostream: Notice "invalid: \"[0]\" must be one of [EVENT, REQ, CLOSE]" => Invalid;
    purplepages_closed: Closed "blocked: filters must specify at least one kind" => Blocked;
    purplepages_notice: Notice "failed to parse envelope" => Unsupported;
    // Too big.
    strfry_cap_in_fourth_element: NegErr "blocked: too many query results", cap 1000000 => TooBig(1000000);
    strfry_without_cap: NegErr "blocked: too many query results" => TooBig;
    strfry_cap_in_prose: NegErr "blocked: query matches too many records (2988225 > 1000000)" => TooBig(1000000);
    fourth_element_beats_prose: NegErr "blocked: too many records (9 > 5)", cap 7 => TooBig(7);
    fourth_element_alone: NegErr "blocked: no", cap 500 => TooBig(500);
    fourth_element_of_zero: NegErr "", cap 0 => TooBig;
    blocked_alone_is_not_too_big: NegErr "blocked: not for you" => Blocked;
    // The session is gone.
    strfry_gone: NegErr "closed: unknown subscription handle" => SessionGone;
    relay_builder_gone: NegErr "error: subscription not found" => SessionGone;
    khatru_gone: NegErr "CLOSED" => SessionGone;
    chorus_gone: NegErr "Subscription not found" => SessionGone;
    closed_prefix: NegErr "closed: idle for too long" => SessionGone;
    // Authentication.
    strfry_auth: NegErr "auth-required: please authenticate" => AuthRequired;
    khatru_auth: NegErr "auth-required:who are you" => AuthRequired;
    chorus_auth: Closed "auth-required: part of the events is private" => AuthRequired;
    // Too many, too fast: no word about support.
    strfry_concurrency: Notice "ERROR: too many concurrent NEG requests" => TooManyAtOnce, names_negentropy;
    subscriptions: Closed "error: too many subscriptions" => TooManyAtOnce;
    subscriptions_by_maximum: Notice "Maximum concurrent subscription count reached" => TooManyAtOnce;
    filters: Closed "blocked: too many filters" => TooManyAtOnce;
    relay_builder_flood: Closed "rate-limited: too many REQs" => RateLimited;
    chorus_flood: Notice "Rate limit exceeded." => RateLimited;
    // strfry breaks.
    strfry_protocol: NegErr "PROTOCOL-ERROR" => Error;
    strfry_bad_message: Notice "ERROR: bad msg: filter item too small" => Invalid;
    // CLOSED of a REQ.
    chorus_end_of_ids: Closed "" => Unknown;
    closed_restricted: Closed "restricted: members only" => Restricted;
    closed_rate_limited: Closed "rate-limited: slow down there chief" => RateLimited;
    closed_blocked: Closed "blocked: no scraping" => Blocked;
    closed_error: Closed "error: shutting down idle subscription" => Error;
    closed_invalid: Closed "invalid: limit too high" => Invalid;
    closed_unsupported: Closed "unsupported: filter contains unknown elements" => Unsupported;
    closed_without_prefix: Closed "have a nice day" => Unknown;
    // OK of an own relay.
    ok_stored: Ok "" => Unknown;
    ok_duplicate: Ok "duplicate: already have this event" => Duplicate;
    ok_purgatory: Ok "purgatory: won't be served until git data arrives" => Purgatory;
    ok_blocked: Ok "blocked: you are banned from posting here" => Blocked;
    ok_invalid: Ok "invalid: event creation date is too far off" => Invalid;
    ok_restricted: Ok "restricted: not a member" => Restricted;
    ok_pow: Ok "pow: difficulty 25>=24" => Pow;
    ok_rate_limited: Ok "rate-limited: slow down there chief" => RateLimited;
    ok_error: Ok "error: could not connect to the database" => Error;
    ok_auth: Ok "auth-required: we only accept events from registered users" => AuthRequired;
    ok_speaks_of_one_event: Ok "invalid: too many events tagged" => Invalid;
    // Spelling.
    case_does_not_matter: Closed "AUTH-Required: x" => AuthRequired;
    prefix_without_prose: Closed "restricted" => Restricted;
    prefix_is_a_whole_word: Closed "blockeddd: x" => Unknown;
    neg_open_is_named: Notice "what is NEG-OPEN?" => Unknown, names_negentropy;
    negative_is_not_negentropy: Notice "negative limit" => Unknown;
}

#[test]
fn text_is_cut_and_made_fit_for_a_line() {
    let said = classify(SaidIn::Notice, &format!("a\n\u{1b}[2J\u{202e}b{}", "x".repeat(5_000_000)), None);
    assert_eq!(said.text.chars().count(), Said::MAX_TEXT);
    assert!(said.text.starts_with("a  [2J bx"), "{}", said.text);
}

#[test]
fn caps_out_of_range_are_no_caps() {
    let said = classify(SaidIn::NegErr, "blocked: too many records (9 > 99999999999999999999999)", None);
    assert_eq!((said.meaning, said.cap), (Meaning::TooBig, None));
    let said = classify(SaidIn::NegErr, "blocked: too many records >", None);
    assert_eq!((said.meaning, said.cap), (Meaning::TooBig, None));
}
