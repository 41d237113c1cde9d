//! Two trees that talk until they have nothing to say, and the table of what is done about what they find.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const KINDS: [ObjectKind; 4] =
    [ObjectKind::Package, ObjectKind::Distribution, ObjectKind::Collection, ObjectKind::Advertisement];

type Name = (ObjectKind, String);
type Copies = BTreeMap<Name, (u64, Digest)>;

fn digest(number: u64) -> Digest {
    Digest(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn name(number: usize) -> Name {
    (KINDS[number % KINDS.len()], format!("CEN{number:05}"))
}

fn copies(count: usize) -> Copies {
    (0..count).map(|number| (name(number), (1, digest(number as u64)))).collect()
}

fn tree(copies: &Copies) -> Tree {
    let held = copies.iter().map(|((kind, id), (version, digest))| Held {
        kind: *kind,
        id: id.clone(),
        owner: Owner::Peer,
        version: *version,
        digest: *digest,
        is_acknowledged: true,
    });
    Tree::new(Direction::Down, held.collect())
}

/// What each side found, and the number of frames that it took.
fn talk(one: &Tree, other: &Tree) -> ([BTreeSet<Name>; 2], usize) {
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    let mut line = VecDeque::from([(1, Say::Compare(one.root()))]);
    let mut frames = 0;
    while let Some((to, say)) = line.pop_front() {
        frames += 1;
        let tree = if to == 0 { one } else { other };
        let answers = match say {
            Say::Compare(compare) => {
                assert!(compare.nodes.len() <= limits::NODES_MAX);
                tree.answer(&compare, usize::MAX)
            }
            Say::List(listing) => {
                assert!(listing.entries.len() <= limits::ENTRIES_MAX);
                found[to].extend(tree.differing(&listing).iter().map(|one| (one.kind, one.id.to_owned())));
                tree.answer_listing(&listing).into_iter().collect()
            }
        };
        line.extend(answers.into_iter().map(|say| (1 - to, say)));
    }
    (found, frames)
}

fn difference(one: &Copies, other: &Copies) -> BTreeSet<Name> {
    let names = one.keys().chain(other.keys());
    names.filter(|name| one.get(name) != other.get(name)).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_sides_find_exactly_what_differs_with_few_frames(
        count in 0usize..3000,
        changes in proptest::collection::vec((0usize..4000, 0u8..4), 0..40),
    ) {
        let one = copies(count);
        let mut other = one.clone();
        for (number, change) in changes {
            match change {
                0 => drop(other.remove(&name(number))),
                1 => drop(other.insert(name(number), (2, digest(9)))),
                2 => drop(other.insert(name(number), (1, digest(8)))),
                _ => drop(other.insert(name(number), (0, digest(7)))),
            }
        }

        let expected = difference(&one, &other);
        let (found, frames) = talk(&tree(&one), &tree(&other));

        prop_assert_eq!(&found[0], &expected);
        prop_assert_eq!(&found[1], &expected);
        // Sixteen parts a level: three levels hold 4,000 objects.
        prop_assert!(frames <= 1 + 6 * expected.len(), "{} frames for {}", frames, expected.len());
    }
}

#[test]
fn equal_trees_have_said_all_with_one_frame() {
    for count in [0, 1, 64, 65, 5000] {
        let (found, frames) = talk(&tree(&copies(count)), &tree(&copies(count)));

        assert_eq!((found[0].len(), found[1].len(), frames), (0, 0, 1), "{count} objects");
    }
}

#[test]
fn one_difference_among_many_is_found_with_five_frames() {
    let one = copies(10_000);
    let mut other = one.clone();
    other.insert(name(4321), (2, digest(0)));

    let (found, frames) = talk(&tree(&one), &tree(&other));

    assert_eq!(found[0], BTreeSet::from([name(4321)]));
    assert_eq!(found[1], found[0]);
    assert_eq!(frames, 5, "root, 16 parts, 16 of one of them, a listing, its answer");
}

#[test]
fn a_side_that_lost_all_is_told_of_all() {
    let (all, none) = (copies(2000), Copies::new());
    for (one, other) in [(&all, &none), (&none, &all)] {
        let (found, _) = talk(&tree(one), &tree(other));

        assert_eq!(found[0].len(), 2000);
        assert_eq!(found[1].len(), 2000);
    }
}

#[test]
fn an_answer_has_a_limit_and_the_rest_waits() {
    let says = tree(&copies(10_000)).answer(&tree(&Copies::new()).root(), 1);
    let [Say::Compare(compare)] = says.as_slice() else {
        panic!("sixteen nodes are expected: {says:?}");
    };
    assert_eq!(compare.nodes.len(), 16);

    assert_eq!(tree(&Copies::new()).answer(compare, 3).len(), 3);
}

#[test]
fn what_is_no_comparison_of_ours_costs_nothing() {
    let one = tree(&copies(500));
    let node = |prefix: &str| Node { prefix: prefix.to_owned(), entries: 9, digest: digest(9) };
    let compare = |nodes: Vec<Node>| Compare { set: Direction::Down, nodes };

    let within = compare(vec![node("0"), node("01"), node(""), node("0"), node("012")]);
    assert_eq!(one.answer(&within, 99).len(), 1, "the root alone is answered");
    assert_eq!(one.answer(&compare(vec![node("xyz")]), 99), []);
    let too_long = compare(vec![node(&"0".repeat(65))]);
    assert_eq!(one.answer(&too_long, 99), []);
}

#[test]
fn unknown_and_misplaced_entries_are_passed_over() {
    let entry = |kind: &str, id: &str| Entry {
        kind: kind.to_owned(),
        id: id.to_owned(),
        version: 1,
        digest: digest(1),
    };
    let listing = |prefix: &str, entries| Listing {
        set: Direction::Down,
        prefix: prefix.to_owned(),
        entries,
        is_answer: false,
    };
    let empty = tree(&Copies::new());

    let strange = listing("", vec![entry("licence", "CEN00001"), entry("client", "x"), entry("event", "y")]);
    assert_eq!(empty.differing(&strange), []);
    let at = format!("{}", key("package", "CEN00001"));
    let elsewhere = if at.starts_with('0') { "1" } else { "0" };
    assert_eq!(empty.differing(&listing(elsewhere, vec![entry("package", "CEN00001")])), []);
    let twice = listing(&at, vec![entry("package", "CEN00001"), entry("package", "CEN00001")]);
    assert_eq!(empty.differing(&twice).len(), 1);
}

#[test]
fn each_side_does_its_part() {
    use Direction::{Down, Up};
    use Owner::{Elsewhere, Here, Peer};
    use Repair::{Await, GiveBack, Leave, OfferAgain, Raise};
    use Side::{Child, Parent};

    // This side, the set, the owner with this side's version and its acknowledgement, the peer's version.
    let cases = [
        (Parent, Down, Some((Here, 3, true)), None, OfferAgain, "the child lost it"),
        (Parent, Down, Some((Elsewhere, 3, true)), Some(2), OfferAgain, "the child has an older one"),
        (Parent, Down, Some((Here, 3, false)), None, Leave, "it is on its way"),
        (Parent, Down, Some((Here, 3, true)), Some(5), Await, "the parent is older: it comes back"),
        (Parent, Down, None, Some(5), Await, "the parent lost it: it comes back"),
        (Parent, Down, Some((Here, 3, true)), Some(3), Leave, "a fork is believed only with the signed copy"),
        (Parent, Up, None, Some(1), Leave, "the child sends it again"),
        (Parent, Up, Some((Peer, 3, false)), Some(4), Leave, "the child sends it again"),
        (Parent, Up, Some((Peer, 3, false)), None, GiveBack, "the owner lost it"),
        (Parent, Up, Some((Peer, 3, false)), Some(2), GiveBack, "the owner has an older one"),
        (Parent, Up, Some((Elsewhere, 3, false)), Some(2), Leave, "its owner further down sends it again"),
        (Parent, Up, Some((Peer, 3, false)), Some(3), Leave, "the owner settles it"),
        (Child, Up, Some((Here, 3, true)), None, OfferAgain, "the parent lost it"),
        (Child, Up, Some((Elsewhere, 3, true)), Some(1), OfferAgain, "the parent has an older one"),
        (Child, Up, Some((Here, 3, false)), Some(1), Leave, "it is on its way"),
        (Child, Up, Some((Here, 3, true)), Some(9), Await, "the child is older: it comes back"),
        (Child, Up, None, Some(9), Await, "the child lost it: it comes back"),
        (Child, Up, Some((Here, 3, true)), Some(3), Raise, "the owner settles the fork"),
        (Child, Up, Some((Elsewhere, 3, true)), Some(3), Leave, "the fork is its owner's to settle"),
        (Child, Down, None, Some(1), Leave, "the parent offers it again"),
        (Child, Down, Some((Peer, 3, false)), Some(4), Leave, "the parent offers it again"),
        (Child, Down, Some((Peer, 3, false)), None, GiveBack, "the parent lost its own"),
        (Child, Down, Some((Elsewhere, 3, false)), Some(2), GiveBack, "the parent lost one from above"),
        (Child, Down, Some((Peer, 3, false)), Some(3), GiveBack, "the owner sees the fork"),
        (Child, Down, Some((Elsewhere, 3, false)), Some(3), Leave, "the parent could not settle the fork"),
    ];
    for (side, set, own, peer, expected, why) in cases {
        let kind = if set == Down { ObjectKind::Package } else { ObjectKind::Client };
        let held = own.map(|(owner, version, is_acknowledged)| Held {
            kind,
            id: "x".to_owned(),
            owner,
            version,
            digest: digest(1),
            is_acknowledged,
        });
        let peer = peer.map(|version| (version, digest(2)));
        let differing = Differing { kind, id: "x", own: held.as_ref(), peer };

        assert_eq!(repair(side, set, &differing), expected, "{side:?} {set:?} {own:?} {peer:?}: {why}");
    }
}
