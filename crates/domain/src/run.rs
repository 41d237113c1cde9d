//! What a client does next with its offers, and what becomes of a run whose supervisor it finds again.
//!
//! An advertisement is run once for each of its occurrences. The ledger is written before a program starts, so that
//! a run without a result is known as one; whether it may be repeated is the author's word alone.

use std::time::Duration;

use crate::{
    Priority, Timestamp,
    address::LocalClock,
    advertisement::Advertisement,
    id::ProgramName,
    kill::Killed,
    package::{PackageVersion, Program},
    window::{Closed, Windows},
};

/// What a client knows that bears on one of its advertisements.
#[derive(Debug, Clone, Copy)]
pub struct OfferView<'a> {
    pub advertisement: &'a Advertisement,
    /// The package as its author signed it, or why it is not believed.
    pub package: Result<&'a PackageVersion, &'a str>,
    /// This release of it must not run.
    pub killed: Option<&'a Killed>,
    /// The package's content is here, whole; true without content.
    pub content_held: bool,
    /// The user asked for it.
    pub chosen: bool,
    /// What the ledger says of this occurrence.
    pub past: Past,
    /// A download that failed is not tried again before.
    pub retry_at: Option<Timestamp>,
}

/// What the ledger says of one occurrence of an advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// It never ran, or it may run again.
    Due,
    /// It was started, and nothing is known of its end yet.
    Open,
    /// It has its result, or will never have one.
    Ended,
}

/// The machine and the moment.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    pub os: &'a str,
    pub arch: &'a str,
    pub now: Timestamp,
    /// The instruction may be acted on until then.
    pub fresh_until: Timestamp,
    /// In which required programs begin.
    pub windows: &'a Windows,
    /// The machine's.
    pub clock: LocalClock<'a>,
}

/// What to do with one advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It has run, or is running.
    Nothing,
    Reject(Rejection),
    Expire,
    Wait(Wait),
    Download,
    Run,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// For its start.
    Until(Timestamp),
    /// For the user.
    Choice,
    /// For an instruction that is not too old.
    FreshInstruction,
    /// For the next try of the download.
    Retry(Timestamp),
    /// For a maintenance window in which it may take as long as `room`; its content is here.
    Window { closed: Closed, room: Duration },
}

/// Why a client does not take an advertisement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("{0}")]
    NotBelieved(String),
    #[error("{0}")]
    Killed(Killed),
    #[error("the package has no program {0}")]
    NoProgram(ProgramName),
    #[error("program {program} does not run on {os} {arch}")]
    Requirements { program: ProgramName, os: String, arch: String },
}

/// The next step for one advertisement.
///
/// A run that has started is never taken back by this: expiry and rejection are for those that have not. One whose release
/// is killed is stopped ([`stopped`]).
pub fn next(view: &OfferView<'_>, at: &Circumstances<'_>) -> Step {
    let advertisement = view.advertisement;

    if view.past != Past::Due {
        return Step::Nothing;
    }
    if advertisement.is_expired(at.now) {
        return Step::Expire;
    }
    let program = match accept(view, at) {
        Ok(program) => program,
        Err(rejection) => return Step::Reject(rejection),
    };
    if at.now >= at.fresh_until {
        return Step::Wait(Wait::FreshInstruction);
    }
    match advertisement.start_at {
        Some(start) if !advertisement.has_started(at.now) => return Step::Wait(Wait::Until(start)),
        _ => {}
    }
    if !advertisement.required && !view.chosen {
        return Step::Wait(Wait::Choice);
    }
    match view.retry_at {
        _ if view.content_held => begin(view, program, at),
        Some(again) if at.now < again => Step::Wait(Wait::Retry(again)),
        _ => Step::Download,
    }
}

/// Runs what is ready, in a window. What the user starts is not bound by them, and content is fetched ahead of them.
fn begin(view: &OfferView<'_>, program: &Program, at: &Circumstances<'_>) -> Step {
    let advertisement = view.advertisement;
    if !advertisement.required || view.chosen || advertisement.ignore_windows {
        return Step::Run;
    }
    let room = program.time_limit;
    match at.windows.admit(at.now, room, at.clock) {
        Ok(()) => Step::Run,
        Err(closed) => Step::Wait(Wait::Window { closed, room }),
    }
}

