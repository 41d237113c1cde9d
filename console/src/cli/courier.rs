//! `packhorse courier`: parcels on media, for what a line cannot carry.

use clap::{Args, Subcommand};
use packhorse_domain::id::SiteCode;

use crate::cli::{
    parcel::{self, Expected, VolumeSize},
    parse,
    route::{RouteCommand, Take},
};

#[derive(Debug, Subcommand)]
pub(crate) enum CourierCommand {
    /// Show what a parcel would hold now; nothing is kept
    #[command(after_help = "\
Examples:
  packhorse courier plan --to LYO
  packhorse courier plan --to LYO,PAR --volume-size 650MB
  packhorse courier plan --subtree PAR")]
    Plan(Contents),
    /// Lay out a parcel of all that its destinations lack, and write it if a medium is there
    #[command(after_help = "\
Examples:
  packhorse courier create --to LYO
  packhorse courier create --to LYO --medium /media/usb
  packhorse courier create --to LYO --to PAR --volume-size 650MB --hold-line
  packhorse courier create --subtree PAR --medium /media/usb

DIR is a directory on the site server where the medium is mounted. Every volume is read back from \
the medium before it counts as written. Nothing is lost on Ctrl-C: the parcel stays laid out, and \
`packhorse courier write` goes on with it. To give `create` again would make another parcel.")]
    Create(Create),
    /// Write the volumes of a parcel to a medium, or go on with it; answers when they are read back
    #[command(after_help = "\
Examples:
  packhorse courier write 3fa2bc91 /media/usb
  packhorse courier write 3fa2bc91 /media/usb-2 --volume 2 --volume 3
  packhorse courier write 3fa2bc91 /media/usb --here

DIR is a directory on the site server where the medium is mounted, with --here on this machine. Every volume is read back from \
the medium before it counts as written. Nothing is lost on Ctrl-C, or when a medium fails: what was \
read back stays, and the same command goes on. Volumes may lie on several media, and may be written \
again for one that broke.")]
    Write(Write),
    /// Read the volumes on a medium again; exit code 1 if one is damaged or none is whole
    #[command(after_help = "\
Examples:
  packhorse courier verify 3fa2bc91 /media/usb
  packhorse courier verify 3fa2bc91 /media/usb --here
  packhorse -o json courier verify 3fa2bc91 /media/usb

DIR is a directory on the site server where the medium is mounted, with --here on this machine. Nothing \
on the medium changes, and Ctrl-C does no harm.")]
    Verify(OnMedium),
    /// Say that a parcel is on its way
    #[command(after_help = "\
Examples:
  packhorse courier sent 3fa2bc91 --carrier 'the Tuesday van'
  packhorse courier sent 3fa2bc91 --carrier DHL --tracking 0034501 --expect 3d
  packhorse courier sent 3fa2bc91 --carrier Anna --expect 2027-01-31

If no receipt came by the time that --expect gives, the parcel is shown as overdue.")]
    Sent(Sent),
    /// Say that a parcel is lost: all that is in it is planned again
    #[command(after_help = "\
Examples:
  packhorse courier lost 3fa2bc91

A parcel that turns up after all is taken in like any other.")]
    Lost(Named),
    /// List all parcels, the newest first
    #[command(after_help = "Examples:\n  packhorse courier list\n  packhorse -o json courier list")]
    List,
    /// Show a parcel and its packing list, or labels for its media
    #[command(after_help = "\
Examples:
  packhorse courier show 3fa2bc91
  packhorse courier show 3fa2bc91 --labels > labels.txt")]
    Show(Show),
    /// Take in what came on a medium for this site; exit code 1 if not everything was taken
    #[command(after_help = "\
Examples:
  packhorse courier receive /media/usb
  packhorse courier receive /media/usb --receipt-to /media/usb
  packhorse courier receive /media/usb --here
  packhorse courier receive /media/usb/PARCELS/3FA2BC91/001.PHV

PATH is a directory on the site server where the medium is mounted, with --here on this machine, or \
one volume in it. Nothing is \
lost on Ctrl-C: what was taken stays, and the same command goes on. Give it again with each medium \
if the volumes came on several.")]
    Receive(Receive),
    /// The courier as a way to a neighbour: when it leaves, how long it takes, what goes by it
    #[command(subcommand)]
    Route(RouteCommand),
    /// Give bundles that wait to the courier, whatever the line could do
    #[command(after_help = "\
Examples:
  packhorse courier take CEN00001 --site PAR
  packhorse courier take 149f7550 b49cdae8
  packhorse courier take CEN00001 --undo

They wait until a parcel brings them, or until `packhorse queue release ITEM` gives them to the line.")]
    Take(Take),
    /// List the keys that parcels are encrypted to: this site's and its neighbours'
    #[command(after_help = "Examples:\n  packhorse courier keys\n  packhorse -o json courier keys")]
    Keys,
    /// Take a neighbour's key from somebody's hands, for a site that never had a line
    #[command(after_help = "\
Examples:
  packhorse courier trust LYO age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p

`packhorse courier keys` at that site shows its key. Over a line, and with parcels, keys come by \
themselves. Whoever has the key's other half can read parcels for that site: take it only from \
somebody you trust.")]
    Trust {
        /// A site above or below
        #[arg(value_name = "SITE")]
        site: SiteCode,
        /// Its key, `age1...`
        #[arg(value_name = "AGE1...", value_parser = parcel::recipient)]
        recipient: String,
    },
}

