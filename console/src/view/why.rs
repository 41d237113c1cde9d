//! What stands in the way of something, station by station.

use packhorse_proto::{inquiry::v1 as inquiry, provider::v1 as wire};
use serde::Serialize;

use crate::view::{Screen, View, clean, clock, table, time, word};

#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// The site that was asked.
    asked_at: String,
    subject: String,
    holds: bool,
    cause: Option<Finding>,
    reports: Vec<Report>,
    /// Sites that are not told of because there are too many.
    left_out: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    site: String,
    at: Option<String>,
    live: bool,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    site: String,
    check: String,
    verdict: String,
    text: String,
    since: Option<String>,
    expected_at: Option<String>,
    remedy: Option<Remedy>,
}

#[derive(Debug, Serialize)]
struct Remedy {
    site: String,
    command: Option<String>,
}

impl Explanation {
    pub(crate) fn new(asked_at: &str, answer: wire::ExplainResponse) -> Self {
        Explanation {
            asked_at: asked_at.to_owned(),
            subject: answer.subject,
            holds: answer.cause.is_none(),
            cause: answer.cause.map(Finding::from),
            reports: answer.reports.into_iter().map(Report::from).collect(),
            left_out: answer.left_out,
        }
    }

    /// The cause, and what mends it.
    fn headline(&self) -> Vec<String> {
        let Some(cause) = &self.cause else {
            return vec![format!("{}: everything is as it should be", clean(&self.subject))];
        };
        let mut lines = vec![format!("{}: {}", clean(&self.subject), clean(&cause.text))];
        lines.extend(Some(cause.times()).filter(|times| !times.is_empty()));
        lines.extend(cause.command().map(|command| format!("To mend it, {}", clean(&command))));
        lines
    }

    /// Everything is as it should be.
    pub(crate) fn holds(&self) -> bool {
        self.holds
    }
}

impl From<inquiry::Report> for Report {
    fn from(report: inquiry::Report) -> Self {
        Report {
            site: report.site,
            at: time(report.at_us),
            live: report.live,
            findings: report.findings.into_iter().map(Finding::from).collect(),
        }
    }
}

impl From<inquiry::Finding> for Finding {
    fn from(finding: inquiry::Finding) -> Self {
        let verdict = inquiry::Verdict::try_from(finding.verdict).map(|verdict| verdict.as_str_name());
        let (site, command) = (finding.remedy_site, finding.remedy);
        Finding {
            verdict: word(verdict, "VERDICT_"),
            site: finding.site,
            check: finding.check,
            text: finding.text,
            since: time(finding.since_us),
            expected_at: time(finding.eta_us),
            remedy: (!site.is_empty())
                .then(|| Remedy { site, command: (!command.is_empty()).then_some(command) }),
        }
    }
}

impl Finding {
    fn times(&self) -> String {
        let since = self.since.as_deref().map(|at| format!("since {}", clock(Some(at))));
        let expected = self.expected_at.as_deref().map(|at| format!("expected {}", clock(Some(at))));
        since.into_iter().chain(expected).collect::<Vec<_>>().join(", ")
    }

    fn row(&self) -> [String; 4] {
        let text = match self.command().filter(|_| self.verdict != "holds") {
            Some(command) => format!("{} [{command}]", self.text),
            None => self.text.clone(),
        };
        [mark(&self.verdict), self.check.clone(), text, self.times()]
    }

    fn command(&self) -> Option<String> {
        let remedy = self.remedy.as_ref()?;
        Some(format!("at site {}: {}", remedy.site, remedy.command.as_deref()?))
    }
}

impl Report {
    fn title(&self) -> String {
        let when = match (self.live, self.at.as_deref()) {
            (true, _) => String::new(),
            (false, Some(at)) => format!(", as it was told before {}", clock(Some(at))),
            (false, None) => ", as far as it ever told".to_owned(),
        };
        format!("{}{when}", self.site)
    }

    /// What one site said, also in several reports.
    fn continues(&self, next: &Report) -> bool {
        self.site == next.site && self.live == next.live
    }
}

impl View for Explanation {
    fn text(&self, screen: Screen) -> String {
        let mut lines = self.headline();
        for of_site in self.reports.chunk_by(Report::continues) {
            lines.extend(of_site.first().map(|report| format!("\n{}", report.title())));
            let rows: Vec<_> = of_site.iter().flat_map(|report| &report.findings).map(Finding::row).collect();
            let text = table(screen, ["", "CHECK", "FOUND", "WHEN"], &rows, "");
            // The header says nothing that is not plain from the rows.
            let body = text.lines().skip(if screen.terminal { 2 } else { 1 });
            lines.extend(body.map(|line| format!("  {}", line.trim_end())));
        }
        if self.left_out > 0 {
            lines.push(format!("\nand {} more site(s); ask with --site", self.left_out));
        }
        lines.join("\n")
    }
}

fn mark(verdict: &str) -> String {
    match verdict {
        "holds" => "ok",
        "waits" => "wait",
        "fails" => "FAIL",
        _ => "?",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &str, verdict: inquiry::Verdict, text: &str) -> inquiry::Finding {
        inquiry::Finding {
            site: "CEN".into(),
            check: check.into(),
            verdict: verdict.into(),
            text: text.into(),
            ..inquiry::Finding::default()
        }
    }

    #[test]
    fn the_cause_comes_first_with_what_mends_it_and_then_all_that_was_found() {
        let held = inquiry::Finding {
            remedy_site: "CEN".into(),
            remedy: "packhorse queue release 3fa2bc91 --peer PAR".into(),
            since_us: 1_000_000,
            ..finding("item-released", inquiry::Verdict::Fails, "it is held")
        };
        let answer = wire::ExplainResponse {
            subject: "package CEN00001 (Editor)".into(),
            cause: Some(held.clone()),
            reports: vec![
                inquiry::Report {
                    site: "CEN".into(),
                    live: true,
                    findings: vec![finding("targeted", inquiry::Verdict::Holds, "it is sent"), held],
                    ..inquiry::Report::default()
                },
                inquiry::Report {
                    site: "PAR".into(),
                    at_us: 1_000_000,
                    findings: vec![finding("content-in-library", inquiry::Verdict::Waits, "not yet")],
                    ..inquiry::Report::default()
                },
            ],
            left_out: 3,
        };
        let shown = Explanation::new("CEN", answer);
        let text = shown.text(Screen { terminal: false });

        assert!(!shown.holds());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "package CEN00001 (Editor): it is held");
        assert_eq!(lines[2], "To mend it, at site CEN: packhorse queue release 3fa2bc91 --peer PAR");
        for part in ["ok    targeted", "FAIL", "PAR, as it was told before 1970", "wait", "3 more site(s)"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let json = serde_json::to_value(&shown).expect("json");
        assert_eq!(json["cause"]["check"], "item-released");
        assert_eq!(json["cause"]["remedy"]["command"], "packhorse queue release 3fa2bc91 --peer PAR");
        assert!(json["reports"][1]["findings"][0]["remedy"].is_null());
    }

    #[test]
    fn where_nothing_is_wrong_that_is_said() {
        let shown = Explanation::new(
            "CEN",
            wire::ExplainResponse { subject: "site PAR".into(), ..Default::default() },
        );

        assert!(shown.holds());
        assert_eq!(shown.text(Screen { terminal: false }), "site PAR: everything is as it should be");
    }
}
