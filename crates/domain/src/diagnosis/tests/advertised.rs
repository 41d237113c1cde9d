//! An advertisement at a site, its instruction, and what a client makes of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{NOW, ago, at, first, mends};
use crate::{
    Priority,
    advertisement::{Acceptance, Advertisement, Delivery},
    client::ClientFact,
    diagnosis::{
        Advertised, AskedClient, ClientFacts, Heard, InstructionFacts, OfferFacts, Verdict, client, clients,
        offer,
    },
    id::ClientId,
    offer::{OfferView, PackageView},
    package::Program,
    status::AdvertisementStatus,
    window::Closed,
};

const CLIENT: &str = "0b5c1f5e-6f0e-4c8e-9d57-0c1d2e3f4a5b";

fn client_id() -> ClientId {
    CLIENT.parse().expect("a client")
}

fn advertisement() -> Advertisement {
    Advertisement {
        id: "CEN20001".parse().expect("an id"),
        name: "Editor".to_owned(),
        package: "CEN00001".parse().expect("an id"),
        program: "run".parse().expect("a name"),
        collection: "CEN00002".parse().expect("an id"),
        required: true,
        start_at: None,
        expires_at: None,
        rerun_on_update: true,
        priority: Priority::Medium,
        ignore_windows: false,
    }
}

const AGAIN: &str = "CEN: packhorse advertise CEN00001 run CEN00002";

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn each_gate_of_an_offer_is_named() {
    let good = advertisement();
    let expired = Advertisement { expires_at: Some(ago(1)), ..good.clone() };
    let later = Advertisement { start_at: Some(ago(-60)), ..good.clone() };
    let ready = PackageView {
        killed: None,
        has_source: true,
        has_program: true,
        points_targeted: 1,
        points_installed: 1,
    };
    let asked =
        |is_known, is_meant| Some(AskedClient { client: client_id(), is_known, is_member: false, is_meant });
    let join = format!("CEN: packhorse collection update CEN00002 --client {CLIENT}");
    let program = "CEN: packhorse program set CEN00001 run -- COMMAND";
    let enrol = "LYO: packhorse client token --out client.token";
    let cases = [
        ("it is offered", &good, true, 1, 1, Some(ready.clone()), None, "holds", ""),
        ("expired", &expired, true, 1, 1, Some(ready.clone()), None, "fails not-expired", AGAIN),
        ("no collection", &good, false, 0, 0, Some(ready.clone()), None, "waits collection-known", ""),
        (
            "no members",
            &good,
            true,
            0,
            0,
            Some(ready.clone()),
            None,
            "fails collection-has-members",
            "CEN: packhorse collection update CEN00002 --all",
        ),
        (
            "not looked at yet",
            &good,
            true,
            0,
            2,
            Some(ready.clone()),
            None,
            "waits collection-has-members",
            "",
        ),
        (
            "no members, nor he",
            &good,
            true,
            0,
            0,
            Some(ready.clone()),
            asked(true, false),
            "fails collection-has-members",
            &join,
        ),
        (
            "others are",
            &good,
            true,
            1,
            0,
            Some(ready.clone()),
            asked(true, false),
            "fails client-is-member",
            &join,
        ),
        (
            "he will be",
            &good,
            true,
            1,
            1,
            Some(ready.clone()),
            asked(true, true),
            "waits client-is-member",
            "",
        ),
        (
            "others will be",
            &good,
            true,
            0,
            2,
            Some(ready.clone()),
            asked(true, false),
            "fails client-is-member",
            &join,
        ),
        (
            "all will be",
            &good,
            true,
            0,
            2,
            Some(ready.clone()),
            asked(true, true),
            "waits collection-has-members",
            "",
        ),
        ("nobody", &good, true, 0, 0, Some(ready.clone()), asked(false, false), "fails client-known", enrol),
        ("no package", &good, true, 1, 1, None, None, "waits package-known", ""),
        (
            "no program",
            &good,
            true,
            1,
            1,
            Some(PackageView { has_program: false, ..ready.clone() }),
            None,
            "fails program-known",
            program,
        ),
        (
            "on no point",
            &good,
            true,
            1,
            1,
            Some(PackageView { points_installed: 0, ..ready.clone() }),
            None,
            "waits content-available",
            "",
        ),
        ("later", &later, true, 1, 1, Some(ready.clone()), None, "waits has-started", AGAIN),
    ];
    for (what, advertisement, collection_known, members, meant, package, asked, expected, command) in cases {
        let facts = OfferFacts {
            at: at("LYO"),
            view: OfferView { advertisement, collection_known, members, package, now: NOW },
            owner: at("CEN"),
            package_owner: at("CEN"),
            client: asked,
            meant,
            offered: true,
            since: ago(100),
        };
        let found = offer(&facts);
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, command), "{what}");
    }
}

