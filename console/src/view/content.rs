//! The site's content library.

use packhorse_proto::provider::v1 as wire;
use serde::Serialize;

use crate::view::{Screen, View, amount, clock, fields, or_dash, section, table, time, yes};

/// So many digits tell versions apart.
const DIGITS: usize = 8;

#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    directory: String,
    disk_bytes: u64,
    stored_bytes: u64,
    plain_bytes: u64,
    chunks: u64,
    shared_bytes: u64,
    unreferenced_bytes: u64,
    unreferenced_chunks: u64,
    free_bytes: u64,
    disk_total_bytes: u64,
    reserve: String,
    reserve_bytes: u64,
    /// Free beside the reserve.
    available_bytes: u64,
    outgoing_bundles_bytes: u64,
    incoming_bundles_bytes: u64,
    versions: Vec<Version>,
}

#[derive(Debug, Serialize)]
struct Version {
    packages: Vec<String>,
    source_version: Option<u64>,
    manifest: String,
    current: bool,
    files: u64,
    content_bytes: u64,
    plain_bytes: u64,
    stored_bytes: u64,
    own_bytes: u64,
    missing_chunks: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Verifications {
    now: Option<Verification>,
    last: Option<Verification>,
    next_at: Option<String>,
    repairs: Vec<Repair>,
}

#[derive(Debug, Serialize)]
struct Verification {
    asked_by: String,
    began_at: Option<String>,
    ended_at: Option<String>,
    rate_bytes_per_s: Option<u64>,
    bytes_done: u64,
    bytes_total: u64,
    chunks: u64,
    rotten_chunks: u64,
    rotten_bytes: u64,
    rotten_manifests: u64,
    mended_chunks: u64,
    lost_versions: u64,
    stopped: bool,
}

#[derive(Debug, Serialize)]
struct Repair {
    at: Option<String>,
    packages: Vec<String>,
    manifest: String,
    lacked_chunks: u64,
    left_chunks: u64,
    whole: bool,
    from: Vec<Giver>,
}

#[derive(Debug, Serialize)]
struct Giver {
    name: String,
    chunks: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Prestaging {
    prestage: Option<Prestage>,
}

#[derive(Debug, Serialize)]
struct Prestage {
    path: String,
    asked_by: String,
    began_at: Option<String>,
    ended_at: Option<String>,
    bytes_done: u64,
    bytes_total: u64,
    chunks_new: u64,
    bytes_new: u64,
    whole_versions: u64,
    partial_versions: u64,
    packages: Vec<String>,
    faults: Vec<String>,
    faults_more: u64,
    error: String,
}

/// A key, a text and a bar, for the lines of a watch.
pub(crate) type Drawn = (String, String, Option<(u64, u64)>);

impl From<wire::GetUsageResponse> for Usage {
    fn from(answer: wire::GetUsageResponse) -> Self {
        Usage {
            directory: answer.directory,
            disk_bytes: answer.disk_bytes,
            stored_bytes: answer.stored_bytes,
            plain_bytes: answer.plain_bytes,
            chunks: answer.chunks,
            shared_bytes: answer.shared_bytes,
            unreferenced_bytes: answer.unreferenced_bytes,
            unreferenced_chunks: answer.unreferenced_chunks,
            free_bytes: answer.free_bytes,
            disk_total_bytes: answer.disk_total_bytes,
            reserve: answer.reserve,
            reserve_bytes: answer.reserve_bytes,
            available_bytes: answer.free_bytes.saturating_sub(answer.reserve_bytes),
            outgoing_bundles_bytes: answer.outgoing_bytes,
            incoming_bundles_bytes: answer.incoming_bytes,
            versions: answer.versions.into_iter().map(Version::from).collect(),
        }
    }
}

impl From<wire::VersionUsage> for Version {
    fn from(version: wire::VersionUsage) -> Self {
        Version {
            packages: version.packages,
            source_version: (version.source_version > 0).then_some(version.source_version),
            manifest: hex(&version.manifest),
            current: version.current,
            files: version.files,
            content_bytes: version.content_bytes,
            plain_bytes: version.plain_bytes,
            stored_bytes: version.stored_bytes,
            own_bytes: version.own_bytes,
            missing_chunks: version.missing_chunks,
        }
    }
}

impl From<wire::GetVerificationResponse> for Verifications {
    fn from(answer: wire::GetVerificationResponse) -> Self {
        Verifications {
            now: answer.now.map(Verification::from),
            last: answer.last.map(Verification::from),
            next_at: time(answer.next_at_us),
            repairs: answer.repairs.into_iter().map(Repair::from).collect(),
        }
    }
}

impl From<wire::Verification> for Verification {
    fn from(run: wire::Verification) -> Self {
        Verification {
            asked_by: run.asked_by,
            began_at: time(run.began_at_us),
            ended_at: time(run.ended_at_us),
            rate_bytes_per_s: (run.bytes_per_s > 0).then_some(run.bytes_per_s),
            bytes_done: run.bytes_done,
            bytes_total: run.bytes_total,
            chunks: run.chunks,
            rotten_chunks: run.rotten_chunks,
            rotten_bytes: run.rotten_bytes,
            rotten_manifests: run.rotten_manifests,
            mended_chunks: run.mended_chunks,
            lost_versions: run.lost_versions,
            stopped: run.stopped,
        }
    }
}

impl From<wire::Repair> for Repair {
    fn from(repair: wire::Repair) -> Self {
        let giver = |giver: wire::repair::Giver| Giver { name: giver.name, chunks: giver.chunks };
        Repair {
            at: time(repair.at_us),
            packages: repair.packages,
            manifest: hex(&repair.manifest),
            lacked_chunks: repair.lacked_chunks,
            left_chunks: repair.left_chunks,
            whole: repair.whole,
            from: repair.givers.into_iter().map(giver).collect(),
        }
    }
}

impl From<wire::GetPrestageResponse> for Prestaging {
    fn from(answer: wire::GetPrestageResponse) -> Self {
        let prestage = answer.prestage.map(|prestage| Prestage {
            path: prestage.path,
            asked_by: prestage.asked_by,
            began_at: time(prestage.began_at_us),
            ended_at: time(prestage.ended_at_us),
            bytes_done: prestage.bytes_done,
            bytes_total: prestage.bytes_total,
            chunks_new: prestage.chunks_new,
            bytes_new: prestage.bytes_new,
            whole_versions: prestage.whole_versions,
            partial_versions: prestage.partial_versions,
            packages: prestage.packages,
            faults: prestage.faults,
            faults_more: prestage.faults_more,
            error: prestage.error,
        });
        Prestaging { prestage }
    }
}

impl Verifications {
    pub(crate) fn goes_on(&self) -> bool {
        self.now.is_some()
    }

