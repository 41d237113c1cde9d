//! The real binary: what it says, where, and with which exit code, when it cannot do what was asked.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use packhorse_domain::id::{PointName, SiteCode};
use packhorse_runtime::{Clock as _, SystemClock};
use packhorse_trust::{Authority, Credentials, Name, credentials::new_key_and_request};
use tempfile::TempDir;

/// Runs the console away from the settings of whoever runs the tests.
fn packhorse(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.output().expect("the console runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Checks the exit code, that nothing is on standard output, and gives standard error.
fn failure(output: &Output, code: i32) -> String {
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert_eq!(text(&output.stdout), "");
    assert!(error.starts_with("error: "), "{error}");
    error
}

/// An admin directory as a site server's `init` makes it, for the site CEN.
fn admin_directory(endpoint: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let site: SiteCode = "CEN".parse().expect("a site code");
    let now = SystemClock.now();
    let authority = Authority::create(&directory.path().join("authority"), &site, now).expect("an authority");
    let admin: PointName = "admin".parse().expect("a name");
    let (key_pem, request) = new_key_and_request("admin").expect("a key");
    let cert_pem = authority
        .issue(&request, &Name::of_admin(site, &admin), Duration::from_secs(3600), now)
        .expect("a certificate");
    let credentials =
        Credentials { key_pem, cert_pem, authority_pem: authority.certificate_pem().to_owned() };
    credentials.store(&directory.path().join("admin")).expect("stored");
    let settings = format!("site = \"CEN\"\nendpoint = \"{endpoint}\"\n");
    fs::write(directory.path().join("admin/console.toml"), settings).expect("written");
    directory
}

fn admin_path(directory: &TempDir) -> String {
    directory.path().join("admin").to_str().expect("UTF-8").to_owned()
}

/// An address where nobody listens.
fn closed_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn wrong_arguments_are_usage_errors_with_what_was_expected() {
    for (arguments, expected) in [
        (&["package", "create", "Editor", "--to", "PAR"][..], "SITE/POINT"),
        (&["package", "create", "Editor", "--source", "here"], "--upload"),
        (&["package", "create", "Editor", "--source", "/a", "--upload", "b"], "cannot be used with"),
        (&["package", "create", "Editor", "--program", "./install.sh"], "install=./install.sh"),
        (&["package", "create", "Editor", "--priority", "urgent"], "high, medium or low"),
        (&["package", "show", "cen1"], "8 characters A-Z 0-9"),
        (&["package", "send", "CEN00001"], "--to"),
        (&["package", "kill", "CEN00001"], "--reason"),
        (&["package", "kill", "CEN00001", "--reason", " "], "1 to 512 bytes"),
        (&["package", "kill", "CEN00001", "--reason", "x", "--release", "0"], "--release"),
        (&["program", "set", "CEN00001", "install"], "COMMAND"),
        (&["program", "set", "CEN00001", "install", "--shell", "--", "echo", "x"], "quote it"),
        (&["dp", "add", "share", "--path", "srv"], "absolute path"),
        (&["collection", "create", "Nobody"], "--all"),
        (&["collection", "create", "Some", "--where", "linux"], "os=linux"),
        (&["collection", "create", "Some", "--all", "--window", "nightly"], "mon-fri 22:00-06:00"),
        (&["collection", "create", "Some", "--window", "22-6"], "--all"),
        (&["collection", "update", "CEN00002", "--window", "22:30-6"], "whole hours"),
        (&["collection", "update", "CEN00002", "--window", "sat", "--no-windows"], "cannot be used with"),
        (&["advertise", "CEN00001", "install", "CEN00002", "--at", "tomorrow"], "+2h"),
        (&["events", "--since", "yesterday"], "1h"),
        (&["site", "token", "paris"], "3 characters A-Z 0-9"),
        (&["site", "token", "PAR", "--valid", "24"], "24h"),
        (&["courier", "create"], "--to"),
        (&["courier", "create", "--subtree", "lyon"], "3 characters A-Z 0-9"),
        (&["courier", "plan", "--to", "LYO", "--volume-size", "4"], "650MB"),
        (&["courier", "write", "3fa2bc91", "usb"], "absolute path"),
        (&["courier", "show", "parcel"], "packhorse courier list"),
        (&["courier", "sent", "3fa2bc91", "--carrier", "DHL", "--expect", "soon"], "3d"),
        (&["courier", "trust", "LYO", "AGE-SECRET-KEY-1QQ"], "secret key"),
        (&["-o", "xml", "site", "list"], "json"),
    ] {
        let error = failure(&packhorse(arguments, &[]), 2);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn without_an_admin_directory_it_says_where_to_get_one() {
    let home = tempfile::tempdir().expect("a directory");
    let home_path = home.path().to_str().expect("UTF-8");

    for environment in [&[][..], &[("HOME", home_path)], &[("PACKHORSE_ADMIN", "/nowhere")]] {
        let error = failure(&packhorse(&["site", "list"], environment), 2);
        assert!(error.contains("no admin directory") && error.contains("PACKHORSE_ADMIN"), "{error}");
    }
    let error = failure(&packhorse(&["site", "list"], &[("HOME", home_path)]), 2);
    assert!(error.contains(&format!("{home_path}/.config/packhorse")), "{error}");
}

#[test]
fn the_admin_directory_is_found_in_the_users_configuration() {
    let directory = admin_directory(&closed_endpoint());
    let configuration = directory.path().join("configuration");
    fs::create_dir(&configuration).expect("made");
    fs::rename(directory.path().join("admin"), configuration.join("packhorse")).expect("moved");

    let environment = [("XDG_CONFIG_HOME", configuration.to_str().expect("UTF-8"))];
    failure(&packhorse(&["site", "list"], &environment), 3);
}

#[test]
fn a_server_that_is_not_there_is_exit_code_3() {
    let endpoint = closed_endpoint();
    let directory = admin_directory(&endpoint);

    for arguments in [&["site", "list"][..], &["-o", "json", "site", "list"], &["status", "site", "--watch"]]
    {
        let error = failure(&packhorse(arguments, &[("PACKHORSE_ADMIN", &admin_path(&directory))]), 3);
        assert!(error.contains(&endpoint) && error.contains("check that the site server runs"), "{error}");
    }
}

#[test]
fn the_endpoint_of_the_command_line_is_the_one_that_counts() {
    let directory = admin_directory("192.0.2.1:7443");
    let endpoint = closed_endpoint();
    let path = admin_path(&directory);

    let error = failure(&packhorse(&["site", "list", "--admin", &path, "--endpoint", &endpoint], &[]), 3);
    assert!(error.contains(&endpoint) && !error.contains("192.0.2.1"), "{error}");

    let error = failure(&packhorse(&["site", "list", "--admin", &path, "--endpoint", "nonsense"], &[]), 2);
    assert!(error.contains("HOST:PORT"), "{error}");
}

#[test]
fn a_server_that_does_not_speak_tls_is_exit_code_3() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    let directory = admin_directory(&endpoint);
    let server = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().expect("a caller");
        stream.write_all(b"220 mail.example ready\r\n").expect("written");
        stream
    });

    let error = failure(&packhorse(&["site", "list", "--admin", &admin_path(&directory)], &[]), 3);

    assert!(error.contains(&endpoint), "{error}");
    drop(server.join().expect("the server ends"));
}

#[test]
fn a_damaged_admin_directory_is_named_with_a_remedy() {
    let directory = admin_directory(&closed_endpoint());
    let path = admin_path(&directory);
    let list = || packhorse(&["site", "list"], &[("PACKHORSE_ADMIN", &path)]);

    fs::set_permissions(Path::new(&path).join("key.pem"), fs::Permissions::from_mode(0o644)).expect("set");
    let error = failure(&list(), 2);
    assert!(error.contains("key") && error.contains("copy the `admin` directory"), "{error}");

    fs::remove_file(Path::new(&path).join("key.pem")).expect("removed");
    assert!(failure(&list(), 2).contains("key.pem"));

    fs::write(Path::new(&path).join("console.toml"), "site = 7").expect("written");
    assert!(failure(&list(), 2).contains("console.toml"));
}

#[test]
fn completions_and_help_need_no_site_server() {
    let script = packhorse(&["completions", "bash"], &[]);
    assert!(script.status.success() && text(&script.stdout).contains("_packhorse()"));

    let help = packhorse(&["package", "create", "--help"], &[]);
    assert!(help.status.success() && text(&help.stdout).contains("Examples:"));
}
