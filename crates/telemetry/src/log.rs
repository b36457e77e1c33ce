//! Where log lines go and how they look: text for people or JSON for machines, on stderr (CONTRACT.md, `--log`, `-q`,
//! `telemetry.log_format`).

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::traces::Traces;

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogError::Format(text.to_owned())),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, or a list of directives such as `info,engine=debug`.
    /// `None`: `error` where `quiet`, else `info`.
    pub filter: Option<String>,
    /// Errors only, unless `filter` says otherwise.
    pub quiet: bool,
    /// How a line is written.
    pub format: LogFormat,
    /// Whether text lines carry colours; see [`stderr_takes_colours`].
    pub colours: bool,
}

/// Why logging can't be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A part of the filter that is neither a level nor `target=level`.
    #[error(
        "log filter `{filter}`: `{part}` is neither a level (off, error, warn, info, debug, trace) nor `target=level`"
    )]
    Level {
        /// The whole filter.
        filter: String,
        /// What can't be read.
        part: String,
    },
    /// The filter has a shape that can't be read.
    #[error("log filter `{filter}`: {source}; write a level, or directives such as `info,engine=debug`")]
    Directive {
        /// The whole filter.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// No such format.
    #[error("log format `{0}`: must be `text` or `json`")]
    Format(String),
    /// The process has a subscriber already.
    #[error("logging was set up twice: {0}")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Whether stderr is a terminal that wants colours (<https://no-color.org>).
pub fn stderr_takes_colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sets the subscriber of the process, which writes to stderr, and makes traces of spans where those are exported. Called
/// once, by the commands that log. Lines are written as they come: there is nothing to flush at the end.
///
/// # Errors
/// The filter can't be read, or the process has a subscriber already.
pub fn install(options: &LogOptions, traces: &Traces) -> Result<(), LogError> {
    tracing::subscriber::set_global_default(subscriber(options, io::stderr)?.with(traces.layer()))?;
    Ok(())
}

/// The subscriber that [`install`] sets, for another place to write to. The filter holds for log lines only: a layer
/// that is added sees every span.
///
/// # Errors
/// The filter can't be read.
pub fn subscriber<W>(
    options: &LogOptions,
    writer: W,
) -> Result<impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + use<W>, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(options.colours);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match options.format {
        LogFormat::Text => Box::new(lines),
        LogFormat::Json => Box::new(lines.with_ansi(false).json()),
    };
    Ok(Registry::default().with(lines.with_filter(filter(options)?)))
}

fn filter(options: &LogOptions) -> Result<EnvFilter, LogError> {
    let text = options.filter.as_deref().unwrap_or(if options.quiet { "error" } else { "info" });
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    for part in &parts {
        // A bare word would be read as the name of a target: a misspelt level would silence everything else.
        if part.is_empty() || !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err() {
            return Err(LogError::Level { filter: text.to_owned(), part: (*part).to_owned() });
        }
    }
    EnvFilter::builder()
        .parse(parts.join(","))
        .map_err(|source| LogError::Directive { filter: text.to_owned(), source })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    pub(crate) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
        }
    }

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(options: &LogOptions, lines: impl FnOnce()) -> String {
        let kept = Kept::default();
        tracing::subscriber::with_default(subscriber(options, kept.clone()).expect("valid filter"), lines);
        kept.text()
    }

    fn with_filter(filter: &str) -> LogOptions {
        LogOptions { filter: Some(filter.to_owned()), ..LogOptions::default() }
    }

    fn one_line_per_level() {
        tracing::error!("line-error");
        tracing::warn!("line-warn");
        tracing::info!("line-info");
        tracing::debug!("line-debug");
        tracing::debug!(target: "engine", "line-engine");
    }

    #[test]
    fn the_filter_decides_what_is_logged() {
        let quiet = LogOptions { quiet: true, ..LogOptions::default() };
        for (options, expected) in [
            (LogOptions::default(), vec!["error", "warn", "info"]),
            (quiet.clone(), vec!["error"]),
            (LogOptions { filter: Some("warn".to_owned()), ..quiet }, vec!["error", "warn"]),
            (with_filter("off"), vec![]),
            (with_filter("error, engine=debug"), vec!["error", "engine"]),
        ] {
            let text = logged(&options, one_line_per_level);
            let seen: Vec<_> = text.lines().filter_map(|line| line.split("line-").nth(1)).collect();
            assert_eq!(seen, expected, "{options:?}");
        }
    }

    #[test]
    fn a_misspelt_level_is_an_error_that_names_it() {
        for filter in ["verbose", "info,verbose", "", "info,,debug"] {
            let error = subscriber(&with_filter(filter), io::stderr).err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.contains(&format!("log filter `{filter}`")) && error.contains("trace"), "{filter}: {error}");
        }
        assert!(matches!(subscriber(&with_filter("engine=loud"), io::stderr).err(), Some(LogError::Directive { .. })));
        assert!(matches!("yaml".parse::<LogFormat>(), Err(LogError::Format(_))));
    }

    #[test]
    fn json_is_one_object_per_line_with_its_fields() {
        let options = LogOptions { format: LogFormat::Json, colours: true, ..LogOptions::default() };
        let text = logged(&options, || tracing::info!(relay.url = "wss://a.b", count = 3, "connected"));
        assert!(text.starts_with('{') && text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        assert!(text.contains(r#""relay.url":"wss://a.b""#) && text.contains(r#""count":3"#), "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }

    #[test]
    fn words_of_a_relay_cannot_steer_the_terminal_or_forge_a_line() {
        let hostile = "a\x1b[31mred\n2024-01-01 ERROR forged";
        let text = logged(&LogOptions::default(), || tracing::info!(reason = hostile, "closed"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains('\x1b'), "{text}");
    }
}
