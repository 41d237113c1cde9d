//! When a file whose times and number are as they were may be believed to hold what it held.
//!
//! A kernel gives a file the time of its last change in steps, so that a change right after a look may leave the time
//! as it was; and some file systems do not keep that time at all.

use std::time::Duration;

/// A point in time as file systems write it: seconds since 1970 and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// The coarsest step in which a file system counts time is two seconds; a kernel's clock ticks a hundred times in one.
const STEP: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(10);

/// Whether a file that was changed at `changed` was clearly left alone when a look began at `begun`: every later change
/// then shows in its times.
pub fn is_settled(changed: Moment, begun: Moment) -> bool {
    let nanoseconds =
        |moment: Moment| i128::from(moment.seconds) * 1_000_000_000 + i128::from(moment.nanoseconds);
    nanoseconds(changed) + (STEP + TICK).as_nanos() as i128 <= nanoseconds(begun)
}

/// What a machine's clocks said at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Drawn by the kernel when it starts.
    pub boot: [u8; 16],
    /// Since the start; nobody sets it.
    pub uptime_us: i64,
    /// By the clock on the wall.
    pub wall_us: i64,
}

/// Whether times written between the two looks are all later than those before: the machine did not start anew, since
/// a power cut may lose the time of a change and keep the change, and nobody set the clock back. An hour that comes
/// twice gives the same time twice. A clock that is slowed down never goes back; kernels do so by 1 in 2,000 at most.
pub fn times_went_on(then: &Clocks, now: &Clocks) -> bool {
    let elapsed = now.uptime_us.saturating_sub(then.uptime_us);
    let by_the_wall = now.wall_us.saturating_sub(then.wall_us);
    let lost = elapsed.saturating_sub(by_the_wall);
    then.boot == now.boot && elapsed >= 0 && lost <= 1_000_000 + elapsed / 2_000
}

/// Whether a file system of this type (`f_type` of statfs(2)) gives a file a new time of change whenever its content
/// changes, and tells it at once. Those on a network show what another machine wrote only after a while, FUSE and FAT
/// keep no such time of their own, and what is mapped from tmpfs is written without a trace.
pub fn keeps_change_times(file_system: u64) -> bool {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const F2FS: u64 = 0xf2f5_2010;
    const OVERLAY: u64 = 0x794c_7630;
    matches!(file_system, EXT | XFS | BTRFS | F2FS | OVERLAY)
}

#[cfg(test)]
mod tests {
    use super::{Clocks, Moment, is_settled, keeps_change_times, times_went_on};

    #[test]
    fn only_what_is_clearly_older_is_settled() {
        let begun = Moment { seconds: 100, nanoseconds: 500_000_000 };
        for (seconds, nanoseconds, settled) in [
            (90, 0, true),
            (98, 490_000_000, true),
            (98, 490_000_001, false),
            (100, 0, false),
            (100, 500_000_000, false),
            (101, 0, false),
            // A file from the future, as after a clock was set back.
            (4_000_000_000, 0, false),
            (i64::MIN, 0, true),
            (i64::MAX, 999_999_999, false),
        ] {
            let changed = Moment { seconds, nanoseconds };
            assert_eq!(is_settled(changed, begun), settled, "{seconds}.{nanoseconds:09}");
        }
    }

    #[test]
    fn a_restart_or_a_clock_that_was_set_back_ends_what_is_believed() {
        const HOUR: i64 = 3_600_000_000;
        let then = Clocks { boot: [1; 16], uptime_us: HOUR, wall_us: 10 * HOUR };
        for (what, boot, uptime_us, wall_us, went_on) in [
            ("at once", 1, HOUR, 10 * HOUR, true),
            ("an hour later", 1, 2 * HOUR, 11 * HOUR, true),
            ("set forward", 1, 2 * HOUR, 20 * HOUR, true),
            ("slowed down", 1, 2 * HOUR, 11 * HOUR - 1_500_000, true),
            ("set back by a minute", 1, 2 * HOUR, 11 * HOUR - 60_000_000, false),
            ("set back before then", 1, 2 * HOUR, 9 * HOUR, false),
            ("started anew", 2, 2 * HOUR, 11 * HOUR, false),
            ("uptime of another machine", 1, HOUR / 2, 11 * HOUR, false),
            ("nonsense", 1, i64::MAX, i64::MIN, false),
        ] {
            let now = Clocks { boot: [boot; 16], uptime_us, wall_us };
            assert_eq!(times_went_on(&then, &now), went_on, "{what}");
        }
    }

    #[test]
    fn file_systems_of_which_it_is_not_known_are_not_believed() {
        for (name, file_system, kept) in [
            ("ext4", 0xef53, true),
            ("xfs", 0x5846_5342, true),
            ("btrfs", 0x9123_683e, true),
            ("overlay", 0x794c_7630, true),
            ("tmpfs", 0x0102_1994, false),
            ("nfs", 0x6969, false),
            ("cifs", 0xff53_4d42, false),
            ("smb2", 0xfe53_4d42, false),
            ("fuse", 0x6573_5546, false),
            ("fat", 0x4d44, false),
            ("9p", 0x0102_1997, false),
            ("none", 0, false),
        ] {
            assert_eq!(keeps_change_times(file_system), kept, "{name}");
        }
    }
}
