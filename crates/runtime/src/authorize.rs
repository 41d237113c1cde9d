//! Who may call what. The identity comes from the certificate alone; what no rule allows is refused.

use std::{
    future::{Ready, ready},
    task::{Context, Poll},
};

use futures::future::Either;
use packhorse_domain::id::SiteCode;
use packhorse_trust::{Name, Role};
use tonic::{Request, Status, body::Body};
use tower::{Layer, Service};

use crate::serve::ConnectionInfo;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// It showed no certificate.
    Anonymous,
    Known(Name),
}

/// Which roles may call which method: `/packhorse.cap.v1.CapService/Feed`, or `/packhorse.cap.v1.CapService/*` for
/// all of a service. The first rule that names a method decides. No role at all means anybody, with or without a
/// certificate. Health is open to anybody and reflection to any known peer without a rule.
pub type Rules = &'static [(&'static str, &'static [Role])];

const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: [&str; 2] =
    ["/grpc.reflection.v1.ServerReflection/", "/grpc.reflection.v1alpha.ServerReflection/"];

/// The caller of a request that a rule let through.
pub fn peer<T>(request: &Request<T>) -> Result<&Name, Status> {
    match request.extensions().get::<Peer>() {
        Some(Peer::Known(name)) => Ok(name),
        Some(Peer::Anonymous) | None => Err(Status::unauthenticated("this call needs a certificate")),
    }
}

/// The layer that applies the rules of a server of `site`.
#[derive(Debug, Clone)]
pub(crate) struct Authorize {
    site: SiteCode,
    rules: Rules,
}

#[derive(Debug, Clone)]
pub(crate) struct Authorized<S> {
    inner: S,
    authorize: Authorize,
}

impl Authorize {
    pub(crate) fn new(site: SiteCode, rules: Rules) -> Self {
        Authorize { site, rules }
    }

    fn check(&self, path: &str, peer: &Peer) -> Result<(), Status> {
        let allowed = self.rules.iter().find(|(pattern, _)| matches(pattern, path)).map(|(_, roles)| *roles);
        if path.starts_with(HEALTH) || allowed.is_some_and(<[Role]>::is_empty) {
            return Ok(());
        }
        let Peer::Known(name) = peer else {
            return Err(Status::unauthenticated("this call needs a certificate"));
        };
        if name.site != self.site {
            return Err(Status::permission_denied(format!(
                "a certificate of site {} counts nothing at site {}",
                name.site, self.site
            )));
        }
        let known_is_enough = REFLECTION.iter().any(|service| path.starts_with(service));
        if known_is_enough || allowed.is_some_and(|roles| roles.contains(&name.role)) {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "{name} may not call {}",
            path.chars().take(120).collect::<String>()
        )))
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        // `/service/*` and not `/service*`: the rest must be a method of exactly this service.
        Some(service) => service.ends_with('/') && path.starts_with(service),
        None => pattern == path,
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Authorized<S> {
        Authorized { inner, authorize: self.clone() }
    }
}

impl<S> Service<http::Request<Body>> for Authorized<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let peer = match request.extensions().get::<ConnectionInfo>() {
            Some(connection) => connection.peer.clone(),
            None => Peer::Anonymous,
        };
        match self.authorize.check(request.uri().path(), &peer) {
            Ok(()) => {
                request.extensions_mut().insert(peer);
                Either::Left(self.inner.call(request))
            }
            Err(status) => {
                tracing::warn!(?peer, path = request.uri().path(), reason = status.message(), "call refused");
                Either::Right(ready(Ok(status.into_http())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    const RULES: Rules = &[
        ("/packhorse.enroll.v1.EnrollService/Enroll", &[]),
        ("/packhorse.cap.v1.CapService/Feed", &[Role::Cap]),
        ("/packhorse.cap.v1.CapService/*", &[Role::Cap, Role::Admin]),
    ];

    fn known(site: &str, role: Role) -> Peer {
        Peer::Known(Name { site: site.parse().unwrap(), role, id: "x".to_owned() })
    }

    fn code(path: &str, peer: &Peer) -> Code {
        let authorize = Authorize::new("CEN".parse().unwrap(), RULES);
        authorize.check(path, peer).map_or_else(|status| status.code(), |()| Code::Ok)
    }

    #[test]
    fn what_no_rule_allows_is_refused() {
        let cap = known("CEN", Role::Cap);
        let admin = known("CEN", Role::Admin);
        for (path, peer, expected) in [
            ("/packhorse.enroll.v1.EnrollService/Enroll", &Peer::Anonymous, Code::Ok),
            ("/packhorse.enroll.v1.EnrollService/EnrollAll", &Peer::Anonymous, Code::Unauthenticated),
            ("/packhorse.cap.v1.CapService/Feed", &Peer::Anonymous, Code::Unauthenticated),
            ("/packhorse.cap.v1.CapService/Feed", &cap, Code::Ok),
            ("/packhorse.cap.v1.CapService/Feed", &admin, Code::PermissionDenied),
            ("/packhorse.cap.v1.CapService/Other", &admin, Code::Ok),
            ("/packhorse.cap.v1.CapService/Feed", &known("PAR", Role::Cap), Code::PermissionDenied),
            ("/packhorse.cap.v1.CapServiceX/Feed", &cap, Code::PermissionDenied),
            ("/unknown", &admin, Code::PermissionDenied),
            ("/grpc.health.v1.Health/Check", &Peer::Anonymous, Code::Ok),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                &Peer::Anonymous,
                Code::Unauthenticated,
            ),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &cap, Code::Ok),
        ] {
            assert_eq!(code(path, peer), expected, "{path} by {peer:?}");
        }
    }
}
