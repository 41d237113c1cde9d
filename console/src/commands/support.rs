//! A support bundle: made by the site server, written here.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
};

use packhorse_proto::{convert::time::timestamp, provider::v1 as wire};
use packhorse_support::Output;

use crate::{
    cli::diagnosis::SupportBundle,
    commands::{now, progress::bar, watch::interrupted},
    connect::Session,
    error::ConsoleError,
    view::{clean, show, support::Written},
};

pub(crate) async fn support_bundle(session: &Session, asked: SupportBundle) -> Result<(), ConsoleError> {
    let path = asked.out.unwrap_or_else(|| default_name(session.site()));
    let mut stop = pin!(interrupted());
    let written = tokio::select! {
        // It listens before there is anything that must go.
        biased;
        () = &mut stop => return Err(ConsoleError::Interrupted),
        written = collect(session, &path) => written?,
    };
    show(&written, session.format)
}

async fn collect(session: &Session, path: &Path) -> Result<Written, ConsoleError> {
    let failed = |source: io::Error| ConsoleError::Bundle { path: path.to_owned(), source };
    // Before the site server makes it for nothing.
    let mut output = Output::begin(path).map_err(failed)?;
    let request = wire::CollectRequest { caller_clock: Some(timestamp(now())) };
    let mut messages = session.support().collect(request).await?.into_inner();
    let bar = bar();
    let (mut length, mut files, mut bytes) = (0, 0, 0_u64);
    while let Some(message) = messages.message().await? {
        if message.data.is_empty() {
            let (done, total) = (message.parts_done, message.parts_total);
            bar.set_message(clean(&format!("{} ({} of {total})", message.part, done + 1)));
            bar.tick();
            continue;
        }
        length = length.max(message.length);
        files = files.max(message.files);
        bytes += message.data.len() as u64;
        bar.set_length(length);
        bar.set_message("the archive");
        bar.set_position(bytes);
        output.write(&message.data).map_err(failed)?;
    }
    bar.finish_and_clear();
    if bytes == 0 || bytes != length {
        return Err(ConsoleError::Incomplete("whole archive"));
    }
    output.finish().map_err(failed)?;
    Ok(Written { path: path.display().to_string(), bytes, files })
}

fn default_name(site: &str) -> PathBuf {
    let at = jiff::Timestamp::from_microsecond(now().0).unwrap_or_default();
    PathBuf::from(format!("packhorse-support-{site}-{}.tar.zst", at.strftime("%Y%m%dT%H%M%SZ")))
}