#[test]
fn an_instruction_is_there_names_it_and_is_fresh() {
    for (names_it, not_after, expected) in [
        (None, None, "waits instruction-written"),
        (Some(false), Some(ago(-9)), "waits instruction-written"),
        (Some(true), Some(ago(-9)), "holds"),
        (Some(true), Some(ago(9)), "fails instruction-written"),
    ] {
        let facts = InstructionFacts { at: at("LYO"), client: client_id(), names_it, not_after, now: NOW };
        assert_eq!(first(&facts.findings()), expected, "{names_it:?} {not_after:?}");
    }
}

fn program() -> Program {
    Program {
        name: "run".parse().expect("a name"),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), "echo it's done".to_owned()],
        shell: false,
        time_limit: Duration::from_secs(300),
        success_codes: vec![0, 3],
        operating_systems: vec!["plan9".to_owned()],
        architectures: Vec::new(),
        idempotent: true,
    }
}

fn facts(required: bool, status: Option<(Acceptance, Delivery, u64)>) -> ClientFacts {
    let machine = ClientFact {
        id: client_id(),
        site: at("LYO"),
        hostname: "till".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        labels: BTreeMap::new(),
        software: String::new(),
    };
    let advertised = Advertised {
        advertisement: Advertisement { required, ..advertisement() },
        owner: at("CEN"),
        package_owner: at("CEN"),
        program: Some(program()),
    };
    ClientFacts {
        at: at("LYO"),
        client: client_id(),
        advertised: Arc::new(advertised),
        machine: Some(machine),
        known: true,
        heard: Heard {
            reported_at: Some(ago(2)),
            polled_at: Some(ago(1)),
            interval: Some(Duration::from_secs(5)),
            is_current: Some(true),
            clock_ahead_us: 0,
            asked: true,
        },
        source_version: 2,
        status: status.map(|(acceptance, delivery, source_version)| AdvertisementStatus {
            advertisement: advertisement().id,
            client: client_id(),
            site: at("LYO"),
            hostname: "till".to_owned(),
            acceptance,
            delivery,
            exit_code: Some(7),
            output_tail: "starting\nno room\n\n".to_owned(),
            reason: "exit code 7".to_owned(),
            source_version,
            changed_at: ago(3),
            generation: 1,
            closed: None,
        }),
        windows: Vec::new(),
        instructed_at: None,
        now: NOW,
    }
}

