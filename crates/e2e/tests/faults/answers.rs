//! What `packhorse why` answers, and how long that may take.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use packhorse_domain::diagnosis::Check;
use serde_json::Value;

use crate::{row::Row, steps::words, world::World};

/// Every answer takes no longer, whether it names the cause already or not.
const WITHIN: Duration = Duration::from_secs(2);
/// Unless it says itself that a site could not be asked.
const WITHOUT_A_SITE: Duration = Duration::from_secs(10);

pub(crate) struct Answered {
    pub(crate) code: i32,
    pub(crate) answer: Value,
    pub(crate) took: Duration,
}

/// The slowest answers: where every site was asked, and where one could not be.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Slowest {
    whole: Duration,
    without_a_site: Duration,
}

impl World {
    /// Asks as a person does, with the console.
    pub(crate) fn ask(&self, ask: &str) -> Result<Answered> {
        let (site, typed) = ask.split_once("$ ").context("SITE$ why ... is expected")?;
        let mut arguments = vec!["-o".to_owned(), "json".to_owned()];
        arguments.extend(words(&self.fill(typed)?)?);
        let began = Instant::now();
        let said = self.hierarchy.console(site).run(&arguments)?;
        let took = began.elapsed();
        let parsed = serde_json::from_str(&said.stdout);
        let answer = parsed.with_context(|| format!("{}{}", said.stdout, said.stderr))?;
        Ok(Answered { code: said.code, answer, took })
    }
}

impl Slowest {
    /// An error if it took too long. A row in which every site is there cannot excuse itself with one that is not.
    pub(crate) fn judge(&mut self, answer: &Value, took: Duration, row: &Row) -> Result<()> {
        let is_without = lacks_a_site(answer);
        let kept = if is_without { &mut self.without_a_site } else { &mut self.whole };
        *kept = took.max(*kept);
        let limit = if is_without && row.unreachable { WITHOUT_A_SITE } else { WITHIN };
        ensure!(took <= limit, "an answer took {took:?}: {:#}", answer["cause"]);
        Ok(())
    }

    pub(crate) fn join(&mut self, other: &Slowest) {
        self.whole = self.whole.max(other.whole);
        self.without_a_site = self.without_a_site.max(other.without_a_site);
    }
}

impl fmt::Display for Slowest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.whole.as_secs_f32())?;
        match self.without_a_site.as_secs_f32() {
            0.0 => Ok(()),
            without => write!(f, " ({without:.2} s without a site)"),
        }
    }
}

/// Whether it says of a site that it gave no answer.
fn lacks_a_site(answer: &Value) -> bool {
    let reports = answer["reports"].as_array().into_iter().flatten();
    let mut findings = reports.filter_map(|report| report["findings"].as_array()).flatten();
    findings.any(|found| found["check"] == Check::SiteAnswers.name() && found["verdict"] != "holds")
}
