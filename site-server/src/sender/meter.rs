//! How fast a link and its items move, measured from what is shown of them. It changes nothing of what is sent.

use std::{collections::HashMap, time::Duration};

use packhorse_domain::{
    Timestamp,
    link::{ItemId, Stage},
};

use super::{LinkView, Moving};

/// What was measured so long ago counts for a third of what is measured now.
const MEMORY: Duration = Duration::from_secs(3);
/// Acknowledgements come in bursts: what is closer together says nothing.
const APART_MIN: Duration = Duration::from_millis(100);
/// Items that stopped midway are remembered up to here.
const REACHED_MAX: usize = 1_024;

/// The rate of one count that only grows.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Meter {
    last: Option<(Timestamp, u64)>,
    /// `None` before there were two counts.
    bytes_per_s: Option<f64>,
}

impl Meter {
    /// Takes a count in; gives bytes per second.
    pub(super) fn observe(&mut self, now: Timestamp, count: u64) -> u64 {
        match self.last {
            None => self.last = Some((now, count)),
            Some((at, before)) if now.since(at) >= APART_MIN => {
                let seconds = now.since(at).as_secs_f64();
                let rate = count.saturating_sub(before) as f64 / seconds;
                let weight = 1.0 - (-seconds / MEMORY.as_secs_f64()).exp();
                self.bytes_per_s =
                    Some(self.bytes_per_s.map_or(rate, |known| known + weight * (rate - known)));
                self.last = Some((now, count));
            }
            // A clock that was set back would never come to this point again.
            Some((at, before)) if now < at => self.last = Some((now, before)),
            Some(_) => {}
        }
        self.bytes_per_s.map_or(0, |rate| rate as u64)
    }
}

/// The meters of one session.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// By item and direction.
    items: HashMap<(ItemId, bool), Meter>,
    sent: Meter,
    received: Meter,
}

impl Meters {
    /// Shows what moves, how fast, and how far it was when it last moved.
    pub(super) fn show(&mut self, view: &mut LinkView, mut moving: Vec<Moving>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.items);
        for one in &mut moving {
            let key = (one.item, one.outgoing);
            let mut meter = before.remove(&key).unwrap_or_default();
            one.rate_bytes_per_s = meter.observe(now, one.done);
            self.items.insert(key, meter);
            remember(view, one);
        }
        view.sent_bytes_per_s = self.sent.observe(now, view.sent());
        view.received_bytes_per_s = self.received.observe(now, view.received());
        view.received_best = view.received_best.max(view.received_bytes_per_s);
        view.moving = moving;
    }
}

/// What the peer confirmed of an item it still has when the item waits again.
fn remember(view: &mut LinkView, one: &mut Moving) {
    match one.stage {
        Stage::Sending { .. } if one.outgoing && one.done < one.total => {
            view.reached.insert(one.item, one.done);
            if view.reached.len() > REACHED_MAX {
                view.reached.pop_first();
            }
        }
        Stage::Sending { .. } => drop(view.reached.remove(&one.item)),
        Stage::Queued | Stage::Offered | Stage::Inline => {
            one.done = view.reached.get(&one.item).copied().unwrap_or(one.done);
        }
    }
}

#[cfg(test)]
mod tests {
    use packhorse_domain::Priority;

    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp(ms * 1000)
    }

    fn moving(stage: Stage) -> Moving {
        let done = if let Stage::Sending { acked, .. } = stage { acked } else { 0 };
        Moving {
            item: ItemId([1; 16]),
            outgoing: true,
            subject: "CEN00001".to_owned(),
            priority: Priority::Medium,
            stage,
            done,
            total: 1000,
            rate_bytes_per_s: 0,
        }
    }

    #[test]
    fn a_steady_count_is_its_own_rate() {
        let mut meter = Meter::default();

        let rates: Vec<u64> = (0..20).map(|step| meter.observe(at(step * 200), step as u64 * 200)).collect();

        assert_eq!(rates[0], 0, "one count is no rate");
        assert!(rates[1..].iter().all(|rate| (999..=1000).contains(rate)), "{rates:?}");
    }

    #[test]
    fn what_stopped_is_forgotten_within_seconds() {
        let mut meter = Meter::default();
        meter.observe(at(0), 0);
        meter.observe(at(1000), 1_000_000);

        let after_3_s = meter.observe(at(4000), 1_000_000);
        let after_30_s = meter.observe(at(34_000), 1_000_000);

        assert!((300_000..400_000).contains(&after_3_s), "{after_3_s}");
        assert!(after_30_s < 100, "{after_30_s}");
    }

    #[test]
    fn counts_close_together_and_clocks_set_back_change_nothing() {
        let mut meter = Meter::default();
        meter.observe(at(1000), 0);
        assert_eq!(meter.observe(at(2000), 500), 500);

        assert_eq!(meter.observe(at(2001), 100_000), 500);
        assert_eq!(meter.observe(at(500), 500), 500);

        assert_eq!(meter.observe(at(1500), 1000), 500, "it goes on from the new time");
        assert_eq!(meter.observe(at(9000), 0), 41, "a count that shrank is none");
    }

    #[test]
    fn an_item_that_waits_again_is_as_far_as_it_was() {
        let (mut meters, mut view) = (Meters::default(), LinkView::default());

        for (stage, done) in [
            (Stage::Queued, 0),
            (Stage::Sending { next: 600, acked: 400 }, 400),
            (Stage::Queued, 400),
            (Stage::Offered, 400),
            (Stage::Sending { next: 300, acked: 300 }, 300),
            (Stage::Sending { next: 1000, acked: 1000 }, 1000),
            (Stage::Queued, 0),
        ] {
            meters.show(&mut view, vec![moving(stage)], at(0));

            assert_eq!(view.moving[0].done, done, "{stage:?}");
        }
        meters.show(&mut view, vec![], at(0));
        assert!(view.moving.is_empty() && meters.items.is_empty());
    }
}
