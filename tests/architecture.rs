//! What the source tree has to keep to: layers, a core without the outside world, a hot path that allocates nothing,
//! a conformance matrix whose rows name tests that exist, and `unsafe` in one place. Each checker is shown a planted
//! violation too.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::path::Path;

/// A file's path below the package, with slashes, and its text.
type File = (String, String);

fn read(folder: &str) -> Vec<File> {
    fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    walk(root, &root.join(folder), &mut files);
    files.sort();
    assert!(!files.is_empty());
    files
}

fn planted(path: &str, text: &str) -> Vec<File> {
    vec![(path.to_owned(), text.to_owned())]
}

/// The text without comments.
fn code(text: &str) -> String {
    let lines = text.lines().map(|line| match line.find("//") {
        // A URL in a string is no comment.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

/// A module's layer: it may name modules of its own layer and of lower ones.
fn layer(module: &str) -> Option<u8> {
    Some(match module {
        "wire" | "time" => 0,
        "auth" => 1,
        "turn" | "client" => 2,
        "sys" => 3,
        "net" | "http" | "config" | "observe" | "bench" | "probe" => 4,
        "app" => 5,
        "cli" | "main" => 6,
        _ => return None,
    })
}

/// The module at the top of the crate that a file belongs to; `None` for `lib.rs`.
fn module(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (name != "lib").then_some(name)
}

/// The modules that follow `crate::` or `relais::`, also as a list in braces.
fn named_modules(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for root in ["crate::", "relais::"] {
        for (at, _) in text.match_indices(root) {
            if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = &text[at + root.len()..];
            let Some(list) = rest.strip_prefix('{') else {
                names.extend(
                    words(&rest[..rest.find([':', ';', ' ', ')', '}', ',', '<', '\n']).unwrap_or(0)])
                        .into_iter()
                        .map(str::to_owned),
                );
                continue;
            };
            let (mut depth, mut name) = (0, String::new());
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => names.push(std::mem::take(&mut name)),
                    _ if depth == 0 => name.push(c),
                    _ => {}
                }
            }
            names.push(name);
        }
    }
    let first = |name: &String| name.trim().split("::").next().unwrap_or_default().to_owned();
    names.iter().map(first).filter(|name| !name.is_empty()).collect()
}

fn upward_paths(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        let Some(own) = module(path) else { continue };
        let Some(own_layer) = layer(own) else {
            found.push(format!("{path}: the module {own} has no layer; give it one"));
            continue;
        };
        for name in named_modules(&code(text)) {
            if layer(&name).is_some_and(|other| other > own_layer) {
                found.push(format!("{path}: {own} names {name}, which lies above it"));
            }
        }
    }
    found
}

const OUTSIDE: [&str; 13] = [
    "tokio",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "thread",
    "Mutex",
    "RwLock",
    "Instant",
    "SystemTime",
    "rand",
    "getrandom",
    "tracing",
    "println",
];

fn outside_in_the_core(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        if !matches!(module(path), Some("wire" | "auth" | "turn" | "client" | "time")) {
            continue;
        }
        let code = code(text);
        let words = words(&code);
        let hits = OUTSIDE.iter().filter(|word| words.contains(**word));
        found.extend(hits.map(|word| format!("{path}: the core names {word}")));
    }
    found
}

const COSTLY: [&str; 20] = [
    "to_vec(", ".clone(", "collect", "format!", "Box", "Arc", "dyn ", "async", "lock", "unwrap", "Vec",
    "String", "trace!", "debug!", "info!", "warn!", "error!", "log!", "println!", "HashMap",
];

fn costs_on_the_hot_path(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|file| HOT.contains(&file.0.as_str())) {
        let code = code(text);
        let hits = COSTLY.iter().filter(|word| code.contains(**word));
        found.extend(hits.map(|word| format!("{path}: {word:?} on the hot path")));
    }
    found
}

/// The hot path of the core.
const HOT: [&str; 2] = ["src/turn/relay.rs", "src/turn/flow.rs"];

