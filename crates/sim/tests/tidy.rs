//! Rules over the whole tree that no compiler knows.

use std::{
    fs,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 600;

/// Packages that become programs; none may depend on another.
const BINARIES: [&str; 4] =
    ["packhorse-site-server", "packhorse-cap-agent", "packhorse-client-agent", "packhorse-console"];
const BINARY_FOLDERS: [&str; 4] = ["site-server", "cap-agent", "client-agent", "console"];

#[derive(Debug)]
struct Source {
    path: String,
    text: String,
}

#[test]
fn every_file_is_short_and_opens_with_what_it_is_for() {
    check(&sources(), |file| {
        let mut faults = Vec::new();
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            faults.push((0, format!("{lines} lines: split it, {LINES_MAX} is the most")));
        }
        if !file.text.starts_with("//!") {
            faults.push((1, "it does not open with `//!` and what it is for".to_owned()));
        }
        faults
    });
}

#[test]
fn nothing_unwraps_outside_tests() {
    let unwrap = [".unwrap", "()"].concat();
    let files = sources();
    let for_tests = modules_for_tests(&files);
    check(&files, |file| {
        if is_test_file(&file.path) || for_tests.iter().any(|module| file.path.starts_with(module.as_str())) {
            return Vec::new();
        }
        let found = product_lines(&file.text).filter(|(_, line)| line.contains(&unwrap));
        found
            .map(|(at, _)| {
                (at, "unwraps outside tests: use `expect(\"why it holds\")` or an error".to_owned())
            })
            .collect()
    });
}

#[test]
fn nothing_is_left_unfinished_or_unrun() {
    // In pieces, so that this file does not find itself.
    let banned = [
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["#[ig", "nore"].concat(),
        ["#[should", "_panic"].concat(),
    ];
    check(&sources(), |file| {
        let mut faults = Vec::new();
        for (at, line) in code_lines(&file.text) {
            for word in banned.iter().filter(|word| line.contains(word.as_str())) {
                faults.push((at, format!("`{word}`: finish it, or let the test run")));
            }
        }
        faults
    });
}

#[test]
fn sql_is_spoken_only_in_the_store() {
    let sql = ["sqlx", "::"].concat();
    check(&sources(), |file| {
        let in_store = file.path.starts_with("site-server/src/store")
            || (file.path.starts_with("site-server/tests/") && file.path.contains("store"));
        let found = code_lines(&file.text).filter(|(_, line)| !in_store && line.contains(&sql));
        found
            .map(|(at, _)| (at, format!("`{sql}` outside site-server/src/store: give the store a method")))
            .collect()
    });
}

#[test]
fn the_rules_and_the_data_plane_do_not_know_the_wire() {
    let wire = ["packhorse", "_proto"].concat();
    check(&sources(), |file| {
        let kept_out = ["crates/domain/", "crates/content/", "crates/parcel/"]
            .iter()
            .any(|one| file.path.starts_with(one));
        let found = code_lines(&file.text).filter(|(_, line)| kept_out && line.contains(&wire));
        found
            .map(|(at, _)| (at, "generated types are for proto and the edges of the binaries".to_owned()))
            .collect()
    });
}

