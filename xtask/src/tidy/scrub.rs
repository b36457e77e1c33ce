//! A Rust source taken apart: code without comments and texts, and comments without code, line for line as in the file.
//!
//! Rules look for words; a word in a message or a doc comment is no use of what it names. This reads the lexical shape
//! of Rust only: comments, strings, characters, and the extent of `#[cfg(test)]` modules.

/// A source file.
#[derive(Debug)]
pub(super) struct Source {
    /// Relative to the workspace's root, with slashes.
    pub(super) name: String,
    /// As it stands.
    pub(super) text: String,
    /// Without comments, strings and characters: they are blanks.
    pub(super) code: String,
    /// As `code`, without what is compiled for tests only.
    pub(super) product: String,
    /// Comments only; everything else is blank.
    pub(super) comments: String,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        let product = if is_test_file(name) { String::new() } else { without_tests(&code) };
        Self { name: name.to_owned(), text: text.to_owned(), code, product, comments }
    }

    /// The crate's folder and the path within it: `crates/engine`, `src/lib.rs`.
    pub(super) fn room(&self) -> (&str, &str) {
        let slashes = if self.name.starts_with("xtask/") || self.name.starts_with("interop/") { 1 } else { 2 };
        let at = self.name.match_indices('/').nth(slashes - 1).map_or(self.name.len(), |(at, _)| at);
        (&self.name[..at], self.name.get(at + 1..).unwrap_or_default())
    }
}

/// The lines of `text` that hold `word` as a word of its own, numbered from 1.
pub(super) fn lines_with(text: &str, word: &str) -> Vec<usize> {
    let holds = |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = line[at + word.len()..].chars().next();
            let inner = |edge: Option<char>, own: Option<char>| {
                let joins = |c: char| c.is_alphanumeric() || c == '_';
                edge.is_some_and(joins) && own.is_some_and(joins)
            };
            !inner(before, word.chars().next()) && !inner(after, word.chars().next_back())
        })
    };
    text.lines().enumerate().filter(|(_, line)| holds(line)).map(|(at, _)| at + 1).collect()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.contains("/tests/") || name.contains("/benches/")
}

/// What the text at `rest` begins with, and how many bytes it takes.
enum Piece {
    Code(usize),
    Comment(usize),
    /// A string or character: neither code nor comment.
    Quoted(usize),
}

fn split(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let mut rest = text;
    let mut word_before = false;
    while !rest.is_empty() {
        let piece = piece(rest, word_before);
        let (Piece::Code(length) | Piece::Comment(length) | Piece::Quoted(length)) = piece;
        let (taken, left) = rest.split_at(length);
        let blank = taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        match piece {
            Piece::Code(_) => {
                code.push_str(taken);
                comments.extend(blank);
            }
            Piece::Comment(_) => {
                comments.push_str(taken);
                code.extend(blank);
            }
            Piece::Quoted(_) => {
                code.extend(blank.clone());
                comments.extend(blank);
            }
        }
        word_before = taken.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        rest = left;
    }
    (code, comments)
}

fn piece(rest: &str, word_before: bool) -> Piece {
    if rest.starts_with("//") {
        return Piece::Comment(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Piece::Comment(block_comment(rest));
    }
    // A prefix such as `b` or `r` belongs to a string only where it is a word of its own.
    let prefix = if word_before { 0 } else { rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len() };
    if let Some(length) = raw_string(&rest[prefix..]).filter(|_| rest[..prefix].contains('r')) {
        return Piece::Quoted(prefix + length);
    }
    if rest[prefix..].starts_with('"') {
        return Piece::Quoted(prefix + quoted(&rest[prefix..], '"'));
    }
    if rest.starts_with('\'')
        && let Some(length) = character(rest)
    {
        return Piece::Quoted(length);
    }
    Piece::Code(rest.chars().next().map_or(0, char::len_utf8))
}

fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if rest.starts_with("*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of `#"…"#`, with as many hashes as it has.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let body = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len()))
}

/// The length of a text in quotes, which `text` begins with.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character in quotes; `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut inner = text[1..].chars();
    let first = inner.next()?;
    if first == '\\' {
        return Some(quoted(text, '\''));
    }
    (inner.next() == Some('\'')).then(|| 2 + first.len_utf8())
}

/// Blanks every `#[cfg(test)]` item that has a body in braces.
fn without_tests(code: &str) -> String {
    let mut product = code.to_owned();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let item = start + attribute.len();
        let Some(open) = code[item..].find(['{', ';']).map(|at| item + at) else { continue };
        let end = if code[open..].starts_with('{') { braces(code, open) } else { open + 1 };
        let blank: String = code[start..end]
            .chars()
            .map(|c| if c == '\n' { "\n".to_owned() } else { " ".repeat(c.len_utf8()) })
            .collect();
        product.replace_range(start..end, &blank);
    }
    product
}

/// Where the braces that open at `open` have closed.
pub(super) fn braces(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code[open..].char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_texts_are_told_from_code() {
        let text = "let a = \"x // \\\" y\"; // one\n/* two /* three */ four */ let b: &'static str = r#\"z \"w\" \"#;\n\
                    let c = ('\\'', '\"', b'q', b\"p\", for_r\"n\"); five();";
        let source = Source::new("crates/a/src/b.rs", text);
        for word in ["x", "y", "one", "two", "three", "four", "z", "w", "p", "q", "n"] {
            assert_eq!(lines_with(&source.code, word), Vec::<usize>::new(), "{word} in {}", source.code);
        }
        assert_eq!(lines_with(&source.code, "static"), [2]);
        assert_eq!(lines_with(&source.code, "five"), [3]);
        for (word, line) in [("one", 1), ("two", 2), ("four", 2)] {
            assert_eq!(lines_with(&source.comments, word), [line], "{word}");
        }
        assert_eq!(lines_with(&source.comments, "five"), Vec::<usize>::new());
        assert_eq!(source.code.lines().count(), 3);
    }

    #[test]
    fn words_are_whole() {
        assert_eq!(lines_with("unsafe_code\nunsafe {\nnotunsafe", "unsafe"), [2]);
        assert_eq!(lines_with("std::fs::read\nstd::fsx\nmy_std::fs", "std::fs"), [1]);
        assert_eq!(lines_with("mpsc::channel()\nmpsc::channel(8)", "mpsc::channel()"), [1]);
    }

    #[test]
    fn what_is_compiled_for_tests_only_is_no_product() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { if c {} }\n}\nfn d() {}\n#[cfg(test)]\nmod e;\nfn f() {}\n";
        let source = Source::new("crates/a/src/b.rs", text);
        assert_eq!(lines_with(&source.product, "fn"), [1, 6, 9]);
        assert_eq!(lines_with(&source.code, "fn"), [1, 4, 6, 9]);
        for name in ["crates/a/src/tests.rs", "crates/a/tests/it/main.rs"] {
            assert_eq!(Source::new(name, text).product, "");
        }
    }

    #[test]
    fn a_file_knows_its_room() {
        for (name, room) in [
            ("crates/engine/src/lib.rs", ("crates/engine", "src/lib.rs")),
            ("xtask/src/main.rs", ("xtask", "src/main.rs")),
        ] {
            assert_eq!(Source::new(name, "").room(), room);
        }
    }

    #[test]
    fn broken_sources_are_read_to_their_end() {
        for text in ["\"open", "/* open", "r#\"open\"", "'", "'\\", "#[cfg(test)] mod a {", "é'é'"] {
            let source = Source::new("crates/a/src/b.rs", text);
            assert_eq!(source.product.chars().filter(|c| *c == '\n').count(), 0, "{text}");
        }
    }
}
