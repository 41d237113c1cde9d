//! Commands that are printed to be copied.

use crate::{advertisement::Advertisement, client::ClientFact, package::Program};

/// What `packhorse program set` takes a time limit to be without a word.
const TIME_LIMIT_S: u64 = 2 * 3600;

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+%@".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// The same program, and it may run on this machine as well.
pub(super) fn widen(offer: &Advertisement, program: &Program, machine: &ClientFact) -> String {
    let mut words = vec![format!("packhorse program set {} {}", offer.package, program.name)];
    if program.shell {
        words.push("--shell".to_owned());
    }
    if program.time_limit.as_secs() != TIME_LIMIT_S {
        words.push(format!("--time-limit {}s", program.time_limit.as_secs()));
    }
    if program.success_codes != [0] {
        words.extend(program.success_codes.iter().map(|code| format!("--success-code={code}")));
    }
    let option = |words: &mut Vec<String>, name: &str, allowed: &[String], own: &str| {
        if !allowed.is_empty() {
            let lacks = !allowed.iter().any(|one| one == own);
            let all = allowed.iter().map(String::as_str).chain(lacks.then_some(own));
            words.extend(all.map(|value| format!("--{name} {}", quoted(value))));
        }
    };
    option(&mut words, "os", &program.operating_systems, &machine.os);
    option(&mut words, "arch", &program.architectures, &machine.arch);
    if program.idempotent {
        words.push("--idempotent".to_owned());
    }
    words.push("--".to_owned());
    words.extend(program.command.iter().map(|word| quoted(word)));
    words.join(" ")
}

/// The same advertisement again, from now on and without an end.
pub(super) fn advertise_again(offer: &Advertisement) -> String {
    let Advertisement { package, program, collection, .. } = offer;
    let choice = if offer.required { "" } else { " --available" };
    format!("packhorse advertise {package} {program} {collection}{choice}")
}

/// The same again, and no maintenance window is waited for.
pub(super) fn advertise_at_once(offer: &Advertisement) -> String {
    format!("{} --ignore-windows", advertise_again(offer))
}