fn unsafe_elsewhere(files: &[File]) -> Vec<String> {
    let elsewhere = files.iter().filter(|file| !file.0.starts_with("src/sys/"));
    elsewhere
        .filter(|(_, text)| words(&code(text)).contains("unsafe"))
        .map(|(path, _)| format!("{path}: unsafe belongs into src/sys"))
        .collect()
}

/// The names of all test functions.
fn tests_in(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, text) in files {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[test]" && !line.starts_with("#[tokio::test") {
                continue;
            }
            let function = lines.find_map(|line| {
                line.trim_start_matches("pub(crate) ")
                    .strip_prefix("fn ")
                    .or_else(|| line.strip_prefix("async fn "))
            });
            if let Some(name) = function.and_then(|rest| rest.split(['(', '<']).next()) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// The tests with foreign clients: Python functions below a line `@test(...)`.
fn foreign_tests(text: &str) -> BTreeSet<String> {
    let mut lines = text.lines();
    let mut names = BTreeSet::new();
    while lines.by_ref().any(|line| line.starts_with("@test(")) {
        let name = lines.next().and_then(|line| line.strip_prefix("def ")?.split('(').next());
        names.extend(name.map(str::to_owned));
    }
    names
}

/// The rows of a matrix: clause, requirement, tests.
fn rows(matrix: &str) -> Vec<[&str; 3]> {
    let mut rows = Vec::new();
    for line in matrix.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(row) = <[&str; 3]>::try_from(cells) else { panic!("three cells, please: {line}") };
        if row[0] != "Clause" {
            rows.push(row);
        }
    }
    rows
}

fn untested_rows(matrix: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for [clause, _, cell] in rows(matrix) {
        if cell.starts_with("not followed, because") {
            continue;
        }
        let named: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            found.push(format!("{clause}: names no test and gives no reason"));
        }
        let missing = named.iter().filter(|name| !tests.contains(**name));
        found.extend(missing.map(|name| format!("{clause}: there is no test {name}")));
    }
    found
}

/// Cells that say nothing.
fn empty_cells(matrix: &str) -> Vec<String> {
    let is_empty = |row: &&[&str; 3]| row.iter().any(|cell| !cell.chars().any(char::is_alphanumeric));
    rows(matrix).iter().filter(is_empty).map(|row| format!("an empty cell: {row:?}")).collect()
}

/// The sections that put a MUST or a SHOULD on a server, RFC by RFC.
const NORMATIVE: &[(&str, &str)] = &[
    (
        "8489",
        "5 6.1 6.2.2 6.2.3 6.3 6.3.1 6.3.1.1 6.3.2 9 9.1.3 9.2 9.2.4 10 11 12 14 14.1 14.3 14.4 14.5 14.6 14.7 14.8 14.9 \
         14.10 14.11 14.12 14.13 14.14 14.15 14.16 16 16.1.1 16.1.2 18.5.1.1",
    ),
    (
        "8656",
        "5 6 7.2 8.1 8.2 9 10.2 11.2 11.3 11.5 12 12.2 12.5 12.6 13.1 13.2 13.3 14 15 16 18.1 18.6 18.8 18.11 18.12 \
         18.13 21.1.6 21.4",
    ),
    ("5780", "3 6 6.1 7.4 7.5 7.6"),
    ("6062", "4.3 5.1 5.2 5.3 5.4 5.5"),
    ("7065", "3.1 3.2"),
    ("7350", "3 4.1 4.6"),
    ("7443", "3"),
    ("7635", "4.1 4.1.1 4.1.2 6.1 6.2 7 9 11"),
    ("8016", "3.1.2 3.2.2 5"),
];

/// The sections that the rows name: "8656 §7.2, 9, §18.11" are two of them.
fn sections(matrix: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for [clause, ..] in rows(matrix) {
        let mut rfc = String::new();
        for word in clause.split([' ', ',']) {
            if let Some(section) = word.strip_prefix('§') {
                found.extend(range(section).into_iter().map(|section| (rfc.clone(), section)));
            } else if word.len() == 4 && word.parse::<u16>().is_ok() {
                rfc = word.to_owned();
            }
        }
    }
    found
}

