//! `README.TXT`: what somebody is told who finds a medium.

use crate::{head::Head, id::volume_name};

/// The name of the file, beside the volumes.
pub(crate) const NAME: &str = "README.TXT";

/// The text, with the line ends that every editor knows. `here` are the numbers of the volumes on the medium, in order.
pub(crate) fn text(head: &Head, here: &[u16]) -> String {
    let list = |codes: Vec<&str>| codes.join(", ");
    let names: Vec<String> =
        here.iter().map(|number| format!("{} ({number} of {})", volume_name(*number), head.count)).collect();
    let sites = list(head.destinations.iter().map(|site| site.as_str()).collect());
    let lines = [
        format!("Packhorse parcel {}", head.parcel.short()),
        String::new(),
        format!("From site:    {}", head.sender),
        format!("To:           {sites}"),
        format!("Volumes here: {}", list(names.iter().map(String::as_str).collect())),
        String::new(),
        "If you found this medium: it is the property of the site it comes from. Its content is".to_owned(),
        "encrypted and of no use to anybody else. Please bring it to one of the sites above.".to_owned(),
        String::new(),
        "At one of those sites: connect the medium to the site server, or to any machine with the".to_owned(),
        "packhorse command, and run".to_owned(),
        String::new(),
        "    packhorse courier receive PATH".to_owned(),
        String::new(),
        "where PATH is the directory under which the medium is mounted. Volumes may come in any order,"
            .to_owned(),
        "and on several media; the command says which are missing.".to_owned(),
        String::new(),
    ];
    lines.join("\r\n")
}
