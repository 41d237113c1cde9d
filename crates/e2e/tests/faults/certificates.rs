//! A certificate that has run out, made by the authority that gave the one in force.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result};
use packhorse_domain::Timestamp;
use packhorse_runtime::{Clock as _, SystemClock};
use packhorse_trust::{Authority, Credentials, credentials::request_for};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Gives a child one that its parent would have given it three days ago, for a day.
pub(crate) fn expire(parent: &Path, child: &Path) -> Result<()> {
    let directory = child.join("credentials/parent");
    let held = Credentials::load(&directory).context("what the child shows")?;
    let authority = Authority::load(&parent.join("authority")).context("the parent's authority")?;
    let name = held.name()?;
    let then = Timestamp(SystemClock.now().0 - i64::try_from(3 * DAY.as_micros())?);
    let request = request_for(&held.key_pem, &name.id)?;
    let cert_pem = authority.issue(&request, &name, DAY, then)?;
    Ok(Credentials { cert_pem, ..held }.store(&directory)?)
}
