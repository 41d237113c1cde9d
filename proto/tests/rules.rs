//! The rules of the protocol's text, for machines where no linter is installed: names, one request and one response for
//! each call, enums that begin with "unspecified", and a comment on everything that is not plain from its call.

use std::collections::BTreeSet;

use packhorse_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto,
};

// Field numbers of the descriptors, of which the path to an element's comment is made.
const FILE_MESSAGES: i32 = 4;
const FILE_ENUMS: i32 = 5;
const FILE_SERVICES: i32 = 6;
const FILE_PACKAGE: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUMS: i32 = 4;
const SERVICE_METHODS: i32 = 2;

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(DESCRIPTORS).expect("the descriptors decode");
    set.file.into_iter().filter(|file| file.package().starts_with("packhorse.")).collect()
}

/// Fails with every fault at once.
fn check(rule: impl Fn(&FileDescriptorProto) -> Vec<String>) {
    let files = files();
    assert!(files.len() > 10, "the files are there");
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| rule(file).into_iter().map(|fault| format!("{}: {fault}", file.name())))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The messages of a file with their paths, those within others too.
fn messages(file: &FileDescriptorProto) -> Vec<(Vec<i32>, &DescriptorProto)> {
    let mut found: Vec<_> = numbered(&[FILE_MESSAGES], &file.message_type).collect();
    let mut at = 0;
    while at < found.len() {
        let (path, message) = found[at].clone();
        found.extend(numbered(&[&path[..], &[MESSAGE_NESTED]].concat(), &message.nested_type));
        at += 1;
    }
    found.retain(|(_, message)| !message.options.as_ref().is_some_and(|options| options.map_entry()));
    found
}

fn enums(file: &FileDescriptorProto) -> Vec<(Vec<i32>, &EnumDescriptorProto)> {
    let own = numbered(&[FILE_ENUMS], &file.enum_type);
    let within = messages(file).into_iter().flat_map(|(path, message)| {
        numbered(&[&path[..], &[MESSAGE_ENUMS]].concat(), &message.enum_type).collect::<Vec<_>>()
    });
    own.chain(within).collect()
}

fn numbered<'a, T>(path: &[i32], items: &'a [T]) -> impl Iterator<Item = (Vec<i32>, &'a T)> {
    let path = path.to_vec();
    items.iter().enumerate().map(move |(at, item)| ([&path[..], &[at as i32]].concat(), item))
}

fn has_comment(file: &FileDescriptorProto, path: &[i32]) -> bool {
    let info = file.source_code_info.as_ref().expect("comments are kept");
    let location = info.location.iter().find(|location| location.path == path);
    location.is_some_and(|location| !location.leading_comments().trim().is_empty())
}

fn screaming(name: &str) -> String {
    let parts = name.chars().enumerate().map(|(at, c)| match c {
        c if c.is_ascii_uppercase() && at > 0 => format!("_{c}"),
        c => c.to_ascii_uppercase().to_string(),
    });
    parts.collect()
}

/// What a call takes and gives says itself what it is.
fn belongs_to_a_call(file: &FileDescriptorProto, message: &str) -> bool {
    let calls = file.service.iter().flat_map(|service| &service.method);
    let name = |call: &str| [format!("{call}Request"), format!("{call}Response")];
    calls.flat_map(|method| name(method.name())).any(|own| own == message)
}

#[test]
fn a_package_is_named_after_its_folder_and_its_version() {
    check(|file| {
        let folder = file.name().rsplit_once('/').map_or("", |(folder, _)| folder);
        let role = folder.split('/').nth(1).unwrap_or_default();
        let expected = format!("packhorse.{role}.v1");
        match file.package() == expected && folder == expected.replace('.', "/") {
            true => vec![],
            false => vec![format!("package {}, but {expected} is expected", file.package())],
        }
    });
}

#[test]
fn the_packages_comment_stands_where_there_is_one_file_of_it() {
    let all = files();
    check(|file| {
        let of_package = all.iter().filter(|other| other.package() == file.package()).count();
        match of_package == 1 && !has_comment(file, &[FILE_PACKAGE]) {
            true => vec!["the package has no comment".to_owned()],
            false => vec![],
        }
    });
}

