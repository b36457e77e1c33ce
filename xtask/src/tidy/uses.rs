//! The paths that `use` declarations bring in, with groups and nesting spelt out: `use std::{fs, net::TcpStream as T}`
//! names `std::fs` and `std::net::TcpStream`.

/// Every path of every `use` in `code` (comments and texts taken out), with the line of the declaration, from 1.
pub(super) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let starts = code[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || matches!(c, '}' | ';' | '{'));
        let Some(end) = code[at..].find(';').filter(|_| starts) else { continue };
        let line = code[..at].matches('\n').count() + 1;
        let tree: String = code[at + "use ".len()..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut paths = Vec::new();
        expand("", &tree, &mut paths);
        found.extend(paths.into_iter().map(|path| (line, path)));
    }
    found
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default();
        if !path.is_empty() {
            paths.push(format!("{prefix}{path}").trim_start_matches("::").trim_end_matches("::self").to_owned());
        }
        return;
    };
    let inner = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let (mut depth, mut start) = (0_usize, 0);
    for (at, character) in inner.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    expand(&prefix, &inner[start..], paths);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_spelt_out() {
        let code = "use a::b;\npub(crate) use std::{\n    fs::{self, File},\n    net::TcpStream as T,\n};\nfn f() { use ::c::*; }\nreuse x;\n";
        let expected = [(1, "a::b"), (2, "std::fs"), (2, "std::fs::File"), (2, "std::net::TcpStream"), (6, "c::*")];
        assert_eq!(paths(code), expected.map(|(line, path)| (line, path.to_owned())));
    }
}