#[test]
fn a_client_goes_from_its_enrolment_to_the_exit_code() {
    use Acceptance::{Accepted, Expired, Rejected};
    use Delivery::{Downloading, Failed, Interrupted, Retrying, Running, Succeeded, Waiting};
    let restart = format!("LYO: systemctl restart packhorse-client-agent  # on the machine of {CLIENT}");
    let widen = "CEN: packhorse program set CEN00001 run --time-limit 300s --success-code=0 --success-code=3 \
                 --os plan9 --os linux --idempotent -- /bin/sh -c 'echo it'\\''s done'";
    let choose = format!(
        "LYO: client-agent run-available --dir /var/lib/packhorse-client CEN20001  # on the machine of {CLIENT}"
    );
    let cases = [
        (true, None, "waits client-instructed", ""),
        (true, Some((Rejected, Waiting, 2)), "fails client-accepts", widen),
        (true, Some((Expired, Waiting, 2)), "fails not-expired", AGAIN),
        (true, Some((Accepted, Succeeded, 1)), "waits client-instructed", ""),
        (true, Some((Accepted, Waiting, 2)), "waits program-ran", ""),
        (false, Some((Accepted, Waiting, 2)), "waits program-ran", &choose),
        (true, Some((Accepted, Downloading, 2)), "waits client-has-content", ""),
        (true, Some((Accepted, Retrying, 2)), "fails client-has-content", &restart),
        (true, Some((Accepted, Running, 2)), "waits program-ran", ""),
        (true, Some((Accepted, Succeeded, 2)), "holds", ""),
        (true, Some((Accepted, Failed, 2)), "fails program-ran", AGAIN),
        (true, Some((Accepted, Interrupted, 2)), "fails program-ran", AGAIN),
    ];
    for (required, status, expected, command) in cases {
        let found = client(&facts(required, status));
        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, command), "{status:?}");
    }
    let failed = client(&facts(true, Some((Accepted, Failed, 2))));
    assert!(failed.iter().any(|one| one.text.contains("no room")), "its last words: {failed:?}");
    let stranger = ClientFacts { known: false, ..facts(true, None) };
    assert_eq!(first(&client(&stranger)), "fails client-known");
}

#[test]
fn a_client_out_of_its_windows_waits_for_one_that_comes_in_time_and_has_room() {
    let at_once = format!("{AGAIN} --ignore-windows");
    let night = || vec![("CEN00003".parse().expect("an id"), "mon-fri 22-6".parse().expect("a window"))];
    let tonight = Closed::Until(ago(-3600));
    let (before, after) = (Some(ago(2)), Some(ago(0)));
    // It polled a second ago.
    for (closed, windows, instructed_at, expires_in, expected, mends_it, says) in [
        (
            tonight,
            night(),
            before,
            None,
            "waits window-open",
            at_once.as_str(),
            "CEN00003: mon-fri 22:00-06:00",
        ),
        (tonight, night(), None, None, "waits window-open", &at_once, "by its own clock"),
        (
            tonight,
            night(),
            before,
            Some(3601),
            "waits window-open",
            &at_once,
            "once more in its window unless CEN20001 is deleted",
        ),
        (tonight, night(), before, Some(3600), "fails window-open", &at_once, "expires before"),
        (Closed::NoRoom, night(), before, None, "fails window-open", &at_once, "may run, 5 min"),
        // It has not heard yet that they are others.
        (tonight, night(), after, None, "waits client-instructed", "", "at its next poll"),
        (Closed::NoRoom, Vec::new(), None, None, "waits client-instructed", "", "at its next poll"),
    ] {
        let mut facts = facts(true, Some((Acceptance::Accepted, Delivery::Waiting, 2)));
        let offer =
            Advertisement { expires_at: expires_in.map(|seconds: i64| ago(-seconds)), ..advertisement() };
        facts.advertised =
            Arc::new(Advertised { advertisement: offer, ..Advertised::clone(&facts.advertised) });
        facts.status.as_mut().expect("a status").closed = Some(closed);
        facts.instructed_at = instructed_at;
        facts.windows = windows;

        let found = client(&facts);

        assert_eq!((first(&found).as_str(), mends(&found).as_str()), (expected, mends_it), "{closed:?}");
        let bad = found.iter().find(|one| one.verdict != Verdict::Holds).expect("it waits or fails");
        assert!(bad.text.contains(says), "{}", bad.text);
        let opens = (expected == "waits window-open").then(|| ago(-3600));
        assert_eq!(bad.eta, opens, "{closed:?}");
    }
}

