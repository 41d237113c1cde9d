//! From an admin directory to a connection whose other end has proved to be the site's server.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use packhorse_domain::id::SiteCode;
use packhorse_proto::provider::v1::{
    address_service_client::AddressServiceClient, advertisement_service_client::AdvertisementServiceClient,
    collection_service_client::CollectionServiceClient,
    courier_route_service_client::CourierRouteServiceClient, courier_service_client::CourierServiceClient,
    courier_volume_service_client::CourierVolumeServiceClient,
    diagnosis_service_client::DiagnosisServiceClient,
    distribution_point_service_client::DistributionPointServiceClient,
    event_rule_service_client::EventRuleServiceClient, inspect_service_client::InspectServiceClient,
    library_service_client::LibraryServiceClient, log_service_client::LogServiceClient,
    package_service_client::PackageServiceClient, queue_service_client::QueueServiceClient,
    site_service_client::SiteServiceClient, status_service_client::StatusServiceClient,
    support_service_client::SupportServiceClient,
};
use packhorse_runtime::{Caller, ChannelOptions, connect};
use packhorse_trust::{Credentials, Name};
use serde::Deserialize;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

use crate::{
    cli::{Format, Settings},
    error::ConsoleError,
};

const SETTINGS_FILE: &str = "console.toml";
/// Set by whoever wants several commands, or more than Packhorse, in one trace.
const TRACEPARENT: &str = "TRACEPARENT";
const TRACEPARENT_LENGTH: usize = 55;
/// Lists of a large site are long: 20,000 clients with labels are some MiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// One run's connection, and how its answer is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    channel: Line,
    site: SiteCode,
    pub(crate) format: Format,
}

/// Calls the site server, within the trace of whoever runs the console.
pub(crate) type Line = InterceptedService<Channel, Traced>;

/// The W3C trace context of whoever runs the console, to travel with its calls.
#[derive(Debug, Clone)]
pub(crate) struct Traced(Option<AsciiMetadataValue>);

impl Traced {
    /// What is no trace context was meant for somebody else.
    fn of(traceparent: Option<String>) -> Self {
        let fits = |text: &String| text.len() == TRACEPARENT_LENGTH;
        Traced(traceparent.filter(fits).and_then(|text| text.parse().ok()))
    }
}

impl Interceptor for Traced {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(traceparent) = &self.0 {
            request.metadata_mut().insert("traceparent", traceparent.clone());
        }
        Ok(request)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsoleFile {
    site: String,
    endpoint: String,
}

impl Session {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, ConsoleError> {
        let directory = admin_directory(settings.admin.as_deref())?;
        let (site, own_endpoint) = read_settings(&directory)?;
        let credentials = Credentials::load(&directory)
            .map_err(|source| ConsoleError::Credentials { dir: directory.clone(), source })?;
        let endpoint = settings.endpoint.as_deref().unwrap_or(&own_endpoint);
        let server = Name::of_site(site.clone(), &site);
        let channel = connect(endpoint, &server, Caller::Known(&credentials), ChannelOptions::default())
            .await
            .map_err(ConsoleError::Connect)?;
        let channel = InterceptedService::new(channel, Traced::of(env::var(TRACEPARENT).ok()));
        Ok(Session { channel, site, format: settings.format })
    }

    /// The site that answers.
    pub(crate) fn site(&self) -> &str {
        self.site.as_str()
    }