/// What is to be in a parcel.
#[derive(Debug, Args)]
pub(crate) struct Contents {
    /// Children, sites further down that have a courier, or the parent: several with commas
    #[arg(
        long,
        value_name = "SITE",
        required_unless_present = "subtree",
        num_args = 1..,
        value_delimiter = ','
    )]
    pub(crate) to: Vec<SiteCode>,
    /// A site below and all below it, each as far as it has a courier from here: the others get theirs
    /// through the site above them
    #[arg(long, value_name = "SITE", num_args = 1.., value_delimiter = ',')]
    pub(crate) subtree: Vec<SiteCode>,
    /// The most that a volume takes, from 1M to 4G: K, M and G are powers of 1024, kB, MB and GB of
    /// 1000. 4G and all above is 4 GiB less one byte, the most that FAT32 takes [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = parcel::volume_size)]
    pub(crate) volume_size: Option<VolumeSize>,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) contents: Contents,
    /// Hold the parcel's bundles in the queue, so that the line does not bring them meanwhile
    #[arg(long)]
    pub(crate) hold_line: bool,
    /// Write all volumes to the medium that is mounted at this directory on the site server
    #[arg(long, value_name = "DIR", value_parser = parse::server_directory)]
    pub(crate) medium: Option<String>,
    /// The medium is in this machine: volumes come over the network
    #[arg(long, requires = "medium")]
    pub(crate) here: bool,
}

/// The parcel that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// A parcel, or the first of its digits, at least 4, as `packhorse courier list` shows them
    #[arg(value_name = "PARCEL", value_parser = parcel::prefix)]
    pub(crate) parcel: String,
}

#[derive(Debug, Args)]
pub(crate) struct OnMedium {
    #[command(flatten)]
    pub(crate) named: Named,
    /// A directory on the site server where the medium is mounted
    #[arg(value_name = "DIR", value_parser = parse::server_directory)]
    pub(crate) dir: String,
    /// The medium is in this machine
    #[arg(long)]
    pub(crate) here: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Write {
    #[command(flatten)]
    pub(crate) on: OnMedium,
    /// Only this volume, also if it was written before [default: those that are not written yet]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) volume: Vec<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Sent {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Who carries it
    #[arg(long, value_name = "TEXT")]
    pub(crate) carrier: String,
    /// Under which number
    #[arg(long, value_name = "TEXT")]
    pub(crate) tracking: Option<String>,
    /// When it is expected there, as 3d, 2027-01-31 (the end of that day in UTC) or 2027-01-31T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parcel::expected)]
    pub(crate) expect: Option<Expected>,
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// A directory on the site server, or one volume
    #[arg(value_name = "PATH", value_parser = parse::server_directory)]
    pub(crate) path: String,
    /// The medium is in this machine: its volumes for this site go over the network
    #[arg(long)]
    pub(crate) here: bool,
    /// Then write a parcel with the receipt, and all else that waits to go back, to this directory on
    /// the site server [default: the receipt goes by the line, or with the next parcel]
    #[arg(long, value_name = "DIR", value_parser = parse::server_directory)]
    pub(crate) receipt_to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    pub(crate) named: Named,
    /// A label for each volume, to be printed and stuck on its medium
    #[arg(long)]
    pub(crate) labels: bool,
}
