//! What the console answers, as far as tests and the demo read it.

use serde::Deserialize;

/// `status package`.
#[derive(Debug, Clone, Deserialize)]
pub struct PackageProgress {
    pub places: Vec<Place>,
    pub transfers: Vec<Transfer>,
}

/// A library or a distribution point.
#[derive(Debug, Clone, Deserialize)]
pub struct Place {
    pub site: String,
    /// `None`: the site's own content library.
    pub distribution_point: Option<String>,
    pub state: String,
    pub source_version: u64,
    pub reason: String,
}

/// An item on one of the answering site's links.
#[derive(Debug, Clone, Deserialize)]
pub struct Transfer {
    pub peer: String,
    pub direction: String,
    pub subject: String,
    pub state: String,
    pub bytes_done: u64,
    pub bytes_total: u64,
}

/// `status advertisement`.
#[derive(Debug, Clone, Deserialize)]
pub struct AdvertisementProgress {
    pub held_back: Option<String>,
    pub clients: Vec<ClientProgress>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ClientProgress {
    pub client: String,
    pub site: String,
    pub hostname: String,
    pub acceptance: String,
    pub delivery: String,
    pub exit_code: Option<i32>,
    pub source_version: u64,
    pub reason: String,
    pub output_tail: String,
}

/// `status site`.
#[derive(Debug, Clone, Deserialize)]
pub struct SiteStatus {
    pub library_bytes: u64,
    pub links: Vec<Link>,
    pub caps: Vec<CapStatus>,
    pub transfers: Vec<Transfer>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Link {
    pub peer: String,
    pub up: bool,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub last_error: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct CapStatus {
    pub name: String,
    pub connected: bool,
    pub behind: u32,
}

impl PackageProgress {
    pub fn place(&self, site: &str, point: Option<&str>) -> Option<&Place> {
        self.places.iter().find(|place| place.site == site && place.distribution_point.as_deref() == point)
    }

    /// The version is installed at the site's library and at these of its points.
    pub fn installed(&self, site: &str, points: &[&str], version: u64) -> bool {
        let there = |point| {
            self.place(site, point)
                .is_some_and(|place| place.state == "installed" && place.source_version == version)
        };
        there(None) && points.iter().all(|point| there(Some(point)))
    }
}

impl AdvertisementProgress {
    /// Clients whose last run of this version succeeded.
    pub fn succeeded(&self, version: u64) -> usize {
        let done =
            |client: &&ClientProgress| client.delivery == "succeeded" && client.source_version == version;
        self.clients.iter().filter(done).count()
    }
}