    pub(crate) fn sites(&self) -> SiteServiceClient<Line> {
        SiteServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn packages(&self) -> PackageServiceClient<Line> {
        PackageServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn points(&self) -> DistributionPointServiceClient<Line> {
        DistributionPointServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn collections(&self) -> CollectionServiceClient<Line> {
        CollectionServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn advertisements(&self) -> AdvertisementServiceClient<Line> {
        AdvertisementServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn addresses(&self) -> AddressServiceClient<Line> {
        AddressServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn queue(&self) -> QueueServiceClient<Line> {
        QueueServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn library(&self) -> LibraryServiceClient<Line> {
        LibraryServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn logs(&self) -> LogServiceClient<Line> {
        LogServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn courier(&self) -> CourierServiceClient<Line> {
        CourierServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn courier_volumes(&self) -> CourierVolumeServiceClient<Line> {
        CourierVolumeServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn courier_routes(&self) -> CourierRouteServiceClient<Line> {
        CourierRouteServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn diagnosis(&self) -> DiagnosisServiceClient<Line> {
        DiagnosisServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn inspect(&self) -> InspectServiceClient<Line> {
        InspectServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn support(&self) -> SupportServiceClient<Line> {
        SupportServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn event_rules(&self) -> EventRuleServiceClient<Line> {
        EventRuleServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(crate) fn status(&self) -> StatusServiceClient<Line> {
        StatusServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// `--admin` or PACKHORSE_ADMIN, else `packhorse` in the user's configuration.
fn admin_directory(given: Option<&Path>) -> Result<PathBuf, ConsoleError> {
    let directory = match given {
        Some(directory) => directory.to_owned(),
        None => {
            user_directory(env::var_os("XDG_CONFIG_HOME"), env::var_os("HOME")).ok_or(ConsoleError::NoHome)?
        }
    };
    if directory.is_dir() { Ok(directory) } else { Err(ConsoleError::NoAdminDirectory(directory)) }
}

/// As the XDG base directories have it: a relative or empty path counts as none.
fn user_directory(config: Option<std::ffi::OsString>, home: Option<std::ffi::OsString>) -> Option<PathBuf> {
    let absolute =
        |text: Option<std::ffi::OsString>| text.map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute(config).or_else(|| absolute(home).map(|home| home.join(".config")))?;
    Some(config.join("packhorse"))
}

fn read_settings(directory: &Path) -> Result<(SiteCode, String), ConsoleError> {
    let path = directory.join(SETTINGS_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(ConsoleError::NoAdminDirectory(directory.to_owned()));
        }
        Err(source) => return Err(ConsoleError::ReadSettings { path, source }),
    };
    let file: ConsoleFile =
        toml::from_str(&text).map_err(|source| ConsoleError::Settings { path: path.clone(), source })?;
    let site = file.site.parse().map_err(|source| ConsoleError::SettingsSite { path, source })?;
    Ok((site, file.endpoint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_goes_with_each_call_and_anything_else_does_not() {
        let own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (given, sent) in [(Some(own), Some(own)), (Some("1"), None), (Some(""), None), (None, None)] {
            let request = Traced::of(given.map(str::to_owned)).call(Request::new(())).expect("goes on");

            let found = request.metadata().get("traceparent").map(|value| value.to_str().expect("ASCII"));
            assert_eq!(found, sent);
        }
    }

    #[test]
    fn the_users_configuration_follows_xdg() {
        let of = |config: Option<&str>, home: Option<&str>| {
            user_directory(config.map(Into::into), home.map(Into::into))
        };

        assert_eq!(of(Some("/c"), Some("/h")), Some("/c/packhorse".into()));
        assert_eq!(of(None, Some("/h")), Some("/h/.config/packhorse".into()));
        assert_eq!(of(Some(""), Some("/h")), Some("/h/.config/packhorse".into()));
        assert_eq!(of(Some("relative"), None), None);
    }

    #[test]
    fn settings_name_a_site_and_an_endpoint_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |text: &str| fs::write(directory.path().join(SETTINGS_FILE), text).expect("written");

        assert!(matches!(read_settings(directory.path()), Err(ConsoleError::NoAdminDirectory(_))));
        write("site = \"CEN\"\nendpoint = \"127.0.0.1:7443\"\n");
        let (site, endpoint) = read_settings(directory.path()).expect("settings");
        assert_eq!((site.as_str(), endpoint.as_str()), ("CEN", "127.0.0.1:7443"));
        write("site = \"centre\"\nendpoint = \"127.0.0.1:7443\"\n");
        assert!(matches!(read_settings(directory.path()), Err(ConsoleError::SettingsSite { .. })));
        write("site = \"CEN\"\nendpoint = \"127.0.0.1:7443\"\nendpiont = \"x\"\n");
        assert!(matches!(read_settings(directory.path()), Err(ConsoleError::Settings { .. })));
    }
}