fn accept<'a>(view: &OfferView<'a>, at: &Circumstances<'_>) -> Result<&'a Program, Rejection> {
    let version = view.package.map_err(|reason| Rejection::NotBelieved(reason.to_owned()))?;
    if let Some(killed) = view.killed {
        return Err(Rejection::Killed(killed.clone()));
    }
    let name = &view.advertisement.program;
    let program = version.program(name).ok_or_else(|| Rejection::NoProgram(name.clone()))?;

    if program.runs_on(at.os, at.arch) {
        Ok(program)
    } else {
        Err(Rejection::Requirements { program: name.clone(), os: at.os.to_owned(), arch: at.arch.to_owned() })
    }
}

/// Which of the advertisements, each with its step, is acted on first: the most urgent; among equals a program that is
/// ready before a download; then in the order of their ids.
pub fn first<'a>(
    steps: impl IntoIterator<Item = (&'a Advertisement, &'a Step)>,
) -> Option<&'a Advertisement> {
    steps
        .into_iter()
        .filter_map(|(advertisement, step)| Some((rank(advertisement.priority, step)?, advertisement)))
        .min_by_key(|(rank, advertisement)| (*rank, advertisement.id.as_str()))
        .map(|(_, advertisement)| advertisement)
}

fn rank(priority: Priority, step: &Step) -> Option<(Priority, u8)> {
    match step {
        Step::Run => Some((priority, 0)),
        Step::Download => Some((priority, 1)),
        Step::Nothing | Step::Reject(_) | Step::Expire | Step::Wait(_) => None,
    }
}

/// When one of the advertisements changes by time alone; `None`: never.
pub fn wake_at<'a>(
    steps: impl IntoIterator<Item = (&'a Advertisement, &'a Step)>,
    now: Timestamp,
) -> Option<Timestamp> {
    steps
        .into_iter()
        .flat_map(|(advertisement, step)| match step {
            Step::Wait(
                Wait::Until(at) | Wait::Retry(at) | Wait::Window { closed: Closed::Until(at), .. },
            ) => [Some(*at), advertisement.expires_at],
            Step::Wait(
                Wait::Choice | Wait::FreshInstruction | Wait::Window { closed: Closed::NoRoom, .. },
            ) => [None, advertisement.expires_at],
            Step::Nothing | Step::Reject(_) | Step::Expire | Step::Download | Step::Run => [None, None],
        })
        .flatten()
        .filter(|at| *at > now)
        .min()
}

/// What is found of the supervisor of a run that the ledger has as open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor {
    Alive,
    /// It left a result.
    Finished,
    /// It started the program, and is gone without a result.
    Gone,
    /// It never came to start the program, and never will.
    NeverStarted,
}

/// What becomes of an open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Its result is still to come.
    Watch,
    /// Take over its result.
    Finish,
    /// It may run again.
    Repeat,
    /// Nobody knows how far it came: it is not run again.
    Interrupted,
}

/// A program that takes the machine down with it, or that cannot be supervised, is not started for ever.
pub const ATTEMPTS_MAX: u32 = 5;

/// Decides on an open run; `attempts` counts its starts, this one included.
pub fn settle(supervisor: Supervisor, idempotent: bool, attempts: u32) -> Settlement {
    match supervisor {
        Supervisor::Alive => Settlement::Watch,
        Supervisor::Finished => Settlement::Finish,
        Supervisor::NeverStarted if attempts < ATTEMPTS_MAX => Settlement::Repeat,
        Supervisor::Gone if idempotent && attempts < ATTEMPTS_MAX => Settlement::Repeat,
        Supervisor::NeverStarted | Supervisor::Gone => Settlement::Interrupted,
    }
}

