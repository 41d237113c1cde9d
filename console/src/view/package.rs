//! Packages, their programs and their targets.

use packhorse_domain::courier::Way;
use packhorse_proto::{
    convert,
    object::v1::{Priority, Program as WireProgram},
    provider::v1 as wire,
};
use serde::Serialize;

use crate::view::{
    Screen, View, amount, clock, fields, kill::Kill, or_dash, section, table, time, word, yes,
};

/// The time limit of a program that sets none.
const TIME_LIMIT_DEFAULT_S: u32 = 7200;

#[derive(Debug, Serialize)]
pub(crate) struct Packages {
    packages: Vec<Package>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Package {
    id: String,
    name: String,
    description: String,
    owner: String,
    priority: String,
    /// Of its bundles: any, line or courier.
    sender: &'static str,
    source_version: u64,
    release: u64,
    manifest: Option<String>,
    length_bytes: u64,
    file_count: u64,
    source_directory: Option<String>,
    changed_at: Option<String>,
    /// What is said against running it.
    kills: Vec<Kill>,
    programs: Vec<Program>,
    targets: Vec<Target>,
}

/// A package, and whether asking for its source made a new version.
#[derive(Debug, Serialize)]
pub(crate) struct Updated {
    changed: bool,
    package: Package,
}

#[derive(Debug, Serialize)]
struct Program {
    name: String,
    command: Vec<String>,
    shell: bool,
    time_limit_s: u32,
    success_codes: Vec<i32>,
    operating_systems: Vec<String>,
    architectures: Vec<String>,
    idempotent: bool,
}

#[derive(Debug, Serialize)]
struct Target {
    site: String,
    distribution_point: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Programs {
    package: String,
    programs: Vec<Program>,
}

pub(crate) fn priority(value: i32) -> String {
    word(Priority::try_from(value).map(|priority| priority.as_str_name()), "PRIORITY_")
}

impl From<wire::Package> for Package {
    fn from(package: wire::Package) -> Self {
        let definition = package.definition.unwrap_or_default();
        let version = package.version.unwrap_or_default();
        Package {
            id: definition.id,
            name: definition.name,
            description: definition.description,
            owner: package.owner,
            priority: priority(definition.priority),
            sender: convert::courier::sender("sender", definition.preferred_sender)
                .map_or("unknown", |way| way.map_or("any", Way::as_str)),
            source_version: version.source_version,
            release: version.release,
            manifest: Some(hex::encode(&version.manifest)).filter(|digest| !digest.is_empty()),
            length_bytes: version.length_bytes,
            file_count: version.file_count,
            source_directory: Some(package.source_directory).filter(|directory| !directory.is_empty()),
            changed_at: time(package.changed_at_us),
            kills: package.kills.into_iter().map(Kill::from).collect(),
            programs: version.programs.into_iter().map(Program::from).collect(),
            targets: package
                .targets
                .into_iter()
                .map(|target| Target { site: target.site, distribution_point: target.distribution_point })
                .collect(),
        }
    }
}

impl From<WireProgram> for Program {
    /// Defaults are filled in: what stands here is what applies.
    fn from(program: WireProgram) -> Self {
        Program {
            name: program.name,
            command: program.command,
            shell: program.shell,
            time_limit_s: if program.time_limit_s == 0 { TIME_LIMIT_DEFAULT_S } else { program.time_limit_s },
            success_codes: if program.success_codes.is_empty() { vec![0] } else { program.success_codes },
            operating_systems: program.operating_systems,
            architectures: program.architectures,
            idempotent: program.idempotent,
        }
    }
}

impl From<wire::ListPackagesResponse> for Packages {
    fn from(answer: wire::ListPackagesResponse) -> Self {
        Packages { packages: answer.packages.into_iter().map(Package::from).collect() }
    }
}

impl Updated {
    pub(crate) fn new(package: wire::Package, changed: bool) -> Self {
        Updated { changed, package: package.into() }
    }
}

impl Programs {
    pub(crate) fn of(package: Package) -> Self {
        Programs { package: package.id, programs: package.programs }
    }
}

fn program_table(programs: &[Program], screen: Screen) -> String {
    let any = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(" ") };
    let row = |program: &Program| {
        let codes: Vec<String> = program.success_codes.iter().map(ToString::to_string).collect();
        [
            program.name.clone(),
            command_line(program),
            format!("{} s", program.time_limit_s),
            codes.join(" "),
            any(&program.operating_systems),
            any(&program.architectures),
            yes(program.idempotent),
        ]
    };
    let rows: Vec<_> = programs.iter().map(row).collect();
    let header = ["PROGRAM", "COMMAND", "TIME LIMIT", "SUCCESS", "OS", "ARCH", "IDEMPOTENT"];
    table(screen, header, &rows, "no programs")
}

/// The words, with quotes around those that would fall apart or vanish.
fn command_line(program: &Program) -> String {
    if program.shell {
        return format!("sh: {}", program.command.join(" "));
    }
    let quoted = |word: &String| {
        if word.is_empty() || word.contains(char::is_whitespace) { format!("'{word}'") } else { word.clone() }
    };
    program.command.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

impl View for Packages {
    fn text(&self, screen: Screen) -> String {
        let row = |package: &Package| {
            [
                package.id.clone(),
                package.name.clone(),
                package.owner.clone(),
                package.source_version.to_string(),
                amount(package.length_bytes),
                package.file_count.to_string(),
                package.priority.clone(),
                package.targets.len().to_string(),
                clock(package.changed_at.as_deref()),
            ]
        };
        let rows: Vec<_> = self.packages.iter().map(row).collect();
        let header =
            ["PACKAGE", "NAME", "OWNER", "VERSION", "SIZE", "FILES", "PRIORITY", "TARGETS", "CHANGED"];
        table(screen, header, &rows, "no packages")
    }
}

impl View for Package {
    fn text(&self, screen: Screen) -> String {
        let targets: Vec<String> = self
            .targets
            .iter()
            .map(|target| format!("{}/{}", target.site, target.distribution_point))
            .collect();
        let content = match &self.manifest {
            Some(_) => format!("{} in {} files", amount(self.length_bytes), self.file_count),
            None => "no source files".to_owned(),
        };
        let kills: Vec<String> = self.kills.iter().map(Kill::line).collect();
        let text = fields(&[
            ("Package", self.id.clone()),
            ("Name", self.name.clone()),
            ("Description", self.description.clone()),
            ("Owner", self.owner.clone()),
            ("Priority", self.priority.clone()),
            ("Sender", if self.sender == "any" { String::new() } else { self.sender.to_owned() }),
            ("Version", format!("{} (release {})", self.source_version, self.release)),
            ("Killed", kills.join("; ")),
            ("Content", content),
            ("Manifest", self.manifest.clone().unwrap_or_default()),
            ("Source", self.source_directory.clone().unwrap_or_default()),
            ("Changed", clock(self.changed_at.as_deref())),
            ("Targets", or_dash(&targets.join(" "))),
        ]);
        text + &section("Programs", &program_table(&self.programs, screen))
    }
}

impl View for Updated {
    fn text(&self, screen: Screen) -> String {
        if self.changed {
            self.package.text(screen)
        } else {
            let id = super::clean(&self.package.id);
            format!(
                "package {id}: the source is what it was; it stays at version {}",
                self.package.source_version
            )
        }
    }
}

impl View for Programs {
    fn text(&self, screen: Screen) -> String {
        program_table(&self.programs, screen)
    }
}

#[cfg(test)]
mod tests {
    use packhorse_proto::object::v1::{PackageDefinition, PackageVersion, distribution};

    use super::*;

    const PIPE: Screen = Screen { terminal: false };

    fn editor() -> wire::Package {
        let install = WireProgram {
            name: "install".into(),
            command: vec!["./install.sh".into(), "Our editor".into()],
            ..WireProgram::default()
        };
        wire::Package {
            definition: Some(PackageDefinition {
                id: "CEN00001".into(),
                name: "Editor".into(),
                priority: Priority::High as i32,
                ..PackageDefinition::default()
            }),
            version: Some(PackageVersion {
                source_version: 2,
                release: 3,
                manifest: vec![0xAB; 32].into(),
                length_bytes: 3 * 1024 * 1024,
                file_count: 4,
                programs: vec![install],
                ..PackageVersion::default()
            }),
            owner: "CEN".into(),
            targets: vec![distribution::Target { site: "PAR".into(), distribution_point: "desk".into() }],
            ..wire::Package::default()
        }
    }

    #[test]
    fn a_package_is_shown_with_programs_and_targets() {
        let text = Package::from(editor()).text(PIPE);

        for part in [
            "Editor",
            "high",
            "2 (release 3)",
            "3.00 MiB in 4 files",
            "PAR/desk",
            "./install.sh 'Our editor'",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("Description"), "{text}");
    }

    #[test]
    fn a_killed_package_says_so_and_any_other_nothing() {
        let kill = packhorse_proto::object::v1::Kill {
            package: "CEN00001".into(),
            release: 3,
            reason: "it wipes disks".into(),
            at_us: 1,
        };
        let mut killed = editor();
        killed.kills = vec![wire::PackageKill { site: "CEN".into(), kill: Some(kill), covers_present: true }];

        let text = Package::from(killed).text(PIPE);

        assert!(text.contains("\nKilled       up to release 3, by CEN: it wipes disks\n"), "{text}");
        assert!(!Package::from(editor()).text(PIPE).contains("Killed"));
    }

    #[test]
    fn a_package_is_a_document_with_digests_as_hexadecimal_and_defaults_filled_in() {
        let json = serde_json::to_value(Package::from(editor())).expect("json");

        assert_eq!(json["id"], "CEN00001");
        assert_eq!(json["manifest"], "ab".repeat(32));
        assert_eq!(json["programs"][0]["time_limit_s"], 7200);
        assert_eq!(json["programs"][0]["success_codes"], serde_json::json!([0]));
        assert_eq!(json["targets"], serde_json::json!([{ "site": "PAR", "distribution_point": "desk" }]));
        assert!(json["source_directory"].is_null());
    }

    #[test]
    fn a_package_without_source_has_no_manifest() {
        let mut reboot = editor();
        reboot.version = Some(PackageVersion::default());

        let reboot = Package::from(reboot);

        assert!(reboot.text(PIPE).contains("no source files"));
        assert!(serde_json::to_value(&reboot).expect("json")["manifest"].is_null());
    }

    #[test]
    fn an_unchanged_source_is_said_in_words_and_in_the_document() {
        let updated = Updated::new(editor(), false);

        assert_eq!(updated.text(PIPE), "package CEN00001: the source is what it was; it stays at version 2");
        let json = serde_json::to_value(&updated).expect("json");
        assert_eq!((&json["changed"], &json["package"]["id"]), (&false.into(), &"CEN00001".into()));
    }

    #[test]
    fn packages_are_one_row_each() {
        let packages = Packages::from(wire::ListPackagesResponse { packages: vec![editor(), editor()] });

        assert_eq!(packages.text(PIPE).lines().count(), 3);
        assert_eq!(
            serde_json::to_value(&packages).expect("json")["packages"].as_array().map(Vec::len),
            Some(2)
        );
    }
}