/// "13.1-§13.3" is three sections.
fn range(text: &str) -> Vec<String> {
    let ends = text.split_once("-§").and_then(|(first, last)| {
        let (above, first) = first.rsplit_once('.')?;
        let last = last.strip_prefix(above)?.strip_prefix('.')?;
        Some((above, first.parse::<u8>().ok()?..=last.parse().ok()?))
    });
    match ends {
        Some((above, numbers)) => numbers.map(|number| format!("{above}.{number}")).collect(),
        None => vec![text.trim_end_matches(':').to_owned()],
    }
}

fn missing_sections(matrix: &str, normative: &[(&str, &str)]) -> Vec<String> {
    let there = sections(matrix);
    let wanted = normative.iter().flat_map(|(rfc, list)| list.split(' ').map(move |section| (*rfc, section)));
    let missing =
        wanted.filter(|(rfc, section)| !there.contains(&((*rfc).to_owned(), (*section).to_owned())));
    missing.map(|(rfc, section)| format!("no row for RFC {rfc} §{section}")).collect()
}

/// Fields of structs of a server that would keep a password (RFC 8656 §6). A client has to know its own.
fn kept_passwords(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|file| matches!(module(&file.0), Some("auth" | "turn"))) {
        let code = code(text);
        for (at, _) in code.match_indices("struct ") {
            let body =
                code[at..].split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap_or(""));
            let is_whole = !code[at..].split('{').next().unwrap_or("").contains([';', '(']);
            if is_whole
                && body.lines().any(|line| line.trim().trim_start_matches("pub ").starts_with("password"))
            {
                found.push(format!("{path}: a struct keeps a password"));
            }
        }
    }
    found
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_layer_names_a_higher_one() {
    assert_none(&upward_paths(&read("src")));
}

#[test]
fn no_layer_names_a_higher_one_is_noticed() {
    for (path, text) in [
        ("src/wire/message.rs", "use crate::turn::Server;"),
        ("src/auth/login.rs", "fn f(_: crate::net::Worker) {}"),
        ("src/turn/mod.rs", "use crate::{\n    auth::{Login, key},\n    http::Page,\n};"),
        ("src/net/mod.rs", "use crate::{wire::Message, app};"),
        ("src/app.rs", "pub use relais::cli::run;"),
        ("src/surprise.rs", ""),
    ] {
        assert_eq!(upward_paths(&planted(path, text)).len(), 1, "{path}");
    }
    for (path, text) in [
        ("src/turn/mod.rs", "use crate::{auth::{Login, http}, wire};\nuse crate::time::Now; // crate::net"),
        ("src/main.rs", "fn main() { relais::cli::main() }"),
        ("src/lib.rs", "pub use crate::cli;"),
    ] {
        assert_none(&upward_paths(&planted(path, text)));
    }
}

#[test]
fn the_core_knows_nothing_of_the_outside() {
    assert_none(&outside_in_the_core(&read("src")));
}

#[test]
fn the_core_knows_nothing_of_the_outside_is_noticed() {
    for text in [
        "use tokio::time;",
        "std::net::UdpSocket::bind(a)",
        "let t = Instant::now();",
        "std::thread::spawn(f)",
    ] {
        assert_eq!(outside_in_the_core(&planted("src/turn/server.rs", text)).len(), 1, "{text}");
    }
    assert_none(&outside_in_the_core(&planted("src/net/udp.rs", "use tokio::time::Instant;")));
    assert_none(&outside_in_the_core(&planted("src/time.rs", "/// Not an Instant.")));
}

#[test]
fn the_hot_path_is_free_of_what_costs() {
    assert_none(&costs_on_the_hot_path(&read("src")));
}

#[test]
fn the_hot_path_is_free_of_what_costs_is_noticed() {
    for text in ["data.to_vec()", "login.clone()", "Box::new(1)", "format!(\"x\")", "x.unwrap()", "warn!(x)"]
    {
        assert_eq!(costs_on_the_hot_path(&planted("src/turn/relay.rs", text)).len(), 1, "{text}");
    }
}

#[test]
fn unsafe_has_one_place() {
    assert_none(&unsafe_elsewhere(&read("src")));
}

