//! How metrics are written: OpenMetrics for who asks for it, else the older text of Prometheus.
//!
//! They differ in how counters are described (by their name with or without `_total`), and in how the text ends. There are
//! counters, gauges and histograms here, and no other types.

/// A way to write metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    Text,
    /// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
    OpenMetrics,
}

impl Format {
    const NAME_OF_OPEN_METRICS: &str = "application/openmetrics-text";

    /// What a request with this header `Accept` is answered with: OpenMetrics, which is stricter, wherever it will do.
    pub fn accepted(accept: &str) -> Self {
        let takes_open_metrics = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(Self::NAME_OF_OPEN_METRICS));
            is_it && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
        });
        if takes_open_metrics { Self::OpenMetrics } else { Self::Text }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The same metrics as the older text: linear in its length.
pub(super) fn text_of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // Stands before the type, which decides on the name.
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            if let Some((_, help)) = help.take() {
                text.extend(["# HELP ", &name, " ", help, "\n"]);
            }
            text.extend(["# TYPE ", &name, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_open_metrics_gets_it_and_everybody_else_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
        for accept in [prometheus, "text/plain, Application/OpenMetrics-Text", "application/openmetrics-text"] {
            assert_eq!(Format::accepted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in ["", "*/*", "text/plain;version=0.0.4", "text/html,*/*;q=0.8", "application/openmetrics-text;q=0"]
        {
            assert_eq!(Format::accepted(accept), Format::Text, "{accept}");
        }
    }

    #[test]
    fn counters_are_described_by_the_name_that_they_have() {
        let open = "# HELP a_b Such words.\n# TYPE a_b counter\n# UNIT a_b seconds\na_b_total{x=\"#\"} 1\n\
                    # HELP c So.\n# TYPE c gauge\nc 2\n# EOF\n";
        let text = "# HELP a_b_total Such words.\n# TYPE a_b_total counter\na_b_total{x=\"#\"} 1\n\
                    # HELP c So.\n# TYPE c gauge\nc 2\n";
        assert_eq!(text_of(open), text);
    }
}
