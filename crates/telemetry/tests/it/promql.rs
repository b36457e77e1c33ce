//! As much of PromQL as it takes to tell which metrics and labels an expression speaks of.

use std::collections::BTreeSet;

use crate::support;

/// Functions and aggregations in use. A name that is neither here nor a metric is a mistake.
const FUNCTIONS: &[&str] = &[
    "absent",
    "avg_over_time",
    "changes",
    "clamp_min",
    "count",
    "delta",
    "deriv",
    "histogram_quantile",
    "increase",
    "label_values",
    "max",
    "max_over_time",
    "min",
    "min_over_time",
    "rate",
    "sum",
    "time",
    "topk",
];
const KEYWORDS: &[&str] = &["and", "bool", "offset", "or", "unless"];
/// What a list of labels stands behind.
const LISTS: &[&str] = &["by", "group_left", "group_right", "ignoring", "on", "without"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expression.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let (token, length) = if first == '"' {
            let end = rest[1..].find('"').unwrap_or_else(|| panic!("no end of a text: {expression}")) + 1;
            (Token::Text(rest[1..end].to_owned()), end + 1)
        } else if is_part(first) || first == '$' {
            let end = rest[1..].find(|c: char| !is_part(c)).map_or(rest.len(), |end| end + 1);
            (Token::Word(rest[..end].to_owned()), end)
        } else {
            (Token::Sign(first), first.len_utf8())
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// What an expression speaks of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// Names of series.
    pub(crate) series: Vec<String>,
    /// Labels with what they are compared with, by the series.
    pub(crate) matches: Vec<(String, String, String)>,
    /// Labels that something is grouped, or joined, by.
    pub(crate) groups: BTreeSet<String>,
}

/// Reads `expression`.
pub(crate) fn spoken(expression: &str) -> Spoken {
    let tokens = tokens(expression);
    let mut spoken = Spoken::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        let Token::Word(word) = token else { continue };
        let is_name = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if LISTS.contains(&&**word) {
            at = labels(&tokens, at, &mut spoken);
        } else if word == "label_values" {
            // The second of two is a label.
            let (Some(Token::Word(series)), Some(Token::Word(label))) = (tokens.get(at + 1), tokens.get(at + 3)) else {
                panic!("label_values of something else: {expression}")
            };
            spoken.series.push(series.clone());
            spoken.groups.insert(label.clone());
            at += 4;
        } else if is_name && !FUNCTIONS.contains(&&**word) && !KEYWORDS.contains(&&**word) {
            spoken.series.push(word.clone());
            at = matchers(&tokens, at, word, &mut spoken);
        }
    }
    spoken
}

fn labels(tokens: &[Token], mut at: usize, spoken: &mut Spoken) -> usize {
    assert_eq!(tokens.get(at), Some(&Token::Sign('(')), "a list of labels: {tokens:?}");
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(label) => _ = spoken.groups.insert(label.clone()),
            Token::Sign(')') => break,
            _ => {}
        }
    }
    at
}

fn matchers(tokens: &[Token], mut at: usize, series: &str, spoken: &mut Spoken) -> usize {
    if tokens.get(at) != Some(&Token::Sign('{')) {
        return at;
    }
    let mut label = None;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(word) => label = Some(word),
            Token::Text(value) => {
                let label = label.take().unwrap_or_else(|| panic!("a value without a label: {tokens:?}"));
                spoken.matches.push((series.to_owned(), label.clone(), value.clone()));
            }
            Token::Sign('}') => break,
            Token::Sign(_) => {}
        }
    }
    at
}

/// What is wrong with `expression`; `shown` are labels that the words beside it name.
pub(crate) fn mistakes(expression: &str, shown: &[String]) -> Vec<String> {
    let spoken = spoken(expression);
    let mut mistakes = Vec::new();
    if spoken.series.is_empty() {
        mistakes.push("it speaks of no metric".to_owned());
    }
    let mut all = BTreeSet::new();
    for name in &spoken.series {
        match support::series(name) {
            Some((_, labels)) => all.extend(labels),
            None => mistakes.push(format!("there is no metric `{name}`")),
        }
    }
    for (name, label, value) in &spoken.matches {
        let Some((metric, labels)) = support::series(name) else { continue };
        if !labels.contains(label) {
            mistakes.push(format!("`{name}` has no label `{label}`"));
        }
        let words = support::words(label, &metric.name);
        let unknown =
            value.split('|').filter(|word| !words.is_empty() && !word.starts_with('$') && !words.contains(*word));
        mistakes.extend(unknown.map(|word| format!("`{label}` of `{name}` is never `{word}`")));
    }
    let named = spoken.groups.iter().chain(shown);
    mistakes.extend(named.filter(|label| !all.contains(*label)).map(|label| format!("nothing has a label `{label}`")));
    mistakes.into_iter().map(|mistake| format!("{mistake}: {expression}")).collect()
}

#[test]
fn an_expression_is_taken_apart() {
    let expression = r#"sum by (strategy) (rate(grasp_sync_batches_total{outcome=~"failed|superseded", job="x"}[5m])) > 0
        and on (instance) (time() - process_start_time_seconds) > 3e2 unless topk(5, up offset 1h) == bool $limit"#;
    let spoken = spoken(expression);
    assert_eq!(spoken.series, ["grasp_sync_batches_total", "process_start_time_seconds", "up"]);
    let of_batches =
        |label: &str, value: &str| ("grasp_sync_batches_total".to_owned(), label.to_owned(), value.to_owned());
    assert_eq!(spoken.matches, [of_batches("outcome", "failed|superseded"), of_batches("job", "x")]);
    assert_eq!(spoken.groups, ["instance", "strategy"].map(str::to_owned).into());
    assert_eq!(mistakes(expression, &[]), Vec::<String>::new());
}

#[test]
fn every_sort_of_mistake_is_found() {
    for (expression, shown, mistake) in [
        ("rate(grasp_sync_batch_total[5m])", "", "no metric `grasp_sync_batch_total`"),
        ("grasp_sync_batch_seconds > 1", "", "no metric `grasp_sync_batch_seconds`"),
        ("smu(grasp_sync_store_events)", "", "no metric `smu`"),
        ("grasp_sync_store_events{relay=\"x\"}", "", "`grasp_sync_store_events` has no label `relay`"),
        ("grasp_sync_relays{status=\"Degraded\"}", "", "`status` of `grasp_sync_relays` is never `Degraded`"),
        ("sum by (realy) (ngit_sync_relay_connected)", "", "nothing has a label `realy`"),
        ("label_values(grasp_sync_relays, relay)", "", "nothing has a label `relay`"),
        ("grasp_sync_store_events", "relay", "nothing has a label `relay`"),
        ("time() > 5", "", "speaks of no metric"),
    ] {
        let shown: Vec<String> = Some(shown).filter(|label| !label.is_empty()).map(str::to_owned).into_iter().collect();
        let found = mistakes(expression, &shown);
        assert!(found.len() == 1 && found[0].contains(mistake), "{expression}: {found:?}");
    }
}