#[test]
fn unsafe_has_one_place_is_noticed() {
    assert_eq!(unsafe_elsewhere(&planted("src/net/udp.rs", "let x = unsafe { y() };")).len(), 1);
    assert_none(&unsafe_elsewhere(&planted("src/sys/send.rs", "let x = unsafe { y() };")));
    assert_none(&unsafe_elsewhere(&planted("src/net/udp.rs", "#![deny(unsafe_code)] // unsafe")));
}

fn matrix() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md")).unwrap()
}

fn all_tests() -> BTreeSet<String> {
    let mut names = tests_in(&[read("src"), read("tests")].concat());
    for folder in ["tests/interop", "tests/browser"] {
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "py") {
                names.extend(foreign_tests(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

#[test]
fn each_row_of_the_matrix_names_a_test_or_a_reason() {
    let matrix = matrix();
    assert!(rows(&matrix).len() > 180);
    assert_none(&untested_rows(&matrix, &all_tests()));
}

#[test]
fn each_conformance_test_stands_in_the_matrix() {
    let matrix = matrix();
    let named: BTreeSet<&str> = matrix.split('`').collect();
    let missing: Vec<String> =
        tests_in(&read("tests/conformance")).into_iter().filter(|name| !named.contains(&name[..])).collect();
    assert_none(&missing);
}

#[test]
fn each_row_of_the_matrix_names_a_test_or_a_reason_is_noticed() {
    let tests = tests_in(&planted("tests/x.rs", "#[test]\n#[ignore]\nfn there() {}\nfn helper() {}"));
    assert_eq!(tests.iter().collect::<Vec<_>>(), ["there"]);
    let foreign = foreign_tests("@test(90)\ndef there(net):\n    pass\n\n\ndef helper(net):\n    pass\n");
    assert_eq!(foreign.iter().collect::<Vec<_>>(), ["there"]);
    let row = |cell: &str| format!("| Clause | Requirement | Test |\n|---|---|---|\n| 1 | so | {cell} |\n");
    assert_none(&untested_rows(&row("`there`"), &tests));
    assert_none(&untested_rows(&row("not followed, because of this"), &tests));
    for cell in ["`helper`", "`gone`", "`there`, `gone`", "later", ""] {
        assert_eq!(untested_rows(&row(cell), &tests).len(), 1, "{cell}");
    }
}

#[test]
fn no_cell_of_the_matrix_is_empty_and_no_normative_section_is_missing() {
    let matrix = matrix();
    assert_none(&empty_cells(&matrix));
    assert_none(&missing_sections(&matrix, NORMATIVE));
}

#[test]
fn no_cell_of_the_matrix_is_empty_and_no_normative_section_is_missing_is_noticed() {
    let matrix = |row: &str| format!("| Clause | Requirement | Test |\n|---|---|---|\n{row}\n");
    assert_eq!(empty_cells(&matrix("| 8489 §5 | – | `x` |")).len(), 1);
    assert_none(&empty_cells(&matrix("| 8489 §5 | so | `x` |")));
    let whole = matrix("| 8656 §7.2, 9, §13.1-§13.3, §18.11, 8489 §10 | so | `x` |");
    assert_none(&missing_sections(&whole, &[("8656", "7.2 13.1 13.2 13.3 18.11"), ("8489", "10")]));
    assert_eq!(missing_sections(&whole, &[("8656", "9 10"), ("8489", "7.2")]).len(), 3);
}

#[test]
fn passwords_are_not_kept() {
    assert_none(&kept_passwords(&read("src")));
}

#[test]
fn passwords_are_not_kept_is_noticed() {
    let kept = "struct Known {\n    key: Key,\n    password: String,\n}";
    assert_eq!(kept_passwords(&planted("src/auth/login.rs", kept)).len(), 1);
    assert_none(&kept_passwords(&planted("src/probe/ice.rs", kept)));
    assert_none(&kept_passwords(&planted(
        "src/auth/key.rs",
        "struct Key(u8);\nfn f(\n    password: &[u8],\n) {}",
    )));
}
