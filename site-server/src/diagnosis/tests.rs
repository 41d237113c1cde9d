//! Access points that are asked on their feeds.

mod ways;

use std::time::{Duration, Instant};

use packhorse_domain::id::PointName;
use packhorse_proto::cap::v1::ClientPresence;

use super::CapInquiries;

fn answer(number: u64) -> ClientPresence {
    ClientPresence { number, ..ClientPresence::default() }
}

#[tokio::test]
async fn an_access_point_is_alive_while_it_answers_and_an_older_one_while_its_feed_is_open() {
    let (inquiries, cap) = (CapInquiries::default(), "gate".parse::<PointName>().expect("a name"));
    assert!(!inquiries.is_alive(&cap).await, "there is no feed");

    let _older = inquiries.opened(cap.clone(), false);
    assert!(inquiries.is_alive(&cap).await, "it never answers, and is not asked");

    let mut asked = inquiries.opened(cap.clone(), true);
    let (is_alive, ()) = tokio::join!(inquiries.is_alive(&cap), async {
        let inquiry = asked.recv().await.expect("it is asked");
        inquiries.answered(answer(inquiry.number));
    });
    assert!(is_alive);

    assert!(!inquiries.is_alive(&cap).await, "it can answer, and does not");
    let began = Instant::now();
    assert!(!inquiries.is_alive(&cap).await);
    assert!(began.elapsed() < Duration::from_millis(500), "it is not waited for again at once");

    let newer = inquiries.opened(cap.clone(), false);
    assert!(inquiries.is_alive(&cap).await, "a new feed may be that of an older agent");
    drop(newer);
    assert!(!inquiries.is_alive(&cap).await, "the feed is gone");
}
