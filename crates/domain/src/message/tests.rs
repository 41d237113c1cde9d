//! The catalogue keeps its promises: numbers that stay, texts whose fields are there, a page that tells all of it.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;

/// Numbers that were given. They are never taken back, nor given to anything else: add to this list, change nothing.
const GIVEN: &[(u32, &str)] = &[
    (610, "messages_left_out"),
    (620, "program_failed"),
    (2305, "content_adopted"),
    (2321, "version_lost"),
    (2322, "version_mended"),
    (2328, "point_failed"),
    (2330, "point_holds"),
    (2331, "point_is_unaltered"),
    (2332, "point_was_altered"),
    (2340, "agent_holds"),
    (2341, "agent_failed"),
    (2350, "library_is_sound"),
    (2351, "library_was_mended"),
    (2352, "library_lost_versions"),
    (2353, "library_rots"),
    (2360, "prestaged"),
    (2361, "prestaging_ended_early"),
    (4400, "package_received"),
    (4401, "bundle_unusable"),
    (8210, "bundle_delivered"),
    (8211, "bundle_refused"),
    (8212, "bundle_damaged_there"),
    (8213, "bundle_damaged_here"),
    (8220, "object_refused_there"),
    (8230, "copies_repaired"),
    (8231, "copies_taken_back"),
    (8240, "link_closed"),
    (8250, "offer_refused"),
    (8251, "kind_unknown"),
    (8252, "object_refused"),
    (8253, "bundle_waits_for_room"),
    (8254, "copies_forked"),
    (8300, "bundle_waits_for_courier"),
    (8301, "bundle_goes_over_the_line"),
    (8401, "parcel_laid_out"),
    (8402, "parcel_moved_on"),
    (8403, "parcel_lost"),
    (8404, "parcel_overdue"),
    (8405, "parcel_taken"),
    (8406, "parcel_taken_in_part"),
    (30000, "package_created"),
    (30001, "package_updated"),
    (30002, "package_deleted"),
    (30003, "package_sender_chosen"),
    (30004, "program_set"),
    (30005, "program_removed"),
    (30006, "package_sent"),
    (30007, "package_taken_away"),
    (30008, "package_killed"),
    (30009, "package_revived"),
    (30100, "collection_created"),
    (30101, "collection_changed"),
    (30102, "collection_deleted"),
    (30200, "advertised"),
    (30201, "advertisement_deleted"),
    (30300, "address_set"),
    (30301, "address_removed"),
    (30302, "queue_changed"),
    (30400, "courier_set"),
    (30401, "courier_removed"),
    (30402, "way_chosen"),
    (30403, "courier_key_trusted"),
    (30404, "parcel_created"),
    (30500, "point_added"),
    (30501, "point_removed"),
    (30502, "point_check_asked"),
    (30600, "library_check_asked"),
    (30601, "library_check_stopped"),
    (30602, "prestaging_asked"),
    (30603, "prestaging_stopped"),
    (30650, "event_rule_added"),
    (30651, "event_rule_removed"),
    (30652, "event_rule_moved"),
    (30660, "log_levels_set"),
    (30661, "support_bundle_collected"),
    (30700, "token_made"),
    (30701, "enrolled"),
    (30702, "enrolled_again"),
];

#[test]
fn numbers_stay_what_they_are() {
    let now: Vec<_> = catalogue().iter().map(|template| (template.number, template.name)).collect();
    assert_eq!(now, GIVEN);
}

#[test]
fn a_text_names_the_fields_that_its_message_has() {
    for template in catalogue() {
        let named: BTreeSet<&str> =
            template.text.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        let mut given: BTreeSet<&str> = template.identity.iter().chain(template.others).copied().collect();
        if template.event_type == EventType::Audit && named.contains("who") {
            given.insert("who");
        }
        assert!(named.is_subset(&given), "{} {}: {named:?} and {given:?}", template.number, template.name);
        assert!(given.len() <= FIELDS_MAX && given.iter().all(|name| name.len() <= FIELD_NAME_MAX));
        let is_bad = template.severity != Severity::Info;
        assert!(!is_bad || !template.remedy.is_empty(), "{}: say what to do", template.number);
    }
}

#[test]
fn a_message_is_shown_as_the_reader_knows_it_or_as_it_was_sent() {
    let message = point_holds(&"dp1", &3);
    assert_eq!(message.text(), "version 3 is on distribution point dp1");
    assert_eq!(text_of(2330, message.fields(), "sent"), message.text());
    assert_eq!(text_of(2_330_000, message.fields(), "sent"), "sent", "a number of a newer version");
    assert_eq!(text_of(2330, &BTreeMap::new(), "sent"), "sent", "its fields are other ones there");
    assert_eq!(
        package_deleted(&"CEN00001", &"Editor").by("admin anna").text(),
        "admin anna deleted package CEN00001 (Editor)"
    );
}

#[test]
fn a_message_is_the_same_if_what_makes_it_is() {
    let key = |message: Message, subject: &str| message.key(subject);
    let one = key(object_refused(&"PAR", &"Conflict", &"item 1"), "PAR");

    assert_eq!(
        one,
        key(object_refused(&"PAR", &"Conflict", &"item 2"), "PAR"),
        "what a peer chooses makes no other"
    );
    assert_ne!(one, key(object_refused(&"PAR", &"Decode", &"item 1"), "PAR"));
    assert_ne!(one, key(object_refused(&"LYO", &"Conflict", &"item 1"), "PAR"));
    assert_ne!(one, key(object_refused(&"PAR", &"Conflict", &"item 1"), "LYO"));
    assert_ne!(key(point_failed(&"dp1", &""), "a"), key(agent_failed(&"dp1", &""), "a"));
}

#[test]
fn fields_are_bounded_whatever_is_said() {
    let long = "ü".repeat(5000);
    let message = package_updated(&long, &long).by(&long);
    let bytes: usize = message.fields().iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= FIELDS_BYTES_MAX, "{bytes}");
    assert_eq!(message.fields().len(), 3);
}

#[test]
fn the_page_of_messages_tells_the_catalogue() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/messages.md")).unwrap_or_default();
    let table = table();
    if !page.contains(&table) {
        let fresh = root.join("target/messages.md");
        fs::write(&fresh, &table).expect("written");
        panic!(
            "docs/messages.md is not the catalogue: put what is in {} in place of its table",
            fresh.display()
        );
    }
}

fn table() -> String {
    let mut table = String::from(
        "| number | severity | type | component | text | what to do |\n|---|---|---|---|---|---|\n",
    );
    for one in catalogue() {
        let remedy = if one.remedy.is_empty() { "-" } else { one.remedy };
        table += &format!(
            "| {} | {} | {} | {} | {} | {remedy} |\n",
            one.number,
            one.severity.as_str(),
            one.event_type.as_str(),
            one.component,
            one.text
        );
    }
    table
}
