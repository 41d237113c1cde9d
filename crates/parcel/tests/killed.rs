//! Writing that is killed anywhere, or that the system stops. It has a process of its own to be killed in.

use std::{
    env, fs,
    ops::ControlFlow,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus},
};

use packhorse_parcel::{Medium, MediumError, Plan, Volume, WriteError, scan};

#[expect(dead_code, reason = "others use the rest of it")]
mod kit;

use kit::{Received, Stock, contents_of, noise, plan, sites, take, unsign, whole};

/// Where a process of this test writes: `plan` and `medium` are in it.
const WRITE_IN: &str = "PACKHORSE_TEST_WRITE_IN";
/// At which call that tells progress, or keeps the plan, it kills itself.
const DIE_AT: &str = "PACKHORSE_TEST_DIE_AT";
const NAME: &str = "writes_where_it_is_told_to";
const VOLUME_BYTES: u64 = 2 * 1024 * 1024;

fn stock() -> (Stock, Vec<packhorse_parcel::Item>) {
    let mut stock = Stock::default();
    let items = (0..5).map(|seed| stock.add(noise(seed, 900_000), &[0])).collect();
    (stock, items)
}

fn keep(directory: &Path, plan: &Plan) {
    fs::write(directory.join("plan.new"), plan.to_bytes()).expect("it works");
    fs::rename(directory.join("plan.new"), directory.join("plan")).expect("it works");
}

fn kept(directory: &Path) -> Plan {
    Plan::from_bytes(&fs::read(directory.join("plan")).expect("it works"), &unsign).expect("it works")
}

/// Nothing by itself: the others here run it in a process of its own.
#[test]
fn writes_where_it_is_told_to() {
    let Ok(directory) = env::var(WRITE_IN) else { return };
    let mut left: u32 = env::var(DIE_AT).map_or(u32::MAX, |at| at.parse().unwrap());
    let mut step = || {
        left -= 1;
        if left == 0 {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap();
        }
    };
    let directory = Path::new(&directory);
    let (stock, _) = stock();
    let mut plan = kept(directory);
    let medium = Medium::at(&directory.join("medium")).unwrap();
    for number in plan.unwritten().collect::<Vec<_>>() {
        let written = plan.write(number, &stock, &medium, &mut |_| {
            step();
            ControlFlow::Continue(())
        });
        match written {
            Err(WriteError::Medium(MediumError::TooLong { .. })) => {
                return fs::write(directory.join("full"), "").unwrap();
            }
            other => drop(other.unwrap()),
        }
        step();
        keep(directory, &plan);
    }
    fs::write(directory.join("finished"), "").unwrap();
}

fn write_elsewhere(directory: &Path, die_at: Option<u32>) -> ExitStatus {
    let mut command = Command::new(env::current_exe().expect("it works"));
    command.args(["--exact", NAME, "--nocapture"]).env(WRITE_IN, directory);
    die_at.map(|at| command.env(DIE_AT, at.to_string()));
    command.output().expect("it works").status
}

#[test]
fn what_is_killed_at_any_step_left_no_volume_that_is_not_whole_and_goes_on() {
    let (site, (stock, items)) = (sites(1).remove(0), stock());
    let first = plan(std::slice::from_ref(&site), &stock, items, Some(VOLUME_BYTES));
    let (mut killed, mut volumes_kept) = (0, 0);
    for die_at in 1.. {
        let directory = kit::memory();
        let medium = directory.path().join("medium");
        fs::create_dir(&medium).unwrap();
        keep(directory.path(), &first);
        let status = write_elsewhere(directory.path(), Some(die_at));
        if directory.path().join("finished").exists() {
            break;
        }
        assert_eq!(status.signal(), Some(9), "step {die_at}");
        killed += 1;

        let check = |expected: Option<usize>| {
            let (mut received, scan) = (Received::new(), scan(&medium).unwrap());
            assert!(scan.others.is_empty(), "step {die_at}");
            let volumes: Vec<_> = scan.parcels.values().flat_map(|parcel| parcel.volumes.values()).collect();
            for found in &volumes {
                let mut volume = Volume::open(&found[0].path, &site.identity).unwrap();
                let contents = contents_of(&mut volume, &site);
                assert!(take(&mut volume, &contents, &mut received).is_empty(), "step {die_at}");
            }
            let whole = whole(&received, &stock).len();
            assert!(expected.is_none_or(|expected| expected == whole), "step {die_at}: {whole}");
            volumes.len()
        };
        volumes_kept += check(None);
        let done = kept(directory.path());
        let stamps =
            |number: &u16| fs::metadata(kit::path_of(&done, &medium, *number)).unwrap().modified().unwrap();
        let before: Vec<u16> =
            (1..=first.list().volumes()).filter(|at| !done.unwritten().any(|one| one == *at)).collect();
        let written_at: Vec<_> = before.iter().map(stamps).collect();
        assert!(write_elsewhere(directory.path(), None).success(), "step {die_at}");
        assert_eq!(before.iter().map(stamps).collect::<Vec<_>>(), written_at, "what is done stays done");
        check(Some(5));
        assert!(kept(directory.path()).unwritten().next().is_none());
        let names = fs::read_dir(medium.join(first.list().info().id.directory())).unwrap().count();
        assert_eq!(names, usize::from(first.list().volumes()) + 1, "volumes and README.TXT");
    }
    assert!(killed > 10 && volumes_kept > killed / 2, "{killed} {volumes_kept}");
}

#[test]
fn a_medium_that_takes_no_such_file_is_told_and_keeps_nothing_of_it() {
    let (sites, (stock, items)) = (sites(1), stock());
    let plan = plan(&sites, &stock, items, None);
    let directory = kit::memory();
    let medium = directory.path().join("medium");
    fs::create_dir(&medium).unwrap();
    keep(directory.path(), &plan);
    // What is ignored stays ignored in the program that takes the shell's place; blocks have 512 or 1024 bytes.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$@\"";
    let exe = env::current_exe().unwrap();
    let status = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(exe)
        .args(["--exact", NAME])
        .env(WRITE_IN, directory.path())
        .output()
        .unwrap()
        .status;
    assert!(status.success() && directory.path().join("full").exists(), "{status}");
    let left = fs::read_dir(medium.join(plan.list().info().id.directory())).unwrap().count();
    assert_eq!(left, 0);
}