/// What becomes of a run that was stopped since its release was killed: it failed, and only where its author allows
/// that may it run again, once the kill is lifted.
pub fn stopped(idempotent: bool, attempts: u32) -> Past {
    if idempotent && attempts < ATTEMPTS_MAX { Past::Due } else { Past::Ended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::{LocalHour, LocalMoment},
        package::{Program, TIME_LIMIT_DEFAULT},
    };

    const NOW: Timestamp = Timestamp(1_000);
    const HOUR_US: i64 = 3_600_000_000;
    const NO_WINDOWS: &Windows = &Windows::NONE;

    /// A zone in which time began on a Monday.
    fn local(at: Timestamp) -> LocalMoment {
        let hours = at.0.div_euclid(HOUR_US);
        let number = |hours: i64| u8::try_from(hours).expect("small");
        LocalMoment {
            hour: LocalHour::new(number(hours.div_euclid(24).rem_euclid(7)), number(hours.rem_euclid(24)))
                .expect("an hour"),
            next_hour_at: Timestamp((hours + 1) * HOUR_US),
            next_day_at: Timestamp(i64::MAX),
            next_month_at: Timestamp(i64::MAX),
        }
    }

    fn advertisement(id: &str) -> Advertisement {
        Advertisement {
            id: id.parse().expect("an id"),
            name: "editor for everyone".into(),
            package: "CEN00001".parse().expect("an id"),
            program: "install".parse().expect("a name"),
            collection: "CEN00002".parse().expect("an id"),
            required: true,
            start_at: None,
            expires_at: None,
            rerun_on_update: false,
            priority: Priority::Medium,
            ignore_windows: false,
        }
    }

    fn version() -> PackageVersion {
        PackageVersion {
            package: "CEN00001".parse().expect("an id"),
            source_version: 1,
            release: 1,
            manifest: None,
            length_bytes: 0,
            file_count: 0,
            programs: vec![Program {
                name: "install".parse().expect("a name"),
                command: vec!["./install.sh".into()],
                shell: false,
                time_limit: TIME_LIMIT_DEFAULT,
                success_codes: vec![],
                operating_systems: vec![],
                architectures: vec![],
                idempotent: false,
            }],
        }
    }

    fn view<'a>(advertisement: &'a Advertisement, version: &'a PackageVersion) -> OfferView<'a> {
        OfferView {
            advertisement,
            package: Ok(version),
            killed: None,
            content_held: true,
            chosen: false,
            past: Past::Due,
            retry_at: None,
        }
    }

    fn at_now() -> Circumstances<'static> {
        Circumstances {
            os: "linux",
            arch: "x86_64",
            now: NOW,
            fresh_until: Timestamp(2_000),
            windows: NO_WINDOWS,
            clock: LocalClock(&local),
        }
    }

    #[test]
    fn a_required_advertisement_downloads_and_then_runs() {
        let (advertisement, version) = (advertisement("CEN20001"), version());
        let ready = view(&advertisement, &version);

        assert_eq!(next(&OfferView { content_held: false, ..ready }, &at_now()), Step::Download);
        assert_eq!(next(&ready, &at_now()), Step::Run);
    }

    #[test]
    fn what_has_run_or_runs_is_left_alone_even_when_it_expires_or_is_refused() {
        let mut expired = advertisement("CEN20001");
        expired.expires_at = Some(NOW);
        let version = version();

        for past in [Past::Open, Past::Ended] {
            let view = OfferView { past, package: Err("a bad signature"), ..view(&expired, &version) };
            assert_eq!(next(&view, &at_now()), Step::Nothing, "{past:?}");
        }
        assert_eq!(next(&view(&expired, &version), &at_now()), Step::Expire);
    }

    #[test]
    fn it_waits_for_its_start_to_the_microsecond() {
        let mut later = advertisement("CEN20001");
        later.start_at = Some(Timestamp(1_001));
        let version = version();

        assert_eq!(next(&view(&later, &version), &at_now()), Step::Wait(Wait::Until(Timestamp(1_001))));
        let then = Circumstances { now: Timestamp(1_001), ..at_now() };
        assert_eq!(next(&view(&later, &version), &then), Step::Run);
    }

    #[test]
    fn an_available_advertisement_waits_for_the_user() {
        let mut available = advertisement("CEN20001");
        available.required = false;
        let version = version();
        let offered = view(&available, &version);

        assert_eq!(next(&offered, &at_now()), Step::Wait(Wait::Choice));
        assert_eq!(next(&OfferView { chosen: true, ..offered }, &at_now()), Step::Run);
    }

    #[test]
    fn nothing_new_starts_on_a_stale_instruction() {
        let (advertisement, version) = (advertisement("CEN20001"), version());
        let stale = Circumstances { fresh_until: NOW, ..at_now() };

        for content_held in [false, true] {
            let view = OfferView { content_held, ..view(&advertisement, &version) };
            assert_eq!(next(&view, &stale), Step::Wait(Wait::FreshInstruction));
        }
    }

    #[test]
    fn a_client_rejects_what_it_does_not_believe_or_cannot_run() {
        let (advertisement, mut version) = (advertisement("CEN20001"), version());
        let doubted = OfferView { package: Err("a bad signature"), ..view(&advertisement, &version) };
        assert_eq!(next(&doubted, &at_now()), Step::Reject(Rejection::NotBelieved("a bad signature".into())));

        version.programs[0].operating_systems = vec!["windows".into()];
        assert!(matches!(
            next(&view(&advertisement, &version), &at_now()),
            Step::Reject(Rejection::Requirements { .. })
        ));

        version.programs.clear();
        assert!(matches!(
            next(&view(&advertisement, &version), &at_now()),
            Step::Reject(Rejection::NoProgram(_))
        ));
    }

    #[test]
    fn a_killed_release_is_neither_fetched_nor_run() {
        let (advertisement, version) = (advertisement("CEN20001"), version());
        let killed = Killed { site: "CEN".parse().expect("a code"), reason: "it wipes disks".into() };
        let rejection = Rejection::Killed(killed.clone());
        assert_eq!(rejection.to_string(), "killed by CEN: it wipes disks");

        for (content_held, chosen) in [(false, false), (true, false), (true, true)] {
            let view =
                OfferView { killed: Some(&killed), content_held, chosen, ..view(&advertisement, &version) };
            assert_eq!(next(&view, &at_now()), Step::Reject(rejection.clone()));
            let ran = OfferView { past: Past::Ended, ..view };
            assert_eq!(next(&ran, &at_now()), Step::Nothing, "it is not taken back");
        }
        for (idempotent, attempts, past) in
            [(true, 1, Past::Due), (true, ATTEMPTS_MAX, Past::Ended), (false, 1, Past::Ended)]
        {
            assert_eq!(stopped(idempotent, attempts), past, "{idempotent} {attempts}");
        }
    }

    #[test]
    fn a_failed_download_is_tried_again_at_its_time() {
        let (advertisement, version) = (advertisement("CEN20001"), version());
        let retry = |at| OfferView {
            content_held: false,
            retry_at: Some(Timestamp(at)),
            ..view(&advertisement, &version)
        };

        assert_eq!(next(&retry(1_500), &at_now()), Step::Wait(Wait::Retry(Timestamp(1_500))));
        assert_eq!(next(&retry(1_000), &at_now()), Step::Download);
    }

    #[test]
    fn a_required_program_begins_in_a_window_and_what_the_user_starts_at_any_time() {
        let (required, mut version) = (advertisement("CEN20001"), version());
        let available = Advertisement { required: false, ..required.clone() };
        let urgent = Advertisement { ignore_windows: true, ..required.clone() };
        let windows: Windows = "mon-fri 22:00-06:00".parse().expect("a window");
        let hour = |hours: i64| Timestamp(hours * HOUR_US);
        let at = |hours: i64| Circumstances {
            now: hour(hours),
            fresh_until: hour(1_000),
            windows: &windows,
            ..at_now()
        };
        let until = |hours: i64, room| {
            Step::Wait(Wait::Window { closed: Closed::Until(hour(hours)), room: Duration::from_secs(room) })
        };
        // The default, two hours.
        for (advertisement, content_held, chosen, now, expected) in [
            (&required, true, false, 12, until(22, 7200)),
            (&required, false, false, 12, Step::Download),
            (&required, true, false, 22, Step::Run),
            (&required, true, false, 24 + 4, Step::Run),
            (&required, true, false, 24 + 5, until(24 + 22, 7200)),
            (&required, true, true, 12, Step::Run),
            (&urgent, true, false, 12, Step::Run),
            (&available, true, true, 12, Step::Run),
            (&available, true, false, 12, Step::Wait(Wait::Choice)),
        ] {
            let view = OfferView { content_held, chosen, ..view(advertisement, &version) };
            assert_eq!(next(&view, &at(now)), expected, "{content_held} {chosen} {now}");
        }
        version.programs[0].time_limit = Duration::from_secs(9 * 3600);
        let no_room =
            Step::Wait(Wait::Window { closed: Closed::NoRoom, room: version.programs[0].time_limit });
        assert_eq!(next(&view(&required, &version), &at(12)), no_room);
        assert_eq!(
            next(
                &view(&required, &version),
                &Circumstances { now: hour(12), fresh_until: hour(13), ..at_now() }
            ),
            Step::Run
        );
    }

    #[test]
    fn the_most_urgent_goes_first_and_a_ready_program_before_a_download() {
        let mut urgent = advertisement("CEN20009");
        urgent.priority = Priority::High;
        let [a, b, c] = ["CEN20001", "CEN20002", "CEN20003"].map(advertisement);

        let steps = [(&a, &Step::Download), (&c, &Step::Run), (&b, &Step::Run), (&urgent, &Step::Download)];
        assert_eq!(first(steps).map(|first| first.id.as_str()), Some("CEN20009"));
        assert_eq!(first(steps[..3].iter().copied()).map(|first| first.id.as_str()), Some("CEN20002"));
        assert_eq!(first([(&a, &Step::Nothing), (&b, &Step::Expire)]), None);
    }

    #[test]
    fn it_wakes_for_the_earliest_start_retry_or_expiry() {
        let mut expiring = advertisement("CEN20001");
        expiring.expires_at = Some(Timestamp(1_200));
        let other = advertisement("CEN20002");

        let choice = Step::Wait(Wait::Choice);
        let until = Step::Wait(Wait::Until(Timestamp(1_300)));
        assert_eq!(wake_at([(&expiring, &choice), (&other, &until)], NOW), Some(Timestamp(1_200)));
        assert_eq!(wake_at([(&other, &until)], NOW), Some(Timestamp(1_300)));
        assert_eq!(wake_at([(&other, &choice)], NOW), None);
        let window = |closed| Step::Wait(Wait::Window { closed, room: TIME_LIMIT_DEFAULT });
        let opens = window(Closed::Until(Timestamp(1_250)));
        assert_eq!(wake_at([(&other, &opens), (&other, &until)], NOW), Some(Timestamp(1_250)));
        assert_eq!(wake_at([(&expiring, &opens)], NOW), Some(Timestamp(1_200)));
        assert_eq!(wake_at([(&expiring, &window(Closed::NoRoom))], NOW), Some(Timestamp(1_200)));
    }

    #[test]
    fn a_run_without_a_result_is_repeated_only_where_the_author_allows_it() {
        let cases = [
            (Supervisor::Alive, false, 1, Settlement::Watch),
            (Supervisor::Finished, false, 1, Settlement::Finish),
            (Supervisor::Gone, false, 1, Settlement::Interrupted),
            (Supervisor::Gone, true, 1, Settlement::Repeat),
            (Supervisor::Gone, true, ATTEMPTS_MAX, Settlement::Interrupted),
            (Supervisor::NeverStarted, false, 1, Settlement::Repeat),
            (Supervisor::NeverStarted, false, ATTEMPTS_MAX, Settlement::Interrupted),
        ];
        for (supervisor, idempotent, attempts, expected) in cases {
            assert_eq!(
                settle(supervisor, idempotent, attempts),
                expected,
                "{supervisor:?} {idempotent} {attempts}"
            );
        }
    }
}
