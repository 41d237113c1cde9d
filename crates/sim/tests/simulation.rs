//! The link keeps its promises under every fault of ten thousand seeds, and the simulator would notice if not.

use std::thread;

use packhorse_sim::{Failure, Mutation, Plan, Seen, run, run_recorded};

const SEEDS: u64 = 10_000;
/// Within so many seeds each defect must show.
const SEEDS_PER_MUTATION: u64 = 5000;

#[test]
fn no_seed_breaks_a_promise() {
    let failures: Vec<Failure> = thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| {
                scope.spawn(move || {
                    let seeds = (half..SEEDS).step_by(2);
                    seeds
                        .filter_map(|seed| run(&Plan::from_seed(seed), None).err())
                        .take(5)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        halves.into_iter().flat_map(|half| half.join().expect("a run does not panic")).collect()
    });

    let lines: Vec<_> = failures.iter().map(ToString::to_string).collect();
    assert!(
        failures.is_empty(),
        "see `cargo run -p packhorse-sim --bin sim -- --seed N`:\n{}",
        lines.join("\n")
    );
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in [0, 1, 7, 42, 1_000_003] {
        let first = run(&Plan::from_seed(seed), None).expect("the seed holds");
        let second = run(&Plan::from_seed(seed), None).expect("the seed holds");

        assert_eq!(first, second, "seed {seed}");
    }
    let other = |seed| run(&Plan::from_seed(seed), None).expect("the seed holds").digest;
    assert_ne!(other(0), other(1));
}

#[test]
fn a_recorded_run_is_the_same_run() {
    let plan = Plan::from_seed(3);

    let (report, records) = run_recorded(&plan);

    let report = report.expect("the seed holds");
    assert_eq!(report, run(&plan, None).expect("the seed holds"));
    assert_eq!(records.len() as u64, report.frames);
}

#[test]
fn every_defect_of_a_caller_is_found() {
    for mutation in Mutation::ALL {
        let found =
            (0..SEEDS_PER_MUTATION).find_map(|seed| run(&Plan::from_seed(seed), Some(mutation)).err());

        let found =
            found.unwrap_or_else(|| panic!("{mutation:?} went unnoticed in {SEEDS_PER_MUTATION} seeds"));
        println!("{mutation:?} found after {} seeds: {}", found.seed + 1, found.what);
    }
}

#[test]
fn the_rare_things_happen() {
    let mut all = Seen::default();
    for seed in 0..500 {
        let Seen {
            broken_off,
            passed_on_early,
            resumed,
            written,
            damaged,
            repaired,
            overtook,
            late,
            left_out,
        } = run(&Plan::from_seed(seed), None).expect("the seed holds").seen;
        all.broken_off += broken_off;
        all.passed_on_early += passed_on_early;
        all.resumed += resumed;
        all.written += written;
        all.damaged += damaged;
        all.repaired += repaired;
        all.overtook += overtook;
        all.late += late;
        all.left_out += left_out;
    }

    let few = [all.broken_off, all.passed_on_early, all.resumed, all.written, all.damaged, all.repaired];
    let few = few.into_iter().chain([all.overtook, all.late, all.left_out]);
    assert!(few.into_iter().all(|times| times >= 10), "{all:?}");
}