#[test]
fn a_client_that_does_not_poll_is_missed_after_three_of_its_intervals_and_not_before() {
    let heard = |polled_ago: i64, interval: u64| Heard {
        polled_at: Some(ago(polled_ago)),
        interval: Some(Duration::from_secs(interval)),
        asked: true,
        ..Heard::default()
    };
    let never = Heard { asked: true, reported_at: Some(ago(5)), ..Heard::default() };
    let not_asked = Heard { reported_at: Some(ago(3600)), ..Heard::default() };
    for (heard, expected) in [
        (heard(9, 1), "waits client-instructed"),
        (heard(11, 1), "fails client-polls"),
        (heard(179, 60), "waits client-instructed"),
        (heard(181, 60), "fails client-polls"),
        (never, "fails client-polls"),
        (not_asked, "waits client-instructed"),
    ] {
        let shown = format!("{heard:?}");
        let found = client(&ClientFacts { heard, ..facts(true, None) });
        assert_eq!(first(&found), expected, "{shown}");
    }
    // One that is through need not poll any more.
    let gone = heard(10_000, 1);
    let done = facts(true, Some((Acceptance::Accepted, Delivery::Succeeded, 2)));
    assert_eq!(first(&client(&ClientFacts { heard: gone, ..done })), "holds");
}

#[test]
fn the_clock_of_a_client_may_be_five_minutes_off_and_goes_before_what_follows_from_it() {
    const MINUTES: i64 = 60 * 1_000_000;
    use Acceptance::{Accepted, Expired, Rejected};
    use Delivery::{Failed, Succeeded, Waiting};
    let set = format!("LYO: systemctl restart systemd-timesyncd  # on the machine of {CLIENT}");
    for (ahead, status, expected) in [
        (5 * MINUTES, None, "waits client-instructed"),
        (5 * MINUTES + 1, None, "fails client-clock"),
        (-5 * MINUTES, None, "waits client-instructed"),
        (-5 * MINUTES - 1, None, "fails client-clock"),
        (i64::MIN, None, "fails client-clock"),
        (6 * MINUTES, Some((Accepted, Waiting, 2)), "fails client-clock"),
        (6 * MINUTES, Some((Expired, Waiting, 2)), "fails client-clock"),
        (6 * MINUTES, Some((Rejected, Waiting, 2)), "fails client-accepts"),
        (6 * MINUTES, Some((Accepted, Failed, 2)), "fails program-ran"),
        (6 * MINUTES, Some((Accepted, Succeeded, 2)), "holds"),
        // It has still to come to the present version.
        (6 * MINUTES, Some((Accepted, Succeeded, 1)), "fails client-clock"),
    ] {
        let mut facts = facts(true, status);
        facts.heard.clock_ahead_us = ahead;
        let found = client(&facts);
        assert_eq!(first(&found), expected, "{ahead} {status:?}");
        if expected == "fails client-clock" {
            assert_eq!(mends(&found), set);
            let how = if ahead < 0 { "s behind that of site LYO" } else { "s ahead of that of site LYO" };
            assert!(found.iter().any(|one| one.text.contains(how)), "{found:?}");
        }
    }
}

#[test]
fn many_clients_are_counted_and_what_fails_comes_first() {
    let done = facts(true, Some((Acceptance::Accepted, Delivery::Succeeded, 2)));
    let failed = facts(true, Some((Acceptance::Accepted, Delivery::Failed, 2)));
    let waits = facts(true, Some((Acceptance::Accepted, Delivery::Running, 2)));
    let all: Vec<ClientFacts> = [vec![done; 3], vec![waits; 12], vec![failed]].concat();

    let found = clients(&at("LYO"), &all);

    assert!(found[0].text.contains("3 of 16"), "{}", found[0].text);
    assert_eq!(first(&found), "fails program-ran");
    assert_eq!(found.len(), 1 + 10 + 1, "ten are shown, and the others counted");
    assert!(found.last().is_some_and(|last| last.text.contains("3 more client")), "{found:?}");
}
