//! Questions between sites and their answers: they come back, and what breaks a limit is refused by its field.

use packhorse_domain::{
    Timestamp,
    diagnosis::{
        Custody, CustodyStage, FINDINGS_MAX, Finding, Question, REPORTS_MAX, Remedy, Report, SITES_MAX,
        Subject, TEXT_BYTES_MAX, Verdict,
    },
    id::{ClientId, SiteCode},
};
use packhorse_proto::{
    convert::{ConvertError, decode, encode},
    inquiry::v1 as wire,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::there_and_back;

fn site() -> impl Strategy<Value = SiteCode> {
    "[A-Z0-9]{3}".prop_map(|text| text.parse().expect("a site"))
}

fn client() -> impl Strategy<Value = ClientId> {
    "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}".prop_map(|text| text.parse().expect("a client"))
}

/// 0 on the wire means that nobody knows.
fn time() -> impl Strategy<Value = Option<Timestamp>> {
    option::of((1..i64::MAX).prop_map(Timestamp))
}

fn text() -> &'static str {
    "[a-zé€ ;:'\"]{0,60}"
}

fn question() -> impl Strategy<Value = Question> {
    let id = || "[A-Z0-9]{8}";
    let subject = prop_oneof![
        id().prop_map(|id| Subject::Package(id.parse().expect("an id"))),
        id().prop_map(|id| Subject::Advertisement(id.parse().expect("an id"))),
        Just(Subject::Site),
        any::<[u8; 16]>().prop_map(Subject::Parcel),
    ];
    (subject, vec(site(), 0..4), option::of(client())).prop_map(|(subject, sites, client)| Question {
        subject,
        sites,
        client,
    })
}

fn finding() -> impl Strategy<Value = Finding> {
    let verdict = select(vec![Verdict::Holds, Verdict::Waits, Verdict::Fails, Verdict::Unknown]);
    let remedy = option::of((site(), text()).prop_map(|(site, command)| Remedy { site, command }));
    (site(), "[a-z-]{1,64}", verdict, text(), time(), time(), remedy).prop_map(
        |(site, check, verdict, text, since, eta, remedy)| Finding {
            site,
            check,
            verdict,
            text,
            since,
            eta,
            remedy,
        },
    )
}