#[test]
fn dependencies_point_the_right_way() {
    let mut faults = Vec::new();
    for folder in BINARY_FOLDERS {
        for name in dependencies_of(&format!("{folder}/Cargo.toml"), &["dependencies", "build-dependencies"])
        {
            if BINARIES.contains(&name.as_str()) {
                faults.push(format!(
                    "{folder}/Cargo.toml: depends on {name}; binaries never depend on each other"
                ));
            }
        }
    }
    for folder in ["domain", "content", "parcel", "trust"] {
        let manifest = format!("crates/{folder}/Cargo.toml");
        for name in dependencies_of(&manifest, &["dependencies", "dev-dependencies", "build-dependencies"]) {
            if name.starts_with("tonic") {
                faults.push(format!("{manifest}: depends on {name}; this crate knows nothing of gRPC"));
            }
        }
    }
    for name in dependencies_of("crates/domain/Cargo.toml", &["dependencies"]) {
        if ["tokio", "futures", "getrandom", "rand", "sqlx", "packhorse-proto"].contains(&name.as_str()) {
            faults.push(format!(
                "crates/domain/Cargo.toml: depends on {name}; rules have no I/O, time or dice"
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_rules_find_what_they_look_for() {
    let text = "//! x\nfn a() { b() }\n#[cfg(test)]\nmod tests { c() }\n";

    let product: Vec<_> = product_lines(text).map(|(at, _)| at).collect();

    assert_eq!(product, [1, 2], "a test module is not the product");
    assert_eq!(code_lines("// a\n let x = 1;\n /// b").map(|(at, _)| at).collect::<Vec<_>>(), [2]);
    let declares = Source { path: "a/src/b.rs".to_owned(), text: "#[cfg(test)]\nmod c;".to_owned() };
    assert_eq!(modules_for_tests(&[declares]), ["a/src/b/c.rs", "a/src/b/c/"]);
    assert!(is_test_file("site-server/tests/a.rs") && !is_test_file("site-server/src/a.rs"));
    assert!(
        sources().iter().any(|file| file.path == "crates/domain/src/link/mod.rs"),
        "the walk finds the tree"
    );
    assert!(!dependencies_of("site-server/Cargo.toml", &["dependencies"]).is_empty(), "manifests are read");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two levels down").to_owned()
}

fn sources() -> Vec<Source> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the tree can be read") {
            let path = entry.expect("the tree can be read").path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).expect("a source is UTF-8");
                let path =
                    path.strip_prefix(&root).expect("it is below the root").to_string_lossy().into_owned();
                files.push(Source { path, text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn check(files: &[Source], faults: impl Fn(&Source) -> Vec<(usize, String)>) {
    let all: Vec<String> = files
        .iter()
        .flat_map(|file| faults(file).into_iter().map(|(at, what)| format!("{}:{at}: {what}", file.path)))
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.starts_with("crates/e2e/")
        || path.contains("/tests/")
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
        || path.contains("/benches/")
}

/// The beginnings of the paths of modules that are declared for tests only: `#[cfg(test)] mod name;`.
fn modules_for_tests(files: &[Source]) -> Vec<String> {
    let mut modules = Vec::new();
    for file in files {
        let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        let inside = match name.trim_end_matches(".rs") {
            "lib" | "main" | "mod" => folder.to_owned(),
            stem => format!("{folder}/{stem}"),
        };
        let lines: Vec<_> = file.text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let declared =
                pair[1].strip_suffix(';').and_then(|line| line.rsplit_once("mod ")).map(|(_, name)| name);
            if let Some(name) = declared {
                modules.extend([format!("{inside}/{name}.rs"), format!("{inside}/{name}/")]);
            }
        }
    }
    modules
}

/// Lines of code, numbered from 1; comments are not code.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The same up to the test module, which stands last in its file.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let tests_at = text.lines().collect::<Vec<_>>().windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ") && pair[1].contains('{')
    });
    let end = tests_at.unwrap_or(usize::MAX);
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .take_while(move |(at, _)| *at <= end)
        .filter(|(at, line)| *at == 1 || !line.trim_start().starts_with("//"))
}

fn dependencies_of(manifest: &str, sections: &[&str]) -> Vec<String> {
    let text =
        fs::read_to_string(root().join(manifest)).unwrap_or_else(|error| panic!("{manifest}: {error}"));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{manifest}: {error}"));
    sections
        .iter()
        .filter_map(|section| table.get(*section)?.as_table())
        .flat_map(|section| {
            section.iter().map(|(key, value)| {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                renamed.unwrap_or(key).to_owned()
            })
        })
        .collect()
}
