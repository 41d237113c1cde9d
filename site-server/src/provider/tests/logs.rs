//! What components log is changed for a while, by name, and that is noted.

use std::{collections::BTreeSet, fs, path::Path};

use packhorse_domain::log::LogLevel;
use packhorse_proto::provider::v1::{
    ComponentLogLevel, ListLogLevelsRequest, LogLevel as WireLevel, LogLevelChange, SetLogLevelsRequest,
    log_service_server::LogService as _,
};
use packhorse_runtime::telemetry::LogLevels;
use tonic::Code;

use super::{World, asked, refused};
use crate::{
    provider::logs::{COMPONENTS, Logs},
    testing::Node,
};

fn request(changes: &[(&str, i32)], for_s: u32) -> SetLogLevelsRequest {
    let change = |(component, level): &(&str, i32)| LogLevelChange {
        component: (*component).to_owned(),
        level: *level,
    };
    SetLogLevelsRequest { changes: changes.iter().map(change).collect(), for_s }
}

fn of<'a>(listed: &'a [ComponentLogLevel], component: &str) -> &'a ComponentLogLevel {
    listed.iter().find(|one| one.component == component).expect("the component")
}

#[tokio::test]
async fn a_level_holds_for_a_while_and_who_set_it_is_noted() {
    let world = World::new().await;
    let logs = Logs::new(world.site.clone(), LogLevels::detached("warn"));
    let debug = i32::from(WireLevel::from(LogLevel::Debug));

    let set = logs.set_log_levels(asked(request(&[("sender", debug)], 0))).await.expect("set");

    let sender = of(&set.get_ref().components, "sender").clone();
    assert_eq!((sender.level(), sender.configured()), (WireLevel::Debug, WireLevel::Warn));
    assert_eq!(sender.until_us, world.site.now().0 + 900 * 1_000_000, "15 minutes if nobody says how long");
    assert_eq!(world.audit().await, ["admin anna set what is logged for 900 s: sender=debug"]);

    logs.set_log_levels(asked(request(&[("sender", 0)], 0))).await.expect("reset");
    let listed = logs.list_log_levels(asked(ListLogLevelsRequest {})).await.expect("listed");
    assert_eq!(of(&listed.get_ref().components, "sender").until_us, 0);
    assert_eq!(listed.get_ref().components.len(), COMPONENTS.len());
}

#[tokio::test]
async fn what_does_not_make_sense_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let logs = Logs::new(world.site.clone(), LogLevels::detached("info"));
    let many = vec![("sender", 5); 65];
    for (wish, expected) in [
        (request(&[], 0), "1 to 64"),
        (request(&many, 0), "1 to 64"),
        (request(&[("sender", 5), ("sennder", 5)], 0), "there is no `sennder`; name all or one of"),
        (request(&[("sender", 99)], 0), "level"),
        (request(&[("sender", 5)], 86_401), "at most a day"),
    ] {
        refused(logs.set_log_levels(asked(wish)).await, Code::InvalidArgument, &[expected]);
    }
    let listed = logs.list_log_levels(asked(ListLogLevelsRequest {})).await.expect("listed");
    assert!(listed.get_ref().components.iter().all(|one| one.until_us == 0));
}

/// The targets that are written in the source, and the workers that run.
#[tokio::test(flavor = "multi_thread")]
async fn every_component_can_be_named() {
    let node = Node::central(packhorse_runtime::SystemClock::shared()).await;
    node.start();
    let mut names: BTreeSet<String> =
        node.lifecycle.statuses().into_iter().map(|worker| worker.name.to_owned()).collect();
    targets_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut names);
    node.lifecycle.stop();

    let known: BTreeSet<String> = COMPONENTS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names, known);
}

fn targets_in(directory: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            targets_in(&path, into);
        } else {
            let text = fs::read_to_string(&path).expect("a source file");
            let named = text.split("target: \"").skip(1).filter_map(|rest| rest.split('"').next());
            into.extend(named.filter(|name| !name.contains(' ')).map(str::to_owned));
        }
    }
}
