//! Imports point one way, and each outside library stays in its folder.
//!
//! Reads the text of `src/`: what a file names as `crate::module` must stand
//! at or before the file's own module in [`LAYERS`]. Unit tests (the tail
//! `#[cfg(test)] mod tests { … }`, files called `tests.rs`, folders called
//! `tests`) may look up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer may name itself and those before it. A part of a module may stand
/// lower than its module.
const LAYERS: &[&[&str]] = &[
    &["domain"],
    &[
        "breaker",
        "clock",
        "config",
        "entropy",
        "metrics",
        "proto::events",
        "truth::failpoint",
    ],
    &["redis_link"],
    &["bus", "store", "keys", "gateway"],
    &["seed", "view"],
    &["engine"],
    &["fanout"],
    &["proto", "sim", "truth"],
    &["grpc"],
    &["app"],
    &["cli", "demo"],
];

/// A library and the paths under `src/` that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("tonic", &["grpc", "app", "cli", "proto", "demo"]),
    ("tonic_prost", &["proto"]),
    ("sea_orm", &["store/sql", "app"]),
    ("sqlx", &["store/sql"]),
    ("redis", &["redis_link", "store/redis", "bus/redis", "app"]),
    ("rdkafka", &["bus/kafka", "app"]),
    ("axum", &["grpc", "app"]),
    ("h2", &["app"]),
    ("hyper", &["app", "gateway/http"]),
    ("hyper_util", &["app", "gateway/http"]),
    ("csv", &["seed"]),
    ("figment", &["config"]),
    ("clap", &["cli"]),
];

/// What the pure core must not contain.
const NOT_IN_DOMAIN: &[&str] = &[
    "async fn",
    "tokio",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant",
    "rand::",
    "Mutex",
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "tests") {
                sources(&path, into);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            into.push(path);
        }
    }
}

/// Path below `src/` without extension, and its code without comments and
/// without the unit tests at its end.
fn files() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&src).expect("below src");
            let name = name.with_extension("").to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).expect("a readable source");
            (name, code_of(&text))
        })
        .collect()
}

fn code_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let tests_at = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"))
        .unwrap_or(lines.len());
    lines[..tests_at]
        .iter()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [*line, "\n"])
        .collect()
}

/// By the first two segments of a path, else by the first.
fn layer_of(path: &str) -> Option<usize> {
    let place = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let module = path.split("::").next().unwrap_or(path);
    place(path).or_else(|| place(module))
}

/// The first two segments of each path that a file names by `crate::…`, also
/// inside `use crate::{a, b}`. `$crate` is for the macro's user.
fn named_modules(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            None => names.push(two_segments(rest)),
            Some(list) => names.extend(top_level_items(list).iter().map(|item| two_segments(item))),
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn two_segments(text: &str) -> String {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let first = word(text);
    match text[first.len()..].strip_prefix("::").map(word) {
        Some(second) if !second.is_empty() => format!("{first}::{second}"),
        _ => first,
    }
}

/// The items of `a::{b, c}, d}` at the outermost level, up to its closing brace.
fn top_level_items(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut depth = 0;
    for c in list.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => items.push(String::new()),
            _ => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                items.last_mut().expect("never empty").push(c);
            }
        }
    }
    items.iter().map(|item| item.trim().to_owned()).collect()
}

fn mentions(code: &str, library: &str) -> bool {
    code.match_indices(&format!("{library}::"))
        .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

#[test]
fn a_module_names_only_what_stands_before_it() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        if file == "lib" || file == "main" {
            continue;
        }
        let Some(own) = layer_of(&two_segments(&file.replace('/', "::"))) else {
            wrong.push(format!("{file} has no layer"));
            continue;
        };
        for named in named_modules(&code) {
            match layer_of(&named) {
                Some(layer) if layer <= own => {}
                Some(_) => wrong.push(format!(
                    "{file} names crate::{named}, which stands after it"
                )),
                None => wrong.push(format!("{file} names crate::{named}, which has no layer")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn outside_libraries_stay_in_their_folders() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        for (library, homes) in HOMES {
            let at_home = homes
                .iter()
                .any(|home| file == *home || file.starts_with(&format!("{home}/")));
            if !at_home && file != "main" && mentions(&code, library) {
                wrong.push(format!("{file} names {library}; it belongs to {homes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What may come from a copy of the database that lags behind is asked for by
/// those who show it, and by nobody who decides.
#[test]
fn only_who_shows_reads_what_may_be_old() {
    const MAY: &[&str] = &[
        "store/sql",
        "view/catalog",
        "grpc/edge",
        "grpc/catalog",
        "grpc/admin/sales",
    ];
    let mut wrong = Vec::new();
    for (file, code) in files() {
        let below = file.starts_with("store/sql/showing") || file.starts_with("view/catalog/");
        let asks = code.contains("showing::") || code.contains("edge.showing");
        if asks && !below && !MAY.contains(&file.as_str()) {
            wrong.push(format!("{file} reads what may be old"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        if file != "domain" && !file.starts_with("domain/") {
            continue;
        }
        for impure in NOT_IN_DOMAIN
            .iter()
            .filter(|impure| code.contains(**impure))
        {
            wrong.push(format!("{file} contains {impure}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_small_and_folders_have_no_mod_rs() {
    let mut wrong = Vec::new();
    for (file, code) in files() {
        if file.ends_with("/mod") {
            wrong.push(format!("src/{file}.rs: call it like its folder"));
        }
        let lines = code.lines().count();
        if lines > 500 {
            wrong.push(format!("src/{file}.rs has {lines} lines of code"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_reader_of_imports_sees_every_form() {
    let code = "use crate::{a::x, b::{c, d}};\nfn f() { crate::e::g(); }\npub(crate) fn h() {}";
    assert_eq!(named_modules(code), ["a::x", "b", "e::g"]);
    assert!(mentions("use tonic::Status;", "tonic"));
    assert!(!mentions("use crate::tonic::Status;", "tonic"));
    assert!(!mentions("use not_tonic::Status;", "tonic"));
}

#[test]
fn a_planted_upward_import_would_be_seen() {
    let store = layer_of("store").expect("a layer");
    let grpc = layer_of("grpc").expect("a layer");
    assert!(grpc > store);
    assert!(layer_of("truth::failpoint") < Some(store));
    assert!(layer_of("truth::checker") > Some(store));
    assert_eq!(
        code_of("use a;\n#[cfg(test)]\nmod tests {\nuse crate::grpc;\n}\n").trim(),
        "use a;"
    );
}
