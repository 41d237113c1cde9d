//! A bundle of an agent: from its directory, whether it runs or not.

use std::{io, path::Path};

use packhorse_domain::{Timestamp, redact::Redactor};
use serde_json::json;

use crate::{Archive, Bundle, Title, add_machine, certificates, config, disk, listing, pieces_of_keys};

/// An agent and where it lives.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    /// As `cap-agent`.
    pub program: &'static str,
    pub version: &'static str,
    pub directory: &'a Path,
    /// The settings file in it.
    pub config: &'static str,
    pub now: Timestamp,
}

/// Makes the bundle; `more` adds what only this agent has. Nothing in the directory is changed.
pub fn agent(agent: Agent<'_>, more: impl FnOnce(&mut Bundle)) -> io::Result<Archive> {
    let Agent { program, version, directory, .. } = agent;
    if !directory.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the agent's directory is not there"));
    }
    let mut bundle = Bundle::new(Redactor::default().with_known(pieces_of_keys(directory)));
    bundle.json("agent.json", "The agent.", &json!({ "program": program, "software": version }));
    add_machine(&mut bundle);
    let settings = config(&directory.join(agent.config));
    bundle.text_of(agent.config, "The settings, without comments and secrets.", settings);
    bundle.text("files.txt", "What lies in the agent's directory, without contents.", &listing(directory));
    let certificates = certificates(directory, &[directory.join("credentials")]);
    bundle.json("certificates.json", "Certificates: for whom, by whom, until when. No keys.", &certificates);
    bundle.json_of("disk.json", "Room on the disk of the agent's directory.", disk(directory));
    more(&mut bundle);
    let unit = format!("it is with whoever runs the agent, as `journalctl -u packhorse-{program}`");
    bundle.missing("log.txt", "What the agent logged.", &unit);
    bundle.finish(&Title { of: program.to_owned(), name: program.to_owned(), made_at: agent.now })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_agents_bundle_has_its_settings_and_no_secrets() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        fs::create_dir(root.join("credentials")).unwrap();
        let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPLANTED\n-----END PRIVATE KEY-----\n";
        fs::write(root.join("credentials/key.pem"), key).unwrap();
        fs::write(root.join("cap.toml"), "site = \"CEN\"\npassword = \"PLANTED\"\n").unwrap();
        let facts = Agent {
            program: "cap-agent",
            version: "1",
            directory: root,
            config: "cap.toml",
            now: Timestamp(0),
        };

        let archive = agent(facts, |bundle| {
            bundle.text("ledger.txt", "", "see MC4CAQAwBQYDK2VwBCIEIPLANTED");
        });

        let mut text = Vec::new();
        let archive = archive.unwrap();
        io::Read::read_to_end(&mut zstd::Decoder::new(archive.bytes.as_slice()).unwrap(), &mut text).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("PLANTED"), "{text}");
        assert!(text.contains("site = \"CEN\"") && text.contains("-0644") && text.contains("see [redacted]"));
        assert!(agent(Agent { directory: &root.join("none"), ..facts }, |_| {}).is_err());
    }
}
