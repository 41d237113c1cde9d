//! A link between any frames of its peer and any calls of its own side: it never panics, does what its user expects,
//! and all that it keeps has a limit. The input is a script; a broken rule or a silent peer ends the stream and with it
//! the script.

#![no_main]

mod input;
mod items;
mod side;

use std::{ops::ControlFlow, time::Duration};

use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};
use packhorse_domain::link::{Frame, ItemKind, Offer, Ranges, RefuseReason};

use side::Side;

/// Steps of all floods of a script: enough to reach each limit.
const FLOODS_MAX: u16 = 15_000;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Unstructured::new(bytes);
    let Ok(mut side) = begin(&mut script) else { return };
    // Most scripts do without floods: they are run a hundred times as fast.
    let mut flood_steps = 0;
    if script.ratio(1, 16).unwrap_or(false) {
        flood_steps = FLOODS_MAX;
        if !matches!(flood(&mut side, &mut script, &mut flood_steps), Ok(ControlFlow::Continue(()))) {
            return side.drain();
        }
    }
    while !script.is_empty() {
        match step(&mut side, &mut script, &mut flood_steps) {
            // To look at thousands of items at every step would be all that a run does.
            Ok(ControlFlow::Continue(())) if side.out.len() > 100 => {}
            Ok(ControlFlow::Continue(())) => side.check(),
            Ok(ControlFlow::Break(())) | Err(_) => break,
        }
    }
    // What was queued may still leave.
    side.drain();
});

fn begin(script: &mut Unstructured<'_>) -> Result<Side> {
    let mut side = Side::new(input::config(script)?);
    if !script.ratio(1, 8)? {
        let _ = side.receive(false, Frame::Hello(input::hello(script)?));
        side.set_lanes(script.int_in_range(0..=2)?, script.arbitrary()?);
    }
    Ok(side)
}

fn step(side: &mut Side, script: &mut Unstructured<'_>, flood_steps: &mut u16) -> Result<ControlFlow<()>> {
    match script.int_in_range(0..=15)? {
        0..=4 => return Ok(side.receive(false, input::frame(script, side)?)),
        5 | 6 => return Ok(side.receive(true, input::frame_on_lane(script, side)?)),
        7 => {
            side.offer(input::out_item(script)?);
        }
        8 => {
            let item = input::incoming(script, side, false)?;
            let length = side.incoming.get(&item).map_or(0, |open| open.length);
            let from = input::offset(script, 0)?;
            side.accept(item, from, input::held(script, from, length)?);
        }
        9 => {
            let item = input::incoming(script, side, true)?;
            let come = side.incoming.get(&item).and_then(|open| open.next).unwrap_or_default();
            match script.arbitrary()? {
                true => side.durable(item, input::offset(script, come)?),
                false => side.written(item, input::offset(script, come)?),
            }
        }
        10 => side.close(input::item(script)?, None),
        11 => side.close(input::item(script)?, Some((RefuseReason::NoSpace, "full".repeat(200)))),
        12 => side.cancel(input::item(script)?),
        13 => match script.int_in_range(0..=8)? {
            0 => side.drain(),
            count => {
                for _ in 0..count {
                    if side.send().is_none() {
                        side.send_on_lane();
                    }
                }
            }
        },
        14 => return time(side, script),
        _ => match script.int_in_range(0..=15)? {
            0 => side.say(|link| link.goodbye("enough ".repeat(100))),
            1 => {
                let compare = input::compare(script)?;
                side.say(|link| link.compare(compare));
            }
            2 => {
                let listing = input::listing(script)?;
                side.say(|link| link.list(listing));
            }
            3 => side.link.allow(input::allowance(script)?, side.now),
            4 => side.link.set_bundles_max(script.int_in_range(0..=3)?),
            5 => {
                let carried = input::offset(script, side.sent_bytes)?;
                side.link.carried(carried, side.now);
            }
            6 | 7 => {
                let item = input::item(script)?;
                let left = side.out.get(&item).and_then(|out| out.next).unwrap_or_default();
                side.link.available(item, input::offset(script, left)?);
            }
            8 => {
                let item = input::item(script)?;
                let outline = input::outline(script, item)?;
                side.say(|link| link.outline(outline));
            }
            9 => return flood(side, script, flood_steps),
            10 | 11 => side.set_lanes(script.int_in_range(0..=2)?, script.arbitrary()?),
            12 => side.link.expect_lanes(),
            _ => {
                side.offer(input::out_item(script)?);
            }
        },
    }
    Ok(ControlFlow::Continue(()))
}

fn time(side: &mut Side, script: &mut Unstructured<'_>) -> Result<ControlFlow<()>> {
    side.now = match side.link.next_wake(side.now) {
        Some(at) if script.ratio(1, 4)? => at.max(side.now),
        _ => side.now.plus(Duration::from_micros(1 << script.int_in_range(0..=36_u32)?)),
    };
    Ok(side.wake(script.ratio(1, 2)?))
}

/// The same again and again, each time with another name.
fn flood(side: &mut Side, script: &mut Unstructured<'_>, flood_steps: &mut u16) -> Result<ControlFlow<()>> {
    let what = script.int_in_range(0..=8)?;
    let most = *script.choose(&[100, 1100, 5000, 10_000])?;
    let count = script.int_in_range(most / 2..=most)?.min(*flood_steps);
    *flood_steps -= count;
    let offer = input::offer(script)?;
    let out = input::out_item(script)?;
    if what == 8 {
        return Ok(gaps(side, offer, count));
    }
    for nth in 0..count {
        let item = input::numbered(nth);
        let mut offer = offer.clone();
        offer.item = item;
        let flow = match what {
            0 => side.receive(false, Frame::Offer(offer)),
            1 => side.receive(false, Frame::UnknownOffer { item, inline_bytes: 1 }),
            2 => side.receive(false, Frame::Ping { value: nth.into() }),
            3 => side.receive(false, Frame::Want { item, offset: 0 }),
            kind => {
                match kind {
                    4 => {
                        let mut out = out.clone();
                        out.id = item;
                        out.state = None;
                        if !side.offer(out) {
                            break;
                        }
                    }
                    5 => side.cancel(item),
                    6 => side.accept(item, 0, Ranges::default()),
                    _ => side.close(item, None),
                }
                ControlFlow::Continue(())
            }
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Bytes of a bundle on a lane, that each leave one out.
fn gaps(side: &mut Side, offer: Offer, count: u16) -> ControlFlow<()> {
    let item = input::numbered(0);
    side.link.expect_lanes();
    let offer = Offer { item, kind: ItemKind::Bundle, length: 1 << 30, inline: None, ..offer };
    side.receive(false, Frame::Offer(offer))?;
    side.accept(item, 0, Ranges::default());
    for nth in 0..count {
        let want = side.incoming.get(&item).map_or(0, |open| open.want);
        let (offset, bytes) = (1 + 2 * u64::from(nth), vec![0].into());
        side.receive(true, Frame::Bulk { item, offset, bytes, want })?;
    }
    ControlFlow::Continue(())
}