fn custody() -> impl Strategy<Value = Custody> {
    use CustodyStage::{Moving, Preparing, Stopped, There, Waiting};
    let stage = select(vec![Preparing, Waiting, Moving, Stopped, There]);
    let bytes = (any::<u64>(), any::<u64>(), any::<u64>());
    (site(), site(), stage, bytes, "[0-9a-f]{0,8}", time(), text()).prop_map(
        |(from, to, stage, (bytes_done, bytes_total, bytes_per_second), parcel, eta, reason)| Custody {
            from,
            to,
            stage,
            bytes_done,
            bytes_total,
            bytes_per_second,
            parcel,
            eta,
            reason,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    (site(), any::<i64>(), any::<bool>(), vec(finding(), 0..4), vec(custody(), 0..3)).prop_map(
        |(site, at, live, findings, custody)| Report { site, at: Timestamp(at), live, findings, custody },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_question_comes_back(value in question()) {
        prop_assert_eq!(there_and_back::<wire::Question, Question>(&value), value);
    }

    #[test]
    fn an_answer_comes_back(value in vec(report(), 0..4)) {
        let sent = encode::<wire::Answer, Vec<Report>>(&value);
        prop_assert_eq!(decode::<wire::Answer, Vec<Report>>(&sent).expect("fit to be sent"), value);
    }

    #[test]
    fn no_bytes_bring_a_receiver_down(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode::<wire::Question, Question>(&bytes);
        let _ = decode::<wire::Answer, Vec<Report>>(&bytes);
    }
}

fn field<T>(result: Result<T, ConvertError>) -> Option<&'static str> {
    match result.err()? {
        ConvertError::Decode(error) => panic!("nothing is decoded here: {error}"),
        ConvertError::Missing(field)
        | ConvertError::Invalid { field, .. }
        | ConvertError::TooLarge { field, .. }
        | ConvertError::Unknown { field, .. } => Some(field),
    }
}

/// What it is called, the change, and the field that it is refused for.
type Change<M> = (&'static str, fn(&mut M), Option<&'static str>);

#[test]
fn a_question_beyond_a_limit_is_refused_by_its_field() {
    let good = wire::Question {
        subject: Some(wire::question::Subject::Package("CEN00001".to_owned())),
        sites: vec!["PAR".to_owned()],
        client: String::new(),
    };
    let changes: [Change<wire::Question>; 8] = [
        ("as it is", |_| {}, None),
        ("no subject", |q| q.subject = None, Some("subject")),
        ("sites at the limit", |q| q.sites = vec!["PAR".to_owned(); SITES_MAX], None),
        ("too many sites", |q| q.sites = vec!["PAR".to_owned(); SITES_MAX + 1], Some("sites")),
        ("no site", |q| q.sites = vec!["Paris".to_owned()], Some("sites")),
        ("no client", |q| q.client = "till".to_owned(), Some("client")),
        (
            "a short parcel",
            |q| q.subject = Some(wire::question::Subject::Parcel(vec![0; 15].into())),
            Some("parcel"),
        ),
        (
            "a long parcel",
            |q| q.subject = Some(wire::question::Subject::Parcel(vec![0; 17].into())),
            Some("parcel"),
        ),
    ];
    for (what, change, expected) in changes {
        let mut question = good.clone();
        change(&mut question);
        assert_eq!(field(Question::try_from(question)), expected, "{what}");
    }
}

fn wire_finding() -> wire::Finding {
    wire::Finding { site: "PAR".to_owned(), check: "link-up".to_owned(), ..wire::Finding::default() }
}

#[test]
fn a_finding_beyond_a_limit_is_refused_by_its_field() {
    let changes: [Change<wire::Finding>; 8] = [
        ("as it is", |_| {}, None),
        ("no site", |f| f.site.clear(), Some("site")),
        ("a check at the limit", |f| f.check = "x".repeat(64), None),
        ("a long check", |f| f.check = "x".repeat(65), Some("check")),
        ("a text at the limit", |f| f.text = "x".repeat(TEXT_BYTES_MAX), None),
        ("a long text", |f| f.text = "x".repeat(TEXT_BYTES_MAX + 1), Some("text")),
        ("a long remedy", |f| f.remedy = "x".repeat(TEXT_BYTES_MAX + 1), Some("remedy")),
        ("a remedy nowhere", |f| f.remedy_site = "Paris".to_owned(), Some("remedy_site")),
    ];
    for (what, change, expected) in changes {
        let mut finding = wire_finding();
        change(&mut finding);
        assert_eq!(field(Finding::try_from(finding)), expected, "{what}");
    }
}

#[test]
fn an_answer_beyond_a_limit_is_refused_by_its_field() {
    let report = || wire::Report { site: "PAR".to_owned(), ..wire::Report::default() };
    let answer = |count: usize| wire::Answer { reports: vec![report(); count] };
    let with = |count: usize| wire::Report { findings: vec![wire_finding(); count], ..report() };
    let hop = wire::Custody { from: "CEN".to_owned(), to: "PAR".to_owned(), ..wire::Custody::default() };
    let hops = |count: usize| wire::Report { custody: vec![hop.clone(); count], ..report() };

    assert_eq!(field(<Vec<Report>>::try_from(answer(REPORTS_MAX))), None);
    assert_eq!(field(<Vec<Report>>::try_from(answer(REPORTS_MAX + 1))), Some("reports"));
    assert_eq!(field(Report::try_from(with(FINDINGS_MAX))), None);
    assert_eq!(field(Report::try_from(with(FINDINGS_MAX + 1))), Some("findings"));
    assert_eq!(field(Report::try_from(hops(SITES_MAX))), None);
    assert_eq!(field(Report::try_from(hops(SITES_MAX + 1))), Some("custody"));
    let far = wire::Custody { reason: "x".repeat(TEXT_BYTES_MAX + 1), ..hop.clone() };
    assert_eq!(field(Custody::try_from(far)), Some("reason"));
    let nowhere = wire::Custody { to: String::new(), ..hop.clone() };
    assert_eq!(field(Custody::try_from(nowhere)), Some("to"));
}

#[test]
fn what_a_later_version_says_is_taken_as_what_it_means_at_least() {
    let finding = wire::Finding { verdict: 99, check: "brand-new".to_owned(), ..wire_finding() };
    let finding = Finding::try_from(finding).expect("taken");
    assert_eq!((finding.verdict, finding.check.as_str()), (Verdict::Unknown, "brand-new"));
    let hop = wire::Custody { from: "CEN".into(), to: "PAR".into(), stage: 99, ..wire::Custody::default() };
    assert_eq!(Custody::try_from(hop).expect("taken").stage, CustodyStage::Waiting);
}

#[test]
fn what_is_sent_keeps_to_the_limits_whatever_was_found() {
    let site: SiteCode = "PAR".parse().expect("a site");
    let finding = Finding {
        site: site.clone(),
        check: "link-up".to_owned(),
        verdict: Verdict::Fails,
        text: "é".repeat(TEXT_BYTES_MAX),
        since: None,
        eta: None,
        remedy: Some(Remedy { site: site.clone(), command: "x".repeat(2 * TEXT_BYTES_MAX) }),
    };
    let report = Report {
        site,
        at: Timestamp(1),
        live: true,
        findings: vec![finding; FINDINGS_MAX + 5],
        custody: Vec::new(),
    };
    let sent = encode::<wire::Answer, Vec<Report>>(&vec![report]);

    let taken = decode::<wire::Answer, Vec<Report>>(&sent).expect("it is taken");

    assert_eq!(taken[0].findings.len(), FINDINGS_MAX);
    assert!(taken[0].findings[0].text.len() <= TEXT_BYTES_MAX);
}