#[test]
fn every_service_and_every_call_has_its_name_and_its_comment() {
    check(|file| {
        let mut faults = Vec::new();
        for (path, service) in numbered(&[FILE_SERVICES], &file.service) {
            if !service.name().ends_with("Service") {
                faults.push(format!("{} does not end with Service", service.name()));
            }
            if !has_comment(file, &path) {
                faults.push(format!("{} has no comment", service.name()));
            }
            for (path, method) in numbered(&[&path[..], &[SERVICE_METHODS]].concat(), &service.method) {
                if !has_comment(file, &path) {
                    faults.push(format!("{}.{} has no comment", service.name(), method.name()));
                }
            }
        }
        faults
    });
}

#[test]
fn every_service_says_who_calls_and_what_each_status_asks_of_the_caller() {
    check(|file| {
        let info = file.source_code_info.as_ref().expect("comments are kept");
        let comment = |path: &[i32]| {
            let location = info.location.iter().find(|location| location.path == path);
            location.map(|location| location.leading_comments().to_owned()).unwrap_or_default()
        };
        let silent = numbered(&[FILE_SERVICES], &file.service).filter(|(path, _)| {
            let text = comment(path);
            !text.contains("call") || !text.contains("UNAVAILABLE")
        });
        silent.map(|(_, service)| format!("{} does not say it", service.name())).collect()
    });
}

#[test]
fn every_call_has_a_request_and_a_response_of_its_own() {
    let fault = |file: &FileDescriptorProto, service: &ServiceDescriptorProto| {
        let of = |call: &str, end: &str| format!(".{}.{call}{end}", file.package());
        let strange = service.method.iter().filter(move |method| {
            method.input_type() != of(method.name(), "Request")
                || method.output_type() != of(method.name(), "Response")
        });
        strange.map(|method| format!("{} takes or gives another message", method.name())).collect::<Vec<_>>()
    };
    check(|file| file.service.iter().flat_map(|service| fault(file, service)).collect());
}

#[test]
fn every_message_has_a_comment_unless_its_call_speaks_for_it() {
    check(|file| {
        let bare = messages(file)
            .into_iter()
            .filter(|(path, message)| !belongs_to_a_call(file, message.name()) && !has_comment(file, path));
        bare.map(|(_, message)| format!("{} has no comment", message.name())).collect()
    });
}

#[test]
fn every_enum_has_a_comment_and_begins_with_unspecified() {
    check(|file| {
        let mut faults = Vec::new();
        for (path, one) in enums(file) {
            let prefix = format!("{}_", screaming(one.name()));
            if !has_comment(file, &path) {
                faults.push(format!("{} has no comment", one.name()));
            }
            let first = one.value.first().map(|value| (value.name().to_owned(), value.number()));
            if first != Some((format!("{prefix}UNSPECIFIED"), 0)) {
                faults.push(format!("{} does not begin with {prefix}UNSPECIFIED = 0", one.name()));
            }
            let strange = one.value.iter().filter(|value| !value.name().starts_with(&prefix));
            faults.extend(strange.map(|value| format!("{} does not begin with {prefix}", value.name())));
        }
        faults
    });
}

#[test]
fn fields_are_in_snake_case_and_their_units_are_in_their_names() {
    check(|file| {
        let mut faults = Vec::new();
        for (_, message) in messages(file) {
            for field in &message.field {
                let name = field.name();
                if name.chars().any(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_') {
                    faults.push(format!("{}.{name} is not in snake case", message.name()));
                }
                // Times and durations: one unit each, all over the protocol.
                if ["_ms", "_ns", "_sec", "_seconds", "_time", "_timestamp"]
                    .iter()
                    .any(|end| name.ends_with(end))
                {
                    faults.push(format!(
                        "{}.{name}: times end with _us, durations with _s or _us",
                        message.name()
                    ));
                }
            }
        }
        faults
    });
}

#[test]
fn every_file_of_the_folder_is_part_of_the_description() {
    let known: BTreeSet<String> = files().iter().map(|file| file.name().to_owned()).collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packhorse");
    let mut folders = vec![root];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
            assert!(known.contains(&name), "{name} is not compiled");
            seen += 1;
        }
    }
    assert_eq!(seen, known.len());
}
