//! Certificates of other times, made by the authorities that gave those in force.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use packhorse_domain::Timestamp;
use packhorse_runtime::{Clock as _, SystemClock};
use packhorse_trust::{Authority, Credentials, credentials::request_for};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Gives a child one that its parent would have given it three days ago, for a day.
pub(crate) fn expire(parent: &Path, child: &Path) -> Result<()> {
    given_earlier(parent, &child.join("credentials/parent"), DAY)
}

/// Gives the console of a site one as it has where the site has been there for days. It does not expire.
pub(crate) fn age_console(site: &Path) -> Result<()> {
    given_earlier(site, &site.join("admin"), 365 * DAY)
}

/// What is in a directory, given three days ago by the authority of a site.
fn given_earlier(site: &Path, directory: &Path, validity: Duration) -> Result<()> {
    let held = Credentials::load(directory).context("the certificate in force")?;
    let authority = Authority::load(&site.join("authority")).context("the site's authority")?;
    let name = held.name()?;
    let then = Timestamp(SystemClock.now().0 - i64::try_from(3 * DAY.as_micros())?);
    let request = request_for(&held.key_pem, &name.id)?;
    let cert_pem = authority.issue(&request, &name, validity, then)?;
    Ok(Credentials { cert_pem, ..held }.store(directory)?)
}
