//! What to try on a hierarchy that was left running.

use packhorse_e2e::Hierarchy;

use super::{CLIENTS, Job, SITES};

pub(crate) fn commands(hierarchy: &Hierarchy, job: &Job) -> String {
    let packhorse = hierarchy.binaries().packhorse.display();
    let admin = |site: &str| hierarchy.console(site).admin_directory().display().to_string();
    let (centre, lowest) = (admin("CEN"), admin(SITES[SITES.len() - 1]));
    let Job { package, advertisement, .. } = job;
    let port = hierarchy.port("CEN");
    let identity = |prefix: &str| {
        format!(
            "{prefix}cacert {centre}/authority.pem {prefix}cert {centre}/cert.pem {prefix}key {centre}/key.pem \
             {prefix}servername cen.site.cen.packhorse.internal"
        )
    };
    let client = hierarchy.client_directory(CLIENTS[0].1);
    format!(
        "
It goes on running; Ctrl-C stops it. In another terminal:

  {packhorse} --admin {centre} status package {package}
  {packhorse} --admin {centre} status advertisement {advertisement}
  {packhorse} --admin {centre} status site --watch
  {packhorse} --admin {lowest} events --follow
  {client_agent} status --dir {client}

A second version, of which only the difference travels:

  (cd {source} && date > ./news && sha256sum ./news >> SHA256SUMS)
  {packhorse} --admin {centre} package update {package}

The services themselves:

  grpcurl {short} 127.0.0.1:{port} list
  buf curl {long} https://127.0.0.1:{port}/packhorse.provider.v1.StatusService/GetSiteStatus

Logs: {logs}
",
        client_agent = hierarchy.binaries().client_agent.display(),
        client = client.display(),
        source = hierarchy.root().join("source").display(),
        short = identity("-"),
        long = identity("--"),
        logs = hierarchy.root().join("log").display(),
    )
}
