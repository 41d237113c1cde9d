//! Tables of facts and what is found of them.

mod advertised;
mod on_the_way;
mod sites;

use super::{Check, Finding, Report, Verdict, cause};
use crate::{Timestamp, id::SiteCode};

fn at(code: &str) -> SiteCode {
    code.parse().expect("a site")
}

const NOW: Timestamp = Timestamp(1_000_000_000_000);

fn ago(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 - seconds * 1_000_000)
}

/// The verdict of the first finding that does not hold: `fails item-released`; `holds` if all do.
fn first(found: &[Finding]) -> String {
    match found.iter().find(|one| one.verdict != Verdict::Holds) {
        Some(one) => format!("{} {}", one.verdict.as_str(), one.check),
        None => "holds".to_owned(),
    }
}

/// What is printed to mend it: `SITE: command`; nothing if there is none.
fn mends(found: &[Finding]) -> String {
    let bad = found.iter().find(|one| one.verdict != Verdict::Holds);
    bad.and_then(|one| one.remedy.as_ref())
        .map_or_else(String::new, |remedy| format!("{}: {}", remedy.site, remedy.command))
}

fn report(site: &str, findings: Vec<Finding>) -> Report {
    Report { site: at(site), at: NOW, live: true, findings, custody: Vec::new() }
}

#[test]
fn the_cause_is_the_first_that_fails_then_the_first_that_waits_then_what_nobody_knows() {
    let one = |verdict: Verdict, check: Check| match verdict {
        Verdict::Holds => Finding::holds(&at("CEN"), check, "x"),
        Verdict::Waits => Finding::waits(&at("CEN"), check, "x"),
        Verdict::Fails => Finding::fails(&at("CEN"), check, "x"),
        Verdict::Unknown => Finding::unknown(&at("CEN"), check, "x"),
    };
    use Verdict::{Fails, Holds, Unknown, Waits};
    type Case<'a> = (&'a [(Verdict, Check)], Option<Check>);
    let cases: [Case<'_>; 8] = [
        (&[], None),
        (&[(Holds, Check::LinkUp)], None),
        (&[(Unknown, Check::SiteAnswers), (Waits, Check::Arrived)], Some(Check::Arrived)),
        (&[(Waits, Check::Arrived), (Fails, Check::OnPoint)], Some(Check::OnPoint)),
        (&[(Fails, Check::LinkUp), (Fails, Check::OnPoint)], Some(Check::LinkUp)),
        (&[(Holds, Check::LinkUp), (Unknown, Check::SiteAnswers)], Some(Check::SiteAnswers)),
        // Why it is not taken, the site that does not take it knows best.
        (&[(Fails, Check::ItemTaken), (Fails, Check::DiskRoom)], Some(Check::DiskRoom)),
        (&[(Fails, Check::ItemTaken), (Fails, Check::OnPoint)], Some(Check::ItemTaken)),
    ];
    for (findings, expected) in cases {
        // Each in a report of its own: the order of the way goes over reports.
        let reports: Vec<Report> =
            findings.iter().map(|(verdict, check)| report("CEN", vec![one(*verdict, *check)])).collect();
        let found = cause(&reports).map(|finding| finding.check.clone());
        assert_eq!(found, expected.map(|check| check.name().to_owned()), "{findings:?}");
    }
}

#[test]
fn amounts_have_three_digits_and_a_unit() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (49_798, "49.7 kB"),
        (400_999, "400 kB"),
        (3_000_529, "3.0 MB"),
        (48_361_103_360, "48.3 GB"),
        (u64::MAX, "18446744 TB"),
    ] {
        assert_eq!(super::amount(bytes), text);
    }
}
