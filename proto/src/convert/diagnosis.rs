//! Questions between sites, and what comes back.

use packhorse_domain::{
    Timestamp,
    diagnosis::{
        Custody, CustodyStage, FINDINGS_MAX, Finding, Question, REPORTS_MAX, Remedy, Report, SITES_MAX,
        Subject, TEXT_BYTES_MAX, Verdict,
    },
    status::cut,
};

use super::{ConvertError, invalid, limited, parse, time_or_none};
use crate::inquiry::v1 as wire;

const CHECK_BYTES_MAX: usize = 64;
const PARCEL_BYTES: usize = 16;

impl From<&Question> for wire::Question {
    fn from(question: &Question) -> Self {
        let subject = match &question.subject {
            Subject::Package(id) => wire::question::Subject::Package(id.to_string()),
            Subject::Advertisement(id) => wire::question::Subject::Advertisement(id.to_string()),
            Subject::Site => wire::question::Subject::Site(wire::question::Site {}),
            Subject::Parcel(id) => wire::question::Subject::Parcel(id.to_vec().into()),
        };
        wire::Question {
            subject: Some(subject),
            sites: question.sites.iter().map(ToString::to_string).collect(),
            client: question.client.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::Question> for Question {
    type Error = ConvertError;

    fn try_from(question: wire::Question) -> Result<Self, ConvertError> {
        limited("sites", &question.sites, SITES_MAX)?;
        let subject = match question.subject.ok_or(ConvertError::Missing("subject"))? {
            wire::question::Subject::Package(id) => Subject::Package(parse("package", &id)?),
            wire::question::Subject::Advertisement(id) => {
                Subject::Advertisement(parse("advertisement", &id)?)
            }
            wire::question::Subject::Site(_) => Subject::Site,
            wire::question::Subject::Parcel(id) => {
                limited("parcel", &id, PARCEL_BYTES)?;
                Subject::Parcel(id.as_ref().try_into().map_err(|error| invalid("parcel", error))?)
            }
        };
        Ok(Question {
            subject,
            sites: question.sites.iter().map(|site| parse("sites", site)).collect::<Result<_, _>>()?,
            client: match question.client.is_empty() {
                true => None,
                false => Some(parse("client", &question.client)?),
            },
        })
    }
}

impl From<&Finding> for wire::Finding {
    fn from(finding: &Finding) -> Self {
        let verdict = match finding.verdict {
            Verdict::Holds => wire::Verdict::Holds,
            Verdict::Waits => wire::Verdict::Waits,
            Verdict::Fails => wire::Verdict::Fails,
            Verdict::Unknown => wire::Verdict::Unknown,
        };
        let remedy = finding.remedy.as_ref();
        wire::Finding {
            site: finding.site.to_string(),
            check: cut(&finding.check, CHECK_BYTES_MAX).to_owned(),
            verdict: verdict.into(),
            text: cut(&finding.text, TEXT_BYTES_MAX).to_owned(),
            since_us: finding.since.map_or(0, |at| at.0),
            eta_us: finding.eta.map_or(0, |at| at.0),
            remedy_site: remedy.map(|remedy| remedy.site.to_string()).unwrap_or_default(),
            remedy: remedy.map(|remedy| cut(&remedy.command, TEXT_BYTES_MAX).to_owned()).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::Finding> for Finding {
    type Error = ConvertError;

    fn try_from(finding: wire::Finding) -> Result<Self, ConvertError> {
        limited("check", finding.check.as_bytes(), CHECK_BYTES_MAX)?;
        limited("text", finding.text.as_bytes(), TEXT_BYTES_MAX)?;
        limited("remedy", finding.remedy.as_bytes(), TEXT_BYTES_MAX)?;
        let verdict = match wire::Verdict::try_from(finding.verdict) {
            Ok(wire::Verdict::Holds) => Verdict::Holds,
            Ok(wire::Verdict::Waits) => Verdict::Waits,
            Ok(wire::Verdict::Fails) => Verdict::Fails,
            Ok(wire::Verdict::Unknown | wire::Verdict::Unspecified) | Err(_) => Verdict::Unknown,
        };
        let remedy = match finding.remedy_site.is_empty() {
            true => None,
            false => {
                Some(Remedy { site: parse("remedy_site", &finding.remedy_site)?, command: finding.remedy })
            }
        };
        Ok(Finding {
            site: parse("site", &finding.site)?,
            check: finding.check,
            verdict,
            text: finding.text,
            since: time_or_none(finding.since_us),
            eta: time_or_none(finding.eta_us),
            remedy,
        })
    }
}

impl From<&Custody> for wire::Custody {
    fn from(custody: &Custody) -> Self {
        let stage = match custody.stage {
            CustodyStage::Preparing => wire::CustodyStage::Preparing,
            CustodyStage::Waiting => wire::CustodyStage::Waiting,
            CustodyStage::Moving => wire::CustodyStage::Moving,
            CustodyStage::Stopped => wire::CustodyStage::Stopped,
            CustodyStage::There => wire::CustodyStage::There,
        };
        wire::Custody {
            from: custody.from.to_string(),
            to: custody.to.to_string(),
            stage: stage.into(),
            bytes_done: custody.bytes_done,
            bytes_total: custody.bytes_total,
            bytes_per_second: custody.bytes_per_second,
            parcel: cut(&custody.parcel, CHECK_BYTES_MAX).to_owned(),
            eta_us: custody.eta.map_or(0, |at| at.0),
            reason: cut(&custody.reason, TEXT_BYTES_MAX).to_owned(),
        }
    }
}

impl TryFrom<wire::Custody> for Custody {
    type Error = ConvertError;

    fn try_from(custody: wire::Custody) -> Result<Self, ConvertError> {
        limited("parcel", custody.parcel.as_bytes(), CHECK_BYTES_MAX)?;
        limited("reason", custody.reason.as_bytes(), TEXT_BYTES_MAX)?;
        let stage = match wire::CustodyStage::try_from(custody.stage) {
            Ok(wire::CustodyStage::Preparing) => CustodyStage::Preparing,
            Ok(wire::CustodyStage::Moving) => CustodyStage::Moving,
            Ok(wire::CustodyStage::Stopped) => CustodyStage::Stopped,
            Ok(wire::CustodyStage::There) => CustodyStage::There,
            Ok(wire::CustodyStage::Waiting | wire::CustodyStage::Unspecified) | Err(_) => {
                CustodyStage::Waiting
            }
        };
        Ok(Custody {
            from: parse("from", &custody.from)?,
            to: parse("to", &custody.to)?,
            stage,
            bytes_done: custody.bytes_done,
            bytes_total: custody.bytes_total,
            bytes_per_second: custody.bytes_per_second,
            parcel: custody.parcel,
            eta: time_or_none(custody.eta_us),
            reason: custody.reason,
        })
    }
}

impl From<&Report> for wire::Report {
    fn from(report: &Report) -> Self {
        wire::Report {
            site: report.site.to_string(),
            at_us: report.at.0,
            live: report.live,
            findings: report.findings.iter().take(FINDINGS_MAX).map(Into::into).collect(),
            custody: report.custody.iter().take(SITES_MAX).map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::Report> for Report {
    type Error = ConvertError;

    fn try_from(report: wire::Report) -> Result<Self, ConvertError> {
        limited("findings", &report.findings, FINDINGS_MAX)?;
        limited("custody", &report.custody, SITES_MAX)?;
        Ok(Report {
            site: parse("site", &report.site)?,
            at: Timestamp(report.at_us),
            live: report.live,
            findings: report.findings.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            custody: report.custody.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Vec<Report>> for wire::Answer {
    fn from(reports: &Vec<Report>) -> Self {
        wire::Answer { reports: reports.iter().take(REPORTS_MAX).map(Into::into).collect() }
    }
}

impl TryFrom<wire::Answer> for Vec<Report> {
    type Error = ConvertError;

    fn try_from(answer: wire::Answer) -> Result<Self, ConvertError> {
        limited("reports", &answer.reports, REPORTS_MAX)?;
        answer.reports.into_iter().map(TryInto::try_into).collect()
    }
}