    /// Of the last one.
    pub(crate) fn lost_versions(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.lost_versions)
    }

    pub(crate) fn lines(&self) -> Vec<Drawn> {
        let now = self.now.iter();
        now.map(|run| {
            let text = format!("{} chunks checked, {} rotten", run.chunks, run.rotten_chunks);
            ("now".to_owned(), text, Some((run.bytes_done, run.bytes_total)))
        })
        .collect()
    }
}

impl Prestaging {
    pub(crate) fn goes_on(&self) -> bool {
        self.prestage.as_ref().is_some_and(|one| one.ended_at.is_none())
    }

    /// Why it ended before its end.
    pub(crate) fn error(&self) -> Option<String> {
        let ended = self.prestage.as_ref().filter(|one| one.ended_at.is_some());
        ended.map(|one| one.error.clone()).filter(|error| !error.is_empty())
    }

    pub(crate) fn lines(&self) -> Vec<Drawn> {
        let going = self.prestage.iter();
        going
            .map(|one| {
                let text = format!("{} of it new", amount(one.bytes_new));
                ("now".to_owned(), text, Some((one.bytes_done, one.bytes_total)))
            })
            .collect()
    }
}

impl View for Usage {
    fn text(&self, screen: Screen) -> String {
        let head = fields(&[
            ("library", self.directory.clone()),
            ("on disk", format!("{} for {} of content", amount(self.stored_bytes), amount(self.plain_bytes))),
            ("chunks", self.chunks.to_string()),
            ("shared", amount(self.shared_bytes)),
            ("unreferenced", amount(self.unreferenced_bytes)),
            (
                "bundles",
                format!(
                    "{} to send, {} coming in",
                    amount(self.outgoing_bundles_bytes),
                    amount(self.incoming_bundles_bytes)
                ),
            ),
            ("disk", format!("{} free of {}", amount(self.free_bytes), amount(self.disk_total_bytes))),
            (
                "reserve",
                format!(
                    "{} ({}): {} are left for new content",
                    amount(self.reserve_bytes),
                    self.reserve,
                    amount(self.available_bytes)
                ),
            ),
        ]);
        let row = |version: &Version| {
            [
                or_dash(&version.packages.join(" ")),
                version.source_version.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                short(&version.manifest),
                yes(version.current),
                version.files.to_string(),
                amount(version.content_bytes),
                amount(version.stored_bytes),
                amount(version.own_bytes),
                version.missing_chunks.to_string(),
            ]
        };
        let rows: Vec<_> = self.versions.iter().map(row).collect();
        let header =
            ["PACKAGE", "VERSION", "CONTENT", "CURRENT", "FILES", "BYTES", "ON DISK", "OWN", "MISSING"];
        format!("{head}\n\n{}", table(screen, header, &rows, "no versions"))
    }
}

impl View for Verifications {
    fn text(&self, screen: Screen) -> String {
        let mut text = match (&self.now, &self.last) {
            (Some(now), _) => now.fields(),
            (None, Some(last)) => last.fields(),
            (None, None) => "the content library was not checked yet".to_owned(),
        };
        text.push('\n');
        text.push_str(&fields(&[(
            "next by itself",
            self.next_at.as_deref().map_or_else(|| "never".to_owned(), |at| clock(Some(at))),
        )]));
        if self.repairs.is_empty() {
            return text;
        }
        let row = |repair: &Repair| {
            let from: Vec<String> =
                repair.from.iter().map(|giver| format!("{} ({})", giver.name, giver.chunks)).collect();
            [
                clock(repair.at.as_deref()),
                or_dash(&repair.packages.join(" ")),
                short(&repair.manifest),
                repair.lacked_chunks.to_string(),
                if repair.whole { "mended" } else { "comes whole again" }.to_owned(),
                or_dash(&from.join(", ")),
            ]
        };
        let rows: Vec<_> = self.repairs.iter().map(row).collect();
        let header = ["TIME", "PACKAGE", "CONTENT", "LACKED", "RESULT", "FROM"];
        text.push_str(&section("Repairs", &table(screen, header, &rows, "")));
        text
    }
}

impl Verification {
    fn fields(&self) -> String {
        let state = match (&self.ended_at, self.stopped) {
            (None, _) => format!("{} of {}", amount(self.bytes_done), amount(self.bytes_total)),
            (Some(at), false) => format!("ended {}", clock(Some(at))),
            (Some(at), true) => format!("stopped {}", clock(Some(at))),
        };
        let rotten = match self.rotten_chunks + self.rotten_manifests {
            0 => "nothing".to_owned(),
            _ => format!("{} chunks, {} manifests", self.rotten_chunks, self.rotten_manifests),
        };
        let lost = if self.lost_versions > 0 { self.lost_versions.to_string() } else { String::new() };
        fields(&[
            ("state", state),
            ("asked by", self.asked_by.clone()),
            ("began", clock(self.began_at.as_deref())),
            ("rate", self.rate_bytes_per_s.map(|rate| format!("{}/s", amount(rate))).unwrap_or_default()),
            ("checked", format!("{} chunks, {}", self.chunks, amount(self.bytes_done))),
            ("rotten", rotten),
            (
                "mended",
                if self.mended_chunks > 0 { format!("{} chunks", self.mended_chunks) } else { String::new() },
            ),
            ("versions not mended", lost),
        ])
    }
}

impl View for Prestaging {
    fn text(&self, _: Screen) -> String {
        let Some(one) = &self.prestage else {
            return "nothing was taken in from a disk yet".to_owned();
        };
        let state = match &one.ended_at {
            None => format!("{} of {}", amount(one.bytes_done), amount(one.bytes_total)),
            Some(at) => format!("ended {}", clock(Some(at))),
        };
        let mut text = fields(&[
            ("directory", one.path.clone()),
            ("state", state),
            ("new", format!("{} chunks, {}", one.chunks_new, amount(one.bytes_new))),
            ("versions", format!("{} whole, {} in part", one.whole_versions, one.partial_versions)),
            ("need no line", one.packages.join(" ")),
        ]);
        if !one.faults.is_empty() {
            let mut lines = one.faults.join("\n");
            if one.faults_more > 0 {
                lines.push_str(&format!("\nand {} more", one.faults_more));
            }
            text.push_str(&section("Passed over", &super::clean_lines(&lines)));
        }
        text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn run() -> wire::Verification {
        wire::Verification {
            asked_by: "admin anna".to_owned(),
            began_at_us: 1_000_000,
            bytes_done: 1024,
            bytes_total: 4096,
            chunks: 7,
            rotten_chunks: 2,
            ..wire::Verification::default()
        }
    }

    #[test]
    fn usage_says_what_is_left_beside_the_reserve() {
        let version = wire::VersionUsage {
            packages: vec!["CEN00001".to_owned()],
            source_version: 3,
            manifest: vec![0xab; 32].into(),
            current: true,
            own_bytes: 2048,
            ..wire::VersionUsage::default()
        };
        let usage = Usage::from(wire::GetUsageResponse {
            free_bytes: 10 << 30,
            reserve_bytes: 2 << 30,
            reserve: "auto".to_owned(),
            versions: vec![version, wire::VersionUsage::default()],
            ..wire::GetUsageResponse::default()
        });

        let text = usage.text(PIPE);

        assert!(text.contains("2.00 GiB (auto): 8.00 GiB are left for new content"), "{text}");
        let row = text.lines().find(|line| line.starts_with("CEN00001")).expect("a row");
        assert_eq!(row.split_whitespace().take(4).collect::<Vec<_>>(), ["CEN00001", "3", "abababab", "yes"]);
        let json = serde_json::to_value(&usage).expect("json");
        assert_eq!(json["available_bytes"], 8_u64 << 30);
        assert_eq!(json["versions"][1]["source_version"], serde_json::Value::Null);
    }

    #[test]
    fn a_verification_that_goes_on_has_a_bar_and_one_that_ended_has_repairs() {
        let going = Verifications::from(wire::GetVerificationResponse {
            now: Some(run()),
            ..wire::GetVerificationResponse::default()
        });
        assert!(going.goes_on());
        assert_eq!(going.lines()[0].2, Some((1024, 4096)));

        let repair = wire::Repair {
            packages: vec!["CEN00001".to_owned()],
            lacked_chunks: 2,
            whole: true,
            givers: vec![wire::repair::Giver { name: "site CEN".to_owned(), chunks: 2 }],
            ..wire::Repair::default()
        };
        let ended = Verifications::from(wire::GetVerificationResponse {
            last: Some(wire::Verification { ended_at_us: 9_000_000, lost_versions: 1, ..run() }),
            repairs: vec![repair],
            ..wire::GetVerificationResponse::default()
        });
        let text = ended.text(PIPE);
        assert!(!ended.goes_on() && ended.lost_versions() == 1);
        assert!(text.contains("mended") && text.contains("site CEN (2)"), "{text}");
        assert!(text.contains("next by itself  never"), "{text}");
    }

    #[test]
    fn what_was_passed_over_is_named() {
        let shown = Prestaging::from(wire::GetPrestageResponse {
            prestage: Some(wire::Prestage {
                path: "/media/usb".to_owned(),
                ended_at_us: 1,
                faults: vec!["a.pack: it is damaged at offset 16".to_owned()],
                faults_more: 4,
                error: "it was stopped".to_owned(),
                ..wire::Prestage::default()
            }),
        });

        let text = shown.text(PIPE);

        assert!(text.contains("a.pack: it is damaged") && text.contains("and 4 more"), "{text}");
        assert_eq!(shown.error().as_deref(), Some("it was stopped"));
        assert!(Prestaging { prestage: None }.text(PIPE).contains("nothing was taken in"));
    }
}
