//! Makes children of a site, as `site-server init --join` does it, but keeps them in memory.

use std::{fs, ops::Range, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use packhorse_domain::id::SiteCode;
use packhorse_proto::{
    enroll::v1::{EnrollRequest, EnrollResponse, enroll_service_client::EnrollServiceClient},
    provider::v1::{CreateSiteTokenRequest, site_service_client::SiteServiceClient},
};
use packhorse_runtime::{Caller, ChannelOptions, connect};
use packhorse_trust::{Credentials, Name, SigningKey, Token, credentials};
use serde::Deserialize;
use tonic::{Code, transport::Channel};

/// A site takes only so many enrolments a second.
const TOO_MANY_WAIT: Duration = Duration::from_millis(500);

/// A child that may open its link.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) code: SiteCode,
    pub(crate) parent: SiteCode,
    pub(crate) endpoint: String,
    pub(crate) credentials: Credentials,
}

#[derive(Debug, Deserialize)]
struct ConsoleFile {
    site: String,
    endpoint: String,
}

/// Makes these children of the site whose `admin` directory this is.
pub(crate) async fn children(admin: &Path, which: Range<usize>) -> anyhow::Result<Vec<Member>> {
    let text = fs::read_to_string(admin.join("console.toml")).context("cannot read console.toml")?;
    let console: ConsoleFile = toml::from_str(&text).context("cannot read console.toml")?;
    let parent: SiteCode = console.site.parse()?;
    let server = Name::of_site(parent.clone(), &parent);
    let own = Credentials::load(admin)?;
    let caller = Caller::Known(&own);
    let mut sites =
        SiteServiceClient::new(connect(&console.endpoint, &server, caller, ChannelOptions::default()).await?);
    let unknown = Caller::Anonymous { authority_pem: &own.authority_pem };
    let mut enrolment = EnrollServiceClient::new(
        connect(&console.endpoint, &server, unknown, ChannelOptions::default()).await?,
    );
    let mut children = Vec::with_capacity(which.len());
    for nth in which {
        let code = code(nth)?;
        let request = CreateSiteTokenRequest { code: code.to_string(), valid_s: 0 };
        let token = Token::parse(&sites.create_site_token(request).await?.into_inner().token)?;
        let credentials = join(&mut enrolment, &code, &token).await?;
        let (parent, endpoint) = (parent.clone(), console.endpoint.clone());
        children.push(Member { code, parent, endpoint, credentials });
    }
    Ok(children)
}

async fn join(
    enrolment: &mut EnrollServiceClient<Channel>,
    code: &SiteCode,
    token: &Token,
) -> anyhow::Result<Credentials> {
    let (key_pem, certificate_request) = credentials::new_key_and_request(code.as_str())?;
    let director = SigningKey::generate().public();
    let request = EnrollRequest {
        courier_key: String::new(),
        secret: token.secret.as_bytes().to_vec().into(),
        certificate_request,
        director_key: director.as_bytes().to_vec().into(),
        hostname: "load".to_owned(),
    };
    let answer = loop {
        match enrolment.enroll(request.clone()).await {
            Err(status) if status.code() == Code::ResourceExhausted => {
                tokio::time::sleep(TOO_MANY_WAIT).await;
            }
            answer => break answer?.into_inner(),
        }
    };
    let EnrollResponse { certificate, authority, .. } = answer;
    let credentials = Credentials { key_pem, cert_pem: certificate, authority_pem: authority };
    credentials.check()?;
    Ok(credentials)
}

/// A00 to Z99: codes of three characters that no site of a bench has.
fn code(nth: usize) -> anyhow::Result<SiteCode> {
    ensure!(nth < 2600, "at most 2600 children have a code");
    let letter = char::from(b'A' + u8::try_from(nth / 100)?);
    Ok(format!("{letter}{:02}", nth % 100).parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_has_a_code_of_its_own() {
        let codes: Vec<String> = (0..2600).map(|nth| code(nth).expect("a code").to_string()).collect();

        assert_eq!((codes[0].as_str(), codes[199].as_str(), codes[2599].as_str()), ("A00", "B99", "Z99"));
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(code(2600).is_err());
    }
}
