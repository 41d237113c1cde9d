//! Every limit of a connection, with a caller that goes to it and beyond.

use tokio::io::AsyncWriteExt as _;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A frame of no settings.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The head of a frame of data that is longer than any may be.
const LONG_FRAME: &[u8] = &[4, 0, 1, 0, 0, 0, 0, 0, 1];
/// How long a caller may take, each time.
const SHORT: Duration = Duration::from_millis(300);

/// What a caller does, and then nothing more.
struct Case {
    what: &'static str,
    /// It shakes hands first.
    tls: bool,
    says: Vec<u8>,
    /// Between two of its bytes.
    pause: Duration,
}

fn case(what: &'static str, tls: bool, says: &[&[u8]], pause_ms: u64) -> Case {
    Case { what, tls, says: says.concat(), pause: Duration::from_millis(pause_ms) }
}

async fn dial(server: &Running, tls: bool) -> Box<dyn Both> {
    let stream = TcpStream::connect(&server.endpoint).await.unwrap();
    if !tls {
        return Box::new(stream);
    }
    let config = client_config(Caller::Known(&cap())).unwrap();
    let dns_name = site().dns_name().try_into().unwrap();
    Box::new(tokio_rustls::TlsConnector::from(config).connect(dns_name, stream).await.unwrap())
}

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

/// Says all of it, hears all that comes, and returns it when the server has hung up.
async fn until_cut(server: &Running, case: &Case) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(dial(server, case.tls).await);
    let mut heard = Vec::new();
    let talk = async {
        for byte in &case.says {
            if !case.pause.is_zero() {
                sleep(case.pause).await;
            }
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            writer.flush().await.unwrap_or_default();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = talk => {}
        // A reset is an end as well.
        _ = reader.read_to_end(&mut heard) => {}
    }
    heard
}

#[tokio::test]
async fn each_limit_of_a_connection_holds_and_hurts_nobody_else() {
    let options = ServerOptions { handshake_timeout: SHORT, keepalive: SHORT, ..ServerOptions::default() };
    let server = start(CAPS, options).await;
    let beside = server.connect(Caller::Known(&cap())).await.unwrap();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for case in [
        case("nothing at all", false, &[], 0),
        case("a handshake that stops", false, &[&hello], 0),
        case("a handshake a byte at a time", false, &[&hello, &[0; 500]], 40),
        case("no TLS", false, &[PREFACE, SETTINGS], 0),
        case("nothing after the handshake", true, &[], 0),
        case("half a preface", true, &[&PREFACE[..12]], 0),
        case("a preface a byte at a time", true, &[PREFACE], 40),
        case("another preface", true, &[b"GET / HTTP/1.1\r\nhost: site\r\n\r\n"], 0),
        case("no answer to a ping", true, &[PREFACE, SETTINGS], 0),
        case("a frame that is too long", true, &[PREFACE, SETTINGS, LONG_FRAME], 0),
        case(
            "a frame a byte at a time",
            true,
            &[PREFACE, SETTINGS, &[0, 1, 0, 0, 0, 0, 0, 0, 1], &[0; 256]],
            40,
        ),
    ] {
        let begun = Instant::now();
        let cut = tokio::time::timeout(Duration::from_secs(9), until_cut(&server, &case)).await;

        assert!(cut.is_ok(), "{}: cut", case.what);
        assert!(begun.elapsed() < Duration::from_secs(4), "{}: {:?}", case.what, begun.elapsed());
        assert_eq!(enroll(&beside, "").await, Ok("cap1".to_owned()), "beside {}", case.what);
    }
}

#[tokio::test]
async fn a_caller_is_told_what_it_may_do_at_once() {
    let options = ServerOptions { handshake_timeout: SHORT, ..ServerOptions::default() };
    let server = start(CAPS, options).await;

    let heard = until_cut(&server, &case("nothing", true, &[], 0)).await;

    let length = usize::from(heard[1]) << 8 | usize::from(heard[2]);
    assert_eq!(heard[3], 4, "settings come first");
    let told: Vec<(u16, u32)> = heard[9..9 + length]
        .chunks(6)
        .map(|one| {
            let value = one[2..6].try_into().unwrap();
            (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes(value))
        })
        .collect();
    // Streams at once, the window of one, a frame, headers.
    for setting in [(3, STREAMS_MAX), (4, 1024 * 1024), (5, FRAME_MAX), (6, HEADERS_MAX)] {
        assert!(told.contains(&setting), "{setting:?} in {told:?}");
    }
}
