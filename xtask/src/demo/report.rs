//! What the demo shows at its end, and what it finds wrong.

use anyhow::Result;
use comfy_table::{Table, presets};
use indicatif::BinaryBytes;
use packhorse_e2e::{ClientProgress, Hierarchy};

use super::{CLIENTS, Job, SITES};
use crate::say;

/// Prints the tables; the answer is what is not as it should be, a line for each.
pub(crate) fn print(hierarchy: &Hierarchy, job: &Job) -> Result<Vec<String>> {
    let console = hierarchy.console("CEN");
    let package = console.package(&job.package)?;
    let places = package.places.iter().map(|place| {
        vec![
            job.package.clone(),
            place.source_version.to_string(),
            place.site.clone(),
            place.distribution_point.clone().unwrap_or_else(|| "(library)".to_owned()),
            place.state.clone(),
            place.reason.clone(),
        ]
    });
    show("Package", ["PACKAGE", "VERSION", "SITE", "POINT", "STATE", "REASON"], places);

    let advertisement = console.advertisement(&job.advertisement)?;
    let clients = advertisement.clients.iter().map(|client| {
        vec![
            client.hostname.clone(),
            client.site.clone(),
            client.delivery.clone(),
            client.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
            last_line(client).to_owned(),
        ]
    });
    show("Advertisement", ["CLIENT", "SITE", "STATE", "EXIT CODE", "LAST LINE OF OUTPUT"], clients);

    show("Links", ["SITE", "PEER", "SENT", "RECEIVED"], links(hierarchy)?.into_iter());
    say(&format!("\ntotal time {:.1?}", job.began.elapsed()));

    let expected = format!("{} files verified", job.file_count);
    let wrong = |(_, hostname): &(&str, &str)| {
        let client = advertisement.clients.iter().find(|client| client.hostname == *hostname);
        match client {
            None => Some(format!("{hostname} has reported nothing")),
            Some(client) if client.exit_code != Some(0) || last_line(client) != expected => Some(format!(
                "{hostname}: exit code {:?}, last line `{}` where `{expected}` is expected",
                client.exit_code,
                last_line(client)
            )),
            Some(_) => None,
        }
    };
    Ok(CLIENTS.iter().filter_map(wrong).collect())
}

fn last_line(client: &ClientProgress) -> &str {
    client.output_tail.trim_end().lines().last().unwrap_or("")
}

fn links(hierarchy: &Hierarchy) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for site in SITES {
        for link in hierarchy.console(site).site()?.links {
            rows.push(vec![
                site.to_owned(),
                link.peer,
                BinaryBytes(link.bytes_sent).to_string(),
                BinaryBytes(link.bytes_received).to_string(),
            ]);
        }
    }
    Ok(rows)
}

fn show<const N: usize>(title: &str, header: [&str; N], rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    say(&format!("\n{title}\n{}", table.trim_fmt()));
}
