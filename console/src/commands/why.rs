//! Asks why something is not where it should be.

use packhorse_proto::provider::v1 as wire;

use crate::{
    cli::why::{Kind, Why},
    connect::Session,
    error::ConsoleError,
    view::{show, why::Explanation},
};

pub(crate) async fn why(session: &Session, why: Why) -> Result<(), ConsoleError> {
    let kind = match why.kind {
        None => wire::SubjectKind::Unspecified,
        Some(Kind::Package) => wire::SubjectKind::Package,
        Some(Kind::Advertisement) => wire::SubjectKind::Advertisement,
    };
    let request = wire::ExplainRequest {
        kind: kind.into(),
        subject: why.subject,
        site: why.site.map(|site| site.to_string()).unwrap_or_default(),
        client: why.client.map(|client| client.to_string()).unwrap_or_default(),
    };
    let answer = session.diagnosis().explain(request).await?.into_inner();
    let explanation = Explanation::new(session.site(), answer);
    show(&explanation, session.format)?;
    if explanation.holds() { Ok(()) } else { Err(ConsoleError::Stands) }
}
