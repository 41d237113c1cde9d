//! Status messages as they are looked for and followed, and the rules for them.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use packhorse_domain::{
    message::{self, Message},
    object::Direction,
};
use packhorse_proto::{
    object::v1 as wire,
    provider::v1::{
        AddEventRuleRequest, EventRule, Forward, ListEventsRequest, ListEventsResponse, MoveEventRuleRequest,
        RemoveEventRuleRequest, event_rule_service_server::EventRuleService as _,
        status_service_server::StatusService as _,
    },
};
use packhorse_runtime::Worker as _;
use tonic::Code;

use super::{World, asked, inner, refused};
use crate::{
    provider::EventRules,
    status::{self, StatusManager},
    store::objects,
};

async fn say(world: &World, subject: &str, message: &Message) {
    let mut tx = world.site.store.begin().await.unwrap();
    status::report(&world.site, &mut tx, subject, message).await.unwrap();
    tx.commit().await.unwrap();
}

async fn list(world: &World, request: ListEventsRequest) -> ListEventsResponse {
    inner(world.statuses.list_events(asked(request)).await)
}

fn sequences(answer: &ListEventsResponse) -> Vec<u64> {
    answer.events.iter().map(|event| event.sequence).collect()
}

async fn add(world: &World, rule: EventRule, place: u32) -> Vec<EventRule> {
    let rules = EventRules::new(world.site.clone());
    inner(rules.add_event_rule(asked(AddEventRuleRequest { rule: Some(rule), place })).await).rules
}

/// The numbers of the messages that wait for the parent.
async fn waiting_for_parent(world: &World) -> Vec<String> {
    let mut tx = world.site.store.read().await.unwrap();
    let lacking = objects::lacking(&mut tx, &"TOP".parse().unwrap(), Direction::Up, 100).await.unwrap();
    lacking.into_iter().map(|object| object.id).filter(|id| id.starts_with("CEN/0")).collect()
}

#[tokio::test]
async fn who_follows_gets_each_message_once_and_a_count_again() {
    let world = World::new().await;
    for number in 0..3 {
        say(&world, "PAR", &message::bundle_delivered(&number, &"PAR")).await;
    }
    let first = list(&world, ListEventsRequest { limit: 2, ..Default::default() }).await;
    assert_eq!(sequences(&first), [3, 2]);

    let after =
        |cursor: u64, limit: u32| ListEventsRequest { after: Some(cursor), limit, ..Default::default() };
    let nothing = list(&world, after(first.cursor, 9)).await;
    assert!(nothing.events.is_empty());
    say(&world, "PAR", &message::bundle_delivered(&3, &"PAR")).await;
    say(&world, "LYO", &message::bundle_unusable(&"cut")).await;
    say(&world, "PAR", &message::bundle_delivered(&0, &"PAR")).await;

    let (mut cursor, mut seen) = (nothing.cursor, Vec::new());
    loop {
        let answer = list(&world, after(cursor, 1)).await;
        let Some(event) = answer.events.first() else { break };
        seen.push((event.sequence, event.count));
        cursor = answer.cursor;
    }
    assert_eq!(
        seen,
        [(4, 0), (5, 0), (1, 2)],
        "in the order in which they came; the first one was said again"
    );
    let filtered = ListEventsRequest { subject: "LYO".to_owned(), ..after(nothing.cursor, 9) };
    let answer = list(&world, filtered).await;
    assert_eq!(
        (sequences(&answer), answer.cursor),
        (vec![5], cursor),
        "what is not wanted is not looked at again"
    );
}

