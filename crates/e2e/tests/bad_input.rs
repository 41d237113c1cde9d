//! Everything that an administrator can get wrong: the exit code says so, the message names the thing and what to do,
//! and nothing is half made.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path, process::Command};

use anyhow::{Result, ensure};
use packhorse_e2e::{Console, Hierarchy};

const WRONG_USAGE: i32 = 2;
const REFUSED: i32 = 1;
const UNREACHABLE: i32 = 3;

/// Everything that a site lists.
fn lists(console: &Console) -> Result<Vec<serde_json::Value>> {
    ["package", "collection", "advertisement", "dp"]
        .iter()
        .map(|noun| console.json(&[noun, "list"]))
        .collect()
}

/// The command fails with this code, and its message has all these words in it.
fn refused(console: &Console, line: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let answer = console.run(line)?;
    let line = line.join(" ");
    ensure!(answer.code == code, "`{line}` ended with {} instead of {code}: {}", answer.code, answer.stderr);
    ensure!(answer.stdout.is_empty(), "`{line}` answered something: {}", answer.stdout);
    for word in words {
        let said = answer.stderr.to_lowercase();
        ensure!(said.contains(&word.to_lowercase()), "`{line}` does not say `{word}`: {}", answer.stderr);
    }
    ensure!(!answer.stderr.contains("panicked"), "`{line}` panicked: {}", answer.stderr);
    Ok(())
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn wrong_names_and_unknown_things_are_refused_with_a_reason_and_leave_nothing() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    hierarchy.child("PAR", "CEN")?;
    let console = hierarchy.console("CEN");
    let package = console.create(&["package", "create", "Good"])?;
    console.done(&["program", "set", &package, "go", "--", "true"])?;
    let collection = console.create(&["collection", "create", "Everyone", "--all"])?;
    let advertisement = console.create(&["advertise", &package, "go", &collection])?;
    let before = lists(console)?;
    let long = "n".repeat(129);
    let out = path_text(&hierarchy.scratch("out.token"));
    let p = package.as_str();

    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["package", "show", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["package", "update", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["package", "delete", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["package", "delete", p], REFUSED, &[p, &advertisement]),
        (&["package", "create", "Again", "--id", p], REFUSED, &[p]),
        (&["package", "create", "Foreign", "--id", "PAR00001"], REFUSED, &["PAR00001", "CEN"]),
        (&["package", "create", "Odd", "--id", "../../etc"], WRONG_USAGE, &["../../etc", "8 characters"]),
        (&["package", "create", &long], REFUSED, &["name", "128"]),
        (&["package", "create", ""], REFUSED, &["name"]),
        (&["package", "create", "Two\nlines"], REFUSED, &["name"]),
        (&["package", "create", "Sent", "--to", "PAR/nowhere"], REFUSED, &["PAR/nowhere"]),
        (&["package", "create", "Sent", "--to", "nowhere"], WRONG_USAGE, &["SITE/POINT"]),
        (&["package", "send", p, "--to", "ZZZ/cap1"], REFUSED, &["ZZZ"]),
        (&["package", "send", p], WRONG_USAGE, &["--to"]),
        (&["package", "update", p], REFUSED, &["source"]),
        (&["program", "set", p, "two words", "--", "true"], WRONG_USAGE, &["two words"]),
        (&["program", "set", "CEN0000Z", "go", "--", "true"], REFUSED, &["CEN0000Z"]),
        (&["program", "set", p, "go", "--shell", "--", "a", "b"], WRONG_USAGE, &["one string"]),
        (&["program", "set", p, "go"], WRONG_USAGE, &["COMMAND"]),
        (&["program", "set", p, "go", "--time-limit", "soon", "--", "true"], WRONG_USAGE, &["soon"]),
        (&["program", "remove", p, "other"], REFUSED, &["other"]),
        (&["program", "remove", p, "go"], REFUSED, &["go", &advertisement]),
        (&["advertise", "CEN0000Z", "go", &collection], REFUSED, &["CEN0000Z"]),
        (&["advertise", p, "stop", &collection], REFUSED, &["stop"]),
        (&["advertise", p, "go", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["advertise", p, "go", &collection, "--at", "tomorrow"], WRONG_USAGE, &["tomorrow"]),
        (&["advertisement", "delete", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["collection", "create", "Nobody"], WRONG_USAGE, &["--all"]),
        (&["collection", "create", "Odd", "--where", "colour=red"], REFUSED, &["colour"]),
        (&["collection", "create", "Odd", "--where", "os"], WRONG_USAGE, &["pattern"]),
        (&["collection", "delete", &collection], REFUSED, &[&collection, &advertisement]),
        (&["collection", "update", "CEN0000Z", "--name", "x"], REFUSED, &["CEN0000Z"]),
        (&["dp", "add", "share", "--path", "relative"], WRONG_USAGE, &["absolute"]),
        (&["dp", "add", "../share", "--path", "/tmp/x"], WRONG_USAGE, &["../share"]),
        (&["dp", "add", "share", "--path", "/proc/nothing/here"], REFUSED, &["/proc/nothing/here"]),
        (&["dp", "remove", "nowhere"], REFUSED, &["nowhere"]),
        (&["site", "token", "PAR", "--out", &out], REFUSED, &["PAR"]),
        (&["site", "token", "CEN", "--out", &out], REFUSED, &["CEN"]),
        (&["site", "token", "par", "--out", &out], WRONG_USAGE, &["par", "3 characters"]),
        (&["site", "token", "LYO", "--valid", "400d", "--out", &out], REFUSED, &["30 days"]),
        (&["cap", "token", "..", "--out", &out], WRONG_USAGE, &[".."]),
        (&["client", "token", "--out", &out], REFUSED, &["CAP agent", "cap token"]),
        (&["cap", "token", "cap1", "--out", "/nowhere/at/all.token"], REFUSED, &["/nowhere/at/all.token"]),
        (&["status", "package", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["status", "advertisement", "CEN0000Z"], REFUSED, &["CEN0000Z"]),
        (&["--endpoint", "127.0.0.1:1", "package", "list"], UNREACHABLE, &["127.0.0.1:1"]),
        (&["--endpoint", "here", "package", "list"], WRONG_USAGE, &["here", "HOST:PORT"]),
    ];
    for (line, code, words) in cases {
        refused(console, line, *code, words)?;
    }
    let nowhere = console.with_admin(Path::new("/nowhere"));
    refused(&nowhere, &["package", "list"], WRONG_USAGE, &["/nowhere", "--admin", "init"])?;

    assert_eq!(lists(console)?, before);
    assert!(!Path::new(&out).exists(), "a refused token was written");
    Ok(())
}

#[test]
fn sources_that_cannot_be_packed_are_refused_by_name_and_leave_nothing() -> Result<()> {
    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let console = hierarchy.console("CEN");
    let before = lists(console)?;
    let root = hierarchy.scratch("sources");
    let make = |name: &str| -> Result<_> {
        let directory = root.join(name);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("good"), "good")?;
        Ok(directory)
    };
    let missing = root.join("missing");
    let empty = root.join("empty");
    fs::create_dir_all(&empty)?;
    let file = make("file")?.join("good");
    let pipe = make("pipe")?;
    ensure!(Command::new("mkfifo").arg(pipe.join("a-pipe")).status()?.success(), "mkfifo");
    let outside = make("outside")?;
    std::os::unix::fs::symlink("../../../etc/passwd", outside.join("a-link"))?;
    let strange = make("strange")?;
    fs::write(strange.join(OsStr::from_bytes(b"caf\xe9")), "latin")?;

    for (directory, word) in [
        (&missing, "missing"),
        (&empty, "empty"),
        (&file, "director"),
        (&pipe, "a-pipe"),
        (&outside, "a-link"),
        (&strange, "caf"),
    ] {
        for way in ["--source", "--upload"] {
            let line = ["package", "create", "Bad", way, &path_text(directory)];
            refused(console, &line, REFUSED, &[word])?;
        }
    }

    assert_eq!(lists(console)?, before);
    let uploads = fs::read_dir(hierarchy.site_directory("CEN").join("uploads"))?.count();
    assert_eq!(uploads, 0, "uploads were left");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_is_named() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let mut hierarchy = Hierarchy::for_test()?;
    hierarchy.central("CEN")?;
    let source = hierarchy.scratch("source");
    fs::create_dir_all(&source)?;
    let secret = source.join("secret");
    fs::write(&secret, "secret")?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000))?;
    if fs::read(&secret).is_ok() {
        // Nothing is unreadable to root: there is nothing to see here.
        return Ok(());
    }
    let line = ["package", "create", "Bad", "--upload", &path_text(&source)];

    refused(hierarchy.console("CEN"), &line, REFUSED, &["secret"])
}
