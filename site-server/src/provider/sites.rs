//! The sites that this one knows, and the tokens with which others join it.

use std::{collections::BTreeMap, sync::Arc};

use packhorse_domain::{object::ObjectKind, site::SiteFact};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AdmitSitesRequest, AdmitSitesResponse, CreateCapTokenRequest, CreateCapTokenResponse,
        CreateClientTokenRequest, CreateClientTokenResponse, CreateSiteTokenRequest, CreateSiteTokenResponse,
        LinkState, ListSitesRequest, ListSitesResponse, Site as Shown, SiteAdmitted,
        site_service_server::SiteService,
    },
};
use packhorse_runtime::peer;
use tonic::{Request, Response, Status};

use super::{couriers, tokens};
use crate::{
    courier::joining,
    error::Error,
    record,
    site::Site,
    store::{
        neighbours::{self, Relation},
        tokens::invited_sites,
    },
};

#[derive(Debug)]
pub(crate) struct Sites {
    site: Arc<Site>,
}

impl Sites {
    pub(crate) fn new(site: Arc<Site>) -> Self {
        Sites { site }
    }

    async fn list(&self) -> Result<Vec<Shown>, Error> {
        let site = &*self.site;
        let mut tx = site.store.read().await?;
        let mut shown: BTreeMap<String, Shown> = BTreeMap::new();
        for (object, fact) in record::list::<wire::SiteFact, SiteFact>(&mut tx, ObjectKind::Site).await? {
            shown.insert(fact.code.to_string(), remote(&fact, record::changed_at_us(&object)));
        }
        for neighbour in neighbours::list(&mut tx).await? {
            let up = site.links(|links| links.get(&neighbour.code).is_some_and(|link| link.up));
            let one = shown.entry(neighbour.code.to_string()).or_insert_with(|| Shown {
                code: neighbour.code.to_string(),
                parent: match neighbour.relation {
                    Relation::Child => site.code().to_string(),
                    Relation::Parent => grandparent(site),
                },
                ..Shown::default()
            });
            one.link = if up { LinkState::Up } else { LinkState::Down }.into();
            one.seen_at_us = if up { site.now().0 } else { neighbour.seen_at.0 };
        }
        for code in invited_sites(&mut tx, site.now()).await? {
            shown.entry(code.clone()).or_insert_with(|| Shown {
                code,
                parent: site.code().to_string(),
                link: LinkState::Invited.into(),
                ..Shown::default()
            });
        }
        shown.insert(site.code().to_string(), own(site));
        Ok(shown.into_values().collect())
    }
}

fn remote(fact: &SiteFact, seen_at_us: i64) -> Shown {
    Shown {
        code: fact.code.to_string(),
        parent: fact.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        name: fact.name.clone(),
        software: fact.software.clone(),
        link: LinkState::Remote.into(),
        seen_at_us,
    }
}

fn own(site: &Site) -> Shown {
    Shown {
        code: site.code().to_string(),
        parent: site.path().parent().map(ToString::to_string).unwrap_or_default(),
        name: site.settings.name.clone(),
        software: env!("CARGO_PKG_VERSION").to_owned(),
        link: LinkState::Self_.into(),
        seen_at_us: site.now().0,
    }
}

/// The parent of this site's parent.
fn grandparent(site: &Site) -> String {
    site.path().sites().iter().rev().nth(2).map(ToString::to_string).unwrap_or_default()
}

#[tonic::async_trait]
impl SiteService for Sites {
    async fn list_sites(&self, _: Request<ListSitesRequest>) -> Result<Response<ListSitesResponse>, Status> {
        Ok(Response::new(ListSitesResponse { sites: self.list().await? }))
    }

    async fn create_site_token(
        &self,
        request: Request<CreateSiteTokenRequest>,
    ) -> Result<Response<CreateSiteTokenResponse>, Status> {
        let asked = request.get_ref();
        let token = tokens::for_site(&self.site, peer(&request)?, &asked.code, asked.valid_s).await?;
        Ok(Response::new(CreateSiteTokenResponse { token }))
    }

    async fn admit_sites(
        &self,
        request: Request<AdmitSitesRequest>,
    ) -> Result<Response<AdmitSitesResponse>, Status> {
        let medium = couriers::directory_of(&self.site, &request.get_ref().path)?;
        let one = |one: joining::Admitted| SiteAdmitted {
            code: one.code.to_string(),
            admitted: one.refused.is_none(),
            reason: one.refused.unwrap_or_default(),
        };
        let sites = joining::admit(&self.site, &medium).await?.into_iter().map(one).collect();
        Ok(Response::new(AdmitSitesResponse { sites }))
    }

    async fn create_cap_token(
        &self,
        request: Request<CreateCapTokenRequest>,
    ) -> Result<Response<CreateCapTokenResponse>, Status> {
        let asked = request.get_ref();
        let token = tokens::for_cap(&self.site, peer(&request)?, &asked.name, asked.valid_s).await?;
        Ok(Response::new(CreateCapTokenResponse { token }))
    }

    async fn create_client_token(
        &self,
        request: Request<CreateClientTokenRequest>,
    ) -> Result<Response<CreateClientTokenResponse>, Status> {
        let asked = request.get_ref();
        let token = tokens::for_client(&self.site, peer(&request)?, &asked.name, asked.valid_s).await?;
        Ok(Response::new(CreateClientTokenResponse { token }))
    }
}