#[tokio::test]
async fn messages_are_found_by_all_that_they_are() {
    let world = World::new().await;
    say(&world, "PAR", &message::bundle_delivered(&1, &"PAR")).await;
    world.clock.advance(Duration::from_secs(1));
    say(&world, "PAR", &message::copies_repaired(&"PAR", &"what goes down", &3)).await;
    say(&world, "CEN00001", &message::bundle_unusable(&"cut")).await;
    say(&world, "CEN00001", &message::library_check_asked().by("admin anna")).await;
    let all = ListEventsRequest::default;

    for (request, expected) in [
        (ListEventsRequest { message: 4401, ..all() }, vec![3]),
        (ListEventsRequest { site: "CEN".to_owned(), ..all() }, vec![4, 3, 2, 1]),
        (ListEventsRequest { site: "PAR".to_owned(), ..all() }, vec![]),
        (ListEventsRequest { r#type: wire::EventType::Audit.into(), ..all() }, vec![4]),
        (ListEventsRequest { r#type: wire::EventType::Detail.into(), ..all() }, vec![2]),
        (ListEventsRequest { severity: wire::Severity::Error.into(), ..all() }, vec![3]),
        (ListEventsRequest { subject: "CEN00001".to_owned(), message: 30600, ..all() }, vec![4]),
        (
            ListEventsRequest { component: "sender".to_owned(), subject: "PAR".to_owned(), ..all() },
            vec![2, 1],
        ),
        (ListEventsRequest { since_us: world.site.now().0 - 1, message: 8210, ..all() }, vec![]),
    ] {
        let answer = list(&world, request.clone()).await;
        assert_eq!(sequences(&answer), expected, "{request:?}");
    }
    let answer = list(&world, ListEventsRequest { message: 4401, ..all() }).await;
    assert_eq!(answer.events[0].fields["why"], "cut");
    assert_eq!(answer.events[0].text, "the bundle could not be used and is fetched again: cut");
    refused(
        world.statuses.list_events(asked(ListEventsRequest { r#type: 9, ..all() })).await,
        Code::InvalidArgument,
        &["type"],
    );
}

#[tokio::test]
async fn details_stay_and_rules_change_what_goes_up() {
    let world = World::new().await;
    let delivered = |number: u64| message::bundle_delivered(&number, &"PAR");
    say(&world, "PAR", &delivered(1)).await;
    say(&world, "PAR", &message::copies_repaired(&"PAR", &"what goes down", &3)).await;
    assert_eq!(waiting_for_parent(&world).await, ["CEN/000000000001"]);

    let quiet = EventRule {
        first_message: 8210,
        last_message: 8210,
        forward: Forward::No.into(),
        ..EventRule::default()
    };
    add(&world, quiet, 0).await;
    say(&world, "PAR", &delivered(2)).await;
    // 1 delivered, 2 repaired, 3 who added the rule, 4 delivered.
    assert_eq!(waiting_for_parent(&world).await, ["CEN/000000000001", "CEN/000000000003"]);

    let silent = EventRule { severity: wire::Severity::Error.into(), suppress: true, ..EventRule::default() };
    let rules = add(&world, silent, 1).await;
    assert_eq!(rules.len(), 2);
    assert!(rules[0].suppress, "it was put first");
    say(&world, "CEN00001", &message::bundle_unusable(&"cut")).await;
    say(&world, "CEN00001", &message::bundle_unusable(&"cut")).await;
    assert!(list(&world, ListEventsRequest { message: 4401, ..Default::default() }).await.events.is_empty());
}

#[tokio::test]
async fn messages_are_forgotten_when_their_time_is_over() {
    let world = World::new().await;
    let short = EventRule { first_message: 8210, keep_days: 7, ..EventRule::default() };
    add(&world, short, 0).await;
    say(&world, "PAR", &message::bundle_delivered(&1, &"PAR")).await;
    say(&world, "PAR", &message::bundle_unusable(&"cut")).await;

    for (day, expected) in [(6, vec![3, 2, 1]), (8, vec![3, 1]), (31, vec![1]), (181, vec![])] {
        let opened = world.site.opened_at;
        let day_s = u64::try_from(day * 86_400).unwrap();
        world.clock.advance(Duration::from_secs(day_s).saturating_sub(world.site.now().since(opened)));
        status::clean_up(&world.site).await.unwrap();
        let left = list(&world, ListEventsRequest::default()).await;
        assert_eq!(sequences(&left), expected, "after {day} days");
    }
}

#[tokio::test]
async fn rules_are_put_moved_and_removed_by_their_places() {
    let world = World::new().await;
    let rules = EventRules::new(world.site.clone());
    let named = |name: &str| EventRule { name: name.to_owned(), keep_days: 7, ..EventRule::default() };
    let names = |rules: &[EventRule]| rules.iter().map(|rule| rule.name.clone()).collect::<Vec<_>>();
    for (name, place) in [("a", 0), ("b", 0), ("c", 1)] {
        add(&world, named(name), place).await;
    }
    let moved = inner(rules.move_event_rule(asked(MoveEventRuleRequest { place: 1, to: 3 })).await).rules;
    assert_eq!(names(&moved), ["a", "b", "c"]);
    let left = inner(rules.remove_event_rule(asked(RemoveEventRuleRequest { place: 2 })).await).rules;
    assert_eq!(names(&left), ["a", "c"]);

    let bad = AddEventRuleRequest { rule: Some(named("d")), place: 4 };
    refused(rules.add_event_rule(asked(bad)).await, Code::InvalidArgument, &["place", "1 to 3"]);
    let bad = AddEventRuleRequest { rule: Some(EventRule::default()), place: 0 };
    refused(rules.add_event_rule(asked(bad)).await, Code::InvalidArgument, &["decides nothing"]);
    let gone = RemoveEventRuleRequest { place: 3 };
    refused(rules.remove_event_rule(asked(gone)).await, Code::NotFound, &["3"]);
    let audit = world.audit().await;
    assert_eq!(
        audit.last().map(String::as_str),
        Some("admin anna removed the rule for messages b from place 2")
    );
}

#[tokio::test]
async fn a_program_gets_each_message_once_and_nothing_of_it_is_taken_for_a_command() {
    let world = World::new().await;
    let folder = world.site.directories.event_programs();
    let told = world.path("told");
    let script = format!(
        "#!/bin/sh\nprintf '%s|%s|%s\\n' \"$PACKHORSE_NUMBER\" \"$PACKHORSE_FIELD_WHY\" \"$1\" >> {}\n",
        told.display()
    );
    fs::write(folder.join("page"), script).unwrap();
    fs::set_permissions(folder.join("page"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut manager = StatusManager::new(world.site.clone());
    say(&world, "CEN00009", &message::bundle_unusable(&"before the rule")).await;
    manager.step().await.unwrap();
    for (name, message) in [("page", 4401), ("missing", 8213)] {
        let run = vec![name.to_owned(), "$(touch x); *".to_owned()];
        add(&world, EventRule { first_message: message, run, ..EventRule::default() }, 0).await;
    }

    say(&world, "CEN00001", &message::bundle_unusable(&"; touch y `id`")).await;
    say(&world, "CEN00002", &message::bundle_unusable(&"$(touch z)")).await;
    say(&world, "CEN00002", &message::bundle_damaged_here(&"cut")).await;
    manager.step().await.unwrap();
    manager.step().await.unwrap();

    let lines = fs::read_to_string(&told).unwrap();
    let mut lines: Vec<_> = lines.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["4401|$(touch z)|$(touch x); *", "4401|; touch y `id`|$(touch x); *"]);
    let failed = list(&world, ListEventsRequest { message: 620, ..Default::default() }).await;
    assert_eq!(failed.events.len(), 1, "{failed:?}");
    assert_eq!(failed.events[0].fields["program"], "missing");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing was run that is no program");
}
